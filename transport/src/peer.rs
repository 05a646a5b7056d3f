//! The peer connection.

mod channels;
mod negotiation;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use self::channels::Channels;
use self::negotiation::Negotiation;
use crate::channel::ChannelId;
use crate::config::{PeerConfig, Role};
use crate::dtls::{Dtls, Outcome};
use crate::error::SendError;
use crate::event::{Cause, Event};
use crate::ice::{self, Ice, Path};
use crate::limits;
use crate::record::ROOM;
use crate::sctp::{self, Loss, Sctp};
use crate::stats::Stats;

/// So long nothing was heard: longer than a timer waits for an answer at first (RFC 9260 §15), shorter than keepalives are
/// apart.
const SILENCE: Duration = Duration::from_secs(1);

/// Received bytes, one datagram or a GRO batch of them.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Who sent it.
    pub remote: SocketAddr,
    /// The local address it was sent to, where the socket knows; needed when the socket is bound to a wildcard.
    pub local: Option<IpAddr>,
    /// The datagrams back to back.
    pub data: &'a [u8],
    /// Size of each datagram in `data` but the last, which may be shorter. `data.len()` for a single one.
    pub segment_size: usize,
}

/// Bytes to send: `buf[..len]` of the buffer given to [`Peer::poll_transmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub destination: SocketAddr,
    /// The local address to send from, where the peer knows.
    pub source: Option<IpAddr>,
    /// With GSO: the size of each datagram but the last, which may be shorter. `None`: one datagram.
    pub segment_size: Option<usize>,
    /// Bytes in the buffer.
    pub len: usize,
}

/// One peer connection: ICE, DTLS, SCTP and its data channels. No I/O, no clock.
///
/// Dropping it sends nothing; use [`Peer::close`] and one more round of [`Peer::poll_transmit`] to tell the
/// other side.
pub struct Peer {
    role: Role,
    config: PeerConfig,
    negotiation: Negotiation,
    ice: Ice,
    dtls: Option<Dtls>,
    sctp: Option<Sctp>,
    channels: Channels,
    path: Option<Path>,
    /// Where the DTLS handshake goes on.
    handshake: Handshake,
    /// A datagram of the handshake that is more than may be sent to its address yet.
    withheld: Option<Vec<u8>>,
    /// Waits for a path after a restart or an outage.
    is_seeking: bool,
    events: VecDeque<Event>,
    /// Encrypted datagrams that end the connection: the ABORT of SCTP and the `close_notify` of DTLS.
    farewell: VecDeque<Vec<u8>>,
    closed: Option<Cause>,
    /// The last time that something genuine of the other side arrived.
    last_received: Option<Instant>,
    /// A decrypted packet has arrived since [`Peer::end_silence`].
    has_plaintext: bool,
    /// The latest time that the caller told.
    clock: Instant,
    stats: Stats,
    #[cfg(fuzzing)]
    pub(crate) observed: crate::fuzzing::Observed,
}

impl Peer {
    /// Which side of the first exchange this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The address of the other side on the path in use.
    #[must_use]
    pub fn remote_address(&self) -> Option<SocketAddr> {
        self.path.map(|path| path.remote)
    }

    /// Whether the address has proven that it receives what is sent to it: by the answer to a check, or by the DTLS handshake. Until
    /// then it gets at most three times the bytes that came from it (RFC 9000 §8).
    #[must_use]
    pub fn is_validated(&self, address: SocketAddr) -> bool {
        self.ice.is_validated(address)
    }

