//! Two peers and a wire on virtual time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::{Peer, Received};
use super::fastrand;
use crate::certificate::Certificate;
use crate::channel::{ChannelConfig, ChannelId, Reliability};
use crate::config::{Credentials, IceMode, PeerConfig};
use crate::event::Event;
use crate::sctp::MessageKind;
use crate::stun::{Kind, Writer};

/// The offerer.
pub(super) const A: usize = 0;
/// The answerer.
pub(super) const B: usize = 1;

pub(super) struct Setting {
    pub(super) ice: [IceMode; 2],
    pub(super) channels: [Vec<ChannelConfig>; 2],
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    pub(super) loss: f64,
    pub(super) max_message_size: [usize; 2],
    /// Of both sides, from the start to the end.
    pub(super) receive_window: Option<usize>,
    /// The answerer is told the fingerprint of another certificate.
    pub(super) forge: bool,
    pub(super) seed: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            ice: [IceMode::Full, IceMode::Lite],
            channels: [
                vec![
                    ChannelConfig::reliable("_reliable"),
                    ChannelConfig::lossy("_lossy"),
                ],
                Vec::new(),
            ],
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0.0,
            max_message_size: [262_144; 2],
            receive_window: None,
            forge: false,
            seed: 7,
        }
    }
}

pub(super) fn credentials(number: u8) -> Credentials {
    let mut random = [0; 48];
    for (index, byte) in random.iter_mut().enumerate() {
        *byte = number.wrapping_mul(37).wrapping_add(index as u8 * 5);
    }
    Credentials::from_random(random)
}

struct Flying {
    from: SocketAddr,
    to: SocketAddr,
    data: Vec<u8>,
}

pub(super) struct Pair {
    pub(super) now: Instant,
    start: Instant,
    peers: [Peer; 2],
    addresses: [SocketAddr; 2],
    wire: BTreeMap<(Instant, u64), Flying>,
    serial: u64,
    /// Bytes sent to addresses at which neither peer is.
    strays: BTreeMap<SocketAddr, usize>,
    delay: Duration,
    jitter: Duration,
    pub(super) loss: f64,
    pub(super) corruption: f64,
    pub(super) blackout: bool,
    /// Whether a side reads its channels.
    pub(super) pulls: [bool; 2],
    events: [Vec<Event>; 2],
    pub(super) received: [Vec<(ChannelId, Bytes)>; 2],
    sent: [u64; 2],
    pub(super) certificate: Arc<Certificate>,
    pub(super) offer: String,
    pub(super) answer: String,
    random: Box<dyn FnMut() -> u64>,
    restarts: u8,
}

impl Pair {
    pub(super) fn new(setting: Setting) -> Self {
        eprintln!("seed {}", setting.seed);
        let now = Instant::now();
        let certificate = Arc::new(Certificate::generate().unwrap());
        let addresses: [SocketAddr; 2] = [
            "10.0.0.1:1111".parse().unwrap(),
            "10.0.0.2:2222".parse().unwrap(),
        ];
        let config = |side: usize| {
            let mut config = PeerConfig::new(Arc::clone(&certificate), credentials(side as u8 + 1));
            config.candidates = vec![addresses[side]];
            config.ice = setting.ice[side];
            config.channels.clone_from(&setting.channels[side]);
            config.max_message_size = setting.max_message_size[side];
            if let Some(window) = setting.receive_window {
                config.receive_window = window;
                config.receive_window_limit = window;
            }
            config
        };
        let (mut offerer, offer) = Peer::offer(now, config(A)).unwrap();
        let mut told = offer.clone();
        if setting.forge {
            let other = Certificate::generate().unwrap();
            told = told.replace(certificate.fingerprint(), other.fingerprint());
        }
        let (answerer, answer) = Peer::answer(now, config(B), &told).unwrap();
        offerer.handle_answer(now, &answer).unwrap();
        let mut random = fastrand(setting.seed);
        random();
        Self {
            now,
            start: now,
            peers: [offerer, answerer],
            addresses,
            wire: BTreeMap::new(),
            serial: 0,
            strays: BTreeMap::new(),
            delay: setting.delay,
            jitter: setting.jitter,
            loss: setting.loss,
            corruption: 0.0,
            blackout: false,
            pulls: [true; 2],
            events: Default::default(),
            received: Default::default(),
            sent: [0; 2],
            certificate,
            offer,
            answer,
            random: Box::new(random),
            restarts: 0,
        }
    }

    pub(super) fn peer(&mut self, side: usize) -> &mut Peer {
        &mut self.peers[side]
    }

