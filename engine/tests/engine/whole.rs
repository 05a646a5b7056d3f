//! What a sender puts on the wire for a payload that it knows as a whole: inline, compressed and
//! chunked, by what the recipients can take.

use std::io::Read as _;

use bytes::Bytes;
use lkstream_engine::{
    Attributes, Capabilities, Compress, Config, Content, Event, OpenError, OpenOptions,
    OutgoingState, Receipts, TextOperation, Written,
};
use lkstream_proto::packet::{Channel, Compression, DataPacket, Header, Value};
use proptest::prelude::*;

use crate::script::*;

const PLAIN: Capabilities = Capabilities {
    client_protocol: 2,
    inflates: false,
};
const OLD: Capabilities = Capabilities {
    client_protocol: 0,
    inflates: false,
};
const OLDISH: Capabilities = Capabilities {
    client_protocol: 1,
    inflates: false,
};

/// Who is in the room, beside ourselves.
fn room(others: &[(&str, Capabilities)]) -> Peer {
    let mut peer = Peer::bob();
    for (identity, capabilities) in others {
        peer.engine.participant((*identity).into(), *capabilities);
    }
    peer
}

fn old() -> Peer {
    room(&[("alice", OLD), ("bert", OLD), ("jim", OLDISH)])
}

fn new() -> Peer {
    room(&[
        ("alice", Capabilities::ALL),
        ("bert", Capabilities::ALL),
        ("plain", PLAIN),
    ])
}

fn mixed() -> Peer {
    room(&[
        ("alice", OLD),
        ("bert", Capabilities::ALL),
        ("jim", Capabilities::ALL),
        ("mallory", OLDISH),
        ("plain", PLAIN),
    ])
}

fn to(options: OpenOptions, destinations: &[&str]) -> OpenOptions {
    OpenOptions {
        destinations: destinations.iter().map(|to| (*to).into()).collect(),
        ..options
    }
}

fn with(options: OpenOptions, compress: Compress) -> OpenOptions {
    OpenOptions {
        compress,
        ..options
    }
}

fn always(options: OpenOptions) -> OpenOptions {
    with(options, Compress::Always)
}

fn never(options: OpenOptions) -> OpenOptions {
    with(options, Compress::Never)
}

const COMPRESSIBLE: &str = "hello hello compressible world";

fn repeat() -> Vec<u8> {
    b"hello world".repeat(20_000)
}

/// 50 times "hello world" and 1000 random letters.
fn half() -> Vec<u8> {
    let letters: Vec<u8> = noise(10, 50_000).iter().map(|b| b'a' + b % 26).collect();
    letters
        .chunks(1_000)
        .flat_map(|letters| [b"hello world", letters].concat())
        .collect()
}

fn send(peer: &mut Peer, options: OpenOptions, payload: &[u8]) -> Vec<DataPacket> {
    peer.engine
        .send(options, Bytes::copy_from_slice(payload))
        .unwrap();
    peer.sent()
}

/// As a client sends a file: block by block, telling the first.
fn send_file(peer: &mut Peer, options: OpenOptions, file: &[u8], block: usize) -> Vec<DataPacket> {
    let mut blocks = file.chunks(block).map(Bytes::copy_from_slice);
    let mut next = blocks.next();
    let options = OpenOptions {
        total_length: Some(file.len() as u64),
        ..options
    };
    let start = next.clone().unwrap_or_default();
    let id = peer.engine.open_file(options, &start).unwrap();
    let mut packets = Vec::new();
    while let Some(mut rest) = next.take() {
        loop {
            match peer
                .engine
                .outgoing(id)
                .unwrap()
                .write(rest.clone())
                .unwrap()
            {
                Written::All => break,
                Written::Blocked { taken } => {
                    rest = rest.slice(taken..);
                    packets.extend(peer.sent());
                    peer.drain();
                    assert!(peer.events.contains(&Event::Writable(id)));
                    peer.events.clear();
                }
            }
        }
        next = blocks.next();
    }
    let mut outgoing = peer.engine.outgoing(id).unwrap();
    outgoing.close(attributes(&[])).unwrap();
    packets.extend(peer.sent());
    packets
}