    /// The smoothed round-trip time as SCTP measures it, in whole milliseconds. `None` before the first measurement.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.sctp.as_ref().and_then(Sctp::round_trip)
    }

    /// Takes received datagrams. Bad ones are counted in [`Stats`] and dropped. Whether one of them was certainly made by the other
    /// side; that it was sent from where it seems to come from is only certain of an address that is
    /// [validated](Self::is_validated).
    pub fn handle_received(&mut self, now: Instant, received: Received<'_>) -> bool {
        self.clock = now;
        if received.data.is_empty() {
            return false;
        }
        let mut is_known = None;
        // One allocation for all plaintexts of the batch; it lives until the last of them is read.
        let mut arena = BytesMut::with_capacity(received.data.len());
        for datagram in received.data.chunks(received.segment_size.max(1)) {
            self.stats.datagrams_received += 1;
            self.stats.bytes_received += datagram.len() as u64;
            if self.closed.is_some() {
                self.stats.datagrams_dropped += 1;
                continue;
            }
            // RFC 7983 §7: the first byte tells STUN, DTLS and the rest apart.
            match datagram.first() {
                Some(0..=3) => {
                    if self
                        .ice
                        .handle_stun(now, received.remote, received.local, datagram)
                    {
                        self.follow_ice(now);
                    } else {
                        self.stats.stun_refused += 1;
                    }
                }
                Some(20..=63) => {
                    let known = *is_known.get_or_insert_with(|| {
                        self.ice
                            .note_datagram(now, received.remote, received.data.len())
                            || self.path.is_some_and(|path| path.remote == received.remote)
                    });
                    if known {
                        self.handle_dtls(now, datagram, &mut arena)
                    } else {
                        self.stats.datagrams_dropped += 1
                    }
                }
                _ => self.stats.datagrams_dropped += 1,
            }
        }
        self.follow_sctp(now);
        let is_genuine = self.ice.take_proof() | std::mem::take(&mut self.has_plaintext);
        if is_genuine {
            self.end_silence(now);
        }
        is_genuine
    }

    /// Notes a sign of life; the first after a silence makes good for what was lost in it.
    fn end_silence(&mut self, now: Instant) {
        let was_silent = self
            .last_received
            .replace(now)
            .is_some_and(|at| now.saturating_duration_since(at) >= SILENCE);
        if was_silent && let Some(sctp) = &mut self.sctp {
            sctp.end_silence(now);
        }
    }

    fn handle_dtls(&mut self, now: Instant, datagram: &[u8], arena: &mut BytesMut) {
        let Self {
            dtls,
            sctp,
            stats,
            has_plaintext,
            #[cfg(fuzzing)]
            observed,
            ..
        } = self;
        let Some(dtls) = dtls else {
            stats.datagrams_dropped += 1;
            return;
        };
        let outcome = dtls.handle_datagram(now, datagram, arena, |packet| {
            *has_plaintext = true;
            #[cfg(fuzzing)]
            observed.note_received(&packet);
            let taken = sctp
                .as_mut()
                .is_some_and(|sctp| sctp.handle_packet(now, packet).is_ok());
            stats.sctp_refused += u64::from(!taken);
        });
        self.follow_dtls(now, outcome);
    }

    #[cfg(fuzzing)]
    pub(crate) fn handle_sctp_packet(&mut self, now: Instant, packet: bytes::Bytes) {
        self.clock = now;
        if let (Some(sctp), None) = (&mut self.sctp, &self.closed) {
            self.stats.sctp_refused += u64::from(sctp.handle_packet(now, packet).is_err());
        }
        self.follow_sctp(now);
    }

    fn follow_dtls(&mut self, now: Instant, outcome: Outcome) {
        match outcome {
            Outcome::Taken => {}
            Outcome::Refused => self.stats.dtls_refused += 1,
            Outcome::Failed => self.end(Cause::Dtls),
            Outcome::Closed => {
                // What came in the same batch comes first.
                self.follow_sctp(now);
                self.end(Cause::Remote);
            }
            Outcome::Connected => {
                let Some(dtls) = &self.dtls else { return };
                let settings = sctp::Settings {
                    receive_window: self.config.receive_window,
                    receive_window_limit: self.config.receive_window_limit,
                    packet: self.config.sctp_packet,
                    max_message_size: self.config.max_message_size,
                    seed: self.ice.number(b"sctp"),
                };
                self.channels.set_side(dtls.side());
                self.sctp = Sctp::new(dtls.side(), now, &settings);
                self.events.push_back(Event::Connected);
                if self.sctp.is_none() {
                    self.end(Cause::Sctp);
                }
                match (self.handshake, self.path) {
                    // All of our part went there, so whoever finished it has received it there.
                    (Handshake::At(address), _) => self.ice.note_validated(address),
                    (_, Some(path)) => self.ice.validate(now, path.remote),
                    _ => {}
                }
            }
        }
    }

    fn follow_ice(&mut self, now: Instant) {
        while let Some(event) = self.ice.poll_event() {
            match event {
                // RFC 8445 §12.1: data may go over any valid pair before the choice, which saves a round trip. What is in
                // use stays in use.
                ice::Event::Usable(path) if self.path.is_none() => self.take_path(now, path),
                ice::Event::Usable(_) => {}
                ice::Event::Path(path) => {
                    self.take_path(now, path);
                    self.resume(now);
                }
                ice::Event::Recovered => self.resume(now),
                ice::Event::Disconnected => {
                    self.is_seeking = true;
                    self.events.push_back(Event::Disconnected);
                }
                ice::Event::Failed => {
                    self.is_seeking = true;
                    self.events.push_back(Event::Failed);
                }
            }
        }
    }

    fn take_path(&mut self, now: Instant, path: Path) {
        let former = self.path.replace(path);
        if former.is_some_and(|former| former != path) && !self.is_seeking {
            // What was sent the old way may be lost; a restart or an outage fires it when it is over.
            if let Some(sctp) = &mut self.sctp {
                sctp.fire_retransmission(now);
            }
        }
        let is_connected = self.sctp.is_some();
        if is_connected {
            self.ice.validate(now, path.remote);
        } else {
            self.handshake.note(path.remote);
        }
        if let Some(dtls) = &mut self.dtls {
            let outcome = dtls.start(now);
            if former.is_some() {
                dtls.repeat_hello();
            }
            self.follow_dtls(now, outcome);
        }
    }

    fn resume(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_seeking) {
            if let Some(sctp) = &mut self.sctp {
                sctp.fire_retransmission(now);
            }
            self.events.push_back(Event::Reconnected);
        }
    }

    fn follow_sctp(&mut self, now: Instant) {
        if self.closed.is_some() {
            return;
        }
        let Some(sctp) = &mut self.sctp else { return };
        let mut lost = None;
        while let Some(event) = sctp.poll_event() {
            match event {
                sctp::Event::Connected => {
                    self.channels
                        .open_configured(now, sctp, &self.config, &mut self.events);
                }
                sctp::Event::Readable(stream) => {
                    self.channels.note_readable(
                        now,
                        stream,
                        sctp,
                        &mut self.events,
                        &mut self.stats,
                    );
                }
                sctp::Event::Released { stream, bytes } => {
                    self.channels.note_released(stream, bytes);
                }
                sctp::Event::StreamClosed(stream) => {
                    self.channels.note_closed(stream, &mut self.events)
                }
                sctp::Event::Lost(loss) => lost = Some(loss),
            }
        }
        self.channels.note_room(sctp, &mut self.events);
        match lost {
            Some(Loss::Remote) => self.end(Cause::Remote),
            Some(Loss::Protocol) => self.end(Cause::Sctp),
            None => {}
        }
    }

    /// Lets time pass. Call it at or after [`Peer::poll_timeout`]; too early or too late is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.clock = now;
        if self.closed.is_some() {
            return;
        }
        self.ice.handle_timeout(now);
        self.follow_ice(now);
        if let Some(dtls) = &mut self.dtls {
            let outcome = dtls.handle_timeout(now);
            self.follow_dtls(now, outcome);
        }
        if let Some(sctp) = &mut self.sctp {
            sctp.handle_timeout(now);
        }
        self.follow_sctp(now);
    }

    /// When [`Peer::handle_timeout`] is due. Ask again after every input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        let dtls = self.dtls.as_ref().and_then(Dtls::poll_timeout);
        let sctp = self.sctp.as_ref().and_then(Sctp::poll_timeout);
        // What waits for an answer of its address, or for more from there, does not wait for a time.
        let sctp = sctp.filter(|at| *at > self.clock || self.may_send_packets());
        [self.ice.poll_timeout(), dtls, sctp]
            .into_iter()
            .flatten()
            .min()
    }

    /// Writes datagrams into `buf` (cleared first): up to `max_segments` of one size to one destination, the last may be
    /// shorter. `None` when there is nothing to send. What leaves makes room: look for events afterwards.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        self.clock = now;
        buf.clear();
        let transmit = match self.ice.poll_transmit() {
            Some(outgoing) => {
                buf.extend_from_slice(&outgoing.bytes);
                single(outgoing.path, buf)
            }
            None => {
                let transmit = self.write_batch(now, max_segments, buf)?;
                if !self.ice.is_validated(transmit.destination) {
                    self.ice.note_sent(transmit.destination, transmit.len);
                }
                transmit
            }
        };
        let size = transmit.segment_size.unwrap_or(transmit.len).max(1);
        self.stats.datagrams_sent += transmit.len.div_ceil(size) as u64;
        self.stats.bytes_sent += transmit.len as u64;
        Some(transmit)
    }

    /// Bytes that may be sent over the path now.
    fn allowance(&self) -> usize {
        self.path.map_or(0, |path| {
            self.ice
                .allowance(path.remote)
                .saturating_sub(self.ice.reserve())
        })
    }

    /// Whether the largest packet may be sent over the path now.
    fn may_send_packets(&self) -> bool {
        self.allowance() >= Dtls::sealed_len(self.config.sctp_packet)
    }

    fn write_batch(
        &mut self,
        now: Instant,
        max_segments: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let path = self.path?;
        let mut allowance = self.allowance();
        if let Some(datagram) = self.farewell.pop_front() {
            if datagram.len() > allowance {
                // It may be somebody else's address, and there is no time to find out.
                self.farewell.clear();
                return None;
            }
            buf.extend_from_slice(&datagram);
            return Some(single(path, buf));
        }
        if self.closed.is_some() {
            return None;
        }
        let dtls = self.dtls.as_mut()?;
        if let Some(datagram) = self.withheld.take().or_else(|| dtls.poll_handshake()) {
            if datagram.len() > allowance {
                self.withheld = Some(datagram);
                return None;
            }
            buf.extend_from_slice(&datagram);
            return Some(single(path, buf));
        }
        let largest = Dtls::sealed_len(self.config.sctp_packet);
        let sctp = self.sctp.as_mut()?;
        let mut segment_size = 0;
        let mut segments = 0;
        while segments < max_segments.max(1) {
            let start = buf.len();
            if segments > 0 && start + segment_size > limits::BATCH_BYTES || allowance < largest {
                break;
            }
            buf.extend_from_slice(&ROOM);
            let Some(length) = sctp.poll_transmit(now, buf) else {
                buf.truncate(start);
                break;
            };
            let packet = start + ROOM.len();
            #[cfg(fuzzing)]
            self.observed.note_sent(&buf[packet..]);
            let sealed = Dtls::sealed_len(length);
            if segments > 0 && sealed > segment_size {
                sctp.hold(&buf[packet..]);
                buf.truncate(start);
                break;
            }
            if dtls.seal_in_place(start, buf).is_none() {
                continue;
            }
            if segments == 0 {
                segment_size = sealed;
            }
            segments += 1;
            allowance -= sealed;
            if sealed < segment_size {
                break;
            }
        }
        self.channels.note_room(sctp, &mut self.events);
        match segments {
            0 => None,
            1 => Some(single(path, buf)),
            _ => Some(Transmit {
                segment_size: Some(segment_size),
                ..single(path, buf)
            }),
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Gives a message to a channel. It is sent as binary (PPID 53, or 57 when empty).
    ///
    /// # Errors
    /// See [`SendError`]; the message was not taken then.
    pub fn send(
        &mut self,
        now: Instant,
        channel: ChannelId,
        message: Bytes,
    ) -> Result<(), SendError> {
        self.clock = now;
        let sctp = self
            .sctp
            .as_mut()
            .filter(|_| self.closed.is_none())
            .ok_or(SendError::Closed)?;
        let limit = self.negotiation.remote_max_message_size();
        self.channels.send(now, channel, &message, limit, sctp)?;
        self.stats.messages_sent += 1;
        Ok(())
    }

    /// Takes the next message from a channel. What is not taken fills the SCTP window, which slows the sender down; after
    /// taking, ask [`Peer::poll_transmit`], since the sender may have to be told that the window is open again.
    ///
    /// What was unread when the other side closed the connection ([`Cause::Remote`]) can still be taken, until `None`.
    pub fn receive(&mut self, channel: ChannelId) -> Option<Bytes> {
        let sctp = self.sctp.as_mut()?;
        let message = self
            .channels
            .receive(self.clock, channel, sctp, &mut self.stats)?;
        self.stats.messages_received += 1;
        Some(message)
    }

    /// Bytes given to a channel that are not acknowledged yet.
    #[must_use]
    pub fn buffered(&self, channel: ChannelId) -> usize {
        if self.closed.is_some() {
            return 0;
        }
        self.channels.buffered(channel)
    }

    /// Bytes that the caller should still hand over now. Once it was zero it stays so until [`Event::Writable`].
    #[must_use]
    pub fn room(&self, channel: ChannelId) -> usize {
        match &self.sctp {
            Some(sctp) if self.closed.is_none() => self.channels.room(channel, sctp),
            _ => 0,
        }
    }

    /// How many bytes of messages given to the channel the other side has acknowledged (or, on lossy channels, we have
    /// given up), since the start. While datagrams are lost, bytes of later messages may count before those of earlier ones;
    /// it equals all bytes given only when every one is acknowledged.
    #[must_use]
    pub fn acknowledged(&self, channel: ChannelId) -> u64 {
        self.channels.acknowledged(channel)
    }

    /// The largest message that the other side accepts, in bytes.
    #[must_use]
    pub fn remote_max_message_size(&self) -> usize {
        self.negotiation.remote_max_message_size()
    }

    /// Closes one channel on both sides; [`Event::ChannelClosed`] follows. What was given to it is still sent. What is unread on it, and
    /// what still comes, is dropped.
    pub fn close_channel(&mut self, now: Instant, channel: ChannelId) {
        self.clock = now;
        if let Some(sctp) = &mut self.sctp
            && self.closed.is_none()
        {
            self.channels.close(now, channel, sctp, &mut self.stats);
        }
    }

    /// Ends the connection: SCTP abort and DTLS close_notify wait in [`Peer::poll_transmit`]. Unsent data is lost.
    pub fn close(&mut self, now: Instant) {
        self.clock = now;
        self.end(Cause::Local);
    }

    fn end(&mut self, cause: Cause) {
        if self.closed.is_some() {
            return;
        }
        if let (Some(sctp), Some(dtls), true) =
            (&mut self.sctp, &mut self.dtls, cause != Cause::Remote)
        {
            sctp.abort();
            loop {
                let mut datagram = ROOM.to_vec();
                if sctp.poll_transmit(self.clock, &mut datagram).is_none() {
                    break;
                }
                if dtls.seal_in_place(0, &mut datagram).is_some() {
                    self.farewell.push_back(datagram);
                }
            }
        }
        if let Some(dtls) = &mut self.dtls {
            self.farewell.extend(dtls.close());
        }
        self.ice.close();
        if cause != Cause::Remote {
            self.channels.clear();
        }
        self.closed = Some(cause.clone());
        self.events.push_back(Event::Closed(cause));
    }

    /// Whether [`Event::Closed`] has come or waits.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            sctp: self.sctp.as_ref().map(Sctp::stats).unwrap_or_default(),
            stun_dropped: self.ice.dropped(),
            ..self.stats
        }
    }
}

/// The addresses to which our part of the DTLS handshake went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    Nowhere,
    At(SocketAddr),
    Several,
}

impl Handshake {
    fn note(&mut self, address: SocketAddr) {
        *self = match *self {
            Self::Nowhere => Self::At(address),
            Self::At(former) if former == address => *self,
            _ => Self::Several,
        };
    }
}

fn single(path: Path, buf: &[u8]) -> Transmit {
    Transmit {
        destination: path.remote,
        source: path.source,
        segment_size: None,
        len: buf.len(),
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("role", &self.role)
            .field("path", &self.path)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
