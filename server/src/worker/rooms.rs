//! The rooms of a worker: how they begin and end, and what happens when one breaks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Instant, SystemTime};

use axum::http::StatusCode;
use lkstream_proto::disconnect::DisconnectReason;
use lkstream_proto::id::{Identity, RoomName, RoomSid};

use super::Worker;
use super::connection::{Key, LeaverBuffers};
use super::timers::Timer;
use crate::admission::{Admission, Denied};
use crate::room::{self, Departure, Input, MemberId, Room};

/// Names a room of one worker; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RoomKey(pub(super) u64);

#[derive(Debug)]
pub(super) struct HostedRoom {
    pub(super) room: Room,
    pub(super) members: HashMap<MemberId, Key>,
    pub(super) buffers: LeaverBuffers,
    /// Its place in [`Rooms::empty`].
    empty_since: Option<Instant>,
}

/// All rooms.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    pub(super) hosted: HashMap<RoomKey, HostedRoom>,
    by_name: BTreeMap<RoomName, RoomKey>,
    /// Those that nobody is in, the longest empty first: they give way when there are too many rooms.
    empty: BTreeSet<(Instant, RoomKey)>,
    /// In how many rooms an identity is with tokens that name no room.
    unnamed: HashMap<Identity, usize>,
}

impl Rooms {
    pub(super) fn find(&self, name: &RoomName) -> Option<RoomKey> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get_mut(&mut self, key: RoomKey) -> Option<&mut HostedRoom> {
        self.hosted.get_mut(&key)
    }

    fn insert(&mut self, key: RoomKey, room: Room, buffers: LeaverBuffers) {
        self.by_name.insert(room.name().clone(), key);
        let hosted = HostedRoom {
            room,
            members: HashMap::new(),
            buffers,
            empty_since: None,
        };
        self.hosted.insert(key, hosted);
    }

    fn remove(&mut self, key: RoomKey) -> Option<HostedRoom> {
        let hosted = self.hosted.remove(&key)?;
        if let Some(since) = hosted.empty_since {
            self.empty.remove(&(since, key));
        }
        if self.by_name.get(hosted.room.name()) == Some(&key) {
            self.by_name.remove(hosted.room.name());
        }
        Some(hosted)
    }

    /// Notes whether somebody is in a room.
    fn note_occupancy(&mut self, key: RoomKey) {
        let Some(hosted) = self.hosted.get_mut(&key) else {
            return;
        };
        let empty_since = hosted.room.empty_since();
        if hosted.empty_since == empty_since {
            return;
        }
        if let Some(since) = hosted.empty_since {
            self.empty.remove(&(since, key));
        }
        if let Some(since) = empty_since {
            self.empty.insert((since, key));
        }
        hosted.empty_since = empty_since;
    }

    /// Counts a participant whose token names no room.
    pub(super) fn enter_unnamed(&mut self, identity: &Identity) {
        *self.unnamed.entry(identity.clone()).or_default() += 1;
    }

    /// It is out.
    pub(super) fn leave_unnamed(&mut self, identity: &Identity) {
        if let Some(rooms) = self.unnamed.get_mut(identity) {
            *rooms -= 1;
            if *rooms == 0 {
                self.unnamed.remove(identity);
            }
        }
    }
}

