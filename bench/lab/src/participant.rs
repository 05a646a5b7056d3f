//! One end of a transfer, ours or official.

use std::time::{Duration, Instant};

use lkstream_conformance::process::{Failure, Process};

use crate::cpu::process_time;
use crate::flow::Sample;
use crate::page::Page;

/// Dropping it ends it.
pub(crate) enum Participant {
    /// A command line: ours, or the Python SDK's.
    Process(Process),
    /// A page in Chromium.
    Page(Page),
}

impl Participant {
    /// The next count that it tells, or nothing when it tells none in time.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Option<Sample>, Failure> {
        match self {
            Participant::Process(process) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let progress = process.look_for("progress", left)?;
                Ok(progress.as_ref().map(Sample::told))
            }
            Participant::Page(page) => page.next(deadline),
        }
    }

    /// Fails when it has ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self {
            Participant::Page(page) => page.check(),
            Participant::Process(process) => {
                if process.is_running() {
                    Ok(())
                } else {
                    Err(process.failure("has ended"))
                }
            }
        }
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        match self {
            Participant::Process(process) => process_time(process.id()),
            Participant::Page(page) => page.cpu(),
        }
    }

    /// A failure with what is known of it.
    pub(crate) fn failure(&self, what: &str) -> Failure {
        match self {
            Participant::Process(process) => process.failure(what),
            Participant::Page(_) => Failure::new(format!("a page: {what}")),
        }
    }
}
