//! Leaves, losses and ends (protocol.md §2.9, §2.13, §2.14; ARCHITECTURE.md, "Leaving").

use super::*;
use ParticipantState::{Active, Disconnected, Joined};
use lkstream_proto::signal::LeaveAction;

fn bytes_of(packets: &[DataPacket]) -> u64 {
    packets
        .iter()
        .map(|packet| packet.to_bytes().len() as u64)
        .sum()
}

#[test]
fn what_a_leaver_has_sent_arrives_before_its_leave() {
    // Signalling overtakes data.
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    scene.forget_outputs();
    scene.send(a, &user(b"one"));
    scene.request(a, Request::Leave(Default::default()));
    assert!(scene.outputs.contains(&Output::Finish(a)));
    // Its transport had one more.
    scene.send(a, &user(b"two"));
    scene.tell(Input::Finished(a));
    assert!(
        scene
            .outputs
            .iter()
            .any(|output| matches!(output, Output::Removed { member, .. } if *member == a))
    );
    assert_eq!(scene.updates(b), []);
    let packets = scene.take(b);
    assert_eq!(packets.len(), 2);
    assert_eq!(scene.updates(b), [], "taken is not arrived");
    let total = bytes_of(&packets);
    scene.tell(Input::Acknowledged {
        member: b,
        total: total - 1,
    });
    assert_eq!(scene.updates(b), []);
    scene.tell(Input::Acknowledged { member: b, total });
    assert_eq!(scene.updates(b), [("a".to_owned(), Disconnected, 3)]);
    assert_eq!(scene.room.participants(), 1);
    assert_eq!(scene.room.stats().late_leaves, 0);
}

#[test]
fn each_subscriber_is_told_when_it_has_everything_itself() {
    let mut scene = Scene::new();
    let [a, fast, slow] = ["a", "fast", "slow"].map(|identity| scene.join(identity));
    scene.send(a, &user(b"last words"));
    scene.request(a, Request::Leave(Default::default()));
    scene.tell(Input::Finished(a));
    scene.forget_outputs();
    let total = bytes_of(&scene.take(fast));
    scene.tell(Input::Acknowledged {
        member: fast,
        total,
    });
    assert_eq!(scene.updates(fast).len(), 1);
    assert_eq!(scene.updates(slow), []);
    scene.seconds(4);
    assert_eq!(scene.updates(slow), []);
    scene.seconds(2);
    assert_eq!(
        scene.updates(slow),
        [("a".to_owned(), Disconnected, 3)],
        "at most 5 s"
    );
    assert_eq!(scene.room.stats().late_leaves, 1);
    assert_eq!(
        scene.texts(slow),
        ["last words"],
        "reliable data is not dropped"
    );
    assert_eq!(scene.room.logged(), 0);
    assert_eq!(
        scene.room.participant(a),
        None,
        "and then nothing of it is left"
    );
}

#[test]
fn what_a_braked_leaver_has_sent_is_not_lost_when_its_leave_is_late() {
    let mut scene = Scene::new();
    let [a, slow] = ["a", "slow"].map(|identity| scene.join(identity));
    let mut sent = 0;
    while scene.room.accepts(scene.now, a) {
        scene.send_many(a, 1);
        sent += 1;
    }
    scene.request(a, Request::Leave(Default::default()));
    scene.forget_outputs();
    scene.seconds(6);
    assert_eq!(scene.updates(slow), [("a".to_owned(), Disconnected, 3)]);
    assert!(
        !scene
            .outputs
            .iter()
            .any(|output| matches!(output, Output::Removed { .. }))
    );
    let mut taken = scene.take(slow).len();
    assert!(scene.room.accepts(scene.now, a));
    scene.send_many(a, 100);
    sent += 100;
    scene.tell(Input::Finished(a));
    taken += scene.take(slow).len();
    assert_eq!(taken, sent);
    assert_eq!(scene.room.participant(a), None);
}

#[test]
fn a_discarded_packet_does_not_hold_up_a_leave() {
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    scene.send(a, &user(b"too large for b"));
    let bytes = bytes_of(&scene.take(b));
    scene.tell(Input::Discarded { member: b, bytes });
    scene.forget_outputs();
    scene.request(a, Request::Leave(Default::default()));
    scene.tell(Input::Finished(a));
    assert_eq!(scene.updates(b), [("a".to_owned(), Disconnected, 3)]);
}

#[test]
fn a_leave_without_data_is_told_at_once() {
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    scene.forget_outputs();
    scene.request(a, Request::Leave(Default::default()));
    scene.tell(Input::Finished(a));
    assert_eq!(scene.updates(b), [("a".to_owned(), Disconnected, 3)]);
    let joining = scene.joining("c");
    let c = scene.enter(joining);
    let Some(Response::Join(join)) = scene.heard(c).into_iter().next() else {
        panic!("no join response");
    };
    assert_eq!(join.other_participants.len(), 1);
}

