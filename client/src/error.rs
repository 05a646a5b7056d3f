//! One error enum per operation; messages are lower case, carry numbers, and never a token, a URL or a payload.
//!
//! A message is complete by itself: it names the cause, which `source()` gives to programs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lkstream_engine::{CloseError, ReadError, WriteError};

use crate::Disconnected;
use crate::session::End;

/// Why [`Room::connect`](crate::Room::connect) failed.
///
/// [`ConnectError::kind`] sorts the variants into what a program usually wants to know.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is not `ws`, `wss`, `http` or `https` with a host.
    #[error("the server url is not usable: {problem}")]
    InvalidUrl {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The token holds characters that cannot stand in an HTTP header; no server was asked.
    #[error("the token is not usable: it holds characters that no token has")]
    InvalidToken,
    /// The server answered and refused: a bad token, a missing permission, a full room (protocol.md §1.4).
    #[error("the server refused the join with status {status}: {reason}")]
    Refused {
        /// The HTTP status, 400 to 499 and 503.
        status: u16,
        /// The server's own words, at most 256 bytes of them, control characters removed.
        reason: String,
    },
    /// There is no LiveKit signalling of version 1 at this address: `/rtc/v1` answered 404.
    #[error(
        "the server knows no /rtc/v1 (404): {reason}; it is no livekit server of 2025 or later, or the url's path is wrong"
    )]
    NoSignalling {
        /// The server's own words, at most 256 bytes of them, control characters removed.
        reason: String,
    },
    /// The server answered with a status that is neither an upgrade nor a refusal.
    #[error("the server failed with status {status}: {reason}")]
    ServerFailed {
        /// The HTTP status.
        status: u16,
        /// The server's own words, at most 256 bytes of them, control characters removed.
        reason: String,
    },
    /// The host name has no address.
    #[error("the server's name has no address: {cause}")]
    NameResolution {
        /// The resolver's words.
        #[source]
        cause: IoCause,
    },
    /// Nothing accepts connections at the address, or the network does not lead there.
    #[error("can't reach the server: {cause}")]
    Unreachable {
        /// The operating system's words.
        #[source]
        cause: IoCause,
    },
    /// TLS failed: an untrusted or expired certificate, a wrong host name, or no TLS at that port.
    #[error("tls to the server failed: {cause}")]
    Tls {
        /// What rustls says.
        #[source]
        cause: IoCause,
    },
    /// The signalling connection broke, or carried something that is not the protocol.
    #[error("signalling failed: {cause}")]
    Signalling {
        /// What happened.
        cause: String,
    },
    /// The server let the participant in and sent it away before the connection was complete.
    #[error(transparent)]
    Ended {
        /// The reason the server gave.
        #[from]
        reason: Disconnected,
    },
    /// The peer connection that carries the data could not be set up.
    #[error("the data connection failed: {cause}")]
    DataConnection {
        /// What happened.
        cause: String,
    },
    /// A step took longer than the limit.
    #[error("{step} took longer than {limit:?}")]
    TimedOut {
        /// Which step.
        step: ConnectStep,
        /// The limit of that step.
        limit: Duration,
    },
    /// A socket or a thread of this machine could not be had.
    #[error("this machine refused a resource: {cause}")]
    Local {
        /// The operating system's words.
        #[source]
        cause: IoCause,
    },
}

/// The sort of a [`ConnectError`], for exit codes and retry decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The caller's input cannot work: the URL or the token's characters.
    Invalid,
    /// The server said no: retrying with the same token is useless.
    Refused,
    /// The server cannot be reached or does not work; a retry may help.
    CannotConnect,
    /// A step took too long; a retry may help.
    TimedOut,
}

/// A step of a join, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectStep {
    /// TCP, TLS and the WebSocket upgrade.
    Signalling,
    /// The server's join response.
    Join,
    /// ICE, DTLS, SCTP and the data channels.
    DataConnection,
}

impl std::fmt::Display for ConnectStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ConnectStep::Signalling => "the connection to the server",
            ConnectStep::Join => "the join",
            ConnectStep::DataConnection => "the data connection (udp)",
        })
    }
}

