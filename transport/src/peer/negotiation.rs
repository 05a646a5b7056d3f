//! Offers and answers of a peer, first and later ones.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ring::hmac;

use super::channels::Channels;
use super::{Handshake, Peer};
use crate::channel::ChannelConfig;
use crate::config::{Credentials, IceMode, PeerConfig, Role};
use crate::dtls::{Dtls, Side};
use crate::error::{CandidateError, PeerError, SdpError};
use crate::ice::{Added, Ice, Remote};
use crate::limits;
use crate::sctp::STREAMS;
use crate::sdp::{CandidateLine, Description, Local, Setup, write_answer, write_offer};
use crate::stats::Stats;

/// What the exchange of descriptions has come to.
pub(crate) struct Negotiation {
    /// An offer of ours waits for its answer.
    is_open: bool,
    version: u64,
    remote_ufrag: String,
    remote_max_message_size: Option<usize>,
}

impl Negotiation {
    fn new() -> Self {
        Self {
            is_open: false,
            version: 0,
            remote_ufrag: String::new(),
            remote_max_message_size: Some(limits::DEFAULT_REMOTE_MESSAGE_SIZE),
        }
    }

    pub(crate) fn remote_max_message_size(&self) -> usize {
        self.remote_max_message_size.unwrap_or(usize::MAX)
    }
}

impl Peer {
    /// Starts a connection and gives the offer: one section for data channels, `setup:actpass`, all candidates
    /// of the configuration in it.
    ///
    /// # Errors
    /// When the configuration cannot work.
    pub fn offer(now: Instant, config: PeerConfig) -> Result<(Self, String), PeerError> {
        let mut peer = Self::new(now, Role::Offerer, config)?;
        let offer = peer.write_offer();
        Ok((peer, offer))
    }

    /// Starts a connection from an offer and gives the answer, with `setup:active` unless the offer wants to be that.
    /// Media sections are answered as `inactive` (protocol.md §3.4 variant I), candidates stand in the first bundled
    /// section.
    ///
    /// # Errors
    /// When the offer is bad or has no data section, or the configuration cannot work.
    pub fn answer(
        now: Instant,
        config: PeerConfig,
        offer: &str,
    ) -> Result<(Self, String), SdpError> {
        let description = Description::parse(offer)?;
        let mut peer = Self::new(now, Role::Answerer, config).map_err(|error| match error {
            PeerError::Config(what) => SdpError::State(what),
        })?;
        let side = if description.setup == Setup::Active {
            Side::Server
        } else {
            Side::Client
        };
        peer.begin(now, &description, side)?;
        let answer = peer.write_answer(&description);
        Ok((peer, answer))
    }

    fn new(now: Instant, role: Role, config: PeerConfig) -> Result<Self, PeerError> {
        if config.sctp_packet < 128 || config.sctp_packet > 16_000 {
            return Err(PeerError::Config("sctp packet size"));
        }
        if config.receive_window < 64 * 1024 || config.receive_window < config.max_message_size {
            return Err(PeerError::Config("receive window"));
        }
        if config.send_buffer == 0 || config.max_message_size == 0 {
            return Err(PeerError::Config("send buffer or message size of zero"));
        }
        check_channels(&config.channels)?;
        let ice = Ice::new(now, &config)?;
        Ok(Self {
            role,
            negotiation: Negotiation::new(),
            ice,
            dtls: None,
            sctp: None,
            channels: Channels::new(&config),
            path: None,
            handshake: Handshake::Nowhere,
            withheld: None,
            is_seeking: false,
            events: VecDeque::new(),
            farewell: VecDeque::new(),
            closed: None,
            last_received: None,
            has_plaintext: false,
            clock: now,
            stats: Stats::default(),
            #[cfg(fuzzing)]
            observed: Default::default(),
            config,
        })
    }

