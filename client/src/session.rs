//! The signalling side of a membership in a room, without I/O (protocol.md §2).
//!
//! ```text
//!              join                 transport up
//!   Joining ----------> Connecting --------------> Active
//!      |                    |                         |
//!      +--------------------+-------------------------+--> Ended: left, sent away, silent, lost, too late
//! ```
//! Feed it with [`Session::handle_input`], then drain [`Session::poll_output`] until it gives
//! [`Output::Timeout`]; call [`Session::handle_timeout`] at that time. A resume will be a further state between
//! `Active` and `Ended`; today every loss ends the session.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_proto::disconnect::DisconnectReason;
use lkstream_proto::id::{RoomName, RoomSid};
use lkstream_proto::participant::{ParticipantInfo, ParticipantState};
use lkstream_proto::room::{Room as RoomInfo, ServerInfo};
use lkstream_proto::signal::{
    JoinResponse, LeaveAction, LeaveRequest, ParticipantUpdate, Ping, Request, Response,
    RoomMovedResponse, SignalRequest, SignalResponse,
};

use crate::Advice;
use crate::participant::Participant;

mod others;
#[cfg(test)]
mod tests;

use others::{Others, TooLarge};

/// How long a lost data connection waits for the leave that explains it: a server that sends somebody away closes
/// both connections, and nothing orders them.
const LEAVE_GRACE: Duration = Duration::from_millis(500);

/// Limits of a session in time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionConfig {
    /// From the open WebSocket to the join response. Default 5 s (protocol.md §2.12).
    pub join_timeout: Duration,
    /// From the join response to the open data channels. Default 15 s (protocol.md §3.7).
    pub transport_timeout: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        SessionConfig {
            join_timeout: Duration::from_secs(5),
            transport_timeout: Duration::from_secs(15),
        }
    }
}

/// What a session is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A binary WebSocket message arrived.
    Frame(Bytes),
    /// Something else arrived that shows the server is alive: a WebSocket ping or pong.
    Alive,
    /// The WebSocket is gone.
    SignallingLost {
        /// What happened.
        cause: String,
    },
    /// The peer connection is up and its channels are open.
    TransportUp,
    /// The peer connection is gone.
    TransportLost {
        /// What happened.
        cause: String,
    },
    /// The application wants to leave.
    Leave,
}

/// What a session wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this as a binary WebSocket message.
    Send(SignalRequest),
    /// Something happened.
    Event(Event),
    /// Nothing more to do until then; `None` once the session has ended.
    Timeout {
        /// When to call [`Session::handle_timeout`].
        at: Option<Instant>,
        /// What for.
        reason: &'static str,
    },
}

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The server let us in.
    Joined(Participant),
    /// The answer to our offer.
    Answer {
        /// The SDP.
        sdp: String,
    },
    /// A candidate of the server, as SDP writes it.
    Candidate(String),
    /// Somebody joined.
    ParticipantJoined(Participant),
    /// Somebody's peer connection came up; our own too.
    ParticipantActive(Participant),
    /// Somebody changed.
    ParticipantUpdated(Participant),
    /// Somebody left.
    ParticipantLeft(Participant),
    /// The session is over; nothing comes after it.
    Ended(End),
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// We left.
    Left,
    /// The server sent us away.
    ByServer {
        /// Its reason.
        reason: DisconnectReason,
        /// What it suggests.
        advice: Advice,
    },
    /// No join response came in time.
    JoinTimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The peer connection was not up in time.
    TransportTimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The server said nothing for the time it announced.
    Silent {
        /// That time.
        limit: Duration,
    },
    /// The WebSocket is gone.
    SignallingLost {
        /// What happened.
        cause: String,
    },
    /// The peer connection is gone.
    TransportLost {
        /// What happened.
        cause: String,
    },
    /// The participants of the room take more memory than is given to them.
    RoomTooLarge {
        /// How many of them are known.
        participants: usize,
    },
    /// The server's first words break the protocol.
    BadJoin {
        /// How.
        problem: &'static str,
    },
}

/// A frame broke a rule and was dropped; the session goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It is no signalling message.
    #[error("a signalling frame of {size} bytes does not decode")]
    Malformed {
        /// Its size in bytes.
        size: usize,
    },
    /// It needs a join response before it (protocol.md §2.12).
    #[error("a signalling message came before the join response")]
    BeforeJoin,
    /// A candidate that is no JSON object with a `candidate` text of at most 1 KiB (protocol.md §3.3).
    #[error("a candidate does not parse")]
    Candidate,
}

/// A deadline is `None` when it is later than any clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Joining { deadline: Option<Instant> },
    Connecting { deadline: Option<Instant> },
    Active,
    Ended,
}

