//! One hop of ours: a `transport::Peer` on each side, a thread each, messages of 15 000 bytes from left to right.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_conformance::host::Host;
use lkstream_conformance::lab::Lab;
use lkstream_conformance::process::Failure;
use lkstream_transport::udp::{ReceiveBatch, Socket};
use lkstream_transport::{
    Certificate, ChannelConfig, ChannelId, Credentials, Event, IceMode, Peer, PeerConfig, limits,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::flow::{Cpu, Flow, Sample};
use crate::worker::Worker;

/// Bytes of a chunk as LiveKit clients cut it.
pub(crate) const MESSAGE: usize = 15_000;

/// How long an end sleeps at most before it looks whether it should stop.
const NAP: Duration = Duration::from_millis(100);

/// The two ends.
pub(crate) struct Hop {
    received: Arc<AtomicU64>,
    stops: Arc<AtomicBool>,
    ends: Vec<Worker>,
}

impl Hop {
    /// Connects the peers and starts to send.
    pub(crate) fn start(lab: &Lab) -> Result<Hop, Failure> {
        let bind = |host: &Host| host.enter(|| Socket::bind((host.address(), 0).into()));
        let sockets = [bind(lab.left())??, bind(lab.right())??];
        let certificate = Arc::new(Certificate::generate()?);
        let config = |side: usize| -> Result<PeerConfig, Failure> {
            let random = [u8::try_from(side)?; 48];
            let credentials = Credentials::from_random(random);
            let mut config = PeerConfig::new(Arc::clone(&certificate), credentials);
            config.candidates = vec![sockets[side].local_addr()?];
            Ok(config)
        };
        let now = Instant::now();
        let mut left = config(0)?;
        left.channels = vec![ChannelConfig::reliable("_reliable")];
        let mut right = config(1)?;
        right.ice = IceMode::Lite;
        let (mut left, offer) = Peer::offer(now, left)?;
        let (right, answer) = Peer::answer(now, right, &offer)?;
        left.handle_answer(now, &answer)?;

        let mut hop = Hop {
            received: Arc::default(),
            stops: Arc::default(),
            ends: Vec::new(),
        };
        let [near, far] = sockets;
        let message = Some(Bytes::from(vec![7; MESSAGE]));
        hop.spawn("sender", left, near, message)?;
        hop.spawn("receiver", right, far, None)?;
        Ok(hop)
    }

    fn spawn(
        &mut self,
        role: &'static str,
        peer: Peer,
        socket: Socket,
        message: Option<Bytes>,
    ) -> Result<(), Failure> {
        let (received, stops) = (Arc::clone(&self.received), Arc::clone(&self.stops));
        let worker = Worker::spawn(role, move || {
            let end = Driver {
                peer,
                socket,
                message,
                channel: None,
                buffer: Vec::with_capacity(limits::BATCH_BYTES),
                received,
            };
            end.run(&stops)
        });
        self.ends.push(worker?);
        Ok(())
    }
}

impl Flow for Hop {
    fn sample(&mut self, from: Instant) -> Result<Sample, Failure> {
        thread::sleep(from.saturating_duration_since(Instant::now()));
        self.ends.iter_mut().try_for_each(Worker::check)?;
        Ok(Sample {
            at: Instant::now(),
            bytes: self.received.load(Ordering::Relaxed),
        })
    }

    fn cpu(&self) -> Result<Cpu, Failure> {
        self.ends.iter().map(Worker::cpu).collect()
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
    }
}

/// What a thread does for one end.
struct Driver {
    peer: Peer,
    socket: Socket,
    /// What to send again and again.
    message: Option<Bytes>,
    channel: Option<ChannelId>,
    buffer: Vec<u8>,
    received: Arc<AtomicU64>,
}

impl Driver {
    fn run(mut self, stops: &AtomicBool) -> Result<(), Failure> {
        let mut batch = ReceiveBatch::new();
        while !stops.load(Ordering::Relaxed) {
            while self
                .socket
                .try_receive(&mut batch)
                .is_ok_and(|filled| filled > 0)
            {
                let now = Instant::now();
                for received in batch.iter() {
                    self.peer.handle_received(now, received);
                }
                self.read()?;
                self.send()?;
            }
            let now = Instant::now();
            if self.peer.poll_timeout().is_some_and(|at| at <= now) {
                self.peer.handle_timeout(now);
            }
            self.read()?;
            self.write()?;
            self.send()?;
            let until = self
                .peer
                .poll_timeout()
                .map_or(now + NAP, |at| at.min(now + NAP));
            wait(&self.socket, PollFlags::IN, until);
        }
        self.peer.close(Instant::now());
        self.send()
    }

    fn read(&mut self) -> Result<(), Failure> {
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::ChannelOpen { id, .. } => self.channel = Some(id),
                Event::Readable(id) => {
                    while let Some(message) = self.peer.receive(id) {
                        self.received
                            .fetch_add(message.len() as u64, Ordering::Relaxed);
                    }
                }
                Event::Failed | Event::Closed(_) => {
                    return Err(Failure::new(format!("the connection ended: {event:?}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Failure> {
        if let (Some(message), Some(channel)) = (&self.message, self.channel) {
            while self.peer.room(channel) > 0 {
                self.peer.send(Instant::now(), channel, message.clone())?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Failure> {
        let segments = self.socket.max_segments();
        while let Some(transmit) =
            self.peer
                .poll_transmit(Instant::now(), segments, &mut self.buffer)
        {
            while let Err(error) = self.socket.try_send(&transmit, &self.buffer) {
                if error.kind() != std::io::ErrorKind::WouldBlock {
                    return Err(error.into());
                }
                wait(&self.socket, PollFlags::OUT, Instant::now() + NAP);
            }
        }
        Ok(())
    }
}

fn wait(socket: &Socket, what: PollFlags, until: Instant) {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    let socket = socket.as_fd();
    // An interrupted wait is a short one.
    let _ = poll(&mut [PollFd::new(&socket, what)], Some(&timeout));
}