fn inflate(content: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    let mut decoder = flate2::read::DeflateDecoder::new(content);
    decoder.read_to_end(&mut inflated).unwrap();
    assert_eq!(decoder.total_in(), content.len() as u64);
    inflated
}

/// The single packet of an inline stream: its header.
fn inline<'a>(packets: &'a [DataPacket], compression: Compression, payload: &[u8]) -> &'a Header {
    assert_eq!(packets.len(), 1);
    let header = header_of(&packets[0]);
    assert_eq!(header.compression, compression as i32);
    assert_eq!(header.total_length, Some(payload.len() as u64));
    let content = header.inline_content.as_ref().expect("inline");
    assert!(packets[0].to_bytes().len() <= 15_000);
    match compression {
        Compression::None => assert_eq!(content, payload),
        Compression::DeflateRaw => {
            assert!(content.len() < payload.len());
            assert!(inflate(content) == payload);
        }
    }
    header
}

/// A stream of header, chunks and trailer: the sizes of its chunks.
fn chunked(packets: &[DataPacket], compression: Compression, payload: &[u8]) -> Vec<usize> {
    let header = header_of(&packets[0]);
    assert_eq!(header.compression, compression as i32);
    assert_eq!(header.total_length, Some(payload.len() as u64));
    assert_eq!(header.inline_content, None);
    let mut content = Vec::new();
    let mut sizes = Vec::new();
    for (index, packet) in packets[1..packets.len() - 1].iter().enumerate() {
        let chunk = chunk_of(packet);
        assert_eq!(chunk.chunk_index, index as u64);
        assert_eq!(chunk.stream_id, header.stream_id);
        assert!(chunk.content.len() <= 15_000);
        sizes.push(chunk.content.len());
        content.extend_from_slice(&chunk.content);
    }
    let trailer = trailer_of(&packets[packets.len() - 1]);
    assert_eq!(trailer.stream_id, header.stream_id);
    assert_eq!(trailer.reason, "");
    match compression {
        Compression::None => assert!(content == payload),
        Compression::DeflateRaw => assert!(inflate(&content) == payload),
    }
    sizes
}

#[test]
fn sender_case_01_whole_text_to_old_peers_is_header_chunk_trailer() {
    let mut peer = old();
    let id = peer.engine.send(text(), "hello world".into()).unwrap();
    let info = peer.engine.outgoing(id).unwrap().info().clone();
    let packets = peer.sent();
    assert_eq!(
        chunked(&packets, Compression::None, b"hello world"),
        [11],
        "no inline, no compression"
    );
    assert_eq!(header_of(&packets[0]).stream_id, info.id.as_str());
}

#[test]
fn sender_case_03_whole_long_text_is_cut_at_15000() {
    let payload = [b'A'; 40_000];
    let packets = send(&mut old(), text(), &payload);
    let sizes = chunked(&packets, Compression::None, &payload);
    assert_eq!(sizes, [15_000, 15_000, 10_000]);
}

#[test]
fn sender_case_05_a_file_to_old_peers() {
    let file = vec![5; 20_000];
    let packets = send_file(&mut old(), bytes(), &file, 30_000);
    assert_eq!(chunked(&packets, Compression::None, &file), [15_000, 5_000]);
}

#[test]
fn sender_case_06_compressible_text_is_one_deflated_packet() {
    let options = always(to(text(), &["alice", "bert"]));
    let packets = send(&mut new(), options, COMPRESSIBLE.as_bytes());
    inline(&packets, Compression::DeflateRaw, COMPRESSIBLE.as_bytes());
}

#[test]
fn sender_case_07_what_deflate_does_not_shrink_is_inline_as_it_is() {
    let options = always(to(text(), &["alice", "bert"]));
    inline(
        &send(&mut new(), options, b"short"),
        Compression::None,
        b"short",
    );
}

#[test]
fn sender_case_08_inline_needs_the_protocol_only() {
    let options = always(to(text(), &["plain"]));
    let packets = send(&mut new(), options, COMPRESSIBLE.as_bytes());
    inline(&packets, Compression::None, COMPRESSIBLE.as_bytes());
}

#[test]
fn sender_case_09_a_long_text_that_shrinks_is_still_inline() {
    let options = to(text(), &["alice", "bert"]);
    let packets = send(&mut new(), options, &repeat());
    inline(&packets, Compression::DeflateRaw, &repeat());
}

