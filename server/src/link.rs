//! One signal link: the task that owns a WebSocket. It decodes what comes and hands it to the worker, and writes what the
//! worker says. It knows nothing of rooms.
//!
//! While something is being written nothing is read, and one request is handed over at a time, so a client that does not
//! read its answers, or asks faster than it may, is slowed down by TCP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use lkstream_proto::id::{Identity, RoomName};
use lkstream_proto::limits;
use lkstream_proto::signal::SignalRequest;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use crate::http::Front;
use crate::worker::{Command, LinkId};

/// Bytes that are moved to a link before it has written them. More waits in the room, where the newest state of a
/// participant takes the place of older ones.
const QUEUE_BYTES: u64 = 64 << 10;

/// What a queued message costs beyond its bytes, so that many tiny ones are bounded too.
const MESSAGE_COST: u64 = 64;

/// Bytes of a link's read buffer; the library's default of 128 KiB would be most of an idle participant.
pub(crate) const READ_BUFFER: usize = 4096;

/// Bytes that are collected before they are written.
pub(crate) const WRITE_BUFFER: usize = 4096;

/// Bytes that the library may hold unwritten: the largest message and some pongs.
pub(crate) const WRITE_BUFFER_LIMIT: usize = limits::SIGNAL_BYTES + (64 << 10);

/// Messages in a row that are no signalling before the link is closed.
const BAD_FRAMES: u32 = 16;

/// Longest wait for the client's side of closing, so that our last message is not lost to a reset.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Silence after which a link is dead: two ping timeouts (protocol.md §2.11).
const SILENCE: Duration = Duration::from_secs(2 * limits::PING_TIMEOUT.as_secs());

/// How far a client may be ahead of [`SignalLimits::request_rate`] and [`SignalLimits::byte_rate`].
const BURST: Duration = Duration::from_secs(3);

/// Bounds of each signal link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignalLimits {
    /// Bytes of one message of a client; more closes the link. Default 640 KiB: metadata and attributes of the largest
    /// size (protocol.md §2.16) and some more.
    pub request: usize,
    /// Messages and pings of a client a second, with a burst of 3 s; what is more is read later. Default 100.
    pub request_rate: u32,
    /// Bytes of them a second, with a burst of 3 s; what is more is read later. Default 1 MiB.
    pub byte_rate: u32,
    /// Longest time for a client to take what is written to it; then the link is closed and may be resumed. Default 10 s.
    pub write_timeout: Duration,
}

impl Default for SignalLimits {
    fn default() -> SignalLimits {
        SignalLimits {
            request: 640 << 10,
            request_rate: 100,
            byte_rate: 1 << 20,
            write_timeout: Duration::from_secs(10),
        }
    }
}

/// Whose link it is, for the log.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) room: RoomName,
    pub(crate) identity: Identity,
}

/// A queue of messages to one link: the worker's end and the link's.
pub(crate) fn queue() -> (Queue, Messages) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let written = Arc::new(Written::default());
    let queue = Queue {
        sender,
        pushed: 0,
        written: Arc::clone(&written),
    };
    (queue, Messages { receiver, written })
}

/// What the system has taken of a link's messages.
#[derive(Debug, Default)]
struct Written {
    messages: AtomicU64,
    cost: AtomicU64,
}

/// The worker's end of a queue. What waits in it is bounded in bytes as long as messages are only pushed while it
/// [has room](Queue::has_room).
#[derive(Debug)]
pub(crate) struct Queue {
    sender: mpsc::UnboundedSender<Bytes>,
    /// Cost of all messages so far.
    pushed: u64,
    written: Arc<Written>,
}

