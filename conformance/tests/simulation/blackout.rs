//! Connectivity is lost, and comes back or does not.

use std::time::{Duration, Instant};

use lkstream::session::End;
use lkstream_conformance::simulation::{Fate, Presence, SentId, Simulation, Stream, Who};
use lkstream_engine::ReadError;

use super::{assert_finished, is_flushed, millis, noise, run_until_ended, seconds};

/// Who is cut off in the middle of alice's transfer to bob.
#[derive(Clone, Copy)]
enum Cut {
    Sender,
    Receiver,
}

/// A file of 20 MB, and a blackout in the middle of it.
fn blackout(seed: u64, cut: Cut, time: Duration) -> (Simulation, [Who; 2], SentId) {
    let mut simulation = Simulation::new(seed);
    let all = simulation.join_all(["alice", "bob"]);
    let [alice, bob] = all;
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(seed, 20_000_000)))
        .unwrap();
    let half = simulation.run_until(seconds(10), |simulation| {
        simulation
            .copy(bob, sent)
            .is_some_and(|received| received.bytes.len() > 8_000_000)
    });
    assert!(half, "the transfer did not start\n{}", simulation.tail());
    let off = match cut {
        Cut::Sender => alice,
        Cut::Receiver => bob,
    };
    simulation.cut(off);
    simulation.run_for(time);
    simulation.mend(off);
    (simulation, all, sent)
}

#[test]
fn a_transfer_survives_10_s_without_connectivity() {
    for (seed, cut) in [(11, Cut::Sender), (12, Cut::Receiver)] {
        let (mut simulation, [_, bob], sent) = blackout(seed, cut, seconds(10));
        run_until_ended(&mut simulation, bob, sent, seconds(60));
        assert_finished(&simulation, bob, sent);
        simulation.run_for(seconds(5));
        assert!(is_flushed(&simulation, sent));
        simulation.check_copies();
    }
}

#[test]
fn after_30_s_without_connectivity_nothing_cut_short_looks_finished() {
    let started = Instant::now();
    for (seed, cut) in [(13, Cut::Sender), (14, Cut::Receiver)] {
        let (mut simulation, [alice, bob], sent) = blackout(seed, cut, seconds(30));
        run_until_ended(&mut simulation, bob, sent, seconds(60));
        simulation.run_for(seconds(30));
        simulation.check_copies();
        let received = simulation.copy(bob, sent).unwrap();
        if received.is_finished() {
            assert_finished(&simulation, bob, sent);
            continue;
        }
        let error = received.error().unwrap();
        match cut {
            Cut::Sender => {
                assert!(
                    matches!(error, ReadError::SenderLeft { identity } if identity.as_str() == "alice"),
                    "{error:?}"
                );
                assert!(matches!(simulation.presence(alice), Presence::Ended(_)));
                assert_eq!(simulation.sent(sent).fate, Fate::Lost);
            }
            Cut::Receiver => {
                assert!(matches!(error, ReadError::ConnectionLost(_)), "{error:?}");
                assert!(matches!(simulation.presence(bob), Presence::Ended(_)));
            }
        }
    }
    println!("two blackouts of 30 s took {:?}", started.elapsed());
}

#[test]
fn the_room_serves_the_others_while_one_is_gone() {
    let mut simulation = Simulation::new(15);
    let [alice, bob, carol] = simulation.join_all(["alice", "bob", "carol"]);
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(15, 40_000_000)))
        .unwrap();
    simulation.run_for(millis(100));
    simulation.cut(carol);
    run_until_ended(&mut simulation, bob, sent, seconds(60));
    assert_finished(&simulation, bob, sent);
    simulation.run_for(seconds(60));
    assert!(matches!(simulation.presence(carol), Presence::Ended(_)));
    let lost = simulation.copy(carol, sent).unwrap();
    assert!(
        matches!(lost.error(), Some(ReadError::ConnectionLost(_))),
        "{:?}",
        lost.end
    );
    simulation.check_copies();
}

#[test]
fn whoever_was_cut_off_can_come_back_with_a_new_session() {
    let (mut simulation, [alice, bob], sent) = blackout(16, Cut::Sender, seconds(40));
    run_until_ended(&mut simulation, bob, sent, seconds(60));
    assert!(matches!(
        simulation.presence(alice),
        Presence::Ended(
            End::Silent { .. } | End::TransportLost { .. } | End::SignallingLost { .. }
        )
    ));
    let again = simulation.join("alice");
    simulation.run_for(seconds(2));
    assert_eq!(*simulation.presence(again), Presence::Active);
    assert_ne!(simulation.sid(again), simulation.sid(alice));
    let second = simulation
        .send(again, Stream::bytes("files", noise(16, 1_000_000)))
        .unwrap();
    run_until_ended(&mut simulation, bob, second, seconds(10));
    assert_finished(&simulation, bob, second);
}

/// However long it lasts and whoever it hits: the file is whole, or its reader is told that it is not.
#[test]
fn a_blackout_of_any_length_leaves_a_whole_file_or_an_error() {
    for length in [
        500, 2_000, 5_000, 9_000, 12_000, 14_500, 16_000, 19_000, 21_000, 26_000,
    ] {
        for who in 0..2 {
            let seed = 17 + length + who as u64;
            let mut simulation = Simulation::new(seed);
            let all = simulation.join_all(["alice", "bob"]);
            let sent = simulation
                .send(all[0], Stream::bytes("files", noise(seed, 3_000_000)))
                .unwrap();
            simulation.run_for(millis(40));
            simulation.cut(all[who]);
            simulation.run_for(millis(length));
            simulation.mend(all[who]);
            simulation.run_for(seconds(90));
            simulation.check_copies();
            let fate = &simulation.sent(sent).fate;
            assert_ne!(*fate, Fate::Running, "{length} ms, {who}");
            let end = simulation.copy(all[1], sent).map(|received| &received.end);
            assert_ne!(
                end,
                Some(&None),
                "{length} ms, {who}\n{}",
                simulation.tail()
            );
            // What ends longer ones: 15 s without a word on the signal link.
            if length < 12_000 {
                assert_finished(&simulation, all[1], sent);
            }
        }
    }
}
