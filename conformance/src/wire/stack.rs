//! The real peer connection (ICE, DTLS, SCTP, DCEP) over a link of datagrams, on the same virtual time and behind the
//! same interface as the [model](super::Wire).
//!
//! The link's loss is exact for a seed, the whole is not: DTLS and SCTP draw randomness of their own. Signalling goes
//! over a model's ordered lane.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use lkstream_transport as transport;
use lkstream_transport::{
    Certificate, ChannelConfig, ChannelId, Credentials, IceMode, Peer, PeerConfig, Received,
};

use crate::link::{self, Bottleneck, Link, Loss};

use super::{Cause, Config, End, Event, Lane, Random, SendError, Totals, Wire};

/// Datagrams that one call may write.
const SEGMENTS: usize = 16;

/// One client's connection to its server through the real stack.
#[derive(Debug)]
pub struct Stack {
    config: Config,
    signal: Wire,
    random: Random,
    peers: Option<[Peer; 2]>,
    addresses: [SocketAddr; 2],
    channels: [[Option<ChannelId>; 2]; 2],
    /// Messages that were looked at and not yet taken.
    peeked: [[VecDeque<Bytes>; 2]; 2],
    is_open: [bool; 2],
    events: [VecDeque<Event>; 2],
    /// What each end sends.
    links: [Link<Vec<u8>>; 2],
    buffer: Vec<u8>,
}

