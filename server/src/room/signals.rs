//! What waits to be said to one participant on its signal link, and which publishers it has not been told of yet.
//!
//! A change of a participant waits as its id and is encoded when the link takes it. So one that reads slowly gets the
//! newest state, once, and what waits for it is bounded by the size of the room, however often the others change.

use std::collections::BTreeMap;

use bytes::Bytes;
use lkstream_proto::limits as wire;
use lkstream_proto::participant::{ParticipantInfo, ParticipantState};
use lkstream_proto::signal::{ParticipantUpdate, Response, RoomUpdate, SignalResponse};

use super::log::Slot;
use super::member::Link;
use super::{Loss, MemberId, Output, Room};

/// Bytes of participants in one update, above which the next one gets a message of its own: well below
/// [`SIGNAL_BYTES`](lkstream_proto::limits::SIGNAL_BYTES) with the largest participant at its end.
const UPDATE_BYTES: usize = 256 << 10;

/// Bytes of other participants in a join response; the rest follows in updates. Together with the largest room and
/// the largest newcomer it is below [`SIGNAL_BYTES`](lkstream_proto::limits::SIGNAL_BYTES).
pub(super) const JOIN_BYTES: usize = 256 << 10;

#[derive(Debug)]
enum Signal {
    /// An encoded response.
    Message(Bytes),
    /// What a participant is like by then.
    Participant(MemberId),
    /// A participant that it knows has left.
    Left(Box<ParticipantInfo>),
    /// What the room is like by then.
    RoomUpdate,
}

/// One participant's queue.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// By order.
    queue: BTreeMap<u64, Signal>,
    next: u64,
    /// Places of [`Signal::Participant`] in the queue.
    participants: BTreeMap<MemberId, u64>,
    has_room_update: bool,
    /// Bytes of [`Signal::Message`].
    bytes: usize,
    /// Messages that the driver took for the present link.
    taken: u64,
    /// How many of them the link has written.
    written: u64,
    /// Whose join was not written yet: the number of the message that tells it, `None` while it is in the queue.
    unannounced: BTreeMap<MemberId, Option<u64>>,
    woken: bool,
}

impl Signals {
    fn push(&mut self, signal: Signal) -> u64 {
        // Place 0 is for the first message of a resumed link.
        self.next += 1;
        let place = self.next;
        self.queue.insert(place, signal);
        place
    }

    fn participant(&mut self, id: MemberId) {
        if !self.participants.contains_key(&id) {
            let place = self.push(Signal::Participant(id));
            self.participants.insert(id, place);
        }
    }

    /// Somebody that it does not know of.
    pub(super) fn newcomer(&mut self, id: MemberId) {
        self.unannounced.insert(id, None);
        self.participant(id);
    }

    fn pop(&mut self) -> Option<Signal> {
        let (_, signal) = self.queue.pop_first()?;
        match &signal {
            Signal::Message(message) => self.bytes -= message.len(),
            Signal::Participant(id) => {
                self.participants.remove(id);
            }
            Signal::RoomUpdate => self.has_room_update = false,
            Signal::Left(_) => {}
        }
        Some(signal)
    }

    /// The next one, if it is a participant.
    fn pop_participant(&mut self) -> Option<MemberId> {
        let entry = self.queue.first_entry()?;
        let Signal::Participant(id) = entry.get() else {
            return None;
        };
        let id = *id;
        entry.remove();
        self.participants.remove(&id);
        Some(id)
    }

    /// The next one, if it is a leaver.
    fn pop_left(&mut self) -> Option<ParticipantInfo> {
        let entry = self.queue.first_entry()?;
        if !matches!(entry.get(), Signal::Left(_)) {
            return None;
        }
        match entry.remove() {
            Signal::Left(info) => Some(*info),
            _ => None,
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queue.len() + self.participants.len() + self.unannounced.len()
    }

    /// Whether the first message of its link was written: nothing is delivered before.
    pub(super) fn is_welcomed(&self) -> bool {
        self.written > 0
    }

    /// Whether it was told of a publisher, if it may know of it at all.
    pub(super) fn knows(&self, publisher: MemberId) -> bool {
        !self.unannounced.contains_key(&publisher)
    }

    /// Publishers that it was not told of yet.
    pub(super) fn unannounced(&self) -> impl Iterator<Item = Slot> + '_ {
        self.unannounced.keys().map(|id| id.slot)
    }

    /// A participant leaves, so it is not shown any more. True when it was never told that it came.
    fn conceal(&mut self, id: MemberId) -> bool {
        if let Some(place) = self.participants.remove(&id) {
            self.queue.remove(&place);
        }
        let is_unknown = self.unannounced.get(&id) == Some(&None);
        if is_unknown {
            self.unannounced.remove(&id);
        }
        is_unknown
    }

