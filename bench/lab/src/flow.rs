//! A sender that sends as fast as it can, and the measurement of its rate.

use std::time::{Duration, Instant};

use lkstream_conformance::process::Failure;
use serde_json::Value;

/// How much payload had arrived at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) bytes: u64,
}

impl Sample {
    /// What a receiver has just told as its `progress`.
    pub(crate) fn told(progress: &Value) -> Sample {
        Sample {
            at: Instant::now(),
            bytes: progress["bytes"].as_u64().unwrap_or(0),
        }
    }
}

/// What the parts of a flow have used of the CPU so far.
pub(crate) type Cpu = Vec<(&'static str, Duration)>;

/// A flow that is under way. Dropping it ends it.
pub(crate) trait Flow {
    /// The first count that is known at this time or later.
    fn sample(&mut self, from: Instant) -> Result<Sample, Failure>;

    /// CPU time of its parts.
    fn cpu(&self) -> Result<Cpu, Failure>;
}

/// How long a flow has to reach its pace, and how long it is then watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) settle: Duration,
    pub(crate) span: Duration,
}

impl Window {
    /// The window of flows that have settled.
    pub(crate) fn at_once(self) -> Window {
        Window {
            settle: Duration::ZERO,
            ..self
        }
    }
}

/// What one flow did in a window.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    pub(crate) bytes_per_second: f64,
    /// Seconds of CPU per GB of payload.
    pub(crate) cpu: Vec<(&'static str, f64)>,
}

/// Watches flows that run at the same time.
pub(crate) fn measure(flows: &mut [Box<dyn Flow>], window: Window) -> Result<Vec<Rate>, Failure> {
    let observe = |flows: &mut [Box<dyn Flow>], at| {
        let look = |flow: &mut Box<dyn Flow>| Ok((flow.sample(at)?, flow.cpu()?));
        flows
            .iter_mut()
            .map(look)
            .collect::<Result<Vec<_>, Failure>>()
    };
    let begin = Instant::now() + window.settle;
    let first = observe(flows, begin)?;
    let last = observe(flows, begin + window.span)?;
    let rates = first.iter().zip(&last).map(|(first, last)| {
        let bytes = (last.0.bytes - first.0.bytes) as f64;
        let used = last.1.iter().zip(&first.1);
        let cpu = used.map(|(last, first)| {
            let seconds = last.1.saturating_sub(first.1).as_secs_f64();
            (last.0, seconds / (bytes / 1e9))
        });
        Rate {
            bytes_per_second: bytes / (last.0.at - first.0.at).as_secs_f64(),
            cpu: cpu.collect(),
        }
    });
    Ok(rates.collect())
}
