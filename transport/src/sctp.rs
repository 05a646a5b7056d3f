//! The SCTP association (RFC 9260, 3758, 6525), behind a seam of our own so that the engine can be replaced.
//!
//! Now it is rtc-sctp. What it lacks is added here: it never tells a stopped sender that the window opened again
//! ([`Sctp::read`] does, by a SACK), a stopped sender that hears it goes on by its timer only, which cannot be fired
//! ([`Sctp::fire_retransmission`] moves its clock), that timer backs off to a minute ([`LONGEST_BACKOFF`]), what is unread
//! goes with the association ([`Sctp::read`] still has it), and packets that would cost it unbounded work or memory are
//! refused ([`Gate`]).

mod gate;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_sctp::{
    Association, AssociationError, AssociationHandle, ClientConfig, DatagramEvent, Endpoint,
    EndpointConfig, EndpointEvent, Event as RtcEvent, Payload, PayloadProtocolIdentifier,
    ReliabilityType, ServerConfig, StreamEvent, TimerConfig, TransportConfig,
    max_payload_size_for_mtu,
};
use rtc_shared::TransportProtocol;

use self::gate::{Gate, Verdict};
use crate::channel::{Order, RetransmitLimit};
use crate::dtls::Side;

/// rtc-sctp wants an address; none is used.
const FIXED: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5000));

/// Streams in each direction. Far more than a room needs, few enough to look through.
pub(crate) const STREAMS: u16 = 1_024;

/// The side that waits for the other's INIT sends its own after this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Some stacks never answer our INIT because they send one themselves and expect us to answer theirs. After this time
/// without an answer we do, if sending the first INIT was our part; else at once: two sides that both give way have
/// nobody left to go first.
const COLLISION_WAIT: Duration = Duration::from_millis(250);

/// The side whose part it is to send the first INIT does so again when giving way led nowhere for this long.
const GIVES_WAY_FOR: Duration = Duration::from_secs(2);

/// The longest time between two retransmissions. rtc-sctp doubles it up to a minute, far longer than a session waits.
const LONGEST_BACKOFF: Duration = Duration::from_secs(4);

/// A timer that expires this long after the last packet does not delay a SACK (RFC 9260 §6.2): it retransmits.
const SACK_IS_OUT: Duration = Duration::from_millis(500);

/// The longest the clock of the association is moved to reach a retransmission.
const MAX_JUMP: Duration = Duration::from_secs(61);

/// What kind of message this is (RFC 8831 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Control,
    Data,
    /// Carries one byte that stands for none.
    Empty,
    /// Larger than we accept; its bytes are gone.
    TooLarge,
    Unknown,
}

/// A complete received message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: MessageKind,
    pub(crate) bytes: Bytes,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The handshake is done.
    Connected,
    /// Messages wait on the stream, whether we knew it or not.
    Readable(u16),
    /// So many bytes of messages on the stream were acknowledged or given up.
    Released { stream: u16, bytes: usize },
    /// The other side reset the stream.
    StreamClosed(u16),
    /// The association is over.
    Lost(Loss),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The other side ended it.
    Remote,
    /// It could not be set up, or the other side broke the protocol.
    Protocol,
}

/// A packet or message that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

pub(crate) struct Settings {
    pub(crate) receive_window: usize,
    pub(crate) packet: usize,
    pub(crate) max_message_size: usize,
}

