//! Exit codes, and failures written as one line with cause and remedy.

use std::process::ExitCode;

use lkstream::{
    ConnectError, ConnectErrorKind, ConnectStep, DisconnectReason, Disconnected, Limit, OpenError,
    ReadError, SaveError, SendError, WriteError,
};
use lkstream_server::SpawnError;

/// The exit codes, part of the interface (docs/cli.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Something else went wrong.
    Other = 1,
    /// The command line, an environment variable or a configuration file is wrong.
    Usage = 2,
    /// The server said no.
    Refused = 3,
    /// The server can't be reached.
    Unreachable = 4,
    /// A stream failed or is incomplete.
    Stream = 5,
    /// Something did not happen in time.
    TimedOut = 6,
    /// Ctrl-C or SIGTERM.
    Interrupted = 130,
}

impl Code {
    /// The number the shell sees.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code.number())
    }
}

/// Why a command failed, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What the shell sees.
    pub(crate) code: Code,
    /// What went wrong.
    pub(crate) cause: String,
    /// What to do about it; empty only after an interrupt, which somebody wanted.
    pub(crate) remedy: String,
}

impl Failure {
    /// A failure with its cause and what to do about it.
    pub(crate) fn new(code: Code, cause: impl Into<String>, remedy: impl Into<String>) -> Failure {
        Failure {
            code,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// The command line, the environment or a file of settings is wrong.
    pub(crate) fn usage(cause: impl Into<String>, remedy: impl Into<String>) -> Failure {
        Failure::new(Code::Usage, cause, remedy)
    }

    /// Ctrl-C or SIGTERM came.
    pub(crate) fn interrupted() -> Failure {
        Failure::new(Code::Interrupted, "interrupted", "")
    }

    /// The room could not be joined. `url` is what the user may see of the address.
    pub(crate) fn connecting(url: &str, error: &ConnectError) -> Failure {
        let code = match error.kind() {
            ConnectErrorKind::Invalid => Code::Usage,
            ConnectErrorKind::Refused => Code::Refused,
            ConnectErrorKind::TimedOut => Code::TimedOut,
            _ => Code::Unreachable,
        };
        let remedy = match error {
            ConnectError::InvalidUrl { .. } => "give --url as ws://host:port or wss://host",
            ConnectError::InvalidToken => {
                "check that the whole token was copied, without line breaks"
            }
            ConnectError::Refused {
                status: 401 | 403, ..
            } => {
                "check key, secret, the token's age and the room it is for, and this machine's clock"
            }
            ConnectError::Refused { status: 404, .. } => {
                "the server makes no rooms by itself: create the room first"
            }
            ConnectError::Refused { status: 503, .. } => {
                "the room or the server is full: try again later"
            }
            ConnectError::Refused { .. } => "check --room and --identity: 1 to 256 bytes each",
            ConnectError::NoSignalling { .. } => "check host, port and path of the url",
            ConnectError::ServerFailed { .. } => "look at the server's log, or try again later",
            ConnectError::NameResolution { .. } => "check the host name in --url",
            ConnectError::Unreachable { .. } => {
                "check the address, or start a server there with `lkstream serve --dev`"
            }
            ConnectError::Tls { .. } => {
                "check the server's certificate, or use ws:// where there is no TLS"
            }
            ConnectError::DataConnection { .. } => UDP_REMEDY,
            ConnectError::Ended { reason } => after(reason),
            ConnectError::TimedOut {
                step: ConnectStep::DataConnection,
                ..
            } => UDP_REMEDY,
            ConnectError::TimedOut { .. } => "check the address and the firewall",
            _ => "try again; -v shows more",
        };
        Failure::new(code, format!("can't join at {url}: {error}"), remedy)
    }

    /// The room ended while the command still needed it.
    pub(crate) fn disconnected(reason: &Disconnected) -> Failure {
        Failure::new(Code::Other, reason.to_string(), after(reason))
    }

    /// The same failure, of which the room's end is the cause: that says what to do.
    pub(crate) fn because_of(self, reason: &Disconnected) -> Failure {
        Failure {
            remedy: after(reason).to_owned(),
            ..self
        }
    }

    /// A stream could not be opened.
    pub(crate) fn opening(what: &str, error: &OpenError) -> Failure {
        match error {
            OpenError::NotPermitted => Failure::new(
                Code::Refused,
                error.to_string(),
                "use a token with canPublishData",
            ),
            _ => Failure::closing(what, error),
        }
    }

    /// A stream was cut while it was written.
    pub(crate) fn writing(what: &str, error: &WriteError) -> Failure {
        match error {
            WriteError::PayloadTooLarge { .. } => Failure::too_large(what, error),
            _ => Failure::closing(what, error),
        }
    }

    /// A stream was cut before its end was acknowledged.
    pub(crate) fn closing(what: &str, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(
            Code::Stream,
            format!("{what} was not delivered: {error}"),
            "send it again",
        )
    }

    fn too_large(what: &str, error: &dyn std::fmt::Display) -> Failure {
        Failure {
            remedy: TOO_LARGE_REMEDY.to_owned(),
            ..Failure::closing(what, error)
        }
    }

    /// A whole text or file could not be sent.
    pub(crate) fn sending(what: &str, error: &SendError) -> Failure {
        match error {
            SendError::Open(error) => Failure::opening(what, error),
            SendError::Write(error) => Failure::writing(what, error),
            SendError::File { .. } | SendError::NotAFile { .. } => Failure::new(
                Code::Stream,
                error.to_string(),
                "receivers saw the stream aborted; send it again once it can be read",
            ),
            SendError::FileChanged { .. } | SendError::FileModified { .. } => Failure::new(
                Code::Stream,
                error.to_string(),
                "send it again once nothing writes to it, or as it is now: lkstream send --name NAME - < FILE",
            ),
            _ => Failure::closing(what, error),
        }
    }

    /// The server did not start.
    pub(crate) fn spawning(error: &SpawnError) -> Failure {
        let remedy = match error {
            SpawnError::PortInUse(_) => {
                "is a server running already? stop it, or choose another with --port"
            }
            SpawnError::RtcPortInUse(_) => {
                "is a server running already? stop it, or choose another with --rtc-port"
            }
            SpawnError::Listen { .. } => "check --bind, and the right to use the port",
            _ => "-v shows more",
        };
        Failure::new(Code::Other, error.to_string(), remedy)
    }
}

/// What to do about a payload that receivers would refuse.
pub(crate) const TOO_LARGE_REMEDY: &str = "send it in parts, or raise --max-size here and at the receiver (other software than lkstream takes 5 GB)";

/// What ended an incoming stream of this sender, in words for a person, and what to do about it.
pub(crate) fn receiving(from: &str, error: &ReadError) -> (String, String) {
    let again = format!("ask {from} to send it again");
    match error {
        ReadError::AbortedBySender { reason } if &**reason == CANCELLED => {
            (format!("{from} cancelled it"), again)
        }
        ReadError::AbortedBySender { reason } => (format!("{from} aborted it: {reason}"), again),
        ReadError::ConnectionLost(_) => (
            error.to_string(),
            format!("start the command again, and {again}"),
        ),
        ReadError::Limit(Limit::PayloadTooLarge { .. }) => (
            error.to_string(),
            "raise --max-size here, and at a sender that is lkstream".to_owned(),
        ),
        _ => (error.to_string(), again),
    }
}

/// Why an incoming file was not stored, and what to do about it.
pub(crate) fn storing(from: &str, error: &SaveError) -> (String, String) {
    match error {
        SaveError::Read(error) => receiving(from, error),
        _ => (
            error.to_string(),
            format!("free some space or change --out, and ask {from} to send it again"),
        ),
    }
}

/// The reason with which a client of this library aborts a stream that it gives up.
const CANCELLED: &str = "cancelled";

/// What to do after the end of a room.
fn after(reason: &Disconnected) -> &'static str {
    match reason {
        Disconnected::ByServer { reason, .. } => match reason {
            DisconnectReason::DuplicateIdentity => "choose another --identity",
            DisconnectReason::ParticipantRemoved => "ask whoever runs the room to let you in again",
            DisconnectReason::RoomDeleted | DisconnectReason::RoomClosed => {
                "start the command again for a new room of this name"
            }
            _ => "start the command again when the server is back",
        },
        Disconnected::SignallingLost { .. } | Disconnected::TransportLost { .. } => {
            "check the network and the server, then start the command again"
        }
        Disconnected::RoomTooLarge { .. } => {
            "start the command again when fewer participants are there"
        }
        _ => "start the command again",
    }
}

const UDP_REMEDY: &str = "the server's UDP port must be reachable from here: check the firewall and the server's node ip";

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.cause)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
