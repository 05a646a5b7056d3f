//! Lost chunks are sent again soon (RFC 8985).

use std::time::Duration;

use bytes::Bytes;

use crate::link::{Endpoint, Path, config, pair};
use crate::{ms, path};

/// RFC 8985 §6: every lost chunk is repaired within about a round trip, those lost again too.
#[test]
fn losses_do_not_wait_for_timeouts() {
    for seed in 0..20 {
        let lossy = Path {
            loss: 0.05,
            rate: Some(1_000_000),
            queue: 100_000,
            ..path(25)
        };
        let mut world = pair(seed, lossy, (config(), config()));
        world.connect();
        world.throughput(Duration::ZERO, ms(5_000), 4_000_000);
        let stats = world.a.association.stats();
        assert!(stats.timeouts <= 1, "seed {seed}: {stats:?}");
        assert!(stats.chunks_retransmitted > 20, "seed {seed}: {stats:?}");
        let wasted = stats.duplicates_reported as f64 / stats.chunks_retransmitted as f64;
        assert!(wasted < 0.1, "seed {seed}: {stats:?}");
    }
}

/// RFC 8985 §7: the last packet of a message is repaired by a probe, not by a timeout.
#[test]
fn a_lost_tail_is_probed() {
    let mut world = pair(4, path(25), (config(), config()));
    world.connect();
    world.run(ms(1_000));
    let begin = world.passed();
    world.there.path.blackouts = vec![(begin, begin + ms(1))];
    world.a.write(world.now, 0, Bytes::from(vec![1; 3_000]));
    while world.b.read_message().is_none() {
        assert!(world.step());
    }
    assert!(
        world.passed() - begin < ms(250),
        "{:?}",
        world.passed() - begin
    );
    assert_eq!(world.a.association.stats().timeouts, 0);
    assert!(world.a.association.stats().probes > 0);
}

/// RFC 5682: a delay that looks like an outage costs no window.
#[test]
fn a_spurious_timeout_is_undone() {
    let mut world = pair(8, path(25), (config(), config()));
    world.connect();
    world.throughput(Duration::ZERO, ms(2_000), 1_000_000);
    let before = world.a.association.stats();
    // Everything is held up for a second, nothing lost.
    world.there.path.delay = ms(1_000);
    world.throughput(Duration::ZERO, ms(1_000), 4_000_000);
    world.there.path.delay = ms(25);
    world.throughput(Duration::ZERO, ms(2_000), 4_000_000);
    let stats = world.a.association.stats();
    assert!(
        stats.spurious_timeouts > before.spurious_timeouts,
        "{stats:?}"
    );
}
