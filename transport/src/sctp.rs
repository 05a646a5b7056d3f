//! The SCTP association (RFC 9260, 3758, 6525), behind a seam of our own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_sctp::{Association, Closed, Config, Delivery, Event as Happened, Reliability};

use crate::channel::{Order, RetransmitLimit};
use crate::dtls::Side;

/// Streams in each direction. Far more than a room needs, few enough to look through.
pub(crate) const STREAMS: u16 = 1_024;

/// The side that waits for the other's INIT sends its own after this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Payload protocol identifiers (RFC 8831 §8).
const PPID_CONTROL: u32 = 50;
const PPID_TEXT: u32 = 51;
const PPID_BINARY: u32 = 53;
const PPID_TEXT_EMPTY: u32 = 56;
const PPID_BINARY_EMPTY: u32 = 57;

const COMMON_HEADER_BYTES: usize = 12;
const SACK: u8 = 3;

/// What kind of message this is (RFC 8831 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Control,
    Data,
    /// Carries one byte that stands for none.
    Empty,
    /// Larger than we accept; its bytes are gone.
    TooLarge,
    Unknown,
}

/// A complete received message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: MessageKind,
    pub(crate) bytes: Bytes,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The handshake is done.
    Connected,
    /// Messages wait on the stream, whether we knew it or not.
    Readable(u16),
    /// So many bytes of messages on the stream were acknowledged or given up.
    Released { stream: u16, bytes: usize },
    /// The other side reset the stream.
    StreamClosed(u16),
    /// The association is over.
    Lost(Loss),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The other side ended it.
    Remote,
    /// It could not be set up, or the other side broke the protocol.
    Protocol,
}

/// A packet or message that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) receive_window: usize,
    pub(crate) receive_window_limit: usize,
    pub(crate) packet: usize,
    pub(crate) max_message_size: usize,
    /// Where tags and first numbers come from.
    pub(crate) seed: u64,
}

/// A stream that the other side has closed.
struct Closing {
    /// Messages from before, and from after an earlier one. What comes after them is of whoever opens the stream anew.
    unread: usize,
    /// We have closed it, too.
    is_mutual: bool,
}

pub(crate) struct Sctp {
    association: Association,
    config: Config,
    seed: u64,
    /// When to send an INIT although the other side should.
    patience_ends: Option<Instant>,
    /// How each stream sends, where that was said.
    deliveries: BTreeMap<u16, Delivery>,
    /// Streams that the other side has closed, until they are read empty: so long what is unread counts against its window. There is
    /// more than one of a stream, and never none, where it did not wait for us before it used and closed the stream anew; the later
    /// ones have unread messages, so that the window bounds their number.
    closing: BTreeMap<u16, VecDeque<Closing>>,
    /// Streams that we have closed and the other side has not yet.
    half_closed: BTreeSet<u16>,
    /// A stream that the other side has used anew before it was told as closed.
    reused: Option<u16>,
    /// A packet that was written and did not fit: the next one.
    held: Vec<u8>,
    /// There may be more packets.
    is_stale: bool,
    /// The retransmission timer has expired, and no SACK came since.
    is_retrying: bool,
    timeouts: u64,
    is_aborted: bool,
    /// The latest time that the caller told.
    clock: Instant,
}

impl Sctp {
    pub(crate) fn new(side: Side, now: Instant, settings: &Settings) -> Option<Self> {
        // A message is handed out whole, while the next one comes in.
        let receive_window = settings.receive_window.max(2 * settings.max_message_size);
        let config = Config {
            packet: settings.packet,
            receive_window,
            receive_window_limit: settings.receive_window_limit.max(receive_window),
            // The channels have budgets of their own.
            send_buffer: usize::MAX / 2,
            max_message_size: settings.max_message_size,
            inbound_streams: STREAMS,
            ..Config::default()
        };
        let association = match side {
            Side::Client => Association::connect(now, config.clone(), settings.seed),
            Side::Server => Association::accept(now, config.clone(), settings.seed),
        };
        Some(Self {
            association,
            config,
            seed: settings.seed,
            patience_ends: (side == Side::Server).then(|| now + PATIENCE),
            deliveries: BTreeMap::new(),
            closing: BTreeMap::new(),
            half_closed: BTreeSet::new(),
            reused: None,
            held: Vec::new(),
            is_stale: true,
            is_retrying: false,
            timeouts: 0,
            is_aborted: false,
            clock: now,
        })
    }

