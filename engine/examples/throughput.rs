//! What a chunk and a short text cost in the engine, both ends in one thread, wire encoding
//! included: `cargo run --release -p lkstream-engine --example throughput`.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::{Instant, UNIX_EPOCH};

use bytes::Bytes;
use lkstream_engine::{
    Config, Content, Engine, Event, IncomingId, OpenOptions, Read, StreamKind, TopicFilter, Written,
};

const BLOCK_BYTES: usize = 240_000;
const BLOCKS: usize = 5_000;
const TEXTS: usize = 100_000;

fn main() {
    let now = Instant::now();
    let mut alice = Engine::new(Config::default(), 1);
    alice.set_local(now, "alice".into(), "PA_alice".into());
    let mut bob = Engine::new(Config::default(), 2);
    bob.set_local(now, "bob".into(), "PA_bob".into());
    bob.listen(StreamKind::Bytes, TopicFilter::Any);
    bob.listen(StreamKind::Text, TopicFilter::Any);
    let mut wire = Wire::default();

    let block = Bytes::from(vec![7; BLOCK_BYTES]);
    let options = OpenOptions::new(Content::bytes("b"), "files", UNIX_EPOCH);
    let id = alice.open(options).unwrap();
    let started = Instant::now();
    let mut read = 0;
    for _ in 0..BLOCKS {
        let written = alice.outgoing(id).unwrap().write(block.clone()).unwrap();
        assert_eq!(written, Written::All);
        read += wire.carry(&mut alice, &mut bob, now);
    }
    assert_eq!(read, BLOCKS * BLOCK_BYTES);
    let seconds = started.elapsed().as_secs_f64();
    let gigabytes = read as f64 / 1e9;
    let chunks = read as f64 / 15_000.0;
    println!(
        "chunks: {:.3} s/GB, {:.0} ns a chunk",
        seconds / gigabytes,
        seconds / chunks * 1e9
    );

    let text = Bytes::from(vec![b'x'; 100]);
    let started = Instant::now();
    for _ in 0..TEXTS {
        let options = OpenOptions::new(Content::text(), "lk.chat", UNIX_EPOCH);
        let id = alice.open(options).unwrap();
        let mut outgoing = alice.outgoing(id).unwrap();
        outgoing.write(text.clone()).unwrap();
        outgoing.close(BTreeMap::new()).unwrap();
        outgoing.release();
        wire.carry(&mut alice, &mut bob, now);
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "texts of 100 bytes: {:.2} us each",
        seconds / TEXTS as f64 * 1e6
    );
}

/// Carries packets from one engine to another, which reads all it can.
#[derive(Default)]
struct Wire {
    carried: u64,
    reading: Vec<IncomingId>,
}

impl Wire {
    /// Bytes of payload read.
    fn carry(&mut self, from: &mut Engine, to: &mut Engine, now: Instant) -> usize {
        let mut read = 0;
        while let Some(packet) = from.poll_packet() {
            self.carried += packet.bytes.len() as u64;
            to.handle_packet(now, packet.channel, packet.bytes).unwrap();
            from.acknowledged(self.carried);
            while let Some(event) = to.poll_event() {
                if let Event::Opened { id, .. } = event {
                    self.reading.push(id);
                }
            }
            self.reading.retain(|id| {
                let mut incoming = to.incoming(*id).unwrap();
                loop {
                    match incoming.read(now) {
                        Read::Piece(piece) => read += piece.len(),
                        Read::Pending => return true,
                        Read::Finished(_) => {
                            incoming.release(now);
                            return false;
                        }
                        Read::Failed(error) => panic!("{error}"),
                    }
                }
            });
        }
        while from.poll_event().is_some() {}
        read
    }
}
