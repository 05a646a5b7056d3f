//! The data channels of a peer: DCEP in both roles, send budgets, and who may read or write.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::channel::{ChannelConfig, ChannelId, Order, Reliability, RetransmitLimit};
use crate::config::PeerConfig;
use crate::dcep;
use crate::dtls::Side;
use crate::error::SendError;
use crate::event::Event;
use crate::sctp::{self, MessageKind, Sctp};
use crate::stats::Stats;

/// An empty message is sent as this (RFC 8831 §6.6).
const EMPTY: Bytes = Bytes::from_static(&[0]);

struct Channel {
    id: ChannelId,
    reliability: Reliability,
    /// Our open message has no answer yet: until then everything goes in order (RFC 8832 §6).
    awaits_ack: bool,
    is_closing: bool,
    /// The other side opened it, so it counts towards their limit.
    is_theirs: bool,
    /// Bytes given to SCTP, those of the protocol itself included.
    written: u64,
    /// Of them, bytes of the protocol itself.
    overhead: u64,
    /// Of them, bytes that SCTP needs no more.
    released: u64,
    /// There was no room; [`Event::Writable`] tells when there is some again.
    is_full: bool,
    /// [`Event::Readable`] was given and the channel not read empty since.
    is_readable: bool,
    /// A message that was read while looking for the answer to the open.
    waiting: Option<Bytes>,
}

impl Channel {
    fn new(stream: u16, reliability: Reliability) -> Self {
        Self {
            id: ChannelId(stream),
            reliability,
            awaits_ack: false,
            is_closing: false,
            is_theirs: false,
            written: 0,
            overhead: 0,
            released: 0,
            is_full: false,
            is_readable: false,
            waiting: None,
        }
    }

    fn buffered(&self) -> usize {
        usize::try_from(self.written.saturating_sub(self.released)).unwrap_or(usize::MAX)
    }

    fn room(&self, send_buffer: usize, sctp: &Sctp) -> usize {
        let unsent = sctp.unsent(self.id.0);
        sctp.unsent_target()
            .saturating_sub(unsent)
            .min(send_buffer.saturating_sub(self.buffered()))
    }

    fn acknowledge_open(&mut self, sctp: &mut Sctp) {
        if std::mem::take(&mut self.awaits_ack) {
            let (order, limit) = self.reliability.parts();
            sctp.set_reliability(self.id.0, order, limit);
        }
    }

    fn signal_readable(&mut self, events: &mut VecDeque<Event>) {
        if !std::mem::replace(&mut self.is_readable, true) {
            events.push_back(Event::Readable(self.id));
        }
    }
}

pub(crate) struct Channels {
    open: Vec<Channel>,
    side: Side,
    send_buffer: usize,
    max_remote: usize,
    /// Channels that the other side has opened and not closed.
    remote: usize,
}

impl Channels {
    pub(crate) fn new(config: &PeerConfig) -> Self {
        Self {
            open: Vec::new(),
            side: Side::Client,
            send_buffer: config.send_buffer,
            max_remote: config.max_channels,
            remote: 0,
        }
    }

