//! A participant made of its parts: a WebSocket, a UDP socket and a peer connection, driven step by step by a test.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use lkstream_proto::join::{Join, Resume};
use lkstream_proto::packet::{Channel, DataPacket};
use lkstream_proto::signal::{
    JoinResponse, ReconnectReason, Request, Response, SessionDescription, SignalRequest,
    SignalResponse,
};
use lkstream_server::Server;
use lkstream_transport::udp::{ReceiveBatch, Socket};
use lkstream_transport::{
    Certificate, ChannelConfig, ChannelId, Credentials, Event, Peer, PeerConfig,
};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{client_info, within};

pub struct Participant {
    pub ws: Option<WebSocketStream<TcpStream>>,
    pub peer: Peer,
    pub joined: JoinResponse,
    /// What the server said and no test has looked at yet.
    pub heard: Vec<Response>,
    /// What arrived and no test has looked at yet.
    pub packets: Vec<(Channel, DataPacket)>,
    /// Whether packets are taken from the transport.
    pub reads: bool,
    pub events: Vec<Event>,
    pub reliable: Option<ChannelId>,
    pub lossy: Option<ChannelId>,
    /// Further channels under the label of the reliable one.
    pub doubles: Vec<ChannelId>,
    /// Channels of labels that mean nothing to LiveKit.
    pub others: Vec<ChannelId>,
    offers: u32,
    socket: Socket,
    udp: tokio::net::UdpSocket,
    batch: ReceiveBatch,
    buffer: Vec<u8>,
}

pub async fn dial(server: &Server, query: &str, token: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(server.addr()).await.expect("connects");
    let url = format!("{}/rtc/v1?{query}&access_token={token}", server.url());
    let (ws, _) = tokio_tungstenite::client_async(url, stream)
        .await
        .expect("the upgrade");
    ws
}

impl Participant {
    /// Joins, and waits until both channels are open.
    pub async fn join(server: &Server, token: &str) -> Participant {
        Participant::join_with_doubles(server, token, 0).await
    }

    /// As [`Participant::join`], with so many further channels under the label of the reliable one.
    pub async fn join_with_doubles(server: &Server, token: &str, doubles: usize) -> Participant {
        Participant::join_with(server, token, |config| {
            config
                .channels
                .extend((0..doubles).map(|_| ChannelConfig::reliable("_reliable")));
        })
        .await
    }

    /// As [`Participant::join`], with a peer of other settings.
    pub async fn join_with(
        server: &Server,
        token: &str,
        change: impl FnOnce(&mut PeerConfig),
    ) -> Participant {
        within("join", Participant::enter(server, token, change)).await
    }

    async fn enter(
        server: &Server,
        token: &str,
        change: impl FnOnce(&mut PeerConfig),
    ) -> Participant {
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let udp = tokio::net::UdpSocket::from_std(socket.try_clone_std().unwrap()).unwrap();
        let mut config = PeerConfig::new(
            Arc::new(Certificate::generate().unwrap()),
            Credentials::from_random(std::array::from_fn(|_| rand::random())),
        );
        config.candidates = vec![socket.local_addr().unwrap()];
        config.channels = vec![
            ChannelConfig::reliable("_reliable"),
            ChannelConfig::lossy("_lossy"),
        ];
        change(&mut config);
        let further = config.channels.len() - 2;
        let (peer, offer) = Peer::offer(Instant::now(), config).unwrap();
        let mut join = Join::new(client_info());
        join.offer = Some(SessionDescription {
            r#type: "offer".to_owned(),
            sdp: offer,
            id: 1,
            ..SessionDescription::default()
        });
        let ws = dial(server, &join.to_query(), token).await;
        let mut participant = Participant {
            ws: Some(ws),
            peer,
            joined: JoinResponse::default(),
            heard: Vec::new(),
            packets: Vec::new(),
            reads: true,
            events: Vec::new(),
            reliable: None,
            lossy: None,
            doubles: Vec::new(),
            others: Vec::new(),
            offers: 1,
            socket,
            udp,
            batch: ReceiveBatch::new(),
            buffer: Vec::new(),
        };
        participant
            .until("join response and answer", |it| {
                it.heard
                    .iter()
                    .any(|heard| matches!(heard, Response::Answer(_)))
            })
            .await;
        let Response::Join(joined) = participant.heard.remove(0) else {
            panic!("the first message is the join response");
        };
        participant.joined = joined;
        participant.apply_answer(1);
        participant
            .until("open channels", |it| {
                it.reliable.is_some()
                    && it.lossy.is_some()
                    && it.doubles.len() + it.others.len() == further
            })
            .await;
        participant
    }

    pub fn apply_answer(&mut self, id: u32) {
        let at = self
            .heard
            .iter()
            .position(|heard| matches!(heard, Response::Answer(_)))
            .expect("an answer");
        let Response::Answer(answer) = self.heard.remove(at) else {
            panic!("it was an answer");
        };
        assert_eq!(answer.id, id, "the id of the offer");
        self.peer
            .handle_answer(Instant::now(), &answer.sdp)
            .unwrap();
    }

