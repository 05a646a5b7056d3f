//! What a sender learns when its recipients leave or fail.

use std::time::Duration;

use lkstream_engine::{
    Capabilities, CloseError, Event, MissedCause, OpenOptions, OutgoingState, WriteError,
};
use lkstream_proto::packet::{UserPacket, Value};
use lkstream_proto::receipt::{self, Receipt, Status};

use crate::script::*;

/// Bob, who sends, with these others in the room.
fn room(others: &[&str]) -> Peer {
    let mut bob = Peer::bob();
    for other in others {
        bob.engine.participant((*other).into(), Capabilities::ALL);
    }
    bob
}

fn leaves(bob: &mut Peer, who: &str) {
    let sid = format!("PA_{who}");
    bob.engine
        .participant_left(bob.now, &sid.as_str().into(), &who.into());
    bob.drain();
}

fn to(names: &[&str]) -> OpenOptions {
    OpenOptions {
        destinations: names.iter().map(|name| (*name).into()).collect(),
        total_length: Some(100_000),
        ..bytes()
    }
}

#[test]
fn a_stream_whose_last_recipient_leaves_is_given_up() {
    for options in [to(&["alice", "carol"]), to(&[])] {
        let mut bob = room(&["alice", "carol"]);
        let id = bob.engine.open(options).unwrap();
        let mut stream = bob.engine.outgoing(id).unwrap();
        assert_eq!(stream.recipients().len(), 2);
        stream.write(vec![1; 37_000].into()).unwrap();
        let sent: usize = std::iter::from_fn(|| bob.engine.poll_packet())
            .map(|packet| packet.bytes.len())
            .sum();
        bob.engine.acknowledged(sent as u64);
        leaves(&mut bob, "alice");
        assert_eq!(
            bob.engine.outgoing(id).unwrap().state(),
            OutgoingState::Open
        );
        leaves(&mut bob, "carol");
        assert!(bob.events.contains(&Event::GivenUp(id)));
        let mut stream = bob.engine.outgoing(id).unwrap();
        let OutgoingState::GivenUp(error) = stream.state() else {
            panic!("{:?}", stream.state());
        };
        assert_eq!(error.to_string(), "alice left, carol left at 37 %");
        assert_eq!(
            stream.write("more".into()),
            Err(WriteError::NoRecipients(error.clone()))
        );
        assert_eq!(
            stream.close(Default::default()),
            Err(CloseError::NoRecipients(error))
        );
        stream.release();
        // Whoever has come since reads an error, not an end.
        let rest = bob.sent();
        assert_eq!(rest.len(), 1);
        assert_eq!(trailer_of(&rest[0]).reason, "all known recipients are gone");
    }
}

#[test]
fn what_was_not_begun_is_not_sent_at_all() {
    let mut bob = room(&["alice"]);
    let id = bob.engine.send(to(&["alice"]), vec![1; 1000].into());
    let id = id.unwrap();
    leaves(&mut bob, "alice");
    assert!(matches!(
        bob.engine.outgoing(id).unwrap().state(),
        OutgoingState::GivenUp(_)
    ));
    assert!(bob.sent().is_empty());
    bob.engine.outgoing(id).unwrap().release();
    assert!(bob.engine.outgoing(id).is_none());
}

#[test]
fn a_stream_that_was_sent_goes_on_to_its_acknowledgement() {
    let mut bob = room(&["alice"]);
    let id = bob.engine.send(to(&["alice"]), vec![1; 1000].into());
    let id = id.unwrap();
    let sent: usize = std::iter::from_fn(|| bob.engine.poll_packet())
        .map(|packet| packet.bytes.len())
        .sum();
    leaves(&mut bob, "alice");
    bob.engine.acknowledged(sent as u64);
    let stream = bob.engine.outgoing(id).unwrap();
    assert!(stream.is_flushed());
    let missed = stream.missed();
    assert_eq!(missed.len(), 1);
    assert_eq!(missed[0].cause, MissedCause::Left);
}

#[test]
fn who_was_never_there_and_who_came_later_do_not_count() {
    let mut bob = room(&["alice"]);
    let named = bob.engine.open(to(&["alice", "nobody"])).unwrap();
    let all = bob.engine.open(to(&[])).unwrap();
    bob.engine.participant("dave".into(), Capabilities::ALL);
    leaves(&mut bob, "alice");
    // Nobody may be on the way: the server announces late.
    assert_eq!(
        bob.engine.outgoing(named).unwrap().state(),
        OutgoingState::Open
    );
    assert!(matches!(
        bob.engine.outgoing(all).unwrap().state(),
        OutgoingState::GivenUp(_)
    ));
}

#[test]
fn a_recipient_that_says_it_failed_counts_as_gone() {
    let mut bob = room(&["alice", "carol"]);
    let mut options = to(&["alice"]);
    options.id = Some("s".into());
    let id = bob.engine.open(options).unwrap();
    let failed = |from: &str| {
        let receipt = Receipt {
            stream_id: "s".to_owned(),
            status: Status::Failed.into(),
            bytes_received: 0,
            reason: "the disk is full".to_owned(),
        };
        let mut packet = from_alice(Value::User(UserPacket {
            topic: Some(receipt::TOPIC.to_owned()),
            payload: receipt.to_bytes(),
            ..UserPacket::default()
        }));
        packet.participant_identity = from.to_owned();
        packet.participant_sid = format!("PA_{from}");
        packet
    };
    // Only a recipient can say so.
    bob.take_packet(failed("carol")).unwrap();
    assert_eq!(
        bob.engine.outgoing(id).unwrap().state(),
        OutgoingState::Open
    );
    bob.take_packet(failed("alice")).unwrap();
    let OutgoingState::GivenUp(error) = bob.engine.outgoing(id).unwrap().state() else {
        panic!("not given up");
    };
    assert_eq!(
        error.to_string(),
        "alice could not receive it (the disk is full) at 0 %"
    );
}

#[test]
fn a_departure_is_told_when_nothing_of_it_can_come_any_more() {
    let mut bob = room(&["alice"]);
    leaves(&mut bob, "alice");
    let grace = Duration::from_secs(2);
    assert_eq!(bob.engine.poll_timeout(), Some(bob.now + grace));
    bob.pass(grace - Duration::from_millis(1));
    assert!(!bob.events.contains(&Event::Departed("alice".into())));
    bob.pass(Duration::from_millis(1));
    assert!(bob.events.contains(&Event::Departed("alice".into())));
    assert_eq!(bob.engine.poll_timeout(), None);
}
