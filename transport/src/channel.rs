//! The parameters of a data channel.

use std::fmt;

/// Names one data channel of one [`Peer`](crate::Peer): its SCTP stream id (RFC 8832 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub(crate) u16);

impl ChannelId {
    /// The SCTP stream id.
    #[must_use]
    pub fn stream(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Order and retransmission of a channel's messages (protocol.md §3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reliability {
    /// Ordered, retransmitted until acknowledged: `_reliable`.
    Reliable,
    /// Unordered, never retransmitted: `_lossy`, `_data_track`.
    Lossy,
    /// Any other form that the remote side may ask for in its DCEP open.
    Partial {
        /// Order of delivery.
        order: Order,
        /// When the sender gives a message up.
        limit: RetransmitLimit,
    },
}

impl Reliability {
    /// Order and limit, whichever way it is written.
    pub(crate) fn parts(self) -> (Order, RetransmitLimit) {
        match self {
            Self::Reliable => (Order::Ordered, RetransmitLimit::None),
            Self::Lossy => (Order::Unordered, RetransmitLimit::Count(0)),
            Self::Partial { order, limit } => (order, limit),
        }
    }
}

/// Order of delivery in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Messages arrive in the order they were sent.
    Ordered,
    /// Messages arrive as they come.
    Unordered,
}

/// When a sender gives a message up (RFC 8832 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetransmitLimit {
    /// Never.
    None,
    /// After this many retransmissions.
    Count(u32),
    /// After this many milliseconds.
    Lifetime(u32),
}

/// A channel that a [`Peer`](crate::Peer) creates on its own as soon as the connection is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelConfig {
    /// The name, for example `_reliable`; at most 65 535 bytes.
    pub label: Box<str>,
    /// Order and retransmission.
    pub reliability: Reliability,
    /// The stream id agreed on outside of the connection (protocol.md §3.6), below 1024; no open message is sent then.
    /// `None` opens the channel in band.
    pub negotiated: Option<u16>,
}

impl ChannelConfig {
    /// An ordered, reliable channel that is opened in band.
    #[must_use]
    pub fn reliable(label: &str) -> Self {
        Self {
            label: label.into(),
            reliability: Reliability::Reliable,
            negotiated: None,
        }
    }

    /// An unordered channel without retransmission that is opened in band.
    #[must_use]
    pub fn lossy(label: &str) -> Self {
        Self {
            label: label.into(),
            reliability: Reliability::Lossy,
            negotiated: None,
        }
    }

    /// The same channel under a stream id that both sides know already.
    #[must_use]
    pub fn negotiated(mut self, stream: u16) -> Self {
        self.negotiated = Some(stream);
        self
    }
}
