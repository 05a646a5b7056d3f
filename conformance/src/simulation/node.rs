//! One client with its wire: what a driver of the client does, between its engine, its session and the wire.

mod checks;
mod server_end;

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use lkstream::Participant;
use lkstream::session::{self, Session};
use lkstream_engine::{
    Attributes, Capabilities, Engine, Event, IncomingId, ListenerId, Lost, OpenError, OpenOptions,
    Outcome, OutgoingId, Read, StreamKind, TopicFilter, UserMessage, Written,
};
use lkstream_proto::id::{Identity, ParticipantSid};
use lkstream_proto::packet::{Channel, DataPacket};
use lkstream_server::room::{self, MemberId, Room};

use crate::wire::{self, End, Lane, Path, Random};

use super::trace::Trace;
use super::work::{
    Confirmation, Ending, Fate, Length, Pace, Received, Sent, Stream, Way, attributes,
};
use super::{Client, Who};

/// The server closes a peer connection so long after the signal link, which says why: an abort would overtake that.
const CLOSES_AFTER_LINK: Duration = Duration::from_secs(1);

/// A client's state as its own side sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Not let in yet, or not connected.
    Joining,
    /// In the room with open channels.
    Active,
    /// Out.
    Ended(session::End),
}

pub(super) struct Node {
    pub(super) who: Who,
    pub(super) client: Client,
    pub(super) wire: Path,
    pub(super) engine: Engine,
    session: Session,
    session_at: Option<Instant>,
    signals: VecDeque<Bytes>,
    pub(super) presence: Presence,
    /// Everything is closed from this side.
    closed: bool,
    pub(super) sid: Option<ParticipantSid>,
    acknowledged: u64,
    pub(super) pace: Pace,
    pub(super) received: Vec<Received>,
    pub(super) receipts: Vec<Confirmation>,
    pub(super) unclaimed: u64,
    pub(super) messages: Vec<UserMessage>,
    pub(super) faults: u64,
    /// Reliable packets that arrived, by the sid of their publisher.
    pub(super) packets: u64,

    // The server's end.
    pub(super) member: Option<MemberId>,
    server_signals: VecDeque<Bytes>,
    signals_given: u64,
    signals_written: u64,
    server_acknowledged: u64,
    random: Random,
    /// Bytes of packets that were sent once more.
    repeated: u64,
    server_closing: bool,
    server_link_closed: bool,
    /// When the server's end closes the peer connection at the latest.
    server_close: Option<Instant>,
    pub(super) packets_wait: bool,
}

/// Where a node finds the rest of the world.
pub(super) struct World<'a> {
    pub(super) now: Instant,
    pub(super) since: Duration,
    pub(super) trace: &'a mut Trace,
    pub(super) sent: &'a mut Vec<Sent>,
}

