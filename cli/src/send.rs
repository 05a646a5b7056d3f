//! `lkstream send`: files, bytes and text to the participants of a room.

mod confirmations;
mod source;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::SelectAll;
use futures_util::{FutureExt, StreamExt};
use lkstream::{
    ByteOptions, Compress, Progress, Receipt, ReceiptStatus, Receipts, Room, Sent, StreamLimits,
    TextOptions,
};

use crate::credentials::{Admission, ServerFlags, process_environment};
use crate::duration;
use crate::event::{Direction, Event, Kind, Status};
use crate::exit::{Code, Failure};
use crate::interrupt::interrupted;
use crate::output::{Output, Pace};
use crate::progress::Task;
use crate::size;
use crate::token;
use confirmations::{Confirmations, Waiting};
use source::{Source, send};

/// How long leaving may take when the command was interrupted: receivers learn that the stream was cut.
const LEAVE_LIMIT: Duration = Duration::from_millis(500);

/// What a stream may have unless something else is said: what every receiver takes (protocol.md §5.6).
pub(crate) const MAX_SIZE: &str = "5GB";
/// Between two looks at the progress, in which nothing may have moved.
pub(crate) const TICK: Duration = Duration::from_millis(250);

const USAGE: &str = "\
lkstream send --room ROOM [OPTIONS] FILE...
       lkstream send --room ROOM [OPTIONS] --text TEXT";

/// Arguments of `lkstream send`.
#[derive(clap::Args, Debug, Default)]
#[command(override_usage = USAGE)]
#[command(group(clap::ArgGroup::new("payload").required(true).args(["files", "text"])))]
pub(crate) struct Arguments {
    /// Files to send, one stream each; `-` sends standard input as bytes
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Text to send; `-` sends standard input as text while it arrives
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) text: Option<String>,
    /// Room to join; a ready-made token may name it instead
    #[arg(long, value_parser = token::name)]
    pub(crate) room: Option<String>,
    /// Identity to join with [default: send- and a random number]
    #[arg(long, value_name = "ID", value_parser = token::name)]
    pub(crate) identity: Option<String>,
    /// Identity of a recipient; may be repeated [default: everybody in the room]
    #[arg(long, value_name = "ID", value_parser = token::name)]
    pub(crate) to: Vec<String>,
    /// Topic [default: files for files and bytes, lk.chat for text]
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// Name under which the receivers get the file, or standard input
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Whether files and texts are compressed: auto (if it is worth it), always or never. Standard input never is
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub(crate) compress: When,
    /// How long to wait until all recipients, or without --to anybody else, are in the room; with 0 it does not wait
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = duration::parse)]
    pub(crate) wait: Duration,
    /// How long to stay in the room after everything was delivered, so that receivers can confirm
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = duration::parse)]
    pub(crate) linger: Duration,
    /// Largest file or text, such as 20GB; receivers have such a limit, too, and take 5 GB by default
    #[arg(long, value_name = "SIZE", default_value = MAX_SIZE, value_parser = size::parse)]
    pub(crate) max_size: u64,
    /// Print events as JSON, one a line, on standard output
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

/// When a payload is compressed.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum When {
    /// Where type, size and first bytes promise that it shrinks
    #[default]
    Auto,
    /// Whatever it is
    Always,
    /// Not at all
    Never,
}

impl From<When> for Compress {
    fn from(when: When) -> Compress {
        match when {
            When::Auto => Compress::Auto,
            When::Always => Compress::Always,
            When::Never => Compress::Never,
        }
    }
}