/// The signalling side of one membership in a room.
pub struct Session {
    config: SessionConfig,
    started: Instant,
    phase: Phase,
    outputs: VecDeque<Output>,
    local: Option<Participant>,
    others: Others,
    room: RoomInfo,
    server: ServerInfo,
    token: Option<String>,
    can_publish_data: bool,
    ping: Option<Pinging>,
    faults: u64,
    /// The data connection is gone; a leave may still say why.
    lost: Option<(Instant, String)>,
}

/// Keepalive, once the server has said how (protocol.md §2.11).
#[derive(Debug)]
struct Pinging {
    interval: Duration,
    timeout: Duration,
    next: Instant,
    last_heard: Instant,
    /// Round trip of the last answered ping in milliseconds.
    rtt: i64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the token.
        f.debug_struct("Session")
            .field("phase", &self.phase)
            .field("others", &self.others.len())
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session whose WebSocket is open and whose join request, with the offer in it, has been sent.
    pub fn new(now: Instant, config: SessionConfig) -> Self {
        let deadline = now.checked_add(config.join_timeout);
        Session {
            config,
            started: now,
            phase: Phase::Joining { deadline },
            outputs: VecDeque::new(),
            local: None,
            others: Others::default(),
            room: RoomInfo::default(),
            server: ServerInfo::default(),
            token: None,
            can_publish_data: false,
            ping: None,
            faults: 0,
            lost: None,
        }
    }

