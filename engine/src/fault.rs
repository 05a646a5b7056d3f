//! The rules that peers break, with a counter for each.

use crate::encryption::DecryptError;
use lkstream_proto::id::StreamId;
use thiserror::Error;

/// A packet broke a rule and was dropped. The engine stays good; a stream that the packet
/// belongs to may have failed, which its reader learns.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{rule}")]
#[non_exhaustive]
pub struct PeerFault {
    /// The rule that was broken.
    pub rule: Rule,
    /// The stream the packet names, where it names one.
    pub stream: Option<StreamId>,
}

impl From<Rule> for PeerFault {
    /// Of a packet that names no stream.
    fn from(rule: Rule) -> Self {
        PeerFault { rule, stream: None }
    }
}

/// The rules that packets of a peer can break.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rule {
    /// The bytes are no `DataPacket`.
    #[error("a packet of {size} bytes does not decode")]
    Malformed {
        /// Bytes of the packet.
        size: usize,
    },
    /// A part of a stream came on the lossy channel.
    #[error("a stream's packet came on the lossy channel")]
    WrongChannel,
    /// The header names a compression this library does not know.
    #[error("compression {number} is unknown")]
    UnknownCompression {
        /// The number on the wire.
        number: i32,
    },
    /// The header has neither the text nor the byte part.
    #[error("a header says neither text nor bytes")]
    NoContentHeader,
    /// The header or trailer carries too many or too large attributes.
    #[error("{count} attributes with {size} bytes, at most {max_count} with {max_size} allowed")]
    TooManyAttributes {
        /// Attributes carried.
        count: usize,
        /// Bytes of their keys and values.
        size: usize,
        /// Attributes allowed.
        max_count: usize,
        /// Bytes allowed.
        max_size: usize,
    },
    /// The header of a text names too many attachments.
    #[error("{count} attachments, at most {limit} allowed")]
    TooManyAttachments {
        /// Attachments named.
        count: usize,
        /// Attachments allowed.
        limit: usize,
    },
    /// Too many streams exist at once.
    #[error("{limit} incoming streams exist already")]
    TooManyStreams {
        /// The limit that was met.
        limit: usize,
    },
    /// The headers of the streams that exist take too much.
    #[error("the headers of incoming streams take {bytes} bytes, at most {limit} allowed")]
    TooManyHeaderBytes {
        /// What they would take.
        bytes: usize,
        /// What they may take.
        limit: usize,
    },
    /// The stream is for a listener of which too many streams wait already, unread for long.
    #[error("{waiting} streams of the listener are unread")]
    NotRead {
        /// Streams that wait.
        waiting: usize,
    },
    /// A chunk skipped an index.
    #[error("chunk {arrived} arrived, {expected} expected")]
    Gap {
        /// The index expected.
        expected: u64,
        /// The index that arrived.
        arrived: u64,
    },
    /// The content exceeds the declared length.
    #[error("{received} bytes arrived, {declared} declared")]
    LengthExceeded {
        /// Bytes declared.
        declared: u64,
        /// Bytes received.
        received: u64,
    },
    /// The content falls short of the declared length.
    #[error("the stream ended after {received} of {declared} bytes")]
    Incomplete {
        /// Bytes declared.
        declared: u64,
        /// Bytes received.
        received: u64,
    },
    /// The content exceeds, or is declared to exceed, the payload limit.
    #[error("{size} bytes of payload, at most {limit} allowed")]
    PayloadTooLarge {
        /// Bytes received or declared.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The packet came though the engine had been over budget for long.
    #[error("{unread} bytes are unread, the budget is {budget}")]
    OverBudget {
        /// Bytes unread.
        unread: usize,
        /// Bytes allowed.
        budget: usize,
    },
    /// The packet's value is encrypted and no keyring is set.
    #[error("an encrypted packet came, there is no keyring")]
    NoKeyring,
    /// The packet's value does not open.
    #[error("an encrypted packet was dropped: {0}")]
    Undecryptable(DecryptError),
    /// The packet came in the clear, which the keyring refuses.
    #[error("a packet came unencrypted where encryption is required")]
    Plaintext,
    /// A part of a stream was encrypted otherwise than its header.
    #[error("a part of the stream is encrypted otherwise than its header")]
    EncryptionMismatch,
    /// A request lacks its id, its method, its caller, or a number of its header.
    #[error("a request for a call is incomplete")]
    MalformedCall,
}

/// How often something was dropped or ignored, since the engine was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Packets that returned a [`PeerFault`].
    pub faults: u64,
    /// Packets with a sequence number seen before (protocol.md §4.5).
    pub duplicate_packets: u64,
    /// Chunks at an index received before; those of a higher version are among them.
    pub duplicate_chunks: u64,
    /// Headers for a stream that is open.
    pub duplicate_headers: u64,
    /// Chunks and trailers of no open stream.
    pub unknown_stream: u64,
    /// Headers that no listener wanted.
    pub unclaimed: u64,
    /// Readers failed because they were too slow.
    pub slow_readers: u64,
    /// Times that a listener stalled: many of its streams waited, and none was read for too long.
    pub stalled_listeners: u64,
    /// Streams that failed before they were read: each is an
    /// [`Event::IncomingFailed`](crate::Event::IncomingFailed).
    pub failed_unread: u64,
    /// Events dropped because nobody polled them: user packets, receipts, unclaimed streams.
    pub dropped_events: u64,
    /// Receipts not sent because too many waited.
    pub dropped_receipts: u64,
    /// Packets of a kind the engine has no use for.
    pub other_packets: u64,
    /// Acknowledgements and responses to calls that are not pending, or of others than were called.
    pub late_replies: u64,
    /// Requests that are being handled already.
    pub duplicate_requests: u64,
    /// Requests answered with an error before any handler: unknown methods and versions, limits.
    pub refused_requests: u64,
    /// Answers to callers that left, and acknowledgements or answers that found no room.
    pub dropped_replies: u64,
    /// Published lossy packets that gave way to newer ones.
    pub dropped_lossy: u64,
}
