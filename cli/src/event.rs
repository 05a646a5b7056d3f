//! Events of a command, each written as one JSON object (schema in docs/cli.md) or as one line for a person.

use std::collections::BTreeMap;
use std::time::Duration;

use lkstream::{Content, StreamInfo};
use serde::Serialize;

use crate::{duration, size};

/// Everything a command reports. Fields are only ever added (docs/cli.md).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// Which server is used and why.
    Server {
        url: String,
        url_source: String,
        credential: Credential,
        credential_source: String,
        /// The API key's name, where one signed.
        key: Option<String>,
        room: String,
        identity: String,
    },
    /// The room was joined.
    Joined {
        room: String,
        identity: String,
        participant: String,
        seconds: f64,
    },
    /// `send` waits; `for` is empty when anybody will do.
    Waiting { r#for: Vec<String>, seconds: f64 },
    /// A stream began.
    Opened {
        direction: Direction,
        stream: String,
        kind: Kind,
        topic: String,
        name: Option<String>,
        mime_type: String,
        length: Option<u64>,
        /// The sender of an incoming stream.
        from: Option<String>,
        /// The recipients of an outgoing stream; empty means everybody. A receiver does not learn it.
        to: Option<Vec<String>>,
        attributes: BTreeMap<String, String>,
    },
    /// A stream goes on; at most four a second for each stream.
    Progress {
        direction: Direction,
        stream: String,
        bytes: u64,
        length: Option<u64>,
    },
    /// The server's transport acknowledged all of an outgoing stream.
    Delivered {
        stream: String,
        kind: Kind,
        name: Option<String>,
        bytes: u64,
        seconds: f64,
    },
    /// A receiver said something about an outgoing stream.
    Receipt {
        stream: String,
        name: Option<String>,
        from: String,
        status: Status,
        bytes: u64,
        /// Why it failed, in the receiver's words.
        reason: Option<String>,
    },
    /// An incoming stream is complete; `path` is where a file is stored.
    Received {
        stream: String,
        kind: Kind,
        from: String,
        topic: String,
        name: Option<String>,
        path: Option<String>,
        bytes: u64,
        seconds: f64,
    },
    /// A stream failed or is incomplete.
    Failed {
        direction: Direction,
        stream: String,
        kind: Kind,
        name: Option<String>,
        from: Option<String>,
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// Something the user should know; the command goes on.
    Warning { message: String },
    /// The server accepts joins.
    Listening {
        url: String,
        bind: String,
        port: u16,
        rtc_port: u16,
        keys: Vec<String>,
        dev: bool,
    },
    /// The server is gone, its rooms closed.
    Stopped {},
    /// `token`: what was signed; valid for `seconds` from now on.
    Token {
        token: String,
        room: String,
        identity: String,
        seconds: f64,
    },
    /// `demo`: a piece of text arrived.
    Text { stream: String, text: String },
    /// `demo`: the digests of the sent and the stored file were compared.
    Verified {
        bytes: u64,
        seconds: f64,
        bytes_per_second: f64,
        blake3: String,
        matches: bool,
    },
    /// The command did what it was asked to; the last event of a success.
    Done { streams: u64, seconds: f64 },
    /// The command failed; the last event of a failure. `code` is the exit code.
    Error {
        code: u8,
        cause: String,
        remedy: String,
    },
}

/// Which way a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    Outgoing,
    Incoming,
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Text,
    Bytes,
}

impl Kind {
    /// The kind of a stream.
    pub(crate) fn of(info: &StreamInfo) -> Kind {
        match info.content {
            Content::Bytes { .. } => Kind::Bytes,
            _ => Kind::Text,
        }
    }
}

/// The name of a stream of bytes, as its sender wrote it.
pub(crate) fn name_of(info: &StreamInfo) -> Option<String> {
    match &info.content {
        Content::Bytes { name } => Some(name.clone()),
        _ => None,
    }
}

/// What gives the right to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Credential {
    Key,
    Token,
}

/// What a receiver said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Accepted,
    Complete,
    Failed,
    /// It left, and had not had the last word.
    Left,
}

impl Event {
    /// A stream began, with the header that both sides see.
    pub(crate) fn opened(
        direction: Direction,
        info: &StreamInfo,
        to: Option<Vec<String>>,
    ) -> Event {
        Event::Opened {
            direction,
            stream: info.id.to_string(),
            kind: Kind::of(info),
            topic: info.topic.to_string(),
            name: name_of(info),
            mime_type: info.mime_type.to_string(),
            length: info.total_length,
            from: (direction == Direction::Incoming).then(|| info.sender.to_string()),
            to,
            attributes: info.attributes.clone(),
        }
    }

