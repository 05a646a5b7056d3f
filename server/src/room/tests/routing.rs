//! Which participants get which packets (protocol.md §4.3).

use super::*;
use lkstream_proto::packet::{
    ByteHeader, ChatMessage, Chunk, Content, Header, Kind, TextHeader, Trailer, Transcription,
};
use lkstream_proto::participant::ParticipantKind;

#[test]
fn everybody_but_the_sender_gets_a_broadcast() {
    // §4.3 rule 7.
    let mut scene = Scene::new();
    let [a, b, c] = ["a", "b", "c"].map(|identity| scene.join(identity));
    scene.send(a, &user(b"hello"));
    assert_eq!(scene.texts(b), ["hello"]);
    assert_eq!(scene.texts(c), ["hello"]);
    assert_eq!(scene.texts(a), [""; 0]);
    assert_eq!(scene.room.logged(), 0);
}

#[test]
fn destinations_are_honoured_and_unknown_ones_ignored() {
    // §4.3 rule 7; the sender never gets its own packet, even when it lists itself.
    let mut scene = Scene::new();
    let [a, b, c] = ["a", "b", "c"].map(|identity| scene.join(identity));
    scene.send(a, &to(&["b", "a", "nobody"], "for b"));
    scene.send(a, &to(&["nobody"], "for nobody"));
    scene.send(a, &user(b"for all"));
    assert_eq!(scene.texts(b), ["for b", "for all"]);
    assert_eq!(scene.texts(c), ["for all"]);
    assert_eq!(scene.texts(a), [""; 0]);
    assert_eq!(scene.room.logged(), 0);
}

#[test]
fn legacy_destinations_by_sid_and_inside_the_user_packet_are_honoured() {
    // §4.3 rule 3.
    let mut scene = Scene::new();
    let [a, b, c] = ["a", "b", "c"].map(|identity| scene.join(identity));
    let sid = scene.room.participant(b).unwrap().sid.clone();
    scene.send(
        a,
        &packet(Value::User(UserPacket {
            payload: Bytes::from_static(b"by sid"),
            destination_sids: vec![sid],
            ..UserPacket::default()
        })),
    );
    scene.send(
        a,
        &packet(Value::User(UserPacket {
            payload: Bytes::from_static(b"inner"),
            destination_identities: vec!["c".to_owned()],
            ..UserPacket::default()
        })),
    );
    assert_eq!(scene.texts(b), ["by sid"]);
    assert_eq!(scene.texts(c), ["inner"]);
}

#[test]
fn the_senders_name_is_the_servers_to_say() {
    // §4.3 rules 2 and 3: whatever the packet claims.
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    let mut forged = packet(Value::User(UserPacket {
        participant_sid: "PA_forged".to_owned(),
        participant_identity: "admin".to_owned(),
        payload: Bytes::from_static(b"x"),
        ..UserPacket::default()
    }));
    forged.participant_sid = "PA_forged".to_owned();
    forged.participant_identity = "admin".to_owned();
    scene.send(a, &forged);
    let info = scene.room.participant(a).unwrap().clone();
    let [packet] = scene.take(b).try_into().unwrap();
    assert_eq!(packet.participant_sid, info.sid);
    assert_eq!(packet.participant_identity, "a");
    let Some(Value::User(user)) = packet.value else {
        panic!("no user packet");
    };
    assert_eq!(user.participant_sid, info.sid);
    assert_eq!(user.participant_identity, "a");
}

#[test]
fn chunks_of_somebody_elses_stream_go_out_under_the_publishers_own_sid() {
    // protocol.md §4.3: receivers key streams by it.
    let mut scene = Scene::new();
    let [a, b, c] = ["a", "b", "c"].map(|identity| scene.join(identity));
    let chunk = DataPacket {
        participant_identity: "a".to_owned(),
        participant_sid: scene.room.participant(a).unwrap().sid.clone(),
        ..packet(Value::StreamChunk(Chunk {
            stream_id: "stream-of-a".to_owned(),
            content: Bytes::from_static(b"evil"),
            ..Chunk::default()
        }))
    };
    scene.send(b, &chunk);
    let [packet] = scene.take(c).try_into().unwrap();
    assert_eq!(packet.participant_identity, "b");
    assert_eq!(
        packet.participant_sid,
        scene.room.participant(b).unwrap().sid
    );
}

#[test]
fn a_hidden_sender_has_no_identity() {
    // §4.3 rule 2, §1.1.
    let mut scene = Scene::new();
    let b = scene.join("b");
    let mut joining = scene.joining("ghost");
    joining.permission.hidden = true;
    scene.forget_outputs();
    let ghost = scene.join_as(joining);
    assert_eq!(scene.updates(b), []);
    scene.send(ghost, &user(b"boo"));
    let [packet] = scene.take(b).try_into().unwrap();
    assert_eq!(packet.participant_identity, "");
    assert!(packet.participant_sid.starts_with("PA_"));
    // It receives like others.
    scene.send(b, &user(b"who is there"));
    assert_eq!(scene.texts(ghost), ["who is there"]);
    scene.request(ghost, Request::Leave(Default::default()));
    scene.tell(Input::Finished(ghost));
    assert_eq!(scene.updates(b), []);
}

