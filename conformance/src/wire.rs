//! A model of what lies between one client and its server: a signalling stream and one peer connection's data
//! channels, on virtual time, exact for a seed.
//!
//! It has the properties that streams depend on and nothing else: an ordered reliable channel and an unordered lossy
//! one that share a receive window, a bounded send buffer, latency, bandwidth, loss on the lossy channel, and loss of
//! connectivity after which only a retransmission timer brings data back. There is no ICE, DTLS or SCTP in it; the
//! real ones are in [`Stack`], behind the same interface.
//!
//! The owner drives it like the rest of the workspace: [`Wire::handle_timeout`] at [`Wire::poll_timeout`], then
//! [`Wire::poll_event`] until it is empty. `send` and `receive` have the shape of `lkstream_transport::Peer`'s.

mod config;
mod event;
mod flow;
mod path;
mod random;
mod stack;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use config::Config;
pub use event::{Cause, Event, SendError, Totals};
pub use path::Carrier;
pub use random::Random;
pub use stack::Stack;

pub(crate) use path::Path;

use flow::{Acknowledgement, Flow, Segment};

/// The two ends of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Where the participant is.
    Client,
    /// Where the room is.
    Server,
}

impl End {
    /// The other one.
    #[must_use]
    pub fn other(self) -> End {
        match self {
            End::Client => End::Server,
            End::Server => End::Client,
        }
    }

    fn index(self) -> usize {
        match self {
            End::Client => 0,
            End::Server => 1,
        }
    }
}

/// What a wire carries, each in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The WebSocket: ordered, reliable, an association of its own.
    Signal,
    /// The `_reliable` data channel.
    Reliable,
    /// The `_lossy` data channel.
    Lossy,
}

impl Lane {
    fn association(self) -> usize {
        match self {
            Lane::Signal => 0,
            Lane::Reliable | Lane::Lossy => 1,
        }
    }

    fn inbox(self) -> usize {
        match self {
            Lane::Signal | Lane::Reliable => 0,
            Lane::Lossy => 1,
        }
    }
}

#[derive(Debug)]
enum Happening {
    Segment {
        association: usize,
        to: End,
        segment: Segment,
    },
    Acknowledgement {
        association: usize,
        to: End,
        acknowledgement: Acknowledgement,
    },
    LossySettled {
        association: usize,
        from: End,
        size: u64,
        lost: bool,
    },
    Open(End),
    Close {
        association: usize,
        to: End,
    },
    Failure {
        since_cut: u64,
    },
}

#[derive(Debug)]
struct Scheduled {
    at: Instant,
    // Two happenings of one instant keep the order they were scheduled in; without it the heap decides.
    order: u64,
    happening: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Open,
    Closed,
}

/// One client's connection to its server.
#[derive(Debug)]
pub struct Wire {
    config: Config,
    random: Random,
    // [association][end that sends]
    flows: [[Flow; 2]; 2],
    // [association][end]
    states: [[State; 2]; 2],
    connected: bool,
    cuts: u64,
    scheduled: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    events: [VecDeque<Event>; 2],
    // An end is told once that it may write, after it met a full buffer.
    wants_to_write: [[bool; 3]; 2],
    totals: Totals,
}