    /// A participant is gone.
    fn forget(&mut self, id: MemberId) {
        self.conceal(id);
        self.unannounced.remove(&id);
    }

    /// Its link is gone: what was not written will be told anew over the next one, but for those who left.
    pub(super) fn interrupt(&mut self) {
        self.queue
            .retain(|_, signal| matches!(signal, Signal::Left(_)));
        self.participants.clear();
        self.has_room_update = false;
        self.bytes = 0;
        self.woken = false;
        for number in self.unannounced.values_mut() {
            *number = None;
        }
    }

    /// Another link takes the place of the one it had.
    pub(super) fn restart(&mut self) {
        self.interrupt();
        self.taken = 0;
        self.written = 0;
    }
}

impl Room {
    /// The next message for a participant's signal link. The driver takes one when the link has room for it, and tells
    /// with [`Input::SignalsWritten`](super::Input::SignalsWritten) how many were written.
    pub fn next_signal(&mut self, to: MemberId) -> Option<Bytes> {
        loop {
            let member = self.member_mut(to)?;
            let Some(signal) = member.signals.pop() else {
                member.signals.woken = false;
                return None;
            };
            let message = match signal {
                Signal::Message(message) => Some(message),
                Signal::RoomUpdate => {
                    let room = Some(self.info());
                    Some(encode(Response::RoomUpdate(RoomUpdate { room })))
                }
                Signal::Left(info) => self.left_message(to, *info),
                Signal::Participant(id) => self.participants_message(to, id),
            };
            if let Some(message) = message {
                self.member_mut(to)?.signals.taken += 1;
                return Some(message);
            }
        }
    }

    /// Leavers in one message, as long as they follow each other.
    fn left_message(&mut self, to: MemberId, first: ParticipantInfo) -> Option<Bytes> {
        let signals = &mut self.member_mut(to)?.signals;
        let mut infos = vec![first];
        while infos.len() < UPDATE_BYTES / 1024
            && let Some(info) = signals.pop_left()
        {
            infos.push(info);
        }
        Some(update(infos))
    }

    /// Participants in one message, as long as they follow each other and are not too large together.
    fn participants_message(&mut self, to: MemberId, first: MemberId) -> Option<Bytes> {
        let mut ids = Vec::new();
        let mut size = 0;
        let mut next = Some(first);
        while let Some(id) = next {
            match self.shown(to, id) {
                Some(info) => {
                    size += size_of_info(info);
                    ids.push(id);
                }
                None => {
                    self.member_mut(to)?.signals.forget(id);
                }
            }
            next = None;
            if size < UPDATE_BYTES {
                next = self.member_mut(to)?.signals.pop_participant();
            }
        }
        let message = match ids[..] {
            [] => return None,
            [id] => self.single_update(to, id)?,
            _ => {
                let infos = ids
                    .iter()
                    .filter_map(|id| self.shown(to, *id).map(|info| as_present(info.clone())));
                update(infos.collect())
            }
        };
        let signals = &mut self.member_mut(to)?.signals;
        let number = signals.taken + 1;
        for id in ids {
            if let Some(unannounced @ None) = signals.unannounced.get_mut(&id) {
                *unannounced = Some(number);
            }
        }
        Some(message)
    }

    /// What an update to a participant may still show of another: a leaver only if its join was not told yet, since what
    /// it has sent comes next.
    fn shown(&self, to: MemberId, id: MemberId) -> Option<&ParticipantInfo> {
        let subject = self.member(id)?;
        let is_shown = subject.is_present() || !self.member(to)?.signals.knows(id);
        is_shown.then_some(&subject.info)
    }

    /// An update about one participant, encoded once for all who get it.
    fn single_update(&mut self, to: MemberId, id: MemberId) -> Option<Bytes> {
        let info = self.shown(to, id)?;
        if info.state == ParticipantState::Disconnected as i32 {
            return Some(update(vec![as_present(info.clone())]));
        }
        let subject = self.member_mut(id)?;
        let version = subject.info.version;
        match &subject.encoded {
            Some((encoded, message)) if *encoded == version => Some(message.clone()),
            _ => {
                let message = update(vec![subject.info.clone()]);
                subject.encoded = Some((version, message.clone()));
                Some(message)
            }
        }
    }

    /// Says something to a participant. What it does not read is bounded: its link is closed.
    pub(super) fn say(&mut self, to: MemberId, message: Bytes) {
        let limit = self.options.limits.signal_queue;
        let Some(member) = self.member_mut(to).filter(|member| member.link == Link::Up) else {
            return;
        };
        if message.len() > wire::SIGNAL_BYTES {
            let loss = Loss::SignalTooLarge;
            self.stats.signals_too_large += 1;
            self.outputs.push_back(Output::Lost { member: to, loss });
            return;
        }
        let signals = &mut member.signals;
        if signals.bytes > 0 && signals.bytes + message.len() > limit {
            self.stats.links_overrun += 1;
            self.outputs.push_back(Output::CloseLink(to));
            return;
        }
        signals.bytes += message.len();
        signals.push(Signal::Message(message));
        self.wake_signals(to.slot);
    }

