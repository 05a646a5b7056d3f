//! The TCP side of the HTTP port: who may connect, how long a request may take, and how much it may hold.
//!
//! Nobody needs a token to connect, so everything here is bounded before a byte is looked at. hyper speaks HTTP on each
//! connection; the loop that accepts them is ours.

mod pending;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use crate::http::{self, Front};
use pending::{Eviction, Pending, Place};

/// hyper refuses smaller buffers.
const SMALLEST_HEAD: usize = 8 << 10;

/// Most bytes of one read of a request. hyper reserves twice as much for the next read whenever one fills what it has
/// reserved, 8 KiB at first, and only what was read is counted.
const READ: usize = 4 << 10;

/// How long accepting rests after the system refused a connection and none could be closed for it.
const REST: Duration = Duration::from_millis(100);

/// Bounds of the HTTP port, most of them for connections that have not joined: they need no token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpLimits {
    /// Most TCP connections at once, signal links of participants included. At the limit the connection without a
    /// complete request that has waited longest is closed; while there is none, accepting waits. Default 16 384.
    pub connections: usize,
    /// Most connections at once that have not become a signal link. At the limit the one that has waited longest for its
    /// request is closed. Default 1024.
    pub pending: usize,
    /// The same for one address (IPv6: one /64 network). Behind a reverse proxy all clients have one address. Default
    /// 256.
    pub pending_per_address: usize,
    /// Bytes of a request line and its headers; more gets 431. At least 8 KiB. Default 256 KiB.
    pub head: usize,
    /// Bytes of all unfinished requests together; the largest is closed for what is more. Default 8 MiB.
    pub heads: usize,
    /// Longest time from the first byte of a request to its last one. Default 10 s.
    pub head_timeout: Duration,
    /// Longest time without a request. Default 30 s.
    pub idle_timeout: Duration,
    /// Most joins that are decoded at once; others wait. Default 8.
    pub joins: usize,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            connections: 16_384,
            pending: 1024,
            pending_per_address: 256,
            head: 256 << 10,
            heads: 8 << 20,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            joins: 8,
        }
    }
}

/// What the loop and all connections share.
struct Port {
    limits: HttpLimits,
    front: Front,
    pending: Arc<Pending>,
    connections: Arc<Semaphore>,
}

impl Port {
    fn note(&self, eviction: Eviction) {
        self.front.shared.count_evicted();
        let why = match eviction {
            Eviction::Address => "its address has too many connections without a request",
            Eviction::Total => "there are too many connections without a request",
            Eviction::Memory => "the unfinished requests are too large together",
        };
        self.front
            .journal
            .say("connections without a request", |more| {
                tracing::info!(more, "a connection was closed: {why}");
            });
    }

    /// Out of file descriptors or memory: somebody has to give way, or nobody can join any more.
    fn not_accepted(&self, error: &io::Error) {
        let evicted = self.pending.evict_oldest();
        self.front.shared.count_accept_error();
        self.front.journal.say("accept errors", |more| {
            tracing::warn!(%error, more, evicted, "a connection was not accepted");
        });
    }

    /// A part of [`HttpLimits::connections`]; at the limit somebody gives way or it waits for one to end.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let connections = Arc::clone(&self.connections);
        if let Ok(permit) = Arc::clone(&connections).try_acquire_owned() {
            return Some(permit);
        }
        if self.pending.evict_oldest() {
            self.note(Eviction::Total);
        } else {
            self.front.journal.say("all connections", |more| {
                let limit = self.limits.connections;
                tracing::warn!(
                    more,
                    limit,
                    "accepting waits until one of the connections ends"
                );
            });
        }
        connections.acquire_owned().await.ok()
    }
}

/// Accepts connections until `closing` ends, then lets those finish whose request is being served.
pub(crate) async fn run(
    listener: TcpListener,
    limits: HttpLimits,
    front: Front,
    mut closing: oneshot::Receiver<()>,
) {
    let port = Arc::new(Port {
        pending: Pending::new(limits.clone()),
        connections: Arc::new(Semaphore::new(
            limits.connections.clamp(1, Semaphore::MAX_PERMITS),
        )),
        limits,
        front,
    });
    let (open, is_open) = watch::channel(());
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = &mut closing => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_of_one_connection(&error) {
                    port.not_accepted(&error);
                    tokio::select! {
                        _ = &mut closing => break,
                        () = tokio::time::sleep(REST) => {}
                    }
                }
                continue;
            }
        };
        let permit = tokio::select! {
            _ = &mut closing => break,
            permit = port.permit() => permit,
        };
        let (place, eviction) = port.pending.enter(Instant::now(), address.ip().into());
        if let Some(eviction) = eviction {
            port.note(eviction);
        }
        // Without a place all others are being served, which takes no longer than the worker needs for a join.
        if let (Some(place), Some(permit)) = (place, permit) {
            tasks.spawn(serve(
                Arc::clone(&port),
                stream,
                permit,
                place,
                is_open.clone(),
            ));
        }
    }
    drop((listener, open));
    while tasks.join_next().await.is_some() {}
}

/// Whether an error of accepting says something about the connection only, not about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

/// One connection, until it ends, becomes a signal link, or has to give way.
async fn serve(
    port: Arc<Port>,
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    place: Place,
    mut open: watch::Receiver<()>,
) {
    // Signalling is small messages that somebody waits for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let place = Arc::new(place);
    let metered = Metered {
        stream,
        place: Arc::downgrade(&place),
        has_read: false,
        port: Arc::clone(&port),
        _permit: permit,
    };
    let service = service_fn(|request| {
        place.served();
        let (front, place) = (port.front.clone(), Arc::clone(&place));
        async move {
            let response = http::respond(&front, request_of(request)).await;
            place.answered(Instant::now());
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(port.limits.head.max(SMALLEST_HEAD))
        // The deadlines are ours, since they depend on what else is waiting.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(metered), service)
        .with_upgrades();
    tokio::pin!(connection);
    let mut is_open = true;
    loop {
        let deadline = place.deadline();
        let overdue = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                // Whoever is being served is looked at again when it was.
                None => tokio::time::sleep(port.limits.head_timeout.max(REST)).await,
            }
        };
        tokio::select! {
            // Errors are those of the network, and of requests that are no HTTP.
            _ = &mut connection => return,
            () = place.evicted() => return,
            () = overdue => {
                if place.deadline().is_some_and(|at| at <= Instant::now()) {
                    port.front.shared.count_timed_out();
                    return;
                }
            }
            _ = open.changed(), if is_open => {
                is_open = false;
                if !place.is_served() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn request_of(request: hyper::Request<hyper::body::Incoming>) -> axum::extract::Request {
    request.map(Body::new)
}

/// A connection whose bytes are counted while it is one of [`Pending`].
struct Metered {
    stream: TcpStream,
    /// Gone once this is a signal link.
    place: Weak<Place>,
    /// A part of a request was read: the next one waits until other connections had their turn, so that those which were
    /// closed for this part give back what they hold.
    has_read: bool,
    port: Arc<Port>,
    /// Its part of [`HttpLimits::connections`], also as a signal link.
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(place) = self.place.upgrade() else {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        };
        if std::mem::take(&mut self.has_read) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let size = buffer.remaining().min(READ);
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(size));
        let result = Pin::new(&mut self.stream).poll_read(context, &mut part);
        let bytes = part.filled().len();
        buffer.advance(bytes);
        self.has_read = bytes > 0;
        if bytes > 0
            && let Some(eviction) = place.received(Instant::now(), bytes)
        {
            self.port.note(eviction);
        }
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
