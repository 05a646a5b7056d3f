//! A compressed stream of any bytes: pieces stay small, memory stays bounded, and it ends once.
#![no_main]

use std::time::Instant;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use lkstream_engine::{Config, Engine, Event, Read, StreamKind, TopicFilter};
use lkstream_proto::packet::{
    ByteHeader, Channel, Chunk, Compression, Content, DataPacket, Header, TextHeader, Trailer,
    Value,
};

const LIMIT: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&shape, data)) = data.split_first() else {
        return;
    };
    let now = Instant::now();
    let config = Config {
        max_payload: LIMIT,
        ..Config::default()
    };
    let mut engine = Engine::new(config, 1);
    engine.set_local(now, "bob".into(), "PA_bob".into());
    engine.listen(StreamKind::Text, TopicFilter::Any);
    engine.listen(StreamKind::Bytes, TopicFilter::Any);
    let mut take = |value| {
        let packet = DataPacket {
            participant_identity: "alice".into(),
            participant_sid: "PA_alice".into(),
            value: Some(value),
            ..DataPacket::default()
        };
        // What is refused is counted.
        let _ = engine.handle_packet(now, Channel::Reliable, packet.to_bytes());
    };
    let content = if shape & 1 == 0 {
        Content::Text(TextHeader::default())
    } else {
        Content::Bytes(ByteHeader::default())
    };
    let is_inline = shape & 2 == 0;
    take(Value::StreamHeader(Header {
        stream_id: "s".into(),
        compression: Compression::DeflateRaw as i32,
        content: Some(content),
        inline_content: is_inline.then(|| Bytes::copy_from_slice(data)),
        ..Header::default()
    }));
    if !is_inline {
        let size = usize::from(shape >> 2).max(1);
        for (index, content) in data.chunks(size).enumerate() {
            take(Value::StreamChunk(Chunk {
                stream_id: "s".into(),
                chunk_index: index as u64,
                content: Bytes::copy_from_slice(content),
                ..Chunk::default()
            }));
        }
        take(Value::StreamTrailer(Trailer {
            stream_id: "s".into(),
            ..Trailer::default()
        }));
    }
    let opened = std::iter::from_fn(|| engine.poll_event()).find_map(|event| match event {
        Event::Opened { id, .. } => Some(id),
        _ => None,
    });
    let Some(id) = opened else { return };
    let mut size = 0;
    loop {
        match engine.incoming(id).expect("not released").read(now) {
            Read::Piece(piece) => {
                assert!(!piece.is_empty() && piece.len() <= 64_000);
                size += piece.len() as u64;
                assert!(size <= LIMIT);
            }
            Read::Pending => panic!("the stream has ended"),
            end => {
                assert_eq!(engine.incoming(id).expect("not released").read(now), end);
                break;
            }
        }
    }
});
