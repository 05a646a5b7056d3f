//! Handlers: closures that run for each incoming stream of some topics.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use lkstream_engine::{IncomingId, ListenerId, StreamInfo, StreamKind, TopicFilter};
use lkstream_proto::id::{Identity, Topic};
use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};

use crate::shared::Shared;
use crate::streams::Listener;
use crate::{ByteReader, Room, RoomBuilder, TextReader};

/// Handlers of one registration that run at once, by default: as many as remote calls.
const AT_MOST: usize = 256;

/// Which streams a handler gets and how it runs; a topic or a [`TopicFilter`] alone means the defaults.
///
/// ```
/// use lkstream::{HandlerOptions, TopicFilter};
///
/// let options = HandlerOptions::new(TopicFilter::Prefix("jobs.".into())).one_at_a_time();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerOptions {
    topics: TopicFilter,
    order: Order,
    at_most: usize,
}

/// When the handler of a stream may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// After the earlier ones have started.
    Overlapping,
    /// After the earlier one of the same sender and topic has ended.
    OneAtATime,
}

impl HandlerOptions {
    /// Streams of these topics: `"topic"` for one, [`TopicFilter::Prefix`] for many, [`TopicFilter::Any`] for those
    /// that no more specific registration gets.
    pub fn new(topics: impl Into<TopicFilter>) -> Self {
        HandlerOptions {
            topics: topics.into(),
            order: Order::Overlapping,
            at_most: AT_MOST,
        }
    }

    /// A stream waits until the handler of the stream before it, of the same sender (as shown) and topic, has ended.
    /// Other senders and topics do not wait for it.
    ///
    /// Costs what any unread stream costs: more than 4 MiB waiting push back on everything that is sent to us, and
    /// after 5 s the waiting stream fails (`stream_limits`). So this is for short handlers or for small streams.
    #[must_use]
    pub fn one_at_a_time(mut self) -> Self {
        self.order = Order::OneAtATime;
        self
    }

    /// How many handlers of this registration may run at once, at least 1; further streams wait, as in
    /// [`one_at_a_time`](Self::one_at_a_time). Default 256.
    #[must_use]
    pub fn at_most(mut self, count: usize) -> Self {
        self.at_most = count.max(1);
        self
    }
}

impl<T: Into<TopicFilter>> From<T> for HandlerOptions {
    fn from(topics: T) -> Self {
        HandlerOptions::new(topics)
    }
}

/// A registered handler. Dropping this keeps it registered.
#[derive(Debug)]
pub struct Registration {
    shared: Arc<Shared>,
    listener: ListenerId,
}

impl Registration {
    /// Takes no more streams. Handlers that run go on; streams that wait for one are let go of, as if a reader of them
    /// was dropped.
    pub fn unregister(self) {
        let mut state = self.shared.lock();
        state.unlisten(self.listener);
        state.wake_driver();
    }
}

