//! Streams of either engine, read by the other, and the same stream written by both.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use livekit_data_stream::api::{
    SendByteOptions, SendTextOptions, StreamByteOptions, StreamTextOptions, StreamWriter,
};
use livekit_protocol::DataPacket;
use livekit_protocol::data_packet::Value;
use lkstream_conformance::wire::Random;
use lkstream_engine::{
    Attributes, Config, Content, Engine, Event, OpenOptions, Read, ReadError, StreamInfo,
    StreamKind, TopicFilter, Written,
};
use lkstream_proto::id::{Identity, ParticipantSid};
use lkstream_proto::packet::Channel;
use prost::Message;

use crate::official::{self, Others, Seen, SeenInfo};

// ---- our engine

/// What our sender is asked to do.
struct Ask {
    content: Content,
    payload: Vec<u8>,
    writes: Vec<usize>,
    declared: bool,
    end: End,
    destinations: Vec<Identity>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    Abort,
}

/// The packets our engine makes of it, as the official schema reads them.
fn our_packets(ask: &Ask) -> Vec<DataPacket> {
    let now = Instant::now();
    let config = Config {
        write_window: 64 << 20,
        max_unacknowledged: 64 << 20,
        ..Config::default()
    };
    let mut engine = Engine::new(config, 1);
    engine.set_local(
        now,
        Identity::from("alice"),
        ParticipantSid::from("PA_alice"),
    );
    let mut options = OpenOptions::new(ask.content.clone(), "topic", SystemTime::UNIX_EPOCH);
    options.id = Some("the-stream".into());
    options.total_length = ask.declared.then_some(ask.payload.len() as u64);
    options.attributes = Attributes::from([("key".into(), "value".into())]);
    options.destinations.clone_from(&ask.destinations);
    let id = engine.open(options).unwrap();
    let mut rest = Bytes::from(ask.payload.clone());
    for size in &ask.writes {
        let piece = rest.split_to(*size);
        let written = engine.outgoing(id).unwrap().write(piece).unwrap();
        assert_eq!(written, Written::All);
    }
    let mut outgoing = engine.outgoing(id).unwrap();
    match ask.end {
        End::Close => outgoing
            .close(Attributes::from([("late".into(), "yes".into())]))
            .unwrap(),
        End::Abort => outgoing.abort("no more"),
    }
    let mut packets = Vec::new();
    while let Some(packet) = engine.poll_packet() {
        assert_eq!(packet.channel, Channel::Reliable);
        packets.push(DataPacket::decode(packet.bytes).unwrap());
    }
    packets
}

/// A stream as our receiver sees it.
#[derive(Debug)]
struct Got {
    info: Arc<StreamInfo>,
    bytes: Vec<u8>,
    end: Result<Attributes, ReadError>,
}

/// Feeds packets to our receiver; in the end their publisher leaves.
fn our_streams(packets: &[DataPacket]) -> Vec<Got> {
    let mut now = Instant::now();
    let mut engine = Engine::new(Config::default(), 2);
    engine.set_local(now, Identity::from("bob"), ParticipantSid::from("PA_bob"));
    for kind in [StreamKind::Text, StreamKind::Bytes] {
        engine.listen(kind, TopicFilter::Any);
    }
    let mut got = Vec::new();
    let mut reading = Vec::new();
    let read = |engine: &mut Engine, now, reading: &mut Vec<_>, got: &mut Vec<Got>| {
        while let Some(event) = engine.poll_event() {
            if let Event::Opened { id, info, .. } = event {
                reading.push((id, info, Vec::new()));
            }
        }
        reading.retain_mut(|(id, info, bytes): &mut (_, Arc<StreamInfo>, Vec<u8>)| {
            loop {
                let end = match engine.incoming(*id).unwrap().read(now) {
                    Read::Piece(piece) => {
                        bytes.extend_from_slice(&piece);
                        continue;
                    }
                    Read::Pending => return true,
                    Read::Finished(summary) => Ok(summary.attributes),
                    Read::Failed(error) => Err(error),
                };
                got.push(Got {
                    info: info.clone(),
                    bytes: std::mem::take(bytes),
                    end,
                });
                return false;
            }
        });
    };
    for packet in packets {
        // What breaks a rule is dropped; the readers tell what became of the stream.
        let _ = engine.handle_packet(now, Channel::Reliable, packet.encode_to_vec().into());
        read(&mut engine, now, &mut reading, &mut got);
    }
    engine.participant_left(
        now,
        &ParticipantSid::from("PA_alice"),
        &Identity::from("alice"),
    );
    while let Some(at) = engine.poll_timeout() {
        now = now.max(at);
        engine.handle_timeout(now);
        read(&mut engine, now, &mut reading, &mut got);
        if reading.is_empty() {
            break;
        }
    }
    read(&mut engine, now, &mut reading, &mut got);
    assert!(reading.is_empty(), "a stream never ends");
    got
}

