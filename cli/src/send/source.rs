//! What is sent: a file, a text, or standard input as it arrives.

use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lkstream::StreamInfo;
use lkstream_proto::id::StreamId;
use tokio::io::AsyncReadExt;

use super::{
    Arc, Arguments, ByteOptions, Code, Direction, Event, Failure, Instant, Kind, Mutex, Output,
    Pace,
};
use super::{Progress, Room, Sent, TextOptions};
use crate::exit::TOO_LARGE_REMEDY;
use crate::progress::Task;

/// Topic of files and bytes unless something else is said.
const FILES: &str = "files";
/// Topic of text (protocol.md §5.7).
const CHAT: &str = "lk.chat";
/// Between the end of standard input and the end of the stream. A Ctrl-C also ends the program that feeds us, and what
/// that leaves behind must not look complete: this lets the signal arrive.
const AFTER_INPUT: Duration = Duration::from_millis(20);
/// Read from standard input at a time, in bytes.
const READ_BYTES: usize = 64 << 10;

/// One stream to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file, checked to be one, readable and not too large. What its metadata says of its length is a hint.
    File {
        path: PathBuf,
        name: String,
        length: u64,
    },
    /// Standard input as bytes.
    Bytes { name: String },
    /// A text of the command line.
    Text(String),
    /// Standard input as text.
    TextInput,
}

impl Source {
    /// All that the command line names, checked before anything is connected.
    pub(crate) fn all(arguments: &Arguments) -> Result<Vec<Source>, Failure> {
        if let Some(text) = &arguments.text {
            if arguments.name.is_some() {
                return Err(Failure::usage("a text has no name", "leave --name out"));
            }
            return Ok(vec![if text == "-" {
                Source::TextInput
            } else {
                Source::Text(text.clone())
            }]);
        }
        if arguments.name.is_some() && arguments.files.len() > 1 {
            return Err(Failure::usage(
                "one --name can't name several streams",
                "send one at a time, or leave it out",
            ));
        }
        if arguments.files.iter().filter(|path| is_input(path)).count() > 1 {
            return Err(Failure::usage(
                "standard input can be sent once only",
                "name `-` once",
            ));
        }
        arguments
            .files
            .iter()
            .map(|path| Source::file(path, arguments.name.as_deref(), arguments.max_size))
            .collect()
    }

    fn file(path: &Path, name: Option<&str>, max_size: u64) -> Result<Source, Failure> {
        if is_input(path) {
            return Ok(Source::Bytes {
                name: name.unwrap_or("stdin").to_owned(),
            });
        }
        let shown = path.display();
        let unusable = |cause: String, remedy: &str| Err(Failure::new(Code::Other, cause, remedy));
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return unusable(format!("{shown} does not exist"), "check the path");
            }
            Err(e) => {
                return unusable(
                    format!("can't read {shown}: {e}"),
                    "check the path and its permissions",
                );
            }
        };
        if metadata.is_dir() {
            return unusable(
                format!("{shown} is a directory"),
                "send an archive of it: tar c DIR | lkstream send -",
            );
        }
        if !metadata.is_file() {
            return unusable(
                format!("{shown} is not a regular file"),
                "pipe it in: lkstream send - --name NAME < FILE",
            );
        }
        if metadata.len() > max_size {
            return unusable(
                format!(
                    "{shown} has {} bytes, and a stream takes {max_size} at most",
                    metadata.len()
                ),
                TOO_LARGE_REMEDY,
            );
        }
        if let Err(e) = std::fs::File::open(path) {
            return unusable(format!("can't read {shown}: {e}"), "check its permissions");
        }
        let own = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(Source::File {
            path: path.to_owned(),
            name: name.map_or(own, str::to_owned),
            length: metadata.len(),
        })
    }

    fn kind(&self) -> Kind {
        match self {
            Source::File { .. } | Source::Bytes { .. } => Kind::Bytes,
            Source::Text(_) | Source::TextInput => Kind::Text,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Source::File { name, .. } | Source::Bytes { name } => Some(name),
            Source::Text(_) | Source::TextInput => None,
        }
    }

    /// Its part of the progress; none where a person types what is sent.
    pub(super) fn task(&self, output: &Output) -> Option<Task> {
        let (label, length) = match self {
            Source::File { name, length, .. } => (name.as_str(), Some(*length)),
            Source::Bytes { name } => (name.as_str(), None),
            Source::Text(text) => ("text", Some(text.len() as u64)),
            Source::TextInput => ("text", None),
        };
        let is_typed = matches!(self, Source::Bytes { .. } | Source::TextInput)
            && std::io::stdin().is_terminal();
        (!is_typed).then(|| output.progress().task(label, length))
    }
}

