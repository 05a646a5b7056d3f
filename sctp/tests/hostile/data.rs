//! DATA and FORWARD TSN that cost more than they carry.

use std::time::Duration;

use lkstream_sctp::{Config, PeerFault};

use crate::link::script::{BEGIN, END, SACK, WHOLE, answers, kinds, packet, word};
use crate::link::{Endpoint, config};
use crate::{connected, plain};

/// RFC 9260 §6.2: however many duplicates come, a SACK names few of them, and there is one SACK for what came at once.
#[test]
fn floods_of_duplicates_get_one_report() {
    let (mut ours, script, now) = plain();
    let again: Vec<_> = (0..50)
        .map(|ahead| script.data(ahead, WHOLE, 1, ahead as u16, b"x"))
        .collect();
    for _ in 0..200 {
        script.say(&mut ours, now, &again);
    }
    let said = answers(&mut ours, now);
    assert_eq!(kinds(&said), [SACK]);
    let duplicates = u16::from_be_bytes([said[0].value[10], said[0].value[11]]);
    assert_eq!(duplicates, 32);
    let stats = ours.association.stats();
    assert_eq!(
        (stats.chunks_received, stats.duplicates_received),
        (50, 199 * 50)
    );
    assert_eq!(std::iter::from_fn(|| ours.read()).count(), 50);
}

/// RFC 9260 §3.3.4: a report has 256 gap blocks at most, the first ones, however many gaps there are and however large the packet is.
#[test]
fn reports_have_a_bounded_number_of_blocks() {
    let (mut ours, script, now) = connected(Config {
        packet: 65_000,
        ..config()
    });
    for ahead in 0..2_000u32 {
        let chunk = script.data(ahead * 2 + 1, WHOLE, 1, ahead as u16 + 1, b"x");
        script.say(&mut ours, now, &[chunk]);
    }
    let said = answers(&mut ours, now);
    assert_eq!(kinds(&said), [SACK]);
    let value = &said[0].value;
    assert_eq!(value[8..12], [1, 0, 0, 0]);
    assert_eq!(value.len(), 12 + 256 * 4);
    for (index, block) in value[12..].chunks(4).enumerate() {
        let [high, low] = u16::to_be_bytes(index as u16 * 2 + 2);
        assert_eq!(block, [high, low, high, low]);
    }
}

/// RFC 9260 §6.2: what comes without window is dropped, and not acknowledged, so that nothing is lost by it.
#[test]
fn what_the_window_does_not_hold_is_dropped() {
    let (mut ours, script, now) = connected(Config {
        receive_window: 10_000,
        receive_window_limit: 10_000,
        max_message_size: 5_000,
        ..config()
    });
    let payload = vec![7; 1_000];
    let mut taken = 0;
    for ahead in 0..100u32 {
        let chunk = script.data(ahead, WHOLE, 1, ahead as u16, &payload);
        match ours
            .association
            .handle_packet(now, &packet(script.peer_tag, &[chunk]))
        {
            Ok(()) => taken = ahead + 1,
            Err(fault) => assert_eq!(fault, PeerFault::Window),
        }
    }
    assert!((10..40).contains(&taken), "{taken}");
    let said = answers(&mut ours, now);
    let sack = said.last().unwrap();
    assert_eq!(word(&sack.value, 0), script.tsn + taken - 1);
    assert_eq!(word(&sack.value, 4), 0);
    let stats = ours.association.stats();
    assert_eq!(stats.window_drops, u64::from(100 - taken));
    assert_eq!(std::iter::from_fn(|| ours.read()).count(), taken as usize);
}

