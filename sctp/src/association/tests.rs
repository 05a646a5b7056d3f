#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::chunk::{
    ABORT, BEGIN, COOKIE_ACK, DATA, Data, END, HEARTBEAT, HEARTBEAT_ACK, INIT, INIT_ACK, SACK,
    SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE, chunks, half, word,
};
use crate::error::PeerFault;
use crate::event::{Order, Reliability};
use crate::packet::{Header, Writer};

const MS: Duration = Duration::from_millis(1);

/// Two associations, no time between them.
struct Pair {
    now: Instant,
    a: Association,
    b: Association,
}

fn config() -> Config {
    Config {
        checksum: Checksum::Always,
        ..Config::default()
    }
}

fn packets(association: &mut Association, now: Instant) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| {
        let mut buffer = Vec::new();
        association.poll_transmit(now, &mut buffer).map(|_| buffer)
    })
    .collect()
}

fn events(association: &mut Association) -> Vec<Event> {
    std::iter::from_fn(|| association.poll_event()).collect()
}

fn kinds(packet: &[u8]) -> Vec<u8> {
    chunks(&packet[12..])
        .unwrap()
        .map(|chunk| chunk.kind)
        .collect()
}

impl Pair {
    fn with(config: Config, tsn: Option<u32>) -> Self {
        let now = Instant::now();
        let mut a = Association::connect(now, config.clone(), 1);
        let mut b = Association::accept(now, config, 2);
        if let Some(tsn) = tsn {
            a.set_local_tsn(tsn);
            b.set_local_tsn(tsn.wrapping_sub(7));
        }
        let mut pair = Self { now, a, b };
        pair.exchange();
        assert!(pair.a.is_connected() && pair.b.is_connected());
        assert_eq!(events(&mut pair.a), [Event::Connected]);
        assert_eq!(events(&mut pair.b), [Event::Connected]);
        pair
    }

    fn new() -> Self {
        Self::with(config(), None)
    }