fn is_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Sends one stream, and returns when the server has acknowledged all of it.
pub(super) async fn send(
    room: &Room,
    arguments: &Arguments,
    output: &Output,
    source: Source,
    task: Option<Task>,
) -> Result<Sent, Failure> {
    let started = Instant::now();
    let stream = StreamId::generate(rand::random()).to_string();
    let (kind, name) = (source.kind(), source.name().map(str::to_owned));
    let topic = arguments
        .topic
        .as_deref()
        .unwrap_or(if kind == Kind::Text { CHAT } else { FILES });
    let what = match (kind, &name) {
        (Kind::Bytes, Some(name)) => name.clone(),
        _ => "the text".to_owned(),
    };
    let begun = Begun {
        output,
        stream: &stream,
        kind,
        name: name.clone(),
        is_over: false,
    };
    let task = Arc::new(task);
    let on_open = {
        let (output, task, to) = (output.clone(), task.clone(), arguments.to.clone());
        move |info: &StreamInfo| {
            if let Some(task) = &*task {
                task.set_length(info.total_length);
            }
            output.emit(&Event::opened(Direction::Outgoing, info, Some(to.clone())));
        }
    };
    let on_progress = report(output, &stream, task.clone());
    let sent = match &source {
        Source::Text(_) | Source::TextInput => {
            let mut options = TextOptions::new(topic)
                .id(stream.as_str())
                .confirmed()
                .compress(arguments.compress.into())
                .on_open(on_open)
                .on_progress(on_progress);
            for to in &arguments.to {
                options = options.to(to.as_str());
            }
            match source {
                Source::Text(text) => room
                    .send_text(text, options)
                    .await
                    .map_err(|e| Failure::sending(&what, &e)),
                _ => send_text_input(room, options).await,
            }
        }
        Source::File { .. } | Source::Bytes { .. } => {
            let mut options = ByteOptions::new(topic)
                .id(stream.as_str())
                .confirmed()
                .compress(arguments.compress.into())
                .on_open(on_open)
                .on_progress(on_progress);
            if let Some(name) = name.as_deref() {
                options = options.name(name);
            }
            for to in &arguments.to {
                options = options.to(to.as_str());
            }
            match source {
                Source::File { path, .. } => room
                    .send_file(path, options)
                    .await
                    .map_err(|e| Failure::sending(&what, &e)),
                _ => send_byte_input(room, options, &what).await,
            }
        }
    };
    drop(task);
    let name = begun.end();
    match sent {
        Ok(sent) => {
            let seconds = started.elapsed().as_secs_f64();
            output.emit(&Event::Delivered {
                stream: stream.clone(),
                kind,
                name,
                bytes: sent.bytes(),
                seconds,
            });
            Ok(sent)
        }
        Err(failure) => {
            // People read it as the last line of the command.
            output.emit_json(&failed(&stream, kind, name, &failure));
            Err(failure)
        }
    }
}

fn failed(stream: &str, kind: Kind, name: Option<String>, failure: &Failure) -> Event {
    Event::Failed {
        direction: Direction::Outgoing,
        stream: stream.to_owned(),
        kind,
        name,
        from: None,
        reason: failure.cause.clone(),
        remedy: failure.remedy.clone(),
    }
}

/// A stream that has begun. Dropped before its end, it was interrupted, which programs learn.
struct Begun<'a> {
    output: &'a Output,
    stream: &'a str,
    kind: Kind,
    name: Option<String>,
    is_over: bool,
}

