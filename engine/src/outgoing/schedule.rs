//! Chooses the stream that sends next: deficit round robin over the streams that have something to send.
//!
//! A stream that gets something to send after having had nothing goes before those that keep on
//! sending, until it has spent one turn's worth. So a small stream, or one that writes now and
//! then, waits for no large one, and large ones share what is left by the byte.

use std::collections::VecDeque;

use lkstream_proto::limits::CHUNK_BYTES;

use crate::slots::Key;

/// Bytes of packets that one turn is worth: about one full chunk.
pub(crate) const TURN_BYTES: i64 = CHUNK_BYTES as i64;

/// A stream's place in the round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    queued: bool,
    /// Bytes it may still send in this turn.
    credit: i64,
}

/// The streams that have something to send, by key.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    fresh: VecDeque<Key>,
    steady: VecDeque<Key>,
}

impl Schedule {
    /// The stream has something to send.
    pub(crate) fn wake(&mut self, key: Key, place: &mut Place) {
        if !place.queued {
            place.queued = true;
            place.credit = TURN_BYTES;
            self.fresh.push_back(key);
        }
    }

    /// The stream in front. Follow with [`spend`](Schedule::spend), [`pass`](Schedule::pass) or
    /// [`drop_front`](Schedule::drop_front).
    pub(crate) fn front(&self) -> Option<Key> {
        self.fresh.front().or_else(|| self.steady.front()).copied()
    }

    /// The stream in front sent `bytes`. Once its turn is spent it goes to the end.
    pub(crate) fn spend(&mut self, bytes: usize, place: &mut Place) {
        place.credit -= i64::try_from(bytes).unwrap_or(i64::MAX);
        if place.credit <= 0
            && let Some(key) = self.pop()
        {
            // What it overdrew, one packet at most, is missing in its next turns.
            place.credit += TURN_BYTES;
            self.steady.push_back(key);
        }
    }

    /// The stream in front has nothing to send.
    pub(crate) fn pass(&mut self, place: &mut Place) {
        let was_fresh = !self.fresh.is_empty();
        let Some(key) = self.pop() else { return };
        if was_fresh && !self.steady.is_empty() {
            // It waits one round, or a stream that writes often would starve the others.
            self.steady.push_back(key);
        } else {
            *place = Place::default();
        }
    }

    /// The stream in front does not exist any more.
    pub(crate) fn drop_front(&mut self) {
        self.pop();
    }

    pub(crate) fn clear(&mut self) {
        self.fresh.clear();
        self.steady.clear();
    }

    fn pop(&mut self) -> Option<Key> {
        self.fresh.pop_front().or_else(|| self.steady.pop_front())
    }
}
