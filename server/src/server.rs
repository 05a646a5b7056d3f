//! The handle of a running server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use lkstream_proto::limits;
use lkstream_proto::token::{ApiKeys, Claims, SignError};
use lkstream_transport::Certificate;
use lkstream_transport::udp::Socket;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::accept;
use crate::config::{Config, LoopbackCandidates};
use crate::http::Front;
use crate::journal::Journal;
use crate::stats::{Shared, Stats};
use crate::worker::{COMMANDS, Command, Options, Worker};

/// Longest wait for the links to write their last messages when the server shuts down.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
    /// There is no address to offer to clients.
    #[error("no network address to offer to clients, give one with node_ips")]
    NoAddress,
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
    keys: Arc<ApiKeys>,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    /// Its drop ends the accepting of connections and idle ones.
    open: Option<oneshot::Sender<()>>,
    /// The WebSocket tasks hold clones of it.
    alive: Option<mpsc::Sender<()>>,
    /// Ends when the last WebSocket task has.
    links: mpsc::Receiver<()>,
    /// Its drop stops the worker.
    stop: Option<oneshot::Sender<()>>,
    /// Ends when the worker has freed its port.
    stopped: oneshot::Receiver<()>,
}

impl Server {
    /// Starts a server inside the current tokio runtime, plus one thread for its data path. It accepts joins when this
    /// returns.
    ///
    /// # Errors
    /// [`SpawnError`], which names the port when one is in use. Nothing is left running then.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready leaves nothing running.
    pub async fn spawn(config: Config) -> Result<Server, SpawnError> {
        let wanted = SocketAddr::new(config.bind, config.port);
        let listener = TcpListener::bind(wanted)
            .await
            .map_err(|error| bind_error(wanted, &error, SpawnError::PortInUse))?;
        let addr = listener.local_addr().map_err(|error| start(&error))?;

        let wanted = SocketAddr::new(config.bind, config.rtc_port);
        let socket = Socket::bind(wanted)
            .map_err(|error| bind_error(wanted, &error, SpawnError::RtcPortInUse))?;
        let rtc_addr = socket.local_addr().map_err(|error| start(&error))?;
        if socket.buffer_sizes().is_short() {
            tracing::warn!(
                granted = socket.buffer_sizes().receive,
                "the system grants a small UDP receive buffer; bursts will be lost (Linux: raise net.core.rmem_max)"
            );
        }
        let candidates = candidates(&config, rtc_addr)?;
        tracing::info!(%addr, %rtc_addr, ?candidates, "listening");

        let keys = Arc::new(config.keys);
        let journal = Arc::new(Journal::default());
        let certificate = Certificate::generate().map_err(|error| start(&error))?;
        let options = Options {
            socket,
            certificate: Arc::new(certificate),
            candidates,
            limits: config.room.clone(),
            max_rooms: config.max_rooms,
            max_rooms_per_identity: config.max_rooms_per_identity,
            journal: Arc::clone(&journal),
            #[cfg(test)]
            trap: None,
            node_id: node_id(),
            keys: Arc::clone(&keys),
        };
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (stop, stop_asked) = oneshot::channel::<()>();
        let (stopping, stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        std::thread::Builder::new()
            .name("lkstream-worker".to_owned())
            .spawn(move || {
                work(options, inbox, stop_asked, ready);
                let _ = stopping.send(());
            })
            .map_err(|error| start(&error))?;
        match is_ready.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(start(&error)),
            Err(_) => return Err(SpawnError::Start("the worker ended".to_owned())),
        }

        let shared = Arc::new(Shared::default());
        let (alive, links) = mpsc::channel(1);
        let front = Front {
            keys: Arc::clone(&keys),
            commands: commands.clone(),
            shared: Arc::clone(&shared),
            journal,
            signal: Arc::new(config.signal),
            joins: Arc::new(Semaphore::new(
                config.http.joins.clamp(1, Semaphore::MAX_PERMITS),
            )),
            alive: alive.downgrade(),
        };
        let (open, closing) = oneshot::channel::<()>();
        let accepting = tokio::spawn(accept::run(listener, config.http, front, closing));
        Ok(Server {
            addr,
            rtc_addr,
            keys,
            commands,
            shared,
            accepting,
            open: Some(open),
            alive: Some(alive),
            links,
            stop: Some(stop),
            stopped,
        })
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
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("ws://{addr}")
    }

