//! Streams that wait for their readers: they push back before any is lost, and what is lost is told on both sides.

use std::time::Duration;

use lkstream_engine::{Config, Event, IncomingId, Limit, Outcome, Read, ReadError, Rule};
use lkstream_proto::packet::{DataPacket, Header, Value};
use lkstream_proto::receipt::{self, Receipt, Status};

use crate::script::*;

const STALL: Duration = Duration::from_secs(5);

fn few() -> Config {
    Config {
        max_waiting: 8,
        ..Config::default()
    }
}

/// The header of a stream whose sender wants a receipt.
fn asking(header: Header) -> Header {
    Header {
        attributes: attributes(&[(receipt::ATTRIBUTE, receipt::REQUESTED)]),
        ..header
    }
}

/// The receipts among these packets: stream, status, reason.
fn receipts(packets: &[DataPacket]) -> Vec<(String, Status, String)> {
    packets
        .iter()
        .map(|packet| {
            assert_eq!(packet.destination_identities, ["alice"]);
            let Some(Value::User(user)) = &packet.value else {
                panic!("no user packet");
            };
            let receipt = Receipt::from_bytes(user.payload.clone()).unwrap();
            (
                receipt.stream_id.clone(),
                receipt.status(),
                receipt.reason.clone(),
            )
        })
        .collect()
}

/// The streams that failed unread, with their errors.
fn failures(bob: &mut Peer) -> Vec<(Option<IncomingId>, String, ReadError)> {
    bob.drain();
    let events = std::mem::take(&mut bob.events);
    events
        .into_iter()
        .filter_map(|event| match event {
            Event::IncomingFailed { id, info, error } => {
                Some((id, info.id.as_str().to_owned(), error))
            }
            _ => None,
        })
        .collect()
}

/// Sends complete texts until the engine wants no more; gives the streams.
fn fill(bob: &mut Peer, most: usize) -> Vec<IncomingId> {
    let mut ids = Vec::new();
    while !bob.engine.is_over_budget() && ids.len() < most {
        let name = format!("text-{}", ids.len());
        ids.push(bob.header(text_header(&name)).0);
        bob.take(trailer(&name)).unwrap();
    }
    ids
}

#[test]
fn as_many_as_may_wait_push_back_and_none_is_lost() {
    let mut bob = Peer::with(few());
    let mut unread = std::collections::VecDeque::new();
    let (mut sent, mut finished, mut most) = (0, 0, 0);
    while finished < 600 {
        if sent < 600 && !bob.engine.is_over_budget() {
            let name = format!("s{sent}");
            unread.push_back(bob.header(text_header(&name)).0);
            bob.take(chunk(&name, 0, "hello")).unwrap();
            bob.take(trailer(&name)).unwrap();
            sent += 1;
        } else {
            let id = unread.pop_front().unwrap();
            assert_eq!(bob.finished(id), b"hello");
            // Stored, which takes its time; then it is let go of.
            bob.pass(STALL / 2);
            bob.engine.incoming(id).unwrap().confirm(Outcome::Complete);
            bob.engine.incoming(id).unwrap().release(bob.now);
            finished += 1;
        }
        most = most.max(unread.len());
    }
    assert_eq!(most, 8);
    assert_eq!(failures(&mut bob), []);
    assert_eq!(bob.engine.counters().stalled_listeners, 0);
}

#[test]
fn streams_that_wait_for_their_sender_do_not_push_back() {
    let mut bob = Peer::with(few());
    let ids: Vec<IncomingId> = (0..20)
        .map(|at| {
            let (id, _) = bob.header(text_header(&format!("s{at}")));
            assert_eq!(bob.read(id), Read::Pending);
            id
        })
        .collect();
    assert!(!bob.engine.is_over_budget());
    for (at, id) in ids.into_iter().enumerate() {
        let name = format!("s{at}");
        bob.take(chunk(&name, 0, "more")).unwrap();
        bob.take(trailer(&name)).unwrap();
        assert_eq!(bob.finished(id), b"more");
        bob.engine.incoming(id).unwrap().release(bob.now);
    }
    assert_eq!(bob.engine.poll_timeout(), None);
}

