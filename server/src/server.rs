//! The handle an embedder holds.

use std::net::SocketAddr;

use crate::Config;

/// Why a server did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The TCP port for HTTP and WebSocket is taken.
    #[error("tcp port {} is in use on {}", .0.port(), .0.ip())]
    PortInUse(SocketAddr),
    /// The UDP port for data is taken.
    #[error("udp port {} is in use on {}", .0.port(), .0.ip())]
    RtcPortInUse(SocketAddr),
    /// Listening failed for another reason.
    #[error("can't listen on {addr}: {cause}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        cause: String,
    },
    /// A part of the server could not be set up.
    #[error("can't start the server: {0}")]
    Start(String),
}

/// A running server. Dropping it stops it at once, without telling the participants; [`shutdown`](Server::shutdown)
/// tells them.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    rtc_addr: SocketAddr,
}

impl Server {
    /// Starts a server inside the current tokio runtime, plus one thread for its data path. It accepts joins when this
    /// returns.
    ///
    /// # Errors
    /// [`SpawnError`], which names the port when one is in use.
    pub async fn spawn(config: Config) -> Result<Server, SpawnError> {
        let _ = config;
        Err(SpawnError::Start("not written yet".to_owned()))
    }

    /// Where HTTP and WebSocket listen.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the UDP port listens.
    pub fn rtc_addr(&self) -> SocketAddr {
        self.rtc_addr
    }

    /// What clients of this machine connect to: `ws://host:port`, loopback when bound to every interface.
    pub fn url(&self) -> String {
        let mut addr = self.addr;
        if addr.ip().is_unspecified() {
            addr.set_ip(match addr.ip() {
                std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("ws://{addr}")
    }

    /// Sends every participant a leave with reason `SERVER_SHUTDOWN`, closes everything at once and frees the ports.
    ///
    /// # Cancel safety
    /// Dropping the future stops the server as dropping it does.
    pub async fn shutdown(self) {}
}
