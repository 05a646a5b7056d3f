//! SACKs that lie, and windows that never open (RFC 9260 §6.1, §6.2.1).

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use lkstream_sctp::{Delivery, PeerFault, Reliability};

use crate::link::Endpoint;
use crate::link::script::{Chunk, DATA, FORWARD_TSN, SACK, answers, kinds, packet, word};
use crate::plain;

/// RFC 9260 §6.2.1: a report of what was never sent is refused as a whole, a block of it as a block.
#[test]
fn reports_of_what_was_not_sent_are_refused() {
    let (mut ours, script, now) = plain();
    ours.write(now, 1, Bytes::from(vec![1; 5_000]));
    let sent = kinds(&answers(&mut ours, now));
    let count = sent.iter().filter(|kind| **kind == DATA).count() as u32;
    let before = ours.association.stats();
    for ahead in [1, 2, 1_000, 1 << 20, 1 << 31] {
        let chunk = script.sack(count.wrapping_add(ahead), 100_000, &[], 0);
        let fault = ours
            .association
            .handle_packet(now, &packet(script.peer_tag, &[chunk]));
        // Half the numbers away it is old, not early (RFC 9260 §1.6).
        let is_old = ahead == 1 << 31;
        assert_eq!(fault.is_ok(), is_old, "{ahead}");
        assert!(is_old || fault == Err(PeerFault::Range(SACK)));
    }
    let beyond = script.sack(0, 100_000, &[(2, 60_000), (0, 0), (60_000, 60_001)], 0);
    script.say(&mut ours, now, &[beyond]);
    let after = ours.association.stats();
    assert_eq!(after.gap_blocks_refused, 3);
    assert_eq!(after.window, before.window);
    assert_eq!(ours.association.buffered_total(), 5_000);
}

/// A SACK that names more blocks or duplicates than it has (RFC 9260 §3.3.4).
#[test]
fn counts_that_lie_are_refused() {
    let (mut ours, script, now) = plain();
    for at in [8, 9, 10, 11] {
        let mut chunk = script.sack(0, 1_000, &[(1, 1)], 1);
        chunk.value[at] = 0xff;
        let fault = ours
            .association
            .handle_packet(now, &packet(script.peer_tag, &[chunk]));
        assert_eq!(fault, Err(PeerFault::Range(SACK)));
    }
}

/// RFC 9260 §6.1 A: a window that stays closed is probed, more and more rarely, for ever; nothing is lost by it.
#[test]
fn a_window_closed_for_ever_costs_a_probe_now_and_then() {
    let (mut ours, script, start) = plain();
    script.say(&mut ours, start, &[script.sack(0, 0, &[], 0)]);
    for _ in 0..10 {
        ours.write(start, 1, Bytes::from(vec![1; 10_000]));
    }
    let mut now = start;
    let mut probes = 0;
    while now - start < Duration::from_secs(3_600) {
        let said = answers(&mut ours, now);
        let data = said.iter().filter(|chunk| chunk.kind == DATA).count();
        assert!(data <= 1, "{data} chunks into a closed window");
        if data > 0 {
            probes += 1;
            // It was dropped for want of room.
            script.say(&mut ours, now, &[script.sack(0, 0, &[], 0)]);
        }
        now = ours.next_timeout().unwrap().max(now);
        ours.timeout(now);
    }
    assert!((3_600 / 60..3_600).contains(&probes), "{probes}");
    assert!(!ours.association.is_closed());
    assert_eq!(ours.association.buffered_total(), 100_000);
    // It opens after all.
    script.say(&mut ours, now, &[script.sack(0, 100_000, &[], 0)]);
    let said = answers(&mut ours, now);
    assert!(said.iter().filter(|chunk| chunk.kind == DATA).count() > 1);
}

