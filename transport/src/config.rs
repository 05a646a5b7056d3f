//! The settings of a peer connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::certificate::Certificate;
use crate::channel::ChannelConfig;
use crate::limits;

/// Which side of the offer and answer exchange a [`Peer`](crate::Peer) is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It wrote the offer.
    Offerer,
    /// It answered an offer.
    Answerer,
}

/// The local ICE user name fragment and password (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) ufrag: Box<str>,
    pub(crate) password: Box<str>,
}

impl Credentials {
    /// Makes credentials of 48 random bytes: a fragment of 16 characters (95 bits) and a password of
    /// 32 characters (190 bits), letters and digits only.
    #[must_use]
    pub fn from_random(random: [u8; 48]) -> Self {
        const ALPHABET: &[u8; 62] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let text: String = random
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
            .collect();
        Self {
            ufrag: text[..16].into(),
            password: text[16..].into(),
        }
    }

    /// The user name fragment. It is public; the password is not.
    #[must_use]
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// The settings of one [`Peer`](crate::Peer). Make one with [`PeerConfig::new`] and change what differs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerConfig {
    /// The DTLS certificate; one serves all peers of a process.
    pub certificate: Arc<Certificate>,
    /// The local ICE credentials.
    pub credentials: Credentials,
    /// Local addresses at which the caller's socket can be reached. An ICE-lite peer needs at least one.
    pub candidates: Vec<SocketAddr>,
    /// Full ICE, or ICE-lite for a server with a public address.
    pub ice: IceMode,
    /// Channels to open as soon as the connection is up.
    pub channels: Vec<ChannelConfig>,
    /// `a=max-message-size` of our SDP: the largest message we accept, in bytes. Default 262 144 (protocol.md §3.2).
    pub max_message_size: usize,
    /// SCTP receive window in bytes: what may wait unread. At least [`max_message_size`](Self::max_message_size) and 64 KiB;
    /// room for two such messages is given in any case. Default [`limits::RECEIVE_WINDOW`].
    pub receive_window: usize,
    /// How far that grows while the reader keeps up with a path on which it is too small, in bytes; never below it. Default
    /// [`limits::RECEIVE_WINDOW_LIMIT`].
    pub receive_window_limit: usize,
    /// Bytes of a channel that may be unsent or unacknowledged before [`SendError::Full`](crate::SendError::Full); the message that
    /// reaches the limit is still taken. Fewer may wait unsent: what leaves within some milliseconds, so that a small message
    /// sent now is not late. Default [`limits::SEND_BUFFER`].
    pub send_buffer: usize,
    /// Largest SCTP packet in bytes; DTLS, UDP and IP headers come on top. Default [`limits::SCTP_PACKET`].
    pub sctp_packet: usize,
    /// Channels that the remote side may have open at a time; further opens are refused. Default 16.
    pub max_channels: usize,
    /// Remote candidates that a full agent takes; each is checked some 20 times if it does not answer. A server that clients reach anyway needs
    /// few. Default [`limits::REMOTE_CANDIDATES`].
    pub max_remote_candidates: usize,
    /// Silence on the path until [`Event::Disconnected`](crate::Event::Disconnected). Default 7 s.
    pub disconnected_after: Duration,
    /// Further silence until [`Event::Failed`](crate::Event::Failed). Default 15 s.
    pub failed_after: Duration,
    /// Time between keepalives on the chosen path. Default 2 s.
    pub keepalive: Duration,
}

/// How a peer takes part in ICE (RFC 8445 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IceMode {
    /// Sends checks of its own.
    Full,
    /// Only answers checks; the other side controls.
    Lite,
}

impl PeerConfig {
    /// A full-ICE peer without candidates and channels, everything else at its default.
    #[must_use]
    pub fn new(certificate: Arc<Certificate>, credentials: Credentials) -> Self {
        Self {
            certificate,
            credentials,
            candidates: Vec::new(),
            ice: IceMode::Full,
            channels: Vec::new(),
            max_message_size: limits::MAX_MESSAGE_SIZE,
            receive_window: limits::RECEIVE_WINDOW,
            receive_window_limit: limits::RECEIVE_WINDOW_LIMIT,
            send_buffer: limits::SEND_BUFFER,
            sctp_packet: limits::SCTP_PACKET,
            max_channels: 16,
            max_remote_candidates: limits::REMOTE_CANDIDATES,
            disconnected_after: Duration::from_secs(7),
            failed_after: Duration::from_secs(15),
            keepalive: Duration::from_secs(2),
        }
    }
}
