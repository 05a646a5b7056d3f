//! Payloads that are sent whole, with random options: what our engine makes of them is read by the official receiver,
//! what the official sender makes of them is read by ours, and both choose the same form where they mean to.
//!
//! Intended differences are those of docs/differences.md.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use livekit_data_stream::api::{OperationType, SendByteOptions, SendTextOptions};
use livekit_protocol::DataPacket;
use livekit_protocol::data_packet::Value;
use lkstream_conformance::wire::Random;
use lkstream_engine::{
    Attributes, Capabilities, Compress, Config, Content, Engine, Event, OpenOptions, Read,
    StreamInfo, StreamKind, TextOperation, TopicFilter,
};
use lkstream_proto::packet::Channel;
use prost::Message;

use crate::official::{self, Others, Seen, SeenInfo};

/// Streams of each direction in one run.
const STREAMS: u64 = 5_000;

/// One send, as both engines are asked to do it.
#[derive(Debug, Clone)]
struct Ask {
    content: Content,
    payload: Vec<u8>,
    attributes: Attributes,
    mime_type: Option<String>,
    destinations: Vec<String>,
    others: Others,
    compress: bool,
}

impl Ask {
    fn random(seed: u64) -> Ask {
        let mut random = Random::new(seed);
        let size = match random.below(20) {
            0 => 0,
            1..=12 => random.below(700) as usize,
            13..=16 => 14_000 + random.below(2_000) as usize,
            17 | 18 => random.below(60_000) as usize,
            _ => random.below(400_000) as usize,
        };
        let is_text = random.happens(0.5);
        let payload = payload(&mut random, size, is_text);
        let pick = |random: &mut Random, n: u64| format!("id-{}", random.below(n));
        let content = if is_text {
            Content::Text {
                operation: [
                    TextOperation::Create,
                    TextOperation::Update,
                    TextOperation::Delete,
                    TextOperation::Reaction,
                ][random.below(4) as usize],
                version: random.below(4) as i32 - 1,
                reply_to: random
                    .happens(0.3)
                    .then(|| pick(&mut random, 100).as_str().into()),
                // The official sender keeps texts with attachments out of its single packet.
                attachments: Vec::new(),
                generated: random.happens(0.5),
            }
        } else {
            Content::bytes(pick(&mut random, 100))
        };
        Ask {
            content,
            payload,
            attributes: (0..random.below(3))
                .map(|n| (format!("key {n}"), pick(&mut random, 1_000_000)))
                .collect(),
            mime_type: (!is_text && random.happens(0.3)).then(|| "application/json".to_owned()),
            destinations: (0..random.below(3)).map(|_| pick(&mut random, 3)).collect(),
            others: [Others::Legacy, Others::Plain, Others::Modern][random.below(3) as usize],
            compress: random.happens(0.7),
        }
    }

    fn id(&self) -> &'static str {
        "the-stream"
    }

    fn is_text(&self) -> bool {
        self.content.kind() == StreamKind::Text
    }
}

fn payload(random: &mut Random, size: usize, is_text: bool) -> Vec<u8> {
    match random.below(3) {
        0 if is_text => {
            let letters = ['a', 'Z', ' ', 'ß', 'д', '€', '語', '😀'];
            let mut text = String::new();
            while text.len() < size {
                text.push(letters[random.below(8) as usize]);
            }
            text.into_bytes()
        }
        0 => random.bytes(size),
        1 => "one line of a log, 200 OK\n"
            .bytes()
            .cycle()
            .take(size)
            .collect(),
        _ => random
            .bytes(size)
            .iter()
            .map(|byte| b'a' + byte % 26)
            .collect(),
    }
}

