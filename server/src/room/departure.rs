//! How participants leave: what they have sent first reaches the others, then the others are told (ARCHITECTURE.md, "Leaving").

use std::collections::BTreeSet;
use std::time::Instant;

use lkstream_proto::disconnect::DisconnectReason;
use lkstream_proto::id::Identity;
use lkstream_proto::participant::ParticipantState;
use lkstream_proto::signal::{LeaveAction, LeaveRequest, Response};

use super::log::Slot;
use super::member::{Leaving, Link, Phase};
use super::{Loss, MemberId, Output, Room};

/// Why and how a participant is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// What the others and the participant are told.
    pub reason: DisconnectReason,
    /// What its client shall do (protocol.md §2.13); `None` sends it no leave.
    pub action: Option<LeaveAction>,
}

impl Departure {
    /// Away for good.
    pub fn final_(reason: DisconnectReason) -> Departure {
        Departure {
            reason,
            action: Some(LeaveAction::Disconnect),
        }
    }

    /// It may join anew at once.
    pub fn rejoin(reason: DisconnectReason) -> Departure {
        Departure {
            reason,
            action: Some(LeaveAction::Reconnect),
        }
    }

    /// Without a word to it.
    pub fn silent(reason: DisconnectReason) -> Departure {
        Departure {
            reason,
            action: None,
        }
    }

    pub(super) fn duplicate() -> Departure {
        Departure::final_(DisconnectReason::DuplicateIdentity)
    }

    pub(super) fn never_connected() -> Departure {
        Departure::final_(DisconnectReason::JoinFailure)
    }

    pub(super) fn connection_lost() -> Departure {
        Departure::rejoin(DisconnectReason::ConnectionTimeout)
    }

    pub(super) fn link_lost() -> Departure {
        Departure::silent(DisconnectReason::SignalClose)
    }

    pub(super) fn stalled() -> Departure {
        Departure::rejoin(DisconnectReason::StateMismatch)
    }

    pub(super) fn overrun() -> Departure {
        Departure::rejoin(DisconnectReason::StateMismatch)
    }
}

/// The leave message of a departure.
pub(crate) fn leave(departure: Departure) -> Option<Response> {
    let action = departure.action?;
    Some(Response::Leave(LeaveRequest {
        can_reconnect: action != LeaveAction::Disconnect,
        reason: departure.reason as i32,
        action: action as i32,
        regions: None,
    }))
}

impl Room {
    /// The participant said goodbye: what its transport has received still counts.
    pub(super) fn say_goodbye(&mut self, now: Instant, id: MemberId) {
        let connected = self
            .member(id)
            .is_some_and(|member| matches!(member.phase, Phase::Active));
        if !self.begin_leaving(now, id, DisconnectReason::ClientInitiated, Audience::Others) {
            return;
        }
        if connected {
            self.outputs.push_back(Output::Finish(id));
        } else {
            self.finished(id);
        }
    }

    /// Sends a participant away; nothing more is read from it.
    pub(super) fn depart(&mut self, now: Instant, id: MemberId, departure: Departure) {
        if departure == Departure::stalled() && self.is_cut_for_stalling(now, id) {
            self.stats.cut_stalled += 1;
            let loss = Loss::Stalled;
            self.outputs.push_back(Output::Lost { member: id, loss });
        }
        if !self.begin_leaving(now, id, departure.reason, Audience::Others) {
            return;
        }
        if self.is_linked(id.slot)
            && let Some(leave) = leave(departure)
        {
            self.say_goodbye_to(id, leave);
        }
        self.finished(id);
    }

    fn is_cut_for_stalling(&self, now: Instant, id: MemberId) -> bool {
        self.member(id).is_some_and(|member| {
            member.is_present() && member.is_stalled(now, &self.options.limits)
        })
    }

    /// Takes a participant out of everything but its log. False when it is on its way already.
    fn begin_leaving(
        &mut self,
        now: Instant,
        id: MemberId,
        reason: DisconnectReason,
        audience: Audience,
    ) -> bool {
        let Some(member) = self.member_mut(id).filter(|member| member.is_present()) else {
            return false;
        };
        let told = audience == Audience::Others && !member.is_hidden();
        member.info.state = ParticipantState::Disconnected as i32;
        member.info.disconnect_reason = reason as i32;
        member.info.version += 1;
        let leavers = std::mem::take(&mut member.leavers);
        member.targets.clear();
        let identity = member.identity.clone();
        if self.by_identity.get(&identity) == Some(&id.slot) {
            self.by_identity.remove(&identity);
        }
        self.present.remove(&id.slot);
        self.leaving.insert(id.slot);
        let mut awaiting = BTreeSet::new();
        if told {
            for slot in self.present.clone() {
                if let Some(member) = self.at_mut(slot) {
                    member.leavers.insert(id);
                    awaiting.insert(member.id);
                }
            }
            self.untold.insert(identity, id);
            let deadline = now + self.options.limits.leave_drain;
            self.drains.push_back((deadline, id));
            self.due(deadline);
        }
        if let Some(member) = self.member_mut(id) {
            member.phase = Phase::Leaving(Leaving {
                reason,
                finished: false,
                told,
                awaiting,
            });
        }
        self.forget_subscriber(now, id.slot);
        // Nobody waits for its acknowledgements any more.
        for leaver in leavers {
            if let Some(leaving) = self.leaving_mut(leaver) {
                leaving.awaiting.remove(&id);
            }
            self.release(leaver.slot);
        }
        self.room_changed(now);
        true
    }

