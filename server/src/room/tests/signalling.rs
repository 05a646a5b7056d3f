//! Joins, updates and requests (protocol.md §2.7 to §2.18).

use super::*;
use ParticipantState::{Active, Joined};
use lkstream_proto::participant::Capability;
use lkstream_proto::signal::{Echo, Ping, RequestReason, UpdateMetadata};

#[test]
fn the_join_response_has_what_clients_insist_on() {
    // §2.7.
    let mut scene = Scene::new();
    scene.join("first");
    let mut joining = scene.joining("second");
    joining.name = "Second".to_owned();
    joining.client.client_protocol = 2;
    joining.client.capabilities = vec![Capability::CompressionDeflateRaw as i32];
    let second = scene.enter(joining);
    let Some(Response::Join(join)) = scene.heard(second).into_iter().next() else {
        panic!("the first message is the join response");
    };
    let room = join.room.unwrap();
    assert!(room.sid.starts_with("RM_"));
    assert_eq!(room.creation_time_ms, 1_700_000_000_123);
    assert_eq!(room.creation_time, 1_700_000_000);
    assert_eq!(room.num_participants, 2);
    let me = join.participant.unwrap();
    assert!(me.sid.starts_with("PA_"));
    assert_eq!(me.sid.len(), 15);
    assert_eq!(me.state(), Joined);
    assert_eq!(me.name, "Second");
    assert!(me.joined_at_ms >= 1_700_000_000_123);
    assert_eq!(me.client_protocol, 2);
    assert!(me.inflates());
    assert_eq!(join.other_participants.len(), 1);
    assert_eq!(join.other_participants[0].identity, "first");
    let server = join.server_info.unwrap();
    assert_eq!(server.protocol, 17);
    let version: Vec<u32> = server
        .version
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    assert!(version >= vec![1, 8, 0], "semver of at least 1.8.0");
    assert_eq!(join.server_version, server.version);
    assert!(join.ping_interval > 0 && join.ping_timeout > join.ping_interval);
    assert!(!join.subscriber_primary);
}

#[test]
fn others_learn_of_a_newcomer_at_once_with_growing_versions() {
    // §2.9, §5.3.
    let mut scene = Scene::new();
    let a = scene.join("a");
    scene.forget_outputs();
    let mut joining = scene.joining("b");
    joining.client.client_protocol = 1;
    let b = scene.enter(joining);
    assert_eq!(scene.updates(a), [("b".to_owned(), Joined, 1)]);
    assert_eq!(scene.room.participant(b).unwrap().client_protocol, 1);
    scene.heard(b);
    scene.connect(b);
    assert_eq!(scene.updates(a), [("b".to_owned(), Active, 2)]);
    assert_eq!(
        scene.updates(b),
        [("b".to_owned(), Active, 2)],
        "itself too"
    );
}

#[test]
fn hidden_participants_are_not_in_the_join_response() {
    // §2.9.
    let mut scene = Scene::new();
    let mut joining = scene.joining("ghost");
    joining.permission.hidden = true;
    scene.join_as(joining);
    let joining = scene.joining("a");
    let a = scene.enter(joining);
    let Some(Response::Join(join)) = scene.heard(a).into_iter().next() else {
        panic!("no join response");
    };
    assert_eq!(join.other_participants, []);
    assert_eq!(join.room.unwrap().num_participants, 1);
}

#[test]
fn pings_are_answered() {
    // §2.11.
    let mut scene = Scene::new();
    let a = scene.join("a");
    scene.heard(a);
    scene.seconds(2);
    scene.heard(a);
    scene.request(a, Request::Ping(5));
    scene.request(
        a,
        Request::PingReq(Ping {
            timestamp: 99,
            rtt: 3,
        }),
    );
    let heard = scene.heard(a);
    let [Response::Pong(_), Response::PongResp(pong)] = &heard[..] else {
        panic!("no pongs: {heard:?}");
    };
    assert_eq!(pong.last_ping_timestamp, 99);
    assert_eq!(pong.timestamp, 1_700_000_002_123);
}

fn change(name: &str, metadata: &str, attributes: &[(&str, &str)]) -> UpdateMetadata {
    UpdateMetadata {
        name: name.to_owned(),
        metadata: metadata.to_owned(),
        attributes: attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        request_id: 42,
    }
}

