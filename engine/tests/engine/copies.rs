//! One stream for several listeners: each has a copy with a budget and an end of its own.

use std::time::Duration;

use lkstream_engine::{
    Config, Event, IncomingId, Limit, Lost, Outcome, Read, ReadError, Rule, StreamKind,
};
use lkstream_proto::packet::{Header, Value};
use lkstream_proto::receipt::{self, Receipt, Status};

use crate::script::*;

const SECOND: Duration = Duration::from_secs(1);

/// A peer with two more listeners for texts of `lk.chat`.
fn three(config: Config) -> Peer {
    let mut bob = Peer::with(config);
    for _ in 0..2 {
        bob.engine.listen(StreamKind::Text, "lk.chat".into());
    }
    bob
}

/// The copies of a stream that was opened, in the order of the listeners.
fn copies(bob: &mut Peer, header: Header) -> [IncomingId; 3] {
    bob.take(Value::StreamHeader(header)).unwrap();
    let events = std::mem::take(&mut bob.events);
    let opened: Vec<_> = events
        .into_iter()
        .filter_map(|event| match event {
            Event::Opened { listener, id, .. } => Some((listener, id)),
            _ => None,
        })
        .collect();
    assert!(opened.is_sorted());
    opened
        .iter()
        .map(|(_, id)| *id)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

fn release(bob: &mut Peer, id: IncomingId) {
    let now = bob.now;
    bob.engine.incoming(id).unwrap().release(now);
}

fn wanted(id: &str) -> Header {
    Header {
        attributes: attributes(&[(receipt::ATTRIBUTE, receipt::REQUESTED)]),
        ..text_header(id)
    }
}

fn receipts(bob: &mut Peer) -> Vec<Status> {
    let packets = bob.sent().into_iter();
    packets
        .map(|packet| match packet.value {
            Some(Value::User(user)) => Receipt::from_bytes(user.payload).unwrap().status(),
            other => panic!("no receipt: {other:?}"),
        })
        .collect()
}

#[test]
fn each_listener_reads_all_of_it() {
    let mut bob = three(Config::default());
    let ids = copies(&mut bob, text_header("s"));
    bob.take(chunk("s", 0, "one ")).unwrap();
    assert_eq!(bob.read(ids[1]), Read::Piece("one ".into()));
    bob.take(chunk("s", 1, "two")).unwrap();
    bob.take(trailer_with("s", "", &[("end", "yes")])).unwrap();
    assert_eq!(bob.finished(ids[0]), b"one two");
    assert_eq!(bob.finished(ids[1]), b"two");
    for id in ids {
        bob.finished(id);
        match bob.read(id) {
            Read::Finished(summary) => assert_eq!(summary.attributes["end"], "yes"),
            other => panic!("{other:?}"),
        }
        release(&mut bob, id);
    }
    // Nothing is left, so that the id is free.
    assert_eq!(bob.engine.counters().duplicate_headers, 0);
    copies(&mut bob, text_header("s"));
}

#[test]
fn inline_and_deflated_content_reaches_all() {
    let mut bob = three(Config::default());
    let inline = Header {
        inline_content: Some("whole".into()),
        ..text_header("inline")
    };
    for id in copies(&mut bob, inline) {
        assert_eq!(bob.finished(id), b"whole");
    }
    let deflated = Header {
        compression: 1,
        ..text_header("deflated")
    };
    let ids = copies(&mut bob, deflated);
    let text = "again and ".repeat(10_000);
    bob.take(chunk("deflated", 0, deflate_raw(text.as_bytes())))
        .unwrap();
    bob.take(trailer("deflated")).unwrap();
    for id in ids {
        assert!(bob.finished(id) == text.as_bytes());
    }
}

/// Whichever copy goes first, by its end or by its release, the others go on.
#[test]
fn copies_go_on_without_those_that_went() {
    for first in 0..3 {
        for second in 0..3 {
            let mut bob = three(Config::default());
            let ids = copies(&mut bob, text_header("s"));
            bob.take(chunk("s", 0, "one ")).unwrap();
            release(&mut bob, ids[first]);
            bob.take(chunk("s", 1, "two ")).unwrap();
            if second != first {
                release(&mut bob, ids[second]);
            }
            bob.take(chunk("s", 2, "three")).unwrap();
            bob.take(trailer("s")).unwrap();
            for (at, id) in ids.into_iter().enumerate() {
                if at != first && at != second {
                    assert_eq!(bob.finished(id), b"one two three");
                    release(&mut bob, id);
                }
            }
            assert_eq!(bob.engine.counters().unknown_stream, 0);
            bob.take(chunk("s", 3, "late")).unwrap();
            assert_eq!(bob.engine.counters().unknown_stream, 1);
        }
    }
}

#[test]
fn a_reader_that_stops_fails_without_its_copies() {
    let config = Config {
        reader_budget: 10_000,
        ..Config::default()
    };
    for slow in 0..3 {
        let mut bob = three(config.clone());
        let ids = copies(&mut bob, text_header("s"));
        for id in ids {
            assert_eq!(bob.read(id), Read::Pending);
        }
        bob.take(chunk("s", 0, "a".repeat(12_000))).unwrap();
        assert!(bob.engine.is_over_budget());
        for (at, id) in ids.iter().enumerate() {
            if at != slow {
                assert!(matches!(bob.read(*id), Read::Piece(_)));
            }
        }
        assert!(bob.engine.is_over_budget());
        bob.pass(5 * SECOND);
        assert!(!bob.engine.is_over_budget());
        assert!(matches!(
            bob.failed(ids[slow]),
            ReadError::Limit(Limit::ReaderTooSlow { .. })
        ));
        bob.take(chunk("s", 1, "rest")).unwrap();
        bob.take(trailer("s")).unwrap();
        for (at, id) in ids.into_iter().enumerate() {
            if at != slow {
                assert_eq!(bob.finished(id), b"rest");
            }
        }
        assert_eq!(bob.engine.counters().slow_readers, 1);
    }
}

#[test]
fn a_leave_and_a_loss_end_every_copy() {
    let mut bob = three(Config::default());
    let ids = copies(&mut bob, text_header("s"));
    let now = bob.now;
    bob.engine
        .participant_left(now, &"PA_alice".into(), &"alice".into());
    bob.pass(2 * SECOND);
    for id in ids {
        assert!(matches!(bob.failed(id), ReadError::SenderLeft { .. }));
    }
    let mut bob = three(Config::default());
    let ids = copies(&mut bob, text_header("s"));
    bob.engine.connection_lost(Lost::Left);
    for id in ids {
        assert_eq!(bob.failed(id), ReadError::ConnectionLost(Lost::Left));
    }
}

#[test]
fn a_fault_fails_every_copy_and_is_told_once() {
    let mut bob = three(Config::default());
    let ids = copies(&mut bob, text_header("s"));
    let fault = bob.take(chunk("s", 3, "gap")).unwrap_err();
    assert_eq!(
        fault.rule,
        Rule::Gap {
            expected: 0,
            arrived: 3
        }
    );
    assert_eq!(bob.engine.counters().faults, 1);
    for id in ids {
        assert!(matches!(bob.failed(id), ReadError::Gap { .. }));
    }
}

#[test]
fn one_receipt_speaks_for_all_copies() {
    for confirming in 0..3 {
        let mut bob = three(Config::default());
        let ids = copies(&mut bob, wanted("s"));
        assert_eq!(receipts(&mut bob), [Status::Accepted]);
        bob.take(chunk("s", 0, "text")).unwrap();
        bob.take(trailer("s")).unwrap();
        // One that is dropped says nothing while there are others.
        let dropped = ids[(confirming + 1) % 3];
        release(&mut bob, dropped);
        assert_eq!(receipts(&mut bob), []);
        bob.finished(ids[confirming]);
        bob.engine
            .incoming(ids[confirming])
            .unwrap()
            .confirm(Outcome::Complete);
        assert_eq!(receipts(&mut bob), [Status::Complete]);
        release(&mut bob, ids[confirming]);
        release(&mut bob, ids[(confirming + 2) % 3]);
        assert_eq!(receipts(&mut bob), []);
    }
    let mut bob = three(Config::default());
    let ids = copies(&mut bob, wanted("s"));
    for id in ids {
        release(&mut bob, id);
    }
    assert_eq!(receipts(&mut bob), [Status::Accepted, Status::Failed]);
}

#[test]
fn copies_count_against_the_limits() {
    for limits in [
        Config {
            max_incoming: 5,
            ..Config::default()
        },
        Config {
            max_incoming_per_publisher: 5,
            ..Config::default()
        },
    ] {
        let mut bob = three(limits);
        let ids = copies(&mut bob, text_header("one"));
        let fault = bob.take(Value::StreamHeader(text_header("two")));
        assert_eq!(fault.unwrap_err().rule, Rule::TooManyStreams { limit: 5 });
        release(&mut bob, ids[0]);
        copies(&mut bob, text_header("three"));
    }
}