    /// Nothing more comes from a leaver.
    pub(super) fn finished(&mut self, id: MemberId) {
        let Some(leaving) = self.leaving_mut(id).filter(|leaving| !leaving.finished) else {
            return;
        };
        leaving.finished = true;
        let reason = leaving.reason;
        let awaiting = leaving.awaiting.clone();
        let Some(member) = self.member(id) else {
            return;
        };
        let sid = member.sid.clone();
        let caught_up: Vec<MemberId> = awaiting
            .into_iter()
            .filter(|subscriber| member.log.behind(subscriber.slot) == 0)
            .collect();
        self.outputs.push_back(Output::Removed {
            member: id,
            sid,
            reason,
        });
        for subscriber in caught_up {
            self.tell_once_acknowledged(id, subscriber);
        }
        self.release(id.slot);
    }

    /// A subscriber took the last packet of a publisher, who may be a leaver.
    pub(super) fn took_the_last(&mut self, publisher: Slot, subscriber: MemberId) {
        let Some(member) = self.at(publisher) else {
            return;
        };
        let id = member.id;
        if let Phase::Leaving(leaving) = &member.phase
            && leaving.finished
        {
            self.tell_once_acknowledged(id, subscriber);
            self.release(publisher);
        }
    }

    /// A subscriber has taken everything of a leaver: it is told as soon as its transport has acknowledged that.
    fn tell_once_acknowledged(&mut self, leaver: MemberId, subscriber: MemberId) {
        let Some(member) = self.member_mut(subscriber) else {
            return;
        };
        if member.acknowledged >= member.taken {
            self.tell(leaver, subscriber);
        } else if member.leavers.contains(&leaver) {
            member.targets.push_back((member.taken, leaver));
        }
    }

    pub(super) fn acknowledged(&mut self, id: MemberId, total: u64) {
        let now = self.last_now;
        let Some(member) = self.member_mut(id) else {
            return;
        };
        if total > member.acknowledged && member.waiting_since.is_some() {
            // After an outage its full transport empties long before it can take more.
            member.waiting_since = Some(now);
        }
        member.acknowledged = total;
        self.tell_what_is_acknowledged(id);
    }

    /// A packet that a subscriber took will not reach it.
    pub(super) fn discarded(&mut self, id: MemberId, bytes: u64) {
        let Some(member) = self.member_mut(id) else {
            return;
        };
        member.taken = member.taken.saturating_sub(bytes);
        let taken = member.taken;
        for (target, _) in member.targets.iter_mut().rev() {
            if *target <= taken {
                break;
            }
            *target = taken;
        }
        self.tell_what_is_acknowledged(id);
    }

    fn tell_what_is_acknowledged(&mut self, subscriber: MemberId) {
        while let Some(member) = self.member_mut(subscriber)
            && let Some((target, leaver)) = member.targets.front().copied()
            && target <= member.acknowledged
        {
            member.targets.pop_front();
            self.tell(leaver, subscriber);
            self.release(leaver.slot);
        }
    }

    /// Time is up for leavers: the rest is told, whatever they have. What these have sent still reaches them.
    pub(super) fn announce_late(&mut self, now: Instant) {
        while let Some((deadline, leaver)) = self.drains.front().copied() {
            let awaiting = match self.leaving_mut(leaver) {
                Some(leaving) if deadline <= now => leaving.awaiting.clone(),
                Some(leaving) if leaving.told && !leaving.awaiting.is_empty() => return,
                // It is gone, or there is nothing to be late with.
                _ => BTreeSet::new(),
            };
            self.drains.pop_front();
            if awaiting.is_empty() {
                continue;
            }
            self.stats.late_leaves += 1;
            for subscriber in awaiting {
                self.tell(leaver, subscriber);
            }
            self.release(leaver.slot);
        }
    }