    pub(crate) fn set_side(&mut self, side: Side) {
        self.side = side;
    }

    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }

    fn find(&self, id: ChannelId) -> Option<&Channel> {
        self.open.iter().find(|channel| channel.id == id)
    }

    fn find_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.open.iter_mut().find(|channel| channel.id == id)
    }

    /// Opens what the configuration names, the agreed streams first so that none is taken twice.
    pub(crate) fn open_configured(
        &mut self,
        now: Instant,
        sctp: &mut Sctp,
        config: &PeerConfig,
        events: &mut VecDeque<Event>,
    ) {
        for channel in config
            .channels
            .iter()
            .filter(|channel| channel.negotiated.is_some())
        {
            self.open_one(now, sctp, channel, events);
        }
        for channel in config
            .channels
            .iter()
            .filter(|channel| channel.negotiated.is_none())
        {
            self.open_one(now, sctp, channel, events);
        }
    }

    fn open_one(
        &mut self,
        now: Instant,
        sctp: &mut Sctp,
        config: &ChannelConfig,
        events: &mut VecDeque<Event>,
    ) {
        let Some(stream) = config.negotiated.or_else(|| self.free_stream()) else {
            return;
        };
        if self.find(ChannelId(stream)).is_some() || sctp.open(stream).is_err() {
            return;
        }
        let mut channel = Channel::new(stream, config.reliability);
        if config.negotiated.is_some() {
            let (order, limit) = config.reliability.parts();
            sctp.set_reliability(stream, order, limit);
        } else {
            let open = dcep::Message::Open {
                label: config.label.clone(),
                reliability: config.reliability,
            };
            let Some(open) = open.encode() else { return };
            // In order and reliable until the answer is there.
            sctp.set_reliability(stream, Order::Ordered, RetransmitLimit::None);
            if sctp
                .write(now, stream, MessageKind::Control, &open)
                .is_err()
            {
                return;
            }
            channel.written += open.len() as u64;
            channel.overhead += open.len() as u64;
            channel.awaits_ack = true;
        }
        events.push_back(Event::ChannelOpen {
            id: channel.id,
            label: config.label.clone(),
            reliability: config.reliability,
        });
        self.open.push(channel);
    }

    /// RFC 8832 §6: the DTLS client opens even streams, the server odd ones.
    fn free_stream(&self) -> Option<u16> {
        let first = if self.side == Side::Client { 0 } else { 1 };
        (first..sctp::STREAMS)
            .step_by(2)
            .find(|stream| self.find(ChannelId(*stream)).is_none())
    }

    pub(crate) fn note_readable(
        &mut self,
        now: Instant,
        stream: u16,
        sctp: &mut Sctp,
        events: &mut VecDeque<Event>,
        stats: &mut Stats,
    ) {
        let id = ChannelId(stream);
        if self.find(id).is_none() && !self.accept(now, stream, sctp, events, stats) {
            return;
        }
        let Some(channel) = self.find_mut(id) else {
            return;
        };
        if channel.is_closing {
            drop_unread(now, stream, sctp, stats);
            return;
        }
        while channel.awaits_ack && channel.waiting.is_none() {
            match sctp.read(now, stream) {
                None => return,
                Some(message) if message.kind == MessageKind::Control => {
                    if dcep::Message::decode(&message.bytes) == Some(dcep::Message::Ack) {
                        channel.acknowledge_open(sctp);
                    } else {
                        stats.dcep_refused += 1;
                    }
                }
                Some(message) => {
                    // Data says as much as the answer.
                    channel.acknowledge_open(sctp);
                    channel.waiting = payload(message, stats);
                }
            }
        }
        channel.signal_readable(events);
    }

    /// Reads from a stream that is no channel until one is opened on it; whether it was. What comes after a refused open is dropped,
    /// so that it does not stay in the window.
    fn accept(
        &mut self,
        now: Instant,
        stream: u16,
        sctp: &mut Sctp,
        events: &mut VecDeque<Event>,
        stats: &mut Stats,
    ) -> bool {
        while let Some(message) = sctp.read(now, stream) {
            let open = match message.kind {
                MessageKind::Control => dcep::Message::decode(&message.bytes),
                _ => None,
            };
            let Some(dcep::Message::Open { label, reliability }) = open else {
                stats.dcep_refused += 1;
                continue;
            };
            if self.remote >= self.max_remote {
                stats.dcep_refused += 1;
                sctp.reset(now, stream);
                continue;
            }
            let Some(ack) = dcep::Message::Ack.encode() else {
                continue;
            };
            let (order, limit) = reliability.parts();
            sctp.set_reliability(stream, order, limit);
            // Somebody who has left needs no answer, but what it has sent may be read.
            if sctp.write(now, stream, MessageKind::Control, &ack).is_err() && !sctp.is_over() {
                stats.dcep_refused += 1;
                continue;
            }
            let mut channel = Channel::new(stream, reliability);
            channel.written += ack.len() as u64;
            channel.overhead += ack.len() as u64;
            channel.is_theirs = true;
            self.remote += 1;
            events.push_back(Event::ChannelOpen {
                id: channel.id,
                label,
                reliability,
            });
            self.open.push(channel);
            return true;
        }
        false
    }

    pub(crate) fn note_released(&mut self, stream: u16, bytes: usize) {
        if let Some(channel) = self.find_mut(ChannelId(stream)) {
            channel.released += bytes as u64;
        }
    }

    /// Packets have left or were acknowledged: tells of channels that have room again, with some distance to the limits so that not
    /// every packet is an event.
    pub(crate) fn note_room(&mut self, sctp: &Sctp, events: &mut VecDeque<Event>) {
        let most = self.send_buffer - self.send_buffer / 8;
        for channel in self.open.iter_mut().filter(|channel| channel.is_full) {
            if channel.buffered() <= most && sctp.unsent(channel.id.0) <= sctp.unsent_target() / 2 {
                channel.is_full = false;
                events.push_back(Event::Writable(channel.id));
            }
        }
    }

    pub(crate) fn note_closed(&mut self, stream: u16, events: &mut VecDeque<Event>) {
        if let Some(index) = self.open.iter().position(|channel| channel.id.0 == stream) {
            let channel = self.open.swap_remove(index);
            self.remote -= usize::from(channel.is_theirs);
            events.push_back(Event::ChannelClosed(channel.id));
        }
    }

    pub(crate) fn send(
        &mut self,
        now: Instant,
        id: ChannelId,
        message: &Bytes,
        limit: usize,
        sctp: &mut Sctp,
    ) -> Result<(), SendError> {
        let send_buffer = self.send_buffer;
        let channel = self
            .find_mut(id)
            .filter(|channel| !channel.is_closing)
            .ok_or(SendError::Closed)?;
        if message.len() > limit {
            return Err(SendError::TooLarge {
                size: message.len(),
                limit,
            });
        }
        if channel.is_full {
            return Err(SendError::Full);
        }
        let (kind, bytes) = if message.is_empty() {
            (MessageKind::Empty, &EMPTY)
        } else {
            (MessageKind::Data, message)
        };
        sctp.write(now, id.0, kind, bytes)
            .map_err(|_| SendError::Closed)?;
        channel.written += bytes.len() as u64;
        channel.overhead += (bytes.len() - message.len()) as u64;
        channel.is_full = channel.room(send_buffer, sctp) == 0;
        Ok(())
    }

    pub(crate) fn receive(
        &mut self,
        now: Instant,
        id: ChannelId,
        sctp: &mut Sctp,
        stats: &mut Stats,
    ) -> Option<Bytes> {
        let channel = self.find_mut(id)?;
        if let Some(message) = channel.waiting.take() {
            return Some(message);
        }
        while let Some(message) = sctp.read(now, id.0) {
            if let Some(message) = payload(message, stats) {
                return Some(message);
            }
        }
        channel.is_readable = false;
        None
    }

    pub(crate) fn buffered(&self, id: ChannelId) -> usize {
        self.find(id).map_or(0, Channel::buffered)
    }

    pub(crate) fn room(&self, id: ChannelId, sctp: &Sctp) -> usize {
        match self.find(id) {
            // What may wait shrinks with the path's rate: 0 is only said where an event will follow.
            Some(channel) if !channel.is_full && !channel.is_closing => {
                channel.room(self.send_buffer, sctp).max(1)
            }
            _ => 0,
        }
    }

    pub(crate) fn acknowledged(&self, id: ChannelId) -> u64 {
        self.find(id).map_or(0, |channel| {
            channel.released.saturating_sub(channel.overhead)
        })
    }

    pub(crate) fn close(
        &mut self,
        now: Instant,
        id: ChannelId,
        sctp: &mut Sctp,
        stats: &mut Stats,
    ) {
        if let Some(channel) = self.find_mut(id)
            && !std::mem::replace(&mut channel.is_closing, true)
        {
            stats.messages_unread += u64::from(channel.waiting.take().is_some());
            sctp.reset(now, id.0);
            drop_unread(now, id.0, sctp, stats);
        }
    }
}

/// Of a channel that we have closed nothing more is read: it would stay in the window, and the channel with it.
fn drop_unread(now: Instant, stream: u16, sctp: &mut Sctp, stats: &mut Stats) {
    while sctp.read(now, stream).is_some() {
        stats.messages_unread += 1;
    }
}

/// What a message carries for the caller; control messages and oversized ones carry nothing.
fn payload(message: sctp::Message, stats: &mut Stats) -> Option<Bytes> {
    match message.kind {
        MessageKind::Data => Some(message.bytes),
        MessageKind::Empty => Some(Bytes::new()),
        MessageKind::Control => {
            // A repeated acknowledgement is no fault.
            if dcep::Message::decode(&message.bytes) != Some(dcep::Message::Ack) {
                stats.dcep_refused += 1;
            }
            None
        }
        MessageKind::TooLarge => {
            stats.messages_oversized += 1;
            None
        }
        MessageKind::Unknown => {
            stats.dcep_refused += 1;
            None
        }
    }
}
