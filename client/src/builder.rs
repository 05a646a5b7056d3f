//! Options for joining a room.

use std::future::Future;
use std::time::Duration;

use lkstream_engine::encryption::Keyring;
use lkstream_engine::{RpcError, StreamKind, TopicFilter};

use crate::handlers::Prepared;
use crate::rpc::{self, Handler, RpcInvocation};
use crate::session::SessionConfig;
use crate::{ConnectError, Room, StreamLimits};

/// A join that is being prepared; see [`Room::builder`].
pub struct RoomBuilder {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) listeners: Vec<(StreamKind, TopicFilter)>,
    pub(crate) engine: lkstream_engine::Config,
    pub(crate) keyring: Option<Keyring>,
    pub(crate) session: SessionConfig,
    pub(crate) signalling_timeout: Duration,
    pub(crate) handlers: Vec<(String, Handler)>,
    pub(crate) stream_handlers: Vec<Prepared>,
}

impl std::fmt::Debug for RoomBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the token nor a URL, which may hold one.
        f.debug_struct("RoomBuilder")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

impl RoomBuilder {
    pub(crate) fn new(url: &str, token: &str) -> Self {
        RoomBuilder {
            url: url.to_owned(),
            token: token.to_owned(),
            listeners: Vec::new(),
            engine: lkstream_engine::Config::default(),
            keyring: None,
            session: SessionConfig::default(),
            signalling_timeout: Duration::from_secs(5),
            handlers: Vec::new(),
            stream_handlers: Vec::new(),
        }
    }

    /// Registers for text streams before anything can arrive; [`Room::text_streams`] with the same filter takes over.
    #[must_use]
    pub fn texts(mut self, topics: impl Into<TopicFilter>) -> Self {
        self.listeners.push((StreamKind::Text, topics.into()));
        self
    }

    /// Registers for byte streams before anything can arrive; [`Room::byte_streams`] with the same filter takes over.
    #[must_use]
    pub fn bytes(mut self, topics: impl Into<TopicFilter>) -> Self {
        self.listeners.push((StreamKind::Bytes, topics.into()));
        self
    }

    /// Serves a method before anybody can call it; see [`Room::on_rpc`].
    #[must_use]
    pub fn on_rpc<F, R>(mut self, method: impl Into<String>, handler: F) -> Self
    where
        F: Fn(RpcInvocation) -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, RpcError>> + Send + 'static,
    {
        self.handlers.push((method.into(), rpc::boxed(handler)));
        self
    }

    /// Sets the limits of the streams: budgets, time limits and numbers. Change fields of `StreamLimits::default()`.
    #[must_use]
    pub fn stream_limits(mut self, limits: StreamLimits) -> Self {
        self.engine = limits;
        self
    }

    /// Encrypts everything sent between the participants, so that the server cannot read it, and opens what they
    /// encrypted (protocol.md §5.8). What comes in the clear is refused, unless the keyring says otherwise.
    /// [`Room::with_keyring`] changes keys later.
    #[must_use]
    pub fn encryption(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// How long TCP, TLS and the WebSocket upgrade may take. Default 5 s (protocol.md §2.12).
    #[must_use]
    pub fn signalling_timeout(mut self, limit: Duration) -> Self {
        self.signalling_timeout = limit;
        self
    }

    /// How long the server may take for its join response. Default 5 s (protocol.md §2.12).
    #[must_use]
    pub fn join_timeout(mut self, limit: Duration) -> Self {
        self.session.join_timeout = limit;
        self
    }

    /// How long ICE, DTLS, SCTP and the channels may take. Default 15 s (protocol.md §3.7).
    #[must_use]
    pub fn transport_timeout(mut self, limit: Duration) -> Self {
        self.session.transport_timeout = limit;
        self
    }

    /// Joins; see [`Room::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up the join and leaves nothing behind.
    ///
    /// # Errors
    /// [`ConnectError`]; its `kind()` tells a refusal from an unreachable server and from a time limit.
    pub async fn connect(self) -> Result<Room, ConnectError> {
        crate::connect::connect(self).await
    }
}
