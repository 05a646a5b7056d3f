//! Attacks with packets over an own connection, by a participant of the innocents' room.

use bytes::Bytes;
use lkstream_conformance::process::Failure;
use lkstream_proto::packet::{
    ByteHeader, Chunk, Content, DataPacket, Header, TextHeader, Trailer, UserPacket, Value,
};
use lkstream_transport::ChannelConfig;

use crate::guest::Guest;
use crate::pair::{Joins, Pair};
use crate::server::{Server, token};

/// A message on a data channel, with its name.
pub(crate) type Input = (String, Bytes);

fn packet(value: Value) -> DataPacket {
    DataPacket {
        value: Some(value),
        ..DataPacket::default()
    }
}

/// A header of a file to everybody.
fn header(id: &str) -> Header {
    Header {
        stream_id: id.into(),
        topic: "files".into(),
        mime_type: "application/octet-stream".into(),
        content: Some(Content::Bytes(ByteHeader::default())),
        ..Header::default()
    }
}

/// Messages that servers and receivers have to survive.
pub(crate) fn inputs() -> Vec<Input> {
    let user = |size: usize| {
        packet(Value::User(UserPacket {
            payload: vec![7; size].into(),
            ..UserPacket::default()
        }))
    };
    let chunk = |index: u64, content: usize| {
        packet(Value::StreamChunk(Chunk {
            stream_id: "stream".into(),
            chunk_index: index,
            content: vec![7; content].into(),
            ..Chunk::default()
        }))
    };
    let changed = |change: &dyn Fn(&mut DataPacket)| {
        let mut packet = user(10);
        change(&mut packet);
        packet
    };
    let head = |change: &dyn Fn(&mut Header)| {
        let mut header = header("stream");
        change(&mut header);
        packet(Value::StreamHeader(header))
    };
    let packets = [
        ("without a value", DataPacket::default()),
        ("of 65 000 bytes", user(64_900)),
        ("of no bytes", user(0)),
        (
            "in the name of an innocent",
            changed(&|packet| packet.participant_identity = "innocent-sender".into()),
        ),
        (
            "in the name of an innocent session",
            changed(&|packet| packet.participant_sid = "PA_innocent".into()),
        ),
        (
            "in a name of 60 kB",
            changed(&|packet| packet.participant_identity = "x".repeat(60_000)),
        ),
        (
            "to nobody of that name",
            changed(&|packet| packet.destination_identities = vec!["nobody".into()]),
        ),
        (
            "to 4000 of no name",
            changed(&|packet| packet.destination_identities = vec![String::new(); 4000]),
        ),
        (
            "to an innocent 3000 times",
            changed(&|packet| {
                packet.destination_identities = vec!["innocent-receiver".into(); 3000]
            }),
        ),
        ("of number 0", changed(&|packet| packet.sequence = 0)),
        (
            "of number 2^32-1",
            changed(&|packet| packet.sequence = u32::MAX),
        ),
        ("of kind -1", changed(&|packet| packet.kind = -1)),
        (
            "legacy speakers of nonsense",
            packet(Value::Speaker(Bytes::from_static(&[0xff; 100]))),
        ),
        (
            "header of nothing",
            packet(Value::StreamHeader(Header::default())),
        ),
        (
            "header without an id",
            head(&|header| header.stream_id = String::new()),
        ),
        (
            "header with an id of 10 kB",
            head(&|header| header.stream_id = "x".repeat(10_000)),
        ),
        (
            "header without a content",
            head(&|header| header.content = None),
        ),
        (
            "header of length 2^64-1",
            head(&|header| header.total_length = Some(u64::MAX)),
        ),
        (
            "header of a topic of 10 kB",
            head(&|header| header.topic = "x".repeat(10_000)),
        ),
        (
            "header of 2000 attributes",
            head(&|header| {
                header.attributes = (0..2000).map(|key| (key.to_string(), "v".into())).collect()
            }),
        ),
        (
            "header whose name climbs",
            head(&|header| {
                header.content = Some(Content::Bytes(ByteHeader {
                    name: "../../../etc/passwd".into(),
                }))
            }),
        ),
        (
            "header whose name has a null byte",
            head(&|header| {
                header.content = Some(Content::Bytes(ByteHeader {
                    name: "a\0b".into(),
                }))
            }),
        ),
        (
            "header at the end of time",
            head(&|header| header.timestamp = i64::MAX),
        ),
        (
            "header before all time",
            head(&|header| header.timestamp = i64::MIN),
        ),
        (
            "header of a text with 3000 attachments",
            head(&|header| {
                header.content = Some(Content::Text(TextHeader {
                    attached_stream_ids: vec!["x".into(); 3000],
                    ..TextHeader::default()
                }))
            }),
        ),
        (
            "header of a text of an unknown operation",
            head(&|header| {
                header.content = Some(Content::Text(TextHeader {
                    operation_type: 99,
                    ..TextHeader::default()
                }))
            }),
        ),
        (
            "chunk of no stream",
            packet(Value::StreamChunk(Chunk {
                stream_id: "nobody's".into(),
                content: vec![7; 100].into(),
                ..Chunk::default()
            })),
        ),
        ("chunk of index 2^64-1", chunk(u64::MAX, 10)),
        ("chunk of 60 kB", chunk(0, 60_000)),
        ("empty chunk", chunk(0, 0)),
        ("chunk again", chunk(0, 10)),
        (
            "trailer of no stream",
            packet(Value::StreamTrailer(Trailer {
                stream_id: "nobody's".into(),
                ..Trailer::default()
            })),
        ),
        (
            "trailer with a reason of 10 kB",
            packet(Value::StreamTrailer(Trailer {
                stream_id: "stream".into(),
                reason: "x".repeat(10_000),
                ..Trailer::default()
            })),
        ),
        (
            "trailer again",
            packet(Value::StreamTrailer(Trailer {
                stream_id: "stream".into(),
                ..Trailer::default()
            })),
        ),
    ];
    let mut inputs: Vec<Input> = packets
        .into_iter()
        .map(|(name, packet)| (format!("packet {name}"), packet.to_bytes()))
        .collect();
    let plain = user(10).to_bytes();
    for (name, bytes) in [
        ("empty message", Vec::new()),
        ("zeros", vec![0; 1000]),
        ("high bytes", vec![0xff; 1000]),
        ("half a packet", plain[..plain.len() / 2].to_vec()),
        ("two packets in one", plain.repeat(2)),
        (
            "names twice",
            [&b"\x22\x01a\x22\x0finnocent-sender"[..], &plain].concat(),
        ),
        ("endless groups", vec![0x0b; 10_000]),
        ("20 000 empty fields", b"\x2a\x00".repeat(20_000)),
        ("varint of 11 bytes", vec![0xff; 11]),
        ("name that is no UTF-8", b"\x22\x02\xff\xfe".to_vec()),
    ] {
        inputs.push((name.to_owned(), bytes.into()));
    }
    inputs
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_packets_harm_nobody() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let attack = async {
        for (channel, input) in ["_reliable", "_lossy"]
            .into_iter()
            .flat_map(|channel| inputs().into_iter().map(move |input| (channel, input)))
        {
            // The server may end a connection for its packet; the next one gets a new one.
            let mut guest = Guest::join(&target, &token("attacker", "yard"), |_| {}).await?;
            let id = guest.channel(channel).await?;
            let (name, bytes) = input;
            let sent = guest.send(id, [bytes]).await;
            sent.map_err(|error| Failure::new(format!("`{name}` on {channel}: {error:?}")))?;
        }
        Ok(())
    };
    server.endure(&mut pair, "hostile packets", attack).await
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_without_number_and_of_equal_names_harm_nobody() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let attack = async {
        for labels in [
            (0..200)
                .map(|number| format!("channel-{number}"))
                .collect::<Vec<_>>(),
            vec!["_reliable".to_owned(); 10],
            vec![String::new(); 10],
            vec!["x".repeat(60_000); 4],
        ] {
            let mut guest = Guest::join(&target, &token("attacker", "yard"), |config| {
                let channels = labels.iter().map(|label| ChannelConfig::reliable(label));
                config.channels.extend(channels);
            })
            .await?;
            let id = guest.channel("_reliable").await?;
            guest
                .send(id, vec![Bytes::from_static(&[7; 1000]); 100])
                .await?;
        }
        Ok(())
    };
    server
        .endure(&mut pair, "channels without number", attack)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_never_end_harm_nobody() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let attack = async {
        let mut guest = Guest::join(&target, &token("attacker", "yard"), |_| {}).await?;
        let id = guest.channel("_reliable").await?;
        let streams = (0..5000).map(|number| {
            let mut packet = packet(Value::StreamHeader(header(&format!("stream-{number}"))));
            packet.sequence = number + 1;
            packet.to_bytes()
        });
        guest.send(id, streams).await
    };
    let what = "5000 streams that never end, in the same room";
    server.endure(&mut pair, what, attack).await?;
    Ok(())
}
