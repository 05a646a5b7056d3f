//! Messages that wait to be sent, by stream, and what of them is not acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use crate::chunk::{BEGIN, END, UNORDERED};
use crate::event::{Delivery, Order, Reliability};
use crate::limits::MIN_FRAGMENT;

/// How long a message is worth sending, in terms of its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    Always,
    Retransmits(u32),
    Until(Instant),
}

#[derive(Debug)]
struct Outgoing {
    payload: Bytes,
    sent: usize,
    ppid: u32,
    order: Order,
    worth: Worth,
    /// Given when the first fragment leaves.
    ssn: u16,
    message: u64,
}

/// Where the reset of our direction of a stream stands (RFC 6525).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ResetState {
    #[default]
    Open,
    /// Asked for; sent when no message waits any more.
    Wanted,
    /// Named in the request under way.
    Requested,
}

#[derive(Debug, Default)]
struct Stream {
    waiting: VecDeque<Outgoing>,
    /// Bytes of those that were not sent for the first time.
    unsent: usize,
    next_ssn: u16,
    buffered: usize,
    released: u64,
    unreported: usize,
    reset: ResetState,
}

/// A piece of a message for one chunk.
#[derive(Debug)]
pub(crate) struct Fragment {
    pub(crate) stream: u16,
    pub(crate) ssn: u16,
    pub(crate) ppid: u32,
    pub(crate) flags: u8,
    pub(crate) payload: Bytes,
    pub(crate) message: u64,
    pub(crate) worth: Worth,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    streams: BTreeMap<u16, Stream>,
    /// Streams with messages that wait, each once; the first is being sent.
    active: VecDeque<u16>,
    buffered: usize,
    next_message: u64,
    /// Streams with something released that was not told.
    released: VecDeque<u16>,
    /// How many streams are to be reset and not named in a request.
    wanted_resets: usize,
}

impl Queue {
    pub(crate) fn push(
        &mut self,
        now: Instant,
        stream: u16,
        ppid: u32,
        delivery: Delivery,
        payload: Bytes,
    ) {
        let entry = self.streams.entry(stream).or_default();
        if entry.waiting.is_empty() {
            self.active.push_back(stream);
        }
        entry.buffered += payload.len();
        entry.unsent += payload.len();
        self.buffered += payload.len();
        let worth = match delivery.reliability {
            Reliability::Reliable => Worth::Always,
            Reliability::Retransmits(count) => Worth::Retransmits(count),
            Reliability::Lifetime(time) => {
                now.checked_add(time).map_or(Worth::Always, Worth::Until)
            }
        };
        entry.waiting.push_back(Outgoing {
            payload,
            sent: 0,
            ppid,
            order: delivery.order,
            worth,
            ssn: 0,
            message: self.next_message,
        });
        self.next_message += 1;
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.active.is_empty()
    }

    pub(crate) fn unsent_on(&self, stream: u16) -> usize {
        self.streams.get(&stream).map_or(0, |entry| entry.unsent)
    }

    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    pub(crate) fn buffered_on(&self, stream: u16) -> usize {
        self.streams.get(&stream).map_or(0, |entry| entry.buffered)
    }

    pub(crate) fn released_on(&self, stream: u16) -> u64 {
        self.streams.get(&stream).map_or(0, |entry| entry.released)
    }

    /// The next piece that fits `room` bytes of payload. `is_abandonable` when the other side knows FORWARD TSN.
    pub(crate) fn next_fragment(
        &mut self,
        now: Instant,
        room: usize,
        is_abandonable: bool,
    ) -> Option<Fragment> {
        loop {
            let stream = *self.active.front()?;
            let entry = self.streams.get_mut(&stream)?;
            let Some(message) = entry.waiting.front_mut() else {
                self.active.pop_front();
                continue;
            };
            let rest = message.payload.len() - message.sent;
            if message.sent == 0
                && is_abandonable
                && matches!(message.worth, Worth::Until(end) if end < now)
            {
                // Nothing of it was sent: as if it had never been there (RFC 3758 §3.5 A3).
                entry.waiting.pop_front();
                entry.unsent -= rest;
                self.message_left(stream);
                self.release(stream, rest);
                continue;
            }
            let length = if rest <= room { rest } else { room & !3 };
            if length == 0 || (length < rest && length < MIN_FRAGMENT) {
                return None;
            }
            let mut flags = 0;
            if message.sent == 0 {
                flags |= BEGIN;
                if message.order == Order::Ordered {
                    message.ssn = entry.next_ssn;
                    entry.next_ssn = entry.next_ssn.wrapping_add(1);
                }
            }
            if length == rest {
                flags |= END;
            }
            if message.order == Order::Unordered {
                flags |= UNORDERED;
            }
            let payload = message.payload.slice(message.sent..message.sent + length);
            message.sent += length;
            let fragment = Fragment {
                stream,
                ssn: message.ssn,
                ppid: message.ppid,
                flags,
                payload,
                message: message.message,
                worth: message.worth,
            };
            entry.unsent -= length;
            if length == rest {
                entry.waiting.pop_front();
                self.message_left(stream);
            }
            return Some(fragment);
        }
    }

