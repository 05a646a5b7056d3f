//! What the handles of a room and its driver share: one mutex, wakers, and no channels.
//!
//! A handle locks, changes the engine and wakes the driver; the driver locks, moves packets and wakes the handles
//! that an event names. Sockets and the peer connection are not in here: encryption does not hold the lock.

use std::collections::{HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use lkstream_engine::{
    Engine, IncomingId, ListenerId, OutgoingId, ReadError, StreamInfo, StreamKind, TopicFilter,
};
use lkstream_proto::id::StreamId;
use lkstream_proto::receipt::Status;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::deferred::Deferred;
use crate::events::{Event, EventLog};
use crate::payload::Released;
use crate::rpc::Rpc;
use crate::sent::{Receipt, ReceiptStatus, Waiting};
use crate::session::Session;
use crate::streams::{Prepared, Queue};
use crate::writer::Signals;
use crate::{Disconnected, Participant};

/// One room, shared by its handles, writers, readers and the driver.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Where handlers run.
    pub(crate) runtime: Handle,
    /// Bytes of the application that are no longer needed.
    pub(crate) released: Arc<Released>,
    /// Held by whoever changes the keyring, so that no change is lost.
    pub(crate) keyring_turn: tokio::sync::Mutex<()>,
    /// Notified when participants change and when the room ends.
    pub(crate) changed: Notify,
    /// Notified for one of those who wait to publish a packet.
    pub(crate) publishable: Notify,
}

/// Everything behind the mutex.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) engine: Engine,
    pub(crate) session: Session,
    /// Set once, by the driver; everything after it fails with this.
    pub(crate) ended: Option<Disconnected>,
    /// Set when the driver has said goodbye and closed its sockets, too.
    pub(crate) gone: Option<Disconnected>,
    /// A handle wants the room to close.
    pub(crate) is_closing: bool,
    pub(crate) events: EventLog,
    pub(crate) listeners: HashMap<ListenerId, Queue>,
    pub(crate) prepared: Vec<Prepared>,
    /// The listeners that belong to handlers.
    pub(crate) handled: Vec<(ListenerId, StreamKind, TopicFilter)>,
    pub(crate) readers: HashMap<IncomingId, Waker>,
    pub(crate) writers: HashMap<OutgoingId, Signals>,
    pub(crate) receipts: HashMap<StreamId, Waiting>,
    pub(crate) rpc: Rpc,
    /// There is room again for packets that are no streams.
    pub(crate) is_publishable: bool,
    /// Writers that were neither closed nor aborted.
    pub(crate) open: HashSet<OutgoingId>,
    driver: Option<Waker>,
    /// What happens when the lock is released.
    pub(crate) deferred: Deferred,
}

/// The locked state. What was [deferred](Deferred) meanwhile happens after the lock is released.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    // Dropped in this order.
    state: MutexGuard<'a, State>,
    deferred: Deferred,
    released: Vec<Bytes>,
    shared: &'a Shared,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.deferred = std::mem::take(&mut self.state.deferred);
        self.released = self.shared.released.take();
    }
}

impl Shared {
    pub(crate) fn new(engine: Engine, session: Session, runtime: Handle) -> Arc<Self> {
        Arc::new(Shared {
            runtime,
            state: Mutex::new(State {
                engine,
                session,
                ended: None,
                gone: None,
                is_closing: false,
                events: EventLog::default(),
                listeners: HashMap::new(),
                prepared: Vec::new(),
                handled: Vec::new(),
                readers: HashMap::new(),
                writers: HashMap::new(),
                receipts: HashMap::new(),
                rpc: Rpc::default(),
                is_publishable: false,
                open: HashSet::new(),
                driver: None,
                deferred: Deferred::default(),
            }),
            released: Arc::default(),
            keyring_turn: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            publishable: Notify::new(),
        })
    }

    /// The state. A panic of another holder is not made ours: every change is complete before the lock is released.
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked {
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner),
            deferred: Deferred::default(),
            released: Vec::new(),
            shared: self,
        }
    }
}

impl State {
    /// Has the driver look at the state again.
    pub(crate) fn wake_driver(&mut self) {
        let driver = self.driver.take();
        self.deferred.wake_driver(driver);
    }

    /// The driver is about to wait. Drop what this gives after the lock is released.
    #[must_use]
    pub(crate) fn set_driver(&mut self, waker: Waker) -> Option<Waker> {
        self.driver.replace(waker)
    }

    /// Appends an event and wakes its readers.
    pub(crate) fn push_event(&mut self, event: Event) {
        self.events.push(event, &mut self.deferred);
    }

