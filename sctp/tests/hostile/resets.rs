//! Resets of streams that nobody has, out of turn, or of what is to come (RFC 6525).

use lkstream_sctp::{Event, PeerFault};

use crate::link::Endpoint;
use crate::link::script::{Chunk, RE_CONFIG, WHOLE, answers, kinds, packet, parameter, word};
use crate::plain;

/// Number and result of the responses in what was said.
fn results(said: &[Chunk]) -> Vec<(u32, u32)> {
    said.iter()
        .filter(|chunk| chunk.kind == RE_CONFIG)
        .flat_map(|chunk| chunk.value.chunks(12))
        .filter(|parameter| parameter[..2] == [0, 16])
        .map(|parameter| (word(parameter, 4), word(parameter, 8)))
        .collect()
}

const PERFORMED: u32 = 1;
const DENIED: u32 = 2;
const BAD_NUMBER: u32 = 5;
const IN_PROGRESS: u32 = 6;

/// RFC 6525 §5.2.1: a request out of turn is refused, one that comes again gets the answer it had.
#[test]
fn requests_out_of_turn_are_refused() {
    let (mut ours, script, now) = plain();
    let first = script.tsn;
    for ahead in [1, 2, 1 << 31, u32::MAX - 1] {
        script.say(&mut ours, now, &[script.reset(ahead, 0, &[1])]);
        let number = first.wrapping_add(ahead);
        assert_eq!(
            results(&answers(&mut ours, now)),
            [(number, BAD_NUMBER)],
            "{ahead}"
        );
    }
    assert_eq!(ours.association.stats().resets_refused, 4);
    assert_eq!(ours.events, [Event::Connected]);
    for _ in 0..3 {
        script.say(&mut ours, now, &[script.reset(0, 0, &[1])]);
        assert_eq!(results(&answers(&mut ours, now)), [(first, PERFORMED)]);
    }
    assert_eq!(ours.events, [Event::Connected, Event::StreamReset(1)]);
    assert_eq!(ours.association.stats().resets_refused, 4);
}

/// RFC 6525 §4.1: streams that there are not are passed over, those named twice are told once, and nothing is kept for them.
#[test]
fn absurd_lists_of_streams_are_passed_over() {
    let (mut ours, script, now) = plain();
    let all: Vec<u16> = (0..30_000).map(|at| 1_020 + at % 8).collect();
    script.say(&mut ours, now, &[script.reset(0, 0, &all)]);
    assert_eq!(results(&answers(&mut ours, now)), [(script.tsn, PERFORMED)]);
    let mut told = ours.events.split_off(1);
    told.sort_unstable_by_key(|event| format!("{event:?}"));
    let expected: Vec<_> = (1_020..1_024).map(Event::StreamReset).collect();
    assert_eq!(told, expected);
    // Half of those named.
    assert_eq!(ours.association.stats().resets_refused, 15_000);
}

/// RFC 6525 §5.2.2: a reset after chunks to come waits for them; one after chunks that cannot come is denied.
#[test]
fn resets_wait_only_for_what_can_come() {
    let (mut ours, script, now) = plain();
    script.say(&mut ours, now, &[script.reset(0, 1 << 20, &[1])]);
    assert_eq!(results(&answers(&mut ours, now)), [(script.tsn, DENIED)]);
    assert_eq!(ours.association.stats().resets_refused, 1);
    let number = script.tsn + 1;
    // Put off, and changed while it is: still one.
    for streams in [&[1][..], &[1, 2], &[3]] {
        script.say(&mut ours, now, &[script.reset(1, 2, streams)]);
        assert_eq!(results(&answers(&mut ours, now)), [(number, IN_PROGRESS)]);
    }
    script.say(&mut ours, now, &[script.data(0, WHOLE, 3, 0, b"before")]);
    assert_eq!(ours.events, [Event::Connected]);
    script.say(&mut ours, now, &[script.data(1, WHOLE, 3, 1, b"last")]);
    assert!(results(&answers(&mut ours, now)).contains(&(number, PERFORMED)));
    assert_eq!(ours.events, [Event::Connected, Event::StreamReset(3)]);
    // What came before it can still be read, and the numbers begin anew.
    script.say(&mut ours, now, &[script.data(2, WHOLE, 3, 0, b"anew")]);
    for expected in ["before", "last", "anew"] {
        assert_eq!(ours.read().unwrap().1, expected);
    }
}