/// What a server does to the packets of a publisher.
fn served(mut packets: Vec<DataPacket>) -> Vec<DataPacket> {
    for (index, packet) in packets.iter_mut().enumerate() {
        packet.participant_identity = "alice".into();
        packet.participant_sid = "PA_alice".into();
        packet.sequence = index as u32 + 1;
    }
    packets
}

// ---- payloads

fn text(random: &mut Random, size: usize) -> String {
    let mut text = String::new();
    loop {
        let next = ['a', 'Z', ' ', 'ß', 'д', '€', '語', '😀'][random.below(8) as usize];
        if text.len() + next.len_utf8() > size {
            return text;
        }
        text.push(next);
    }
}

const SIZES: [usize; 12] = [
    0, 1, 5, 14_999, 15_000, 15_001, 15_003, 29_998, 30_000, 45_001, 100_000, 300_000,
];

/// Sizes of the writes that make up a payload, cut where a text may be cut.
fn writes(random: &mut Random, payload: &[u8], kind: StreamKind) -> Vec<usize> {
    let mut writes = Vec::new();
    let mut start = 0;
    while start < payload.len() {
        let mut end = payload.len().min(start + 1 + random.below(40_000) as usize);
        if kind == StreamKind::Text {
            while end < payload.len() && payload[end] & 0xc0 == 0x80 {
                end += 1;
            }
        }
        writes.push(end - start);
        start = end;
    }
    writes
}

fn asks(seed: u64) -> Vec<Ask> {
    let mut random = Random::new(seed);
    let mut asks = Vec::new();
    for size in SIZES {
        for kind in [StreamKind::Text, StreamKind::Bytes] {
            let (content, payload) = match kind {
                StreamKind::Text => (Content::text(), text(&mut random, size).into_bytes()),
                StreamKind::Bytes => (Content::bytes("name.bin"), random.bytes(size)),
            };
            asks.push(Ask {
                content,
                writes: writes(&mut random, &payload, kind),
                payload,
                declared: random.happens(0.5),
                end: End::Close,
                destinations: Vec::new(),
            });
        }
    }
    asks
}

// ---- our sender

#[test]
fn the_official_receiver_reads_our_streams() {
    for ask in asks(1) {
        let seen = official::received(our_packets(&ask));
        let [Seen { info, content }] = &seen[..] else {
            panic!("{} streams", seen.len());
        };
        assert!(content.as_ref().unwrap() == &ask.payload);
        let length = ask.declared.then_some(ask.payload.len() as u64);
        let attributes = match (info, &ask.content) {
            (SeenInfo::Text(info), Content::Text { .. }) => {
                assert_eq!(
                    (info.id.as_str(), info.topic.as_str()),
                    ("the-stream", "topic")
                );
                assert_eq!(info.mime_type, "text/plain");
                assert_eq!(info.total_length, length);
                info.attributes()
            }
            (SeenInfo::Bytes(info), Content::Bytes { name }) => {
                assert_eq!(
                    (info.id.as_str(), info.topic.as_str()),
                    ("the-stream", "topic")
                );
                assert_eq!(info.mime_type, "application/octet-stream");
                assert_eq!(&info.name, name);
                assert_eq!(info.total_length, length);
                info.attributes()
            }
            other => panic!("{other:?}"),
        };
        // Those of the trailer came, too; ours says the length there when the header does not.
        assert_eq!(attributes.len(), if ask.declared { 2 } else { 3 });
        assert_eq!(attributes["key"], "value");
        assert_eq!(attributes["late"], "yes");
    }
}

