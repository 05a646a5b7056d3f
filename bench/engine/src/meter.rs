//! CPU time, allocations and memory of this process.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Counts allocations since the start, growing ones included.
pub type Count = fn() -> u64;

/// Measures a stretch of work of this thread.
#[derive(Debug)]
pub struct Meter {
    count: Option<Count>,
    cpu: Duration,
    allocations: u64,
}

/// What a stretch of work cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// CPU time of the thread.
    pub cpu: Duration,
    /// Allocations of the process, where they are counted.
    pub allocations: Option<u64>,
}

impl Meter {
    /// Starts to measure.
    pub fn start(count: Option<Count>) -> Meter {
        Meter {
            allocations: count.map_or(0, |count| count()),
            count,
            cpu: thread_cpu(),
        }
    }

    /// What was spent since the start.
    pub fn stop(&self) -> Cost {
        let cpu = thread_cpu().saturating_sub(self.cpu);
        Cost {
            cpu,
            allocations: self.count.map(|count| count() - self.allocations),
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}

/// Memory of the process beyond what it had at the start, at its peak.
#[derive(Debug)]
pub struct Memory {
    before: u64,
}

impl Memory {
    /// Starts over with the peak (Linux: writes 5 to `clear_refs`, proc(5)).
    ///
    /// # Errors
    /// As of the files in `/proc/self`.
    pub fn start() -> io::Result<Memory> {
        fs::write("/proc/self/clear_refs", "5")?;
        let before = peak()?;
        Ok(Memory { before })
    }

    /// Bytes of the peak since the start, beyond what there was then.
    ///
    /// # Errors
    /// As of the files in `/proc/self`.
    pub fn growth(&self) -> io::Result<u64> {
        Ok(peak()?.saturating_sub(self.before))
    }
}

fn peak() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .ok_or_else(|| io::Error::other("no VmHWM in /proc/self/status"))?;
    Ok(kib * 1024)
}
