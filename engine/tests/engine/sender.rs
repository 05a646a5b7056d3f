//! What a sender that writes piece by piece puts on the wire. Payloads that are sent as a whole are in
//! `whole`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lkstream_engine::{
    CloseError, Config, Event, OpenError, OpenOptions, OutgoingState, Receipts, WriteError, Written,
};
use lkstream_proto::packet::{Content, DataPacket};

use crate::script::*;

/// Opens, writes and closes, draining in between; every packet sent.
fn send(options: OpenOptions, writes: &[&[u8]]) -> Vec<DataPacket> {
    let mut peer = Peer::bob();
    let id = peer.engine.open(options).unwrap();
    let mut packets = Vec::new();
    for write in writes {
        let mut rest = Bytes::copy_from_slice(write);
        loop {
            match peer
                .engine
                .outgoing(id)
                .unwrap()
                .write(rest.clone())
                .unwrap()
            {
                Written::All => break,
                Written::Blocked { taken } => rest = rest.slice(taken..),
            }
            packets.extend(peer.sent());
        }
    }
    peer.engine
        .outgoing(id)
        .unwrap()
        .close(BTreeMap::new())
        .unwrap();
    packets.extend(peer.sent());
    packets
}

/// Checks header, chunks of these sizes with running indices, trailer without a reason.
fn check_plain(packets: &[DataPacket], sizes: &[usize]) -> Vec<u8> {
    assert_eq!(packets.len(), sizes.len() + 2);
    let header = header_of(&packets[0]);
    assert_eq!(header.compression, 0);
    assert_eq!(header.inline_content, None);
    let mut content = Vec::new();
    for (index, (packet, size)) in packets[1..].iter().zip(sizes).enumerate() {
        let chunk = chunk_of(packet);
        assert_eq!(chunk.stream_id, header.stream_id);
        assert_eq!(chunk.chunk_index, index as u64);
        assert_eq!(chunk.content.len(), *size);
        content.extend_from_slice(&chunk.content);
    }
    let trailer = trailer_of(&packets[packets.len() - 1]);
    assert_eq!(trailer.stream_id, header.stream_id);
    assert_eq!(trailer.reason, "");
    for (sequence, packet) in packets.iter().enumerate() {
        assert_eq!(packet.sequence as usize, sequence + 1);
        assert_eq!(packet.participant_identity, "bob");
        assert_eq!(packet.participant_sid, "PA_bob");
    }
    content
}

#[test]
fn sender_case_01_text_to_old_peers_is_header_chunk_trailer() {
    let mut peer = Peer::bob();
    let id = peer.engine.open(text()).unwrap();
    let mut outgoing = peer.engine.outgoing(id).unwrap();
    let info = outgoing.info().clone();
    assert_eq!(
        outgoing.write(Bytes::from_static(b"hello world")),
        Ok(Written::All)
    );
    outgoing.close(BTreeMap::new()).unwrap();
    let packets = peer.sent();
    assert_eq!(check_plain(&packets, &[11]), b"hello world");
    let header = header_of(&packets[0]);
    assert_eq!(header.stream_id, info.id.as_str());
    assert_eq!(header.mime_type, "text/plain");
    assert_eq!(header.topic, "lk.chat");
    assert_eq!(header.timestamp, 1_700_000_000_123);
    assert!(matches!(header.content, Some(Content::Text(_))));
}