fn text_header(identity: &str) -> DataPacket {
    DataPacket {
        participant_identity: identity.to_owned(),
        ..packet(Value::StreamHeader(Header {
            stream_id: "s".to_owned(),
            topic: "lk.transcription".to_owned(),
            content: Some(Content::Text(TextHeader::default())),
            ..Header::default()
        }))
    }
}

#[test]
fn agents_may_speak_for_others_in_text_headers_and_chat() {
    // §4.3 rule 2: the exception, and what it does not cover.
    let mut scene = Scene::new();
    let b = scene.join("b");
    let mut joining = scene.joining("agent");
    joining.kind = ParticipantKind::Agent as i32;
    let agent = scene.join_as(joining);
    scene.send(agent, &text_header("user"));
    scene.send(agent, &text_header(""));
    scene.send(
        agent,
        &DataPacket {
            participant_identity: "user".to_owned(),
            ..packet(Value::StreamTrailer(Trailer {
                stream_id: "s".to_owned(),
                ..Trailer::default()
            }))
        },
    );
    scene.send(
        agent,
        &DataPacket {
            participant_identity: "user".to_owned(),
            ..packet(Value::StreamHeader(Header {
                stream_id: "bytes".to_owned(),
                content: Some(Content::Bytes(ByteHeader::default())),
                ..Header::default()
            }))
        },
    );
    scene.send(
        agent,
        &DataPacket {
            participant_identity: "user".to_owned(),
            ..packet(Value::ChatMessage(ChatMessage::default()))
        },
    );
    let packets = scene.take(b);
    let identities: Vec<&str> = packets
        .iter()
        .map(|packet| packet.participant_identity.as_str())
        .collect();
    assert_eq!(identities, ["user", "agent", "agent", "agent", "user"]);
    let sid = &scene.room.participant(agent).unwrap().sid;
    assert!(packets.iter().all(|packet| packet.participant_sid == *sid));
    let Some(Value::ChatMessage(chat)) = &packets[4].value else {
        panic!("no chat message");
    };
    assert!(chat.generated);
}

#[test]
fn others_may_not_speak_for_others() {
    // §4.3 rule 2.
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    scene.send(a, &text_header("user"));
    let [packet] = scene.take(b).try_into().unwrap();
    assert_eq!(packet.participant_identity, "a");
}

#[test]
fn transcriptions_are_for_agents_to_send() {
    // §4.3 rule 5.
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    let transcription = packet(Value::Transcription(Transcription::default()));
    assert_eq!(
        scene.send_on(a, Channel::Reliable, &transcription),
        Err(Refusal::NotForParticipants)
    );
    let mut joining = scene.joining("agent");
    joining.permission.agent = true;
    let agent = scene.join_as(joining);
    scene.send(agent, &transcription);
    assert_eq!(scene.take(b).len(), 1);
}

#[test]
fn metrics_go_to_those_who_may_have_them() {
    // §4.3 rule 5.
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    let mut joining = scene.joining("monitor");
    joining.permission.can_subscribe_metrics = true;
    let monitor = scene.join_as(joining);
    scene.send(a, &packet(Value::Metrics(Bytes::new())));
    assert_eq!(scene.take(b).len(), 0);
    assert_eq!(scene.take(monitor).len(), 1);
}

#[test]
fn without_the_right_to_publish_packets_vanish_and_are_counted() {
    // §4.3 rule 1.
    let mut scene = Scene::new();
    let b = scene.join("b");
    let mut joining = scene.joining("mute");
    joining.permission.can_publish_data = false;
    let mute = scene.join_as(joining);
    for channel in [Channel::Reliable, Channel::Lossy] {
        assert_eq!(
            scene.send_on(mute, channel, &user(b"x")),
            Err(Refusal::NotPermitted)
        );
        assert_eq!(scene.take_on(b, channel).len(), 0);
    }
    assert_eq!(scene.room.stats().not_permitted, 2);
    assert_eq!(
        scene
            .heard(mute)
            .iter()
            .filter(|heard| matches!(heard, Response::Leave(_)))
            .count(),
        0
    );
}

#[test]
fn a_participant_without_a_connection_cannot_send() {
    // §4.3 rule 1.
    let mut scene = Scene::new();
    let joining = scene.joining("early");
    let early = scene.enter(joining);
    assert_eq!(
        scene.send_on(early, Channel::Reliable, &user(b"x")),
        Err(Refusal::NotConnected)
    );
    assert_eq!(scene.room.stats().not_connected, 1);
}