/// The packets our engine makes of it, with compression as eager as the official one's.
fn our_packets(ask: &Ask) -> Vec<DataPacket> {
    let config = Config {
        max_unacknowledged: 64 << 20,
        ..Config::default()
    };
    let mut engine = Engine::new(config, 1);
    engine.set_local(Instant::now(), "alice".into(), "PA_alice".into());
    let capabilities = match ask.others {
        Others::Legacy => Capabilities::default(),
        Others::Plain => Capabilities {
            inflates: false,
            ..Capabilities::ALL
        },
        Others::Modern => Capabilities::ALL,
    };
    for identity in ["bob", "id-0", "id-1", "id-2"] {
        engine.participant(identity.into(), capabilities);
    }
    let mut options = OpenOptions::new(ask.content.clone(), "topic", SystemTime::UNIX_EPOCH);
    options.id = Some(ask.id().into());
    options.mime_type.clone_from(&ask.mime_type);
    options.attributes.clone_from(&ask.attributes);
    options.destinations = ask.destinations.iter().map(Into::into).collect();
    options.compress = if ask.compress {
        Compress::Always
    } else {
        Compress::Never
    };
    engine.send(options, ask.payload.clone().into()).unwrap();
    let mut packets = Vec::new();
    while let Some(packet) = engine.poll_packet() {
        packets.push(DataPacket::decode(packet.bytes).unwrap());
    }
    packets
}

fn their_packets(ask: &Ask) -> Vec<DataPacket> {
    let ask = ask.clone();
    official::sent(|manager| async move {
        let attributes: HashMap<_, _> = ask.attributes.clone().into_iter().collect();
        let to = ask
            .destinations
            .iter()
            .map(|to| to.as_str().into())
            .collect();
        match &ask.content {
            Content::Text {
                operation,
                version,
                reply_to,
                generated,
                ..
            } => {
                let mut options = SendTextOptions::new_with_topic("topic")
                    .with_id(ask.id())
                    .with_attributes(attributes)
                    .with_destination_identities(to)
                    .with_compress(ask.compress)
                    .with_version(*version)
                    .with_generated(*generated)
                    .with_operation_type(match operation {
                        TextOperation::Update => OperationType::Update,
                        TextOperation::Delete => OperationType::Delete,
                        TextOperation::Reaction => OperationType::Reaction,
                        _ => OperationType::Create,
                    });
                if let Some(id) = reply_to {
                    options = options.with_reply_to_stream_id(id.as_str());
                }
                let text = std::str::from_utf8(&ask.payload).unwrap();
                manager.send_text(text, options, &ask.others).await.unwrap();
            }
            Content::Bytes { name } => {
                let mut options = SendByteOptions::new_with_topic("topic")
                    .with_id(ask.id())
                    .with_attributes(attributes)
                    .with_destination_identities(to)
                    .with_compress(ask.compress)
                    .with_name(name);
                if let Some(mime_type) = &ask.mime_type {
                    options = options.with_mime_type(mime_type);
                }
                manager
                    .send_bytes(&ask.payload, options, &ask.others)
                    .await
                    .unwrap();
            }
        }
    })
}

#[test]
fn the_official_receiver_reads_what_we_send_whole() {
    let mut inline = 0;
    let mut compressed = 0;
    for seed in 0..STREAMS {
        let ask = Ask::random(seed);
        let packets = our_packets(&ask);
        inline += u32::from(packets.len() == 1);
        compressed += u32::from(shape(&packets).compression != 0);
        let seen = official::received(packets);
        let [Seen { info, content }] = &seen[..] else {
            panic!("seed {seed}: {} streams", seen.len());
        };
        let content = content.as_ref().unwrap_or_else(|error| {
            panic!("seed {seed}: {error}");
        });
        assert!(*content == ask.payload, "seed {seed}");
        let length = Some(ask.payload.len() as u64);
        let attributes = match info {
            SeenInfo::Text(info) => {
                assert!(ask.is_text(), "seed {seed}");
                assert_eq!(info.id.as_str(), ask.id());
                assert_eq!(info.total_length, length, "seed {seed}");
                info.attributes()
            }
            SeenInfo::Bytes(info) => {
                assert_eq!(ask.content, Content::bytes(&info.name), "seed {seed}");
                assert_eq!(info.id.as_str(), ask.id());
                assert_eq!(info.total_length, length, "seed {seed}");
                let mime_type = ask.mime_type.as_deref();
                assert_eq!(
                    info.mime_type,
                    mime_type.unwrap_or("application/octet-stream"),
                    "seed {seed}"
                );
                info.attributes()
            }
        };
        let expected: HashMap<_, _> = ask.attributes.clone().into_iter().collect();
        assert_eq!(attributes, expected, "seed {seed}");
    }
    assert!(
        inline > 1_000 && compressed > 500,
        "{inline} inline, {compressed} compressed"
    );
}

