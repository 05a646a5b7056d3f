//! Receives chunks and reports them (RFC 9260 §6.2, RFC 3758 §3.6, RFC 7053).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bits::Bits;
use crate::chunk::{DATA, Data, FORWARD_TSN, ForwardTsn, IMMEDIATE, SACK};
use crate::error::PeerFault;
use crate::event::Message;
use crate::limits::{
    DUPLICATES, EARLY_SACK_SPACING, EARLY_SACKS, FORWARD_SPAN, GAP_BLOCKS, RECEIVE_SPAN,
    SACK_DELAY, SACK_PACKETS, SMALL_WINDOW,
};
use crate::packet::Writer;
use crate::reassembly::Reassembly;
use crate::stats::Stats;
use crate::tsn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SackDue {
    No,
    At(Instant),
    Now,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    /// All up to here has arrived or was given up.
    cumulative: u64,
    /// The highest that has arrived.
    highest: u64,
    received: Bits,
    duplicates: Vec<u32>,
    due: SackDue,
    packets: u32,
    /// Cumulative points of SACKs that were due while the batch at hand came in.
    early: VecDeque<u64>,
    /// When the next of them is due, if they were sent evenly.
    early_at: Instant,
    /// The packet at hand brought data.
    has_data: bool,
    pub(crate) reassembly: Reassembly,
    window: usize,
    window_limit: usize,
    /// The window as the other side knows it: last told, less what came since.
    known_window: usize,
    streams: u16,
    // How fast the application reads.
    measured_at: Instant,
    read: usize,
}

impl Receiver {
    pub(crate) fn new(
        now: Instant,
        initial_tsn: u32,
        windows: (usize, usize),
        max_message_size: usize,
        streams: u16,
    ) -> Self {
        let cumulative = tsn::first(initial_tsn) - 1;
        Self {
            cumulative,
            highest: cumulative,
            received: Bits::new(cumulative),
            duplicates: Vec::new(),
            due: SackDue::No,
            packets: 0,
            early: VecDeque::new(),
            early_at: now,
            has_data: false,
            reassembly: Reassembly::new(max_message_size),
            window: windows.0,
            window_limit: windows.1,
            known_window: windows.0,
            streams,
            measured_at: now,
            read: 0,
        }
    }

    pub(crate) fn cumulative(&self) -> u64 {
        self.cumulative
    }

    /// How many streams there are.
    pub(crate) fn streams(&self) -> u16 {
        self.streams
    }

    pub(crate) fn window(&self) -> usize {
        self.window
    }

    pub(crate) fn handle_data(
        &mut self,
        data: &Data<'_>,
        stats: &mut Stats,
    ) -> Result<(), PeerFault> {
        self.has_data = true;
        let tsn = tsn::extend(self.cumulative, data.tsn);
        if tsn <= self.cumulative || self.received.contains(tsn) {
            stats.duplicates_received += 1;
            if self.duplicates.len() < DUPLICATES {
                self.duplicates.push(data.tsn);
            }
            self.due = SackDue::Now;
            return Ok(());
        }
        if tsn - self.cumulative > RECEIVE_SPAN {
            return Err(PeerFault::Range(DATA));
        }
        // Small messages cost more memory than the other side is told, and what fills a gap lets go of what waits behind it:
        // so more than the window is taken, but not without end.
        let limit = if tsn == self.cumulative + 1 && self.highest > self.cumulative {
            self.window * 4
        } else if tsn < self.highest {
            self.window * 3
        } else {
            self.window * 2
        };
        if self.reassembly.charged() + data.payload.len() > limit {
            stats.window_drops += 1;
            self.due = SackDue::Now;
            return Err(PeerFault::Window);
        }
        if data.flags & IMMEDIATE != 0 {
            self.due = SackDue::Now;
        }
        self.known_window = self.known_window.saturating_sub(data.payload.len());
        stats.chunks_received += 1;
        self.highest = self.highest.max(tsn);
        let is_refused = data.stream >= self.streams;
        if tsn == self.cumulative + 1 {
            self.cumulative = tsn;
            if !is_refused {
                self.reassembly.push_in_order(data);
            }
            if self.highest > tsn {
                self.close_gap();
            }
        } else {
            self.received.insert(tsn);
            if !is_refused {
                self.reassembly.push_beyond(tsn, data);
            }
        }
        if is_refused {
            // Acknowledged, but not kept (RFC 9260 §6.5).
            return Err(PeerFault::Range(DATA));
        }
        Ok(())
    }

    /// The cumulative point moves over what arrived before.
    fn close_gap(&mut self) {
        loop {
            if let Some(end) = self.reassembly.take_run(self.cumulative + 1) {
                self.cumulative = end - 1;
            } else if self.received.contains(self.cumulative + 1) {
                self.cumulative += 1;
            } else {
                break;
            }
        }
        self.received.forget_below(self.cumulative);
    }

    /// After all chunks of a packet. Whether it brought data.
    pub(crate) fn end_packet(&mut self, now: Instant) -> bool {
        if !std::mem::take(&mut self.has_data) {
            return false;
        }
        self.packets += 1;
        let is_whole = self.highest == self.cumulative;
        if self.packets.is_multiple_of(SACK_PACKETS) && is_whole {
            self.note_early(now);
        }
        // RFC 9260 §6.2: at least every second packet, at once while something is missing.
        if self.packets >= SACK_PACKETS || self.highest > self.cumulative {
            self.due = SackDue::Now;
        } else if self.due == SackDue::No {
            self.due = SackDue::At(now + SACK_DELAY);
        }
        true
    }

