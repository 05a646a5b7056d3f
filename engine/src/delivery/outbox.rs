//! Numbers for packets sent, and the packets themselves until they are acknowledged.

use std::collections::VecDeque;

use bytes::Bytes;
use thiserror::Error;

/// The packets asked for are gone from the buffer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("packet {wanted} is wanted again, {oldest} is the oldest kept")]
pub struct ReplayGap {
    /// The first number wanted.
    pub wanted: u32,
    /// The oldest number kept, or the next one to give when none is kept.
    pub oldest: u32,
}

/// The sending side of one session on the reliable channel.
///
/// `T` is what the owner wants back when a packet is acknowledged. The buffer's bound is the
/// owner's: send nothing while [`unacknowledged`](Outbox::unacknowledged) is at the limit.
#[derive(Debug)]
pub struct Outbox<T> {
    next: u32,
    sent: VecDeque<Sent<T>>,
    /// Bytes put in since the count began.
    total: u64,
    unacknowledged: usize,
    /// How many at the front of `sent` wait to be sent again.
    replay: usize,
}

#[derive(Debug)]
struct Sent<T> {
    sequence: u32,
    bytes: Bytes,
    /// `total` after this packet.
    end: u64,
    owner: T,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Outbox::new()
    }
}

impl<T> Outbox<T> {
    /// An outbox whose first packet has number 1.
    pub fn new() -> Outbox<T> {
        Outbox {
            next: 1,
            sent: VecDeque::new(),
            total: 0,
            unacknowledged: 0,
            replay: 0,
        }
    }

    /// The number that the next packet has.
    pub fn next_sequence(&self) -> u32 {
        self.next
    }

    /// Puts in the packet that was encoded with [`next_sequence`](Outbox::next_sequence).
    pub fn put(&mut self, bytes: Bytes, owner: T) {
        self.total += bytes.len() as u64;
        self.unacknowledged += bytes.len();
        self.sent.push_back(Sent {
            sequence: self.next,
            bytes,
            end: self.total,
            owner,
        });
        self.next = self.next.saturating_add(1);
    }

    /// Takes out the next packet that is covered by `total` acknowledged bytes; call until `None`.
    pub fn acknowledge(&mut self, total: u64) -> Option<T> {
        let covered = self.sent.front().is_some_and(|sent| sent.end <= total);
        if !covered || self.replay > 0 {
            return None;
        }
        self.pop()
    }

    /// Bytes put in and not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }
}
