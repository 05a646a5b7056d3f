//! Why a room ended.

use lkstream_engine::Lost;
use lkstream_proto::disconnect::DisconnectReason;

use crate::session::End;

/// Why a room ended, for everybody who still holds a part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnected {
    /// [`Room::close`](crate::Room::close) was called, or the last handle was dropped.
    #[error("closed by this program")]
    Closed,
    /// The server sent a leave (protocol.md §2.13).
    #[error("the server closed the connection: {}", words(*reason))]
    ByServer {
        /// The reason on the wire.
        reason: DisconnectReason,
        /// What the server suggests to do next.
        advice: Advice,
    },
    /// The signalling connection was lost, or its peer stayed silent for the announced time.
    #[error("the signalling connection was lost: {cause}")]
    SignallingLost {
        /// What happened.
        cause: String,
    },
    /// The peer connection that carries the data was lost.
    #[error("the data connection was lost: {cause}")]
    TransportLost {
        /// What happened.
        cause: String,
    },
    /// The participants of the room take more than 128 MiB of memory, even without their metadata.
    #[error("the room is too large: {participants} participants take more than 128 MiB")]
    RoomTooLarge {
        /// How many of them were known.
        participants: usize,
    },
    /// The runtime that drove the room was shut down.
    #[error("the runtime that drove the room was shut down")]
    DriverGone,
}

/// What a server's leave suggests (protocol.md §2.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// Stay away.
    Stop,
    /// Come back to the same session.
    Resume,
    /// Join again with a new session.
    Rejoin,
}

impl Disconnected {
    /// The same for the engine, whose streams end with it.
    pub(crate) fn to_lost(&self) -> Lost {
        match self {
            Disconnected::Closed => Lost::Left,
            Disconnected::ByServer { reason, .. } => Lost::ClosedByServer {
                reason: words(*reason).into(),
            },
            Disconnected::SignallingLost { .. }
            | Disconnected::TransportLost { .. }
            | Disconnected::RoomTooLarge { .. }
            | Disconnected::DriverGone => Lost::Transport {
                cause: self.to_string().into(),
            },
        }
    }
}

impl From<&End> for Disconnected {
    fn from(end: &End) -> Self {
        match end {
            End::Left => Disconnected::Closed,
            End::ByServer { reason, advice } => Disconnected::ByServer {
                reason: *reason,
                advice: *advice,
            },
            End::Silent { limit } => Disconnected::SignallingLost {
                cause: format!("the server said nothing for {} s", limit.as_secs()),
            },
            End::SignallingLost { cause } => Disconnected::SignallingLost {
                cause: cause.clone(),
            },
            End::TransportLost { cause } => Disconnected::TransportLost {
                cause: cause.clone(),
            },
            End::JoinTimedOut { limit } => Disconnected::SignallingLost {
                cause: format!("no join response within {limit:?}"),
            },
            End::TransportTimedOut { limit } => Disconnected::TransportLost {
                cause: format!("not connected within {limit:?}"),
            },
            End::RoomTooLarge { participants } => Disconnected::RoomTooLarge {
                participants: *participants,
            },
            End::BadJoin { problem } => Disconnected::SignallingLost {
                cause: (*problem).to_owned(),
            },
        }
    }
}

/// The reason in plain words.
fn words(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::ClientInitiated => "this client left",
        DisconnectReason::DuplicateIdentity => "another participant joined with the same identity",
        DisconnectReason::ServerShutdown => "the server is shutting down",
        DisconnectReason::ParticipantRemoved => "the participant was removed",
        DisconnectReason::RoomDeleted => "the room was deleted",
        DisconnectReason::StateMismatch => "the session is out of step, a new join is needed",
        DisconnectReason::JoinFailure => "the join did not complete",
        DisconnectReason::Migration => "the room moves to another server",
        DisconnectReason::SignalClose => "the signalling connection closed",
        DisconnectReason::RoomClosed => "the room was closed",
        DisconnectReason::ConnectionTimeout => "the data connection timed out",
        _ => "no reason given",
    }
}
