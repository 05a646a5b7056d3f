//! The settings of a server.

use std::net::{IpAddr, Ipv4Addr};

use lkstream_proto::token::ApiKeys;

use crate::accept::HttpLimits;
use crate::link::SignalLimits;
use crate::room;

/// The API key of [`Config::dev`] (protocol.md §1.3).
pub const DEV_API_KEY: &str = "devkey";
/// The secret of [`DEV_API_KEY`] (protocol.md §1.3). Public knowledge: never serve others with it.
pub const DEV_API_SECRET: &str = "secret";

/// Settings of a [`Server`](crate::Server). Start from [`Config::new`] or [`Config::dev`] and change the fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Address the HTTP port and the UDP port listen on. An unspecified address means every interface.
    pub bind: IpAddr,
    /// TCP port for HTTP and WebSocket; 0 picks a free one.
    pub port: u16,
    /// UDP port for ICE, DTLS and SCTP; 0 picks a free one.
    pub rtc_port: u16,
    /// Addresses to offer as ICE candidates instead of the ones found on this machine, for a server behind a static
    /// address translation. Empty: the bound address, or every interface's when [`bind`](Self::bind) is unspecified.
    pub node_ips: Vec<IpAddr>,
    /// Whether loopback addresses are offered as candidates when [`bind`](Self::bind) is unspecified.
    pub loopback: LoopbackCandidates,
    /// Most rooms at once; at the limit the room gives way that has been empty longest, and a
    /// join gets 503 when there is none. Default 10 000.
    pub max_rooms: usize,
    /// Most rooms that one identity may be in at once with tokens that name no room, each of which opens any; a join to
    /// make one more gets 503. Default 16.
    pub max_rooms_per_identity: usize,
    /// Bounds of the HTTP port, for those who have not joined above all.
    pub http: HttpLimits,
    /// Bounds of each signal link.
    pub signal: SignalLimits,
    /// Limits of each room, its empty and departure timeouts included.
    pub room: room::Limits,
    /// API keys whose tokens are accepted.
    pub keys: ApiKeys,
}

/// Whether a server that listens on every interface offers its loopback addresses to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopbackCandidates {
    /// Offer them: clients on the same machine connect without leaving it.
    Offer,
    /// Leave them out: for clients elsewhere they are only failing checks.
    Omit,
}

impl Config {
    /// A server without keys on every interface, ports 7880 (TCP) and 7882 (UDP). Nobody can join before
    /// [`add_key`](Self::add_key).
    pub fn new() -> Config {
        Config {
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 7880,
            rtc_port: 7882,
            node_ips: Vec::new(),
            loopback: LoopbackCandidates::Omit,
            max_rooms: 10_000,
            max_rooms_per_identity: 16,
            http: HttpLimits::default(),
            signal: SignalLimits::default(),
            room: room::Limits::default(),
            keys: ApiKeys::new(),
        }
    }

    /// A server for development: loopback only, key [`DEV_API_KEY`], secret [`DEV_API_SECRET`], ports 7880 and 7882.
    pub fn dev() -> Config {
        let mut config = Config::new();
        config.bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
        config.loopback = LoopbackCandidates::Offer;
        config.add_key(DEV_API_KEY, DEV_API_SECRET);
        config
    }

    /// The same settings with both ports picked by the system; see [`Server::url`](crate::Server::url).
    pub fn with_free_ports(mut self) -> Config {
        self.port = 0;
        self.rtc_port = 0;
        self
    }

    /// Accepts tokens of one more API key. A key given twice keeps the last secret; empty ones are left out.
    pub fn add_key(&mut self, key: impl Into<String>, secret: impl Into<String>) -> &mut Config {
        self.keys.insert(key, secret);
        self
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}
