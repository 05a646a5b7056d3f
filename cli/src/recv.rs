//! `lkstream recv`: stores the files and prints the texts that arrive.

mod printer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use lkstream::{ByteReader, Room, StreamInfo, TextReader, TopicFilter};

use crate::credentials::{ServerFlags, process_environment};
use crate::event::{Direction, Event, Kind, name_of};
use crate::exit::{Code, Failure, receiving, storing};
use crate::interrupt::interrupted;
use crate::output::{Output, Pace};
use crate::{send, size, token};
use printer::{Ending, Printer};

/// How long leaving may take: confirmations that are still queued go out.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);
/// The same after Ctrl-C.
const INTERRUPTED_LEAVE_LIMIT: Duration = Duration::from_millis(500);

/// Arguments of `lkstream recv`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Room to join; a ready-made token may name it instead
    #[arg(long, value_parser = token::name)]
    room: Option<String>,
    /// Identity to join with [default: recv- and a random number]
    #[arg(long, value_name = "ID", value_parser = token::name)]
    identity: Option<String>,
    /// Topic to receive; may be repeated [default: every topic]
    #[arg(long)]
    topic: Vec<String>,
    /// Folder for files; it is made if it does not exist
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Exit when this many streams have ended [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Largest file or text to take, such as 20GB
    #[arg(long, value_name = "SIZE", default_value = send::MAX_SIZE, value_parser = size::parse)]
    max_size: u64,
    /// Print events as JSON, one a line, on standard error
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    server: ServerFlags,
}

/// How one stream ended; a failure of the command itself (standard output is gone) is an error.
enum Ended {
    Complete,
    Failed,
}

/// Receives until the count is reached, the room ends or Ctrl-C comes.
pub(crate) async fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let started = Instant::now();
    prepare_folder(&arguments.out, output)?;
    let default_identity = format!("recv-{:08x}", rand::random::<u32>());
    let admission = arguments.server.admit(
        &process_environment,
        arguments.room.as_deref(),
        arguments.identity.as_deref(),
        &default_identity,
        SystemTime::now(),
    )?;
    output.server(&admission);

    // Each registration of a topic would get its streams.
    let topics: BTreeSet<&str> = arguments.topic.iter().map(String::as_str).collect();
    let mut filters: Vec<TopicFilter> = topics.into_iter().map(TopicFilter::from).collect();
    if filters.is_empty() {
        filters.push(TopicFilter::Any);
    }
    let mut builder = Room::builder(&admission.url, &admission.token)
        .stream_limits(send::limits(arguments.max_size));
    for filter in &filters {
        builder = builder.texts(filter.clone()).bytes(filter.clone());
    }
    let mut interrupted = pin!(interrupted());
    let joining = Instant::now();
    let room = tokio::select! {
        biased;
        () = &mut interrupted => return Err(Failure::interrupted()),
        room = builder.connect() => room.map_err(|error| Failure::connecting(&admission.shown_url, &error))?,
    };
    send::joined(&room, &admission, joining, output);
    if arguments.count.is_none() {
        output.say("waiting for streams, Ctrl-C ends it");
    }

    let result = tokio::select! {
        biased;
        () = &mut interrupted => Err(Failure::interrupted()),
        result = receive(&room, &filters, arguments, output) => result,
    };
    let limit = if result.is_ok() {
        LEAVE_LIMIT
    } else {
        INTERRUPTED_LEAVE_LIMIT
    };
    let _ = tokio::time::timeout(limit, room.close()).await;
    let streams = result?;
    output.emit(&Event::Done {
        streams,
        seconds: started.elapsed().as_secs_f64(),
    });
    Ok(())
}

/// Makes the folder where there is none, and takes away what killed receivers left there.
fn prepare_folder(out: &Path, output: &Output) -> Result<(), Failure> {
    let shown = out.display();
    match std::fs::metadata(out) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            return Err(Failure::new(
                Code::Other,
                format!("{shown} is not a folder"),
                "name a folder with --out",
            ));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(out).map_err(|e| {
                Failure::new(
                    Code::Other,
                    format!("can't make the folder {shown}: {e}"),
                    "make it, or change --out",
                )
            })?;
        }
        Err(e) => {
            return Err(Failure::new(
                Code::Other,
                format!("can't use the folder {shown}: {e}"),
                "change --out",
            ));
        }
    }
    // What can't be listed can still be written to.
    let removed = lkstream::files::remove_leftovers(out).unwrap_or(0);
    if removed > 0 {
        let files = if removed == 1 { "file" } else { "files" };
        output.warn(format!(
            "removed {removed} unfinished {files} that a killed receiver left in {shown}"
        ));
    }
    Ok(())
}

