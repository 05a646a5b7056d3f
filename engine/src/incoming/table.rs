//! All incoming streams of an engine, found by publisher and id, and what they may keep unread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lkstream_proto::id::{Identity, ParticipantSid};

use super::publishers::{Existing, Publisher, Publishers};
use super::stream::Stream;
use super::waiting::{Load, Waiting};
use super::{IncomingId, Limit, Read, ReadError};
use crate::config::Config;
use crate::limits;
use crate::listener::ListenerId;
use crate::slots::{Key, Slots};

#[derive(Debug)]
pub(crate) struct Table {
    streams: Slots<Stream>,
    publishers: Publishers,
    /// Streams that several listeners got, by their first copy: all copies that exist.
    copies: BTreeMap<Key, Vec<Key>>,
    /// Participants that left not long ago.
    departed: BTreeMap<ParticipantSid, (Instant, Identity)>,
    reader_budget: usize,
    connection_budget: usize,
    stall_limit: Duration,
    leave_grace: Duration,
    /// Unread bytes of all streams.
    unread: usize,
    /// Readers that are over their own budget.
    over_readers: usize,
    /// Streams that wait for their readers.
    waiting: Waiting,
    /// What the headers of all streams take.
    header_bytes: usize,
    /// Since when all readers together are at the connection's budget.
    over_since: Option<Instant>,
    /// The driver was told to stop reading, by what the readers have unread.
    was_over: bool,
    /// When the driver was last told to go on reading.
    flowing_since: Option<Instant>,
    /// Streams with an idle timeout or whose sender left: those that need a timer.
    timed: usize,
}

