//! The thread that owns the UDP socket, every peer connection and every room.
//!
//! A worker shares nothing: WebSocket tasks talk to it over bounded channels, so the data path has no locks. One turn of
//! its loop takes what arrived (in GRO batches), lets the peers and rooms concerned work, and sends what they have to say
//! (in GSO batches).

mod connection;
mod demux;
mod timers;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::http::StatusCode;
use bytes::Bytes;
use lkstream_proto::id::{RoomName, RoomSid};
use lkstream_proto::limits as wire;
use lkstream_proto::packet::Channel;
use lkstream_proto::participant::DisconnectReason;
use lkstream_proto::signal::{Request, SessionDescription};
use lkstream_transport::udp::{ReceiveBatch, Socket};
use lkstream_transport::{Certificate, Credentials, IceMode, Peer, PeerConfig, Transmit};
use tokio::io::Interest;
use tokio::sync::{mpsc, oneshot};

use crate::admission::{Admission, Denied};
use crate::room::{self, Departure, Input, JoinError, MemberId, Output, Room};
use crate::stats::Stats;
use connection::{Connection, Key, Outlet};
use demux::Demux;
use timers::{Timer, Timers};

/// Commands that may wait for the worker; above it WebSocket tasks wait.
pub(crate) const COMMANDS: usize = 1024;

/// Commands taken in one turn.
const COMMANDS_A_TURN: usize = 64;

/// Receive calls in one turn, each of several GRO batches.
const RECEIVES_A_TURN: usize = 4;

/// How often links are checked whose task may have gone without a word.
const SWEEP: Duration = Duration::from_secs(1);

/// Names a signal link of one worker; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LinkId(u64);

/// What WebSocket tasks and the server's handle ask of a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Let somebody in, or back in.
    Join {
        admission: Box<Admission>,
        link: mpsc::Sender<Bytes>,
        reply: oneshot::Sender<Result<LinkId, Denied>>,
    },
    /// A request came over a link.
    Request { link: LinkId, request: Box<Request> },
    /// A link is gone.
    LinkLost(LinkId),
    /// Tell the counters.
    Stats(oneshot::Sender<Stats>),
    /// Tell everybody that the server stops, and stop.
    Shutdown(oneshot::Sender<()>),
}

/// What makes a worker.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) socket: Socket,
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) candidates: Vec<SocketAddr>,
    pub(crate) limits: room::Limits,
    pub(crate) max_rooms: usize,
    pub(crate) node_id: String,
}

#[derive(Debug)]
struct Hall {
    room: Room,
    members: HashMap<MemberId, Key>,
}

/// Names a room of one worker; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct HallKey(u64);

pub(crate) struct Worker {
    options: Options,
    udp: tokio::net::UdpSocket,
    batch: ReceiveBatch,
    halls: HashMap<HallKey, Hall>,
    by_name: BTreeMap<RoomName, HallKey>,
    connections: HashMap<Key, Connection>,
    links: HashMap<LinkId, Key>,
    demux: Demux,
    timers: Timers,
    /// Connections with something to do.
    dirty: VecDeque<Key>,
    /// A batch that the socket had no room for.
    blocked: Option<(Transmit, Vec<u8>)>,
    buffer: Vec<u8>,
    next_key: u64,
    swept: Instant,
    stats: Stats,
}

impl Worker {
    /// Takes a socket over. Must be called inside of the runtime that will run it.
    pub(crate) fn new(options: Options) -> std::io::Result<Worker> {
        let udp = tokio::net::UdpSocket::from_std(options.socket.try_clone_std()?)?;
        Ok(Worker {
            udp,
            options,
            batch: ReceiveBatch::new(),
            halls: HashMap::new(),
            by_name: BTreeMap::new(),
            connections: HashMap::new(),
            links: HashMap::new(),
            demux: Demux::default(),
            timers: Timers::default(),
            dirty: VecDeque::new(),
            blocked: None,
            buffer: Vec::new(),
            next_key: 0,
            swept: Instant::now(),
            stats: Stats::default(),
        })
    }