/// RFC 6525 §4.2 to §4.6: what we do not do is denied, in its turn; parameters that are cut are refused.
#[test]
fn other_requests_are_denied() {
    let (mut ours, script, now) = plain();
    for (ahead, kind) in [14u16, 15, 17, 18].into_iter().enumerate() {
        let number = script.tsn + ahead as u32;
        let mut value = number.to_be_bytes().to_vec();
        value.extend([0, 9, 0, 0]);
        let chunk = Chunk::new(RE_CONFIG, 0, parameter(kind, &value));
        script.say(&mut ours, now, &[chunk]);
        assert_eq!(
            results(&answers(&mut ours, now)),
            [(number, DENIED)],
            "{kind}"
        );
    }
    assert_eq!(ours.association.stats().resets_refused, 4);
    let before = ours.association.stats().chunks_refused;
    for (kind, length) in [(13, 3), (13, 11), (16, 4), (14, 0)] {
        let chunk = Chunk::new(RE_CONFIG, 0, parameter(kind, &[0; 12][..length]));
        let fault = ours
            .association
            .handle_packet(now, &packet(script.peer_tag, &[chunk]));
        assert_eq!(fault, Err(PeerFault::Range(RE_CONFIG)), "{kind} {length}");
    }
    assert_eq!(ours.association.stats().chunks_refused - before, 4);
    // RFC 6525 §3.1: two at most, and of the kinds that there are.
    let value = [0; 8];
    let answers_to_none = parameter(16, &value).repeat(4);
    let strange = parameter(19, &value);
    for (list, refused) in [(answers_to_none, 4), (strange, 1)] {
        let before = ours.association.stats().resets_refused;
        script.say(&mut ours, now, &[Chunk::new(RE_CONFIG, 0, list)]);
        let stats = ours.association.stats();
        assert_eq!(stats.resets_refused - before, refused);
    }
}

/// RFC 6525 §5.1, §5.2.7: answers that nobody asked for change nothing, and an endless "in progress" keeps us asking at a rate.
#[test]
fn answers_to_nothing_are_passed_over() {
    let (mut ours, script, start) = plain();
    let respond = |ahead: u32, result: u32| {
        let number = script.peer_tsn.wrapping_add(ahead);
        let value = [number.to_be_bytes(), result.to_be_bytes()].concat();
        Chunk::new(RE_CONFIG, 0, parameter(16, &value))
    };
    for ahead in 0..5 {
        script.say(&mut ours, start, &[respond(ahead, PERFORMED)]);
    }
    assert!(answers(&mut ours, start).is_empty());
    assert_eq!(ours.association.stats().resets_refused, 5);
    ours.association.reset_stream(start, 1).unwrap();
    let mut now = start;
    let mut asked = 0;
    for _ in 0..1_000 {
        let said = kinds(&answers(&mut ours, now));
        if said.contains(&RE_CONFIG) {
            asked += 1;
            script.say(&mut ours, now, &[respond(0, IN_PROGRESS)]);
        }
        now += std::time::Duration::from_millis(10);
        ours.timeout(now);
    }
    assert!((40..=50).contains(&asked), "{asked}");
    script.say(&mut ours, now, &[respond(0, DENIED)]);
    let done = Event::ResetDone {
        stream: 1,
        is_accepted: false,
    };
    assert_eq!(ours.events, [Event::Connected, done]);
}