impl Table {
    pub(crate) fn new(config: &Config) -> Table {
        Table {
            streams: Slots::default(),
            publishers: Publishers::default(),
            copies: BTreeMap::new(),
            departed: BTreeMap::new(),
            reader_budget: config.reader_budget,
            connection_budget: config.connection_budget,
            stall_limit: config.stall_limit,
            leave_grace: config.leave_grace,
            unread: 0,
            over_readers: 0,
            waiting: Waiting::new(
                Load {
                    streams: config.max_waiting.max(1),
                    bytes: limits::WAITING_HEADER_BYTES,
                },
                config.stall_limit,
            ),
            header_bytes: 0,
            over_since: None,
            was_over: false,
            flowing_since: None,
            timed: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    /// Unread bytes of all streams.
    pub(crate) fn unread(&self) -> usize {
        self.unread
    }

    /// When something that was sent at `at` and took `grace` has come in: not while the channel is unread.
    pub(crate) fn arrived_by(&self, at: Instant, grace: Duration) -> Option<Instant> {
        if self.is_over_budget() {
            return None;
        }
        self.flowing_since
            .map_or(at, |since| since.max(at))
            .checked_add(grace)
    }

    /// What the headers of all streams take.
    pub(crate) fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    pub(crate) fn is_over_budget(&self) -> bool {
        self.over_readers > 0 || self.unread >= self.connection_budget || self.waiting.is_full()
    }

    /// Why a listener gets no streams now, if too many of it wait, and how many do.
    pub(crate) fn exhausted(&self, listener: ListenerId) -> Option<(Limit, usize)> {
        let waiting = self.waiting.exhausted(listener)?;
        let stalled = self.stall_limit;
        Some((Limit::NotRead { waiting, stalled }, waiting))
    }

    pub(crate) fn begin_work(&mut self, id: IncomingId) {
        if let Some(stream) = self.streams.get_mut(id.0)
            && !std::mem::replace(&mut stream.busy, true)
            && let Some(listener) = stream.listener
        {
            self.waiting.begin_work(listener);
        }
    }

    pub(crate) fn end_work(&mut self, now: Instant, id: IncomingId) {
        if let Some(stream) = self.streams.get_mut(id.0)
            && std::mem::replace(&mut stream.busy, false)
        {
            stream.last_taken = now;
            if let Some(listener) = stream.listener {
                self.waiting.end_work(now, listener);
            }
        }
    }

    pub(crate) fn get(&self, id: IncomingId) -> Option<&Stream> {
        self.streams.get(id.0)
    }

    /// For changes that touch neither what is unread nor what needs a timer.
    pub(crate) fn get_mut(&mut self, id: IncomingId) -> Option<&mut Stream> {
        self.streams.get_mut(id.0)
    }

    /// The open stream of this publisher and id.
    pub(crate) fn find(&self, publisher: Publisher<'_>, id: &str) -> Option<IncomingId> {
        self.publishers.find(publisher, id).map(IncomingId)
    }

    /// The streams of this publisher that exist.
    pub(crate) fn existing(&self, publisher: Publisher<'_>) -> Existing {
        self.publishers.existing(publisher)
    }

    /// Adds a stream, ended or not.
    pub(crate) fn add(&mut self, now: Instant, mut stream: Stream) -> IncomingId {
        if let Some(sid) = &stream.info.publisher {
            stream.left = self.departed.get(sid).cloned();
        }
        self.timed += usize::from(is_timed(&stream));
        self.header_bytes += stream.header_bytes;
        if let Some(listener) = stream.listener {
            self.waiting.enter(listener, load(&stream));
        }
        let expects_chunks = !stream.ended() && !stream.is_whole;
        let info = Arc::clone(&stream.info);
        let header_bytes = stream.header_bytes;
        let key = self.streams.add(stream);
        let publisher = Publisher::of_stream(&info);
        self.publishers.add(publisher, header_bytes);
        if expects_chunks {
            self.publishers.open(publisher, &info.id, key);
        }
        self.note_flow(now);
        IncomingId(key)
    }

    /// Adds a stream that another listener got as well.
    pub(crate) fn add_copy(
        &mut self,
        now: Instant,
        first: IncomingId,
        mut stream: Stream,
    ) -> IncomingId {
        stream.first_copy = Some(first.0);
        let id = self.add(now, stream);
        if let Some(stream) = self.streams.get_mut(first.0) {
            stream.first_copy = Some(first.0);
        }
        let copies = self.copies.entry(first.0).or_insert_with(|| vec![first.0]);
        copies.push(id.0);
        id
    }

    /// The other copies of a stream that exist, ended or not.
    pub(crate) fn copies_of(&self, id: IncomingId) -> Vec<IncomingId> {
        if self.copies.is_empty() {
            return Vec::new();
        }
        let first = self.streams.get(id.0).and_then(|each| each.first_copy);
        let copies = first.and_then(|first| self.copies.get(&first));
        let others = copies.into_iter().flatten().filter(|key| **key != id.0);
        others.map(|key| IncomingId(*key)).collect()
    }

    /// Those of them for which more may come.
    pub(crate) fn open_copies_of(&self, id: IncomingId) -> Vec<IncomingId> {
        let mut copies = self.copies_of(id);
        copies.retain(|copy| self.get(*copy).is_some_and(|each| !each.ended()));
        copies
    }

    /// Changes a stream, and keeps the books.
    pub(crate) fn change<R>(
        &mut self,
        now: Instant,
        id: IncomingId,
        change: impl FnOnce(&mut Stream) -> R,
    ) -> Option<R> {
        let stream = self.streams.get_mut(id.0)?;
        let was_ended = stream.ended();
        let was_unread = stream.unread;
        let was_timed = is_timed(stream);
        let was_waiting = stream.is_waiting();
        let result = change(stream);
        self.unread = self.unread + stream.unread - was_unread;
        self.timed = self.timed + usize::from(is_timed(stream)) - usize::from(was_timed);
        let over = stream.unread >= self.reader_budget;
        match (over, stream.over_since) {
            (true, None) => {
                stream.over_since = Some(now);
                self.over_readers += 1;
            }
            (false, Some(_)) => {
                stream.over_since = None;
                self.over_readers -= 1;
            }
            _ => {}
        }
        if let Some(listener) = stream.listener {
            match (was_waiting, stream.is_waiting()) {
                (false, true) => self.waiting.enter(listener, load(stream)),
                (true, false) => self.waiting.leave(listener, load(stream)),
                _ => {}
            }
        }
        if stream.ended() && !was_ended {
            self.close(id);
        }
        self.note_flow(now);
        Some(result)
    }

    /// Notes that nothing more comes for a stream; for its copies it still may.
    fn close(&mut self, id: IncomingId) {
        let Some(stream) = self.streams.get(id.0).filter(|each| !each.is_whole) else {
            return;
        };
        let copy = self.open_copies_of(id).first().map(|copy| copy.0);
        let (publisher, name) = (Publisher::of_stream(&stream.info), &stream.info.id);
        self.publishers.close(publisher, name.as_str(), id.0, copy);
    }

    /// Takes a stream out.
    pub(crate) fn remove(&mut self, now: Instant, id: IncomingId) -> Option<Stream> {
        self.end_work(now, id);
        let stream = self.forget(id);
        if let Some(listener) = stream.as_ref().and_then(|stream| stream.listener) {
            self.waiting.progress(now, listener);
        }
        self.note_flow(now);
        stream
    }

    /// Takes a stream out without a look at the flow: for parts of calls, which are read at once.
    pub(crate) fn forget(&mut self, id: IncomingId) -> Option<Stream> {
        self.close(id);
        let stream = self.streams.remove(id.0)?;
        if let Some(first) = stream.first_copy
            && let Some(copies) = self.copies.get_mut(&first)
        {
            copies.retain(|key| *key != id.0);
            if copies.is_empty() {
                self.copies.remove(&first);
            }
        }
        self.unread -= stream.unread;
        self.header_bytes -= stream.header_bytes;
        if let Some(listener) = stream.listener.filter(|_| stream.is_waiting()) {
            self.waiting.leave(listener, load(&stream));
        }
        self.timed -= usize::from(is_timed(&stream));
        self.over_readers -= usize::from(stream.over_since.is_some());
        self.publishers
            .remove(Publisher::of_stream(&stream.info), stream.header_bytes);
        Some(stream)
    }

    pub(crate) fn read(&mut self, now: Instant, id: IncomingId) -> Option<Read> {
        let read = self.change(now, id, |stream| stream.read(now));
        let listener = self.streams.get(id.0).and_then(|stream| stream.listener);
        if let (Some(Read::Piece(_)), Some(listener)) = (&read, listener) {
            self.waiting.progress(now, listener);
        }
        read
    }

    /// Starts the grace time of the open streams of somebody who left.
    pub(crate) fn participant_left(
        &mut self,
        now: Instant,
        sid: &ParticipantSid,
        identity: &Identity,
    ) {
        let by_sid = self.publishers.open_of(Publisher::Sid(sid.as_str()));
        let by_identity = self
            .publishers
            .open_of(Publisher::Identity(identity.as_str()));
        for id in by_sid.into_iter().chain(by_identity).map(IncomingId) {
            let copies = self.copies_of(id);
            for id in copies.into_iter().chain([id]) {
                self.change(now, id, |stream| {
                    stream.left.get_or_insert((now, identity.clone()));
                });
            }
        }
        if sid.is_empty() {
            return;
        }
        self.departed
            .retain(|_, (at, _)| now.saturating_duration_since(*at) < limits::DEPARTED_MEMORY);
        if self.departed.len() >= limits::DEPARTED {
            let oldest = self.departed.iter().min_by_key(|(_, (at, _))| *at);
            if let Some(oldest) = oldest.map(|(sid, _)| sid.clone()) {
                self.departed.remove(&oldest);
            }
        }
        self.departed.insert(sid.clone(), (now, identity.clone()));
    }

    /// Ends every open stream; gives back those whose readers wait.
    pub(crate) fn fail_all(&mut self, error: &ReadError) -> Vec<IncomingId> {
        self.publishers.close_all();
        let mut woken = Vec::new();
        for (key, stream) in self.streams.iter_mut() {
            self.timed -= usize::from(is_timed(stream));
            if !stream.ended() {
                let was_waiting = stream.is_waiting();
                stream.fail(error.clone());
                if let Some(listener) = stream.listener.filter(|_| !was_waiting) {
                    self.waiting.enter(listener, load(stream));
                }
                if std::mem::take(&mut stream.waiting) {
                    woken.push(IncomingId(key));
                }
            }
        }
        woken.sort_unstable();
        woken
    }

    /// The next time at which a stream may fail.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let stalls = self.is_pressed();
        let silence = self.timed > 0 && !self.is_over_budget();
        let listener = self.waiting.deadline();
        if !stalls && !silence {
            return listener;
        }
        let deadlines = self.streams.iter().flat_map(|(_, stream)| {
            let stall = self.stall_deadline(stream).filter(|_| stalls);
            let silent = self.silence_deadline(stream).filter(|_| silence);
            stall.into_iter().chain(silent)
        });
        deadlines.chain(listener).min()
    }

    /// Fails the streams whose time has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Expired {
        let mut expired = Expired::default();
        while self.is_pressed()
            && let Some(key) = self.most_stalled(now)
        {
            let stalled = self.stall_limit;
            self.change(now, IncomingId(key), |stream| {
                let unread = stream.unread;
                stream.discard(Limit::ReaderTooSlow { stalled, unread });
            });
            expired.slow += 1;
            expired.failed.push(IncomingId(key));
        }
        while self.waiting.expire(now) {
            expired.stalled += 1;
        }
        self.note_flow(now);
        if self.timed > 0 && !self.is_over_budget() {
            let silent: Vec<Key> = self
                .streams
                .iter()
                .filter(|(_, stream)| self.silence_deadline(stream).is_some_and(|at| at <= now))
                .map(|(key, _)| key)
                .collect();
            for key in silent {
                self.fail_silent(now, IncomingId(key));
                expired.failed.push(IncomingId(key));
            }
        }
        expired
    }

