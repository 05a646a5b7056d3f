//! Errors, by who is to blame.

use thiserror::Error;

/// A packet was not taken, or not all of it: the other side, or the path, broke a rule. The association goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// Shorter than a header, or a length inside lies (RFC 9260 §3.2).
    #[error("a length does not fit the {0} bytes of the packet")]
    Malformed(usize),
    /// Not our ports.
    #[error("the packet is for port {0}")]
    Port(u16),
    /// The checksum is wrong (RFC 9260 §6.8).
    #[error("the checksum is wrong")]
    Checksum,
    /// The verification tag is not ours (RFC 9260 §8.5).
    #[error("the verification tag is wrong")]
    Tag,
    /// The chunk makes no sense in the present state.
    #[error("chunk type {0} is out of place")]
    Unexpected(u8),
    /// The cookie is not ours, was changed, or is too old (RFC 9260 §5.2.4).
    #[error("the cookie is not good")]
    Cookie,
    /// A number is not in the range that can be, or a fragment does not fit the others.
    #[error("chunk type {0} has numbers out of range")]
    Range(u8),
    /// There was no window for it (RFC 9260 §6.2).
    #[error("data came without room in the window")]
    Window,
    /// The association is over.
    #[error("the association is over")]
    Closed,
}

/// Why [`send`](crate::Association::send) took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// SCTP has no empty messages (RFC 9260 §3.3.1); RFC 8831 §6.6 says what to send instead.
    #[error("a message has at least one byte")]
    Empty,
    /// The send buffer is full: send again after [`Event::Released`](crate::Event::Released).
    #[error("{buffered} bytes wait already, the limit is {limit}")]
    Full {
        /// Bytes that wait or are not acknowledged.
        buffered: usize,
        /// [`Config::send_buffer`](crate::Config::send_buffer).
        limit: usize,
    },
    /// The other side has not so many streams.
    #[error("stream {stream} is not one of {count}")]
    NoStream {
        /// The stream asked for.
        stream: u16,
        /// How many streams there are.
        count: u16,
    },
    /// The stream is being reset.
    #[error("stream {0} is being reset")]
    Resetting(u16),
    /// The association is over, or about to be.
    #[error("the association is over")]
    Closed,
}

/// Why [`reset_stream`](crate::Association::reset_stream) did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResetError {
    /// The other side does not know RFC 6525.
    #[error("the other side cannot reset streams")]
    Unsupported,
    /// The association is not there or over.
    #[error("there is no association")]
    Closed,
}
