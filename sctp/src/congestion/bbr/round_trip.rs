//! The round trip without queue, and the one of now (draft §5.5.5).

use std::time::{Duration, Instant};

/// So long the least round trip is believed.
const WINDOW: Duration = Duration::from_secs(10);
/// So long without a round trip as low, and it is looked for.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// So long without a free path, though we made room and looked for it: somebody else keeps the queue filled. A path that has become
/// longer looks the same, and costs no more than the sharing with flows of our own.
const CONTESTED_AFTER: Duration = Duration::from_secs(6);
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
    /// The least ever, and when it was last about that.
    ever: Option<Duration>,
    free_at: Instant,
    /// A flow that only losses slow down holds the queue: making room would starve us, and its queue is part of the path.
    pub(super) is_contested: bool,
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
            ever: least,
            free_at: now,
            is_contested: false,
        }
    }

    pub(super) fn least(&self) -> Option<Duration> {
        self.least
    }

    pub(super) fn update(&mut self, now: Instant, rtt: Option<Duration>) {
        if let Some(rtt) = rtt {
            let ever = self.ever.map_or(rtt, |ever| ever.min(rtt));
            self.ever = Some(ever);
            if rtt <= ever + ever / QUEUE_PART {
                self.free_at = now;
            }
            // A look takes a round trip to drain the queue and one to see that it is gone.
            let patience = CONTESTED_AFTER + 3 * rtt;
            self.is_contested = now.saturating_duration_since(self.free_at) > patience;
        }
        self.is_probe_due = now.saturating_duration_since(self.probed_at) > PROBE_INTERVAL;
        if let Some(rtt) = rtt
            && (self.is_probe_due || self.probed.is_none_or(|least| rtt <= least))
        {
            self.probed = Some(rtt);
            self.probed_at = now;
        }
        let is_old = now.saturating_duration_since(self.least_at) > WINDOW;
        if let Some(probed) = self.probed
            && (is_old || self.is_contested || self.least.is_none_or(|least| probed < least))
        {
            self.least = Some(probed);
            self.least_at = self.probed_at;
        }
    }

    /// Sending goes on after a pause, which says nothing about others.
    pub(super) fn resume(&mut self, now: Instant) {
        self.free_at = now;
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

    /// As beside a flow with CUBIC and a long buffer.
    #[test]
    fn a_queue_that_never_drains_becomes_part_of_the_path() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ms = Duration::from_millis;
        let mut trip = RoundTrip::new(start, Some(ms(50)));
        (1..7).for_each(|second| trip.update(at(second), Some(ms(200))));
        assert!(!trip.is_contested);
        (7..9).for_each(|second| trip.update(at(second), Some(ms(200))));
        assert_eq!((trip.is_contested, trip.least()), (true, Some(ms(200))));
        trip.update(at(9), Some(ms(60)));
        assert_eq!((trip.is_contested, trip.least()), (false, Some(ms(60))));
        trip.resume(at(30));
        trip.update(at(30), Some(ms(200)));
        assert!(!trip.is_contested);
    }
}
