//! A packet's way from its publisher to its subscribers (protocol.md §4.3, §4.4; ARCHITECTURE.md, "The way of a chunk").

use std::time::Instant;

use bytes::Bytes;
use lkstream_engine::delivery::Verdict;
use lkstream_proto::packet::Channel;
use lkstream_proto::splice::{Attribution, PacketView, Sender, SpliceError, ValueKind};

use super::departure::Departure;
use super::log::{Audience, First, Slot};
use super::member::{Link, Phase};
use super::{Loss, MemberId, Output, Room};

/// A brake's threshold falls to this part of it when the room's logs are half full.
const TIGHT_BRAKE: usize = 16;

/// Why a packet was dropped. All of it is counted in [`RoomStats`](super::RoomStats); the sender is not told (protocol.md §4.3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Its sender has no such participant or is not connected.
    #[error("packet from a participant that is not connected")]
    NotConnected,
    /// Its sender may not publish data.
    #[error("packet from a participant that may not publish data")]
    NotPermitted,
    /// Its number was reached before.
    #[error("packet {sequence} arrived again")]
    Duplicate {
        /// Its sequence number.
        sequence: u32,
    },
    /// Participants of this kind may not send it.
    #[error("packet that only agents may send")]
    NotForParticipants,
    /// It is broken or too large.
    #[error(transparent)]
    Malformed(#[from] SpliceError),
}

