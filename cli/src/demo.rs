//! `lkstream demo`: starts a server and two participants on this machine, and sends a text and a file from one to the other.

mod noise;

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use lkstream::{ByteOptions, Room, TextOptions};
use lkstream_proto::token::{Claims, sign};
use lkstream_server::{Config, DEV_API_KEY, DEV_API_SECRET, Server};

use crate::event::{Direction, Event, Kind, time};
use crate::exit::{Code, Failure};
use crate::interrupt::interrupted;
use crate::output::{Output, Pace};
use crate::{send, size};
use noise::{Digest, Noise};

/// The room of the demo.
const ROOM: &str = "demo";
/// How long the two may wait for each other.
const MEETING: Duration = Duration::from_secs(10);
/// Between two pieces of text: the pace of a quick language model.
const TOKEN_PACE: Duration = Duration::from_millis(22);
/// How long tearing down may take.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);
/// What the text says, to be cut at its spaces.
const TEXT: &str = "Text streams arrive while they are written: each of these words left Alice on its own, \
                    went through signalling, ICE, DTLS and SCTP to a room server, and reached Bob \
                    before the next one was thought of.";

/// Arguments of `lkstream demo`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Size of the file, in MB
    #[arg(long, value_name = "MB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    size: u64,
    /// Print events as JSON, one a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the demo; whatever happens, its files are removed.
pub(crate) async fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let folder = tempfile::Builder::new()
        .prefix("lkstream-demo-")
        .tempdir()
        .map_err(|e| {
            Failure::new(
                Code::Other,
                format!("no temporary folder: {e}"),
                "set TMPDIR to a folder that can be written",
            )
        })?;
    let mut interrupted = pin!(interrupted());
    let result = tokio::select! {
        biased;
        () = &mut interrupted => Err(Failure::interrupted()),
        result = perform(arguments, output, folder.path()) => result,
    };
    // Explicit, so that it happens before the process ends.
    if let Err(e) = folder.close() {
        output.warn(format!("the temporary folder could not be removed: {e}"));
    }
    result
}

async fn perform(arguments: &Arguments, output: &Output, folder: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    say(
        output,
        "lkstream demo: a room server and two participants, on this machine only\n",
    );
    // The file is made while the text is on its way.
    let noise = Noise::start(folder.join("noise.bin"), arguments.size * 1_000_000);

    let server = Server::spawn(Config::dev().with_free_ports())
        .await
        .map_err(|e| Failure::spawning(&e))?;
    let url = server.url();
    output.emit(&Event::Listening {
        url: url.clone(),
        bind: server.addr().ip().to_string(),
        port: server.addr().port(),
        rtc_port: server.rtc_addr().port(),
        keys: vec![DEV_API_KEY.to_owned()],
        dev: true,
    });
    say(
        output,
        &format!("server   {url}, data on UDP {}", server.rtc_addr().port()),
    );

    // The file may be as large as was asked for.
    let limits = send::limits(u64::MAX);
    let bob_joins = async {
        let builder = Room::builder(&url, &token("bob")?)
            .stream_limits(limits.clone())
            .texts("lk.chat")
            .bytes("files");
        connected(&url, "bob", builder.connect(), output).await
    };
    let alice_joins = async {
        let builder = Room::builder(&url, &token("alice")?).stream_limits(limits.clone());
        connected(&url, "alice", builder.connect(), output).await
    };
    let ((alice, alice_took), (bob, bob_took)) = tokio::try_join!(alice_joins, bob_joins)?;
    say(
        output,
        &format!(
            "joined   alice in {}, bob in {}\n",
            time(alice_took),
            time(bob_took)
        ),
    );
    tokio::time::timeout(MEETING, alice.wait_for_participant("bob"))
        .await
        .map_err(|_| {
            Failure::new(
                Code::TimedOut,
                "bob did not show up",
                "run it again with -v",
            )
        })?
        .map_err(|reason| Failure::disconnected(&reason))?;

    text(&alice, &bob, output).await?;
    file(&alice, &bob, noise, folder, output).await?;

    let _ = tokio::time::timeout(LEAVE_LIMIT, async {
        tokio::join!(alice.close(), bob.close())
    })
    .await;
    let _ = tokio::time::timeout(LEAVE_LIMIT, server.shutdown()).await;
    output.emit(&Event::Done {
        streams: 2,
        seconds: started.elapsed().as_secs_f64(),
    });
    say(
        output,
        &format!(
            "\nDone in {}. Next: lkstream serve --dev",
            time(started.elapsed().as_secs_f64())
        ),
    );
    Ok(())
}

