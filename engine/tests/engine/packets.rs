//! Single packets (protocol.md §4.1), both ways.

use bytes::Bytes;
use lkstream_engine::encryption::Keyring;
use lkstream_engine::{Config, Content, Engine, Event, Lost, Message, OpenOptions, PublishError};
use lkstream_proto::packet::{
    Channel, ChatMessage, DataPacket, Header, SipDtmf, Transcription, UserPacket, Value,
};

use crate::script::*;

fn user(payload: impl Into<Bytes>) -> Message {
    Message::User {
        payload: payload.into(),
        topic: Some("t".into()),
    }
}

/// protocol.md §4.1, §4.2: reliable packets are numbered and say who sent them.
#[test]
fn a_reliable_packet_is_numbered_with_the_streams() {
    let mut peer = Peer::bob();
    let to = ["alice".into(), "carol".into()];
    peer.engine
        .publish(Channel::Reliable, user("one"), &to)
        .unwrap();
    peer.engine
        .publish(Channel::Reliable, user("two"), &[])
        .unwrap();
    let sent = peer.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!((sent[0].sequence, sent[1].sequence), (1, 2));
    assert_eq!(sent[0].destination_identities, ["alice", "carol"]);
    assert!(sent[1].destination_identities.is_empty());
    assert_eq!(sent[0].participant_identity, "bob");
    assert_eq!(sent[0].participant_sid, "PA_bob");
    let expected = UserPacket {
        payload: "one".into(),
        topic: Some("t".to_owned()),
        ..UserPacket::default()
    };
    assert_eq!(sent[0].value, Some(Value::User(expected)));
}

/// protocol.md §4.5: lossy packets have no number.
#[test]
fn a_lossy_packet_has_no_number_and_a_queue_of_its_own() {
    let mut peer = Peer::bob();
    peer.engine
        .publish(Channel::Lossy, user("one"), &[])
        .unwrap();
    assert!(peer.engine.poll_packet().is_none());
    let packet = peer.engine.poll_lossy().unwrap();
    assert_eq!(packet.channel, Channel::Lossy);
    let packet = DataPacket::from_bytes(packet.bytes).unwrap();
    assert_eq!(packet.sequence, 0);
    assert!(peer.engine.poll_lossy().is_none());
}

#[test]
fn old_lossy_packets_give_way_and_are_counted() {
    let mut peer = Peer::bob();
    for number in 0..10_u8 {
        let payload = vec![number; 60_000];
        peer.engine
            .publish(Channel::Lossy, user(payload), &[])
            .unwrap();
    }
    let left: Vec<u8> = std::iter::from_fn(|| peer.engine.poll_lossy())
        .map(
            |packet| match DataPacket::from_bytes(packet.bytes).unwrap().value {
                Some(Value::User(user)) => user.payload[0],
                other => panic!("{other:?}"),
            },
        )
        .collect();
    assert_eq!(left, [6, 7, 8, 9]);
    assert_eq!(peer.engine.counters().dropped_lossy, 6);
}

#[test]
fn the_reliable_queue_is_bounded_and_tells_when_there_is_room() {
    let mut peer = Peer::bob();
    let mut queued = 0;
    let full = loop {
        match peer
            .engine
            .publish(Channel::Reliable, user(vec![0; 10_000]), &[])
        {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            full,
            PublishError::Full {
                limit: 1_048_576,
                ..
            }
        ),
        "{full:?}"
    );
    assert_eq!(queued, 1_048_576 / 10_160);
    peer.drain();
    assert!(peer.events.is_empty());
    let sent = peer.sent();
    assert_eq!(sent.len(), queued);
    peer.drain();
    assert_eq!(peer.events, [Event::Publishable], "once");
}

