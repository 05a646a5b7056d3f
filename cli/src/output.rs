//! Writes what a command has to say: JSON lines, lines for people, and progress bars on a terminal.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::credentials::Admission;
use crate::event::{Credential, Event};
use crate::exit::Failure;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines for people, bars on a terminal.
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

/// The voice of one command; clones speak together.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    format: Format,
    channel: Channel,
    bars: MultiProgress,
}

impl Output {
    /// A voice; bars show only for people, and only on a terminal.
    pub(crate) fn new(format: Format, channel: Channel) -> Output {
        let target = if format == Format::Human && std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        Output {
            format,
            channel,
            bars: MultiProgress::with_draw_target(target),
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
                Ok(line) => self.write(self.channel, &line),
                Err(e) => tracing::error!("an event could not be written: {e}"),
            },
            Format::Human => {
                let channel = match event {
                    Event::Server { .. } | Event::Warning { .. } => Channel::Stderr,
                    _ => self.channel,
                };
                if let Some(line) = event.line() {
                    self.write(channel, &line);
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
            self.write(self.channel, line);
        }
    }

    /// A line for people on standard error, beside a payload.
    pub(crate) fn note(&self, line: &str) {
        if self.is_human() {
            self.write(Channel::Stderr, line);
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

    /// The last words of a failed command: one clear line on standard error, and an event for programs.
    pub(crate) fn fail(&self, failure: &Failure) {
        let _ = self.bars.clear();
        if self.format == Format::Json {
            self.emit(&Event::Error {
                code: failure.code.number(),
                cause: failure.cause.clone(),
                remedy: failure.remedy.clone(),
            });
        }
        if self.format == Format::Human || self.channel == Channel::Stdout {
            self.write(Channel::Stderr, &format!("error: {failure}"));
        }
    }

    /// A bar for one stream; invisible where it would be in the way.
    pub(crate) fn bar(&self, name: &str, length: Option<u64>) -> ProgressBar {
        let bar = self.bars.add(match length {
            Some(length) => ProgressBar::new(length),
            None => ProgressBar::no_length(),
        });
        let template = match length {
            Some(_) => {
                "  {prefix:.dim} {bar:30} {decimal_bytes:>9} of {decimal_total_bytes}  {decimal_bytes_per_sec:>10}"
            }
            None => "  {prefix:.dim} {spinner} {decimal_bytes:>9}  {decimal_bytes_per_sec:>10}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        let shown: String = crate::credentials::printable(name)
            .chars()
            .take(30)
            .collect();
        bar.set_prefix(shown);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    fn write(&self, channel: Channel, line: &str) {
        self.bars.suspend(|| {
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
