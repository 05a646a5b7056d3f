//! Sets an association up: from either side, from both at once, and again after a restart of the peer (RFC 9260 §5).

use std::time::Instant;

use super::heartbeat::Heartbeats;
use super::{Association, Pending, State};
use crate::chunk::{COOKIE_ACK, COOKIE_ECHO, Extensions, INIT, INIT_ACK, Init};
use crate::config::Checksum;
use crate::cookie::Cookie;
use crate::error::PeerFault;
use crate::event::{Closed, Event};
use crate::limits;
use crate::receiver::Receiver;
use crate::reset::Reset;
use crate::sender::Sender;

/// The side that asks: T1-init and T1-cookie.
#[derive(Debug, Default)]
pub(super) struct Setup {
    at: Option<Instant>,
    count: u32,
    pub(super) cookie: Box<[u8]>,
    /// What of the INIT ACK is to be reported along with the cookie.
    pub(super) unrecognized: Box<[u8]>,
    /// When the packet left whose answer measures the round trip.
    sent_at: Option<Instant>,
}

impl Setup {
    pub(super) fn timer(&self) -> Option<Instant> {
        self.at
    }
}

#[derive(Debug)]
pub(super) struct InitAck {
    /// The tag of who asked.
    pub(super) tag: u32,
    pub(super) init: Init,
    pub(super) cookie: Vec<u8>,
    /// What of the INIT is to be reported.
    pub(super) unrecognized: Vec<u8>,
}

impl Association {
    pub(super) fn own_init(&self, tag: u32, tsn: u32) -> Init {
        Init {
            tag,
            window: u32::try_from(self.config.receive_window).unwrap_or(u32::MAX),
            outbound: u16::MAX,
            inbound: self.config.inbound_streams,
            tsn,
            extensions: Extensions {
                forward_tsn: true,
                reconfig: true,
                zero_checksum: self.config.checksum == Checksum::ZeroOverDtls,
            },
        }
    }

    // ---- The side that asks

    /// An INIT or COOKIE ECHO leaves.
    pub(super) fn setup_sent(&mut self, now: Instant) {
        self.setup.count += 1;
        self.setup.sent_at = (self.setup.count == 1).then_some(now);
        let wait = limits::RTO_INITIAL * (1 << (self.setup.count - 1).min(4));
        self.setup.at = Some(now + wait.min(limits::RTO_MAX));
    }

    pub(super) fn time_setup(&mut self, now: Instant) {
        if self.setup.at.is_none_or(|at| at > now) {
            return;
        }
        self.setup.at = None;
        if self.setup.count >= limits::HANDSHAKE_TRANSMISSIONS {
            self.close(Closed::TimedOut);
            return;
        }
        self.resume_setup();
    }

    pub(super) fn resume_setup(&mut self) {
        match self.state {
            State::CookieWait => self.pending.init = true,
            State::CookieEchoed => self.pending.cookie_echo = true,
            _ => {}
        }
    }

    fn end_setup(&mut self, now: Instant) {
        if let Some(sent_at) = self.setup.sent_at {
            self.sender
                .rtt
                .sample(now, now.saturating_duration_since(sent_at));
        }
        self.setup = Setup::default();
        self.pending.init = false;
        self.pending.cookie_echo = false;
    }

    pub(super) fn handle_init_ack(&mut self, now: Instant, value: &[u8]) -> Result<(), PeerFault> {
        let unexpected = PeerFault::Unexpected(INIT_ACK);
        if self.state != State::CookieWait {
            return Err(unexpected);
        }
        let (init, cookie) = Init::read(value).ok_or(PeerFault::Range(INIT_ACK))?;
        let cookie = cookie.ok_or(PeerFault::Range(INIT_ACK))?;
        check(&init, INIT_ACK)?;
        if cookie.len() + 20 > self.config.packet {
            return Err(PeerFault::Range(INIT_ACK));
        }
        let cookie = cookie.into();
        self.end_setup(now);
        self.take_peer(now, &init);
        self.setup.cookie = cookie;
        self.setup.unrecognized = Init::unrecognized(value).into();
        self.state = State::CookieEchoed;
        self.pending.cookie_echo = true;
        Ok(())
    }

    pub(super) fn handle_cookie_ack(&mut self, now: Instant) -> Result<(), PeerFault> {
        if self.state != State::CookieEchoed {
            return Err(PeerFault::Unexpected(COOKIE_ACK));
        }
        self.end_setup(now);
        self.establish(now);
        Ok(())
    }

    /// Our cookie was too old for the other side: begin again (RFC 9260 §5.2.6).
    pub(super) fn handle_stale_cookie(&mut self) {
        if self.state == State::CookieEchoed {
            self.state = State::CookieWait;
            self.setup.cookie = Box::default();
            self.setup.unrecognized = Box::default();
            self.receiver = None;
            self.pending = Pending {
                init: true,
                ..Pending::default()
            };
        }
    }

    fn take_peer(&mut self, now: Instant, init: &Init) {
        self.peer_tag = init.tag;
        self.peer_streams = init.inbound;
        self.peer_extensions = init.extensions;
        self.sender
            .set_peer(init.window, init.extensions.forward_tsn);
        let windows = (self.config.receive_window, self.config.receive_window_limit);
        self.receiver = Some(Receiver::new(
            now,
            init.tsn,
            windows,
            self.config.max_message_size,
            self.config.inbound_streams,
        ));
        self.reset = Some(Reset::new(self.local_tsn, init.tsn));
    }