#[test]
fn a_packet_above_64_000_bytes_is_refused_with_advice_and_the_rest_goes_on() {
    for channel in [Channel::Reliable, Channel::Lossy] {
        let mut peer = Peer::bob();
        let error = peer
            .engine
            .publish(channel, user(vec![0; 64_000]), &[])
            .unwrap_err();
        let PublishError::TooLarge {
            size,
            limit: 64_000,
        } = error
        else {
            panic!("{error:?}");
        };
        assert!((64_001..64_100).contains(&size), "{size}");
        assert_eq!(
            error.to_string(),
            format!("the packet takes {size} bytes, at most 64000 allowed: send it as a stream")
        );
        // The largest that fits does, whatever number it gets.
        let largest = 64_000 - (size - 64_000);
        peer.engine
            .publish(channel, user(vec![0; largest]), &[])
            .unwrap();
        let packet = peer
            .engine
            .poll_packet()
            .or_else(|| peer.engine.poll_lossy());
        assert!(packet.unwrap().bytes.len() <= 64_000);
    }
}

#[test]
fn a_server_that_takes_less_lowers_the_limit() {
    let mut peer = Peer::bob();
    peer.engine.set_packet_limit(16_384);
    let error = peer
        .engine
        .publish(Channel::Reliable, user(vec![0; 16_384]), &[]);
    assert!(matches!(
        error,
        Err(PublishError::TooLarge { limit: 16_384, .. })
    ));
    peer.engine.set_packet_limit(1_000_000);
    let error = peer
        .engine
        .publish(Channel::Reliable, user(vec![0; 64_000]), &[]);
    assert!(matches!(
        error,
        Err(PublishError::TooLarge { limit: 64_000, .. })
    ));
}

/// protocol.md §5.8: an encrypted packet may be larger than it was, never than allowed.
#[test]
fn sealed_packets_keep_to_the_limit_too() {
    let mut engine = Engine::new(Config::default(), 1).encrypted(Keyring::shared("key").unwrap());
    engine.set_local(std::time::Instant::now(), "bob".into(), "PA_bob".into());
    let mut largest = 0;
    for size in 63_700..64_000 {
        if engine
            .publish(Channel::Reliable, user(vec![0; size]), &[])
            .is_ok()
        {
            largest = size;
            let packet = engine.poll_packet().unwrap();
            assert!(
                packet.bytes.len() <= 64_000,
                "{size}: {}",
                packet.bytes.len()
            );
        }
    }
    assert!(largest > 63_700);
    engine.publish(Channel::Lossy, user("x"), &[]).unwrap();
    let packet = DataPacket::from_bytes(engine.poll_lossy().unwrap().bytes).unwrap();
    assert!(matches!(packet.value, Some(Value::Encrypted(_))));
    // protocol.md §5.8: keys of a telephone stay clear.
    let dtmf = SipDtmf {
        code: 1,
        digit: "1".to_owned(),
    };
    engine
        .publish(Channel::Reliable, Message::SipDtmf(dtmf), &[])
        .unwrap();
    let packet = DataPacket::from_bytes(engine.poll_packet().unwrap().bytes).unwrap();
    assert!(matches!(packet.value, Some(Value::SipDtmf(_))));
}

#[test]
fn packets_and_streams_take_turns() {
    let mut peer = Peer::bob();
    let id = peer
        .engine
        .open(OpenOptions::new(
            Content::bytes("x"),
            "files",
            std::time::UNIX_EPOCH,
        ))
        .unwrap();
    peer.engine
        .outgoing(id)
        .unwrap()
        .write(vec![0; 200_000].into())
        .unwrap();
    for _ in 0..10 {
        peer.engine
            .publish(Channel::Reliable, user(vec![0; 14_000]), &[])
            .unwrap();
    }
    let sent = peer.sent();
    let packets = |range: std::ops::Range<usize>| {
        let users = sent[range]
            .iter()
            .filter(|packet| matches!(packet.value, Some(Value::User(_))));
        users.count()
    };
    let first = packets(0..10);
    assert!((3..=7).contains(&first), "{first} of the first 10");
    assert_eq!(packets(0..sent.len()), 10);
}

#[test]
fn all_kinds_arrive_as_events() {
    let mut peer = Peer::bob();
    let dtmf = SipDtmf {
        code: 11,
        digit: "#".to_owned(),
    };
    let message = ChatMessage {
        message: "hi".to_owned(),
        ..ChatMessage::default()
    };
    let transcription = Transcription {
        track_id: "TR".to_owned(),
        ..Transcription::default()
    };
    peer.take(Value::SipDtmf(dtmf.clone())).unwrap();
    peer.take(Value::ChatMessage(message.clone())).unwrap();
    peer.take(Value::Transcription(transcription.clone()))
        .unwrap();
    let from = || lkstream_proto::id::Identity::from("alice");
    assert_eq!(
        peer.events,
        [
            Event::SipDtmf { from: from(), dtmf },
            Event::Chat {
                from: from(),
                message
            },
            Event::Transcription {
                from: from(),
                transcription
            },
        ]
    );
}