    /// The line for a person; `None` where a person has a progress bar, or needs nothing.
    pub(crate) fn line(&self) -> Option<String> {
        let line = match self {
            Event::Server {
                url,
                url_source,
                credential,
                credential_source,
                key,
                ..
            } => {
                let what = match (credential, key) {
                    (Credential::Key, Some(key)) => format!("key {}", key),
                    (Credential::Key, None) => "key".to_owned(),
                    (Credential::Token, _) => "token".to_owned(),
                };
                format!("server {url} ({url_source}), {what} ({credential_source})")
            }
            Event::Joined {
                room,
                identity,
                seconds,
                ..
            } => {
                format!("joined room {} as {} in {}", room, identity, time(*seconds))
            }
            Event::Waiting { r#for, seconds } => {
                let limit =
                    duration::words(Duration::try_from_secs_f64(*seconds).unwrap_or_default());
                if r#for.is_empty() {
                    format!("waiting up to {limit} for somebody else in the room")
                } else {
                    format!("waiting up to {limit} for {}", names(r#for))
                }
            }
            Event::Opened {
                direction: Direction::Outgoing,
                kind,
                topic,
                name,
                length,
                to,
                ..
            } => {
                let what = subject(*kind, name.as_deref());
                let to = match to.as_deref() {
                    None | Some([]) => "everybody".to_owned(),
                    Some(to) => names(to),
                };
                let length = length
                    .map(|l| format!(" ({})", size::words(l)))
                    .unwrap_or_default();
                format!("sending {what}{length} to {to}, topic {}", topic)
            }
            Event::Delivered {
                kind,
                name,
                bytes,
                seconds,
                ..
            } => {
                format!(
                    "{}: delivered to the server, {}",
                    subject(*kind, name.as_deref()),
                    rate(*bytes, *seconds)
                )
            }
            Event::Receipt {
                name,
                from,
                status,
                reason,
                ..
            } => {
                let what = subject(
                    if name.is_some() {
                        Kind::Bytes
                    } else {
                        Kind::Text
                    },
                    name.as_deref(),
                );
                match status {
                    // Whether that is bad, the end of the command says.
                    Status::Accepted | Status::Left => return None,
                    Status::Complete => format!("{what}: received by {from}"),
                    Status::Failed => {
                        let why = reason.as_deref();
                        let why = why.map_or_else(String::new, |why| format!(": {why}"));
                        format!("{what}: {from} could not receive it{why}")
                    }
                }
            }
            Event::Received {
                kind: Kind::Bytes,
                from,
                name,
                path,
                bytes,
                seconds,
                ..
            } => format!(
                "{} from {}: stored as {}, {}",
                subject(Kind::Bytes, name.as_deref()),
                from,
                path.as_deref().unwrap_or(""),
                rate(*bytes, *seconds)
            ),
            Event::Failed {
                direction,
                kind,
                name,
                from,
                reason,
                remedy,
                ..
            } => {
                let what = subject(*kind, name.as_deref());
                let from = from
                    .as_deref()
                    .map(|f| format!(" from {}", f))
                    .unwrap_or_default();
                let consequence = match (direction, kind) {
                    (Direction::Incoming, Kind::Bytes) => ", nothing was stored",
                    (Direction::Incoming, Kind::Text) => ", what was printed is incomplete",
                    (Direction::Outgoing, _) => "",
                };
                format!("{what}{from} failed: {reason}{consequence}; {remedy}")
            }
            Event::Warning { message } => format!("warning: {}", message),
            Event::Opened { .. }
            | Event::Progress { .. }
            | Event::Received { .. }
            | Event::Listening { .. }
            | Event::Stopped {}
            | Event::Token { .. }
            | Event::Text { .. }
            | Event::Verified { .. }
            | Event::Done { .. }
            | Event::Error { .. } => return None,
        };
        Some(line)
    }
}

fn names(identities: &[String]) -> String {
    identities.join(", ")
}

/// How a line calls a stream.
fn subject(kind: Kind, name: Option<&str>) -> String {
    match (kind, name) {
        (_, Some(name)) if !name.is_empty() => name.to_owned(),
        (Kind::Text, _) => "text".to_owned(),
        (Kind::Bytes, _) => "bytes".to_owned(),
    }
}

/// `0.4 ms`, `12 ms`, `1.25 s`, `90 s`.
pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.1} ms", s * 1000.0),
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.995 => format!("{s:.2} s"),
        s => format!("{s:.0} s"),
    }
}

/// `1.2 MB in 20 ms (60 MB/s)`; small payloads have no rate worth saying.
fn rate(bytes: u64, seconds: f64) -> String {
    if bytes < 100_000 || seconds <= 0.0 {
        return format!("{} in {}", size::words(bytes), time(seconds));
    }
    format!(
        "{} in {} ({}/s)",
        size::words(bytes),
        time(seconds),
        size::words((bytes as f64 / seconds) as u64)
    )
}

#[cfg(test)]
mod tests;
