//! One signal link: the task that owns a WebSocket. It decodes what comes and hands it to the worker, and writes what the
//! worker says. It knows nothing of rooms.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use lkstream_proto::limits;
use lkstream_proto::signal::SignalRequest;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use crate::http::Front;
use crate::worker::{Command, LinkId};

/// Messages that may wait for a client that does not read; above it the link is closed and may be resumed.
pub(crate) const QUEUE: usize = 2048;

/// Bytes of a link's read buffer; the library's default of 128 KiB would be most of an idle participant.
pub(crate) const READ_BUFFER: usize = 4096;

/// Messages in a row that are no signalling before the link is closed.
const BAD_FRAMES: u32 = 16;

/// Longest wait for one message to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the client's side of closing, so that our last message is not lost to a reset.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Silence after which a link is dead: two ping timeouts (protocol.md §2.11).
const SILENCE: Duration = Duration::from_secs(2 * limits::PING_TIMEOUT.as_secs());

/// Runs a link until either side ends it, then tells the worker.
pub(crate) async fn run(
    socket: WebSocket,
    id: LinkId,
    messages: mpsc::Receiver<Bytes>,
    front: Front,
) {
    exchange(socket, id, messages, &front).await;
    // The worker finds out on its own, too, when it is gone or this task is dropped.
    let _ = front.commands.send(Command::LinkLost(id)).await;
}

async fn exchange(
    socket: WebSocket,
    id: LinkId,
    mut messages: mpsc::Receiver<Bytes>,
    front: &Front,
) {
    let (mut sink, mut stream) = socket.split();
    let period = limits::WEBSOCKET_PING_INTERVAL;
    let mut pings = interval_at(Instant::now() + period, period);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut bad = 0;
    loop {
        let write = tokio::select! {
            message = messages.recv() => match message {
                Some(message) => {
                    timeout(WRITE_TIMEOUT, async {
                        sink.feed(Message::Binary(message)).await?;
                        while let Ok(message) = messages.try_recv() {
                            sink.feed(Message::Binary(message)).await?;
                        }
                        sink.flush().await
                    })
                    .await
                }
                None => break,
            },
            _ = pings.tick() => timeout(WRITE_TIMEOUT, sink.send(Message::Ping(Bytes::new()))).await,
            () = sleep_until(heard + SILENCE) => return,
            frame = stream.next() => {
                heard = Instant::now();
                let request = match frame {
                    Some(Ok(Message::Binary(bytes))) => SignalRequest::from_bytes(bytes).ok(),
                    // Signalling in JSON is optional and no official client uses it by default (protocol.md §2.5).
                    Some(Ok(Message::Text(_))) => None,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_))) => {
                        // Answers it, or browsers call the end unclean.
                        let _ = timeout(CLOSE_TIMEOUT, sink.close()).await;
                        return;
                    }
                    Some(Err(_)) | None => return,
                };
                match request {
                    Some(request) => {
                        bad = 0;
                        if let Some(request) = request.message {
                            let command = Command::Request { link: id, request: Box::new(request) };
                            if front.commands.send(command).await.is_err() {
                                return;
                            }
                        }
                    }
                    None => {
                        front.shared.count_bad_frame();
                        bad += 1;
                        if bad >= BAD_FRAMES {
                            return;
                        }
                    }
                }
                continue;
            }
        };
        if !matches!(write, Ok(Ok(()))) {
            return;
        }
    }
    // The worker has said all it had to say.
    let farewell = async {
        if sink.send(Message::Close(None)).await.is_ok() {
            while let Some(Ok(_)) = stream.next().await {}
        }
    };
    let _ = timeout(CLOSE_TIMEOUT, farewell).await;
}
