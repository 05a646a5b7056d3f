//! Bounds, back-pressure and cuts (ARCHITECTURE.md, "Bounds").

use super::*;
use lkstream_proto::signal::LeaveAction;

/// Accepts as many packets of 1000 bytes as the room takes, at most `most`.
fn flood(scene: &mut Scene, from: MemberId, most: usize) -> usize {
    for sent in 0..most {
        let accepts = scene.room.accepts(scene.now, from);
        scene.collect();
        if !accepts {
            return sent;
        }
        scene.send(from, &user(&[0; 1000]));
    }
    most
}

#[test]
fn a_publisher_is_slowed_while_a_draining_subscriber_is_behind() {
    let mut scene = Scene::new();
    let [a, fast, slow] = ["a", "fast", "slow"].map(|identity| scene.join(identity));
    let sent = flood(&mut scene, a, 100_000);
    assert!((900..1100).contains(&sent), "{sent} packets of 1 kB");
    scene.take(fast);
    assert!(!scene.room.accepts(scene.now, a), "slow is still behind");
    scene.forget_outputs();
    scene.take(slow);
    assert_eq!(scene.outputs, [Output::Accepting(a)]);
    assert!(scene.room.accepts(scene.now, a));
    assert_eq!(scene.room.stats().braked, 1);
}

#[test]
fn a_publisher_goes_on_only_when_half_is_taken() {
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    let sent = flood(&mut scene, a, 100_000);
    for _ in 0..sent / 3 {
        scene
            .room
            .next_packet(scene.now, b, Channel::Reliable)
            .unwrap();
    }
    assert!(!scene.room.accepts(scene.now, a));
    for _ in 0..sent / 3 {
        scene
            .room
            .next_packet(scene.now, b, Channel::Reliable)
            .unwrap();
    }
    assert!(scene.room.accepts(scene.now, a));
}

#[test]
fn one_publisher_is_slowed_and_the_other_is_not() {
    let mut scene = Scene::new();
    let [a, b, _c] = ["a", "b", "c"].map(|identity| scene.join(identity));
    flood(&mut scene, a, 100_000);
    assert!(!scene.room.accepts(scene.now, a));
    assert!(scene.room.accepts(scene.now, b));
}

#[test]
fn a_slow_but_steady_subscriber_is_never_cut() {
    let mut scene = Scene::new();
    let [a, slow] = ["a", "slow"].map(|identity| scene.join(identity));
    flood(&mut scene, a, 100_000);
    for _ in 0..60 {
        scene.seconds(4);
        scene
            .room
            .next_packet(scene.now, slow, Channel::Reliable)
            .unwrap();
        assert!(!scene.room.accepts(scene.now, a));
    }
    assert_eq!(scene.sent_away(slow), None);
    assert_eq!(scene.room.stats().cut_stalled, 0);
}

#[test]
fn a_stalled_subscriber_is_no_brake_for_the_others_and_falls_off_the_log() {
    let mut scene = Scene::with(|limits| limits.publisher_log = 4 << 20);
    let [a, fast, dead] = ["a", "fast", "dead"].map(|identity| scene.join(identity));
    flood(&mut scene, a, 100_000);
    scene.take(fast);
    scene.seconds(6);
    assert!(
        scene.room.accepts(scene.now, a),
        "dead has stopped draining"
    );
    let mut sent = 0;
    while scene.room.find(&"dead".into()).is_some() {
        sent += flood(&mut scene, a, 10);
        scene.take(fast);
        assert!(sent < 5000, "the log is bounded");
    }
    assert!(scene.room.logged() < 4 << 20);
    let leave = scene.sent_away(dead).expect("dead is told");
    assert_eq!(leave.action(), LeaveAction::Reconnect);
    assert_eq!(leave.reason(), DisconnectReason::StateMismatch);
    assert!(leave.can_reconnect);
    assert_eq!(scene.room.stats().cut_overrun, 1);
    // Nobody else has lost anything.
    assert_eq!(
        scene.room.stats().packets_accepted,
        scene.room.stats().packets_delivered
    );
}

#[test]
fn a_stalled_subscriber_is_cut_after_15_seconds() {
    let mut scene = Scene::new();
    let [a, dead] = ["a", "dead"].map(|identity| scene.join(identity));
    scene.send(a, &user(b"anybody there?"));
    scene.seconds(14);
    assert_eq!(scene.sent_away(dead), None);
    scene.seconds(2);
    assert_eq!(
        scene.sent_away(dead).unwrap().action(),
        LeaveAction::Reconnect
    );
    assert_eq!(scene.room.stats().cut_stalled, 1);
    assert_eq!(scene.room.logged(), 0);
}

