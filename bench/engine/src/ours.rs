//! Our engine.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Instant, UNIX_EPOCH};

use bytes::Bytes;
use lkstream_engine::{
    Capabilities, Config, Content, Engine, Event, IncomingId, OpenOptions, OutgoingId, Read,
    StreamKind, TopicFilter, Written,
};

use crate::load::{BLOCK_BYTES, CHUNK_BYTES, TEXT_BYTES};
use crate::meter::{Cost, Count, Meter};
use crate::run;

/// The engine of this repository.
#[derive(Debug)]
pub struct Ours;

/// Chunks before counting starts, so that every queue has its size.
const WARM_UP: usize = 1_000;

impl run::Engine for Ours {
    fn both_ways(blocks: usize, count: Option<Count>) -> Cost {
        let mut pair = Pair::new();
        let block = Bytes::from(vec![7; BLOCK_BYTES]);
        let id = pair.open();
        let mut read = 0;
        let meter = Meter::start(count);
        for _ in 0..blocks {
            write(&mut pair.alice, id, &block);
            read += pair.carry();
        }
        let cost = meter.stop();
        assert_eq!(read, blocks * BLOCK_BYTES);
        cost
    }

    fn sending(blocks: usize, count: Option<Count>) -> Cost {
        let mut pair = Pair::new();
        let block = Bytes::from(vec![7; BLOCK_BYTES]);
        let id = pair.open();
        for _ in 0..WARM_UP.div_ceil(BLOCK_BYTES / CHUNK_BYTES) {
            write(&mut pair.alice, id, &block);
            pair.drain();
        }
        let meter = Meter::start(count);
        for _ in 0..blocks {
            write(&mut pair.alice, id, &block);
            pair.drain();
        }
        meter.stop()
    }

    fn receiving(chunks: usize, count: Option<Count>) -> Cost {
        let mut pair = Pair::new();
        let block = Bytes::from(vec![7; BLOCK_BYTES]);
        let id = pair.open();
        let mut packets = Vec::new();
        while packets.len() <= WARM_UP + chunks {
            write(&mut pair.alice, id, &block);
            while let Some(packet) = pair.alice.poll_packet() {
                pair.sent += packet.bytes.len() as u64;
                pair.alice.acknowledged(pair.sent);
                // As from a socket: a buffer of its own.
                packets.push(Bytes::from(packet.bytes.to_vec()));
            }
        }
        let mut packets = packets.into_iter();
        let receive = |packets: usize, pair: &mut Pair, from: &mut std::vec::IntoIter<Bytes>| {
            for packet in from.take(packets) {
                pair.receive(packet);
            }
        };
        receive(1 + WARM_UP, &mut pair, &mut packets);
        let meter = Meter::start(count);
        receive(chunks, &mut pair, &mut packets);
        meter.stop()
    }

    fn texts(texts: usize, count: Option<Count>) -> Cost {
        let mut pair = Pair::new();
        let text = "x".repeat(TEXT_BYTES);
        let send = |pair: &mut Pair| {
            let options = OpenOptions::new(Content::text(), "lk.chat", UNIX_EPOCH);
            let payload = Bytes::copy_from_slice(text.as_bytes());
            let id = pair.alice.send(options, payload).unwrap();
            pair.alice.outgoing(id).unwrap().release();
            assert_eq!(pair.carry(), TEXT_BYTES);
        };
        for _ in 0..WARM_UP {
            send(&mut pair);
        }
        let meter = Meter::start(count);
        for _ in 0..texts {
            send(&mut pair);
        }
        meter.stop()
    }

    fn one_shot(payload: Vec<u8>, count: Option<Count>) -> (Cost, u64) {
        let mut pair = Pair::new();
        let meter = Meter::start(count);
        let options = OpenOptions::new(Content::bytes("payload"), "files", UNIX_EPOCH);
        let id = pair.alice.send(options, Bytes::from(payload)).unwrap();
        pair.drain();
        let cost = meter.stop();
        assert!(pair.alice.outgoing(id).unwrap().is_flushed());
        (cost, pair.sent)
    }

    fn largest_piece(payload: Vec<u8>) -> usize {
        let size = payload.len();
        let mut pair = Pair::new();
        let options = OpenOptions::new(Content::bytes("payload"), "files", UNIX_EPOCH);
        pair.alice.send(options, Bytes::from(payload)).unwrap();
        assert_eq!(pair.carry(), size);
        pair.largest
    }

