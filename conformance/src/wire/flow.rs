//! One direction of one association: an ordered reliable channel and an unordered lossy one under a shared window.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::{Config, SendError};

/// A piece of an association's traffic while it travels.
#[derive(Debug, Clone)]
pub(super) enum Segment {
    /// Bytes `from..to` of the reliable channel's messages, laid end to end.
    Reliable { from: u64, to: u64 },
    /// One whole message of the lossy channel.
    Lossy(Bytes),
    /// No content: asks the receiver how its window stands.
    Probe,
}

/// What a receiver tells its sender.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acknowledgement {
    /// All reliable bytes below this offset have arrived.
    pub(super) received: u64,
    /// Bytes the receiver can still take.
    pub(super) window: u64,
}

/// Both ends of one direction; the fields of the sender and of the receiver never read each other.
#[derive(Debug)]
pub(super) struct Flow {
    // ---- sender
    messages: VecDeque<(u64, Bytes)>,
    written: u64,
    sent: u64,
    acked: u64,
    lossy: VecDeque<Bytes>,
    lossy_bytes: usize,
    lossy_sent: u64,
    lossy_settled: u64,
    window: u64,
    probing: bool,
    timeout: std::time::Duration,
    deadline: Option<Instant>,
    // ---- the wire between them
    pub(super) busy_until: Option<Instant>,
    // ---- receiver
    received: u64,
    delivered: u64,
    arrived: VecDeque<(u64, Bytes)>,
    inbox: [VecDeque<Bytes>; 2],
    unread: u64,
    announced: u64,
}

impl Flow {
    pub(super) fn new(config: &Config) -> Flow {
        let window = config.receive_window as u64;
        Flow {
            messages: VecDeque::new(),
            written: 0,
            sent: 0,
            acked: 0,
            lossy: VecDeque::new(),
            lossy_bytes: 0,
            lossy_sent: 0,
            lossy_settled: 0,
            window,
            probing: false,
            timeout: config.retransmit_after,
            deadline: None,
            busy_until: None,
            received: 0,
            delivered: 0,
            arrived: VecDeque::new(),
            inbox: [VecDeque::new(), VecDeque::new()],
            unread: 0,
            announced: window,
        }
    }

    // ---- sender

    pub(super) fn reliable_buffered(&self) -> usize {
        (self.written - self.acked) as usize
    }

    pub(super) fn lossy_buffered(&self) -> usize {
        self.lossy_bytes
    }

    pub(super) fn reliable_acknowledged(&self) -> u64 {
        self.acked
    }

    pub(super) fn push_reliable(
        &mut self,
        config: &Config,
        message: Bytes,
    ) -> Result<(), SendError> {
        check_size(config, &message)?;
        // One message may start while the buffer is below its target, as in the real transport.
        if self.reliable_buffered() >= config.send_buffer {
            return Err(SendError::Full);
        }
        self.written += message.len() as u64;
        // An empty message would have no bytes to arrive with.
        if message.is_empty() {
            return Ok(());
        }
        self.arrived.push_back((self.written, message.clone()));
        self.messages.push_back((self.written, message));
        Ok(())
    }

    pub(super) fn push_lossy(&mut self, config: &Config, message: Bytes) -> Result<(), SendError> {
        check_size(config, &message)?;
        if self.lossy_bytes >= config.send_buffer {
            return Err(SendError::Full);
        }
        self.lossy_bytes += message.len();
        self.lossy.push_back(message);
        Ok(())
    }

    fn outstanding(&self) -> u64 {
        (self.sent - self.acked) + self.lossy_sent.saturating_sub(self.lossy_settled)
    }

    /// The next segment that the window lets through.
    pub(super) fn next_segment(&mut self, now: Instant, config: &Config) -> Option<Segment> {
        if self.probing {
            return None;
        }
        if let Some(message) = self.lossy.front() {
            let size = message.len() as u64;
            if size <= self.window {
                self.window -= size;
                self.lossy_sent += size;
                self.lossy_bytes -= message.len();
                return self.lossy.pop_front().map(Segment::Lossy);
            }
            self.arm(now);
        }
        let waiting = self.written - self.sent;
        if waiting == 0 {
            return None;
        }
        self.arm(now);
        let size = waiting.min(config.segment as u64).min(self.window);
        if size == 0 {
            return None;
        }
        let from = self.sent;
        self.window -= size;
        self.sent += size;
        Some(Segment::Reliable {
            from,
            to: self.sent,
        })
    }

    // Armed even when the window is closed: the news that it opened may get lost.
    fn arm(&mut self, now: Instant) {
        if self.deadline.is_none() {
            self.deadline = Some(now + self.timeout);
        }
    }