    /// Whether stalled readers are to be looked for.
    fn is_pressed(&self) -> bool {
        self.over_readers > 0 || self.over_since.is_some()
    }

    /// The stream with the most unread among those that stalled.
    fn most_stalled(&self, now: Instant) -> Option<Key> {
        self.streams
            .iter()
            .filter(|(_, stream)| self.stall_deadline(stream).is_some_and(|at| at <= now))
            .max_by_key(|(_, stream)| stream.unread)
            .map(|(key, _)| key)
    }

    /// When a stream counts as stalled, if it is to blame for the budget being spent.
    fn stall_deadline(&self, stream: &Stream) -> Option<Instant> {
        if stream.busy {
            return None;
        }
        let alone = stream.over_since;
        let together = self.over_since.filter(|_| stream.unread > 0);
        let since = match (alone, together) {
            (Some(alone), Some(together)) => alone.min(together),
            (Some(since), None) | (None, Some(since)) => since,
            (None, None) => return None,
        };
        since.max(stream.last_taken).checked_add(self.stall_limit)
    }

    /// When an open stream has been silent for too long. The time in which we did not read the
    /// channel does not count.
    fn silence_deadline(&self, stream: &Stream) -> Option<Instant> {
        if stream.ended() {
            return None;
        }
        let idle = self.idle_deadline(stream);
        let leave = self.leave_deadline(stream);
        idle.into_iter().chain(leave).min()
    }