impl Room {
    /// Runs `handler` for each text stream of these topics from now on.
    ///
    /// - **Which**: the most specific registration gets a stream (a topic before a prefix, a longer prefix before a
    ///   shorter one, [`TopicFilter::Any`] last), be it a handler or [`text_streams`](Room::text_streams). Of several
    ///   that are equally specific each gets it, with a reader of its own: its own place, budget and stall limit. A
    ///   stream that nobody registered for is [`Event::UnclaimedStream`](crate::Event::UnclaimedStream).
    /// - **Order**: handlers start (are polled first) in the order in which the streams opened, and then run at the
    ///   same time, each as a task. [`HandlerOptions::one_at_a_time`] has those of one sender and topic wait for each
    ///   other.
    /// - **How many**: 256 at once ([`HandlerOptions::at_most`]). Further streams wait and push back like unread ones.
    /// - **Ends**: a handler runs to its end also when it is unregistered or the room is gone; its reader then fails
    ///   after what has arrived. What has opened before the room was gone is still handled. One that panics drops its
    ///   reader, so that a sender that asked for receipts learns of it; the room and other handlers go on.
    ///
    /// Takes over a registration of [`RoomBuilder::texts`] with the same filter. The handler keeps what it holds: one
    /// that holds a `Room` keeps the membership alive until [`close`](Room::close). To be ready for streams that come
    /// at once, use [`RoomBuilder::on_text`].
    ///
    /// ```no_run
    /// # async fn example(room: lkstream::Room) {
    /// room.on_text("lk.chat", |text| async move {
    ///     let sender = text.info().sender.clone();
    ///     match text.read_all(1 << 20).await {
    ///         Ok(text) => println!("{sender}: {text}"),
    ///         Err(error) => eprintln!("a text from {sender} failed: {error}"),
    ///     }
    /// });
    /// # }
    /// ```
    #[doc(alias = "register_text_stream_handler")]
    pub fn on_text<F, R>(&self, topics: impl Into<HandlerOptions>, handler: F) -> Registration
    where
        F: Fn(TextReader) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (registration, serving) = texts(self.shared(), topics.into(), handler);
        self.shared().runtime.spawn(serving);
        registration
    }

    /// Runs `handler` for each byte stream of these topics from now on; see [`on_text`](Room::on_text).
    ///
    /// ```no_run
    /// # async fn example(room: lkstream::Room) {
    /// room.on_bytes("files", |file| async move {
    ///     match file.write_to_dir("downloads").await {
    ///         Ok(stored) => println!("stored {}", stored.path.display()),
    ///         Err(error) => eprintln!("a file failed: {error}"),
    ///     }
    /// });
    /// # }
    /// ```
    #[doc(alias = "register_byte_stream_handler")]
    pub fn on_bytes<F, R>(&self, topics: impl Into<HandlerOptions>, handler: F) -> Registration
    where
        F: Fn(ByteReader) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (registration, serving) = bytes(self.shared(), topics.into(), handler);
        self.shared().runtime.spawn(serving);
        registration
    }

    /// Unregisters all handlers of text streams with exactly this filter, those of the builder too; says whether there
    /// was one. See [`Registration::unregister`].
    #[doc(alias = "unregister_text_stream_handler")]
    pub fn off_text(&self, topics: impl Into<TopicFilter>) -> bool {
        self.off(StreamKind::Text, &topics.into())
    }

    /// Unregisters all handlers of byte streams with exactly this filter; see [`off_text`](Room::off_text).
    #[doc(alias = "unregister_byte_stream_handler")]
    pub fn off_bytes(&self, topics: impl Into<TopicFilter>) -> bool {
        self.off(StreamKind::Bytes, &topics.into())
    }

    fn off(&self, kind: StreamKind, topics: &TopicFilter) -> bool {
        let mut state = self.shared().lock();
        let listeners: Vec<ListenerId> = state
            .handled
            .iter()
            .filter(|(_, each, filter)| *each == kind && filter == topics)
            .map(|(listener, _, _)| *listener)
            .collect();
        for listener in &listeners {
            state.unlisten(*listener);
        }
        state.wake_driver();
        !listeners.is_empty()
    }
}

/// Hands out streams to a handler until there are no more.
pub(crate) type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A handler that is registered once there is something to register it with.
pub(crate) type Prepared = Box<dyn FnOnce(&Arc<Shared>) -> Serving + Send + Sync>;

impl RoomBuilder {
    /// Runs `handler` for each text stream of these topics, from the first that arrives; see [`Room::on_text`].
    ///
    /// It starts once the join is complete. [`Room::off_text`] unregisters it.
    #[must_use]
    pub fn on_text<F, R>(mut self, topics: impl Into<HandlerOptions>, handler: F) -> Self
    where
        F: Fn(TextReader) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let options = topics.into();
        self.stream_handlers.push(Box::new(move |shared| {
            Box::pin(texts(shared, options, handler).1)
        }));
        self
    }

    /// Runs `handler` for each byte stream of these topics, from the first that arrives; see [`Room::on_text`].
    ///
    /// It starts once the join is complete. [`Room::off_bytes`] unregisters it.
    #[must_use]
    pub fn on_bytes<F, R>(mut self, topics: impl Into<HandlerOptions>, handler: F) -> Self
    where
        F: Fn(ByteReader) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let options = topics.into();
        self.stream_handlers.push(Box::new(move |shared| {
            Box::pin(bytes(shared, options, handler).1)
        }));
        self
    }
}

