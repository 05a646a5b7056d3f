//! Messages both ways: exactly once, in order where asked for, given up where allowed (RFC 9260 §6, RFC 3758).

use std::time::Duration;

use lkstream_sctp::{Config, Congestion};

use crate::link::traffic::{Plan, Traffic};
use crate::link::{Path, Random};
use crate::peer::{Peer, Role, connected};
use crate::proto::Proto;
use crate::rtc::Rtc;

/// Their timeouts are seconds, ours are not: so much virtual time may pass.
const LIMIT: Duration = Duration::from_secs(3_600);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A link, options of ours and messages that follow from the seed.
fn exchange<P: Peer>(seed: u64, role: Role) {
    let mut random = Random(seed * 11 + 5);
    let flip = |random: &mut Random, value: f64| if random.chance(0.5) { value } else { 0.0 };
    let path = Path {
        delay: ms(random.below(50)),
        loss: flip(&mut random, 0.05),
        burst: flip(&mut random, 0.4),
        duplication: flip(&mut random, 0.1),
        corruption: flip(&mut random, 0.01),
        reordering: flip(&mut random, 0.2),
        jitter: ms(random.below(30)),
        rate: random
            .chance(0.3)
            .then(|| 500_000 + random.below(5_000_000)),
        queue: 50_000,
        blackouts: Vec::new(),
    };
    let config = Config {
        packet: 400 + random.below(1_000) as usize,
        receive_window: 50_000 + random.below(1_000_000) as usize,
        max_message_size: 70_000,
        congestion: if random.chance(0.3) {
            Congestion::NewReno
        } else {
            Congestion::Bbr
        },
        ..Config::default()
    };
    let plan = Plan {
        messages: [random.below(60) as usize, random.below(60) as usize],
        streams: 1 + random.below(8) as u16,
        largest: 1_000 + random.below(60_000) as usize,
        is_partial: random.chance(0.5),
        has_pauses: random.chance(0.5),
        buffer: 20_000 + random.below(500_000) as usize,
    };
    let name = format!("{} {role:?}, seed {seed}, {path:?}, {plan:?}", P::NAME);
    let mut world = connected::<P>(seed, path, role, config);
    world.batch = 1 + random.below(4) as usize;
    Traffic::new(&name, seed, plan).run(&mut world, LIMIT);
}

fn exchanges<P: Peer>(seeds: std::ops::Range<u64>) {
    println!("seeds {seeds:?}");
    for seed in seeds {
        for role in Role::BOTH {
            exchange::<P>(seed, role);
        }
    }
}

#[test]
fn with_rtc_sctp() {
    exchanges::<Rtc>(0..100);
}

#[test]
fn with_sctp_proto() {
    exchanges::<Proto>(0..100);
}

#[test]
#[ignore = "long: 2 000 seeds"]
fn long_with_rtc_sctp() {
    exchanges::<Rtc>(100..2_000);
}

#[test]
#[ignore = "long: 2 000 seeds"]
fn long_with_sctp_proto() {
    exchanges::<Proto>(100..2_000);
}
