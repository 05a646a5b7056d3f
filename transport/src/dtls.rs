//! The DTLS association: rtc-dtls for the handshake, [`record`](crate::record) for everything after it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;

use crate::certificate::{Certificate, Fingerprint};
use crate::flight::Flight;
use crate::record::{self, KeyTap, RecordLayer};

/// rtc-dtls keys a connection by remote address; ours outlives every address, so it gets a fixed one.
const FIXED: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5000));

/// Time until a flight is sent again. Constant in rtc-dtls, which gives up after seven.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(500);

/// Largest handshake record; larger messages are split.
const HANDSHAKE_BYTES: usize = 1_200;

/// `close_notify`, level warning (RFC 5246 §7.2).
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// Which side of the handshake we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It starts (`a=setup:active`).
    Client,
    /// It waits (`a=setup:passive`).
    Server,
}

/// What came of a received datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing to tell.
    Taken,
    /// The handshake is finished and the certificate is the announced one.
    Connected,
    /// The other side said goodbye.
    Closed,
    /// The handshake cannot succeed any more.
    Failed,
    /// A record was refused; the association goes on.
    Refused,
}

pub(crate) struct Dtls {
    side: Side,
    endpoint: Endpoint,
    config: Arc<HandshakeConfig>,
    fingerprints: Vec<Fingerprint>,
    tap: Arc<KeyTap>,
    records: Option<RecordLayer>,
    started: bool,
    /// Something was received.
    is_answered: bool,
    closed: bool,
    flight: Flight,
}