    pub(super) fn address(&self, side: usize) -> SocketAddr {
        self.addresses[side]
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(super) fn events(&self, side: usize) -> &[Event] {
        &self.events[side]
    }

    pub(super) fn sent_bytes(&self, side: usize) -> u64 {
        self.sent[side]
    }

    /// Messages that arrived on a channel.
    pub(super) fn received(&self, side: usize, channel: ChannelId) -> Vec<Vec<u8>> {
        self.received[side]
            .iter()
            .filter(|(id, _)| *id == channel)
            .map(|(_, bytes)| bytes.to_vec())
            .collect()
    }

    fn opened(&self, side: usize, name: &str) -> Option<(ChannelId, Reliability)> {
        self.events[side].iter().find_map(|event| match event {
            Event::ChannelOpen {
                id,
                label,
                reliability,
            } if &**label == name => Some((*id, *reliability)),
            _ => None,
        })
    }

    pub(super) fn channel(&self, side: usize, label: &str) -> ChannelId {
        self.opened(side, label).expect(label).0
    }

    pub(super) fn reliability(&self, side: usize, label: &str) -> Reliability {
        self.opened(side, label).expect(label).1
    }

    pub(super) fn send(&mut self, side: usize, channel: ChannelId, bytes: &[u8]) {
        self.peers[side]
            .send(self.now, channel, Bytes::copy_from_slice(bytes))
            .unwrap();
        self.sent[side] += bytes.len() as u64;
    }

    /// Sends a control message past the rules.
    pub(super) fn control(&mut self, side: usize, stream: u16, bytes: &[u8]) {
        let sctp = self.peers[side].sctp.as_mut().unwrap();
        sctp.open(stream).unwrap();
        sctp.write(
            self.now,
            stream,
            MessageKind::Control,
            &Bytes::copy_from_slice(bytes),
        )
        .unwrap();
    }

    /// Until every channel of the setting is open on both sides.
    pub(super) fn connect(&mut self) {
        let expected: usize = self
            .peers
            .iter()
            .map(|peer| peer.config.channels.len())
            .max()
            .unwrap();
        self.run_until(Duration::from_secs(60), |pair| {
            [A, B].iter().all(|side| {
                let opened = pair.events[*side]
                    .iter()
                    .filter(|event| matches!(event, Event::ChannelOpen { .. }));
                opened.count() >= expected
            })
        });
        for side in [A, B] {
            assert!(self.events[side].contains(&Event::Connected));
        }
    }

    pub(super) fn move_to(&mut self, side: usize, address: &str) {
        self.addresses[side] = address.parse().unwrap();
        self.peers[side].config.candidates = vec![self.addresses[side]];
        self.peers[side]
            .ice
            .forget_locals_for_test(&[self.addresses[side]]);
    }

    /// A genuine check that chooses its address, as side A would send it from there. Gives its size.
    pub(super) fn check_from(&mut self, address: SocketAddr) -> usize {
        let [ours, theirs] = [A, B].map(|side| self.peers[side].ice.credentials().clone());
        let check = Writer::new(Kind::Request, [self.serial as u8; 12])
            .username(&format!("{}:{}", theirs.ufrag, ours.ufrag))
            .priority(u32::MAX)
            .use_candidate()
            .finish(&theirs.password);
        let received = Received {
            remote: address,
            local: Some(self.addresses[B].ip()),
            data: &check,
            segment_size: check.len(),
        };
        assert!(self.peers[B].handle_received(self.now, received));
        check.len()
    }

    /// Bytes that were sent to an address at which neither peer is.
    pub(super) fn sent_to(&self, address: SocketAddr) -> usize {
        self.strays.get(&address).copied().unwrap_or_default()
    }

    /// An ICE restart that a side offers.
    pub(super) fn restart(&mut self, side: usize) {
        self.restarts += 1;
        let offer = self.peers[side]
            .restart(self.now, credentials(50 + self.restarts))
            .unwrap();
        let answer = self.peers[1 - side]
            .handle_reoffer(self.now, &offer)
            .unwrap();
        self.peers[side].handle_answer(self.now, &answer).unwrap();
    }

    /// Reads what waits, after the side did not pull for a while.
    pub(super) fn wake(&mut self, side: usize) {
        let channels: Vec<ChannelId> = self.events[side]
            .iter()
            .filter_map(|event| match event {
                Event::ChannelOpen { id, .. } => Some(*id),
                _ => None,
            })
            .collect();
        for channel in channels {
            self.pull(side, channel);
        }
    }

    fn pull(&mut self, side: usize, channel: ChannelId) {
        while let Some(bytes) = self.peers[side].receive(channel) {
            self.received[side].push((channel, bytes));
        }
    }

    /// Sends so many bytes from each side at the same time and waits until all have arrived in order.
    pub(super) fn transfer(&mut self, bytes: [usize; 2], channel: ChannelId, limit: Duration) {
        let messages = bytes.map(|bytes| bytes.div_ceil(super::MESSAGE));
        let before = [self.received[A].len(), self.received[B].len()];
        let mut next = [0usize; 2];
        self.run_until(limit, |pair| {
            for side in [A, B] {
                while next[side] < messages[side] && pair.peers[side].room(channel) > 0 {
                    let mut message = vec![side as u8; super::MESSAGE];
                    message[..8].copy_from_slice(&next[side].to_be_bytes());
                    pair.send(side, channel, &message);
                    next[side] += 1;
                }
            }
            [A, B]
                .iter()
                .all(|side| pair.received[1 - side].len() - before[1 - side] == messages[*side])
        });
        for side in [A, B] {
            for (index, (id, message)) in self.received[1 - side][before[1 - side]..]
                .iter()
                .enumerate()
            {
                assert_eq!(*id, channel);
                assert_eq!(message.len(), super::MESSAGE);
                assert_eq!(message[..8], index.to_be_bytes());
                assert!(message[8..].iter().all(|byte| *byte == side as u8));
            }
        }
        self.run_for(Duration::from_millis(500));
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    pub(super) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        self.settle();
        while !done(self) {
            assert!(
                self.step(end),
                "not done after {limit:?}: {:?} {:?}",
                self.events,
                self.peers.each_ref().map(Peer::stats)
            );
        }
    }

    /// Goes on to the next thing that happens before the end.
    fn step(&mut self, end: Instant) -> bool {
        self.settle();
        let arrival = self.wire.first_key_value().map(|(key, _)| key.0);
        let timeouts = self.peers.each_ref().map(Peer::poll_timeout);
        let Some(next) = [arrival, timeouts[A], timeouts[B]]
            .into_iter()
            .flatten()
            .min()
        else {
            return false;
        };
        if next > end {
            return false;
        }
        self.now = self.now.max(next);
        while let Some(entry) = self.wire.first_entry()
            && entry.key().0 <= self.now
        {
            let flying = entry.remove();
            if let Some(side) = self
                .addresses
                .iter()
                .position(|address| *address == flying.to)
            {
                let received = Received {
                    remote: flying.from,
                    local: Some(flying.to.ip()),
                    data: &flying.data,
                    segment_size: flying.data.len(),
                };
                self.peers[side].handle_received(self.now, received);
            }
        }
        for peer in &mut self.peers {
            if peer.poll_timeout().is_some_and(|at| at <= self.now) {
                peer.handle_timeout(self.now);
            }
        }
        true
    }

    /// Drains both peers.
    fn settle(&mut self) {
        let mut buffer = Vec::new();
        for side in [A, B] {
            while let Some(event) = self.peers[side].poll_event() {
                if let Event::Readable(channel) = event
                    && self.pulls[side]
                {
                    self.pull(side, channel);
                }
                self.events[side].push(event);
            }
            while let Some(transmit) = self.peers[side].poll_transmit(self.now, 10, &mut buffer) {
                assert_eq!(transmit.len, buffer.len());
                assert!(buffer.len() <= crate::limits::BATCH_BYTES);
                let segment = transmit.segment_size.unwrap_or(transmit.len);
                assert!(segment <= 1_280, "{segment}");
                for data in buffer.chunks(segment) {
                    self.fly(side, transmit.destination, data);
                }
            }
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        ((self.random)() % 1_000_000) as f64 <= probability * 1e6 && probability > 0.0
    }

    fn fly(&mut self, side: usize, to: SocketAddr, data: &[u8]) {
        let (loss, corruption) = (self.loss, self.corruption);
        if self.blackout || self.chance(loss) {
            return;
        }
        let mut data = data.to_vec();
        if self.chance(corruption) {
            let at = (self.random)() as usize % data.len();
            data[at] ^= 1 << ((self.random)() % 8);
        }
        let jitter = self
            .jitter
            .mul_f64(((self.random)() % 1_000) as f64 / 1_000.0);
        self.serial += 1;
        if !self.addresses.contains(&to) {
            *self.strays.entry(to).or_default() += data.len();
        }
        let at = self.now + self.delay + jitter;
        self.wire.insert(
            (at, self.serial),
            Flying {
                from: self.addresses[side],
                to,
                data,
            },
        );
    }
}