    /// Restarts ICE as a resuming client does.
    pub async fn restart(&mut self) {
        let credentials = Credentials::from_random(std::array::from_fn(|_| rand::random()));
        let sdp = self.peer.restart(Instant::now(), credentials).unwrap();
        self.offers += 1;
        let id = self.offers;
        self.request(Request::Offer(SessionDescription {
            r#type: "offer".to_owned(),
            sdp,
            id,
            ..SessionDescription::default()
        }))
        .await;
        self.until("answer", |it| {
            it.heard
                .iter()
                .any(|heard| matches!(heard, Response::Answer(_)))
        })
        .await;
        self.apply_answer(id);
    }

    /// Closes the peer connection, as those do whose signalling leave comes later or not at all.
    pub fn hang_up(&mut self) {
        self.peer.close(Instant::now());
        self.flush();
    }

    /// Opens a new signal link for the same session.
    pub async fn resume(&mut self, server: &Server, token: &str) {
        let mut join = Join::new(client_info());
        join.resume = Some(Resume {
            sid: self.sid().into(),
            reason: ReconnectReason::SignalDisconnected,
        });
        self.ws = Some(dial(server, &join.to_query(), token).await);
    }

    pub fn sid(&self) -> &str {
        self.joined
            .participant
            .as_ref()
            .map_or("", |info| &info.sid)
    }

    pub async fn request(&mut self, request: Request) {
        let message = Message::Binary(SignalRequest::from(request).to_bytes());
        self.send_frame(message).await;
    }

    pub async fn send_frame(&mut self, message: Message) {
        self.ws
            .as_mut()
            .expect("a link")
            .send(message)
            .await
            .expect("writes");
    }

    /// Sends a packet as soon as the transport takes it.
    pub async fn send(&mut self, channel: Channel, packet: &DataPacket) {
        self.send_bytes(channel, packet.to_bytes()).await;
    }

    pub async fn send_bytes(&mut self, channel: Channel, bytes: Bytes) {
        let id = match channel {
            Channel::Reliable => self.reliable,
            Channel::Lossy => self.lossy,
        }
        .expect("an open channel");
        self.send_over(id, bytes).await;
    }

    /// Sends over one channel, whatever its label.
    pub async fn send_over(&mut self, id: ChannelId, bytes: Bytes) {
        self.until("room to send", |it| it.peer.room(id) > 0).await;
        self.peer.send(Instant::now(), id, bytes).unwrap();
        self.flush();
    }

    /// Steps until something holds.
    pub async fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Participant) -> bool) {
        within(what, async {
            self.flush();
            while !holds(self) {
                self.step().await;
            }
        })
        .await;
    }

    /// Waits for whatever comes first: signalling, datagrams, a timer.
    pub async fn step(&mut self) {
        let timeout = self.peer.poll_timeout();
        let sleep = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let message = async {
            match &mut self.ws {
                Some(ws) => ws.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = message => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let response = SignalResponse::from_bytes(bytes).expect("good signalling");
                    self.heard.extend(response.message);
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => self.ws = None,
                Some(Ok(_)) => {}
            },
            _ = self.udp.readable() => {
                let (socket, batch) = (&self.socket, &mut self.batch);
                if self.udp.try_io(Interest::READABLE, || socket.try_receive(batch)).is_ok() {
                    for received in self.batch.iter() {
                        self.peer.handle_received(Instant::now(), received);
                    }
                }
            }
            () = sleep => self.peer.handle_timeout(Instant::now()),
        }
        self.flush();
    }

    fn flush(&mut self) {
        let now = Instant::now();
        while let Some(event) = self.peer.poll_event() {
            if let Event::ChannelOpen { id, label, .. } = &event {
                match Channel::from_label(label) {
                    Some(Channel::Reliable) if self.reliable.is_some() => self.doubles.push(*id),
                    Some(Channel::Reliable) => self.reliable = Some(*id),
                    Some(Channel::Lossy) => self.lossy = Some(*id),
                    None => self.others.push(*id),
                }
            }
            self.events.push(event);
        }
        if self.reads {
            for (channel, id) in [
                (Channel::Reliable, self.reliable),
                (Channel::Lossy, self.lossy),
            ]
            .into_iter()
            .chain(self.doubles.iter().map(|id| (Channel::Reliable, Some(*id))))
            {
                while let Some(bytes) = id.and_then(|id| self.peer.receive(id)) {
                    let packet = DataPacket::from_bytes(bytes).expect("a good packet");
                    self.packets.push((channel, packet));
                }
            }
        }
        while let Some(transmit) =
            self.peer
                .poll_transmit(now, self.socket.max_segments(), &mut self.buffer)
        {
            // Loss is the transport's business.
            let _ = self.socket.try_send(&transmit, &self.buffer);
        }
    }
}

/// Steps two participants until something holds.
pub async fn until_both(
    a: &mut Participant,
    b: &mut Participant,
    what: &str,
    mut holds: impl FnMut(&mut Participant, &mut Participant) -> bool,
) {
    within(what, async {
        a.flush();
        b.flush();
        while !holds(a, b) {
            tokio::select! {
                () = a.step() => {}
                () = b.step() => {}
            }
        }
    })
    .await;
}