/// protocol.md §4.1: the channel decides, not the field `kind`, which official senders set wrongly.
#[test]
fn the_channel_of_a_user_packet_is_the_one_it_came_on() {
    for channel in [Channel::Reliable, Channel::Lossy] {
        for kind in [0, 1] {
            let mut peer = Peer::bob();
            let user = UserPacket {
                payload: "x".into(),
                ..UserPacket::default()
            };
            let packet = DataPacket {
                kind,
                ..from_alice(Value::User(user))
            };
            peer.engine
                .handle_packet(peer.now, channel, packet.to_bytes())
                .unwrap();
            peer.drain();
            match &peer.events[..] {
                [Event::UserPacket(message)] => assert_eq!(message.channel, channel),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn unread_packets_of_all_kinds_push_back_and_are_bounded() {
    let mut peer = Peer::bob();
    let message = ChatMessage {
        message: "x".repeat(60_000),
        ..ChatMessage::default()
    };
    let packet = from_alice(Value::ChatMessage(message)).to_bytes();
    let mut taken = 0;
    while !peer.engine.is_over_budget() {
        peer.engine
            .handle_packet(peer.now, Channel::Reliable, packet.clone())
            .unwrap();
        taken += 1;
    }
    assert!((60..=80).contains(&taken), "{taken} packets fill 4 MiB");
    for _ in 0..100 {
        peer.engine
            .handle_packet(peer.now, Channel::Reliable, packet.clone())
            .unwrap();
    }
    assert!(peer.engine.counters().dropped_events > 50);
    peer.drain();
    assert!(!peer.engine.is_over_budget());
}

/// Whatever part of a packet is large: what is kept of it, or keeps its buffer, is charged.
#[test]
fn unread_events_are_charged_with_their_whole_packets() {
    let long = "x".repeat(60_000);
    let user = |user: UserPacket| {
        Value::User(UserPacket {
            payload: "x".into(),
            ..user
        })
    };
    let values = [
        user(UserPacket {
            topic: Some(long.clone()),
            ..UserPacket::default()
        }),
        // Not shown, but the payload is a slice of it.
        user(UserPacket {
            id: Some(long.clone()),
            ..UserPacket::default()
        }),
        Value::StreamHeader(Header {
            topic: long.clone(),
            ..text_header("s")
        }),
        Value::SipDtmf(SipDtmf {
            code: 1,
            digit: long.clone(),
        }),
    ];
    for value in values {
        let mut peer = Peer::bob();
        let packet = from_alice(value).to_bytes();
        let mut taken = 0;
        while !peer.engine.is_over_budget() {
            peer.engine
                .handle_packet(peer.now, Channel::Reliable, packet.clone())
                .unwrap();
            taken += 1;
            assert!(taken <= 80, "{taken} packets do not fill 4 MiB");
        }
        assert!(taken >= 60, "{taken} packets fill 4 MiB");
        peer.drain();
        assert_eq!(peer.events.len(), taken);
        assert!(!peer.engine.is_over_budget());
    }
}

#[test]
fn without_a_room_nothing_is_published() {
    let mut peer = Peer::outside(Config::default());
    let error = peer.engine.publish(Channel::Reliable, user("x"), &[]);
    assert_eq!(error, Err(PublishError::NotJoined));
    peer.join();
    peer.engine
        .publish(Channel::Reliable, user("x"), &[])
        .unwrap();
    peer.engine.publish(Channel::Lossy, user("x"), &[]).unwrap();
    peer.engine.connection_lost(Lost::Left);
    let error = peer.engine.publish(Channel::Lossy, user("x"), &[]);
    assert_eq!(error, Err(PublishError::ConnectionLost(Lost::Left)));
    peer.join();
    assert!(
        peer.sent().is_empty(),
        "what was queued was for the old session"
    );
    assert!(peer.engine.poll_lossy().is_none());
}