impl ConnectError {
    /// The sort of this error.
    pub fn kind(&self) -> ConnectErrorKind {
        match self {
            ConnectError::InvalidUrl { .. } | ConnectError::InvalidToken => {
                ConnectErrorKind::Invalid
            }
            ConnectError::Refused { .. } | ConnectError::Ended { .. } => ConnectErrorKind::Refused,
            ConnectError::TimedOut { .. } => ConnectErrorKind::TimedOut,
            _ => ConnectErrorKind::CannotConnect,
        }
    }
}

/// An end that came before the room was ready.
impl From<&End> for ConnectError {
    fn from(end: &End) -> Self {
        match end {
            End::JoinTimedOut { limit } => ConnectError::TimedOut {
                step: ConnectStep::Join,
                limit: *limit,
            },
            End::TransportTimedOut { limit } => ConnectError::TimedOut {
                step: ConnectStep::DataConnection,
                limit: *limit,
            },
            End::TransportLost { cause } => ConnectError::DataConnection {
                cause: cause.clone(),
            },
            End::SignallingLost { cause } => ConnectError::Signalling {
                cause: cause.clone(),
            },
            End::BadJoin { problem } => ConnectError::Signalling {
                cause: (*problem).to_owned(),
            },
            End::Left | End::ByServer { .. } | End::Silent { .. } | End::RoomTooLarge { .. } => {
                ConnectError::Ended {
                    reason: Disconnected::from(end),
                }
            }
        }
    }
}

/// Why a stream could not be opened; nothing was sent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The token does not allow publishing data; the server would drop every packet silently (protocol.md §4.3).
    #[error("the token does not permit publishing data")]
    NotPermitted,
    /// The options cannot be sent, or the room is gone.
    #[error(transparent)]
    Stream(#[from] lkstream_engine::OpenError),
}

/// Why [`Room::send_text`](crate::Room::send_text), `send_bytes` or `send_file` failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The stream could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stream could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The stream could not be closed, or the room went before everything was acknowledged.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// The file could not be read; the receiver sees an aborted stream.
    #[error("can't read {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        cause: IoCause,
    },
    /// The file is not a regular file.
    #[error("{} is not a file", path.display())]
    NotAFile {
        /// What was given.
        path: PathBuf,
    },
    /// The file's length changed while it was sent; the receiver sees an aborted stream.
    #[error("{} changed while it was sent: {announced} bytes announced, {found} found", path.display())]
    FileChanged {
        /// The file.
        path: PathBuf,
        /// The length when the stream was opened.
        announced: u64,
        /// The length found.
        found: u64,
    },
    /// The file was written to while it was sent; the receiver sees an aborted stream.
    #[error("{} was written to while it was sent", path.display())]
    FileModified {
        /// The file.
        path: PathBuf,
    },
}

/// Why [`ByteReader::write_to_file`](crate::ByteReader::write_to_file) or `write_to_dir` failed; nothing is left under the final name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The stream itself failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file could not be created, written, synced or renamed.
    #[error("can't store {}: {cause}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        cause: IoCause,
    },
    /// The final name exists; it is never overwritten.
    #[error("{} exists already", path.display())]
    Exists {
        /// The final name.
        path: PathBuf,
    },
}

/// Why [`read_all`](crate::ByteReader::read_all) failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadAllError {
    /// The stream itself failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The stream is longer than the limit given to `read_all`.
    #[error("the stream is longer than the limit of {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

/// An [`io::Error`] that can be cloned and compared (by kind).
#[derive(Debug, Clone)]
pub struct IoCause(Arc<io::Error>);

impl IoCause {
    /// The kind of the error.
    pub fn kind(&self) -> io::ErrorKind {
        self.0.kind()
    }
}

impl std::error::Error for IoCause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<io::Error> for IoCause {
    fn from(error: io::Error) -> Self {
        IoCause(Arc::new(error))
    }
}

impl PartialEq for IoCause {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind()
    }
}

impl std::fmt::Display for IoCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
