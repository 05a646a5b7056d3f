//! The bounds of a room, and what happens at each.

use std::time::Duration;

use lkstream_proto::limits;

/// Bounds of one room; durations of more than 10 years count as 10 years. Each has a policy when full and a counter in [`RoomStats`](super::RoomStats); that of `leaver_backlog` is
/// `leaver_messages` in the [`Stats`](crate::Stats) of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most participants; a join over it is refused. Default 1000.
    pub participants: usize,
    /// Bytes of one publisher's log, 64 for each packet included. A subscriber that would need more is cut. Default 16 MiB.
    pub publisher_log: usize,
    /// Bytes of all logs of the room; the subscriber that is behind most is cut. From half of it on, publishers are slowed
    /// sixteen times earlier. Default 64 MiB.
    pub room_log: usize,
    /// A publisher is slowed while a draining subscriber is more than this many bytes behind it. Default 1 MiB.
    pub brake: usize,
    /// A subscriber that has taken and acknowledged nothing for this long, while something waits for it, no longer slows a
    /// publisher that has other listeners. Default 5 s.
    pub stalled_after: Duration,
    /// A subscriber that has taken and acknowledged nothing for this long, while something waits for it, is cut.
    /// Default 15 s.
    pub cut_after: Duration,
    /// Lossy packets that wait for one subscriber, in bytes; the oldest are dropped. Default 256 KiB.
    pub lossy_queue: usize,
    /// Bytes of answers that wait for a participant's signal link; above it the link is closed and may be resumed.
    /// Default 1 MiB.
    pub signal_queue: usize,
    /// A participant whose connection is not up this long after its join is removed. Default 60 s (protocol.md §2.9).
    pub connect_timeout: Duration,
    /// How long a participant whose signal link is gone is kept for a resume. Default 20 s (protocol.md §2.14).
    pub resume_timeout: Duration,
    /// How long a participant whose connection was closed by its own side may take to say that it leaves. Default 1 s.
    pub farewell: Duration,
    /// Longest wait for a leaver's data to reach the others before they are told that it left. Default 5 s.
    pub leave_drain: Duration,
    /// Bytes of leavers that the others are too slow for, of all leavers of the room; one may have half of it. What is more is dropped
    /// when their last datagrams are in. Default 64 MiB.
    pub leaver_backlog: usize,
    /// How long a room stays that nobody joined. Default 5 min (protocol.md §2.6, as livekit-server).
    pub empty_timeout: Duration,
    /// How long a room stays after its last participant left. Default 20 s (as livekit-server).
    pub departure_timeout: Duration,
}

/// The longest duration that counts: sums of it and a point in time stay within what the system can tell.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl Limits {
    /// Durations of more than 10 years count as 10 years.
    pub(super) fn bound_durations(&mut self) {
        for duration in [
            &mut self.stalled_after,
            &mut self.cut_after,
            &mut self.connect_timeout,
            &mut self.resume_timeout,
            &mut self.farewell,
            &mut self.leave_drain,
            &mut self.empty_timeout,
            &mut self.departure_timeout,
        ] {
            *duration = LONGEST.min(*duration);
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            participants: 1000,
            publisher_log: 16 << 20,
            room_log: 64 << 20,
            brake: 1 << 20,
            stalled_after: Duration::from_secs(5),
            cut_after: Duration::from_secs(15),
            lossy_queue: 256 << 10,
            signal_queue: 1 << 20,
            connect_timeout: limits::ACTIVE_TIMEOUT,
            resume_timeout: Duration::from_secs(20),
            farewell: Duration::from_secs(1),
            leave_drain: Duration::from_secs(5),
            leaver_backlog: 64 << 20,
            empty_timeout: limits::EMPTY_TIMEOUT,
            departure_timeout: limits::DEPARTURE_TIMEOUT,
        }
    }
}
