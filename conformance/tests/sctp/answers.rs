//! What each implementation answers to the same unusual packet: `ALIKE` is what all answer, `OTHERWISE` where ours follows the RFC
//! and the two others do not (docs/differences.md).

use std::time::{Duration, Instant};

use lkstream_sctp::{Association, Config};

use crate::link::script::{
    ABORT, BEGIN, COOKIE_ACK, COOKIE_ECHO, Chunk, DATA, END, ERROR, HEARTBEAT, HEARTBEAT_ACK, INIT,
    INIT_ACK, RE_CONFIG, SACK, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE, Script, WHOLE, answers,
    kinds, packet, parameter, raw_packet,
};
use crate::link::{Endpoint, Ours};
use crate::peer::{Peer, Role};
use crate::proto::Proto;
use crate::rtc::Rtc;

/// Stands for no answer to a heartbeat afterwards: the association is over.
const OVER: u8 = 255;

/// The kinds of chunks that come in answer to a packet, at once or within a second, in order.
fn answer<E: Endpoint>(mut end: E, now: Instant, said: fn(&Script) -> Vec<u8>) -> Vec<u8> {
    let script = Script::new(77, 1_000).connect(&mut end, now);
    end.input(now, &said(&script));
    let mut all = kinds(&answers(&mut end, now));
    let later = now + Duration::from_millis(900);
    end.timeout(later);
    all.extend(kinds(&answers(&mut end, later)));
    script.say(&mut end, later, &[beat()]);
    if !kinds(&answers(&mut end, later)).contains(&HEARTBEAT_ACK) {
        all.push(OVER);
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn beat() -> Chunk {
    Chunk::new(HEARTBEAT, 0, parameter(1, b"12345678"))
}

fn say(script: &Script, chunks: &[Chunk]) -> Vec<u8> {
    packet(script.peer_tag, chunks)
}

/// A chunk that nobody knows, and one that everybody does.
fn unknown(script: &Script, kind: u8) -> Vec<u8> {
    say(script, &[Chunk::new(kind, 0, [1; 8]), beat()])
}

/// A request to reset something else than streams of the one who asks (RFC 6525 §4.2, §4.3).
fn other_reset(script: &Script, kind: u16) -> Vec<u8> {
    let value = [&script.tsn.to_be_bytes()[..], &[0, 1]].concat();
    say(script, &[Chunk::new(RE_CONFIG, 0, parameter(kind, &value))])
}

type Said = fn(&Script) -> Vec<u8>;

const ALIKE: [(&str, Said, &[u8]); 28] = [
    ("a heartbeat", |s| say(s, &[beat()]), &[HEARTBEAT_ACK]),
    ("data", |s| say(s, &[s.data(0, WHOLE, 1, 0, b"x")]), &[SACK]),
    (
        "data twice",
        |s| {
            let data = s.data(0, WHOLE, 1, 0, b"x");
            say(s, &[data.clone(), data])
        },
        &[SACK],
    ),
    (
        "data after a gap",
        |s| say(s, &[s.data(1, WHOLE, 1, 1, b"x")]),
        &[SACK],
    ),
    (
        "data of a stream that there is not",
        |s| say(s, &[s.data(0, WHOLE, 60_000, 0, b"x")]),
        &[SACK],
    ),
    (
        "data far ahead",
        |s| say(s, &[s.data(1 << 20, WHOLE, 1, 0, b"x")]),
        &[SACK],
    ),
    (
        "two beginnings",
        |s| {
            let first = s.data(0, BEGIN, 1, 0, b"x");
            say(s, &[first, s.data(1, BEGIN, 1, 1, b"x")])
        },
        &[SACK],
    ),
    (
        "an end without a beginning",
        |s| say(s, &[s.data(0, END, 1, 0, b"x")]),
        &[SACK],
    ),
    (
        "a report of what was not sent",
        |s| say(s, &[s.sack(5, 1_000, &[], 0)]),
        &[],
    ),
    (
        "a block of what was not sent",
        |s| say(s, &[s.sack(0, 1_000, &[(2, 500)], 0)]),
        &[],
    ),
    (
        "a block that ends before it begins",
        |s| say(s, &[s.sack(0, 1_000, &[(9, 2)], 0)]),
        &[],
    ),
    (
        "more blocks than there are",
        |s| {
            let mut sack = s.sack(0, 1_000, &[], 0);
            sack.value[9] = 200;
            say(s, &[sack])
        },
        &[],
    ),
    ("a skip", |s| say(s, &[s.forward(3, &[(1, 2)])]), &[SACK]),
    ("an old skip", |s| say(s, &[s.forward(0, &[])]), &[SACK]),
    ("a reset", |s| say(s, &[s.reset(0, 0, &[1])]), &[RE_CONFIG]),
    (
        "a reset out of turn",
        |s| say(s, &[s.reset(9, 0, &[1])]),
        &[RE_CONFIG],
    ),
    (
        "a reset after what is to come",
        |s| say(s, &[s.reset(0, 5, &[1])]),
        &[RE_CONFIG],
    ),
    ("an unknown chunk, stop", |s| unknown(s, 0x3f), &[]),
    ("a wrong tag", |s| packet(s.peer_tag ^ 1, &[beat()]), &[]),
    (
        "a length below four",
        |s| raw_packet(s.peer_tag, &[HEARTBEAT, 0, 0, 3]),
        &[],
    ),
    (
        "a length beyond the packet",
        |s| raw_packet(s.peer_tag, &[HEARTBEAT, 0, 1, 0, 0, 1, 0, 4]),
        &[],
    ),
    (
        "an INIT without tag",
        |_| packet(0, &[Script::new(0, 5).init(INIT, &[])]),
        &[],
    ),
    (
        "an INIT ACK",
        |s| say(s, &[s.init(INIT_ACK, &parameter(7, b"cookie"))]),
        &[],
    ),
    (
        "a cookie of nobody",
        |s| say(s, &[Chunk::new(COOKIE_ECHO, 0, [7; 52])]),
        &[],
    ),
    (
        "ends of a handshake and of a shutdown that were not asked for",
        |s| {
            let strays = [COOKIE_ACK, SHUTDOWN_ACK, SHUTDOWN_COMPLETE];
            say(s, &strays.map(|kind| Chunk::new(kind, 0, [])))
        },
        &[],
    ),
    (
        "an error",
        |s| say(s, &[Chunk::new(ERROR, 0, parameter(6, &[1; 8]))]),
        &[],
    ),
    (
        "a shutdown",
        |s| {
            let cumulative = s.peer_tsn.wrapping_sub(1).to_be_bytes();
            say(s, &[Chunk::new(SHUTDOWN, 0, cumulative)])
        },
        &[SHUTDOWN_ACK],
    ),
    ("no chunk", |s| raw_packet(s.peer_tag, &[]), &[]),
];

/// Ours, then theirs.
const OTHERWISE: [(&str, Said, &[u8], &[u8]); 9] = [
    (
        // RFC 9260 §6.2: MUST abort.
        "data without data",
        |s| say(s, &[s.data(0, WHOLE, 1, 0, b"")]),
        &[ABORT, OVER],
        &[SACK],
    ),
    (
        // RFC 9260 §3.3.1: no chunk can be shorter than its head.
        "data without a head",
        |s| say(s, &[Chunk::new(DATA, WHOLE, [0; 8])]),
        &[ABORT, OVER],
        &[],
    ),
    (
        // RFC 6525 §5.2: each request is answered.
        "a reset of our streams",
        |s| other_reset(s, 14),
        &[RE_CONFIG],
        &[],
    ),
    (
        "a reset of all TSNs",
        |s| other_reset(s, 15),
        &[RE_CONFIG],
        &[],
    ),
    (
        // RFC 9260 §3.2: the high bits of a type say whether to report it and whether to go on.
        "an unknown chunk, stop and report",
        |s| unknown(s, 0x7f),
        &[ERROR],
        &[],
    ),
    (
        "an unknown chunk, go on",
        |s| unknown(s, 0xbf),
        &[HEARTBEAT_ACK],
        &[],
    ),
    (
        "an unknown chunk, go on and report",
        |s| unknown(s, 0xff),
        &[HEARTBEAT_ACK, ERROR],
        &[],
    ),
    (
        // RFC 9260 §5.2.2: the other side may have begun anew.
        "another INIT",
        |_| packet(0, &[Script::new(78, 5).init(INIT, &[])]),
        &[INIT_ACK],
        &[],
    ),
    (
        // RFC 9260 §3.3.7: causes are optional.
        "an ABORT without a cause",
        |s| say(s, &[Chunk::new(ABORT, 0, [])]),
        &[OVER],
        &[],
    ),
];

fn check(name: &str, said: Said, ours: &[u8], theirs: &[u8]) {
    let now = Instant::now();
    let end = Ours::new(Association::accept(now, Config::default(), 1));
    assert_eq!(answer(end, now, said), ours, "{name}, ours");
    let end = Rtc::new(now, Role::Accept);
    assert_eq!(answer(end, now, said), theirs, "{name}, {}", Rtc::NAME);
    let end = Proto::new(now, Role::Accept);
    assert_eq!(answer(end, now, said), theirs, "{name}, {}", Proto::NAME);
}

#[test]
fn these_are_alike() {
    for (name, said, expected) in ALIKE {
        check(name, said, expected, expected);
    }
}

#[test]
fn these_are_not() {
    for (name, said, ours, theirs) in OTHERWISE {
        check(name, said, ours, theirs);
    }
}