/// Our receiver, fed with packets as a server hands them on.
fn read(seed: u64, packets: Vec<DataPacket>) -> (Arc<StreamInfo>, Vec<u8>) {
    let now = Instant::now();
    let mut engine = Engine::new(Config::default(), 2);
    engine.set_local(now, "bob".into(), "PA_bob".into());
    engine.listen(StreamKind::Text, TopicFilter::Any);
    engine.listen(StreamKind::Bytes, TopicFilter::Any);
    let mut opened = None;
    let mut content = Vec::new();
    for (index, mut packet) in packets.into_iter().enumerate() {
        packet.participant_identity = "alice".into();
        packet.participant_sid = "PA_alice".into();
        packet.sequence = index as u32 + 1;
        let packet = Bytes::from(packet.encode_to_vec());
        engine
            .handle_packet(now, Channel::Reliable, packet)
            .unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        while let Some(event) = engine.poll_event() {
            if let Event::Opened { id, info, .. } = event {
                assert!(opened.is_none(), "seed {seed}");
                opened = Some((id, info));
            }
        }
        let (id, _) = opened.as_ref().unwrap();
        loop {
            match engine.incoming(*id).unwrap().read(now) {
                Read::Piece(piece) => content.extend_from_slice(&piece),
                Read::Pending => break,
                Read::Finished(_) => {
                    let (_, info) = opened.unwrap();
                    return (info, content);
                }
                Read::Failed(error) => panic!("seed {seed}: {error}"),
            }
        }
    }
    panic!("seed {seed}: the stream has no end");
}

#[test]
fn our_receiver_reads_what_the_official_one_sends_whole() {
    for seed in 0..STREAMS {
        let ask = Ask::random(STREAMS + seed);
        let (info, content) = read(seed, their_packets(&ask));
        assert!(content == ask.payload, "seed {seed}");
        assert_eq!(info.content, ask.content, "seed {seed}");
        assert_eq!(info.attributes, ask.attributes, "seed {seed}");
        assert_eq!(info.id, ask.id());
        assert_eq!(info.total_length, Some(ask.payload.len() as u64));
        // The official sender has its own clock.
        let age = SystemTime::now().duration_since(info.timestamp);
        assert!(age.unwrap() < Duration::from_secs(600), "seed {seed}");
    }
}

/// The form in which a payload went out.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    compression: i32,
    inline: bool,
    packets: usize,
    destinations: Vec<String>,
}

fn shape(packets: &[DataPacket]) -> Shape {
    let Some(Value::StreamHeader(header)) = &packets[0].value else {
        panic!("no header");
    };
    Shape {
        compression: header.compression,
        inline: header.inline_content.is_some(),
        packets: packets.len(),
        destinations: packets[0].destination_identities.clone(),
    }
}

/// Plain payloads have the same form from both. Compressed ones may differ by what the two encoders reach, which only
/// counts near a limit, so they are compared where the payload is far from one.
#[test]
fn both_senders_choose_the_same_form() {
    let mut compared = 0;
    for seed in 0..1_500 {
        let ask = Ask::random(2 * STREAMS + seed);
        let (ours, theirs) = (shape(&our_packets(&ask)), shape(&their_packets(&ask)));
        let may_differ = ask.compress && ask.others == Others::Modern;
        if may_differ && !(200..10_000).contains(&ask.payload.len()) {
            continue;
        }
        assert_eq!(ours, theirs, "seed {seed}, {} bytes", ask.payload.len());
        compared += 1;
    }
    assert!(compared > 1_000, "{compared}");
}
