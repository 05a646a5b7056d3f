//! Two endpoints and the links between them on virtual time, exact for a seed.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

pub mod cubic;
pub mod model;
pub mod path;
pub mod script;
pub mod traffic;

use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_sctp::{Association, Config, Delivery, Event, Message, SendError};

#[allow(unused_imports)]
pub use path::{Link, Path, Random};

/// What the world needs of an endpoint.
pub trait Endpoint {
    fn input(&mut self, now: Instant, packet: &[u8]);
    /// The same with a packet that may be kept, which spares those that keep it a copy.
    fn input_shared(&mut self, now: Instant, packet: Bytes) {
        self.input(now, &packet);
    }
    fn timeout(&mut self, now: Instant);
    fn next_timeout(&self) -> Option<Instant>;
    /// One packet at the end of the buffer; `false` when there is none.
    fn output(&mut self, now: Instant, buffer: &mut Vec<u8>) -> bool;
    fn is_connected(&self) -> bool {
        true
    }
    /// Bytes of messages that wait or are not acknowledged; one that takes no messages has no room for any.
    fn buffered(&mut self) -> usize {
        usize::MAX
    }
    /// Whether the message was taken: a stream that is being reset takes none, nor does a full buffer.
    fn send(&mut self, _now: Instant, _stream: u16, _delivery: Delivery, _message: Bytes) -> bool {
        false
    }
    /// Messages of all streams that wait.
    fn read(&mut self) -> Option<(u16, Bytes)> {
        None
    }

    /// Bytes the endpoint would take now.
    fn room(&mut self, limit: usize) -> usize {
        limit.saturating_sub(self.buffered())
    }

    fn write(&mut self, now: Instant, stream: u16, message: Bytes) {
        assert!(self.send(now, stream, Delivery::default(), message));
    }
}

/// Ours.
pub struct Ours {
    pub association: Association,
    pub events: Vec<Event>,
    readable: Vec<u16>,
    pub is_reading: bool,
    pub connected: bool,
}

impl Ours {
    pub fn new(association: Association) -> Self {
        Self {
            association,
            events: Vec::new(),
            readable: Vec::new(),
            is_reading: true,
            connected: false,
        }
    }

    fn poll(&mut self) {
        while let Some(event) = self.association.poll_event() {
            match event {
                Event::Readable(stream) => self.readable.push(stream),
                Event::Released { .. } => {}
                Event::Connected => {
                    self.connected = true;
                    self.events.push(event);
                }
                other => self.events.push(other),
            }
        }
    }

    pub fn read_message(&mut self) -> Option<(u16, Message)> {
        if !self.is_reading {
            return None;
        }
        self.poll();
        while let Some(&stream) = self.readable.last() {
            if let Some(message) = self.association.receive(stream) {
                return Some((stream, message));
            }
            self.readable.pop();
        }
        None
    }
}

impl Endpoint for Ours {
    fn input(&mut self, now: Instant, packet: &[u8]) {
        let _ = self.association.handle_packet(now, packet);
        self.poll();
    }

    fn timeout(&mut self, now: Instant) {
        self.association.handle_timeout(now);
        self.poll();
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.association.poll_timeout()
    }

    fn output(&mut self, now: Instant, buffer: &mut Vec<u8>) -> bool {
        self.association.poll_transmit(now, buffer).is_some()
    }

    fn is_connected(&self) -> bool {
        self.association.is_connected()
    }

    fn buffered(&mut self) -> usize {
        self.association.buffered_total()
    }

    fn send(&mut self, now: Instant, stream: u16, delivery: Delivery, message: Bytes) -> bool {
        match self.association.send(now, stream, 53, delivery, message) {
            Ok(()) => true,
            Err(SendError::Full { .. } | SendError::Resetting(_)) => false,
            Err(other) => panic!("{other}"),
        }
    }

    fn read(&mut self) -> Option<(u16, Bytes)> {
        self.read_message()
            .map(|(stream, message)| (stream, message.bytes))
    }
}

pub fn config() -> Config {
    Config::default()
}

/// Two endpoints, `a` and `b`.
pub struct World<A, B> {
    pub now: Instant,
    pub start: Instant,
    pub a: A,
    pub b: B,
    pub there: Link,
    pub back: Link,
    pub random: Random,
    buffer: Vec<u8>,
    pub steps: u64,
    /// Packets handled before the receiver may answer, as with receive offload.
    pub batch: usize,
}

pub fn pair(seed: u64, path: Path, config: (Config, Config)) -> World<Ours, Ours> {
    let now = Instant::now();
    let a = Ours::new(Association::connect(now, config.0, seed));
    let b = Ours::new(Association::accept(now, config.1, seed + 1));
    World::new(seed, now, path, a, b)
}

impl<A: Endpoint, B: Endpoint> World<A, B> {
    pub fn new(seed: u64, now: Instant, path: Path, a: A, b: B) -> Self {
        Self {
            now,
            start: now,
            a,
            b,
            there: Link::new(path.clone(), now),
            back: Link::new(path, now),
            random: Random(seed.wrapping_mul(2) + 1),
            buffer: Vec::new(),
            steps: 0,
            batch: 1,
        }
    }

    pub fn passed(&self) -> Duration {
        self.now - self.start
    }

    /// Sends what wants to be sent.
    pub fn flush(&mut self) {
        loop {
            self.buffer.clear();
            if !self.a.output(self.now, &mut self.buffer) {
                break;
            }
            self.there.send(self.now, &mut self.random, &self.buffer);
        }
        loop {
            self.buffer.clear();
            if !self.b.output(self.now, &mut self.buffer) {
                break;
            }
            self.back.send(self.now, &mut self.random, &self.buffer);
        }
    }

    /// On to the next thing that happens; `false` when nothing ever will.
    pub fn step(&mut self) -> bool {
        self.steps += 1;
        self.flush();
        let next = [
            self.there.next(),
            self.back.next(),
            self.a.next_timeout(),
            self.b.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        for _ in 0..self.batch {
            if let Some(packet) = self.there.take(self.now) {
                self.b.input(self.now, &packet);
            }
            if let Some(packet) = self.back.take(self.now) {
                self.a.input(self.now, &packet);
            }
        }
        if self.a.next_timeout().is_some_and(|at| at <= self.now) {
            self.a.timeout(self.now);
        }
        if self.b.next_timeout().is_some_and(|at| at <= self.now) {
            self.b.timeout(self.now);
        }
        true
    }

    pub fn connect(&mut self) {
        let limit = self.now + Duration::from_secs(60);
        while !(self.a.is_connected() && self.b.is_connected()) {
            assert!(
                self.step() && self.now < limit,
                "not connected after {:?}",
                self.passed()
            );
        }
    }

    /// Steps until the time has come.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end && self.step() {}
    }

    /// `a` sends as much as goes for `span`, `b` reads: bytes a second after `settle`.
    pub fn throughput(&mut self, settle: Duration, span: Duration, buffer: usize) -> f64 {
        let message = Bytes::from(vec![7; 15_000]);
        let begin = self.now + settle;
        let end = begin + span;
        let mut received = 0;
        while self.now < end {
            while self.a.room(buffer) >= message.len() {
                self.a.write(self.now, 1, message.clone());
            }
            while let Some((_, bytes)) = self.b.read() {
                if self.now >= begin {
                    received += bytes.len();
                }
            }
            if !self.step() {
                break;
            }
        }
        received as f64 / span.as_secs_f64()
    }
}
