//! Setting an association up, from one side, from both, and anew (RFC 9260 §5).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_sctp::{Association, Config, Delivery, Event, SendError};

use crate::link::{Endpoint, Ours, Path, World, config, pair};
use crate::{count, ms, path};

/// RFC 9260 §5.1: four packets, two round trips.
#[test]
fn connects_in_two_round_trips() {
    let mut world = pair(1, path(10), (config(), config()));
    world.connect();
    assert_eq!(world.passed(), ms(40));
    assert_eq!(count(&world, Event::Connected), 2);
    assert_eq!(world.a.association.stats().rtt, Some(ms(20)));
}

/// RFC 9260 §5.2.1: both sides ask at once.
#[test]
fn both_sides_may_ask() {
    for seed in 0..200 {
        let lossy = Path {
            loss: 0.2,
            reordering: 0.3,
            jitter: ms(15),
            ..path(10)
        };
        let mut world = pair(seed, lossy, (config(), config()));
        world.b = Ours::new(Association::connect(world.now, config(), seed + 1));
        world.connect();
        world.a.write(world.now, 3, Bytes::from_static(b"a"));
        world.b.write(world.now, 4, Bytes::from_static(b"b"));
        let (mut at_a, mut at_b) = (None, None);
        while at_a.is_none() || at_b.is_none() {
            assert!(world.step() && world.passed() < ms(60_000), "seed {seed}");
            at_a = at_a.or(world.a.read_message());
            at_b = at_b.or(world.b.read_message());
        }
        assert_eq!(count(&world, Event::Connected), 2, "seed {seed}");
    }
}

/// An endpoint whose packets are kept as a number that all of them make.
struct Hashed {
    inner: Ours,
    hash: DefaultHasher,
}

impl Endpoint for Hashed {
    fn input(&mut self, now: Instant, packet: &[u8]) {
        self.inner.input(now, packet);
    }

    fn timeout(&mut self, now: Instant) {
        self.inner.timeout(now);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.inner.next_timeout()
    }

    fn output(&mut self, now: Instant, buffer: &mut Vec<u8>) -> bool {
        let before = buffer.len();
        let has_packet = self.inner.output(now, buffer);
        buffer[before..].hash(&mut self.hash);
        has_packet
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    fn buffered(&mut self) -> usize {
        self.inner.buffered()
    }

    fn send(&mut self, now: Instant, stream: u16, delivery: Delivery, message: Bytes) -> bool {
        self.inner.send(now, stream, delivery, message)
    }

    fn read(&mut self) -> Option<(u16, Bytes)> {
        self.inner.read()
    }
}

/// The same seed gives the same packets, byte by byte, and another one gives others.
#[test]
fn exact_for_a_seed() {
    let run = |seed: u64| {
        let lossy = Path {
            loss: 0.05,
            ..path(20)
        };
        let now = Instant::now();
        let hashed = |association| Hashed {
            inner: Ours::new(association),
            hash: DefaultHasher::new(),
        };
        let a = hashed(Association::connect(now, config(), seed));
        let b = hashed(Association::accept(now, config(), seed + 1));
        let mut world = World::new(5, now, lossy, a, b);
        world.connect();
        let rate = world.throughput(Duration::ZERO, ms(1_000), 1_000_000);
        let carried = (world.there.carried, world.back.carried, world.steps);
        let hashes = [world.a.hash.finish(), world.b.hash.finish()];
        (rate, carried, hashes)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).2, run(6).2);
}

/// RFC 9260 §5.2.4 case A: the other side lost all it knew.
#[test]
fn a_restarted_peer_is_taken() {
    let mut world = pair(1, path(10), (config(), config()));
    world.connect();
    world.a.write(world.now, 1, Bytes::from_static(b"before"));
    world.run(ms(500));
    while world.b.read_message().is_some() {}
    world.a = Ours::new(Association::connect(world.now, config(), 99));
    world.run(ms(500));
    assert!(world.a.association.is_connected());
    assert!(world.b.events.contains(&Event::Restarted));
    world.a.write(world.now, 1, Bytes::from_static(b"after"));
    world.b.write(world.now, 1, Bytes::from_static(b"back"));
    world.run(ms(500));
    assert_eq!(world.b.read_message().unwrap().1.bytes, "after");
    assert_eq!(world.a.read_message().unwrap().1.bytes, "back");
}

/// RFC 9260 §5.1.1: what waited for a stream that the other side turns out not to have is not sent, and is told; the rest arrives.
#[test]
fn messages_for_streams_that_there_are_not_are_told() {
    let few = Config {
        inbound_streams: 10,
        ..config()
    };
    for both_ask in [false, true] {
        let mut world = pair(1, path(10), (config(), few.clone()));
        if both_ask {
            world.b = Ours::new(Association::connect(world.now, few.clone(), 2));
        }
        for (stream, text) in [
            (500, "a"),
            (9, "here"),
            (10, "bc"),
            (500, "def"),
            (9, "too"),
        ] {
            world.a.write(world.now, stream, text.into());
        }
        world.connect();
        world.run(ms(500));
        let expected =
            [(10, 1), (500, 2)].map(|(stream, messages)| Event::NoStream { stream, messages });
        assert_eq!(world.a.events[0], Event::Connected);
        assert_eq!(world.a.events[1..], expected, "both {both_ask}");
        let arrived: Vec<_> = std::iter::from_fn(|| world.b.read()).collect();
        assert_eq!(arrived, [(9, "here".into()), (9, "too".into())]);
        assert_eq!(world.b.association.stats().chunks_received, 2);
        assert_eq!(world.a.association.buffered_total(), 0);
        assert_eq!(world.a.association.acknowledged(500), 4);
        let late = world.a.association.send(
            world.now,
            10,
            53,
            Delivery::default(),
            Bytes::from_static(b"late"),
        );
        let expected = SendError::NoStream {
            stream: 10,
            count: 10,
        };
        assert_eq!(late, Err(expected));
    }
}
