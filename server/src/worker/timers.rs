//! When what is due.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Instant;

use super::HallKey;
use super::connection::Key;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Connection(Key),
    Hall(HallKey),
}

/// Deadlines, earliest first. Each connection and room has at most one that counts; one that fires too early is harmless.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
    halls: BTreeMap<HallKey, Instant>,
}

impl Timers {
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The caller makes sure that it is earlier than the last one set for the connection.
    pub(super) fn set_connection(&mut self, at: Instant, key: Key) {
        self.heap.push(Reverse((at, Timer::Connection(key))));
    }

    pub(super) fn set_hall(&mut self, at: Instant, key: HallKey) {
        if self.halls.get(&key).is_none_or(|set| at < *set) {
            self.halls.insert(key, at);
            self.heap.push(Reverse((at, Timer::Hall(key))));
        }
    }

    /// The next one that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        let Reverse((at, timer)) = self.heap.pop()?;
        if let Timer::Hall(key) = timer
            && self.halls.get(&key) == Some(&at)
        {
            self.halls.remove(&key);
        }
        Some(timer)
    }
}
