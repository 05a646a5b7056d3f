//! Keeps our last flight of the DTLS handshake, and sends it again when the other side repeats its own (RFC 6347 §4.2.4).
//!
//! rtc-dtls stops its flight timer for good when a handshake message comes that brings it no further, and before the end of
//! the handshake it answers no repetition. Two sides of its kind keep each other silent once a flight is lost: one
//! repeats what the other has, the other never repeats what was lost.

use std::time::{Duration, Instant};

use crate::record;

/// Datagrams of one flight that are kept; ours have one or two.
const DATAGRAMS: usize = 8;

/// Shortest time between two repetitions: forged messages ask for no flood, two sides that answer each other for no storm.
const INTERVAL: Duration = Duration::from_millis(100);

/// Time until a flight is sent again unasked.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often that is done before the handshake fails: the other side is not there or refuses us.
const TRIES: u32 = 12;

/// The flight that was sent last, and how far the other side has come.
#[derive(Default)]
pub(crate) struct Flight {
    datagrams: Vec<Vec<u8>>,
    /// What is sent next starts another flight, or this one anew.
    pub(crate) is_over: bool,
    /// The highest message number received (RFC 6347 §4.2.2).
    highest: Option<u16>,
    /// How many datagrams wait to be sent again: the last ones.
    waiting: usize,
    repeated: Option<Instant>,
    /// The last message of the other side.
    received_at: Option<Instant>,
    /// Repetitions of this flight that nobody asked for.
    tries: u32,
}

impl Flight {
    /// A datagram that goes out. What is no handshake is not kept.
    pub(crate) fn note_sent(&mut self, datagram: &[u8]) {
        if !record::records(datagram).all(|record| record::is_handshake(record.kind)) {
            return;
        }
        if self.is_over {
            self.is_over = false;
            self.datagrams.clear();
        }
        if self.datagrams.len() < DATAGRAMS {
            self.datagrams.push(datagram.to_vec());
        }
        self.waiting = 0;
    }

    /// A datagram that came in. When it has no handshake message but old ones, ours was lost.
    pub(crate) fn note_received(&mut self, now: Instant, datagram: &[u8]) {
        let Some(highest) = record::records(datagram)
            .filter_map(|record| record.message_number())
            .max()
        else {
            return;
        };
        self.received_at = Some(now);
        if self.highest.is_none_or(|known| known < highest) {
            self.highest = Some(highest);
            self.is_over = true;
            self.waiting = 0;
            self.tries = 0;
        } else if self
            .repeated
            .is_none_or(|at| now.saturating_duration_since(at) >= INTERVAL)
        {
            self.repeat(now);
        }
    }

    fn repeat(&mut self, now: Instant) {
        self.repeated = Some(now);
        self.waiting = self.datagrams.len();
    }

    /// When to send it again unasked, where rtc-dtls has no timer for it.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let last = self.received_at.max(self.repeated)?;
        (!self.datagrams.is_empty()).then(|| last + PATIENCE)
    }

    /// Lets time pass; false when it was sent often enough.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.deadline().is_none_or(|at| now < at) {
            return true;
        }
        self.tries += 1;
        self.repeat(now);
        self.tries <= TRIES
    }

    /// The next datagram to say again.
    pub(crate) fn repetition(&mut self) -> Option<&[u8]> {
        let at = self.datagrams.len().checked_sub(self.waiting)?;
        let datagram = self.datagrams.get(at)?;
        self.waiting -= 1;
        Some(datagram)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A plaintext handshake record with this message number.
    fn message(number: u16) -> Vec<u8> {
        let mut record = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12];
        let [high, low] = number.to_be_bytes();
        record.extend_from_slice(&[1, 0, 0, 0, high, low, 0, 0, 0, 0, 0, 0]);
        record
    }

    fn repetitions(flight: &mut Flight) -> usize {
        std::iter::from_fn(|| flight.repetition().map(<[u8]>::len)).count()
    }

    #[test]
    fn a_repeated_message_is_answered_by_the_flight_that_was_lost() {
        let now = Instant::now();
        let mut flight = Flight::default();
        flight.note_received(now, &message(0));
        flight.note_sent(&message(10));
        flight.note_sent(&message(11));
        assert_eq!(repetitions(&mut flight), 0);

        flight.note_received(now, &message(0));
        assert_eq!(flight.repetition().unwrap(), message(10));
        assert_eq!(flight.repetition().unwrap(), message(11));
        assert_eq!(flight.repetition(), None);

        flight.note_received(now + INTERVAL / 2, &message(0));
        assert_eq!(repetitions(&mut flight), 0, "too soon");
        flight.note_received(now + INTERVAL, &message(0));
        assert_eq!(repetitions(&mut flight), 2);
    }

    #[test]
    fn what_brings_no_answer_is_sent_again_a_few_times() {
        let now = Instant::now();
        let mut flight = Flight::default();
        flight.note_received(now, &message(0));
        assert_eq!(flight.deadline(), None);
        flight.note_sent(&message(10));
        let mut tries = 0;
        while let Some(at) = flight.deadline() {
            assert!(flight.handle_timeout(at - PATIENCE / 2));
            assert_eq!(repetitions(&mut flight), 0);
            if !flight.handle_timeout(at) {
                break;
            }
            assert_eq!(repetitions(&mut flight), 1);
            tries += 1;
        }
        assert_eq!(tries, TRIES);
    }

    #[test]
    fn a_new_message_starts_a_new_flight() {
        let now = Instant::now();
        let mut flight = Flight::default();
        flight.note_received(now, &message(0));
        flight.note_sent(&message(10));
        flight.note_received(now, &message(1));
        flight.note_sent(&message(11));
        flight.note_received(now, &message(1));
        assert_eq!(flight.repetition().unwrap(), message(11));
        assert_eq!(flight.repetition(), None);
    }

    #[test]
    fn what_is_no_handshake_is_neither_kept_nor_answered() {
        let now = Instant::now();
        let mut flight = Flight::default();
        let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0];
        flight.note_sent(&alert);
        flight.note_received(now, &message(0));
        flight.note_received(now, &alert);
        flight.note_received(now, &message(0));
        assert_eq!(repetitions(&mut flight), 0);
    }
}