/// Takes streams as they come; gives how many ended.
async fn receive(
    room: &Room,
    filters: &[TopicFilter],
    arguments: &Arguments,
    output: &Output,
) -> Result<u64, Failure> {
    let ending = if arguments.count == Some(1) {
        Ending::Exact
    } else {
        Ending::Newline
    };
    let printer = Printer::new(ending, output.progress().clone());
    let printer = &printer;
    let mut events = room.events();
    let mut texts = futures_util::stream::select_all(
        filters
            .iter()
            .map(|filter| room.text_streams(filter.clone())),
    );
    let mut files = futures_util::stream::select_all(
        filters
            .iter()
            .map(|filter| room.byte_streams(filter.clone())),
    );
    let mut active: FuturesUnordered<LocalBoxFuture<'_, Result<Ended, Failure>>> =
        FuturesUnordered::new();
    let (mut ended, mut failed_streams) = (0, 0);
    let (mut texts_open, mut files_open) = (true, true);
    let mut ticks = tokio::time::interval(send::TICK);
    while texts_open || files_open || !active.is_empty() {
        tokio::select! {
            _ = ticks.tick(), if !active.is_empty() => output.progress().tick(),
            Some(outcome) = active.next() => {
                ended += 1;
                if let Ended::Failed = outcome? {
                    failed_streams += 1;
                }
                if arguments.count == Some(ended) {
                    break;
                }
            }
            Some(event) = events.next() => match event {
                lkstream::Event::UnclaimedStream(info) => output.emit(&Event::Warning {
                    message: unclaimed(&info),
                }),
                lkstream::Event::PacketsDropped { fault, count } => output.emit(&Event::Warning {
                    message: dropped(&fault, count),
                }),
                lkstream::Event::IncomingFailed { info, error } => {
                    output.emit(&failed(&info, receiving(info.sender.as_str(), &error)));
                    ended += 1;
                    failed_streams += 1;
                    if arguments.count == Some(ended) {
                        break;
                    }
                }
                _ => {}
            },
            text = texts.next(), if texts_open => match text {
                Some(text) => active.push(Box::pin(receive_text(text, printer, output))),
                None => texts_open = false,
            },
            file = files.next(), if files_open => match file {
                Some(file) => active.push(Box::pin(receive_file(file, &arguments.out, output))),
                None => files_open = false,
            },
        }
    }
    let is_over = arguments.count != Some(ended);
    if failed_streams > 0 {
        let streams = if ended == 1 { "stream" } else { "streams" };
        let failures = format!("{failed_streams} of {ended} {streams} failed");
        if is_over {
            let reason = room.closed().await;
            let cause = format!("{reason}, and {failures}");
            return Err(Failure::new(Code::Stream, cause, "").because_of(&reason));
        }
        return Err(Failure::new(
            Code::Stream,
            failures,
            "ask for what failed to be sent again",
        ));
    }
    if is_over {
        return Err(Failure::disconnected(&room.closed().await));
    }
    Ok(ended)
}

async fn receive_file(reader: ByteReader, out: &Path, output: &Output) -> Result<Ended, Failure> {
    let started = Instant::now();
    let info = reader.info().clone();
    output.emit(&Event::opened(Direction::Incoming, &info, None));
    let (stream, from, name) = (info.id.to_string(), info.sender.to_string(), name_of(&info));
    let task = output
        .progress()
        .task(name.as_deref().unwrap_or_default(), info.total_length);
    let mut pace = Pace::default();
    let stored = reader
        .write_to_dir_with(out, |progress| {
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
        .await;
    drop(task);
    match stored {
        Ok(stored) => {
            output.emit(&Event::Received {
                stream,
                kind: Kind::Bytes,
                from,
                topic: info.topic.to_string(),
                name,
                path: Some(stored.path.display().to_string()),
                bytes: stored.bytes,
                seconds: started.elapsed().as_secs_f64(),
            });
            Ok(Ended::Complete)
        }
        Err(error) => {
            output.emit(&failed(&info, storing(info.sender.as_str(), &error)));
            Ok(Ended::Failed)
        }
    }
}

async fn receive_text(
    reader: TextReader,
    printer: &Printer,
    output: &Output,
) -> Result<Ended, Failure> {
    let started = Instant::now();
    let info = reader.info().clone();
    output.emit(&Event::opened(Direction::Incoming, &info, None));
    let mut heading = || {
        output.say(&format!(
            "text from {}, topic {}:",
            info.sender.as_str(),
            info.topic.as_str()
        ))
    };
    match printer.print(reader, &mut heading).await {
        Ok(bytes) => {
            output.emit(&Event::Received {
                stream: info.id.to_string(),
                kind: Kind::Text,
                from: info.sender.to_string(),
                topic: info.topic.to_string(),
                name: None,
                path: None,
                bytes,
                seconds: started.elapsed().as_secs_f64(),
            });
            Ok(Ended::Complete)
        }
        Err(printer::Error::Read(error)) => {
            output.emit(&failed(&info, receiving(info.sender.as_str(), &error)));
            Ok(Ended::Failed)
        }
        Err(printer::Error::Output(error)) => {
            let failure = Failure::new(
                Code::Stream,
                format!("can't write text to standard output: {error}"),
                "what was printed is incomplete: see to what reads it, and ask for the text again",
            );
            output.emit(&failed(
                &info,
                (failure.cause.clone(), failure.remedy.clone()),
            ));
            Err(failure)
        }
    }
}

/// What is said of packets that broke a rule.
fn dropped(fault: &lkstream::PeerFault, count: u64) -> String {
    match count {
        1 => format!("a packet was dropped: {fault}"),
        count => format!("{count} packets were dropped: {fault}"),
    }
}

/// What is said of a stream that no `--topic` of ours takes.
fn unclaimed(info: &StreamInfo) -> String {
    let what = name_of(info).unwrap_or_else(|| "a text".to_owned());
    format!(
        "{what} from {} was not received: it has the topic {}",
        info.sender, info.topic
    )
}

fn failed(info: &StreamInfo, (reason, remedy): (String, String)) -> Event {
    Event::Failed {
        direction: Direction::Incoming,
        stream: info.id.to_string(),
        kind: Kind::of(info),
        name: name_of(info),
        from: Some(info.sender.to_string()),
        reason,
        remedy,
    }
}
