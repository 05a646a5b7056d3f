//! Numbers with their unit and where they come from.

/// The largest message we say that we accept, in bytes: what libwebrtc offers (protocol.md §3.2).
pub const MAX_MESSAGE_SIZE: usize = 262_144;

/// The largest message a peer accepts that says nothing, in bytes (RFC 8841 §6.1).
pub const DEFAULT_REMOTE_MESSAGE_SIZE: usize = 65_536;

/// SCTP receive window at the start, in bytes: fills a path of 100 MB/s and 20 ms.
pub const RECEIVE_WINDOW: usize = 2 * 1024 * 1024;

/// SCTP receive window at the most, in bytes: 80 MB/s at 200 ms.
pub const RECEIVE_WINDOW_LIMIT: usize = 16 * 1024 * 1024;

/// What a channel may have unsent and unacknowledged, in bytes: as much as our own receive window at the most.
pub const SEND_BUFFER: usize = 16 * 1024 * 1024;

/// The largest SCTP packet we send, in bytes: 1 280 less IPv6, UDP, TURN and DTLS headers.
pub const SCTP_PACKET: usize = 1_191;

/// SDP text longer than this is refused unread, in bytes. Offers of the official clients have 3 to 10 kB.
pub const SDP_BYTES: usize = 256 * 1024;

/// Media sections in one SDP; more are refused.
pub const SDP_SECTIONS: usize = 128;

/// Remote candidates a peer takes, by default; more are ignored and counted. Clients and servers have one or two for each of their
/// addresses.
pub const REMOTE_CANDIDATES: usize = 16;

/// Segments that one send call may carry (Linux `UDP_MAX_SEGMENTS`).
pub const MAX_SEGMENTS: usize = 64;

/// What `SO_RCVBUF` and `SO_SNDBUF` are asked to be, in bytes.
pub const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Bytes of one batch of datagrams: what fits in one UDP send of the kernel, 65 507 with IPv4, some less with IPv6.
pub const BATCH_BYTES: usize = 65_000;
