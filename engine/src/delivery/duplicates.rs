//! Detects packets that were received before, by publisher and sequence number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lkstream_proto::id::ParticipantSid;

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new, or carries no number to tell.
    New,
    /// Its number was reached before: drop it.
    Duplicate,
}

/// The last sequence number of each publisher (protocol.md §4.5), remembered for a time.
///
/// Bounded: above the capacity, the publisher longest silent is forgotten.
#[derive(Debug)]
pub struct Duplicates {
    seen: BTreeMap<ParticipantSid, Seen>,
    memory: Duration,
    capacity: usize,
}

#[derive(Debug)]
struct Seen {
    last: u32,
    /// Every number from this one to `last` was seen.
    unbroken: u32,
    at: Instant,
}

impl Duplicates {
    /// Remembers `capacity` publishers, at least one, each for `memory` after its last packet.
    pub fn new(memory: Duration, capacity: usize) -> Duplicates {
        Duplicates {
            seen: BTreeMap::new(),
            memory,
            capacity: capacity.max(1),
        }
    }

    /// Judges a packet and remembers it. A sequence of 0 and an empty sid always pass.
    pub fn judge(&mut self, now: Instant, publisher: &str, sequence: u32) -> Verdict {
        if sequence == 0 || publisher.is_empty() {
            return Verdict::New;
        }
        if let Some(seen) = self.seen.get_mut(publisher) {
            let fresh = now.saturating_duration_since(seen.at) < self.memory;
            seen.at = now;
            if fresh && sequence <= seen.last {
                return Verdict::Duplicate;
            }
            if !fresh || seen.last.checked_add(1) != Some(sequence) {
                seen.unbroken = sequence;
            }
            seen.last = sequence;
            return Verdict::New;
        }
        if self.seen.len() >= self.capacity {
            self.make_room(now);
        }
        let seen = Seen {
            last: sequence,
            unbroken: sequence,
            at: now,
        };
        self.seen.insert(ParticipantSid::from(publisher), seen);
        Verdict::New
    }

    /// The last number of `publisher`; 0 when none is remembered.
    pub fn last(&self, publisher: &str) -> u32 {
        self.seen.get(publisher).map_or(0, |seen| seen.last)
    }

    /// Whether every packet of `publisher` from number `sequence` to its last one came here. A
    /// gap need not be a loss: packets for others have numbers too. Always true of 0.
    pub fn is_unbroken(&self, publisher: &str, sequence: u32) -> bool {
        let seen = self.seen.get(publisher);
        sequence == 0 || seen.is_some_and(|seen| seen.unbroken <= sequence)
    }

    /// Every publisher remembered with its last number, for a resume (protocol.md §2.15).
    pub fn states(&self) -> impl Iterator<Item = (&ParticipantSid, u32)> {
        self.seen.iter().map(|(sid, seen)| (sid, seen.last))
    }

    /// Forgets a publisher.
    pub fn forget(&mut self, publisher: &str) {
        self.seen.remove(publisher);
    }

    /// Forgets everybody, as after a restart.
    pub fn clear(&mut self) {
        self.seen.clear();
    }

    /// Forgets those past their time, and the longest silent one if that was not enough.
    fn make_room(&mut self, now: Instant) {
        let memory = self.memory;
        self.seen
            .retain(|_, seen| now.saturating_duration_since(seen.at) < memory);
        if self.seen.len() >= self.capacity {
            let oldest = self.seen.iter().min_by_key(|(_, seen)| seen.at);
            if let Some(oldest) = oldest.map(|(sid, _)| sid.clone()) {
                self.seen.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(30);

    #[test]
    fn numbers_not_above_the_last_are_duplicates() {
        let now = Instant::now();
        let mut duplicates = Duplicates::new(MEMORY, 8);
        assert_eq!(duplicates.judge(now, "PA_a", 1), Verdict::New);
        assert_eq!(duplicates.judge(now, "PA_a", 5), Verdict::New);
        assert_eq!(duplicates.judge(now, "PA_a", 5), Verdict::Duplicate);
        assert_eq!(duplicates.judge(now, "PA_a", 3), Verdict::Duplicate);
        assert_eq!(duplicates.judge(now, "PA_b", 3), Verdict::New);
        assert_eq!(duplicates.last("PA_a"), 5);
    }

    #[test]
    fn a_gap_is_remembered_until_the_publisher_is_forgotten() {
        let now = Instant::now();
        let mut duplicates = Duplicates::new(MEMORY, 8);
        for sequence in [4, 5, 6] {
            duplicates.judge(now, "PA_a", sequence);
        }
        assert!(duplicates.is_unbroken("PA_a", 4));
        assert!(!duplicates.is_unbroken("PA_a", 3));
        duplicates.judge(now, "PA_a", 8);
        assert!(!duplicates.is_unbroken("PA_a", 6));
        assert!(duplicates.is_unbroken("PA_a", 8));
        assert!(duplicates.is_unbroken("PA_a", 0));
    }

    #[test]
    fn unnumbered_packets_and_those_without_sid_always_pass() {
        let now = Instant::now();
        let mut duplicates = Duplicates::new(MEMORY, 8);
        for _ in 0..3 {
            assert_eq!(duplicates.judge(now, "PA_a", 0), Verdict::New);
            assert_eq!(duplicates.judge(now, "", 7), Verdict::New);
        }
    }

    #[test]
    fn a_publisher_is_forgotten_after_its_time() {
        let now = Instant::now();
        let mut duplicates = Duplicates::new(MEMORY, 8);
        duplicates.judge(now, "PA_a", 9);
        let later = now + MEMORY;
        assert_eq!(duplicates.judge(later, "PA_a", 1), Verdict::New);
        assert_eq!(duplicates.judge(later, "PA_a", 1), Verdict::Duplicate);
    }

    #[test]
    fn memory_is_bounded_and_drops_the_longest_silent() {
        let now = Instant::now();
        let mut duplicates = Duplicates::new(MEMORY, 2);
        duplicates.judge(now, "PA_a", 1);
        duplicates.judge(now + Duration::from_secs(1), "PA_b", 1);
        duplicates.judge(now + Duration::from_secs(2), "PA_c", 1);
        assert_eq!(duplicates.states().count(), 2);
        assert_eq!(duplicates.last("PA_a"), 0);
        assert_eq!(duplicates.last("PA_b"), 1);
    }
}