    /// Tells a subscriber that a leaver left, unless it was told before.
    fn tell(&mut self, leaver: MemberId, subscriber: MemberId) {
        let Some(leaving) = self.leaving_mut(leaver) else {
            return;
        };
        let told = leaving.told;
        if !leaving.awaiting.remove(&subscriber) {
            return;
        }
        self.stop_awaiting(leaver, subscriber);
        if told && let Some(info) = self.member(leaver).map(|member| member.info.clone()) {
            self.show_leave(subscriber, leaver, &info);
        }
    }

    fn stop_awaiting(&mut self, leaver: MemberId, subscriber: MemberId) {
        if let Some(member) = self.member_mut(subscriber) {
            member.leavers.remove(&leaver);
            if member.leavers.is_empty() {
                member.targets.clear();
            }
        }
    }

    /// Frees a leaver's place when everybody was told and has taken everything.
    pub(super) fn release(&mut self, slot: Slot) {
        let Some(member) = self.at(slot) else {
            return;
        };
        if let Phase::Leaving(leaving) = &member.phase
            && leaving.finished
            && leaving.awaiting.is_empty()
            && member.log.waiting().next().is_none()
        {
            self.vacate(slot);
        }
    }

    /// Somebody comes (back) under this identity: the new sid says it all (protocol.md §2.9).
    pub(super) fn supersede(&mut self, identity: &Identity) {
        if let Some(leaver) = self.untold.remove(identity) {
            self.tell_nobody(leaver);
        }
    }

    fn tell_nobody(&mut self, leaver: MemberId) {
        let Some(leaving) = self.leaving_mut(leaver) else {
            return;
        };
        leaving.told = false;
        for subscriber in std::mem::take(&mut leaving.awaiting) {
            self.stop_awaiting(leaver, subscriber);
        }
        self.release(leaver.slot);
    }

    fn leaving_mut(&mut self, id: MemberId) -> Option<&mut Leaving> {
        match &mut self.member_mut(id)?.phase {
            Phase::Leaving(leaving) => Some(leaving),
            _ => None,
        }
    }

    /// Frees a place.
    fn vacate(&mut self, slot: Slot) {
        let Some(member) = self
            .places
            .get_mut(slot as usize)
            .and_then(|place| place.member.take())
        else {
            return;
        };
        self.logged -= member.log.cost();
        self.leaving.remove(&slot);
        self.braked.remove(&slot);
        if self.untold.get(&member.identity) == Some(&member.id) {
            self.untold.remove(&member.identity);
        }
        self.by_sid.remove(&member.sid);
        self.forget_participant(member.id);
        self.free.push(slot);
        if self.by_sid.is_empty() {
            self.empty_since = self.last_now;
            self.expires_after = self.options.limits.departure_timeout;
            if let Some(at) = self.empty_since.checked_add(self.expires_after) {
                self.due(at);
            }
        }
    }

    /// Its peer connection was closed by its own side: it has a moment to say why.
    pub(super) fn connection_closed(&mut self, now: Instant, id: MemberId) {
        let farewell = now + self.options.limits.farewell;
        let linked = self.is_linked(id.slot);
        let Some(member) = self.member_mut(id) else {
            return;
        };
        member.reliable_open = false;
        member.lossy_open = false;
        if linked {
            member.path_lost = Some(member.path_lost.map_or(farewell, |at| at.min(farewell)));
            self.due(farewell);
        } else {
            self.depart(now, id, Departure::connection_lost());
        }
    }

    /// Its signal link is gone.
    pub(super) fn link_lost(&mut self, now: Instant, id: MemberId) {
        let until = now + self.options.limits.resume_timeout;
        let Some(member) = self.member_mut(id).filter(|member| member.is_present()) else {
            return;
        };
        if member.link != Link::Up {
            return;
        }
        member.link = Link::Lost { until };
        member.signals.interrupt();
        let closed = member.path_lost.is_some();
        self.due(until);
        if closed {
            self.depart(now, id, Departure::connection_lost());
        }
    }

    pub(super) fn close(&mut self, now: Instant, reason: DisconnectReason) {
        self.closed = true;
        let everybody: Vec<MemberId> = self.present().map(|member| member.id).collect();
        for id in &everybody {
            if self.is_linked(id.slot)
                && let Some(leave) = leave(Departure::final_(reason))
            {
                self.say_goodbye_to(*id, leave);
            }
        }
        // Nobody is told about the others: all go at once.
        for id in everybody {
            if self.begin_leaving(now, id, reason, Audience::Nobody) {
                self.finished(id);
            }
        }
        // Those who left before have nobody to tell any more.
        for slot in self.leaving.clone() {
            self.release(slot);
        }
    }
}

/// Who is told of a leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    Others,
    Nobody,
}
