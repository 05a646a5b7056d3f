//! How much more than the model expects is acknowledged at once (draft-ietf-ccwg-bbr §5.5.9): Wi-Fi and receive offload gather acknowledgements, and
//! what is in flight has to cover the wait for them.

use std::time::Instant;

/// Rounds that the greatest excess is remembered.
const ROUNDS: u64 = 10;

#[derive(Debug)]
pub(super) struct Extra {
    /// The count began here.
    since: Instant,
    delivered: u64,
    /// The greatest excess of two halves of the time, with the round that each began in.
    greatest: [(u64, u64); 2],
}

impl Extra {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            delivered: 0,
            greatest: [(0, 0); 2],
        }
    }

    /// Sending goes on after a pause.
    pub(super) fn restart(&mut self, now: Instant) {
        self.since = now;
        self.delivered = 0;
    }

    /// `bytes` were acknowledged in this round; at most `most` of excess counts. Before the pipe was full, only one round does.
    pub(super) fn update(
        &mut self,
        now: Instant,
        bytes: u64,
        bandwidth: f64,
        most: u64,
        round: u64,
        is_full: bool,
    ) {
        let passed = now.saturating_duration_since(self.since);
        let mut expected = (bandwidth * passed.as_secs_f64()) as u64;
        if self.delivered <= expected {
            self.restart(now);
            expected = 0;
        }
        self.delivered += bytes;
        let excess = (self.delivered - expected).min(most);
        let rounds = if is_full { ROUNDS } else { 1 };
        if round >= self.greatest[1].0 + rounds.div_ceil(2) {
            self.greatest[0] = self.greatest[1];
            self.greatest[1] = (round, 0);
        }
        self.greatest[1].1 = self.greatest[1].1.max(excess);
    }

    /// In bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.greatest[0].1.max(self.greatest[1].1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bunch_is_remembered_for_ten_rounds() {
        let start = Instant::now();
        let mut extra = Extra::new(start);
        let mut ack = |round: u64, bytes| {
            let now = start + Duration::from_millis(10 * round);
            extra.update(now, bytes, 1e6, 50_000, round, true);
            extra.bytes()
        };
        assert_eq!(ack(1, 10_000), 10_000);
        assert_eq!(ack(2, 60_000), 50_000);
        assert_eq!(ack(6, 10_000), 50_000);
        (7..20).for_each(|round| {
            ack(round, 5_000);
        });
        assert!(ack(20, 10_000) <= 10_000);
    }
}
