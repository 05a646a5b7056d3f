//! The messages inside requests and responses (protocol.md §2.6 to §2.16).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::disconnect::DisconnectReason;
use crate::participant::ParticipantInfo;
use crate::room::{Room, ServerInfo};

/// An SDP with its kind and number.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionDescription {
    /// `offer` or `answer`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// The SDP.
    #[prost(string, tag = "2")]
    pub sdp: String,
    /// Number of the offer; an answer repeats it (protocol.md §3.4).
    #[prost(uint32, tag = "3")]
    pub id: u32,
    /// Media only.
    #[prost(btree_map = "string, string", tag = "4")]
    pub mid_to_track_id: BTreeMap<String, String>,
}

/// A candidate (protocol.md §3.3).
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrickleRequest {
    /// JSON with `candidate`, `sdpMid`, `sdpMLineIndex`; none of them null or missing.
    #[prost(string, tag = "1")]
    pub candidate_init: String,
    /// For which peer connection.
    #[prost(enumeration = "SignalTarget", tag = "2")]
    pub target: i32,
    /// The last one.
    #[prost(bool, tag = "3")]
    pub r#final: bool,
}

/// Which of two peer connections (protocol.md §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum SignalTarget {
    /// The one the client offers; the only one in single mode.
    Publisher = 0,
    /// The one the server offers.
    Subscriber = 1,
}

/// The welcome of a new session (protocol.md §2.7).
#[derive(Clone, PartialEq, prost::Message)]
pub struct JoinResponse {
    /// The room; clients insist on it.
    #[prost(message, optional, tag = "1")]
    pub room: Option<Room>,
    /// The client itself; clients insist on it.
    #[prost(message, optional, tag = "2")]
    pub participant: Option<ParticipantInfo>,
    /// Everybody else who is not hidden.
    #[prost(message, repeated, tag = "3")]
    pub other_participants: Vec<ParticipantInfo>,
    /// Deprecated copy of the version in `server_info`.
    #[prost(string, tag = "4")]
    pub server_version: String,
    /// STUN and TURN servers; may be empty.
    #[prost(message, repeated, tag = "5")]
    pub ice_servers: Vec<IceServer>,
    /// Dual mode: the subscriber connection is the one that counts.
    #[prost(bool, tag = "6")]
    pub subscriber_primary: bool,
    /// Legacy: connect there instead.
    #[prost(string, tag = "7")]
    pub alternative_url: String,
    /// Deprecated copy of the region in `server_info`.
    #[prost(string, tag = "9")]
    pub server_region: String,
    /// Seconds of silence after which the link is dead; above `ping_interval`.
    #[prost(int32, tag = "10")]
    pub ping_timeout: i32,
    /// Seconds between pings; must be above 0.
    #[prost(int32, tag = "11")]
    pub ping_interval: i32,
    /// The server.
    #[prost(message, optional, tag = "12")]
    pub server_info: Option<ServerInfo>,
    /// Media only.
    #[prost(bytes = "bytes", tag = "13")]
    pub sif_trailer: Bytes,
    /// Dual mode: offer at once.
    #[prost(bool, tag = "15")]
    pub fast_publish: bool,
}

/// A STUN or TURN server.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IceServer {
    /// Where.
    #[prost(string, repeated, tag = "1")]
    pub urls: Vec<String>,
    /// User.
    #[prost(string, tag = "2")]
    pub username: String,
    /// Password.
    #[prost(string, tag = "3")]
    pub credential: String,
}

/// The session goes on (protocol.md §2.14).
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReconnectResponse {
    /// STUN and TURN servers.
    #[prost(message, repeated, tag = "1")]
    pub ice_servers: Vec<IceServer>,
    /// The server, the same as before.
    #[prost(message, optional, tag = "3")]
    pub server_info: Option<ServerInfo>,
    /// Highest sequence number the server has accepted from this client, 0 if none.
    #[prost(uint32, tag = "4")]
    pub last_message_seq: u32,
}

/// Participants that joined, changed or left.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ParticipantUpdate {
    /// Their new state in full.
    #[prost(message, repeated, tag = "1")]
    pub participants: Vec<ParticipantInfo>,
}

