//! Which streams wait for our side, and whose fault it is when there are too many of them.
//!
//! A stream waits for its reader until it was read for the first time, while it has unread bytes, and from its end until it
//! is released. (One that was read to where it has come waits for its sender, and is held against other limits.) When as many wait as
//! may, the channel is left unread, so that the senders wait, too. That can be in vain: nobody may ever read what a listener got, and
//! its reader may itself wait for a packet that is behind the unread ones. So when nothing of the listener with most of them
//! was read for the stall limit, that listener is held against a second limit, four times the first: the channel is read
//! again, so that its reader gets what it waits for, and only streams beyond the second limit fail. Once half of what may
//! wait is left, the first limit holds again.

use std::time::{Duration, Instant};

use crate::listener::ListenerId;

/// How many times the first limit the second one is.
const STALLED_FACTOR: usize = 4;

/// What streams that wait are counted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) streams: usize,
    /// What their headers take.
    pub(super) bytes: usize,
}

impl Load {
    fn add(&mut self, other: Load) {
        self.streams += other.streams;
        self.bytes += other.bytes;
    }

    fn remove(&mut self, other: Load) {
        self.streams = self.streams.saturating_sub(other.streams);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    fn reaches(self, limit: Load) -> bool {
        self.streams >= limit.streams || self.bytes >= limit.bytes
    }
}

/// The streams of one listener.
#[derive(Debug, Default)]
struct Share {
    /// Those that wait.
    waiting: Load,
    /// Those whose readers work on what they took.
    busy: usize,
    /// When a reader last took something or let go of a stream.
    last_progress: Option<Instant>,
    /// Nothing was read for the stall limit: the second limit holds.
    is_stalled: bool,
}

/// The streams that wait, by listener.
#[derive(Debug)]
pub(super) struct Waiting {
    limit: Load,
    stall_limit: Duration,
    /// Sorted, and never many.
    shares: Vec<(ListenerId, Share)>,
    /// Those of all listeners that did not stall.
    all: Load,
    /// Since when there are as many as may be.
    full_since: Option<Instant>,
}

impl Waiting {
    pub(super) fn new(limit: Load, stall_limit: Duration) -> Waiting {
        Waiting {
            limit,
            stall_limit,
            shares: Vec::new(),
            all: Load::default(),
            full_since: None,
        }
    }

    /// Whether the channel is to be left unread.
    pub(super) fn is_full(&self) -> bool {
        self.all.reaches(self.limit)
    }

    /// How many of this listener wait, if that is as many as the second limit allows.
    pub(super) fn exhausted(&self, listener: ListenerId) -> Option<usize> {
        let share = &self.shares[self.place(listener).ok()?].1;
        let second = Load {
            streams: self.limit.streams.saturating_mul(STALLED_FACTOR),
            bytes: self.limit.bytes.saturating_mul(STALLED_FACTOR),
        };
        share
            .waiting
            .reaches(second)
            .then_some(share.waiting.streams)
    }

    /// A stream waits.
    pub(super) fn enter(&mut self, listener: ListenerId, load: Load) {
        let share = self.share(listener);
        share.waiting.add(load);
        if !share.is_stalled {
            self.all.add(load);
        }
    }

    /// A stream does not wait any more.
    pub(super) fn leave(&mut self, listener: ListenerId, load: Load) {
        let Ok(at) = self.place(listener) else {
            return;
        };
        let share = &mut self.shares[at].1;
        share.waiting.remove(load);
        if !share.is_stalled {
            self.all.remove(load);
        } else if share.waiting.streams <= self.limit.streams / 2
            && share.waiting.bytes <= self.limit.bytes / 2
        {
            share.is_stalled = false;
            self.all.add(share.waiting);
        }
        if share.waiting.streams == 0 && share.busy == 0 {
            self.shares.remove(at);
        }
    }

    /// A reader took something or let go of a stream.
    pub(super) fn progress(&mut self, now: Instant, listener: ListenerId) {
        if let Ok(at) = self.place(listener) {
            self.shares[at].1.last_progress = Some(now);
        }
    }

    /// A reader begins to work on what it took.
    pub(super) fn begin_work(&mut self, listener: ListenerId) {
        self.share(listener).busy += 1;
    }

    /// A reader's work is done, or its stream is gone.
    pub(super) fn end_work(&mut self, now: Instant, listener: ListenerId) {
        let Ok(at) = self.place(listener) else {
            return;
        };
        let share = &mut self.shares[at].1;
        share.busy = share.busy.saturating_sub(1);
        share.last_progress = Some(now);
        if share.waiting.streams == 0 && share.busy == 0 {
            self.shares.remove(at);
        }
    }

    /// Notes since when there are as many as may be.
    pub(super) fn note(&mut self, now: Instant) {
        if !self.is_full() {
            self.full_since = None;
        } else if self.full_since.is_none() {
            self.full_since = Some(now);
        }
    }