#[test]
fn a_lone_stalled_subscriber_holds_its_publisher_so_that_nothing_is_lost_in_a_blackout() {
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    let mut sent = flood(&mut scene, a, 100_000);
    scene.seconds(10);
    sent += flood(&mut scene, a, 100_000);
    assert!(
        sent < 1100,
        "{sent}: going on would only push b off the log"
    );
    assert_eq!(scene.take(b).len(), sent);
    assert!(scene.room.accepts(scene.now, a));
    assert_eq!(
        scene.room.stats().cut_stalled + scene.room.stats().cut_overrun,
        0
    );
}

#[test]
fn a_publisher_is_freed_when_the_one_behind_it_leaves() {
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    flood(&mut scene, a, 100_000);
    scene.forget_outputs();
    scene.request(b, Request::Leave(Default::default()));
    assert!(scene.outputs.contains(&Output::Accepting(a)));
    assert!(scene.room.accepts(scene.now, a));
    assert_eq!(scene.room.logged(), 0);
}

#[test]
fn all_logs_together_are_bounded_and_brakes_get_tight_before() {
    let mut scene = Scene::with(|limits| {
        limits.room_log = 8 << 20;
    });
    let publishers: Vec<MemberId> = (0..20).map(|n| scene.join(&format!("p{n}"))).collect();
    let slow = scene.join("slow");
    for _ in 0..10 {
        for publisher in &publishers {
            flood(&mut scene, *publisher, 200);
            for other in &publishers {
                scene.take(*other);
            }
        }
        // It drains, slowly.
        scene
            .room
            .next_packet(scene.now, slow, Channel::Reliable)
            .unwrap();
        assert!(scene.room.logged() <= 8 << 20, "{}", scene.room.logged());
    }
    assert!(scene.room.find(&"slow".into()).is_some());
    assert_eq!(scene.room.stats().cut_overrun, 0);
}

#[test]
fn the_room_bound_cuts_who_is_behind_most() {
    // The driver ignores the brake here.
    let mut scene = Scene::with(|limits| limits.room_log = 2 << 20);
    let [a, b, behind, _more_behind] =
        ["a", "b", "behind", "more behind"].map(|identity| scene.join(identity));
    scene.send_many(a, 500);
    scene.take(behind);
    while scene.room.stats().cut_overrun == 0 {
        scene.send_many(a, 1);
        scene.send_many(b, 1);
        scene.take(a);
        scene.take(b);
        assert!(scene.room.logged() <= (2 << 20) + 2000);
    }
    assert!(scene.room.find(&"more behind".into()).is_none());
    assert!(scene.room.find(&"behind".into()).is_some());
}

#[test]
fn a_newcomer_without_a_channel_is_not_cut_but_starts_later() {
    let mut scene = Scene::with(|limits| limits.publisher_log = 2 << 20);
    let [a, fast] = ["a", "fast"].map(|identity| scene.join(identity));
    let joining = scene.joining("late");
    let late = scene.enter(joining);
    scene.seconds(6);
    for _ in 0..3000 {
        flood(&mut scene, a, 1);
        scene.take(fast);
    }
    assert_eq!(scene.room.stats().joiners_skipped, 1);
    assert_eq!(scene.room.stats().cut_overrun, 0);
    scene.connect(late);
    let packets = scene.take(late).len();
    assert!(
        (500..2000).contains(&packets),
        "{packets} since it was skipped"
    );
}

#[test]
fn lossy_packets_drop_the_oldest() {
    let mut scene = Scene::with(|limits| limits.lossy_queue = 5_500);
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    for n in 0..20u8 {
        scene.send_on(a, Channel::Lossy, &user(&[n; 1000])).unwrap();
    }
    let first: Vec<u8> = scene
        .take_on(b, Channel::Lossy)
        .iter()
        .map(|packet| match &packet.value {
            Some(Value::User(user)) => user.payload[0],
            _ => panic!("no user packet"),
        })
        .collect();
    assert_eq!(first, [15, 16, 17, 18, 19]);
    assert_eq!(scene.room.stats().lossy_dropped, 15);
}

#[test]
fn a_million_packets_leave_nothing_behind() {
    let mut scene = Scene::new();
    let members: Vec<MemberId> = (0..5).map(|n| scene.join(&format!("p{n}"))).collect();
    let mut accepted = 0;
    for round in 0..2_000 {
        let from = members[round % 5];
        if scene.room.accepts(scene.now, from) {
            scene.send_many(from, 3);
            accepted += 3;
        }
        let reader = members[(round * 7 + 1) % 5];
        scene.take(reader);
    }
    for member in &members {
        scene.take(*member);
    }
    assert_eq!(scene.room.logged(), 0);
    assert_eq!(scene.room.stats().packets_delivered, accepted * 4);
}
