//! From a URL and a token to a running room.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use lkstream_engine::Engine;
use lkstream_engine::encryption::Keyring;
use lkstream_proto::join::Join;
use lkstream_proto::packet::Channel;
use lkstream_proto::participant::{Capability, ClientInfo, Sdk};
use lkstream_proto::signal::SessionDescription;
use lkstream_transport::udp::Socket;
use lkstream_transport::{Certificate, ChannelConfig, Credentials, Peer, PeerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::builder::RoomBuilder;
use crate::candidates::{self, Families};
use crate::datagrams::Datagrams;
use crate::dial::dial;
use crate::driver::Driver;
use crate::handlers::Serving;
use crate::session::Session;
use crate::shared::Shared;
use crate::upgrade::{Io, WebSocket, upgrade};
use crate::url::ServerUrl;
use crate::{ConnectError, ConnectStep, Room};

/// The signalling protocol we say we speak: 18 would mean negotiated channels (protocol.md §3.6, §10.2).
const PROTOCOL: i32 = 17;

/// Inline single-packet streams (protocol.md §5.3).
const CLIENT_PROTOCOL: i32 = 2;

/// Number of the offer in the join request; later ones count up (protocol.md §2.4).
const FIRST_OFFER: u32 = 1;

/// Joins as the builder says.
pub(crate) async fn connect(builder: RoomBuilder) -> Result<Room, ConnectError> {
    let server =
        ServerUrl::parse(&builder.url).map_err(|problem| ConnectError::InvalidUrl { problem })?;
    let token = builder.token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConnectError::InvalidToken);
    }

    let limit = builder.signalling_timeout;
    let (websocket, datagrams, peer) = match tokio::time::timeout(limit, open(&server, token)).await
    {
        Ok(opened) => opened?,
        Err(_) => {
            return Err(ConnectError::TimedOut {
                step: ConnectStep::Signalling,
                limit,
            });
        }
    };

    let engine = Engine::new(builder.engine, rand::random());
    let engine = match builder.keyring {
        Some(keyring) => engine.encrypted(derived(keyring).await?),
        None => engine,
    };
    let session = Session::new(Instant::now(), builder.session);
    let shared = Shared::new(engine, session, tokio::runtime::Handle::current());
    {
        let mut state = shared.lock();
        state.prepare(builder.listeners);
        for (method, handler) in builder.handlers {
            state.on_rpc(method, handler);
        }
    }
    let serving: Vec<Serving> = builder
        .stream_handlers
        .into_iter()
        .map(|register| register(&shared))
        .collect();
    let mut driver = Driver::new(shared.clone(), websocket, datagrams, peer);
    std::future::poll_fn(|cx| driver.poll_started(cx)).await?;
    tokio::spawn(driver);
    for each in serving {
        tokio::spawn(each);
    }
    Ok(Room::new(shared))
}

/// The keyring with its keys derived, which takes too long for the thread of other tasks.
async fn derived(keyring: Keyring) -> Result<Keyring, ConnectError> {
    let deriving = tokio::task::spawn_blocking(move || {
        keyring.derive_keys();
        keyring
    });
    deriving.await.map_err(thread_ended)
}

/// Opens the sockets, and the WebSocket with our offer in its query.
async fn open(
    server: &ServerUrl,
    token: &str,
) -> Result<(WebSocket, Datagrams, Peer), ConnectError> {
    let stream = connect_tcp(server).await?;
    let remote = stream.peer_addr().map_err(unreachable)?;
    let (datagrams, families) = bind(remote).map_err(local)?;
    let port = datagrams.local_port().map_err(local)?;

    let mut random = [0; 48];
    rand::fill(&mut random[..]);
    let mut config = PeerConfig::new(certificate()?, Credentials::from_random(random));
    config.candidates = candidates::local(port, families, remote.ip());
    config.channels = vec![
        ChannelConfig::reliable(Channel::Reliable.label()),
        ChannelConfig::lossy(Channel::Lossy.label()),
    ];
    let (peer, offer) =
        Peer::offer(Instant::now(), config).map_err(|error| ConnectError::DataConnection {
            cause: error.to_string(),
        })?;

    let mut join = Join::new(client_info());
    join.offer = Some(SessionDescription {
        r#type: "offer".into(),
        sdp: offer,
        id: FIRST_OFFER,
        ..Default::default()
    });
    let query = join.to_query();

    let stream: Box<dyn Io> = if server.is_tls {
        Box::new(connect_tls(server, stream).await?)
    } else {
        Box::new(stream)
    };
    let websocket = upgrade(stream, server, token, &query).await?;
    Ok((websocket, datagrams, peer))
}

async fn connect_tcp(server: &ServerUrl) -> Result<TcpStream, ConnectError> {
    let addresses = tokio::net::lookup_host((server.host.as_str(), server.port))
        .await
        .map_err(|error| ConnectError::NameResolution {
            cause: error.into(),
        })?;
    dial(addresses).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ConnectError::NameResolution {
            cause: error.into(),
        },
        _ => unreachable(error),
    })
}

async fn connect_tls(
    server: &ServerUrl,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ConnectError> {
    let failed = |cause: io::Error| ConnectError::Tls {
        cause: cause.into(),
    };
    // Reads the root certificates of the system from its files.
    let config = tokio::task::spawn_blocking(tls_config)
        .await
        .map_err(thread_ended)?
        .map_err(|error| failed(io::Error::other(error)))?;
    let name = rustls::pki_types::ServerName::try_from(server.host.clone()).map_err(|_| {
        ConnectError::InvalidUrl {
            problem: "its host is no name a certificate could have",
        }
    })?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(failed)
}

fn tls_config() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new(provider.clone())?;
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// An IPv4 socket, unless the server was reached over IPv6: then one for both, if the system has such.
fn bind(remote: SocketAddr) -> io::Result<(Datagrams, Families)> {
    if remote.ip().to_canonical().is_ipv6() {
        match Socket::bind((Ipv6Addr::UNSPECIFIED, 0).into()).and_then(Datagrams::new) {
            Ok(datagrams) => return Ok((datagrams, Families::Both)),
            Err(error) => tracing::debug!(%error, "no ipv6 socket"),
        }
    }
    let socket = Socket::bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
    Ok((Datagrams::new(socket)?, Families::V4))
}

/// The certificate that all rooms of this process share: making one costs more than using it.
fn certificate() -> Result<Arc<Certificate>, ConnectError> {
    static CERTIFICATE: OnceLock<Arc<Certificate>> = OnceLock::new();
    if let Some(certificate) = CERTIFICATE.get() {
        return Ok(certificate.clone());
    }
    let certificate = Certificate::generate().map_err(|error| local(io::Error::other(error)))?;
    Ok(CERTIFICATE.get_or_init(|| Arc::new(certificate)).clone())
}

fn client_info() -> ClientInfo {
    ClientInfo {
        sdk: Sdk::Rust.into(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        os: std::env::consts::OS.to_owned(),
        client_protocol: CLIENT_PROTOCOL,
        capabilities: vec![Capability::CompressionDeflateRaw.into()],
        ..ClientInfo::default()
    }
}

fn unreachable(error: io::Error) -> ConnectError {
    ConnectError::Unreachable {
        cause: error.into(),
    }
}

fn thread_ended(_: tokio::task::JoinError) -> ConnectError {
    ConnectError::Local {
        cause: io::Error::other("a blocking thread ended before its work").into(),
    }
}

fn local(error: io::Error) -> ConnectError {
    ConnectError::Local {
        cause: error.into(),
    }
}
