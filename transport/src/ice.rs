//! The path between the two sides: ICE (RFC 8445) by rtc-ice, driven faster while connecting.
//!
//! rtc-ice runs its checks once per tick. Here every answer brings the next tick forward (at most one each
//! [`MIN_TICK`]), so that a connection takes round trips instead of ticks; unanswered checks are repeated ever slower.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_crypto::RTCCryptoProvider;
use rtc_ice::agent::agent_config::AgentConfig;
use rtc_ice::agent::{Agent, Event as AgentEvent};
use rtc_ice::candidate::candidate_host::CandidateHostConfig;
use rtc_ice::candidate::{CandidateConfig, CandidateType};
use rtc_ice::mdns::MulticastDnsMode;
use rtc_ice::network_type::NetworkType;
use rtc_ice::state::ConnectionState;
use rtc_shared::{TransportContext, TransportMessage, TransportProtocol};
use sansio::Protocol as _;

use crate::config::{Credentials, IceMode, PeerConfig};
use crate::error::PeerError;
use crate::limits;
use crate::sdp::Candidate;
use crate::stun;

/// The fastest that checks follow each other.
const MIN_TICK: Duration = Duration::from_micros(500);
/// Checks are repeated so often at first (architecture.md §8) …
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// … and so often in the end.
const MAX_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Checks of one pair until it counts as failed; time limits it first.
const MAX_CHECKS: u16 = 1_000;

/// Where datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) remote: SocketAddr,
    /// The local address to send from.
    pub(crate) source: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A path works, though none is chosen yet.
    Usable(Path),
    /// A path was chosen, for the first time or anew.
    Path(Path),
    Disconnected,
    /// The path works again without a restart.
    Recovered,
    Failed,
}

/// A STUN message to send.
pub(crate) struct Outgoing {
    pub(crate) path: Path,
    pub(crate) bytes: BytesMut,
}

pub(crate) struct Ice {
    agent: Agent,
    credentials: Credentials,
    username: String,
    is_lite: bool,
    locals: Vec<SocketAddr>,
    remotes: usize,
    /// The local address at which each remote address reached us.
    reached: Vec<(SocketAddr, Option<IpAddr>)>,
    events: VecDeque<Event>,
    state: ConnectionState,
    next_tick: Option<Instant>,
    last_tick: Option<Instant>,
    interval: Duration,
    idle_interval: Duration,
}

impl Ice {
    pub(crate) fn new(now: Instant, config: &PeerConfig) -> Result<Self, PeerError> {
        if config.ice == IceMode::Lite && config.candidates.is_empty() {
            return Err(PeerError::Config("ice-lite needs a candidate"));
        }
        let provider: Arc<dyn RTCCryptoProvider> =
            rtc_crypto::default_provider().map_err(|_| PeerError::Dtls)?;
        let none = Some(Duration::ZERO);
        let agent_config = AgentConfig {
            local_ufrag: config.credentials.ufrag.to_string(),
            local_pwd: config.credentials.password.to_string(),
            multicast_dns_mode: MulticastDnsMode::Disabled,
            disconnected_timeout: Some(config.disconnected_after),
            failed_timeout: Some(config.failed_after),
            keepalive_interval: Some(config.keepalive),
            candidate_types: vec![CandidateType::Host],
            network_types: vec![NetworkType::Udp4, NetworkType::Udp6],
            // Every call checks; when to call is decided here.
            check_interval: Duration::from_nanos(1),
            max_binding_requests: Some(MAX_CHECKS),
            lite: config.ice == IceMode::Lite,
            host_acceptance_min_wait: none,
            srflx_acceptance_min_wait: none,
            prflx_acceptance_min_wait: none,
            relay_acceptance_min_wait: none,
            ..AgentConfig::default()
        };
        let agent = Agent::new(now, Arc::new(agent_config), provider)
            .map_err(|_| PeerError::Config("ice"))?;
        let mut ice = Self {
            agent,
            credentials: config.credentials.clone(),
            username: String::new(),
            is_lite: config.ice == IceMode::Lite,
            locals: config.candidates.clone(),
            remotes: 0,
            reached: Vec::new(),
            events: VecDeque::new(),
            state: ConnectionState::New,
            next_tick: None,
            last_tick: None,
            interval: CHECK_INTERVAL,
            idle_interval: (config.keepalive / 2).max(Duration::from_millis(100)),
        };
        ice.add_locals()?;
        Ok(ice)
    }

