//! One participant's peer connection and signal link, between its transport and its room.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_proto::id::Identity;
use lkstream_proto::packet::Channel;
use lkstream_proto::signal::{Response, SessionDescription, SignalResponse};
use lkstream_proto::token::Claims;
use lkstream_transport::{ChannelGroup, ChannelId, Event, IceMode, Peer, SendError};

use super::LinkId;
use super::rooms::RoomKey;
use crate::link::Queue;
use crate::room::{Input, MemberId, Refusal, Room};

/// Messages read from one connection in one turn, so that none holds up the others.
const READS_A_TURN: usize = 128;

/// How long a leaver's last datagrams may still be on their way when its goodbye arrives.
const IN_FLIGHT: Duration = Duration::from_millis(150);

/// What is kept of the leavers of one room, which does not accept it yet.
#[derive(Debug)]
pub(super) struct LeaverBuffers {
    pub(super) bytes: usize,
    limit: usize,
}

impl LeaverBuffers {
    pub(super) fn new(limit: usize) -> LeaverBuffers {
        LeaverBuffers { bytes: 0, limit }
    }

    /// Whether one who has so many bytes of them may have more.
    fn has_room(&self, own: usize) -> bool {
        self.bytes < self.limit && own < self.limit / 2
    }
}

/// What a kept message costs, so that many tiny ones are bounded too.
fn cost(message: &Bytes) -> usize {
    message.len() + size_of::<Bytes>()
}

/// What was dropped in one turn of a connection, for the counters and the log.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// Packets that its room refused.
    pub(super) refused: u64,
    /// Why the last one was.
    pub(super) refusal: Option<Refusal>,
    /// Reliable packets that its transport cannot take.
    pub(super) discarded: u64,
    /// Why not the last one.
    pub(super) error: Option<SendError>,
    /// Lossy packets that its transport did not take.
    pub(super) lossy: u64,
}

impl Drops {
    fn note(&mut self, result: Result<(), Refusal>) {
        match result {
            // Clients send again what they do not know to have arrived.
            Ok(()) | Err(Refusal::Duplicate { .. }) => {}
            Err(refusal) => {
                self.refused += 1;
                self.refusal = Some(refusal);
            }
        }
    }
}

/// Names a connection of one worker; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u64);

/// The way to a WebSocket task.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) id: LinkId,
    pub(super) queue: Queue,
}

pub(super) struct Connection {
    pub(super) room: RoomKey,
    pub(super) member: MemberId,
    pub(super) ice: IceMode,
    pub(super) link: Option<Outlet>,
    pub(super) peer: Option<Peer>,
    /// What its token said.
    pub(super) claims: Box<Claims>,
    /// Its identity, if its token names no room.
    pub(super) unnamed: Option<Identity>,
    /// When it gets a fresh token.
    pub(super) refresh_at: Instant,
    /// Waits for its turn.
    pub(super) dirty: bool,
    reliable: ChannelGroup,
    lossy: ChannelGroup,
    others: Vec<ChannelId>,
    /// A reliable packet that the transport had no room for.
    refused: Option<Bytes>,
    /// The transport took no more reliable packets, or no more lossy ones, though the room may have some.
    held_back: [bool; 2],
    acknowledged: u64,
    /// After a goodbye: what was received and not accepted yet, and until when more may come.
    pub(super) kept: VecDeque<Bytes>,
    /// Its part of [`LeaverBuffers::bytes`].
    pub(super) kept_bytes: usize,
    finish_at: Option<Instant>,
    closed: bool,
    /// Its own side has closed the connection: what is unread goes to the room until then, before the room hears of it.
    gone_at: Option<Instant>,
}

impl Connection {
    pub(super) fn new(
        now: Instant,
        room: RoomKey,
        member: MemberId,
        ice: IceMode,
        link: Outlet,
        claims: Box<Claims>,
    ) -> Connection {
        Connection {
            room,
            member,
            ice,
            link: Some(link),
            peer: None,
            claims,
            unnamed: None,
            refresh_at: now,
            dirty: false,
            reliable: ChannelGroup::new(),
            lossy: ChannelGroup::new(),
            others: Vec::new(),
            refused: None,
            held_back: [false; 2],
            acknowledged: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            finish_at: None,
            closed: false,
            gone_at: None,
        }
    }