    fn exchange(&mut self) {
        loop {
            let there = packets(&mut self.a, self.now);
            let back = packets(&mut self.b, self.now);
            if there.is_empty() && back.is_empty() {
                break;
            }
            there.iter().for_each(|packet| {
                self.b.handle_packet(self.now, packet).unwrap();
            });
            back.iter().for_each(|packet| {
                self.a.handle_packet(self.now, packet).unwrap();
            });
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.a.handle_timeout(self.now);
        self.b.handle_timeout(self.now);
    }

    fn send(&mut self, message: &'static [u8]) {
        let message = Bytes::from_static(message);
        self.a
            .send(self.now, 1, 53, Delivery::default(), message)
            .unwrap();
    }

    /// A packet as if from `a` to `b`.
    fn forge(&self, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buffer = Vec::new();
        let mut writer = Writer::new(&mut buffer, 65_000, (5_000, 5_000), self.b.local_tag);
        write(&mut writer);
        writer.finish(false);
        buffer
    }

    fn data(&self, ahead: u32, flags: u8, ssn: u16, payload: &[u8]) -> Vec<u8> {
        let tsn = self.a.sender.last_tsn().wrapping_add(1 + ahead);
        self.forge(|writer| {
            Data {
                flags,
                tsn,
                stream: 1,
                ssn,
                ppid: 53,
                payload,
            }
            .write(writer);
        })
    }
}

/// RFC 9260 §1.6: nothing happens when TSNs pass zero.
#[test]
fn tsns_wrap() {
    for start in [u32::MAX, u32::MAX - 3, 0, 1 << 31] {
        let mut pair = Pair::with(config(), Some(start));
        for number in 0..20_000u32 {
            let message = Bytes::from(number.to_be_bytes().to_vec());
            pair.a
                .send(pair.now, 1, 53, Delivery::default(), message)
                .unwrap();
            if number % 100 == 99 {
                pair.exchange();
                pair.pass(25 * MS);
                pair.exchange();
            }
        }
        pair.pass(25 * MS);
        pair.exchange();
        for number in 0..20_000u32 {
            assert_eq!(pair.b.receive(1).unwrap().bytes, number.to_be_bytes()[..]);
        }
        assert_eq!(pair.a.acknowledged(1), 80_000);
        assert_eq!(pair.a.stats().chunks_retransmitted, 0);
    }
}

/// RFC 9260 §6.2: every second packet, or after the delay, or at once when something is missing.
#[test]
fn sacks_are_delayed_as_allowed() {
    let mut pair = Pair::new();
    let one = pair.data(0, BEGIN | END, 0, b"one");
    pair.b.handle_packet(pair.now, &one).unwrap();
    assert!(packets(&mut pair.b, pair.now).is_empty());
    assert_eq!(pair.b.poll_timeout(), Some(pair.now + limits::SACK_DELAY));
    pair.pass(limits::SACK_DELAY);
    let sacks = packets(&mut pair.b, pair.now);
    assert_eq!((sacks.len(), kinds(&sacks[0])), (1, vec![SACK]));
    let two = pair.data(1, BEGIN | END, 1, b"two");
    let three = pair.data(2, BEGIN | END, 2, b"three");
    pair.b.handle_packet(pair.now, &two).unwrap();
    pair.b.handle_packet(pair.now, &three).unwrap();
    assert_eq!(packets(&mut pair.b, pair.now).len(), 1);
    // RFC 9260 §3.3.4: gap blocks count from the cumulative point; duplicates are named.
    let five = pair.data(4, BEGIN | END, 4, b"five");
    pair.b.handle_packet(pair.now, &five).unwrap();
    pair.b.handle_packet(pair.now, &five).unwrap();
    let sack = packets(&mut pair.b, pair.now).pop().unwrap();
    let cumulative = pair.a.sender.last_tsn().wrapping_add(3);
    let body = &sack[16..];
    assert_eq!(word(body, 0), Some(cumulative));
    assert_eq!((half(body, 8), half(body, 10)), (Some(1), Some(1)));
    assert_eq!((half(body, 12), half(body, 14)), (Some(2), Some(2)));
    assert_eq!(word(body, 16), Some(cumulative.wrapping_add(2)));
}

/// RFC 8261 §5, RFC 9260 §6.9: a packet size from outside holds for what is cut and bundled from then on.
#[test]
fn a_packet_size_from_outside_takes_effect() {
    let mut pair = Pair::new();
    let mut longest = |packet: usize| {
        pair.a.set_packet(packet);
        let message = Bytes::from(vec![1; 20_000]);
        let delivery = Delivery::default();
        pair.a.send(pair.now, 1, 53, delivery, message).unwrap();
        let mut most = 0;
        while pair.a.buffered_total() > 0 {
            for packet in packets(&mut pair.a, pair.now) {
                most = most.max(packet.len());
                pair.b.handle_packet(pair.now, &packet).unwrap();
            }
            for packet in packets(&mut pair.b, pair.now) {
                pair.a.handle_packet(pair.now, &packet).unwrap();
            }
            pair.pass(MS);
        }
        assert_eq!(pair.b.receive(1).unwrap().bytes.len(), 20_000);
        most
    };
    for packet in [1_191, 700, 1_400, 256, 1_191] {
        assert_eq!(longest(packet), packet & !3);
    }
}

/// RFC 7053 §4, §5: what ends a burst asks for a SACK at once, and gets it.
#[test]
fn what_ends_a_burst_is_reported_at_once() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        let message = Bytes::from(vec![1; 1_000]);
        pair.a
            .send(pair.now, 1, 53, Delivery::default(), message)
            .unwrap();
    }
    let sent = packets(&mut pair.a, pair.now);
    let flags: Vec<_> = sent
        .iter()
        .flat_map(|packet| chunks(&packet[12..]).unwrap())
        .map(|chunk| chunk.flags & crate::chunk::IMMEDIATE != 0)
        .collect();
    assert!(flags.len() >= 3);
    assert_eq!(flags.iter().filter(|is_set| **is_set).count(), 1);
    assert_eq!(flags.last(), Some(&true));
    let mut single = Pair::new();
    single.send(b"x");
    let packet = packets(&mut single.a, single.now).pop().unwrap();
    single.b.handle_packet(single.now, &packet).unwrap();
    assert_eq!(kinds(&packets(&mut single.b, single.now)[0]), [SACK]);
    // Without the flag it waits.
    let mut other = Pair::new();
    let plain = other.data(0, BEGIN | END, 0, b"x");
    other.b.handle_packet(other.now, &plain).unwrap();
    assert!(packets(&mut other.b, other.now).is_empty());
}

/// RFC 9260 §6.2: at least every second packet is acknowledged, also of those that come in one batch, as long as that
/// is not too often.
#[test]
fn a_batch_is_acknowledged_in_steps() {
    let even = |count: u32| (1..=count / 2).map(|index| index * 2);
    for (count, expected) in [
        (6, vec![2, 4, 6]),
        (5, vec![2, 4, 5]),
        (40, even(40).collect()),
        (1_000, even(128).chain([1_000]).collect::<Vec<u32>>()),
    ] {
        let mut pair = Pair::new();
        let first = pair.a.local_tsn;
        for index in 0..count {
            let packet = pair.data(index, BEGIN | END, index as u16, &[7; 1_000]);
            pair.b.handle_packet(pair.now, &packet).unwrap();
        }
        let points: Vec<u32> = packets(&mut pair.b, pair.now)
            .iter()
            .map(|packet| {
                assert_eq!(kinds(packet), [SACK]);
                word(packet, 16).unwrap().wrapping_sub(first) + 1
            })
            .collect();
        assert_eq!(points, expected);
    }
}