#[test]
fn the_official_receiver_sees_that_our_stream_was_aborted() {
    for mut ask in asks(2) {
        ask.end = End::Abort;
        let seen = official::received(our_packets(&ask));
        for stream in &seen {
            let error = stream.content.as_ref().unwrap_err().to_string();
            assert_eq!(error, "stream closed abnormally: no more");
        }
    }
}

/// What a sender put on the wire, as far as it is not a name.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    Header {
        total_length: Option<u64>,
        compression: i32,
        to: Vec<String>,
    },
    Chunk {
        index: u64,
        content: Vec<u8>,
        to: Vec<String>,
    },
    Trailer {
        reason: String,
        to: Vec<String>,
    },
}

fn shapes(packets: Vec<DataPacket>) -> Vec<Shape> {
    packets
        .into_iter()
        .map(|packet| {
            let to = packet.destination_identities;
            match packet.value {
                Some(Value::StreamHeader(header)) => {
                    assert_eq!(header.inline_content, None);
                    Shape::Header {
                        total_length: header.total_length,
                        compression: header.compression,
                        to,
                    }
                }
                Some(Value::StreamChunk(chunk)) => Shape::Chunk {
                    index: chunk.chunk_index,
                    content: chunk.content,
                    to,
                },
                Some(Value::StreamTrailer(trailer)) => Shape::Trailer {
                    reason: trailer.reason,
                    to,
                },
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

/// The same writes become the same chunks (streams.md sender 1 to 5, 14, 15, 31, 32).
#[test]
fn both_senders_cut_the_same_chunks() {
    for (index, mut ask) in asks(3).into_iter().enumerate() {
        if index % 3 == 0 {
            ask.destinations = vec![Identity::from("bob"), Identity::from("jim")];
        }
        let to = ask
            .destinations
            .iter()
            .map(|to| to.as_str().into())
            .collect();
        let total = ask.declared.then_some(ask.payload.len() as u64);
        let (payload, writes) = (ask.payload.clone(), ask.writes.clone());
        let theirs = match ask.content {
            Content::Text { .. } => official::sent(|manager| async move {
                let mut options =
                    StreamTextOptions::new_with_topic("topic").with_destination_identities(to);
                options.total_length = total;
                let writer = manager.stream_text(options).await.unwrap();
                drop(manager);
                let mut rest = std::str::from_utf8(&payload).unwrap();
                for size in writes {
                    let (piece, after) = rest.split_at(size);
                    writer.write(piece).await.unwrap();
                    rest = after;
                }
                writer.close().await.unwrap();
            }),
            Content::Bytes { .. } => official::sent(|manager| async move {
                let mut options =
                    StreamByteOptions::new_with_topic("topic").with_destination_identities(to);
                options.total_length = total;
                let writer = manager.stream_bytes(options).await.unwrap();
                drop(manager);
                let mut rest = &payload[..];
                for size in writes {
                    let (piece, after) = rest.split_at(size);
                    writer.write(piece).await.unwrap();
                    rest = after;
                }
                writer.close().await.unwrap();
            }),
        };
        assert!(shapes(our_packets(&ask)) == shapes(theirs), "case {index}");
    }
}

// ---- our receiver

/// Checks that our receiver takes one whole stream out of packets of the official sender.
fn assert_read(packets: Vec<DataPacket>, payload: &[u8], total_length: Option<u64>) -> Got {
    let mut got = our_streams(&served(packets));
    assert_eq!(got.len(), 1);
    let got = got.remove(0);
    assert!(got.end.is_ok(), "{:?}", got.end);
    assert!(got.bytes == payload);
    assert_eq!(got.info.total_length, total_length);
    assert_eq!(got.info.topic.as_str(), "topic");
    assert_eq!(got.info.sender.as_str(), "alice");
    got
}

#[test]
fn our_receiver_reads_what_the_official_one_sends_at_once() {
    let mut random = Random::new(4);
    for others in [Others::Legacy, Others::Plain, Others::Modern] {
        for size in SIZES {
            let payloads = [
                text(&mut random, size),
                "hello world ".chars().cycle().take(size).collect(),
            ];
            for payload in payloads {
                let total = Some(payload.len() as u64);
                let content = payload.clone();
                let packets = official::sent(|manager| async move {
                    let options = SendTextOptions::new_with_topic("topic");
                    manager.send_text(&content, options, &others).await.unwrap();
                });
                if others != Others::Legacy && size < 14_000 {
                    assert_eq!(packets.len(), 1, "inline");
                }
                assert_read(packets, payload.as_bytes(), total);
            }
            for payload in [random.bytes(size), vec![7; size]] {
                let total = Some(payload.len() as u64);
                let content = payload.clone();
                let packets = official::sent(|manager| async move {
                    let options = SendByteOptions::new_with_topic("topic").with_name("a b.bin");
                    manager
                        .send_bytes(&content, options, &others)
                        .await
                        .unwrap();
                });
                let got = assert_read(packets, &payload, total);
                assert_eq!(got.info.content, Content::bytes("a b.bin"));
            }
        }
    }
}

#[test]
fn our_receiver_reads_what_the_official_one_writes_in_pieces() {
    for ask in asks(5) {
        let (payload, writes) = (ask.payload.clone(), ask.writes.clone());
        let packets = official::sent(|manager| async move {
            let options = StreamByteOptions::new_with_topic("topic");
            let writer = manager.stream_bytes(options).await.unwrap();
            drop(manager);
            let mut rest = &payload[..];
            for size in writes {
                let (piece, after) = rest.split_at(size);
                writer.write(piece).await.unwrap();
                rest = after;
            }
            let late = [("late".to_owned(), "yes".to_owned())].into();
            writer.close_with_options(None, Some(late)).await.unwrap();
        });
        let got = assert_read(packets, &ask.payload, None);
        assert_eq!(got.end.unwrap()["late"], "yes");
    }
}

#[test]
fn our_receiver_sees_that_the_official_sender_gave_up() {
    let packets = official::sent(|manager| async move {
        let writer = manager
            .stream_text(StreamTextOptions::new_with_topic("topic"))
            .await
            .unwrap();
        drop(manager);
        writer.write("half of").await.unwrap();
        writer.close_with_reason("out of words").await.unwrap();
    });
    let got = our_streams(&served(packets));
    assert_eq!(got[0].bytes, b"half of");
    assert!(
        matches!(&got[0].end, Err(ReadError::AbortedBySender { reason }) if &**reason == "out of words"),
        "{:?}",
        got[0].end
    );

    // Its writer, when dropped, says that all is well; only a declared length tells.
    for declared in [None, Some(1_000)] {
        let packets = official::sent(|manager| async move {
            let mut options = StreamByteOptions::new_with_topic("topic");
            options.total_length = declared;
            let writer = manager.stream_bytes(options).await.unwrap();
            drop(manager);
            writer.write(b"half").await.unwrap();
            drop(writer);
        });
        let got = our_streams(&served(packets));
        assert_eq!(got[0].bytes, b"half");
        match declared {
            None => assert!(got[0].end.is_ok()),
            Some(declared) => assert_eq!(
                got[0].end,
                Err(ReadError::Incomplete {
                    declared,
                    received: 4
                })
            ),
        }
    }
}

// ---- both receivers on damaged streams

/// What goes wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Nothing,
    Drop,
    Duplicate,
    Swap,
    ExtraHeader,
    ExtraTrailer,
    NoTrailer,
    Longer,
    Shorter,
    Reason,
}

const DAMAGES: [Damage; 10] = [
    Damage::Nothing,
    Damage::Drop,
    Damage::Duplicate,
    Damage::Swap,
    Damage::ExtraHeader,
    Damage::ExtraTrailer,
    Damage::NoTrailer,
    Damage::Longer,
    Damage::Shorter,
    Damage::Reason,
];

/// Gives the index of the chunk that was hit, where one was, and of the last one.
fn damage(packets: &mut Vec<DataPacket>, damage: Damage, random: &mut Random) -> (usize, usize) {
    let chunks = packets.len() as u64 - 2;
    // Of the chunks only: the transport keeps what it delivers in order, so this is a bad sender's or server's doing.
    let at = 1 + random.below(chunks) as usize;
    let header = |packets: &mut Vec<DataPacket>, change: i64| {
        if let Some(Value::StreamHeader(header)) = &mut packets[0].value {
            header.total_length = header
                .total_length
                .map(|length| length.saturating_add_signed(change));
        }
    };
    match damage {
        Damage::Nothing => {}
        Damage::Drop => drop(packets.remove(at)),
        Damage::Duplicate => packets.insert(at, packets[at].clone()),
        Damage::Swap => packets.swap(at, (at + 1).min(chunks as usize)),
        Damage::ExtraHeader => packets.insert(at, packets[0].clone()),
        Damage::ExtraTrailer => packets.push(packets[packets.len() - 1].clone()),
        Damage::NoTrailer => drop(packets.pop()),
        Damage::Longer => header(packets, 1),
        Damage::Shorter => header(packets, -1),
        Damage::Reason => {
            if let Some(Value::StreamTrailer(trailer)) =
                packets.last_mut().and_then(|packet| packet.value.as_mut())
            {
                trailer.reason = "damaged".into();
            }
        }
    }
    (at, chunks as usize)
}

/// Both receivers call a damaged stream whole or not, and agree on its bytes when they do.
#[test]
fn both_receivers_judge_damaged_streams_alike() {
    let mut whole = 0;
    let mut failed = 0;
    for seed in 0..600 {
        let mut random = Random::new(seed);
        let kind = [StreamKind::Text, StreamKind::Bytes][random.below(2) as usize];
        let size = 1 + random.below(80_000) as usize;
        let (content, payload) = match kind {
            StreamKind::Text => (Content::text(), text(&mut random, size + 4).into_bytes()),
            StreamKind::Bytes => (Content::bytes("name"), random.bytes(size)),
        };
        let ask = Ask {
            content,
            writes: writes(&mut random, &payload, kind),
            payload,
            declared: random.happens(0.5),
            end: End::Close,
            destinations: Vec::new(),
        };
        let mut packets = served(our_packets(&ask));
        let kind = DAMAGES[seed as usize % DAMAGES.len()];
        let (at, last) = damage(&mut packets, kind, &mut random);
        // Nothing but the length tells that the last chunk is missing, and only our receiver knows to find it in the
        // trailer.
        let unseen = kind == Damage::Drop && at == last && !ask.declared;
        if kind != Damage::Drop {
            // Only a loss leaves a gap in the packets' numbers; no packet is a repetition.
            packets = served(packets);
        }
        let got = our_streams(&packets);
        let seen = official::received(packets);
        assert_eq!(got.len(), seen.len(), "seed {seed}, {kind:?}");
        for (got, seen) in got.iter().zip(&seen) {
            if unseen {
                assert!(
                    matches!(got.end, Err(ReadError::Incomplete { .. })),
                    "seed {seed}: {:?}",
                    got.end
                );
                assert!(seen.content.is_ok());
                continue;
            }
            assert_eq!(
                got.end.is_ok(),
                seen.content.is_ok(),
                "seed {seed}, {kind:?}, {} bytes of {}: {:?}, {:?}",
                got.bytes.len(),
                ask.payload.len(),
                got.end,
                seen.content.as_ref().map(Vec::len)
            );
            if let Ok(content) = &seen.content {
                assert!(content == &got.bytes, "seed {seed}, {kind:?}");
                assert!(content == &ask.payload, "seed {seed}, {kind:?}");
                whole += 1;
            } else {
                failed += 1;
            }
        }
    }
    assert!(
        whole > 100 && failed > 100,
        "{whole} whole, {failed} failed"
    );
}
