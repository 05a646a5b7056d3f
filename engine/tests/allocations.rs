//! Counts the allocations of a short message. It is a test binary of its own, since the counter is the process's.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::alloc::System;
use std::time::{Instant, UNIX_EPOCH};

use bytes::Bytes;
use lkstream_engine::{
    Capabilities, Config, Content, Engine, Event, OpenOptions, Read, StreamKind, TopicFilter,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A text from alice's call to bob's read, with the name, topic and drawn id that a real one has.
fn text(now: Instant, alice: &mut Engine, bob: &mut Engine, sent: &mut u64) {
    let options = OpenOptions::new(Content::text(), "lk.chat", UNIX_EPOCH);
    let payload = Bytes::copy_from_slice(&[b'x'; 100]);
    let id = alice.send(options, payload).unwrap();
    alice.outgoing(id).unwrap().release();
    let packet = alice.poll_packet().unwrap();
    *sent += packet.bytes.len() as u64;
    bob.handle_packet(now, packet.channel, packet.bytes)
        .unwrap();
    let Some(Event::Opened { id, .. }) = bob.poll_event() else {
        panic!("no stream was opened");
    };
    let mut incoming = bob.incoming(id).unwrap();
    let Read::Piece(piece) = incoming.read(now) else {
        panic!("no piece");
    };
    assert_eq!(piece.len(), 100);
    assert!(matches!(incoming.read(now), Read::Finished(_)));
    incoming.release(now);
    alice.acknowledged(*sent);
}

/// The figure of the engine's issue: at most 4, both ends together, the payload's own included.
#[test]
fn a_short_text_takes_at_most_four_allocations() {
    let now = Instant::now();
    let long = "a".repeat(64);
    for identity in ["alice", "user_0190b3f2-7c1e-7d4a", long.as_str()] {
        let mut alice = Engine::new(Config::default(), 1);
        alice.set_local(now, identity.into(), "PA_4mXkQ7dWz2Rt".into());
        alice.participant("bob".into(), Capabilities::ALL);
        let mut bob = Engine::new(Config::default(), 2);
        bob.set_local(now, "bob".into(), "PA_7hT9pLcVb3Ns".into());
        bob.listen(StreamKind::Text, TopicFilter::Any);
        let mut sent = 0;
        for _ in 0..1_000 {
            text(now, &mut alice, &mut bob, &mut sent);
        }
        let region = Region::new(COUNTED);
        for _ in 0..1_000 {
            text(now, &mut alice, &mut bob, &mut sent);
        }
        let change = region.change();
        let allocations = change.allocations + change.reallocations;
        println!("{identity}: {allocations} allocations for 1000 texts");
        assert!(allocations <= 4_000, "{allocations} for 1000 texts");
    }
}
