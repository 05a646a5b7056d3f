//! Joins fragments to messages, and keeps messages until their turn has come and the reader takes them.
//!
//! All fragments of a message have consecutive TSNs (RFC 9260 §6.9). What arrives in the order of TSNs is therefore part of at
//! most one message that is not complete, `open`, to which it is appended at once. What arrives beyond a gap waits in runs of
//! consecutive fragments of one message; a run that is complete is handed on, whatever is missing before it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::chunk::{BEGIN, Data, END, UNORDERED};
use crate::event::{Message, Order};
use crate::limits::{BUFFER_HINT, PIECE_OVERHEAD};
use crate::tsn::is_later;

/// What fragments of one message have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    stream: u16,
    ssn: u16,
    is_unordered: bool,
}

impl Key {
    fn of(data: &Data<'_>) -> Self {
        let is_unordered = data.flags & UNORDERED != 0;
        Self {
            stream: data.stream,
            // It says nothing for unordered ones (RFC 9260 §3.3.1).
            ssn: if is_unordered { 0 } else { data.ssn },
            is_unordered,
        }
    }
}

/// The message that grows in the order of TSNs.
#[derive(Debug)]
struct Open {
    key: Key,
    ppid: u32,
    bytes: Vec<u8>,
    /// More came than is allowed; nothing is kept.
    is_too_large: bool,
}

/// Consecutive fragments of one message beyond a gap.
#[derive(Debug)]
struct Run {
    /// The TSN after the last.
    end: u64,
    key: Key,
    ppid: u32,
    has_begin: bool,
    has_end: bool,
    pieces: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl Run {
    fn charge(&self) -> usize {
        self.bytes + self.pieces.len() * PIECE_OVERHEAD
    }
}

#[derive(Debug, Default)]
struct Incoming {
    next_ssn: u16,
    /// Complete messages that came before their turn.
    early: BTreeMap<u16, Message>,
    ready: VecDeque<Message>,
}

impl Incoming {
    /// The SSN of the first message that came before its turn, if it is before `end`. All of them are less than half the numbers
    /// after `next_ssn`.
    fn first_early_before(&self, end: u16) -> Option<u16> {
        let mut from_next = self.early.range(self.next_ssn..);
        let first = from_next.next().or_else(|| self.early.first_key_value());
        first.map(|(ssn, _)| *ssn).filter(|ssn| is_later(end, *ssn))
    }
}

#[derive(Debug)]
pub(crate) struct Reassembly {
    open: Option<Open>,
    runs: BTreeMap<u64, Run>,
    streams: BTreeMap<u16, Incoming>,
    /// Streams that became readable.
    readable: VecDeque<u16>,
    /// Bytes that wait, with what they cost beyond that.
    charged: usize,
    max_message_size: usize,
    /// Size of the last message: a guess for the next.
    hint: usize,
    pub(crate) too_large: u64,
    /// Fragments that fit no message.
    pub(crate) misfits: u64,
}

impl Reassembly {
    pub(crate) fn new(max_message_size: usize) -> Self {
        Self {
            open: None,
            runs: BTreeMap::new(),
            streams: BTreeMap::new(),
            readable: VecDeque::new(),
            charged: 0,
            max_message_size,
            hint: 0,
            too_large: 0,
            misfits: 0,
        }
    }

    pub(crate) fn charged(&self) -> usize {
        self.charged
    }

    /// A fragment whose TSN is the next of all.
    pub(crate) fn push_in_order(&mut self, data: &Data<'_>) {
        let key = Key::of(data);
        if data.flags & (BEGIN | END) == BEGIN | END {
            self.drop_open();
            if data.payload.len() > self.max_message_size {
                self.complete(key, data.ppid, Bytes::new(), true);
            } else {
                let bytes = Bytes::copy_from_slice(data.payload);
                self.complete(key, data.ppid, bytes, false);
            }
            return;
        }
        self.append(data.flags, key, data.ppid, data.payload);
    }