/// RFC 9260 §6.2.1: a window may shrink below what is under way; nothing more leaves then, and what is lost still does.
#[test]
fn a_window_that_shrinks_is_respected() {
    let (mut ours, script, start) = plain();
    script.say(&mut ours, start, &[script.sack(0, 50_000, &[], 0)]);
    for _ in 0..10 {
        ours.write(start, 1, Bytes::from(vec![1; 10_000]));
    }
    let mut now = start;
    let mut sent = 0;
    while sent < 8 {
        sent += kinds(&answers(&mut ours, now))
            .iter()
            .filter(|kind| **kind == DATA)
            .count();
        now += Duration::from_millis(5);
    }
    // One arrived; the window is now smaller than what is under way.
    now += Duration::from_millis(20);
    script.say(&mut ours, now, &[script.sack(1, 3_000, &[], 0)]);
    let before = ours.association.stats();
    let mut fresh = 0;
    for _ in 0..200 {
        let _ = answers(&mut ours, now);
        let stats = ours.association.stats();
        fresh = stats.chunks_sent
            - before.chunks_sent
            - (stats.chunks_retransmitted - before.chunks_retransmitted);
        now = ours.next_timeout().unwrap().max(now);
        ours.timeout(now);
    }
    assert_eq!(fresh, 0);
    assert!(ours.association.stats().chunks_retransmitted > before.chunks_retransmitted);
}

/// RFC 9260 §6.2.1: what was reported and is taken back is sent again; taking back over and over sends no faster than the path
/// allows.
#[test]
fn taking_back_reports_costs_no_more_than_losing() {
    let (mut ours, script, mut now) = plain();
    for _ in 0..20 {
        ours.write(now, 1, Bytes::from(vec![1; 10_000]));
    }
    let _ = answers(&mut ours, now);
    let chunks = ours.association.stats().chunks_sent as u16;
    let mut most = 0;
    for _ in 0..1_000 {
        now += Duration::from_millis(1);
        script.say(
            &mut ours,
            now,
            &[script.sack(0, 1_000_000, &[(1, chunks)], 0)],
        );
        script.say(&mut ours, now, &[script.sack(0, 1_000_000, &[], 0)]);
        most = most.max(answers(&mut ours, now).len());
        assert!(ours.association.stats().flight <= ours.association.stats().window + 1_500);
    }
    assert!(most <= 200, "{most}");
    assert_eq!(ours.association.buffered_total(), 200_000);
}

/// The same, where the work is counted: reports that come and go in turn are looked at once a timeout, not once a report.
#[test]
fn taking_back_reports_over_and_over_is_heard_once_a_timeout() {
    // All is reported but the cumulative point says otherwise, or the cumulative point moves by one with each that is taken back.
    for is_advancing in [false, true] {
        let (mut ours, script, start) = plain();
        for _ in 0..200 {
            ours.write(start, 1, Bytes::from(vec![1; 10_000]));
        }
        let mut now = start;
        let mut cumulative = 0;
        let mut highest = 0;
        let first = 1 + u16::from(is_advancing);
        for _ in 0..1_000 {
            let _ = answers(&mut ours, now);
            let stats = ours.association.stats();
            highest = (stats.chunks_sent - stats.chunks_retransmitted) as u32;
            let reported = [(first, (highest - cumulative) as u16)];
            let sack = script.sack(cumulative, 5_000_000, &reported, 0);
            script.say(&mut ours, now, &[sack]);
            cumulative += u32::from(is_advancing);
            let sack = script.sack(cumulative, 5_000_000, &[], 0);
            script.say(&mut ours, now, &[sack]);
            now += Duration::from_millis(1);
            ours.timeout(now);
        }
        let stats = ours.association.stats();
        println!("{highest} chunks, {stats:?}");
        assert!(highest > 1_000 && stats.chunks_reneged > 0, "{stats:?}");
        // In a second, with the least timeout of 200 ms.
        assert!(stats.chunks_reneged <= 6 * u64::from(highest), "{stats:?}");
    }
}

/// RFC 9260 §6.2.1: what was taken back is sent again although all that was sent had been reported, and also when only a part of it
/// was taken back, which the other side shows by not moving on.
#[test]
fn what_was_taken_back_is_sent_again() {
    for kept in [&[][..], &[(2, 4)][..], &[(3, 4)][..], &[(2, 2), (5, 9)][..]] {
        let (mut ours, script, start) = plain();
        for _ in 0..10 {
            ours.write(start, 1, Bytes::from(vec![1; 10]));
        }
        assert_eq!(data(&answers(&mut ours, start)), 10);
        let mut now = start + Duration::from_millis(10);
        script.say(&mut ours, now, &[script.sack(0, 100_000, &[(2, 10)], 0)]);
        now += Duration::from_millis(10);
        let before = ours.association.stats().chunks_retransmitted;
        script.say(&mut ours, now, &[script.sack(1, 100_000, kept, 0)]);
        while now - start < Duration::from_secs(5) {
            let _ = answers(&mut ours, now);
            let Some(at) = ours.next_timeout() else { break };
            now = at.max(now);
            ours.timeout(now);
            script.say(&mut ours, now, &[script.sack(1, 100_000, kept, 0)]);
        }
        let again = ours.association.stats().chunks_retransmitted - before;
        let missing = 9 - kept
            .iter()
            .map(|(from, to)| u64::from(to - from) + 1)
            .sum::<u64>();
        assert!(again >= missing, "{again} of {missing}: {kept:?}");
    }
}

