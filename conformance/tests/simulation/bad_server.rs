//! A server that loses or repeats reliable packets, as livekit-server does to slow readers (protocol.md §4.4) and after
//! resumes.

use lkstream_conformance::simulation::{Client, Length, Simulation, Stream};
use lkstream_engine::ReadError;

use super::{noise, seconds, words};

#[test]
fn a_stream_that_lost_a_packet_never_looks_finished() {
    let mut finished = 0;
    let mut failed = 0;
    for seed in 0..40 {
        let mut simulation = Simulation::new(5_000 + seed);
        let alice = simulation.join("alice");
        let mut bob = Client::new("bob");
        bob.drops = 0.05;
        let bob = simulation.join_with(bob);
        simulation.run_for(seconds(1));
        for index in 0..20 {
            let size = [1, 10_000, 40_000, 200_000][index % 4];
            let mut stream = if index % 2 == 0 {
                Stream::text("lk.chat", words(seed, size))
            } else {
                Stream::bytes("files", noise(seed, size))
            };
            stream.length = [Length::Open, Length::Declared][index / 4 % 2];
            stream.write_size = 15_000;
            simulation.send(alice, stream).unwrap();
        }
        simulation.run_for(seconds(5));
        // Those whose trailer was lost end with their sender.
        simulation.leave(alice);
        simulation.run_for(seconds(20));
        simulation.check_copies();
        for received in simulation.received(bob) {
            match received.end.as_ref().unwrap() {
                Ok(_) => finished += 1,
                Err(
                    ReadError::Gap { .. }
                    | ReadError::Incomplete { .. }
                    | ReadError::SenderLeft { .. },
                ) => failed += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
    }
    assert!(
        finished > 100 && failed > 100,
        "{finished} finished, {failed} failed"
    );
}

#[test]
fn packets_that_come_twice_count_once() {
    let mut simulation = Simulation::new(51);
    let alice = simulation.join("alice");
    let mut bob = Client::new("bob");
    bob.repeats = 0.3;
    let bob = simulation.join_with(bob);
    simulation.run_for(seconds(1));
    let mut sent = Vec::new();
    for index in 0..10 {
        let file = Stream::bytes("files", noise(index, 300_000));
        sent.push(simulation.send(alice, file).unwrap());
        let text = Stream::text("lk.chat", words(index, 1_000));
        sent.push(simulation.send(alice, text).unwrap());
    }
    simulation.run_for(seconds(10));
    for sent in sent {
        super::assert_finished(&simulation, bob, sent);
    }
    let counters = simulation.counters(bob);
    assert!(counters.duplicate_packets > 10, "{counters:?}");
    assert_eq!(simulation.faults(bob), 0);
    assert_eq!(simulation.received(bob).len(), 20);
}
