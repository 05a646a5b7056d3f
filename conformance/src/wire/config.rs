//! How a wire behaves.

use std::time::Duration;

/// How a wire behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// One way, end to end.
    pub latency: Duration,
    /// At most this much more for a message of the lossy channel, which is what takes it out of order.
    pub jitter: Duration,
    /// Each direction of each association.
    pub bytes_per_second: u64,
    /// Probability from 0.0 to 1.0 that a message of the lossy channel is lost.
    pub loss: f64,
    /// Unread bytes an end takes before its window is closed; reliable and lossy share it.
    pub receive_window: usize,
    /// Unacknowledged bytes of a channel up to which [`Wire::room`](super::Wire::room) asks for more.
    pub send_buffer: usize,
    /// Bytes; a larger message is refused.
    pub max_message_size: usize,
    /// Reliable bytes that travel as one segment.
    pub segment: usize,
    /// First retransmission timeout; it doubles at each further one. rtc-sctp: 1 s.
    pub retransmit_after: Duration,
    /// Where the doubling ends. rtc-sctp: 60 s.
    pub retransmit_at_most: Duration,
    /// The peer connection reports itself closed when connectivity was gone for so long. Of our peers: 7 s until
    /// disconnected and 15 s more until failed.
    pub fails_after: Duration,
    /// How long after its return connectivity is noticed by the peer connection, which then retransmits at once. Of our
    /// peers: the keepalive interval, 2 s.
    pub notices_within: Duration,
    /// From [`Wire::connect`](super::Wire::connect) until the channels are open at the client; the server's are open one latency later.
    pub connects_in: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            latency: Duration::from_millis(10),
            jitter: Duration::from_millis(5),
            bytes_per_second: 50_000_000,
            loss: 0.0,
            receive_window: 1 << 20,
            send_buffer: 256 << 10,
            max_message_size: 65_535,
            segment: 4_096,
            retransmit_after: Duration::from_secs(1),
            retransmit_at_most: Duration::from_secs(60),
            fails_after: Duration::from_secs(22),
            notices_within: Duration::from_secs(2),
            connects_in: Duration::from_millis(60),
        }
    }
}