#[test]
fn sender_case_10_what_stays_large_is_deflated_over_chunks() {
    let options = to(text(), &["alice", "bert"]);
    let packets = send(&mut new(), options, &half());
    let sizes = chunked(&packets, Compression::DeflateRaw, &half());
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    assert_eq!(sizes[..2], [15_000, 15_000]);
}

#[test]
fn sender_case_11_a_file_of_noise() {
    let file = noise(11, 50_000);
    let options = to(bytes(), &["alice", "bert"]);
    let packets = send_file(&mut new(), options.clone(), &file, 240_000);
    let sizes = chunked(&packets, Compression::None, &file);
    assert_eq!(sizes, [15_000, 15_000, 15_000, 5_000]);
    let packets = send_file(&mut new(), always(options), &file, 240_000);
    assert_eq!(chunked(&packets, Compression::DeflateRaw, &file).len(), 4);
}

#[test]
fn sender_case_12_compression_off_leaves_inline() {
    let options = never(to(text(), &["alice", "bert"]));
    let packets = send(&mut new(), options, COMPRESSIBLE.as_bytes());
    inline(&packets, Compression::None, COMPRESSIBLE.as_bytes());
}

#[test]
fn sender_case_13_compression_off_over_chunks() {
    let options = never(to(text(), &["alice", "bert"]));
    let packets = send(&mut new(), options, &half());
    assert_eq!(chunked(&packets, Compression::None, &half()).len(), 4);
}

#[test]
fn sender_case_14_and_15_pieces_are_never_compressed_nor_inline() {
    for options in [text(), bytes()] {
        let mut peer = new();
        let options = always(to(options, &["alice", "bert"]));
        let id = peer.engine.open(options).unwrap();
        let mut packets = peer.sent();
        assert_eq!(packets.len(), 1);
        let content = Bytes::from(vec![b'a'; 10_000]);
        peer.engine.outgoing(id).unwrap().write(content).unwrap();
        packets.extend(peer.sent());
        assert_eq!(packets.len(), 2);
        assert_eq!(chunk_of(&packets[1]).content.len(), 10_000);
        peer.engine
            .outgoing(id)
            .unwrap()
            .close(attributes(&[]))
            .unwrap();
        packets.extend(peer.sent());
        assert_eq!(packets.len(), 3);
        assert_eq!(header_of(&packets[0]).compression, 0);
    }
}

#[test]
fn sender_case_16_a_file_is_never_inline() {
    let file = [1; 10_000];
    let options = to(bytes(), &["alice", "bert"]);
    let packets = send_file(&mut new(), options, &file, 240_000);
    let sizes = chunked(&packets, Compression::DeflateRaw, &file);
    assert!(sizes.len() == 1 && sizes[0] < 10_000, "{sizes:?}");
}

/// A chunk of such a file holds more than the write window: writing must go on before there is one.
#[test]
fn a_file_that_shrinks_a_thousandfold_is_written_through_the_window() {
    let file = vec![0; 3_000_000];
    let packets = send_file(&mut new(), to(bytes(), &["alice"]), &file, 240_000);
    let sizes = chunked(&packets, Compression::DeflateRaw, &file);
    assert!(sizes.iter().sum::<usize>() < 15_000, "{sizes:?}");
}

#[test]
fn sender_case_17_a_file_to_a_peer_without_inflation() {
    let file = [7; 10_000];
    let packets = send_file(&mut new(), to(bytes(), &["plain"]), &file, 240_000);
    assert_eq!(chunked(&packets, Compression::None, &file), [10_000]);
}

#[test]
fn sender_case_18_an_empty_file_is_well_formed() {
    for compress in [Compress::Auto, Compress::Always, Compress::Never] {
        let options = with(to(bytes(), &["alice", "bert"]), compress);
        let packets = send_file(&mut new(), options, b"", 240_000);
        assert!(chunked(&packets, Compression::None, b"").is_empty());
    }
}

#[test]
fn sender_case_19_one_old_peer_makes_it_plain() {
    let packets = send(&mut mixed(), always(text()), b"hello world");
    assert_eq!(chunked(&packets, Compression::None, b"hello world"), [11]);
}

