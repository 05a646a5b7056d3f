//! How long packets waited before a bottleneck.

use std::time::Duration;

/// The width of a step.
const STEP: Duration = Duration::from_micros(100);

/// Steps that are told apart: two seconds. What waited longer counts as the last one.
const STEPS: usize = 20_000;

/// A distribution of waiting times in steps of 100 µs.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    // By step; only as long as was needed so far.
    counts: Vec<u64>,
    total: u64,
}

impl Waits {
    /// Takes one packet into account.
    pub fn record(&mut self, wait: Duration) {
        let step = usize::try_from(wait.as_nanos() / STEP.as_nanos()).unwrap_or(STEPS);
        let step = step.min(STEPS - 1);
        if self.counts.len() <= step {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
        self.total += 1;
    }

    /// What was recorded since `earlier`, an older copy of it.
    #[must_use]
    pub fn since(&self, earlier: &Waits) -> Waits {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        let counts = self.counts.iter().zip(before);
        Waits {
            counts: counts
                .map(|(count, before)| count.saturating_sub(before))
                .collect(),
            total: self.total.saturating_sub(earlier.total),
        }
    }

    /// What this share of the packets waited at most (0.5 is the median), rounded down to a step; nothing when there
    /// were none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = (self.total as f64 * share).max(1.0);
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                return Some(STEP * u32::try_from(step).unwrap_or(u32::MAX));
            }
        }
        None
    }
}