    fn add_locals(&mut self) -> Result<(), PeerError> {
        for address in &self.locals {
            let candidate = CandidateHostConfig {
                base_config: CandidateConfig {
                    network: "udp".to_owned(),
                    address: address.ip().to_string(),
                    port: address.port(),
                    component: 1,
                    ..CandidateConfig::default()
                },
                ..CandidateHostConfig::default()
            };
            let candidate = candidate
                .new_candidate_host()
                .map_err(|_| PeerError::Config("candidate"))?;
            self.agent
                .add_local_candidate(candidate)
                .map_err(|_| PeerError::Config("candidate"))?;
        }
        Ok(())
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The other side's credentials are known: checks begin.
    pub(crate) fn start(
        &mut self,
        now: Instant,
        controlling: bool,
        ufrag: &str,
        password: &str,
    ) -> Option<()> {
        self.username = format!("{}:{ufrag}", self.credentials.ufrag);
        self.agent
            .start_connectivity_checks(now, controlling, ufrag.to_owned(), password.to_owned())
            .ok()?;
        self.interval = CHECK_INTERVAL;
        self.next_tick = Some(now);
        self.last_tick = None;
        self.drain_events();
        Some(())
    }

    /// Forgets the other side and looks for a path anew, under new credentials.
    pub(crate) fn restart(&mut self, now: Instant, credentials: Credentials) -> Option<()> {
        self.agent
            .restart(
                now,
                credentials.ufrag.to_string(),
                credentials.password.to_string(),
                true,
            )
            .ok()?;
        self.credentials = credentials;
        self.username.clear();
        self.remotes = 0;
        self.reached.clear();
        self.next_tick = None;
        // A failed agent has dropped its own candidates too.
        self.add_locals().ok()?;
        self.drain_events();
        Some(())
    }

    /// `false` when there are too many already.
    pub(crate) fn add_remote(&mut self, now: Instant, candidate: &Candidate) -> bool {
        if self.remotes >= limits::REMOTE_CANDIDATES {
            return false;
        }
        let config = CandidateHostConfig {
            base_config: CandidateConfig {
                network: "udp".to_owned(),
                address: candidate.address.ip().to_string(),
                port: candidate.address.port(),
                component: 1,
                priority: candidate.priority,
                ..CandidateConfig::default()
            },
            ..CandidateHostConfig::default()
        };
        // Whatever kind the other side says it is, for us it is an address to check; a host is nominated without a wait.
        if let Ok(candidate) = config.new_candidate_host()
            && self.agent.add_remote_candidate(candidate).is_ok()
        {
            self.remotes += 1;
            self.hasten(now);
        }
        true
    }

    /// Takes a STUN message. `false` when it was refused.
    pub(crate) fn handle_stun(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: Option<IpAddr>,
        datagram: &[u8],
    ) -> bool {
        let Some(candidate) = self.local_candidate(remote, local) else {
            return false;
        };
        if self.username.is_empty()
            || !stun::is_authentic(datagram, &self.username, &self.credentials.password)
        {
            return false;
        }
        let message = TransportMessage {
            now,
            transport: TransportContext {
                local_addr: candidate,
                peer_addr: remote,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            },
            message: BytesMut::from(datagram),
        };
        // The answer goes back from where the question came to.
        self.note_reached(remote, local);
        let taken = self.agent.handle_read(message).is_ok();
        self.drain_events();
        if taken {
            // An answered check proves the path. A lite agent checks nothing itself, for it a question has to do.
            if self.state != ConnectionState::Connected
                && (self.is_lite || stun::is_success(datagram))
            {
                self.events.push_back(Event::Usable(Path {
                    remote,
                    source: self.source(remote, candidate),
                }));
            }
            self.hasten(now);
        }
        taken
    }

    fn note_reached(&mut self, remote: SocketAddr, local: Option<IpAddr>) {
        match self
            .reached
            .iter_mut()
            .find(|(address, _)| *address == remote)
        {
            Some(entry) => entry.1 = local,
            None => {
                if self.reached.len() >= limits::REMOTE_CANDIDATES {
                    self.reached.remove(0);
                }
                self.reached.push((remote, local));
            }
        }
    }

    /// Whether the address has to do with us, for datagrams that are no STUN; such a one keeps the path alive.
    pub(crate) fn is_known(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: Option<IpAddr>,
    ) -> bool {
        let Some(local_addr) = self.local_candidate(remote, local) else {
            return false;
        };
        self.agent.is_valid_non_stun_traffic(
            now,
            TransportContext {
                local_addr,
                peer_addr: remote,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            },
        )
    }

    /// The candidate that stands for a local address. An address behind a one-to-one NAT is none itself: then the first of
    /// the family does.
    fn local_candidate(&self, remote: SocketAddr, local: Option<IpAddr>) -> Option<SocketAddr> {
        let exact = local.and_then(|ip| self.locals.iter().find(|candidate| candidate.ip() == ip));
        let family = || {
            self.locals
                .iter()
                .find(|candidate| candidate.is_ipv4() == remote.is_ipv4())
        };
        exact.or_else(family).copied()
    }

    fn source(&self, remote: SocketAddr, candidate: SocketAddr) -> Option<IpAddr> {
        match self.reached.iter().find(|(address, _)| *address == remote) {
            Some((_, local)) => *local,
            None => Some(candidate.ip()),
        }
    }

    /// Brings the next check forward while there is no path.
    fn hasten(&mut self, now: Instant) {
        if self.state == ConnectionState::Connected || self.next_tick.is_none() {
            return;
        }
        let soon = self
            .last_tick
            .map_or(now, |last| (last + MIN_TICK).max(now));
        self.next_tick = Some(self.next_tick.map_or(soon, |next| next.min(soon)));
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.next_tick.is_none_or(|at| at > now) {
            return;
        }
        let _ = self.agent.handle_timeout(now);
        self.drain_events();
        self.last_tick = Some(now);
        self.next_tick = match self.state {
            ConnectionState::Connected | ConnectionState::Disconnected => {
                Some(now + self.idle_interval)
            }
            ConnectionState::Failed | ConnectionState::Closed => None,
            _ => {
                let next = now + self.interval;
                self.interval = (self.interval * 5 / 4).min(MAX_CHECK_INTERVAL);
                Some(next)
            }
        };
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Outgoing> {
        let message = self.agent.poll_write()?;
        let remote = message.transport.peer_addr;
        let source = self.source(remote, message.transport.local_addr);
        Some(Outgoing {
            path: Path { remote, source },
            bytes: message.message,
        })
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn drain_events(&mut self) {
        while let Some(tagged) = self.agent.poll_event() {
            match tagged.event {
                AgentEvent::ConnectionStateChange(state) => {
                    let before = std::mem::replace(&mut self.state, state);
                    match (before, state) {
                        (_, ConnectionState::Disconnected) => {
                            self.events.push_back(Event::Disconnected)
                        }
                        (_, ConnectionState::Failed) => self.events.push_back(Event::Failed),
                        (ConnectionState::Disconnected, ConnectionState::Connected) => {
                            self.events.push_back(Event::Recovered);
                        }
                        _ => {}
                    }
                }
                AgentEvent::SelectedCandidatePairChange(local, remote) => {
                    let remote = remote.addr();
                    let source = self.source(remote, local.base_addr());
                    self.events.push_back(Event::Path(Path { remote, source }));
                }
                _ => {}
            }
        }
    }

    pub(crate) fn close(&mut self) {
        let _ = self.agent.close();
        self.next_tick = None;
    }
}

#[cfg(test)]
impl Ice {
    /// The host moved: its old addresses are gone.
    pub(crate) fn forget_locals_for_test(&mut self, locals: &[SocketAddr]) {
        self.locals = locals.to_vec();
    }
}
