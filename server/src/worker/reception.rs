//! How participants come in: joins, resumes, and the offers and candidates that make their connections.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::http::StatusCode;
use lkstream_proto::disconnect::DisconnectReason;
use lkstream_proto::limits;
use lkstream_proto::participant::ClientInfo;
use lkstream_proto::signal::{
    Request, Response, SessionDescription, SignalResponse, TrickleRequest,
};
use lkstream_transport::{CandidateError, Credentials, IceMode, Peer, PeerConfig, SdpError};

use super::connection::{self, Connection, Key, Outlet};
use super::{LinkId, Worker};
use crate::admission::{Admission, Denied};
use crate::link::Queue;
use crate::room::{self, Departure, Input, JoinError};

/// How often clients get a fresh token (protocol.md §1.5).
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);

/// How long a fresh token is valid at least (protocol.md §1.5).
const REFRESH_VALIDITY: Duration = Duration::from_secs(600);

/// Candidates of a client that are tried: it reaches the server anyway, and is asked back where its checks come from.
const REMOTE_CANDIDATES: usize = 4;

/// Why an offer was refused.
#[derive(Debug, thiserror::Error)]
enum OfferError {
    #[error(transparent)]
    Sdp(#[from] SdpError),
    /// It could not take the chunks of streams, nor the packets of remote calls, and would lose them unnoticed.
    #[error(
        "a=max-message-size is {offered}, streams and remote calls need {}",
        limits::CLIENT_MESSAGE_BYTES
    )]
    MessageSize { offered: usize },
}

impl Worker {
    pub(super) fn admit(
        &mut self,
        now: Instant,
        admission: Admission,
        link: Queue,
    ) -> Result<LinkId, Denied> {
        let id = LinkId(self.key());
        if admission.resume.is_some() {
            self.resume(now, admission, id, link);
            return Ok(id);
        }
        let ice = ice_mode(&admission.joining.client);
        let peer = match &admission.offer {
            Some(offer) => Some(
                self.answer(now, ice, &offer.sdp, offer.id)
                    .map_err(|error| {
                        self.stats.bad_descriptions += 1;
                        Denied::new(StatusCode::BAD_REQUEST, format!("bad offer: {error}"))
                    })?,
            ),
            None => None,
        };
        let room_key = self.room_of(now, &admission)?;
        let unnamed = (!admission.names_room).then(|| admission.joining.identity.clone());
        let (room, identity) = (admission.room, admission.joining.identity.clone());
        let joined = match self.rooms.get_mut(room_key) {
            Some(hosted) => hosted.room.join(now, admission.joining),
            None => Err(JoinError::Closed),
        };
        let member = joined.map_err(|error| {
            self.end_if_unused(room_key);
            let status = match error {
                JoinError::Protocol { .. } => StatusCode::BAD_REQUEST,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            Denied::new(status, error.to_string())
        })?;
        self.options.journal.say("joins", |more| {
            let (room, identity) = (room.as_str(), identity.as_str());
            tracing::info!(?room, ?identity, more, "joined");
        });
        let key = Key(self.key());
        if let Some(hosted) = self.rooms.get_mut(room_key) {
            hosted.members.insert(member, key);
        }
        let mut connection = Connection::new(
            now,
            room_key,
            member,
            ice,
            Outlet { id, queue: link },
            admission.claims,
        );
        if let Some(identity) = &unnamed {
            self.rooms.enter_unnamed(identity);
        }
        connection.unnamed = unnamed;
        let mut answer = None;
        if let Some((peer, sdp)) = peer {
            self.demux.register(peer.local_ufrag(), key);
            connection.peer = Some(peer);
            answer = Some(sdp);
        }
        self.connections.insert(key, connection);
        self.links.insert(id, key);
        self.carry_out(now, room_key);
        self.refresh_token(now, key);
        if let Some(answer) = answer {
            self.say(now, key, connection::answer(answer));
        }
        self.touch(key);
        Ok(id)
    }

    fn resume(&mut self, now: Instant, admission: Admission, id: LinkId, mut link: Queue) {
        let known = admission.resume.as_ref().and_then(|resume| {
            let room_key = self.rooms.find(&admission.room)?;
            let hosted = self.rooms.get_mut(room_key)?;
            let identity = &admission.joining.identity;
            let member = hosted
                .room
                .resume(
                    now,
                    &resume.sid,
                    identity,
                    admission.joining.permission.clone(),
                )
                .ok()?;
            Some((room_key, *hosted.members.get(&member)?))
        });
        let Some((room_key, key)) = known else {
            self.stats.resumes_refused += 1;
            self.options.journal.say("refused resumes", |more| {
                let (room, identity) =
                    (admission.room.as_str(), admission.joining.identity.as_str());
                tracing::info!(
                    ?room,
                    ?identity,
                    more,
                    "a resume was refused; the client joins anew"
                );
            });
            // An empty queue takes it; the link closes when the sender is dropped.
            let departure = Departure::rejoin(DisconnectReason::StateMismatch);
            if let Some(message) = room::leave_message(departure) {
                let _ = link.push(message);
            }
            return;
        };
        self.stats.resumes += 1;
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.claims = admission.claims;
            // The old link closes when its sender is dropped.
            if let Some(old) = connection.link.replace(Outlet { id, queue: link }) {
                self.links.remove(&old.id);
            }
            self.links.insert(id, key);
        }
        self.carry_out(now, room_key);
        self.refresh_token(now, key);
        if let Some(offer) = admission.offer {
            self.offer(now, key, &offer);
        }
    }

