//! One association: the handshake, and who gets which chunk.
//!
//! ```text
//! connect: CookieWait -> CookieEchoed -> Established       accept: Listening -> Established
//! Established -> ShutdownPending (ours: the rest is delivered first) -> ShutdownSent -> Closed
//! Established -> ShutdownReceived (theirs: the same)                 -> ShutdownAckSent -> Closed
//! ```
//!
//! `Sender` owns what is to be sent, `Receiver` what arrives, `Reset` the resets of streams; this file owns the state, the tags and
//! the chunks that are about the association itself. Each of those has one place at most, so that a flood of them costs nothing.

mod handshake;
mod heartbeat;
mod input;
mod output;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::handshake::Setup;
use self::heartbeat::Heartbeats;
use crate::chunk::Extensions;
use crate::config::{Checksum, Config};
use crate::error::{ResetError, SendError};
use crate::event::{Closed, Delivery, Event, Message};
use crate::limits;
use crate::queue::ResetState;
use crate::random::Random;
use crate::receiver::Receiver;
use crate::reset::Reset;
use crate::sender::Sender;
use crate::stats::Stats;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Listening,
    CookieWait,
    CookieEchoed,
    Established,
    ShutdownPending,
    ShutdownSent,
    ShutdownReceived,
    ShutdownAckSent,
    Closed,
}

/// Chunks about the association that wait to be sent.
#[derive(Debug, Default)]
struct Pending {
    init: bool,
    /// Tag and cookie with what the INIT ACK says.
    init_ack: Option<handshake::InitAck>,
    cookie_echo: bool,
    cookie_ack: bool,
    /// The tag of who sent a cookie that was too old, and by how many microseconds it was.
    stale_cookie: Option<(u32, u32)>,
    heartbeat: bool,
    heartbeat_ack: Option<Box<[u8]>>,
    /// An ERROR: cause and what it is about.
    error: Option<(u16, Box<[u8]>)>,
    shutdown: bool,
    shutdown_ack: bool,
    shutdown_complete: bool,
    /// An ABORT: cause and what it is about.
    abort: Option<(u16, Box<[u8]>)>,
}

/// An SCTP association over DTLS.
///
/// Everything is a call: packets in ([`handle_packet`](Self::handle_packet)), packets out
/// ([`poll_transmit`](Self::poll_transmit)), time ([`poll_timeout`](Self::poll_timeout) and
/// [`handle_timeout`](Self::handle_timeout)), events ([`poll_event`](Self::poll_event)). After any call, drain
/// `poll_transmit` and `poll_event` before waiting. Dropping it tells the other side nothing: [`abort`](Self::abort) and drain first.
#[derive(Debug)]
pub struct Association {
    config: Config,
    state: State,
    random: Random,
    cookie_key: [u64; 2],
    created_at: Instant,
    now: Instant,
    local_tag: u32,
    local_tsn: u32,
    peer_tag: u32,
    peer_streams: u16,
    peer_extensions: Extensions,
    setup: Setup,
    sender: Sender,
    receiver: Option<Receiver>,
    reset: Option<Reset>,
    pending: Pending,
    /// When the SHUTDOWN or SHUTDOWN ACK was sent, and how often.
    shutdown_at: Option<Instant>,
    shutdown_count: u32,
    /// When a shutdown that we asked for has taken too long: T5-shutdown-guard.
    shutdown_guard: Option<Instant>,
    heartbeat_at: Option<Instant>,
    heartbeats: Heartbeats,
    /// Until when the last HEARTBEAT should be answered, and how many in a row were not.
    heartbeat_until: Option<Instant>,
    heartbeats_missed: u32,
    events: VecDeque<Event>,
    stats: Stats,
}

impl Association {
    /// Sets an association up: the first packet waits in [`poll_transmit`](Self::poll_transmit). Both sides may call this.
    ///
    /// `seed` is where tags, the first TSN and jitter come from: the same seed and input give the same packets.
    #[must_use]
    pub fn connect(now: Instant, config: Config, seed: u64) -> Self {
        let mut association = Self::new(now, config, seed, State::CookieWait);
        association.pending.init = true;
        association
    }

    /// Waits for the other side to set it up.
    #[must_use]
    pub fn accept(now: Instant, config: Config, seed: u64) -> Self {
        Self::new(now, config, seed, State::Listening)
    }

