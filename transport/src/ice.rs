//! The path between the two sides: ICE (RFC 8445) over UDP, full and lite.
//!
//! Written for a quick join and a quick resume: every answer leads to the next step at once, unanswered checks are
//! repeated ever slower, the first pair that works is nominated, and a lite agent sends nothing but answers. Data may
//! flow over a pair as soon as it is proven ([`Event::Usable`]), a round trip before it is chosen ([`Event::Path`]).

mod pair;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ring::hmac;

use self::pair::{Pair, PairState};
use crate::config::{Credentials, IceMode, PeerConfig};
use crate::error::PeerError;
use crate::limits;
use crate::sdp::Candidate;
use crate::stun::{Kind, Message, Part, TransactionId, Writer};

/// Checks are repeated so often at first …
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// … and so often in the end.
const MAX_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Pairs that are checked; a caller with more addresses than that is odd.
const MAX_PAIRS: usize = 256;
/// Checks without an answer that are remembered.
const MAX_TRANSACTIONS: usize = 512;
/// Messages that wait to be sent; beyond that they are dropped, as a full socket would.
const MAX_OUTGOING: usize = 512;
/// A chosen pair this silent gives way to another one that the controlling side names.
const SILENT: Duration = Duration::from_secs(3);

/// The chosen pair is asked so often while it is more silent than its keepalives explain, to find out at once when an
/// outage is over.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

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
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The other side's credentials are unknown.
    New,
    Checking,
    Connected,
    Disconnected,
    Failed,
    Closed,
}

struct Transaction {
    id: TransactionId,
    remote: SocketAddr,
    local: SocketAddr,
    nominates: bool,
}

pub(crate) struct Ice {
    mode: IceMode,
    is_controlling: bool,
    tie_breaker: u64,
    credentials: Credentials,
    remote: Option<(String, String)>,
    remote_is_lite: bool,
    locals: Vec<SocketAddr>,
    /// Candidates that signalling told.
    remotes: Vec<Candidate>,
    pairs: Vec<Pair>,
    /// The chosen pair.
    selected: Option<usize>,
    /// The pair that the controlling side is about to choose.
    nominee: Option<usize>,
    transactions: VecDeque<Transaction>,
    transaction_count: u64,
    outgoing: VecDeque<Outgoing>,
    events: VecDeque<Event>,
    state: State,
    /// When the state `Checking` began.
    since: Instant,
    next_tick: Option<Instant>,
    interval: Duration,
    /// A message proved that the other side lives.
    has_proof: bool,
    last_keepalive: Instant,
    keepalive: Duration,
    disconnected_after: Duration,
    failed_after: Duration,
}

