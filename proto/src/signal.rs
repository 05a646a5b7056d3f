//! Signalling messages: one WebSocket binary message each (protocol.md §2.5, §2.6).
//!
//! The subset that data needs. Requests about media are kept encoded where a refusal must echo them
//! and are dropped by the decoder otherwise, as are messages newer than this list: `message` is `None`.

mod candidate;
mod messages;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use prost::Message as _;

pub use candidate::CandidateError;
pub use messages::{
    DataChannelInfo, DataChannelReceiveState, Echo, IceServer, JoinResponse, LeaveAction,
    LeaveRequest, MediaSectionsRequirement, ParticipantUpdate, Ping, Pong, ReconnectReason,
    ReconnectResponse, RegionInfo, RegionSettings, RequestReason, RequestResponse,
    RoomMovedResponse, RoomUpdate, Scenario, SessionDescription, SignalTarget, SimulateScenario,
    SubscriptionPermission, SyncState, TrickleRequest, UpdateMetadata,
};

use crate::limits;
use crate::packet::DecodeError;
use crate::wire::Fields;

/// From client to server.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SignalRequest {
    /// The request; `None` for those that a data-only server ignores (protocol.md §2.17).
    #[prost(
        oneof = "Request",
        tags = "1, 2, 3, 4, 8, 11, 12, 13, 14, 15, 16, 19, 22, 23"
    )]
    pub message: Option<Request>,
}

/// What a client asks (protocol.md §2.6, §2.17).
#[derive(Clone, PartialEq, prost::Oneof)]
#[non_exhaustive]
pub enum Request {
    /// Answer this, with the same id.
    #[prost(message, tag = "1")]
    Offer(SessionDescription),
    /// Answer to the server's offer (dual peer connections only).
    #[prost(message, tag = "2")]
    Answer(SessionDescription),
    /// A candidate.
    #[prost(message, tag = "3")]
    Trickle(TrickleRequest),
    /// A track, kept encoded: to be refused with an echo.
    #[prost(bytes = "bytes", tag = "4")]
    AddTrack(Bytes),
    /// Goodbye.
    #[prost(message, tag = "8")]
    Leave(LeaveRequest),
    /// About tracks; ignored.
    #[prost(message, tag = "11")]
    SubscriptionPermission(SubscriptionPermission),
    /// What the client has, after a resume.
    #[prost(message, tag = "12")]
    SyncState(SyncState),
    /// Trouble, for tests.
    #[prost(message, tag = "13")]
    Simulate(SimulateScenario),
    /// Unix milliseconds; answered by [`Response::Pong`].
    #[prost(int64, tag = "14")]
    Ping(i64),
    /// Change of the client's own name, metadata, attributes.
    #[prost(message, tag = "15")]
    UpdateMetadata(UpdateMetadata),
    /// Answered by [`Response::PongResp`].
    #[prost(message, tag = "16")]
    PingReq(Ping),
    /// A data track, kept encoded: to be refused with an echo.
    #[prost(bytes = "bytes", tag = "19")]
    PublishDataTrack(Bytes),
    /// A blob to store, kept encoded: to be refused.
    #[prost(bytes = "bytes", tag = "22")]
    StoreDataBlob(Bytes),
    /// A blob to fetch, kept encoded: to be refused.
    #[prost(bytes = "bytes", tag = "23")]
    GetDataBlob(Bytes),
}

/// From server to client.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SignalResponse {
    /// The response; `None` for those that a data-only client ignores.
    #[prost(
        oneof = "Response",
        tags = "1, 2, 3, 4, 5, 8, 11, 16, 18, 19, 20, 22, 24, 25"
    )]
    pub message: Option<Response>,
}

/// What a server says (protocol.md §2.6).
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(clippy::large_enum_variant)] // Never kept in numbers: one lives from decoding to handling.
#[non_exhaustive]
pub enum Response {
    /// Welcome; the first message of a new session.
    #[prost(message, tag = "1")]
    Join(JoinResponse),
    /// Answer to the client's offer.
    #[prost(message, tag = "2")]
    Answer(SessionDescription),
    /// The server's offer (dual peer connections only).
    #[prost(message, tag = "3")]
    Offer(SessionDescription),
    /// A candidate.
    #[prost(message, tag = "4")]
    Trickle(TrickleRequest),
    /// Participants that joined, changed or left.
    #[prost(message, tag = "5")]
    Update(ParticipantUpdate),
    /// Go, or connect again.
    #[prost(message, tag = "8")]
    Leave(LeaveRequest),
    /// The room changed.
    #[prost(message, tag = "11")]
    RoomUpdate(RoomUpdate),
    /// A token for the next reconnect.
    #[prost(string, tag = "16")]
    RefreshToken(String),
    /// Answer to [`Request::Ping`], Unix milliseconds.
    #[prost(int64, tag = "18")]
    Pong(i64),
    /// The session goes on; the first message of a resume.
    #[prost(message, tag = "19")]
    Reconnect(ReconnectResponse),
    /// Answer to [`Request::PingReq`].
    #[prost(message, tag = "20")]
    PongResp(Pong),
    /// How a request ended.
    #[prost(message, tag = "22")]
    RequestResponse(RequestResponse),
    /// The client is in another room now.
    #[prost(message, tag = "24")]
    RoomMoved(RoomMovedResponse),
    /// Media sections the client shall offer; not needed for data.
    #[prost(message, tag = "25")]
    MediaSectionsRequirement(MediaSectionsRequirement),
}

/// Refuses what is larger than a signalling message may be (protocol.md §2.5), and what would take
/// far more memory decoded than encoded: an empty participant is two bytes on the wire.
fn check(bytes: &Bytes) -> Result<(), DecodeError> {
    if bytes.len() > limits::SIGNAL_BYTES {
        return Err(DecodeError::TooLarge {
            size: bytes.len(),
            limit: limits::SIGNAL_BYTES,
        });
    }
    let mut fields = 0;
    for message in Fields::new(bytes) {
        for field in Fields::new(message?.block()) {
            // What only looks like a message, for example a text, ends or not; prost judges it.
            if field.is_err() {
                break;
            }
            fields += 1;
            if fields > limits::SIGNAL_FIELDS {
                return Err(DecodeError::TooManyFields {
                    limit: limits::SIGNAL_FIELDS,
                });
            }
        }
    }
    Ok(())
}

impl SignalRequest {
    /// Decodes one WebSocket binary message.
    ///
    /// # Errors
    /// [`DecodeError`] above [`limits::SIGNAL_BYTES`] or [`limits::SIGNAL_FIELDS`], or for anything
    /// that is not this message.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        check(&bytes)?;
        Ok(Self::decode(bytes)?)
    }

    /// Encodes into one buffer of exactly the size needed.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }
}

impl From<Request> for SignalRequest {
    fn from(request: Request) -> Self {
        Self {
            message: Some(request),
        }
    }
}

impl SignalResponse {
    /// Decodes one WebSocket binary message.
    ///
    /// # Errors
    /// [`DecodeError`] above [`limits::SIGNAL_BYTES`] or [`limits::SIGNAL_FIELDS`], or for anything
    /// that is not this message.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        check(&bytes)?;
        Ok(Self::decode(bytes)?)
    }

    /// Encodes into one buffer of exactly the size needed.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }
}

impl From<Response> for SignalResponse {
    fn from(response: Response) -> Self {
        Self {
            message: Some(response),
        }
    }
}
