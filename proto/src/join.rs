//! The parameters of a join, as `/rtc/v1` and `/rtc` carry them (protocol.md §2.2, §2.3).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::id::{ParticipantSid, RoomName};
use crate::participant::ClientInfo;
use crate::signal::{ReconnectReason, SessionDescription, SyncState};

/// Everything a client says when it opens the WebSocket, but its token.
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// How many peer connections there are to be.
    pub mode: Mode,
    /// The client.
    pub client: ClientInfo,
    /// The room, where the token leaves it open (protocol.md §1.4).
    pub room: RoomName,
    /// First metadata, over the token's; empty leaves it.
    pub metadata: String,
    /// First attributes, over the token's.
    pub attributes: BTreeMap<String, String>,
    /// The client's first offer.
    pub offer: Option<SessionDescription>,
    /// Set where the client wants its session back.
    pub resume: Option<Resume>,
    /// What the client has; current clients send it as a message instead.
    pub sync_state: Option<SyncState>,
    /// Tracks it wants to publish at once, kept encoded.
    pub add_tracks: Vec<Bytes>,
}

/// Single or dual peer connection (protocol.md §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One, offered by the client: a `join_request` was given.
    Single,
    /// Two, one offered by each side: everything was in the query.
    Dual,
}

/// A session that a client wants back (protocol.md §2.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Its sid.
    pub sid: ParticipantSid,
    /// Why it was lost.
    pub reason: ReconnectReason,
}

/// Why the parameters of a join were refused; holds nothing of the query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// `/rtc/v1` needs a `join_request`.
    #[error("the query has no join_request")]
    NoJoinRequest,
    /// The query is not percent-encoded UTF-8.
    #[error("the query is not percent-encoded UTF-8")]
    BadQuery,
    /// `join_request` is not base64url.
    #[error("join_request is not base64url")]
    NotBase64,
    /// The gzip data is broken.
    #[error("join_request does not inflate")]
    BrokenGzip,
    /// More bytes than allowed.
    #[error("join_request is over the limit of {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// A compression we do not know.
    #[error("join_request has the unknown compression {compression}")]
    UnknownCompression {
        /// Its number.
        compression: i32,
    },
    /// Not the message it should be.
    #[error("join_request is malformed")]
    Malformed,
    /// `attributes` is not base64url JSON of texts.
    #[error("attributes are not base64url JSON")]
    BadAttributes,
}

impl Join {
    /// Parses the query of `/rtc/v1`, or of `/rtc` where it may be in either form.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn from_query(_query: &str) -> Result<Self, JoinError> {
        Err(JoinError::NoJoinRequest)
    }

    /// The value of `join_request` for `/rtc/v1`.
    pub fn to_join_request(&self) -> String {
        String::new()
    }

    /// The query for `/rtc`, without `?` and token.
    pub fn to_query(&self) -> String {
        String::new()
    }
}