    /// Works until it is told to stop or nobody is left who could tell it.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let mut command = None;
            if self.dirty.is_empty() || self.blocked.is_some() {
                let wake = self
                    .timers
                    .next()
                    .unwrap_or(self.swept + SWEEP)
                    .min(self.swept + SWEEP);
                tokio::select! {
                    received = commands.recv() => match received {
                        Some(received) => command = Some(received),
                        None => return,
                    },
                    _ = self.udp.readable() => {}
                    _ = self.udp.writable(), if self.blocked.is_some() => {}
                    () = tokio::time::sleep_until(wake.into()) => {}
                }
            } else {
                // Lets the runtime see what the socket has.
                tokio::task::yield_now().await;
            }
            let now = Instant::now();
            for _ in 0..COMMANDS_A_TURN {
                let next = match command.take() {
                    Some(command) => command,
                    None => match commands.try_recv() {
                        Ok(command) => command,
                        Err(mpsc::error::TryRecvError::Empty) => break,
                        Err(mpsc::error::TryRecvError::Disconnected) => return,
                    },
                };
                if let Command::Shutdown(done) = next {
                    self.shut_down(now);
                    let _ = done.send(());
                    return;
                }
                self.obey(now, next);
            }
            self.receive(now);
            self.expire(now);
            self.work(now);
        }
    }

    fn obey(&mut self, now: Instant, command: Command) {
        match command {
            Command::Join {
                admission,
                link,
                reply,
            } => {
                let _ = reply.send(self.admit(now, *admission, link));
            }
            Command::Request { link, request } => {
                if let Some(key) = self.links.get(&link).copied() {
                    self.request(now, key, *request);
                }
            }
            Command::LinkLost(link) => self.link_lost(now, link),
            Command::Stats(reply) => {
                let _ = reply.send(self.stats());
            }
            Command::Shutdown(_) => {}
        }
    }

    fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.rooms = self.halls.len();
        for hall in self.halls.values() {
            stats.participants += hall.room.participants();
            stats.packets += hall.room.stats();
        }
        stats
    }

    fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    fn admit(
        &mut self,
        now: Instant,
        admission: Admission,
        link: mpsc::Sender<Bytes>,
    ) -> Result<LinkId, Denied> {
        let id = LinkId(self.key());
        if admission.resume.is_some() {
            self.resume(now, admission, id, link);
            return Ok(id);
        }
        let peer = match &admission.offer {
            Some(offer) => Some(self.answer(now, &offer.sdp, offer.id).map_err(|error| {
                self.stats.bad_descriptions += 1;
                Denied::new(StatusCode::BAD_REQUEST, format!("bad offer: {error}"))
            })?),
            None => None,
        };
        let hall_key = self.hall(now, &admission)?;
        let Some(hall) = self.halls.get_mut(&hall_key) else {
            return Err(Denied::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the room is gone",
            ));
        };
        let member = hall.room.join(now, admission.joining).map_err(|error| {
            let status = match error {
                JoinError::Protocol { .. } => StatusCode::BAD_REQUEST,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            Denied::new(status, error.to_string())
        })?;
        let key = Key(self.key());
        if let Some(hall) = self.halls.get_mut(&hall_key) {
            hall.members.insert(member, key);
        }
        let mut connection = Connection::new(hall_key, member, Outlet { id, sender: link });
        let mut answer = None;
        if let Some((peer, sdp)) = peer {
            self.demux.register(peer.local_ufrag(), key);
            connection.peer = Some(peer);
            answer = Some(sdp);
        }
        self.connections.insert(key, connection);
        self.links.insert(id, key);
        self.carry_out(now, hall_key);
        if let Some(answer) = answer {
            self.say(now, key, connection::answer(answer));
        }
        self.touch(key);
        Ok(id)
    }

    /// The room of a join; made when it is not there yet.
    fn hall(&mut self, now: Instant, admission: &Admission) -> Result<HallKey, Denied> {
        if let Some(key) = self.by_name.get(&admission.room) {
            return Ok(*key);
        }
        if self.halls.len() >= self.options.max_rooms {
            let text = format!("the server has {} rooms already", self.halls.len());
            return Err(Denied::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        let unix_time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let sid = RoomSid::generate(rand::random());
        let mut options = room::Options::new(admission.room.clone(), sid, unix_time);
        options.metadata.clone_from(&admission.room_metadata);
        options.limits = self.options.limits.clone();
        options.server = room::server_info(self.options.node_id.clone());
        let key = HallKey(self.key());
        self.by_name.insert(admission.room.clone(), key);
        self.halls.insert(
            key,
            Hall {
                room: Room::new(now, options),
                members: HashMap::new(),
            },
        );
        self.schedule_hall(key);
        Ok(key)
    }

    fn resume(
        &mut self,
        now: Instant,
        admission: Admission,
        id: LinkId,
        link: mpsc::Sender<Bytes>,
    ) {
        let known = admission.resume.as_ref().and_then(|resume| {
            let hall_key = *self.by_name.get(&admission.room)?;
            let hall = self.halls.get_mut(&hall_key)?;
            let identity = &admission.joining.identity;
            let member = hall.room.resume(now, &resume.sid, identity).ok()?;
            Some((hall_key, *hall.members.get(&member)?))
        });
        let Some((hall_key, key)) = known else {
            self.stats.resumes_refused += 1;
            // An empty queue takes it; the link closes when the sender is dropped.
            let departure = Departure::rejoin(DisconnectReason::StateMismatch);
            if let Some(message) = room::leave_message(departure) {
                let _ = link.try_send(message);
            }
            return;
        };
        self.stats.resumes += 1;
        if let Some(connection) = self.connections.get_mut(&key) {
            // The old link closes when its sender is dropped.
            if let Some(old) = connection.link.replace(Outlet { id, sender: link }) {
                self.links.remove(&old.id);
            }
            self.links.insert(id, key);
        }
        self.carry_out(now, hall_key);
        if let Some(offer) = admission.offer {
            self.offer(now, key, &offer);
        }
    }

    fn peer_config(&self) -> PeerConfig {
        let mut random = [0; 48];
        rand::Rng::fill_bytes(&mut rand::rng(), &mut random);
        let certificate = Arc::clone(&self.options.certificate);
        let mut config = PeerConfig::new(certificate, Credentials::from_random(random));
        config.candidates.clone_from(&self.options.candidates);
        config.ice = IceMode::Lite;
        config.max_message_size = wire::SERVER_PACKET_BYTES;
        config
    }

    fn answer(
        &self,
        now: Instant,
        offer: &str,
        id: u32,
    ) -> Result<(Peer, SessionDescription), lkstream_transport::SdpError> {
        let (peer, sdp) = Peer::answer(now, self.peer_config(), offer)?;
        Ok((peer, connection::description(sdp, id)))
    }

    fn request(&mut self, now: Instant, key: Key, request: Request) {
        match request {
            Request::Offer(offer) => self.offer(now, key, &offer),
            Request::Trickle(trickle) => self.trickle(now, key, &trickle.candidate_init),
            Request::Answer(_) => {}
            request => self.input_of(now, key, |from| Input::Request { from, request }),
        }
    }

    /// Answers an offer: the first, a repeated one, or one with an ICE restart (protocol.md §2.17).
    fn offer(&mut self, now: Instant, key: Key, offer: &SessionDescription) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let result = match &mut connection.peer {
            Some(peer) => {
                let answer = peer.handle_reoffer(now, &offer.sdp);
                self.demux.register(peer.local_ufrag(), key);
                answer.map(|sdp| connection::description(sdp, offer.id))
            }
            None => self
                .answer(now, &offer.sdp, offer.id)
                .map(|(peer, answer)| {
                    self.demux.register(peer.local_ufrag(), key);
                    if let Some(connection) = self.connections.get_mut(&key) {
                        connection.peer = Some(peer);
                    }
                    answer
                }),
        };
        match result {
            Ok(answer) => self.say(now, key, connection::answer(answer)),
            Err(error) => {
                tracing::debug!(%error, "offer refused");
                self.stats.bad_descriptions += 1;
                let departure = Departure::rejoin(DisconnectReason::StateMismatch);
                self.input_of(now, key, |member| Input::Remove { member, departure });
            }
        }
        self.touch(key);
    }

    fn trickle(&mut self, now: Instant, key: Key, init: &str) {
        let Some(peer) = self
            .connections
            .get_mut(&key)
            .and_then(|connection| connection.peer.as_mut())
        else {
            return;
        };
        let good = connection::candidate(init).is_some_and(|candidate| {
            candidate.is_empty() || peer.add_remote_candidate(now, &candidate).is_ok()
        });
        if !good {
            self.stats.bad_descriptions += 1;
        }
        self.touch(key);
    }

    /// Tells a room something about the participant behind a connection.
    fn input_of(&mut self, now: Instant, key: Key, input: impl FnOnce(MemberId) -> Input) {
        let Some(connection) = self.connections.get(&key) else {
            return;
        };
        let (hall_key, member) = (connection.hall, connection.member);
        if let Some(hall) = self.halls.get_mut(&hall_key) {
            // A refusal is counted by the room.
            let _ = hall.room.handle_input(now, input(member));
        }
        self.carry_out(now, hall_key);
    }

    fn link_lost(&mut self, now: Instant, link: LinkId) {
        let Some(key) = self.links.remove(&link) else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.link = None;
        }
        self.input_of(now, key, Input::LinkLost);
    }

    /// Writes a message to a connection's signal link.
    fn say(&mut self, now: Instant, key: Key, message: Bytes) {
        let Some(link) = self
            .connections
            .get(&key)
            .and_then(|connection| connection.link.as_ref())
        else {
            return;
        };
        let id = link.id;
        match link.sender.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.stats.slow_links += 1;
                self.link_lost(now, id);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => self.link_lost(now, id),
        }
    }

    /// Does what a room asks for.
    fn carry_out(&mut self, now: Instant, hall_key: HallKey) {
        while let Some(hall) = self.halls.get_mut(&hall_key)
            && let Some(output) = hall.room.poll_output()
        {
            match output {
                Output::Signal { to, message } => {
                    if let Some(key) = hall.members.get(&to).copied() {
                        self.say(now, key, message);
                    }
                }
                Output::Packets(member) | Output::Accepting(member) => {
                    if let Some(key) = hall.members.get(&member).copied() {
                        self.touch(key);
                    }
                }
                Output::Finish(member) => {
                    if let Some(key) = hall.members.get(&member).copied() {
                        if let Some(connection) = self.connections.get_mut(&key) {
                            connection.finish(now);
                        }
                        self.touch(key);
                    }
                }
                Output::Removed { member, .. } => {
                    if let Some(key) = hall.members.remove(&member) {
                        self.hang_up(now, key);
                    }
                }
            }
        }
        self.schedule_hall(hall_key);
    }

    /// Closes everything of a participant that is out.
    fn hang_up(&mut self, now: Instant, key: Key) {
        let Some(mut connection) = self.connections.remove(&key) else {
            return;
        };
        self.demux.forget(key);
        // The link's task writes what waits and closes when the sender is dropped.
        if let Some(link) = connection.link.take() {
            self.links.remove(&link.id);
        }
        if let Some(peer) = &mut connection.peer {
            peer.close(now);
            while let Some(transmit) =
                peer.poll_transmit(now, self.options.socket.max_segments(), &mut self.buffer)
            {
                // The last words are worth one try.
                if self
                    .options
                    .socket
                    .try_send(&transmit, &self.buffer)
                    .is_err()
                {
                    self.stats.unsent_datagrams += 1;
                    break;
                }
            }
        }
    }

    fn touch(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(&key)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push_back(key);
        }
    }

    fn receive(&mut self, now: Instant) {
        for _ in 0..RECEIVES_A_TURN {
            let socket = &self.options.socket;
            let batch = &mut self.batch;
            match self
                .udp
                .try_io(Interest::READABLE, || socket.try_receive(batch))
            {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // For example a port that an earlier datagram did not reach; says nothing about this socket.
                    tracing::debug!(%error, "receive failed");
                    return;
                }
            }
            for received in self.batch.iter() {
                let Some(key) = self.demux.find(&received) else {
                    self.stats.stray_datagrams += 1;
                    continue;
                };
                let Some(connection) = self.connections.get_mut(&key) else {
                    continue;
                };
                let Some(peer) = &mut connection.peer else {
                    continue;
                };
                let refused = peer.stats().stun_refused;
                peer.handle_received(now, received);
                if peer.stats().stun_refused == refused {
                    self.demux.learn(&received, key);
                }
                if !connection.dirty {
                    connection.dirty = true;
                    self.dirty.push_back(key);
                }
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Connection(key) => {
                    if let Some(connection) = self.connections.get_mut(&key) {
                        if let Some(peer) = &mut connection.peer {
                            peer.handle_timeout(now);
                        }
                        self.touch(key);
                    }
                }
                Timer::Hall(key) => {
                    if let Some(hall) = self.halls.get_mut(&key) {
                        hall.room.handle_timeout(now);
                        if hall.room.is_over(now) {
                            self.stats.packets += hall.room.stats();
                            self.by_name.remove(hall.room.name());
                            self.halls.remove(&key);
                        }
                    }
                    self.carry_out(now, key);
                }
            }
        }
        if now >= self.swept + SWEEP {
            self.swept = now;
            let gone: Vec<LinkId> = self
                .connections
                .values()
                .filter_map(|connection| connection.link.as_ref())
                .filter(|link| link.sender.is_closed())
                .map(|link| link.id)
                .collect();
            for link in gone {
                self.link_lost(now, link);
            }
        }
    }

    fn schedule_hall(&mut self, key: HallKey) {
        if let Some(at) = self
            .halls
            .get(&key)
            .and_then(|hall| hall.room.poll_timeout())
        {
            self.timers.set(at, Timer::Hall(key));
        }
    }

    /// Lets every connection that has something to do work once.
    fn work(&mut self, now: Instant) {
        if !self.flush_blocked() {
            return;
        }
        for _ in 0..self.dirty.len() {
            let Some(key) = self.dirty.pop_front() else {
                return;
            };
            if let Some(connection) = self.connections.get_mut(&key) {
                connection.dirty = false;
            }
            self.pump(now, key);
            if self.blocked.is_some() {
                return;
            }
        }
    }

    /// One connection's turn: events, packets in, packets out, datagrams out.
    fn pump(&mut self, now: Instant, key: Key) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let hall_key = connection.hall;
        let Some(hall) = self.halls.get_mut(&hall_key) else {
            return;
        };
        let mut again = connection.handle_events(now, &mut hall.room);
        again |= connection.read(now, &mut hall.room);
        self.stats.other_messages += connection.read_others();
        connection.fill(now, &mut hall.room);
        self.carry_out(now, hall_key);
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let Some(peer) = &mut connection.peer else {
            return;
        };
        let socket = &self.options.socket;
        while let Some(transmit) = peer.poll_transmit(now, socket.max_segments(), &mut self.buffer)
        {
            let buffer = &self.buffer;
            match self
                .udp
                .try_io(Interest::WRITABLE, || socket.try_send(&transmit, buffer))
            {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.blocked = Some((transmit, std::mem::take(&mut self.buffer)));
                    again = true;
                    break;
                }
                Err(error) => {
                    tracing::trace!(%error, "datagrams not sent");
                    self.stats.unsent_datagrams += 1;
                }
            }
        }
        if let Some(at) = connection.deadline() {
            self.timers.set(at, Timer::Connection(key));
        }
        if again {
            self.touch(key);
        }
    }

    /// False while the socket has no room.
    fn flush_blocked(&mut self) -> bool {
        let Some((transmit, buffer)) = &self.blocked else {
            return true;
        };
        let socket = &self.options.socket;
        match self
            .udp
            .try_io(Interest::WRITABLE, || socket.try_send(transmit, buffer))
        {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(_) => self.stats.unsent_datagrams += 1,
            Ok(()) => {}
        }
        if let Some((_, buffer)) = self.blocked.take() {
            self.buffer = buffer;
        }
        true
    }

    fn shut_down(&mut self, now: Instant) {
        let halls: Vec<HallKey> = self.halls.keys().copied().collect();
        for key in halls {
            if let Some(hall) = self.halls.get_mut(&key) {
                let _ = hall
                    .room
                    .handle_input(now, Input::Close(DisconnectReason::ServerShutdown));
            }
            self.carry_out(now, key);
        }
    }
}

/// The channel that a label names, if it carries data packets.
fn channel_of(label: &str) -> Option<Channel> {
    Channel::from_label(label)
}