/// The room changed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RoomUpdate {
    /// Its new state; clients insist on it.
    #[prost(message, optional, tag = "1")]
    pub room: Option<Room>,
}

/// The client was moved.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RoomMovedResponse {
    /// The new room.
    #[prost(message, optional, tag = "1")]
    pub room: Option<Room>,
    /// Token for reconnects there.
    #[prost(string, tag = "2")]
    pub token: String,
    /// The client as it is there.
    #[prost(message, optional, tag = "3")]
    pub participant: Option<ParticipantInfo>,
    /// Everybody else there.
    #[prost(message, repeated, tag = "4")]
    pub other_participants: Vec<ParticipantInfo>,
}

/// A goodbye, from either side (protocol.md §2.13).
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaveRequest {
    /// The older form of [`LeaveAction::Reconnect`].
    #[prost(bool, tag = "1")]
    pub can_reconnect: bool,
    /// Why.
    #[prost(enumeration = "DisconnectReason", tag = "2")]
    pub reason: i32,
    /// What the client shall do.
    #[prost(enumeration = "LeaveAction", tag = "3")]
    pub action: i32,
    /// Where else it may go.
    #[prost(message, optional, tag = "4")]
    pub regions: Option<RegionSettings>,
}

/// What a client does on a leave (protocol.md §2.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum LeaveAction {
    /// Stop.
    Disconnect = 0,
    /// Resume the session.
    Resume = 1,
    /// Join anew.
    Reconnect = 2,
}

/// Regions of a cloud.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RegionSettings {
    /// Best first.
    #[prost(message, repeated, tag = "1")]
    pub regions: Vec<RegionInfo>,
}

/// One region of a cloud.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RegionInfo {
    /// Its name.
    #[prost(string, tag = "1")]
    pub region: String,
    /// Its address.
    #[prost(string, tag = "2")]
    pub url: String,
    /// How far it is.
    #[prost(int64, tag = "3")]
    pub distance: i64,
}

/// What a client has after it resumed (protocol.md §2.15); tracks are left out.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SyncState {
    /// The last answer before.
    #[prost(message, optional, tag = "1")]
    pub answer: Option<SessionDescription>,
    /// Its data channels.
    #[prost(message, repeated, tag = "4")]
    pub data_channels: Vec<DataChannelInfo>,
    /// The last offer before.
    #[prost(message, optional, tag = "5")]
    pub offer: Option<SessionDescription>,
    /// The last sequence number it has of each publisher.
    #[prost(message, repeated, tag = "7")]
    pub datachannel_receive_states: Vec<DataChannelReceiveState>,
}

/// A data channel of a client.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DataChannelInfo {
    /// Its label.
    #[prost(string, tag = "1")]
    pub label: String,
    /// Its stream number.
    #[prost(uint32, tag = "2")]
    pub id: u32,
    /// On which peer connection.
    #[prost(enumeration = "SignalTarget", tag = "3")]
    pub target: i32,
}

/// The last reliable packet a client has of a publisher (protocol.md §4.5).
#[derive(Clone, PartialEq, prost::Message)]
pub struct DataChannelReceiveState {
    /// The publisher's session.
    #[prost(string, tag = "1")]
    pub publisher_sid: String,
    /// Its sequence number.
    #[prost(uint32, tag = "2")]
    pub last_seq: u32,
}

/// Who may subscribe to tracks; the Rust family sends it unasked (protocol.md §2.4).
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubscriptionPermission {
    /// Everybody.
    #[prost(bool, tag = "1")]
    pub all_participants: bool,
}

/// A change of the sender's own name, metadata and attributes (protocol.md §2.16).
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateMetadata {
    /// New metadata; empty leaves it.
    #[prost(string, tag = "1")]
    pub metadata: String,
    /// New name; empty leaves it.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Attributes to set; an empty value deletes.
    #[prost(btree_map = "string, string", tag = "3")]
    pub attributes: BTreeMap<String, String>,
    /// Comes back in the [`RequestResponse`].
    #[prost(uint32, tag = "4")]
    pub request_id: u32,
}

