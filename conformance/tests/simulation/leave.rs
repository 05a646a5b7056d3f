//! Senders that leave, after the end of their streams or before it.

use lkstream::session::End;
use lkstream_conformance::simulation::{Client, Ending, Pace, Presence, Simulation, Stream, left};
use lkstream_conformance::wire;
use lkstream_engine::{Lost, ReadError};
use lkstream_proto::disconnect::DisconnectReason;

use super::{assert_finished, is_flushed, millis, noise, run_until_ended, seconds, words};

/// Alice on a fast wire, bob on one that takes `bytes_per_second`.
fn uneven(
    seed: u64,
    bytes_per_second: u64,
) -> (Simulation, [lkstream_conformance::simulation::Who; 2]) {
    let mut simulation = Simulation::new(seed);
    let alice = simulation.join("alice");
    let mut bob = Client::new("bob");
    bob.wire = wire::Config {
        latency: millis(200),
        bytes_per_second,
        ..wire::Config::default()
    };
    let bob = simulation.join_with(bob);
    simulation.run_for(seconds(3));
    (simulation, [alice, bob])
}

#[test]
fn what_was_acknowledged_before_the_leave_arrives_whole() {
    let (mut simulation, [alice, bob]) = uneven(21, 1_000_000);
    // Below the brake of the room: the server holds all of it while bob has little.
    let file = simulation
        .send(alice, Stream::bytes("files", noise(21, 900_000)))
        .unwrap();
    let text = simulation
        .send(alice, Stream::text("lk.chat", words(21, 20_000)))
        .unwrap();
    assert!(simulation.run_until(seconds(5), |simulation| {
        is_flushed(simulation, file) && is_flushed(simulation, text)
    }));
    assert!(
        simulation
            .copy(bob, file)
            .is_none_or(|received| received.end.is_none())
    );
    simulation.leave(alice);
    assert!(left(simulation.presence(alice)));
    run_until_ended(&mut simulation, bob, file, seconds(20));
    run_until_ended(&mut simulation, bob, text, seconds(20));
    assert_finished(&simulation, bob, file);
    assert_finished(&simulation, bob, text);
}

#[test]
fn a_stream_whose_sender_leaves_in_the_middle_fails() {
    for (seed, wait) in [(22, 1), (23, 40), (24, 150), (25, 300)] {
        let mut simulation = Simulation::new(seed);
        let [alice, bob] = simulation.join_all(["alice", "bob"]);
        let whole = simulation
            .send(alice, Stream::text("lk.chat", words(seed, 3_000)))
            .unwrap();
        let broken = simulation
            .send(alice, Stream::bytes("files", noise(seed, 20_000_000)))
            .unwrap();
        simulation.run_for(millis(wait));
        let flushed = is_flushed(&simulation, whole);
        simulation.leave(alice);
        simulation.run_for(seconds(20));
        simulation.check_copies();
        if flushed {
            assert_finished(&simulation, bob, whole);
        }
        if let Some(received) = simulation.copy(bob, broken) {
            assert!(
                matches!(received.error(), Some(ReadError::SenderLeft { identity }) if identity.as_str() == "alice"),
                "{:?}",
                received.end
            );
        }
        assert_eq!(simulation.logged(), 0);
    }
}

#[test]
fn a_stream_that_was_never_ended_fails_when_its_sender_leaves() {
    let mut simulation = Simulation::new(26);
    let [alice, bob] = simulation.join_all(["alice", "bob"]);
    let sent = simulation
        .send(
            alice,
            Stream::text("lk.chat", "all there is").ending(Ending::Hold),
        )
        .unwrap();
    simulation.run_for(seconds(30));
    let received = simulation.copy(bob, sent).unwrap();
    assert_eq!(received.bytes, b"all there is");
    assert!(received.end.is_none());
    let before = simulation.now();
    simulation.leave(alice);
    run_until_ended(&mut simulation, bob, sent, seconds(10));
    assert!(simulation.now() - before < seconds(3));
    assert!(matches!(
        simulation.copy(bob, sent).unwrap().error(),
        Some(ReadError::SenderLeft { .. })
    ));
}