impl Ice {
    pub(crate) fn new(now: Instant, config: &PeerConfig) -> Result<Self, PeerError> {
        if config.ice == IceMode::Lite && config.candidates.is_empty() {
            return Err(PeerError::Config("ice-lite needs a candidate"));
        }
        if config
            .candidates
            .iter()
            .any(|address| address.ip().is_unspecified() || address.port() == 0)
        {
            return Err(PeerError::Config("candidate without an address or a port"));
        }
        if config.keepalive.is_zero() || config.disconnected_after.is_zero() {
            return Err(PeerError::Config("keepalive or disconnected_after of zero"));
        }
        Ok(Self {
            mode: config.ice,
            is_controlling: false,
            tie_breaker: 0,
            credentials: config.credentials.clone(),
            remote: None,
            remote_is_lite: false,
            locals: config.candidates.clone(),
            remotes: Vec::new(),
            pairs: Vec::new(),
            selected: None,
            nominee: None,
            transactions: VecDeque::new(),
            transaction_count: 0,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            state: State::New,
            since: now,
            next_tick: None,
            interval: CHECK_INTERVAL,
            has_proof: false,
            last_keepalive: now,
            keepalive: config.keepalive,
            disconnected_after: config.disconnected_after,
            failed_after: config.failed_after,
        })
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The other side's credentials are known: checks begin.
    pub(crate) fn start(&mut self, now: Instant, remote: Remote<'_>, is_controlling: bool) {
        self.remote = Some((remote.ufrag.to_owned(), remote.password.to_owned()));
        self.remote_is_lite = remote.is_lite;
        self.is_controlling = is_controlling;
        self.tie_breaker = self.number(b"tie breaker");
        self.state = State::Checking;
        self.since = now;
        self.interval = CHECK_INTERVAL;
        self.next_tick = Some(now);
        for pair in &mut self.pairs {
            pair.set_controlling(is_controlling);
        }
    }

    /// Forgets the other side and looks for a path anew, under new credentials.
    pub(crate) fn restart(&mut self, credentials: Credentials) {
        self.credentials = credentials;
        self.remote = None;
        self.remotes.clear();
        self.pairs.clear();
        self.selected = None;
        self.nominee = None;
        self.transactions.clear();
        self.outgoing.clear();
        self.state = State::New;
        self.next_tick = None;
    }

    /// `false` when there are too many already.
    pub(crate) fn add_remote(&mut self, now: Instant, candidate: &Candidate) -> bool {
        if self
            .remotes
            .iter()
            .any(|known| known.address == candidate.address)
        {
            return true;
        }
        if self.remotes.len() >= limits::REMOTE_CANDIDATES {
            return false;
        }
        self.remotes.push(*candidate);
        // A lite agent checks nothing; it learns its pairs from the questions it gets.
        if self.mode == IceMode::Full {
            for index in 0..self.locals.len() {
                let local = self.locals[index];
                if local.is_ipv4() == candidate.address.is_ipv4() {
                    self.find_or_add_pair(local, candidate.address, candidate.priority);
                }
            }
            if self.state == State::Checking {
                self.next_tick = Some(now);
            }
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
        let Some(message) = Message::parse(datagram) else {
            return false;
        };
        match message.kind {
            Kind::Request => self.handle_request(
                now,
                Origin {
                    remote,
                    local,
                    candidate,
                },
                &message,
            ),
            Kind::Success | Kind::Error => self.handle_response(
                now,
                Origin {
                    remote,
                    local,
                    candidate,
                },
                &message,
            ),
            // Keepalives of the other side (RFC 8445 §11) prove nothing.
            Kind::Indication => true,
        }
    }

    fn handle_request(&mut self, now: Instant, origin: Origin, message: &Message<'_>) -> bool {
        let Some((remote_ufrag, _)) = &self.remote else {
            return false;
        };
        let username = format!("{}:{remote_ufrag}", self.credentials.ufrag);
        if message.username != Some(username.as_bytes())
            || !message.is_genuine(&self.credentials.password)
        {
            return false;
        }
        self.has_proof = true;
        let answer_path = Path {
            remote: origin.remote,
            source: origin.local,
        };
        // RFC 8445 §7.3.1.1: both want the same part; the larger number keeps it. A lite agent never controls.
        if self.mode == IceMode::Full {
            let (conflict, theirs) = match message.part {
                Some(Part::Controlling(theirs)) => (self.is_controlling, theirs),
                Some(Part::Controlled(theirs)) => (!self.is_controlling, theirs),
                None => (false, 0),
            };
            if conflict && (self.tie_breaker >= theirs) == self.is_controlling {
                let answer = Writer::new(Kind::Error, message.transaction).role_conflict();
                self.push(answer_path, answer.finish(&self.credentials.password));
                return true;
            }
            if conflict {
                self.switch_part();
            }
        }
        let answer = Writer::new(Kind::Success, message.transaction).mapped(origin.remote);
        self.push(answer_path, answer.finish(&self.credentials.password));
        let Some(index) = self.find_or_add_pair(
            origin.candidate,
            origin.remote,
            message.priority.unwrap_or(1),
        ) else {
            return true;
        };
        let pair = &mut self.pairs[index];
        pair.source = origin.local;
        self.hear(now, index);
        let nominates = message.use_candidate && !self.is_controlling;
        if self.mode == IceMode::Lite {
            // Being asked has to do as a proof.
            self.pairs[index].state = PairState::Succeeded;
            if nominates {
                self.choose(now, index);
            } else {
                self.note_usable(index);
            }
            return true;
        }
        match self.pairs[index].state {
            PairState::Succeeded if nominates => self.choose(now, index),
            PairState::Succeeded => {}
            PairState::Open => {
                // RFC 8445 §7.3.1.4: ask back at once.
                self.pairs[index].is_nominated |= nominates;
                self.check(index, false);
            }
        }
        true
    }

    fn handle_response(&mut self, now: Instant, origin: Origin, message: &Message<'_>) -> bool {
        let Some(at) = self
            .transactions
            .iter()
            .position(|known| known.id == message.transaction)
        else {
            return false;
        };
        let Some((_, password)) = &self.remote else {
            return false;
        };
        // RFC 8445 §7.2.5.2.1: an answer from elsewhere does not prove the pair.
        if !message.is_genuine(password) || self.transactions[at].remote != origin.remote {
            return false;
        }
        let Some(transaction) = self.transactions.remove(at) else {
            return false;
        };
        self.has_proof = true;
        let Some(index) = self.find_pair(transaction.local, transaction.remote) else {
            return true;
        };
        if message.kind == Kind::Error {
            if message.error == Some(487) {
                self.switch_part();
                self.check(index, false);
            }
            return true;
        }
        self.pairs[index].state = PairState::Succeeded;
        self.hear(now, index);
        let seeks = matches!(self.state, State::Checking | State::Disconnected)
            && self.selected != Some(index);
        if self.is_controlling {
            if transaction.nominates {
                self.choose(now, index);
            } else if seeks && self.nominee.is_none() {
                self.note_usable(index);
                self.nominee = Some(index);
                self.check(index, true);
            }
        } else if self.pairs[index].is_nominated {
            self.choose(now, index);
        } else {
            self.note_usable(index);
        }
        true
    }

    /// Whether the address has to do with us, for datagrams that are no STUN; such a one keeps the path alive.
    pub(crate) fn is_known(&mut self, now: Instant, remote: SocketAddr) -> bool {
        let Some(index) = self.pairs.iter().position(|pair| pair.remote == remote) else {
            return false;
        };
        let selected = self
            .selected
            .filter(|selected| self.pairs[*selected].remote == remote);
        self.hear(now, selected.unwrap_or(index));
        true
    }

    /// Whether a genuine message came since the last call.
    pub(crate) fn take_proof(&mut self) -> bool {
        std::mem::take(&mut self.has_proof)
    }

    fn hear(&mut self, now: Instant, index: usize) {
        self.pairs[index].heard = Some(now);
        if self.selected == Some(index) && matches!(self.state, State::Disconnected | State::Failed)
        {
            self.state = State::Connected;
            self.next_tick = Some(now + self.idle_interval());
            self.events.push_back(Event::Recovered);
        }
    }

    fn note_usable(&mut self, index: usize) {
        if self.selected.is_none() {
            self.events
                .push_back(Event::Usable(self.pairs[index].path()));
        }
    }

    fn choose(&mut self, now: Instant, index: usize) {
        self.nominee = None;
        if let Some(current) = self.selected {
            // An eager other side nominates several pairs: the best one counts, unless it is dead.
            let is_silent = self.pairs[current]
                .heard
                .is_none_or(|heard| now.saturating_duration_since(heard) > SILENT);
            let is_better = self.pairs[index].priority() > self.pairs[current].priority();
            if current == index || !(is_silent || is_better) {
                return;
            }
        }
        self.selected = Some(index);
        self.state = State::Connected;
        self.last_keepalive = now;
        self.next_tick = Some(now + self.idle_interval());
        self.events.push_back(Event::Path(self.pairs[index].path()));
    }

    fn switch_part(&mut self) {
        self.is_controlling = !self.is_controlling;
        self.nominee = None;
        for pair in &mut self.pairs {
            pair.set_controlling(self.is_controlling);
        }
    }

    fn find_pair(&self, local: SocketAddr, remote: SocketAddr) -> Option<usize> {
        self.pairs
            .iter()
            .position(|pair| pair.local == local && pair.remote == remote)
    }

    fn find_or_add_pair(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        priority: u32,
    ) -> Option<usize> {
        if let Some(index) = self.find_pair(local, remote) {
            return Some(index);
        }
        if self.pairs.len() >= MAX_PAIRS {
            return None;
        }
        let preference = self
            .locals
            .iter()
            .position(|known| *known == local)
            .unwrap_or_default();
        self.pairs.push(Pair::new(
            local,
            remote,
            preference,
            priority,
            self.is_controlling,
        ));
        Some(self.pairs.len() - 1)
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

    /// Sends a check over the pair.
    fn check(&mut self, index: usize, nominates: bool) {
        let Some((ufrag, password)) = &self.remote else {
            return;
        };
        let nominates =
            self.is_controlling && (nominates || (self.remote_is_lite && self.pairs.len() == 1));
        let pair = &self.pairs[index];
        let part = if self.is_controlling {
            Part::Controlling
        } else {
            Part::Controlled
        };
        let id = self.transaction_id();
        let mut request = Writer::new(Kind::Request, id)
            .username(&format!("{ufrag}:{}", self.credentials.ufrag))
            .priority(pair.reflexive_priority())
            .part(part(self.tie_breaker));
        if nominates {
            request = request.use_candidate();
        }
        let bytes = request.finish(password);
        let (path, transaction) = (
            pair.path(),
            Transaction {
                id,
                remote: pair.remote,
                local: pair.local,
                nominates,
            },
        );
        self.transaction_count += 1;
        if self.transactions.len() >= MAX_TRANSACTIONS {
            self.transactions.pop_front();
        }
        self.transactions.push_back(transaction);
        self.push(path, bytes);
    }

    fn push(&mut self, path: Path, bytes: Vec<u8>) {
        if self.outgoing.len() < MAX_OUTGOING {
            self.outgoing.push_back(Outgoing { path, bytes });
        }
    }

    /// Numbers that nobody can foretell who does not know our password.
    fn secret(&self, label: &[u8]) -> hmac::Tag {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.credentials.password.as_bytes());
        let mut context = hmac::Context::with_key(&key);
        context.update(label);
        context.update(&self.transaction_count.to_be_bytes());
        context.sign()
    }

    fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.secret(b"transaction").as_ref()[..12]);
        id
    }

