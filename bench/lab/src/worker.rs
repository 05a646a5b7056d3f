//! A thread of ours that takes part in a flow.

use std::future::Future;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lkstream_conformance::process::{DEADLINE, Failure};
use tokio::sync::oneshot;

use crate::cpu::thread_time;

/// The running thread. It has to be told to end before this is dropped, which waits for it.
pub(crate) struct Worker {
    role: &'static str,
    stat: PathBuf,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

impl Worker {
    pub(crate) fn spawn(
        role: &'static str,
        work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
    ) -> Result<Worker, Failure> {
        let (started, id) = mpsc::channel();
        let thread = thread::spawn(move || {
            // Nobody listens when the flow was given up.
            let _ = started.send(rustix::thread::gettid().as_raw_nonzero());
            work()
        });
        let id = id.recv_timeout(DEADLINE)?;
        Ok(Worker {
            role,
            stat: format!("/proc/self/task/{id}/stat").into(),
            thread: Some(thread),
        })
    }

    /// Fails when the thread has ended, with its own failure if it has one.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match &self.thread {
            Some(thread) if thread.is_finished() => Err(self.end()),
            _ => Ok(()),
        }
    }

    /// Waits for the end of the thread and says why it has ended.
    pub(crate) fn end(&mut self) -> Failure {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(failure))) => failure,
            Some(Err(_)) => Failure::new("an end panicked"),
            Some(Ok(Ok(()))) | None => Failure::new("an end closed"),
        }
    }

    /// Its role and CPU time.
    pub(crate) fn cpu(&self) -> Result<(&'static str, Duration), Failure> {
        Ok((self.role, thread_time(&self.stat)?))
    }
}

/// Runs `work` on this thread until it ends or the other side of `stop` is gone.
pub(crate) fn run(
    stop: oneshot::Receiver<()>,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome,
            _ = stop => Ok(()),
        }
    })
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // What went wrong at the very end is no part of the measurement.
            let _ = thread.join();
        }
    }
}