#[test]
fn a_listener_that_nobody_reads_stalls_alone_and_both_sides_are_told() {
    let mut bob = Peer::with(few());
    let texts = fill(&mut bob, 100);
    assert_eq!(texts.len(), 8);
    assert_eq!(bob.engine.poll_timeout(), Some(bob.now + STALL));
    bob.pass(STALL - Duration::from_millis(1));
    assert!(bob.engine.is_over_budget());
    bob.pass(Duration::from_millis(1));
    assert!(!bob.engine.is_over_budget());
    assert_eq!(bob.engine.counters().stalled_listeners, 1);
    // Others get their streams.
    let (file, _) = bob.header(byte_header("file"));
    bob.take(trailer("file")).unwrap();
    assert_eq!(bob.finished(file), b"");
    bob.sent();
    // Further texts wait up to a second limit. Beyond it they fail, and nothing else does.
    let mut all = texts;
    for at in 8..32 {
        let name = format!("more-{at}");
        all.push(bob.header(text_header(&name)).0);
        bob.take(trailer(&name)).unwrap();
        assert!(!bob.engine.is_over_budget());
    }
    let refused = bob.take(Value::StreamHeader(asking(text_header("late"))));
    assert_eq!(refused.unwrap_err().rule, Rule::NotRead { waiting: 32 });
    let error = ReadError::Limit(Limit::NotRead {
        waiting: 32,
        stalled: STALL,
    });
    assert_eq!(
        failures(&mut bob),
        [(None, "late".to_owned(), error.clone())]
    );
    assert_eq!(
        receipts(&bob.sent()),
        [("late".to_owned(), Status::Failed, error.to_string())]
    );
    // Somebody else, who has few streams here, is not refused for that.
    let mallory = DataPacket {
        participant_identity: "mallory".to_owned(),
        participant_sid: "PA_mallory".to_owned(),
        ..from_alice(Value::StreamHeader(text_header("of mallory")))
    };
    bob.take_packet(mallory).unwrap();
    let (theirs, _) = bob.opened();
    bob.engine.incoming(theirs).unwrap().release(bob.now);
    // Some of them read, it gets texts again, and in the end the first limit holds.
    for id in &all[..28] {
        assert_eq!(bob.finished(*id), b"");
        bob.engine.incoming(*id).unwrap().release(bob.now);
    }
    let (again, _) = bob.header(text_header("again"));
    bob.take(trailer("again")).unwrap();
    assert_eq!(bob.finished(again), b"");
    assert_eq!(failures(&mut bob), []);
    fill(&mut bob, 100);
    assert!(bob.engine.is_over_budget());
}

/// The reader of a stream waits for a chunk that is behind many other streams, of which it reads none meanwhile.
#[test]
fn a_program_that_reads_one_stream_after_the_other_gets_all() {
    let mut bob = Peer::with(few());
    let (long, _) = bob.header(text_header("long"));
    assert_eq!(bob.read(long), Read::Pending);
    let mut others = fill(&mut bob, 100);
    assert_eq!(others.len(), 8);
    bob.pass(STALL);
    assert!(!bob.engine.is_over_budget());
    for at in 8..20 {
        let name = format!("more-{at}");
        others.push(bob.header(text_header(&name)).0);
        bob.take(trailer(&name)).unwrap();
    }
    bob.take(chunk("long", 0, "at last")).unwrap();
    bob.take(trailer("long")).unwrap();
    for id in std::iter::once(long).chain(others) {
        bob.finished(id);
        bob.engine.incoming(id).unwrap().release(bob.now);
    }
    assert_eq!(failures(&mut bob), []);
}

#[test]
fn a_reader_that_works_never_stalls_its_listener() {
    let mut bob = Peer::with(few());
    let texts = fill(&mut bob, 100);
    bob.engine.incoming(texts[0]).unwrap().begin_work();
    assert_eq!(bob.engine.poll_timeout(), None);
    bob.pass(100 * STALL);
    assert!(bob.engine.is_over_budget());
    bob.engine.incoming(texts[0]).unwrap().end_work(bob.now);
    assert_eq!(bob.engine.poll_timeout(), Some(bob.now + STALL));
}

#[test]
fn streams_beyond_the_hard_limit_fail_on_both_sides() {
    let mut bob = Peer::with(Config {
        max_incoming: 3,
        ..Config::default()
    });
    for at in 0..3 {
        let (id, _) = bob.header(text_header(&format!("s{at}")));
        assert_eq!(bob.read(id), Read::Pending);
    }
    let refused = bob.take(Value::StreamHeader(asking(text_header("more"))));
    assert_eq!(refused.unwrap_err().rule, Rule::TooManyStreams { limit: 3 });
    let error = ReadError::Limit(Limit::TooManyStreams { limit: 3 });
    assert_eq!(
        failures(&mut bob),
        [(None, "more".to_owned(), error.clone())]
    );
    assert_eq!(
        receipts(&bob.sent()),
        [("more".to_owned(), Status::Failed, error.to_string())]
    );
    assert_eq!(bob.engine.counters().failed_unread, 1);
}

