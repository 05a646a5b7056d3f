//! A scripted peer: builds packets as other clients send them, and reads an engine's.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use lkstream_engine::{
    Config, Content, Engine, Event, IncomingId, OpenOptions, PeerFault, Read, StreamInfo,
    StreamKind, TopicFilter,
};
use lkstream_proto::packet::{
    self, ByteHeader, Channel, Chunk, DataPacket, Header, TextHeader, Trailer, Value,
};

pub(crate) fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

pub(crate) fn text_header(id: &str) -> Header {
    Header {
        stream_id: id.to_owned(),
        timestamp: 1_700_000_000_123,
        topic: "lk.chat".to_owned(),
        mime_type: "text/plain".to_owned(),
        content: Some(packet::Content::Text(TextHeader::default())),
        ..Header::default()
    }
}

pub(crate) fn byte_header(id: &str) -> Header {
    Header {
        stream_id: id.to_owned(),
        topic: "files".to_owned(),
        mime_type: "application/octet-stream".to_owned(),
        content: Some(packet::Content::Bytes(ByteHeader {
            name: "unknown".to_owned(),
        })),
        ..Header::default()
    }
}

pub(crate) fn chunk(id: &str, index: u64, content: impl AsRef<[u8]>) -> Value {
    Value::StreamChunk(Chunk {
        stream_id: id.to_owned(),
        chunk_index: index,
        content: Bytes::copy_from_slice(content.as_ref()),
        ..Chunk::default()
    })
}

pub(crate) fn trailer(id: &str) -> Value {
    Value::StreamTrailer(Trailer {
        stream_id: id.to_owned(),
        ..Trailer::default()
    })
}

pub(crate) fn trailer_with(id: &str, reason: &str, pairs: &[(&str, &str)]) -> Value {
    Value::StreamTrailer(Trailer {
        stream_id: id.to_owned(),
        reason: reason.to_owned(),
        attributes: attributes(pairs),
    })
}

/// A packet of alice as the server hands it on.
pub(crate) fn from_alice(value: Value) -> DataPacket {
    DataPacket {
        participant_identity: "alice".to_owned(),
        participant_sid: "PA_alice".to_owned(),
        value: Some(value),
        ..DataPacket::default()
    }
}

pub(crate) fn deflate_raw(content: &[u8]) -> Vec<u8> {
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that look random, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

/// An engine in a room, its clock, and listeners for everything.
pub(crate) struct Peer {
    pub(crate) engine: Engine,
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
}

impl Peer {
    pub(crate) fn bob() -> Peer {
        Peer::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Peer {
        let mut peer = Peer::outside(config);
        peer.join();
        peer
    }

    /// A peer that has not joined yet.
    pub(crate) fn outside(config: Config) -> Peer {
        let mut engine = Engine::new(config, 7);
        engine.listen(StreamKind::Text, "lk.chat".into());
        engine.listen(StreamKind::Bytes, TopicFilter::Any);
        Peer {
            engine,
            now: Instant::now(),
            events: Vec::new(),
        }
    }

    pub(crate) fn join(&mut self) {
        self.engine
            .set_local(self.now, "bob".into(), "PA_bob".into());
    }

    pub(crate) fn take(&mut self, value: Value) -> Result<(), PeerFault> {
        self.take_packet(from_alice(value))
    }

    pub(crate) fn take_packet(&mut self, packet: DataPacket) -> Result<(), PeerFault> {
        let taken = self
            .engine
            .handle_packet(self.now, Channel::Reliable, packet.to_bytes());
        self.drain();
        taken
    }

    pub(crate) fn header(&mut self, header: Header) -> (IncomingId, Arc<StreamInfo>) {
        self.take(Value::StreamHeader(header)).unwrap();
        self.opened()
    }

    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            self.events.push(event);
        }
    }

    /// The stream that was opened last and not asked for yet.
    pub(crate) fn opened(&mut self) -> (IncomingId, Arc<StreamInfo>) {
        self.drain();
        let at = self
            .events
            .iter()
            .rposition(|event| matches!(event, Event::Opened { .. }));
        match self.events.remove(at.expect("no stream was opened")) {
            Event::Opened { id, info, .. } => (id, info),
            _ => unreachable!(),
        }
    }

    pub(crate) fn read(&mut self, id: IncomingId) -> Read {
        self.engine.incoming(id).expect("released").read(self.now)
    }

    /// Reads until there is no piece: the pieces and what came then.
    pub(crate) fn read_all(&mut self, id: IncomingId) -> (Vec<Bytes>, Read) {
        let mut pieces = Vec::new();
        loop {
            match self.read(id) {
                Read::Piece(piece) => pieces.push(piece),
                end => return (pieces, end),
            }
        }
    }

    pub(crate) fn finished(&mut self, id: IncomingId) -> Vec<u8> {
        let (pieces, end) = self.read_all(id);
        assert!(matches!(end, Read::Finished(_)), "{end:?}");
        pieces.concat()
    }

    pub(crate) fn failed(&mut self, id: IncomingId) -> lkstream_engine::ReadError {
        match self.read_all(id).1 {
            Read::Failed(error) => error,
            other => panic!("not failed: {other:?}"),
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.engine.handle_timeout(self.now);
        self.drain();
    }

    /// Everything the engine sends now.
    pub(crate) fn sent(&mut self) -> Vec<DataPacket> {
        std::iter::from_fn(|| self.engine.poll_packet())
            .map(|packet| {
                assert_eq!(packet.channel, Channel::Reliable);
                DataPacket::from_bytes(packet.bytes).unwrap()
            })
            .collect()
    }
}

pub(crate) fn text() -> OpenOptions {
    OpenOptions::new(
        Content::text(),
        "lk.chat",
        UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
    )
}

pub(crate) fn bytes() -> OpenOptions {
    OpenOptions::new(Content::bytes("unknown"), "files", UNIX_EPOCH)
}

pub(crate) fn header_of(packet: &DataPacket) -> &Header {
    match &packet.value {
        Some(Value::StreamHeader(header)) => header,
        other => panic!("no header: {other:?}"),
    }
}

pub(crate) fn chunk_of(packet: &DataPacket) -> &Chunk {
    match &packet.value {
        Some(Value::StreamChunk(chunk)) => chunk,
        other => panic!("no chunk: {other:?}"),
    }
}

pub(crate) fn trailer_of(packet: &DataPacket) -> &Trailer {
    match &packet.value {
        Some(Value::StreamTrailer(trailer)) => trailer,
        other => panic!("no trailer: {other:?}"),
    }
}