impl Stack {
    /// A wire whose signalling stream is open and whose peer connection is not. [`Config::loss`] hits every datagram,
    /// [`Config::segment`], `retransmit_*`, `fails_after` and `connects_in` are the stack's own business.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Stack {
        let mut random = Random::new(seed);
        let behaviour = link::Config {
            delay: config.latency,
            jitter: config.jitter,
            loss: Loss::Each(config.loss),
            bottleneck: Some(Bottleneck {
                bytes_per_second: config.bytes_per_second,
                queue: usize::MAX,
            }),
        };
        Stack {
            signal: Wire::new(config.clone(), seed),
            links: [(); 2].map(|()| Link::new(behaviour.clone(), random.draw())),
            random,
            peers: None,
            addresses: [
                SocketAddr::from(([10, 0, 0, 1], 1_111)),
                SocketAddr::from(([10, 0, 0, 2], 7_882)),
            ],
            channels: [[None; 2]; 2],
            peeked: Default::default(),
            is_open: [false; 2],
            events: Default::default(),
            buffer: Vec::new(),
            config,
        }
    }

    /// As [`Wire::config`].
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// As [`Wire::totals`]; a segment is a datagram.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for link in &self.links {
            totals.arrived += link.totals().carried;
            totals.cut_off += link.totals().cut_off;
            totals.lost += link.totals().lost;
        }
        totals
    }

    /// As [`Wire::connect`].
    ///
    /// # Panics
    /// When the two ends do not understand each other's SDP, which is a bug.
    #[allow(clippy::panic)]
    pub fn connect(&mut self, now: Instant) {
        match self.negotiate(now) {
            Ok(peers) => self.peers = Some(peers),
            Err(problem) => panic!("the peers cannot be made: {problem}"),
        }
        self.drain(now);
    }

    fn negotiate(&mut self, now: Instant) -> Result<[Peer; 2], String> {
        let mut config = |end: End| {
            let certificate = certificate()?;
            let mut random = [0; 48];
            random.copy_from_slice(&self.random.bytes(48));
            let mut config = PeerConfig::new(certificate, Credentials::from_random(random));
            config.candidates = vec![self.addresses[end.index()]];
            config.max_message_size = self.config.max_message_size;
            config.receive_window = self.config.receive_window.max(64 << 10);
            config.receive_window_limit = config.receive_window;
            config.send_buffer = self.config.send_buffer;
            Ok::<_, String>(config)
        };
        let mut client = config(End::Client)?;
        client.channels = vec![
            ChannelConfig::reliable("_reliable"),
            ChannelConfig::lossy("_lossy"),
        ];
        let mut server = config(End::Server)?;
        server.ice = IceMode::Lite;
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let (mut client, offer) = Peer::offer(now, client).map_err(|error| text(&error))?;
        let (server, answer) = Peer::answer(now, server, &offer).map_err(|error| text(&error))?;
        client
            .handle_answer(now, &answer)
            .map_err(|error| text(&error))?;
        Ok([client, server])
    }

    /// As [`Wire::cut`].
    pub fn cut(&mut self, now: Instant) {
        self.signal.cut(now);
        self.links.iter_mut().for_each(Link::cut);
    }

    /// As [`Wire::mend`].
    pub fn mend(&mut self, now: Instant) {
        self.signal.mend(now);
        self.links.iter_mut().for_each(Link::mend);
    }

    /// As [`Wire::is_connected`].
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.signal.is_connected()
    }

    fn channel(&self, end: End, lane: Lane) -> Option<ChannelId> {
        self.channels[end.index()][lane.inbox()]
    }

    /// As [`Wire::send`].
    ///
    /// # Errors
    /// The same.
    pub fn send(
        &mut self,
        now: Instant,
        end: End,
        lane: Lane,
        message: Bytes,
    ) -> Result<(), SendError> {
        if lane == Lane::Signal {
            return self.signal.send(now, end, lane, message);
        }
        let channel = self.channel(end, lane).ok_or(SendError::Closed)?;
        let peers = self.peers.as_mut().ok_or(SendError::Closed)?;
        let sent = peers[end.index()].send(now, channel, message);
        self.transmit(now, end);
        sent.map_err(|error| match error {
            transport::SendError::TooLarge { size, limit } => SendError::TooLarge { size, limit },
            transport::SendError::Full => SendError::Full,
            _ => SendError::Closed,
        })
    }

    /// As [`Wire::receive`].
    pub fn receive(&mut self, now: Instant, end: End, lane: Lane) -> Option<Bytes> {
        if lane == Lane::Signal {
            return self.signal.receive(now, end, lane);
        }
        if let Some(message) = self.peeked[end.index()][lane.inbox()].pop_front() {
            return Some(message);
        }
        let channel = self.channel(end, lane)?;
        let message = self.peers.as_mut()?[end.index()].receive(channel)?;
        self.transmit(now, end);
        Some(message)
    }

    /// As [`Wire::is_readable`].
    pub fn is_readable(&mut self, end: End, lane: Lane) -> bool {
        if lane == Lane::Signal {
            return self.signal.is_readable(end, lane);
        }
        if self.peeked[end.index()][lane.inbox()].is_empty()
            && let Some(channel) = self.channel(end, lane)
            && let Some(peers) = &mut self.peers
            && let Some(message) = peers[end.index()].receive(channel)
        {
            self.peeked[end.index()][lane.inbox()].push_back(message);
        }
        !self.peeked[end.index()][lane.inbox()].is_empty()
    }

    /// As [`Wire::buffered`].
    #[must_use]
    pub fn buffered(&self, end: End, lane: Lane) -> usize {
        match (lane, self.channel(end, lane), &self.peers) {
            (Lane::Signal, ..) => self.signal.buffered(end, lane),
            (_, Some(channel), Some(peers)) => peers[end.index()].buffered(channel),
            _ => 0,
        }
    }

    /// As [`Wire::room`].
    pub fn room(&mut self, end: End, lane: Lane) -> usize {
        match (lane, self.channel(end, lane), &self.peers) {
            (Lane::Signal, ..) => self.signal.room(end, lane),
            (_, Some(channel), Some(peers)) if self.is_open[end.index()] => {
                peers[end.index()].room(channel)
            }
            _ => 0,
        }
    }

    /// As [`Wire::acknowledged`].
    #[must_use]
    pub fn acknowledged(&self, end: End, lane: Lane) -> u64 {
        match (lane, self.channel(end, lane), &self.peers) {
            (Lane::Signal, ..) => self.signal.acknowledged(end, lane),
            (Lane::Reliable, Some(channel), Some(peers)) => {
                peers[end.index()].acknowledged(channel)
            }
            _ => 0,
        }
    }

    /// As [`Wire::close`].
    pub fn close(&mut self, now: Instant, end: End) {
        if let Some(peers) = &mut self.peers {
            peers[end.index()].close(now);
        }
        self.drain(now);
    }

    /// As [`Wire::close_signal`].
    pub fn close_signal(&mut self, now: Instant, end: End) {
        self.signal.close_signal(now, end);
    }

    /// As [`Wire::poll_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let peers = self.peers.iter().flatten().filter_map(Peer::poll_timeout);
        let flying = self.links.iter().filter_map(Link::poll_timeout);
        peers.chain(flying).chain(self.signal.poll_timeout()).min()
    }

    /// As [`Wire::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.signal.handle_timeout(now);
        for from in [End::Client, End::Server] {
            while let Some(data) = self.links[from.index()].pop(now) {
                let received = Received {
                    remote: self.addresses[from.index()],
                    local: Some(self.addresses[from.other().index()].ip()),
                    data: &data,
                    segment_size: data.len(),
                };
                if let Some(peers) = &mut self.peers {
                    peers[from.other().index()].handle_received(now, received);
                }
            }
        }
        for peer in self.peers.iter_mut().flatten() {
            if peer.poll_timeout().is_some_and(|at| at <= now) {
                peer.handle_timeout(now);
            }
        }
        self.drain(now);
    }

    /// As [`Wire::poll_event`].
    pub fn poll_event(&mut self, end: End) -> Option<Event> {
        self.signal
            .poll_event(end)
            .filter(|event| !matches!(event, Event::Closed(_) | Event::Open))
            .or_else(|| self.events[end.index()].pop_front())
    }

    fn drain(&mut self, now: Instant) {
        for end in [End::Client, End::Server] {
            self.take_events(end);
            self.transmit(now, end);
        }
    }

    fn take_events(&mut self, end: End) {
        let Some(peers) = &mut self.peers else {
            return;
        };
        let (peer, channels) = (&mut peers[end.index()], &mut self.channels[end.index()]);
        let events = &mut self.events[end.index()];
        let lane = |channels: &[Option<ChannelId>; 2], id| {
            let index = channels.iter().position(|known| *known == Some(id))?;
            Some([Lane::Reliable, Lane::Lossy][index])
        };
        while let Some(event) = peer.poll_event() {
            match event {
                transport::Event::ChannelOpen { id, label, .. } => {
                    match &*label {
                        "_reliable" => channels[0] = Some(id),
                        "_lossy" => channels[1] = Some(id),
                        _ => {}
                    }
                    if !self.is_open[end.index()] && channels.iter().all(Option::is_some) {
                        self.is_open[end.index()] = true;
                        events.push_back(Event::Open);
                    }
                }
                transport::Event::Readable(id) => {
                    events.extend(lane(channels, id).map(Event::Readable));
                }
                transport::Event::Writable(id) => {
                    events.extend(lane(channels, id).map(Event::Writable));
                }
                transport::Event::Failed => events.push_back(Event::Closed(Cause::Silence)),
                transport::Event::Closed(transport::Cause::Local) => {
                    self.is_open[end.index()] = false;
                }
                transport::Event::Closed(cause) => {
                    self.is_open[end.index()] = false;
                    events.push_back(Event::Closed(match cause {
                        transport::Cause::Remote => Cause::Peer,
                        _ => Cause::Failure,
                    }));
                }
                _ => {}
            }
        }
    }

    fn transmit(&mut self, now: Instant, end: End) {
        let Some(peers) = &mut self.peers else {
            return;
        };
        let peer = &mut peers[end.index()];
        while let Some(transmit) = peer.poll_transmit(now, SEGMENTS, &mut self.buffer) {
            let segment = transmit.segment_size.unwrap_or(transmit.len).max(1);
            for datagram in self.buffer[..transmit.len].chunks(segment) {
                self.links[end.index()].push(now, datagram.len(), datagram.to_vec());
            }
        }
    }
}

/// One for all, as in life.
fn certificate() -> Result<Arc<Certificate>, String> {
    static CERTIFICATE: OnceLock<Arc<Certificate>> = OnceLock::new();
    if let Some(certificate) = CERTIFICATE.get() {
        return Ok(Arc::clone(certificate));
    }
    let made = Certificate::generate().map_err(|error| error.to_string())?;
    Ok(Arc::clone(CERTIFICATE.get_or_init(|| Arc::new(made))))
}
