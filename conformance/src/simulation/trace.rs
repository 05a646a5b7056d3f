//! What happened, as a hash to compare runs by and as the last lines to read after a failure.

use std::collections::VecDeque;
use std::fmt::{Arguments, Write as _};
use std::time::Duration;

/// Lines kept for a failure.
const KEPT: usize = 60;

/// The events of a simulation in order.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    events: u64,
    line: String,
    last: VecDeque<String>,
    is_printed: bool,
}

impl Trace {
    pub(super) fn new() -> Trace {
        Trace {
            // FNV-1a, 64 bits: offset basis.
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            line: String::new(),
            last: VecDeque::new(),
            is_printed: std::env::var_os("LKSTREAM_TRACE").is_some(),
        }
    }

    pub(super) fn record(&mut self, at: Duration, event: Arguments<'_>) {
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{:>13} {event}", at.as_nanos());
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.events += 1;
        if self.is_printed {
            println!("{}", self.line);
        }
        let mut line = if self.last.len() == KEPT {
            self.last.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        line.clone_from(&self.line);
        self.last.push_back(line);
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn tail(&self) -> String {
        let mut tail = String::new();
        for line in &self.last {
            tail.push_str(line);
            tail.push('\n');
        }
        tail
    }
}