impl Worker {
    /// The room of a join; made when it is not there yet.
    pub(super) fn room_of(
        &mut self,
        now: Instant,
        admission: &Admission,
    ) -> Result<RoomKey, Denied> {
        let unavailable = |text| Denied::new(StatusCode::SERVICE_UNAVAILABLE, text);
        if let Some(key) = self.rooms.find(&admission.room) {
            return Ok(key);
        }
        let limit = self.options.max_rooms_per_identity;
        let identity = &admission.joining.identity;
        if !admission.names_room
            && self
                .rooms
                .unnamed
                .get(identity)
                .is_some_and(|rooms| *rooms >= limit)
        {
            return Err(unavailable(format!(
                "this identity is in {limit} rooms already with tokens that name no room"
            )));
        }
        if self.rooms.hosted.len() >= self.options.max_rooms {
            let Some((_, longest)) = self.rooms.empty.first().copied() else {
                let rooms = self.rooms.hosted.len();
                return Err(unavailable(format!("the server has {rooms} rooms already")));
            };
            self.stats.rooms_evicted += 1;
            self.end_room(longest);
        }
        let unix_time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let sid = RoomSid::generate(rand::random());
        let mut options = room::Options::new(admission.room.clone(), sid, unix_time);
        options.metadata.clone_from(&admission.room_metadata);
        options.limits = self.options.limits.clone();
        options.server = room::server_info(self.options.node_id.clone());
        #[cfg(test)]
        {
            options.trap = self.options.trap;
        }
        let key = RoomKey(self.key());
        let buffers = LeaverBuffers::new(options.limits.leaver_backlog);
        self.rooms.insert(key, Room::new(now, options), buffers);
        self.schedule_room(key);
        Ok(key)
    }

    /// Ends a room that was never joined, so that a refused join leaves none behind.
    pub(super) fn end_if_unused(&mut self, key: RoomKey) {
        let is_unused = self
            .rooms
            .get_mut(key)
            .is_some_and(|hosted| hosted.room.is_unused());
        if is_unused {
            self.end_room(key);
        }
    }

    fn end_room(&mut self, key: RoomKey) {
        if let Some(hosted) = self.rooms.remove(key) {
            self.stats.packets += hosted.room.stats();
        }
    }

    pub(super) fn expire_room(&mut self, now: Instant, key: RoomKey) {
        if let Some(hosted) = self.rooms.get_mut(key) {
            hosted.room.handle_timeout(now);
            if hosted.room.is_over(now) {
                self.end_room(key);
            }
        }
        self.carry_out(now, key);
    }

    pub(super) fn schedule_room(&mut self, key: RoomKey) {
        self.rooms.note_occupancy(key);
        if let Some(at) = self
            .rooms
            .get_mut(key)
            .and_then(|hosted| hosted.room.poll_timeout())
        {
            self.timers.set(at, Timer::Room(key));
        }
    }

    /// Runs a part of a turn that concerns one room. Should it panic, that room is thrown away.
    pub(super) fn in_room(&mut self, now: Instant, key: RoomKey, turn: impl FnOnce(&mut Worker)) {
        if catch_unwind(AssertUnwindSafe(|| turn(self))).is_err() {
            self.discard_room(now, key);
        }
    }

    /// Throws a room away whose state may be broken: nothing more is asked of it or of the connections in it. Its
    /// participants are told to join anew.
    pub(super) fn discard_room(&mut self, now: Instant, key: RoomKey) {
        let Some(hosted) = self.rooms.remove(key) else {
            return;
        };
        self.stats.rooms_broken += 1;
        tracing::error!(
            room = ?hosted.room.name().as_str(),
            participants = hosted.members.len(),
            "a room broke and was ended; its participants join anew"
        );
        let leave = room::leave_message(Departure::rejoin(DisconnectReason::StateMismatch));
        let members: Vec<Key> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.room == key)
            .map(|(key, _)| *key)
            .collect();
        for member in members {
            if let Some(connection) = self.connections.get_mut(&member)
                && let Some(link) = &mut connection.link
                && let Some(leave) = &leave
            {
                // A closed link has nobody to tell.
                let _ = link.queue.push(leave.clone());
            }
            if catch_unwind(AssertUnwindSafe(|| self.hang_up(now, member))).is_err() {
                self.stats.broken_connections += 1;
            }
        }
    }

    pub(super) fn shut_down(&mut self, now: Instant) {
        let keys: Vec<RoomKey> = self.rooms.hosted.keys().copied().collect();
        for key in keys {
            self.in_room(now, key, |worker| {
                if let Some(hosted) = worker.rooms.get_mut(key) {
                    let _ = hosted
                        .room
                        .handle_input(now, Input::Close(DisconnectReason::ServerShutdown));
                }
                worker.carry_out(now, key);
            });
        }
    }
}