impl Wire {
    /// A wire whose signalling stream is open and whose peer connection is not, exact for a seed.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Wire {
        let flow = || Flow::new(&config);
        Wire {
            random: Random::new(seed),
            flows: [[flow(), flow()], [flow(), flow()]],
            states: [[State::Open, State::Open], [State::Idle, State::Idle]],
            connected: true,
            cuts: 0,
            scheduled: BinaryHeap::new(),
            order: 0,
            events: [VecDeque::new(), VecDeque::new()],
            wants_to_write: [[false; 3]; 2],
            totals: Totals::default(),
            config,
        }
    }

    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Counters so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Starts to set up the peer connection; [`Event::Open`] follows at both ends unless connectivity is gone.
    pub fn connect(&mut self, now: Instant) {
        let at = now + self.config.connects_in;
        self.schedule(at, Happening::Open(End::Client));
        self.schedule(at + self.config.latency, Happening::Open(End::Server));
    }

    /// Loses connectivity: what is under way and what is sent from now on gets lost, and nobody is told.
    pub fn cut(&mut self, now: Instant) {
        if self.connected {
            self.connected = false;
            self.cuts += 1;
            let since_cut = self.cuts;
            self.schedule(
                now + self.config.fails_after,
                Happening::Failure { since_cut },
            );
        }
    }

    /// Brings connectivity back. Data flows again when a retransmission timer fires or, on the data channels, after
    /// [`Config::notices_within`].
    pub fn mend(&mut self, now: Instant) {
        if !self.connected {
            self.connected = true;
            for flow in &mut self.flows[1] {
                flow.hasten(now + self.config.notices_within);
            }
        }
    }

    /// Whether there is connectivity.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether `lane` can be used at `end`.
    #[must_use]
    pub fn is_open(&self, end: End, lane: Lane) -> bool {
        self.states[lane.association()][end.index()] == State::Open
    }

    /// Hands over a message.
    ///
    /// # Errors
    /// [`SendError`]; the message was not taken then.
    pub fn send(
        &mut self,
        now: Instant,
        end: End,
        lane: Lane,
        message: Bytes,
    ) -> Result<(), SendError> {
        if !self.is_open(end, lane) {
            return Err(SendError::Closed);
        }
        let flow = &mut self.flows[lane.association()][end.index()];
        let pushed = match lane {
            Lane::Signal | Lane::Reliable => flow.push_reliable(&self.config, message),
            Lane::Lossy => flow.push_lossy(&self.config, message),
        };
        if pushed == Err(SendError::Full) {
            self.wants_to_write[end.index()][lane as usize] = true;
        }
        pushed?;
        self.transmit(now, lane.association(), end);
        Ok(())
    }

    /// Pulls a message. Not pulling closes the window, so that the other end's buffer fills.
    pub fn receive(&mut self, now: Instant, end: End, lane: Lane) -> Option<Bytes> {
        let association = lane.association();
        let flow = &mut self.flows[association][end.other().index()];
        let (message, opened) = flow.pop(&self.config, lane.inbox())?;
        if opened {
            self.acknowledge(now, association, end);
        }
        Some(message)
    }

    /// Whether a message waits to be pulled.
    #[must_use]
    pub fn is_readable(&mut self, end: End, lane: Lane) -> bool {
        self.flows[lane.association()][end.other().index()].has_message(lane.inbox())
    }

    /// Bytes handed over that are not acknowledged (reliable) or not under way (lossy).
    #[must_use]
    pub fn buffered(&self, end: End, lane: Lane) -> usize {
        let flow = &self.flows[lane.association()][end.index()];
        match lane {
            Lane::Signal | Lane::Reliable => flow.reliable_buffered(),
            Lane::Lossy => flow.lossy_buffered(),
        }
    }

    /// Bytes the owner should still hand over now: 0 when the buffer is at its target or the lane is not open.
    ///
    /// A caller that meets 0 is told by [`Event::Writable`] when there is room again.
    pub fn room(&mut self, end: End, lane: Lane) -> usize {
        if !self.is_open(end, lane) {
            return 0;
        }
        let room = self
            .config
            .send_buffer
            .saturating_sub(self.buffered(end, lane));
        if room == 0 {
            self.wants_to_write[end.index()][lane as usize] = true;
        }
        room
    }

    /// Bytes of messages on the reliable channel (or the signalling stream) that have arrived for certain.
    #[must_use]
    pub fn acknowledged(&self, end: End, lane: Lane) -> u64 {
        match lane {
            Lane::Signal | Lane::Reliable => {
                self.flows[lane.association()][end.index()].reliable_acknowledged()
            }
            Lane::Lossy => 0,
        }
    }

    /// Bytes at `end` that nobody has pulled, reliable and lossy together; at most [`Config::receive_window`].
    #[must_use]
    pub fn unread(&self, end: End) -> u64 {
        self.flows[1][end.other().index()].unread()
    }

    /// Ends the peer connection: what is not acknowledged may be lost, the other end is told if it can be reached.
    pub fn close(&mut self, now: Instant, end: End) {
        self.close_association(now, end, 1);
    }

    /// Ends the signalling stream; messages under way still arrive before the end does.
    pub fn close_signal(&mut self, now: Instant, end: End) {
        self.close_association(now, end, 0);
    }

    fn close_association(&mut self, now: Instant, end: End, association: usize) {
        if self.states[association][end.index()] == State::Closed {
            return;
        }
        self.states[association][end.index()] = State::Closed;
        let to = end.other();
        // Behind what is on the wire already: the link sends in order.
        let free = self.flows[association][end.index()]
            .busy_until
            .map_or(now, |busy| busy.max(now));
        self.schedule(
            free + self.config.latency,
            Happening::Close { association, to },
        );
    }

    /// When [`Wire::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let scheduled = self.scheduled.peek().map(|Reverse(next)| next.at);
        let deadlines = [(0, 0), (0, 1), (1, 0), (1, 1)]
            .into_iter()
            .filter(|(association, end)| self.retransmits(*association, *end))
            .filter_map(|(association, end)| self.flows[association][end].deadline());
        scheduled.into_iter().chain(deadlines).min()
    }

    /// Lets everything happen that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self
            .scheduled
            .peek()
            .is_some_and(|Reverse(next)| next.at <= now)
        {
            if let Some(Reverse(next)) = self.scheduled.pop() {
                self.happen(now, next.happening);
            }
        }
        for association in 0..2 {
            for end in [End::Client, End::Server] {
                if !self.retransmits(association, end.index()) {
                    continue;
                }
                let flow = &mut self.flows[association][end.index()];
                if let Some(segment) = flow.handle_deadline(now, &self.config) {
                    self.totals.timeouts += 1;
                    self.launch(now, association, end, segment);
                }
            }
        }
    }

    /// What `end` has learnt since the last call.
    pub fn poll_event(&mut self, end: End) -> Option<Event> {
        self.events[end.index()].pop_front()
    }

    fn retransmits(&self, association: usize, end: usize) -> bool {
        association == 0 || self.states[association][end] == State::Open
    }

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.order += 1;
        self.scheduled.push(Reverse(Scheduled {
            at,
            order: self.order,
            happening,
        }));
    }

    fn notify(&mut self, end: End, event: Event) {
        // One hint of a kind is enough; the owner pulls until nothing is left.
        let events = &mut self.events[end.index()];
        if !events.contains(&event) {
            events.push_back(event);
        }
    }

    fn happen(&mut self, now: Instant, happening: Happening) {
        match happening {
            Happening::Segment {
                association,
                to,
                segment,
            } => {
                if !self.passes(association, to) {
                    return;
                }
                self.totals.arrived += 1;
                let flow = &mut self.flows[association][to.other().index()];
                let readable = flow.handle_segment(segment);
                if association == 1 {
                    self.totals.unread_peak = self.totals.unread_peak.max(flow.unread());
                }
                for (lane, readable) in lanes(association).into_iter().zip(readable) {
                    if readable {
                        self.notify(to, Event::Readable(lane));
                    }
                }
                self.acknowledge(now, association, to);
            }
            Happening::Acknowledgement {
                association,
                to,
                acknowledgement,
            } => {
                if !self.passes(association, to) {
                    return;
                }
                let flow = &mut self.flows[association][to.index()];
                flow.handle_acknowledgement(now, &self.config, acknowledgement);
                self.transmit(now, association, to);
                self.notify_writable(association, to);
            }
            Happening::LossySettled {
                association,
                from,
                size,
                lost,
            } => {
                let flow = &mut self.flows[association][from.index()];
                flow.settle_lossy(size);
                if lost {
                    flow.credit_lossy(size);
                    self.transmit(now, association, from);
                }
            }
            Happening::Open(end) => {
                if self.states[1][end.index()] != State::Idle {
                    return;
                }
                if !self.connected {
                    self.schedule(now + self.config.retransmit_after, Happening::Open(end));
                    return;
                }
                self.states[1][end.index()] = State::Open;
                self.notify(end, Event::Open);
            }
            Happening::Close { association, to } => {
                // TCP delivers what it has before it closes and repeats both; nothing repeats an SCTP abort.
                let undelivered =
                    self.flows[association][to.other().index()].reliable_buffered() > 0;
                if association == 0 && (!self.connected || undelivered) {
                    let at = now + self.config.retransmit_after;
                    self.schedule(at, Happening::Close { association, to });
                    return;
                }
                if !self.passes(association, to)
                    || self.states[association][to.index()] == State::Closed
                {
                    return;
                }
                self.states[association][to.index()] = State::Closed;
                let event = match association {
                    0 => Event::SignalClosed,
                    _ => Event::Closed(Cause::Peer),
                };
                self.notify(to, event);
            }
            Happening::Failure { since_cut } => {
                if self.connected || since_cut != self.cuts {
                    return;
                }
                for end in [End::Client, End::Server] {
                    if self.states[1][end.index()] == State::Open {
                        self.states[1][end.index()] = State::Closed;
                        self.notify(end, Event::Closed(Cause::Silence));
                    }
                }
            }
        }
    }

    fn passes(&mut self, association: usize, to: End) -> bool {
        if !self.connected {
            self.totals.cut_off += 1;
            return false;
        }
        // What arrives before the receiving end is open would be retransmitted; the model lets it wait there.
        association == 0 || self.states[association][to.index()] != State::Closed
    }

    fn notify_writable(&mut self, association: usize, end: End) {
        for lane in lanes(association) {
            if self.wants_to_write[end.index()][lane as usize]
                && self.buffered(end, lane) < self.config.send_buffer
            {
                self.wants_to_write[end.index()][lane as usize] = false;
                self.notify(end, Event::Writable(lane));
            }
        }
    }

    fn acknowledge(&mut self, now: Instant, association: usize, end: End) {
        if association == 1 && self.states[association][end.index()] == State::Closed {
            return;
        }
        let acknowledgement =
            self.flows[association][end.other().index()].acknowledge(&self.config);
        if !self.connected {
            self.totals.cut_off += 1;
            return;
        }
        self.schedule(
            now + self.config.latency,
            Happening::Acknowledgement {
                association,
                to: end.other(),
                acknowledgement,
            },
        );
    }

    fn transmit(&mut self, now: Instant, association: usize, end: End) {
        while let Some(segment) =
            self.flows[association][end.index()].next_segment(now, &self.config)
        {
            self.launch(now, association, end, segment);
        }
        self.notify_writable(association, end);
    }

    fn launch(&mut self, now: Instant, association: usize, end: End, segment: Segment) {
        let size = match &segment {
            Segment::Reliable { from, to } => to - from,
            Segment::Lossy(message) => message.len() as u64,
            Segment::Probe => 0,
        };
        let flow = &mut self.flows[association][end.index()];
        let start = flow.busy_until.map_or(now, |busy| busy.max(now));
        let gone =
            start + Duration::from_nanos(size * 1_000_000_000 / self.config.bytes_per_second);
        flow.busy_until = Some(gone);
        let mut arrives = gone + self.config.latency;
        let mut lost = false;
        if matches!(segment, Segment::Lossy(_)) {
            let jitter = self.config.jitter.as_nanos() as u64;
            arrives += Duration::from_nanos(self.random.below(jitter.saturating_add(1)));
            lost = self.random.happens(self.config.loss);
            if lost {
                self.totals.lost += 1;
            }
            lost |= !self.connected;
            self.schedule(
                arrives + self.config.latency,
                Happening::LossySettled {
                    association,
                    from: end,
                    size,
                    lost,
                },
            );
        }
        if !self.connected {
            self.totals.cut_off += 1;
        } else if !lost {
            self.schedule(
                arrives,
                Happening::Segment {
                    association,
                    to: end.other(),
                    segment,
                },
            );
        }
    }
}

fn lanes(association: usize) -> [Lane; 2] {
    match association {
        0 => [Lane::Signal, Lane::Signal],
        _ => [Lane::Reliable, Lane::Lossy],
    }
}