#[test]
fn sender_case_20_only_the_recipients_count() {
    let options = always(to(text(), &["bert", "jim"]));
    let packets = send(&mut mixed(), options, COMPRESSIBLE.as_bytes());
    inline(&packets, Compression::DeflateRaw, COMPRESSIBLE.as_bytes());
}

#[test]
fn sender_case_21_one_recipient_that_cannot_inflate() {
    let options = always(to(text(), &["bert", "jim", "plain"]));
    let packets = send(&mut mixed(), options, COMPRESSIBLE.as_bytes());
    inline(&packets, Compression::None, COMPRESSIBLE.as_bytes());
}

#[test]
fn sender_case_22_compressible_bytes_with_an_attribute() {
    let mut peer = new();
    let options = OpenOptions {
        attributes: attributes(&[("foo", "bar")]),
        ..always(to(bytes(), &["alice", "bert"]))
    };
    let id = peer.engine.send(options, COMPRESSIBLE.into()).unwrap();
    let info = peer.engine.outgoing(id).unwrap().info().clone();
    assert_eq!(info.content, Content::bytes("unknown"));
    assert_eq!(info.mime_type, "application/octet-stream");
    assert_eq!(info.total_length, Some(COMPRESSIBLE.len() as u64));
    assert_eq!(info.attributes, attributes(&[("foo", "bar")]));
    let packets = peer.sent();
    let header = inline(&packets, Compression::DeflateRaw, COMPRESSIBLE.as_bytes());
    assert_eq!(header.attributes, attributes(&[("foo", "bar")]));
}

#[test]
fn sender_case_23_four_bytes_are_inline_as_they_are() {
    let options = always(to(bytes(), &["alice", "bert"]));
    inline(
        &send(&mut new(), options, b"abcd"),
        Compression::None,
        b"abcd",
    );
}

#[test]
fn sender_case_24_bytes_to_a_peer_without_inflation() {
    let options = always(to(bytes(), &["plain"]));
    let packets = send(&mut new(), options, COMPRESSIBLE.as_bytes());
    inline(&packets, Compression::None, COMPRESSIBLE.as_bytes());
}

#[test]
fn sender_case_25_many_equal_bytes_are_inline() {
    let payload = [1; 50_000];
    let packets = send(&mut new(), to(bytes(), &["alice", "bert"]), &payload);
    inline(&packets, Compression::DeflateRaw, &payload);
}

#[test]
fn sender_case_26_bytes_that_stay_large_are_deflated_over_chunks() {
    let packets = send(&mut new(), to(bytes(), &["alice", "bert"]), &half());
    let sizes = chunked(&packets, Compression::DeflateRaw, &half());
    assert_eq!(sizes.len(), 3, "{sizes:?}");
}

#[test]
fn sender_case_27_bytes_with_compression_off() {
    let payload = [9; 40_000];
    let packets = send(&mut new(), never(to(bytes(), &["alice", "bert"])), &payload);
    let sizes = chunked(&packets, Compression::None, &payload);
    assert_eq!(sizes, [15_000, 15_000, 10_000]);
}

#[test]
fn sender_case_28_bytes_to_old_peers() {
    let packets = send(&mut old(), bytes(), b"abcd");
    assert_eq!(chunked(&packets, Compression::None, b"abcd"), [4]);
}

#[test]
fn sender_case_29_an_empty_room_can_take_anything() {
    let payload = [b'a'; 1_000];
    inline(
        &send(&mut room(&[]), text(), &payload),
        Compression::DeflateRaw,
        &payload,
    );
    let packets = send_file(&mut room(&[]), bytes(), &payload, 240_000);
    chunked(&packets, Compression::DeflateRaw, &payload);
    // Whoever is named and not there is unknown: nothing is.
    let packets = send(&mut room(&[]), to(text(), &["nobody"]), b"x");
    chunked(&packets, Compression::None, b"x");
}

