//! The peer connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;

use crate::channel::ChannelId;
use crate::config::{Credentials, PeerConfig, Role};
use crate::error::{CandidateError, PeerError, SdpError, SendError};
use crate::event::Event;
use crate::stats::Stats;

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
}

impl Peer {
    /// Starts a connection and gives the offer: one section for data channels, `setup:actpass`, all candidates
    /// of the configuration in it.
    ///
    /// # Errors
    /// When the configuration cannot work.
    pub fn offer(now: Instant, config: PeerConfig) -> Result<(Self, String), PeerError> {
        let _ = (now, config);
        Ok((
            Self {
                role: Role::Offerer,
            },
            String::new(),
        ))
    }

    /// Starts a connection from an offer and gives the answer, with `setup:active`. Media sections are answered as
    /// `inactive` (protocol.md §3.4 variant I), candidates stand in the first bundled section.
    ///
    /// # Errors
    /// When the offer is bad or has no data section.
    pub fn answer(
        now: Instant,
        config: PeerConfig,
        offer: &str,
    ) -> Result<(Self, String), SdpError> {
        let _ = (now, config, offer);
        Ok((
            Self {
                role: Role::Answerer,
            },
            String::new(),
        ))
    }

    /// Takes the answer to the last offer.
    ///
    /// # Errors
    /// When it is bad or no offer is open.
    pub fn handle_answer(&mut self, now: Instant, answer: &str) -> Result<(), SdpError> {
        let _ = (now, answer);
        Ok(())
    }

    /// Takes a further offer and gives the answer in the shape of the first, with the same credentials. When the remote
    /// user name fragment changed this is an ICE restart: the path is looked for anew, DTLS and SCTP go on.
    /// The old path is used until the new one works.
    ///
    /// # Errors
    /// When the offer is bad or would need another DTLS association.
    pub fn handle_reoffer(&mut self, now: Instant, offer: &str) -> Result<String, SdpError> {
        let _ = (now, offer);
        Ok(String::new())
    }

    /// Starts an ICE restart with new credentials and gives the offer for it. DTLS and SCTP go on.
    ///
    /// # Errors
    /// When an offer is open already or this side is not able to offer.
    pub fn restart(&mut self, now: Instant, credentials: Credentials) -> Result<String, SdpError> {
        let _ = (now, credentials);
        Ok(String::new())
    }

    /// Adds a candidate of the other side, as SDP writes it, with or without `a=` or `candidate:` in front.
    /// `.local` names, TCP and the empty end-of-candidates mark are ignored and counted.
    ///
    /// # Errors
    /// When it does not parse or there are too many.
    pub fn add_remote_candidate(
        &mut self,
        now: Instant,
        candidate: &str,
    ) -> Result<(), CandidateError> {
        let _ = (now, candidate);
        Ok(())
    }

    /// The local ICE user name fragment, by which [`stun_username_local`](crate::stun_username_local) finds this peer.
    #[must_use]
    pub fn local_ufrag(&self) -> &str {
        ""
    }

    /// Which side of the first exchange this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The address of the other side on the path in use.
    #[must_use]
    pub fn remote_address(&self) -> Option<SocketAddr> {
        None
    }

    /// The largest message that the other side accepts, in bytes.
    #[must_use]
    pub fn remote_max_message_size(&self) -> usize {
        0
    }

    /// Takes received datagrams. Bad ones are counted in [`Stats`] and dropped.
    pub fn handle_received(&mut self, now: Instant, received: Received<'_>) {
        let _ = (now, received);
    }

    /// Lets time pass. Call it at or after [`Peer::poll_timeout`]; too early or too late is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`Peer::handle_timeout`] is due. Ask again after every input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Writes datagrams into `buf` (cleared first): up to `max_segments` of one size to one destination, the last may be
    /// shorter. `None` when there is nothing to send.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let _ = (now, max_segments, buf);
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Gives a message to a channel. It is sent as binary (PPID 53, or 56 when empty).
    ///
    /// # Errors
    /// See [`SendError`]; the message was not taken then.
    pub fn send(
        &mut self,
        now: Instant,
        channel: ChannelId,
        message: Bytes,
    ) -> Result<(), SendError> {
        let _ = (now, channel, message);
        Err(SendError::Closed)
    }

    /// Takes the next message from a channel. What is not taken fills the SCTP window, which slows the sender down.
    pub fn receive(&mut self, channel: ChannelId) -> Option<Bytes> {
        let _ = channel;
        None
    }

    /// Bytes given to a channel that are not acknowledged yet.
    #[must_use]
    pub fn buffered(&self, channel: ChannelId) -> usize {
        let _ = channel;
        0
    }

    /// Bytes that the caller should still hand over now. After zero, [`Event::Writable`] tells when to go on.
    #[must_use]
    pub fn room(&self, channel: ChannelId) -> usize {
        let _ = channel;
        0
    }

    /// How many bytes of messages given to the channel the other side has acknowledged, since the start.
    #[must_use]
    pub fn acknowledged(&self, channel: ChannelId) -> u64 {
        let _ = channel;
        0
    }

    /// Closes one channel on both sides; [`Event::ChannelClosed`] follows.
    pub fn close_channel(&mut self, now: Instant, channel: ChannelId) {
        let _ = (now, channel);
    }

    /// Ends the connection: SCTP abort and DTLS close_notify wait in [`Peer::poll_transmit`]. Unsent data is lost.
    pub fn close(&mut self, now: Instant) {
        let _ = now;
    }

    /// Whether [`Event::Closed`] has come or waits.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        false
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