/// RFC 9653: without checksum only when both sides offer it, never the handshake.
#[test]
fn checksums_are_left_out_when_both_agree() {
    for (at_a, at_b) in [
        (Checksum::ZeroOverDtls, Checksum::ZeroOverDtls),
        (Checksum::ZeroOverDtls, Checksum::Always),
        (Checksum::Always, Checksum::ZeroOverDtls),
    ] {
        let now = Instant::now();
        let with = |checksum| Config {
            checksum,
            ..config()
        };
        let mut pair = Pair {
            now,
            a: Association::connect(now, with(at_a), 1),
            b: Association::accept(now, with(at_b), 2),
        };
        pair.exchange();
        pair.send(b"hello");
        let packet = packets(&mut pair.a, now).pop().unwrap();
        let is_zero = Header::read(&packet).unwrap().checksum == 0;
        assert_eq!(is_zero, at_a == at_b);
        pair.b.handle_packet(now, &packet).unwrap();
        assert_eq!(pair.b.receive(1).unwrap().bytes, "hello");
        // One that did not offer it takes none.
        let mut bare = packet.clone();
        bare[8..12].fill(0);
        assert_eq!(
            pair.b.handle_packet(now, &bare).is_ok(),
            at_b == Checksum::ZeroOverDtls
        );
    }
}

/// RFC 9260 §8.5, §6.8: what is not for us is dropped and counted.
#[test]
fn foreign_packets_are_dropped() {
    let mut pair = Pair::new();
    let good = pair.data(0, BEGIN | END, 0, b"x");
    let mut port = good.clone();
    port[3] ^= 1;
    let mut tag = good.clone();
    tag[4] ^= 1;
    let sum = crate::packet::checksum(&tag).to_le_bytes();
    tag[8..12].copy_from_slice(&sum);
    let mut sum = good.clone();
    sum[20] ^= 1;
    assert_eq!(
        pair.b.handle_packet(pair.now, &port),
        Err(PeerFault::Port(5_001))
    );
    assert_eq!(pair.b.handle_packet(pair.now, &tag), Err(PeerFault::Tag));
    assert_eq!(
        pair.b.handle_packet(pair.now, &sum),
        Err(PeerFault::Checksum)
    );
    assert_eq!(
        pair.b.handle_packet(pair.now, &good[..11]),
        Err(PeerFault::Malformed(11))
    );
    assert_eq!(pair.b.stats().packets_refused, 4);
    assert!(pair.b.receive(1).is_none());
    pair.b.handle_packet(pair.now, &good).unwrap();
    assert_eq!(pair.b.receive(1).unwrap().bytes, "x");
}

/// RFC 9260 §5.1.3, §5.2.2: any number of INITs leaves one answer and changes nothing.
#[test]
fn init_floods_cost_nothing() {
    let now = Instant::now();
    let mut listening = Association::accept(now, config(), 1);
    let mut established = Pair::new();
    for seed in 0..5_000 {
        let mut other = Association::connect(now, config(), seed + 10);
        let init = packets(&mut other, now).pop().unwrap();
        assert_eq!(kinds(&init), [INIT]);
        listening.handle_packet(now, &init).unwrap();
        established.b.handle_packet(now, &init).unwrap();
    }
    for association in [&mut listening, &mut established.b] {
        let answers = packets(association, now);
        assert_eq!((answers.len(), kinds(&answers[0])), (1, vec![INIT_ACK]));
    }
    established.send(b"still");
    established.exchange();
    assert_eq!(established.b.receive(1).unwrap().bytes, "still");
}

/// RFC 9260 §6.2.1: reports of what was never sent change nothing.
#[test]
fn absurd_reports_are_refused() {
    let mut pair = Pair::new();
    for _ in 0..5 {
        pair.send(b"message");
    }
    let sent = packets(&mut pair.a, pair.now);
    assert_eq!(sent.len(), 1);
    let last = pair.a.sender.last_tsn();
    let sack = |cumulative: u32, gaps: &[(u16, u16)]| {
        let mut buffer = Vec::new();
        let mut writer = Writer::new(&mut buffer, 65_000, (5_000, 5_000), pair.a.local_tag);
        writer.chunk(SACK, 0, |body| {
            body.extend_from_slice(&cumulative.to_be_bytes());
            body.extend_from_slice(&100_000u32.to_be_bytes());
            body.extend_from_slice(&(gaps.len() as u16).to_be_bytes());
            body.extend_from_slice(&[0; 2]);
            for (start, end) in gaps {
                body.extend_from_slice(&start.to_be_bytes());
                body.extend_from_slice(&end.to_be_bytes());
            }
        });
        writer.finish(false);
        buffer
    };
    let first = last.wrapping_sub(5);
    let far = sack(last.wrapping_add(1), &[]);
    let absurd: Vec<_> = (0..15_000u16).map(|at| (at, u16::MAX - at)).collect();
    let absurd = sack(first, &absurd);
    let backwards = sack(first, &[(3, 2), (2, 2), (2, 2), (1, 4), (9, 9)]);
    let now = pair.now;
    assert_eq!(pair.a.handle_packet(now, &far), Err(PeerFault::Range(SACK)));
    let flight = pair.a.stats().flight;
    pair.a.handle_packet(now, &absurd).unwrap();
    assert_eq!(pair.a.stats().flight, flight);
    pair.a.handle_packet(now, &backwards).unwrap();
    assert!(pair.a.stats().gap_blocks_refused > 15_000);
    assert_eq!(pair.a.buffered_total(), 35);
    // The other side still gets everything.
    sent.iter().for_each(|packet| {
        pair.b.handle_packet(now, packet).unwrap();
    });
    pair.pass(30 * MS);
    pair.exchange();
    assert_eq!(pair.a.buffered_total(), 0);
}

