//! Deadlines of the worker, the earliest first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

use super::connection::Key;
use super::rooms::RoomKey;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Timer {
    Connection(Key),
    Room(RoomKey),
}

/// Deadlines, earliest first. Each connection and room has one that counts; those it replaced are skipped.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
    set: HashMap<Timer, Instant>,
}

impl Timers {
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Brings a deadline forward. A later one changes nothing: the earlier fires, and its owner asks anew.
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        if self.set.get(&timer).is_none_or(|set| at < *set) {
            self.set.insert(timer, at);
            self.heap.push(Reverse((at, timer)));
        }
    }

    /// The next one that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        while let Some(Reverse((at, timer))) = self.heap.peek().copied() {
            if at > now {
                return None;
            }
            self.heap.pop();
            if self.set.get(&timer) == Some(&at) {
                self.set.remove(&timer);
                return Some(timer);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn replaced_deadlines_do_not_fire_and_do_not_pile_up() {
        let start = Instant::now();
        let at = |n: u64| start + Duration::from_millis(n);
        let timer = Timer::Connection(Key(1));
        let mut timers = Timers::default();
        let mut fired = 0;
        for n in 0..10_000 {
            // As SCTP does: a retransmission in a second, then a delayed SACK before it.
            timers.set(at(n + 1000), timer);
            timers.set(at(n + 10), timer);
            while timers.pop(at(n)).is_some() {
                fired += 1;
            }
            assert!(timers.heap.len() < 2000, "{}", timers.heap.len());
        }
        assert!((900..1100).contains(&fired), "{fired}");
        assert!(timers.set.len() <= 1);
    }

    #[test]
    fn the_earliest_comes_first() {
        let start = Instant::now();
        let at = |n: u64| start + Duration::from_millis(n);
        let mut timers = Timers::default();
        timers.set(at(20), Timer::Room(RoomKey(1)));
        timers.set(at(10), Timer::Connection(Key(2)));
        timers.set(at(30), Timer::Connection(Key(2)));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.pop(at(25)), Some(Timer::Connection(Key(2))));
        assert_eq!(timers.pop(at(25)), Some(Timer::Room(RoomKey(1))));
        assert_eq!(timers.pop(at(99)), None);
    }
}
