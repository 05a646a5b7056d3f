//! Everything at once, judged by a model: each message exactly once, in order on its stream where that was asked for.

use std::time::Duration;

use lkstream_sctp::{Association, Checksum, Config, Congestion, Event};

use crate::link::traffic::{Plan, Traffic};
use crate::link::{Endpoint, Ours, Path, Random, World, config, pair, script};
use crate::ms;

/// Seeds whose first TSN is less than 1 000 before the wrap.
const WRAPPING: [u64; 8] = [
    809_202, 11_923_435, 13_938_520, 29_267_551, 40_654_043, 47_308_038, 47_735_504, 47_993_005,
];

const LIMIT: Duration = Duration::from_secs(900);

/// A link that follows from the seed.
fn path(random: &mut Random) -> Path {
    let mut flip = |value: f64| if random.chance(0.5) { value } else { 0.0 };
    let [loss, burst, duplication, corruption, reordering] =
        [0.1, 0.6, 0.1, 0.02, 0.2].map(&mut flip);
    let blackouts = if random.chance(0.3) {
        let from = random.below(1_000);
        vec![(ms(from), ms(from + random.below(5_000)))]
    } else {
        Vec::new()
    };
    Path {
        delay: ms(random.below(60)),
        loss,
        burst,
        duplication,
        corruption,
        reordering,
        jitter: ms(random.below(40)),
        rate: random
            .chance(0.5)
            .then(|| 100_000 + random.below(2_000_000)),
        queue: 20_000 + random.below(100_000) as usize,
        blackouts,
    }
}

fn options(random: &mut Random, path: &Path) -> Config {
    Config {
        packet: 400 + random.below(1_000) as usize,
        receive_window: 20_000 + random.below(200_000) as usize,
        max_message_size: 50_000,
        congestion: if random.chance(0.3) {
            Congestion::NewReno
        } else {
            Congestion::Bbr
        },
        // Nothing else finds the damage that this link does.
        checksum: if path.corruption > 0.0 || random.chance(0.5) {
            Checksum::Always
        } else {
            Checksum::ZeroOverDtls
        },
        heartbeat: None,
        ..config()
    }
}

fn plan(random: &mut Random) -> Plan {
    Plan {
        messages: [random.below(100) as usize, random.below(40) as usize],
        streams: 1 + random.below(8) as u16,
        largest: 1_000 + random.below(40_000) as usize,
        is_partial: random.chance(0.4),
        has_pauses: random.chance(0.5),
        buffer: 10_000 + random.below(1_000_000) as usize,
    }
}

fn scene(seed: u64) -> (World<Ours, Ours>, Traffic, Random) {
    let mut random = Random(seed * 7 + 3);
    let path = path(&mut random);
    let options = options(&mut random, &path);
    let plan = plan(&mut random);
    let name = format!("seed {seed}, {path:?}, {plan:?}");
    let mut world = pair(seed, path, (options.clone(), options));
    world.batch = 1 + random.below(4) as usize;
    (world, Traffic::new(&name, seed, plan), random)
}

fn check(seed: u64) {
    let (mut world, mut traffic, _) = scene(seed);
    world.connect();
    traffic.run(&mut world, LIMIT);
    for end in [&world.a, &world.b] {
        assert_eq!(end.association.stats().flight, 0, "seed {seed}");
    }
}

#[test]
fn exactly_once_and_in_order() {
    println!("seeds 0 to 999");
    (0..1_000).for_each(check);
}

#[test]
#[ignore = "long: 20 000 seeds"]
fn long_exactly_once_and_in_order() {
    println!("seeds 1 000 to 20 000");
    (1_000..20_000).for_each(check);
}

/// RFC 9260 §1.6: the same where TSNs pass zero, in both directions.
#[test]
fn the_same_over_the_wrap_of_tsns() {
    for start in WRAPPING {
        let mut probe = Ours::new(Association::connect(
            std::time::Instant::now(),
            config(),
            start,
        ));
        let init = script::answers(&mut probe, std::time::Instant::now());
        let tsn = script::word(&init[0].value, 12);
        assert!(tsn > u32::MAX - 1_000, "seed {start} begins with {tsn}");
        for seed in 0..5 {
            println!("seeds {start} and {seed}");
            let (mut world, _, mut random) = scene(seed);
            let path = world.there.path.clone();
            let options = options(&mut random, &path);
            world.a = Ours::new(Association::connect(world.now, options.clone(), start));
            world.b = Ours::new(Association::accept(world.now, options, start));
            let plan = Plan {
                messages: [2_500, 2_500],
                largest: 1_500,
                ..plan(&mut random)
            };
            let name = format!("seeds {start} and {seed}, {path:?}, {plan:?}");
            world.connect();
            Traffic::new(&name, seed, plan).run(&mut world, LIMIT);
            for end in [&world.a, &world.b] {
                let stats = end.association.stats();
                let tsns = stats.chunks_sent - stats.chunks_retransmitted;
                assert!(tsns > 1_000, "{name}: no wrap, {stats:?}");
            }
        }
    }
}

/// RFC 9260 §6.5: sequence numbers of a stream are 16 bits.
#[test]
fn the_same_over_the_wrap_of_stream_numbers() {
    let lossy = Path {
        delay: ms(10),
        loss: 0.02,
        reordering: 0.1,
        jitter: ms(5),
        ..Path::default()
    };
    let mut world = pair(1, lossy, (config(), config()));
    world.connect();
    let mut traffic = Traffic::new(
        "small messages",
        1,
        Plan {
            messages: [0, 0],
            streams: 1,
            largest: 4,
            is_partial: false,
            has_pauses: false,
            buffer: 0,
        },
    );
    let sent = &mut traffic.models[0];
    for _ in 0..140_000 {
        let message = sent.next(4);
        assert!(world.a.send(world.now, 0, Default::default(), message));
        sent.sent(0, Default::default(), 4);
    }
    traffic.run(&mut world, LIMIT);
    assert_eq!(traffic.models[0].arrivals(), 140_000);
}

/// RFC 9260 §5.2.4 case A: one side forgets everything in the middle. What it sent does not come again, and what is sent from then
/// on arrives.
#[test]
fn the_same_when_a_side_begins_anew() {
    for seed in 0..200 {
        println!("seed {seed}");
        let (mut world, mut traffic, mut random) = scene(seed);
        world.connect();
        for _ in 0..random.below(400) {
            traffic.step(&mut world);
        }
        world.a = Ours::new(Association::connect(
            world.now,
            options(&mut random, &world.there.path.clone()),
            seed + 10_000,
        ));
        let before = traffic.models[0].count();
        let end = world.now + LIMIT;
        while count_restarts(&world) == 0 {
            assert!(world.now < end && world.step(), "seed {seed}");
        }
        // What b had received, and what it had sent, is gone.
        let gone = traffic.models[1].count();
        traffic.models[0].bar(before);
        traffic.models[1].bar(gone);
        traffic.run(&mut world, LIMIT);
    }
}

fn count_restarts(world: &World<Ours, Ours>) -> usize {
    let restarted = |event: &&Event| **event == Event::Restarted;
    world.b.events.iter().filter(restarted).count()
}
