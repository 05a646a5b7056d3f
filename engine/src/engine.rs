//! All streams of one participant.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lkstream_proto::id::{Identity, ParticipantSid};
use lkstream_proto::packet::{Channel, Packet};
use thiserror::Error;

use crate::config::Config;
use crate::delivery::ReplayGap;
use crate::event::Event;
use crate::fault::{Counters, PeerFault};
use crate::incoming::{Incoming, IncomingId};
use crate::listener::{ListenerId, TopicFilter};
use crate::outgoing::{OpenError, OpenOptions, Outgoing, OutgoingId};
use crate::stream::StreamKind;

/// Why the connection ended, as the driver says it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Lost {
    /// We left.
    #[error("we left the room")]
    Left,
    /// The server ended it.
    #[error("the server ended it: {reason}")]
    ClosedByServer {
        /// The server's reason.
        reason: Arc<str>,
    },
    /// The transport failed.
    #[error("the transport failed: {cause}")]
    Transport {
        /// What failed.
        cause: Arc<str>,
    },
    /// The session was replaced by a new one, which starts its streams anew.
    #[error("the session was replaced by a new one")]
    Restarted,
}

/// The incoming and outgoing streams of one participant: no socket, no clock, no task.
///
/// Feed it with [`handle_packet`](Engine::handle_packet), [`handle_timeout`](Engine::handle_timeout),
/// [`acknowledged`](Engine::acknowledged) and the calls about streams; after each, drain
/// [`poll_event`](Engine::poll_event) until `None`, take [`poll_packet`](Engine::poll_packet) while
/// the transport has room, and arm a timer for [`poll_timeout`](Engine::poll_timeout). While
/// [`is_over_budget`](Engine::is_over_budget) says so, do not read the reliable channel.
#[derive(Debug)]
pub struct Engine {
    config: Config,
}

impl Engine {
    /// An engine without a room. `random` seeds the ids of its streams.
    pub fn new(config: Config, random: u64) -> Engine {
        let _ = random;
        Engine { config }
    }

    /// Says who we are, after joining or after a restart. Packets that came before are held and
    /// handled now, in order; sequence numbers start at 1.
    pub fn set_local(&mut self, now: Instant, identity: Identity, sid: ParticipantSid) {
        let _ = (now, identity, sid, &self.config);
    }

    /// Takes in a packet from `channel`.
    ///
    /// # Errors
    /// A [`PeerFault`] when the packet broke a rule and was dropped. That is no failure of the
    /// engine; count it, log it, go on.
    pub fn handle_packet(&mut self, now: Instant, channel: Channel, packet: Bytes) -> Result<(), PeerFault> {
        let _ = (now, channel, packet);
        unimplemented!()
    }

    /// Lets time pass. Call at [`poll_timeout`](Engine::poll_timeout), or any time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`handle_timeout`](Engine::handle_timeout) wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next packet to send. Call only while the transport has room: what is not polled can
    /// still be overtaken by a small stream.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Packet> {
        let _ = now;
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// The transport had `total` bytes of the packets polled for the reliable channel
    /// acknowledged, counted since [`set_local`](Engine::set_local) or
    /// [`resume`](Engine::resume).
    pub fn acknowledged(&mut self, total: u64) {
        let _ = total;
    }

    /// The reliable channel runs over a new association, whose other side has everything up to
    /// sequence number `last`: what is above is sent again, under its old numbers, and
    /// [`acknowledged`](Engine::acknowledged) counts from zero.
    ///
    /// # Errors
    /// [`ReplayGap`] when the buffer no longer reaches back that far; then only a restart helps.
    pub fn resume(&mut self, last: u32) -> Result<(), ReplayGap> {
        let _ = last;
        Ok(())
    }

    /// Whether readers have so much unread that the driver must stop reading the reliable
    /// channel until they take some.
    pub fn is_over_budget(&self) -> bool {
        false
    }

    /// Somebody left. Their open streams fail once no chunk has come for the grace time.
    pub fn participant_left(&mut self, now: Instant, sid: &ParticipantSid, identity: &Identity) {
        let _ = (now, sid, identity);
    }

    /// The connection is gone: ends every stream, both ways.
    pub fn connection_lost(&mut self, cause: Lost) {
        let _ = cause;
    }

    /// Last sequence number received of each publisher, for the sync state of a resume
    /// (protocol.md §2.15).
    pub fn receive_states(&self) -> Vec<(ParticipantSid, u32)> {
        Vec::new()
    }

    /// What was dropped or ignored so far.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// From now on takes streams of this kind whose topic fits. The most specific listener gets
    /// a stream, the oldest of equal ones.
    pub fn listen(&mut self, kind: StreamKind, filter: TopicFilter) -> ListenerId {
        let _ = (kind, filter);
        unimplemented!()
    }

    /// Takes no new streams for this listener; those already open go on.
    pub fn unlisten(&mut self, listener: ListenerId) {
        let _ = listener;
    }

    /// An incoming stream; `None` when it was released.
    pub fn incoming(&mut self, id: IncomingId) -> Option<Incoming<'_>> {
        let _ = id;
        None
    }

    /// Opens a stream; its header is queued.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is sent then.
    pub fn open(&mut self, now: Instant, options: OpenOptions) -> Result<OutgoingId, OpenError> {
        let _ = (now, options);
        unimplemented!()
    }

    /// An outgoing stream; `None` when it was released.
    pub fn outgoing(&mut self, id: OutgoingId) -> Option<Outgoing<'_>> {
        let _ = id;
        None
    }
}
