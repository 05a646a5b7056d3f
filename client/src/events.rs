//! What happens in a room, as a bounded stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use lkstream_engine::{StreamInfo, UserMessage};
use lkstream_proto::id::Identity;
use lkstream_proto::packet::{ChatMessage, SipDtmf, Transcription};

use crate::shared::Shared;
use crate::{Disconnected, Participant, Receipt};

/// How many events are kept for a handle that does not read them, and how many bytes of packets.
const KEPT: usize = 4096;
const KEPT_BYTES: usize = 16 * 1024 * 1024;

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
    /// A stream came in that nobody registered for; nothing of it is kept.
    UnclaimedStream(StreamInfo),
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

/// The events of a room from the moment [`Room::events`](crate::Room::events) was called.
///
/// At most 4096 unread events with 16 MiB of packets are kept, then the oldest go and [`Event::Missed`] says how many;
/// what must not be missed belongs into a stream. The stream ends
/// after [`Event::Disconnected`]. Dropping it has no effect on the room.
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
        self.shared
            .lock()
            .events
            .poll(self.reader, &mut self.next, cx)
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
        self.shared.lock().events.unsubscribe(self.reader);
    }
}

/// The last events, with the number of the oldest, and who waits for the next.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    first: u64,
    events: VecDeque<Event>,
    /// What the packets among them take.
    bytes: usize,
    readers: Vec<(u64, Option<Waker>)>,
    next_reader: u64,
    is_ended: bool,
}

impl EventLog {
    fn subscribe(&mut self) -> (u64, u64) {
        self.next_reader += 1;
        self.readers.push((self.next_reader, None));
        let end = self.first + self.events.len() as u64;
        // Whoever subscribes to a room that is gone still learns that.
        let next = if self.is_ended {
            end.saturating_sub(1)
        } else {
            end
        };
        (self.next_reader, next)
    }

    fn unsubscribe(&mut self, reader: u64) {
        self.readers.retain(|(id, _)| *id != reader);
    }

    /// Appends an event and wakes all readers.
    pub(crate) fn push(&mut self, event: Event) {
        if self.is_ended {
            return;
        }
        self.is_ended = matches!(event, Event::Disconnected(_));
        self.bytes += payload(&event);
        while self.events.len() == KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= payload(&oldest);
            self.first += 1;
        }
        self.events.push_back(event);
        for (_, waker) in &mut self.readers {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }

    fn poll(&mut self, reader: u64, next: &mut u64, cx: &mut Context<'_>) -> Poll<Option<Event>> {
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
        if let Some((_, waker)) = self.readers.iter_mut().find(|(id, _)| *id == reader) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Bytes of the packet in an event: of other events the number is bound enough.
fn payload(event: &Event) -> usize {
    match event {
        Event::Data(message) => message.payload.len(),
        Event::Chat { message, .. } => message.message.len(),
        Event::Transcription { transcription, .. } => transcription
            .segments
            .iter()
            .map(|segment| segment.text.len())
            .sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn take(log: &mut EventLog, reader: u64, next: &mut u64) -> Poll<Option<Event>> {
        log.poll(reader, next, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_slow_reader_misses_the_oldest_and_learns_how_many() {
        let mut log = EventLog::default();
        log.push(Event::Missed { count: 99 });
        let (reader, mut next) = log.subscribe();
        assert_eq!(take(&mut log, reader, &mut next), Poll::Pending);
        for count in 0..KEPT as u64 + 10 {
            log.push(Event::Missed {
                count: 1000 + count,
            });
        }
        assert_eq!(
            take(&mut log, reader, &mut next),
            Poll::Ready(Some(Event::Missed { count: 10 }))
        );
        assert_eq!(
            take(&mut log, reader, &mut next),
            Poll::Ready(Some(Event::Missed { count: 1010 }))
        );
        assert_eq!(log.events.len(), KEPT);
    }

    #[test]
    fn the_last_event_ends_the_stream_for_old_and_new_readers() {
        let mut log = EventLog::default();
        let (old, mut old_next) = log.subscribe();
        log.push(Event::Disconnected(Disconnected::Closed));
        log.push(Event::Missed { count: 1 });
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
