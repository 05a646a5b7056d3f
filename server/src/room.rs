//! One room as a state machine: who is in it, who hears what, and what waits for whom.

use std::time::Duration;

/// Bounds of one room. Each has a policy when full: see the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most participants; a join over it is refused (503). Default 1000.
    pub participants: usize,
    /// Bytes of one publisher's log. A subscriber that would need more is cut. Default 16 MiB.
    pub publisher_log: usize,
    /// Bytes of all logs of the room. Default 64 MiB.
    pub room_log: usize,
    /// A publisher is slowed while a draining subscriber is more than this many bytes behind it. Default 1 MiB.
    pub brake: usize,
    /// A subscriber that has taken nothing for this long no longer slows a publisher that others wait for. Default 2 s.
    pub stalled_after: Duration,
    /// A subscriber that has taken nothing for this long while something waits for it is cut. Default 15 s.
    pub cut_after: Duration,
    /// Lossy packets that wait for one subscriber, bytes; the oldest are dropped. Default 256 KiB.
    pub lossy_queue: usize,
    /// A participant whose connection is not up this long after its join is removed. Default 60 s (protocol.md §2.9).
    pub connect_timeout: Duration,
    /// How long a participant whose signal link is gone is kept for a resume. Default 20 s (protocol.md §2.14).
    pub resume_timeout: Duration,
    /// Longest wait for a leaver's data to reach the others before its leave is announced. Default 5 s.
    pub leave_drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            participants: 1000,
            publisher_log: 16 << 20,
            room_log: 64 << 20,
            brake: 1 << 20,
            stalled_after: Duration::from_secs(2),
            cut_after: Duration::from_secs(15),
            lossy_queue: 256 << 10,
            connect_timeout: Duration::from_secs(60),
            resume_timeout: Duration::from_secs(20),
            leave_drain: Duration::from_secs(5),
        }
    }
}