fn texts<F, R>(
    shared: &Arc<Shared>,
    options: HandlerOptions,
    handler: F,
) -> (Registration, impl Future<Output = ()> + Send + use<F, R>)
where
    F: Fn(TextReader) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    register(
        shared,
        StreamKind::Text,
        options,
        move |shared, id, info| handler(TextReader::new(shared, id, info)),
    )
}

fn bytes<F, R>(
    shared: &Arc<Shared>,
    options: HandlerOptions,
    handler: F,
) -> (Registration, impl Future<Output = ()> + Send + use<F, R>)
where
    F: Fn(ByteReader) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    register(
        shared,
        StreamKind::Bytes,
        options,
        move |shared, id, info| handler(ByteReader::new(shared, id, info)),
    )
}

/// Registers now; the streams are handed out once the future is polled.
fn register<F, R>(
    shared: &Arc<Shared>,
    kind: StreamKind,
    options: HandlerOptions,
    handler: F,
) -> (Registration, impl Future<Output = ()> + Send + use<F, R>)
where
    F: Fn(Arc<Shared>, IncomingId, Arc<StreamInfo>) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = Listener::new(shared.clone(), kind, options.topics.clone());
    shared
        .lock()
        .handled
        .push((listener.id(), kind, options.topics.clone()));
    let registration = Registration {
        shared: shared.clone(),
        listener: listener.id(),
    };
    (registration, serve(listener, options, handler))
}

async fn serve<F, R>(mut listener: Listener, options: HandlerOptions, handler: F)
where
    F: Fn(Arc<Shared>, IncomingId, Arc<StreamInfo>) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let handler = Arc::new(handler);
    let mut running = Running::default();
    // There is nothing to hand out before a handler has ended.
    let mut is_blocked = false;
    loop {
        let has_room = !is_blocked && running.tasks.len() < options.at_most;
        let may_start = |info: &StreamInfo| {
            options.order == Order::Overlapping || !running.sequences.contains(&sequence(info))
        };
        tokio::select! {
            biased;
            Some(ended) = running.tasks.join_next_with_id() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(error) => {
                        tracing::error!(topics = ?options.topics, "a stream's handler panicked");
                        error.id()
                    }
                };
                running.forget(id);
                is_blocked = false;
            }
            stream = listener.next(may_start), if has_room => match stream {
                Some((id, info)) => {
                    let sequence = (options.order == Order::OneAtATime).then(|| sequence(&info));
                    let handler = handler.clone();
                    let shared = listener.shared().clone();
                    running.start(sequence, move || handler(shared, id, info)).await;
                }
                // Unregistered, or the room is gone: then what waits for its turn still gets it.
                None if running.tasks.is_empty() => return,
                None => is_blocked = true,
            },
        }
    }
}

/// What of a sender is handled one after the other.
type Sequence = (Identity, Topic);

fn sequence(info: &StreamInfo) -> Sequence {
    (info.sender.clone(), info.topic.clone())
}

/// The handlers of one registration that run.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    sequences: HashSet<Sequence>,
    by_task: HashMap<Id, Sequence>,
}

impl Running {
    /// Starts a handler as a task and waits until it was polled for the first time, so that the next one starts later.
    async fn start<R>(
        &mut self,
        sequence: Option<Sequence>,
        handler: impl FnOnce() -> R + Send + 'static,
    ) where
        R: Future<Output = ()> + Send + 'static,
    {
        // Dropped when the handler has started, also by a panic in it.
        let (starting, started) = oneshot::channel::<()>();
        let task = self.tasks.spawn(async move {
            let mut handling = pin!(handler());
            let first = std::future::poll_fn(|cx| Poll::Ready(handling.as_mut().poll(cx))).await;
            drop(starting);
            if first.is_pending() {
                handling.await;
            }
        });
        if let Some(sequence) = sequence {
            self.sequences.insert(sequence.clone());
            self.by_task.insert(task.id(), sequence);
        }
        let _ = started.await;
    }

    fn forget(&mut self, id: Id) {
        if let Some(sequence) = self.by_task.remove(&id) {
            self.sequences.remove(&sequence);
        }
    }
}