/// A ping with the round trip the client measured.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ping {
    /// Unix milliseconds of the client.
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// The last round trip, milliseconds.
    #[prost(int64, tag = "2")]
    pub rtt: i64,
}

/// Answer to a [`Ping`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Pong {
    /// `timestamp` of the ping.
    #[prost(int64, tag = "1")]
    pub last_ping_timestamp: i64,
    /// Unix milliseconds of the server.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// How a request ended (protocol.md §2.16).
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestResponse {
    /// Id of the request.
    #[prost(uint32, tag = "1")]
    pub request_id: u32,
    /// How it ended.
    #[prost(enumeration = "RequestReason", tag = "2")]
    pub reason: i32,
    /// One line.
    #[prost(string, tag = "3")]
    pub message: String,
    /// The request itself.
    #[prost(oneof = "Echo", tags = "4, 5, 7, 10")]
    pub request: Option<Echo>,
}

/// The request that a [`RequestResponse`] answers.
#[derive(Clone, PartialEq, prost::Oneof)]
#[non_exhaustive]
pub enum Echo {
    /// [`super::Request::Trickle`].
    #[prost(message, tag = "4")]
    Trickle(TrickleRequest),
    /// [`super::Request::AddTrack`], as it came.
    #[prost(bytes = "bytes", tag = "5")]
    AddTrack(Bytes),
    /// [`super::Request::UpdateMetadata`].
    #[prost(message, tag = "7")]
    UpdateMetadata(UpdateMetadata),
    /// [`super::Request::PublishDataTrack`], as it came.
    #[prost(bytes = "bytes", tag = "10")]
    PublishDataTrack(Bytes),
}

/// How a request ended (protocol.md §2.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum RequestReason {
    /// Done.
    Ok = 0,
    /// There is no such thing.
    NotFound = 1,
    /// The client may not.
    NotAllowed = 2,
    /// Too large or too many.
    LimitExceeded = 3,
    /// Later.
    Queued = 4,
    /// Not offered here.
    UnsupportedType = 5,
    /// It failed.
    UnclassifiedError = 6,
    /// A data track's handle is wrong.
    InvalidHandle = 7,
    /// A name is wrong.
    InvalidName = 8,
    /// A data track's handle is taken.
    DuplicateHandle = 9,
    /// A name is taken.
    DuplicateName = 10,
    /// The request makes no sense.
    InvalidRequest = 11,
}

/// Why a client connects again (protocol.md §2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum ReconnectReason {
    /// Not said.
    Unknown = 0,
    /// The WebSocket was lost.
    SignalDisconnected = 1,
    /// The publisher connection failed.
    PublisherFailed = 2,
    /// The subscriber connection failed.
    SubscriberFailed = 3,
    /// It wants another candidate.
    SwitchCandidate = 4,
}

/// Media sections the client shall offer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MediaSectionsRequirement {
    /// Audio.
    #[prost(uint32, tag = "1")]
    pub num_audios: u32,
    /// Video.
    #[prost(uint32, tag = "2")]
    pub num_videos: u32,
}

/// Trouble that a client orders for tests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SimulateScenario {
    /// Which.
    #[prost(oneof = "Scenario", tags = "2, 3, 4, 7, 8, 9")]
    pub scenario: Option<Scenario>,
}

/// Kinds of trouble that concern data.
#[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
#[non_exhaustive]
pub enum Scenario {
    /// The node fails.
    #[prost(bool, tag = "2")]
    NodeFailure(bool),
    /// The participant moves to another node.
    #[prost(bool, tag = "3")]
    Migration(bool),
    /// The server says leave.
    #[prost(bool, tag = "4")]
    ServerLeave(bool),
    /// The next resume is cut after its first messages.
    #[prost(bool, tag = "7")]
    DisconnectSignalOnResume(bool),
    /// The next resume is cut before its first message.
    #[prost(bool, tag = "8")]
    DisconnectSignalOnResumeNoMessages(bool),
    /// The server says leave, and to join anew.
    #[prost(bool, tag = "9")]
    LeaveRequestFullReconnect(bool),
}