    /// Takes an input. Drain [`poll_output`](Self::poll_output) afterwards.
    ///
    /// # Errors
    /// A [`Fault`] of the server; counted, and the session goes on.
    pub fn handle_input(&mut self, now: Instant, input: Input) -> Result<(), Fault> {
        if self.phase == Phase::Ended {
            return Ok(());
        }
        if let (Some(ping), Input::Frame(_) | Input::Alive) = (&mut self.ping, &input) {
            ping.last_heard = now;
        }
        let result = match input {
            Input::Frame(frame) => self.handle_frame(now, frame),
            Input::Alive => Ok(()),
            Input::SignallingLost { cause } => {
                self.end(End::SignallingLost { cause });
                Ok(())
            }
            Input::TransportUp => {
                if matches!(self.phase, Phase::Connecting { .. }) {
                    self.phase = Phase::Active;
                }
                Ok(())
            }
            Input::TransportLost { cause } => {
                if self.lost.is_none() {
                    self.lost = Some((now + LEAVE_GRACE, cause));
                }
                Ok(())
            }
            Input::Leave => {
                self.send(Request::Leave(LeaveRequest {
                    reason: DisconnectReason::ClientInitiated.into(),
                    ..LeaveRequest::default()
                }));
                self.end(End::Left);
                Ok(())
            }
        };
        self.faults += u64::from(result.is_err());
        result
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Joining {
                deadline: Some(deadline),
            } if now >= deadline => {
                self.end(End::JoinTimedOut {
                    limit: self.config.join_timeout,
                });
            }
            Phase::Connecting {
                deadline: Some(deadline),
            } if now >= deadline => {
                self.end(End::TransportTimedOut {
                    limit: self.config.transport_timeout,
                });
            }
            _ => {}
        }
        if let Some((_, cause)) = self.lost.take_if(|(deadline, _)| now >= *deadline) {
            self.end(End::TransportLost { cause });
        }
        if self.phase == Phase::Ended {
            return;
        }
        let Some(ping) = &mut self.ping else {
            return;
        };
        // Time in which this session was not run, such as that of a suspended process, says nothing about the server.
        let due = ping.next.min(ping.last_heard + ping.timeout);
        ping.last_heard += now.saturating_duration_since(due);
        if now >= ping.last_heard + ping.timeout {
            let limit = ping.timeout;
            self.end(End::Silent { limit });
        } else if now >= ping.next {
            ping.next = now + ping.interval;
            let rtt = ping.rtt;
            let timestamp = self.millis(now);
            self.send(Request::PingReq(Ping { timestamp, rtt }));
        }
    }

    /// The next thing to do; [`Output::Timeout`] when there is nothing more.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        let deadline = match self.phase {
            Phase::Joining { deadline } => deadline.map(|at| (at, "the join response")),
            Phase::Connecting { deadline } => deadline.map(|at| (at, "the data connection")),
            Phase::Active => None,
            Phase::Ended => {
                return Output::Timeout {
                    at: None,
                    reason: "the session has ended",
                };
            }
        };
        let ping = self
            .ping
            .as_ref()
            .map(|ping| (ping.next.min(ping.last_heard + ping.timeout), "keepalive"));
        let lost = self
            .lost
            .as_ref()
            .map(|(deadline, _)| (*deadline, "a leave that explains the lost data connection"));
        match deadline
            .into_iter()
            .chain(ping)
            .chain(lost)
            .min_by_key(|(at, _)| *at)
        {
            Some((at, reason)) => Output::Timeout {
                at: Some(at),
                reason,
            },
            None => Output::Timeout {
                at: None,
                reason: "nothing to wait for",
            },
        }
    }

    /// Ourselves, once joined.
    pub fn local(&self) -> Option<&Participant> {
        self.local.as_ref()
    }

    /// Everybody else, in the order of their identities.
    pub fn others(&self) -> impl Iterator<Item = &Participant> {
        self.others.iter()
    }

    /// One of the others.
    pub fn other(&self, identity: &str) -> Option<&Participant> {
        self.others.get(identity)
    }

    /// The room's name.
    pub fn room_name(&self) -> RoomName {
        RoomName::from(self.room.name.as_str())
    }

    /// The room's sid; empty until the server has told it.
    pub fn room_sid(&self) -> RoomSid {
        RoomSid::from(self.room.sid.as_str())
    }

    /// What the server said about itself.
    pub fn server(&self) -> &ServerInfo {
        &self.server
    }

    /// The token the server sent last, for the next reconnect (protocol.md §1.5).
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether we may publish data: what the server says about us, and yes if it says nothing.
    pub fn can_publish_data(&self) -> bool {
        self.can_publish_data
    }

    /// Frames that were dropped.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    fn handle_frame(&mut self, now: Instant, frame: Bytes) -> Result<(), Fault> {
        let size = frame.len();
        let response = SignalResponse::from_bytes(frame).map_err(|_| Fault::Malformed { size })?;
        let Some(message) = response.message else {
            return Ok(());
        };
        if let Phase::Joining { .. } = self.phase {
            return match message {
                Response::Join(join) => {
                    self.joined(now, join);
                    Ok(())
                }
                Response::Leave(leave) => {
                    self.leave(&leave);
                    Ok(())
                }
                _ => Err(Fault::BeforeJoin),
            };
        }
        match message {
            Response::Answer(answer) => self.event(Event::Answer { sdp: answer.sdp }),
            Response::Trickle(trickle) => {
                let candidate = trickle.candidate().map_err(|_| Fault::Candidate)?;
                self.event(Event::Candidate(candidate));
            }
            Response::Update(update) => self.update(update),
            Response::Leave(leave) => self.leave(&leave),
            Response::RoomUpdate(update) => {
                if let Some(room) = update.room {
                    self.room = room;
                }
            }
            Response::RefreshToken(token) => self.token = Some(token),
            Response::PongResp(pong) => {
                let rtt = self
                    .millis(now)
                    .saturating_sub(pong.last_ping_timestamp)
                    .max(0);
                if let Some(ping) = &mut self.ping {
                    ping.rtt = rtt;
                }
            }
            Response::RoomMoved(moved) => self.moved(moved),
            // A second join, an offer in single mode (protocol.md §3.1) and what only a resume brings: ignored.
            _ => {}
        }
        Ok(())
    }

    fn joined(&mut self, now: Instant, join: JoinResponse) {
        let Some(participant) = join
            .participant
            .filter(|info| !info.sid.is_empty() && !info.identity.is_empty())
        else {
            self.end(End::BadJoin {
                problem: "the join response does not say who we are",
            });
            return;
        };
        self.can_publish_data = can_publish_data(&participant);
        let local = Participant::from_info(participant);
        self.room = join.room.unwrap_or_default();
        self.server = join.server_info.unwrap_or_default();
        for info in join.other_participants {
            if info.state != ParticipantState::Disconnected as i32
                && !info.identity.is_empty()
                && let Err(TooLarge) = self.others.insert(info)
            {
                return self.too_large();
            }
        }
        let interval = seconds(join.ping_interval).unwrap_or(Duration::from_secs(5));
        let timeout = seconds(join.ping_timeout)
            .unwrap_or(Duration::from_secs(15))
            .max(interval * 2);
        self.ping = Some(Pinging {
            interval,
            timeout,
            next: now + interval,
            last_heard: now,
            rtt: 0,
        });
        self.phase = Phase::Connecting {
            deadline: now.checked_add(self.config.transport_timeout),
        };
        self.local = Some(local.clone());
        self.event(Event::Joined(local));
        let timestamp = self.millis(now);
        self.send(Request::PingReq(Ping { timestamp, rtt: 0 }));
    }

    fn update(&mut self, update: ParticipantUpdate) {
        for info in update.participants {
            if self.phase == Phase::Ended {
                return;
            }
            let is_gone = info.state == ParticipantState::Disconnected as i32;
            if let Some(local) = &self.local
                && local.identity().as_str() == info.identity
            {
                // Another sid is an older or newer session of ours, of which a leave will tell.
                if local.sid().as_str() == info.sid && !is_gone {
                    self.update_local(info);
                }
                continue;
            }
            match self.others.get(info.identity.as_str()) {
                Some(known) if known.sid().as_str() == info.sid => {
                    if info.version >= known.0.version || is_gone {
                        self.change(known.clone(), info);
                    }
                }
                // An old session's end, after the new one was announced, is no news (protocol.md §2.9).
                Some(_) | None if is_gone || info.identity.is_empty() => {}
                Some(known) => {
                    let known = known.clone();
                    self.remove(&known);
                    self.add(info);
                }
                None => self.add(info),
            }
        }
    }

    fn update_local(&mut self, info: ParticipantInfo) {
        let Some(local) = &self.local else {
            return;
        };
        if info.version < local.0.version {
            return;
        }
        let was_active = local.is_active();
        self.can_publish_data = can_publish_data(&info);
        let local = Participant::from_info(info);
        self.local = Some(local.clone());
        if local.is_active() && !was_active {
            self.event(Event::ParticipantActive(local));
        } else {
            self.event(Event::ParticipantUpdated(local));
        }
    }

    fn add(&mut self, info: ParticipantInfo) {
        let Ok(other) = self.others.insert(info) else {
            return self.too_large();
        };
        let is_active = other.is_active();
        self.event(Event::ParticipantJoined(other.clone()));
        if is_active {
            self.event(Event::ParticipantActive(other));
        }
    }

    fn change(&mut self, known: Participant, info: ParticipantInfo) {
        if info.state == ParticipantState::Disconnected as i32 {
            self.remove(&Participant::from_info(info));
            return;
        }
        let Ok(other) = self.others.insert(info) else {
            return self.too_large();
        };
        if other == known {
            return;
        }
        if other.is_active() && !known.is_active() {
            self.event(Event::ParticipantActive(other));
        } else {
            self.event(Event::ParticipantUpdated(other));
        }
    }

    fn remove(&mut self, participant: &Participant) {
        self.others.remove(participant.identity());
        self.event(Event::ParticipantLeft(participant.clone()));
    }

    /// The server put us into another room: everybody here is gone, everybody there is new.
    fn moved(&mut self, moved: RoomMovedResponse) {
        for other in self.others.take() {
            self.event(Event::ParticipantLeft(other));
        }
        if let Some(room) = moved.room {
            self.room = room;
        }
        if !moved.token.is_empty() {
            self.token = Some(moved.token);
        }
        if let Some(participant) = moved.participant {
            self.can_publish_data = can_publish_data(&participant);
            self.local = Some(Participant::from_info(participant));
        }
        self.update(ParticipantUpdate {
            participants: moved.other_participants,
        });
    }

    fn too_large(&mut self) {
        let participants = self.others.len();
        self.end(End::RoomTooLarge { participants });
    }

    fn leave(&mut self, leave: &LeaveRequest) {
        let reason = DisconnectReason::try_from(leave.reason).unwrap_or(DisconnectReason::Unknown);
        let advice = match LeaveAction::try_from(leave.action) {
            Ok(LeaveAction::Resume) => Advice::Resume,
            Ok(LeaveAction::Reconnect) => Advice::Rejoin,
            // The form before protocol 13 (protocol.md §2.13).
            _ if leave.can_reconnect => Advice::Rejoin,
            _ => Advice::Stop,
        };
        self.end(End::ByServer { reason, advice });
    }

    fn end(&mut self, end: End) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            self.event(Event::Ended(end));
        }
    }

    /// The session's own clock for pings: the server only sends it back (protocol.md §2.11). Never 0, which is "not set".
    fn millis(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.started).as_millis();
        i64::try_from(since).unwrap_or(i64::MAX - 1) + 1
    }

    fn send(&mut self, request: Request) {
        self.outputs.push_back(Output::Send(request.into()));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// A server that says nothing about permissions has not forbidden anything (protocol.md §1.1).
fn can_publish_data(info: &ParticipantInfo) -> bool {
    info.permission
        .as_ref()
        .is_none_or(|permission| permission.can_publish_data)
}

/// Seconds of a join response; nonsense is `None`, and more than an hour is an hour.
fn seconds(seconds: i32) -> Option<Duration> {
    u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(|seconds| Duration::from_secs(seconds.min(3600)))
}