impl Begun<'_> {
    fn end(mut self) -> Option<String> {
        self.is_over = true;
        self.name.take()
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let failure = Failure::interrupted();
            let event = failed(self.stream, self.kind, self.name.take(), &failure);
            self.output.emit_json(&event);
        }
    }
}

/// Moves the line of progress, and tells programs now and then.
fn report(
    output: &Output,
    stream: &str,
    task: Arc<Option<Task>>,
) -> impl Fn(Progress) + Send + Sync + 'static + use<> {
    let (output, stream) = (output.clone(), stream.to_owned());
    let pace = Mutex::new(Pace::default());
    move |progress| {
        if let Some(task) = &*task {
            task.set_bytes(progress.acknowledged);
        }
        let is_due = pace
            .lock()
            .is_ok_and(|mut pace| pace.is_due(Instant::now()));
        if is_due {
            output.emit(&Event::Progress {
                direction: Direction::Outgoing,
                stream: stream.clone(),
                bytes: progress.acknowledged,
                length: progress.total,
            });
        }
    }
}

async fn send_byte_input(room: &Room, options: ByteOptions, what: &str) -> Result<Sent, Failure> {
    let writer = room
        .stream_bytes(options)
        .await
        .map_err(|e| Failure::opening(what, &e))?;
    let mut input = tokio::io::stdin();
    loop {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        // Input may not come for long, and the recipients may leave meanwhile.
        let read = tokio::select! {
            read = input.read_buf(&mut buffer) => read,
            error = writer.stopped() => return Err(Failure::writing(what, &error)),
        };
        match read {
            Ok(0) => break,
            Ok(_) => writer
                .write(buffer)
                .await
                .map_err(|e| Failure::writing(what, &e))?,
            Err(e) => return Err(unreadable(&e)),
        }
    }
    tokio::time::sleep(AFTER_INPUT).await;
    writer.close().await.map_err(|e| Failure::closing(what, &e))
}

async fn send_text_input(room: &Room, options: TextOptions) -> Result<Sent, Failure> {
    let what = "the text";
    let writer = room
        .stream_text(options)
        .await
        .map_err(|e| Failure::opening(what, &e))?;
    let mut input = tokio::io::stdin();
    let mut text = Utf8::default();
    loop {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        let read = tokio::select! {
            read = input.read_buf(&mut buffer) => read,
            error = writer.stopped() => return Err(Failure::writing(what, &error)),
        };
        let piece = match read {
            Ok(0) => break,
            Ok(_) => text.push(&buffer),
            Err(e) => return Err(unreadable(&e)),
        };
        match piece {
            Ok(piece) if piece.is_empty() => {}
            Ok(piece) => writer
                .write(piece)
                .await
                .map_err(|e| Failure::writing(what, &e))?,
            Err(offset) => return Err(not_text(offset)),
        }
    }
    tokio::time::sleep(AFTER_INPUT).await;
    text.finish().map_err(not_text)?;
    writer.close().await.map_err(|e| Failure::closing(what, &e))
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::new(
        Code::Stream,
        format!("can't read standard input: {error}"),
        "receivers saw the stream aborted; send it again",
    )
}

fn not_text(offset: u64) -> Failure {
    Failure::new(
        Code::Stream,
        format!("standard input is not UTF-8 text at byte {offset}"),
        "send it as bytes: lkstream send - --name NAME",
    )
}

/// Cuts bytes as they come into text; the start of a character waits for its end.
#[derive(Debug, Default)]
struct Utf8 {
    /// At most three bytes.
    rest: Vec<u8>,
    /// Bytes handed out.
    done: u64,
}

impl Utf8 {
    /// The text complete so far, or the offset of the first byte that can't be text.
    fn push(&mut self, bytes: &[u8]) -> Result<String, u64> {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let valid = match std::str::from_utf8(&all) {
            Ok(_) => all.len(),
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            Err(e) => return Err(self.done + e.valid_up_to() as u64),
        };
        self.rest = all.split_off(valid);
        self.done += valid as u64;
        String::from_utf8(all).map_err(|_| self.done)
    }

    /// Refuses a character without its end.
    fn finish(&self) -> Result<(), u64> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.done)
        }
    }
}

#[cfg(test)]
mod tests;