#[test]
fn sender_case_02_bytes_written_once() {
    let packets = send(bytes(), &[b"\x00\x01\x02\x03"]);
    assert_eq!(check_plain(&packets, &[4]), b"\x00\x01\x02\x03");
    let header = header_of(&packets[0]);
    assert_eq!(header.mime_type, "application/octet-stream");
    match &header.content {
        Some(Content::Bytes(bytes)) => assert_eq!(bytes.name, "unknown"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sender_case_03_long_text_is_cut_at_15000() {
    let text_of_40000 = "A".repeat(40_000);
    let packets = send(text(), &[text_of_40000.as_bytes()]);
    assert_eq!(
        check_plain(&packets, &[15_000, 15_000, 10_000]),
        text_of_40000.as_bytes()
    );
}

#[test]
fn sender_case_04_writes_are_not_coalesced_and_indices_run_on() {
    let block = noise(4, 20_000);
    let packets = send(bytes(), &[&block, &block]);
    check_plain(&packets, &[15_000, 5_000, 15_000, 5_000]);
}

#[test]
fn sender_case_05_a_file_of_20000() {
    let file = noise(5, 20_000);
    let options = OpenOptions {
        total_length: Some(20_000),
        ..bytes()
    };
    let packets = send(options, &[&file]);
    assert_eq!(check_plain(&packets, &[15_000, 5_000]), file);
    assert_eq!(header_of(&packets[0]).total_length, Some(20_000));
}

#[test]
fn sender_case_14_text_writer_sends_as_it_goes() {
    incremental(text(), b"token");
}

#[test]
fn sender_case_15_byte_writer_sends_as_it_goes() {
    incremental(bytes(), &[1, 2, 3]);
}

fn incremental(options: OpenOptions, content: &'static [u8]) {
    let mut peer = Peer::bob();
    let id = peer.engine.open(options).unwrap();
    let mut packets = peer.sent();
    assert_eq!(packets.len(), 1);
    assert_eq!(header_of(&packets[0]).total_length, None);
    peer.engine
        .outgoing(id)
        .unwrap()
        .write(Bytes::from_static(content))
        .unwrap();
    packets.extend(peer.sent());
    assert_eq!(packets.len(), 2);
    peer.engine
        .outgoing(id)
        .unwrap()
        .close(BTreeMap::new())
        .unwrap();
    packets.extend(peer.sent());
    assert_eq!(check_plain(&packets, &[content.len()]), content);
}

#[test]
fn sender_case_30_a_header_too_large_is_an_error_and_sends_nothing() {
    let mut peer = Peer::bob();
    let large = attributes(&[("a", &"x".repeat(15_000))]);
    let error = peer
        .engine
        .open(OpenOptions {
            attributes: large,
            ..text()
        })
        .unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::HeaderTooLarge {
                size: 15_000..,
                limit: 15_000
            }
        ),
        "{error}"
    );
    assert!(peer.sent().is_empty());

    // The largest header that fits does.
    let mut fits = 15_000;
    let packets = loop {
        let attributes = attributes(&[("a", &"x".repeat(fits))]);
        match peer.engine.open(OpenOptions {
            attributes,
            ..text()
        }) {
            Ok(_) => break peer.sent(),
            Err(_) => fits -= 1,
        }
    };
    let size = packets[0].to_bytes().len();
    assert!(size <= 15_000 && size > 14_990, "{size}");
}

#[test]
fn sender_case_31_every_packet_carries_the_destinations() {
    let options = OpenOptions {
        destinations: vec!["alice".into(), "jim".into()],
        ..text()
    };
    let packets = send(options, &[&[b'a'; 16_000]]);
    assert_eq!(packets.len(), 4);
    for packet in &packets {
        assert_eq!(packet.destination_identities, ["alice", "jim"]);
    }
}

#[test]
fn sender_case_32_characters_are_never_cut() {
    for character in ["\u{e9}", "\u{20ac}", "\u{1f600}"] {
        for shift in 0..4 {
            let text_with_cut = format!("{}{}", "a".repeat(shift), character.repeat(30_000));
            let packets = send(text(), &[text_with_cut.as_bytes()]);
            let mut joined = String::new();
            for packet in &packets[1..packets.len() - 1] {
                let content = &chunk_of(packet).content;
                assert!(
                    content.len() <= 15_000 && content.len() > 14_990
                        || packet.sequence as usize == packets.len() - 1
                );
                joined.push_str(std::str::from_utf8(content).unwrap());
            }
            assert_eq!(joined, text_with_cut);
        }
    }
}

#[test]
fn sender_case_33_a_writer_that_ends_before_its_close_leaves_a_reason() {
    let mut peer = Peer::bob();
    let dropped = peer.engine.open(text()).unwrap();
    peer.engine
        .outgoing(dropped)
        .unwrap()
        .write(Bytes::from_static(b"half"))
        .unwrap();
    peer.sent();
    peer.engine.outgoing(dropped).unwrap().release();
    let packets = peer.sent();
    assert_eq!(packets.len(), 1);
    assert_ne!(trailer_of(&packets[0]).reason, "");

    let aborted = peer.engine.open(text()).unwrap();
    let mut outgoing = peer.engine.outgoing(aborted).unwrap();
    outgoing.write(Bytes::from_static(b"half")).unwrap();
    outgoing.abort("disk on fire");
    assert_eq!(
        outgoing.write(Bytes::from_static(b"more")),
        Err(WriteError::Closed)
    );
    assert_eq!(outgoing.close(BTreeMap::new()), Err(CloseError::Closed));
    let packets = peer.sent();
    assert_eq!(
        packets.len(),
        2,
        "what waited is dropped, the header is not"
    );
    assert_eq!(trailer_of(&packets[1]).reason, "disk on fire");

    let nameless = peer.engine.open(text()).unwrap();
    peer.engine.outgoing(nameless).unwrap().abort("");
    assert_ne!(trailer_of(&peer.sent()[1]).reason, "");

    let short = peer
        .engine
        .open(OpenOptions {
            total_length: Some(5),
            ..bytes()
        })
        .unwrap();
    let mut outgoing = peer.engine.outgoing(short).unwrap();
    outgoing.write(Bytes::from_static(b"abc")).unwrap();
    let error = outgoing.close(BTreeMap::new()).unwrap_err();
    assert_eq!(
        error,
        CloseError::Incomplete {
            declared: 5,
            written: 3
        }
    );
    assert_ne!(trailer_of(peer.sent().last().unwrap()).reason, "");
}

#[test]
fn an_agent_speaks_for_a_user_on_every_packet() {
    let options = OpenOptions {
        sender_identity: Some("user".into()),
        ..text()
    };
    for packet in send(options, &[b"spoken"]) {
        assert_eq!(packet.participant_identity, "user");
        assert_eq!(packet.participant_sid, "PA_bob");
    }
}

#[test]
fn no_stream_before_the_join_and_none_after_the_loss() {
    let mut peer = Peer::outside(Config::default());
    assert_eq!(peer.engine.open(text()), Err(OpenError::NotJoined));
    peer.join();
    let id = peer.engine.open(text()).unwrap();
    peer.engine.connection_lost(lkstream_engine::Lost::Left);
    peer.drain();
    assert_eq!(peer.events, [Event::OutgoingLost(id)]);
    assert!(matches!(
        peer.engine.open(text()),
        Err(OpenError::ConnectionLost(_))
    ));
    let mut outgoing = peer.engine.outgoing(id).unwrap();
    assert!(matches!(outgoing.state(), OutgoingState::Lost(_)));
    assert!(matches!(
        outgoing.write(Bytes::from_static(b"x")),
        Err(WriteError::ConnectionLost(_))
    ));
    outgoing.release();
    assert!(peer.engine.outgoing(id).is_none());
    assert!(peer.sent().is_empty());
    peer.join();
    assert!(peer.engine.open(text()).is_ok());
    assert_eq!(peer.sent()[0].sequence, 1, "a restart counts anew");
}

#[test]
fn too_much_is_refused() {
    let mut peer = Peer::with(Config {
        max_payload: 10,
        max_outgoing: 3,
        ..Config::default()
    });
    let options = OpenOptions {
        total_length: Some(11),
        ..bytes()
    };
    let error = OpenError::PayloadTooLarge {
        size: 11,
        limit: 10,
    };
    assert_eq!(peer.engine.open(options), Err(error));

    let unknown = peer.engine.open(bytes()).unwrap();
    let mut outgoing = peer.engine.outgoing(unknown).unwrap();
    outgoing.write(Bytes::from_static(b"12345678")).unwrap();
    let error = WriteError::PayloadTooLarge {
        size: 11,
        limit: 10,
    };
    assert_eq!(outgoing.write(Bytes::from_static(b"901")), Err(error));
    outgoing.write(Bytes::from_static(b"90")).unwrap();

    let declared = peer
        .engine
        .open(OpenOptions {
            total_length: Some(2),
            ..bytes()
        })
        .unwrap();
    let mut outgoing = peer.engine.outgoing(declared).unwrap();
    let error = WriteError::TooLong {
        declared: 2,
        written: 3,
    };
    assert_eq!(outgoing.write(Bytes::from_static(b"abc")), Err(error));

    let named = OpenOptions {
        id: Some("mine".into()),
        ..bytes()
    };
    peer.engine.open(named.clone()).unwrap();
    assert_eq!(
        peer.engine.open(bytes()),
        Err(OpenError::TooManyStreams { limit: 3 })
    );
    peer.engine.outgoing(unknown).unwrap().release();
    peer.sent();
    peer.engine.acknowledged(u64::MAX);
    assert_eq!(
        peer.engine.open(named),
        Err(OpenError::IdInUse { id: "mine".into() })
    );
}

#[test]
fn text_writes_are_checked() {
    let mut peer = Peer::bob();
    let id = peer.engine.open(text()).unwrap();
    let mut outgoing = peer.engine.outgoing(id).unwrap();
    let error = WriteError::InvalidText { offset: 2 };
    assert_eq!(
        outgoing.write(Bytes::from_static(b"ab\xff")),
        Err(error.clone())
    );
    assert_eq!(
        outgoing.write(Bytes::from_static(b"ab\xe2\x82")),
        Err(error)
    );
    assert_eq!(outgoing.progress().written, 0);
}

#[test]
fn a_trailer_carries_the_closing_attributes_within_a_packet() {
    let mut peer = Peer::bob();
    let id = peer.engine.open(text()).unwrap();
    let mut outgoing = peer.engine.outgoing(id).unwrap();
    let large = attributes(&[("a", &"x".repeat(64_000))]);
    assert!(matches!(
        outgoing.close(large),
        Err(CloseError::TrailerTooLarge { .. })
    ));
    outgoing.close(attributes(&[("final", "yes")])).unwrap();
    let packets = peer.sent();
    assert_eq!(
        trailer_of(&packets[1]).attributes,
        attributes(&[("final", "yes"), ("lkstream.length", "0")])
    );
}

#[test]
fn a_write_blocks_at_the_window_and_events_say_when_to_go_on() {
    let mut peer = Peer::with(Config {
        write_window: 100_000,
        ..Config::default()
    });
    let id = peer.engine.open(bytes()).unwrap();
    let content = Bytes::from(noise(1, 300_000));
    let mut outgoing = peer.engine.outgoing(id).unwrap();
    let Written::Blocked { taken } = outgoing.write(content.clone()).unwrap() else {
        panic!("300 kB fit into a window of 100 kB");
    };
    assert_eq!(taken, 105_000, "the chunk that crosses the line still fits");
    assert_eq!(
        outgoing.write(content.slice(taken..)),
        Ok(Written::Blocked { taken: 0 })
    );
    assert_eq!(outgoing.progress().queued, 105_000);
    peer.drain();
    assert!(peer.events.is_empty());
    peer.sent();
    peer.drain();
    assert_eq!(peer.events, [Event::Writable(id)]);
    let progress = peer.engine.outgoing(id).unwrap().progress();
    assert_eq!(
        (progress.queued, progress.sent, progress.acknowledged),
        (0, 105_000, 0)
    );
}

#[test]
fn a_window_smaller_than_a_chunk_still_moves() {
    let mut peer = Peer::with(Config {
        write_window: 0,
        ..Config::default()
    });
    let id = peer.engine.open(text()).unwrap();
    let mut rest = Bytes::from("\u{20ac}".repeat(20_000));
    let mut chunks = 0;
    while let Written::Blocked { taken } = peer
        .engine
        .outgoing(id)
        .unwrap()
        .write(rest.clone())
        .unwrap()
    {
        rest = rest.slice(taken..);
        chunks += peer.sent().len();
    }
    chunks += peer.sent().len();
    assert_eq!(chunks, 1 + 4);
}

#[test]
fn flushed_comes_when_the_trailer_is_acknowledged() {
    let mut peer = Peer::bob();
    let id = peer.engine.open(bytes()).unwrap();
    let mut outgoing = peer.engine.outgoing(id).unwrap();
    outgoing.write(Bytes::from(vec![1; 20_000])).unwrap();
    outgoing.close(BTreeMap::new()).unwrap();
    let sizes: Vec<u64> = std::iter::from_fn(|| peer.engine.poll_packet())
        .map(|packet| packet.bytes.len() as u64)
        .collect();
    let total: u64 = sizes.iter().sum();
    peer.engine.acknowledged(sizes[0] + sizes[1]);
    let outgoing = peer.engine.outgoing(id).unwrap();
    assert_eq!(outgoing.progress().acknowledged, 15_000);
    assert_eq!(outgoing.state(), OutgoingState::Closing);
    peer.engine.acknowledged(total - 1);
    peer.drain();
    assert!(peer.events.is_empty());
    peer.engine.acknowledged(total);
    peer.drain();
    assert_eq!(peer.events, [Event::Flushed(id)]);
    let outgoing = peer.engine.outgoing(id).unwrap();
    assert!(outgoing.is_flushed());
    assert_eq!(outgoing.progress().acknowledged, 20_000);
    outgoing.release();
    assert!(peer.engine.outgoing(id).is_none());
}

#[test]
fn nothing_is_sent_beyond_the_unacknowledged_limit() {
    let mut peer = Peer::with(Config {
        max_unacknowledged: 50_000,
        ..Config::default()
    });
    let id = peer.engine.open(bytes()).unwrap();
    peer.engine
        .outgoing(id)
        .unwrap()
        .write(Bytes::from(vec![1; 200_000]))
        .unwrap();
    let packets = peer.sent();
    assert_eq!(packets.len(), 5, "header and four chunks");
    let first: usize = packets[..2]
        .iter()
        .map(|packet| packet.to_bytes().len())
        .sum();
    peer.engine.acknowledged(first as u64);
    assert_eq!(peer.sent().len(), 1);
}

#[test]
fn a_resume_sends_again_what_the_server_lacks() {
    let mut peer = Peer::bob();
    let id = peer.engine.open(bytes()).unwrap();
    let mut outgoing = peer.engine.outgoing(id).unwrap();
    outgoing.write(Bytes::from(vec![1; 40_000])).unwrap();
    outgoing.close(BTreeMap::new()).unwrap();
    let first = peer.sent();
    peer.engine.resume(2, Duration::from_secs(5)).unwrap();
    let again = peer.sent();
    assert_eq!(again, first[2..]);
    let bytes: usize = again.iter().map(|packet| packet.to_bytes().len()).sum();
    peer.engine.acknowledged(bytes as u64);
    peer.drain();
    assert_eq!(peer.events, [Event::Flushed(id)]);
    assert!(
        peer.engine.resume(2, Duration::from_secs(5)).is_err(),
        "acknowledged packets are gone"
    );
}

#[test]
fn a_small_stream_overtakes_a_large_one() {
    let mut peer = Peer::bob();
    let large = peer.engine.open(bytes()).unwrap();
    peer.engine
        .outgoing(large)
        .unwrap()
        .write(Bytes::from(vec![1; 250_000]))
        .unwrap();
    for _ in 0..4 {
        peer.engine.poll_packet();
    }
    let small = peer.engine.open(text()).unwrap();
    let mut outgoing = peer.engine.outgoing(small).unwrap();
    outgoing.write(Bytes::from(vec![b'x'; 100])).unwrap();
    outgoing.close(BTreeMap::new()).unwrap();
    let id = outgoing.info().id.clone();
    let packets = peer.sent();
    assert_eq!(header_of(&packets[0]).stream_id, id.as_str());
    assert_eq!(chunk_of(&packets[1]).stream_id, id.as_str());
    assert_eq!(trailer_of(&packets[2]).stream_id, id.as_str());
}

#[test]
fn large_streams_share_by_the_byte() {
    let mut peer = Peer::bob();
    let ids: Vec<_> = (0..3).map(|_| peer.engine.open(bytes()).unwrap()).collect();
    for id in &ids {
        peer.engine
            .outgoing(*id)
            .unwrap()
            .write(Bytes::from(vec![1; 250_000]))
            .unwrap();
    }
    for _ in 0..33 {
        peer.engine.poll_packet();
        let sent: Vec<u64> = ids
            .iter()
            .map(|id| peer.engine.outgoing(*id).unwrap().progress().sent)
            .collect();
        let spread = sent.iter().max().unwrap() - sent.iter().min().unwrap();
        assert!(spread <= 30_000, "{sent:?}");
    }
}

#[test]
fn receipts_are_asked_for_by_an_attribute() {
    let packets = send(
        OpenOptions {
            receipts: Receipts::Request,
            ..text()
        },
        &[b"x"],
    );
    let wanted = attributes(&[("lkstream.receipt", "1")]);
    assert_eq!(header_of(&packets[0]).attributes, wanted);
}

/// A server may drop a slow receiver's packets (protocol.md §4.4): our receivers then know.
#[test]
fn an_open_length_is_said_in_the_trailer() {
    let packets = send(text(), &[b"x", b"yz"]);
    let length = attributes(&[("lkstream.length", "3")]);
    assert_eq!(trailer_of(&packets[3]).attributes, length);
    let declared = OpenOptions {
        total_length: Some(3),
        ..text()
    };
    let packets = send(declared, &[b"xyz"]);
    assert!(trailer_of(&packets[2]).attributes.is_empty());
}

#[test]
fn ids_follow_the_seed_and_differ() {
    let draw = |seed| {
        let mut engine = lkstream_engine::Engine::new(Config::default(), seed);
        engine.set_local(std::time::Instant::now(), "bob".into(), "PA_bob".into());
        let ids: Vec<_> = (0..3)
            .map(|_| {
                let id = engine.open(text()).unwrap();
                engine.outgoing(id).unwrap().info().id.clone()
            })
            .collect();
        ids
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let ids = draw(3);
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
    assert_eq!(ids[0].as_str().len(), 36);
}

#[test]
fn another_sid_is_a_new_session() {
    let mut peer = Peer::bob();
    let id = peer.engine.open(text()).unwrap();
    peer.sent();
    peer.join();
    assert_eq!(
        peer.engine.outgoing(id).unwrap().state(),
        OutgoingState::Open
    );
    peer.engine
        .set_local(peer.now, "bob".into(), "PA_bob2".into());
    let lost = OutgoingState::Lost(lkstream_engine::Lost::Restarted);
    assert_eq!(peer.engine.outgoing(id).unwrap().state(), lost);
    peer.engine.open(text()).unwrap();
    let packets = peer.sent();
    assert_eq!(packets[0].participant_sid, "PA_bob2");
    assert_eq!(packets[0].sequence, 1);
}
