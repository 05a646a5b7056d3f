#![allow(clippy::unwrap_used)]

use super::*;

const PACKET: usize = 1_000;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn link(config: Config) -> Link<u32> {
    Link::new(config, 7)
}

/// Sends `count` packets, one every `apart`, and gives what arrived with its time since the start.
fn carry(link: &mut Link<u32>, count: u32, apart: Duration) -> Vec<(Duration, u32)> {
    let start = Instant::now();
    for number in 0..count {
        let _ = link.push(start + apart * number, PACKET, number);
    }
    let mut arrived = Vec::new();
    while let Some(now) = link.poll_timeout() {
        arrived.push((now - start, link.pop(now).unwrap()));
    }
    arrived
}

#[test]
fn a_packet_arrives_after_the_delay_and_not_before() {
    let mut link = link(Config {
        delay: millis(10),
        ..Config::default()
    });
    let now = Instant::now();
    assert_eq!(link.push(now, PACKET, 1), None);
    assert_eq!(link.poll_timeout(), Some(now + millis(10)));
    assert_eq!(link.pop(now + millis(10) - Duration::from_nanos(1)), None);
    assert_eq!(link.pop(now + millis(10)), Some(1));
    assert_eq!(link.poll_timeout(), None);
    assert_eq!(link.totals().carried_bytes, PACKET as u64);
}

#[test]
fn a_bottleneck_spaces_packets() {
    let mut link = link(Config {
        delay: millis(5),
        bottleneck: Some(Bottleneck {
            bytes_per_second: 1_000_000,
            queue: 100 * PACKET,
        }),
        ..Config::default()
    });
    let arrived = carry(&mut link, 4, Duration::ZERO);
    let expected: Vec<_> = (0..4).map(|n| (millis(u64::from(n) + 6), n)).collect();
    assert_eq!(arrived, expected);
    assert_eq!(link.waits().quantile(0.5), Some(millis(1)));
    assert_eq!(link.waits().quantile(1.0), Some(millis(3)));
    let earlier = link.waits().clone();
    assert_eq!(link.waits().since(&earlier).quantile(0.5), None);
    carry(&mut link, 1, Duration::ZERO);
    assert!(link.waits().since(&earlier).quantile(0.5).is_some());
}

#[test]
fn a_full_queue_refuses_its_tail() {
    let mut link = link(Config {
        bottleneck: Some(Bottleneck {
            bytes_per_second: 1_000_000,
            queue: 3 * PACKET,
        }),
        ..Config::default()
    });
    let now = Instant::now();
    let refused: Vec<_> = (0..6).filter_map(|n| link.push(now, PACKET, n)).collect();
    assert_eq!(refused, [3, 4, 5]);
    // A millisecond later one of them is out.
    assert_eq!(link.push(now + millis(1), PACKET, 6), None);
    assert_eq!(link.push(now + millis(1), PACKET, 7), Some(7));
    assert_eq!(link.totals().overflowed, 4);
}

#[test]
fn a_queue_smaller_than_a_packet_still_lets_one_through() {
    let mut link = link(Config {
        bottleneck: Some(Bottleneck {
            bytes_per_second: 1_000_000,
            queue: 10,
        }),
        ..Config::default()
    });
    assert_eq!(carry(&mut link, 5, millis(1)).len(), 5);
}

#[test]
fn a_rate_of_nothing_carries_nothing() {
    let mut link = link(Config {
        bottleneck: Some(Bottleneck {
            bytes_per_second: 0,
            queue: usize::MAX,
        }),
        ..Config::default()
    });
    assert_eq!(carry(&mut link, 5, millis(1)), []);
    assert_eq!(link.totals().overflowed, 5);
}

#[test]
fn loss_has_its_share_and_is_exact_for_a_seed() {
    let run = |seed| {
        let config = Config {
            loss: Loss::Each(0.03),
            ..Config::default()
        };
        let mut link = Link::new(config, seed);
        let arrived = carry(&mut link, 100_000, Duration::ZERO);
        assert_eq!(link.totals().lost + link.totals().carried, 100_000);
        arrived.into_iter().map(|(_, n)| n).collect::<Vec<_>>()
    };
    let first = run(1);
    assert!((96_500..97_500).contains(&first.len()), "{}", first.len());
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}

#[test]
fn bursts_have_their_share_and_their_length() {
    let (share, length) = (0.02, 5.0);
    let mut link = link(Config {
        loss: Loss::Bursts { share, length },
        ..Config::default()
    });
    let arrived = carry(&mut link, 200_000, Duration::ZERO);
    let lost = link.totals().lost as f64;
    let bursts = arrived
        .windows(2)
        .filter(|pair| pair[1].1 > pair[0].1 + 1)
        .count();
    assert!((lost / 200_000.0 - share).abs() < 0.002, "{lost}");
    let mean = lost / bursts as f64;
    assert!((mean - length).abs() < 0.3, "{mean}");
}

#[test]
fn jitter_takes_packets_out_of_order_and_loses_none() {
    let mut link = link(Config {
        delay: millis(5),
        jitter: millis(3),
        ..Config::default()
    });
    let arrived = carry(&mut link, 1_000, Duration::from_micros(100));
    assert!(arrived.is_sorted_by_key(|(at, _)| *at));
    assert!(!arrived.is_sorted_by_key(|(_, number)| *number));
    for (at, number) in &arrived {
        let sent = Duration::from_micros(100) * *number;
        assert!((millis(5)..=millis(8)).contains(&(*at - sent)));
    }
    assert_eq!(arrived.len(), 1_000);
}

#[test]
fn a_cut_takes_what_is_under_way_and_what_comes() {
    let mut link = link(Config {
        delay: millis(5),
        ..Config::default()
    });
    let now = Instant::now();
    assert_eq!(link.push(now, PACKET, 1), None);
    link.cut();
    assert_eq!(link.push(now, PACKET, 2), Some(2));
    link.mend();
    assert_eq!(link.pop(now + millis(5)), None);
    assert_eq!(link.push(now, PACKET, 3), None);
    assert_eq!(link.pop(now + millis(5)), Some(3));
    assert_eq!(link.totals().cut_off, 2);
}

#[test]
fn what_is_under_way_is_bounded() {
    let mut link = link(Config {
        delay: Duration::from_secs(1),
        ..Config::default()
    });
    let now = Instant::now();
    assert_eq!(link.push(now, HELD_BYTES, 1), None);
    assert_eq!(link.push(now, 1, 2), Some(2));
    assert_eq!(link.pop(now + Duration::from_secs(1)), Some(1));
    assert_eq!(link.push(now, 1, 3), None);
    assert_eq!(link.totals().overflowed, 1);
}
