//! Errors, one enum per operation.

/// Why an SDP was refused. The peer is as it was before the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// The text is longer than [`limits::SDP_BYTES`](crate::limits::SDP_BYTES).
    #[error("sdp of {size} bytes, at most {limit} allowed")]
    TooLong {
        /// Its length in bytes.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// It is no SDP.
    #[error("sdp does not parse")]
    Syntax,
    /// More sections than [`limits::SDP_SECTIONS`](crate::limits::SDP_SECTIONS).
    #[error("sdp with {count} sections, at most {limit} allowed")]
    TooManySections {
        /// Sections found.
        count: usize,
        /// What is allowed.
        limit: usize,
    },
    /// No section for data channels.
    #[error("sdp without a data channel section")]
    NoDataSection,
    /// An attribute that must be there is not.
    #[error("sdp without {0}")]
    Missing(&'static str),
    /// An attribute has a value that we cannot use.
    #[error("sdp with a bad {0}")]
    Bad(&'static str),
    /// The call does not fit the state, for example an answer without an offer.
    #[error("{0}")]
    State(&'static str),
    /// The certificate fingerprint differs from the one of the running DTLS association.
    #[error("sdp with another fingerprint than the running connection")]
    FingerprintChanged,
}

/// Why a peer could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The configuration cannot work.
    #[error("bad configuration: {0}")]
    Config(&'static str),
}

/// Why a remote candidate was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CandidateError {
    /// It does not parse.
    #[error("candidate does not parse")]
    Syntax,
    /// The peer has [`PeerConfig::max_remote_candidates`](crate::PeerConfig::max_remote_candidates) already.
    #[error("more than {limit} remote candidates")]
    TooMany {
        /// What is allowed.
        limit: usize,
    },
}

/// Why a message was not taken. The channel lives on in all cases but [`SendError::Closed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The message is larger than what the other side accepts (`a=max-message-size`).
    #[error("message of {size} bytes, the other side accepts {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// What the other side accepts.
        limit: usize,
    },
    /// As much waits to be sent, or is not acknowledged, as should; wait for [`Event::Writable`](crate::Event::Writable).
    #[error("no room to send")]
    Full,
    /// There is no such open channel.
    #[error("channel closed")]
    Closed,
}