#[test]
fn the_newcomer_wins_a_duplicate_identity() {
    // §2.9.
    let mut scene = Scene::new();
    let [old, b] = ["a", "b"].map(|identity| scene.join(identity));
    scene.send(old, &user(b"from the old one"));
    let old_sid = scene.room.participant(old).unwrap().sid.clone();
    scene.forget_outputs();
    let new = scene.join("a");
    let leave = scene.sent_away(old).expect("the old one is told");
    assert_eq!(leave.reason(), DisconnectReason::DuplicateIdentity);
    assert_eq!(leave.action(), LeaveAction::Disconnect);
    assert!(!leave.can_reconnect);
    assert!(scene.outputs.iter().any(|output| matches!(
        output,
        Output::Removed { member, reason: DisconnectReason::DuplicateIdentity, .. } if *member == old
    )));
    assert_eq!(scene.room.find(&"a".into()), Some(new));
    // Others need no word about the old sid, and still get what it sent.
    assert_eq!(
        scene.updates(b),
        [("a".to_owned(), Joined, 1), ("a".to_owned(), Active, 2)]
    );
    let packets = scene.take(b);
    assert_eq!(packets.len(), 1);
    assert_eq!(packets[0].participant_sid, old_sid);
    let total = bytes_of(&packets);
    scene.tell(Input::Acknowledged { member: b, total });
    scene.seconds(10);
    assert_eq!(scene.updates(b), []);
    // Numbers start anew with the session (§4.5).
    scene.send(new, &numbered(1, "hello again"));
    assert_eq!(scene.texts(b), ["hello again"]);
}

#[test]
fn who_never_connects_is_removed_after_60_seconds() {
    // §2.9.
    let mut scene = Scene::new();
    let b = scene.join("b");
    let joining = scene.joining("a");
    let a = scene.enter(joining);
    scene.forget_outputs();
    scene.seconds(59);
    assert_eq!(scene.room.participants(), 2);
    scene.seconds(2);
    assert_eq!(scene.room.participants(), 1);
    assert_eq!(
        scene.sent_away(a).unwrap().reason(),
        DisconnectReason::JoinFailure
    );
    assert_eq!(scene.updates(b), [("a".to_owned(), Disconnected, 2)]);
}

#[test]
fn a_lost_link_is_kept_for_20_seconds() {
    // §2.14.
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    scene.forget_outputs();
    scene.tell(Input::LinkLost(a));
    // Data goes on without it.
    scene.send(b, &user(b"to a"));
    scene.send(a, &user(b"from a"));
    assert_eq!(scene.texts(a), ["to a"]);
    assert_eq!(scene.texts(b), ["from a"]);
    scene.seconds(19);
    assert_eq!(scene.room.participants(), 2);
    scene.seconds(2);
    assert_eq!(scene.room.participants(), 1);
    assert_eq!(scene.heard(a), [], "there is no link to say anything on");
}

#[test]
fn a_resume_gets_what_it_missed_in_the_right_order() {
    // §2.14.
    let mut scene = Scene::new();
    let [a, b, c] = ["a", "b", "c"].map(|identity| scene.join(identity));
    scene.send(a, &numbered(1, "x"));
    scene.send(a, &numbered(2, "y"));
    scene.tell(Input::LinkLost(a));
    scene.request(c, Request::Leave(Default::default()));
    scene.tell(Input::Finished(c));
    let total = bytes_of(&scene.take(b));
    scene.tell(Input::Acknowledged { member: b, total });
    scene.forget_outputs();
    let sid = ParticipantSid::from(scene.room.participant(a).unwrap().sid.as_str());
    assert_eq!(
        scene.room.resume(scene.now, &sid, &"b".into(), rights()),
        Err(ResumeError::Foreign)
    );
    assert_eq!(
        scene.room.resume(scene.now, &sid, &"a".into(), rights()),
        Ok(a)
    );
    scene.collect();
    let heard = scene.heard(a);
    let [
        Response::Reconnect(reconnect),
        Response::Update(missed),
        Response::Update(everybody),
        Response::RoomUpdate(_),
    ] = &heard[..]
    else {
        panic!("not in the order of §2.14: {heard:?}");
    };
    assert_eq!(reconnect.last_message_seq, 2);
    assert!(reconnect.server_info.is_some());
    assert_eq!(missed.participants[0].identity, "c");
    assert_eq!(missed.participants[0].state(), Disconnected);
    let identities: Vec<&str> = everybody
        .participants
        .iter()
        .map(|info| info.identity.as_str())
        .collect();
    assert_eq!(identities, ["b", "a"], "the participant itself too");
    // Re-sent packets are dropped by their number (§4.5).
    assert!(
        scene
            .send_on(a, Channel::Reliable, &numbered(2, "y"))
            .is_err()
    );
    scene.seconds(30);
    assert_eq!(scene.room.participants(), 2);
}

