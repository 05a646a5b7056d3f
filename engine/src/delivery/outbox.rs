//! Numbers outgoing packets, and keeps them until they are acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::limits::REPLAY_AGE;

/// Why packets can not be given out again; only a restart helps.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// They are gone from the buffer.
    #[error("packet {wanted} is wanted again, {oldest} is the oldest kept")]
    Gap {
        /// The first number wanted.
        wanted: u32,
        /// The oldest number kept, or the next one to give when none is kept.
        oldest: u32,
    },
    /// Receivers may have forgotten what they have of us and would take it twice.
    #[error("nothing was acknowledged for {} s, and receivers remember {} s", silence.as_secs(), REPLAY_AGE.as_secs())]
    TooOld {
        /// How long nothing was acknowledged.
        silence: Duration,
    },
}

/// The sending side of one session on the reliable channel.
///
/// `T` is what the owner wants back when a packet is acknowledged. The buffer's bound is the
/// owner's: send nothing new while [`unacknowledged`](Outbox::unacknowledged) is at the limit.
#[derive(Debug)]
pub struct Outbox<T> {
    next: u32,
    sent: VecDeque<Sent<T>>,
    /// Bytes given out since the count began.
    total: u64,
    unacknowledged: usize,
    /// How many at the end of `sent` wait to be given out again.
    again: usize,
}

