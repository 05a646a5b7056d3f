//! A file from a participant to another through a room server, each of them ours or official, each on its side of the lab.

use std::fmt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use lkstream_conformance::lab::Lab;
use lkstream_conformance::peers::Site;
use lkstream_conformance::process::{Failure, Process};
use lkstream_conformance::wire::Random;

use crate::flow::{Cpu, Flow, Sample, cpu_time};

/// Bytes of the file that an official sender reads into its memory. None has sent so much in a minute.
const OFFICIAL_FILE: usize = 100_000_000;

/// Bytes written at once to a sender that reads its input.
const BLOCK: usize = 256 << 10;

/// For the first bytes to arrive.
const START: Duration = Duration::from_secs(60);

/// Without news for so long a flow counts as standing still.
const SILENCE: Duration = Duration::from_secs(20);

/// Who a participant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// `lkstream send` or `lkstream recv`.
    Lkstream,
    /// The Python SDK.
    Python,
}

/// Who the room server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// `lkstream serve`.
    Lkstream,
    /// livekit-server.
    Livekit,
}

/// Which end of the link something is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Who sends through whom to whom. The sender is on the left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) sender: Client,
    pub(crate) server: (Server, Side),
    pub(crate) receiver: (Client, Side),
}

impl fmt::Display for Route {
    /// As `python ~> livekit-server > python`: a wave is the link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = |client| match client {
            Client::Lkstream => "lkstream",
            Client::Python => "python",
        };
        let (server, at) = match self.server {
            (Server::Lkstream, at) => ("lkstream serve", at),
            (Server::Livekit, at) => ("livekit-server", at),
        };
        let hop = |from, to| if from == to { ">" } else { "~>" };
        let (receiver, end) = self.receiver;
        write!(
            f,
            "{} {} {server} {} {}",
            client(self.sender),
            hop(Side::Left, at),
            hop(at, end),
            client(receiver)
        )
    }
}

/// The transfer under way.
pub(crate) struct Transfer {
    sender: Process,
    receiver: Process,
    site: Site,
    last: Sample,
    // What the receiver stores and the sender reads.
    _folder: tempfile::TempDir,
}

impl Transfer {
    /// Starts server and participants, and waits until bytes arrive.
    pub(crate) fn start(lab: &Lab, route: Route) -> Result<Transfer, Failure> {
        let host = |side| match side {
            Side::Left => lab.left(),
            Side::Right => lab.right(),
        };
        let folder = tempfile::tempdir()?;
        let site = match route.server {
            (Server::Lkstream, side) => Site::ours_on(host(side))?,
            (Server::Livekit, side) => Site::stock_on(host(side))?,
        };
        let door = site.door(host(route.receiver.1));
        let out = folder.path().to_string_lossy().into_owned();
        let mut receiver = match route.receiver.0 {
            Client::Lkstream => door.receiver("yard", "bob", &["--out", &out])?,
            Client::Python => door.python("recv", "yard", "bob", &["--progress"])?,
        };
        receiver.expect("joined")?;
        let door = site.door(lab.left());
        let sender = match route.sender {
            Client::Lkstream => {
                let arguments = ["--to", "bob", "--name", "endless.bin", "-"];
                let mut sender = door.sender("yard", "alice", &arguments)?;
                feed(&mut sender)?;
                sender
            }
            Client::Python => {
                let path = folder.path().join("large.bin");
                std::fs::write(&path, Random::new(0).bytes(OFFICIAL_FILE))?;
                let what = format!("send_file:{}", path.display());
                door.python("send", "yard", "alice", &["--wait-for", "bob", &what])?
            }
        };
        let mut transfer = Transfer {
            sender,
            receiver,
            site,
            last: Sample {
                at: Instant::now(),
                bytes: 0,
            },
            _folder: folder,
        };
        if transfer.next(Instant::now() + START)?.is_none() {
            let failure = transfer.receiver.failure("nothing arrived");
            return Err(failure);
        }
        Ok(transfer)
    }

    /// The next count that the receiver tells, or nothing when it tells none in time.
    fn next(&mut self, deadline: Instant) -> Result<Option<Sample>, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(event) = self.receiver.look_for("progress", left)? else {
            return Ok(None);
        };
        self.last = Sample {
            at: Instant::now(),
            bytes: event["bytes"].as_u64().unwrap_or(0),
        };
        Ok(Some(self.last))
    }
}

impl Flow for Transfer {
    fn sample(&mut self, from: Instant) -> Result<Sample, Failure> {
        let deadline = from + SILENCE;
        while let Some(sample) = self.next(deadline)? {
            if sample.at >= from {
                return Ok(sample);
            }
        }
        Ok(Sample {
            at: Instant::now(),
            ..self.last
        })
    }

    fn cpu(&self) -> Result<Cpu, Failure> {
        let time = |id: u32| cpu_time(&PathBuf::from(format!("/proc/{id}/stat")));
        Ok(vec![
            ("sender", time(self.sender.id())?),
            ("server", time(self.site.id())?),
            ("receiver", time(self.receiver.id())?),
        ])
    }
}

/// Fills the input of a sender until it ends.
fn feed(sender: &mut Process) -> Result<(), Failure> {
    use std::io::Write;

    let input = sender.take_input();
    let mut input = input.ok_or_else(|| sender.failure("has no input"))?;
    let block = Random::new(0).bytes(BLOCK);
    thread::spawn(move || while input.write_all(&block).is_ok() {});
    Ok(())
}