    /// How long the next piece would like to be.
    pub(crate) fn next_length(&self) -> Option<usize> {
        let entry = self.streams.get(self.active.front()?)?;
        entry
            .waiting
            .front()
            .map(|message| message.payload.len() - message.sent)
    }

    /// Another stream has its turn after each message.
    fn message_left(&mut self, stream: u16) {
        self.active.pop_front();
        if self
            .streams
            .get(&stream)
            .is_some_and(|entry| !entry.waiting.is_empty())
        {
            self.active.push_back(stream);
        }
    }

    /// The rest of a message of which a part was sent is given up.
    pub(crate) fn abandon_rest(&mut self, stream: u16, message: u64) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        if entry
            .waiting
            .front()
            .is_none_or(|front| front.message != message)
        {
            return;
        }
        if let Some(front) = entry.waiting.pop_front() {
            let rest = front.payload.len() - front.sent;
            entry.unsent -= rest;
            self.message_left(stream);
            self.release(stream, rest);
        }
    }

    /// What waits on streams from `count` on is given up before any of it was sent. A stream, and how many messages.
    pub(crate) fn refuse_beyond(&mut self, count: u16) -> Vec<(u16, usize)> {
        let mut refused = Vec::new();
        for (&stream, entry) in self.streams.range_mut(count..) {
            let messages = std::mem::take(&mut entry.waiting).len();
            if messages > 0 {
                refused.push((stream, messages));
            }
        }
        for (stream, _) in &refused {
            let unsent = self
                .streams
                .get_mut(stream)
                .map_or(0, |entry| std::mem::take(&mut entry.unsent));
            self.release(*stream, unsent);
        }
        self.active.retain(|stream| *stream < count);
        refused
    }

    /// Bytes were acknowledged or given up.
    pub(crate) fn release(&mut self, stream: u16, bytes: usize) {
        self.buffered = self.buffered.saturating_sub(bytes);
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.buffered = entry.buffered.saturating_sub(bytes);
            entry.released += bytes as u64;
            if entry.unreported == 0 {
                self.released.push_back(stream);
            }
            entry.unreported += bytes;
        }
    }

    pub(crate) fn next_released(&mut self) -> Option<(u16, usize)> {
        while let Some(stream) = self.released.pop_front() {
            if let Some(entry) = self.streams.get_mut(&stream) {
                let bytes = std::mem::take(&mut entry.unreported);
                if bytes > 0 {
                    return Some((stream, bytes));
                }
            }
        }
        None
    }

    pub(crate) fn reset_state(&self, stream: u16) -> ResetState {
        self.streams
            .get(&stream)
            .map_or(ResetState::Open, |entry| entry.reset)
    }

    pub(crate) fn want_reset(&mut self, stream: u16) {
        let entry = self.streams.entry(stream).or_default();
        if entry.reset == ResetState::Open {
            entry.reset = ResetState::Wanted;
            self.wanted_resets += 1;
        }
    }

    /// Streams that can be named in a request now: nothing of them waits.
    pub(crate) fn take_resettable(&mut self, most: usize) -> Vec<u16> {
        let mut streams = Vec::new();
        // Asked before each packet.
        if self.wanted_resets == 0 {
            return streams;
        }
        for (id, entry) in &mut self.streams {
            if entry.reset == ResetState::Wanted && entry.waiting.is_empty() && streams.len() < most
            {
                entry.reset = ResetState::Requested;
                streams.push(*id);
            }
        }
        self.wanted_resets -= streams.len();
        streams
    }

    /// The request for a stream was answered: a stream that was reset begins anew (RFC 6525 §5.2.2).
    pub(crate) fn reset_answered(&mut self, stream: u16, is_accepted: bool) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.reset = ResetState::Open;
            if is_accepted {
                entry.next_ssn = 0;
            }
        }
    }

    pub(crate) fn shrink(&mut self) {
        self.active.shrink_to(4);
        self.released.shrink_to(4);
        for entry in self.streams.values_mut() {
            entry.waiting.shrink_to(4);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use super::*;

    fn queue(messages: &[(u16, usize)]) -> Queue {
        let mut queue = Queue::default();
        for (stream, length) in messages {
            let payload = vec![0; *length].into();
            queue.push(Instant::now(), *stream, 53, Delivery::default(), payload);
        }
        queue
    }

    /// RFC 9260 §6.9: fragments of a message follow one another; streams take turns by message.
    #[test]
    fn streams_take_turns_by_message() {
        let mut queue = queue(&[(1, 250), (1, 10), (2, 10)]);
        assert_eq!((queue.unsent_on(1), queue.unsent_on(2)), (260, 10));
        let mut seen = Vec::new();
        while let Some(fragment) = queue.next_fragment(Instant::now(), 101, false) {
            seen.push((
                fragment.stream,
                fragment.ssn,
                fragment.flags,
                fragment.payload.len(),
            ));
        }
        assert_eq!(
            seen,
            [
                (1, 0, BEGIN, 100),
                (1, 0, 0, 100),
                (1, 0, END, 50),
                (2, 0, BEGIN | END, 10),
                (1, 1, BEGIN | END, 10),
            ]
        );
        assert_eq!((queue.unsent_on(1), queue.unsent_on(2)), (0, 0));
        assert_eq!(queue.buffered(), 270);
        queue.release(1, 260);
        queue.release(2, 10);
        assert_eq!(queue.next_released(), Some((1, 260)));
        assert_eq!(queue.next_released(), Some((2, 10)));
        assert_eq!((queue.next_released(), queue.buffered()), (None, 0));
    }

    /// RFC 6525 §5.1.2: a stream is named once, when nothing of it waits, and may be reset again when that was answered.
    #[test]
    fn streams_are_named_for_a_reset_once() {
        let mut queue = queue(&[(2, 10)]);
        assert!(queue.take_resettable(9).is_empty());
        for stream in [1, 1, 2, 3] {
            queue.want_reset(stream);
        }
        assert_eq!(queue.take_resettable(1), [1]);
        queue.want_reset(1);
        assert_eq!(queue.take_resettable(9), [3]);
        assert!(queue.next_fragment(Instant::now(), 100, false).is_some());
        assert_eq!(queue.take_resettable(9), [2]);
        assert!(queue.take_resettable(9).is_empty());
        queue.reset_answered(1, true);
        queue.want_reset(1);
        assert_eq!(queue.take_resettable(9), [1]);
    }

    #[test]
    fn a_large_message_does_not_begin_with_a_crumb() {
        let mut queue = queue(&[(1, 250), (1, 20)]);
        assert!(queue.next_fragment(Instant::now(), 20, false).is_none());
        assert!(queue.next_fragment(Instant::now(), 250, false).is_some());
        assert!(queue.next_fragment(Instant::now(), 20, false).is_some());
    }

    /// RFC 3758 §3.5 A3: what expires before it is sent uses no sequence number.
    #[test]
    fn expired_messages_are_not_sent() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let short = Delivery {
            order: Order::Ordered,
            reliability: Reliability::Lifetime(Duration::from_millis(5)),
        };
        queue.push(now, 1, 53, short, Bytes::from_static(b"old"));
        queue.push(now, 1, 53, Delivery::default(), Bytes::from_static(b"new"));
        let later = now + Duration::from_millis(6);
        let fragment = queue.next_fragment(later, 100, true).unwrap();
        assert_eq!((fragment.ssn, &fragment.payload[..]), (0, &b"new"[..]));
        assert_eq!(queue.next_released(), Some((1, 3)));
    }
}