/// RFC 9260 §6.9: what cannot be a message is dropped, counted and acknowledged; what follows is not harmed.
#[test]
fn fragments_that_fit_nothing_are_dropped() {
    let (mut ours, script, now) = plain();
    let shapes = [
        (0, BEGIN, 0),
        (1, BEGIN, 0),
        (2, END, 9),
        (3, 0, 0),
        (4, END, 0),
        (5, WHOLE, 0),
        (6, BEGIN, 1),
        (7, WHOLE, 1),
        (8, END, 1),
        (9, WHOLE, 2),
    ];
    for (ahead, flags, ssn) in shapes {
        script.say(
            &mut ours,
            now,
            &[script.data(ahead, flags, 1, ssn, &[ahead as u8])],
        );
    }
    let read: Vec<_> = std::iter::from_fn(|| ours.read())
        .map(|(_, bytes)| bytes[0])
        .collect();
    assert_eq!(read, [5, 7, 9]);
    assert!(ours.association.stats().chunks_refused >= 5);
}

/// RFC 9260 §6.5: a stream that there is not; the chunk is acknowledged and gone.
#[test]
fn streams_beyond_the_agreed_are_refused() {
    let (mut ours, script, now) = plain();
    let chunk = script.data(0, WHOLE, 1_024, 0, b"x");
    let fault = ours
        .association
        .handle_packet(now, &packet(script.peer_tag, &[chunk]));
    assert_eq!(fault, Err(PeerFault::Range(0)));
    let later = now + Duration::from_millis(50);
    ours.timeout(later);
    let said = answers(&mut ours, later);
    assert_eq!(word(&said.last().unwrap().value, 0), script.tsn);
    assert!(ours.read().is_none());
}

/// RFC 3758 §3.6: skipping may not run ahead without end, and each one is answered by at most one SACK.
#[test]
fn skips_are_bounded() {
    let (mut ours, script, now) = plain();
    let everywhere: Vec<_> = (0..2_000).map(|stream| (stream, 9)).collect();
    for count in [1, 2, 3, 2, 1, 0] {
        script.say(&mut ours, now, &[script.forward(count, &everywhere)]);
    }
    let said = answers(&mut ours, now);
    assert_eq!(kinds(&said), [SACK]);
    assert_eq!(word(&said[0].value, 0), script.tsn + 2);
    for count in [(1 << 20) + 10, 1 << 30, (1 << 31) - 1] {
        let fault = ours.association.handle_packet(
            now,
            &packet(script.peer_tag, &[script.forward(count, &everywhere)]),
        );
        assert_eq!(fault, Err(PeerFault::Range(192)), "{count}");
    }
    // Each is counted once; so are the 976 streams that there are not, where the skip was taken.
    let stats = ours.association.stats();
    assert_eq!((stats.chunks_refused, stats.skips_refused), (3, 3 * 976));
    // Numbers that were skipped are used up, those after them are not.
    script.say(
        &mut ours,
        now,
        &[
            script.data(3, WHOLE, 1, 9, b"skipped"),
            script.data(4, WHOLE, 1, 10, b"next"),
        ],
    );
    assert_eq!(ours.read().unwrap().1, "next");
    assert!(ours.read().is_none());
}

/// RFC 3758 §3.2, §3.6: skips by one SSN each, thousands in a packet, past messages that wait for far later ones: each costs the same
/// however many wait. Nothing but how long this test takes would show it.
#[test]
fn skips_do_not_look_at_what_waits() {
    const EARLY: u32 = 16_000;
    let (mut ours, script, now) = plain();
    for ahead in 0..EARLY {
        let ssn = (EARLY + ahead) as u16;
        script.say(&mut ours, now, &[script.data(ahead, WHOLE, 1, ssn, b"x")]);
    }
    let mut count = EARLY;
    for first in (0..EARLY as u16 - 1).step_by(4_000) {
        let skipped: Vec<_> = (first..EARLY as u16 - 1)
            .take(4_000)
            .map(|ssn| (1, ssn))
            .collect();
        count += 1;
        script.say(&mut ours, now, &[script.forward(count, &skipped)]);
    }
    assert!(ours.read().is_none());
    script.say(
        &mut ours,
        now,
        &[script.forward(count + 1, &[(1, EARLY as u16 - 1)])],
    );
    assert_eq!(std::iter::from_fn(|| ours.read()).count(), EARLY as usize);
    assert_eq!(ours.association.stats().chunks_refused, 0);
}
