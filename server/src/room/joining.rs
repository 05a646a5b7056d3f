//! How rooms are made and participants join.

use std::collections::BTreeMap;
use std::time::Duration;

use lkstream_proto::id::{Identity, RoomName, RoomSid};
use lkstream_proto::limits as wire;
use lkstream_proto::participant::{ClientInfo, ParticipantPermission};
use lkstream_proto::room::{Edition, ServerInfo};

use super::limits::Limits;

/// What makes a room.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name.
    pub name: RoomName,
    /// This lifetime of it.
    pub sid: RoomSid,
    /// Free text of the application.
    pub metadata: String,
    /// Bounds.
    pub limits: Limits,
    /// Time since the Unix epoch at the `now` of [`Room::new`](super::Room::new); the room's wall clock runs on from there.
    pub unix_time: Duration,
    /// What it says about its server.
    pub server: ServerInfo,
    /// Sees what the room is told, and may panic.
    #[cfg(test)]
    pub(crate) trap: Option<fn(&super::Input)>,
}

impl Options {
    /// An ordinary room.
    pub fn new(name: RoomName, sid: RoomSid, unix_time: Duration) -> Options {
        Options {
            name,
            sid,
            metadata: String::new(),
            limits: Limits::default(),
            unix_time,
            server: server_info(String::new()),
            #[cfg(test)]
            trap: None,
        }
    }
}

/// What a node says about itself. Clients gate features on the version and Rust clients insist on a semantic one
/// (protocol.md §2.7), so it names the livekit-server whose behaviour this is; who we are stands in `debug_info`.
pub fn server_info(node_id: String) -> ServerInfo {
    ServerInfo {
        edition: Edition::Standard as i32,
        version: wire::SERVER_VERSION.to_owned(),
        protocol: wire::PROTOCOL,
        region: String::new(),
        node_id,
        debug_info: concat!("lkstream ", env!("CARGO_PKG_VERSION")).to_owned(),
        agent_protocol: 0,
    }
}

/// Somebody whose token was checked and who wants in.
#[derive(Clone, Debug)]
pub struct Joining {
    /// Random bytes for its sid.
    pub random: [u8; 16],
    /// Who.
    pub identity: Identity,
    /// Name to show.
    pub name: String,
    /// Free text of the application.
    pub metadata: String,
    /// Keys and values of the application.
    pub attributes: BTreeMap<String, String>,
    /// What it is: a [`ParticipantKind`](lkstream_proto::participant::ParticipantKind).
    pub kind: i32,
    /// More about what it is.
    pub kind_details: Vec<i32>,
    /// What it may do.
    pub permission: ParticipantPermission,
    /// What its client says about itself; protocol and capabilities are shown to the others (protocol.md §5.3).
    pub client: ClientInfo,
}

impl Joining {
    /// An ordinary participant with every right of a token without restrictions, and a client that knows all streams.
    pub fn new(identity: impl Into<Identity>, random: [u8; 16]) -> Joining {
        Joining {
            random,
            identity: identity.into(),
            name: String::new(),
            metadata: String::new(),
            attributes: BTreeMap::new(),
            kind: 0,
            kind_details: Vec::new(),
            permission: ParticipantPermission {
                can_subscribe: true,
                can_publish: true,
                can_publish_data: true,
                ..ParticipantPermission::default()
            },
            client: ClientInfo {
                protocol: wire::PROTOCOL,
                client_protocol: wire::CLIENT_PROTOCOL,
                ..ClientInfo::default()
            },
        }
    }
}

/// Why a join was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The room is full.
    #[error("the room has {limit} participants already")]
    Full {
        /// Participants allowed.
        limit: usize,
    },
    /// The client's signalling is too old (protocol.md §2.18).
    #[error("client protocol {protocol}, at least {minimum} is needed")]
    Protocol {
        /// What the client speaks.
        protocol: i32,
        /// What this server speaks at least.
        minimum: i32,
    },
    /// The room was closed.
    #[error("the room is closed")]
    Closed,
}