    /// Hands the engine's events to whom they concern.
    pub(crate) fn dispatch(&mut self) {
        use lkstream_engine::Event as Engine;
        while let Some(event) = self.engine.poll_event() {
            match event {
                Engine::Opened { listener, id, info } => match self.listeners.get_mut(&listener) {
                    Some(queue) => {
                        queue.streams.push_back((id, info));
                        self.deferred.wake(queue.waker.take());
                    }
                    None => self.release_incoming(id),
                },
                Engine::Readable(id) => self.deferred.wake(self.readers.remove(&id)),
                Engine::Writable(id) => {
                    if let Some(signals) = self.writers.get(&id) {
                        self.deferred.notify(&signals.room);
                    }
                }
                Engine::Acknowledged(id) => {
                    if let Some(signals) = self.writers.get(&id) {
                        self.deferred.notify(&signals.acknowledged);
                    }
                }
                Engine::Flushed(id) | Engine::OutgoingLost(id) | Engine::GivenUp(id) => {
                    if let Some(signals) = self.writers.get(&id) {
                        signals.all(&mut self.deferred);
                    }
                }
                Engine::Departed(identity) => {
                    for (stream, waiting) in &mut self.receipts {
                        waiting.departed(stream, &identity, &mut self.deferred);
                    }
                }
                Engine::Unclaimed(info) => {
                    let info = Arc::unwrap_or_clone(info);
                    self.push_event(Event::UnclaimedStream(info));
                }
                Engine::IncomingFailed { id, info, error } => {
                    self.incoming_failed(id, info, error);
                }
                Engine::Receipt {
                    stream,
                    from,
                    status,
                    bytes_received,
                    reason,
                } => {
                    let Some(status) = receipt_status(status) else {
                        continue;
                    };
                    let receipt = Receipt {
                        stream,
                        from,
                        status,
                        bytes: bytes_received,
                        reason,
                    };
                    if let Some(waiting) = self.receipts.get_mut(&receipt.stream) {
                        waiting.push(receipt.clone(), &mut self.deferred);
                    }
                    self.push_event(Event::Receipt(receipt));
                }
                Engine::UserPacket(message) => self.push_event(Event::Data(message)),
                Engine::SipDtmf { from, dtmf } => self.push_event(Event::SipDtmf { from, dtmf }),
                Engine::Chat { from, message } => self.push_event(Event::Chat { from, message }),
                Engine::Transcription {
                    from,
                    transcription,
                } => self.push_event(Event::Transcription {
                    from,
                    transcription,
                }),
                Engine::Publishable => self.is_publishable = true,
                Engine::CallEnded { id, result } => self.call_ended(id, result),
                Engine::Invoked(invocation) => self.invoked(invocation),
                _ => {}
            }
        }
    }

    /// Has the engine know what streams to this participant may look like, unless it is ourselves.
    pub(crate) fn note_participant(&mut self, participant: &Participant) {
        let is_local = self
            .session
            .local()
            .is_some_and(|local| local.identity() == participant.identity());
        if !is_local {
            let identity = participant.identity().clone();
            self.engine
                .participant(identity, participant.capabilities());
        }
    }

    /// A stream failed before it was read: that is an event, unless its reader was handed out and says so.
    fn incoming_failed(&mut self, id: Option<IncomingId>, info: Arc<StreamInfo>, error: ReadError) {
        if id.is_none_or(|id| self.take_back(id)) {
            let info = Arc::unwrap_or_clone(info);
            self.push_event(Event::IncomingFailed { info, error });
        }
    }

    /// Lets go of a stream that has no reader.
    pub(crate) fn release_incoming(&mut self, id: IncomingId) {
        if let Some(incoming) = self.engine.incoming(id) {
            incoming.release(Instant::now());
        }
    }

    /// Registers listeners that the user takes over later.
    pub(crate) fn prepare(&mut self, listeners: Vec<(StreamKind, TopicFilter)>) {
        for (kind, filter) in listeners {
            let listener = self.listen(kind, filter.clone());
            self.prepared.push(Prepared {
                kind,
                filter,
                listener,
            });
        }
    }

    /// Ends all open outgoing streams with a reason.
    pub(crate) fn abort_writers(&mut self, reason: &str) {
        for id in std::mem::take(&mut self.open) {
            if let Some(mut outgoing) = self.engine.outgoing(id) {
                outgoing.abort(reason);
            }
            if let Some(signals) = self.writers.get(&id) {
                signals.all(&mut self.deferred);
            }
        }
    }

    /// The room is gone: everything fails from here on and everybody learns it.
    pub(crate) fn end(&mut self, reason: Disconnected) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(reason.clone());
        self.engine.connection_lost(reason.to_lost());
        self.dispatch();
        self.push_event(Event::Disconnected(reason));
        for (_, waker) in self.readers.drain() {
            self.deferred.wake(Some(waker));
        }
        for signals in self.writers.values() {
            signals.all(&mut self.deferred);
        }
        for queue in self.listeners.values_mut() {
            self.deferred.wake(queue.waker.take());
        }
        for waiting in self.receipts.values_mut() {
            self.deferred.wake(waiting.waker.take());
        }
    }
}

/// The status in our own words; a number this version does not know is no receipt.
fn receipt_status(status: Status) -> Option<ReceiptStatus> {
    match status {
        Status::Accepted => Some(ReceiptStatus::Accepted),
        Status::Complete => Some(ReceiptStatus::Complete),
        Status::Failed => Some(ReceiptStatus::Failed),
        Status::Unspecified => None,
    }
}
