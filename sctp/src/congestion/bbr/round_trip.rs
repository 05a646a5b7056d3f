//! The round trip without queue, and the one of now (draft §5.5.5).

use std::time::{Duration, Instant};

/// So long the least round trip is believed.
const WINDOW: Duration = Duration::from_secs(10);
/// So long without a round trip as low, and it is looked for.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// This part of the least round trip more is a queue.
const QUEUE_PART: u32 = 4;

#[derive(Debug)]
pub(super) struct RoundTrip {
    least: Option<Duration>,
    least_at: Instant,
    probed: Option<Duration>,
    probed_at: Instant,
    /// The least of this round.
    in_round: Option<Duration>,
    /// It is time to look for the least one.
    pub(super) is_probe_due: bool,
}

impl RoundTrip {
    pub(super) fn new(now: Instant, least: Option<Duration>) -> Self {
        Self {
            least,
            least_at: now,
            probed: least,
            probed_at: now,
            in_round: None,
            is_probe_due: false,
        }
    }

    pub(super) fn least(&self) -> Option<Duration> {
        self.least
    }

    pub(super) fn update(&mut self, now: Instant, rtt: Option<Duration>) {
        self.is_probe_due = now.saturating_duration_since(self.probed_at) > PROBE_INTERVAL;
        if let Some(rtt) = rtt
            && (self.is_probe_due || self.probed.is_none_or(|least| rtt <= least))
        {
            self.probed = Some(rtt);
            self.probed_at = now;
        }
        let is_old = now.saturating_duration_since(self.least_at) > WINDOW;
        if let Some(probed) = self.probed
            && (is_old || self.least.is_none_or(|least| probed < least))
        {
            self.least = Some(probed);
            self.least_at = self.probed_at;
        }
    }

    /// The next look is an interval away.
    pub(super) fn probe_done(&mut self, now: Instant) {
        self.probed_at = now;
    }

    pub(super) fn start_round(&mut self) {
        self.in_round = None;
    }

    pub(super) fn note_in_round(&mut self, rtt: Option<Duration>) {
        if let Some(rtt) = rtt {
            self.in_round = Some(self.in_round.map_or(rtt, |least| least.min(rtt)));
        }
    }

    /// No round trip of this round was near the least.
    pub(super) fn has_queue(&self) -> bool {
        match (self.in_round, self.least) {
            (Some(rtt), Some(least)) => rtt > least + least / QUEUE_PART,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_believed_for_a_while_and_a_queue_is_seen() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ms = Duration::from_millis;
        let mut trip = RoundTrip::new(start, None);
        trip.update(start, Some(ms(100)));
        trip.note_in_round(Some(ms(140)));
        assert!(trip.has_queue());
        trip.note_in_round(Some(ms(120)));
        assert!(!trip.has_queue());
        trip.start_round();
        assert!(!trip.has_queue());
        trip.update(at(4), Some(ms(140)));
        assert!(!trip.is_probe_due);
        trip.update(at(6), Some(ms(140)));
        assert_eq!((trip.is_probe_due, trip.least()), (true, Some(ms(100))));
        trip.update(at(11), Some(ms(140)));
        assert_eq!(trip.least(), Some(ms(140)));
    }
}
