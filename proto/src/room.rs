//! Rooms and servers as signalling shows them (protocol.md §2.6, §2.7).

/// What everybody in a room may know about it (protocol.md §2.6); codecs and media are left out.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Room {
    /// One lifetime of the room; starts with `RM_`.
    #[prost(string, tag = "1")]
    pub sid: String,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Seconds it lives if nobody ever joins.
    #[prost(uint32, tag = "3")]
    pub empty_timeout: u32,
    /// How many may join, 0 for no limit.
    #[prost(uint32, tag = "4")]
    pub max_participants: u32,
    /// When it was created, Unix seconds.
    #[prost(int64, tag = "5")]
    pub creation_time: i64,
    /// Free text of the application.
    #[prost(string, tag = "8")]
    pub metadata: String,
    /// How many are in it, without helpers.
    #[prost(uint32, tag = "9")]
    pub num_participants: u32,
    /// Someone records it.
    #[prost(bool, tag = "10")]
    pub active_recording: bool,
    /// How many of them send.
    #[prost(uint32, tag = "11")]
    pub num_publishers: u32,
    /// Seconds it lives after the last one left.
    #[prost(uint32, tag = "14")]
    pub departure_timeout: u32,
    /// When it was created, Unix milliseconds.
    #[prost(int64, tag = "15")]
    pub creation_time_ms: i64,
}

/// What a server says about itself (protocol.md §2.6, §2.7).
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServerInfo {
    /// Open source or cloud.
    #[prost(enumeration = "Edition", tag = "1")]
    pub edition: i32,
    /// A semantic version; clients gate features on it.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Signalling protocol.
    #[prost(int32, tag = "3")]
    pub protocol: i32,
    /// Where it is.
    #[prost(string, tag = "4")]
    pub region: String,
    /// Which one it is; starts with `ND_`.
    #[prost(string, tag = "5")]
    pub node_id: String,
    /// For developers.
    #[prost(string, tag = "6")]
    pub debug_info: String,
    /// Protocol towards agent workers.
    #[prost(int32, tag = "7")]
    pub agent_protocol: i32,
}

/// Who runs a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum Edition {
    /// Anybody.
    Standard = 0,
    /// LiveKit's cloud.
    Cloud = 1,
}
