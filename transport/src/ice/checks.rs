//! When checks are sent, and to whom.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Event, Ice, MAX_TRANSACTIONS, State, Transaction};
use crate::config::IceMode;
use crate::stun::{Kind, Part, Writer};

/// The chosen pair is asked so often while it is more silent than its keepalives explain, to find out at once when an
/// outage is over.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// An address is asked to prove itself so often.
const VALIDATION_INTERVAL: Duration = Duration::from_millis(200);

/// Bytes of a check beside its user name: header, priority, role, nomination, integrity and fingerprint.
const CHECK_BYTES: usize = 20 + 8 + 12 + 4 + 24 + 8;

/// An address whose answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validation {
    pub(super) remote: SocketAddr,
    pub(super) check_at: Instant,
}

impl Ice {
    /// Sends a check over the pair.
    pub(super) fn check(&mut self, index: usize, nominates: bool) {
        let Some((ufrag, password)) = &self.remote else {
            return;
        };
        let nominates =
            self.is_controlling && (nominates || (self.remote_is_lite && self.pairs.len() == 1));
        let pair = &self.pairs[index];
        let part = if self.is_controlling {
            Part::Controlling
        } else {
            Part::Controlled
        };
        let id = self.transaction_id();
        let mut request = Writer::new(Kind::Request, id)
            .username(&format!("{ufrag}:{}", self.credentials.ufrag))
            .priority(pair.reflexive_priority())
            .part(part(self.tie_breaker));
        if nominates {
            request = request.use_candidate();
        }
        let bytes = request.finish(password);
        let transaction = Transaction {
            id,
            remote: pair.remote,
            local: pair.local,
            nominates,
        };
        self.transaction_count += 1;
        if self.transactions.len() >= MAX_TRANSACTIONS {
            self.transactions.pop_front();
        }
        self.transactions.push_back(transaction);
        self.push_over(index, bytes);
    }

    /// Answers a check with one of our own, as far as what came from there allows; else it waits for its turn.
    pub(super) fn check_within_budget(&mut self, now: Instant, index: usize) {
        let remote = self.pairs[index].remote;
        if self.allowance(remote) >= self.check_len() {
            self.check(index, false);
        } else {
            self.pairs[index].check_at = now;
            self.next_tick = Some(now);
        }
    }

    /// Bytes of a check at most.
    fn check_len(&self) -> usize {
        let names =
            self.credentials.ufrag.len() + self.remote.as_ref().map_or(0, |(ufrag, _)| ufrag.len());
        CHECK_BYTES + 4 + (names + 1).next_multiple_of(4)
    }

    /// Bytes kept free on an address that is not validated, so that it can be asked to prove itself.
    pub(crate) fn reserve(&self) -> usize {
        if self.validation.is_some() {
            self.check_len()
        } else {
            0
        }
    }

    /// Asks an address in use to prove that it receives what we send, unless it has done so already.
    pub(crate) fn validate(&mut self, now: Instant, remote: SocketAddr) {
        self.validation = (!self.is_validated(remote)).then_some(Validation {
            remote,
            check_at: now,
        });
        self.handle_timeout(now);
    }

    fn continue_validation(&mut self, now: Instant) {
        let Some(validation) = self.validation.filter(|due| due.check_at <= now) else {
            return;
        };
        let last = self
            .pairs
            .iter()
            .enumerate()
            .filter(|(_, pair)| pair.remote == validation.remote);
        let Some((index, _)) = last.max_by_key(|(_, pair)| pair.last_received) else {
            self.validation = None;
            return;
        };
        if self.allowance(validation.remote) >= self.check_len() {
            self.check(index, false);
        }
        self.validation = Some(Validation {
            check_at: now + VALIDATION_INTERVAL,
            ..validation
        });
    }

    pub(super) fn idle_interval(&self) -> Duration {
        (self.keepalive / 2).max(Duration::from_millis(100))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.continue_validation(now);
        if self.next_tick.is_none_or(|at| at > now) {
            return;
        }
        self.next_tick = match self.state {
            State::New | State::Failed | State::Closed => None,
            State::Checking => {
                let end = self.since + self.disconnected_after + self.failed_after;
                if now > end {
                    self.fail();
                    None
                } else {
                    let next = self.check_due(now);
                    // A moment later than the last one that is still in time.
                    let end = end + Duration::from_millis(1);
                    Some(next.map_or(end, |at| at.min(end)))
                }
            }
            State::Connected | State::Disconnected => self.watch(now),
        };
    }

    /// Sends the checks that are due, the least tried pairs first and of these the best. When to look again.
    fn check_due(&mut self, now: Instant) -> Option<Instant> {
        if self.mode == IceMode::Lite {
            return None;
        }
        if let Some(nominee) = self.nominee {
            if self.pairs[nominee].check_at <= now {
                self.pairs[nominee].note_check(now);
                self.check(nominee, true);
            }
            return Some(self.pairs[nominee].check_at);
        }
        loop {
            let open = self
                .pairs
                .iter()
                .enumerate()
                .filter(|(_, pair)| pair.is_untried());
            let due = open.filter(|(_, pair)| pair.check_at <= now);
            let Some((index, _)) =
                due.min_by_key(|(_, pair)| (pair.checks, u64::MAX - pair.priority()))
            else {
                let open = self.pairs.iter().filter(|pair| pair.is_untried());
                return open.map(|pair| pair.check_at).min();
            };
            if self.may_check(now, index) {
                self.check(index, false);
            } else if self.is_announced(index) {
                return Some(self.pacer.ready_at(now));
            }
            self.pairs[index].note_check(now);
        }
    }

    /// Whether signalling has told of the remote address; others were only heard from.
    fn is_announced(&self, index: usize) -> bool {
        let remote = self.pairs[index].remote;
        self.remotes.iter().any(|known| known.address == remote)
    }

    /// Whether a check may be sent that nobody has asked for.
    fn may_check(&mut self, now: Instant, index: usize) -> bool {
        let remote = self.pairs[index].remote;
        if self.is_announced(index) {
            self.is_validated(remote) || self.pacer.take(now)
        } else {
            self.allowance(remote) >= self.check_len()
        }
    }

    /// Keeps the chosen pair alive and looks whether it is (RFC 7675).
    fn watch(&mut self, now: Instant) -> Option<Instant> {
        let selected = self.selected?;
        let last = self.pairs[selected].last_received.unwrap_or(self.since);
        let silence = now.saturating_duration_since(last);
        if silence > self.disconnected_after + self.failed_after {
            self.fail();
            return None;
        }
        if silence > self.disconnected_after && self.state == State::Connected {
            self.state = State::Disconnected;
            self.events.push_back(Event::Disconnected);
        }
        let is_late = silence > self.keepalive * 3 / 2;
        let (pause, next) = if is_late && self.mode == IceMode::Full {
            let pause = PROBE_INTERVAL.min(self.keepalive);
            (pause, pause)
        } else {
            (self.keepalive, self.idle_interval())
        };
        if self.mode == IceMode::Full && now.saturating_duration_since(self.last_keepalive) >= pause
        {
            self.last_keepalive = now;
            // Named again, a lite side follows when a NAT gives us another address.
            self.check(selected, true);
            if self.state == State::Disconnected {
                // Another pair may still work.
                self.nominee = None;
                for index in (0..self.pairs.len()).filter(|index| *index != selected) {
                    if self.may_check(now, index) {
                        self.check(index, false);
                    }
                }
            }
        }
        Some(now + next)
    }
}