    /// A number that nobody else can foretell.
    pub(crate) fn number(&self, label: &[u8]) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&self.secret(label).as_ref()[..8]);
        u64::from_be_bytes(number)
    }

    fn idle_interval(&self) -> Duration {
        (self.keepalive / 2).max(Duration::from_millis(100))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.next_tick.is_none_or(|at| at > now) {
            return;
        }
        self.next_tick = match self.state {
            State::New | State::Failed | State::Closed => None,
            State::Checking => {
                if now.saturating_duration_since(self.since)
                    > self.disconnected_after + self.failed_after
                {
                    self.fail();
                    None
                } else {
                    self.check_all();
                    let next = now + self.interval;
                    self.interval = (self.interval * 5 / 4).min(MAX_CHECK_INTERVAL);
                    Some(next)
                }
            }
            State::Connected | State::Disconnected => self.watch(now),
        };
    }

    fn check_all(&mut self) {
        if self.mode == IceMode::Lite {
            return;
        }
        if let Some(nominee) = self.nominee {
            self.check(nominee, true);
            return;
        }
        for index in 0..self.pairs.len() {
            if self.pairs[index].state == PairState::Open {
                self.check(index, false);
            }
        }
    }

    /// Keeps the chosen pair alive and looks whether it is (RFC 7675).
    fn watch(&mut self, now: Instant) -> Option<Instant> {
        let selected = self.selected?;
        let silence =
            now.saturating_duration_since(self.pairs[selected].heard.unwrap_or(self.since));
        if silence > self.disconnected_after + self.failed_after {
            self.fail();
            return None;
        }
        if silence > self.disconnected_after && self.state == State::Connected {
            self.state = State::Disconnected;
            self.events.push_back(Event::Disconnected);
        }
        let is_odd = silence > self.keepalive * 3 / 2;
        let (pause, next) = if is_odd && self.mode == IceMode::Full {
            let pause = PROBE_INTERVAL.min(self.keepalive);
            (pause, pause)
        } else {
            (self.keepalive, self.idle_interval())
        };
        if self.mode == IceMode::Full && now.saturating_duration_since(self.last_keepalive) >= pause
        {
            self.last_keepalive = now;
            // Named again, a lite side follows when a NAT gives us another address.
            self.check(selected, true);
            if self.state == State::Disconnected {
                // Another pair may still work.
                self.nominee = None;
                for index in (0..self.pairs.len()).filter(|index| *index != selected) {
                    self.check(index, false);
                }
            }
        }
        Some(now + next)
    }

    fn fail(&mut self) {
        self.state = State::Failed;
        self.events.push_back(Event::Failed);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn close(&mut self) {
        self.state = State::Closed;
        self.next_tick = None;
        self.outgoing.clear();
    }

    /// The host moved: its old addresses are gone.
    #[cfg(test)]
    pub(crate) fn forget_locals_for_test(&mut self, locals: &[SocketAddr]) {
        self.locals = locals.to_vec();
    }
}

/// The other side as its description tells.
pub(crate) struct Remote<'a> {
    pub(crate) ufrag: &'a str,
    pub(crate) password: &'a str,
    pub(crate) is_lite: bool,
}

/// Where a message came from and to.
#[derive(Clone, Copy)]
struct Origin {
    remote: SocketAddr,
    local: Option<IpAddr>,
    candidate: SocketAddr,
}

#[cfg(test)]
mod tests;