/// RFC 9260 §3.3.1: one byte fragments in the worst order cost no more than others.
#[test]
fn crumbs_in_reverse_are_cheap() {
    let mut pair = Pair::new();
    for ahead in (1..30_000u32).rev() {
        let flags = if ahead == 29_999 { END } else { 0 };
        let packet = pair.data(ahead, flags, 0, b"x");
        pair.b.handle_packet(pair.now, &packet).unwrap();
    }
    let packet = pair.data(0, BEGIN, 0, b"x");
    pair.b.handle_packet(pair.now, &packet).unwrap();
    assert_eq!(pair.b.receive(1).unwrap().bytes.len(), 30_000);
}

/// RFC 9260 §6.2: DATA without data ends the association.
#[test]
fn empty_data_is_an_error() {
    let mut pair = Pair::new();
    let packet = pair.data(0, BEGIN | END, 0, b"");
    assert_eq!(
        pair.b.handle_packet(pair.now, &packet),
        Err(PeerFault::Range(DATA))
    );
    assert_eq!(events(&mut pair.b), [Event::Closed(Closed::Protocol)]);
    assert_eq!(kinds(&packets(&mut pair.b, pair.now)[0]), [ABORT]);
    assert!(packets(&mut pair.b, pair.now).is_empty());
    assert!(pair.b.poll_timeout().is_none());
}

/// RFC 9260 §3.2: unknown chunks are passed over, reported or not, as their type says.
#[test]
fn unknown_chunks_are_treated_by_their_high_bits() {
    for (kind, goes_on, reports) in [
        (0x3f, false, false),
        (0x7f, false, true),
        (0xbf, true, false),
        (0xff, true, true),
    ] {
        let mut pair = Pair::new();
        let packet = pair.forge(|writer| {
            writer.chunk(kind, 0, |body| body.extend_from_slice(&[1; 500]));
            writer.chunk(HEARTBEAT, 0, |body| {
                body.extend_from_slice(&[0, 1, 0, 8, 1, 2, 3, 4]);
            });
        });
        pair.b.handle_packet(pair.now, &packet).unwrap();
        let answers: Vec<_> = packets(&mut pair.b, pair.now)
            .iter()
            .flat_map(|packet| kinds(packet))
            .collect();
        assert_eq!(answers.contains(&HEARTBEAT_ACK), goes_on, "{kind}");
        assert_eq!(answers.contains(&crate::chunk::ERROR), reports, "{kind}");
    }
}

/// RFC 9260 §3.3.10: an ERROR or ABORT has a cause, its length, and what it is about.
#[test]
fn causes_say_what_they_are_about() {
    let said = |packets: Vec<Vec<u8>>| {
        let chunk = chunks(&packets[0][12..]).unwrap().next().unwrap();
        (chunk.kind, chunk.value.to_vec())
    };
    // §3.3.10.6: the chunk that is unknown.
    let mut pair = Pair::new();
    let packet = pair.forge(|writer| {
        writer.chunk(0x7f, 5, |body| body.extend_from_slice(b"what"));
    });
    pair.b.handle_packet(pair.now, &packet).unwrap();
    let cause = [&[0, 6, 0, 12, 0x7f, 5, 0, 8][..], b"what"].concat();
    let answer = packets(&mut pair.b, pair.now);
    assert_eq!(said(answer), (crate::chunk::ERROR, cause));
    // §3.3.10.9: the TSN of the DATA that has none.
    let packet = pair.data(0, BEGIN | END, 0, b"");
    assert!(pair.b.handle_packet(pair.now, &packet).is_err());
    let cause = [&[0, 9, 0, 8][..], &pair.a.local_tsn.to_be_bytes()].concat();
    let answer = packets(&mut pair.b, pair.now);
    assert_eq!(said(answer), (ABORT, cause));
    // §3.3.10.12: the user wants no more.
    let mut pair = Pair::new();
    pair.b.abort(pair.now);
    let answer = packets(&mut pair.b, pair.now);
    assert_eq!(said(answer), (ABORT, vec![0, 12, 0, 4]));
    // §3.3.10.13: DATA without its head breaks the protocol.
    let mut pair = Pair::new();
    let packet = pair.forge(|writer| {
        writer.chunk(DATA, 0, |body| body.extend_from_slice(b"short"));
    });
    assert!(pair.b.handle_packet(pair.now, &packet).is_err());
    let answer = packets(&mut pair.b, pair.now);
    assert_eq!(said(answer), (ABORT, vec![0, 13, 0, 4]));
}

/// RFC 9260 §8.3: an idle path is measured.
#[test]
fn idle_paths_have_heartbeats() {
    let mut pair = Pair::new();
    pair.pass(limits::HEARTBEAT_INTERVAL);
    let beat = packets(&mut pair.a, pair.now).pop().unwrap();
    assert_eq!(kinds(&beat), [HEARTBEAT]);
    pair.b.handle_packet(pair.now, &beat).unwrap();
    let answer = packets(&mut pair.b, pair.now);
    assert!(
        answer
            .iter()
            .any(|packet| kinds(packet).contains(&HEARTBEAT_ACK))
    );
    pair.now += 70 * MS;
    for packet in &answer {
        pair.a.handle_packet(pair.now, packet).unwrap();
    }
    let rtt = pair.a.stats().rtt.unwrap();
    assert!(rtt > 5 * MS && rtt < 75 * MS, "{rtt:?}");
}

