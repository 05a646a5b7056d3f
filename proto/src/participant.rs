//! Participants as signalling shows them (protocol.md §2.6, §2.9).

use std::collections::BTreeMap;

/// What everybody in the room may know about a participant (protocol.md §2.6); tracks are left out.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ParticipantInfo {
    /// Session; starts with `PA_`.
    #[prost(string, tag = "1")]
    pub sid: String,
    /// Name in the application's world.
    #[prost(string, tag = "2")]
    pub identity: String,
    /// How far the session has come.
    #[prost(enumeration = "ParticipantState", tag = "3")]
    pub state: i32,
    /// Free text of the application, at most [`crate::limits::METADATA_BYTES`].
    #[prost(string, tag = "5")]
    pub metadata: String,
    /// When it joined, Unix seconds.
    #[prost(int64, tag = "6")]
    pub joined_at: i64,
    /// Name to show.
    #[prost(string, tag = "9")]
    pub name: String,
    /// Grows with each change; older ones are to be ignored (protocol.md §2.9).
    #[prost(uint32, tag = "10")]
    pub version: u32,
    /// What it may do.
    #[prost(message, optional, tag = "11")]
    pub permission: Option<ParticipantPermission>,
    /// Region of its server.
    #[prost(string, tag = "12")]
    pub region: String,
    /// It has sent something.
    #[prost(bool, tag = "13")]
    pub is_publisher: bool,
    /// What it is.
    #[prost(enumeration = "ParticipantKind", tag = "14")]
    pub kind: i32,
    /// Keys and values of the application.
    #[prost(btree_map = "string, string", tag = "15")]
    pub attributes: BTreeMap<String, String>,
    /// Why it left; only with [`ParticipantState::Disconnected`].
    #[prost(enumeration = "crate::disconnect::DisconnectReason", tag = "16")]
    pub disconnect_reason: i32,
    /// When it joined, Unix milliseconds.
    #[prost(int64, tag = "17")]
    pub joined_at_ms: i64,
    /// More about what it is.
    #[prost(enumeration = "KindDetail", repeated, tag = "18")]
    pub kind_details: Vec<i32>,
    /// Its [`ClientInfo::client_protocol`], copied by the server (protocol.md §5.3).
    #[prost(int32, tag = "20")]
    pub client_protocol: i32,
    /// Its [`ClientInfo::capabilities`], copied by the server (protocol.md §5.3).
    #[prost(enumeration = "Capability", repeated, tag = "21")]
    pub capabilities: Vec<i32>,
}

/// How far a session has come (protocol.md §2.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum ParticipantState {
    /// Created.
    Joining = 0,
    /// The join response was sent.
    Joined = 1,
    /// Its peer connection is up.
    Active = 2,
    /// It left.
    Disconnected = 3,
}

/// What a participant is (protocol.md §2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum ParticipantKind {
    /// A person or program of the application.
    Standard = 0,
    /// Brings media in.
    Ingress = 1,
    /// Takes media out.
    Egress = 2,
    /// A telephone.
    Sip = 3,
    /// An agent; may speak for others (protocol.md §4.3).
    Agent = 4,
    /// A connector.
    Connector = 7,
    /// A bridge.
    Bridge = 8,
}

/// More about what a participant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum KindDetail {
    /// An agent run by the cloud.
    CloudAgent = 0,
    /// Forwarded from another room.
    Forwarded = 1,
    /// WhatsApp.
    ConnectorWhatsapp = 2,
    /// Twilio.
    ConnectorTwilio = 3,
    /// An RTSP source.
    BridgeRtsp = 4,
    /// A simulation.
    Simulation = 5,
}

/// What a participant may do (protocol.md §1.1).
#[derive(Clone, PartialEq, prost::Message)]
pub struct ParticipantPermission {
    /// Subscribe to tracks; does not gate data (protocol.md §4.3).
    #[prost(bool, tag = "1")]
    pub can_subscribe: bool,
    /// Publish tracks.
    #[prost(bool, tag = "2")]
    pub can_publish: bool,
    /// Send data packets.
    #[prost(bool, tag = "3")]
    pub can_publish_data: bool,
    /// Never announced to others.
    #[prost(bool, tag = "7")]
    pub hidden: bool,
    /// Deprecated: is a recorder.
    #[prost(bool, tag = "8")]
    pub recorder: bool,
    /// Track sources it may publish; empty for all.
    #[prost(enumeration = "TrackSource", repeated, tag = "9")]
    pub can_publish_sources: Vec<i32>,
    /// Change its own name, metadata and attributes.
    #[prost(bool, tag = "10")]
    pub can_update_metadata: bool,
    /// Deprecated: is an agent.
    #[prost(bool, tag = "11")]
    pub agent: bool,
    /// Receive metrics.
    #[prost(bool, tag = "12")]
    pub can_subscribe_metrics: bool,
    /// Manage an agent's session.
    #[prost(bool, tag = "13")]
    pub can_manage_agent_session: bool,
}

/// Where a track comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum TrackSource {
    /// Not said.
    Unknown = 0,
    /// A camera.
    Camera = 1,
    /// A microphone.
    Microphone = 2,
    /// A screen.
    ScreenShare = 3,
    /// The sound of a screen.
    ScreenShareAudio = 4,
}

