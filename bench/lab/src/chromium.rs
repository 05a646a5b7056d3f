//! One hop between a `transport::Peer` and a bare page in headless Chromium, the sender on the left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lkstream_conformance::browser::Launch;
use lkstream_conformance::lab::Lab;
use lkstream_conformance::process::Failure;
use lkstream_conformance::throughput::{Load, Sender, measure};
use tokio::sync::oneshot;

use crate::flow::{Cpu, Flow, Sample};
use crate::hop::MESSAGE;
use crate::worker::{Worker, run};

/// 2^53 - 1, the most that a page can count.
const ENDLESS: usize = usize::MAX >> 11;

/// Longer than any flow is watched.
const WITHIN: Duration = Duration::from_secs(7 * 86_400);

/// For the first bytes to arrive, with the start of the browser.
const START: Duration = Duration::from_secs(60);

/// How often to look for them.
const LOOK: Duration = Duration::from_millis(10);

/// The transfer under way. The peer has a thread, which also serves the page and holds the browser.
pub(crate) struct Chromium {
    arrived: Arc<AtomicU64>,
    // Before the worker, which ends when this is gone.
    _stop: oneshot::Sender<()>,
    worker: Worker,
}

impl Chromium {
    /// Starts the browser, connects, and waits until bytes arrive.
    pub(crate) fn start(lab: &Lab, sender: Sender) -> Result<Chromium, Failure> {
        let (left, right) = (lab.left().clone(), lab.right().clone());
        let (server, browser) = match sender {
            Sender::Peer => (left, right),
            Sender::Page => (right, left),
        };
        let launch = Launch {
            server,
            browser,
            ..Launch::new()
        };
        let load = Load {
            sender,
            bytes: ENDLESS,
            message: MESSAGE,
        };
        let arrived = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&arrived);
        let (stop, stopped) = oneshot::channel();
        let worker = Worker::spawn("peer", move || {
            let progress = |bytes: usize| count.store(bytes as u64, Ordering::Relaxed);
            run(stopped, async {
                measure(&launch, load, WITHIN, progress).await?;
                Ok(())
            })
        })?;
        let mut flow = Chromium {
            arrived,
            _stop: stop,
            worker,
        };
        let deadline = Instant::now() + START;
        while flow.sample(Instant::now() + LOOK)?.bytes == 0 {
            if Instant::now() >= deadline {
                return Err(Failure::new(format!("nothing arrived in {START:?}")));
            }
        }
        Ok(flow)
    }
}

impl Flow for Chromium {
    fn sample(&mut self, from: Instant) -> Result<Sample, Failure> {
        thread::sleep(from.saturating_duration_since(Instant::now()));
        self.worker.check()?;
        Ok(Sample {
            at: Instant::now(),
            bytes: self.arrived.load(Ordering::Relaxed),
        })
    }

    fn cpu(&self) -> Result<Cpu, Failure> {
        Ok(vec![self.worker.cpu()?])
    }
}
