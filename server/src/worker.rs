//! The thread that owns the UDP socket, every peer connection and every room.
//!
//! A worker shares nothing: WebSocket tasks talk to it over bounded channels, so the data path has no locks. One turn of
//! its loop takes what arrived (in GRO batches), lets the peers and rooms concerned work, and sends what they have to say
//! (in GSO batches).

mod connection;
mod demux;
mod drops;
mod links;
mod reception;
mod rooms;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lkstream_proto::disconnect::DisconnectReason;
use lkstream_proto::id::RoomName;
use lkstream_proto::packet::Channel;
use lkstream_proto::signal::Request;
use lkstream_proto::token::ApiKeys;
use lkstream_transport::udp::{ReceiveBatch, Socket};
use lkstream_transport::{Certificate, Transmit};
use tokio::io::Interest;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::admission::{Admission, Denied};
use crate::journal::Journal;
use crate::link::Queue;
use crate::room::{self, Departure, Input, MemberId, Output};
use crate::stats::Stats;
use connection::{Connection, Drops, Key};
use demux::{Demux, Stray};
use rooms::{RoomKey, Rooms};
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
        link: Queue,
        reply: oneshot::Sender<Result<LinkId, Denied>>,
    },
    /// A request came over a link.
    Request {
        link: LinkId,
        request: Box<Request>,
        /// Given back when the request was handled: a link has one at a time.
        turn: OwnedSemaphorePermit,
    },
    /// A link has written all that it was given.
    Written(LinkId),
    /// A link is gone.
    LinkLost(LinkId),
    /// Tell the counters.
    Stats(oneshot::Sender<Stats>),
    /// Tell everybody that the server stops, and stop.
    Shutdown(oneshot::Sender<()>),
}

/// A room that may be broken.
#[derive(Debug)]
enum Suspect {
    Key(RoomKey),
    Name(RoomName),
}

/// What makes a worker.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) socket: Socket,
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) candidates: Vec<SocketAddr>,
    pub(crate) limits: room::Limits,
    pub(crate) max_rooms: usize,
    pub(crate) max_rooms_per_identity: usize,
    pub(crate) node_id: String,
    pub(crate) keys: Arc<ApiKeys>,
    pub(crate) journal: Arc<Journal>,
    /// Sees what the rooms are told, and may panic.
    #[cfg(test)]
    pub(crate) trap: Option<fn(&Input)>,
}