    /// When the listener with most of them counts as stalled.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.worst().and_then(|(_, at)| at)
    }

    /// Marks the listener with most of them as stalled, if its time is over; says whether it did.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let Some((place, Some(at))) = self.worst() else {
            return false;
        };
        if at > now {
            return false;
        }
        let share = &mut self.shares[place].1;
        share.is_stalled = true;
        self.all.remove(share.waiting);
        self.full_since = None;
        self.note(now);
        true
    }

    /// Where a listener's streams are, or would be.
    fn place(&self, listener: ListenerId) -> Result<usize, usize> {
        self.shares
            .binary_search_by_key(&listener, |(each, _)| *each)
    }

    fn share(&mut self, listener: ListenerId) -> &mut Share {
        let at = self.place(listener).unwrap_or_else(|at| {
            self.shares.insert(at, (listener, Share::default()));
            at
        });
        &mut self.shares[at].1
    }

    /// Where the listener with most of them is, and when it counts as stalled: never while a reader of it works.
    fn worst(&self) -> Option<(usize, Option<Instant>)> {
        let since = self.full_since?;
        let (place, (_, share)) = self
            .shares
            .iter()
            .enumerate()
            .filter(|(_, (_, share))| !share.is_stalled)
            .max_by_key(|(_, (_, share))| (share.waiting.streams, share.waiting.bytes))?;
        let from = share.last_progress.map_or(since, |at| at.max(since));
        let at = if share.busy > 0 {
            None
        } else {
            from.checked_add(self.stall_limit)
        };
        Some((place, at))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::listener::{Listeners, TopicFilter};
    use crate::stream::StreamKind;

    const ONE: Load = Load {
        streams: 1,
        bytes: 100,
    };
    const STALL: Duration = Duration::from_secs(5);

    fn book() -> (Waiting, ListenerId, ListenerId) {
        let mut listeners = Listeners::default();
        let limit = Load {
            streams: 4,
            bytes: 1000,
        };
        (
            Waiting::new(limit, STALL),
            listeners.add(StreamKind::Text, TopicFilter::Any),
            listeners.add(StreamKind::Bytes, TopicFilter::Any),
        )
    }

    #[test]
    fn the_listener_with_most_stalls_and_the_others_go_on() {
        let (mut waiting, texts, files) = book();
        let start = Instant::now();
        for listener in [texts, texts, texts, files] {
            assert!(!waiting.is_full());
            waiting.enter(listener, ONE);
            waiting.note(start);
        }
        assert!(waiting.is_full());
        assert_eq!(waiting.deadline(), Some(start + STALL));
        // Somebody else's progress does not excuse it, its own does.
        waiting.progress(start + STALL / 2, files);
        assert_eq!(waiting.deadline(), Some(start + STALL));
        waiting.progress(start + STALL / 2, texts);
        assert!(!waiting.expire(start + STALL));
        assert!(waiting.expire(start + STALL / 2 + STALL));
        assert!(!waiting.is_full());
        assert_eq!(waiting.deadline(), None);
        // It gets streams up to the second limit, and does not keep the channel unread with them.
        for count in 4..=16 {
            assert_eq!(waiting.exhausted(texts), None);
            waiting.enter(texts, ONE);
            assert_eq!(waiting.shares[0].1.waiting.streams, count);
        }
        assert!(!waiting.is_full());
        assert_eq!(waiting.exhausted(texts), Some(16));
        assert_eq!(waiting.exhausted(files), None);
        // The first limit holds again when half of that is left.
        for left in (3..=15).rev() {
            waiting.leave(texts, ONE);
            assert_eq!(waiting.exhausted(texts), None);
            assert_eq!(waiting.all.streams, 1, "{left} left");
        }
        waiting.leave(texts, ONE);
        assert_eq!(waiting.all.streams, 3);
        for listener in [texts, texts, files] {
            waiting.leave(listener, ONE);
        }
        assert_eq!(waiting.all, Load::default());
        assert!(waiting.shares.is_empty());
    }

    #[test]
    fn who_works_does_not_stall() {
        let (mut waiting, texts, _) = book();
        let start = Instant::now();
        waiting.begin_work(texts);
        for _ in 0..4 {
            waiting.enter(texts, ONE);
        }
        waiting.note(start);
        assert!(waiting.is_full());
        assert_eq!(waiting.deadline(), None);
        assert!(!waiting.expire(start + 100 * STALL));
        waiting.end_work(start + STALL, texts);
        assert_eq!(waiting.deadline(), Some(start + 2 * STALL));
    }

    #[test]
    fn few_streams_with_large_headers_are_many() {
        let (mut waiting, texts, _) = book();
        let large = Load {
            streams: 1,
            bytes: 1000,
        };
        waiting.enter(texts, large);
        assert!(waiting.is_full());
        waiting.leave(texts, large);
        assert!(!waiting.is_full());
    }
}
