//! Setting an association up, from one side, from both, and anew (RFC 9260 §5).

use std::time::Duration;

use bytes::Bytes;
use lkstream_sctp::{Association, Event};

use crate::link::{Endpoint, Ours, Path, config, pair};
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

/// The same seed gives the same packets.
#[test]
fn exact_for_a_seed() {
    let run = || {
        let lossy = Path {
            loss: 0.05,
            ..path(20)
        };
        let mut world = pair(5, lossy, (config(), config()));
        world.connect();
        let rate = world.throughput(Duration::ZERO, ms(1_000), 1_000_000);
        (rate, world.there.carried, world.back.carried, world.steps)
    };
    assert_eq!(run(), run());
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