pub(crate) struct Sctp {
    side: Side,
    endpoint: Endpoint,
    transport: TransportConfig,
    /// When to send an INIT although the other side should.
    patience_ends: Option<Instant>,
    /// Their INIT while ours is open, and when to answer it.
    colliding: Option<(Instant, Bytes)>,
    /// When giving way has led nowhere.
    gives_way_until: Option<Instant>,
    /// The INIT that the present association answered, and the answer.
    answered: Option<(Bytes, Option<Bytes>)>,
    association: Option<(AssociationHandle, Association)>,
    gate: Gate,
    receive_window: usize,
    max_message_size: usize,
    /// Packets that are ready to be encrypted, in order.
    outgoing: VecDeque<Bytes>,
    /// What was unread when the other side said goodbye, by stream, and the bytes of it.
    unread: BTreeMap<u16, VecDeque<Message>>,
    unread_bytes: usize,
    /// Bytes read since the last SACK left.
    read_since_sack: usize,
    /// The last packet of the other side.
    heard: Instant,
    /// The retransmission timer has expired, and no SACK came since.
    is_retrying: bool,
    /// The next timer of the association, and since when it is that.
    timer: Option<(Instant, Instant)>,
    /// How far the association's clock is ahead.
    skew: Duration,
    /// There may be more for `outgoing`.
    stale: bool,
    /// The handshake is done. Data may come before its last packet.
    connected: bool,
    /// Streams that became readable before that.
    early: Vec<u16>,
    lost: Option<Loss>,
    lost_told: bool,
    aborted: bool,
}

impl Sctp {
    pub(crate) fn new(side: Side, now: Instant, settings: &Settings) -> Option<Self> {
        let window = u32::try_from(settings.receive_window).unwrap_or(u32::MAX);
        // rtc-sctp stops its timers for good after a few tries by default: an outage is for ICE to judge.
        let timers = TimerConfig {
            max_t1_init_retrans: 10,
            max_t1_cookie_retrans: 10,
            max_t2_shutdown_retrans: 10,
            max_t3_rtx_retrans: usize::MAX,
            max_reconfig_retrans: usize::MAX,
            max_ack_retrans: usize::MAX,
        };
        let transport = TransportConfig::default()
            .with_max_receive_buffer_size(window)
            .with_max_message_size(u32::MAX)
            .with_max_num_inbound_streams(STREAMS)
            .with_max_num_outbound_streams(u16::MAX)
            .with_timer_config(timers);
        let mut endpoint_config = EndpointConfig::new();
        let packet = u32::try_from(settings.packet).unwrap_or(u32::MAX);
        endpoint_config.max_payload_size(max_payload_size_for_mtu(packet));
        let server = (side == Side::Server).then(|| Arc::new(ServerConfig::new(transport.clone())));
        let mut endpoint = Endpoint::new(
            FIXED,
            TransportProtocol::UDP,
            Arc::new(endpoint_config),
            server,
        );
        let association = match side {
            Side::Client => Some(
                endpoint
                    .connect(now, ClientConfig::new(transport.clone()), FIXED)
                    .ok()?,
            ),
            Side::Server => None,
        };
        let mut sctp = Self {
            side,
            endpoint,
            transport,
            patience_ends: (side == Side::Server).then(|| now + PATIENCE),
            colliding: None,
            gives_way_until: None,
            answered: None,
            association,
            gate: Gate::new(settings.receive_window + settings.max_message_size),
            receive_window: settings.receive_window,
            max_message_size: settings.max_message_size,
            outgoing: VecDeque::new(),
            unread: BTreeMap::new(),
            unread_bytes: 0,
            read_since_sack: 0,
            heard: now,
            is_retrying: false,
            timer: None,
            skew: Duration::ZERO,
            stale: true,
            connected: false,
            early: Vec::new(),
            lost: None,
            lost_told: false,
            aborted: false,
        };
        sctp.watch_timer(now);
        Some(sctp)
    }

    fn clock(&self, now: Instant) -> Instant {
        now + self.skew
    }