    /// It said goodbye.
    pub(super) fn finish(&mut self, now: Instant, buffers: &mut LeaverBuffers) {
        self.finish_at = Some(now + IN_FLIGHT);
        self.keep_received(buffers);
    }

    /// When its transport, or the end of its goodbye, is due.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let transport = self.peer.as_ref().and_then(Peer::poll_timeout);
        // Past its end it waits for the room, not for a timer.
        let finish = self.finish_at.filter(|finish_at| *finish_at > now);
        [transport, finish, self.gone_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Passes on what the transport says.
    pub(super) fn handle_events(&mut self, now: Instant, room: &mut Room) {
        let member = self.member;
        let leave_drain = room.limits().leave_drain;
        let mut tell = |input| {
            // Only packets are refused.
            let _ = room.handle_input(now, input);
        };
        while let Some(event) = self.peer.as_mut().and_then(Peer::poll_event) {
            match event {
                Event::Connected | Event::Reconnected => tell(Input::Connected(member)),
                Event::ChannelOpen { id, label, .. } => match super::channel_of(&label) {
                    Some(channel) => {
                        match channel {
                            Channel::Reliable => self.reliable.insert(id),
                            Channel::Lossy => self.lossy.insert(id),
                        }
                        tell(Input::ChannelOpen { member, channel });
                    }
                    None => self.others.push(id),
                },
                Event::ChannelClosed(id) => {
                    self.others.retain(|other| *other != id);
                    self.lossy.remove(id);
                    if self.reliable.remove(id) {
                        tell(Input::ConnectionClosed(member));
                    }
                }
                Event::Failed => tell(Input::ConnectionLost(member)),
                Event::Closed(_) => {
                    self.closed = true;
                    self.gone_at = Some(now + leave_drain);
                }
                // Reading, writing and acknowledgements are looked at in every turn; short silences pass.
                _ => {}
            }
        }
    }

    /// Hands packets to the room while it accepts them. True when there may be more right now.
    pub(super) fn read(
        &mut self,
        now: Instant,
        room: &mut Room,
        buffers: &mut LeaverBuffers,
        drops: &mut Drops,
    ) -> bool {
        let from = self.member;
        let finishing = self.finish_at;
        let in_flight = finishing.is_none_or(|finish_at| now < finish_at);
        if finishing.is_some() && in_flight {
            self.keep_received(buffers);
        }
        let (mut more, mut is_empty) = (true, false);
        for _ in 0..READS_A_TURN {
            if !room.accepts(now, from) {
                more = false;
                break;
            }
            let received = self.next_received(in_flight, buffers);
            let Some(bytes) = received else {
                (more, is_empty) = (false, true);
                break;
            };
            let channel = Channel::Reliable;
            drops.note(room.handle_input(
                now,
                Input::Packet {
                    from,
                    channel,
                    bytes,
                },
            ));
        }
        for _ in 0..READS_A_TURN {
            let Some(bytes) = receive(&mut self.peer, &mut self.lossy) else {
                break;
            };
            let channel = Channel::Lossy;
            drops.note(room.handle_input(
                now,
                Input::Packet {
                    from,
                    channel,
                    bytes,
                },
            ));
        }
        let is_over = !in_flight || self.closed && is_empty;
        if finishing.is_some() && self.kept.is_empty() && !more && is_over {
            self.finish_at = None;
            let _ = room.handle_input(now, Input::Finished(from));
        }
        if self
            .gone_at
            .is_some_and(|gone_at| is_empty || gone_at <= now)
        {
            self.gone_at = None;
            let _ = room.handle_input(now, Input::ConnectionClosed(from));
        }
        more
    }

    /// Takes what the transport has before it may go away with it.
    fn keep_received(&mut self, buffers: &mut LeaverBuffers) {
        while buffers.has_room(self.kept_bytes)
            && let Some(bytes) = receive(&mut self.peer, &mut self.reliable)
        {
            self.kept_bytes += cost(&bytes);
            buffers.bytes += cost(&bytes);
            self.kept.push_back(bytes);
        }
    }

    /// After the end of its goodbye, drops what the transport still has. Gives how many messages.
    pub(super) fn drop_late(&mut self, now: Instant) -> u64 {
        let mut dropped = 0;
        if self.finish_at.is_some_and(|finish_at| finish_at <= now) {
            while receive(&mut self.peer, &mut self.reliable).is_some() {
                dropped += 1;
            }
        }
        dropped
    }

    fn next_received(&mut self, in_flight: bool, buffers: &mut LeaverBuffers) -> Option<Bytes> {
        if let Some(bytes) = self.kept.pop_front() {
            self.kept_bytes -= cost(&bytes);
            buffers.bytes -= cost(&bytes);
            return Some(bytes);
        }
        if in_flight {
            receive(&mut self.peer, &mut self.reliable)
        } else {
            None
        }
    }

    /// Datagrams have left, and there is room for what was held back.
    pub(super) fn is_worth_another_turn(&self) -> bool {
        let Some(peer) = &self.peer else {
            return false;
        };
        [&self.reliable, &self.lossy]
            .into_iter()
            .zip(self.held_back)
            .any(|(channel, held_back)| held_back && channel.room(peer) > 0)
    }

    /// Empties the other channels: what is unread there would take the window from the ones that count. Gives how many
    /// messages were dropped.
    pub(super) fn read_others(&mut self) -> u64 {
        let mut dropped = 0;
        if let Some(peer) = &mut self.peer {
            for channel in &self.others {
                while peer.receive(*channel).is_some() {
                    dropped += 1;
                }
            }
        }
        dropped
    }

    /// Fills the transport from the room, and tells the room what arrived.
    pub(super) fn fill(&mut self, now: Instant, room: &mut Room, drops: &mut Drops) {
        let Some(peer) = &mut self.peer else {
            return;
        };
        let member = self.member;
        self.held_back = [true; 2];
        if self.reliable.is_open() {
            let total = self.reliable.acknowledged(peer);
            if total != self.acknowledged {
                self.acknowledged = total;
                let _ = room.handle_input(now, Input::Acknowledged { member, total });
            }
            while self.reliable.room(peer) > 0 {
                let packet = self.refused.take();
                let Some(packet) =
                    packet.or_else(|| room.next_packet(now, member, Channel::Reliable))
                else {
                    self.held_back[0] = false;
                    break;
                };
                let bytes = packet.len() as u64;
                match self.reliable.send(now, peer, packet.clone()) {
                    Ok(()) => {}
                    Err(SendError::Full) => {
                        self.refused = Some(packet);
                        break;
                    }
                    Err(error) => {
                        drops.discarded += 1;
                        drops.error = Some(error);
                        let _ = room.handle_input(now, Input::Discarded { member, bytes });
                    }
                }
            }
        }
        if self.lossy.is_open() {
            while self.lossy.room(peer) > 0 {
                let Some(packet) = room.next_packet(now, member, Channel::Lossy) else {
                    self.held_back[1] = false;
                    break;
                };
                // It may be lost here as well as on the way.
                if self.lossy.send(now, peer, packet).is_err() {
                    drops.lossy += 1;
                }
            }
        }
    }
}

fn receive(peer: &mut Option<Peer>, channel: &mut ChannelGroup) -> Option<Bytes> {
    channel.receive(peer.as_mut()?)
}

/// An answer with the number of its offer (protocol.md §3.4).
pub(super) fn description(sdp: String, id: u32) -> SessionDescription {
    SessionDescription {
        r#type: "answer".to_owned(),
        sdp,
        id,
        ..SessionDescription::default()
    }
}

pub(super) fn answer(description: SessionDescription) -> Bytes {
    SignalResponse::from(Response::Answer(description)).to_bytes()
}
