//! The parameters of a join, as `/rtc/v1` and `/rtc` carry them (protocol.md §2.2, §2.3).

mod query;
mod request;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::id::{ParticipantSid, RoomName};
use crate::participant::ClientInfo;
use crate::signal::{ReconnectReason, SessionDescription, SyncState};

pub use query::access_token;

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
#[non_exhaustive]
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
    /// More about the client than allowed.
    #[error("client_info of {size} bytes, at most {limit} allowed")]
    ClientInfo {
        /// Its bytes.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// More fields than allowed, which would take far more memory decoded than encoded.
    #[error("join_request has more than {limit} fields")]
    TooManyFields {
        /// Fields allowed.
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
    /// A join of `client` with one peer connection and nothing else set.
    pub fn new(client: ClientInfo) -> Self {
        Self {
            mode: Mode::Single,
            client,
            room: RoomName::default(),
            metadata: String::new(),
            attributes: BTreeMap::new(),
            offer: None,
            resume: None,
            sync_state: None,
            add_tracks: Vec::new(),
        }
    }

    /// Parses the query of the WebSocket's URL, without its `?`. With a `join_request` it is
    /// [`Mode::Single`], else [`Mode::Dual`] with the parameters of protocol.md §2.2; `/rtc/v1`
    /// takes only the first. Unknown parameters are skipped, numbers that do not parse count as 0.
    ///
    /// # Errors
    /// [`JoinError`]; the request inflates to at most [`crate::limits::JOIN_REQUEST_BYTES`].
    pub fn from_query(query: &str) -> Result<Self, JoinError> {
        let parameters = query::Parameters::parse(query)?;
        let mut join = match parameters.value("join_request") {
            Some(wrapped) if !wrapped.is_empty() => request::decode(wrapped)?,
            _ => parameters.join()?,
        };
        join.room = RoomName::from(parameters.value("room").unwrap_or_default());
        Ok(join)
    }

    /// The query for this join, without `?` and token: `join_request` for `/rtc/v1` in
    /// [`Mode::Single`], the parameters of `/rtc` in [`Mode::Dual`] (which has no place for
    /// offer, metadata and sync state).
    pub fn to_query(&self) -> String {
        let mut writer = query::Writer::default();
        match self.mode {
            Mode::Single => writer.push("join_request", &request::encode(self)),
            Mode::Dual => query::write_parameters(self, &mut writer),
        }
        if !self.room.is_empty() {
            writer.push("room", self.room.as_str());
        }
        writer.finish()
    }
}