    fn append(&mut self, flags: u8, key: Key, ppid: u32, payload: &[u8]) {
        if flags & BEGIN != 0 {
            self.drop_open();
            // A buffer as large as the last message needed, unless that promises more than is there.
            let hint = self.hint.min(BUFFER_HINT).min(payload.len() * 16);
            self.open = Some(Open {
                key,
                ppid,
                bytes: Vec::with_capacity(hint.max(payload.len())),
                is_too_large: false,
            });
        }
        let max = self.max_message_size;
        let Some(open) = self.open.as_mut().filter(|open| open.key == key) else {
            self.misfits += 1;
            self.drop_open();
            return;
        };
        if open.is_too_large || open.bytes.len() + payload.len() > max {
            open.is_too_large = true;
            self.charged -= open.bytes.len();
            open.bytes = Vec::new();
        } else {
            open.bytes.extend_from_slice(payload);
            self.charged += payload.len();
        }
        if flags & END != 0
            && let Some(mut open) = self.open.take()
        {
            self.charged -= open.bytes.len();
            if open.bytes.capacity() > open.bytes.len() * 2 {
                open.bytes.shrink_to_fit();
            }
            self.complete(key, open.ppid, open.bytes.into(), open.is_too_large);
        }
    }

    /// The message that grows will never be complete.
    pub(crate) fn drop_open(&mut self) {
        if let Some(open) = self.open.take() {
            self.misfits += 1;
            self.charged -= open.bytes.len();
        }
    }

    /// A fragment beyond a gap, not seen before.
    pub(crate) fn push_beyond(&mut self, tsn: u64, data: &Data<'_>) {
        let key = Key::of(data);
        let mut run = Run {
            end: tsn + 1,
            key,
            ppid: data.ppid,
            has_begin: data.flags & BEGIN != 0,
            has_end: data.flags & END != 0,
            pieces: VecDeque::from([Box::from(data.payload)]),
            bytes: data.payload.len(),
        };
        self.charged += run.charge();
        let mut start = tsn;
        if !run.has_begin
            && let Some((&left_start, left)) = self.runs.range(..tsn).next_back()
            && left.end == tsn
            && !left.has_end
            && left.key == key
            && let Some(left) = self.runs.remove(&left_start)
        {
            run = join(left, run);
            start = left_start;
        }
        if !run.has_end
            && let Some(right) = self.runs.get(&run.end)
            && !right.has_begin
            && right.key == key
            && let Some(right) = self.runs.remove(&run.end)
        {
            run = join(run, right);
        }
        if run.has_begin && run.has_end {
            self.charged -= run.charge();
            if run.bytes > self.max_message_size {
                self.complete(key, run.ppid, Bytes::new(), true);
            } else {
                let mut bytes = Vec::with_capacity(run.bytes);
                for piece in &run.pieces {
                    bytes.extend_from_slice(piece);
                }
                self.complete(key, run.ppid, bytes.into(), false);
            }
        } else {
            self.runs.insert(start, run);
        }
    }

    /// The run that begins at the next TSN of all, if one does, joins what is in order. The TSN after it.
    pub(crate) fn take_run(&mut self, start: u64) -> Option<u64> {
        let run = self.runs.remove(&start)?;
        self.charged -= run.charge();
        let last = run.pieces.len() - 1;
        for (index, piece) in run.pieces.iter().enumerate() {
            let mut flags = 0;
            if index == 0 && run.has_begin {
                flags |= BEGIN;
            }
            if index == last && run.has_end {
                flags |= END;
            }
            self.append(flags, run.key, run.ppid, piece);
        }
        Some(run.end)
    }

    /// The other side gives up everything up to `tsn` (RFC 3758 §3.6).
    pub(crate) fn forward(&mut self, tsn: u64) {
        self.drop_open();
        while let Some(entry) = self.runs.first_entry() {
            if *entry.key() > tsn {
                break;
            }
            let run = entry.remove();
            self.charged -= run.charge();
        }
    }

    /// The other side gives up the messages of a stream up to `ssn`; those that are complete are handed out.
    pub(crate) fn skip(&mut self, stream: u16, ssn: u16) {
        let incoming = self.streams.entry(stream).or_default();
        let next = ssn.wrapping_add(1);
        if !is_later(next, incoming.next_ssn) {
            return;
        }
        // Only what is handed out is looked at: a packet can name thousands of SSNs.
        while let Some(incoming) = self.streams.get_mut(&stream)
            && let Some(ssn) = incoming.first_early_before(next)
            && let Some(message) = incoming.early.remove(&ssn)
        {
            self.hand_out(stream, message);
        }
        if let Some(incoming) = self.streams.get_mut(&stream) {
            incoming.next_ssn = next;
        }
        self.hand_out_early(stream);
    }

    /// The other side begins anew on a stream (RFC 6525 §5.2.2).
    pub(crate) fn reset(&mut self, stream: u16) {
        if let Some(incoming) = self.streams.get_mut(&stream) {
            incoming.next_ssn = 0;
            for (_, message) in std::mem::take(&mut incoming.early) {
                self.charged -= message.bytes.len() + PIECE_OVERHEAD;
            }
            if incoming.ready.is_empty() {
                self.streams.remove(&stream);
            }
        }
    }

