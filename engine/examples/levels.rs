//! What each level of deflate costs and gives on lines of a log: `cargo run --release -p lkstream-engine --example
//! levels`. The engine's level is `limits::DEFLATE_LEVEL`.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use flate2::{Compress, Compression, FlushCompress, Status};
use lkstream_engine::limits::DEFLATE_LEVEL;

const BYTES: usize = 32_000_000;
/// The best of so many counts.
const ROUNDS: usize = 5;

fn main() {
    let payload = lines(BYTES);
    let mut output = vec![0; 1 << 20];
    let mut measure = |level| {
        let mut state = Compress::new(Compression::new(level), false);
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            state.reset();
            let started = Instant::now();
            deflate(&mut state, &payload, &mut output);
            best = best.min(started.elapsed().as_secs_f64());
        }
        (best, BYTES as f64 / state.total_out() as f64)
    };
    let (ours, _) = measure(DEFLATE_LEVEL);
    println!("| level | time, of level {DEFLATE_LEVEL} | payload to wire |");
    println!("|---|---|---|");
    for level in 1..=6 {
        let (seconds, ratio) = measure(level);
        println!("| {level} | {:.2} | {ratio:.2} : 1 |", seconds / ours);
    }
}

fn deflate(state: &mut Compress, payload: &[u8], output: &mut [u8]) {
    loop {
        let read = usize::try_from(state.total_in()).unwrap();
        let status = state
            .compress(&payload[read..], output, FlushCompress::Finish)
            .unwrap();
        if status == Status::StreamEnd {
            return;
        }
    }
}

/// Lines as of a server's log: few words, many numbers.
fn lines(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap_or_default() % limit
    };
    let levels = ["INFO ", "INFO ", "INFO ", "DEBUG", "WARN "];
    let what = [
        "participant joined the room",
        "stream opened on topic files",
        "stream closed by its sender",
        "retransmission timer expired, sending again",
        "GET /rtc/v1 HTTP/1.1 200",
    ];
    let who = ["alice", "bob", "carol", "dave", "erin", "frank", "agent-7"];
    let mut lines = String::with_capacity(bytes + 256);
    let mut millis = 0;
    while lines.len() < bytes {
        millis += below(40);
        lines.push_str(&format!(
            "2026-11-23T{:02}:{:02}:{:02}.{:03}Z {} {} participant={} room=room-{:03} bytes={} duration_ms={}\n",
            millis / 3_600_000 % 24,
            millis / 60_000 % 60,
            millis / 1000 % 60,
            millis % 1000,
            levels[below(levels.len())],
            what[below(what.len())],
            who[below(who.len())],
            below(200),
            below(100_000),
            below(900),
        ));
    }
    lines.truncate(bytes);
    lines.into_bytes()
}