/// RFC 9260 §8.3: a path that data comes in on is measured a few times a second, whether anybody answers or not; one that our own data
/// measures is not.
#[test]
fn paths_that_only_data_comes_in_on_have_heartbeats() {
    for (is_answered, sends, expected) in [
        (true, false, 30..=40),
        (false, false, 30..=40),
        (true, true, 0..=0),
    ] {
        let mut pair = Pair::new();
        let mut beats = 0;
        for _ in 0..1_000 {
            pair.send(b"x");
            if sends {
                let message = Bytes::from_static(b"y");
                let delivery = Delivery::default();
                pair.b.send(pair.now, 1, 53, delivery, message).unwrap();
            }
            for packet in packets(&mut pair.a, pair.now) {
                pair.b.handle_packet(pair.now, &packet).unwrap();
            }
            for packet in packets(&mut pair.b, pair.now) {
                let is_beat = kinds(&packet).contains(&HEARTBEAT);
                beats += u32::from(is_beat);
                if is_answered || !is_beat {
                    pair.a.handle_packet(pair.now, &packet).unwrap();
                }
            }
            pair.pass(10 * MS);
        }
        assert!(expected.contains(&beats), "{is_answered} {sends}: {beats}");
    }
}

/// RFC 9260 §8.3, RFC 8261 §5: what was measured on another path does not hold, and is measured anew at once.
#[test]
fn a_new_path_is_measured_at_once() {
    let mut pair = Pair::new();
    let _ = packets(&mut pair.a, pair.now);
    pair.a.path_changed(pair.now);
    assert_eq!(pair.a.stats().rtt, None);
    let beat = packets(&mut pair.a, pair.now).pop().unwrap();
    assert!(kinds(&beat).contains(&HEARTBEAT));
    pair.b.handle_packet(pair.now, &beat).unwrap();
    let answer = packets(&mut pair.b, pair.now).pop().unwrap();
    pair.now += 70 * MS;
    pair.a.handle_packet(pair.now, &answer).unwrap();
    assert_eq!(pair.a.stats().rtt, Some(70 * MS));
}

/// RFC 9260 §8.3, §3.3.6: only what we sent not long ago measures, and once.
#[test]
fn answers_to_no_heartbeat_measure_nothing() {
    let refused = Err(PeerFault::Range(HEARTBEAT_ACK));
    let mut pair = Pair::new();
    let before = pair.b.stats().rtt;
    pair.pass(29_000 * MS);
    for value in [
        &[0, 1, 0, 12, 0, 0, 0, 0, 0, 0, 0, 1][..],
        &[0, 1, 0, 4],
        &[],
    ] {
        let forged = pair.forge(|writer| {
            writer.chunk(HEARTBEAT_ACK, 0, |body| body.extend_from_slice(value));
        });
        assert_eq!(pair.b.handle_packet(pair.now, &forged), refused);
    }
    assert_eq!(pair.b.stats().rtt, before);
    // The same answer twice, and one to a heartbeat on a path that is no more.
    let beats: Vec<_> = (0..2)
        .map(|_| {
            pair.a.path_changed(pair.now);
            packets(&mut pair.a, pair.now).pop().unwrap()
        })
        .collect();
    let answers: Vec<_> = beats
        .iter()
        .map(|beat| {
            pair.b.handle_packet(pair.now, beat).unwrap();
            let answers = packets(&mut pair.b, pair.now);
            let is_answer = |packet: &Vec<u8>| kinds(packet).contains(&HEARTBEAT_ACK);
            answers.into_iter().find(is_answer).unwrap()
        })
        .collect();
    assert_eq!(pair.a.handle_packet(pair.now, &answers[0]), refused);
    assert_eq!(pair.a.handle_packet(pair.now, &answers[1]), Ok(()));
    assert_eq!(pair.a.handle_packet(pair.now, &answers[1]), refused);
}

/// A pair in which `a` bears so many timeouts in a row.
fn bearing(max_timeouts: u32) -> Pair {
    Pair::with(
        Config {
            max_timeouts: Some(max_timeouts),
            ..config()
        },
        None,
    )
}

/// Lets `a` wait for its timer, and drops what it sends unless it is to be heard. The kinds of chunks that it sent.
fn wait(pair: &mut Pair, is_heard: bool) -> Vec<u8> {
    pair.now = pair.a.poll_timeout().unwrap().max(pair.now);
    pair.a.handle_timeout(pair.now);
    let sent = packets(&mut pair.a, pair.now);
    if is_heard {
        for packet in &sent {
            pair.b.handle_packet(pair.now, packet).unwrap();
        }
        pair.exchange();
    }
    sent.iter().flat_map(|packet| kinds(packet)).collect()
}