    fn idle_deadline(&self, stream: &Stream) -> Option<Instant> {
        self.heard(stream)
            .max(stream.idle_from)
            .checked_add(stream.idle?)
    }

    fn leave_deadline(&self, stream: &Stream) -> Option<Instant> {
        let (at, _) = stream.left.as_ref()?;
        self.heard(stream).max(*at).checked_add(self.leave_grace)
    }

    /// When something of the stream came, or could have come again.
    fn heard(&self, stream: &Stream) -> Instant {
        self.flowing_since
            .map_or(stream.last_part, |since| since.max(stream.last_part))
    }

    fn fail_silent(&mut self, now: Instant, id: IncomingId) {
        let Some(stream) = self.streams.get(id.0) else {
            return;
        };
        let is_leave = self.leave_deadline(stream).is_some_and(|at| at <= now);
        let error = match (&stream.left, stream.idle) {
            (Some((_, identity)), _) if is_leave => ReadError::SenderLeft {
                identity: identity.clone(),
            },
            (_, idle) => ReadError::Limit(Limit::Idle {
                idle: idle.unwrap_or_default(),
            }),
        };
        self.change(now, id, |stream| stream.fail(error));
    }

    /// Notes when the budget was spent and when it was not any more.
    fn note_flow(&mut self, now: Instant) {
        if self.unread >= self.connection_budget {
            self.over_since.get_or_insert(now);
        } else if self.unread < self.connection_budget / 4 * 3 {
            // Not sooner: one reader that reads must not excuse those that fill the budget.
            self.over_since = None;
        }
        self.waiting.note(now);
        if self.is_over_budget() {
            self.was_over = true;
        } else if std::mem::take(&mut self.was_over) {
            self.flowing_since = Some(now);
        }
    }
}

/// What time did.
#[derive(Debug, Default)]
pub(crate) struct Expired {
    /// Streams that failed.
    pub(crate) failed: Vec<IncomingId>,
    /// How many of them because of their readers.
    pub(crate) slow: u64,
    /// Listeners of which nothing was read for too long.
    pub(crate) stalled: u64,
}

fn load(stream: &Stream) -> Load {
    Load {
        streams: 1,
        bytes: stream.header_bytes,
    }
}

fn is_timed(stream: &Stream) -> bool {
    !stream.ended() && (stream.idle.is_some() || stream.left.is_some())
}