#[test]
fn sender_case_30_what_no_longer_fits_beside_the_attributes_goes_into_chunks() {
    let large = |bytes: usize| attributes(&[("a", &"x".repeat(bytes))]);
    let mut peer = new();
    let destinations = to(text(), &["alice", "bert"]);
    let options = OpenOptions {
        attributes: large(15_000),
        ..destinations.clone()
    };
    assert!(matches!(
        peer.engine.send(options, "x".into()),
        Err(OpenError::HeaderTooLarge {
            size: 15_000..,
            limit: 15_000
        })
    ));
    assert!(peer.sent().is_empty());

    let text_of_500 = "word ".repeat(100);
    let options = OpenOptions {
        attributes: large(14_500),
        ..destinations.clone()
    };
    let packets = send(&mut peer, options.clone(), text_of_500.as_bytes());
    chunked(&packets, Compression::None, text_of_500.as_bytes());
    // Small enough once deflated.
    let packets = send(&mut peer, always(options), text_of_500.as_bytes());
    inline(&packets, Compression::DeflateRaw, text_of_500.as_bytes());

    let words = noise(30, 4_000)
        .iter()
        .map(|b| char::from(b'a' + b % 26))
        .collect::<String>();
    let options = OpenOptions {
        attributes: large(14_500),
        ..destinations
    };
    let packets = send(&mut peer, options, words.as_bytes());
    let sizes = chunked(&packets, Compression::DeflateRaw, words.as_bytes());
    assert!(sizes.len() == 1 && sizes[0] < 4_000, "{sizes:?}");
}

#[test]
fn sender_case_31_every_packet_of_a_compressed_stream_carries_the_destinations() {
    let packets = send(&mut new(), to(text(), &["alice", "bert"]), &half());
    for packet in &packets {
        assert_eq!(packet.destination_identities, ["alice", "bert"]);
    }
}

#[test]
fn sender_case_33_a_send_given_up_leaves_a_reason() {
    for compress in [Compress::Never, Compress::Always] {
        let mut peer = new();
        let options = with(to(bytes(), &["alice", "bert"]), compress);
        let id = peer
            .engine
            .send(options.clone(), Bytes::from(noise(33, 200_000)))
            .unwrap();
        for _ in 0..4 {
            peer.engine.poll_packet().unwrap();
        }
        peer.engine
            .outgoing(id)
            .unwrap()
            .cancel("changed my mind", Attributes::new());
        let packets = peer.sent();
        assert_eq!(packets.len(), 1);
        assert_eq!(trailer_of(&packets[0]).reason, "changed my mind");

        // What is a single packet, or was handed out, is whole.
        let id = peer.engine.send(options.clone(), "short".into()).unwrap();
        peer.engine
            .outgoing(id)
            .unwrap()
            .cancel("too late", Attributes::new());
        inline(&peer.sent(), Compression::None, b"short");
        let id = peer
            .engine
            .send(options, Bytes::from(noise(33, 20_000)))
            .unwrap();
        let mut packets = peer.sent();
        peer.engine
            .outgoing(id)
            .unwrap()
            .cancel("too late", Attributes::new());
        packets.extend(peer.sent());
        assert_eq!(trailer_of(packets.last().unwrap()).reason, "");
    }
}

#[test]
fn every_field_of_a_text_header_is_sent() {
    let content = Content::Text {
        operation: TextOperation::Update,
        version: 7,
        reply_to: Some("question".into()),
        attachments: vec!["first".into(), "second".into()],
        generated: true,
    };
    let options = OpenOptions {
        content: content.clone(),
        id: Some("the-id".into()),
        mime_type: Some("text/markdown".into()),
        attributes: attributes(&[("k", "v")]),
        sender_identity: Some("user".into()),
        receipts: Receipts::Request,
        ..to(text(), &["alice", "bert"])
    };
    let packets = send(&mut new(), options, b"*text*");
    let header = inline(&packets, Compression::None, b"*text*");
    assert_eq!(header.stream_id, "the-id");
    assert_eq!(header.topic, "lk.chat");
    assert_eq!(header.mime_type, "text/markdown");
    assert_eq!(header.timestamp, 1_700_000_000_123);
    assert_eq!(
        header.attributes,
        attributes(&[("k", "v"), ("lkstream.receipt", "1")])
    );
    assert_eq!(packets[0].participant_identity, "user");

    // Our own receiver reads all of it back.
    let mut receiver = Peer::bob();
    receiver.take_packet(packets[0].clone()).unwrap();
    let (id, info) = receiver.opened();
    assert_eq!(info.content, content);
    assert_eq!(receiver.finished(id), b"*text*");
}

