//! The round trip time and what follows from it (RFC 6298, RFC 9260 §6.3).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{RTO_INITIAL, RTO_MAX, RTO_MIN};

/// How long the least round trip is remembered (RFC 8985 §6.2 leaves it open).
const MIN_WINDOW: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    /// Candidates for the least, growing in time and value.
    least: VecDeque<(Instant, Duration)>,
    backoff: u32,
    sampled_at: Option<Instant>,
}

impl Rtt {
    /// Only from chunks sent once (Karn; RFC 9260 §6.3.1 C5).
    pub(crate) fn sample(&mut self, now: Instant, rtt: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variation = rtt / 2;
            }
            Some(smoothed) => {
                let distance = rtt.abs_diff(smoothed);
                self.variation = (self.variation * 3 + distance) / 4;
                self.smoothed = Some((smoothed * 7 + rtt) / 8);
            }
        }
        while self.least.back().is_some_and(|(_, other)| *other >= rtt) {
            self.least.pop_back();
        }
        // A slowly rising round trip would remember every sample.
        if self
            .least
            .back()
            .is_none_or(|(at, _)| now.saturating_duration_since(*at) >= MIN_WINDOW / 16)
        {
            self.least.push_back((now, rtt));
        }
        while self.least.len() > 1
            && self
                .least
                .front()
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) > MIN_WINDOW)
        {
            self.least.pop_front();
        }
        self.backoff = 0;
        self.sampled_at = Some(now);
    }

    /// Whether nothing was measured for so long.
    pub(crate) fn is_older(&self, now: Instant, age: Duration) -> bool {
        self.sampled_at
            .is_none_or(|at| now.saturating_duration_since(at) >= age)
    }

    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    pub(crate) fn least(&self) -> Option<Duration> {
        self.least.front().map(|(_, rtt)| *rtt)
    }

    /// The retransmission timeout.
    pub(crate) fn timeout(&self) -> Duration {
        let base = self.smoothed.map_or(RTO_INITIAL, |smoothed| {
            smoothed + (self.variation * 4).max(RTO_MIN)
        });
        base.saturating_mul(1 << self.backoff.min(10)).min(RTO_MAX)
    }

    /// After a timeout (RFC 9260 §6.3.3 E2).
    pub(crate) fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    /// The other side was heard.
    pub(crate) fn restore(&mut self) {
        self.backoff = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// RFC 9260 §6.3.1 C1 to C4, §6.3.3 E2.
    #[test]
    fn the_timeout_follows_the_round_trip() {
        let start = Instant::now();
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(), RTO_INITIAL);
        rtt.sample(start, 100 * MS);
        assert_eq!(rtt.timeout(), 300 * MS);
        rtt.back_off();
        assert_eq!(rtt.timeout(), 600 * MS);
        for _ in 0..60 {
            rtt.back_off();
        }
        assert_eq!(rtt.timeout(), RTO_MAX);
        rtt.sample(start, 900 * MS);
        assert_eq!(rtt.smoothed(), Some(200 * MS));
        assert_eq!(rtt.timeout(), 200 * MS + 950 * MS);
    }

    #[test]
    fn the_least_is_forgotten_after_a_while() {
        let start = Instant::now();
        let mut rtt = Rtt::default();
        rtt.sample(start, 10 * MS);
        rtt.sample(start + 5_000 * MS, 20 * MS);
        assert_eq!(rtt.least(), Some(10 * MS));
        rtt.sample(start + 11_000 * MS, 30 * MS);
        assert_eq!(rtt.least(), Some(20 * MS));
    }
}