    fn new(now: Instant, config: Config, seed: u64, state: State) -> Self {
        let config = config.normalized();
        let mut random = Random::new(seed);
        let cookie_key = [random.next_u64(), random.next_u64()];
        let local_tag = random.tag();
        let local_tsn = random.next_u32();
        let jitter = Random::new(random.next_u64());
        let sender = Sender::new(now, config.packet, config.congestion, local_tsn, jitter);
        Self {
            config,
            state,
            random,
            cookie_key,
            created_at: now,
            now,
            local_tag,
            local_tsn,
            peer_tag: 0,
            peer_streams: u16::MAX,
            peer_extensions: Extensions::default(),
            setup: Setup::default(),
            sender,
            receiver: None,
            reset: None,
            pending: Pending::default(),
            shutdown_at: None,
            shutdown_count: 0,
            shutdown_guard: None,
            heartbeat_at: None,
            heartbeats: Heartbeats::default(),
            heartbeat_until: None,
            heartbeats_missed: 0,
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// The same with a chosen first TSN, to test the wrap.
    #[cfg(test)]
    fn set_local_tsn(&mut self, tsn: u32) {
        self.local_tsn = tsn;
        let jitter = self.random.clone();
        self.sender = Sender::new(
            self.now,
            self.config.packet,
            self.config.congestion,
            tsn,
            jitter,
        );
    }

    /// Whether messages flow.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(
            self.state,
            State::Established | State::ShutdownPending | State::ShutdownReceived
        )
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    fn tick(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    // ---- Messages

    /// Queues a message. Before the handshake is done, it waits; if the other side then has no such stream, [`Event::NoStream`] tells.
    ///
    /// # Errors
    /// [`SendError::Full`] when more than [`Config::send_buffer`] would wait (one message always fits an empty buffer); nothing of the
    /// message was taken then.
    pub fn send(
        &mut self,
        now: Instant,
        stream: u16,
        ppid: u32,
        delivery: Delivery,
        message: Bytes,
    ) -> Result<(), SendError> {
        self.tick(now);
        if !matches!(
            self.state,
            State::Listening | State::CookieWait | State::CookieEchoed | State::Established
        ) {
            return Err(SendError::Closed);
        }
        if message.is_empty() {
            return Err(SendError::Empty);
        }
        if stream >= self.peer_streams {
            return Err(SendError::NoStream {
                stream,
                count: self.peer_streams,
            });
        }
        if self.sender.queue.reset_state(stream) != ResetState::Open {
            return Err(SendError::Resetting(stream));
        }
        let buffered = self.sender.queue.buffered();
        if buffered > 0 && buffered + message.len() > self.config.send_buffer {
            return Err(SendError::Full {
                buffered,
                limit: self.config.send_buffer,
            });
        }
        self.sender.queue.push(now, stream, ppid, delivery, message);
        Ok(())
    }

    /// The next message of a stream. What is not taken keeps the window of the other side small, and no more.
    pub fn receive(&mut self, stream: u16) -> Option<Message> {
        let rtt = self.sender.rtt.smoothed();
        self.receiver.as_mut()?.take(self.now, stream, rtt)
    }

    /// How many complete messages of the stream wait to be taken.
    #[must_use]
    pub fn waiting(&self, stream: u16) -> usize {
        self.receiver
            .as_ref()
            .map_or(0, |receiver| receiver.reassembly.waiting(stream))
    }

    /// Bytes of messages on the stream that wait or are not acknowledged.
    #[must_use]
    pub fn buffered(&self, stream: u16) -> usize {
        self.sender.queue.buffered_on(stream)
    }

    /// The same for all streams.
    #[must_use]
    pub fn buffered_total(&self) -> usize {
        self.sender.queue.buffered()
    }

    /// Bytes of messages on the stream that were acknowledged or given up, since the association began.
    #[must_use]
    pub fn acknowledged(&self, stream: u16) -> u64 {
        self.sender.queue.released_on(stream)
    }

    /// How many bytes on the stream should wait to be sent: fewer, and the path idles between two turns of the caller; more, and
    /// what is sent next is late. What one turn may send at once, and [`limits::LEAST_UNSENT`]. Above it, hand nothing over until
    /// [`poll_transmit`](Self::poll_transmit) has taken of it.
    #[must_use]
    pub fn unsent_target(&self) -> usize {
        self.sender.unsent_target()
    }

    /// Bytes of messages on the stream that were not sent for the first time.
    #[must_use]
    pub fn unsent(&self, stream: u16) -> usize {
        self.sender.queue.unsent_on(stream)
    }

    /// Resets our direction of a stream after what waits on it was sent; [`Event::ResetDone`] tells when it is done. The stream
    /// then begins anew. Nothing more is taken for it until then.
    ///
    /// # Errors
    /// When the other side cannot, or the association is not up.
    pub fn reset_stream(&mut self, now: Instant, stream: u16) -> Result<(), ResetError> {
        self.tick(now);
        if !self.is_connected() {
            return Err(ResetError::Closed);
        }
        if !self.peer_extensions.reconfig {
            return Err(ResetError::Unsupported);
        }
        self.sender.queue.want_reset(stream);
        Ok(())
    }

    // ---- The path

    /// The path is another one or has come back, as after an ICE restart: what is not acknowledged is sent again at once, and what was
    /// measured is forgotten, and measured again by a heartbeat.
    pub fn path_changed(&mut self, now: Instant) {
        self.tick(now);
        match self.state {
            State::CookieWait | State::CookieEchoed => self.resume_setup(),
            State::Closed | State::Listening => {}
            _ => {
                self.sender.path_changed(now, &mut self.stats);
                self.heartbeats = Heartbeats::default();
                self.hear_answer();
                self.pending.heartbeat = self.is_connected();
                if let Some(receiver) = &mut self.receiver {
                    receiver.sack_now();
                }
                self.shutdown_at = self.shutdown_at.map(|_| now);
            }
        }
    }

    /// The largest packet that fits the path, in bytes, common header included. Chunks that were cut already keep their size. Pacing
    /// follows; congestion control counts in bytes, and its first window and least steps stay those of the former size until
    /// [`path_changed`](Self::path_changed), which usually comes along.
    pub fn set_packet(&mut self, packet: usize) {
        self.config.packet = packet.clamp(limits::MIN_PACKET, limits::MAX_PACKET) & !3;
        self.sender.set_packet(self.config.packet);
    }

    // ---- The end

    /// Ends the association after everything that waits was delivered (RFC 9260 §9.2). Nothing more is taken.
    pub fn shutdown(&mut self, now: Instant) {
        self.tick(now);
        match self.state {
            State::Established => self.state = State::ShutdownPending,
            State::Listening | State::CookieWait | State::CookieEchoed => {
                self.close(Closed::Shutdown);
            }
            _ => {}
        }
        self.follow_shutdown(now);
    }

    /// Ends the association at once; the ABORT waits in [`poll_transmit`](Self::poll_transmit).
    pub fn abort(&mut self, now: Instant) {
        self.tick(now);
        if self.state != State::Closed {
            if self.peer_tag != 0 {
                self.pending.abort = Some((crate::chunk::CAUSE_USER, Box::default()));
            }
            self.close(Closed::LocalAbort);
        }
    }

    fn close(&mut self, why: Closed) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        self.pending = Pending {
            abort: self.pending.abort.take(),
            shutdown_complete: self.pending.shutdown_complete,
            ..Pending::default()
        };
        self.shutdown_at = None;
        self.shutdown_guard = None;
        self.heartbeat_at = None;
        self.heartbeat_until = None;
        self.events.push_back(Event::Closed(why));
    }

    fn abort_for(&mut self, cause: u16, about: &[u8]) {
        if self.state != State::Closed {
            self.pending.abort = Some((cause, about.into()));
            self.close(Closed::Protocol);
        }
    }

    /// Goes on with a shutdown when nothing waits any more.
    fn follow_shutdown(&mut self, now: Instant) {
        if !self.sender.is_idle() {
            return;
        }
        match self.state {
            State::ShutdownPending => {
                self.state = State::ShutdownSent;
                self.pending.shutdown = true;
                self.shutdown_guard = Some(now + limits::SHUTDOWN_GUARD);
            }
            State::ShutdownReceived => {
                self.state = State::ShutdownAckSent;
                self.pending.shutdown_ack = true;
            }
            _ => return,
        }
        self.shutdown_count = 0;
        self.shutdown_at = Some(now + self.sender.rtt.timeout());
    }

    // ---- Events and time

    /// What happened since.
    pub fn poll_event(&mut self) -> Option<Event> {
        let is_early = matches!(self.state, State::CookieEchoed);
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if is_early {
            // Data that overtook the COOKIE ACK waits for `Connected`.
            return None;
        }
        if let Some((stream, bytes)) = self.sender.queue.next_released() {
            return Some(Event::Released { stream, bytes });
        }
        if let Some(receiver) = &mut self.receiver
            && let Some(stream) = receiver.reassembly.next_readable()
        {
            return Some(Event::Readable(stream));
        }
        let reset = self.reset.as_mut()?;
        if let Some((stream, is_accepted)) = reset.next_outgoing() {
            return Some(Event::ResetDone {
                stream,
                is_accepted,
            });
        }
        reset.next_incoming().map(Event::StreamReset)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and [`poll_transmit`](Self::poll_transmit) after it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.state == State::Closed {
            return None;
        }
        [
            self.setup.timer(),
            self.sender.timer(),
            self.sender.pacing(),
            self.receiver.as_ref().and_then(Receiver::timer),
            self.reset.as_ref().and_then(Reset::timer),
            self.shutdown_at,
            self.shutdown_guard,
            self.heartbeat_at,
            self.heartbeat_until,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Time has passed. Harmless when it is too early.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
        if self.state == State::Closed {
            return;
        }
        self.time_setup(now);
        self.sender.handle_timeout(now, &mut self.stats);
        if self.heartbeat_until.take_if(|at| *at <= now).is_some() {
            self.heartbeats_missed = self.heartbeats_missed.saturating_add(1);
        }
        if self.is_unreachable() || self.shutdown_guard.is_some_and(|at| at <= now) {
            self.pending.abort = Some((crate::chunk::CAUSE_USER, Box::default()));
            self.close(Closed::TimedOut);
            return;
        }
        if self.heartbeat_at.is_some_and(|at| at <= now) {
            if self.sender.is_idle() {
                self.pending.heartbeat = true;
                let until = now + self.sender.rtt.timeout();
                self.heartbeat_until.get_or_insert(until);
            }
            self.heartbeat_at = self.config.heartbeat.map(|wait| now + wait);
            self.shrink();
        }
        if self.shutdown_at.is_some_and(|at| at <= now) {
            self.time_shutdown(now);
        }
    }

    /// Too many timeouts and heartbeats in a row had no answer (RFC 9260 §8.1).
    fn is_unreachable(&self) -> bool {
        let errors = self
            .sender
            .timeouts_in_row
            .saturating_add(self.heartbeats_missed);
        self.config.max_timeouts.is_some_and(|most| errors > most)
    }

    /// The other side has answered: what was not counts no more (RFC 9260 §8.1).
    fn hear_answer(&mut self) {
        self.heartbeat_until = None;
        self.heartbeats_missed = 0;
    }

    /// The other side, which was told of our shutdown, still sends what it had: it is told again how far we are, and T2-shutdown
    /// begins anew (RFC 9260 §9.2).
    fn hear_before_shutdown(&mut self, now: Instant) {
        self.pending.shutdown = true;
        self.shutdown_count = 0;
        self.sender.rtt.restore();
        self.shutdown_at = Some(now + self.sender.rtt.timeout());
    }

    fn time_shutdown(&mut self, now: Instant) {
        self.shutdown_count += 1;
        if self.shutdown_count >= limits::SHUTDOWN_TRANSMISSIONS {
            self.close(Closed::TimedOut);
            return;
        }
        match self.state {
            State::ShutdownSent => self.pending.shutdown = true,
            State::ShutdownAckSent => self.pending.shutdown_ack = true,
            _ => {}
        }
        self.sender.rtt.back_off();
        self.shutdown_at = Some(now + self.sender.rtt.timeout());
    }

    fn shrink(&mut self) {
        self.sender.shrink();
        self.events.shrink_to(4);
        if let Some(receiver) = &mut self.receiver {
            receiver.shrink();
        }
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.created_at)
    }

    fn sends_zero_checksum(&self) -> bool {
        self.config.checksum == Checksum::ZeroOverDtls && self.peer_extensions.zero_checksum
    }

    /// Counters, and where things stand.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        self.sender.fill_stats(&mut stats);
        if let Some(receiver) = &self.receiver {
            stats.messages_too_large = receiver.reassembly.too_large;
            stats.chunks_refused += receiver.reassembly.misfits;
        }
        stats
    }

    /// The receive window as it has grown, in bytes.
    #[must_use]
    pub fn receive_window(&self) -> usize {
        self.receiver
            .as_ref()
            .map_or(self.config.receive_window, Receiver::window)
    }
}
