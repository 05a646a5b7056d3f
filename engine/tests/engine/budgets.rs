//! Fills each bound of the engine and checks what happens then (streams.md receiver 27).

use std::time::Duration;

use bytes::Bytes;
use lkstream_engine::{Config, IncomingId, Limit, Outcome, Read, ReadError, Rule};
use lkstream_proto::packet::{Channel, DataPacket, Header, UserPacket, Value};
use lkstream_proto::receipt;

use crate::script::*;

const KB: usize = 1000;
const SECOND: Duration = Duration::from_secs(1);

fn small() -> Config {
    Config {
        reader_budget: 100 * KB,
        connection_budget: 250 * KB,
        ..Config::default()
    }
}

/// Opens a stream and feeds it until the engine is over budget, at most `chunks`.
fn fill(peer: &mut Peer, id: &str, chunks: u64) -> (IncomingId, u64) {
    let (incoming, _) = peer.header(byte_header(id));
    assert_eq!(peer.read(incoming), Read::Pending);
    for index in 0..chunks {
        if peer.engine.is_over_budget() {
            return (incoming, index);
        }
        peer.take(chunk(id, index, [7; 15 * KB])).unwrap();
    }
    (incoming, chunks)
}

#[test]
fn receiver_case_27_a_full_reader_pushes_back_and_nothing_is_lost() {
    let mut bob = Peer::with(small());
    let (id, taken) = fill(&mut bob, "s", 100);
    assert!(bob.engine.is_over_budget());
    assert_eq!(taken, 7);
    let unread = bob.engine.incoming(id).unwrap().unread();
    assert!(unread < (100 + 16) * KB);
    // One piece read, and the driver may go on.
    assert!(matches!(bob.read(id), Read::Piece(_)));
    assert!(!bob.engine.is_over_budget());
    let mut read = 1;
    let mut index = taken;
    while index < 100 {
        if bob.engine.is_over_budget() {
            assert!(matches!(bob.read(id), Read::Piece(_)));
            read += 1;
        } else {
            bob.take(chunk("s", index, [7; 15 * KB])).unwrap();
            index += 1;
        }
    }
    bob.take(trailer("s")).unwrap();
    assert_eq!(bob.finished(id).len() + read * 15 * KB, 100 * 15 * KB);
}

#[test]
fn receiver_case_27_a_reader_that_stops_fails_alone() {
    let mut bob = Peer::with(small());
    let (other, _) = bob.header(byte_header("other"));
    bob.take(chunk("other", 0, "kept")).unwrap();
    let (id, _) = fill(&mut bob, "s", 100);
    assert_eq!(bob.engine.poll_timeout(), Some(bob.now + 5 * SECOND));
    bob.pass(5 * SECOND - Duration::from_millis(1));
    assert!(bob.engine.is_over_budget());
    bob.pass(Duration::from_millis(1));
    assert!(!bob.engine.is_over_budget());
    assert_eq!(bob.engine.poll_timeout(), None);
    assert!(matches!(
        bob.failed(id),
        ReadError::Limit(Limit::ReaderTooSlow { stalled, unread: 100_000.. }) if stalled == 5 * SECOND
    ));
    assert_eq!(bob.engine.counters().slow_readers, 1);
    // What still comes of it is dropped; the other stream never noticed.
    bob.take(chunk("s", 7, [7; 15 * KB])).unwrap();
    bob.take(trailer("other")).unwrap();
    assert_eq!(bob.finished(other), b"kept");
}

#[test]
fn receiver_case_27_a_slow_but_steady_reader_never_fails() {
    let mut bob = Peer::with(small());
    let (id, mut index) = fill(&mut bob, "s", 100);
    for _ in 0..100 {
        bob.pass(4 * SECOND);
        assert!(matches!(bob.read(id), Read::Piece(_)));
        while !bob.engine.is_over_budget() {
            bob.take(chunk("s", index, [7; 15 * KB])).unwrap();
            index += 1;
        }
    }
    assert_eq!(bob.engine.counters().slow_readers, 0);
}

#[test]
fn receiver_case_27_a_stalled_reader_that_ended_holds_nobody_for_ever() {
    let mut bob = Peer::with(small());
    let (id, _) = fill(&mut bob, "s", 7);
    bob.take(trailer("s")).unwrap();
    bob.pass(5 * SECOND);
    assert!(!bob.engine.is_over_budget());
    assert!(matches!(
        bob.failed(id),
        ReadError::Limit(Limit::ReaderTooSlow { .. })
    ));
}

#[test]
fn receiver_case_27_the_connection_blames_the_largest_stalled_reader() {
    let mut bob = Peer::with(Config {
        reader_budget: 120 * KB,
        ..small()
    });
    let (large, _) = fill(&mut bob, "large", 7);
    let (middle, _) = fill(&mut bob, "middle", 5);
    assert!(!bob.engine.is_over_budget());
    let (reading, mut index) = fill(&mut bob, "reading", 100);
    // Somebody reads, so the connection moves, and yet it stays at its budget.
    for _ in 0..5 {
        assert!(bob.engine.is_over_budget());
        assert!(matches!(bob.read(reading), Read::Piece(_)));
        bob.take(chunk("reading", index, [7; 15 * KB])).unwrap();
        index += 1;
        bob.pass(SECOND);
    }
    assert!(!bob.engine.is_over_budget());
    assert!(matches!(
        bob.failed(large),
        ReadError::Limit(Limit::ReaderTooSlow { .. })
    ));
    assert_eq!(bob.read_all(middle).1, Read::Pending);
    assert_eq!(bob.read_all(reading).1, Read::Pending);
    assert_eq!(bob.engine.counters().slow_readers, 1);
}

