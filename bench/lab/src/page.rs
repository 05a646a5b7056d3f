//! A participant on the official browser SDK: a page in headless Chromium, and a thread of ours that talks to it.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use lkstream_conformance::browser::Browser;
use lkstream_conformance::peers::Door;
use lkstream_conformance::process::Failure;
use serde_json::json;
use tokio::sync::oneshot;

use crate::cpu::family_time;
use crate::flow::Sample;
use crate::worker::{Worker, run};

/// The topic that the command lines send files on.
const TOPIC: &str = "files";

/// MiB of the file that a page sends: five minutes at 70 MB/s.
const FILE: usize = 20_000;

/// What the participant does once it has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Waits for this participant and sends to the room.
    SendsAfter(&'static str),
    /// Takes what comes.
    Receives,
}

/// The page under way. Dropping it ends its browser.
pub(crate) struct Page {
    /// The browser's first process.
    id: u32,
    samples: mpsc::Receiver<Sample>,
    // Before the worker, which ends when this is gone.
    _stop: oneshot::Sender<()>,
    worker: Worker,
}

impl Page {
    /// Starts the browser and waits until the page has joined.
    pub(crate) fn join(
        door: Door,
        room: &'static str,
        identity: &'static str,
        role: Role,
    ) -> Result<Page, Failure> {
        let (joined, id) = mpsc::channel();
        let (told, samples) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let mut worker = Worker::spawn("page", move || {
            run(stopped, async {
                let mut browser = door.page(room, identity, TOPIC).await?;
                joined.send(browser.id())?;
                match role {
                    Role::SendsAfter(other) => send(&mut browser, other).await,
                    Role::Receives => receive(&mut browser, &told).await,
                }
            })
        })?;
        // Each step until then has a deadline of its own.
        let Ok(id) = id.recv() else {
            return Err(worker.end());
        };
        Ok(Page {
            id,
            samples,
            _stop: stop,
            worker,
        })
    }

    /// The next count that the page tells, or nothing when it tells none in time.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Option<Sample>, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.samples.recv_timeout(left) {
            Ok(sample) => Ok(Some(sample)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(self.worker.end()),
        }
    }

    /// Fails when the page does.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.worker.check()
    }

    /// CPU time of all processes of the browser.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        family_time(self.id)
    }
}

async fn send(browser: &mut Browser, other: &str) -> Result<(), Failure> {
    browser
        .expect_with("participant", "identity", other)
        .await?;
    let file = json!({"topic": TOPIC, "blocks": FILE, "name": "endless.bin"});
    browser.call("send_large_file", file).await?;
    browser.wait_for("sent").await?;
    Err(Failure::new("the page has sent all that it had"))
}

async fn receive(browser: &mut Browser, told: &mpsc::Sender<Sample>) -> Result<(), Failure> {
    loop {
        let progress = browser.wait_for("progress").await?;
        if told.send(Sample::told(&progress)).is_err() {
            return Ok(());
        }
    }
}
