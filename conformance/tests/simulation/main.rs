//! Clients and a room of ours on virtual time.
//!
//! Every test over the model of the wire is exact for its seed. `LKSTREAM_SEEDS=1000` runs more random simulations,
//! `LKSTREAM_SEED=17` only that one, and `LKSTREAM_TRACE=1` prints every event.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_server;
mod blackout;
mod leave;
mod random;
mod recipients;
mod slow;
mod stack;
mod transfer;
mod whole;

use std::time::Duration;

use lkstream_conformance::simulation::{Fate, SentId, Simulation, Who};
use lkstream_conformance::wire::Random;

/// `size` bytes that do not repeat.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    Random::new(seed).bytes(size)
}

/// `size` bytes of text, or up to 3 less, with characters of 1 to 4 bytes.
fn words(seed: u64, size: usize) -> String {
    let mut random = Random::new(seed);
    let mut text = String::with_capacity(size);
    loop {
        let next = ['a', 'e', ' ', '0', 'ß', 'д', '€', '語', '😀'][random.below(9) as usize];
        if text.len() + next.len_utf8() > size {
            return text;
        }
        text.push(next);
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs until `who` has a copy of `sent` that ended.
fn run_until_ended(simulation: &mut Simulation, who: Who, sent: SentId, limit: Duration) {
    let done = simulation.run_until(limit, |simulation| {
        simulation
            .copy(who, sent)
            .is_some_and(|received| received.end.is_some())
    });
    assert!(
        done,
        "no end after {limit:?}: {:?}\n{}",
        simulation
            .copy(who, sent)
            .map(|received| received.bytes.len()),
        simulation.tail()
    );
}

/// The copy of `sent` at `who` is whole.
fn assert_finished(simulation: &Simulation, who: Who, sent: SentId) {
    let received = simulation.copy(who, sent).expect("the stream came");
    assert!(received.is_finished(), "{:?}", received.end);
    assert!(
        received.bytes == simulation.sent(sent).stream.payload,
        "the bytes differ"
    );
}

fn is_flushed(simulation: &Simulation, sent: SentId) -> bool {
    simulation.sent(sent).fate == Fate::Flushed
}
