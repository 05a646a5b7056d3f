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

/// 40 Mbit/s, 40 ms.
fn bottleneck(products: f64) -> Path {
    Path {
        delay: Duration::from_millis(20),
        rate: Some(5_000_000),
        queue: (200_000.0 * products) as usize,
        ..Path::default()
    }
}

/// Each within a fifth of its half with a long queue. With a short one the flow that came first keeps more: the aim is a fifth there too.
#[test]
fn two_flows_share() {
    for (products, most) in [(1.0, 0.35), (4.0, 0.2)] {
        let kinds = [Congestion::Bbr; 2];
        let got = share(1, &kinds, &bottleneck(products), 20, 40);
        let off = (got[0] - got[1]).abs() / (got[0] + got[1]);
        println!("{products} products: {got:?} {off:.2}");
        assert!(off < most, "{products} products: {got:?}");
        assert!(got[0] + got[1] > 0.85 * 5_000_000.0 * 40.0, "{got:?}");
    }
}

/// Loss-based flows keep their part, and we ours.
#[test]
fn neither_starves_beside_new_reno() {
    let kinds = [Congestion::NewReno, Congestion::Bbr];
    let got = share(1, &kinds, &bottleneck(1.0), 15, 40);
    println!("reno, bbr: {got:?}");
    assert!(got[0].min(got[1]) > 0.25 * (got[0] + got[1]), "{got:?}");
}
