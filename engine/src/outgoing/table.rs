//! All outgoing streams of an engine, and what goes out next.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use lkstream_proto::id::Identity;
use lkstream_proto::packet::DataPacket;

use super::schedule::{Place, Schedule};
use super::slab::Slab;
use super::stream::Stream;
use super::whole::Deflaters;
use super::{MissedCause, OutgoingId, OutgoingState};
use crate::config::Config;
use crate::delivery::{Outbox, ReplayError};
use crate::encryption::{Seal, encode};
use crate::engine::Lost;
use crate::event::Event;
use crate::limits;
use crate::publish::PublishError;
use crate::slots::{Key, Slots};

/// What a packet in the outbox was part of; `None` for packets of no stream.
type Part = Option<StreamPart>;

#[derive(Debug)]
struct StreamPart {
    stream: Key,
    payload: usize,
    last: bool,
}

/// Its key in the schedule, which no stream has.
const PUBLISHED: Key = Key::NONE;

/// Packets of an application that are no streams. They take turns with the streams.
#[derive(Debug, Default)]
struct Published {
    queue: VecDeque<(DataPacket, usize)>,
    bytes: usize,
    place: Place,
    /// A packet was refused: tell when there is room.
    is_blocked: bool,
}

#[derive(Debug)]
pub(crate) struct Table {
    streams: Slots<Stream>,
    schedule: Schedule,
    /// Packets of no stream: they go first.
    control: VecDeque<DataPacket>,
    published: Published,
    lossy: VecDeque<(DataPacket, usize)>,
    lossy_bytes: usize,
    outbox: Outbox<Part>,
    deflaters: Deflaters,
    slab: Slab,
    write_window: usize,
    max_unacknowledged: usize,
}

