//! Sends chunks, and finds out what arrived (RFC 9260 §6, §7) with RACK-TLP (RFC 8985) in place of counting reports.

mod acknowledgement;
mod losses;
mod recovery;
mod timing;

use std::collections::BTreeMap;
use std::time::Instant;

use self::recovery::{Rack, Timer};
use crate::chunk::{Data, FORWARD_TSN, IMMEDIATE, UNORDERED};
use crate::config::Congestion;
use crate::congestion::{Bbr, Controller, NewReno};
use crate::flight::{Flight, Sent, State};
use crate::limits::{DATA_HEADER, LEAST_UNSENT, TSN_SPAN};
use crate::pacer::Pacer;
use crate::packet::Writer;
use crate::queue::Queue;
use crate::random::Random;
use crate::rate::Rate;
use crate::rtt::Rtt;
use crate::stats::Stats;

/// Whether the last timeout was one (F-RTO, RFC 5682).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    None,
    /// The oldest chunk was sent again.
    Retransmitted,
    /// The cumulative point has moved: so many packets with new data, then what is acknowledged next tells.
    Testing(u8),
}

#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) queue: Queue,
    flight: Flight,
    pub(crate) rtt: Rtt,
    rate: Rate,
    pacer: Pacer,
    control: Box<dyn Controller>,
    kind: Congestion,
    random: Random,
    packet: usize,
    /// Number of the next packet with data.
    next_number: u64,
    rack: Rack,
    timer: Option<(Instant, Timer)>,
    /// Probes since something was acknowledged.
    probes_in_row: u32,
    /// A tail loss probe is due.
    is_probe_due: bool,
    /// One packet may leave whatever the window says.
    is_forced: bool,
    /// Packets before this one took another path: they measure nothing.
    path_mark: u64,
    /// Losses of packets before this one belong to an event that was answered.
    event_end: u64,
    /// The TSN found lost last.
    lost_before: u64,
    /// Packets before this one were sent before a timeout, TSNs before the other too.
    timeout_mark: Option<(u64, u64)>,
    suspicion: Suspicion,
    pub(crate) timeouts_in_row: u32,
    /// Reports that the other side takes back are looked at from then on.
    renege_at: Option<Instant>,
    /// The window the other side told last.
    peer_window: u64,
    /// A chunk sent into the closed window.
    window_probe: Option<u64>,
    /// The congestion window held something back since the last SACK.
    was_window_limited: bool,
    is_pacing: bool,
    /// The other side knows FORWARD TSN.
    can_abandon: bool,
    /// All up to here is acknowledged or given up (RFC 3758 §3.5 C1).
    advanced: u64,
    is_forward_due: bool,
    forward_sent_at: Option<Instant>,
    /// What was given up when the last one left.
    forward_until: u64,
}

impl Sender {
    pub(crate) fn new(
        now: Instant,
        packet: usize,
        kind: Congestion,
        initial_tsn: u32,
        mut random: Random,
    ) -> Self {
        let flight = Flight::new(initial_tsn);
        let control = controller(now, packet, kind, &mut random);
        Self {
            queue: Queue::default(),
            advanced: flight.base() - 1,
            forward_until: flight.base() - 1,
            flight,
            rtt: Rtt::default(),
            rate: Rate::new(now),
            pacer: Pacer::new(now, packet),
            control,
            kind,
            random,
            packet,
            next_number: 1,
            rack: Rack::default(),
            timer: None,
            probes_in_row: 0,
            is_probe_due: false,
            is_forced: false,
            path_mark: 0,
            event_end: 0,
            lost_before: 0,
            timeout_mark: None,
            suspicion: Suspicion::None,
            timeouts_in_row: 0,
            renege_at: None,
            peer_window: 0,
            window_probe: None,
            was_window_limited: false,
            is_pacing: false,
            can_abandon: false,
            is_forward_due: false,
            forward_sent_at: None,
        }
    }

    pub(crate) fn set_peer(&mut self, window: u32, can_abandon: bool) {
        self.peer_window = u64::from(window);
        self.can_abandon = can_abandon;
    }

    pub(crate) fn set_packet(&mut self, packet: usize) {
        self.packet = packet;
        self.pacer.set_packet(packet);
    }

