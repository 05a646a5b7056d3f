//! Something that sends as fast as it can, and how its rate is measured.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lkstream_conformance::process::Failure;

/// How much payload had arrived at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) bytes: u64,
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

/// User and system time of the process or thread whose `stat` file this is, in steps of 10 ms.
pub(crate) fn cpu_time(stat: &PathBuf) -> Result<Duration, Failure> {
    let text = std::fs::read_to_string(stat)?;
    // proc_pid_stat(5): the name in parentheses is the second field and may hold anything, times are 14 and 15.
    let fields = text.rsplit(')').next().unwrap_or_default();
    let ticks = |field: usize| {
        let field = fields.split_whitespace().nth(field - 3);
        field.and_then(|field| field.parse::<u64>().ok())
    };
    let (Some(user), Some(system)) = (ticks(14), ticks(15)) else {
        return Err(Failure::new(format!("{} has no times", stat.display())));
    };
    // USER_HZ is 100 on every Linux that this runs on.
    Ok(Duration::from_millis(10 * (user + system)))
}
