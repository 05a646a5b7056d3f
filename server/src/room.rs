//! One room as a state machine: who is in it, who hears what, and what waits for whom.
//!
//! [`Room`] has no clock, socket or randomness of its own. Its driver (the server's worker, or a simulation)
//!
//! 1. admits participants with [`Room::join`] and tells it what happens with [`Room::handle_input`];
//! 2. takes every [`Output`] from [`Room::poll_output`] until there is none, and a participant's messages from
//!    [`Room::next_signal`] while its signal link has room;
//! 3. reads a participant's reliable channel only while [`Room::accepts`] says so, and fills each subscriber's transport
//!    from [`Room::next_packet`] while the transport has room;
//! 4. calls [`Room::handle_timeout`] at [`Room::poll_timeout`].
//!
//! # How a packet waits
//! Each publisher has a [log](self) of shared packets and each subscriber a cursor into it, so a packet that twenty
//! subscribers still need is kept once. A subscriber takes from the logs of all publishers in turn; order is kept per
//! publisher. A subscriber that drains slowly slows the publishers it listens to, one that has stopped is cut after
//! [`Limits::cut_after`] or when it falls off the log. Lossy packets are not logged.
//!
//! Nothing of a publisher reaches a subscriber before the message that announces it was written to the subscriber's signal
//! link: until then it waits in the log, and lossy packets are dropped.

mod departure;
mod driving;
mod joining;
mod limits;
mod log;
mod member;
mod requests;
mod resume;
mod routing;
mod signals;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_proto::id::{Identity, ParticipantSid, RoomName, RoomSid};
use lkstream_proto::limits as wire;
use lkstream_proto::packet::Channel;
use lkstream_proto::participant::{ParticipantInfo, ParticipantState};
use lkstream_proto::room::Room as RoomInfo;
use lkstream_proto::signal::{JoinResponse, Response, SignalResponse};

pub use departure::Departure;
pub use driving::{Input, Loss, Output};
pub use joining::{JoinError, Joining, Options, server_info};
pub use limits::Limits;
pub use resume::ResumeError;
pub use routing::Refusal;
pub use stats::RoomStats;

use log::Slot;
use member::{Member, Phase};
use signals::{JOIN_BYTES, News, size_of_info};

/// Shortest time between two room updates that only change counts (protocol.md §2.10).
const ROOM_UPDATE_INTERVAL: Duration = Duration::from_secs(5);

/// Names a participant of one [`Room`]; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId {
    slot: Slot,
    generation: u32,
}

/// One room. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Room {
    options: Options,
    created: Instant,
    places: Vec<Place>,
    free: Vec<Slot>,
    by_identity: BTreeMap<Identity, Slot>,
    by_sid: BTreeMap<ParticipantSid, Slot>,
    /// Who is in the room and not on the way out.
    present: BTreeSet<Slot>,
    leaving: BTreeSet<Slot>,
    /// Leavers whose leave others are still to be told, by identity.
    untold: BTreeMap<Identity, MemberId>,
    /// When the others are told of each leaver in any case, earliest first.
    drains: VecDeque<(Instant, MemberId)>,
    /// Publishers that are slowed.
    braked: BTreeSet<Slot>,
    /// Cost of all logs.
    logged: usize,
    outputs: VecDeque<Output>,
    /// When something may be due. Never late, sometimes early.
    deadline: Option<Instant>,
    empty_since: Instant,
    expires_after: Duration,
    room_update_due: Option<Instant>,
    room_update_sent: Instant,
    closed: bool,
    stats: RoomStats,
    /// The latest time it was told.
    last_now: Instant,
    scratch: Vec<Slot>,
    /// How often a place was looked at, which is what its work is measured in.
    #[cfg(test)]
    lookups: std::cell::Cell<u64>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    member: Option<Box<Member>>,
}

impl Room {
    /// An empty room.
    pub fn new(now: Instant, mut options: Options) -> Room {
        options.limits.bound_durations();
        let expires_after = options.limits.empty_timeout;
        Room {
            created: now,
            places: Vec::new(),
            free: Vec::new(),
            by_identity: BTreeMap::new(),
            by_sid: BTreeMap::new(),
            present: BTreeSet::new(),
            leaving: BTreeSet::new(),
            untold: BTreeMap::new(),
            drains: VecDeque::new(),
            braked: BTreeSet::new(),
            logged: 0,
            outputs: VecDeque::new(),
            deadline: now.checked_add(expires_after),
            empty_since: now,
            expires_after,
            room_update_due: None,
            room_update_sent: now,
            closed: false,
            stats: RoomStats::default(),
            last_now: now,
            scratch: Vec::new(),
            #[cfg(test)]
            lookups: std::cell::Cell::new(0),
            options,
        }
    }

