//! What an association keeps, all of the heap included, by a counting allocator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod link;

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use link::script::{BEGIN, Chunk, END, INIT, Script, UNORDERED, WHOLE, answers, packet};
use link::{Endpoint, Ours, Path, config, pair};
use lkstream_sctp::{Association, Config};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The count is that of the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn live() -> usize {
    let stats = COUNTED.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// The heap of a value that is made here: what is gone when it is dropped.
fn heap_of<T>(value: T) -> usize {
    let with = live();
    drop(value);
    with - live()
}

/// The window of the tests below, in bytes.
const WINDOW: usize = 64 * 1024;

fn small() -> Config {
    Config {
        receive_window: WINDOW,
        receive_window_limit: WINDOW,
        max_message_size: WINDOW / 2,
        ..config()
    }
}

fn connected(config: Config) -> (Ours, Script, Instant) {
    let now = Instant::now();
    let mut ours = Ours::new(Association::accept(now, config, 1));
    let script = Script::new(77, 1_000).connect(&mut ours, now);
    (ours, script, now)
}

/// Issue 5: an association that does nothing costs less than 8 kB, fresh from the handshake and after a busy time.
#[test]
fn an_idle_association_is_below_8_kb() {
    let _alone = alone();
    let mut world = pair(1, Path::default(), (config(), config()));
    world.connect();
    world.run(Duration::from_secs(1));
    let fresh = Box::new(world.b.association);
    let fresh = heap_of(fresh);

    let path = Path {
        delay: Duration::from_millis(10),
        loss: 0.02,
        ..Path::default()
    };
    let mut world = pair(1, path, (config(), config()));
    world.connect();
    world.throughput(Duration::ZERO, Duration::from_secs(2), 4_000_000);
    while world.a.buffered() > 0 {
        assert!(world.step());
        while world.b.read_message().is_some() {}
    }
    // The next heartbeat tidies up.
    world.run(Duration::from_secs(70));
    assert!(world.b.association.stats().chunks_received > 1_000);
    let sender = heap_of(Box::new(world.a.association));
    let receiver = heap_of(Box::new(world.b.association));
    println!("bytes: {fresh} fresh, {sender} after sending, {receiver} after receiving");
    for bytes in [fresh, sender, receiver] {
        assert!(bytes < 8 * 1024, "{bytes}");
    }
}

/// RFC 9260 §5.1.3: a flood of INITs keeps nothing, whether there is an association or not.
#[test]
fn floods_of_inits_keep_nothing() {
    let _alone = alone();
    let now = Instant::now();
    let mut listening = Ours::new(Association::accept(now, config(), 1));
    let (mut established, _, _) = connected(config());
    for ours in [&mut listening, &mut established] {
        let flood = |ours: &mut Ours, tags: std::ops::Range<u32>| {
            for tag in tags {
                let init = Script::new(tag, tag).init(INIT, &[0x80; 400]);
                ours.input(now, &packet(0, &[init]));
            }
        };
        flood(ours, 1..10);
        let before = live();
        flood(ours, 10..5_000);
        // The runner of the tests may keep something meanwhile, too.
        assert!(live() < before + 64 * 1024, "{} more", live() - before);
        assert!(!answers(ours, now).is_empty());
    }
}

/// One kind of flood: so many chunks in this order of TSNs that the window was full long before. The most that was kept.
const CHUNKS: u32 = 8_000;

fn flood(order: &str, flags: u8, payload: usize) -> usize {
    let payload = vec![7; payload];
    let (mut ours, script, now) = connected(small());
    let before = live();
    let mut most = 0;
    for step in 0..CHUNKS {
        let ahead = match order {
            "in order" => step,
            "after a gap" => step + 1,
            "every second" => step * 2 + 1,
            _ => CHUNKS - step,
        };
        let ssn = ahead.wrapping_add(u32::from(order != "in order")) as u16;
        let chunk: Chunk = script.data(ahead, flags, (step % 16) as u16, ssn, &payload);
        script.say(&mut ours, now, &[chunk]);
        if step % 16 == 0 {
            let _ = answers(&mut ours, now);
        }
        most = most.max(live() - before);
    }
    most
}

/// RFC 9260 §6.2: whatever is sent, and however small its pieces are, what is kept for a reader that does not read is a small multiple
/// of the window.
#[test]
fn what_waits_for_a_reader_is_a_multiple_of_the_window() {
    let _alone = alone();
    let mut worst = (0, String::new());
    for order in ["in order", "after a gap", "every second", "reversed"] {
        for flags in [WHOLE, BEGIN, 0, END, WHOLE | UNORDERED] {
            for payload in [1, 1_000] {
                let most = flood(order, flags, payload);
                let name = format!("{order}, flags {flags}, {payload} bytes each");
                println!("{most:8} bytes at most: {name}");
                worst = worst.max((most, name));
            }
        }
    }
    assert!(worst.0 <= 8 * WINDOW, "{worst:?}");
}

/// RFC 3758 §3.6, RFC 6525 §4.1: skipping and resetting all streams that there are, and that there are not, keeps a place for each
/// that there is at most.
#[test]
fn streams_that_are_only_named_cost_little() {
    let _alone = alone();
    let (mut ours, script, now) = connected(small());
    let before = live();
    let all: Vec<u16> = (0..16_000).collect();
    for round in 0..50u32 {
        let skipped: Vec<_> = all.iter().map(|stream| (*stream, round as u16)).collect();
        let count = round + 1;
        script.say(&mut ours, now, &[script.forward(count, &skipped)]);
        script.say(&mut ours, now, &[script.reset(round, count, &all)]);
        let _ = answers(&mut ours, now);
        ours.events.clear();
    }
    let kept = live() - before;
    println!("{kept} bytes for 1 024 streams");
    assert!(kept < 1_024 * 200, "{kept}");
}

/// Our own small messages cost their bytes and a constant each; all of it is gone when they are acknowledged.
#[test]
fn what_is_sent_is_let_go() {
    let _alone = alone();
    let path = Path {
        delay: Duration::from_millis(1),
        ..Path::default()
    };
    let mut world = pair(1, path, (config(), config()));
    world.connect();
    let before = live();
    for _ in 0..50_000 {
        world.a.write(world.now, 1, Bytes::from_static(b"x"));
    }
    let waiting = live() - before;
    println!("{} bytes a message of one byte", waiting / 50_000);
    assert!(waiting < 50_000 * 200, "{waiting}");
    while world.a.buffered() > 0 {
        assert!(world.step());
        while world.b.read_message().is_some() {}
    }
    world.run(Duration::from_secs(70));
    let kept = live().saturating_sub(before);
    assert!(kept < 16 * 1024, "{kept}");
}
