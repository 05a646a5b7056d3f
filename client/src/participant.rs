//! A participant as the signalling describes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::footprint;
use lkstream_engine::Capabilities;
use lkstream_proto::id::{Identity, ParticipantSid};
use lkstream_proto::participant::{ParticipantInfo, ParticipantKind, ParticipantState};

/// One participant of the room at one moment. A snapshot: later changes arrive as [`Event`](crate::Event)s.
///
/// Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Participant(pub(crate) Arc<Parts>);

/// What a participant consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Parts {
    pub(crate) identity: Identity,
    pub(crate) sid: ParticipantSid,
    pub(crate) name: String,
    pub(crate) metadata: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) state: State,
    pub(crate) kind: Kind,
    pub(crate) can_publish_data: bool,
    pub(crate) client_protocol: i32,
    pub(crate) inflates: bool,
    pub(crate) version: u32,
    pub(crate) is_shortened: bool,
}

/// How far a participant is (protocol.md §2.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum State {
    #[default]
    /// Known, its peer connection is not up yet. Reliable data sent to it now is kept for a short time only.
    Joined,
    /// Its peer connection is up.
    Active,
    /// Gone.
    Disconnected,
}

/// What sort of participant it is (protocol.md §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Kind {
    #[default]
    /// A user or a program.
    Standard,
    /// An agent of the agents framework.
    Agent,
    /// Something else: ingress, egress, a telephone, a bridge; the number on the wire.
    Other(i32),
}

impl Participant {
    /// The identity, unique in the room at one moment.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The id of this session of the participant; a full reconnect gets a new one.
    pub fn sid(&self) -> &ParticipantSid {
        &self.0.sid
    }

    /// The display name; may be empty.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The application's metadata; may be empty.
    pub fn metadata(&self) -> &str {
        &self.0.metadata
    }

    /// The application's attributes.
    pub fn attributes(&self) -> &BTreeMap<String, String> {
        &self.0.attributes
    }

    /// How far it is.
    pub fn state(&self) -> State {
        self.0.state
    }

    /// Whether its peer connection is up, so that data reaches it at once.
    pub fn is_active(&self) -> bool {
        self.0.state == State::Active
    }

    /// What sort of participant it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether it may publish data. For the others in the room this is known only as far as the server tells.
    pub fn can_publish_data(&self) -> bool {
        self.0.can_publish_data
    }

    /// Which generation of streams it understands (protocol.md §5.3).
    pub fn client_protocol(&self) -> i32 {
        self.0.client_protocol
    }

    /// Whether its name, metadata and attributes were left out, since those of all participants take more than 64 MiB.
    pub fn is_shortened(&self) -> bool {
        self.0.is_shortened
    }

    /// Whether it can inflate compressed streams (protocol.md §5.3).
    pub fn inflates(&self) -> bool {
        self.0.inflates
    }
}

impl Participant {
    /// What streams to it may look like.
    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities {
            client_protocol: self.client_protocol(),
            inflates: self.inflates(),
        }
    }

    /// From what the wire says.
    pub(crate) fn from_info(info: ParticipantInfo) -> Self {
        let inflates = info.inflates();
        let state = match ParticipantState::try_from(info.state) {
            Ok(ParticipantState::Active) => State::Active,
            Ok(ParticipantState::Disconnected) => State::Disconnected,
            _ => State::Joined,
        };
        let kind = match ParticipantKind::try_from(info.kind) {
            Ok(ParticipantKind::Standard) => Kind::Standard,
            Ok(ParticipantKind::Agent) => Kind::Agent,
            _ => Kind::Other(info.kind),
        };
        Participant(Arc::new(Parts {
            identity: info.identity.into(),
            sid: info.sid.into(),
            name: info.name,
            metadata: info.metadata,
            attributes: info.attributes,
            state,
            kind,
            can_publish_data: info
                .permission
                .is_none_or(|permission| permission.can_publish_data),
            client_protocol: info.client_protocol,
            inflates,
            version: info.version,
            is_shortened: false,
        }))
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn footprint(&self) -> usize {
        footprint::participant(&self.0)
    }

    /// Without what is only shown.
    pub(crate) fn shortened(&self) -> Self {
        let parts = &*self.0;
        Participant(Arc::new(Parts {
            identity: parts.identity.clone(),
            sid: parts.sid.clone(),
            name: String::new(),
            metadata: String::new(),
            attributes: BTreeMap::new(),
            is_shortened: true,
            ..*parts
        }))
    }
}
