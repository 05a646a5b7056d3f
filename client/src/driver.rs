//! The one task that owns a room's connection: WebSocket, UDP socket and peer connection, and that moves packets
//! between them and the engine and session behind the [`Shared`] mutex.
//!
//! ```text
//!                       close          drained         server is done
//!   Starting ----> Running ----> Draining ----> Leaving ----> Closing ----> Gone
//!       |             |                                          ^  last words
//!       +-------------+------------------------------------------+  on both connections
//!                           lost, sent away
//! ```
//! Each poll does rounds of a bounded amount of work until nothing moves. The mutex is held once a round, for the
//! exchange of packets; sockets and encryption run outside of it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use lkstream_proto::packet::{Channel, Packet};
use lkstream_transport::{
    Cause, ChannelGroup, ChannelId, Event as PeerEvent, Peer, SendError, Transmit,
};
use tokio::time::Sleep;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::datagrams::Datagrams;
use crate::dropped::DroppedPackets;
use crate::events::Event;
use crate::rpc;
use crate::session::{End, Event as SessionEvent, Input, Output};
use crate::shared::{Shared, State};
use crate::upgrade::WebSocket;
use crate::{ConnectError, Disconnected};

/// How long a room that closes sends what is queued (ARCHITECTURE.md, "Leaving").
const LINGER: Duration = Duration::from_secs(3);

/// How long the server may take to close after our leave. Closing the peer connection before would take away what its
/// SCTP has acknowledged and its room has not read yet.
const SERVER_CLOSES: Duration = Duration::from_secs(1);

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// Rounds per poll, after which other tasks get their turn.
const ROUNDS: usize = 16;

/// Work of one kind per round.
const SIGNALLING_FRAMES: usize = 32;
const SIGNALLING_BYTES: usize = 256 * 1024;
const RECEIVE_BATCHES: usize = 4;
const SEND_BATCHES: usize = 32;
const PACKETS: usize = 256;

/// How long packets are made and handed to the peer connection in one round.
const HANDING: Duration = Duration::from_millis(2);

/// Signalling messages that wait for the WebSocket; a server that reads so little is gone. The session writes one for
/// each ping, which are a second apart at least.
const REQUESTS: usize = 64;

/// Candidates kept until the answer is there.
const EARLY_CANDIDATES: usize = 64;

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Starting,
    Running,
    Draining { until: Instant },
    Leaving { until: Instant },
    Closing { until: Instant },
    Gone,
}

