//! How fast data is delivered, measured from acknowledgements (draft-ietf-ccwg-bbr §4.5).

use std::time::{Duration, Instant};

/// What a chunk remembers of the moment it was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) delivered: u64,
    pub(crate) delivered_at: Instant,
    pub(crate) first_sent_at: Instant,
    pub(crate) lost: u64,
    /// Bytes in flight, this chunk included.
    pub(crate) flight: u64,
    pub(crate) is_app_limited: bool,
}

/// A measurement over about one round trip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateSample {
    /// Bytes a second; 0 when the interval was too short to say.
    pub(crate) rate: f64,
    /// Bytes delivered in the interval.
    pub(crate) delivered: u64,
    /// Bytes delivered before it.
    pub(crate) prior_delivered: u64,
    /// Bytes in flight when its chunk was sent.
    pub(crate) flight_at_send: u64,
    /// Bytes lost since.
    pub(crate) lost: u64,
    pub(crate) is_app_limited: bool,
}

#[derive(Debug)]
pub(crate) struct Rate {
    pub(crate) delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    pub(crate) lost: u64,
    /// Samples are limited by the application until so much is delivered; 0 for not.
    app_limited_until: u64,
    /// The newest acknowledged chunk since the last sample: number, when sent, its snapshot.
    newest: Option<(u64, Instant, Snapshot)>,
}

impl Rate {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            lost: 0,
            app_limited_until: 0,
            newest: None,
        }
    }

    /// The path is another one.
    pub(crate) fn restart(&mut self, now: Instant) {
        *self = Self {
            delivered: self.delivered,
            lost: self.lost,
            ..Self::new(now)
        };
    }

    /// A chunk is sent; `flight` without it.
    pub(crate) fn sent(&mut self, now: Instant, flight: u64, bytes: u64) -> Snapshot {
        if flight == 0 {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        Snapshot {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            lost: self.lost,
            flight: flight + bytes,
            is_app_limited: self.app_limited_until > 0,
        }
    }

    /// There is nothing to send though there is room for `flight` and more.
    pub(crate) fn limited_by_application(&mut self, flight: u64) {
        self.app_limited_until = (self.delivered + flight).max(1);
    }

    pub(crate) fn is_app_limited(&self) -> bool {
        self.app_limited_until > 0
    }

    pub(crate) fn acknowledged(
        &mut self,
        now: Instant,
        number: u64,
        sent_at: Instant,
        snapshot: &Snapshot,
        bytes: u64,
    ) {
        self.delivered += bytes;
        self.delivered_at = now;
        if self
            .newest
            .as_ref()
            .is_none_or(|(best, _, _)| number > *best)
        {
            self.newest = Some((number, sent_at, *snapshot));
        }
    }

    /// The sample of all that was acknowledged since the last one.
    pub(crate) fn sample(
        &mut self,
        now: Instant,
        least_rtt: Option<Duration>,
    ) -> Option<RateSample> {
        if self.app_limited_until > 0 && self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        let (_, sent_at, snapshot) = self.newest.take()?;
        self.first_sent_at = sent_at;
        let sending = sent_at.saturating_duration_since(snapshot.first_sent_at);
        let receiving = now.saturating_duration_since(snapshot.delivered_at);
        let interval = sending.max(receiving);
        let delivered = self.delivered.saturating_sub(snapshot.delivered);
        // Shorter than the least round trip is a sign of acknowledgements in a bunch.
        let is_good = !interval.is_zero() && least_rtt.is_none_or(|least| interval >= least);
        Some(RateSample {
            rate: if is_good {
                delivered as f64 / interval.as_secs_f64()
            } else {
                0.0
            },
            delivered,
            prior_delivered: snapshot.delivered,
            flight_at_send: snapshot.flight,
            lost: self.lost.saturating_sub(snapshot.lost),
            is_app_limited: snapshot.is_app_limited,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_slower_of_sending_and_receiving_counts() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut rate = Rate::new(start);
        let first = rate.sent(ms(0), 0, 1_000);
        let second = rate.sent(ms(10), 1_000, 1_000);
        rate.acknowledged(ms(50), 1, ms(0), &first, 1_000);
        let sample = rate.sample(ms(50), None).unwrap();
        assert_eq!((sample.delivered, sample.rate), (1_000, 20_000.0));
        rate.acknowledged(ms(100), 2, ms(10), &second, 1_000);
        let sample = rate.sample(ms(100), None).unwrap();
        assert_eq!((sample.delivered, sample.rate), (2_000, 20_000.0));
        assert!(rate.sample(ms(100), None).is_none());
    }
}
