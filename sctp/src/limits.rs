//! Numbers with their unit and where they come from.

use std::time::Duration;

/// The common header of every packet, in bytes (RFC 9260 §3.1).
pub const COMMON_HEADER: usize = 12;

/// The head of a DATA chunk before its payload, in bytes (RFC 9260 §3.3.1).
pub const DATA_HEADER: usize = 16;

/// The smallest packet size that can be configured, in bytes: an INIT ACK with our cookie fits.
pub const MIN_PACKET: usize = 256;

/// The largest packet size that can be configured, in bytes: what a chunk length can say, less a margin.
pub const MAX_PACKET: usize = 65_000;

/// A larger message is not cut so that its first fragment is smaller than this, in bytes.
pub const MIN_FRAGMENT: usize = 32;

/// The largest congestion window, in bytes.
pub const SEND_WINDOW: usize = 16 * 1024 * 1024;

/// TSNs between the oldest that is not acknowledged and the newest sent. A SACK reports at most 65 535 (RFC 9260 §3.3.4), but each may
/// be a message of the same stream, and any receiver takes an SSN 32 768 ahead as one from before (RFC 9260 §1.6).
pub const TSN_SPAN: u64 = 30_000;

const _: () = assert!(TSN_SPAN < 1 << 15);

/// A received DATA chunk further ahead than a SACK can report is of no use (RFC 9260 §3.3.4).
pub const RECEIVE_SPAN: u64 = 65_535;

/// A FORWARD TSN that skips more than this is an attack.
pub const FORWARD_SPAN: u64 = 1 << 20;

/// What a piece of data that waits costs beyond its bytes.
pub const PIECE_OVERHEAD: usize = 64;

/// A larger part of a packet than this is charged when the window is computed: no window is told that holds less, in bytes.
pub const SMALL_WINDOW: usize = 1_500;

/// Duplicate TSNs that one SACK reports.
pub const DUPLICATES: usize = 32;

/// Gap blocks that one SACK reports, if the packet has room.
pub const GAP_BLOCKS: usize = 256;

/// Streams that one reset request names: it fits the smallest packet.
pub const RESET_STREAMS: usize = 64;

/// Before any measurement (RFC 9260 §16: RTO.Initial 1 s).
pub const RTO_INITIAL: Duration = Duration::from_secs(1);

/// The least time beyond the smoothed round trip that a retransmission timer waits. Smaller than RTO.Min of RFC 9260 (1 s), the same as
/// TCP in Linux.
pub const RTO_MIN: Duration = Duration::from_millis(200);

/// Smaller than RTO.Max of RFC 9260 (60 s): ICE decides when the path is dead (RFC 7675), and an outage should not outlast itself.
pub const RTO_MAX: Duration = Duration::from_secs(4);

/// How long a receiver may hold back a SACK (RFC 9260 §16: SACK.Delay at most 200 ms recommended): added to what a sender waits.
pub const PEER_SACK_DELAY: Duration = Duration::from_millis(200);

/// How long we hold back a SACK for a single packet.
pub const SACK_DELAY: Duration = Duration::from_millis(20);

/// Packets after which a SACK is sent (RFC 9260 §6.2).
pub const SACK_PACKETS: u32 = 2;

/// SACKs for packets that came in one batch, besides the one that ends it. A sender that sends four packets a SACK, as dcsctp does, needs
/// them.
pub const EARLY_SACKS: usize = 64;

/// The same, spread: a sender this fast, some 25 MB/s, does without, and they would cost us.
pub const EARLY_SACK_SPACING: Duration = Duration::from_micros(100);

/// How long a cookie is good (RFC 9260 §16: Valid.Cookie.Life).
pub const COOKIE_LIFE: Duration = Duration::from_secs(60);

/// INIT and COOKIE ECHO are sent at most so often (RFC 9260 §16: Max.Init.Retransmits is 8).
pub const HANDSHAKE_TRANSMISSIONS: u32 = 12;

/// SHUTDOWN is sent at most so often to a side that sends nothing.
pub const SHUTDOWN_TRANSMISSIONS: u32 = 8;

/// How long a side that was told of our shutdown may go on with what it had to send: five times RTO.Max of RFC 9260 (§9.2:
/// T5-shutdown-guard), not of ours, for this bounds what arrives, not how long silence is borne.
pub const SHUTDOWN_GUARD: Duration = Duration::from_secs(300);

/// HB.interval (RFC 9260 §16).
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);

/// While data comes in, a round trip measured longer ago than this is measured again: the receive window follows it.
pub const RTT_AGE: Duration = Duration::from_millis(250);

/// Heartbeats whose answer is still waited for.
pub const HEARTBEATS: usize = 4;

/// Packets in the first flight (RFC 6928).
pub const INITIAL_WINDOW_PACKETS: u64 = 10;

/// The largest receive window, in bytes: four of them are still a number that every platform has.
pub const MAX_WINDOW: usize = 1 << 29;

/// Bytes of an unknown chunk, or of unknown parameters, that are given back.
pub const REPORTED_BYTES: usize = 128;

/// Bytes that should wait to be sent beyond what may leave at once: a few messages of 15 000 bytes.
pub const LEAST_UNSENT: usize = 64 * 1024;

/// A buffer for a new message is at most so large before its bytes are there, in bytes.
pub const BUFFER_HINT: usize = 64 * 1024;