    /// Takes the answer to the last offer.
    ///
    /// # Errors
    /// When it is bad or no offer is open.
    pub fn handle_answer(&mut self, now: Instant, answer: &str) -> Result<(), SdpError> {
        self.clock = now;
        self.check_alive()?;
        if !self.negotiation.is_open {
            return Err(SdpError::State("answer without an open offer"));
        }
        let description = Description::parse(answer)?;
        if self.dtls.is_some() {
            self.check_fingerprint(&description)?;
            if description.ufrag != self.negotiation.remote_ufrag {
                self.check_remote(now, &description, Role::Offerer);
            } else {
                self.add_candidates(now, &description);
            }
        } else {
            let side = match description.setup {
                Setup::Active => Side::Server,
                Setup::Passive => Side::Client,
                Setup::ActPass => return Err(SdpError::Bad("setup")),
            };
            self.begin(now, &description, side)?;
        }
        self.negotiation.is_open = false;
        self.negotiation.remote_max_message_size = description.max_message_size;
        Ok(())
    }

    /// Takes a further offer and gives the answer in the shape of the first, with the same credentials. When the remote
    /// user name fragment changed this is an ICE restart: the path is looked for anew with credentials derived from the
    /// old, so ask [`Peer::local_ufrag`] again; DTLS and SCTP go on, and the old path is used until the new one works.
    ///
    /// # Errors
    /// When the offer is bad or would need another DTLS association. The connection goes on then.
    pub fn handle_reoffer(&mut self, now: Instant, offer: &str) -> Result<String, SdpError> {
        self.clock = now;
        self.check_alive()?;
        let description = Description::parse(offer)?;
        if self.dtls.is_none() {
            return Err(SdpError::State("offer while the first exchange is open"));
        }
        self.check_fingerprint(&description)?;
        if description.ufrag != self.negotiation.remote_ufrag {
            let credentials = self.ice.credentials().successor(&description.ufrag);
            self.ice.restart(credentials);
            self.is_seeking = true;
            self.check_remote(now, &description, Role::Answerer);
        } else {
            self.add_candidates(now, &description);
        }
        self.negotiation.remote_max_message_size = description.max_message_size;
        Ok(self.write_answer(&description))
    }

    /// Starts an ICE restart with new credentials and gives the offer for it. DTLS and SCTP go on;
    /// [`Event::Reconnected`](crate::Event::Reconnected) tells when there is a path again.
    ///
    /// # Errors
    /// When the first exchange is not finished or the connection is closed.
    pub fn restart(&mut self, now: Instant, credentials: Credentials) -> Result<String, SdpError> {
        self.clock = now;
        self.check_alive()?;
        if self.dtls.is_none() {
            return Err(SdpError::State("restart before the first exchange"));
        }
        self.ice.restart(credentials);
        self.is_seeking = true;
        Ok(self.write_offer())
    }

    /// Adds a candidate of the other side, as SDP writes it, with or without `a=` or `candidate:` in front.
    /// `.local` names, TCP, the empty end-of-candidates mark, and addresses that should not be tried (multicast, broadcast, reserved,
    /// unspecified; loopback or link-local where we have no such address) are ignored and counted.
    ///
    /// # Errors
    /// When it does not parse or there are too many.
    pub fn add_remote_candidate(
        &mut self,
        now: Instant,
        candidate: &str,
    ) -> Result<(), CandidateError> {
        self.clock = now;
        let result = match CandidateLine::parse(candidate) {
            CandidateLine::Usable(candidate) => match self.ice.add_remote(now, &candidate) {
                Added::Taken => return Ok(()),
                Added::Unusable => Ok(()),
                Added::TooMany => Err(CandidateError::TooMany {
                    limit: self.config.max_remote_candidates,
                }),
            },
            CandidateLine::Ignored => Ok(()),
            CandidateLine::Bad => Err(CandidateError::Syntax),
        };
        self.stats.candidates_ignored += 1;
        result
    }

    /// The local ICE user name fragment, by which [`stun_username_local`](crate::stun_username_local) finds this peer.
    #[must_use]
    pub fn local_ufrag(&self) -> &str {
        self.ice.credentials().ufrag()
    }

    fn check_alive(&self) -> Result<(), SdpError> {
        if self.closed.is_some() {
            Err(SdpError::State("the connection is closed"))
        } else {
            Ok(())
        }
    }