/// Sends everything the command line names.
pub(crate) async fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let started = Instant::now();
    let sources = Source::all(arguments)?;
    let default_identity = format!("send-{:08x}", rand::random::<u32>());
    let admission = arguments.server.admit(
        &process_environment,
        arguments.room.as_deref(),
        arguments.identity.as_deref(),
        &default_identity,
        SystemTime::now(),
    )?;
    if arguments.to.contains(&admission.identity) {
        return Err(Failure::usage(
            format!("{} is the sender itself", &admission.identity),
            "choose another --identity, or leave it out of --to",
        ));
    }
    output.server(&admission);
    let mut interrupted = pin!(interrupted());
    let room = tokio::select! {
        biased;
        () = &mut interrupted => return Err(Failure::interrupted()),
        room = join(&admission, arguments.max_size, output) => room?,
    };
    let mut session = Session {
        room: &room,
        arguments,
        output,
        sent: Confirmations::default(),
        receipts: SelectAll::new(),
    };
    let result = tokio::select! {
        biased;
        () = &mut interrupted => Err(Failure::interrupted()),
        result = session.run(sources) => result,
    };
    let streams = session.sent.streams();
    drop(session);
    // Where the room ended, that ended the stream, and says what to do.
    let result = match (result, room.closed().now_or_never()) {
        (Err(failure), Some(reason)) if failure.code == Code::Stream => {
            Err(failure.because_of(&reason))
        }
        (result, _) => result,
    };
    let _ = tokio::time::timeout(LEAVE_LIMIT, room.close()).await;
    result?;
    output.emit(&Event::Done {
        streams,
        seconds: started.elapsed().as_secs_f64(),
    });
    Ok(())
}

/// The limits of a client that takes streams of this size, in bytes.
pub(crate) fn limits(max_size: u64) -> StreamLimits {
    StreamLimits {
        max_payload: max_size,
        ..StreamLimits::default()
    }
}

/// Joins the room and says so.
async fn join(admission: &Admission, max_size: u64, output: &Output) -> Result<Room, Failure> {
    let started = Instant::now();
    let room = Room::builder(&admission.url, &admission.token)
        .stream_limits(limits(max_size))
        .connect()
        .await
        .map_err(|error| Failure::connecting(&admission.shown_url, &error))?;
    joined(&room, admission, started, output);
    Ok(room)
}

/// Says that the room was joined.
pub(crate) fn joined(room: &Room, admission: &Admission, started: Instant, output: &Output) {
    let local = room.local();
    output.emit(&Event::Joined {
        room: admission.room.clone(),
        identity: local.identity().to_string(),
        participant: local.sid().to_string(),
        seconds: started.elapsed().as_secs_f64(),
    });
}

/// The streams of one command, and what their recipients say.
struct Session<'a> {
    room: &'a Room,
    arguments: &'a Arguments,
    output: &'a Output,
    sent: Confirmations,
    receipts: SelectAll<Receipts>,
}

