//! What goes through emulated links: `cargo run --release -p lkstream-conformance --example link [table|rate|cpu]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../sctp/tests/link/mod.rs"]
mod link;
#[allow(dead_code)]
#[path = "../tests/sctp/peer.rs"]
mod peer;
#[path = "../tests/sctp/rtc.rs"]
mod rtc;

use std::time::{Duration, Instant};

use bytes::Bytes;
use link::{Endpoint, Ours, Path, World, config, pair};
use lkstream_sctp::{Association, Config, Congestion};
use peer::{Peer, Role};
use rtc::Rtc;

const RTT: [u64; 5] = [0, 20, 50, 100, 200];
const LOSS: [f64; 4] = [0.0, 0.001, 0.01, 0.03];
const MB: f64 = 1e6;

fn main() {
    let what = std::env::args().nth(1).unwrap_or_default();
    if what.is_empty() || what == "cpu" {
        cpu();
    }
    if what.is_empty() || what == "rate" {
        rate();
    }
    if what.is_empty() || what == "table" {
        table();
    }
}

fn with(congestion: Congestion) -> Config {
    Config {
        congestion,
        ..config()
    }
}

fn path(rtt: u64, loss: f64) -> Path {
    Path {
        delay: Duration::from_micros(rtt * 500),
        loss,
        ..Path::default()
    }
}

/// What two state machines do on one core, over the real clock and without delay.
struct Work {
    bytes: u64,
    span: Duration,
    /// Time in the calls of the sender and of the receiver.
    spent: [Duration; 2],
}

impl Work {
    fn measure(a: &mut dyn Endpoint, b: &mut dyn Endpoint, loss: f64, span: Duration) -> Self {
        let message = Bytes::from(vec![7; 15_000]);
        let mut random = link::Random(77);
        let mut packets: Vec<Vec<u8>> = Vec::new();
        let mut spare: Vec<Vec<u8>> = Vec::new();
        let mut spent = [Duration::ZERO; 2];
        let start = Instant::now();
        let mut bytes = 0;
        while start.elapsed() < span {
            let now = Instant::now();
            if a.is_connected() {
                while a.room(4_000_000) >= message.len() {
                    a.write(now, 1, message.clone());
                }
            }
            spent[0] += now.elapsed();
            for sender in 0..2 {
                let (from, to): (&mut dyn Endpoint, &mut dyn Endpoint) = if sender == 0 {
                    (&mut *a, &mut *b)
                } else {
                    (&mut *b, &mut *a)
                };
                let now = Instant::now();
                while packets.len() < 64 {
                    let mut packet = spare.pop().unwrap_or_default();
                    packet.clear();
                    if !from.output(now, &mut packet) {
                        spare.push(packet);
                        break;
                    }
                    packets.push(packet);
                }
                if from.next_timeout().is_some_and(|at| at <= now) {
                    from.timeout(now);
                }
                spent[sender] += now.elapsed();
                let now = Instant::now();
                for packet in packets.drain(..) {
                    if !random.chance(loss) {
                        to.input(now, &packet);
                    }
                    spare.push(packet);
                }
                if to.next_timeout().is_some_and(|at| at <= now) {
                    to.timeout(now);
                }
                spent[1 - sender] += now.elapsed();
            }
            let now = Instant::now();
            while let Some((_, message)) = b.read() {
                bytes += message.len() as u64;
            }
            spent[1] += now.elapsed();
        }
        Self {
            bytes,
            span: start.elapsed(),
            spent,
        }
    }

    fn report(&self, name: &str) {
        let rate = self.bytes as f64 / self.span.as_secs_f64() / MB;
        let [sender, receiver] = self
            .spent
            .map(|spent| spent.as_secs_f64() * 1e9 / self.bytes as f64);
        println!("{name:24} {rate:7.1} {sender:8.3} {receiver:8.3}");
    }
}

fn ours(kind: Congestion) -> (Ours, Ours) {
    let now = Instant::now();
    (
        Ours::new(Association::connect(now, with(kind), 1)),
        Ours::new(Association::accept(now, with(kind), 2)),
    )
}

fn rtcs() -> (Rtc, Rtc) {
    let now = Instant::now();
    (Rtc::new(now, Role::Connect), Rtc::new(now, Role::Accept))
}

fn cpu() {
    println!("no delay, real clock, one thread: MB/s; sender and receiver, s/GB");
    let span = Duration::from_secs(4);
    for loss in LOSS {
        for kind in [Congestion::Bbr, Congestion::NewReno] {
            let (mut a, mut b) = ours(kind);
            let work = Work::measure(&mut a, &mut b, loss, span);
            work.report(&format!("ours {kind:?} {loss}"));
        }
        let (mut a, mut b) = rtcs();
        let work = Work::measure(&mut a, &mut b, loss, span);
        work.report(&format!("rtc-sctp {loss}"));
    }
}

fn measure<A: Endpoint, B: Endpoint>(mut world: World<A, B>) -> f64 {
    world.batch = 16;
    world.connect();
    let span = Duration::from_secs(6);
    world.throughput(Duration::from_secs(4), span, 16_000_000) / MB
}

fn table() {
    println!("virtual link without rate limit, MB/s (capped by the windows of 16 MB)");
    println!(
        "{:>12} {:>10} {:>10} {:>14} {:>14} {:>10}",
        "RTT/loss", "Bbr", "NewReno", "Bbr->rtc", "rtc->ours", "rtc-sctp"
    );
    for rtt in RTT.into_iter().skip(1) {
        for loss in LOSS {
            let path = || path(rtt, loss);
            let now = Instant::now();
            let both = |kind| measure(pair(1, path(), (with(kind), with(kind))));
            let to_rtc = measure(World::new(
                1,
                now,
                path(),
                Ours::new(Association::connect(now, with(Congestion::Bbr), 1)),
                Rtc::new(now, Role::Accept),
            ));
            let from_rtc = measure(World::new(
                1,
                now,
                path(),
                Rtc::new(now, Role::Connect),
                Ours::new(Association::accept(now, with(Congestion::Bbr), 1)),
            ));
            let (a, b) = rtcs();
            let rtc = measure(World::new(1, now, path(), a, b));
            println!(
                "{:>12} {:>10.2} {:>10.2} {:>14.2} {:>14.2} {:>10.2}",
                format!("{rtt}/{}%", loss * 100.0),
                both(Congestion::Bbr),
                both(Congestion::NewReno),
                to_rtc,
                from_rtc,
                rtc
            );
        }
    }
}

fn rate() {
    println!("100 Mbit/s, 50 ms: MB/s (of 12.5 with headers), median wait in the queue");
    for (bdps, loss) in [(1, 0.0), (1, 0.01), (4, 0.0), (4, 0.01)] {
        for kind in [Congestion::Bbr, Congestion::NewReno] {
            let path = Path {
                rate: Some(12_500_000),
                queue: 625_000 * bdps,
                ..path(50, loss)
            };
            let mut world = pair(3, path, (with(kind), with(kind)));
            world.connect();
            world.throughput(Duration::ZERO, Duration::from_secs(3), 8_000_000);
            world.there.waits.clear();
            let rate = world.throughput(Duration::ZERO, Duration::from_secs(20), 8_000_000) / MB;
            let waits = &mut world.there.waits;
            waits.sort_unstable();
            let median = waits[waits.len() / 2];
            println!(
                "{bdps} BDP {loss:5} {:8} {rate:6.2}  {median:?}",
                format!("{kind:?}")
            );
        }
    }
}
