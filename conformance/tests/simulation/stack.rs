//! The same over the real stack: ICE, DTLS, SCTP and DCEP on virtual time, with loss. Not exact for a seed.

use std::time::Instant;

use lkstream_conformance::simulation::{Client, Fate, Pace, Presence, Simulation, Stream, Who};
use lkstream_conformance::wire::{Carrier, Config};
use lkstream_engine::ReadError;

use super::{assert_finished, millis, noise, run_until_ended, seconds, words};

fn client(identity: &str, loss: f64) -> Client {
    let mut client = Client::new(identity);
    client.carrier = Carrier::Stack;
    client.wire = Config {
        latency: millis(10),
        jitter: millis(0),
        loss,
        ..Config::default()
    };
    client
}

fn join_all<const N: usize>(simulation: &mut Simulation, clients: [Client; N]) -> [Who; N] {
    let all = clients.map(|client| simulation.join_with(client));
    let active = simulation.run_until(seconds(10), |simulation| {
        all.iter()
            .all(|who| *simulation.presence(*who) == Presence::Active)
    });
    assert!(active, "{}", simulation.tail());
    all
}

/// A file and a text each way.
fn exchange(seed: u64, loss: f64, size: usize) {
    let started = Instant::now();
    let mut simulation = Simulation::new(seed);
    let all = join_all(
        &mut simulation,
        [client("alice", loss), client("bob", loss)],
    );
    let joined = simulation.now();
    let mut sent = Vec::new();
    for (index, who) in all.into_iter().enumerate() {
        let other = all[1 - index];
        let file = Stream::bytes("files", noise(seed + index as u64, size));
        sent.push((other, simulation.send(who, file).unwrap()));
        let text = Stream::text("lk.chat", words(seed + index as u64, 20_000));
        sent.push((other, simulation.send(who, text).unwrap()));
    }
    for (to, sent) in &sent {
        run_until_ended(&mut simulation, *to, *sent, seconds(300));
        assert_finished(&simulation, *to, *sent);
    }
    println!(
        "loss {loss}: joined after {joined:?}, {size} bytes each way took {:?} of virtual and {:?} of real time",
        simulation.now() - joined,
        started.elapsed()
    );
    simulation.check_copies();
}

#[test]
fn streams_cross_both_ways() {
    exchange(61, 0.0, 3_000_000);
}

#[test]
fn streams_cross_a_link_that_loses_a_hundredth() {
    exchange(62, 0.01, 300_000);
}

#[test]
fn a_blackout_of_10_s_costs_nothing_but_time() {
    for cut in 0..2 {
        let mut simulation = Simulation::new(63);
        let all = join_all(&mut simulation, [client("alice", 0.0), client("bob", 0.0)]);
        let sent = simulation
            .send(all[0], Stream::bytes("files", noise(63, 2_000_000)))
            .unwrap();
        simulation.run_for(millis(60));
        assert!(simulation.copy(all[1], sent).unwrap().end.is_none());
        simulation.cut(all[cut]);
        simulation.run_for(seconds(10));
        simulation.mend(all[cut]);
        // The keepalives find out, not the retransmission timer, which has backed off.
        run_until_ended(&mut simulation, all[1], sent, seconds(4));
        assert_finished(&simulation, all[1], sent);
    }
}

#[test]
fn after_a_blackout_of_30_s_nothing_cut_short_looks_finished() {
    for cut in 0..2 {
        let mut simulation = Simulation::new(64);
        let all = join_all(&mut simulation, [client("alice", 0.0), client("bob", 0.0)]);
        let sent = simulation
            .send(all[0], Stream::bytes("files", noise(64, 2_000_000)))
            .unwrap();
        simulation.run_for(millis(60));
        simulation.cut(all[cut]);
        simulation.run_for(seconds(30));
        simulation.mend(all[cut]);
        run_until_ended(&mut simulation, all[1], sent, seconds(60));
        simulation.run_for(seconds(30));
        simulation.check_copies();
        let error = simulation.copy(all[1], sent).unwrap().error().unwrap();
        match cut {
            0 => {
                assert!(matches!(error, ReadError::SenderLeft { .. }), "{error:?}");
                assert_eq!(simulation.sent(sent).fate, Fate::Lost);
            }
            _ => assert!(matches!(error, ReadError::ConnectionLost(_)), "{error:?}"),
        }
    }
}

#[test]
fn a_slow_reader_holds_its_sender_through_the_stack() {
    let mut simulation = Simulation::new(65);
    let mut bob = client("bob", 0.0);
    bob.engine.reader_budget = 256 << 10;
    bob.engine.connection_budget = 512 << 10;
    bob.wire.receive_window = 256 << 10;
    bob.pace = Pace::Portions {
        bytes: 60_000,
        every: millis(100),
    };
    let [alice, bob] = join_all(&mut simulation, [client("alice", 0.0), bob]);
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(65, 6_000_000)))
        .unwrap();
    simulation.run_for(seconds(4));
    let written = simulation.sent(sent).written;
    assert!(written < 5_800_000, "nothing held the sender: {written}");
    run_until_ended(&mut simulation, bob, sent, seconds(60));
    assert_finished(&simulation, bob, sent);
}

#[test]
fn what_a_leaver_said_arrives_through_the_stack() {
    let mut simulation = Simulation::new(66);
    let mut bob = client("bob", 0.0);
    bob.wire.bytes_per_second = 500_000;
    let [alice, bob] = join_all(&mut simulation, [client("alice", 0.0), bob]);
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(66, 900_000)))
        .unwrap();
    assert!(
        simulation.run_until(seconds(20), |simulation| super::is_flushed(
            simulation, sent
        ))
    );
    assert!(
        simulation
            .copy(bob, sent)
            .is_none_or(|copy| copy.end.is_none())
    );
    simulation.leave(alice);
    run_until_ended(&mut simulation, bob, sent, seconds(60));
    assert_finished(&simulation, bob, sent);
}
/// What is lost of ICE, DTLS, SCTP and DCEP is said again.
#[test]
fn a_lossy_link_comes_up_all_the_same() {
    for (loss, most_failures) in [(0.0, 0), (0.01, 0), (0.05, 0), (0.1, 1)] {
        let mut failures = 0;
        let mut times = Vec::new();
        for seed in 0..60 {
            let mut simulation = Simulation::new(6_700 + seed);
            let mut alice = client("alice", loss);
            alice.wire.latency = millis(100);
            let alice = simulation.join_with(alice);
            simulation.run_until(seconds(20), |simulation| {
                *simulation.presence(alice) != Presence::Joining
            });
            match simulation.presence(alice) {
                Presence::Active => times.push(simulation.now()),
                _ => failures += 1,
            }
        }
        times.sort();
        println!(
            "loss {loss}: median {:?}, longest {:?}, {failures} failed",
            times[times.len() / 2],
            times[times.len() - 1]
        );
        assert!(failures <= most_failures, "loss {loss}: {failures} failed");
        assert!(times[times.len() / 2] < seconds(3));
    }
}