    /// Gives a client a token for its next reconnect, so that sessions outlive the token they began with (protocol.md
    /// §1.5).
    pub(super) fn refresh_token(&mut self, now: Instant, key: Key) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        connection.refresh_at = now + REFRESH_INTERVAL;
        let claims = &mut connection.claims;
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let earliest = unix + REFRESH_VALIDITY.as_secs();
        claims.expires = claims.expires.map(|expires| expires.max(earliest));
        let info = self
            .rooms
            .get_mut(connection.room)
            .and_then(|hosted| hosted.room.participant(connection.member));
        if let Some(info) = info {
            claims.name.clone_from(&info.name);
            claims.metadata.clone_from(&info.metadata);
            claims.attributes.clone_from(&info.attributes);
        }
        let message = match self.options.keys.sign(claims, &claims.issuer) {
            Ok(token) => SignalResponse::from(Response::RefreshToken(token)).to_bytes(),
            Err(error) => {
                tracing::debug!(%error, "no fresh token");
                return;
            }
        };
        self.say(now, key, message);
    }

    fn peer_config(&self, ice: IceMode) -> PeerConfig {
        let mut random = [0; 48];
        rand::Rng::fill_bytes(&mut rand::rng(), &mut random);
        let certificate = Arc::clone(&self.options.certificate);
        let mut config = PeerConfig::new(certificate, Credentials::from_random(random));
        config.candidates.clone_from(&self.options.candidates);
        config.ice = ice;
        config.max_remote_candidates = REMOTE_CANDIDATES;
        config.max_message_size = limits::SERVER_PACKET_BYTES;
        config
    }

    fn answer(
        &self,
        now: Instant,
        ice: IceMode,
        offer: &str,
        id: u32,
    ) -> Result<(Peer, SessionDescription), OfferError> {
        let (peer, sdp) = Peer::answer(now, self.peer_config(ice), offer)?;
        let offered = peer.remote_max_message_size();
        if offered < limits::CLIENT_MESSAGE_BYTES {
            return Err(OfferError::MessageSize { offered });
        }
        Ok((peer, connection::description(sdp, id)))
    }

    pub(super) fn request(&mut self, now: Instant, key: Key, request: Request) {
        match request {
            Request::Offer(offer) => self.offer(now, key, &offer),
            Request::Trickle(trickle) => self.trickle(now, key, &trickle),
            Request::Answer(_) => {}
            request => self.input_of(now, key, |from| Input::Request { from, request }),
        }
    }

    /// Answers an offer: the first, a repeated one, or one with an ICE restart (protocol.md §2.17).
    fn offer(&mut self, now: Instant, key: Key, offer: &SessionDescription) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let ice = connection.ice;
        let result = match &mut connection.peer {
            Some(peer) => {
                let answer = peer.handle_reoffer(now, &offer.sdp);
                self.demux.register(peer.local_ufrag(), key);
                answer
                    .map(|sdp| connection::description(sdp, offer.id))
                    .map_err(OfferError::from)
            }
            None => self
                .answer(now, ice, &offer.sdp, offer.id)
                .map(|(peer, answer)| {
                    self.demux.register(peer.local_ufrag(), key);
                    if let Some(connection) = self.connections.get_mut(&key) {
                        connection.peer = Some(peer);
                    }
                    answer
                }),
        };
        match result {
            Ok(answer) => self.say(now, key, connection::answer(answer)),
            Err(error) => {
                self.options.journal.say("refused offers", |more| {
                    tracing::info!(%error, more, "an offer was refused; the client joins anew");
                });
                self.stats.bad_descriptions += 1;
                let departure = Departure::rejoin(DisconnectReason::StateMismatch);
                self.input_of(now, key, |member| Input::Remove { member, departure });
            }
        }
        self.touch(key);
    }

    fn trickle(&mut self, now: Instant, key: Key, trickle: &TrickleRequest) {
        let Some(peer) = self
            .connections
            .get_mut(&key)
            .and_then(|connection| connection.peer.as_mut())
        else {
            return;
        };
        let good = trickle.candidate().is_ok_and(|candidate| {
            // One too many is no fault of a client with many addresses; the peer counts it.
            let added = peer.add_remote_candidate(now, &candidate);
            candidate.is_empty() || matches!(added, Ok(()) | Err(CandidateError::TooMany { .. }))
        });
        if !good {
            self.stats.bad_descriptions += 1;
        }
        self.touch(key);
    }
}

/// ICE-lite as livekit-server, with its exception (protocol.md §3.2).
fn ice_mode(client: &ClientInfo) -> IceMode {
    if client.browser.eq_ignore_ascii_case("firefox") {
        IceMode::Full
    } else {
        IceMode::Lite
    }
}
