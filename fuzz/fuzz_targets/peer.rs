//! Descriptions, datagrams and, behind DTLS, SCTP chunks of any bytes: no panic, no endless work, sizes within bounds.
//!
//! The first byte of the input says what the rest is: `0` a description, `1` datagrams, `2` uses of a connected pair.
#![no_main]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use lkstream_transport::{
    Certificate, ChannelConfig, ChannelId, Credentials, Event, IceMode, Peer, PeerConfig, Received,
    limits, stun_username_local,
};

/// A peer that has more to say at once than this never ends.
const MOST: usize = 20_000;

const MAX_MESSAGE: usize = 65_536;

#[derive(Arbitrary, Debug)]
enum Step {
    Carry {
        datagrams: u8,
    },
    Lose,
    Repeat,
    Change {
        at: u16,
        to: u8,
    },
    Datagram {
        to: Side,
        is_known: bool,
        segment: u16,
        bytes: Vec<u8>,
    },
    Chunks {
        to: Side,
        chunks: Vec<Chunk>,
    },
    Packet {
        to: Side,
        bytes: Vec<u8>,
    },
    Send {
        from: Side,
        channel: u8,
        len: u16,
    },
    Read {
        side: Side,
    },
    CloseChannel {
        side: Side,
        channel: u8,
    },
    Restart,
    Description {
        to: Side,
        change: Vec<(u16, u8)>,
    },
    Candidate {
        to: Side,
        text: String,
    },
    Pass {
        millis: u16,
    },
    Close {
        side: Side,
    },
}

/// One chunk; its numbers may follow those in use.
#[derive(Arbitrary, Debug)]
struct Chunk {
    kind: Kind,
    flags: u8,
    /// Added to the number that fits.
    lead: i16,
    /// Written instead of the true length.
    length: Option<u16>,
    body: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Data { stream: u16, number: u16, ppid: u8 },
    Sack { window: u32, gaps: Vec<(u16, u16)> },
    ForwardTsn,
    Reconfig,
    Init,
    Abort,
    Any(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Side {
    Offerer,
    Answerer,
}

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + side as u8], 1_111))
}

fn config(side: usize, ice: IceMode) -> PeerConfig {
    static CERTIFICATE: OnceLock<Arc<Certificate>> = OnceLock::new();
    let certificate =
        CERTIFICATE.get_or_init(|| Arc::new(Certificate::generate().expect("a certificate")));
    let mut config = PeerConfig::new(
        Arc::clone(certificate),
        Credentials::from_random([side as u8 + 1; 48]),
    );
    config.candidates = vec![address(side)];
    config.ice = ice;
    config.max_message_size = MAX_MESSAGE;
    config.receive_window = 2 * MAX_MESSAGE;
    config.send_buffer = 2 * MAX_MESSAGE;
    if ice == IceMode::Full {
        config.channels = vec![
            ChannelConfig::reliable("_reliable"),
            ChannelConfig::lossy("_lossy"),
        ];
    }
    config
}

fn describe(text: &str) {
    let now = Instant::now();
    for candidate in text.lines().take(20) {
        let (mut peer, _) = Peer::offer(now, config(0, IceMode::Full)).expect("good configuration");
        let _ = peer.add_remote_candidate(now, candidate);
    }
    let (mut peer, _) = Peer::offer(now, config(0, IceMode::Full)).expect("good configuration");
    let _ = peer.handle_answer(now, text);
    drain(&mut peer, now);
    for ice in [IceMode::Full, IceMode::Lite] {
        let Ok((mut peer, answer)) = Peer::answer(now, config(1, ice), text) else {
            continue;
        };
        assert!(answer.len() <= text.len() + 4_096 + 1_024 * limits::SDP_SECTIONS);
        drain(&mut peer, now);
        let again = peer
            .handle_reoffer(now, text)
            .expect("the same offer again");
        assert_eq!(again.lines().count(), answer.lines().count());
        for seconds in 1..40 {
            peer.handle_timeout(now + Duration::from_secs(seconds));
            drain(&mut peer, now + Duration::from_secs(seconds));
        }
        // What we answer, we can read.
        let (mut offerer, _) =
            Peer::offer(now, config(0, IceMode::Full)).expect("good configuration");
        offerer.handle_answer(now, &answer).expect("our own answer");
    }
}

