//! Flows that share a bottleneck.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod link;

use std::time::{Duration, Instant};

use bytes::Bytes;
use link::cubic::{Cubic, CubicReceiver};
use link::{Endpoint, Link, Ours, Path, Random, config};
use lkstream_sctp::{Association, Config, Congestion};

/// Bytes a second, and milliseconds there and back.
const PATHS: [(u64, u64); 4] = [
    (5_000_000, 40),
    (12_500_000, 20),
    (2_500_000, 100),
    (12_500_000, 100),
];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Bbr,
    NewReno,
    /// The TCP of another program.
    Cubic,
    /// The same with acknowledgements gathered for a millisecond.
    CubicInBursts,
}

/// Sender and receiver.
struct Flow([Box<dyn Endpoint>; 2]);

impl Flow {
    fn new(kind: Kind, begin: Instant, seed: u64) -> Self {
        let congestion = match kind {
            Kind::Bbr => Congestion::Bbr,
            Kind::NewReno => Congestion::NewReno,
            Kind::Cubic => return Self::cubic(begin, Duration::ZERO),
            Kind::CubicInBursts => return Self::cubic(begin, Duration::from_millis(1)),
        };
        let config = || Config {
            congestion,
            ..config()
        };
        Self([
            Box::new(Ours::new(Association::connect(begin, config(), seed))),
            Box::new(Ours::new(Association::accept(begin, config(), seed + 50))),
        ])
    }

    fn cubic(begin: Instant, gather: Duration) -> Self {
        Self([
            Box::new(Cubic::new(begin)),
            Box::new(CubicReceiver::new(gather)),
        ])
    }
}

