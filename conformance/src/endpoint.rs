//! A [`Peer`] on a socket of its own, which runs while a test waits for something.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lkstream_transport::udp::{ReceiveBatch, Socket};
use lkstream_transport::{
    Certificate, ChannelId, Credentials, Event, Peer, PeerConfig, Reliability, Transmit,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::sleep_until;

use crate::host::Host;
use crate::process::{DEADLINE, Failure};

/// Datagrams that [`Endpoint::first`] keeps.
const FIRST: usize = 100;

/// A channel that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The channel.
    pub id: ChannelId,
    /// Its name.
    pub label: Box<str>,
    /// Order and retransmission.
    pub reliability: Reliability,
}

/// A peer connection and its socket. It only moves while [`Endpoint::until`] or [`Endpoint::beside`] waits. Dropping it
/// tells the other side nothing.
pub struct Endpoint {
    /// The peer connection. Its events are taken by the endpoint.
    pub peer: Peer,
    /// Channels in the order in which they were opened.
    pub opened: VecDeque<Opened>,
    /// Channels that are gone, in order.
    pub closed: Vec<ChannelId>,
    /// All other events but the readable and writable ones, in order.
    pub events: Vec<Event>,
    /// The first 100 datagrams that came: what the other side offers before anything is encrypted.
    pub first: Vec<Vec<u8>>,
    socket: Socket,
    /// A second handle to the socket, to wait on.
    readiness: UdpSocket,
    batch: ReceiveBatch,
    buffer: Vec<u8>,
    /// What the socket did not take yet.
    stuck: Option<Transmit>,
}

impl Endpoint {
    /// An endpoint on a free port of the host that offers. `change` completes the configuration.
    pub fn offer(
        host: &Host,
        change: impl FnOnce(&mut PeerConfig),
    ) -> Result<(Self, String), Failure> {
        let (socket, config) = prepare(host, change)?;
        let (peer, offer) = Peer::offer(Instant::now(), config)?;
        Ok((Self::new(peer, socket)?, offer))
    }

    /// An endpoint on a free port of the host that answers. `change` completes the configuration.
    pub fn answer(
        host: &Host,
        change: impl FnOnce(&mut PeerConfig),
        offer: &str,
    ) -> Result<(Self, String), Failure> {
        let (socket, config) = prepare(host, change)?;
        let (peer, answer) = Peer::answer(Instant::now(), config, offer)?;
        Ok((Self::new(peer, socket)?, answer))
    }

    fn new(peer: Peer, socket: Socket) -> Result<Self, Failure> {
        Ok(Self {
            peer,
            opened: VecDeque::new(),
            closed: Vec::new(),
            events: Vec::new(),
            first: Vec::new(),
            readiness: UdpSocket::from_std(socket.try_clone_std()?)?,
            socket,
            batch: ReceiveBatch::new(),
            buffer: Vec::new(),
            stuck: None,
        })
    }

    /// Runs until `done` gives something; it is asked after every batch of input and may send and receive. `what` is named
    /// when the deadline passes.
    pub async fn until<T>(
        &mut self,
        what: &str,
        done: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, Failure> {
        self.until_within(what, DEADLINE, done).await
    }

    /// As [`Endpoint::until`], with another deadline.
    pub async fn until_within<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + within;
        loop {
            self.take_input();
            let result = done(self);
            self.send_output();
            if let Some(result) = result {
                return Ok(result);
            }
            if Instant::now() >= deadline {
                return Err(self.failure(&format!("no {what} in {within:?}")));
            }
            self.wait(deadline).await?;
        }
    }

    /// Runs beside something else until that is ready.
    pub async fn beside<T>(
        &mut self,
        other: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut other = pin!(other);
        loop {
            self.take_input();
            self.send_output();
            let far = Instant::now() + DEADLINE;
            tokio::select! {
                result = &mut other => return result,
                waited = self.wait(far) => waited?,
            }
        }
    }

    /// Waits for the channel of this name and takes it from [`Endpoint::opened`].
    pub async fn channel(&mut self, label: &str) -> Result<Opened, Failure> {
        self.until(&format!("channel `{label}`"), |endpoint| {
            let at = endpoint
                .opened
                .iter()
                .position(|opened| &*opened.label == label)?;
            endpoint.opened.remove(at)
        })
        .await
    }

    /// Another handle to its socket: what is sent through it comes from the endpoint's address.
    pub fn socket(&self) -> std::io::Result<std::net::UdpSocket> {
        self.socket.try_clone_std()
    }

    /// A failure with what the peer has seen.
    #[must_use]
    pub fn failure(&self, what: &str) -> Failure {
        Failure::new(format!(
            "{what}\n  {:?}\n  opened {:?}, closed {:?}, events {:?}\n  {:?}",
            self.peer,
            self.opened,
            self.closed,
            self.events,
            self.peer.stats()
        ))
    }

    fn take_input(&mut self) {
        let Self {
            peer,
            socket,
            readiness,
            batch,
            first,
            ..
        } = self;
        while readiness
            .try_io(Interest::READABLE, || socket.try_receive(batch))
            .is_ok()
        {
            let now = Instant::now();
            for received in batch.iter() {
                let datagrams = received.data.chunks(received.segment_size.max(1));
                first.extend(datagrams.map(<[u8]>::to_vec).take(FIRST - first.len()));
                peer.handle_received(now, received);
            }
        }
        let now = Instant::now();
        if peer.poll_timeout().is_some_and(|at| at <= now) {
            peer.handle_timeout(now);
        }
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::ChannelOpen {
                    id,
                    label,
                    reliability,
                } => self.opened.push_back(Opened {
                    id,
                    label,
                    reliability,
                }),
                Event::ChannelClosed(id) => self.closed.push(id),
                // Whoever waits asks for messages and room anyway.
                Event::Readable(_) | Event::Writable(_) => {}
                other => self.events.push(other),
            }
        }
    }

    fn send_output(&mut self) {
        loop {
            let transmit = match self.stuck.take() {
                Some(transmit) => transmit,
                None => {
                    let segments = self.socket.max_segments();
                    let now = Instant::now();
                    match self.peer.poll_transmit(now, segments, &mut self.buffer) {
                        Some(transmit) => transmit,
                        None => return,
                    }
                }
            };
            let sent = self.readiness.try_io(Interest::WRITABLE, || {
                self.socket.try_send(&transmit, &self.buffer)
            });
            // Any other error is a lost batch, which SCTP sends again.
            if sent.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock) {
                self.stuck = Some(transmit);
                return;
            }
        }
    }

    async fn wait(&self, deadline: Instant) -> Result<(), Failure> {
        let at = self
            .peer
            .poll_timeout()
            .map_or(deadline, |at| at.min(deadline));
        tokio::select! {
            ready = self.readiness.readable() => ready?,
            ready = self.readiness.writable(), if self.stuck.is_some() => ready?,
            () = sleep_until(at.into()) => {}
        }
        Ok(())
    }
}

fn prepare(
    host: &Host,
    change: impl FnOnce(&mut PeerConfig),
) -> Result<(Socket, PeerConfig), Failure> {
    let socket = host.enter(|| Socket::bind((host.address(), 0).into()))??;
    let mut random = [0; 48];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
        .map_err(|_| Failure::new("no randomness"))?;
    let certificate = Arc::new(Certificate::generate()?);
    let mut config = PeerConfig::new(certificate, Credentials::from_random(random));
    config.candidates = vec![socket.local_addr()?];
    change(&mut config);
    Ok((socket, config))
}
