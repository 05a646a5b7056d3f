//! Congestion control: the interface of both algorithms.

mod bbr;
mod new_reno;

use std::fmt::Debug;
use std::time::{Duration, Instant};

pub(crate) use self::bbr::Bbr;
pub(crate) use self::new_reno::NewReno;
use crate::rate::RateSample;

/// What one SACK brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) now: Instant,
    /// Bytes acknowledged for the first time.
    pub(crate) bytes: u64,
    /// Bytes in flight after it.
    pub(crate) flight: u64,
    /// Bytes delivered so far.
    pub(crate) delivered: u64,
    /// A round trip measured by it.
    pub(crate) rtt: Option<Duration>,
    pub(crate) rate: Option<RateSample>,
    /// The window, not the application, held the sender back.
    pub(crate) is_window_limited: bool,
    /// Something lost was not repaired yet.
    pub(crate) is_recovering: bool,
}

/// A chunk found lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost {
    pub(crate) now: Instant,
    pub(crate) bytes: u64,
    /// Bytes in flight when it was sent, itself included.
    pub(crate) flight_at_send: u64,
    /// Bytes lost since it was sent, itself included.
    pub(crate) lost_since: u64,
    pub(crate) is_app_limited: bool,
    /// The chunk before it was not found lost just before.
    pub(crate) is_new_range: bool,
    /// It was sent after the last loss was found: a new event (RFC 9260 §7.2.3).
    pub(crate) is_new_event: bool,
}

/// Decides how much may be in flight and how fast it leaves.
pub(crate) trait Controller: Debug + Send + Sync {
    /// A packet leaves; `flight` without it.
    fn sent(&mut self, now: Instant, flight: u64, is_app_limited: bool);

    /// Once for each SACK, after the losses it showed.
    fn acknowledged(&mut self, ack: &Acknowledged);

    fn lost(&mut self, lost: &Lost);

    /// Nothing was heard for the whole timeout; all in flight counts as lost.
    fn timed_out(&mut self, now: Instant, flight: u64);

    /// The last timeout was none.
    fn timeout_was_spurious(&mut self);

    /// The last timeout was one: what was before it does not come back.
    fn timeout_was_real(&mut self);

    /// Bytes that may be in flight.
    fn window(&self) -> u64;

    /// Bytes a second; `None` for no pacing.
    fn pacing_rate(&self) -> Option<f64>;

    /// The sender is held back on purpose: samples say less than the path can do.
    fn is_probing_rtt(&self) -> bool {
        false
    }
}