    pub(crate) fn handle_packet(&mut self, now: Instant, packet: Bytes) -> Result<(), Refused> {
        if self.lost.is_some() || self.aborted {
            return Err(Refused);
        }
        match self.gate.inspect(&packet) {
            Verdict::Pass => {}
            Verdict::Refuse => return Err(Refused),
            Verdict::Abort => {
                self.abort();
                self.lost = Some(Loss::Protocol);
                return Err(Refused);
            }
        }
        if gate::is_init(&packet)
            && !self.gate.is_answered()
            && self
                .association
                .as_ref()
                .is_some_and(|(_, known)| known.side().is_client() && known.is_handshaking())
        {
            let wait = match self.side {
                Side::Client => COLLISION_WAIT,
                Side::Server => Duration::ZERO,
            };
            let due = self.colliding.take().map_or(now + wait, |(due, _)| due);
            self.colliding = Some((due, packet));
            self.settle_parts(now);
            self.watch_timer(now);
            return Ok(());
        }
        if self.answers_again(&packet) {
            return Ok(());
        }
        self.heard = now;
        self.is_retrying &= !gate::carries_sack(&packet);
        if gate::is_goodbye(&packet) {
            self.set_unread_aside();
        }
        let result = self.feed(now, packet);
        self.watch_timer(now);
        if self.gate.take_window_opened() {
            self.fire_retransmission(now);
        }
        result
    }

    /// An INIT that comes again gets the same answer. rtc-sctp would make an association with another cookie of it, and
    /// the cookie of the first answer, which may be under way, would be good for nothing.
    fn answers_again(&mut self, packet: &Bytes) -> bool {
        let Some((init, Some(answer))) = &self.answered else {
            return false;
        };
        let is_open = self
            .association
            .as_ref()
            .is_some_and(|(_, known)| known.is_handshaking());
        if !is_open || init != packet {
            return false;
        }
        if !self.outgoing.contains(answer) {
            self.outgoing.push_back(answer.clone());
        }
        true
    }

