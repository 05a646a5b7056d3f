//! Incoming streams by topic.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use lkstream_engine::{IncomingId, ListenerId, StreamInfo, StreamKind, TopicFilter};

use crate::reader::{ByteReader, TextReader};
use crate::shared::{Shared, State};

/// Streams that a listener got and nobody took yet. The engine bounds their number: `max_waiting`, `max_incoming`.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) streams: VecDeque<(IncomingId, Arc<StreamInfo>)>,
    pub(crate) waker: Option<Waker>,
}

/// A listener registered before the room was connected, until somebody asks for its streams.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) kind: StreamKind,
    pub(crate) filter: TopicFilter,
    pub(crate) listener: ListenerId,
}

/// A registration with the engine; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Listener {
    shared: Arc<Shared>,
    id: ListenerId,
}

impl Listener {
    /// Takes over the prepared listener with the same filter, or registers a new one.
    pub(crate) fn new(shared: Arc<Shared>, kind: StreamKind, filter: TopicFilter) -> Self {
        let mut state = shared.lock();
        let prepared = state
            .prepared
            .iter()
            .position(|each| each.kind == kind && each.filter == filter);
        let id = match prepared {
            Some(at) => state.prepared.swap_remove(at).listener,
            None => state.listen(kind, filter),
        };
        drop(state);
        Listener { shared, id }
    }

    pub(crate) fn id(&self) -> ListenerId {
        self.id
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The first stream that fits; the others stay. `None` once the room is gone or the registration has ended.
    pub(crate) async fn next(
        &mut self,
        fits: impl Fn(&StreamInfo) -> bool,
    ) -> Option<(IncomingId, Arc<StreamInfo>)> {
        std::future::poll_fn(|cx| self.poll_first(cx, &fits)).await
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<(IncomingId, Arc<StreamInfo>)>> {
        self.poll_first(cx, |_| true)
    }

    /// The first stream that fits, however many wait before it.
    fn poll_first(
        &self,
        cx: &mut Context<'_>,
        fits: impl Fn(&StreamInfo) -> bool,
    ) -> Poll<Option<(IncomingId, Arc<StreamInfo>)>> {
        let waker = cx.waker().clone();
        let mut state = self.shared.lock();
        let state = &mut *state;
        let is_ended = state.ended.is_some();
        let Some(queue) = state.listeners.get_mut(&self.id) else {
            return Poll::Ready(None);
        };
        let at = queue.streams.iter().position(|(_, info)| fits(info));
        match at.and_then(|at| queue.streams.remove(at)) {
            Some(stream) => Poll::Ready(Some(stream)),
            None if is_ended => Poll::Ready(None),
            None => {
                state.deferred.forget(queue.waker.replace(waker));
                Poll::Pending
            }
        }
    }
}

impl ByteStreams {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.listener.shared
    }

    /// The first stream that fits; the others stay. `None` once the room is gone.
    pub(crate) async fn take(&mut self, fits: &impl Fn(&StreamInfo) -> bool) -> Option<ByteReader> {
        let (id, info) = self.listener.next(fits).await?;
        Some(ByteReader::new(self.listener.shared.clone(), id, info))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.unlisten(self.id);
        state.wake_driver();
    }
}

impl State {
    /// Registers a listener with an empty queue.
    pub(crate) fn listen(&mut self, kind: StreamKind, filter: TopicFilter) -> ListenerId {
        let id = self.engine.listen(kind, filter);
        self.listeners.insert(id, Queue::default());
        id
    }

    /// Lets go of a stream, if nobody took it from its registration yet; says whether that is so.
    pub(crate) fn take_back(&mut self, id: IncomingId) -> bool {
        let taken_back = self.listeners.values_mut().any(|queue| {
            let at = queue.streams.iter().position(|(each, _)| *each == id);
            at.and_then(|at| queue.streams.remove(at)).is_some()
        });
        if taken_back {
            self.release_incoming(id);
        }
        taken_back
    }

    /// Ends a registration, and lets go of the streams that wait for it.
    pub(crate) fn unlisten(&mut self, id: ListenerId) {
        self.engine.unlisten(id);
        self.handled.retain(|(each, _, _)| *each != id);
        if let Some(queue) = self.listeners.remove(&id) {
            for (id, _) in queue.streams {
                self.release_incoming(id);
            }
            self.deferred.wake(queue.waker);
        }
    }
}

macro_rules! streams {
    ($(#[$doc:meta])* $streams:ident, $reader:ident, $kind:expr) => {
        $(#[$doc])*
        ///
        /// Of several registrations that fit, the most specific gets the stream; of several as specific, handlers
        /// among them, each gets it with a reader of its own. Streams that nobody takes count against the limits
        /// on unread bytes. Dropping it ends the registration; readers that were taken go on. It ends when the room
        /// is gone.
        #[derive(Debug)]
        pub struct $streams {
            listener: Listener,
        }

        impl $streams {
            pub(crate) fn new(shared: Arc<Shared>, filter: TopicFilter) -> Self {
                $streams { listener: Listener::new(shared, $kind, filter) }
            }

            /// The next stream; `None` once the room is gone.
            ///
            /// # Cancel safety
            /// Nothing is lost when the future is dropped.
            pub async fn next(&mut self) -> Option<$reader> {
                std::future::poll_fn(|cx| self.poll(cx)).await
            }

            fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<$reader>> {
                let stream = std::task::ready!(self.listener.poll(cx));
                Poll::Ready(stream.map(|(id, info)| $reader::new(self.listener.shared.clone(), id, info)))
            }
        }

        impl Stream for $streams {
            type Item = $reader;

            fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<$reader>> {
                self.poll(cx)
            }
        }
    };
}

streams! {
    /// Incoming text streams of some topics, each as a [`TextReader`].
    TextStreams, TextReader, StreamKind::Text
}
streams! {
    /// Incoming byte streams of some topics, each as a [`ByteReader`].
    ByteStreams, ByteReader, StreamKind::Bytes
}