/// Takes what a peer has to say and gives the datagrams.
fn drain(peer: &mut Peer, now: Instant) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut buffer = Vec::new();
    for count in 0.. {
        assert!(count < MOST, "no end of datagrams");
        let Some(transmit) = peer.poll_transmit(now, limits::MAX_SEGMENTS, &mut buffer) else {
            break;
        };
        assert_eq!(transmit.len, buffer.len());
        assert!(transmit.len > 0 && transmit.len <= limits::BATCH_BYTES);
        let segment = transmit.segment_size.unwrap_or(transmit.len);
        datagrams.extend(buffer.chunks(segment).map(<[u8]>::to_vec));
    }
    datagrams
}

struct Pair {
    now: Instant,
    peers: [Peer; 2],
    /// To whom, and what.
    wire: VecDeque<(usize, Vec<u8>)>,
    channels: [Vec<ChannelId>; 2],
    sdp: String,
}

impl Pair {
    fn connect() -> Pair {
        let now = Instant::now();
        let (mut offerer, offer) =
            Peer::offer(now, config(0, IceMode::Full)).expect("good configuration");
        let (answerer, answer) =
            Peer::answer(now, config(1, IceMode::Lite), &offer).expect("a good offer");
        offerer.handle_answer(now, &answer).expect("a good answer");
        let mut pair = Pair {
            now,
            peers: [offerer, answerer],
            wire: VecDeque::new(),
            channels: Default::default(),
            sdp: offer,
        };
        for _ in 0..200 {
            pair.settle();
            if pair.channels.iter().all(|open| open.len() >= 2) {
                return pair;
            }
            if pair.wire.is_empty() {
                pair.pass(Duration::from_millis(20));
            }
            pair.carry(1);
        }
        panic!("two peers do not connect");
    }