impl Dtls {
    pub(crate) fn new(
        side: Side,
        certificate: &Certificate,
        fingerprints: Vec<Fingerprint>,
    ) -> Option<Self> {
        let tap = Arc::new(KeyTap::new(rtc_crypto::default_provider().ok()?));
        let config = ConfigBuilder::default()
            .with_crypto_provider(tap.clone())
            .with_certificates(vec![certificate.inner.clone()])
            .with_cipher_suites(vec![
                CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
                CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
            ])
            // Peers that announced media require the extension, though no media will flow.
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80])
            // Self-signed on both sides: the fingerprint of the SDP decides, checked when the handshake is finished.
            .with_insecure_skip_verify(true)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_flight_interval(FLIGHT_INTERVAL)
            .with_mtu(HANDSHAKE_BYTES)
            .build(side == Side::Client, Some(FIXED))
            .ok()?;
        let config = Arc::new(config);
        let server = (side == Side::Server).then(|| config.clone());
        let endpoint = Endpoint::new(FIXED, TransportProtocol::UDP, server);
        Some(Self {
            side,
            endpoint,
            config,
            fingerprints,
            tap,
            records: None,
            started: false,
            is_answered: false,
            closed: false,
            flight: Flight::default(),
        })
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    pub(crate) fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// Starts the handshake; call it when there is a path. A server only waits.
    pub(crate) fn start(&mut self, now: Instant) -> Outcome {
        if self.started || self.closed {
            return Outcome::Taken;
        }
        self.started = true;
        match self.side {
            Side::Client
                if self
                    .endpoint
                    .connect(now, FIXED, self.config.clone(), None)
                    .is_err() =>
            {
                Outcome::Failed
            }
            _ => Outcome::Taken,
        }
    }

    /// Sends the ClientHello again if there was no answer: a side that had no path yet may have dropped the first.
    pub(crate) fn repeat_hello(&mut self) {
        if self.side == Side::Client
            && !self.is_answered
            && !self.closed
            && let Some(at) = self.endpoint.poll_timeout(&FIXED)
        {
            // The timer cannot be fired, but its time can be told.
            self.flight.is_over = true;
            let _ = self.endpoint.handle_timeout(FIXED, at);
        }
    }

    /// Takes one datagram; plaintexts go to `deliver`. `arena` saves allocations: its spare capacity is cut into plaintexts.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
        arena: &mut BytesMut,
        mut deliver: impl FnMut(Bytes),
    ) -> Outcome {
        if self.closed {
            return Outcome::Refused;
        }
        let Some(layer) = &mut self.records else {
            return self.handshake(now, datagram, &mut deliver);
        };
        let mut outcome = Outcome::Taken;
        let mut rest = datagram.len();
        let mut foreign = false;
        for record in record::records(datagram) {
            rest -= record.bytes.len();
            if record.kind != record::APPLICATION_DATA || record.epoch == 0 {
                foreign = true;
                continue;
            }
            arena.extend_from_slice(record.bytes);
            let mut bytes = arena.split();
            match layer.open(&mut bytes) {
                Some(range) => deliver(bytes.freeze().slice(range)),
                None => outcome = Outcome::Refused,
            }
        }
        if rest != 0 {
            outcome = Outcome::Refused;
        }
        if foreign {
            for record in record::records(datagram) {
                if record.kind != record::APPLICATION_DATA {
                    match self.handshake(now, record.bytes, &mut deliver) {
                        Outcome::Taken => {}
                        other => outcome = other,
                    }
                }
            }
        }
        outcome
    }

    fn handshake(
        &mut self,
        now: Instant,
        datagram: &[u8],
        deliver: &mut impl FnMut(Bytes),
    ) -> Outcome {
        if self.side == Side::Client && !self.started {
            return Outcome::Refused;
        }
        self.is_answered = true;
        self.flight.note_received(now, datagram);
        let Ok(events) = self
            .endpoint
            .read(now, FIXED, None, BytesMut::from(datagram))
        else {
            // Before the end of the handshake a fatal error shows as a connection that makes no progress: the flight
            // timer decides then, since anyone can send us a forged alert.
            return Outcome::Refused;
        };
        let mut outcome = Outcome::Taken;
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => outcome = self.complete(),
                EndpointEvent::ApplicationData(data) => deliver(data.freeze()),
                EndpointEvent::PeerClosed => {
                    // A plaintext goodbye proves nothing; rtc-dtls has dropped the connection though.
                    self.closed = true;
                    outcome = if self.records.is_some() {
                        Outcome::Closed
                    } else {
                        Outcome::Failed
                    };
                }
                _ => {}
            }
        }
        outcome
    }

    fn complete(&mut self) -> Outcome {
        let matches = self
            .endpoint
            .get_connection_state(FIXED)
            .and_then(|state| state.peer_certificates.first())
            .is_some_and(|der| {
                self.fingerprints
                    .iter()
                    .any(|fingerprint| fingerprint.matches(der))
            });
        if !matches {
            self.closed = true;
            return Outcome::Failed;
        }
        // The last flight waits in the endpoint with numbers of its own, which the layer counts on from.
        self.records = RecordLayer::new(&self.tap);
        if self.records.is_some() {
            Outcome::Connected
        } else {
            Outcome::Failed
        }
    }

    /// The next datagram of the handshake layer.
    pub(crate) fn poll_handshake(&mut self) -> Option<Vec<u8>> {
        let datagram = match self.endpoint.poll_transmit() {
            Some(transmit) => {
                self.flight.note_sent(&transmit.message);
                transmit.message.to_vec()
            }
            None => self.flight.repetition()?.to_vec(),
        };
        Some(match &mut self.records {
            Some(layer) => layer.renumber(&datagram),
            None => datagram,
        })
    }

    /// Size of a record with this much plaintext.
    pub(crate) fn sealed_len(plaintext: usize) -> usize {
        plaintext + record::OVERHEAD_BYTES
    }

    /// Seals what stands in `out` from `start` on, [`ROOM`](record::ROOM) and application data, as one record. `None`, with all of it gone, when not
    /// connected, too long, or out of sequence numbers.
    pub(crate) fn seal_in_place(&mut self, start: usize, out: &mut Vec<u8>) -> Option<()> {
        let Some(records) = &mut self.records else {
            out.truncate(start);
            return None;
        };
        records.seal_in_place(record::APPLICATION_DATA, start, out)
    }

    /// Ends the association and gives the goodbye to send, if there is anything to say goodbye to.
    pub(crate) fn close(&mut self) -> Option<Vec<u8>> {
        if std::mem::replace(&mut self.closed, true) {
            return None;
        }
        let mut out = Vec::with_capacity(CLOSE_NOTIFY.len() + record::OVERHEAD_BYTES);
        self.records
            .as_mut()?
            .seal(record::ALERT, &CLOSE_NOTIFY, &mut out)?;
        Some(out)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Outcome {
        if self.closed || !self.started {
            return Outcome::Taken;
        }
        let due = self
            .endpoint
            .poll_timeout(&FIXED)
            .is_some_and(|at| at <= now);
        // What rtc-dtls sends again takes the place of what was kept.
        self.flight.is_over |= due;
        if self.repeats_flight() && !self.flight.handle_timeout(now) {
            self.closed = true;
            return Outcome::Failed;
        }
        if due && self.endpoint.handle_timeout(FIXED, now).is_err() && self.records.is_none() {
            self.closed = true;
            return Outcome::Failed;
        }
        Outcome::Taken
    }

    /// Whether repeating our flight is up to us: the handshake goes on, and rtc-dtls has no timer for it any more.
    fn repeats_flight(&self) -> bool {
        self.started && self.records.is_none() && self.endpoint.poll_timeout(&FIXED).is_none()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.closed {
            None
        } else if self.repeats_flight() {
            self.flight.deadline()
        } else {
            self.endpoint.poll_timeout(&FIXED)
        }
    }
}