    /// Says something before all that waits.
    pub(super) fn signal_first(&mut self, to: MemberId, response: Response) {
        if let Some(member) = self.member_mut(to) {
            let message = encode(response);
            member.signals.bytes += message.len();
            member.signals.queue.insert(0, Signal::Message(message));
            self.wake_signals(to.slot);
        }
    }

    pub(super) fn signal(&mut self, to: MemberId, response: Response) {
        self.say(to, encode(response));
    }

    /// Lets a participant know what another, or itself, is like now.
    pub(super) fn show(&mut self, to: MemberId, subject: MemberId, news: News) {
        let Some(member) = self.member_mut(to).filter(|member| member.is_present()) else {
            return;
        };
        match news {
            News::Joined => member.signals.newcomer(subject),
            News::Changed if member.link == Link::Up => member.signals.participant(subject),
            // A resume shows everybody.
            News::Changed => return,
        }
        self.wake_signals(to.slot);
    }

    /// Lets everybody know what the room is like now.
    pub(super) fn show_room(&mut self) {
        for slot in self.present.clone() {
            let Some(member) = self.at_mut(slot) else {
                continue;
            };
            if member.link == Link::Up && !member.signals.has_room_update {
                member.signals.has_room_update = true;
                member.signals.push(Signal::RoomUpdate);
                self.wake_signals(slot);
            }
        }
    }

    /// Lets a participant know that another left, unless it never knew of it.
    pub(super) fn show_leave(&mut self, to: MemberId, leaver: MemberId, info: &ParticipantInfo) {
        let Some(member) = self.member_mut(to).filter(|member| member.is_present()) else {
            return;
        };
        if member.signals.conceal(leaver) {
            self.drop_held(to.slot, leaver.slot);
            return;
        }
        // Who it was is enough, and is small.
        let info = ParticipantInfo {
            metadata: String::new(),
            attributes: BTreeMap::new(),
            ..info.clone()
        };
        member.signals.push(Signal::Left(Box::new(info)));
        self.wake_signals(to.slot);
    }

    /// A participant's place is free again.
    pub(super) fn forget_participant(&mut self, id: MemberId) {
        for slot in self.present.clone() {
            if let Some(member) = self.at_mut(slot) {
                member.signals.forget(id);
            }
        }
    }

    fn wake_signals(&mut self, slot: Slot) {
        if let Some(member) = self.at_mut(slot)
            && member.link == Link::Up
            && !member.signals.woken
        {
            member.signals.woken = true;
            let id = member.id;
            self.outputs.push_back(Output::Signals(id));
        }
    }

    /// The link has written so many messages: publishers that they announce may be heard from now on.
    pub(super) fn signals_written(&mut self, id: MemberId, total: u64) {
        let Some(member) = self.member_mut(id).filter(|member| member.is_present()) else {
            return;
        };
        let signals = &mut member.signals;
        signals.written = signals.written.max(total.min(signals.taken));
        let written = signals.written;
        let mut announced = Vec::new();
        signals.unannounced.retain(|publisher, number| {
            let is_written = number.is_some_and(|number| number <= written);
            if is_written {
                announced.push(*publisher);
            }
            !is_written
        });
        for publisher in announced {
            let waits = self
                .member(publisher)
                .is_some_and(|publisher| publisher.log.behind(id.slot) > 0);
            if waits && let Some(member) = self.member_mut(id) {
                member.turns.push_back(publisher.slot);
            }
        }
        self.wake(id.slot);
    }
}

/// What is told about a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// That it came.
    Joined,
    /// That it is different.
    Changed,
}

pub(super) fn encode(response: Response) -> Bytes {
    SignalResponse::from(response).to_bytes()
}

fn update(participants: Vec<ParticipantInfo>) -> Bytes {
    encode(Response::Update(ParticipantUpdate { participants }))
}

/// A leaver as it was, for those who have not heard that it came.
fn as_present(mut info: ParticipantInfo) -> ParticipantInfo {
    if info.state == ParticipantState::Disconnected as i32 {
        info.state = ParticipantState::Active as i32;
        info.disconnect_reason = 0;
        info.version = info.version.saturating_sub(1);
    }
    info
}

/// About how many bytes a participant has in a message.
pub(super) fn size_of_info(info: &ParticipantInfo) -> usize {
    let attributes: usize = info
        .attributes
        .iter()
        .map(|(key, value)| key.len() + value.len() + 12)
        .sum();
    let texts = info.sid.len() + info.identity.len() + info.name.len() + info.metadata.len();
    128 + texts + attributes
}
