#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;

use super::*;

const INIT: u8 = 1;
const DELAY: Duration = Duration::from_millis(5);

/// Two associations on virtual time; `filter` says which packets arrive.
struct Pair {
    now: Instant,
    ends: [Sctp; 2],
    wire: VecDeque<(Instant, usize, Bytes)>,
    filter: fn(usize, &[u8]) -> bool,
    connected: [Option<Duration>; 2],
    start: Instant,
}

impl Pair {
    fn new(sides: [Side; 2], filter: fn(usize, &[u8]) -> bool) -> Self {
        let start = Instant::now();
        let settings = Settings {
            receive_window: 1_000_000,
            receive_window_limit: 1_000_000,
            packet: 1_191,
            max_message_size: 65_536,
            seed: 7,
        };
        let mut seed = 0;
        let ends = sides.map(|side| {
            seed += 10;
            Sctp::new(side, start, &Settings { seed, ..settings }).unwrap()
        });
        Self {
            now: start,
            ends,
            wire: VecDeque::new(),
            filter,
            connected: [None; 2],
            start,
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for side in 0..2 {
                let mut packet = Vec::new();
                while self.ends[side]
                    .poll_transmit(self.now, &mut packet)
                    .is_some()
                {
                    let packet = Bytes::from(std::mem::take(&mut packet));
                    if (self.filter)(side, &packet) {
                        self.wire.push_back((self.now + DELAY, 1 - side, packet));
                    }
                }
                while let Some(event) = self.ends[side].poll_event() {
                    match event {
                        Event::Connected => self.connected[side] = Some(self.now - self.start),
                        Event::Lost(loss) => panic!("{side} lost: {loss:?}"),
                        _ => {}
                    }
                }
            }
            let arrival = self.wire.front().map(|(at, ..)| *at);
            let timers = self.ends.iter().filter_map(Sctp::poll_timeout).min();
            let Some(next) = arrival
                .into_iter()
                .chain(timers)
                .min()
                .filter(|at| *at <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            while self.wire.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, to, packet) = self.wire.pop_front().unwrap();
                let _ = self.ends[to].handle_packet(self.now, packet);
            }
            for end in &mut self.ends {
                end.handle_timeout(self.now);
            }
        }
        self.now = end;
    }

    fn assert_works(&mut self, within: Duration) {
        self.run(Duration::from_secs(10));
        for side in 0..2 {
            assert!(
                self.connected[side].is_some_and(|after| after <= within),
                "{:?}",
                self.connected
            );
            self.ends[side].open(side as u16).unwrap();
            self.ends[side]
                .write(
                    self.now,
                    side as u16,
                    MessageKind::Data,
                    &Bytes::from_static(b"x"),
                )
                .unwrap();
        }
        self.run(Duration::from_secs(2));
        for side in 0..2 {
            let message = self.ends[side].read(self.now, 1 - side as u16).unwrap();
            assert_eq!(
                (message.kind, &message.bytes[..]),
                (MessageKind::Data, &b"x"[..])
            );
        }
        assert!(self.ends[0].round_trip().is_some());
    }
}

/// RFC 7053: a delayed acknowledgement would make a sender that waits for it slow.
#[test]
fn a_short_message_is_acknowledged_in_a_round_trip() {
    let mut pair = Pair::new([Side::Client, Side::Server], |_, _| true);
    pair.assert_works(4 * DELAY);
    for bytes in [1, 1_000, 5_000] {
        let bytes = Bytes::from(vec![7; bytes]);
        pair.ends[0]
            .write(pair.now, 0, MessageKind::Data, &bytes)
            .unwrap();
        pair.run(2 * DELAY + Duration::from_millis(1));
        assert_eq!(pair.ends[0].association.buffered(0), 0);
    }
}

#[test]
fn client_and_server_connect_in_two_round_trips() {
    Pair::new([Side::Client, Side::Server], |_, _| true).assert_works(4 * DELAY);
}

#[test]
fn the_side_that_waits_begins_in_the_end() {
    let mut pair = Pair::new([Side::Server, Side::Server], |_, _| true);
    pair.ends[1].patience_ends = None;
    pair.assert_works(PATIENCE + 4 * DELAY);
}

#[test]
fn an_init_is_answered_when_ours_is_not() {
    // The other side sends INITs but never sees ours.
    let filter = |from: usize, packet: &[u8]| from == 1 || packet[12] != INIT;
    Pair::new([Side::Client, Side::Client], filter).assert_works(6 * DELAY);
}

#[test]
fn an_outage_is_over_at_once() {
    let mut pair = Pair::new([Side::Client, Side::Server], |_, _| true);
    pair.assert_works(4 * DELAY);
    pair.filter = |_, _| false;
    for side in 0..2u16 {
        let bytes = Bytes::from(vec![7; 30_000]);
        pair.ends[usize::from(side)]
            .write(pair.now, side, MessageKind::Data, &bytes)
            .unwrap();
    }
    pair.run(Duration::from_secs(40));
    pair.filter = |_, _| true;
    let now = pair.now;
    for end in &mut pair.ends {
        end.fire_retransmission(now);
    }
    pair.run(Duration::from_millis(300));
    for side in 0..2 {
        assert_eq!(
            pair.ends[side]
                .read(pair.now, 1 - side as u16)
                .unwrap()
                .bytes
                .len(),
            30_000
        );
    }
}

#[test]
fn nothing_waits_longer_than_the_longest_back_off() {
    let mut pair = Pair::new([Side::Client, Side::Server], |_, _| true);
    pair.assert_works(4 * DELAY);
    for length in [20, 50, 90] {
        pair.filter = |_, _| false;
        for side in 0..2u16 {
            let bytes = Bytes::from(vec![7; 3_000]);
            pair.ends[usize::from(side)]
                .write(pair.now, side, MessageKind::Data, &bytes)
                .unwrap();
        }
        pair.run(Duration::from_secs(length));
        pair.filter = |_, _| true;
        pair.run(Duration::from_millis(4_500));
        for side in 0..2 {
            let message = pair.ends[side].read(pair.now, 1 - side as u16);
            assert_eq!(message.unwrap().bytes.len(), 3_000, "{length} s");
        }
    }
}

#[test]
fn garbage_is_refused() {
    let mut pair = Pair::new([Side::Client, Side::Server], |_, _| true);
    pair.assert_works(4 * DELAY);
    for length in 0..200u8 {
        let packet = Bytes::from(vec![length; usize::from(length)]);
        assert_eq!(pair.ends[0].handle_packet(pair.now, packet), Err(Refused));
    }
    assert!(pair.ends[0].poll_event().is_none());
}
