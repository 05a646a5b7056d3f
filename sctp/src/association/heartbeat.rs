//! Heartbeats, which measure the round trip while no data of ours is acknowledged (RFC 9260 §8.3).

use std::time::Instant;

use super::Association;
use crate::chunk::{HEARTBEAT_ACK, HEARTBEAT_INFO, half, word};
use crate::error::PeerFault;
use crate::limits;

/// Those that left last, with what tells them from any other.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    sent: [Option<(u64, Instant)>; limits::HEARTBEATS],
    last: Option<Instant>,
}

impl Heartbeats {
    pub(super) fn sent(&mut self, now: Instant, nonce: u64) {
        self.sent.rotate_right(1);
        self.sent[0] = Some((nonce, now));
        self.last = Some(now);
    }

    /// When the one that is answered left. It and those before it are not waited for any more.
    fn answered(&mut self, nonce: u64) -> Option<Instant> {
        let is_it = |sent: &Option<(u64, Instant)>| sent.is_some_and(|(other, _)| other == nonce);
        let index = self.sent.iter().position(is_it)?;
        let sent_at = self.sent[index].map(|(_, at)| at);
        self.sent[index..].fill(None);
        sent_at
    }
}

impl Association {
    /// Data came in. Where nothing of ours is acknowledged, only heartbeats tell how long the round trip is that the window has to
    /// hold; so they are sent a few times a second, while none is answered no sooner than after a timeout.
    pub(super) fn measure(&mut self, now: Instant) {
        let mut wait = limits::RTT_AGE;
        if self.heartbeats.sent[0].is_some() {
            wait = wait.max(self.sender.rtt.timeout());
        }
        let has_waited = self.heartbeats.last.is_none_or(|at| now >= at + wait);
        if has_waited && self.is_connected() && self.sender.rtt.is_older(now, limits::RTT_AGE) {
            self.pending.heartbeat = true;
        }
    }

    /// It counts only if it answers one that left not long ago.
    pub(super) fn handle_heartbeat_ack(
        &mut self,
        now: Instant,
        value: &[u8],
    ) -> Result<(), PeerFault> {
        let nonce = match (half(value, 0), word(value, 4), word(value, 8)) {
            (Some(HEARTBEAT_INFO), Some(high), Some(low)) => {
                Some(u64::from(high) << 32 | u64::from(low))
            }
            _ => None,
        };
        let sent_at = nonce.and_then(|nonce| self.heartbeats.answered(nonce));
        let sent_at = sent_at.ok_or(PeerFault::Range(HEARTBEAT_ACK))?;
        let rtt = now.saturating_duration_since(sent_at);
        if rtt < limits::HEARTBEAT_INTERVAL {
            self.sender.rtt.sample(now, rtt);
        }
        Ok(())
    }
}