    fn establish(&mut self, now: Instant) {
        self.state = State::Established;
        self.events.push_back(Event::Connected);
        for (stream, messages) in self.sender.queue.refuse_beyond(self.peer_streams) {
            self.events.push_back(Event::NoStream { stream, messages });
        }
        self.heartbeat_at = self.config.heartbeat.map(|wait| now + wait);
    }

    // ---- The side that answers

    /// Nothing is kept for an INIT but the one answer that waits (RFC 9260 §5.1.3).
    pub(super) fn handle_init(&mut self, now: Instant, value: &[u8]) -> Result<(), PeerFault> {
        let (peer, _) = Init::read(value).ok_or(PeerFault::Range(INIT))?;
        check(&peer, INIT)?;
        let (local_tag, local_tsn, tie) = match self.state {
            State::Closed => return Err(PeerFault::Closed),
            State::ShutdownAckSent => {
                // RFC 9260 §9.2: only the SHUTDOWN ACK again.
                self.pending.shutdown_ack = true;
                return Ok(());
            }
            // The same tag and TSN as in our own INIT (RFC 9260 §5.2.1), or those that wait for the first to come.
            State::Listening | State::CookieWait | State::CookieEchoed => {
                (self.local_tag, self.local_tsn, (0, 0))
            }
            // It may have begun anew (RFC 9260 §5.2.2).
            _ => (
                self.random.tag(),
                self.random.next_u32(),
                (self.local_tag, self.peer_tag),
            ),
        };
        let tag = peer.tag;
        let cookie = Cookie {
            made: self.age(now),
            local_tag,
            local_tsn,
            tie,
            peer,
        };
        self.pending.init_ack = Some(InitAck {
            tag,
            init: self.own_init(local_tag, local_tsn),
            cookie: cookie.write(self.cookie_key),
            unrecognized: Init::unrecognized(value),
        });
        Ok(())
    }

    /// `tag` is that of the packet (RFC 9260 §5.2.4).
    pub(super) fn handle_cookie_echo(
        &mut self,
        now: Instant,
        tag: u32,
        value: &[u8],
    ) -> Result<(), PeerFault> {
        let cookie = Cookie::read(value, self.cookie_key).ok_or(PeerFault::Cookie)?;
        if tag != cookie.local_tag {
            return Err(PeerFault::Tag);
        }
        let is_same_local = cookie.local_tag == self.local_tag;
        let is_same_peer = cookie.peer.tag == self.peer_tag;
        let age = self.age(now).saturating_sub(cookie.made);
        if age > limits::COOKIE_LIFE && !(is_same_local && is_same_peer) {
            let over = age.saturating_sub(limits::COOKIE_LIFE).as_micros();
            let over = u32::try_from(over).unwrap_or(u32::MAX);
            self.pending.stale_cookie = Some((cookie.peer.tag, over));
            return Err(PeerFault::Cookie);
        }
        match self.state {
            State::Closed => return Err(PeerFault::Closed),
            State::Listening if is_same_local => {
                // The cookie went there and back, unless one of the packets was sent again.
                if age < limits::RTO_INITIAL {
                    self.sender.rtt.sample(now, age);
                }
                self.take_peer(now, &cookie.peer);
                self.establish(now);
            }
            // Both asked: cases B and D.
            State::CookieWait | State::CookieEchoed if is_same_local => {
                self.end_setup(now);
                if !is_same_peer || self.receiver.is_none() {
                    self.take_peer(now, &cookie.peer);
                }
                self.establish(now);
            }
            // Our COOKIE ACK was lost: case D.
            _ if is_same_local && is_same_peer => {}
            // The other side began anew: case A.
            State::Established | State::ShutdownPending | State::ShutdownReceived
                if !is_same_local
                    && !is_same_peer
                    && cookie.tie == (self.local_tag, self.peer_tag) =>
            {
                self.restart(now, &cookie);
            }
            // Case C and all else.
            _ => return Err(PeerFault::Cookie),
        }
        self.pending.cookie_ack = true;
        Ok(())
    }

    fn restart(&mut self, now: Instant, cookie: &Cookie) {
        self.local_tag = cookie.local_tag;
        self.local_tsn = cookie.local_tsn;
        self.sender = Sender::new(
            now,
            self.config.packet,
            self.config.congestion,
            cookie.local_tsn,
            self.random.clone(),
        );
        self.pending = Pending::default();
        self.take_peer(now, &cookie.peer);
        self.state = State::Established;
        self.shutdown_at = None;
        self.heartbeats = Heartbeats::default();
        self.shutdown_guard = None;
        self.hear_answer();
        self.heartbeat_at = self.config.heartbeat.map(|wait| now + wait);
        self.events.push_back(Event::Restarted);
    }
}

/// RFC 9260 §3.3.2, §3.3.3: neither tag nor numbers of streams may be zero.
fn check(init: &Init, kind: u8) -> Result<(), PeerFault> {
    if init.tag == 0 || init.outbound == 0 || init.inbound == 0 {
        return Err(PeerFault::Range(kind));
    }
    Ok(())
}

/// The kinds a packet without checksum must not have (RFC 9653 §5.2).
pub(super) fn needs_checksum(kind: u8) -> bool {
    matches!(kind, INIT | INIT_ACK | COOKIE_ECHO)
}