    /// A lossy message has arrived or is given up: it no longer counts as outstanding.
    pub(super) fn settle_lossy(&mut self, size: u64) {
        self.lossy_settled += size;
    }

    /// A lossy message never reached the receiver, so its part of the window is free again.
    pub(super) fn credit_lossy(&mut self, size: u64) {
        self.window += size;
    }

    /// Returns whether the sender's buffer shrank.
    pub(super) fn handle_acknowledgement(
        &mut self,
        now: Instant,
        config: &Config,
        acknowledgement: Acknowledgement,
    ) -> bool {
        let progress = acknowledgement.received.saturating_sub(self.acked);
        self.acked += progress;
        self.sent = self.sent.max(self.acked);
        while self
            .messages
            .front()
            .is_some_and(|(end, _)| *end <= self.acked)
        {
            self.messages.pop_front();
        }
        self.window = acknowledgement.window.saturating_sub(self.outstanding());
        if progress > 0 || self.probing {
            self.probing = false;
            self.timeout = config.retransmit_after;
            let waiting = self.written > self.acked || !self.lossy.is_empty();
            self.deadline = waiting.then(|| now + self.timeout);
        }
        progress > 0
    }

    /// Lets the retransmission timer fire at `at` at the latest, if it runs.
    pub(super) fn hasten(&mut self, at: Instant) {
        self.deadline = self.deadline.map(|deadline| deadline.min(at));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The retransmission timer: everything unacknowledged counts as lost, one segment asks whether the path is back.
    pub(super) fn handle_deadline(&mut self, now: Instant, config: &Config) -> Option<Segment> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return None;
        }
        if self.written == self.acked && self.lossy.is_empty() {
            self.deadline = None;
            return None;
        }
        self.timeout = (self.timeout * 2).min(config.retransmit_at_most);
        self.deadline = Some(now + self.timeout);
        self.probing = true;
        self.window += self.sent - self.acked;
        self.sent = self.acked;
        let from = self.sent;
        let size = (self.written - from)
            .min(config.segment as u64)
            .min(self.window);
        if size == 0 {
            return Some(Segment::Probe);
        }
        self.window -= size;
        self.sent += size;
        Some(Segment::Reliable {
            from,
            to: self.sent,
        })
    }

    // ---- receiver

    /// Takes what arrived; returns whether the reliable or the lossy channel became readable.
    pub(super) fn handle_segment(&mut self, segment: Segment) -> [bool; 2] {
        match segment {
            Segment::Reliable { from, to } => {
                // A hole before it means that an earlier segment was lost; the sender starts over from there.
                if from > self.received || to <= self.received {
                    return [false, false];
                }
                self.received = to;
                let mut readable = false;
                while let Some((end, message)) = self.arrived.pop_front() {
                    if end > self.received {
                        self.arrived.push_front((end, message));
                        break;
                    }
                    self.delivered = end;
                    self.unread += message.len() as u64;
                    self.inbox[0].push_back(message);
                    readable = true;
                }
                [readable, false]
            }
            Segment::Lossy(message) => {
                self.unread += message.len() as u64;
                self.inbox[1].push_back(message);
                [false, true]
            }
            Segment::Probe => [false, false],
        }
    }

    pub(super) fn unread(&self) -> u64 {
        self.unread + (self.received - self.delivered)
    }

    pub(super) fn acknowledge(&mut self, config: &Config) -> Acknowledgement {
        self.announced = (config.receive_window as u64).saturating_sub(self.unread());
        Acknowledgement {
            received: self.received,
            window: self.announced,
        }
    }

    pub(super) fn has_message(&self, lane: usize) -> bool {
        !self.inbox[lane].is_empty()
    }

    /// Hands out a message, and says whether the window opened enough to tell the sender of it.
    pub(super) fn pop(&mut self, config: &Config, lane: usize) -> Option<(Bytes, bool)> {
        let message = self.inbox[lane].pop_front()?;
        self.unread -= message.len() as u64;
        let window = (config.receive_window as u64).saturating_sub(self.unread());
        // As SCTP stacks do: an update a quarter of the window at a time, not one a message.
        let worth_it = window.saturating_sub(self.announced) >= config.receive_window as u64 / 4;
        Some((message, worth_it))
    }
}

fn check_size(config: &Config, message: &Bytes) -> Result<(), SendError> {
    if message.len() > config.max_message_size {
        return Err(SendError::TooLarge {
            size: message.len(),
            limit: config.max_message_size,
        });
    }
    Ok(())
}