#[test]
fn receiver_case_27_a_driver_that_ignores_push_back_meets_a_typed_error() {
    let mut bob = Peer::with(small());
    let (id, _) = bob.header(byte_header("s"));
    assert_eq!(bob.read(id), Read::Pending);
    let mut most = 0;
    let mut faults = 0;
    for index in 0..1000 {
        if let Err(fault) = bob.take(chunk("s", index, [7; 15 * KB])) {
            assert!(matches!(fault.rule, Rule::OverBudget { .. }));
            faults += 1;
        }
        most = most.max(bob.engine.incoming(id).unwrap().unread());
    }
    assert_eq!(faults, 1, "what follows belongs to no open stream");
    assert!(most <= 100 * KB + 1024 * 1024);
    assert!(matches!(
        bob.failed(id),
        ReadError::Limit(Limit::OverBudget { .. })
    ));
    assert!(!bob.engine.is_over_budget());
}

#[test]
fn tiny_chunks_are_charged_with_their_packets() {
    let mut bob = Peer::with(small());
    let (id, _) = bob.header(byte_header("s"));
    let mut index = 0;
    while !bob.engine.is_over_budget() {
        let mut packet = from_alice(chunk("s", index, "x"));
        packet.destination_identities = vec!["y".repeat(5_000)];
        bob.take_packet(packet).unwrap();
        index += 1;
    }
    assert!(index < 21, "{index} packets of 5 kB in a budget of 100 kB");
    assert!(matches!(bob.read(id), Read::Piece(_)));
}

#[test]
fn a_held_up_stream_is_neither_idle_nor_left() {
    let mut bob = Peer::with(Config {
        stall_limit: 1000 * SECOND,
        ..small()
    });
    let (quiet, _) = bob.header(byte_header("quiet"));
    let now = bob.now;
    bob.engine
        .incoming(quiet)
        .unwrap()
        .set_idle_timeout(now, Some(10 * SECOND));
    let (full, _) = fill(&mut bob, "full", 100);
    bob.engine
        .participant_left(bob.now, &"PA_alice".into(), &"alice".into());
    // We do not read the channel: what is on its way cannot arrive.
    bob.pass(100 * SECOND);
    assert_eq!(bob.read(quiet), Read::Pending);
    bob.read(full);
    assert!(!bob.engine.is_over_budget());
    bob.pass(2 * SECOND - Duration::from_millis(1));
    bob.take(chunk("quiet", 0, "late")).unwrap();
    bob.pass(2 * SECOND);
    let (pieces, end) = bob.read_all(quiet);
    assert_eq!(pieces.concat(), b"late");
    assert_eq!(
        end,
        Read::Failed(ReadError::SenderLeft {
            identity: "alice".into()
        })
    );
}

#[test]
fn user_packets_that_nobody_polls_push_back_and_are_dropped_in_the_end() {
    let mut bob = Peer::with(small());
    let packet = from_alice(Value::User(UserPacket {
        payload: Bytes::from(vec![7; 10 * KB]),
        ..UserPacket::default()
    }))
    .to_bytes();
    let mut taken = 0;
    while !bob.engine.is_over_budget() {
        bob.engine
            .handle_packet(bob.now, Channel::Lossy, packet.clone())
            .unwrap();
        taken += 1;
    }
    assert_eq!(taken, 10);
    for _ in 0..1000 {
        bob.engine
            .handle_packet(bob.now, Channel::Lossy, packet.clone())
            .unwrap();
    }
    let dropped = bob.engine.counters().dropped_events;
    assert!(dropped > 800, "{dropped}");
    bob.drain();
    assert_eq!(bob.events.len() as u64 + dropped, 1010);
    assert!(!bob.engine.is_over_budget());
}

#[test]
fn receipts_that_nobody_sends_are_dropped_in_the_end() {
    let mut bob = Peer::bob();
    for number in 0..2_000 {
        let id = number.to_string();
        let (incoming, _) = bob.header(Header {
            attributes: attributes(&[(receipt::ATTRIBUTE, receipt::REQUESTED)]),
            inline_content: Some(Bytes::new()),
            ..text_header(&id)
        });
        bob.engine
            .incoming(incoming)
            .unwrap()
            .confirm(Outcome::Complete);
        bob.engine.incoming(incoming).unwrap().release(bob.now);
    }
    let sent: Vec<DataPacket> = bob.sent();
    assert_eq!(sent.len(), 1024);
    assert_eq!(bob.engine.counters().dropped_receipts, 4_000 - 1024);
}

#[test]
fn a_reader_at_work_is_not_slow_however_long_it_takes() {
    let mut bob = Peer::with(small());
    let (id, _) = fill(&mut bob, "s", 100);
    bob.engine.incoming(id).unwrap().begin_work();
    assert_eq!(bob.engine.poll_timeout(), None);
    bob.pass(1000 * SECOND);
    assert!(bob.engine.is_over_budget());
    let now = bob.now;
    bob.engine.incoming(id).unwrap().end_work(now);
    // From here on it is a reader like any other.
    assert_eq!(bob.engine.poll_timeout(), Some(bob.now + 5 * SECOND));
    bob.pass(5 * SECOND);
    assert!(matches!(
        bob.failed(id),
        ReadError::Limit(Limit::ReaderTooSlow { .. })
    ));
}