impl Table {
    pub(crate) fn new(config: &Config) -> Table {
        Table {
            streams: Slots::default(),
            schedule: Schedule::default(),
            control: VecDeque::new(),
            published: Published::default(),
            lossy: VecDeque::new(),
            lossy_bytes: 0,
            outbox: Outbox::new(),
            deflaters: Deflaters::default(),
            slab: Slab::default(),
            write_window: config.write_window,
            max_unacknowledged: config.max_unacknowledged,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn write_window(&self) -> usize {
        self.write_window
    }

    pub(crate) fn get(&self, id: OutgoingId) -> Option<&Stream> {
        self.streams.get(id.0).filter(|stream| !stream.released)
    }

    /// Whether a stream that is not flushed has this id.
    pub(crate) fn has_id(&self, id: &str) -> bool {
        self.streams.iter().any(|(_, stream)| {
            stream.info.id.as_str() == id && stream.state != OutgoingState::Flushed
        })
    }

    pub(crate) fn add(&mut self, stream: Stream) -> OutgoingId {
        let key = self.streams.add(stream);
        if let Some(stream) = self.streams.get_mut(key) {
            self.schedule.wake(key, &mut stream.place);
        }
        OutgoingId(key)
    }

    /// Deflaters for streams that are to be compressed; `None` when enough streams are.
    pub(crate) fn deflaters(&mut self) -> Option<&mut Deflaters> {
        let in_use = self.streams.iter().map(|(_, stream)| &stream.deflater);
        let free =
            self.streams.len() < limits::DEFLATERS || in_use.flatten().count() < limits::DEFLATERS;
        free.then_some(&mut self.deflaters)
    }

    /// Changes a stream, which then gets its turn if it has something to send.
    pub(crate) fn change<R>(
        &mut self,
        id: OutgoingId,
        change: impl FnOnce(&mut Stream) -> R,
    ) -> Option<R> {
        let stream = self.streams.get_mut(id.0)?;
        let result = change(stream);
        if stream.has_packet() {
            self.schedule.wake(id.0, &mut stream.place);
        }
        let over = matches!(
            stream.state,
            OutgoingState::Flushed | OutgoingState::Lost(_)
        );
        if stream.released && over {
            self.streams.remove(id.0);
        }
        Some(result)
    }

    /// A recipient left, or failed with this stream: what has no other is given up.
    pub(crate) fn miss(
        &mut self,
        stream: Option<&str>,
        identity: &Identity,
        cause: &MissedCause,
        events: &mut VecDeque<Event>,
    ) {
        let mut keys: Vec<Key> = self
            .streams
            .iter()
            .filter(|(_, each)| stream.is_none_or(|id| each.info.id.as_str() == id))
            .map(|(key, _)| key)
            .collect();
        keys.sort_unstable();
        for id in keys.into_iter().map(OutgoingId) {
            let released = self.get(id).is_none();
            let given_up = self.change(id, |stream| stream.miss(identity, cause));
            if given_up == Some(true) && !released {
                events.push_back(Event::GivenUp(id));
            }
        }
    }

    /// Queues a packet of no stream; says whether there was room.
    pub(crate) fn queue_control(&mut self, packet: DataPacket) -> bool {
        let room = self.control.len() < limits::CONTROL_PACKETS;
        if room {
            self.control.push_back(packet);
        }
        room
    }

    /// Queues a packet of an application, of `size` bytes.
    pub(crate) fn queue_published(
        &mut self,
        packet: DataPacket,
        size: usize,
    ) -> Result<(), PublishError> {
        let charge = size + limits::QUEUED_OVERHEAD_BYTES;
        let Published {
            queue,
            bytes,
            place,
            is_blocked,
        } = &mut self.published;
        if *bytes + charge > limits::PUBLISHED_BYTES {
            *is_blocked = true;
            return Err(PublishError::Full {
                queued: *bytes,
                limit: limits::PUBLISHED_BYTES,
            });
        }
        *bytes += charge;
        queue.push_back((packet, charge));
        self.schedule.wake(PUBLISHED, place);
        Ok(())
    }

    /// Queues a lossy packet of `size` bytes; how many older ones gave way.
    pub(crate) fn queue_lossy(&mut self, packet: DataPacket, size: usize) -> u64 {
        let charge = size + limits::QUEUED_OVERHEAD_BYTES;
        let mut dropped = 0;
        while self.lossy_bytes + charge > limits::PUBLISHED_LOSSY_BYTES
            && self.next_lossy().is_some()
        {
            dropped += 1;
        }
        self.lossy_bytes += charge;
        self.lossy.push_back((packet, charge));
        dropped
    }

    pub(crate) fn next_lossy(&mut self) -> Option<DataPacket> {
        let (packet, charge) = self.lossy.pop_front()?;
        self.lossy_bytes -= charge;
        Some(packet)
    }

    /// The next packet of the reliable channel, in its final form.
    /// Sealed with `seal`.
    pub(crate) fn next_packet(
        &mut self,
        events: &mut VecDeque<Event>,
        mut seal: Option<Seal<'_>>,
    ) -> Option<Bytes> {
        if let Some(again) = self.outbox.replay_next() {
            return Some(again);
        }
        if seal.as_ref().is_some_and(|seal| !seal.has_key()) {
            return None;
        }
        let overhead = self.outbox.len() * limits::QUEUED_OVERHEAD_BYTES;
        if self.outbox.unacknowledged() + overhead >= self.max_unacknowledged {
            return None;
        }
        let sequence = self.outbox.next_sequence();
        if let Some(mut packet) = self.control.pop_front() {
            packet.sequence = sequence;
            let bytes = encode(packet, seal.as_mut());
            self.outbox.put(bytes.clone(), None);
            return Some(bytes);
        }
        while let Some(key) = self.schedule.front() {
            if key == PUBLISHED {
                let published = &mut self.published;
                let Some((mut packet, charge)) = published.queue.pop_front() else {
                    self.schedule.pass(&mut published.place);
                    continue;
                };
                published.bytes -= charge;
                if published.is_blocked && published.bytes <= limits::PUBLISHED_BYTES / 2 {
                    published.is_blocked = false;
                    events.push_back(Event::Publishable);
                }
                packet.sequence = sequence;
                let bytes = encode(packet, seal.as_mut());
                self.schedule.spend(bytes.len(), &mut published.place);
                self.outbox.put(bytes.clone(), None);
                return Some(bytes);
            }
            let Some(stream) = self.streams.get_mut(key) else {
                self.schedule.drop_front();
                continue;
            };
            let packet = stream.next_packet(sequence, &mut self.slab, seal.as_mut());
            if let Some(spent) = stream.spent.take() {
                self.deflaters.give(spent);
            }
            // A compressed stream takes in a lot before it gives a packet.
            if stream.blocked && stream.window_used() <= self.write_window / 2 {
                stream.blocked = false;
                events.push_back(Event::Writable(OutgoingId(key)));
            }
            let Some(packet) = packet else {
                self.schedule.pass(&mut stream.place);
                continue;
            };
            self.schedule.spend(packet.bytes.len(), &mut stream.place);
            let part = StreamPart {
                stream: key,
                payload: packet.payload,
                last: packet.last,
            };
            self.outbox.put(packet.bytes.clone(), Some(part));
            return Some(packet.bytes);
        }
        None
    }

    /// The transport had this many bytes acknowledged.
    pub(crate) fn acknowledged(&mut self, total: u64, events: &mut VecDeque<Event>) {
        while let Some(part) = self.outbox.acknowledge(total) {
            self.note(part, events);
        }
    }

    /// The other side has everything up to `last`; what is above is sent again.
    pub(crate) fn resume(
        &mut self,
        last: u32,
        silence: Duration,
        events: &mut VecDeque<Event>,
    ) -> Result<(), ReplayError> {
        for part in self.outbox.resume(last, silence)? {
            self.note(part, events);
        }
        Ok(())
    }

    fn note(&mut self, part: Part, events: &mut VecDeque<Event>) {
        let Some(part) = part else { return };
        let Some(stream) = self.streams.get_mut(part.stream) else {
            return;
        };
        stream.acknowledged += part.payload as u64;
        if part.last {
            stream.state = OutgoingState::Flushed;
            if stream.released {
                self.streams.remove(part.stream);
            } else {
                events.push_back(Event::Flushed(OutgoingId(part.stream)));
            }
        } else if std::mem::take(&mut stream.awaits_acknowledgement) {
            events.push_back(Event::Acknowledged(OutgoingId(part.stream)));
        }
    }

    /// Ends every stream that is not flushed, and starts the numbers anew.
    pub(crate) fn connection_lost(&mut self, cause: &Lost, events: &mut VecDeque<Event>) {
        self.schedule.clear();
        self.control.clear();
        self.published = Published::default();
        self.lossy.clear();
        self.lossy_bytes = 0;
        self.outbox = Outbox::new();
        let mut keys: Vec<Key> = self.streams.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        for key in keys {
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            if stream.released {
                self.streams.remove(key);
            } else if matches!(stream.state, OutgoingState::Open | OutgoingState::Closing) {
                stream.lose(cause.clone());
                events.push_back(Event::OutgoingLost(OutgoingId(key)));
            }
        }
    }
}