/// RFC 9260 §8.1, §8.2: more timeouts in a row than are borne end the association, and it says so.
#[test]
fn a_dead_peer_is_found_with_data_under_way() {
    let mut pair = bearing(4);
    pair.send(b"into the dark");
    let _ = packets(&mut pair.a, pair.now);
    // An answer in time begins the count anew.
    while pair.a.stats().timeouts < 3 {
        wait(&mut pair, false);
    }
    while pair.a.buffered_total() > 0 {
        wait(&mut pair, true);
    }
    assert!(!pair.a.is_closed());
    let _ = events(&mut pair.a);
    let before = pair.a.stats().timeouts;
    pair.send(b"again");
    let _ = packets(&mut pair.a, pair.now);
    let mut last = Vec::new();
    while !pair.a.is_closed() {
        assert!(pair.a.stats().timeouts - before <= 4);
        last = wait(&mut pair, false);
    }
    assert_eq!(pair.a.stats().timeouts - before, 5);
    assert_eq!(last, [ABORT]);
    assert_eq!(events(&mut pair.a), [Event::Closed(Closed::TimedOut)]);
    assert_eq!(pair.a.poll_timeout(), None);
}

/// RFC 9260 §8.1, §8.3: heartbeats without answer count as much as timeouts do, so that a peer is found dead that nothing is sent to.
#[test]
fn a_dead_peer_is_found_when_idle() {
    let mut pair = bearing(4);
    let mut beats = 0;
    while beats < 4 {
        beats += u32::from(wait(&mut pair, false) == [HEARTBEAT]);
    }
    // An answer in time begins the count anew.
    while !wait(&mut pair, true).contains(&HEARTBEAT) {}
    assert!(!pair.a.is_closed());
    let begin = pair.now;
    beats = 0;
    let mut last = Vec::new();
    while !pair.a.is_closed() {
        assert!(beats <= 5);
        last = wait(&mut pair, false);
        beats += u32::from(last == [HEARTBEAT]);
    }
    assert_eq!((beats, last), (5, vec![ABORT]));
    assert_eq!(events(&mut pair.a), [Event::Closed(Closed::TimedOut)]);
    assert!(pair.now - begin < 6 * limits::HEARTBEAT_INTERVAL);
}

/// RFC 9260 §8.1: both count together, and an answer to either clears both.
#[test]
fn timeouts_and_heartbeats_count_together() {
    let mut pair = bearing(3);
    let miss_two = |pair: &mut Pair| {
        let mut beats = 0;
        while beats < 2 {
            beats += u32::from(wait(pair, false) == [HEARTBEAT]);
        }
        wait(pair, false);
    };
    miss_two(&mut pair);
    pair.send(b"heard");
    pair.exchange();
    assert_eq!(pair.a.buffered_total(), 0);
    miss_two(&mut pair);
    assert!(!pair.a.is_closed());
    pair.send(b"x");
    let _ = packets(&mut pair.a, pair.now);
    while !pair.a.is_closed() {
        wait(&mut pair, false);
    }
    assert_eq!(pair.a.stats().timeouts, 2);
}

/// By default ICE watches the path (RFC 7675), and silence never ends an association.
#[test]
fn silence_is_borne_where_something_else_watches() {
    let mut pair = Pair::new();
    let begin = pair.now;
    while pair.now - begin < Duration::from_secs(3_600) {
        wait(&mut pair, false);
    }
    pair.send(b"x");
    while pair.now - begin < Duration::from_secs(7_200) {
        wait(&mut pair, false);
    }
    assert!(!pair.a.is_closed());
    while pair.a.buffered_total() > 0 {
        wait(&mut pair, true);
    }
}

/// RFC 9260 §5.2.4 case D: a COOKIE ECHO again is answered again.
#[test]
fn a_lost_cookie_ack_is_repeated() {
    let now = Instant::now();
    let mut a = Association::connect(now, config(), 1);
    let mut b = Association::accept(now, config(), 2);
    b.handle_packet(now, &packets(&mut a, now)[0]).unwrap();
    a.handle_packet(now, &packets(&mut b, now)[0]).unwrap();
    let echo = packets(&mut a, now).pop().unwrap();
    for _ in 0..3 {
        b.handle_packet(now, &echo).unwrap();
        assert_eq!(kinds(&packets(&mut b, now)[0]), [COOKIE_ACK]);
    }
    assert_eq!(events(&mut b), [Event::Connected]);
    // RFC 9260 §5.1.5: a cookie that was changed is not taken.
    let mut changed = echo;
    changed[30] ^= 1;
    let sum = [0; 4];
    changed[8..12].copy_from_slice(&sum);
    let sum = crate::packet::checksum(&changed).to_le_bytes();
    changed[8..12].copy_from_slice(&sum);
    let mut fresh = Association::accept(now, config(), 3);
    assert!(fresh.handle_packet(now, &changed).is_err());
    assert_eq!(b.handle_packet(now, &changed), Err(PeerFault::Cookie));
    assert!(!fresh.is_connected());
}