#[derive(Debug)]
struct Sent<T> {
    sequence: u32,
    bytes: Bytes,
    /// `total` after this packet was given out.
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
            again: 0,
        }
    }

    /// The number that the next packet has.
    pub fn next_sequence(&self) -> u32 {
        self.next
    }

    /// Packets put in and not acknowledged.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// Whether everything put in was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Bytes put in and not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    /// Puts in the packet that was encoded with [`next_sequence`](Outbox::next_sequence) and is
    /// given out now. While a replay is under way, [`replay_next`](Outbox::replay_next) goes first:
    /// a packet put in before its end is given out again with it.
    pub fn put(&mut self, bytes: Bytes, owner: T) {
        self.unacknowledged += bytes.len();
        let end = if self.again > 0 {
            self.again += 1;
            u64::MAX
        } else {
            self.total += bytes.len() as u64;
            self.total
        };
        self.sent.push_back(Sent {
            sequence: self.next,
            bytes,
            end,
            owner,
        });
        self.next = self.next.saturating_add(1);
    }

    /// Takes out the next packet that is covered by `total` acknowledged bytes; call until `None`.
    pub fn acknowledge(&mut self, total: u64) -> Option<T> {
        if self.sent.len() == self.again || self.sent.front()?.end > total {
            return None;
        }
        self.pop()
    }

    /// The other side has everything up to `last`, over a new association: gives back the owners
    /// of what it has; the rest is given out again by [`replay_next`](Outbox::replay_next), and
    /// acknowledgements count from zero. `silence` is how long nothing was acknowledged while
    /// something waited for it.
    ///
    /// # Errors
    /// When packets above `last` are gone, because they were acknowledged, or when there are some
    /// and `silence` is [`REPLAY_AGE`] or longer. Nothing changed then.
    pub fn resume(&mut self, last: u32, silence: Duration) -> Result<Vec<T>, ReplayError> {
        let oldest = self.sent.front().map_or(self.next, |sent| sent.sequence);
        let wanted = last.saturating_add(1);
        if wanted < oldest {
            return Err(ReplayError::Gap { wanted, oldest });
        }
        if wanted < self.next && silence >= REPLAY_AGE {
            return Err(ReplayError::TooOld { silence });
        }
        let mut arrived = Vec::new();
        self.again = 0;
        while self.sent.front().is_some_and(|sent| sent.sequence <= last) {
            arrived.extend(self.pop());
        }
        self.again = self.sent.len();
        self.total = 0;
        Ok(arrived)
    }

    /// The next packet to give out again after [`resume`](Outbox::resume), under its old number.
    pub fn replay_next(&mut self) -> Option<Bytes> {
        if self.again == 0 {
            return None;
        }
        let index = self.sent.len().checked_sub(self.again)?;
        let sent = self.sent.get_mut(index)?;
        self.total += sent.bytes.len() as u64;
        sent.end = self.total;
        self.again -= 1;
        Some(sent.bytes.clone())
    }

    fn pop(&mut self) -> Option<T> {
        let sent = self.sent.pop_front()?;
        self.unacknowledged -= sent.bytes.len();
        Some(sent.owner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHORT: Duration = Duration::from_secs(5);

    fn filled(packets: u32) -> Outbox<u32> {
        let mut outbox = Outbox::new();
        for number in 1..=packets {
            assert_eq!(outbox.next_sequence(), number);
            outbox.put(Bytes::from(vec![0; 10]), number);
        }
        outbox
    }

    #[test]
    fn packets_are_numbered_from_one_and_leave_when_acknowledged() {
        let mut outbox = filled(3);
        assert_eq!(outbox.unacknowledged(), 30);
        assert_eq!(outbox.acknowledge(9), None);
        assert_eq!(outbox.acknowledge(25), Some(1));
        assert_eq!(outbox.acknowledge(25), Some(2));
        assert_eq!(outbox.acknowledge(25), None);
        assert_eq!(outbox.unacknowledged(), 10);
        assert_eq!(outbox.next_sequence(), 4);
    }

    #[test]
    fn a_resume_gives_out_again_what_the_other_side_lacks() {
        let mut outbox = filled(5);
        assert_eq!(outbox.acknowledge(10), Some(1));
        assert_eq!(outbox.resume(3, SHORT).unwrap(), [2, 3]);
        assert_eq!(outbox.acknowledge(u64::MAX - 1), None);
        assert!(outbox.replay_next().is_some());
        assert_eq!(outbox.acknowledge(10), Some(4));
        assert!(outbox.replay_next().is_some());
        assert_eq!(outbox.replay_next(), None);
        outbox.put(Bytes::from(vec![0; 10]), 6);
        assert_eq!(outbox.acknowledge(30), Some(5));
        assert_eq!(outbox.acknowledge(30), Some(6));
    }

    #[test]
    fn a_resume_that_the_buffer_does_not_cover_is_refused() {
        let mut outbox = filled(3);
        outbox.acknowledge(20);
        outbox.acknowledge(20);
        let gap = ReplayError::Gap {
            wanted: 2,
            oldest: 3,
        };
        assert_eq!(outbox.resume(1, SHORT), Err(gap));
        assert_eq!(outbox.resume(2, SHORT).unwrap(), Vec::<u32>::new());
    }

    /// protocol.md §4.5: receivers remember the numbers of a publisher for 30 s.
    #[test]
    fn a_resume_after_a_long_silence_is_refused() {
        let mut outbox = filled(3);
        let silence = Duration::from_secs(30);
        assert_eq!(
            outbox.resume(1, silence),
            Err(ReplayError::TooOld { silence })
        );
        assert_eq!(outbox.unacknowledged(), 30);
        // Nothing would be sent twice.
        assert_eq!(filled(3).resume(3, silence).unwrap(), [1, 2, 3]);
        assert_eq!(outbox.resume(1, SHORT).unwrap(), [1]);
    }

    #[test]
    fn a_second_resume_in_the_middle_of_a_replay_starts_over() {
        let mut outbox = filled(4);
        outbox.resume(1, SHORT).unwrap();
        outbox.replay_next();
        assert_eq!(outbox.resume(2, SHORT).unwrap(), [2]);
        let again: usize = std::iter::from_fn(|| outbox.replay_next())
            .map(|b| b.len())
            .sum();
        assert_eq!(again, 20);
        assert_eq!(outbox.unacknowledged(), 20);
    }
}
