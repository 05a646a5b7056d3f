//! What happens in a room, as a bounded stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use lkstream_engine::{PeerFault, ReadError, StreamInfo, UserMessage};
use lkstream_proto::id::Identity;
use lkstream_proto::packet::{ChatMessage, SipDtmf, Transcription};

use crate::deferred::Deferred;
use crate::shared::{Shared, State};
use crate::{Disconnected, Participant, Receipt, footprint};

/// How many events are kept for a handle that does not read them, and how many bytes of them.
const EVENTS: usize = 4096;
const EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Something happened in the room.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Somebody joined; its peer connection may not be up yet.
    Joined(Participant),
    /// Somebody's peer connection is up.
    Active(Participant),
    /// Somebody's name, metadata, attributes or permissions changed.
    Updated(Participant),
    /// Somebody left. Its open streams end once no chunk has come for 2 s.
    Left(Participant),
    /// A stream came in that nobody registered for; nothing of it is kept. A sender that asked for receipts is told.
    UnclaimedStream(StreamInfo),
    /// A stream for a registration failed before its reader took anything of it: a limit of
    /// [`StreamLimits`](crate::StreamLimits) was met, or its header breaks a rule. No reader will say so; a sender that
    /// asked for receipts is told.
    IncomingFailed {
        /// Its header.
        info: StreamInfo,
        /// Why it failed.
        error: ReadError,
    },
    /// Packets of others broke a rule and were dropped, as where keys of an encryption differ: at most one event a
    /// second. Streams that failed by it say so themselves.
    PacketsDropped {
        /// What was wrong with the latest.
        fault: PeerFault,
        /// How many since the last such event.
        count: u64,
    },
    /// A receiver said what became of a stream sent with `confirmed()`.
    Receipt(Receipt),
    /// Somebody [published](crate::Room::publish_data) a packet.
    Data(UserMessage),
    /// Somebody pressed a telephone key.
    SipDtmf {
        /// Who.
        from: Identity,
        /// Which key.
        dtmf: SipDtmf,
    },
    /// A chat message of the older kind; newer clients use text streams on `lk.chat`.
    Chat {
        /// Who sent it.
        from: Identity,
        /// What it says.
        message: ChatMessage,
    },
    /// Transcribed speech of the older kind; newer agents use text streams on `lk.transcription`.
    Transcription {
        /// Who sent it, usually an agent.
        from: Identity,
        /// What was said.
        transcription: Transcription,
    },
    /// The room is gone; the last event.
    Disconnected(Disconnected),
    /// This handle was read too slowly: so many older events were dropped for it.
    Missed {
        /// How many.
        count: u64,
    },
}

/// The events of a room.
///
/// The first one that [`Room::events`](crate::Room::events) gives starts at the join, however late it is called; each
/// further one starts at its call. At most 4096 unread events of 16 MiB are kept, each charged with the memory that it
/// holds; then the oldest go and [`Event::Missed`] says how many. What must not be missed belongs into a stream. It
/// ends after [`Event::Disconnected`]. Dropping it has no effect on the room.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    reader: u64,
    next: u64,
}

impl Events {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (reader, next) = shared.lock().events.subscribe();
        Events {
            shared,
            reader,
            next,
        }
    }

    /// The next event, or `None` after the last one.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let waker = cx.waker().clone();
        let mut state = self.shared.lock();
        let State {
            events, deferred, ..
        } = &mut *state;
        events.poll(self.reader, &mut self.next, waker, deferred)
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let State {
            events, deferred, ..
        } = &mut *state;
        events.unsubscribe(self.reader, deferred);
    }
}

/// The last events, with the number of the oldest, and who waits for the next.
#[derive(Debug)]
pub(crate) struct EventLog {
    first: u64,
    events: VecDeque<Event>,
    /// Memory that they hold.
    bytes: usize,
    /// Nobody has subscribed yet; whoever does first gets everything since the join.
    is_fresh: bool,
    readers: Vec<(u64, Option<Waker>)>,
    next_reader: u64,
    is_ended: bool,
}

impl Default for EventLog {
    fn default() -> Self {
        EventLog {
            first: 0,
            events: VecDeque::new(),
            bytes: 0,
            is_fresh: true,
            readers: Vec::new(),
            next_reader: 0,
            is_ended: false,
        }
    }
}

impl EventLog {
    fn subscribe(&mut self) -> (u64, u64) {
        self.next_reader += 1;
        self.readers.push((self.next_reader, None));
        let end = self.first + self.events.len() as u64;
        // Whoever subscribes to a room that is gone still learns that.
        let next = if std::mem::take(&mut self.is_fresh) {
            0
        } else if self.is_ended {
            end.saturating_sub(1)
        } else {
            end
        };
        (self.next_reader, next)
    }

