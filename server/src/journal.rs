//! Log lines that others can cause: few of a kind, with the number of those left out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of a kind in one [`PERIOD`].
const LINES: u32 = 10;

/// After this much time there may be as many again.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Kind {
    began: Instant,
    lines: u32,
    left_out: u64,
}

/// Decides which lines are written.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    kinds: Mutex<HashMap<&'static str, Kind>>,
}

impl Journal {
    /// Writes a line unless there were many of its kind just now. `write` gets the number of lines left out before it.
    pub(crate) fn say(&self, kind: &'static str, write: impl FnOnce(u64)) {
        if let Some(left_out) = self.admit(Instant::now(), kind) {
            write(left_out);
        }
    }

    fn admit(&self, now: Instant, kind: &'static str) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(kind).or_insert(Kind {
            began: now,
            lines: 0,
            left_out: 0,
        });
        if now.saturating_duration_since(kind.began) >= PERIOD {
            kind.began = now;
            kind.lines = 0;
        }
        if kind.lines >= LINES {
            kind.left_out += 1;
            return None;
        }
        kind.lines += 1;
        Some(std::mem::take(&mut kind.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lines_of_a_kind_are_written_and_the_others_are_counted() {
        let journal = Journal::default();
        let start = Instant::now();
        let written = (0..100)
            .filter(|_| journal.admit(start, "a").is_some())
            .count();
        assert_eq!(written, LINES as usize);
        assert_eq!(journal.admit(start, "b"), Some(0));
        assert_eq!(journal.admit(start + PERIOD, "a"), Some(90));
        assert_eq!(journal.admit(start + PERIOD, "a"), Some(0));
    }
}