    fn settle(&mut self) {
        for side in 0..2 {
            for count in 0.. {
                assert!(count < MOST, "no end of events");
                match self.peers[side].poll_event() {
                    Some(Event::ChannelOpen { id, .. }) if !self.channels[side].contains(&id) => {
                        self.channels[side].push(id);
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            for datagram in drain(&mut self.peers[side], self.now) {
                if self.wire.len() < MOST {
                    self.wire.push_back((1 - side, datagram));
                }
            }
        }
    }

    fn deliver(&mut self, to: usize, from: SocketAddr, data: &[u8], segment_size: usize) {
        let received = Received {
            remote: from,
            local: Some(address(to).ip()),
            data,
            segment_size,
        };
        self.peers[to].handle_received(self.now, received);
    }

    fn carry(&mut self, datagrams: usize) {
        for _ in 0..datagrams {
            let Some((to, data)) = self.wire.pop_front() else {
                return;
            };
            self.deliver(to, address(1 - to), &data, data.len());
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for peer in &mut self.peers {
            for count in 0.. {
                assert!(count < 1_000, "a timer that does not go on");
                if peer.poll_timeout().is_none_or(|at| at > self.now) {
                    break;
                }
                peer.handle_timeout(self.now);
                if count > 100 {
                    // Some timers wait for the packet that they made.
                    let _ = drain(peer, self.now);
                }
            }
        }
    }

    fn read(&mut self, side: usize) {
        for channel in &self.channels[side] {
            for count in 0.. {
                assert!(count < MOST * 20, "no end of messages");
                let Some(message) = self.peers[side].receive(*channel) else {
                    break;
                };
                assert!(message.len() <= MAX_MESSAGE);
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Carry { datagrams } => {
                for _ in 0..datagrams {
                    self.carry(1);
                    self.settle();
                }
            }
            Step::Lose => {
                self.wire.pop_front();
            }
            Step::Repeat => {
                if let Some(first) = self.wire.front().cloned() {
                    self.wire.push_back(first);
                }
            }
            Step::Change { at, to } => {
                if let Some((_, data)) = self.wire.front_mut() {
                    let at = usize::from(at) % data.len().max(1);
                    data[at] = to;
                }
            }
            Step::Datagram {
                to,
                is_known,
                segment,
                bytes,
            } => {
                let to = to as usize;
                let from = if is_known {
                    address(1 - to)
                } else {
                    SocketAddr::from(([10, 9, 9, 9], 9))
                };
                let _ = stun_username_local(&bytes);
                self.deliver(to, from, &bytes, usize::from(segment));
            }
            Step::Chunks { to, chunks } => {
                let to = to as usize;
                let mut bytes = Vec::new();
                for chunk in chunks.iter().take(20) {
                    self.write(to, chunk, &mut bytes);
                }
                self.peers[to].handle_chunks(self.now, &bytes);
            }
            Step::Packet { to, bytes } => self.peers[to as usize].handle_packet(self.now, &bytes),
            Step::Send { from, channel, len } => {
                let from = from as usize;
                if let Some(at) = usize::from(channel).checked_rem(self.channels[from].len()) {
                    let channel = self.channels[from][at];
                    let message = Bytes::from(vec![1; usize::from(len)]);
                    let _ = self.peers[from].send(self.now, channel, message);
                }
            }
            Step::Read { side } => self.read(side as usize),
            Step::CloseChannel { side, channel } => {
                let side = side as usize;
                if let Some(at) = usize::from(channel).checked_rem(self.channels[side].len()) {
                    let channel = self.channels[side][at];
                    self.peers[side].close_channel(self.now, channel);
                }
            }
            Step::Restart => {
                let credentials = Credentials::from_random([self.sdp.len() as u8; 48]);
                if let Ok(offer) = self.peers[0].restart(self.now, credentials)
                    && let Ok(answer) = self.peers[1].handle_reoffer(self.now, &offer)
                {
                    let _ = self.peers[0].handle_answer(self.now, &answer);
                    self.sdp = offer;
                }
            }
            Step::Description { to, change } => {
                let mut text = self.sdp.clone().into_bytes();
                for (at, to) in change {
                    let at = usize::from(at) % text.len();
                    text[at] = to;
                }
                let text = String::from_utf8_lossy(&text);
                let peer = &mut self.peers[to as usize];
                let _ = peer.handle_reoffer(self.now, &text);
                let _ = peer.handle_answer(self.now, &text);
            }
            Step::Candidate { to, text } => {
                let _ = self.peers[to as usize].add_remote_candidate(self.now, &text);
            }
            Step::Pass { millis } => self.pass(Duration::from_millis(u64::from(millis))),
            Step::Close { side } => self.peers[side as usize].close(self.now),
        }
        self.settle();
    }

    fn write(&self, to: usize, chunk: &Chunk, out: &mut Vec<u8>) {
        let observed = self.peers[to].observed();
        let near = |tsn: u32| tsn.wrapping_add_signed(chunk.lead.into()).to_be_bytes();
        let mut body = Vec::new();
        let kind = match &chunk.kind {
            Kind::Data {
                stream,
                number,
                ppid,
            } => {
                body.extend(near(observed.their_tsn.wrapping_add(1)));
                body.extend(stream.to_be_bytes());
                body.extend(number.to_be_bytes());
                body.extend(u32::from(*ppid).to_be_bytes());
                0
            }
            Kind::Sack { window, gaps } => {
                body.extend(near(observed.our_tsn));
                body.extend(window.to_be_bytes());
                body.extend((gaps.len() as u16).to_be_bytes());
                body.extend([0, 0]);
                for (start, end) in gaps {
                    body.extend(start.to_be_bytes());
                    body.extend(end.to_be_bytes());
                }
                3
            }
            Kind::ForwardTsn => {
                body.extend(near(observed.their_tsn));
                192
            }
            Kind::Reconfig => {
                // An outgoing reset request (RFC 6525 §4.1).
                let mut request = near(observed.their_tsn).to_vec();
                request.extend(near(observed.our_tsn));
                request.extend(observed.their_tsn.to_be_bytes());
                request.extend(&chunk.body);
                body.extend(13u16.to_be_bytes());
                body.extend((4 + request.len() as u16).to_be_bytes());
                body.extend(request);
                130
            }
            Kind::Init => {
                body.extend([0, 0, 0, 1, 0, 2, 0, 0, 1, 0, 1, 0]);
                body.extend(near(observed.their_tsn));
                1
            }
            Kind::Abort => 6,
            Kind::Any(kind) => *kind,
        };
        if !matches!(chunk.kind, Kind::Reconfig) {
            body.extend(&chunk.body);
        }
        let length = chunk.length.unwrap_or(4 + body.len() as u16);
        out.push(kind);
        out.push(chunk.flags);
        out.extend(length.to_be_bytes());
        out.extend(&body);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&mode, data)) = data.split_first() else {
        return;
    };
    match mode & 3 {
        0 => {
            if let Ok(text) = std::str::from_utf8(data) {
                describe(text);
            }
        }
        1 => {
            let _ = stun_username_local(data);
            let mut pair = Pair::connect();
            for known in [true, false] {
                for to in 0..2 {
                    let from = if known {
                        address(1 - to)
                    } else {
                        SocketAddr::from(([10, 9, 9, 9], 9))
                    };
                    pair.deliver(to, from, data, data.len().max(1));
                    pair.settle();
                }
            }
        }
        _ => {
            let mut pair = Pair::connect();
            let mut input = Unstructured::new(data);
            for _ in 0..200 {
                match Step::arbitrary(&mut input) {
                    Ok(step) if !input.is_empty() => pair.step(step),
                    _ => break,
                }
            }
            for side in 0..2 {
                pair.read(side);
            }
            pair.settle();
        }
    }
});