#[test]
fn sequences_not_above_the_last_are_dropped_per_sender() {
    // §4.3 rule 4, §4.5.
    let mut scene = Scene::new();
    let [a, b, c] = ["a", "b", "c"].map(|identity| scene.join(identity));
    scene.send(a, &numbered(1, "one"));
    scene.send(a, &numbered(5, "five, since gaps are normal"));
    for sequence in [5, 1, 4] {
        assert_eq!(
            scene.send_on(a, Channel::Reliable, &numbered(sequence, "again")),
            Err(Refusal::Duplicate { sequence })
        );
    }
    scene.send(a, &numbered(0, "unnumbered"));
    scene.send(a, &numbered(0, "unnumbered"));
    scene.send(b, &numbered(1, "another sender"));
    let sequences: Vec<u32> = scene.take(c).iter().map(|packet| packet.sequence).collect();
    // Publishers take turns.
    assert_eq!(sequences, [1, 1, 5, 0, 0]);
    assert_eq!(scene.room.stats().duplicates, 3);
}

#[test]
fn the_channel_counts_not_the_word_of_the_packet() {
    // §4.1: Python writes kind LOSSY into reliable packets; §10.4: the server sets it right.
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    let mut packet = user(b"x");
    packet.kind = Kind::Lossy as i32;
    scene.send(a, &packet);
    assert_eq!(scene.take_on(b, Channel::Lossy).len(), 0);
    assert_eq!(scene.take(b).len(), 1);
}

#[test]
fn garbage_is_counted_and_hurts_nobody() {
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    for bytes in [&b"\xff\xff\xff\xff\xff"[..], b"\x12\x80", &[0xa2; 300]] {
        let result = scene.room.handle_input(
            scene.now,
            Input::Packet {
                from: a,
                channel: Channel::Reliable,
                bytes: Bytes::copy_from_slice(bytes),
            },
        );
        assert!(matches!(result, Err(Refusal::Malformed(_))), "{result:?}");
    }
    let result = scene.send_on(a, Channel::Reliable, &user(&[0; 70_000]));
    assert!(matches!(result, Err(Refusal::Malformed(_))), "{result:?}");
    assert_eq!(scene.room.stats().malformed, 4);
    scene.send(a, &user(b"still here"));
    assert_eq!(scene.texts(b), ["still here"]);
}

#[test]
fn order_is_kept_per_publisher_and_publishers_take_turns() {
    // protocol.md §4.4.
    let mut scene = Scene::new();
    let [a, b, c] = ["a", "b", "c"].map(|identity| scene.join(identity));
    for payload in ["a1", "a2", "a3"] {
        scene.send(a, &user(payload.as_bytes()));
    }
    for payload in ["b1", "b2"] {
        scene.send(b, &user(payload.as_bytes()));
    }
    assert_eq!(scene.texts(c), ["a1", "b1", "a2", "b2", "a3"]);
}

#[test]
fn reliable_packets_wait_for_the_channel_from_the_join_on() {
    // §4.4, §3.7.
    let mut scene = Scene::new();
    let a = scene.join("a");
    scene.send(a, &user(b"before"));
    let joining = scene.joining("late");
    let late = scene.enter(joining);
    scene.send(a, &user(b"one"));
    assert_eq!(scene.texts(late), [""; 0]);
    scene.tell(Input::Connected(late));
    scene.send(a, &user(b"two"));
    assert_eq!(scene.texts(late), [""; 0]);
    scene.forget_outputs();
    scene.tell(Input::ChannelOpen {
        member: late,
        channel: Channel::Reliable,
    });
    assert_eq!(scene.outputs, [Output::Packets(late)]);
    assert_eq!(scene.texts(late), ["one", "two"]);
}

#[test]
fn lossy_packets_go_to_active_participants_only() {
    // §4.4.
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    let joining = scene.joining("late");
    let late = scene.enter(joining);
    scene.send_on(a, Channel::Lossy, &user(b"x")).unwrap();
    scene.connect(late);
    assert_eq!(scene.take_on(b, Channel::Lossy).len(), 1);
    assert_eq!(scene.take_on(late, Channel::Lossy).len(), 0);
    assert_eq!(scene.room.logged(), 0);
}

#[test]
fn the_driver_is_woken_once_until_it_has_taken_everything() {
    let mut scene = Scene::new();
    let [a, b] = ["a", "b"].map(|identity| scene.join(identity));
    scene.forget_outputs();
    scene.send(a, &user(b"1"));
    scene.send(a, &user(b"2"));
    scene.send_on(a, Channel::Lossy, &user(b"3")).unwrap();
    assert_eq!(scene.outputs, [Output::Packets(b)]);
    scene.forget_outputs();
    scene.take(b);
    scene.send(a, &user(b"4"));
    assert_eq!(scene.outputs, [], "the lossy packet still waits");
    scene.take_on(b, Channel::Lossy);
    scene.take(b);
    scene.send(a, &user(b"5"));
    assert_eq!(scene.outputs, [Output::Packets(b)]);
}