fn outcome(scene: &mut Scene, id: MemberId) -> (RequestReason, bool) {
    let heard = scene.heard(id);
    let updated = heard
        .iter()
        .any(|response| matches!(response, Response::Update(_)));
    let reason = heard
        .iter()
        .find_map(|response| match response {
            Response::RequestResponse(response) => {
                assert_eq!(response.request_id, 42);
                assert!(matches!(response.request, Some(Echo::UpdateMetadata(_))));
                Some(response.reason())
            }
            _ => None,
        })
        .expect("silence makes clients wait for 5 s");
    (reason, updated)
}

#[test]
fn own_metadata_is_updated_with_the_right_to() {
    // §2.16.
    let mut scene = Scene::new();
    let b = scene.join("b");
    let mut joining = scene.joining("a");
    joining.permission.can_update_metadata = true;
    joining.name = "Old".to_owned();
    joining.attributes.insert("gone".to_owned(), "1".to_owned());
    joining.attributes.insert("kept".to_owned(), "2".to_owned());
    let a = scene.join_as(joining);
    scene.forget_outputs();
    let version = scene.room.participant(a).unwrap().version;
    scene.request(
        a,
        Request::UpdateMetadata(change("", "m", &[("gone", ""), ("new", "3")])),
    );
    assert_eq!(outcome(&mut scene, a), (RequestReason::Ok, true));
    assert_eq!(scene.updates(b).len(), 1);
    let info = scene.room.participant(a).unwrap();
    assert_eq!(info.name, "Old", "empty leaves it");
    assert_eq!(info.metadata, "m");
    let attributes: Vec<(&str, &str)> = info
        .attributes
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(attributes, [("kept", "2"), ("new", "3")]);
    assert_eq!(info.version, version + 1);
    for too_large in [
        change(&"n".repeat(257), "", &[]),
        change("", &"m".repeat(512 * 1024 + 1), &[]),
        change("", "", &[("k", &"v".repeat(64 * 1024))]),
    ] {
        scene.request(a, Request::UpdateMetadata(too_large));
        assert_eq!(
            outcome(&mut scene, a),
            (RequestReason::LimitExceeded, false)
        );
    }
}

#[test]
fn own_metadata_is_not_updated_without_the_right_to() {
    // §2.16.
    let mut scene = Scene::new();
    let a = scene.join("a");
    scene.forget_outputs();
    scene.request(a, Request::UpdateMetadata(change("x", "", &[])));
    assert_eq!(outcome(&mut scene, a), (RequestReason::NotAllowed, false));
    assert_eq!(scene.room.participant(a).unwrap().name, "");
}

#[test]
fn tracks_are_refused_with_an_echo() {
    // §2.17: silence would hang the call for 10 s.
    let mut scene = Scene::new();
    let a = scene.join("a");
    scene.forget_outputs();
    let track = Bytes::from_static(b"\x0a\x03cid");
    scene.request(a, Request::AddTrack(track.clone()));
    scene.request(a, Request::PublishDataTrack(track.clone()));
    let heard = scene.heard(a);
    let [
        Response::RequestResponse(first),
        Response::RequestResponse(second),
    ] = &heard[..]
    else {
        panic!("no refusals: {heard:?}");
    };
    assert_eq!(first.reason(), RequestReason::UnsupportedType);
    assert_eq!(first.request, Some(Echo::AddTrack(track.clone())));
    assert_eq!(second.request, Some(Echo::PublishDataTrack(track)));
    assert_eq!(scene.room.stats().requests_refused, 2);
}

#[test]
fn old_clients_and_full_rooms_are_refused() {
    // §2.18, §1.4.
    let mut scene = Scene::with(|limits| limits.participants = 2);
    scene.join("a");
    let mut joining = scene.joining("old");
    joining.client.protocol = 12;
    assert_eq!(
        scene.room.join(scene.now, joining),
        Err(JoinError::Protocol {
            protocol: 12,
            minimum: 13
        })
    );
    scene.join("b");
    let joining = scene.joining("c");
    assert_eq!(
        scene.room.join(scene.now, joining),
        Err(JoinError::Full { limit: 2 })
    );
    // Coming back is no new participant.
    scene.join("a");
    assert_eq!(scene.room.participants(), 2);
}