/// Its leave is announced after 5 s; 18 s of data are still on their way then.
#[test]
fn a_receiver_far_behind_a_leaver_gets_everything() {
    let (mut simulation, [alice, bob]) = uneven(27, 50_000);
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(27, 900_000)))
        .unwrap();
    assert!(simulation.run_until(seconds(30), |simulation| is_flushed(simulation, sent)));
    simulation.leave(alice);
    run_until_ended(&mut simulation, bob, sent, seconds(60));
    assert_finished(&simulation, bob, sent);
    simulation.run_for(seconds(1));
    assert_eq!(simulation.logged(), 0);
}

/// While a reader holds its connection back, no chunk comes; that is not its sender's silence.
#[test]
fn a_slow_reader_of_a_leaver_gets_everything() {
    let mut simulation = Simulation::new(31);
    let alice = simulation.join("alice");
    let mut client = Client::new("bob");
    client.engine.reader_budget = 100_000;
    client.engine.connection_budget = 100_000;
    client.pace = Pace::Portions {
        bytes: 60_000,
        every: seconds(3),
    };
    client.wire.receive_window = 64_000;
    let bob = simulation.join_with(client);
    simulation.run_for(seconds(3));
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(31, 700_000)))
        .unwrap();
    assert!(simulation.run_until(seconds(30), |simulation| is_flushed(simulation, sent)));
    simulation.leave(alice);
    run_until_ended(&mut simulation, bob, sent, seconds(120));
    assert_finished(&simulation, bob, sent);
}

/// Nothing comes for longer than a receiver waits for a leaver's data.
#[test]
fn a_receiver_cut_off_from_a_leavers_data_gets_an_error_not_a_short_file() {
    let (mut simulation, [alice, bob]) = uneven(32, 100_000);
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(32, 900_000)))
        .unwrap();
    assert!(simulation.run_until(seconds(30), |simulation| is_flushed(simulation, sent)));
    simulation.leave(alice);
    let announced = simulation.run_until(seconds(30), |simulation| {
        simulation.room_stats().late_leaves > 0
    });
    assert!(announced);
    simulation.run_for(millis(300));
    simulation.cut(bob);
    simulation.run_for(seconds(5));
    simulation.mend(bob);
    run_until_ended(&mut simulation, bob, sent, seconds(60));
    let received = simulation.copy(bob, sent).unwrap();
    assert!(
        matches!(received.error(), Some(ReadError::SenderLeft { .. })),
        "{:?} after {}",
        received.end,
        received.bytes.len()
    );
    simulation.check_copies();
}

#[test]
fn streams_end_with_the_room() {
    let mut simulation = Simulation::new(28);
    let [alice, bob] = simulation.join_all(["alice", "bob"]);
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(28, 20_000_000)))
        .unwrap();
    simulation.run_for(millis(200));
    simulation.close_room(DisconnectReason::RoomDeleted);
    run_until_ended(&mut simulation, bob, sent, seconds(5));
    let received = simulation.copy(bob, sent).unwrap();
    assert!(
        matches!(
            received.error(),
            Some(ReadError::ConnectionLost(Lost::ClosedByServer { .. }))
        ),
        "{:?}",
        received.end
    );
    for who in [alice, bob] {
        assert!(matches!(
            simulation.presence(who),
            Presence::Ended(End::ByServer {
                reason: DisconnectReason::RoomDeleted,
                ..
            })
        ));
    }
    simulation.check_copies();
}

#[test]
fn a_newcomer_takes_the_place_of_the_same_identity() {
    let mut simulation = Simulation::new(29);
    let [alice, bob] = simulation.join_all(["alice", "bob"]);
    let old = simulation
        .send(
            alice,
            Stream::bytes("files", noise(29, 20_000_000)).id("same"),
        )
        .unwrap();
    simulation.run_for(millis(200));
    let again = simulation.join("alice");
    simulation.run_for(seconds(1));
    assert!(matches!(
        simulation.presence(alice),
        Presence::Ended(End::ByServer {
            reason: DisconnectReason::DuplicateIdentity,
            ..
        })
    ));
    let new = simulation
        .send(again, Stream::bytes("files", noise(30, 100_000)).id("same"))
        .unwrap();
    run_until_ended(&mut simulation, bob, new, seconds(5));
    run_until_ended(&mut simulation, bob, old, seconds(10));
    assert_finished(&simulation, bob, new);
    assert!(matches!(
        simulation.copy(bob, old).unwrap().error(),
        Some(ReadError::SenderLeft { .. })
    ));
    simulation.check_copies();
}
