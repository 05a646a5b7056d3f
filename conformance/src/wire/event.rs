//! What a wire tells its owner.

use super::Lane;

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// Larger than [`Config::max_message_size`](super::Config::max_message_size).
    TooLarge {
        /// Of the message, in bytes.
        size: usize,
        /// In bytes.
        limit: usize,
    },
    /// The send buffer is at its target; wait for [`Event::Writable`].
    Full,
    /// Not connected yet, or closed.
    Closed,
}

/// Why a peer connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The other end closed it.
    Peer,
    /// Nothing was heard for [`Config::fails_after`](super::Config::fails_after).
    Silence,
    /// The real stack could not be set up or gave up.
    Failure,
}

/// What an end learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Both data channels are open.
    Open,
    /// A message can be received.
    Readable(Lane),
    /// The send buffer is below its target again.
    Writable(Lane),
    /// The peer connection is gone; what was received before can still be pulled.
    Closed(Cause),
    /// The signalling stream is gone.
    SignalClosed,
}

/// What a wire carried and lost, both directions together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Segments that arrived.
    pub arrived: u64,
    /// Segments and acknowledgements that fell to a loss of connectivity.
    pub cut_off: u64,
    /// Messages of the lossy channel that fell to [`Config::loss`](super::Config::loss).
    pub lost: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// The most unread bytes a data receiver ever held.
    pub unread_peak: u64,
}
