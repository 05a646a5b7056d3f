//! A rival: TCP with CUBIC (RFC 9438). Its slow start goes on until something is lost, which fills any queue. It always has something to send;
//! what is found lost is not sent again, which is the same to a link.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Endpoint;

/// With what `Link` adds this is an Ethernet packet.
const PACKET: usize = 1_500 - super::path::OVERHEAD;
/// RFC 9438 §5.
const SCALE: f64 = 0.4;
const BETA: f64 = 0.7;
const REORDERED: u64 = 3;
const TIMEOUT: Duration = Duration::from_secs(1);

/// The sender. Windows are in packets.
pub struct Cubic {
    window: f64,
    threshold: f64,
    growth: Option<Growth>,
    /// The window before the last loss.
    most: f64,
    next: u64,
    flight: BTreeMap<u64, Instant>,
    recover: u64,
    heard_at: Instant,
    rtt: Duration,
}

/// Since the last loss.
struct Growth {
    began: Instant,
    /// Seconds until `most` is reached again.
    plateau: f64,
    most: f64,
    /// What Reno would have.
    reno: f64,
}

impl Cubic {
    pub fn new(now: Instant) -> Self {
        Self {
            window: 10.0,
            threshold: f64::INFINITY,
            growth: None,
            most: 0.0,
            next: 0,
            flight: BTreeMap::new(),
            recover: 0,
            heard_at: now,
            rtt: Duration::ZERO,
        }
    }

    /// RFC 9438 §4.2 to §4.5.
    fn avoid_congestion(&mut self, now: Instant) {
        let window = self.window;
        let most = self.most.max(window);
        let growth = self.growth.get_or_insert_with(|| Growth {
            began: now,
            plateau: ((most - window) / SCALE).cbrt(),
            most,
            reno: window,
        });
        let time = (now - growth.began + self.rtt).as_secs_f64();
        let target = SCALE * (time - growth.plateau).powi(3) + growth.most;
        let target = target.clamp(window, 1.5 * window);
        growth.reno += 3.0 * (1.0 - BETA) / (1.0 + BETA) / window;
        self.window = (window + (target - window) / window).max(growth.reno);
    }

    /// RFC 9438 §4.6 and §4.7.
    fn reduce(&mut self) {
        let is_less = self.window < self.most;
        let part = if is_less { (1.0 + BETA) / 2.0 } else { 1.0 };
        self.most = self.window * part;
        self.window = (self.window * BETA).max(2.0);
        self.threshold = self.window;
        self.growth = None;
        self.recover = self.next;
    }
}

impl Endpoint for Cubic {
    fn input(&mut self, now: Instant, packet: &[u8]) {
        let number = u64::from_be_bytes(packet.try_into().unwrap());
        let Some(sent_at) = self.flight.remove(&number) else {
            return;
        };
        self.heard_at = now;
        self.rtt = now - sent_at;
        if self.window < self.threshold {
            self.window += 1.0;
        } else if number >= self.recover {
            self.avoid_congestion(now);
        }
        let rest = self.flight.split_off(&number.saturating_sub(REORDERED));
        let lost = std::mem::replace(&mut self.flight, rest);
        if lost
            .last_key_value()
            .is_some_and(|(last, _)| *last >= self.recover)
        {
            self.reduce();
        }
    }

    fn timeout(&mut self, now: Instant) {
        self.flight.clear();
        self.reduce();
        self.window = 1.0;
        self.heard_at = now;
    }

    fn next_timeout(&self) -> Option<Instant> {
        (!self.flight.is_empty()).then(|| self.heard_at + TIMEOUT)
    }

    fn output(&mut self, now: Instant, buffer: &mut Vec<u8>) -> bool {
        if self.flight.len() as f64 >= self.window {
            return false;
        }
        if self.flight.is_empty() {
            self.heard_at = now;
        }
        self.flight.insert(self.next, now);
        buffer.extend(self.next.to_be_bytes());
        buffer.resize(buffer.len() + PACKET - 8, 0);
        self.next += 1;
        true
    }
}

/// Its receiver, which tells of every packet, but gathers for a while what it tells, as receive offload does. The sender then sends bursts.
pub struct CubicReceiver {
    gather: Duration,
    due_at: Option<Instant>,
    arrived: VecDeque<u64>,
    unread: usize,
}

impl CubicReceiver {
    pub fn new(gather: Duration) -> Self {
        Self {
            gather,
            due_at: None,
            arrived: VecDeque::new(),
            unread: 0,
        }
    }
}

impl Endpoint for CubicReceiver {
    fn input(&mut self, now: Instant, packet: &[u8]) {
        let number = packet[..8].try_into().unwrap();
        self.arrived.push_back(u64::from_be_bytes(number));
        self.unread += 1;
        self.due_at.get_or_insert(now + self.gather);
    }

    fn timeout(&mut self, _: Instant) {}

    fn next_timeout(&self) -> Option<Instant> {
        self.due_at
    }

    fn output(&mut self, now: Instant, buffer: &mut Vec<u8>) -> bool {
        if self.due_at.is_none_or(|at| at > now) {
            return false;
        }
        let number = self.arrived.pop_front();
        if number.is_none() {
            self.due_at = None;
        }
        buffer.extend(number.into_iter().flat_map(u64::to_be_bytes));
        number.is_some()
    }

    fn read(&mut self) -> Option<(u16, Bytes)> {
        self.unread = self.unread.checked_sub(1)?;
        Some((0, Bytes::from_static(&[0; PACKET - 37])))
    }
}
