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
