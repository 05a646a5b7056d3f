//! Two peers over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_transport::udp::{ReceiveBatch, Socket};
use lkstream_transport::{
    Certificate, ChannelConfig, ChannelId, Credentials, Event, IceMode, Peer, PeerConfig,
    stun_username_local,
};

struct Side {
    peer: Peer,
    socket: Socket,
    batch: ReceiveBatch,
    channel: Option<ChannelId>,
    messages: Vec<Bytes>,
    first_username: Option<String>,
}

impl Side {
    fn new(peer: Peer, socket: Socket) -> Self {
        Self {
            peer,
            socket,
            batch: ReceiveBatch::new(),
            channel: None,
            messages: Vec::new(),
            first_username: None,
        }
    }

    fn turn(&mut self) {
        let mut buffer = Vec::new();
        while self
            .socket
            .try_receive(&mut self.batch)
            .is_ok_and(|filled| filled > 0)
        {
            for received in self.batch.iter() {
                if self.first_username.is_none() {
                    self.first_username = stun_username_local(received.data).map(str::to_owned);
                }
                self.peer.handle_received(Instant::now(), received);
            }
        }
        let now = Instant::now();
        if self.peer.poll_timeout().is_some_and(|at| at <= now) {
            self.peer.handle_timeout(now);
        }
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::ChannelOpen { id, label, .. } if &*label == "_reliable" => {
                    self.channel = Some(id)
                }
                Event::Readable(id) => {
                    while let Some(message) = self.peer.receive(id) {
                        self.messages.push(message);
                    }
                }
                _ => {}
            }
        }
        while let Some(transmit) =
            self.peer
                .poll_transmit(now, self.socket.max_segments(), &mut buffer)
        {
            // A full socket is a lost datagram here; SCTP sends it again.
            let _ = self.socket.try_send(&transmit, &buffer);
        }
    }
}

fn config(certificate: &Arc<Certificate>, number: u8, candidates: Vec<SocketAddr>) -> PeerConfig {
    let mut config = PeerConfig::new(
        Arc::clone(certificate),
        Credentials::from_random([number; 48]),
    );
    config.candidates = candidates;
    config
}

/// A client and a lite server, the latter bound to the address given.
fn pair(server: &str) -> (Side, Side) {
    let certificate = Arc::new(Certificate::generate().unwrap());
    let (a, b) = (
        Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
        Socket::bind(server.parse().unwrap()).unwrap(),
    );
    let candidate = SocketAddr::new("127.0.0.1".parse().unwrap(), b.local_addr().unwrap().port());
    let now = Instant::now();
    let mut client = config(&certificate, 1, vec![a.local_addr().unwrap()]);
    client.channels = vec![ChannelConfig::reliable("_reliable")];
    let mut server = config(&certificate, 2, vec![candidate]);
    server.ice = IceMode::Lite;
    let (mut offerer, offer) = Peer::offer(now, client).unwrap();
    let (answerer, answer) = Peer::answer(now, server, &offer).unwrap();
    offerer.handle_answer(now, &answer).unwrap();
    (Side::new(offerer, a), Side::new(answerer, b))
}

fn turn_until(sides: &mut (Side, Side), mut done: impl FnMut(&mut (Side, Side)) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done(sides) {
        sides.0.turn();
        sides.1.turn();
        assert!(
            Instant::now() < deadline,
            "{:?} {:?}",
            sides.0.peer.stats(),
            sides.1.peer.stats()
        );
    }
}

#[test]
fn messages_cross_real_sockets() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let mut sides = pair(address);
        let start = Instant::now();
        turn_until(&mut sides, |sides| {
            sides.0.channel.is_some() && sides.1.channel.is_some()
        });
        eprintln!("connected after {:?}", start.elapsed());
        assert_eq!(
            sides.1.first_username.as_deref(),
            Some(sides.1.peer.local_ufrag())
        );
        let message = Bytes::from(vec![5; 15_000]);
        let mut sent = 0;
        turn_until(&mut sides, |sides| {
            let channel = sides.0.channel.unwrap();
            while sent < 500 && sides.0.peer.room(channel) > 0 {
                sides
                    .0
                    .peer
                    .send(Instant::now(), channel, message.clone())
                    .unwrap();
                sent += 1;
            }
            sides.1.messages.len() == 500
        });
        assert!(sides.1.messages.iter().all(|received| *received == message));
        let remote = sides.1.peer.remote_address().unwrap();
        assert_eq!(remote, sides.0.socket.local_addr().unwrap());
        sides.1.peer.close(Instant::now());
        turn_until(&mut sides, |sides| sides.0.peer.is_closed());
    }
}

#[test]
fn a_socket_says_what_it_got() {
    let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let sizes = socket.buffer_sizes();
    assert!(sizes.receive > 0 && sizes.send > 0);
    assert!(socket.max_segments() >= 1);
    let mut batch = ReceiveBatch::new();
    let error = socket.try_receive(&mut batch).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(batch.iter().count(), 0);
    assert_eq!(
        socket.try_clone_std().unwrap().local_addr().unwrap(),
        socket.local_addr().unwrap()
    );
}
