//! Two associations of ours over links that lose, delay, repeat, reorder, damage and stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod link;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use link::{Ours, Path, Random, World, config, pair};
use lkstream_sctp::{
    Checksum, Closed, Config, Congestion, Delivery, Event, Order, Reliability, SendError,
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn path(delay: u64) -> Path {
    Path {
        delay: ms(delay),
        ..Path::default()
    }
}

fn count(world: &World<Ours, Ours>, event: Event) -> usize {
    world
        .a
        .events
        .iter()
        .chain(&world.b.events)
        .filter(|seen| **seen == event)
        .count()
}

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
        world.b = Ours::new(lkstream_sctp::Association::connect(
            world.now,
            config(),
            seed + 1,
        ));
        world.connect();
        world
            .a
            .association
            .send(
                world.now,
                3,
                53,
                Delivery::default(),
                Bytes::from_static(b"a"),
            )
            .unwrap();
        world
            .b
            .association
            .send(
                world.now,
                4,
                53,
                Delivery::default(),
                Bytes::from_static(b"b"),
            )
            .unwrap();
        let (mut at_a, mut at_b) = (None, None);
        while at_a.is_none() || at_b.is_none() {
            assert!(world.step() && world.passed() < ms(60_000), "seed {seed}");
            at_a = at_a.or(world.a.read_message());
            at_b = at_b.or(world.b.read_message());
        }
        assert_eq!(count(&world, Event::Connected), 2, "seed {seed}");
    }
}

/// Everything at once: each message exactly once, in order on its stream where that was asked for.
fn model(seed: u64, congestion: Congestion) {
    let mut random = Random(seed * 7 + 3);
    let flip = |random: &mut Random, value: f64| if random.chance(0.5) { value } else { 0.0 };
    let delay = random.below(60);
    let span = |from: u64, length: u64| (ms(from), ms(from + length));
    let path = Path {
        delay: ms(delay),
        loss: flip(&mut random, 0.1),
        burst: flip(&mut random, 0.6),
        duplication: flip(&mut random, 0.1),
        corruption: flip(&mut random, 0.02),
        reordering: flip(&mut random, 0.2),
        jitter: ms(random.below(40)),
        rate: random
            .chance(0.5)
            .then(|| 100_000 + random.below(2_000_000)),
        queue: 20_000 + random.below(100_000) as usize,
        blackouts: if random.chance(0.3) {
            vec![span(random.below(1_000), random.below(5_000))]
        } else {
            Vec::new()
        },
    };
    let config = Config {
        packet: 400 + random.below(1_000) as usize,
        receive_window: 20_000 + random.below(200_000) as usize,
        max_message_size: 50_000,
        congestion,
        checksum: if path.corruption > 0.0 || random.chance(0.5) {
            Checksum::Always
        } else {
            Checksum::ZeroOverDtls
        },
        heartbeat: None,
        ..config()
    };
    let described = format!("seed {seed}: {path:?}");
    let mut world = pair(seed, path, (config.clone(), config));
    world.batch = 1 + random.below(4) as usize;
    world.connect();
    const STREAMS: u64 = 4;
    // Stream 3 is unordered.
    let mut sent: BTreeMap<u16, Vec<Bytes>> = BTreeMap::new();
    let mut got: BTreeMap<u16, Vec<Bytes>> = BTreeMap::new();
    let mut total = 0;
    let mut left = 120;
    let mut received = 0;
    let mut is_reading = true;
    while received < 120 {
        assert!(
            world.passed() < ms(600_000),
            "stuck, {received} received, {described}, {:?}",
            world.a.association.stats()
        );
        if left > 0 && random.chance(0.3) {
            let stream = random.below(STREAMS) as u16;
            let length = if random.chance(0.2) {
                random.below(40_000)
            } else {
                random.below(2_000)
            };
            let mut bytes = vec![0; length as usize + 12];
            bytes[..8].copy_from_slice(&(total as u64).to_be_bytes());
            for byte in &mut bytes[8..] {
                *byte = random.next() as u8;
            }
            let bytes = Bytes::from(bytes);
            let delivery = Delivery {
                order: if stream == 3 {
                    Order::Unordered
                } else {
                    Order::Ordered
                },
                reliability: Reliability::Reliable,
            };
            match world
                .a
                .association
                .send(world.now, stream, 53, delivery, bytes.clone())
            {
                Ok(()) => {
                    sent.entry(stream).or_default().push(bytes);
                    total += 1;
                    left -= 1;
                }
                Err(SendError::Full { .. }) => {}
                Err(other) => panic!("{other}, {described}"),
            }
        }
        if random.chance(0.01) {
            is_reading = !is_reading;
        }
        world.b.is_reading = is_reading || left == 0;
        while let Some((stream, message)) = world.b.read_message() {
            got.entry(stream).or_default().push(message.bytes);
            received += 1;
        }
        if received < 120 {
            world.step();
        }
    }
    world.run(ms(2_000));
    assert!(world.b.read_message().is_none(), "{described}");
    for (stream, messages) in &sent {
        let mut messages = messages.clone();
        let mut arrived = got.remove(stream).unwrap_or_default();
        if *stream == 3 {
            messages.sort();
            arrived.sort();
        }
        assert!(arrived == messages, "stream {stream}, {described}");
    }
    // Everything is acknowledged in the end, and nothing is kept.
    world.run(ms(30_000));
    assert_eq!(
        world.a.association.buffered_total(),
        0,
        "{described} {:?}",
        world.a.association.stats()
    );
    assert_eq!(world.a.association.stats().flight, 0, "{described}");
}