#[test]
fn unknown_and_past_sessions_do_not_resume() {
    // §2.14.
    let mut scene = Scene::new();
    let a = scene.join("a");
    let sid = ParticipantSid::from(scene.room.participant(a).unwrap().sid.as_str());
    assert_eq!(
        scene
            .room
            .resume(scene.now, &"PA_nobody".into(), &"a".into(), rights()),
        Err(ResumeError::Unknown)
    );
    scene.request(a, Request::Leave(Default::default()));
    assert_eq!(
        scene.room.resume(scene.now, &sid, &"a".into(), rights()),
        Err(ResumeError::Unknown)
    );
}

#[test]
fn a_silent_connection_is_kept_for_20_seconds_and_may_come_back() {
    let mut scene = Scene::new();
    let a = scene.join("a");
    scene.tell(Input::ConnectionLost(a));
    scene.seconds(19);
    scene.tell(Input::Connected(a));
    scene.seconds(19);
    assert_eq!(scene.room.participants(), 1);
    scene.tell(Input::ConnectionLost(a));
    scene.seconds(21);
    assert_eq!(scene.room.participants(), 0);
    let leave = scene.sent_away(a).unwrap();
    assert_eq!(leave.reason(), DisconnectReason::ConnectionTimeout);
    assert_eq!(leave.action(), LeaveAction::Reconnect);
}

#[test]
fn a_closed_connection_has_a_moment_to_say_goodbye() {
    let mut scene = Scene::new();
    let [a, b, c] = ["a", "b", "c"].map(|identity| scene.join(identity));
    scene.forget_outputs();
    scene.tell(Input::ConnectionClosed(a));
    scene.request(a, Request::Leave(Default::default()));
    scene.tell(Input::Finished(a));
    assert!(scene.outputs.iter().any(|output| matches!(
        output,
        Output::Removed { member, reason: DisconnectReason::ClientInitiated, .. } if *member == a
    )));
    scene.tell(Input::ConnectionClosed(b));
    scene.seconds(2);
    assert!(scene.outputs.iter().any(|output| matches!(
        output,
        Output::Removed { member, reason: DisconnectReason::ConnectionTimeout, .. } if *member == b
    )));
    // Without a link there is nothing to wait for.
    scene.tell(Input::LinkLost(c));
    scene.tell(Input::ConnectionClosed(c));
    assert_eq!(scene.room.participants(), 0);
}

#[test]
fn closing_tells_everybody_once_and_ends_the_room() {
    // §7.3, §2.13.
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    scene.send(a, &user(b"never taken"));
    scene.forget_outputs();
    scene.tell(Input::Close(DisconnectReason::ServerShutdown));
    for member in [a, b] {
        let heard = scene.heard(member);
        let [Response::Leave(leave)] = &heard[..] else {
            panic!("more than a leave: {heard:?}");
        };
        assert_eq!(leave.reason(), DisconnectReason::ServerShutdown);
        assert_eq!(leave.action(), LeaveAction::Disconnect);
    }
    assert!(scene.room.is_over(scene.now));
    assert_eq!(scene.room.logged(), 0);
    let joining = scene.joining("c");
    assert_eq!(scene.room.join(scene.now, joining), Err(JoinError::Closed));
}

#[test]
fn an_empty_room_ends_after_its_timeouts() {
    let mut scene = Scene::new();
    scene.seconds(299);
    assert!(!scene.room.is_over(scene.now));
    scene.seconds(1);
    assert!(scene.room.is_over(scene.now));

    let mut scene = Scene::new();
    let a = scene.join("a");
    scene.seconds(1000);
    assert!(!scene.room.is_over(scene.now));
    scene.request(a, Request::Leave(Default::default()));
    scene.tell(Input::Finished(a));
    scene.seconds(19);
    assert!(!scene.room.is_over(scene.now));
    scene.seconds(1);
    assert!(scene.room.is_over(scene.now));
}

#[test]
fn ids_of_those_who_left_mean_nobody() {
    let mut scene = Scene::new();
    let a = scene.join("a");
    scene.request(a, Request::Leave(Default::default()));
    scene.tell(Input::Finished(a));
    let b = scene.join("b");
    assert_eq!(a.slot, b.slot, "the place is reused");
    scene.forget_outputs();
    scene.tell(Input::LinkLost(a));
    scene.tell(Input::ConnectionClosed(a));
    scene.tell(Input::Finished(a));
    scene.request(a, Request::Leave(Default::default()));
    assert_eq!(
        scene.room.next_packet(scene.now, a, Channel::Reliable),
        None
    );
    assert_eq!(
        scene.send_on(a, Channel::Reliable, &user(b"x")),
        Err(Refusal::NotConnected)
    );
    assert_eq!(scene.outputs, []);
    assert_eq!(scene.room.participants(), 1);
}
