//! Attacks on `lkstream serve`, which runs in a process of its own with 256 MB of address space, while an innocent pair
//! transfers: nobody else's transfer fails, and the server's memory stays small.
//!
//! The attackers are written down to the byte where that matters ([`wire`]), all on the loopback, and bounded in count and
//! time. Times are printed and never asserted: `cargo test -p lkstream-conformance --test hostile -- --nocapture` shows
//! them. The binary `lkstream` has to be built.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod addresses;
mod datagrams;
mod guest;
mod http;
mod join;
mod leavers;
mod metadata;
mod mutations;
mod packets;
mod pair;
mod rooms;
mod server;
mod signalling;
mod websocket;
mod wire;

/// What the tables of hostile inputs hold together at least.
const INPUTS: usize = 200;

#[test]
fn there_are_at_least_two_hundred_hostile_inputs() {
    let counts = [
        ("http", http::requests().len()),
        ("websocket", websocket::inputs().len()),
        ("signalling", signalling::inputs().len()),
        ("join", join::inputs().len()),
        ("datagrams", datagrams::inputs().len()),
        ("packets", packets::inputs().len()),
    ];
    let sum: usize = counts.iter().map(|(_, count)| count).sum();
    println!("{sum} hostile inputs: {counts:?}");
    assert!(sum >= INPUTS, "{sum}: {counts:?}");
}