#[test]
fn large_headers_push_back_and_are_bounded() {
    let mut bob = Peer::bob();
    let large = |name: &str| Header {
        attributes: attributes(&[("k", &"v".repeat(30_000))]),
        ..text_header(name)
    };
    let mut count = 0;
    while !bob.engine.is_over_budget() {
        bob.header(large(&format!("s{count}")));
        count += 1;
    }
    assert!((100..200).contains(&count), "{count} wait");
    // Whoever reads them without getting anything meets the second limit.
    let mut bob = Peer::bob();
    let refused = (0..1000).find_map(|at| {
        let name = format!("s{at}");
        let taken = bob.take(Value::StreamHeader(large(&name)));
        if taken.is_ok() {
            let (id, _) = bob.opened();
            bob.read(id);
        }
        taken.err()
    });
    assert!(matches!(
        refused.unwrap().rule,
        Rule::TooManyHeaderBytes { limit, .. } if limit == 8 * 1024 * 1024
    ));
    assert_eq!(failures(&mut bob).len(), 1);
}

#[test]
fn a_stream_that_fails_before_it_is_read_is_told_on_both_sides() {
    let mut bob = Peer::with(Config {
        reader_budget: 10_000,
        ..Config::default()
    });
    let (id, _) = bob.header(asking(text_header("s")));
    bob.sent();
    bob.take(chunk("s", 0, "a".repeat(12_000))).unwrap();
    bob.pass(STALL);
    assert!(!bob.engine.is_over_budget());
    let [(failed, name, error)] = &failures(&mut bob)[..] else {
        panic!("no failure");
    };
    assert_eq!((*failed, name.as_str()), (Some(id), "s"));
    assert!(matches!(
        error,
        ReadError::Limit(Limit::ReaderTooSlow { .. })
    ));
    bob.engine.incoming(id).unwrap().release(bob.now);
    assert_eq!(
        receipts(&bob.sent()),
        [("s".to_owned(), Status::Failed, error.to_string())]
    );
}

#[test]
fn headers_that_break_a_rule_are_told_on_both_sides() {
    let mut bob = Peer::bob();
    let many: Vec<(String, String)> = (0..300).map(|at| (at.to_string(), "x".into())).collect();
    let mut header = asking(text_header("many"));
    header.attributes.extend(many);
    bob.take(Value::StreamHeader(header)).unwrap_err();
    let unknown = Header {
        compression: 9,
        ..asking(text_header("unknown"))
    };
    bob.take(Value::StreamHeader(unknown)).unwrap_err();
    let failed: Vec<_> = failures(&mut bob)
        .into_iter()
        .map(|(_, name, error)| (name, error))
        .collect();
    let errors = [
        (
            "many".to_owned(),
            ReadError::HeaderTooLarge {
                attributes: 300,
                attachments: 0,
            },
        ),
        (
            "unknown".to_owned(),
            ReadError::UnknownCompression { number: 9 },
        ),
    ];
    assert_eq!(failed, errors);
    let told: Vec<_> = errors
        .iter()
        .map(|(name, error)| (name.clone(), Status::Failed, error.to_string()))
        .collect();
    assert_eq!(receipts(&bob.sent()), told);
}

#[test]
fn a_stream_that_no_listener_wants_is_told_on_both_sides() {
    let mut bob = Peer::bob();
    let header = Header {
        topic: "other".to_owned(),
        ..asking(text_header("s"))
    };
    bob.take(Value::StreamHeader(header)).unwrap();
    assert!(matches!(&bob.events[..], [Event::Unclaimed(info)] if info.topic == "other"));
    assert_eq!(
        receipts(&bob.sent()),
        [(
            "s".to_owned(),
            Status::Failed,
            "nobody there takes streams of this topic".to_owned()
        )]
    );
}

#[test]
fn the_receipt_of_a_released_stream_says_why() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(asking(text_header("aborted")));
    bob.take(trailer_with("aborted", "no more", &[])).unwrap();
    bob.engine.incoming(id).unwrap().release(bob.now);
    let (id, _) = bob.header(asking(text_header("dropped")));
    bob.engine.incoming(id).unwrap().release(bob.now);
    let reasons: Vec<String> = receipts(&bob.sent())
        .into_iter()
        .filter(|(_, status, _)| *status == Status::Failed)
        .map(|(_, _, reason)| reason)
        .collect();
    assert_eq!(
        reasons,
        [
            "aborted by the sender: no more",
            "the receiver let go of it before it had all of it"
        ]
    );
}