#[test]
fn room_updates_are_rare() {
    // §2.10.
    let mut scene = Scene::new();
    let a = scene.join("a");
    for n in 0..20 {
        scene.join(&format!("p{n}"));
    }
    scene.seconds(6);
    let rooms: Vec<u32> = scene
        .heard(a)
        .into_iter()
        .filter_map(|response| match response {
            Response::RoomUpdate(update) => Some(update.room.unwrap().num_participants),
            _ => None,
        })
        .collect();
    assert_eq!(rooms, [21]);
}

/// A participant with as much metadata as there may be.
fn large(scene: &mut Scene, identity: &str) -> Joining {
    let mut joining = scene.joining(identity);
    joining.metadata = "m".repeat(wire::METADATA_BYTES);
    let value = "a".repeat(wire::ATTRIBUTES_BYTES - 1);
    joining.attributes = BTreeMap::from([("k".to_owned(), value)]);
    joining.permission.can_update_metadata = true;
    joining
}

#[test]
fn no_message_is_larger_than_our_own_clients_take() {
    let mut scene = Scene::new();
    let identities: Vec<String> = (0..20).map(|n| format!("large {n}")).collect();
    for identity in &identities {
        let joining = large(&mut scene, identity);
        let id = scene.join_as(joining);
        // `heard` decodes with the limits that our clients have.
        let heard = scene.heard(id);
        let Some(Response::Join(joined)) = heard.first() else {
            panic!("no join response: {heard:?}");
        };
        let mut known: Vec<String> = joined
            .other_participants
            .iter()
            .map(|info| info.identity.clone())
            .collect();
        for response in &heard {
            if let Response::Update(update) = response {
                known.extend(update.participants.iter().map(|info| info.identity.clone()));
            }
        }
        for other in identities.iter().take_while(|other| *other != identity) {
            assert!(known.contains(other), "{identity} is told of {other}");
        }
    }
    // A resume tells of everybody, too.
    let id = scene.room.find(&"large 0".into()).unwrap();
    let sid = scene.room.participant(id).unwrap().sid.clone();
    scene.forget_outputs();
    scene.tell(Input::LinkLost(id));
    scene
        .room
        .resume(scene.now, &sid.as_str().into(), &"large 0".into(), rights())
        .unwrap();
    scene.collect();
    let told = scene.updates(id);
    for identity in &identities {
        assert!(told.iter().any(|(told, ..)| told == identity));
    }
}

#[test]
fn a_message_that_clients_would_refuse_is_not_sent() {
    let mut scene = Scene::new();
    let a = scene.join("a");
    scene.forget_outputs();
    scene.tell(Input::Say {
        member: a,
        message: vec![0; wire::SIGNAL_BYTES + 1].into(),
    });
    let loss = Loss::SignalTooLarge;
    assert_eq!(scene.outputs, [Output::Lost { member: a, loss }]);
    assert_eq!(scene.room.stats().signals_too_large, 1);
}

#[test]
fn one_that_does_not_read_gets_the_newest_state_once() {
    let mut scene = Scene::new();
    let joining = large(&mut scene, "a");
    let a = scene.join_as(joining);
    let b = scene.join("b");
    scene.forget_outputs();
    scene.deaf.insert(b);
    for n in 0..1000 {
        scene.request(
            a,
            Request::UpdateMetadata(UpdateMetadata {
                name: format!("name {n}"),
                ..UpdateMetadata::default()
            }),
        );
        // Others come and go meanwhile, under one identity and under many.
        let joining = scene.joining("c");
        scene.enter(joining);
        let joining = scene.joining(&format!("d{n}"));
        let d = scene.enter(joining);
        scene.request(d, Request::Leave(Default::default()));
    }
    scene.seconds(10);
    let member = scene.room.member(b).unwrap();
    assert!(member.signals.queued() < 10, "{}", member.signals.queued());
    scene.take_signals(b);
    let heard = scene.heard(b);
    let told: Vec<(String, String)> = heard
        .into_iter()
        .filter_map(|response| match response {
            Response::Update(update) => Some(update.participants),
            _ => None,
        })
        .flatten()
        .map(|info| (info.identity, info.name))
        .collect();
    assert_eq!(
        told,
        [
            ("a".to_owned(), "name 999".to_owned()),
            ("c".to_owned(), String::new())
        ]
    );
}

