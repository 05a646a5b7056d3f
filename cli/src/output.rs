//! Writes what a command has to say: JSON lines, lines for people, and progress on a terminal.
//!
//! What others chose (names, topics, identities, reasons) is made harmless here and nowhere else: in a line for people each
//! [`Hazard`] is replaced, in JSON it is escaped.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use lkstream::files::{Hazard, printable};

use crate::credentials::Admission;
use crate::event::{Credential, Event};
use crate::exit::Failure;
use crate::progress::Progress;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines for people, progress on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// From the `--json` flag.
    pub(crate) fn json(flag: bool) -> Format {
        if flag { Format::Json } else { Format::Human }
    }
}

/// Where events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error, where standard output carries the payload.
    Stderr,
}

/// The output of one command; clones write to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    format: Format,
    channel: Channel,
    progress: Progress,
}

impl Output {
    /// An output; progress shows only for people.
    pub(crate) fn new(format: Format, channel: Channel) -> Output {
        Output {
            format,
            channel,
            progress: match format {
                Format::Human => Progress::on_terminal(),
                Format::Json => Progress::hidden(),
            },
        }
    }

    /// Whether people read it.
    pub(crate) fn is_human(&self) -> bool {
        self.format == Format::Human
    }

    /// Says what happened, in the format chosen. A closed pipe is not an error here: the payload is what counts.
    pub(crate) fn emit(&self, event: &Event) {
        match self.format {
            Format::Json => match serde_json::to_string(event) {
                Ok(line) => self.write(self.channel, &escaped(&line)),
                Err(e) => tracing::error!("an event could not be written: {e}"),
            },
            Format::Human => {
                let channel = match event {
                    Event::Server { .. } | Event::Warning { .. } => Channel::Stderr,
                    _ => self.channel,
                };
                if let Some(line) = event.line() {
                    self.write(channel, &printable(&line));
                }
            }
        }
    }

    /// What only programs need as an event; people read it elsewhere.
    pub(crate) fn emit_json(&self, event: &Event) {
        if self.format == Format::Json {
            self.emit(event);
        }
    }

    /// A line only people need.
    pub(crate) fn say(&self, line: &str) {
        if self.is_human() {
            self.write(self.channel, &printable(line));
        }
    }

    /// A line for people on standard error, beside a payload.
    pub(crate) fn note(&self, line: &str) {
        if self.is_human() {
            self.write(Channel::Stderr, &printable(line));
        }
    }

    /// A warning.
    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.emit(&Event::Warning {
            message: message.into(),
        });
    }

    /// The line that says which server is used and why.
    pub(crate) fn server(&self, admission: &Admission) {
        self.emit(&Event::Server {
            url: admission.shown_url.clone(),
            url_source: admission.url_source.to_string(),
            credential: if admission.key.is_some() {
                Credential::Key
            } else {
                Credential::Token
            },
            credential_source: admission.credential_source.to_string(),
            key: admission.key.clone(),
            room: admission.room.clone(),
            identity: admission.identity.clone(),
        });
    }

    /// How a command failed: one clear line on standard error, and an event for programs.
    pub(crate) fn fail(&self, failure: &Failure) {
        if self.format == Format::Json {
            self.emit(&Event::Error {
                code: failure.code.number(),
                cause: failure.cause.clone(),
                remedy: failure.remedy.clone(),
            });
        }
        if self.format == Format::Human || self.channel == Channel::Stdout {
            self.write(Channel::Stderr, &printable(&format!("error: {failure}")));
        }
    }

    /// The line about what runs; invisible where it would be in the way.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    fn write(&self, channel: Channel, line: &str) {
        self.progress.suspend(|| {
            let _ = match channel {
                Channel::Stdout => {
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "{line}").and_then(|()| out.flush())
                }
                Channel::Stderr => writeln!(std::io::stderr().lock(), "{line}"),
            };
        });
    }
}

/// A line of JSON, which holds such characters in strings only, with each of them escaped.
fn escaped(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len());
    for (c, hazard) in Hazard::all(line) {
        match hazard {
            None => escaped.push(c),
            Some(_) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
    }
    escaped
}

/// Lets through at most four progress events a second.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Option<std::time::Instant>,
}

impl Pace {
    /// Whether a progress event is due.
    pub(crate) fn is_due(&mut self, now: std::time::Instant) -> bool {
        let due = self
            .last
            .is_none_or(|last| now.duration_since(last) >= Duration::from_millis(250));
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn json_says_the_same_without_driving_a_terminal() {
        let value = "a\u{1b}[2J\u{9b}2J\u{202e}b\u{e0041}\u{1f469}\u{200d}\u{1f680}\n";
        let line = serde_json::to_string(&[value]).unwrap();
        let escaped = escaped(&line);
        assert!(Hazard::all(&escaped).all(|(_, hazard)| hazard.is_none()));
        assert_eq!(
            serde_json::from_str::<[String; 1]>(&escaped).unwrap(),
            [value]
        );
        assert!(escaped.contains("\u{1f469}\u{200d}\u{1f680}"), "{escaped}");
    }
}
