//! Events of a command, each written as one JSON object (schema in docs/cli.md) or as one line for a person.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::credentials::printable;
use crate::duration;

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
        /// The recipients of an outgoing stream; empty means everybody.
        to: Vec<String>,
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
    /// `token`: what was signed; good for `seconds` from now on.
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
}

impl Event {
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
                    (Credential::Key, Some(key)) => format!("key {}", printable(key)),
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
                format!(
                    "joined room {} as {} in {}",
                    printable(room),
                    printable(identity),
                    time(*seconds)
                )
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
                let to = if to.is_empty() {
                    "everybody".to_owned()
                } else {
                    names(to)
                };
                let length = length
                    .map(|l| format!(" ({})", size(l)))
                    .unwrap_or_default();
                format!("sending {what}{length} to {to}, topic {}", printable(topic))
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
                name, from, status, ..
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
                    Status::Accepted => return None,
                    Status::Complete => format!("{what}: received by {}", printable(from)),
                    Status::Failed => format!("{what}: {} could not receive it", printable(from)),
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
                printable(from),
                printable(path.as_deref().unwrap_or("")),
                rate(*bytes, *seconds)
            ),
            Event::Failed {
                direction,
                kind,
                name,
                from,
                reason,
                ..
            } => {
                let what = subject(*kind, name.as_deref());
                let from = from
                    .as_deref()
                    .map(|f| format!(" from {}", printable(f)))
                    .unwrap_or_default();
                let fate = match (direction, kind) {
                    (Direction::Incoming, Kind::Bytes) => ", nothing was stored",
                    (Direction::Incoming, Kind::Text) => ", what was printed is incomplete",
                    (Direction::Outgoing, _) => "",
                };
                format!("{what}{from} failed: {}{fate}", printable(reason))
            }
            Event::Warning { message } => format!("warning: {}", printable(message)),
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
    printable(&identities.join(", "))
}

/// How a line calls a stream.
fn subject(kind: Kind, name: Option<&str>) -> String {
    match (kind, name) {
        (_, Some(name)) if !name.is_empty() => printable(name),
        (Kind::Text, _) => "text".to_owned(),
        (Kind::Bytes, _) => "bytes".to_owned(),
    }
}

/// `1 byte`, `950 bytes`, `1.5 kB`, `256 MB`.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1000 {
        return if bytes == 1 {
            "1 byte".to_owned()
        } else {
            format!("{bytes} bytes")
        };
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let short = format!("{value:.1}");
    match short.strip_suffix(".0") {
        None if value < 9.95 => format!("{short} {unit}"),
        _ => format!("{value:.0} {unit}"),
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
        return format!("{} in {}", size(bytes), time(seconds));
    }
    format!(
        "{} in {} ({}/s)",
        size(bytes),
        time(seconds),
        size((bytes as f64 / seconds) as u64)
    )
}

#[cfg(test)]
mod tests;