    /// Nothing waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.flight.is_empty() && !self.queue.has_waiting()
    }

    /// The TSN before the next one (RFC 6525 §4.1: last assigned).
    pub(crate) fn last_tsn(&self) -> u32 {
        (self.flight.end() - 1) as u32
    }

    /// Bytes that should wait to be sent, so that none that may leave in one turn of the caller is missing, and no more: what waits
    /// here delays what is sent after it.
    pub(crate) fn unsent_target(&self) -> usize {
        let window = self.control.window();
        let burst = self
            .control
            .pacing_rate()
            .map_or(window, |rate| window.min(self.pacer.burst(rate) as u64));
        LEAST_UNSENT + usize::try_from(burst).unwrap_or(usize::MAX - LEAST_UNSENT)
    }

    pub(crate) fn fill_stats(&self, stats: &mut Stats) {
        stats.window = self.control.window();
        stats.flight = self.flight.bytes();
        stats.rtt = self.rtt.smoothed();
        stats.pacing_rate = self.control.pacing_rate().map(|rate| rate as u64);
        stats.peer_window = u32::try_from(self.peer_window).unwrap_or(u32::MAX);
    }

    // ---- Sending

    /// Whether the window of the other side has room for the next piece.
    fn has_peer_window(&self) -> bool {
        let Some(length) = self.queue.next_length() else {
            return false;
        };
        if self.flight.end() - self.flight.base() >= TSN_SPAN {
            return false;
        }
        // One chunk may always be under way (RFC 9260 §6.1 A).
        let wanted = length.min(self.packet) as u64;
        self.flight.outstanding() == 0 || self.flight.outstanding() + wanted <= self.peer_window
    }

    /// Whether a packet with data may leave now.
    pub(crate) fn is_ready(&mut self, now: Instant) -> bool {
        self.is_pacing = false;
        if self.is_probe_due && !self.flight.has_lost() && !self.has_peer_window() {
            // Nothing new for the probe: the newest again (RFC 8985 §7.3).
            if let Some(tsn) = self.flight.newest_flying() {
                self.flight.lose(tsn);
            }
        }
        self.is_probe_due = false;
        if let Suspicion::Testing(left) = self.suspicion {
            if self.has_peer_window() {
                return left > 0 || self.is_forced;
            }
            self.suspicion = Suspicion::None;
        }
        if !self.flight.has_lost() && !self.has_peer_window() {
            if self.flight.bytes() < self.control.window() {
                self.rate.limited_by_application(self.flight.bytes());
            }
            self.is_forced = false;
            return false;
        }
        if self.control.is_probing_rtt() {
            self.rate.limited_by_application(self.flight.bytes());
        }
        if self.is_forced {
            return true;
        }
        // Only the oldest is sent again, for it is to be seen whether the others need it (RFC 5682 §3.1 step 1).
        let is_waiting = self.suspicion == Suspicion::Retransmitted && self.flight.bytes() > 0;
        if is_waiting || self.flight.bytes() >= self.control.window() {
            self.was_window_limited = true;
            return false;
        }
        if let Some(rate) = self.control.pacing_rate()
            && !self.pacer.is_ready(now, rate)
        {
            self.is_pacing = true;
            return false;
        }
        true
    }

    pub(crate) fn is_forward_due(&self) -> bool {
        self.is_forward_due
    }

    /// FORWARD TSN with the streams that it skips messages of (RFC 3758 §3.5 C4).
    pub(crate) fn write_forward(&mut self, now: Instant, writer: &mut Writer<'_>) {
        let most = writer.room().saturating_sub(8) / 4;
        let mut skipped = BTreeMap::new();
        let mut until = self.flight.base() - 1;
        for tsn in self.flight.base()..=self.advanced {
            let Some(sent) = self.flight.get(tsn) else {
                break;
            };
            let fragment = &sent.fragment;
            if fragment.flags & UNORDERED == 0 {
                if skipped.len() >= most && !skipped.contains_key(&fragment.stream) {
                    break;
                }
                skipped.insert(fragment.stream, fragment.ssn);
            }
            until = tsn;
        }
        writer.chunk(FORWARD_TSN, 0, |body| {
            body.extend_from_slice(&(until as u32).to_be_bytes());
            for (stream, ssn) in skipped {
                body.extend_from_slice(&stream.to_be_bytes());
                body.extend_from_slice(&ssn.to_be_bytes());
            }
        });
        self.is_forward_due = false;
        self.forward_sent_at = Some(now);
        self.forward_until = self.advanced;
        if self.timer.is_none() {
            self.timer = Some((now + self.rtt.timeout(), Timer::Timeout));
        }
    }

    /// Fills the packet with chunks; [`Sender::is_ready`] has said so.
    pub(crate) fn write_data(&mut self, now: Instant, writer: &mut Writer<'_>, stats: &mut Stats) {
        let number = self.next_number;
        let was_forced = std::mem::take(&mut self.is_forced);
        let has_probed = was_forced && self.timer.is_some();
        self.control
            .sent(now, self.flight.bytes(), self.rate.is_app_limited());
        let room_before = writer.room();
        let immediate = if was_forced { IMMEDIATE } else { 0 };
        let is_testing = matches!(self.suspicion, Suspicion::Testing(_));
        if !is_testing {
            self.write_lost(now, writer, immediate, stats);
        }
        while (is_testing || !self.flight.has_lost()) && self.has_peer_window() {
            let Some(room) = writer.room().checked_sub(DATA_HEADER + 1) else {
                break;
            };
            let Some(fragment) = self.queue.next_fragment(now, room + 1, self.can_abandon) else {
                break;
            };
            let size = (fragment.payload.len() + DATA_HEADER) as u64;
            let snapshot = self.rate.sent(now, self.flight.bytes(), size);
            let is_into_closed_window =
                self.flight.outstanding() + fragment.payload.len() as u64 > self.peer_window;
            let tsn = self.flight.push(fragment, number, now, snapshot);
            if is_into_closed_window {
                self.window_probe = Some(tsn);
            }
            // Nothing follows for now, so nothing else would make the other side acknowledge soon (RFC 7053 §4).
            let ends_burst = if self.queue.has_waiting() {
                0
            } else {
                IMMEDIATE
            };
            if let Some(sent) = self.flight.get(tsn) {
                write_chunk(sent, tsn, immediate | ends_burst, writer);
                stats.chunks_sent += 1;
            }
        }
        if is_testing && writer.room() == room_before && self.flight.has_lost() {
            // What waited has expired: there is nothing new to test with.
            self.suspicion = Suspicion::None;
            self.write_lost(now, writer, immediate, stats);
        }
        if writer.room() == room_before {
            return;
        }
        if let Suspicion::Testing(left) = &mut self.suspicion {
            *left = left.saturating_sub(1);
        }
        self.next_number += 1;
        self.pacer.sent(room_before - writer.room());
        if has_probed {
            return;
        }
        self.arm_for_sent(now);
    }

    fn write_lost(
        &mut self,
        now: Instant,
        writer: &mut Writer<'_>,
        immediate: u8,
        stats: &mut Stats,
    ) {
        while let Some(tsn) = self.flight.first_lost() {
            self.judge(now, tsn, stats);
            let Some(sent) = self
                .flight
                .get(tsn)
                .filter(|sent| sent.state == State::Lost)
            else {
                self.advance(now, false);
                continue;
            };
            let size = sent.size();
            // A packet size that shrank must not block the chunk for ever.
            if size > writer.room() as u64 && !writer.is_empty() {
                break;
            }
            let snapshot = self.rate.sent(now, self.flight.bytes(), size);
            if let Some(sent) = self.flight.resend(tsn, self.next_number, now, snapshot) {
                write_chunk(sent, tsn, immediate, writer);
                stats.chunks_sent += 1;
                stats.chunks_retransmitted += 1;
            }
        }
    }

    /// Gives memory back that a busy time needed.
    pub(crate) fn shrink(&mut self) {
        if self.is_idle() {
            self.flight.shrink();
            self.queue.shrink();
        }
    }
}

fn controller(
    now: Instant,
    packet: usize,
    kind: Congestion,
    random: &mut Random,
) -> Box<dyn Controller> {
    let packet = packet as u64;
    match kind {
        Congestion::NewReno => Box::new(NewReno::new(packet)),
        Congestion::Bbr => Box::new(Bbr::new(now, packet, random.next_u64())),
    }
}

fn write_chunk(sent: &Sent, tsn: u64, immediate: u8, writer: &mut Writer<'_>) {
    let fragment = &sent.fragment;
    Data {
        flags: fragment.flags | immediate,
        tsn: tsn as u32,
        stream: fragment.stream,
        ssn: fragment.ssn,
        ppid: fragment.ppid,
        payload: &fragment.payload,
    }
    .write(writer);
}
