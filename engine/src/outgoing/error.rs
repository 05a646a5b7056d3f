//! Errors of outgoing streams.

use lkstream_proto::id::StreamId;
use thiserror::Error;

use super::NoRecipients;
use crate::engine::Lost;

/// Why a stream was not opened. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// [`set_local`](crate::Engine::set_local) was not called yet.
    #[error("the room is not joined yet")]
    NotJoined,
    /// The connection is gone.
    #[error(transparent)]
    ConnectionLost(Lost),
    /// The header's packet is larger than receivers are made for; usually the attributes are.
    #[error("the header takes {size} bytes, at most {limit} allowed")]
    HeaderTooLarge {
        /// Bytes of the encoded packet.
        size: usize,
        /// Bytes allowed (protocol.md §5.2).
        limit: usize,
    },
    /// The declared length exceeds the payload limit.
    #[error("{size} bytes of payload, at most {limit} allowed")]
    PayloadTooLarge {
        /// Bytes declared.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A text that was to be sent whole is no UTF-8.
    #[error("invalid UTF-8 at byte {offset} of the text")]
    InvalidText {
        /// Where.
        offset: usize,
    },
    /// Too many outgoing streams exist.
    #[error("{limit} outgoing streams exist already")]
    TooManyStreams {
        /// The limit.
        limit: usize,
    },
    /// Encryption is on and there is no key to seal with.
    #[error("slot {index} of the keyring holds no key of ours")]
    NoKey {
        /// The slot in use.
        index: u32,
    },
    /// A stream with this id is open.
    #[error("a stream with id {id} is open already")]
    IdInUse {
        /// The id.
        id: StreamId,
    },
}

/// Why a write took nothing. The stream goes on unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The stream was closed or aborted before.
    #[error("the stream is closed")]
    Closed,
    /// The connection is gone, and the stream with it.
    #[error(transparent)]
    ConnectionLost(Lost),
    /// All recipients left or refused the stream, which is over.
    #[error("no recipient is left: {0}")]
    NoRecipients(NoRecipients),
    /// More than the declared length.
    #[error("{written} bytes written, {declared} declared")]
    TooLong {
        /// Bytes declared.
        declared: u64,
        /// Bytes there would be.
        written: u64,
    },
    /// More than any stream may carry.
    #[error("{size} bytes of payload, at most {limit} allowed")]
    PayloadTooLarge {
        /// Bytes there would be.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A text stream was given bytes that are not UTF-8.
    #[error("invalid UTF-8 at byte {offset} of the write")]
    InvalidText {
        /// Where, in the bytes given.
        offset: usize,
    },
}

/// Why a stream could not be closed well.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The stream was closed or aborted before.
    #[error("the stream is closed")]
    Closed,
    /// The connection is gone, and the stream with it.
    #[error(transparent)]
    ConnectionLost(Lost),
    /// All recipients left or refused the stream before all of it was sent.
    #[error("no recipient is left: {0}")]
    NoRecipients(NoRecipients),
    /// Less was written than declared. The stream is aborted: its receivers get a reason.
    #[error("{written} bytes written, {declared} declared")]
    Incomplete {
        /// Bytes declared.
        declared: u64,
        /// Bytes written.
        written: u64,
    },
    /// The trailer's packet is too large. The stream stays open.
    #[error("the trailer takes {size} bytes, at most {limit} allowed")]
    TrailerTooLarge {
        /// Bytes of the encoded packet.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
}