    pub(crate) fn streams(&self) -> Vec<u16> {
        self.streams.keys().copied().collect()
    }

    fn complete(&mut self, key: Key, ppid: u32, bytes: Bytes, is_too_large: bool) {
        if is_too_large {
            self.too_large += 1;
        } else {
            self.hint = bytes.len();
        }
        self.charged += bytes.len() + PIECE_OVERHEAD;
        let message = Message {
            ppid,
            order: if key.is_unordered {
                Order::Unordered
            } else {
                Order::Ordered
            },
            bytes,
            is_too_large,
        };
        if key.is_unordered {
            self.hand_out(key.stream, message);
            return;
        }
        let incoming = self.streams.entry(key.stream).or_default();
        if incoming.next_ssn == key.ssn {
            incoming.next_ssn = key.ssn.wrapping_add(1);
            self.hand_out(key.stream, message);
            self.hand_out_early(key.stream);
        } else if is_later(key.ssn, incoming.next_ssn) && !incoming.early.contains_key(&key.ssn) {
            incoming.early.insert(key.ssn, message);
        } else {
            // A number that was used already.
            self.misfits += 1;
            self.charged -= message.bytes.len() + PIECE_OVERHEAD;
        }
    }

    fn hand_out_early(&mut self, stream: u16) {
        while let Some(incoming) = self.streams.get_mut(&stream)
            && let Some(message) = incoming.early.remove(&incoming.next_ssn)
        {
            incoming.next_ssn = incoming.next_ssn.wrapping_add(1);
            self.hand_out(stream, message);
        }
    }

    fn hand_out(&mut self, stream: u16, message: Message) {
        let incoming = self.streams.entry(stream).or_default();
        if incoming.ready.is_empty() {
            self.readable.push_back(stream);
        }
        incoming.ready.push_back(message);
    }

    /// A stream that has become readable, each once.
    pub(crate) fn next_readable(&mut self) -> Option<u16> {
        while let Some(stream) = self.readable.pop_front() {
            if self
                .streams
                .get(&stream)
                .is_some_and(|incoming| !incoming.ready.is_empty())
            {
                return Some(stream);
            }
        }
        None
    }

    /// Messages that can be taken.
    pub(crate) fn waiting(&self, stream: u16) -> usize {
        self.streams
            .get(&stream)
            .map_or(0, |incoming| incoming.ready.len())
    }

    pub(crate) fn take(&mut self, stream: u16) -> Option<Message> {
        let message = self.streams.get_mut(&stream)?.ready.pop_front()?;
        self.charged -= message.bytes.len() + PIECE_OVERHEAD;
        Some(message)
    }

