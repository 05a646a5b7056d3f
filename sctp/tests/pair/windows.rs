//! The receive window (RFC 9260 §6.1, §6.2).

use std::time::Duration;

use bytes::Bytes;
use lkstream_sctp::Config;

use crate::link::{Endpoint, Path, config, pair};
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

/// RFC 9260 §6.2, §8.3: so does that of a side that sends nothing itself, after the path has become ten times as long, whether it was
/// told or not.
#[test]
fn the_receive_window_follows_a_path_that_changes() {
    for is_told in [false, true] {
        let mut world = pair(1, path(10), (config(), config()));
        world.connect();
        world.run(ms(1_000));
        world.there.path.delay = ms(100);
        world.back.path.delay = ms(100);
        if is_told {
            world.a.association.path_changed(world.now);
            world.b.association.path_changed(world.now);
        }
        let rate = world.throughput(ms(2_000), ms(1_000), 15_000_000);
        // At 200 ms, the window of the beginning would be 10 MB/s.
        assert!(rate > 50e6, "told {is_told}: {rate}");
        let window = world.b.association.receive_window();
        assert_eq!(window, config().receive_window_limit, "told {is_told}");
    }
}

/// RFC 9260 §1.6, RFC 1982: of two SSNs more than half their range apart the larger is the older one. So however many small messages
/// wait behind a lost one, fewer than that of a stream are under way, and all arrive in order.
#[test]
fn numbers_of_a_stream_never_span_half_their_range() {
    let mut world = pair(1, path(50), (config(), config()));
    world.connect();
    world.throughput(Duration::ZERO, ms(2_000), 4_000_000);
    while world.a.buffered() > 0 {
        assert!(world.step());
        while world.b.read_message().is_some() {}
    }
    let begin = world.passed();
    for number in 0..45_000u32 {
        world
            .a
            .write(world.now, 1, Bytes::from(number.to_be_bytes().to_vec()));
    }
    // The first packet is lost.
    assert!(world.a.output(world.now, &mut Vec::new()));
    let before = world.b.association.stats();
    let mut most = 0;
    let mut got = 0u32;
    while got < 45_000 {
        assert!(world.step() && world.passed() - begin < ms(10_000), "{got}");
        let arrived = world.b.association.stats().chunks_received - before.chunks_received;
        most = most.max(arrived - u64::from(got));
        while let Some((_, message)) = world.b.read_message() {
            assert_eq!(message.bytes, got.to_be_bytes()[..]);
            got += 1;
        }
    }
    // So many waited behind the lost one that the bound was what held back the rest.
    assert!((25_000..32_767).contains(&most), "{most}");
    assert_eq!(world.b.association.stats().chunks_refused, 0);
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