pub(crate) struct Worker {
    options: Options,
    udp: tokio::net::UdpSocket,
    batch: ReceiveBatch,
    rooms: Rooms,
    connections: HashMap<Key, Connection>,
    links: HashMap<LinkId, Key>,
    demux: Demux,
    timers: Timers,
    /// Connections with something to do.
    dirty: VecDeque<Key>,
    /// Connections whose transport panicked.
    broken: Vec<Key>,
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
            rooms: Rooms::default(),
            connections: HashMap::new(),
            links: HashMap::new(),
            demux: Demux::default(),
            timers: Timers::default(),
            dirty: VecDeque::new(),
            broken: Vec::new(),
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
                let room = self.concerned(&next);
                if catch_unwind(AssertUnwindSafe(|| self.obey(now, next))).is_err() {
                    self.broke(now, room);
                }
            }
            self.receive(now);
            self.expire(now);
            self.work(now);
        }
    }

    /// The room that a command concerns, by name if it may have to be made.
    fn concerned(&self, command: &Command) -> Option<Suspect> {
        let link = match command {
            Command::Join { admission, .. } => {
                return Some(Suspect::Name(admission.room.clone()));
            }
            Command::Request { link, .. } | Command::Written(link) | Command::LinkLost(link) => {
                link
            }
            Command::Stats(_) | Command::Shutdown(_) => return None,
        };
        let connection = self.connections.get(self.links.get(link)?)?;
        Some(Suspect::Key(connection.room))
    }

    /// A command made something panic.
    fn broke(&mut self, now: Instant, suspect: Option<Suspect>) {
        let key = match suspect {
            Some(Suspect::Key(key)) => Some(key),
            Some(Suspect::Name(name)) => self.rooms.find(&name),
            None => None,
        };
        if let Some(key) = key {
            self.discard_room(now, key);
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
            Command::Request {
                link,
                request,
                turn: _turn,
            } => {
                if let Some(key) = self.links.get(&link).copied() {
                    self.request(now, key, *request);
                }
            }
            Command::Written(link) => self.written(now, link),
            Command::LinkLost(link) => self.link_lost(now, link),
            Command::Stats(reply) => {
                let _ = reply.send(self.stats());
            }
            Command::Shutdown(_) => {}
        }
    }

    fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.rooms = self.rooms.hosted.len();
        for hosted in self.rooms.hosted.values() {
            stats.participants += hosted.room.participants();
            stats.leaver_backlog += hosted.buffers.bytes;
            stats.packets += hosted.room.stats();
        }
        stats
    }

    fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Tells a room something about the participant behind a connection.
    fn input_of(&mut self, now: Instant, key: Key, input: impl FnOnce(MemberId) -> Input) {
        let Some(connection) = self.connections.get(&key) else {
            return;
        };
        let (room_key, member) = (connection.room, connection.member);
        if let Some(hosted) = self.rooms.get_mut(room_key) {
            // A refusal is counted by the room.
            let _ = hosted.room.handle_input(now, input(member));
        }
        self.carry_out(now, room_key);
    }

    /// Does what a room asks for.
    fn carry_out(&mut self, now: Instant, room_key: RoomKey) {
        while let Some(hosted) = self.rooms.get_mut(room_key)
            && let Some(output) = hosted.room.poll_output()
        {
            match output {
                Output::Signals(member) => {
                    if let Some(key) = hosted.members.get(&member).copied() {
                        self.fill_link(now, key);
                    }
                }
                Output::Farewell { to, message } => {
                    if let Some(key) = hosted.members.get(&to)
                        && let Some(connection) = self.connections.get_mut(key)
                        && let Some(link) = &mut connection.link
                    {
                        // A closed link has nobody to tell.
                        let _ = link.queue.push(message);
                    }
                }
                Output::CloseLink(member) => {
                    if let Some(key) = hosted.members.get(&member)
                        && let Some(connection) = self.connections.get(key)
                        && let Some(link) = &connection.link
                    {
                        let id = link.id;
                        self.stats.slow_links += 1;
                        self.link_lost(now, id);
                    }
                }
                Output::Lost { member, loss } => {
                    let room = hosted.room.name().as_str();
                    let identity = hosted.room.participant(member).map(|it| &it.identity);
                    self.options.journal.say("losses", |more| {
                        tracing::info!(?room, ?identity, more, "{loss}");
                    });
                }
                Output::Packets(member) | Output::Accepting(member) => {
                    if let Some(key) = hosted.members.get(&member).copied() {
                        self.touch(key);
                    }
                }
                Output::Finish(member) => {
                    if let Some(key) = hosted.members.get(&member).copied() {
                        if let Some(connection) = self.connections.get_mut(&key) {
                            connection.finish(now, &mut hosted.buffers);
                        }
                        self.touch(key);
                    }
                }
                Output::Removed {
                    member,
                    sid,
                    reason,
                } => {
                    if let Some(key) = hosted.members.remove(&member) {
                        let room = hosted.room.name().as_str();
                        let claims = self.connections.get(&key).map(|it| &it.claims);
                        let identity = claims.map(|claims| claims.participant_identity());
                        self.options.journal.say("leaves", |more| {
                            let (identity, sid) =
                                (identity.as_ref().map(|it| it.as_str()), sid.as_str());
                            tracing::info!(?room, ?identity, sid, ?reason, more, "left");
                        });
                        self.hang_up(now, key);
                    }
                }
            }
        }
        self.schedule_room(room_key);
    }

    /// Closes everything of a participant that is out.
    fn hang_up(&mut self, now: Instant, key: Key) {
        let Some(mut connection) = self.connections.remove(&key) else {
            return;
        };
        self.demux.forget(key);
        if let Some(identity) = &connection.unnamed {
            self.rooms.leave_unnamed(identity);
        }
        if let Some(hosted) = self.rooms.get_mut(connection.room) {
            hosted.buffers.bytes -= connection.kept_bytes;
        }
        let kept = connection.kept.len() as u64;
        self.note_leaver_messages(connection.claims.participant_identity().as_str(), kept);
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
                let key = match self.demux.find(now, &received) {
                    Ok(key) => key,
                    Err(Stray::Unknown) => {
                        self.stats.stray_datagrams += 1;
                        continue;
                    }
                    Err(Stray::Contested) => {
                        self.stats.contested_datagrams += 1;
                        continue;
                    }
                };
                let Some(connection) = self.connections.get_mut(&key) else {
                    continue;
                };
                let Some(peer) = &mut connection.peer else {
                    continue;
                };
                // The stacks below parse bytes of strangers: should one of them panic, this connection alone is lost.
                let handle = AssertUnwindSafe(|| peer.handle_received(now, received));
                let Ok(is_genuine) = catch_unwind(handle) else {
                    self.broken.push(key);
                    continue;
                };
                if is_genuine {
                    let is_proven = peer.is_validated(received.remote);
                    self.demux.learn(now, received.remote, key, is_proven);
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
                        if let Some(peer) = &mut connection.peer
                            && catch_unwind(AssertUnwindSafe(|| peer.handle_timeout(now))).is_err()
                        {
                            self.broken.push(key);
                        }
                        self.touch(key);
                    }
                }
                Timer::Room(key) => self.in_room(now, key, |worker| worker.expire_room(now, key)),
            }
        }
        if now >= self.swept + SWEEP {
            self.swept = now;
            let gone: Vec<LinkId> = self
                .connections
                .values()
                .filter_map(|connection| connection.link.as_ref())
                .filter(|link| link.queue.is_closed())
                .map(|link| link.id)
                .collect();
            for link in gone {
                if let Some(key) = self.links.get(&link).copied() {
                    self.about(now, key, |worker| worker.link_lost(now, link));
                }
            }
            let stale: Vec<Key> = self
                .connections
                .iter()
                .filter(|(_, connection)| connection.link.is_some() && connection.refresh_at <= now)
                .map(|(key, _)| *key)
                .collect();
            for key in stale {
                self.about(now, key, |worker| worker.refresh_token(now, key));
            }
        }
    }

    /// Gives up connections whose transport panicked.
    fn give_up_broken(&mut self, now: Instant) {
        while let Some(key) = self.broken.pop() {
            self.stats.broken_connections += 1;
            if let Some(connection) = self.connections.get_mut(&key) {
                // Nothing more is asked of it, not even a goodbye.
                connection.peer = None;
            }
            let departure = Departure::rejoin(DisconnectReason::StateMismatch);
            self.about(now, key, |worker| {
                worker.input_of(now, key, |member| Input::Remove { member, departure });
            });
        }
    }

    /// The same as [`in_room`](Self::in_room), for the room of a connection.
    fn about(&mut self, now: Instant, key: Key, turn: impl FnOnce(&mut Worker)) {
        if let Some(room) = self.connections.get(&key).map(|connection| connection.room) {
            self.in_room(now, room, turn);
        }
    }

    /// Lets every connection that has something to do work once.
    fn work(&mut self, now: Instant) {
        self.give_up_broken(now);
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
            self.about(now, key, |worker| worker.pump(now, key));
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
        let room_key = connection.room;
        let Some(hosted) = self.rooms.get_mut(room_key) else {
            return;
        };
        connection.handle_events(now, &mut hosted.room);
        let mut drops = Drops::default();
        let late = connection.drop_late(now);
        let mut again = connection.read(now, &mut hosted.room, &mut hosted.buffers, &mut drops);
        let others = connection.read_others();
        connection.fill(now, &mut hosted.room, &mut drops);
        self.note_drops(key, late, others, &drops);
        self.carry_out(now, room_key);
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
        if let Some(at) = connection.deadline(now) {
            self.timers.set(at, Timer::Connection(key));
        }
        if again || connection.is_worth_another_turn() {
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
}

/// The channel that a label names, if it carries data packets.
fn channel_of(label: &str) -> Option<Channel> {
    Channel::from_label(label)
}