    fn feed(&mut self, now: Instant, packet: Bytes) -> Result<(), Refused> {
        let clock = self.clock(now);
        let init = gate::is_init(&packet).then(|| packet.clone());
        match self.endpoint.handle(clock, FIXED, None, packet) {
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                let Some((known, association)) = &mut self.association else {
                    return Err(Refused);
                };
                if *known != handle {
                    return Err(Refused);
                }
                association.handle_event(event);
                self.stale = true;
                Ok(())
            }
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                // An INIT again replaces the association only while the first is still being set up.
                let replaceable = self
                    .association
                    .as_ref()
                    .is_none_or(|(_, known)| known.is_handshaking());
                let unused = if replaceable {
                    self.stale = true;
                    self.answered = init.map(|init| (init, None));
                    self.association
                        .replace((handle, association))
                        .map(|(old, _)| old)
                } else {
                    Some(handle)
                };
                if let Some(unused) = unused {
                    self.endpoint.handle_event(unused, EndpointEvent::drained());
                }
                if replaceable { Ok(()) } else { Err(Refused) }
            }
            Some(_) | None => Err(Refused),
        }
    }

    /// Deals with other sides that do not take the part we expect of them.
    fn settle_parts(&mut self, now: Instant) {
        if self.association.is_some() {
            self.patience_ends = None;
        } else if self.patience_ends.is_some_and(|at| at <= now) {
            self.patience_ends = None;
            let config = ClientConfig::new(self.transport.clone());
            self.association = self.endpoint.connect(now, config, FIXED).ok();
            self.stale = true;
        }
        if self.connected {
            self.gives_way_until = None;
        } else if self.gives_way_until.is_some_and(|at| at <= now) {
            self.gives_way_until = None;
            self.forget_association();
            let config = ClientConfig::new(self.transport.clone());
            self.association = self.endpoint.connect(now, config, FIXED).ok();
            self.stale = true;
        }
        if self.gate.is_answered() || self.connected {
            self.colliding = None;
        } else if self.colliding.as_ref().is_some_and(|(due, _)| *due <= now)
            && let Some((_, packet)) = self.colliding.take()
        {
            self.forget_association();
            self.endpoint
                .set_server_config(Some(Arc::new(ServerConfig::new(self.transport.clone()))));
            if self.side == Side::Client {
                self.gives_way_until = Some(now + GIVES_WAY_FOR);
            }
            let _ = self.feed(now, packet);
        }
    }

    fn forget_association(&mut self) {
        self.answered = None;
        if let Some((handle, _)) = self.association.take() {
            self.endpoint.handle_event(handle, EndpointEvent::drained());
        }
        self.outgoing.clear();
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.lost.is_some() || self.aborted {
            return;
        }
        self.settle_parts(now);
        let mut clock = self.clock(now);
        if let Some((_, association)) = &mut self.association
            && let Some(at) = association.poll_timeout()
        {
            if self
                .timer
                .is_some_and(|(_, since)| since + LONGEST_BACKOFF <= now)
            {
                // All that is in flight is marked for another round now, so moving the clock spoils no measurement.
                self.skew += at.saturating_duration_since(clock);
                clock = clock.max(at);
            }
            if at <= clock {
                association.handle_timeout(clock);
                self.stale = true;
                self.is_retrying |= now.saturating_duration_since(self.heard) >= SACK_IS_OUT;
                self.timer = None;
            }
        }
        self.watch_timer(now);
    }

    fn watch_timer(&mut self, now: Instant) {
        let next = self
            .association
            .as_ref()
            .and_then(|(_, association)| association.poll_timeout());
        if next != self.timer.map(|(at, _)| at) {
            self.timer = next.map(|at| (at, now));
        }
    }

    /// The other side was heard of after a silence: what was sent into it is repeated now.
    pub(crate) fn end_silence(&mut self, now: Instant) {
        if self.is_retrying && self.connected {
            self.fire_retransmission(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        // A deadline before the skew began lies in the past of every caller's clock.
        let timer = self.timer.map(|(at, since)| {
            let at = at.checked_sub(self.skew).unwrap_or(at);
            at.min(since + LONGEST_BACKOFF)
        });
        let colliding = self.colliding.as_ref().map(|(due, _)| *due);
        [timer, self.patience_ends, colliding, self.gives_way_until]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sends again at once what is not acknowledged, instead of waiting for a timer that an outage has drawn out.
    pub(crate) fn fire_retransmission(&mut self, now: Instant) {
        self.is_retrying = false;
        let mut jump = Duration::ZERO;
        // The delayed SACK may be first in line; the retransmission is one of the next.
        for _ in 0..3 {
            let clock = self.clock(now);
            let Some((_, association)) = &mut self.association else {
                return;
            };
            let Some(at) = association.poll_timeout() else {
                return;
            };
            let step = at.saturating_duration_since(clock);
            jump += step;
            if jump > MAX_JUMP {
                return;
            }
            self.skew += step;
            association.handle_timeout(at.max(clock));
            self.stale = true;
            self.gather(now);
            if self
                .outgoing
                .iter()
                .any(|packet| gate::carries_data(packet))
            {
                return;
            }
        }
    }

    /// The next packet to encrypt, which stays until [`Sctp::pop_packet`].
    pub(crate) fn peek_packet(&mut self, now: Instant) -> Option<&Bytes> {
        if self.outgoing.is_empty() && self.stale {
            self.gather(now);
        }
        self.outgoing.front()
    }

    pub(crate) fn pop_packet(&mut self) {
        self.outgoing.pop_front();
    }

    fn gather(&mut self, now: Instant) {
        let clock = self.clock(now);
        self.stale = false;
        let Some((_, association)) = &mut self.association else {
            return;
        };
        while let Some(transmit) = association.poll_transmit(clock) {
            if let Payload::RawEncode(packets) = transmit.message {
                for packet in &packets {
                    if self.gate.note_sent(packet) {
                        self.read_since_sack = 0;
                    }
                    if let Some((_, answer @ None)) = &mut self.answered
                        && gate::is_init_ack(packet)
                    {
                        *answer = Some(packet.clone());
                    }
                }
                self.outgoing.extend(packets);
            }
        }
        // Nothing follows for now: without this the acknowledgement of a short message takes up to 200 ms.
        if let Some(last) = self.outgoing.back_mut()
            && let Some(asking) = gate::ask_for_sack(last)
        {
            *last = asking;
        }
        self.watch_timer(now);
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        if self.connected
            && let Some(stream) = self.early.pop()
        {
            return Some(Event::Readable(stream));
        }
        while let Some((_, association)) = &mut self.association {
            let Some(event) = association.poll() else {
                break;
            };
            match event {
                RtcEvent::Connected => {
                    self.connected = true;
                    return Some(Event::Connected);
                }
                RtcEvent::HandshakeFailed { .. } => {
                    self.lost.get_or_insert(Loss::Protocol);
                }
                RtcEvent::AssociationLost { reason, id } => {
                    if association.is_closed() {
                        self.lost
                            .get_or_insert(if self.gate.is_aborted() || is_reset(&reason) {
                                Loss::Remote
                            } else {
                                Loss::Protocol
                            });
                    } else {
                        return Some(Event::StreamClosed(id));
                    }
                }
                RtcEvent::Stream(StreamEvent::Readable { id }) => {
                    if self.connected {
                        return Some(Event::Readable(id));
                    }
                    if !self.early.contains(&id) {
                        self.early.push(id);
                    }
                }
                RtcEvent::Stream(StreamEvent::BufferedAmountReleased { id, n_bytes }) => {
                    return Some(Event::Released {
                        stream: id,
                        bytes: n_bytes,
                    });
                }
                _ => {}
            }
        }
        // An association begins closed; without streams nothing but its state tells that it ended.
        let ended =
            |association: &Association| association.is_closed() && !association.is_handshaking();
        if self.lost.is_none()
            && self
                .association
                .as_ref()
                .is_some_and(|(_, association)| ended(association))
        {
            self.lost = Some(Loss::Remote);
        }
        match self.lost {
            Some(loss) if !self.lost_told && !self.aborted => {
                self.lost_told = true;
                Some(Event::Lost(loss))
            }
            _ => None,
        }
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let (_, association) = self.association.as_ref()?;
        Some(association.rtt()).filter(|time| !time.is_zero())
    }

    fn stream(&mut self, stream: u16) -> Option<rtc_sctp::Stream<'_>> {
        self.association.as_mut()?.1.stream(stream).ok()
    }

    /// Opens the stream if it is not there yet.
    pub(crate) fn open(&mut self, stream: u16) -> Result<(), Refused> {
        let (_, association) = self.association.as_mut().ok_or(Refused)?;
        if stream >= STREAMS {
            return Err(Refused);
        }
        if association.stream(stream).is_err() {
            association
                .open_stream(stream, PayloadProtocolIdentifier::Binary)
                .map_err(|_| Refused)?;
        }
        Ok(())
    }

    pub(crate) fn set_reliability(&mut self, stream: u16, order: Order, limit: RetransmitLimit) {
        if let Some(mut stream) = self.stream(stream) {
            let (kind, value) = match limit {
                RetransmitLimit::None => (ReliabilityType::Reliable, 0),
                RetransmitLimit::Count(count) => (ReliabilityType::Rexmit, count),
                RetransmitLimit::Lifetime(milliseconds) => (ReliabilityType::Timed, milliseconds),
            };
            let _ = stream.set_reliability_params(order == Order::Unordered, kind, value);
        }
    }

    pub(crate) fn write(
        &mut self,
        now: Instant,
        stream: u16,
        kind: MessageKind,
        bytes: &Bytes,
    ) -> Result<(), Refused> {
        let clock = self.clock(now);
        let payload = match kind {
            MessageKind::Control => PayloadProtocolIdentifier::Dcep,
            MessageKind::Empty => PayloadProtocolIdentifier::BinaryEmpty,
            MessageKind::Data | MessageKind::TooLarge | MessageKind::Unknown => {
                PayloadProtocolIdentifier::Binary
            }
        };
        self.stream(stream)
            .ok_or(Refused)?
            .write_sctp(clock, bytes, payload)
            .map_err(|_| Refused)?;
        self.stale = true;
        Ok(())
    }

    /// Takes what can be read before a goodbye destroys it. A goodbye that turns out to be none gives no more memory away
    /// than a second window.
    fn set_unread_aside(&mut self) {
        let streams = match &self.association {
            Some((_, association)) => association.stream_ids(),
            None => return,
        };
        for stream in streams {
            while self.unread_bytes < self.receive_window
                && let Some((message, _)) = self.take(stream)
            {
                self.unread_bytes += message.bytes.len();
                self.unread.entry(stream).or_default().push_back(message);
            }
        }
    }

    /// Whether the association is over. What is unread can still be read.
    pub(crate) fn is_over(&self) -> bool {
        self.lost.is_some()
            || self.aborted
            || self
                .association
                .as_ref()
                .is_some_and(|(_, association)| self.connected && association.is_closed())
    }

    /// The next complete message of a stream. Messages over our limit are given empty with [`MessageKind::TooLarge`].
    pub(crate) fn read(&mut self, now: Instant, stream: u16) -> Option<Message> {
        if let Some(messages) = self.unread.get_mut(&stream)
            && let Some(message) = messages.pop_front()
        {
            self.unread_bytes -= message.bytes.len();
            return Some(message);
        }
        let (message, length) = self.take(stream)?;
        self.read_since_sack += length;
        self.open_window(now);
        Some(message)
    }

    /// A message from the association, and what it took of the window.
    fn take(&mut self, stream: u16) -> Option<(Message, usize)> {
        let limit = self.max_message_size;
        let chunks = self.stream(stream)?.read_sctp().ok()??;
        self.stale = true;
        let length = chunks.len();
        let kind = match chunks.ppi {
            PayloadProtocolIdentifier::Dcep => MessageKind::Control,
            PayloadProtocolIdentifier::Binary | PayloadProtocolIdentifier::String => {
                MessageKind::Data
            }
            PayloadProtocolIdentifier::BinaryEmpty | PayloadProtocolIdentifier::StringEmpty => {
                MessageKind::Empty
            }
            _ => MessageKind::Unknown,
        };
        let message = match chunks.to_payload(limit) {
            Ok(bytes) => Message {
                kind,
                bytes: bytes.freeze(),
            },
            Err(_) => Message {
                kind: MessageKind::TooLarge,
                bytes: Bytes::new(),
            },
        };
        Some((message, length))
    }

    /// Tells the other side that the window is open again, once a quarter of it was read after it had fallen below a half
    /// (RFC 9260 §6.2). An outdated FORWARD TSN to ourselves makes the association send a SACK (RFC 3758 §3.6).
    fn open_window(&mut self, now: Instant) {
        if self.is_over()
            || self.gate.advertised() >= self.receive_window / 2
            || self.read_since_sack < self.receive_window / 4
        {
            return;
        }
        if let Some(packet) = self.gate.outdated_forward_tsn() {
            self.read_since_sack = 0;
            let _ = self.feed(now, packet);
        }
    }

    pub(crate) fn reset(&mut self, now: Instant, stream: u16) {
        let clock = self.clock(now);
        if let Some(mut stream) = self.stream(stream) {
            let _ = stream.close(clock);
            self.stale = true;
        }
    }

    /// Ends the association; the ABORT waits in [`Sctp::peek_packet`], nothing before it is sent any more.
    pub(crate) fn abort(&mut self) {
        self.aborted = true;
        self.stale = true;
        self.outgoing.clear();
        if let Some((_, association)) = &mut self.association {
            let _ = association.abort();
        }
    }
}

/// Whether the other side ended the association in good order.
fn is_reset(reason: &AssociationError) -> bool {
    matches!(
        reason,
        AssociationError::Reset | AssociationError::AssociationClosed
    )
}

#[cfg(test)]
mod tests;