/// A side that nobody answers gives up, and says so once.
#[test]
fn an_unanswered_handshake_ends() {
    let mut now = Instant::now();
    let mut a = Association::connect(now, config(), 1);
    let mut sent = 0;
    while !a.is_closed() {
        sent += packets(&mut a, now).len();
        if let Some(at) = a.poll_timeout() {
            now = at;
        }
        a.handle_timeout(now);
    }
    assert_eq!(sent, limits::HANDSHAKE_TRANSMISSIONS as usize);
    assert_eq!(events(&mut a), [Event::Closed(Closed::TimedOut)]);
}

/// Changed packets with a right checksum and tag never panic, and never keep more than the window allows.
#[test]
fn perturbed_packets_never_panic() {
    let mut random = Random::new(4);
    for round in 0..60 {
        let mut pair = Pair::new();
        for step in 0..60u64 {
            let order = if step % 3 == 0 {
                Order::Unordered
            } else {
                Order::Ordered
            };
            let delivery = Delivery {
                order,
                reliability: if step % 2 == 0 {
                    crate::event::Reliability::Reliable
                } else {
                    crate::event::Reliability::Retransmits(0)
                },
            };
            let message = Bytes::from(vec![0; 1 + (random.next_u64() % 4_000) as usize]);
            let _ = pair
                .a
                .send(pair.now, step as u16 % 4, 53, delivery, message);
            if step % 10 == 9 {
                let _ = pair.a.reset_stream(pair.now, 2);
            }
            if step == 55 {
                pair.a.shutdown(pair.now);
            }
            for from_a in [true, false] {
                let (from, to) = if from_a {
                    (&mut pair.a, &mut pair.b)
                } else {
                    (&mut pair.b, &mut pair.a)
                };
                for mut packet in packets(from, pair.now) {
                    for _ in 0..random.next_u64() % 4 {
                        let at = 12 + (random.next_u64() as usize) % (packet.len() - 12);
                        packet[at] = random.next_u64() as u8;
                    }
                    if random.next_u64().is_multiple_of(8) {
                        packet.truncate(12 + (random.next_u64() as usize) % (packet.len() - 12));
                    }
                    packet[8..12].fill(0);
                    let sum = crate::packet::checksum(&packet).to_le_bytes();
                    packet[8..12].copy_from_slice(&sum);
                    let _ = to.handle_packet(pair.now, &packet);
                    let _ = events(to);
                }
            }
            pair.pass(20 * MS);
        }
        assert!(pair.b.buffered_total() < 20_000_000, "round {round}");
    }
}

/// RFC 9260 §9.2: a SHUTDOWN out of nowhere is no reason to lose data.
#[test]
fn shutdown_waits_for_what_is_under_way() {
    let mut pair = Pair::new();
    pair.b
        .send(
            pair.now,
            2,
            53,
            Delivery::default(),
            Bytes::from_static(b"late"),
        )
        .unwrap();
    let cumulative = pair.b.sender.last_tsn();
    let packet = pair.forge(|writer| {
        writer.chunk(SHUTDOWN, 0, |body| {
            body.extend_from_slice(&cumulative.to_be_bytes());
        });
    });
    pair.b.handle_packet(pair.now, &packet).unwrap();
    let packets = packets(&mut pair.b, pair.now);
    assert!(kinds(&packets[0]).contains(&DATA));
    assert!(!pair.b.is_closed());
}

/// RFC 9260 §9.2: what waits and expires does not keep a shutdown waiting.
#[test]
fn a_shutdown_does_not_wait_for_what_expires() {
    let mut pair = Pair::new();
    let delivery = Delivery {
        reliability: Reliability::Lifetime(10 * MS),
        ..Delivery::default()
    };
    let message = Bytes::from_static(b"too late");
    pair.a.send(pair.now, 1, 53, delivery, message).unwrap();
    pair.a.shutdown(pair.now);
    pair.now += 20 * MS;
    pair.exchange();
    assert!(pair.a.is_closed() && pair.b.is_closed());
}

/// A side that was told of a shutdown of `a`, and does not answer.
fn shutting_down() -> Pair {
    let mut pair = Pair::new();
    std::mem::swap(&mut pair.a, &mut pair.b);
    pair.b.shutdown(pair.now);
    let sent = packets(&mut pair.b, pair.now);
    assert_eq!(kinds(&sent[0]), [SHUTDOWN]);
    pair
}

/// RFC 9260 §9.2: in SHUTDOWN-SENT each packet with DATA is answered by a SHUTDOWN that says how far we are, with a SACK if that does
/// not say all, and T2-shutdown begins anew.
#[test]
fn data_is_answered_by_a_shutdown() {
    let mut pair = shutting_down();
    let first = pair.a.local_tsn;
    for (ahead, cumulative, has_sack) in [
        (0, 0, false),
        // One is missing, then comes, and comes again.
        (2, 0, true),
        (1, 2, false),
        (1, 2, true),
    ] {
        pair.now += 10 * MS;
        let data = pair.data(ahead, BEGIN | END, ahead as u16, b"late");
        pair.b.handle_packet(pair.now, &data).unwrap();
        let answer = packets(&mut pair.b, pair.now);
        assert_eq!(answer.len(), 1);
        let shutdown = chunks(&answer[0][12..]).unwrap().next().unwrap();
        assert_eq!(shutdown.kind, SHUTDOWN);
        assert_eq!(
            word(shutdown.value, 0),
            Some(first.wrapping_add(cumulative))
        );
        assert_eq!(kinds(&answer[0]).contains(&SACK), has_sack, "{ahead}");
        assert_eq!(
            pair.b.shutdown_at,
            Some(pair.now + pair.b.sender.rtt.timeout())
        );
    }
    assert_eq!(pair.b.waiting(1), 3);
}

