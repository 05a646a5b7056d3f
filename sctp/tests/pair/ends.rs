//! Shutdown and abort (RFC 9260 §9).

use bytes::Bytes;
use lkstream_sctp::{Closed, Delivery, Event, SendError};

use crate::link::{Endpoint, Path, config, pair};
use crate::{count, ms, path};

/// RFC 9260 §9.2: nothing is lost by a shutdown.
#[test]
fn shutdown_delivers_first() {
    for seed in 0..100 {
        let lossy = Path {
            loss: 0.1,
            ..path(25)
        };
        let mut world = pair(seed, lossy, (config(), config()));
        world.connect();
        for _ in 0..10 {
            world.a.write(world.now, 1, Bytes::from(vec![5; 9_000]));
        }
        world.a.association.shutdown(world.now);
        while !(world.a.association.is_closed() && world.b.association.is_closed()) {
            assert!(world.step() && world.passed() < ms(120_000), "seed {seed}");
        }
        let mut received = 0;
        while world.b.read_message().is_some() {
            received += 1;
        }
        assert_eq!(received, 10, "seed {seed}");
        // RFC 9260 §8.4 rule 5: whatever of the end was lost is said again.
        for end in [Closed::Shutdown, Closed::RemoteShutdown] {
            assert_eq!(count(&world, Event::Closed(end)), 1, "seed {seed}");
        }
    }
}

/// RFC 9260 §9.2: the side that asked for the shutdown is sent all that the other still had, however long that takes, and answers
/// each packet of it.
#[test]
fn a_shutdown_waits_for_what_the_other_side_had() {
    let slow = Path {
        rate: Some(300_000),
        queue: 30_000,
        ..path(25)
    };
    let mut world = pair(1, slow, (config(), config()));
    world.connect();
    for _ in 0..1_000 {
        world.b.write(world.now, 1, Bytes::from(vec![1; 15_000]));
    }
    world.run(ms(200));
    world.a.association.shutdown(world.now);
    let begin = world.now;
    let mut received = 0;
    while !(world.a.association.is_closed() && world.b.association.is_closed()) {
        assert!(world.step() && world.now - begin < ms(60_000));
        while world.a.read_message().is_some() {
            received += 1;
        }
    }
    assert_eq!(received, 1_000);
    assert!(world.now - begin > ms(45_000), "{:?}", world.now - begin);
    for end in [Closed::Shutdown, Closed::RemoteShutdown] {
        assert_eq!(count(&world, Event::Closed(end)), 1);
    }
}

/// The same with an outage: T2-shutdown counts from the last DATA.
#[test]
fn an_outage_in_a_shutdown_costs_nothing() {
    let slow = Path {
        rate: Some(300_000),
        queue: 30_000,
        ..path(25)
    };
    let mut world = pair(2, slow, (config(), config()));
    world.connect();
    for _ in 0..100 {
        world.b.write(world.now, 1, Bytes::from(vec![1; 15_000]));
    }
    world.run(ms(200));
    world.a.association.shutdown(world.now);
    let begin = world.passed();
    let dark = |from| (begin + ms(from), begin + ms(from + 8_000));
    world.there.path.blackouts = vec![dark(500), dark(11_000), dark(21_000)];
    world.back.path.blackouts = world.there.path.blackouts.clone();
    let mut received = 0;
    while !(world.a.association.is_closed() && world.b.association.is_closed()) {
        assert!(world.step() && world.passed() - begin < ms(60_000));
        while world.a.read_message().is_some() {
            received += 1;
        }
    }
    assert_eq!(received, 100);
}

/// RFC 9260 §9.2: T2-shutdown. A side that says nothing at all is not waited for long.
#[test]
fn a_shutdown_that_nobody_answers_ends() {
    let mut world = pair(1, path(25), (config(), config()));
    world.connect();
    world.run(ms(100));
    world.a.association.shutdown(world.now);
    let begin = world.passed();
    world.back.path.blackouts = vec![(begin, begin + ms(60_000))];
    while !world.a.association.is_closed() {
        assert!(world.step() && world.passed() - begin < ms(30_000));
    }
    assert!(world.a.events.contains(&Event::Closed(Closed::TimedOut)));
}

/// RFC 9260 §9.1.
#[test]
fn abort_ends_at_once() {
    let mut world = pair(1, path(10), (config(), config()));
    world.connect();
    world.a.association.abort(world.now);
    world.run(ms(11));
    assert!(world.b.events.contains(&Event::Closed(Closed::RemoteAbort)));
    assert_eq!(
        world.a.association.send(
            world.now,
            1,
            53,
            Delivery::default(),
            Bytes::from_static(b"x")
        ),
        Err(SendError::Closed)
    );
    assert!(world.a.association.poll_timeout().is_none());
}
