//! All streams of one participant.

mod calling;
mod opening;
mod publishing;
mod receiving;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_proto::id::{Identity, ParticipantSid, StreamId};
use lkstream_proto::limits::{PACKET_BYTES, SEQUENCE_MEMORY};
use lkstream_proto::packet::{Channel, DataPacket, Packet, UserPacket, Value};
use lkstream_proto::receipt::{self, Receipt, Status};
use thiserror::Error;

use crate::config::Config;
use crate::delivery::{Duplicates, ReplayError};
use crate::encryption::{Cipher, Keyring, Seal};
use crate::event::Event;
use crate::fault::{Counters, PeerFault, Rule};
use crate::incoming::{self, Incoming, IncomingId, ReadError};
use crate::limits;
use crate::listener::{ListenerId, Listeners, TopicFilter};
use crate::outgoing::{self, MissedCause, Outgoing, OutgoingId};
use crate::participants::{Capabilities, Participants};
use crate::rpc::Rpc;
use crate::stream::{Content, StreamKind, cut};

/// Why the connection ended, as the driver says it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Lost {
    /// We left.
    #[error("we left the room")]
    Left,
    /// The server ended it.
    #[error("the server closed the connection: {reason}")]
    ClosedByServer {
        /// The server's reason.
        reason: Arc<str>,
    },
    /// The transport failed; the cause is a whole sentence.
    #[error("{cause}")]
    Transport {
        /// What failed.
        cause: Arc<str>,
    },
    /// The session was replaced by a new one, which starts its streams anew.
    #[error("the session was replaced by a new one")]
    Restarted,
}

/// Where the engine is with its room.
#[derive(Debug)]
enum Session {
    /// Not joined: packets are held.
    Waiting,
    /// Joined under this identity and sid.
    Joined {
        identity: Identity,
        sid: ParticipantSid,
    },
    /// The connection is gone.
    Lost(Lost),
}

/// The incoming and outgoing streams of one participant: no socket, no clock, no task.
///
/// Feed it with [`handle_packet`](Engine::handle_packet), [`handle_timeout`](Engine::handle_timeout),
/// [`acknowledged`](Engine::acknowledged) and the calls about streams; after each, drain
/// [`poll_event`](Engine::poll_event) until `None`, take [`poll_packet`](Engine::poll_packet) while
/// the transport has room, and arm a timer for [`poll_timeout`](Engine::poll_timeout). Before each
/// packet taken from the reliable channel ask [`is_over_budget`](Engine::is_over_budget): while it
/// says so, leave the channel unread.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) incoming: incoming::Table,
    pub(crate) outgoing: outgoing::Table,
    pub(crate) participants: Participants,
    session: Session,
    /// Packets that came before the room was joined.
    held: VecDeque<(Channel, Bytes)>,
    held_bytes: usize,
    duplicates: Duplicates,
    listeners: Listeners,
    events: VecDeque<Event>,
    /// What each event of no stream among `events` is charged, and all of them.
    loose: VecDeque<usize>,
    loose_bytes: usize,
    counters: Counters,
    /// Who left a short time ago, and when.
    departing: VecDeque<(Instant, Identity)>,
    random: u64,
    cipher: Option<Cipher>,
    rpc: Rpc,
    /// Bytes that a packet of no stream may have.
    packet_limit: usize,
}

impl Engine {
    /// An engine without a room. `random` seeds the ids of its streams and the vectors of its
    /// encryption, so it must come from a good source and differ from everybody else's.
    pub fn new(config: Config, random: u64) -> Engine {
        Engine {
            incoming: incoming::Table::new(&config),
            outgoing: outgoing::Table::new(&config),
            participants: Participants::default(),
            session: Session::Waiting,
            held: VecDeque::new(),
            held_bytes: 0,
            duplicates: Duplicates::new(SEQUENCE_MEMORY, limits::PUBLISHERS_REMEMBERED),
            listeners: Listeners::default(),
            events: VecDeque::new(),
            loose: VecDeque::new(),
            loose_bytes: 0,
            counters: Counters::default(),
            departing: VecDeque::new(),
            random,
            cipher: None,
            rpc: Rpc::new(&config),
            packet_limit: PACKET_BYTES,
            config,
        }
    }