/// RFC 9260 §9.2: both ask at once. Each answers the SHUTDOWN by a SHUTDOWN ACK, and that by the end.
#[test]
fn shutdowns_may_cross() {
    let mut pair = Pair::new();
    pair.a.shutdown(pair.now);
    pair.b.shutdown(pair.now);
    for expected in [SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE] {
        let there = packets(&mut pair.a, pair.now);
        let back = packets(&mut pair.b, pair.now);
        for (packets, end) in [(there, &mut pair.b), (back, &mut pair.a)] {
            assert_eq!((packets.len(), kinds(&packets[0])), (1, vec![expected]));
            // The SHUTDOWN COMPLETE comes to a side that is over.
            let is_over = expected == SHUTDOWN_COMPLETE;
            let result = end.handle_packet(pair.now, &packets[0]);
            assert_eq!(
                result,
                if is_over {
                    Err(PeerFault::Closed)
                } else {
                    Ok(())
                }
            );
        }
    }
    for end in [&mut pair.a, &mut pair.b] {
        assert_eq!(events(end), [Event::Closed(Closed::Shutdown)]);
        assert!(packets(end, pair.now).is_empty());
    }
}

/// RFC 9260 §9.2: a SHUTDOWN or INIT that comes again in SHUTDOWN-ACK-SENT is answered by the SHUTDOWN ACK again.
#[test]
fn a_lost_shutdown_ack_is_repeated() {
    let mut pair = shutting_down();
    let again = |pair: &mut Pair| {
        pair.pass(pair.b.sender.rtt.timeout());
        packets(&mut pair.b, pair.now).pop().unwrap()
    };
    for _ in 0..3 {
        let shutdown = again(&mut pair);
        assert_eq!(kinds(&shutdown), [SHUTDOWN]);
        pair.a.handle_packet(pair.now, &shutdown).unwrap();
        let answer = packets(&mut pair.a, pair.now);
        assert_eq!(kinds(&answer[0]), [SHUTDOWN_ACK]);
    }
    let mut other = Association::connect(pair.now, config(), 9);
    let init = packets(&mut other, pair.now).pop().unwrap();
    pair.a.handle_packet(pair.now, &init).unwrap();
    let answer = packets(&mut pair.a, pair.now);
    assert_eq!(kinds(&answer[0]), [SHUTDOWN_ACK]);
}

/// RFC 9260 §9.2: T5-shutdown-guard ends a shutdown that the other side never lets come to its end, by an ABORT.
#[test]
fn a_shutdown_is_guarded_against_data_without_end() {
    let mut pair = shutting_down();
    let begin = pair.now;
    let mut ahead = 0;
    while !pair.b.is_closed() {
        assert!(pair.now - begin < 2 * limits::SHUTDOWN_GUARD);
        let data = pair.data(ahead, BEGIN | END, ahead as u16, b"more");
        pair.b.handle_packet(pair.now, &data).unwrap();
        assert!(kinds(&packets(&mut pair.b, pair.now)[0]).contains(&SHUTDOWN));
        assert!(pair.b.receive(1).is_some());
        ahead += 1;
        pair.now += 100 * MS;
        pair.b.handle_timeout(pair.now);
    }
    assert_eq!(pair.now - begin, limits::SHUTDOWN_GUARD);
    assert_eq!(
        events(&mut pair.b).pop(),
        Some(Event::Closed(Closed::TimedOut))
    );
    assert_eq!(kinds(&packets(&mut pair.b, pair.now)[0]), [ABORT]);
}

/// RFC 9260 §8.4 rule 5: a SHUTDOWN COMPLETE that was lost is said again, by a side that is over.
#[test]
fn a_lost_shutdown_complete_is_repeated() {
    let mut pair = Pair::new();
    pair.a.shutdown(pair.now);
    let shutdown = packets(&mut pair.a, pair.now).pop().unwrap();
    pair.b.handle_packet(pair.now, &shutdown).unwrap();
    let acknowledgement = packets(&mut pair.b, pair.now).pop().unwrap();
    pair.a.handle_packet(pair.now, &acknowledgement).unwrap();
    let lost = packets(&mut pair.a, pair.now);
    assert_eq!(events(&mut pair.a), [Event::Closed(Closed::Shutdown)]);
    assert_eq!(
        pair.a.handle_packet(pair.now, &acknowledgement),
        Err(PeerFault::Closed)
    );
    assert_eq!(packets(&mut pair.a, pair.now), lost);
    pair.b.handle_packet(pair.now, &lost[0]).unwrap();
    assert_eq!(events(&mut pair.b), [Event::Closed(Closed::RemoteShutdown)]);
    assert!(packets(&mut pair.a, pair.now).is_empty());
}
