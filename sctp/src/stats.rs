//! Counters.

use std::time::Duration;

/// What was counted since the association began, and where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received, refused ones too.
    pub packets_received: u64,
    /// DATA chunks sent, those sent again too.
    pub chunks_sent: u64,
    /// DATA chunks sent again.
    pub chunks_retransmitted: u64,
    /// DATA chunks found lost.
    pub chunks_lost: u64,
    /// DATA chunks that the other side had reported and then gave up (RFC 9260 §6.2.1).
    pub chunks_reneged: u64,
    /// DATA chunks given up (RFC 3758).
    pub chunks_abandoned: u64,
    /// DATA chunks received for the first time.
    pub chunks_received: u64,
    /// DATA chunks that we had already.
    pub duplicates_received: u64,
    /// Chunks that the other side had already, by its reports.
    pub duplicates_reported: u64,
    /// SACKs sent.
    pub sacks_sent: u64,
    /// Tail loss probes sent (RFC 8985 §7).
    pub probes: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Timeouts that proved to be unnecessary.
    pub spurious_timeouts: u64,
    /// Packets refused: wrong checksum, tag, port or length.
    pub packets_refused: u64,
    /// Chunks refused: out of place or out of range.
    pub chunks_refused: u64,
    /// DATA chunks dropped since there was no window.
    pub window_drops: u64,
    /// SACK blocks that made no sense.
    pub gap_blocks_refused: u64,
    /// Messages larger than our limit.
    pub messages_too_large: u64,
    /// The congestion window, in bytes.
    pub window: u64,
    /// Bytes in flight.
    pub flight: u64,
    /// Smoothed round trip time.
    pub rtt: Option<Duration>,
    /// Pacing rate, in bytes a second.
    pub pacing_rate: Option<u64>,
    /// What the other side has room for, in bytes, by its last word.
    pub peer_window: u32,
}