impl Node {
    pub(super) fn new(who: Who, client: Client, now: Instant, seed: u64, member: MemberId) -> Node {
        let wire = Path::new(client.carrier, client.wire.clone(), seed);
        let mut engine = Engine::new(client.engine.clone(), seed ^ 0x5eed);
        for kind in [StreamKind::Text, StreamKind::Bytes] {
            for filter in &client.topics {
                let _: ListenerId = engine.listen(kind, filter.clone());
            }
        }
        Node {
            who,
            wire,
            engine,
            session: Session::new(now, client.session.clone()),
            session_at: Some(now),
            signals: VecDeque::new(),
            presence: Presence::Joining,
            closed: false,
            sid: None,
            acknowledged: 0,
            pace: client.pace,
            received: Vec::new(),
            receipts: Vec::new(),
            unclaimed: 0,
            messages: Vec::new(),
            faults: 0,
            packets: 0,
            member: Some(member),
            server_signals: VecDeque::new(),
            signals_given: 0,
            signals_written: 0,
            server_acknowledged: 0,
            random: Random::new(seed ^ 0xd70b),
            repeated: 0,
            server_closing: false,
            server_link_closed: false,
            server_close: None,
            packets_wait: false,
            client,
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.client.identity
    }

    /// When the next timer of this node is due, and whose it is.
    pub(super) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let reads = self
            .received
            .iter()
            .filter_map(|received| received.next_read)
            .min();
        [
            (self.wire.poll_timeout(), "the wire"),
            (self.engine.poll_timeout(), "the engine"),
            (self.session_at, "the session"),
            (reads, "a reader"),
            (self.server_close, "the server's end"),
        ]
        .into_iter()
        .filter_map(|(at, whose)| Some((at?, whose)))
        .min_by_key(|(at, _)| *at)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.wire.handle_timeout(now);
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
        }
        if self.session_at.is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
            self.session_at = None;
        }
        for received in &mut self.received {
            if received.next_read.is_some_and(|at| at <= now) {
                received.next_read = None;
                received.readable = true;
            }
        }
    }

    pub(super) fn leave(&mut self, now: Instant) {
        self.tell_session(now, session::Input::Leave);
    }

    pub(super) fn open(
        &mut self,
        world: &mut World<'_>,
        stream: Stream,
    ) -> Result<usize, OpenError> {
        let mut options = OpenOptions::new(
            stream.content.clone(),
            stream.topic.clone(),
            SystemTime::UNIX_EPOCH + world.since,
        );
        options.id.clone_from(&stream.id);
        options.total_length = match stream.length {
            Length::Declared => Some(stream.payload.len() as u64),
            Length::Open => None,
        };
        options.attributes = attributes(world.sent.len());
        options.destinations.clone_from(&stream.destinations);
        options.sender_identity.clone_from(&stream.sender_identity);
        options.receipts = stream.receipts;
        let handle = match stream.way {
            Way::Pieces => self.engine.open(options)?,
            Way::Whole => self.engine.send(options, stream.payload.clone())?,
        };
        let id = match self.engine.outgoing(handle) {
            Some(outgoing) => outgoing.info().id.clone(),
            None => panic!("a stream that was opened is not known"),
        };
        world.trace.record(
            world.since,
            format_args!("{} opens {id} {}", self.who, stream.payload.len()),
        );
        world.sent.push(Sent {
            by: self.who,
            id,
            written: match stream.way {
                Way::Pieces => 0,
                Way::Whole => stream.payload.len(),
            },
            ended: stream.way == Way::Whole,
            fate: Fate::Running,
            handle,
            blocked: false,
            last_state: None,
            opened: world.now,
            stream,
        });
        Ok(world.sent.len() - 1)
    }

    // ---- the client's end

    /// Does all that can be done now at the client's end; says whether anything was.
    pub(super) fn drive_client(&mut self, world: &mut World<'_>) -> bool {
        let now = world.now;
        let mut busy = false;
        while let Some(event) = self.wire.poll_event(End::Client) {
            busy = true;
            match event {
                wire::Event::Open => self.tell_session(now, session::Input::TransportUp),
                wire::Event::Closed(cause) => {
                    // What had arrived before is still worth reading.
                    self.read_packets(world);
                    let cause = format!("{cause:?}");
                    self.tell_session(now, session::Input::TransportLost { cause });
                }
                wire::Event::SignalClosed => {
                    self.read_signals(now);
                    let cause = "closed".to_owned();
                    self.tell_session(now, session::Input::SignallingLost { cause });
                }
                wire::Event::Readable(_) | wire::Event::Writable(_) => {}
            }
        }
        busy |= self.read_packets(world);
        busy |= self.read_signals(now);
        busy |= self.poll_session(world);
        busy |= flush(&mut self.wire, now, End::Client, &mut self.signals);
        if !self.closed && matches!(self.presence, Presence::Ended(_)) && self.signals.is_empty() {
            self.closed = true;
            self.wire.close(now, End::Client);
            self.wire.close_signal(now, End::Client);
            busy = true;
        }
        let acknowledged = self.wire.acknowledged(End::Client, Lane::Reliable);
        if acknowledged != self.acknowledged {
            self.acknowledged = acknowledged;
            self.engine.acknowledged(acknowledged);
        }
        busy |= self.poll_engine(world);
        busy |= self.read_streams(world);
        busy |= self.write_streams(world);
        busy |= self.send_packets(world);
        busy
    }

    fn tell_session(&mut self, now: Instant, input: session::Input) {
        if self.session.handle_input(now, input).is_err() {
            self.faults += 1;
        }
        self.session_at = Some(now);
    }

    fn read_signals(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(frame) = self.wire.receive(now, End::Client, Lane::Signal) {
            busy = true;
            self.tell_session(now, session::Input::Frame(frame));
        }
        busy
    }

    fn poll_session(&mut self, world: &mut World<'_>) -> bool {
        let now = world.now;
        let mut busy = false;
        loop {
            match self.session.poll_output() {
                session::Output::Send(request) => self.signals.push_back(request.to_bytes()),
                session::Output::Event(event) => self.handle_session_event(world, event),
                session::Output::Timeout { at, .. } => {
                    self.session_at = at.map(|at| at.max(now));
                    return busy;
                }
            }
            busy = true;
        }
    }

    fn handle_session_event(&mut self, world: &mut World<'_>, event: session::Event) {
        let now = world.now;
        match event {
            session::Event::Joined(local) => {
                world.trace.record(
                    world.since,
                    format_args!("{} joined {}", self.who, local.sid()),
                );
                self.sid = Some(local.sid().clone());
                // The answer to the client's offer comes with the join response.
                self.wire.connect(now);
                self.engine
                    .set_local(now, local.identity().clone(), local.sid().clone());
                let others: Vec<Participant> = self.session.others().cloned().collect();
                others.iter().for_each(|other| self.note(other));
            }
            session::Event::ParticipantActive(participant)
                if Some(participant.sid()) == self.sid.as_ref()
                    && self.presence == Presence::Joining =>
            {
                self.presence = Presence::Active;
            }
            session::Event::ParticipantJoined(other)
            | session::Event::ParticipantUpdated(other) => {
                self.note(&other);
            }
            session::Event::ParticipantLeft(participant) => {
                world.trace.record(
                    world.since,
                    format_args!("{} sees {} leave", self.who, participant.identity()),
                );
                self.engine
                    .participant_left(now, participant.sid(), participant.identity());
            }
            session::Event::Ended(end) => {
                world
                    .trace
                    .record(world.since, format_args!("{} ended {end:?}", self.who));
                self.engine.connection_lost(match &end {
                    session::End::Left => Lost::Left,
                    session::End::ByServer { reason, .. } => Lost::ClosedByServer {
                        reason: format!("{reason:?}").into(),
                    },
                    other => Lost::Transport {
                        cause: format!("{other:?}").into(),
                    },
                });
                self.presence = Presence::Ended(end);
            }
            _ => {}
        }
    }

    /// Tells the engine what streams to somebody may look like.
    fn note(&mut self, other: &Participant) {
        let capabilities = Capabilities {
            client_protocol: other.client_protocol(),
            inflates: other.inflates(),
        };
        self.engine
            .participant(other.identity().clone(), capabilities);
    }

    fn read_packets(&mut self, world: &mut World<'_>) -> bool {
        let mut busy = false;
        if matches!(self.presence, Presence::Ended(_)) {
            return false;
        }
        while !self.engine.is_over_budget() {
            let Some(packet) = self.wire.receive(world.now, End::Client, Lane::Reliable) else {
                break;
            };
            busy = true;
            self.take_packet(world, Channel::Reliable, packet);
        }
        while let Some(packet) = self.wire.receive(world.now, End::Client, Lane::Lossy) {
            busy = true;
            self.take_packet(world, Channel::Lossy, packet);
        }
        busy
    }

    fn take_packet(&mut self, world: &mut World<'_>, channel: Channel, packet: Bytes) {
        self.packets += 1;
        world.trace.record(
            world.since,
            format_args!("{} takes {channel:?} {}", self.who, packet.len()),
        );
        match DataPacket::from_bytes(packet.clone()) {
            Ok(decoded) => {
                let to = &decoded.destination_identities;
                assert!(
                    to.is_empty() || to.iter().any(|to| to == self.identity().as_str()),
                    "{} got a packet for {to:?}",
                    self.who
                );
                assert!(
                    self.sid
                        .as_ref()
                        .is_none_or(|sid| sid.as_str() != decoded.participant_sid),
                    "{} got its own packet",
                    self.who
                );
            }
            Err(error) => panic!("{} got a packet that does not decode: {error}", self.who),
        }
        if let Err(fault) = self.engine.handle_packet(world.now, channel, packet) {
            world
                .trace
                .record(world.since, format_args!("{} fault {fault}", self.who));
            self.faults += 1;
        }
    }

    fn poll_engine(&mut self, world: &mut World<'_>) -> bool {
        let mut busy = false;
        while let Some(event) = self.engine.poll_event() {
            busy = true;
            match event {
                Event::Opened { id, info, .. } => {
                    world.trace.record(
                        world.since,
                        format_args!("{} opened {} {:?}", self.who, info.id, info.publisher),
                    );
                    self.received.push(Received {
                        info,
                        bytes: Vec::new(),
                        end: None,
                        ended: None,
                        handle: id,
                        readable: true,
                        next_read: None,
                        portion: 0,
                    });
                }
                Event::Readable(id) => self.mark_readable(id),
                Event::Writable(id) => {
                    if let Some(sent) = find(world.sent, self.who, id) {
                        sent.blocked = false;
                    }
                }
                Event::Flushed(id) => self.settle(world, id, Fate::Flushed),
                Event::OutgoingLost(id) => self.settle(world, id, Fate::Lost),
                Event::GivenUp(id) => self.settle(world, id, Fate::GivenUp),
                Event::Unclaimed(_) => self.unclaimed += 1,
                Event::Receipt {
                    stream,
                    from,
                    status,
                    bytes_received,
                    ..
                } => self.receipts.push(Confirmation {
                    stream,
                    from,
                    status,
                    bytes: bytes_received,
                }),
                Event::UserPacket(message) => self.messages.push(message),
                _ => {}
            }
        }
        busy
    }

    fn mark_readable(&mut self, id: IncomingId) {
        if let Some(received) = self
            .received
            .iter_mut()
            .find(|received| received.handle == id)
        {
            received.readable = true;
        }
    }

    fn settle(&mut self, world: &mut World<'_>, id: OutgoingId, fate: Fate) {
        let Some(sent) = find(world.sent, self.who, id) else {
            panic!("{} heard of a stream it never sent", self.who);
        };
        assert!(
            sent.fate == Fate::Running,
            "{} ended {} twice: {:?}, {fate:?}",
            self.who,
            sent.id,
            sent.fate
        );
        world.trace.record(
            world.since,
            format_args!("{} {} {fate:?}", self.who, sent.id),
        );
        if let Some(outgoing) = self.engine.outgoing(id) {
            sent.last_state = Some(outgoing.state());
            outgoing.release();
        }
        sent.fate = fate;
    }

    fn read_streams(&mut self, world: &mut World<'_>) -> bool {
        let mut busy = false;
        let Node {
            engine,
            received,
            client,
            pace,
            who,
            ..
        } = self;
        let lost = matches!(self.presence, Presence::Ended(_));
        for received in received
            .iter_mut()
            .filter(|received| received.end.is_none())
        {
            // A reader that was slow looks up when the connection is gone.
            if *pace == Pace::Stopped && !lost {
                continue;
            }
            while received.readable && received.end.is_none() && received.next_read.is_none() {
                busy = true;
                let Some(mut incoming) = engine.incoming(received.handle) else {
                    panic!("{who} cannot read a stream that it did not release");
                };
                assert!(
                    incoming.unread()
                        <= client.engine.reader_budget + lkstream_engine::limits::OVERRUN_BYTES,
                    "{who} holds {} unread bytes of one stream",
                    incoming.unread()
                );
                match incoming.read(world.now) {
                    Read::Piece(piece) => {
                        assert!(!piece.is_empty() && piece.len() <= 64_000);
                        received.bytes.extend_from_slice(&piece);
                        received.portion += piece.len();
                        if let Pace::Portions { bytes, every } = pace
                            && received.portion >= *bytes
                        {
                            received.portion = 0;
                            received.next_read = Some(world.now + *every);
                        }
                    }
                    Read::Pending => received.readable = false,
                    Read::Finished(summary) => {
                        assert_eq!(incoming.read(world.now), Read::Finished(summary.clone()));
                        incoming.confirm(Outcome::Complete);
                        received.end = Some(Ok(summary));
                    }
                    Read::Failed(error) => {
                        assert_eq!(incoming.read(world.now), Read::Failed(error.clone()));
                        received.end = Some(Err(error));
                    }
                }
                if let Some(end) = &received.end {
                    received.ended = Some(world.now);
                    world.trace.record(
                        world.since,
                        format_args!(
                            "{who} {} {} {end:?}",
                            received.info.id,
                            received.bytes.len()
                        ),
                    );
                    if let Some(incoming) = engine.incoming(received.handle) {
                        incoming.release(world.now);
                    }
                }
            }
        }
        busy
    }

    fn write_streams(&mut self, world: &mut World<'_>) -> bool {
        let mut busy = false;
        for sent in world.sent.iter_mut() {
            if sent.by != self.who || sent.fate != Fate::Running || sent.ended {
                continue;
            }
            while !sent.blocked && sent.written < sent.stream.payload.len() {
                let piece = sent.next_write();
                let Some(mut outgoing) = self.engine.outgoing(sent.handle) else {
                    break;
                };
                busy = true;
                let size = piece.len();
                match outgoing.write(piece) {
                    Ok(Written::All) => sent.written += size,
                    Ok(Written::Blocked { taken }) => {
                        assert!(taken < size);
                        sent.written += taken;
                        sent.blocked = true;
                    }
                    Err(error) => {
                        // The loss is told by an event as well.
                        if !matches!(error, lkstream_engine::WriteError::ConnectionLost(_)) {
                            sent.fate = Fate::Refused(error);
                        }
                        sent.ended = true;
                    }
                }
                if sent.ended {
                    break;
                }
            }
            if sent.written == sent.stream.payload.len() && !sent.ended {
                if let Some(mut outgoing) = self.engine.outgoing(sent.handle) {
                    match &sent.stream.ending {
                        // The loss of the connection is told by an event.
                        Ending::Close => drop(outgoing.close(Attributes::new())),
                        Ending::Abort(reason) => outgoing.abort(reason),
                        Ending::Hold => {}
                    }
                }
                sent.ended = true;
                busy = true;
            }
        }
        busy
    }

    fn send_packets(&mut self, world: &mut World<'_>) -> bool {
        let mut busy = false;
        while self.wire.room(End::Client, Lane::Reliable) > 0 {
            let Some(packet) = self.engine.poll_packet() else {
                break;
            };
            busy = true;
            let lane = lane(packet.channel);
            let size = packet.bytes.len();
            if let Err(error) = self.wire.send(world.now, End::Client, lane, packet.bytes) {
                assert!(
                    lane == Lane::Lossy,
                    "{} could not send {size} bytes: {error:?}",
                    self.who
                );
            }
        }
        busy
    }
}

fn lane(channel: Channel) -> Lane {
    match channel {
        Channel::Reliable => Lane::Reliable,
        Channel::Lossy => Lane::Lossy,
    }
}

fn find(sent: &mut [Sent], by: Who, handle: OutgoingId) -> Option<&mut Sent> {
    sent.iter_mut()
        .find(|sent| sent.by == by && sent.handle == handle)
}

/// What a packet is refused for is the trace's business.
fn tell(room: &mut Room, now: Instant, input: room::Input) {
    let _ = room.handle_input(now, input);
}

fn flush(wire: &mut Path, now: Instant, end: End, queue: &mut VecDeque<Bytes>) -> bool {
    let mut busy = false;
    while let Some(message) = queue.pop_front() {
        match wire.send(now, end, Lane::Signal, message.clone()) {
            Ok(()) => busy = true,
            Err(wire::SendError::Full) => {
                queue.push_front(message);
                break;
            }
            // Nobody will read it any more.
            Err(_) => busy = true,
        }
    }
    busy
}

/// All topics of a simulation.
pub(super) fn every_topic() -> Vec<TopicFilter> {
    vec![TopicFilter::Any]
}