    /// A token with which `identity` may join `room` of this server for 6 hours, and publish and receive there. It is
    /// signed with the first of [`Config::keys`], in the order of their names; for other rights, sign
    /// [`Claims`] yourself.
    ///
    /// # Errors
    /// [`SignError`] when the server has no key.
    pub fn token(&self, room: &str, identity: &str) -> Result<String, SignError> {
        let claims = Claims::join(identity, room, SystemTime::now(), limits::TOKEN_VALIDITY);
        let key = self.keys.names().next().unwrap_or_default();
        self.keys.sign(&claims, key)
    }

    /// Counters since the start, and what it holds now.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn stats(&self) -> Stats {
        let (reply, answer) = oneshot::channel();
        let mut stats = match self.commands.send(Command::Stats(reply)).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Stats::default(),
        };
        self.shared.add_to(&mut stats);
        stats
    }

    /// Sends every participant a leave with reason `SERVER_SHUTDOWN`, closes everything at once and frees the ports.
    ///
    /// # Cancel safety
    /// Dropping the future stops the server as dropping it does.
    pub async fn shutdown(mut self) {
        self.open.take();
        self.alive.take();
        let (done, is_done) = oneshot::channel();
        if self.commands.send(Command::Shutdown(done)).await.is_ok() {
            let _ = is_done.await;
        }
        let _ = (&mut self.stopped).await;
        let last_words = async {
            let _ = self.links.recv().await;
            let _ = (&mut self.accepting).await;
        };
        let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
        self.accepting.abort();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.open.take();
        self.stop.take();
    }
}

/// The worker's thread.
fn work(
    options: Options,
    inbox: mpsc::Receiver<Command>,
    stop: oneshot::Receiver<()>,
    ready: oneshot::Sender<io::Result<()>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    runtime.block_on(async move {
        match Worker::new(options) {
            Ok(worker) => {
                let _ = ready.send(Ok(()));
                let run = AssertUnwindSafe(async {
                    tokio::select! {
                        () = worker.run(inbox) => {}
                        _ = stop => {}
                    }
                });
                if run.catch_unwind().await.is_err() {
                    tracing::error!("the worker broke: nobody can join any more, and all are cut");
                }
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    });
}

fn start(error: &impl ToString) -> SpawnError {
    SpawnError::Start(error.to_string())
}

fn bind_error(
    addr: SocketAddr,
    error: &io::Error,
    in_use: fn(SocketAddr) -> SpawnError,
) -> SpawnError {
    if error.kind() == io::ErrorKind::AddrInUse {
        return in_use(addr);
    }
    SpawnError::Listen {
        addr,
        cause: error.to_string(),
    }
}

/// The addresses clients are told (protocol.md §3.3).
fn candidates(config: &Config, rtc_addr: SocketAddr) -> Result<Vec<SocketAddr>, SpawnError> {
    let port = rtc_addr.port();
    let addresses: Vec<IpAddr> = if !config.node_ips.is_empty() {
        config.node_ips.clone()
    } else if !rtc_addr.ip().is_unspecified() {
        vec![rtc_addr.ip()]
    } else {
        let interfaces = if_addrs::get_if_addrs().map_err(|error| start(&error))?;
        interfaces
            .iter()
            .filter(|interface| {
                config.loopback == LoopbackCandidates::Offer || !interface.is_loopback()
            })
            .map(if_addrs::Interface::ip)
            .filter(|ip| ip.is_ipv4() || (rtc_addr.is_ipv6() && !is_link_local(*ip)))
            .collect()
    };
    if addresses.is_empty() {
        return Err(SpawnError::NoAddress);
    }
    Ok(addresses
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port))
        .collect())
}

/// Link-local addresses need a zone, which candidates have no place for.
fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn node_id() -> String {
    let sid = lkstream_proto::id::RoomSid::generate(rand::random());
    format!("ND_{}", sid.as_str().trim_start_matches("RM_"))
}