/// Says several lines.
fn say(output: &Output, text: &str) {
    for line in text.split('\n') {
        output.say(line);
    }
}

fn token(identity: &str) -> Result<String, Failure> {
    let claims = Claims::join(identity, ROOM, SystemTime::now(), Duration::from_secs(600));
    sign(&claims, DEV_API_KEY, DEV_API_SECRET)
        .map_err(|e| Failure::new(Code::Other, e.to_string(), "run it again with -v"))
}

async fn connected(
    url: &str,
    identity: &str,
    joining: impl Future<Output = Result<Room, lkstream::ConnectError>>,
    output: &Output,
) -> Result<(Room, f64), Failure> {
    let started = Instant::now();
    let room = joining
        .await
        .map_err(|error| Failure::connecting(url, &error))?;
    let seconds = started.elapsed().as_secs_f64();
    output.emit_json(&Event::Joined {
        room: ROOM.to_owned(),
        identity: identity.to_owned(),
        participant: room.local().sid().to_string(),
        seconds,
    });
    Ok((room, seconds))
}

/// Alice writes word by word, bob prints what has arrived.
async fn text(alice: &Room, bob: &Room, output: &Output) -> Result<(), Failure> {
    let started = Instant::now();
    say(output, "text     alice → bob, word by word");
    let written = RefCell::new(Vec::new());
    let writing = async {
        let options = TextOptions::new("lk.chat").to("bob");
        let writer = alice
            .stream_text(options)
            .await
            .map_err(|e| Failure::opening("the text", &e))?;
        let mut pace = tokio::time::interval(TOKEN_PACE);
        for word in TEXT.split_inclusive(' ') {
            pace.tick().await;
            written.borrow_mut().push(Instant::now());
            writer
                .write(word)
                .await
                .map_err(|e| Failure::writing("the text", &e))?;
        }
        writer
            .close()
            .await
            .map_err(|e| Failure::closing("the text", &e))
    };
    let reading = async {
        let Some(mut reader) = bob.text_streams("lk.chat").next().await else {
            return Err(Failure::disconnected(&bob.closed().await));
        };
        let stream = reader.info().id.to_string();
        let mut page = Page::new(output);
        let (mut delays, mut arrived) = (Vec::new(), String::new());
        while let Some(piece) = reader.next().await {
            let piece = piece.map_err(|e| Failure::closing("the text", &e))?;
            output.emit(&Event::Text {
                stream: stream.clone(),
                text: piece.clone(),
            });
            page.write(&piece);
            arrived.push_str(&piece);
            let words = arrived.split_inclusive(' ').count();
            if let Some(since) = written.borrow().get(words - 1) {
                delays.push(since.elapsed());
            }
        }
        page.end();
        Ok((delays, arrived))
    };
    let (_, (mut delays, arrived)) = tokio::try_join!(writing, reading)?;
    if arrived != TEXT {
        return Err(Failure::new(
            Code::Stream,
            "the text that arrived is another one",
            "run it again with -v",
        ));
    }
    delays.sort_unstable();
    let typical = delays.get(delays.len() / 2).copied().unwrap_or_default();
    say(
        output,
        &format!(
            "         {} words over {}, each with bob {} after it was written (median)\n",
            TEXT.split_whitespace().count(),
            time(started.elapsed().as_secs_f64()),
            time(typical.as_secs_f64())
        ),
    );
    Ok(())
}