    pub(crate) fn handle_packet(&mut self, now: Instant, packet: Bytes) -> Result<(), Refused> {
        if self.is_aborted {
            return Err(Refused);
        }
        self.clock = now;
        self.patience_ends = None;
        self.is_stale = true;
        self.is_retrying &= packet.get(COMMON_HEADER_BYTES) != Some(&SACK);
        self.association
            .handle_packet(now, &packet)
            .map_err(|_| Refused)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.clock = now;
        if self.patience_ends.is_some_and(|at| at <= now) {
            self.patience_ends = None;
            self.association =
                Association::connect(now, self.config.clone(), self.seed.wrapping_add(1));
        }
        self.association.handle_timeout(now);
        self.is_stale = true;
        let timeouts = self.association.stats().timeouts;
        if self.timeouts != timeouts {
            self.timeouts = timeouts;
            self.is_retrying = true;
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let closed = self.closed_at().map(|_| self.clock);
        [self.association.poll_timeout(), self.patience_ends, closed]
            .into_iter()
            .flatten()
            .min()
    }

    /// The other side was heard of after a silence: what was sent into it is repeated now.
    pub(crate) fn end_silence(&mut self, now: Instant) {
        if self.is_retrying {
            self.fire_retransmission(now);
        }
    }

    /// Sends again at once what is not acknowledged, instead of waiting for a timer that an outage has drawn out.
    pub(crate) fn fire_retransmission(&mut self, now: Instant) {
        self.clock = now;
        self.is_retrying = false;
        self.association.path_changed(now);
        self.is_stale = true;
    }

    /// Appends the next packet to `out`. How many bytes it has; `None` when there is none.
    pub(crate) fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<usize> {
        self.clock = now;
        if !self.held.is_empty() {
            let length = self.held.len();
            out.append(&mut self.held);
            return Some(length);
        }
        if !self.is_stale {
            return None;
        }
        let length = self.association.poll_transmit(now, out);
        self.is_stale = length.is_some();
        length
    }

    /// Takes a packet back that there was no room for.
    pub(crate) fn hold(&mut self, packet: &[u8]) {
        self.held.extend_from_slice(packet);
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        loop {
            if let Some(stream) = self.reused.take() {
                return Some(Event::Readable(stream));
            }
            if let Some(stream) = self.next_closed() {
                return Some(Event::StreamClosed(stream));
            }
            match self.association.poll_event()? {
                Happened::Connected => return Some(Event::Connected),
                Happened::Readable(stream) => return Some(Event::Readable(stream)),
                Happened::Released { stream, bytes } => {
                    return Some(Event::Released { stream, bytes });
                }
                Happened::StreamReset(stream) => self.note_reset(stream),
                // All streams are gone: for the channels on them that is the end.
                Happened::Restarted => return Some(Event::Lost(Loss::Remote)),
                Happened::Closed(Closed::LocalAbort) => {}
                Happened::Closed(why) => {
                    let loss = match why {
                        Closed::Protocol | Closed::TimedOut => Loss::Protocol,
                        _ => Loss::Remote,
                    };
                    return Some(Event::Lost(loss));
                }
                _ => {}
            }
        }
    }

    fn note_reset(&mut self, stream: u16) {
        let waiting = self.association.waiting(stream);
        let is_mutual = self.half_closed.remove(&stream);
        let closings = self.closing.entry(stream).or_default();
        let before: usize = closings.iter().map(|closing| closing.unread).sum();
        let unread = waiting.saturating_sub(before);
        if closings.is_empty() || unread > 0 {
            closings.push_back(Closing { unread, is_mutual });
        }
    }

    fn first_closing(&mut self, stream: u16) -> Option<&mut Closing> {
        self.closing.get_mut(&stream)?.front_mut()
    }

    fn closed_at(&self) -> Option<u16> {
        let mut closing = self.closing.iter();
        closing.find_map(|(stream, closings)| (closings.front()?.unread == 0).then_some(*stream))
    }

    /// A stream that the other side has closed and that is read empty. Our direction is closed then, too (RFC 8831 §6.7).
    fn next_closed(&mut self) -> Option<u16> {
        let stream = self.closed_at()?;
        let closings = self.closing.get_mut(&stream)?;
        let closing = closings.pop_front()?;
        if closings.is_empty() {
            self.closing.remove(&stream);
        }
        if !closing.is_mutual {
            self.reset_own(self.clock, stream);
        }
        self.deliveries.remove(&stream);
        self.reused = (self.association.waiting(stream) > 0).then_some(stream);
        Some(stream)
    }

    /// Bytes on the stream that were not sent yet.
    pub(crate) fn unsent(&self, stream: u16) -> usize {
        self.association.unsent(stream)
    }

    /// How many of them should wait there.
    pub(crate) fn unsent_target(&self) -> usize {
        self.association.unsent_target()
    }

    pub(crate) fn stats(&self) -> lkstream_sctp::Stats {
        self.association.stats()
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.association.stats().rtt
    }

    /// Opens the stream if it is not there yet.
    pub(crate) fn open(&mut self, stream: u16) -> Result<(), Refused> {
        if stream >= STREAMS || self.is_over() {
            return Err(Refused);
        }
        Ok(())
    }

    pub(crate) fn set_reliability(&mut self, stream: u16, order: Order, limit: RetransmitLimit) {
        let delivery = Delivery {
            order: match order {
                Order::Ordered => lkstream_sctp::Order::Ordered,
                Order::Unordered => lkstream_sctp::Order::Unordered,
            },
            reliability: match limit {
                RetransmitLimit::None => Reliability::Reliable,
                RetransmitLimit::Count(count) => Reliability::Retransmits(count),
                RetransmitLimit::Lifetime(milliseconds) => {
                    Reliability::Lifetime(Duration::from_millis(milliseconds.into()))
                }
            },
        };
        self.deliveries.insert(stream, delivery);
    }

    pub(crate) fn write(
        &mut self,
        now: Instant,
        stream: u16,
        kind: MessageKind,
        bytes: &Bytes,
    ) -> Result<(), Refused> {
        self.clock = now;
        let mut delivery = self.deliveries.get(&stream).copied().unwrap_or_default();
        let ppid = match kind {
            MessageKind::Control => {
                // RFC 8832 §6.
                delivery = Delivery::default();
                PPID_CONTROL
            }
            MessageKind::Empty => PPID_BINARY_EMPTY,
            MessageKind::Data | MessageKind::TooLarge | MessageKind::Unknown => PPID_BINARY,
        };
        self.association
            .send(now, stream, ppid, delivery, bytes.clone())
            .map_err(|_| Refused)?;
        self.is_stale = true;
        Ok(())
    }

    /// The next complete message of a stream. Messages over our limit are given empty with [`MessageKind::TooLarge`].
    pub(crate) fn read(&mut self, now: Instant, stream: u16) -> Option<Message> {
        self.clock = now;
        if let Some(closing) = self.first_closing(stream) {
            closing.unread = closing.unread.checked_sub(1)?;
        }
        let message = self.association.receive(stream)?;
        // The other side may have to hear that its window has opened.
        self.is_stale = true;
        let kind = match message.ppid {
            _ if message.is_too_large => MessageKind::TooLarge,
            PPID_CONTROL => MessageKind::Control,
            PPID_BINARY | PPID_TEXT => MessageKind::Data,
            PPID_BINARY_EMPTY | PPID_TEXT_EMPTY => MessageKind::Empty,
            _ => MessageKind::Unknown,
        };
        Some(Message {
            kind,
            bytes: message.bytes,
        })
    }

    /// Closes the stream. The other side does the same when it has read what we sent, or has done it already.
    pub(crate) fn reset(&mut self, now: Instant, stream: u16) {
        self.reset_own(now, stream);
        match self.first_closing(stream) {
            Some(closing) => closing.is_mutual = true,
            None => {
                self.half_closed.insert(stream);
            }
        }
    }

    fn reset_own(&mut self, now: Instant, stream: u16) {
        self.clock = now;
        // Where the other side cannot, the stream just stays.
        let _ = self.association.reset_stream(now, stream);
        self.is_stale = true;
    }

    /// Whether the association is over. What is unread can still be read.
    pub(crate) fn is_over(&self) -> bool {
        self.association.is_closed()
    }

    /// Ends the association; the ABORT waits in [`Sctp::poll_transmit`], nothing before it is sent any more.
    pub(crate) fn abort(&mut self) {
        self.is_aborted = true;
        self.held.clear();
        self.association.abort(self.clock);
        self.is_stale = true;
    }
}

#[cfg(test)]
mod tests;
