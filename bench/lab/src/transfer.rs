//! A file from a participant to another through a room server, each of them ours or official, each on its side of the lab.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lkstream_conformance::lab::Lab;
use lkstream_conformance::peers::{Door, Site};
use lkstream_conformance::process::{Failure, Process};
use lkstream_conformance::wire::Random;

use crate::cpu::process_time;
use crate::flow::{Cpu, Flow, Sample};
use crate::page::{Page, Role};
use crate::participant::Participant;

/// Where they meet.
const ROOM: &str = "yard";

/// Bytes of the file that the Python SDK reads into its memory. None has sent so much in a minute.
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
    /// The browser SDK, in a page in Chromium.
    Chromium,
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
            Client::Chromium => "chromium",
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
    sender: Participant,
    receiver: Participant,
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
        let receiver = receiver(route.receiver.0, door, folder.path())?;
        let sender = sender(route.sender, site.door(lab.left()), folder.path())?;
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
            transfer.sender.check()?;
            let failure = transfer.receiver.failure("nothing arrived");
            return Err(failure);
        }
        Ok(transfer)
    }

    /// The next count that the receiver tells, or nothing when it tells none in time.
    fn next(&mut self, deadline: Instant) -> Result<Option<Sample>, Failure> {
        let sample = self.receiver.next(deadline)?;
        self.last = sample.unwrap_or(self.last);
        Ok(sample)
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
        self.sender.check()?;
        Ok(Sample {
            at: Instant::now(),
            ..self.last
        })
    }

    fn cpu(&self) -> Result<Cpu, Failure> {
        Ok(vec![
            ("sender", self.sender.cpu()?),
            ("server", process_time(self.site.id())?),
            ("receiver", self.receiver.cpu()?),
        ])
    }
}

/// Joins as `bob`, to take what comes and tell how much it is.
fn receiver(client: Client, door: Door, folder: &Path) -> Result<Participant, Failure> {
    let mut process = match client {
        Client::Lkstream => {
            let out = folder.to_string_lossy();
            door.receiver(ROOM, "bob", &["--out", &out])?
        }
        Client::Python => door.python("recv", ROOM, "bob", &["--progress"])?,
        Client::Chromium => {
            let page = Page::join(door, ROOM, "bob", Role::Receives)?;
            return Ok(Participant::Page(page));
        }
    };
    process.expect("joined")?;
    Ok(Participant::Process(process))
}

/// Joins as `alice` and sends to `bob`.
fn sender(client: Client, door: Door, folder: &Path) -> Result<Participant, Failure> {
    let process = match client {
        Client::Lkstream => {
            let arguments = ["--to", "bob", "--name", "endless.bin", "-"];
            let mut sender = door.sender(ROOM, "alice", &arguments)?;
            feed(&mut sender)?;
            sender
        }
        Client::Python => {
            let path = folder.join("large.bin");
            std::fs::write(&path, Random::new(0).bytes(OFFICIAL_FILE))?;
            let what = format!("send_file:{}", path.display());
            door.python("send", ROOM, "alice", &["--wait-for", "bob", &what])?
        }
        Client::Chromium => {
            let page = Page::join(door, ROOM, "alice", Role::SendsAfter("bob"))?;
            return Ok(Participant::Page(page));
        }
    };
    Ok(Participant::Process(process))
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
