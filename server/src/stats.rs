//! Counters of a server.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::room;

/// What a server holds now and has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Rooms now.
    pub rooms: usize,
    /// Participants now.
    pub participants: usize,
    /// Bytes of leavers now that their rooms do not accept yet.
    pub leaver_backlog: usize,
    /// Joins refused over HTTP: token, parameters, limits.
    pub joins_refused: u64,
    /// Sessions that went on over a new signal link.
    pub resumes: u64,
    /// Resumes that were refused, whose clients join anew.
    pub resumes_refused: u64,
    /// Connections without a complete request that were closed for others, at a limit of
    /// [`HttpLimits`](crate::HttpLimits).
    pub connections_evicted: u64,
    /// Connections closed since their request did not come in time.
    pub connections_timed_out: u64,
    /// Connections that the system did not let us accept, for example for want of file descriptors.
    pub accept_errors: u64,
    /// Times that a signal link was not read for a while since its client asked for too much.
    pub floods: u64,
    /// WebSocket messages that are no signalling.
    pub bad_frames: u64,
    /// Signal links closed since their client did not read them.
    pub slow_links: u64,
    /// UDP datagrams that belong to nobody.
    pub stray_datagrams: u64,
    /// UDP datagrams for one participant that seem to come from the address of another, dropped.
    pub contested_datagrams: u64,
    /// UDP datagrams that the system would not send.
    pub unsent_datagrams: u64,
    /// Lossy packets that a subscriber's transport did not take.
    pub lossy_unsent: u64,
    /// Offers and candidates that were refused.
    pub bad_descriptions: u64,
    /// Connections closed since the transport failed on what they sent.
    pub broken_connections: u64,
    /// Rooms ended since they broke; their participants join anew.
    pub rooms_broken: u64,
    /// Empty rooms ended early since there were too many rooms.
    pub rooms_evicted: u64,
    /// Messages on channels other than the two of data packets, dropped.
    pub other_messages: u64,
    /// Messages of leavers dropped: they came too late, were more than is kept for the others, or were kept when their connection ended.
    pub leaver_messages: u64,
    /// The counters of all rooms, those that are over included.
    pub packets: room::RoomStats,
}

/// Counters of the HTTP port and the signal links; the rest belongs to the worker.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    joins_refused: AtomicU64,
    connections_evicted: AtomicU64,
    connections_timed_out: AtomicU64,
    accept_errors: AtomicU64,
    floods: AtomicU64,
    slow_links: AtomicU64,
    bad_frames: AtomicU64,
}

impl Shared {
    pub(crate) fn count_refused_join(&self) {
        self.joins_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_evicted(&self) {
        self.connections_evicted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_timed_out(&self) {
        self.connections_timed_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_flood(&self) {
        self.floods.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_slow_link(&self) {
        self.slow_links.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_bad_frame(&self) {
        self.bad_frames.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.joins_refused += self.joins_refused.load(Ordering::Relaxed);
        stats.connections_evicted += self.connections_evicted.load(Ordering::Relaxed);
        stats.connections_timed_out += self.connections_timed_out.load(Ordering::Relaxed);
        stats.accept_errors += self.accept_errors.load(Ordering::Relaxed);
        stats.floods += self.floods.load(Ordering::Relaxed);
        stats.slow_links += self.slow_links.load(Ordering::Relaxed);
        stats.bad_frames += self.bad_frames.load(Ordering::Relaxed);
    }
}
