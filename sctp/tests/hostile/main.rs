//! A side that breaks the rules on purpose: what it says is dropped and counted, and costs a bounded answer.
//!
//! What it can make us keep is in `memory.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../link/mod.rs"]
mod link;

mod answers;
mod cookies;
mod data;
mod reports;
mod resets;
mod tags;

use std::time::Instant;

use link::script::Script;
use link::{Ours, config};
use lkstream_sctp::{Association, Config};

/// Ours, set up with a scripted side.
fn connected(config: Config) -> (Ours, Script, Instant) {
    let now = Instant::now();
    let mut ours = Ours::new(Association::accept(now, config, 1));
    let script = Script::new(77, 1_000).connect(&mut ours, now);
    (ours, script, now)
}

fn plain() -> (Ours, Script, Instant) {
    connected(config())
}