    /// Its name.
    pub fn name(&self) -> &RoomName {
        &self.options.name
    }

    /// This lifetime of it.
    pub fn sid(&self) -> &RoomSid {
        &self.options.sid
    }

    /// Its bounds.
    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// Participants in it, hidden ones included, leavers not.
    pub fn participants(&self) -> usize {
        self.by_identity.len()
    }

    /// What the others are told about a participant.
    pub fn participant(&self, member: MemberId) -> Option<&ParticipantInfo> {
        self.member(member).map(|member| &member.info)
    }

    /// The present participant of that identity.
    pub fn find(&self, identity: &Identity) -> Option<MemberId> {
        let slot = *self.by_identity.get(identity)?;
        self.at(slot).map(|member| member.id)
    }

    /// Counters since the start.
    pub fn stats(&self) -> RoomStats {
        self.stats
    }

    /// Bytes that all logs hold now; at most [`Limits::room_log`] and one packet.
    pub fn logged(&self) -> usize {
        self.logged
    }

    /// Since when nobody is in it, leavers included.
    pub fn empty_since(&self) -> Option<Instant> {
        self.by_sid.is_empty().then_some(self.empty_since)
    }

    /// Whether nobody ever joined it.
    pub fn is_unused(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether it has been empty for so long, or was closed and everybody is gone, so that it may be dropped.
    pub fn is_over(&self, now: Instant) -> bool {
        self.by_sid.is_empty()
            && (self.closed
                || now.saturating_duration_since(self.empty_since) >= self.expires_after)
    }

    /// Lets somebody in. Its join response is the first of its signals; a participant of the same identity is
    /// sent away (protocol.md §2.9).
    ///
    /// # Errors
    /// See [`JoinError`]; nothing has changed then.
    pub fn join(&mut self, now: Instant, joining: Joining) -> Result<MemberId, JoinError> {
        if self.closed {
            return Err(JoinError::Closed);
        }
        if joining.client.protocol < wire::PROTOCOL_MINIMUM {
            return Err(JoinError::Protocol {
                protocol: joining.client.protocol,
                minimum: wire::PROTOCOL_MINIMUM,
            });
        }
        let known = self.find(&joining.identity);
        let limit = self.options.limits.participants;
        if known.is_none() && self.participants() >= limit {
            return Err(JoinError::Full { limit });
        }
        if let Some(known) = known {
            self.depart(now, known, Departure::duplicate());
        }
        self.supersede(&joining.identity);

        let id = self.seat();
        let sid = ParticipantSid::generate(joining.random);
        let unix = self.unix_time(now);
        let mut capabilities = joining.client.capabilities;
        capabilities.sort_unstable();
        capabilities.dedup();
        capabilities.truncate(wire::CAPABILITIES);
        let info = ParticipantInfo {
            sid: sid.as_str().to_owned(),
            identity: joining.identity.as_str().to_owned(),
            state: ParticipantState::Joined as i32,
            metadata: joining.metadata,
            joined_at: seconds(unix),
            name: joining.name,
            version: 1,
            permission: Some(joining.permission),
            kind: joining.kind,
            attributes: joining.attributes,
            joined_at_ms: millis(unix),
            kind_details: joining.kind_details,
            client_protocol: joining.client.client_protocol,
            capabilities,
            ..ParticipantInfo::default()
        };
        let deadline = now + self.options.limits.connect_timeout;
        self.due(deadline);
        self.by_identity.insert(joining.identity.clone(), id.slot);
        self.by_sid.insert(sid.clone(), id.slot);
        let member = Member::new(now, id, sid, joining.identity, info, deadline);
        let (welcome, others) = self.welcome(&member);
        self.places[id.slot as usize].member = Some(Box::new(member));
        self.present.insert(id.slot);
        self.signal(id, Response::Join(welcome));
        for other in others {
            self.show(id, other, News::Joined);
        }
        self.announce(id.slot, News::Joined);
        self.room_changed(now);
        Ok(id)
    }

    /// Tells it that something happened. What refers to a participant that is gone is ignored.
    ///
    /// # Errors
    /// [`Refusal`] when a packet is dropped, with the reason, which is counted. Everything goes on.
    pub fn handle_input(&mut self, now: Instant, input: Input) -> Result<(), Refusal> {
        self.last_now = self.last_now.max(now);
        #[cfg(test)]
        if let Some(trap) = self.options.trap {
            trap(&input);
        }
        match input {
            Input::Packet {
                from,
                channel,
                bytes,
            } => return self.handle_packet(now, from, channel, bytes),
            Input::Request { from, request } => self.handle_request(now, from, request),
            Input::LinkLost(id) => self.link_lost(now, id),
            Input::Say { member, message } => self.say(member, message),
            Input::SignalsWritten { member, total } => self.signals_written(member, total),
            Input::Connected(id) => self.connected(now, id),
            Input::ChannelOpen { member, channel } => self.channel_open(now, member, channel),
            Input::Acknowledged { member, total } => self.acknowledged(member, total),
            Input::Discarded { member, bytes } => {
                self.stats.discarded += 1;
                self.discarded(member, bytes);
            }
            Input::ConnectionLost(id) => {
                let limit = now + self.options.limits.resume_timeout;
                if let Some(member) = self.member_mut(id) {
                    member.path_lost.get_or_insert(limit);
                    self.due(limit);
                }
            }
            Input::ConnectionClosed(id) => self.connection_closed(now, id),
            Input::Finished(id) => self.finished(id),
            Input::Remove { member, departure } => self.depart(now, member, departure),
            Input::Close(reason) => self.close(now, reason),
        }
        Ok(())
    }

    /// The next thing to do. Take all of them after each input and before waiting.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Room::handle_timeout`] is due. Ask again after every input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Lets time pass. Too early or too late is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        self.last_now = self.last_now.max(now);
        self.deadline = None;
        let present: Vec<Slot> = self.present.iter().copied().collect();
        for slot in present {
            let Some(member) = self.at(slot).filter(|member| member.is_present()) else {
                continue;
            };
            let id = member.id;
            match member.overdue(now, &self.options.limits) {
                Some(member::Overdue::Depart(departure)) => self.depart(now, id, departure),
                Some(member::Overdue::Skip) => self.skip(now, slot),
                None => {}
            }
        }
        self.announce_late(now);
        let braked: Vec<Slot> = self.braked.iter().copied().collect();
        for slot in braked {
            self.recheck_brake(now, slot);
        }
        if self.room_update_due.is_some_and(|due| due <= now) {
            self.send_room_update(now);
        }
        self.schedule(now);
    }