    fn note_early(&mut self, now: Instant) {
        let most = EARLY_SACK_SPACING * EARLY_SACKS as u32;
        if self.early.len() < EARLY_SACKS && self.early_at < now + most {
            self.early_at = self.early_at.max(now) + EARLY_SACK_SPACING;
            self.early.push_back(self.cumulative);
        }
    }

    pub(crate) fn handle_forward(
        &mut self,
        forward: &ForwardTsn<'_>,
        stats: &mut Stats,
    ) -> Result<(), PeerFault> {
        let tsn = tsn::extend(self.cumulative, forward.cumulative);
        self.due = SackDue::Now;
        if tsn <= self.cumulative {
            return Ok(());
        }
        if tsn - self.cumulative > FORWARD_SPAN {
            return Err(PeerFault::Range(FORWARD_TSN));
        }
        self.reassembly.forward(tsn);
        for (stream, ssn) in forward.skipped() {
            if stream < self.streams {
                self.reassembly.skip(stream, ssn);
            } else {
                stats.skips_refused += 1;
            }
        }
        self.cumulative = tsn;
        self.highest = self.highest.max(tsn);
        self.close_gap();
        Ok(())
    }

    // ---- Reports

    pub(crate) fn is_sack_due(&self, now: Instant) -> bool {
        match self.due {
            SackDue::No => false,
            SackDue::Now => true,
            SackDue::At(at) => at <= now,
        }
    }

    pub(crate) fn timer(&self) -> Option<Instant> {
        match self.due {
            SackDue::At(at) => Some(at),
            _ => None,
        }
    }

    pub(crate) fn sack_now(&mut self) {
        self.due = SackDue::Now;
    }

    fn available(&self) -> usize {
        let free = self.window.saturating_sub(self.reassembly.charged());
        // RFC 9260 §6.2: no silly windows.
        if free < SMALL_WINDOW { 0 } else { free }
    }

    /// A SACK for some of the packets that came at once. Whether there was one to write; the newest state has its own.
    pub(crate) fn write_early_sack(&mut self, writer: &mut Writer<'_>, stats: &mut Stats) -> bool {
        let cumulative = self.early.pop_front();
        let Some(cumulative) = cumulative.filter(|point| *point < self.cumulative) else {
            self.early.clear();
            return false;
        };
        let told = u32::try_from(self.available()).unwrap_or(u32::MAX);
        writer.chunk(SACK, 0, |body| {
            body.extend_from_slice(&(cumulative as u32).to_be_bytes());
            body.extend_from_slice(&told.to_be_bytes());
            body.extend_from_slice(&[0; 4]);
        });
        stats.sacks_sent += 1;
        true
    }

    pub(crate) fn write_sack(&mut self, writer: &mut Writer<'_>, stats: &mut Stats) {
        let window = self.available();
        self.early.clear();
        let mut duplicates = std::mem::take(&mut self.duplicates);
        let room = writer.room().saturating_sub(16) / 4;
        // What is missing matters more.
        duplicates.truncate(room / 2);
        let most = room.saturating_sub(duplicates.len()).min(GAP_BLOCKS);
        let cumulative = self.cumulative;
        let (received, end) = (&self.received, self.highest + 1);
        writer.chunk(SACK, 0, |body| {
            body.extend_from_slice(&(cumulative as u32).to_be_bytes());
            let told = u32::try_from(window).unwrap_or(u32::MAX);
            body.extend_from_slice(&told.to_be_bytes());
            let at = body.len();
            body.extend_from_slice(&[0; 4]);
            let mut gaps: u16 = 0;
            let mut from = cumulative + 1;
            while usize::from(gaps) < most
                && let Some(start) = received.next(from, end)
            {
                from = received.next_absent(start);
                // RECEIVE_SPAN keeps both within 16 bits.
                let block = [start - cumulative, from - 1 - cumulative];
                for edge in block {
                    let edge = u16::try_from(edge).unwrap_or(u16::MAX);
                    body.extend_from_slice(&edge.to_be_bytes());
                }
                gaps += 1;
            }
            for tsn in &duplicates {
                body.extend_from_slice(&tsn.to_be_bytes());
            }
            let count = duplicates.len() as u16;
            body[at..at + 2].copy_from_slice(&gaps.to_be_bytes());
            body[at + 2..at + 4].copy_from_slice(&count.to_be_bytes());
        });
        self.known_window = window;
        self.due = SackDue::No;
        self.packets = 0;
        stats.sacks_sent += 1;
    }

    // ---- The reader

    pub(crate) fn take(
        &mut self,
        now: Instant,
        stream: u16,
        rtt: Option<Duration>,
    ) -> Option<Message> {
        let message = self.reassembly.take(stream)?;
        self.read += message.bytes.len();
        self.tune(now, rtt);
        // RFC 9260 §6.2: tell of the room when it matters.
        let free = self.available();
        if self.known_window < self.window / 2 && free >= self.known_window + self.window / 4 {
            self.due = SackDue::Now;
        }
        Some(message)
    }

    /// A reader that takes half a window within two round trips is held back by the window, not the other way round.
    fn tune(&mut self, now: Instant, rtt: Option<Duration>) {
        let Some(rtt) = rtt else { return };
        let passed = now.saturating_duration_since(self.measured_at);
        if self.read >= self.window / 2 {
            if passed <= rtt * 2 && self.window < self.window_limit {
                self.window = (self.window * 2).min(self.window_limit);
                self.due = SackDue::Now;
            }
            self.read = 0;
            self.measured_at = now;
        } else if passed > rtt * 4 {
            self.read = 0;
            self.measured_at = now;
        }
    }

    pub(crate) fn shrink(&mut self) {
        self.received.shrink();
        self.reassembly.shrink();
    }
}