#[test]
fn exactly_once_in_order_bbr() {
    for seed in 0..seeds() {
        model(seed, Congestion::Bbr);
    }
}

#[test]
fn exactly_once_in_order_new_reno() {
    for seed in 0..seeds() {
        model(seed, Congestion::NewReno);
    }
}

/// More in the long run: `SEEDS=1000`.
fn seeds() -> u64 {
    std::env::var("SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(150)
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
    world
        .a
        .association
        .send(
            world.now,
            0,
            53,
            Delivery::default(),
            Bytes::from(vec![1; 3_000]),
        )
        .unwrap();
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

/// An outage: the retransmission timer is not drawn out far, and `path_changed` does not wait for it at all.
#[test]
fn outages_end_soon() {
    for is_told in [false, true] {
        let mut world = pair(3, path(25), (config(), config()));
        world.connect();
        world.throughput(Duration::ZERO, ms(1_000), 1_000_000);
        let begin = world.passed();
        let dark = vec![(begin, begin + ms(20_000))];
        world.there.path.blackouts = dark.clone();
        world.back.path.blackouts = dark;
        world.throughput(Duration::ZERO, ms(20_000), 1_000_000);
        while world.b.read_message().is_some() {}
        let end = world.now;
        if is_told {
            world.a.association.path_changed(end);
            world.b.association.path_changed(end);
        }
        while world.b.read_message().is_none() {
            assert!(world.step());
        }
        let wait = world.now - end;
        let most = if is_told { ms(60) } else { ms(4_200) };
        assert!(wait <= most, "{wait:?}");
        let rate = world.throughput(ms(1_000), ms(2_000), 4_000_000);
        assert!(rate > 5e6, "{rate}");
    }
}

/// RFC 3758: what is not worth it is given up, and the rest arrives in order.
#[test]
fn limited_messages_are_given_up() {
    for seed in 0..40 {
        let lossy = Path {
            loss: 0.1,
            ..path(25)
        };
        let mut world = pair(seed, lossy, (config(), config()));
        world.connect();
        let mut random = Random(seed + 77);
        let mut next = 0u32;
        let mut got: Vec<(u16, u32)> = Vec::new();
        while next < 600 {
            let stream = random.below(4) as u16;
            let delivery = Delivery {
                order: if stream & 1 == 0 {
                    Order::Ordered
                } else {
                    Order::Unordered
                },
                reliability: match stream {
                    0 | 1 => Reliability::Retransmits(0),
                    2 => Reliability::Lifetime(ms(40)),
                    _ => Reliability::Reliable,
                },
            };
            let mut bytes = vec![0; 4 + random.below(3_000) as usize];
            bytes[..4].copy_from_slice(&next.to_be_bytes());
            world
                .a
                .association
                .send(world.now, stream, 53, delivery, bytes.into())
                .unwrap();
            next += 1;
            world.run(ms(2));
            while let Some((stream, message)) = world.b.read_message() {
                got.push((
                    stream,
                    u32::from_be_bytes(message.bytes[..4].try_into().unwrap()),
                ));
            }
        }
        world.run(ms(10_000));
        while let Some((stream, message)) = world.b.read_message() {
            got.push((
                stream,
                u32::from_be_bytes(message.bytes[..4].try_into().unwrap()),
            ));
        }
        let stats = world.a.association.stats();
        assert!(stats.chunks_abandoned > 0, "seed {seed}");
        assert_eq!(
            world.a.association.buffered_total(),
            0,
            "seed {seed} {stats:?}"
        );
        assert!(
            got.len() > 400 && got.len() < 600,
            "seed {seed}: {}",
            got.len()
        );
        for stream in [0, 2] {
            let numbers: Vec<_> = got
                .iter()
                .filter(|(of, _)| *of == stream)
                .map(|(_, n)| *n)
                .collect();
            assert!(numbers.is_sorted(), "seed {seed}");
        }
        let unique: std::collections::BTreeSet<_> = got.iter().collect();
        assert_eq!(unique.len(), got.len(), "seed {seed}");
    }
}

/// RFC 6525: both directions begin anew; what was sent before arrives before.
#[test]
fn streams_are_reset() {
    for seed in 0..100 {
        let lossy = Path {
            loss: 0.15,
            ..path(25)
        };
        let mut world = pair(seed, lossy, (config(), config()));
        world.connect();
        for round in 0..3u8 {
            for _ in 0..5 {
                world
                    .a
                    .association
                    .send(
                        world.now,
                        6,
                        53,
                        Delivery::default(),
                        Bytes::from(vec![round; 5_000]),
                    )
                    .unwrap();
            }
            world.a.association.reset_stream(world.now, 6).unwrap();
            assert_eq!(
                world.a.association.send(
                    world.now,
                    6,
                    53,
                    Delivery::default(),
                    Bytes::from_static(b"x")
                ),
                Err(SendError::Resetting(6))
            );
            let done = Event::ResetDone {
                stream: 6,
                is_accepted: true,
            };
            while count(&world, done) <= usize::from(round) {
                assert!(world.step() && world.passed() < ms(120_000), "seed {seed}");
            }
            assert_eq!(
                count(&world, Event::StreamReset(6)),
                usize::from(round) + 1,
                "seed {seed}"
            );
            let mut messages = 0;
            while let Some((_, message)) = world.b.read_message() {
                assert!(
                    message.bytes.iter().all(|byte| *byte == round),
                    "seed {seed}"
                );
                messages += 1;
            }
            assert_eq!(messages, 5, "seed {seed}");
        }
    }
}

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
            world
                .a
                .association
                .send(
                    world.now,
                    1,
                    53,
                    Delivery::default(),
                    Bytes::from(vec![5; 9_000]),
                )
                .unwrap();
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
        assert_eq!(
            count(&world, Event::Closed(Closed::Shutdown)),
            1,
            "seed {seed}"
        );
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

/// RFC 9260 §5.2.4 case A: the other side lost all it knew.
#[test]
fn a_restarted_peer_is_taken() {
    let mut world = pair(1, path(10), (config(), config()));
    world.connect();
    world
        .a
        .association
        .send(
            world.now,
            1,
            53,
            Delivery::default(),
            Bytes::from_static(b"before"),
        )
        .unwrap();
    world.run(ms(500));
    while world.b.read_message().is_some() {}
    world.a = Ours::new(lkstream_sctp::Association::connect(world.now, config(), 99));
    world.run(ms(500));
    assert!(world.a.association.is_connected());
    assert!(world.b.events.contains(&Event::Restarted));
    world
        .a
        .association
        .send(
            world.now,
            1,
            53,
            Delivery::default(),
            Bytes::from_static(b"after"),
        )
        .unwrap();
    world
        .b
        .association
        .send(
            world.now,
            1,
            53,
            Delivery::default(),
            Bytes::from_static(b"back"),
        )
        .unwrap();
    world.run(ms(500));
    assert_eq!(world.b.read_message().unwrap().1.bytes, "after");
    assert_eq!(world.a.read_message().unwrap().1.bytes, "back");
}

/// The receive window follows a fast reader.
#[test]
fn the_receive_window_grows() {
    let mut world = pair(1, path(50), (config(), config()));
    world.connect();
    world.throughput(Duration::ZERO, ms(5_000), 16_000_000);
    assert!(world.b.association.receive_window() > 2 * 1024 * 1024);
}
