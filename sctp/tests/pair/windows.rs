//! The receive window (RFC 9260 §6.1, §6.2).

use std::time::Duration;

use lkstream_sctp::Config;

use crate::link::{Path, config, pair};
use crate::{ms, path};

/// RFC 9260 §6.2, §6.1 A: a reader that stops closes the window; nothing is lost, and it goes on at once when it reads again.
#[test]
fn a_stopped_reader_stops_the_sender() {
    let mut world = pair(9, path(10), (config(), config()));
    world.connect();
    world.b.is_reading = false;
    let rate = world.throughput(Duration::ZERO, ms(20_000), 8_000_000);
    assert_eq!(rate, 0.0);
    let stats = world.a.association.stats();
    assert!(stats.peer_window < 1_500, "{stats:?}");
    assert!(world.b.association.stats().window_drops < 30);
    assert!(stats.chunks_sent < 4_000, "{stats:?}");
    world.b.is_reading = true;
    let before = world.now;
    let mut received = 0;
    while received < 300 {
        assert!(world.step());
        while world.b.read_message().is_some() {
            received += 1;
        }
    }
    assert!(world.now - before < ms(500), "{:?}", world.now - before);
}

/// The receive window follows a fast reader.
#[test]
fn the_receive_window_grows() {
    let mut world = pair(1, path(50), (config(), config()));
    world.connect();
    world.throughput(Duration::ZERO, ms(5_000), 16_000_000);
    assert!(world.b.association.receive_window() > 2 * 1024 * 1024);
}

/// A path with a product of rate and round trip above 8 MB has as much in flight: the largest window does not bound it.
#[test]
fn a_long_fat_path_is_filled() {
    let wide = Path {
        rate: Some(100_000_000),
        queue: 4_000_000,
        ..path(100)
    };
    let large = Config {
        packet: 10_000,
        receive_window: 32 * 1024 * 1024,
        receive_window_limit: 32 * 1024 * 1024,
        send_buffer: 32 * 1024 * 1024,
        ..config()
    };
    let mut world = pair(1, wide, (large.clone(), large));
    world.connect();
    let mut most = 0;
    for _ in 0..60 {
        world.throughput(Duration::ZERO, ms(50), 32_000_000);
        most = most.max(world.a.association.stats().flight);
    }
    assert!(most > 8 * 1024 * 1024, "{most}");
}