    /// Finds the next deadline anew.
    fn schedule(&mut self, now: Instant) {
        let mut next = self.room_update_due;
        let mut sooner = |at: Option<Instant>| {
            if let Some(at) = at.filter(|at| *at > now) {
                next = Some(next.map_or(at, |next: Instant| next.min(at)));
            }
        };
        for slot in &self.present {
            if let Some(member) = self.at(*slot) {
                member.deadlines(&self.options.limits, &mut sooner);
            }
        }
        sooner(self.drains.front().map(|(at, _)| *at));
        if self.by_sid.is_empty() {
            sooner(self.empty_since.checked_add(self.expires_after));
        }
        self.deadline = next;
    }

    /// Something is due then.
    fn due(&mut self, at: Instant) {
        self.deadline = Some(self.deadline.map_or(at, |deadline| deadline.min(at)));
    }

    fn member(&self, id: MemberId) -> Option<&Member> {
        self.at(id.slot).filter(|member| member.id == id)
    }

    fn member_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.at_mut(id.slot).filter(|member| member.id == id)
    }

    fn at(&self, slot: Slot) -> Option<&Member> {
        #[cfg(test)]
        self.lookups.set(self.lookups.get() + 1);
        self.places.get(slot as usize)?.member.as_deref()
    }

    fn at_mut(&mut self, slot: Slot) -> Option<&mut Member> {
        #[cfg(test)]
        self.lookups.set(self.lookups.get() + 1);
        self.places.get_mut(slot as usize)?.member.as_deref_mut()
    }

    /// Everybody who is in the room and not on the way out.
    fn present(&self) -> impl Iterator<Item = &Member> {
        self.present.iter().filter_map(|slot| self.at(*slot))
    }

    /// A free place.
    fn seat(&mut self) -> MemberId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as Slot
        });
        let place = &mut self.places[slot as usize];
        place.generation += 1;
        MemberId {
            slot,
            generation: place.generation,
        }
    }

    fn unix_time(&self, now: Instant) -> Duration {
        self.options.unix_time + now.saturating_duration_since(self.created)
    }

    /// The last thing that is said to a participant: it goes before all that waits.
    fn say_goodbye_to(&mut self, to: MemberId, response: Response) {
        let message = signals::encode(response);
        self.outputs.push_back(Output::Farewell { to, message });
    }

    /// A join response, and who did not fit into it.
    fn welcome(&self, member: &Member) -> (JoinResponse, Vec<MemberId>) {
        let mut room = self.info();
        room.num_participants += u32::from(member.is_counted());
        let mut others = Vec::new();
        let mut rest = Vec::new();
        let mut size = 0;
        for other in self.visible(member.id) {
            let with_it = size + size_of_info(&other.info);
            if with_it <= JOIN_BYTES {
                size = with_it;
                others.push(other.info.clone());
            } else {
                rest.push(other.id);
            }
        }
        let welcome = JoinResponse {
            room: Some(room),
            participant: Some(member.info.clone()),
            other_participants: others,
            server_version: self.options.server.version.clone(),
            server_region: self.options.server.region.clone(),
            ping_timeout: wire::PING_TIMEOUT.as_secs() as i32,
            ping_interval: wire::PING_INTERVAL.as_secs() as i32,
            server_info: Some(self.options.server.clone()),
            ..JoinResponse::default()
        };
        (welcome, rest)
    }

    /// Everybody that `to` may know of, but itself.
    fn visible(&self, to: MemberId) -> impl Iterator<Item = &Member> {
        self.present()
            .filter(move |member| member.id != to && !member.is_hidden())
    }

    /// What everybody may know about the room (protocol.md §2.6).
    pub fn info(&self) -> RoomInfo {
        let created = self.options.unix_time;
        RoomInfo {
            sid: self.options.sid.as_str().to_owned(),
            name: self.options.name.as_str().to_owned(),
            empty_timeout: self.options.limits.empty_timeout.as_secs() as u32,
            departure_timeout: self.options.limits.departure_timeout.as_secs() as u32,
            max_participants: 0,
            creation_time: seconds(created),
            creation_time_ms: millis(created),
            metadata: self.options.metadata.clone(),
            num_participants: self.present().filter(|member| member.is_counted()).count() as u32,
            active_recording: false,
            num_publishers: 0,
        }
    }

    /// Tells the others that a participant joined, or everybody what it is like now (protocol.md §2.9).
    fn announce(&mut self, slot: Slot, news: News) {
        let Some(subject) = self.at(slot) else {
            return;
        };
        let (id, is_hidden) = (subject.id, subject.is_hidden());
        for slot in self.present.clone() {
            let Some(to) = self.at(slot).map(|member| member.id) else {
                continue;
            };
            let is_told = if to == id {
                news == News::Changed
            } else {
                !is_hidden
            };
            if is_told {
                self.show(to, id, news);
            }
        }
    }

    /// Counts changed: everybody is told, at most every [`ROOM_UPDATE_INTERVAL`].
    fn room_changed(&mut self, now: Instant) {
        if self.room_update_due.is_none() {
            let due = now.max(self.room_update_sent + ROOM_UPDATE_INTERVAL);
            self.room_update_due = Some(due);
            self.due(due);
        }
    }

    fn send_room_update(&mut self, now: Instant) {
        self.room_update_due = None;
        self.room_update_sent = now;
        self.show_room();
    }

    /// The peer connection is up: the participant is active (protocol.md §2.9).
    fn connected(&mut self, now: Instant, id: MemberId) {
        let Some(member) = self.member_mut(id) else {
            return;
        };
        member.path_lost = None;
        if !matches!(member.phase, Phase::Joined { .. }) {
            return;
        }
        member.phase = Phase::Active;
        member.info.state = ParticipantState::Active as i32;
        member.info.version += 1;
        self.announce(id.slot, News::Changed);
        self.room_changed(now);
    }

    fn channel_open(&mut self, now: Instant, id: MemberId, channel: Channel) {
        let Some(member) = self.member_mut(id) else {
            return;
        };
        match channel {
            Channel::Reliable => {
                member.reliable_open = true;
                if member.waiting_since.is_some() {
                    member.waiting_since = Some(now);
                }
            }
            Channel::Lossy => member.lossy_open = true,
        }
        self.wake(id.slot);
    }

    /// Lets the driver know that packets wait for a subscriber.
    fn wake(&mut self, slot: Slot) {
        let Some(member) = self.at_mut(slot) else {
            return;
        };
        let waits =
            (member.reliable_open && member.signals.is_welcomed() && !member.turns.is_empty())
                || !member.lossy.is_empty();
        if waits && !member.woken && member.is_present() {
            member.woken = true;
            let id = member.id;
            self.outputs.push_back(Output::Packets(id));
        }
    }
}

/// A leave message as it goes over a signal link, for clients that have no place in a room; `None` when the departure
/// has no word for its client.
pub fn leave_message(departure: Departure) -> Option<Bytes> {
    Some(SignalResponse::from(departure::leave(departure)?).to_bytes())
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
