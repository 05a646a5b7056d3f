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
    /// WebSocket messages that are no signalling.
    pub bad_frames: u64,
    /// Signal links closed since their client did not read them.
    pub slow_links: u64,
    /// UDP datagrams that belong to nobody.
    pub stray_datagrams: u64,
    /// UDP datagrams that the system would not send.
    pub unsent_datagrams: u64,
    /// Offers and candidates that were refused.
    pub bad_descriptions: u64,
    /// Connections closed since the transport failed on what they sent.
    pub broken_connections: u64,
    /// Messages on channels other than the two of data packets, dropped.
    pub other_messages: u64,
    /// Messages of leavers dropped: they came too late, were more than is kept for the others, or were kept when their connection ended.
    pub leaver_messages: u64,
    /// The counters of all rooms, those that are over included.
    pub packets: room::Stats,
}

/// Counters that WebSocket tasks raise; the rest belongs to the worker.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    joins_refused: AtomicU64,
    bad_frames: AtomicU64,
}

impl Shared {
    pub(crate) fn count_refused_join(&self) {
        self.joins_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_bad_frame(&self) {
        self.bad_frames.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.joins_refused += self.joins_refused.load(Ordering::Relaxed);
        stats.bad_frames += self.bad_frames.load(Ordering::Relaxed);
    }
}