impl Room {
    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        from: MemberId,
        channel: Channel,
        bytes: Bytes,
    ) -> Result<(), Refusal> {
        let size = bytes.len() as u64;
        let result = self.route(now, from, channel, bytes);
        match &result {
            Ok(()) => {
                self.stats.packets_accepted += 1;
                self.stats.bytes_accepted += size;
            }
            Err(Refusal::NotConnected) => self.stats.not_connected += 1,
            Err(Refusal::NotPermitted) => self.stats.not_permitted += 1,
            Err(Refusal::Duplicate { .. }) => self.stats.duplicates += 1,
            Err(Refusal::NotForParticipants | Refusal::Malformed(_)) => self.stats.malformed += 1,
        }
        result
    }

    fn route(
        &mut self,
        now: Instant,
        from: MemberId,
        channel: Channel,
        bytes: Bytes,
    ) -> Result<(), Refusal> {
        let publisher = self.member_mut(from).ok_or(Refusal::NotConnected)?;
        match &publisher.phase {
            Phase::Active => {}
            Phase::Leaving(leaving) if !leaving.finished => {}
            _ => return Err(Refusal::NotConnected),
        }
        if !publisher.may_publish() {
            return Err(Refusal::NotPermitted);
        }
        let view = PacketView::parse(bytes)?;
        if view.value() == ValueKind::Transcription && !publisher.is_agent() {
            return Err(Refusal::NotForParticipants);
        }
        if channel == Channel::Reliable
            && publisher
                .sent
                .judge(now, publisher.sid.as_str(), view.sequence())
                == Verdict::Duplicate
        {
            return Err(Refusal::Duplicate {
                sequence: view.sequence(),
            });
        }
        let packet = view.splice(&Sender {
            sid: publisher.sid.as_str(),
            identity: if publisher.is_hidden() {
                ""
            } else {
                publisher.identity.as_str()
            },
            attribution: if publisher.is_agent() {
                Attribution::MaySpeakForOthers
            } else {
                Attribution::Own
            },
        })?;
        let audience = self.audience(from, &view);
        match channel {
            Channel::Reliable => self.append(now, from.slot, packet, audience),
            Channel::Lossy => self.scatter(from, &packet, &audience),
        }
        Ok(())
    }

    /// Whom a packet is for: never its sender; hidden participants like others (protocol.md §4.3).
    fn audience(&self, from: MemberId, view: &PacketView) -> Audience {
        let metrics = view.value() == ValueKind::Metrics;
        if view.is_broadcast() {
            if !metrics {
                return Audience::All;
            }
            return Audience::Only(
                self.present()
                    .filter(|member| member.id != from && member.takes_metrics())
                    .map(|member| member.id.slot)
                    .collect(),
            );
        }
        let by_identity = view
            .destination_identities()
            .filter_map(|identity| self.by_identity.get(identity));
        let by_sid = view
            .destination_sids()
            .filter_map(|sid| self.by_sid.get(sid));
        let mut slots: Vec<Slot> = by_identity
            .chain(by_sid)
            .copied()
            .filter(|slot| {
                *slot != from.slot
                    && self.at(*slot).is_some_and(|member| {
                        member.is_present() && (!metrics || member.takes_metrics())
                    })
            })
            .collect();
        slots.sort_unstable();
        slots.dedup();
        Audience::Only(slots.into())
    }

    /// Lists whom a packet is for.
    fn list(&self, from: Slot, audience: &Audience, to: &mut Vec<Slot>) {
        to.clear();
        match audience {
            Audience::Only(slots) => to.extend_from_slice(slots),
            Audience::All => to.extend(
                self.present()
                    .map(|member| member.id.slot)
                    .filter(|slot| *slot != from),
            ),
        }
    }

    fn append(&mut self, now: Instant, from: Slot, packet: Bytes, audience: Audience) {
        let mut to = std::mem::take(&mut self.scratch);
        self.list(from, &audience, &mut to);
        // The log is taken out for a moment, since it and the subscribers' turns change together.
        let mut log = self
            .at_mut(from)
            .map(|publisher| std::mem::take(&mut publisher.log))
            .unwrap_or_default();
        let publisher = self.at(from).map(|publisher| publisher.id);
        let is_by_name = matches!(audience, Audience::Only(_));
        let cost = super::log::cost(packet.len());
        let mut began_to_wait = false;
        let places = &mut self.places;
        let grown = log.append(now, packet, audience, to.iter().copied(), |slot, first| {
            let Some(member) = places
                .get_mut(slot as usize)
                .and_then(|place| place.member.as_deref_mut())
            else {
                return;
            };
            // Until it has heard of the publisher, that has no turn.
            if first == First::Yes && publisher.is_none_or(|it| member.signals.knows(it)) {
                member.turns.push_back(from);
            }
            member.behind += cost;
            if is_by_name {
                member.addressed_by.insert(from);
            }
            if member.waiting_since.is_none() {
                member.waiting_since = Some(now);
                began_to_wait = true;
            }
        });
        if let Some(publisher) = self.at_mut(from) {
            publisher.log = log;
        }
        self.logged += grown;
        if began_to_wait {
            let limits = &self.options.limits;
            self.due(now + limits.stalled_after.min(limits.cut_after));
        }
        for slot in &to {
            self.wake(*slot);
        }
        self.scratch = to;
        self.keep_bounds(now, from);
    }

    fn scatter(&mut self, from: MemberId, packet: &Bytes, audience: &Audience) {
        let mut to = std::mem::take(&mut self.scratch);
        self.list(from.slot, audience, &mut to);
        let limit = self.options.limits.lossy_queue;
        for slot in to.iter().copied() {
            let Some(member) = self.at_mut(slot) else {
                continue;
            };
            if !matches!(member.phase, Phase::Active) || !member.lossy_open {
                continue;
            }
            if !member.signals.is_welcomed() || !member.signals.knows(from) {
                self.stats.lossy_dropped += 1;
                continue;
            }
            member.lossy_bytes += packet.len();
            member.lossy.push_back(packet.clone());
            let mut dropped = 0;
            while member.lossy_bytes > limit
                && let Some(oldest) = member.lossy.pop_front()
            {
                member.lossy_bytes -= oldest.len();
                dropped += 1;
            }
            self.stats.lossy_dropped += dropped;
            self.wake(slot);
        }
        self.scratch = to;
    }

    /// The next packet for a subscriber's channel: from the logs of all publishers in turn, or the oldest lossy one.
    /// `None` when nothing waits or the channel is not open.
    pub fn next_packet(
        &mut self,
        now: Instant,
        subscriber: MemberId,
        channel: Channel,
    ) -> Option<Bytes> {
        let packet = match channel {
            Channel::Reliable => self.take(now, subscriber),
            Channel::Lossy => self.member_mut(subscriber).and_then(|member| {
                let packet = member.lossy.pop_front()?;
                member.lossy_bytes -= packet.len();
                Some(packet)
            }),
        };
        match &packet {
            Some(packet) => {
                self.stats.packets_delivered += 1;
                self.stats.bytes_delivered += packet.len() as u64;
            }
            None => {
                if let Some(member) = self.member_mut(subscriber)
                    && member.lossy.is_empty()
                    && (member.turns.is_empty()
                        || !member.reliable_open
                        || !member.signals.is_welcomed())
                {
                    member.woken = false;
                }
            }
        }
        packet
    }

    fn take(&mut self, now: Instant, id: MemberId) -> Option<Bytes> {
        let member = self.member_mut(id)?;
        if !member.reliable_open || !member.is_present() || !member.signals.is_welcomed() {
            return None;
        }
        let from = member.turns.pop_front()?;
        let publisher = self.at_mut(from)?;
        let taken = publisher.log.take(id.slot)?;
        let braked = publisher.braked;
        self.logged -= taken.freed;
        let member = self.member_mut(id)?;
        if !taken.drained {
            member.turns.push_back(from);
        }
        member.behind -= taken.cost;
        member.waiting_since = (member.behind > 0).then_some(now);
        member.taken += taken.packet.len() as u64;
        if taken.drained && !self.leaving.is_empty() {
            self.took_the_last(from, id);
        }
        if braked {
            self.recheck_brake(now, from);
        }
        Some(taken.packet)
    }

    /// Whether the driver may read a participant's reliable channel. While it may not, SCTP's window slows the
    /// participant down; [`Output::Accepting`] tells when to go on.
    pub fn accepts(&mut self, now: Instant, publisher: MemberId) -> bool {
        let Some(member) = self.member(publisher) else {
            return true;
        };
        if member.braked {
            return false;
        }
        if !self.is_too_far_ahead(now, publisher.slot, self.brake()) {
            return true;
        }
        self.stats.braked += 1;
        if let Some(member) = self.member_mut(publisher) {
            member.braked = true;
        }
        self.braked.insert(publisher.slot);
        self.due(now + self.options.limits.stalled_after);
        false
    }

    fn brake(&self) -> usize {
        let limits = &self.options.limits;
        if self.logged > limits.room_log / 2 {
            limits.brake / TIGHT_BRAKE
        } else {
            limits.brake
        }
    }

    /// Lets a publisher go on when those behind it have caught up to half of the threshold.
    pub(super) fn recheck_brake(&mut self, now: Instant, publisher: Slot) {
        if !self.at(publisher).is_some_and(|member| member.braked) {
            return;
        }
        if self.is_too_far_ahead(now, publisher, self.brake() / 2) {
            // Time alone may change it: a subscriber becomes stalled.
            self.due(now + self.options.limits.stalled_after);
            return;
        }
        self.braked.remove(&publisher);
        if let Some(member) = self.at_mut(publisher) {
            member.braked = false;
            let id = member.id;
            self.outputs.push_back(Output::Accepting(id));
        }
    }

    /// Whether somebody who drains is more than `threshold` behind a publisher, or somebody who stopped is and nobody
    /// else listens to it: then going on would only push that one off the log.
    fn is_too_far_ahead(&self, now: Instant, publisher: Slot, threshold: usize) -> bool {
        let Some(member) = self.at(publisher) else {
            return false;
        };
        let log = &member.log;
        if log.cost() <= threshold {
            return false;
        }
        let limits = &self.options.limits;
        let mut stopped = false;
        for (slot, behind) in log.waiting() {
            if behind <= threshold {
                continue;
            }
            let Some(subscriber) = self.at(slot) else {
                continue;
            };
            if !subscriber.is_stalled(now, limits) {
                return true;
            }
            stopped = true;
        }
        stopped && !self.has_live_listener(now, publisher)
    }

    /// Whether somebody who drains was sent something lately.
    fn has_live_listener(&self, now: Instant, publisher: Slot) -> bool {
        let Some(member) = self.at(publisher) else {
            return false;
        };
        let limits = &self.options.limits;
        let lately = |at: Instant| now.saturating_duration_since(at) <= limits.cut_after;
        if member.log.last_broadcast().is_some_and(lately)
            && self.present().any(|other| {
                other.id.slot != publisher && other.reliable_open && !other.is_stalled(now, limits)
            })
        {
            return true;
        }
        member.log.last_targeted().any(|(slot, at)| {
            lately(at)
                && self.at(slot).is_some_and(|other| {
                    other.is_present() && other.reliable_open && !other.is_stalled(now, limits)
                })
        })
    }

    /// Cuts who pins more of a log, or of all logs, than there may be.
    fn keep_bounds(&mut self, now: Instant, publisher: Slot) {
        let limits = &self.options.limits;
        let (publisher_log, room_log) = (limits.publisher_log, limits.room_log);
        loop {
            let Some(member) = self.at(publisher) else {
                return;
            };
            let victim = if member.log.cost() > publisher_log {
                member
                    .log
                    .waiting()
                    .max_by_key(|(_, behind)| *behind)
                    .map(|(slot, _)| slot)
            } else if self.logged > room_log {
                self.present()
                    .max_by_key(|member| member.behind)
                    .map(|member| member.id.slot)
            } else {
                return;
            };
            let Some(victim) = victim.and_then(|slot| self.at(slot)) else {
                return;
            };
            let (id, open) = (victim.id, victim.reliable_open);
            if open {
                self.stats.cut_overrun += 1;
                let loss = Loss::Overrun;
                self.outputs.push_back(Output::Lost { member: id, loss });
                self.depart(now, id, Departure::overrun());
            } else {
                self.skip(now, id.slot);
            }
        }
    }

    /// A newcomer whose channel is not open yet loses what waits for it: as if it had joined now. It has seen no part of
    /// any stream, so it sees no gap.
    pub(super) fn skip(&mut self, now: Instant, slot: Slot) {
        self.stats.joiners_skipped += 1;
        if let Some(member) = self.at(slot).map(|member| member.id) {
            let loss = Loss::Skipped;
            self.outputs.push_back(Output::Lost { member, loss });
        }
        self.forget_subscriber(now, slot);
    }

    /// Drops everything that waits for a subscriber. Looks at those only who have something for it.
    pub(super) fn forget_subscriber(&mut self, now: Instant, slot: Slot) {
        let Some(member) = self.at_mut(slot) else {
            return;
        };
        let mut publishers = std::mem::take(&mut member.addressed_by);
        publishers.extend(member.turns.drain(..));
        publishers.extend(member.signals.unannounced());
        member.behind = 0;
        member.waiting_since = None;
        member.lossy.clear();
        member.lossy_bytes = 0;
        let limit = self.options.limits.room_log / 2;
        let was_tight = self.logged > limit;
        for publisher in &publishers {
            let Some(member) = self.at_mut(*publisher) else {
                continue;
            };
            let (_, freed) = member.log.remove(slot);
            self.logged -= freed;
            self.recheck_brake(now, *publisher);
            self.release(*publisher);
        }
        if was_tight && self.logged <= limit {
            for publisher in self.braked.clone() {
                self.recheck_brake(now, publisher);
            }
        }
    }

    /// Drops what a leaver has sent to somebody who has not heard that it came.
    pub(super) fn drop_held(&mut self, subscriber: Slot, publisher: Slot) {
        let Some(member) = self.at_mut(publisher) else {
            return;
        };
        let waiting = member.log.waiting_packets(subscriber);
        let (behind, freed) = member.log.remove(subscriber);
        self.logged -= freed;
        self.stats.unannounced_dropped += waiting;
        if waiting > 0
            && let Some(member) = self.at(subscriber).map(|member| member.id)
        {
            let loss = Loss::Unannounced;
            self.outputs.push_back(Output::Lost { member, loss });
        }
        if let Some(member) = self.at_mut(subscriber) {
            member.behind -= behind;
            if member.behind == 0 {
                member.waiting_since = None;
            }
        }
    }

    /// Whether its signal link is up.
    pub(super) fn is_linked(&self, slot: Slot) -> bool {
        self.at(slot).is_some_and(|member| member.link == Link::Up)
    }
}