/// What a client says about itself when it joins (protocol.md §2.4, §2.6).
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClientInfo {
    /// Which library.
    #[prost(enumeration = "Sdk", tag = "1")]
    pub sdk: i32,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Signalling protocol (protocol.md §2.18).
    #[prost(int32, tag = "3")]
    pub protocol: i32,
    /// Operating system.
    #[prost(string, tag = "4")]
    pub os: String,
    /// Its version.
    #[prost(string, tag = "5")]
    pub os_version: String,
    /// Device.
    #[prost(string, tag = "6")]
    pub device_model: String,
    /// Browser.
    #[prost(string, tag = "7")]
    pub browser: String,
    /// Its version.
    #[prost(string, tag = "8")]
    pub browser_version: String,
    /// Address, filled in by servers.
    #[prost(string, tag = "9")]
    pub address: String,
    /// Kind of network, empty if not known.
    #[prost(string, tag = "10")]
    pub network: String,
    /// Other LiveKit libraries on top.
    #[prost(string, tag = "11")]
    pub other_sdks: String,
    /// Stream features: 0 legacy, 1 remote calls over streams, 2 inline streams (protocol.md §5.3).
    #[prost(int32, tag = "12")]
    pub client_protocol: i32,
    /// What it can do beyond.
    #[prost(enumeration = "Capability", repeated, tag = "13")]
    pub capabilities: Vec<i32>,
}

/// A client library (protocol.md §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[allow(missing_docs)] // The names say it all.
#[non_exhaustive]
pub enum Sdk {
    Unknown = 0,
    Js = 1,
    Swift = 2,
    Android = 3,
    Flutter = 4,
    Go = 5,
    Unity = 6,
    ReactNative = 7,
    Rust = 8,
    Python = 9,
    Cpp = 10,
    UnityWeb = 11,
    Node = 12,
    Unreal = 13,
    Esp32 = 14,
    Dotnet = 15,
}

/// What a client can do beyond its protocol numbers (protocol.md §2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
#[non_exhaustive]
pub enum Capability {
    /// Nothing.
    Unused = 0,
    /// Media only.
    PacketTrailer = 1,
    /// It inflates raw DEFLATE streams (protocol.md §5.3).
    CompressionDeflateRaw = 2,
}

impl ParticipantInfo {
    /// Whether it can inflate raw DEFLATE streams (protocol.md §5.3).
    pub fn inflates(&self) -> bool {
        self.capabilities
            .contains(&(Capability::CompressionDeflateRaw as i32))
    }
}

impl KindDetail {
    /// By the name a token has, in any case (protocol.md §1.1).
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "cloud_agent" => Self::CloudAgent,
            "forwarded" => Self::Forwarded,
            "connector_whatsapp" => Self::ConnectorWhatsapp,
            "connector_twilio" => Self::ConnectorTwilio,
            "bridge_rtsp" => Self::BridgeRtsp,
            "simulation" => Self::Simulation,
            _ => return None,
        })
    }
}

impl TrackSource {
    /// By the name a token has, in any case (protocol.md §1.1).
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "camera" => Self::Camera,
            "microphone" => Self::Microphone,
            "screen_share" => Self::ScreenShare,
            "screen_share_audio" => Self::ScreenShareAudio,
            _ => return None,
        })
    }
}

impl Capability {
    /// By the name in the query of `/rtc` (protocol.md §2.2, §2.4).
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "CAP_PACKET_TRAILER" => Self::PacketTrailer,
            "CAP_COMPRESSION_DEFLATE_RAW" => Self::CompressionDeflateRaw,
            _ => return None,
        })
    }

    /// The name in the query of `/rtc`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unused => "CAP_UNUSED",
            Self::PacketTrailer => "CAP_PACKET_TRAILER",
            Self::CompressionDeflateRaw => "CAP_COMPRESSION_DEFLATE_RAW",
        }
    }
}

/// Libraries by their names in the query of `/rtc` (protocol.md §2.2).
const SDK_NAMES: [(Sdk, &str); 15] = [
    (Sdk::Js, "js"),
    (Sdk::Swift, "swift"),
    (Sdk::Android, "android"),
    (Sdk::Flutter, "flutter"),
    (Sdk::Go, "go"),
    (Sdk::Unity, "unity"),
    (Sdk::ReactNative, "reactnative"),
    (Sdk::Rust, "rust"),
    (Sdk::Python, "python"),
    (Sdk::Cpp, "cpp"),
    (Sdk::UnityWeb, "unityweb"),
    (Sdk::Node, "node"),
    (Sdk::Unreal, "unreal"),
    (Sdk::Esp32, "esp32"),
    (Sdk::Dotnet, "dotnet"),
];

impl Sdk {
    /// By the name in the query of `/rtc`; anything unknown is [`Sdk::Unknown`].
    pub fn from_name(name: &str) -> Self {
        match name {
            "ios" => Self::Swift,
            _ => SDK_NAMES
                .iter()
                .find(|(_, known)| *known == name)
                .map_or(Self::Unknown, |(sdk, _)| *sdk),
        }
    }

    /// The name in the query of `/rtc`, empty for [`Sdk::Unknown`].
    pub fn name(self) -> &'static str {
        SDK_NAMES
            .iter()
            .find(|(known, _)| *known == self)
            .map_or("", |(_, name)| name)
    }
}
