//! Two associations of ours over links that lose, delay, repeat, reorder, damage and stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../link/mod.rs"]
mod link;

mod ends;
mod everything;
mod losses;
mod outages;
mod partial;
mod repairs;
mod resets;
mod setup;
mod windows;

use std::time::Duration;

use link::{Ours, Path, World};
use lkstream_sctp::Event;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn path(delay: u64) -> Path {
    Path {
        delay: ms(delay),
        ..Path::default()
    }
}

/// How often either side told of it.
fn count(world: &World<Ours, Ours>, event: Event) -> usize {
    let all = world.a.events.iter().chain(&world.b.events);
    all.filter(|seen| **seen == event).count()
}