#[test]
fn auto_leaves_what_does_not_shrink() {
    let auto = |mime_type: Option<&str>, payload: &[u8]| {
        let options = OpenOptions {
            mime_type: mime_type.map(str::to_owned),
            ..bytes()
        };
        let packets = send(&mut room(&[]), options, payload);
        header_of(&packets[0]).compression != 0
    };
    let log = b"GET /index.html HTTP/1.1 200 1234\n".repeat(30);
    assert!(auto(None, &log));
    assert!(auto(Some("text/plain"), &log));
    assert!(!auto(None, &log[..511]), "too small");
    assert!(auto(None, &log[..512]));
    assert!(!auto(Some("image/png"), &log));
    assert!(!auto(Some("video/mp4"), &log.repeat(1_000)));
    assert!(!auto(None, &noise(1, 1_000)));
    assert!(!auto(None, &noise(1, 1_000_000)));
    let mut zip = log.clone();
    zip[..4].copy_from_slice(b"PK\x03\x04");
    assert!(!auto(None, &zip));
}

#[test]
fn a_send_is_acknowledged_and_flushed_like_any_stream() {
    for (payload, compress) in [
        (half(), Compress::Auto),
        (half(), Compress::Never),
        (b"hi".to_vec(), Compress::Auto),
        (Vec::new(), Compress::Auto),
    ] {
        let mut peer = room(&[]);
        let options = with(bytes(), compress);
        let id = peer.engine.send(options, payload.clone().into()).unwrap();
        let progress = peer.engine.outgoing(id).unwrap().progress();
        assert_eq!(progress.written, payload.len() as u64);
        assert_eq!(progress.queued, payload.len() as u64);
        let mut outgoing = peer.engine.outgoing(id).unwrap();
        assert!(outgoing.write("more".into()).is_err());
        assert_eq!(outgoing.state(), OutgoingState::Closing);
        let mut total = 0;
        let mut last = 0;
        while let Some(packet) = peer.engine.poll_packet() {
            total += packet.bytes.len() as u64;
            peer.engine.acknowledged(total);
            let progress = peer.engine.outgoing(id).unwrap().progress();
            assert!(progress.acknowledged >= last);
            last = progress.acknowledged;
            assert_eq!(progress.acknowledged, progress.sent);
            assert_eq!(progress.queued, progress.written - progress.sent);
            assert_eq!(progress.wire, total);
        }
        assert_eq!(last, payload.len() as u64);
        assert!(peer.engine.outgoing(id).unwrap().is_flushed());
        peer.drain();
        assert_eq!(peer.events, [Event::Flushed(id)]);
        peer.engine.outgoing(id).unwrap().release();
        assert!(peer.engine.outgoing(id).is_none());
    }
}

#[test]
fn a_text_that_is_no_utf8_is_not_sent() {
    let mut peer = room(&[]);
    let error = OpenError::InvalidText { offset: 3 };
    assert_eq!(
        peer.engine.send(text(), Bytes::from_static(b"abc\xff")),
        Err(error)
    );
    assert!(peer.sent().is_empty());
    let limits = Config {
        max_payload: 10,
        ..Config::default()
    };
    let error = OpenError::PayloadTooLarge {
        size: 11,
        limit: 10,
    };
    let mut peer = Peer::with(limits);
    assert_eq!(peer.engine.send(bytes(), vec![0; 11].into()), Err(error));
}

/// Beyond the limit streams go out as they are; when one is done the next is compressed again.
#[test]
fn only_so_many_streams_are_deflated_at_once() {
    let mut peer = room(&[]);
    let payload = Bytes::from(half());
    let mut compressed = Vec::new();
    for _ in 0..12 {
        peer.engine.send(bytes(), payload.clone()).unwrap();
    }
    let mut headers = |packets: Vec<DataPacket>| {
        for packet in packets {
            if let Some(Value::StreamHeader(header)) = packet.value {
                compressed.push(header.compression != 0);
            }
        }
    };
    headers(peer.sent());
    peer.engine.send(bytes(), payload).unwrap();
    headers(peer.sent());
    let expected: Vec<bool> = (0..13).map(|n| n < 8 || n == 12).collect();
    assert_eq!(compressed, expected);
}

