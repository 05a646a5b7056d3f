//! Why sessions end.

/// Why a session ended (protocol.md §2.6, §2.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// Not said.
    Unknown = 0,
    /// The client left.
    ClientInitiated = 1,
    /// Someone with the same identity joined.
    DuplicateIdentity = 2,
    /// The server stops.
    ServerShutdown = 3,
    /// An administrator removed it.
    ParticipantRemoved = 4,
    /// An administrator closed the room.
    RoomDeleted = 5,
    /// The server does not know the session.
    StateMismatch = 6,
    /// It never connected fully.
    JoinFailure = 7,
    /// It shall connect elsewhere.
    Migration = 8,
    /// Its WebSocket closed.
    SignalClose = 9,
    /// The room ended by itself.
    RoomClosed = 10,
    /// Telephone: nobody answered.
    UserUnavailable = 11,
    /// Telephone: busy.
    UserRejected = 12,
    /// Telephone: protocol failure.
    SipTrunkFailure = 13,
    /// Its peer connection was lost.
    ConnectionTimeout = 14,
    /// Media failed.
    MediaFailure = 15,
    /// An agent failed.
    AgentError = 16,
}
