//! How participants leave: what they have sent first reaches the others, then the others are told (ARCHITECTURE.md, "Leaving").

use std::time::Instant;

use lkstream_proto::participant::{DisconnectReason, ParticipantState};
use lkstream_proto::signal::{LeaveAction, LeaveRequest, Response};

use super::log::Slot;
use super::member::{Leaving, Link, Phase};
use super::{MemberId, Output, Room};

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
        if !self.begin_leaving(now, id, DisconnectReason::ClientInitiated) {
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
        }
        if !self.begin_leaving(now, id, departure.reason) {
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
    fn begin_leaving(&mut self, now: Instant, id: MemberId, reason: DisconnectReason) -> bool {
        let deadline = now + self.options.limits.leave_drain;
        let awaiting = self
            .present()
            .filter(|member| member.id != id)
            .map(|member| (member.id, None))
            .collect();
        let Some(member) = self.member_mut(id).filter(|member| member.is_present()) else {
            return false;
        };
        member.phase = Phase::Leaving(Leaving {
            reason,
            deadline: Some(deadline),
            finished: false,
            told: !member.is_hidden(),
            removed: false,
            awaiting,
        });
        member.info.state = ParticipantState::Disconnected as i32;
        member.info.disconnect_reason = reason as i32;
        member.info.version += 1;
        let identity = member.identity.clone();
        if self.by_identity.get(&identity) == Some(&id.slot) {
            self.by_identity.remove(&identity);
        }
        self.leaving.insert(id.slot);
        self.forget_subscriber(now, id.slot);
        // Nobody waits for its acknowledgements any more.
        let leavers: Vec<Slot> = self.leaving.iter().copied().collect();
        for slot in leavers {
            if let Some(leaving) = self.leaving_mut(slot) {
                leaving.awaiting.remove(&id);
            }
            self.settle(slot);
        }
        self.due(deadline);
        self.room_changed(now);
        true
    }

    /// Nothing more comes from a leaver.
    pub(super) fn finished(&mut self, id: MemberId) {
        let Some(member) = self.member(id) else {
            return;
        };
        let Phase::Leaving(leaving) = &member.phase else {
            return;
        };
        if leaving.finished {
            return;
        }
        let sid = member.sid.clone();
        let reason = leaving.reason;
        let targets: Vec<(MemberId, Option<u64>)> = leaving
            .awaiting
            .keys()
            .map(|subscriber| {
                let caught_up = member.log.behind(subscriber.slot) == 0;
                let taken = self
                    .member(*subscriber)
                    .map_or(0, |subscriber| subscriber.taken);
                (*subscriber, caught_up.then_some(taken))
            })
            .collect();
        if let Some(leaving) = self.leaving_mut(id.slot) {
            leaving.finished = true;
            leaving.removed = true;
            leaving.awaiting.extend(targets);
        }
        self.outputs.push_back(Output::Removed {
            member: id,
            sid,
            reason,
        });
        self.settle(id.slot);
    }

    /// A subscriber took the last packet of a publisher, who may be a leaver.
    pub(super) fn took_the_last(&mut self, publisher: Slot, subscriber: MemberId) {
        let Some(taken) = self.member(subscriber).map(|member| member.taken) else {
            return;
        };
        if let Some(leaving) = self.leaving_mut(publisher)
            && leaving.finished
            && let Some(target) = leaving.awaiting.get_mut(&subscriber)
        {
            *target = Some(taken);
        }
        self.release(publisher);
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
        if self.leaving.is_empty() {
            return;
        }
        let leavers: Vec<Slot> = self.leaving.iter().copied().collect();
        for slot in leavers {
            self.settle(slot);
        }
    }

    /// Tells those who have everything of a leaver that it left, and forgets it after the last one.
    fn settle(&mut self, slot: Slot) {
        let Some(member) = self.at(slot) else {
            return;
        };
        let Phase::Leaving(leaving) = &member.phase else {
            return;
        };
        if !leaving.finished {
            return;
        }
        let settled: Vec<MemberId> = leaving
            .awaiting
            .iter()
            .filter(|(subscriber, target)| {
                self.member(**subscriber).is_none_or(|subscriber| {
                    target.is_some_and(|target| subscriber.acknowledged >= target)
                })
            })
            .map(|(subscriber, _)| *subscriber)
            .collect();
        self.tell(slot, &settled);
    }

    /// Time is up for a leaver: the rest is told, whatever they have. What it has sent still reaches them.
    pub(super) fn announce_late(&mut self, slot: Slot) {
        let Some(leaving) = self.leaving_mut(slot) else {
            return;
        };
        leaving.deadline = None;
        let rest: Vec<MemberId> = leaving.awaiting.keys().copied().collect();
        self.stats.late_leaves += 1;
        self.tell(slot, &rest);
    }

    fn tell(&mut self, slot: Slot, subscribers: &[MemberId]) {
        let Some(member) = self.at(slot) else {
            return;
        };
        let (id, info) = (member.id, member.info.clone());
        let Some(leaving) = self.leaving_mut(slot) else {
            return;
        };
        let told = leaving.told;
        for subscriber in subscribers {
            leaving.awaiting.remove(subscriber);
        }
        if told {
            for subscriber in subscribers {
                self.show_leave(*subscriber, id, &info);
            }
        }
        self.release(slot);
    }

    /// Frees a leaver's place when everybody was told and has taken everything.
    fn release(&mut self, slot: Slot) {
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

    /// The same for all leavers, after a subscriber was forgotten.
    pub(super) fn release_leavers(&mut self) {
        let leavers: Vec<Slot> = self.leaving.iter().copied().collect();
        for slot in leavers {
            self.release(slot);
        }
    }

    /// Somebody comes (back) under this identity: the new sid says it all (protocol.md §2.9).
    pub(super) fn supersede(&mut self, identity: &lkstream_proto::id::Identity) {
        let leavers: Vec<Slot> = self.leaving.iter().copied().collect();
        for slot in leavers {
            if let Some(member) = self.at_mut(slot)
                && member.identity == *identity
                && let Phase::Leaving(leaving) = &mut member.phase
            {
                leaving.told = false;
            }
        }
    }

    fn leaving_mut(&mut self, slot: Slot) -> Option<&mut Leaving> {
        match &mut self.at_mut(slot)?.phase {
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
            if self.begin_leaving(now, id, reason) {
                if let Some(leaving) = self.leaving_mut(id.slot) {
                    leaving.told = false;
                    leaving.awaiting.clear();
                }
                self.finished(id);
            }
        }
        // Those who left before have nobody to tell any more.
        self.release_leavers();
    }
}
