//! Readers that do not keep up. The simulation checks every budget at every step.

use lkstream_conformance::simulation::{Client, Pace, Presence, Simulation, Stream};
use lkstream_engine::{Limit, ReadError};
use lkstream_server::room::Limits;

use super::{assert_finished, is_flushed, millis, noise, run_until_ended, seconds};

fn small(identity: &str, pace: Pace) -> Client {
    let mut client = Client::new(identity);
    client.engine.reader_budget = 256 << 10;
    client.engine.connection_budget = 1 << 20;
    client.pace = pace;
    client
}

#[test]
fn a_reader_that_is_slow_but_steady_gets_everything() {
    let mut simulation = Simulation::new(31);
    let alice = simulation.join("alice");
    let bob = simulation.join_with(small(
        "bob",
        Pace::Portions {
            bytes: 60_000,
            every: millis(100),
        },
    ));
    simulation.run_for(seconds(1));
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(31, 10_000_000)))
        .unwrap();
    // 60 kB each 100 ms are more than 16 s.
    simulation.run_for(seconds(8));
    let sender = simulation.sent(sent);
    assert!(
        sender.written < 9_000_000,
        "nothing held the sender: {}",
        sender.written
    );
    run_until_ended(&mut simulation, bob, sent, seconds(200));
    assert_finished(&simulation, bob, sent);
}

#[test]
fn a_reader_that_stopped_fails_alone() {
    let mut simulation = Simulation::new(32);
    let alice = simulation.join("alice");
    let mut bob = small("bob", Pace::Stopped);
    bob.engine.stall_limit = seconds(5);
    let bob = simulation.join_with(bob);
    simulation.run_for(seconds(1));
    let large = simulation
        .send(alice, Stream::bytes("files", noise(32, 5_000_000)))
        .unwrap();
    simulation.run_for(seconds(4));
    assert!(!is_flushed(&simulation, large));
    simulation.run_for(seconds(4));
    // Now that the stuck one has failed, another stream gets through.
    simulation.set_pace(bob, Pace::Eager);
    let small = simulation
        .send(alice, Stream::text("lk.chat", "still here"))
        .unwrap();
    run_until_ended(&mut simulation, bob, small, seconds(10));
    assert_finished(&simulation, bob, small);
    run_until_ended(&mut simulation, bob, large, seconds(10));
    assert!(
        matches!(
            simulation.copy(bob, large).unwrap().error(),
            Some(ReadError::Limit(Limit::ReaderTooSlow { .. }))
        ),
        "{:?}",
        simulation.copy(bob, large).unwrap().end
    );
    assert_eq!(*simulation.presence(bob), Presence::Active);
    simulation.check_copies();
}

#[test]
fn everybody_gets_everything_at_the_pace_of_the_slowest_that_reads() {
    let limits = Limits::default();
    let mut simulation = Simulation::with_limits(33, limits);
    let alice = simulation.join("alice");
    let slow = simulation.join_with(small(
        "slow",
        Pace::Portions {
            bytes: 60_000,
            every: millis(50),
        },
    ));
    let fast = simulation.join("fast");
    simulation.run_for(seconds(1));
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(33, 8_000_000)))
        .unwrap();
    run_until_ended(&mut simulation, fast, sent, seconds(100));
    run_until_ended(&mut simulation, slow, sent, seconds(100));
    assert_finished(&simulation, fast, sent);
    assert_finished(&simulation, slow, sent);
    let stats = simulation.room_stats();
    assert!(stats.braked > 0);
    assert_eq!((stats.cut_stalled, stats.cut_overrun), (0, 0));
}

#[test]
fn a_subscriber_that_stopped_draining_is_cut_and_the_others_go_on() {
    let mut simulation = Simulation::new(34);
    let alice = simulation.join("alice");
    let mut stuck = small("stuck", Pace::Stopped);
    // Its reader never gives up, so its channel stays full.
    stuck.engine.stall_limit = seconds(10_000);
    let stuck = simulation.join_with(stuck);
    let bob = simulation.join("bob");
    simulation.run_for(seconds(1));
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(34, 30_000_000)))
        .unwrap();
    run_until_ended(&mut simulation, bob, sent, seconds(60));
    assert_finished(&simulation, bob, sent);
    simulation.run_for(seconds(30));
    assert!(matches!(simulation.presence(stuck), Presence::Ended(_)));
    let stats = simulation.room_stats();
    assert!(stats.cut_stalled + stats.cut_overrun > 0);
    assert!(matches!(
        simulation.copy(stuck, sent).unwrap().error(),
        Some(ReadError::ConnectionLost(_))
    ));
    assert_eq!(simulation.logged(), 0);
    simulation.check_copies();
}

#[test]
fn many_streams_at_once_share_one_budget() {
    let mut simulation = Simulation::new(35);
    let alice = simulation.join("alice");
    let bob = simulation.join_with(small(
        "bob",
        Pace::Portions {
            bytes: 60_000,
            every: millis(20),
        },
    ));
    simulation.run_for(seconds(1));
    let sent: Vec<_> = (0..20)
        .map(|index| {
            let stream = Stream::bytes("files", noise(350 + index, 200_000));
            simulation.send(alice, stream).unwrap()
        })
        .collect();
    for sent in sent {
        run_until_ended(&mut simulation, bob, sent, seconds(60));
        assert_finished(&simulation, bob, sent);
    }
}