    /// Says who we are, after joining or after a restart. Packets that came before the first time
    /// are handled now, in order.
    ///
    /// Another sid than before is a new session: what the old one had open ends with
    /// [`Lost::Restarted`], unless [`connection_lost`](Engine::connection_lost) came first, and
    /// sequence numbers start at 1 again.
    pub fn set_local(&mut self, now: Instant, identity: Identity, sid: ParticipantSid) {
        if matches!(&self.session, Session::Joined { sid: old, .. } if *old != sid) {
            self.connection_lost(Lost::Restarted);
        }
        self.session = Session::Joined { identity, sid };
        self.held_bytes = 0;
        for (channel, packet) in std::mem::take(&mut self.held) {
            // What these packets break is counted.
            let _ = self.handle_packet(now, channel, packet);
        }
    }

    /// Takes in a packet from `channel`.
    ///
    /// # Errors
    /// A [`PeerFault`] when the packet broke a rule and was dropped. That is no failure of the
    /// engine; it is counted, and a stream that failed because of it tells its reader.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        channel: Channel,
        packet: Bytes,
    ) -> Result<(), PeerFault> {
        let received = match &self.session {
            Session::Waiting => self.hold(channel, packet),
            Session::Joined { .. } => self.receive(now, channel, packet),
            Session::Lost(_) => {
                self.counters.other_packets += 1;
                Ok(())
            }
        };
        self.read_calls(now);
        self.counters.faults += u64::from(received.is_err());
        received
    }

    /// Lets time pass. Call at [`poll_timeout`](Engine::poll_timeout), or any time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let expired = self.incoming.expire(now);
        self.counters.slow_readers += expired.slow;
        self.counters.stalled_listeners += expired.stalled;
        for id in expired.failed {
            self.wake(id);
            self.tell_unread(id);
        }
        self.read_calls(now);
        self.expire_calls(now);
        while self.next_departure().is_some_and(|at| at <= now) {
            self.depart();
        }
    }

    /// When [`handle_timeout`](Engine::handle_timeout) wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let streams = self.incoming.next_deadline();
        let calls = self.rpc.calls.next_deadline();
        let departure = self.next_departure();
        streams.into_iter().chain(calls).chain(departure).min()
    }

    /// When what the first of those who left has sent must have arrived.
    fn next_departure(&self) -> Option<Instant> {
        let (at, _) = self.departing.front()?;
        self.incoming.arrived_by(*at, self.config.leave_grace)
    }

    fn depart(&mut self) {
        if let Some((_, identity)) = self.departing.pop_front() {
            self.events.push_back(Event::Departed(identity));
        }
    }

    /// The next packet to send. Call only while the transport has room: what is not polled can
    /// still be overtaken by a small stream.
    ///
    /// `None` also while [`Config::max_unacknowledged`] bytes wait for their acknowledgement, and
    /// while a keyring is set that holds no key to seal with.
    pub fn poll_packet(&mut self) -> Option<Packet> {
        let Session::Joined { identity, .. } = &self.session else {
            return None;
        };
        let seal = self.cipher.as_mut().map(|cipher| Seal { cipher, identity });
        let bytes = self.outgoing.next_packet(&mut self.events, seal)?;
        Some(Packet {
            channel: Channel::Reliable,
            bytes,
        })
    }

    /// The same engine, sealing everything that can be sealed and opening what others sealed
    /// (protocol.md §5.8). For its whole life: keys may change, that it encrypts may not.
    #[must_use]
    pub fn encrypted(mut self, keyring: Keyring) -> Engine {
        self.cipher = Some(Cipher::new(keyring, self.draw()));
        self
    }

    /// The keyring in use, to change its keys.
    pub fn keyring(&mut self) -> Option<&mut Keyring> {
        self.cipher.as_mut().map(|cipher| &mut cipher.keyring)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if is_loose(&event) {
            self.loose_bytes -= self.loose.pop_front().unwrap_or_default();
        }
        self.rpc.unpolled -= usize::from(matches!(event, Event::CallEnded { .. }));
        Some(event)
    }

    /// The transport had `total` bytes of the packets polled for the reliable channel
    /// acknowledged, counted since [`set_local`](Engine::set_local) or
    /// [`resume`](Engine::resume).
    pub fn acknowledged(&mut self, total: u64) {
        self.outgoing.acknowledged(total, &mut self.events);
    }

    /// The reliable channel runs over a new association, whose other side has everything up to
    /// sequence number `last`: what is above is sent again, under its old numbers, and
    /// [`acknowledged`](Engine::acknowledged) counts from zero. `silence` is how long nothing was
    /// acknowledged while something waited for it.
    ///
    /// # Errors
    /// [`ReplayError`] when the buffer no longer reaches back that far, or receivers may have
    /// forgotten what they have; then only a restart helps.
    pub fn resume(&mut self, last: u32, silence: Duration) -> Result<(), ReplayError> {
        self.outgoing.resume(last, silence, &mut self.events)
    }

    /// Whether readers, or events that nobody polled, hold so much that the driver must leave
    /// the reliable channel unread until some is taken.
    pub fn is_over_budget(&self) -> bool {
        self.incoming.is_over_budget()
            || self.loose.len() >= limits::LOOSE_EVENTS
            || self.loose_bytes >= self.config.reader_budget
            || self.held_bytes >= self.config.connection_budget
    }

    /// Somebody else is in the room, or has changed: what streams to them may look like
    /// (protocol.md §5.3). Streams already open stay as they are.
    pub fn participant(&mut self, identity: Identity, capabilities: Capabilities) {
        self.participants.set(identity, capabilities);
    }

    /// What somebody's client understands; `None` when nobody of that identity is known.
    pub fn capabilities(&self, identity: &Identity) -> Option<Capabilities> {
        self.participants.get(identity)
    }

    /// Somebody left. Their open streams fail once no chunk has come for the grace time. Our streams
    /// that have no other recipient are given up at once.
    pub fn participant_left(&mut self, now: Instant, sid: &ParticipantSid, identity: &Identity) {
        self.participants.remove(identity);
        self.outgoing
            .miss(None, identity, &MissedCause::Left, &mut self.events);
        if self.departing.len() >= limits::DEPARTED {
            self.depart();
        }
        self.departing.push_back((now, identity.clone()));
        self.incoming.participant_left(now, sid, identity);
        self.caller_left(now, identity);
    }

    /// The connection is gone: ends every stream, both ways. What arrived can still be read.
    pub fn connection_lost(&mut self, cause: Lost) {
        for id in self
            .incoming
            .fail_all(&ReadError::ConnectionLost(cause.clone()))
        {
            if !self.rpc.readings.contains_key(&id) {
                self.events.push_back(Event::Readable(id));
            }
        }
        self.calls_lost(&cause);
        self.outgoing.connection_lost(&cause, &mut self.events);
        self.participants.clear();
        self.departing.clear();
        self.held.clear();
        self.held_bytes = 0;
        self.session = Session::Lost(cause);
    }

    /// Last sequence number received of each publisher, for the sync state of a resume
    /// (protocol.md §2.15).
    pub fn receive_states(&self) -> impl Iterator<Item = (&ParticipantSid, u32)> {
        self.duplicates.states()
    }

    /// What was dropped or ignored so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// From now on takes streams of this kind whose topic fits. The most specific listener gets
    /// a stream. Of several as specific each gets it, as an incoming stream of its own with its
    /// own place among those that may exist, budget and end; the payload is shared. A receipt says
    /// that the stream is complete once one of them has confirmed it, and that it failed once all
    /// were released without.
    pub fn listen(&mut self, kind: StreamKind, filter: TopicFilter) -> ListenerId {
        self.listeners.add(kind, filter)
    }

    /// Takes no new streams for this listener; those already open go on.
    pub fn unlisten(&mut self, listener: ListenerId) {
        self.listeners.remove(listener);
    }

    /// An incoming stream; `None` when it was released.
    pub fn incoming(&mut self, id: IncomingId) -> Option<Incoming<'_>> {
        Incoming::of(self, id)
    }

    /// An outgoing stream; `None` when it was released.
    pub fn outgoing(&mut self, id: OutgoingId) -> Option<Outgoing<'_>> {
        Outgoing::of(self, id)
    }

    /// Keeps a packet until the room is joined.
    fn hold(&mut self, channel: Channel, packet: Bytes) -> Result<(), PeerFault> {
        let charge = packet.len() + limits::QUEUED_OVERHEAD_BYTES;
        let unread = self.held_bytes + charge;
        let budget = self.config.connection_budget;
        if unread > budget.saturating_add(limits::OVERRUN_BYTES) {
            return Err(fault(Rule::OverBudget { unread, budget }, None));
        }
        self.held_bytes = unread;
        self.held.push_back((channel, packet));
        Ok(())
    }

    /// Queues an event of no stream, unless too many wait. It is charged with its whole packet,
    /// which what is kept of it may be a slice of.
    fn push_loose(&mut self, event: Event, packet: usize) {
        let charge = packet + (1 + parts(&event)) * limits::QUEUED_OVERHEAD_BYTES;
        if self.loose.len() >= 2 * limits::LOOSE_EVENTS
            || self.loose_bytes + charge
                > self
                    .config
                    .reader_budget
                    .saturating_add(limits::OVERRUN_BYTES)
        {
            self.counters.dropped_events += 1;
            return;
        }
        self.loose.push_back(charge);
        self.loose_bytes += charge;
        self.events.push_back(event);
    }

    /// Tells the reader of a stream that something changed, if it waits.
    fn wake(&mut self, id: IncomingId) {
        if let Some(stream) = self.incoming.get_mut(id)
            && std::mem::take(&mut stream.waiting)
        {
            if self.rpc.readings.contains_key(&id) {
                self.rpc.ready.push(id);
            } else {
                self.events.push_back(Event::Readable(id));
            }
        }
    }

    /// Queues a receipt for the publisher of a stream.
    pub(crate) fn queue_receipt(&mut self, id: IncomingId, status: Status, reason: &str) {
        let Some(stream) = self.incoming.get(id) else {
            return;
        };
        let (to, id) = (stream.publisher.clone(), stream.info.id.clone());
        let bytes = stream.delivered();
        self.send_receipt(&to, &id, status, bytes, reason);
    }

    /// Queues a receipt for `to` about a stream of theirs.
    fn send_receipt(
        &mut self,
        to: &Identity,
        stream: &StreamId,
        status: Status,
        bytes_received: u64,
        reason: &str,
    ) {
        let Session::Joined { identity, sid } = &self.session else {
            return;
        };
        if to.is_empty() {
            return;
        }
        let receipt = Receipt {
            stream_id: stream.as_str().to_owned(),
            status: status.into(),
            bytes_received,
            reason: cut(reason, limits::RECEIPT_REASON_BYTES).to_owned(),
        };
        let user = UserPacket {
            payload: receipt.to_bytes(),
            topic: Some(receipt::TOPIC.to_owned()),
            ..UserPacket::default()
        };
        let packet = DataPacket {
            participant_identity: identity.as_str().to_owned(),
            participant_sid: sid.as_str().to_owned(),
            destination_identities: vec![to.as_str().to_owned()],
            value: Some(Value::User(user)),
            ..DataPacket::default()
        };
        if !self.outgoing.queue_control(packet) {
            self.counters.dropped_receipts += 1;
        }
    }
}

/// Whether an event is of no stream. Events of streams are bounded by the number of streams.
fn is_loose(event: &Event) -> bool {
    matches!(
        event,
        Event::UserPacket(_)
            | Event::Receipt { .. }
            | Event::Unclaimed(_)
            | Event::IncomingFailed { .. }
            | Event::SipDtmf { .. }
            | Event::Chat { .. }
            | Event::Transcription { .. }
    )
}

/// Parts of an event that are kept one by one, each larger in memory than on the wire.
fn parts(event: &Event) -> usize {
    match event {
        Event::Transcription { transcription, .. } => transcription.segments.len(),
        Event::Unclaimed(info) | Event::IncomingFailed { info, .. } => match &info.content {
            Content::Text { attachments, .. } => info.attributes.len() + attachments.len(),
            Content::Bytes { .. } => info.attributes.len(),
        },
        _ => 0,
    }
}

fn fault(rule: Rule, stream: Option<&str>) -> PeerFault {
    PeerFault {
        rule,
        stream: stream.map(StreamId::from),
    }
}