    pub(crate) fn shrink(&mut self) {
        self.readable.shrink_to(4);
        for incoming in self.streams.values_mut() {
            incoming.ready.shrink_to(4);
        }
    }
}

/// The shorter list of pieces moves.
fn join(mut left: Run, mut right: Run) -> Run {
    let pieces = if left.pieces.len() >= right.pieces.len() {
        left.pieces.append(&mut right.pieces);
        left.pieces
    } else {
        while let Some(piece) = left.pieces.pop_back() {
            right.pieces.push_front(piece);
        }
        right.pieces
    };
    Run {
        end: right.end,
        has_end: right.has_end,
        pieces,
        bytes: left.bytes + right.bytes,
        ..left
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn data(flags: u8, ssn: u16, payload: &[u8]) -> Data<'_> {
        Data {
            flags,
            tsn: 0,
            stream: 1,
            ssn,
            ppid: 53,
            payload,
        }
    }

    fn texts(reassembly: &mut Reassembly) -> Vec<Bytes> {
        std::iter::from_fn(|| reassembly.take(1).map(|message| message.bytes)).collect()
    }

    /// RFC 9260 §6.9: in any order of arrival the message is the same.
    #[test]
    fn fragments_join_in_any_order() {
        let parts: [(u8, &[u8]); 4] = [(BEGIN, b"ab"), (0, b"c"), (0, b"de"), (END, b"f")];
        let orders = [
            [0, 1, 2, 3],
            [3, 2, 1, 0],
            [1, 3, 0, 2],
            [2, 0, 3, 1],
            [0, 2, 3, 1],
        ];
        for order in orders {
            let mut reassembly = Reassembly::new(100);
            for at in order {
                let (flags, payload) = parts[at];
                reassembly.push_beyond(500 + at as u64, &data(flags, 0, payload));
            }
            assert_eq!(texts(&mut reassembly), ["abcdef"]);
            assert_eq!((reassembly.charged(), reassembly.runs.len()), (0, 0));
        }
    }

    /// RFC 9260 §6.6: ordered messages wait for their turn, unordered ones do not.
    #[test]
    fn order_is_kept_for_ordered_messages_only() {
        let mut reassembly = Reassembly::new(100);
        reassembly.push_beyond(502, &data(BEGIN | END, 1, b"second"));
        reassembly.push_beyond(503, &data(BEGIN | END | UNORDERED, 1, b"free"));
        assert_eq!(texts(&mut reassembly), ["free"]);
        reassembly.push_in_order(&data(BEGIN | END, 0, b"first"));
        assert_eq!(texts(&mut reassembly), ["first", "second"]);
        assert_eq!(reassembly.charged(), 0);
    }

    /// RFC 3758 §3.6: what is given up is dropped, what it held back is handed out.
    #[test]
    fn skipped_messages_release_the_others() {
        let mut reassembly = Reassembly::new(100);
        reassembly.push_in_order(&data(BEGIN, 0, b"never ends"));
        reassembly.push_beyond(502, &data(BEGIN | END, 1, b"one"));
        reassembly.push_beyond(503, &data(0, 2, b"part"));
        reassembly.push_beyond(504, &data(BEGIN | END, 3, b"three"));
        reassembly.forward(503);
        reassembly.skip(1, 2);
        assert_eq!(texts(&mut reassembly), ["one", "three"]);
        reassembly.skip(1, 1);
        reassembly.push_in_order(&data(BEGIN | END, 4, b"four"));
        assert_eq!(texts(&mut reassembly), ["four"]);
        assert_eq!((reassembly.charged(), reassembly.runs.len()), (0, 0));
    }

    /// RFC 3758 §3.6, RFC 1982: the same where the numbers wrap, in the order of the stream, and nothing beyond what is skipped.
    #[test]
    fn skipped_messages_release_the_others_over_the_wrap() {
        let mut reassembly = Reassembly::new(100);
        reassembly.skip(1, 32_000);
        reassembly.skip(1, 64_000);
        for ssn in [2, 65_535, 65_000, 0, 4] {
            let number = ssn.to_string();
            reassembly.push_in_order(&data(BEGIN | END, ssn, number.as_bytes()));
        }
        assert!(texts(&mut reassembly).is_empty());
        reassembly.skip(1, 65_001);
        assert_eq!(texts(&mut reassembly), ["65000"]);
        reassembly.skip(1, 1);
        assert_eq!(texts(&mut reassembly), ["65535", "0", "2"]);
        // What is from before it changes nothing.
        reassembly.skip(1, 65_001);
        reassembly.skip(1, 3);
        assert_eq!(texts(&mut reassembly), ["4"]);
        assert_eq!(reassembly.charged(), 0);
    }

    #[test]
    fn too_large_messages_keep_no_bytes() {
        let mut reassembly = Reassembly::new(5);
        reassembly.push_in_order(&data(BEGIN, 0, b"abc"));
        reassembly.push_in_order(&data(0, 0, b"def"));
        assert_eq!(reassembly.charged(), 0);
        reassembly.push_in_order(&data(END, 0, b"g"));
        reassembly.push_in_order(&data(BEGIN | END, 1, b"sixsix"));
        assert!(reassembly.take(1).unwrap().is_too_large);
        assert!(reassembly.take(1).unwrap().is_too_large);
        assert_eq!((reassembly.too_large, reassembly.charged()), (2, 0));
    }

    /// Fragments of different messages are never mixed, whatever their flags say.
    #[test]
    fn overlapping_fragments_are_dropped() {
        let mut reassembly = Reassembly::new(100);
        reassembly.push_in_order(&data(0, 0, b"no begin"));
        reassembly.push_in_order(&data(BEGIN, 0, b"a"));
        reassembly.push_in_order(&data(BEGIN, 0, b"b"));
        reassembly.push_in_order(&data(END, 1, b"other"));
        reassembly.push_in_order(&data(END, 0, b"late"));
        assert_eq!(reassembly.charged(), 0);
        assert!(reassembly.misfits >= 4);
        assert!(texts(&mut reassembly).is_empty());
    }
}