/// Bytes that each flow got through in each of the spans, which follow each other; flow `n` begins after `n` seconds.
fn shares(seed: u64, kinds: &[Kind], path: &Path, spans: &[u64]) -> Vec<Vec<f64>> {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut random = Random(seed * 2 + 1);
    let back = Path {
        rate: None,
        ..path.clone()
    };
    let mut links = [Link::new(path.clone(), start), Link::new(back, start)];
    let mut flows: Vec<Flow> = Vec::new();
    let message = Bytes::from(vec![7; 15_000]);
    let mut received = Vec::new();
    let mut now = start;
    let mut buffer = Vec::new();
    let mut end = start;
    for span in spans {
        end += Duration::from_secs(*span);
        let mut got = vec![0.0; kinds.len()];
        while now < end {
            let begin = at(flows.len() as u64);
            if let Some(kind) = kinds.get(flows.len())
                && now >= begin
            {
                flows.push(Flow::new(*kind, begin, seed + flows.len() as u64));
            }
            for (number, Flow(ends)) in flows.iter_mut().enumerate() {
                while ends[0].room(8_000_000) >= message.len() {
                    ends[0].write(now, 1, message.clone());
                }
                while let Some((_, bytes)) = ends[1].read() {
                    got[number] += bytes.len() as f64;
                }
                for (from, link) in ends.iter_mut().zip(&mut links) {
                    // The number of the flow goes with the packet.
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
            let timeouts = flows
                .iter()
                .flat_map(|Flow(ends)| ends)
                .map(|end| end.next_timeout());
            let arrivals = links.iter().map(Link::next);
            let begin = (flows.len() < kinds.len()).then(|| at(flows.len() as u64));
            let next = timeouts.chain(arrivals).chain([begin]).flatten().min();
            now = now.max(next.unwrap());
            for (link, to) in links.iter_mut().zip([1, 0]) {
                while let Some(packet) = link.take(now) {
                    flows[usize::from(packet[0])].0[to].input(now, &packet[1..]);
                }
            }
            for end in flows.iter_mut().flat_map(|Flow(ends)| ends) {
                if end.next_timeout().is_some_and(|at| at <= now) {
                    end.timeout(now);
                }
            }
        }
        received.push(got);
    }
    let there = &mut links[0];
    there.waits.sort_unstable();
    let (count, median) = (there.waits.len(), there.waits[there.waits.len() / 2]);
    println!(
        "median wait {median:?}, dropped {} of {count}",
        there.dropped
    );
    received
}

/// Bytes that each flow got through in `span` seconds after `settle`.
fn share(seed: u64, kinds: &[Kind], path: &Path, settle: u64, span: u64) -> Vec<f64> {
    shares(seed, kinds, path, &[settle, span]).remove(1)
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

/// In the mean of three runs, since one that begins well or badly takes long to even out.
#[test]
fn two_flows_share() {
    for products in [1.0, 4.0] {
        let path = bottleneck(5_000_000, 40, products);
        let runs: Vec<_> = (1..4)
            .map(|seed| share(seed, &[Kind::Bbr; 2], &path, 20, 40))
            .collect();
        let mean = runs.iter().map(|got| imbalance(got)).sum::<f64>() / runs.len() as f64;
        println!("{products} products: {runs:?} {mean:.2}");
        assert!(mean < 0.2, "{products} products: {runs:?}");
        for got in runs {
            assert!(got[0] + got[1] > 0.85 * 5_000_000.0 * 40.0, "{got:?}");
        }
    }
}

/// Loss-based flows keep their part, and we ours.
#[test]
fn neither_starves_beside_new_reno() {
    for products in [1.0, 4.0] {
        let kinds = [Kind::NewReno, Kind::Bbr];
        let got = share(1, &kinds, &bottleneck(5_000_000, 40, products), 15, 40);
        println!("{products} products: reno, bbr: {got:?}");
        assert!(got[0].min(got[1]) > 0.25 * (got[0] + got[1]), "{got:?}");
    }
}

/// Whoever comes first, and however long the queue is.
#[test]
fn neither_starves_beside_cubic() {
    for kinds in [[Kind::Bbr, Kind::Cubic], [Kind::Cubic, Kind::Bbr]] {
        for products in [1.0, 4.0] {
            let got = share(1, &kinds, &bottleneck(5_000_000, 40, products), 15, 40);
            println!("{products} products: {kinds:?}: {got:?}");
            assert!(got[0].min(got[1]) > 0.25 * (got[0] + got[1]), "{got:?}");
        }
    }
}

/// Beside a slow start that fills a long queue at once, our part is back in a few seconds.
#[test]
fn a_filled_queue_is_no_reason_to_give_way_for_long() {
    let path = bottleneck(12_500_000, 50, 4.0);
    let got = shares(1, &[Kind::Bbr, Kind::Cubic], &path, &[5, 5, 5]);
    println!("{got:?}");
    for got in &got[1..] {
        assert!(got[0] > 0.25 * (got[0] + got[1]), "{got:?}");
    }
}

/// On many paths, in the mean of four runs each.
#[test]
#[ignore = "long: 64 simulated minutes"]
fn long_two_flows_share_on_many_paths() {
    for products in [1.0, 2.0, 4.0] {
        for (rate, rtt) in PATHS {
            let path = bottleneck(rate, rtt, products);
            let off: Vec<f64> = (1..5)
                .map(|seed| imbalance(&share(seed, &[Kind::Bbr; 2], &path, 20, 40)))
                .collect();
            let mean = off.iter().sum::<f64>() / off.len() as f64;
            println!("{rate} B/s, {rtt} ms, {products} products: {off:.2?}, mean {mean:.2}");
            assert!(mean < 0.2, "{rate} B/s, {rtt} ms, {products} products");
        }
    }
}

/// On many paths, in the mean of three runs each, from 10 s on.
#[test]
#[ignore = "long: 144 simulated minutes"]
fn long_neither_starves_beside_cubic_on_many_paths() {
    for cubic in [Kind::Cubic, Kind::CubicInBursts] {
        for kinds in [[Kind::Bbr, cubic], [cubic, Kind::Bbr]] {
            for products in [1.0, 2.0, 4.0] {
                for (rate, rtt) in PATHS {
                    let path = bottleneck(rate, rtt, products);
                    let parts: Vec<f64> = (1..4)
                        .map(|seed| share(seed, &kinds, &path, 10, 50))
                        .map(|got| got[0] / (got[0] + got[1]))
                        .collect();
                    let mean = parts.iter().sum::<f64>() / parts.len() as f64;
                    println!(
                        "{kinds:?}, {rate} B/s, {rtt} ms, {products} products: {parts:.2?}, mean {mean:.2}"
                    );
                    assert!((0.15..0.85).contains(&mean));
                }
            }
        }
    }
}