#[test]
fn a_small_stream_overtakes_a_payload_that_is_being_deflated() {
    let mut peer = room(&[]);
    peer.engine
        .send(bytes(), Bytes::from(half().repeat(40)))
        .unwrap();
    for _ in 0..4 {
        peer.engine.poll_packet();
    }
    peer.engine.send(text(), "quick".into()).unwrap();
    let next = DataPacket::from_bytes(peer.engine.poll_packet().unwrap().bytes).unwrap();
    assert_eq!(header_of(&next).topic, "lk.chat");
}

/// Two engines: what one sends of `payload`, the other reads.
fn carried(
    capabilities: Capabilities,
    options: OpenOptions,
    payload: &[u8],
    file_block: Option<usize>,
) {
    let mut alice = room(&[("alice", capabilities)]);
    let packets = match file_block {
        Some(block) => send_file(&mut alice, options, payload, block),
        None => send(&mut alice, options, payload),
    };
    let mut bob = Peer::bob();
    let mut id = None;
    let mut received = Vec::new();
    for packet in packets {
        let size = packet.to_bytes().len();
        assert!(size <= 16_000, "{size}");
        bob.engine
            .handle_packet(bob.now, Channel::Reliable, packet.to_bytes())
            .unwrap();
        if id.is_none() {
            id = Some(bob.opened().0);
        }
        while let lkstream_engine::Read::Piece(piece) = bob.read(id.unwrap()) {
            assert!(piece.len() <= 64_000);
            received.extend_from_slice(&piece);
        }
    }
    assert!(received == payload);
    assert!(bob.finished(id.unwrap()).is_empty());
}

fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let sizes = prop_oneof![
        Just(0),
        1..600usize,
        14_500..15_500usize,
        17_000..17_300usize,
        30_000..80_000usize,
        200_000..1_500_000usize,
    ];
    (sizes, 0..4, any::<u64>()).prop_map(|(size, shape, seed)| match shape {
        0 => noise(seed, size),
        1 => vec![seed as u8; size],
        2 => noise(seed, size).iter().map(|b| b'a' + b % 26).collect(),
        // Starts well and goes on badly, or the other way round.
        _ => {
            let mut payload = b"some words again and again ".repeat(size / 54);
            payload.extend(noise(seed, size - payload.len()));
            if seed % 2 == 0 {
                payload.reverse();
            }
            payload
        }
    })
}

fn compress() -> impl Strategy<Value = Compress> {
    prop_oneof![
        Just(Compress::Auto),
        Just(Compress::Always),
        Just(Compress::Never)
    ]
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    (0..4, any::<bool>()).prop_map(|(client_protocol, inflates)| Capabilities {
        client_protocol,
        inflates,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_sent_whole_is_what_is_read(
        payload in payloads(), compress in compress(), capabilities in capabilities(),
        filler in prop_oneof![Just(0usize), 0..14_800usize],
    ) {
        let options = OpenOptions {
            attributes: attributes(&[("filler", &"x".repeat(filler))]),
            ..with(bytes(), compress)
        };
        carried(capabilities, options, &payload, None);
    }

    #[test]
    fn whatever_file_is_sent_is_what_is_read(
        payload in payloads(), compress in compress(), capabilities in capabilities(),
        block in prop_oneof![1_000..2_000usize, Just(240_000usize)],
    ) {
        carried(capabilities, with(bytes(), compress), &payload, Some(block));
    }

    #[test]
    fn whatever_text_is_sent_is_what_is_read(
        word in "\\PC{1,12}", times in prop_oneof![0..50usize, 2_000..20_000usize],
        compress in compress(), capabilities in capabilities(),
    ) {
        let payload = word.repeat(times);
        carried(capabilities, with(text(), compress), payload.as_bytes(), None);
    }
}

#[test]
fn released_sends_go_on_to_their_end() {
    let mut peer = room(&[]);
    let id = peer.engine.send(bytes(), half().into()).unwrap();
    peer.engine.outgoing(id).unwrap().release();
    assert!(peer.engine.outgoing(id).is_none());
    chunked(&peer.sent(), Compression::DeflateRaw, &half());
    peer.engine.acknowledged(u64::MAX);
    assert!(peer.engine.poll_event().is_none());
}
