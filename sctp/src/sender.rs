//! Sends chunks, and finds out what arrived (RFC 9260 §6, §7) with RACK-TLP (RFC 8985) in place of counting reports.

mod recovery;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::recovery::{Rack, Timer};
use crate::chunk::{Data, FORWARD_TSN, IMMEDIATE, Sack, UNORDERED};
use crate::config::Congestion;
use crate::congestion::{Acknowledged, Bbr, Controller, Lost, NewReno};
use crate::error::PeerFault;
use crate::flight::{Flight, Sent, State};
use crate::limits::{DATA_HEADER, LEAST_BACKLOG, PEER_SACK_DELAY, TSN_SPAN};
use crate::pacer::Pacer;
use crate::packet::Writer;
use crate::queue::{Queue, Worth};
use crate::random::Random;
use crate::rate::Rate;
use crate::rtt::Rtt;
use crate::stats::Stats;
use crate::tsn;

/// Whether the last timeout was one (F-RTO, RFC 5682).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    None,
    /// The oldest chunk was sent again.
    Retransmitted,
    /// The cumulative point has moved: so many packets with new data, then what is acknowledged next tells.
    Testing(u8),
}

/// A probe waits at least so long.
const MIN_PROBE_WAIT: Duration = Duration::from_millis(3);

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
        let control = controller(now, packet, kind, &mut random, None);
        Self {
            queue: Queue::default(),
            advanced: flight.base() - 1,
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
    pub(crate) fn backlog(&self) -> usize {
        let window = self.control.window();
        let burst = self
            .control
            .pacing_rate()
            .map_or(window, |rate| window.min(self.pacer.burst(rate) as u64));
        LEAST_BACKLOG + usize::try_from(burst).unwrap_or(usize::MAX - LEAST_BACKLOG)
    }

    pub(crate) fn fill_stats(&self, stats: &mut Stats) {
        stats.window = self.control.window();
        stats.flight = self.flight.bytes();
        stats.rtt = self.rtt.smoothed();
        stats.pacing_rate = self.control.pacing_rate().map(|rate| rate as u64);
        stats.peer_window = u32::try_from(self.peer_window).unwrap_or(u32::MAX);
    }

    // ---- Acknowledgements

    pub(crate) fn handle_sack(
        &mut self,
        now: Instant,
        sack: &Sack<'_>,
        stats: &mut Stats,
    ) -> Result<(), PeerFault> {
        let cumulative = tsn::extend(self.flight.base() - 1, sack.cumulative);
        if cumulative >= self.flight.end() {
            return Err(PeerFault::Range(crate::chunk::SACK));
        }
        if cumulative + 1 < self.flight.base() {
            // Overtaken by a newer one (RFC 9260 §6.2.1 i).
            return Ok(());
        }
        let prior_flight = self.flight.bytes();
        let has_advanced = cumulative >= self.flight.base();
        let mut bytes = 0;
        let mut newest = Newest::default();
        let mut is_spurious = false;
        let mut from = self.flight.base();
        while let Some(tsn) = self.flight.next_missing(from, cumulative + 1) {
            bytes += self.acknowledge(now, tsn, &mut newest, &mut is_spurious);
            from = tsn + 1;
        }
        while let Some(sent) = self.flight.pop(cumulative) {
            self.queue
                .release(sent.fragment.stream, sent.fragment.payload.len());
        }
        let mut covered = cumulative;
        for (start, end) in sack.gaps() {
            let (start, end) = (cumulative + u64::from(start), cumulative + u64::from(end));
            if start <= covered || end < start || end >= self.flight.end() {
                stats.gap_blocks_refused += 1;
                continue;
            }
            let mut from = start;
            while let Some(tsn) = self.flight.next_missing(from, end + 1) {
                bytes += self.acknowledge(now, tsn, &mut newest, &mut is_spurious);
                from = tsn + 1;
            }
            covered = end;
        }
        if self
            .flight
            .get(self.flight.base())
            .is_some_and(|sent| sent.state == State::Acknowledged)
            && !sack.has_gaps()
        {
            self.flight.renege();
        }
        stats.duplicates_reported += sack.duplicates() as u64;
        if sack.duplicates() > 0 {
            self.rack.note_duplicate(self.next_number);
        }
        if is_spurious && let Some((mark, _)) = self.timeout_mark.take() {
            stats.spurious_timeouts += 1;
            self.flight.unlose(mark);
            self.control.timeout_was_spurious();
        }
        self.timeout_mark
            .take_if(|(_, end)| *end <= self.flight.base());
        self.suspicion = match self.suspicion {
            Suspicion::Retransmitted if has_advanced && self.timeout_mark.is_some() => {
                Suspicion::Testing(2)
            }
            before if bytes == 0 && !has_advanced => before,
            _ => Suspicion::None,
        };
        self.take_window(sack.window);
        self.timeouts_in_row = 0;
        if bytes > 0 {
            self.probes_in_row = 0;
            self.rtt.restore();
        }
        if let Some(rtt) = newest.rtt {
            self.rtt.sample(now, rtt);
        }
        let reorder_at = self.find_lost(now, stats);
        let sample = self.rate.sample(now, self.rtt.least());
        let window = self.control.window();
        let is_window_limited = std::mem::take(&mut self.was_window_limited)
            || prior_flight + 2 * self.packet as u64 >= window;
        self.control.acknowledged(&Acknowledged {
            now,
            bytes,
            flight: self.flight.bytes(),
            delivered: self.rate.delivered,
            rtt: newest.rtt,
            rate: sample,
            is_window_limited,
            is_recovering: self.is_recovering(),
        });
        self.advance(now, has_advanced);
        if bytes > 0 || has_advanced || reorder_at.is_some() {
            self.arm(now, reorder_at);
        }
        Ok(())
    }

    /// The cumulative point of a SHUTDOWN.
    pub(crate) fn handle_cumulative(
        &mut self,
        now: Instant,
        cumulative: u32,
        stats: &mut Stats,
    ) -> Result<(), PeerFault> {
        let window = u32::try_from(self.peer_window).unwrap_or(u32::MAX);
        self.handle_sack(now, &Sack::cumulative_only(cumulative, window), stats)
    }

    /// One chunk has arrived. Its size.
    fn acknowledge(
        &mut self,
        now: Instant,
        tsn: u64,
        newest: &mut Newest,
        is_spurious: &mut bool,
    ) -> u64 {
        let Some(before) = self.flight.acknowledge(tsn) else {
            return 0;
        };
        let Some(sent) = self.flight.get(tsn) else {
            return 0;
        };
        let size = sent.size();
        let passed = now.saturating_duration_since(sent.sent_at);
        if sent.number < self.path_mark {
            self.rate.delivered += size;
            return size;
        }
        let is_first = sent.transmissions == 1;
        if newest.number <= sent.number {
            newest.number = sent.number;
            // Older ones in the same report may have arrived long ago.
            newest.rtt = is_first.then_some(passed);
        }
        if is_first {
            self.rack.note_order(tsn);
            *is_spurious |= before == State::Lost
                && self
                    .timeout_mark
                    .is_some_and(|(mark, _)| sent.number < mark);
        }
        // A repeated chunk that is acknowledged this fast: the first one did it (RFC 8985 §6.2 step 2).
        let is_ambiguous = !is_first && self.rtt.least().is_some_and(|least| passed < least);
        if !is_ambiguous {
            self.rack.note_delivered(sent.number, sent.sent_at, passed);
            let snapshot = sent.snapshot;
            let (number, sent_at) = (sent.number, sent.sent_at);
            self.rate
                .acknowledged(now, number, sent_at, &snapshot, size);
        } else {
            self.rate.delivered += size;
        }
        size
    }

    fn take_window(&mut self, window: u32) {
        let window = u64::from(window);
        let has_opened = self.peer_window < self.packet as u64 && window >= self.packet as u64;
        self.peer_window = window;
        if has_opened
            && let Some(tsn) = self.window_probe.take()
            && self.flight.newest_flying() == Some(tsn)
        {
            // It fell on a closed window: not the path's fault, and no reason to wait for the timer.
            self.flight.lose(tsn);
        }
    }

    pub(crate) fn is_recovering(&self) -> bool {
        self.flight.has_lost() || self.rack.number() < self.event_end
    }

    /// Chunks sent long enough before one that arrived are lost (RFC 8985 §6.2 step 5). When to look again.
    fn find_lost(&mut self, now: Instant, stats: &mut Stats) -> Option<Instant> {
        let is_recovering = self.is_recovering();
        let window = self
            .rack
            .reorder_window(&self.rtt, is_recovering, self.flight.beyond());
        while let Some((number, tsn)) = self.flight.oldest() {
            let sent_at = self.flight.get(tsn)?.sent_at;
            let deadline = self.rack.deadline(number, sent_at, window)?;
            if deadline > now {
                return Some(deadline);
            }
            self.lose(now, tsn, stats);
        }
        None
    }

    fn lose(&mut self, now: Instant, tsn: u64, stats: &mut Stats) {
        self.flight.lose(tsn);
        let Some(sent) = self.flight.get(tsn) else {
            return;
        };
        stats.chunks_lost += 1;
        self.rate.lost += sent.size();
        let is_new_event = sent.number >= self.event_end;
        if is_new_event {
            self.event_end = self.next_number;
            self.rack.note_event();
        }
        self.control.lost(&Lost {
            now,
            bytes: sent.size(),
            flight_at_send: sent.snapshot.flight,
            lost_since: self.rate.lost - sent.snapshot.lost,
            is_app_limited: sent.snapshot.is_app_limited,
            is_new_range: std::mem::replace(&mut self.lost_before, tsn) + 1 != tsn,
            is_new_event,
        });
        self.judge(now, tsn, stats);
    }

    /// A lost chunk may not be worth sending again (RFC 3758 §3.5 A3).
    fn judge(&mut self, now: Instant, tsn: u64, stats: &mut Stats) {
        let Some(sent) = self.flight.get(tsn) else {
            return;
        };
        let is_over = match sent.fragment.worth {
            Worth::Always => false,
            Worth::Retransmits(most) => sent.transmissions > most,
            Worth::Until(end) => end < now,
        };
        if is_over && self.can_abandon && sent.state != State::Abandoned {
            let (stream, message) = (sent.fragment.stream, sent.fragment.message);
            stats.chunks_abandoned += self.flight.abandon(tsn);
            self.queue.abandon_rest(stream, message);
        }
    }

    /// Moves the point up to which nothing is expected any more (RFC 3758 §3.5 C2, C3).
    fn advance(&mut self, now: Instant, has_advanced: bool) {
        let before = self.advanced;
        self.advanced = self.advanced.max(self.flight.base() - 1);
        while self
            .flight
            .get(self.advanced + 1)
            .is_some_and(|sent| sent.state == State::Abandoned)
        {
            self.advanced += 1;
        }
        if self.advanced < self.flight.base() {
            self.is_forward_due = false;
            return;
        }
        let wait = self.rtt.smoothed().unwrap_or(PEER_SACK_DELAY);
        let is_old = self
            .forward_sent_at
            .is_none_or(|at| now.saturating_duration_since(at) >= wait);
        self.is_forward_due |= has_advanced || is_old || self.advanced > before;
    }

    // ---- Timers

    pub(crate) fn timer(&self) -> Option<Instant> {
        self.timer.map(|(at, _)| at)
    }

    /// When pacing lets the next packet go.
    pub(crate) fn pacing(&self) -> Option<Instant> {
        let rate = self.control.pacing_rate()?;
        self.is_pacing.then(|| self.pacer.ready_at(rate))
    }

    fn arm(&mut self, now: Instant, reorder_at: Option<Instant>) {
        let has_forward = self.advanced >= self.flight.base();
        if let Some(at) = reorder_at {
            self.timer = Some((at, Timer::Reorder));
            return;
        }
        if self.flight.bytes() == 0 && !has_forward {
            self.timer = None;
            return;
        }
        let (probe, timeout) = self.waits();
        self.timer = Some(match probe {
            Some(wait) => (now + wait, Timer::Probe),
            None => (now + timeout, Timer::Timeout),
        });
    }

    /// How long until a probe, if one may be, and until the timeout.
    fn waits(&self) -> (Option<Duration>, Duration) {
        let mut timeout = self.rtt.timeout();
        let mut delay = Duration::ZERO;
        if self.flight.end() - self.flight.base() == 1 {
            // The other side may hold back the SACK for a single packet.
            delay = PEER_SACK_DELAY;
            timeout += delay;
        }
        // Also while something is known to be missing, and again after a probe without answer, as in QUIC (RFC 9002 §6.2), where
        // RFC 8985 §7.2 would wait for the timeout.
        let may_probe =
            self.flight.bytes() > 0 && self.peer_window > 0 && self.timeouts_in_row == 0;
        let probe = self
            .rtt
            .smoothed()
            .filter(|_| may_probe)
            .map(|smoothed| {
                let wait = (smoothed * 2).max(MIN_PROBE_WAIT) + delay;
                wait.saturating_mul(1 << self.probes_in_row.min(16))
            })
            .filter(|wait| *wait < timeout);
        (probe, timeout)
    }

    /// New data left: a probe waits from then on (RFC 8985 §7.2).
    fn arm_for_sent(&mut self, now: Instant) {
        match self.timer {
            None | Some((_, Timer::Probe)) => self.arm(now, None),
            Some((_, Timer::Timeout)) => {
                if let (Some(wait), _) = self.waits() {
                    self.timer = Some((now + wait, Timer::Probe));
                }
            }
            Some((_, Timer::Reorder)) => {}
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, stats: &mut Stats) {
        let Some((at, timer)) = self.timer else {
            return;
        };
        if at > now {
            return;
        }
        self.timer = None;
        match timer {
            Timer::Reorder => {
                let reorder_at = self.find_lost(now, stats);
                self.advance(now, false);
                self.arm(now, reorder_at);
            }
            Timer::Probe => {
                stats.probes += 1;
                self.is_probe_due = true;
                self.is_forced = true;
                self.probes_in_row += 1;
                self.arm(now, None);
            }
            Timer::Timeout => self.time_out(now, stats),
        }
    }

    /// RFC 9260 §6.3.3.
    fn time_out(&mut self, now: Instant, stats: &mut Stats) {
        stats.timeouts += 1;
        self.timeouts_in_row = self.timeouts_in_row.saturating_add(1);
        let is_window_closed = self.peer_window < self.packet as u64;
        self.timeout_mark
            .get_or_insert((self.next_number, self.flight.end()));
        self.lose_all(now, stats);
        self.event_end = self.next_number;
        self.suspicion = Suspicion::Retransmitted;
        if !is_window_closed {
            self.control.timed_out(now, self.flight.bytes());
        }
        self.rtt.back_off();
        self.is_forced = true;
        self.is_probe_due = false;
        self.advance(now, true);
        self.timer = Some((now + self.rtt.timeout(), Timer::Timeout));
    }

    fn lose_all(&mut self, now: Instant, stats: &mut Stats) {
        if self
            .flight
            .get(self.flight.base())
            .is_some_and(|sent| sent.state == State::Acknowledged)
        {
            // It would have moved its cumulative point: it has given up what it reported (RFC 9260 §6.2.1).
            self.flight.renege();
        }
        while let Some((_, tsn)) = self.flight.oldest() {
            stats.chunks_lost += 1;
            self.flight.lose(tsn);
            self.judge(now, tsn, stats);
        }
    }

    /// The path is another one, or has come back: nothing measured holds, and waiting is over.
    pub(crate) fn path_changed(&mut self, now: Instant, stats: &mut Stats) {
        self.rtt = Rtt::default();
        self.rack = Rack::default();
        self.rate.restart(now);
        self.path_mark = self.next_number;
        self.pacer = Pacer::new(now, self.packet);
        self.control = controller(now, self.packet, self.kind, &mut self.random, None);
        self.timeouts_in_row = 0;
        self.timeout_mark = None;
        self.suspicion = Suspicion::None;
        self.lose_all(now, stats);
        self.event_end = self.next_number;
        self.is_forced = self.flight.has_lost();
        self.is_probe_due = false;
        self.advance(now, true);
        self.arm(now, None);
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
                return left > 0;
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
        if self.flight.bytes() >= self.control.window() {
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
        if let Suspicion::Testing(left) = &mut self.suspicion {
            *left = left.saturating_sub(1);
        } else {
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
        if writer.room() == room_before {
            return;
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
                self.advance(now, true);
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
    rtt: Option<Duration>,
) -> Box<dyn Controller> {
    let packet = packet as u64;
    match kind {
        Congestion::NewReno => Box::new(NewReno::new(packet)),
        Congestion::Bbr => Box::new(Bbr::new(now, packet, random.next_u64(), rtt)),
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

/// The newest chunk among those that a SACK acknowledged, and its round trip if it was sent once.
#[derive(Default)]
struct Newest {
    number: u64,
    rtt: Option<Duration>,
}