/// RFC 9260 §6.2.1: the same when the other side says it once and then nothing more, the oldest chunk or one in the middle: a timer
/// runs although nothing is in flight, and each missing chunk is sent again.
#[test]
fn what_was_taken_back_once_is_sent_again() {
    // How many of ten chunks are reported up to the first gap, and blocks after it, once and then differently.
    type Report<'a> = (u32, &'a [(u16, u16)]);
    let cases: [[Report<'_>; 2]; 4] = [
        [(0, &[(2, 10)]), (1, &[(3, 9)])],
        [(0, &[(2, 10)]), (1, &[(2, 9)])],
        [(0, &[(1, 10)]), (0, &[(3, 10)])],
        [(0, &[(2, 10)]), (0, &[(2, 3), (6, 10)])],
    ];
    for [reported, kept] in cases {
        let (mut ours, script, start) = plain();
        for _ in 0..10 {
            ours.write(start, 1, Bytes::from(vec![1; 10]));
        }
        assert_eq!(data(&answers(&mut ours, start)), 10);
        let mut now = start;
        for (cumulative, blocks) in [reported, kept] {
            now += Duration::from_millis(10);
            script.say(
                &mut ours,
                now,
                &[script.sack(cumulative, 100_000, blocks, 0)],
            );
        }
        let (cumulative, blocks) = kept;
        let mut missing: BTreeSet<u32> = (cumulative + 1..=10).collect();
        for (from, to) in blocks {
            (u32::from(*from)..=u32::from(*to)).for_each(|at| {
                missing.remove(&(cumulative + at));
            });
        }
        while !missing.is_empty() && now - start < Duration::from_secs(2) {
            // What lies between others that are still reported shows when the cumulative point comes to it.
            if missing == BTreeSet::from([4, 5]) {
                script.say(&mut ours, now, &[script.sack(3, 100_000, &[(3, 7)], 0)]);
            }
            for chunk in answers(&mut ours, now) {
                if chunk.kind == DATA {
                    missing.remove(&(word(&chunk.value, 0).wrapping_sub(script.peer_tsn) + 1));
                }
            }
            now = ours.next_timeout().expect("a timer").max(now);
            ours.timeout(now);
        }
        assert!(missing.is_empty(), "{missing:?}: {kept:?}");
    }
}

/// RFC 3758 §3.5 C3: what is given up is told anew once a round trip, however the other side moves through it; each time costs a look at
/// all of it.
#[test]
fn skips_are_not_told_for_every_report() {
    let (mut ours, script, start) = plain();
    let delivery = Delivery {
        reliability: Reliability::Lifetime(Duration::from_millis(100)),
        ..Delivery::default()
    };
    let mut now = start;
    for _ in 0..1_000 {
        ours.send(now, 1, delivery, Bytes::from_static(b"given up"));
    }
    let mut sent = 0;
    for _ in 0..50 {
        sent += data(&answers(&mut ours, now));
        now += Duration::from_millis(1);
    }
    let skips = |chunks: Vec<Chunk>| {
        chunks
            .iter()
            .filter(|chunk| chunk.kind == FORWARD_TSN)
            .count()
    };
    let mut told = 0;
    while told == 0 {
        now = ours.next_timeout().unwrap().max(now);
        ours.timeout(now);
        told += skips(answers(&mut ours, now));
    }
    for count in 0..sent as u32 - 10 {
        now += Duration::from_micros(100);
        script.say(&mut ours, now, &[script.sack(count, 100_000, &[], 0)]);
        told += skips(answers(&mut ours, now));
    }
    assert!(sent > 200 && (1..=20).contains(&told), "{told} for {sent}");
}

fn data(chunks: &[Chunk]) -> usize {
    chunks.iter().filter(|chunk| chunk.kind == DATA).count()
}
