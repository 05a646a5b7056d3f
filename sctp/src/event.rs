//! Events, and received messages.

use bytes::Bytes;

/// Whether a message keeps its place among the others of its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Handed out in the order sent.
    #[default]
    Ordered,
    /// Handed out when complete.
    Unordered,
}

/// How long a message is worth sending (RFC 3758, RFC 7496).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reliability {
    /// Until it has arrived.
    #[default]
    Reliable,
    /// It is sent again at most so often.
    Retransmits(u32),
    /// It is sent for at most so long.
    Lifetime(std::time::Duration),
}

/// How a message is to be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Its place.
    pub order: Order,
    /// How long it is worth sending.
    pub reliability: Reliability,
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The payload protocol identifier (RFC 8831 §8).
    pub ppid: u32,
    /// Whether it came ordered.
    pub order: Order,
    /// The payload; empty when `is_too_large`.
    pub bytes: Bytes,
    /// It was larger than [`Config::max_message_size`](crate::Config::max_message_size), its bytes are gone.
    pub is_too_large: bool,
}

/// Why an association is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// [`shutdown`](crate::Association::shutdown) came to its end, nothing was lost.
    Shutdown,
    /// The other side shut it down, nothing was lost.
    RemoteShutdown,
    /// The other side aborted.
    RemoteAbort,
    /// [`abort`](crate::Association::abort) was called.
    LocalAbort,
    /// The other side broke the protocol, and we aborted.
    Protocol,
    /// The other side did not answer, or did not come to the end of a shutdown.
    TimedOut,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The handshake is done, messages flow.
    Connected,
    /// Messages wait on a stream that had none: [`receive`](crate::Association::receive) until it gives none.
    Readable(u16),
    /// So many bytes of messages on a stream were acknowledged or given up.
    Released {
        /// The stream.
        stream: u16,
        /// Bytes since the last event of this kind for the stream.
        bytes: usize,
    },
    /// The other side has no such stream: the messages that waited for it since before [`Connected`](Self::Connected) are gone, which
    /// [`Released`](Self::Released) counts, too. Later ones are refused with [`SendError::NoStream`](crate::SendError::NoStream).
    NoStream {
        /// The stream.
        stream: u16,
        /// How many messages waited.
        messages: usize,
    },
    /// The other side reset its direction of the stream: what it sent before can still be received.
    StreamReset(u16),
    /// Our reset of the stream is done (`true`) or was refused.
    ResetDone {
        /// The stream.
        stream: u16,
        /// The other side did it.
        is_accepted: bool,
    },
    /// The other side began anew over the same path (RFC 9260 §5.2.4): all streams and all that waited are gone.
    Restarted,
    /// It is over.
    Closed(Closed),
}