/// The link is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl Queue {
    /// Whether less than [`QUEUE_BYTES`] wait.
    pub(crate) fn has_room(&self) -> bool {
        self.pushed - self.written.cost.load(Ordering::Acquire) < QUEUE_BYTES
    }

    pub(crate) fn push(&mut self, message: Bytes) -> Result<(), Closed> {
        self.pushed += cost(&message);
        self.sender.send(message).map_err(|_| Closed)
    }

    /// Messages that the system has taken.
    pub(crate) fn messages_written(&self) -> u64 {
        self.written.messages.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// The link's end of a queue.
#[derive(Debug)]
pub(crate) struct Messages {
    receiver: mpsc::UnboundedReceiver<Bytes>,
    written: Arc<Written>,
}

impl Messages {
    #[cfg(test)]
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let message = self.receiver.recv().await?;
        self.wrote(cost(&message));
        Some(message)
    }

    /// A message was written.
    fn wrote(&self, cost: u64) {
        self.written.messages.fetch_add(1, Ordering::Release);
        self.written.cost.fetch_add(cost, Ordering::Release);
    }
}

fn cost(message: &Bytes) -> u64 {
    message.len() as u64 + MESSAGE_COST
}

/// When a client may ask for more: a virtual clock that each request puts forward by what it costs.
#[derive(Debug)]
struct Allowance {
    spent_until: Instant,
}

impl Allowance {
    /// Charges a message. Gives how long nothing more shall be read.
    fn charge(&mut self, now: Instant, bytes: usize, limits: &SignalLimits) -> Duration {
        let per_request = Duration::from_secs(1) / limits.request_rate.max(1);
        let per_byte = Duration::from_secs_f64(bytes as f64 / f64::from(limits.byte_rate.max(1)));
        self.spent_until = self.spent_until.max(now) + per_request + per_byte;
        self.spent_until
            .saturating_duration_since(now)
            .saturating_sub(BURST)
    }
}

/// Runs a link until either side ends it, then tells the worker.
pub(crate) async fn run(socket: WebSocket, id: LinkId, who: Who, messages: Messages, front: Front) {
    if let Some(why) = exchange(socket, id, &who, messages, &front).await {
        front.journal.say("closed links", |more| {
            tracing::info!(room = ?who.room.as_str(), identity = ?who.identity.as_str(), more, "a signal link was closed: {why}");
        });
    }
    // The worker finds out on its own, too, when it is gone or this task is dropped.
    let _ = front.commands.send(Command::LinkLost(id)).await;
}