/// Alice sends a file, bob stores it, and the digests are compared.
async fn file(
    alice: &Room,
    bob: &Room,
    noise: Noise,
    folder: &Path,
    output: &Output,
) -> Result<(), Failure> {
    let (source, sent_digest) = noise.finish().await?;
    let inbox = folder.join("inbox");
    std::fs::create_dir(&inbox)
        .map_err(|e| Failure::new(Code::Other, format!("no folder for bob: {e}"), ROOM_REMEDY))?;
    let length = std::fs::metadata(&source)
        .map(|m| m.len())
        .unwrap_or_default();
    say(
        output,
        &format!("file     alice → bob, {} of noise", size::words(length)),
    );

    let started = Instant::now();
    let task = output.progress().task("noise.bin", Some(length));
    let sending = async {
        let options = ByteOptions::new("files").to("bob").confirmed();
        alice
            .send_file(&source, options)
            .await
            .map_err(|e| Failure::sending("the file", &e))
    };
    let storing = async {
        let Some(reader) = bob.byte_streams("files").next().await else {
            return Err(Failure::disconnected(&bob.closed().await));
        };
        let stream = reader.info().id.to_string();
        let mut pace = Pace::default();
        let stored = reader
            .write_to_dir_with(&inbox, |progress| {
                task.set_bytes(progress.read);
                if pace.is_due(Instant::now()) {
                    output.emit(&Event::Progress {
                        direction: Direction::Incoming,
                        stream: stream.clone(),
                        bytes: progress.read,
                        length: progress.total,
                    });
                }
            })
            .await
            .map_err(|e| {
                Failure::new(
                    Code::Stream,
                    format!("bob could not store the file: {e}"),
                    ROOM_REMEDY,
                )
            })?;
        Ok((stored, started.elapsed().as_secs_f64()))
    };
    let transfer = tokio::try_join!(sending, storing);
    drop(task);
    let (sent, (stored, seconds)) = transfer?;
    output.emit_json(&Event::Delivered {
        stream: sent.info.id.to_string(),
        kind: Kind::Bytes,
        name: Some("noise.bin".to_owned()),
        bytes: sent.bytes(),
        seconds,
    });

    let stored_digest = Digest::of_file(stored.path).await?;
    let matches = sent_digest == stored_digest;
    let bytes_per_second = stored.bytes as f64 / seconds.max(1e-9);
    output.emit(&Event::Verified {
        bytes: stored.bytes,
        seconds,
        bytes_per_second,
        blake3: stored_digest.to_string(),
        matches,
    });
    if !matches {
        return Err(Failure::new(
            Code::Stream,
            format!(
                "the file that arrived is another one: blake3 {stored_digest}, sent {sent_digest}"
            ),
            "run it again with -v, and report it",
        ));
    }
    say(
        output,
        &format!(
            "         {} in {}: {}/s",
            size::words(stored.bytes),
            time(seconds),
            size::words(bytes_per_second as u64)
        ),
    );
    say(
        output,
        &format!("         blake3 {stored_digest}\n         the same at both ends"),
    );
    Ok(())
}

const ROOM_REMEDY: &str = "free some space, or set TMPDIR to a folder that has it";

/// Words on standard output as they come, indented and wrapped.
struct Page {
    is_shown: bool,
    column: usize,
}

impl Page {
    const INDENT: &'static str = "         ";
    const WIDTH: usize = 72;

    fn new(output: &Output) -> Page {
        Page {
            is_shown: output.is_human(),
            column: 0,
        }
    }

    fn write(&mut self, text: &str) {
        if !self.is_shown {
            return;
        }
        let mut out = std::io::stdout().lock();
        for word in text.split_whitespace() {
            let width = word.chars().count();
            let before = match self.column {
                0 => Page::INDENT,
                column if column + 1 + width > Page::WIDTH => "\n         ",
                _ => " ",
            };
            self.column = if before == " " {
                self.column + 1
            } else {
                Page::INDENT.len()
            } + width;
            let _ = write!(out, "{before}{word}");
        }
        let _ = out.flush();
    }

    fn end(&mut self) {
        if self.is_shown && self.column > 0 {
            let _ = writeln!(std::io::stdout().lock());
        }
    }
}
