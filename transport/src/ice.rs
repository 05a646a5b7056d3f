//! The path between the two sides: ICE (RFC 8445) over UDP, full and lite.
//!
//! Written for a quick join and a quick resume: every answer leads to the next step at once, unanswered checks are
//! repeated ever slower, and the first pair that works is nominated. Data may flow over a pair as soon as it is proven
//! ([`Event::Usable`]), a round trip before it is chosen ([`Event::Path`]).
//!
//! Whoever offers a candidate, or knows our password and forges a source address, can name somebody else's address. So
//! checks to candidates are few and paced, and an address that was only heard from gets at most three times the bytes
//! that came from it until it is validated: until it has answered a check, or finished a DTLS handshake, which only
//! the receiver of our messages can. A lite agent sends answers, and a check of its own only to validate an address.

mod address;
mod checks;
mod pair;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ring::hmac;

use self::address::{Pacer, Validated};
use self::checks::Validation;
use self::pair::{Pair, PairState};
use crate::config::{Credentials, IceMode, PeerConfig};
use crate::error::PeerError;
use crate::sdp::Candidate;
use crate::stun::{Kind, Message, Part, TransactionId, Writer};

/// Pairs that are kept (RFC 8445 §6.1.2.5). One more takes the place of the one that was silent longest.
const MAX_PAIRS: usize = 100;
/// Checks without an answer that are remembered.
const MAX_TRANSACTIONS: usize = 512;
/// Messages that wait to be sent; beyond that they are dropped, as a full socket would, and counted.
const MAX_OUTGOING: usize = 512;
/// A chosen pair this silent gives way to another one that the controlling side names.
const SILENT: Duration = Duration::from_secs(3);

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
    max_remotes: usize,
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
    pacer: Pacer,
    validated: Validated,
    /// The address in use is being validated.
    validation: Option<Validation>,
    /// Messages dropped since too many waited.
    dropped: u64,
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
            max_remotes: config.max_remote_candidates,
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
            pacer: Pacer::new(now),
            validated: Validated::default(),
            validation: None,
            dropped: 0,
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
        self.validation = None;
        self.state = State::New;
        self.next_tick = None;
    }

    /// Takes a candidate that signalling told.
    pub(crate) fn add_remote(&mut self, now: Instant, candidate: &Candidate) -> Added {
        if self
            .remotes
            .iter()
            .any(|known| known.address == candidate.address)
        {
            return Added::Taken;
        }
        if !address::is_usable(candidate.address, &self.locals) {
            return Added::Unusable;
        }
        // A lite agent checks nothing; it learns its pairs from the questions it gets.
        if self.mode == IceMode::Lite {
            return Added::Taken;
        }
        if self.remotes.len() >= self.max_remotes {
            return Added::TooMany;
        }
        self.remotes.push(*candidate);
        for index in 0..self.locals.len() {
            let local = self.locals[index];
            if local.is_ipv4() == candidate.address.is_ipv4() && self.pairs.len() < MAX_PAIRS {
                self.find_or_add_pair(now, local, candidate.address, candidate.priority);
            }
        }
        if self.state == State::Checking {
            self.next_tick = Some(now);
        }
        Added::Taken
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
        let origin = Origin {
            remote,
            local,
            candidate,
            bytes: datagram.len(),
        };
        match message.kind {
            Kind::Request => self.handle_request(now, origin, &message),
            Kind::Success | Kind::Error => self.handle_response(now, origin, &message),
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
        let index = self.find_or_add_pair(
            now,
            origin.candidate,
            origin.remote,
            message.priority.unwrap_or(1),
        );
        let pair = &mut self.pairs[index];
        pair.source = origin.local;
        pair.budget.add_received(origin.bytes);
        let answer = Writer::new(Kind::Success, message.transaction).mapped(origin.remote);
        self.push_over(index, answer.finish(&self.credentials.password));
        self.note_received(now, index);
        let nominates = message.use_candidate && !self.is_controlling;
        if self.mode == IceMode::Lite {
            // Being asked has to do as a proof that the pair works; what it gets is bounded until it is validated.
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
                self.check_within_budget(now, index);
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
        // Only who got the check knows its transaction.
        self.note_validated(transaction.remote);
        if message.kind == Kind::Error {
            if message.error == Some(487) {
                self.switch_part();
                self.check(index, false);
            }
            return true;
        }
        let pair = &mut self.pairs[index];
        pair.state = PairState::Succeeded;
        pair.checks = 0;
        self.note_received(now, index);
        let seeks = matches!(self.state, State::Checking | State::Disconnected)
            && self.selected != Some(index);
        if self.is_controlling {
            if transaction.nominates {
                self.choose(now, index);
            } else if seeks && self.nominee.is_none() {
                self.note_usable(index);
                self.nominee = Some(index);
                self.pairs[index].note_check(now);
                self.check(index, true);
                self.next_tick = Some(self.pairs[index].check_at);
            }
        } else if self.pairs[index].is_nominated {
            self.choose(now, index);
        } else {
            self.note_usable(index);
        }
        true
    }

    /// Notes a datagram that is no STUN, which keeps its path alive. Whether it came from an address that ICE knows.
    pub(crate) fn note_datagram(&mut self, now: Instant, remote: SocketAddr, bytes: usize) -> bool {
        let Some(index) = self.pairs.iter().position(|pair| pair.remote == remote) else {
            return false;
        };
        let selected = self
            .selected
            .filter(|selected| self.pairs[*selected].remote == remote);
        let index = selected.unwrap_or(index);
        self.pairs[index].budget.add_received(bytes);
        self.note_received(now, index);
        true
    }

    /// Whether the address has proven that it receives what is sent to it.
    pub(crate) fn is_validated(&self, remote: SocketAddr) -> bool {
        self.validated.contains(remote)
    }

    /// The address has answered what only it can have seen.
    pub(crate) fn note_validated(&mut self, remote: SocketAddr) {
        self.validated.insert(remote);
        if self
            .validation
            .as_ref()
            .is_some_and(|validation| validation.remote == remote)
        {
            self.validation = None;
        }
    }

    /// Bytes that may be sent to an address now.
    pub(crate) fn allowance(&self, remote: SocketAddr) -> usize {
        if self.is_validated(remote) {
            return usize::MAX;
        }
        let pairs = self.pairs.iter().filter(|pair| pair.remote == remote);
        let bytes: u64 = pairs.map(|pair| pair.budget.allowance()).sum();
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Something that is no STUN was sent to an address that is not validated.
    pub(crate) fn note_sent(&mut self, remote: SocketAddr, bytes: usize) {
        let mut rest = bytes as u64;
        for pair in self.pairs.iter_mut().filter(|pair| pair.remote == remote) {
            let part = pair.budget.allowance().min(rest);
            pair.budget.add_sent(part as usize);
            rest -= part;
        }
    }

    /// Messages dropped since more waited than a peer may have waiting.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether a genuine message came since the last call.
    pub(crate) fn take_proof(&mut self) -> bool {
        std::mem::take(&mut self.has_proof)
    }

    fn note_received(&mut self, now: Instant, index: usize) {
        self.pairs[index].last_received = Some(now);
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
                .last_received
                .is_none_or(|at| now.saturating_duration_since(at) > SILENT);
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
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        priority: u32,
    ) -> usize {
        if let Some(index) = self.find_pair(local, remote) {
            return index;
        }
        let preference = self
            .locals
            .iter()
            .position(|known| *known == local)
            .unwrap_or_default();
        let pair = Pair::new(
            now,
            local,
            remote,
            preference,
            priority,
            self.is_controlling,
        );
        let is_spare =
            |index: &usize| Some(*index) != self.selected && Some(*index) != self.nominee;
        let oldest = (0..self.pairs.len())
            .filter(is_spare)
            .min_by_key(|index| self.pairs[*index].last_received);
        match oldest.filter(|_| self.pairs.len() >= MAX_PAIRS) {
            Some(index) => {
                self.pairs[index] = pair;
                index
            }
            None => {
                self.pairs.push(pair);
                self.pairs.len() - 1
            }
        }
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

    fn push(&mut self, path: Path, bytes: Vec<u8>) {
        if self.outgoing.len() < MAX_OUTGOING {
            self.outgoing.push_back(Outgoing { path, bytes });
        } else {
            self.dropped += 1;
        }
    }

    /// As [`push`](Self::push), on the account of a pair.
    fn push_over(&mut self, index: usize, bytes: Vec<u8>) {
        let pair = &mut self.pairs[index];
        pair.budget.add_sent(bytes.len());
        let path = pair.path();
        self.push(path, bytes);
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

    fn fail(&mut self) {
        self.validation = None;
        self.state = State::Failed;
        self.events.push_back(Event::Failed);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let validation = self
            .validation
            .as_ref()
            .map(|validation| validation.check_at);
        [self.next_tick, validation].into_iter().flatten().min()
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
        self.validation = None;
        self.outgoing.clear();
    }

    /// The host moved: its old addresses are gone.
    #[cfg(test)]
    pub(crate) fn forget_locals_for_test(&mut self, locals: &[SocketAddr]) {
        self.locals = locals.to_vec();
    }
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    Taken,
    /// It has an address that nobody can have, or none that we should try.
    Unusable,
    TooMany,
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
    bytes: usize,
}

#[cfg(test)]
mod tests;