/// Gives why the link was closed, if the client is to blame.
async fn exchange(
    socket: WebSocket,
    id: LinkId,
    who: &Who,
    mut messages: Messages,
    front: &Front,
) -> Option<&'static str> {
    const UNREAD: &str = "its client did not read what was written to it";
    let (mut sink, mut stream) = socket.split();
    let limits = &*front.signal;
    let period = limits::WEBSOCKET_PING_INTERVAL;
    let mut pings = interval_at(Instant::now() + period, period);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut bad = 0;
    let mut allowance = Allowance { spent_until: heard };
    let mut read_again = heard;
    let turns = Arc::new(Semaphore::new(1));
    loop {
        let frame = async {
            sleep_until(read_again).await;
            let turn = Arc::clone(&turns).acquire_owned().await.ok()?;
            Some((stream.next().await?, turn))
        };
        let write = tokio::select! {
            message = messages.receiver.recv() => match message {
                Some(mut message) => timeout(limits.write_timeout, async {
                    loop {
                        let cost = cost(&message);
                        sink.send(Message::Binary(message)).await?;
                        messages.wrote(cost);
                        match messages.receiver.try_recv() {
                            Ok(next) => message = next,
                            Err(_) => return Ok(()),
                        }
                    }
                })
                .await,
                None => break,
            },
            _ = pings.tick() => timeout(limits.write_timeout, sink.send(Message::Ping(Bytes::new()))).await,
            () = sleep_until(heard + SILENCE) => return Some("its client was silent"),
            frame = frame => {
                let (frame, turn) = frame?;
                heard = Instant::now();
                let bytes = match &frame {
                    Ok(Message::Binary(bytes)) => bytes.len(),
                    _ => 0,
                };
                let wait = allowance.charge(heard, bytes, limits);
                if !wait.is_zero() {
                    read_again = heard + wait;
                    front.shared.count_flood();
                    front.journal.say("floods", |more| {
                        tracing::info!(room = ?who.room.as_str(), identity = ?who.identity.as_str(), ?wait, more, "a client asks for too much; it is read later");
                    });
                }
                let request = match frame {
                    Ok(Message::Binary(bytes)) => SignalRequest::from_bytes(bytes).ok(),
                    // Signalling in JSON is optional and no official client uses it by default (protocol.md §2.5).
                    Ok(Message::Text(_)) => None,
                    // The library has queued a pong; until it is written nothing more is read.
                    Ok(Message::Ping(_)) => {
                        match timeout(limits.write_timeout, sink.flush()).await {
                            Ok(Ok(())) => continue,
                            Ok(Err(_)) => return None,
                            Err(_) => return Some(UNREAD),
                        }
                    }
                    Ok(Message::Pong(_)) => continue,
                    Ok(Message::Close(_)) => {
                        // Answers it, or browsers call the end unclean.
                        let _ = timeout(CLOSE_TIMEOUT, sink.close()).await;
                        return None;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a signal link broke");
                        return None;
                    }
                };
                match request {
                    Some(request) => {
                        bad = 0;
                        if let Some(request) = request.message {
                            let command = Command::Request { link: id, request: Box::new(request), turn };
                            if front.commands.send(command).await.is_err() {
                                return None;
                            }
                        }
                    }
                    None => {
                        front.shared.count_bad_frame();
                        bad += 1;
                        if bad >= BAD_FRAMES {
                            return Some("its client sent no signalling");
                        }
                    }
                }
                continue;
            }
        };
        match write {
            Ok(Ok(())) if front.commands.send(Command::Written(id)).await.is_ok() => {}
            Ok(Ok(())) => return None,
            Ok(Err(_)) => return None,
            Err(_) => {
                front.shared.count_slow_link();
                return Some(UNREAD);
            }
        }
    }
    // The worker has said all it had to say.
    let farewell = async {
        if sink.send(Message::Close(None)).await.is_ok() {
            while let Some(Ok(_)) = stream.next().await {}
        }
    };
    let _ = timeout(CLOSE_TIMEOUT, farewell).await;
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_room_again_when_messages_were_written() {
        let (mut queue, messages) = queue();
        let large = Bytes::from(vec![0; 2 * QUEUE_BYTES as usize]);
        assert_eq!(queue.push(large.clone()), Ok(()));
        assert!(!queue.has_room());
        messages.wrote(cost(&large));
        assert_eq!(queue.messages_written(), 1);
        let tiny = (0..)
            .take_while(|_| queue.has_room() && queue.push(Bytes::new()).is_ok())
            .count();
        assert_eq!(tiny as u64, QUEUE_BYTES / MESSAGE_COST);
        drop(messages);
        assert!(queue.is_closed());
        assert_eq!(queue.push(Bytes::new()), Err(Closed));
    }

    #[test]
    fn a_client_that_asks_too_much_is_read_later() {
        let limits = SignalLimits::default();
        let now = Instant::now();
        let mut allowance = Allowance { spent_until: now };
        let rate = limits.request_rate;
        for _ in 0..rate * BURST.as_secs() as u32 {
            assert_eq!(allowance.charge(now, 0, &limits), Duration::ZERO);
        }
        let wait = allowance.charge(now, limits.byte_rate as usize, &limits);
        assert_eq!(wait, Duration::from_secs(1) + Duration::from_secs(1) / rate);
        let later = now + wait + BURST + Duration::from_secs(60);
        assert_eq!(allowance.charge(later, 0, &limits), Duration::ZERO);
    }
}