#[test]
fn one_that_does_not_read_its_answers_is_cut() {
    let mut scene = Scene::with(|limits| limits.signal_queue = 1000);
    let a = scene.join("a");
    scene.deaf.insert(a);
    for n in 0..1000 {
        scene.request(a, Request::Ping(n));
        if scene.outputs.contains(&Output::CloseLink(a)) {
            scene.tell(Input::LinkLost(a));
        }
    }
    assert!(scene.room.member(a).unwrap().signals.queued() < 10);
    assert_eq!(scene.room.stats().links_overrun, 1);
}

#[test]
fn nothing_of_a_publisher_arrives_before_it_was_announced() {
    let mut scene = Scene::new();
    let bob = scene.join("bob");
    scene.deaf.insert(bob);
    let alice = scene.join("alice");
    scene.send(alice, &user(b"first"));
    scene
        .send_on(alice, Channel::Lossy, &user(b"lossy"))
        .unwrap();
    assert!(scene.texts(bob).is_empty());
    assert!(scene.take_on(bob, Channel::Lossy).is_empty());
    assert_eq!(scene.room.stats().lossy_dropped, 1);
    // Taken by the link is not written yet.
    let mut given = scene.written[&bob];
    while scene.room.next_signal(bob).is_some() {
        given += 1;
    }
    assert!(scene.texts(bob).is_empty());
    scene.forget_outputs();
    scene.tell(Input::SignalsWritten {
        member: bob,
        total: given,
    });
    assert!(scene.outputs.contains(&Output::Packets(bob)));
    assert_eq!(scene.texts(bob), ["first"]);
}

#[test]
fn one_who_left_before_it_was_announced_is_heard_in_order() {
    let mut scene = Scene::new();
    let bob = scene.join("bob");
    scene.forget_outputs();
    scene.deaf.insert(bob);
    let alice = scene.join("alice");
    scene.send(alice, &user(b"first"));
    scene.request(alice, Request::Leave(Default::default()));
    scene.tell(Input::Finished(alice));
    scene.deaf.remove(&bob);
    scene.take_signals(bob);
    let told: Vec<_> = scene
        .updates(bob)
        .into_iter()
        .map(|it| (it.0, it.1))
        .collect();
    assert_eq!(told, [("alice".to_owned(), ParticipantState::Active)]);
    assert_eq!(scene.texts(bob), ["first"]);
    let total = scene.room.member(bob).unwrap().taken;
    scene.tell(Input::Acknowledged { member: bob, total });
    let told: Vec<_> = scene
        .updates(bob)
        .into_iter()
        .map(|it| (it.0, it.1))
        .collect();
    assert_eq!(told, [("alice".to_owned(), ParticipantState::Disconnected)]);

    // When it takes too long, bob never hears of the next one.
    scene.deaf.insert(bob);
    let carol = scene.join("carol");
    scene.send(carol, &user(b"lost"));
    scene.request(carol, Request::Leave(Default::default()));
    scene.tell(Input::Finished(carol));
    scene.seconds(6);
    scene.take_signals(bob);
    assert!(scene.updates(bob).is_empty());
    assert!(scene.texts(bob).is_empty());
    assert_eq!(scene.room.stats().unannounced_dropped, 1);
    assert_eq!(scene.room.logged(), 0);
}

#[test]
fn a_resume_takes_the_rights_of_its_newest_token() {
    let mut scene = Scene::new();
    let a = scene.join("a");
    let b = scene.join("b");
    scene.forget_outputs();
    let sid = scene.room.participant(a).unwrap().sid.clone();
    let mut permission = rights();
    permission.can_publish_data = false;
    scene
        .room
        .resume(scene.now, &sid.as_str().into(), &"a".into(), permission)
        .unwrap();
    scene.collect();
    let refused = scene.send_on(a, Channel::Reliable, &user(b"x"));
    assert_eq!(refused, Err(Refusal::NotPermitted));
    assert_eq!(scene.updates(b).len(), 1, "the others are told");
}

#[test]
fn capabilities_are_shown_once_each_and_are_few() {
    let mut scene = Scene::new();
    let mut joining = scene.joining("a");
    joining.client.capabilities = [2, 1, 2].into_iter().chain(100..2000).collect();
    let a = scene.join_as(joining);
    let shown = &scene.room.participant(a).unwrap().capabilities;
    assert_eq!(shown.len(), wire::CAPABILITIES);
    assert_eq!(shown[..3], [1, 2, 100]);
}