    fn unread(blocks: usize) -> (usize, f64) {
        let mut pair = Pair::new();
        let block = Bytes::from(vec![7; BLOCK_BYTES]);
        let id = pair.open();
        // Its reader is known and never reads.
        pair.carry();
        let unread = pair.reading.pop().unwrap();
        let began = pair.now;
        let mut texts = 0;
        for written in 1..=blocks {
            let mut rest = block.clone();
            while let Written::Blocked { taken } = pair
                .alice
                .outgoing(id)
                .unwrap()
                .write(rest.clone())
                .unwrap()
            {
                rest = rest.split_off(taken);
                pair.wait();
            }
            if written % 100 == 0 {
                let options = OpenOptions::new(Content::text(), "lk.chat", UNIX_EPOCH);
                let text = Bytes::from(vec![b'x'; TEXT_BYTES]);
                let id = pair.alice.send(options, text).unwrap();
                pair.alice.outgoing(id).unwrap().release();
                let mut read = pair.carry();
                while read == 0 {
                    read = pair.wait();
                }
                texts += usize::from(read == TEXT_BYTES);
            } else {
                pair.carry();
            }
        }
        let failed = pair.bob.incoming(unread).unwrap().read(pair.now);
        assert!(matches!(failed, Read::Failed(_)), "{failed:?}");
        (texts, (pair.now - began).as_secs_f64())
    }
}

/// Two engines, and the wire from alice to bob.
struct Pair {
    alice: Engine,
    bob: Engine,
    now: Instant,
    sent: u64,
    reading: Vec<IncomingId>,
    /// The largest piece that bob read.
    largest: usize,
}

impl Pair {
    fn new() -> Pair {
        let now = Instant::now();
        let mut alice = Engine::new(Config::default(), 1);
        alice.set_local(now, "alice".into(), "PA_alice".into());
        alice.participant("bob".into(), Capabilities::ALL);
        let mut bob = Engine::new(Config::default(), 2);
        bob.set_local(now, "bob".into(), "PA_bob".into());
        bob.listen(StreamKind::Bytes, TopicFilter::Any);
        bob.listen(StreamKind::Text, TopicFilter::Any);
        Pair {
            alice,
            bob,
            now,
            sent: 0,
            reading: Vec::new(),
            largest: 0,
        }
    }

    fn open(&mut self) -> OutgoingId {
        let options = OpenOptions::new(Content::bytes("b"), "files", UNIX_EPOCH);
        self.alice.open(options).unwrap()
    }

    /// Takes all packets and drops them.
    fn drain(&mut self) {
        while let Some(packet) = self.alice.poll_packet() {
            self.sent += packet.bytes.len() as u64;
            drop(packet);
            self.alice.acknowledged(self.sent);
        }
        while self.alice.poll_event().is_some() {}
    }

    /// Carries packets as long as bob takes them, who reads all he can. Bytes of payload read.
    fn carry(&mut self) -> usize {
        let mut read = 0;
        while !self.bob.is_over_budget()
            && let Some(packet) = self.alice.poll_packet()
        {
            self.sent += packet.bytes.len() as u64;
            read += self.receive(packet.bytes);
            self.alice.acknowledged(self.sent);
        }
        while self.alice.poll_event().is_some() {}
        read
    }

    /// Lets bob's time pass until something happens there, and carries on.
    fn wait(&mut self) -> usize {
        if self.bob.is_over_budget() {
            self.now = self.bob.poll_timeout().unwrap();
            self.bob.handle_timeout(self.now);
        }
        self.carry()
    }

    fn receive(&mut self, packet: Bytes) -> usize {
        let channel = lkstream_proto::packet::Channel::Reliable;
        self.bob.handle_packet(self.now, channel, packet).unwrap();
        while let Some(event) = self.bob.poll_event() {
            if let Event::Opened { id, .. } = event {
                self.reading.push(id);
            }
        }
        let mut read = 0;
        self.reading.retain(|id| {
            let mut incoming = self.bob.incoming(*id).unwrap();
            loop {
                match incoming.read(self.now) {
                    Read::Piece(piece) => {
                        read += piece.len();
                        self.largest = self.largest.max(piece.len());
                    }
                    Read::Pending => return true,
                    Read::Finished(_) => {
                        incoming.release(self.now);
                        return false;
                    }
                    Read::Failed(error) => panic!("{error}"),
                }
            }
        });
        read
    }
}

fn write(engine: &mut Engine, id: OutgoingId, block: &Bytes) {
    let written = engine.outgoing(id).unwrap().write(block.clone()).unwrap();
    assert_eq!(written, Written::All);
}
