//! The numbers that the wire imposes, each with its unit and where it comes from.

use std::time::Duration;

/// Content bytes of a chunk at most; text is cut at the last character boundary below (protocol.md §5.2).
pub const CHUNK_BYTES: usize = 15_000;

/// Bytes of the serialised packet that carries a header at most; larger ones are refused at the
/// sender (protocol.md §5.2).
pub const HEADER_PACKET_BYTES: usize = 15_000;

/// Bytes of a packet that a client sends at most: the cap of the official clients (protocol.md §3.8).
pub const PACKET_BYTES: usize = 64_000;

/// Bytes of a packet that a server takes and hands on at most: the read buffer of the stock server,
/// which it also announces as `a=max-message-size` (protocol.md §3.8, §10.2).
pub const SERVER_PACKET_BYTES: usize = 65_535;

/// Bytes of a message that a client must be able to take to be in a room: a chunk, a header or a remote call, each with
/// what is around it (protocol.md §5.2, §6). Clients say what they take as `a=max-message-size`, official ones 64 KiB
/// and more.
pub const CLIENT_MESSAGE_BYTES: usize = 16_384;

/// Bytes of the argument or result of a remote call as a packet, at most (protocol.md §6).
pub const RPC_PAYLOAD_BYTES: usize = 15_360;

/// Bytes of an identity at most (protocol.md §1.4).
pub const IDENTITY_BYTES: usize = 256;

/// Bytes of a room name at most (protocol.md §1.4).
pub const ROOM_NAME_BYTES: usize = 256;

/// Bytes of a participant's display name at most (protocol.md §2.16).
pub const NAME_BYTES: usize = 256;

/// Bytes of a participant's or room's metadata at most (protocol.md §2.16, §7.2).
pub const METADATA_BYTES: usize = 512 * 1024;

/// Bytes of all keys and values of a participant's attributes at most (protocol.md §2.16).
pub const ATTRIBUTES_BYTES: usize = 64 * 1024;

/// Bytes of one signalling message at most (protocol.md §2.5).
pub const SIGNAL_BYTES: usize = 2 * 1024 * 1024;

/// Fields of the message inside a signalling message at most, participants above all. Ours: it keeps
/// what is decoded below about 16 MB, and is more than fit into [`SIGNAL_BYTES`] with real content.
pub const SIGNAL_FIELDS: usize = 32_768;

/// Bytes of a join request after inflation at most (protocol.md §2.3).
pub const JOIN_REQUEST_BYTES: usize = 1024 * 1024;

/// Bytes of what a client says about itself in a join request at most (`client_info`). Ours: a dozen short texts and
/// numbers, which official clients need 200 bytes for.
pub const CLIENT_INFO_BYTES: usize = 4096;

/// Capabilities of a client that a server shows to the others at most. Ours: two are known (protocol.md §2.6).
pub const CAPABILITIES: usize = 32;

/// Bytes of a nonce in a user packet, where there is one (protocol.md §7.2).
pub const NONCE_BYTES: usize = 16;

/// How far two clocks may differ when a token is judged (protocol.md §1.1).
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(60);

/// How long a token lives if nobody says otherwise: what the official helpers use (protocol.md §1.1).
pub const TOKEN_VALIDITY: Duration = Duration::from_secs(6 * 60 * 60);

/// How long a receiver remembers the last sequence number of a publisher (protocol.md §4.5).
pub const SEQUENCE_MEMORY: Duration = Duration::from_secs(30);

/// Time between two pings that the server asks for (protocol.md §2.7).
pub const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Silence after which the signalling link counts as dead (protocol.md §2.7).
pub const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Time between two WebSocket pings of the stock server (protocol.md §2.5).
pub const WEBSOCKET_PING_INTERVAL: Duration = Duration::from_secs(10);

/// How long a room lives that nobody ever joined (protocol.md §7.2).
pub const EMPTY_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a room lives after the last participant left (protocol.md §7.2).
pub const DEPARTURE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a participant may take from joining to active (protocol.md §2.9).
pub const ACTIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// The signalling protocol that we speak in both roles: the stock server's (protocol.md §0, §3.6).
pub const PROTOCOL: i32 = 17;

/// The lowest signalling protocol of a client that a server takes (protocol.md §2.18).
pub const PROTOCOL_MINIMUM: i32 = 13;

/// The stream features that we announce: inline streams (protocol.md §5.3).
pub const CLIENT_PROTOCOL: i32 = 2;

/// The version a server says it is: clients parse it and gate features on it (protocol.md §2.7).
pub const SERVER_VERSION: &str = "1.13.5";