impl Session<'_> {
    async fn run(&mut self, sources: Vec<Source>) -> Result<(), Failure> {
        self.wait().await?;
        // All at once, so that the progress is of all.
        let tasks: Vec<Option<Task>> = sources
            .iter()
            .map(|source| source.task(self.output))
            .collect();
        let mut ticks = tokio::time::interval(TICK);
        for (source, task) in sources.into_iter().zip(tasks) {
            let mut sending = pin!(send(self.room, self.arguments, self.output, source, task));
            let sent = loop {
                // Receipts of earlier streams arrive while later ones are sent.
                tokio::select! {
                    sent = &mut sending => break sent?,
                    _ = ticks.tick() => self.output.progress().tick(),
                    Some(receipt) = self.receipts.next() => note(&receipt, self.output, &mut self.sent),
                }
            };
            self.sent.sent(&sent);
            self.receipts.push(sent.receipts);
        }
        self.linger().await;
        let here: BTreeSet<String> = self
            .room
            .participants()
            .iter()
            .map(|other| other.identity().to_string())
            .collect();
        let is_here = |who: &str| here.contains(who);
        let fault = if self.arguments.to.is_empty() {
            self.sent.fault_of_all(is_here)
        } else {
            self.sent.fault_of_named(is_here)
        };
        match fault {
            Some(fault) => Err(Failure::new(
                Code::Stream,
                fault,
                "look at the receiver's own message, then send it again",
            )),
            None => Ok(()),
        }
    }

    /// Waits until somebody is there to receive.
    async fn wait(&self) -> Result<(), Failure> {
        let (limit, to) = (self.arguments.wait, &self.arguments.to);
        let missing = |others: &[lkstream::Participant]| -> Vec<String> {
            to.iter()
                .filter(|id| {
                    !others
                        .iter()
                        .any(|other| other.is_active() && other.identity().as_str() == id.as_str())
                })
                .cloned()
                .collect()
        };
        let complete = |others: &[lkstream::Participant]| {
            if to.is_empty() {
                others.iter().any(lkstream::Participant::is_active)
            } else {
                missing(others).is_empty()
            }
        };
        if complete(&self.room.participants()) {
            return Ok(());
        }
        if limit.is_zero() {
            return self.refuse_absent();
        }
        self.output.emit(&Event::Waiting {
            r#for: missing(&self.room.participants()),
            seconds: limit.as_secs_f64(),
        });
        match tokio::time::timeout(limit, self.room.wait_until(complete)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(reason)) => Err(Failure::disconnected(&reason)),
            Err(_) => {
                let who = missing(&self.room.participants());
                let who = if who.is_empty() {
                    "nobody else".to_owned()
                } else {
                    who.join(", ")
                };
                let verb = if who == "nobody else" {
                    "joined"
                } else {
                    "did not join"
                };
                Err(Failure::new(
                    Code::TimedOut,
                    format!("{who} {verb} within {}", duration::words(limit)),
                    "start the receiver first, check the room and the names, or raise --wait",
                ))
            }
        }
    }

    /// Without waiting, whoever is in the room will do, and nobody will not.
    fn refuse_absent(&self) -> Result<(), Failure> {
        let others = self.room.participants();
        let is_here = |who: &str| others.iter().any(|other| other.identity().as_str() == who);
        let absent: Vec<&str> = self
            .arguments
            .to
            .iter()
            .map(String::as_str)
            .filter(|who| !is_here(who))
            .collect();
        let cause = match &absent[..] {
            [] if !others.is_empty() => return Ok(()),
            [] => "nobody else is in the room".to_owned(),
            [who] => format!("{who} is not in the room"),
            several => format!("{} are not in the room", several.join(", ")),
        };
        Err(Failure::new(
            Code::TimedOut,
            cause,
            "start the receiver first, check the room and the names, or leave out `--wait 0`",
        ))
    }

    /// Stays until everybody who runs lkstream has had the last word, and for the time of `--linger` for those who
    /// have never said anything.
    async fn linger(&mut self) {
        let deadline = tokio::time::Instant::now() + self.arguments.linger;
        let mut is_told = false;
        loop {
            let limit = match self.sent.waiting() {
                Waiting::Done => return,
                Waiting::For(_) if is_told => None,
                Waiting::For(_) | Waiting::Silent => Some(deadline),
            };
            let receipt = match limit {
                None => self.receipts.next().await,
                Some(limit) => match tokio::time::timeout_at(limit, self.receipts.next()).await {
                    Ok(receipt) => receipt,
                    Err(_) => match self.sent.waiting() {
                        Waiting::For(who) => {
                            is_told = true;
                            self.output
                                .say(&format!("waiting for {who} to confirm, Ctrl-C ends it"));
                            continue;
                        }
                        Waiting::Silent | Waiting::Done => return,
                    },
                },
            };
            match receipt {
                Some(receipt) => note(&receipt, self.output, &mut self.sent),
                // All have had the last word, or the room is gone.
                None => return,
            }
        }
    }
}

/// Says what a receiver said.
fn note(receipt: &Receipt, output: &Output, sent: &mut Confirmations) {
    let name = sent.heard(receipt);
    output.emit(&Event::Receipt {
        stream: receipt.stream.to_string(),
        name,
        from: receipt.from.to_string(),
        status: match receipt.status {
            ReceiptStatus::Complete => Status::Complete,
            ReceiptStatus::Failed => Status::Failed,
            ReceiptStatus::Left => Status::Left,
            _ => Status::Accepted,
        },
        bytes: receipt.bytes,
        reason: Some(receipt.reason.clone()).filter(|reason| !reason.is_empty()),
    });
}