/// The driver of one room; see the module.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    websocket: WebSocket,
    datagrams: Datagrams,
    peer: Peer,
    stage: Stage,
    /// How the session ended.
    end: Option<End>,
    reliable: ChannelGroup,
    lossy: ChannelGroup,
    /// Channels that carry nothing we know.
    others: Vec<ChannelId>,
    is_up: bool,
    /// Candidates that came before the answer; `None` afterwards.
    early: Option<Vec<String>>,
    /// Signalling that waits for the WebSocket. Short: the session writes one request per timer or input.
    requests: VecDeque<Bytes>,
    is_flushed: bool,
    is_goodbye_sent: bool,
    /// The server has closed the WebSocket, or it broke.
    is_hung_up: bool,
    /// A packet the engine has counted as sent and the peer connection did not take yet.
    unsent: Option<Packet>,
    /// Bytes of packets given to the reliable channel, and how many of them were acknowledged.
    handed: u64,
    acknowledged: u64,
    /// The engine had nothing to send although there was room.
    is_idle: bool,
    /// Packets of others that were dropped.
    dropped: DroppedPackets,
    transmit: Option<Transmit>,
    buffer: Vec<u8>,
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    session_deadline: Option<Instant>,
    engine_deadline: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        websocket: WebSocket,
        datagrams: Datagrams,
        peer: Peer,
    ) -> Self {
        Driver {
            shared,
            websocket,
            datagrams,
            peer,
            stage: Stage::Starting,
            end: None,
            reliable: ChannelGroup::new(),
            lossy: ChannelGroup::new(),
            others: Vec::new(),
            is_up: false,
            early: Some(Vec::new()),
            requests: VecDeque::new(),
            is_flushed: true,
            is_goodbye_sent: false,
            is_hung_up: false,
            unsent: None,
            handed: 0,
            acknowledged: 0,
            is_idle: true,
            dropped: DroppedPackets::default(),
            transmit: None,
            buffer: Vec::new(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            session_deadline: None,
            engine_deadline: None,
        }
    }

    /// Drives until data can flow or the join has failed.
    pub(crate) fn poll_started(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        let _ = self.poll_work(cx);
        match (&self.end, &self.stage) {
            (Some(end), _) => Poll::Ready(Err(ConnectError::from(end))),
            (None, Stage::Starting) => Poll::Pending,
            (None, _) => Poll::Ready(Ok(())),
        }
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS {
            let now = Instant::now();
            let mut moved = self.read_signalling(cx, now);
            moved |= self.read_datagrams(cx, now);
            if is_due(self.peer.poll_timeout(), now) {
                self.peer.handle_timeout(now);
            }
            moved |= self.exchange(cx, now);
            moved |= self.send_datagrams(cx, now);
            self.write_signalling(cx, now);
            moved |= self.advance(now);
            if self.stage == Stage::Gone {
                return Poll::Ready(());
            }
            if !moved && self.poll_timer(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes frames from the WebSocket into the session.
    fn read_signalling(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.is_hung_up || matches!(self.stage, Stage::Closing { .. } | Stage::Gone) {
            return false;
        }
        let mut taken = 0;
        for _ in 0..SIGNALLING_FRAMES {
            if taken > SIGNALLING_BYTES {
                break;
            }
            let Poll::Ready(message) = Pin::new(&mut self.websocket).poll_next(cx) else {
                return false;
            };
            let input = match message {
                Some(Ok(Message::Binary(frame))) => {
                    taken += frame.len();
                    Input::Frame(frame)
                }
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| u16::from(frame.code));
                    Input::SignallingLost {
                        cause: format!("the server closed it with code {code}"),
                    }
                }
                // Pings are answered by tungstenite. Text would be the JSON form, which nobody asked for.
                Some(Ok(_)) => Input::Alive,
                Some(Err(error)) => Input::SignallingLost {
                    cause: cause_of(&error),
                },
                None => Input::SignallingLost {
                    cause: "the server closed it".into(),
                },
            };
            let is_lost = matches!(input, Input::SignallingLost { .. });
            self.is_hung_up |= is_lost;
            if let Err(fault) = self.shared.lock().session.handle_input(now, input) {
                tracing::debug!(%fault, "signalling frame dropped");
            }
            if is_lost {
                break;
            }
        }
        true
    }

    /// Takes datagrams from the socket into the peer connection.
    fn read_datagrams(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut moved = false;
        for _ in 0..RECEIVE_BATCHES {
            let peer = &mut self.peer;
            match self.datagrams.poll_receive(cx, |received| {
                peer.handle_received(now, received);
            }) {
                Poll::Ready(Ok(())) => moved = true,
                // What the network reports about an earlier datagram; ICE finds out on its own.
                Poll::Ready(Err(error)) => tracing::trace!(%error, "udp receive"),
                Poll::Pending => break,
            }
        }
        moved
    }

    /// Everything that needs the mutex: session, engine, and packets between engine and peer connection.
    fn exchange(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let shared = self.shared.clone();
        let waker = cx.waker().clone();
        let mut state = shared.lock();
        let previous = state.set_driver(waker);
        let mut moved = self.take_peer_events(&mut state, now);
        if is_due(self.session_deadline, now) {
            state.session.handle_timeout(now);
        }
        if is_due(self.engine_deadline, now) {
            state.engine.handle_timeout(now);
        }
        let mut changed = self.take_session_outputs(&mut state, now);
        if matches!(self.stage, Stage::Running | Stage::Draining { .. }) {
            moved |= self.take_packets(&mut state, now);
            moved |= self.hand_packets(&mut state, now);
            moved |= self.hand_lossy(&mut state, now);
            if state.is_closing {
                moved |= self.drain(&mut state, now);
                changed |= self.take_session_outputs(&mut state, now);
            }
        }
        if let Some(event) = self.dropped.event(now) {
            state.push_event(event);
        }
        state.dispatch();
        let is_publishable = std::mem::take(&mut state.is_publishable);
        let has_ended = changed && state.ended.is_some();
        self.engine_deadline = state.engine.poll_timeout();
        let started = state.take_started();
        drop(state);
        drop(previous);
        for (handler, invocation) in started {
            rpc::run(&shared, handler, invocation);
        }
        if changed {
            shared.changed.notify_waiters();
        }
        if has_ended {
            shared.publishable.notify_waiters();
        } else if is_publishable {
            // Whoever gets in passes it on.
            shared.publishable.notify_one();
        }
        moved || changed
    }

    fn take_peer_events(&mut self, state: &mut State, now: Instant) -> bool {
        let mut moved = false;
        while let Some(event) = self.peer.poll_event() {
            moved = true;
            tracing::trace!(?event, "peer connection");
            let lost = match event {
                PeerEvent::ChannelOpen { id, label, .. } => {
                    match Channel::from_label(&label) {
                        Some(Channel::Reliable) => self.reliable.insert(id),
                        Some(Channel::Lossy) => self.lossy.insert(id),
                        None => self.others.push(id),
                    }
                    None
                }
                PeerEvent::ChannelClosed(id) => {
                    self.lossy.remove(id);
                    self.others.retain(|other| *other != id);
                    let is_last = self.reliable.remove(id);
                    is_last.then_some("the server closed the reliable channel")
                }
                PeerEvent::Failed => Some("nothing was heard from the server"),
                PeerEvent::Closed(Cause::Dtls) => Some("the dtls handshake failed"),
                PeerEvent::Closed(Cause::Sctp) => Some("sctp was not set up or was aborted"),
                PeerEvent::Closed(_) => Some("the server closed it"),
                _ => None,
            };
            if let Some(cause) = lost {
                let _ = state.session.handle_input(
                    now,
                    Input::TransportLost {
                        cause: cause.to_owned(),
                    },
                );
            }
        }
        if !self.is_up && self.reliable.is_open() && self.lossy.is_open() {
            self.is_up = true;
            state
                .engine
                .set_packet_limit(self.peer.remote_max_message_size());
            let _ = state.session.handle_input(now, Input::TransportUp);
            if self.stage == Stage::Starting {
                self.stage = Stage::Running;
            }
        }
        moved
    }

    /// Does what the session wants; true when handles have to look at the participants or the end.
    fn take_session_outputs(&mut self, state: &mut State, now: Instant) -> bool {
        let mut changed = false;
        loop {
            match state.session.poll_output() {
                Output::Send(request) if self.requests.len() < REQUESTS => {
                    self.requests.push_back(request.to_bytes());
                }
                Output::Send(_) => {
                    let cause = UNREAD.to_owned();
                    let input = Input::SignallingLost { cause };
                    let _ = state.session.handle_input(now, input);
                }
                Output::Timeout { at, .. } => {
                    self.session_deadline = at;
                    return changed;
                }
                Output::Event(event) => changed |= self.handle_session_event(state, now, event),
            }
        }
    }

    fn handle_session_event(
        &mut self,
        state: &mut State,
        now: Instant,
        event: SessionEvent,
    ) -> bool {
        match event {
            SessionEvent::Joined(local) => {
                state
                    .engine
                    .set_local(now, local.identity().clone(), local.sid().clone());
                let State {
                    engine, session, ..
                } = state;
                for other in session.others() {
                    engine.participant(other.identity().clone(), other.capabilities());
                }
            }
            SessionEvent::Answer { sdp } => {
                if let Some(early) = self.early.take() {
                    if let Err(error) = self.peer.handle_answer(now, &sdp) {
                        let cause = format!("the server's answer is not usable: {error}");
                        let _ = state
                            .session
                            .handle_input(now, Input::TransportLost { cause });
                        return true;
                    }
                    for candidate in early {
                        self.add_candidate(now, &candidate);
                    }
                }
            }
            SessionEvent::Candidate(candidate) => match &mut self.early {
                Some(early) if early.len() < EARLY_CANDIDATES => early.push(candidate),
                Some(_) => tracing::debug!("candidate ignored: too many before the answer"),
                None => self.add_candidate(now, &candidate),
            },
            SessionEvent::ParticipantJoined(other) => {
                state.note_participant(&other);
                state.push_event(Event::Joined(other));
            }
            SessionEvent::ParticipantActive(other) => {
                state.note_participant(&other);
                state.push_event(Event::Active(other));
            }
            SessionEvent::ParticipantUpdated(other) => {
                state.note_participant(&other);
                state.push_event(Event::Updated(other));
            }
            SessionEvent::ParticipantLeft(other) => {
                state
                    .engine
                    .participant_left(now, other.sid(), other.identity());
                state.push_event(Event::Left(other));
            }
            SessionEvent::Ended(end) => {
                tracing::debug!(?end, "session ended");
                state.end(Disconnected::from(&end));
                self.stage = match end {
                    End::Left => Stage::Leaving {
                        until: now + SERVER_CLOSES,
                    },
                    _ => self.close(now),
                };
                self.end = Some(end);
            }
        }
        true
    }

    fn close(&mut self, now: Instant) -> Stage {
        self.peer.close(now);
        Stage::Closing {
            until: now + FAREWELL,
        }
    }

    fn add_candidate(&mut self, now: Instant, candidate: &str) {
        if let Err(error) = self.peer.add_remote_candidate(now, candidate) {
            tracing::debug!(%error, "candidate ignored");
        }
    }

    /// From the peer connection into the engine, unless its readers are too far behind: then SCTP pushes back.
    fn take_packets(&mut self, state: &mut State, now: Instant) -> bool {
        let mut moved = false;
        let peer = &mut self.peer;
        for id in &self.others {
            // What is unread there would take the window from the ones that count.
            while peer.receive(*id).is_some() {
                tracing::debug!(channel = %id, "message on an unknown channel dropped");
            }
        }
        for (group, channel) in [
            (&mut self.reliable, Channel::Reliable),
            (&mut self.lossy, Channel::Lossy),
        ] {
            for _ in 0..PACKETS {
                if channel == Channel::Reliable && state.engine.is_over_budget() {
                    break;
                }
                let Some(packet) = group.receive(peer) else {
                    break;
                };
                moved = true;
                if let Err(fault) = state.engine.handle_packet(now, channel, packet) {
                    tracing::debug!(%fault, "packet dropped");
                    self.dropped.note(fault);
                }
            }
        }
        moved
    }

    /// From the engine into the peer connection, as long as that has room.
    fn hand_packets(&mut self, state: &mut State, now: Instant) -> bool {
        if !self.reliable.is_open() {
            return false;
        }
        let acknowledged = self.reliable.acknowledged(&self.peer);
        if acknowledged != self.acknowledged {
            self.acknowledged = acknowledged;
            state.engine.acknowledged(acknowledged);
        }
        let mut moved = false;
        self.is_idle = false;
        let started = Instant::now();
        for _ in 0..PACKETS {
            // Compressing takes its time, and the socket waits for this, as do the handles for the mutex.
            if started.elapsed() > HANDING {
                moved = true;
                break;
            }
            if self.unsent.is_none() {
                if self.reliable.room(&self.peer) == 0 {
                    break;
                }
                self.unsent = state.engine.poll_packet();
            }
            let Some(packet) = self.unsent.take() else {
                self.is_idle = true;
                break;
            };
            let size = packet.bytes.len() as u64;
            let channel = match packet.channel {
                Channel::Reliable => &mut self.reliable,
                Channel::Lossy => &mut self.lossy,
            };
            match channel.send(now, &mut self.peer, packet.bytes.clone()) {
                Ok(()) => {
                    moved = true;
                    if packet.channel == Channel::Reliable {
                        self.handed += size;
                    }
                }
                Err(SendError::Full) => {
                    self.unsent = Some(packet);
                    break;
                }
                // The engine keeps below what every server takes; one that takes less can't be served.
                Err(error @ SendError::TooLarge { .. }) => {
                    let cause = error.to_string();
                    let _ = state
                        .session
                        .handle_input(now, Input::TransportLost { cause });
                    break;
                }
                Err(error) if packet.channel == Channel::Lossy => {
                    tracing::debug!(%error, "lossy packet dropped");
                }
                // The event about it is on its way.
                Err(_) => break,
            }
        }
        moved
    }

    /// The same for the lossy channel.
    fn hand_lossy(&mut self, state: &mut State, now: Instant) -> bool {
        let mut moved = false;
        for _ in 0..PACKETS {
            if self.lossy.room(&self.peer) == 0 {
                break;
            }
            let Some(packet) = state.engine.poll_lossy() else {
                break;
            };
            moved = true;
            if let Err(error) = self.lossy.send(now, &mut self.peer, packet.bytes) {
                tracing::debug!(%error, "lossy packet dropped");
            }
        }
        moved
    }

    /// The user wants to leave: abort what is open, send what is queued, then say goodbye.
    fn drain(&mut self, state: &mut State, now: Instant) -> bool {
        let Stage::Draining { until } = self.stage else {
            state.abort_writers("the sender left the room");
            self.stage = Stage::Draining {
                until: now + LINGER,
            };
            return true;
        };
        let is_drained = self.is_idle && self.unsent.is_none() && self.acknowledged >= self.handed;
        if is_drained || now >= until {
            let _ = state.session.handle_input(now, Input::Leave);
        }
        false
    }

    /// From the peer connection into the socket.
    fn send_datagrams(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut moved = false;
        for _ in 0..SEND_BATCHES {
            if self.transmit.is_none() {
                self.transmit =
                    self.peer
                        .poll_transmit(now, self.datagrams.max_segments(), &mut self.buffer);
            }
            let Some(transmit) = &self.transmit else {
                break;
            };
            match self.datagrams.poll_send(cx, transmit, &self.buffer) {
                Poll::Ready(result) => {
                    if let Err(error) = result {
                        tracing::trace!(%error, "udp send");
                    }
                    self.transmit = None;
                    moved = true;
                }
                Poll::Pending => break,
            }
        }
        moved
    }

    /// From the session into the WebSocket.
    fn write_signalling(&mut self, cx: &mut Context<'_>, now: Instant) {
        let result = self.poll_write_signalling(cx);
        if let Poll::Ready(Err(error)) = result {
            self.requests.clear();
            self.is_flushed = true;
            self.is_goodbye_sent = true;
            self.is_hung_up = true;
            let input = Input::SignallingLost {
                cause: cause_of(&error),
            };
            let mut state = self.shared.lock();
            let _ = state.session.handle_input(now, input);
            // Its outputs are taken in the next round.
            self.session_deadline = Some(now);
        }
    }

    fn poll_write_signalling(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        let mut websocket = Pin::new(&mut self.websocket);
        loop {
            let is_closing = matches!(self.stage, Stage::Closing { .. });
            let message = match self.requests.front() {
                Some(request) => Message::Binary(request.clone()),
                None if is_closing && !self.is_goodbye_sent => Message::Close(None),
                None => break,
            };
            std::task::ready!(websocket.as_mut().poll_ready(cx))?;
            self.is_goodbye_sent |= self.requests.pop_front().is_none();
            self.is_flushed = false;
            websocket.as_mut().start_send(message)?;
        }
        if !self.is_flushed {
            std::task::ready!(websocket.poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// From leaving to closing to gone.
    fn advance(&mut self, now: Instant) -> bool {
        match &self.stage {
            Stage::Leaving { until } => {
                let is_done = self.is_hung_up || self.peer.is_closed();
                if is_done || now >= *until {
                    self.stage = self.close(now);
                    return true;
                }
            }
            Stage::Closing { until } => {
                let is_said = self.is_goodbye_sent
                    && self.is_flushed
                    && self.requests.is_empty()
                    && self.transmit.is_none();
                if is_said || now >= *until {
                    self.stage = Stage::Gone;
                    let mut state = self.shared.lock();
                    state.gone = state.ended.clone();
                    drop(state);
                    self.shared.changed.notify_waiters();
                }
            }
            _ => {}
        }
        false
    }

    /// Arms the timer for what is due next; ready when that is now.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stage = match self.stage {
            Stage::Draining { until } | Stage::Leaving { until } | Stage::Closing { until } => {
                Some(until)
            }
            _ => None,
        };
        let deadlines = [
            self.dropped.deadline(Instant::now()),
            self.peer.poll_timeout(),
            self.session_deadline,
            self.engine_deadline,
            stage,
        ];
        let Some(deadline) = deadlines.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        // A timer that fires too early does no harm, and moving it for every datagram costs.
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.timer.as_mut().reset(deadline.into());
            self.armed = Some(deadline);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            self.armed = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_work(cx)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.stage != Stage::Gone {
            let mut state = self.shared.lock();
            state.end(Disconnected::DriverGone);
            state.gone = state.ended.clone();
            drop(state);
            self.shared.changed.notify_waiters();
            self.shared.publishable.notify_waiters();
        }
        self.shared.release_handlers();
    }
}

fn is_due(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

/// Why a connection ended whose other side lets our messages wait.
const UNREAD: &str = "the server does not read what it is sent";

/// Why the WebSocket broke, without what it carried.
fn cause_of(error: &WsError) -> String {
    match error {
        WsError::Io(error) => error.to_string(),
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            "the server closed it".into()
        }
        WsError::WriteBufferFull(_) => UNREAD.into(),
        WsError::Capacity(_) => "the server sent a message over the limit of 2 MiB".into(),
        _ => "the server broke the websocket protocol".into(),
    }
}
