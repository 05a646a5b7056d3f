//! Flows that share a bottleneck.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod link;

use std::time::{Duration, Instant};

use bytes::Bytes;
use link::{Endpoint, Link, Ours, Path, Random, config};
use lkstream_sctp::{Association, Config, Congestion};

/// Bytes that each flow got through in `span` after `settle`; flow `n` begins after `n` seconds.
fn share(seed: u64, kinds: &[Congestion], path: &Path, settle: u64, span: u64) -> Vec<f64> {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut random = Random(seed * 2 + 1);
    let mut there = Link::new(path.clone(), start);
    let mut back = Link::new(
        Path {
            rate: None,
            ..path.clone()
        },
        start,
    );
    let mut flows: Vec<(Ours, Ours)> = kinds
        .iter()
        .zip(0u64..)
        .map(|(congestion, number)| {
            let config = || Config {
                congestion: *congestion,
                ..config()
            };
            let begin = at(number);
            (
                Ours::new(Association::connect(begin, config(), seed + number)),
                Ours::new(Association::accept(begin, config(), seed + 50 + number)),
            )
        })
        .collect();
    let message = Bytes::from(vec![7; 15_000]);
    let mut received = vec![0.0; flows.len()];
    let mut now = start;
    let mut buffer = Vec::new();
    while now < at(settle + span) {
        for (number, (a, b)) in flows.iter_mut().enumerate() {
            if now < at(number as u64) {
                continue;
            }
            while a.room(8_000_000) >= message.len() {
                a.write(now, 1, message.clone());
            }
            while let Some((_, bytes)) = b.read() {
                if now >= at(settle) {
                    received[number] += bytes.len() as f64;
                }
            }
            // The number of the flow goes with the packet.
            for (from, link) in [(a, &mut there), (b, &mut back)] {
                loop {
                    buffer.clear();
                    buffer.push(number as u8);
                    if !from.output(now, &mut buffer) {
                        break;
                    }
                    link.send(now, &mut random, &buffer);
                }
            }
        }
        let mut next = vec![there.next(), back.next()];
        for (number, (a, b)) in flows.iter().enumerate() {
            if now < at(number as u64) {
                next.push(Some(at(number as u64)));
            } else {
                next.extend([a.next_timeout(), b.next_timeout()]);
            }
        }
        now = now.max(next.into_iter().flatten().min().unwrap());
        while let Some(packet) = there.take(now) {
            flows[usize::from(packet[0])].1.input(now, &packet[1..]);
        }
        while let Some(packet) = back.take(now) {
            flows[usize::from(packet[0])].0.input(now, &packet[1..]);
        }
        for (number, (a, b)) in flows.iter_mut().enumerate() {
            if now >= at(number as u64) {
                for end in [a, b] {
                    if end.next_timeout().is_some_and(|at| at <= now) {
                        end.timeout(now);
                    }
                }
            }
        }
    }
    there.waits.sort_unstable();
    let (count, median) = (there.waits.len(), there.waits[there.waits.len() / 2]);
    println!(
        "median wait {median:?}, dropped {} of {count}",
        there.dropped
    );
    received
}

/// So many bytes a second and milliseconds there and back, with a queue of this many products of the two.
fn bottleneck(rate: u64, rtt: u64, products: f64) -> Path {
    Path {
        delay: Duration::from_micros(rtt * 500),
        rate: Some(rate),
        queue: (rate as f64 * rtt as f64 / 1e3 * products) as usize,
        ..Path::default()
    }
}

/// How far the two are from their halves: 0 for equal, 1 when one has all.
fn imbalance(got: &[f64]) -> f64 {
    (got[0] - got[1]).abs() / (got[0] + got[1])
}

#[test]
fn two_flows_share() {
    for products in [1.0, 4.0] {
        let path = bottleneck(5_000_000, 40, products);
        let got = share(1, &[Congestion::Bbr; 2], &path, 20, 40);
        println!("{products} products: {got:?} {:.2}", imbalance(&got));
        assert!(imbalance(&got) < 0.2, "{products} products: {got:?}");
        assert!(got[0] + got[1] > 0.85 * 5_000_000.0 * 40.0, "{got:?}");
    }
}

/// Loss-based flows keep their part, and we ours.
#[test]
fn neither_starves_beside_new_reno() {
    for products in [1.0, 4.0] {
        let kinds = [Congestion::NewReno, Congestion::Bbr];
        let got = share(1, &kinds, &bottleneck(5_000_000, 40, products), 15, 40);
        println!("{products} products: reno, bbr: {got:?}");
        assert!(got[0].min(got[1]) > 0.25 * (got[0] + got[1]), "{got:?}");
    }
}

/// On many paths, in the mean of four runs each.
#[test]
#[ignore = "long: 64 simulated minutes"]
fn long_two_flows_share_on_many_paths() {
    for products in [1.0, 2.0, 4.0] {
        for (rate, rtt) in [
            (5_000_000, 40),
            (12_500_000, 20),
            (2_500_000, 100),
            (12_500_000, 100),
        ] {
            let path = bottleneck(rate, rtt, products);
            let off: Vec<f64> = (1..5)
                .map(|seed| imbalance(&share(seed, &[Congestion::Bbr; 2], &path, 20, 40)))
                .collect();
            let mean = off.iter().sum::<f64>() / off.len() as f64;
            println!("{rate} B/s, {rtt} ms, {products} products: {off:.2?}, mean {mean:.2}");
            assert!(mean < 0.2, "{rate} B/s, {rtt} ms, {products} products");
        }
    }
}