    fn unsubscribe(&mut self, reader: u64, deferred: &mut Deferred) {
        if let Some(at) = self.readers.iter().position(|(id, _)| *id == reader) {
            let (_, waker) = self.readers.swap_remove(at);
            deferred.forget(waker);
        }
    }

    /// Appends an event and wakes all readers.
    pub(crate) fn push(&mut self, event: Event, deferred: &mut Deferred) {
        if self.is_ended {
            return;
        }
        self.is_ended = matches!(event, Event::Disconnected(_));
        self.bytes += footprint::event(&event);
        while self.events.len() == EVENTS || self.bytes > EVENT_BYTES {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= footprint::event(&oldest);
            self.first += 1;
        }
        self.events.push_back(event);
        for (_, waker) in &mut self.readers {
            deferred.wake(waker.take());
        }
    }

    fn poll(
        &mut self,
        reader: u64,
        next: &mut u64,
        waker: Waker,
        deferred: &mut Deferred,
    ) -> Poll<Option<Event>> {
        if *next < self.first {
            let count = self.first - *next;
            *next = self.first;
            return Poll::Ready(Some(Event::Missed { count }));
        }
        let at = usize::try_from(*next - self.first).unwrap_or(usize::MAX);
        if let Some(event) = self.events.get(at) {
            *next += 1;
            return Poll::Ready(Some(event.clone()));
        }
        if self.is_ended {
            return Poll::Ready(None);
        }
        if let Some((_, waiting)) = self.readers.iter_mut().find(|(id, _)| *id == reader) {
            deferred.forget(waiting.replace(waker));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use lkstream_proto::participant::ParticipantInfo;

    use super::*;

    fn push(log: &mut EventLog, event: Event) {
        log.push(event, &mut Deferred::default());
    }

    fn number(count: u64) -> Event {
        Event::Missed { count }
    }

    fn take(log: &mut EventLog, reader: u64, next: &mut u64) -> Poll<Option<Event>> {
        let waker = Waker::noop().clone();
        log.poll(reader, next, waker, &mut Deferred::default())
    }

    fn some(count: u64) -> Poll<Option<Event>> {
        Poll::Ready(Some(number(count)))
    }

    #[test]
    fn the_first_subscriber_starts_at_the_join_and_further_ones_at_their_call() {
        let mut log = EventLog::default();
        push(&mut log, number(100));
        let (first, mut first_next) = log.subscribe();
        let (second, mut second_next) = log.subscribe();
        push(&mut log, number(101));
        assert_eq!(take(&mut log, first, &mut first_next), some(100));
        assert_eq!(take(&mut log, first, &mut first_next), some(101));
        assert_eq!(take(&mut log, second, &mut second_next), some(101));
        assert_eq!(take(&mut log, second, &mut second_next), Poll::Pending);
    }

    #[test]
    fn a_slow_or_late_reader_misses_the_oldest_and_learns_how_many() {
        for is_late in [false, true] {
            let mut log = EventLog::default();
            let mut early = (!is_late).then(|| log.subscribe());
            for count in 0..EVENTS as u64 + 10 {
                push(&mut log, number(1000 + count));
            }
            let (reader, mut next) = early.take().unwrap_or_else(|| log.subscribe());
            assert_eq!(take(&mut log, reader, &mut next), some(10));
            assert_eq!(take(&mut log, reader, &mut next), some(1010));
            assert_eq!(log.events.len(), EVENTS);
        }
    }

    #[test]
    fn an_event_is_charged_with_all_that_it_holds() {
        let long = "x".repeat(100_000);
        let participant = Participant::from_info(ParticipantInfo {
            metadata: long.clone(),
            attributes: [(long.clone(), long.clone())].into(),
            ..ParticipantInfo::default()
        });
        assert!(footprint::event(&Event::Joined(participant.clone())) > 300_000);

        let mut log = EventLog::default();
        let (reader, mut next) = log.subscribe();
        for _ in 0..EVENTS / 2 {
            push(&mut log, Event::Updated(participant.clone()));
        }
        assert!(log.bytes <= EVENT_BYTES, "{} bytes", log.bytes);
        let Poll::Ready(Some(Event::Missed { count })) = take(&mut log, reader, &mut next) else {
            panic!("nothing was missed");
        };
        assert_eq!(count as usize + log.events.len(), EVENTS / 2);
    }

    #[test]
    fn the_last_event_ends_the_stream_for_old_and_new_readers() {
        let mut log = EventLog::default();
        let (old, mut old_next) = log.subscribe();
        push(&mut log, Event::Disconnected(Disconnected::Closed));
        push(&mut log, number(1));
        let (new, mut new_next) = log.subscribe();
        for (reader, next) in [(old, &mut old_next), (new, &mut new_next)] {
            assert_eq!(
                take(&mut log, reader, next),
                Poll::Ready(Some(Event::Disconnected(Disconnected::Closed)))
            );
            assert_eq!(take(&mut log, reader, next), Poll::Ready(None));
        }
    }
}