    fn check_fingerprint(&self, description: &Description) -> Result<(), SdpError> {
        let known = self.dtls.as_ref().map_or(&[][..], Dtls::fingerprints);
        if description
            .fingerprints
            .iter()
            .any(|fingerprint| known.contains(fingerprint))
        {
            Ok(())
        } else {
            Err(SdpError::FingerprintChanged)
        }
    }

    fn begin(
        &mut self,
        now: Instant,
        description: &Description,
        side: Side,
    ) -> Result<(), SdpError> {
        let dtls = Dtls::new(
            side,
            &self.config.certificate,
            description.fingerprints.clone(),
        );
        let dtls = dtls.ok_or(SdpError::State("dtls"))?;
        self.check_remote(now, description, self.role);
        self.dtls = Some(dtls);
        self.negotiation.remote_max_message_size = description.max_message_size;
        Ok(())
    }

    /// Starts the connectivity checks with the other side of the description.
    fn check_remote(&mut self, now: Instant, description: &Description, role: Role) {
        // RFC 8445 §6.1.1: a full agent controls a lite one, otherwise the offerer does.
        let is_controlling = match (self.config.ice, description.is_ice_lite) {
            (IceMode::Full, true) => true,
            (IceMode::Lite, false) => false,
            _ => role == Role::Offerer,
        };
        let remote = Remote {
            ufrag: &description.ufrag,
            password: &description.password,
            is_lite: description.is_ice_lite,
        };
        self.ice.start(now, remote, is_controlling);
        self.negotiation.remote_ufrag.clone_from(&description.ufrag);
        self.add_candidates(now, description);
    }

    fn add_candidates(&mut self, now: Instant, description: &Description) {
        for candidate in &description.candidates {
            // Bad ones are counted; an offer is not refused for them.
            let _ = self.add_remote_candidate(now, candidate);
        }
    }

    fn write_offer(&mut self) -> String {
        self.negotiation.is_open = true;
        // A running association keeps its roles; `actpass` says so in offers (RFC 8842 §5.2).
        self.describe(Setup::ActPass, write_offer)
    }

    fn write_answer(&mut self, offer: &Description) -> String {
        let setup = match self.dtls.as_ref().map(Dtls::side) {
            Some(Side::Server) => Setup::Passive,
            _ => Setup::Active,
        };
        self.describe(setup, |local| write_answer(offer, local))
    }

    fn describe(&mut self, setup: Setup, write: impl FnOnce(&Local<'_>) -> String) -> String {
        self.negotiation.version += 1;
        let certificate = Arc::clone(&self.config.certificate);
        write(&Local {
            credentials: self.ice.credentials(),
            fingerprint: certificate.fingerprint(),
            candidates: &self.config.candidates,
            ice: self.config.ice,
            setup,
            max_message_size: self.config.max_message_size,
            version: self.negotiation.version,
        })
    }
}

/// Whether each of the channels can be opened.
fn check_channels(channels: &[ChannelConfig]) -> Result<(), PeerError> {
    if channels.len() > usize::from(STREAMS / 2) {
        return Err(PeerError::Config("more channels than streams"));
    }
    for (at, channel) in channels.iter().enumerate() {
        if channel.label.len() > usize::from(u16::MAX) {
            return Err(PeerError::Config("label of a channel"));
        }
        let Some(stream) = channel.negotiated else {
            continue;
        };
        let is_taken = channels[..at]
            .iter()
            .any(|other| other.negotiated == Some(stream));
        if stream >= STREAMS || is_taken {
            return Err(PeerError::Config("stream of a negotiated channel"));
        }
    }
    Ok(())
}

impl Credentials {
    /// New credentials for a restart that the other side began (RFC 8445 §9): unknown to everybody who does not know
    /// the old password, the same for the same restart.
    fn successor(&self, remote_ufrag: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA512, self.password.as_bytes());
        let tag = hmac::sign(&key, format!("ice restart {remote_ufrag}").as_bytes());
        let mut random = [0; 48];
        random.copy_from_slice(&tag.as_ref()[..48]);
        Self::from_random(random)
    }
}
