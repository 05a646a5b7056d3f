//! Remote calls: making them, serving them, and hooks around both (protocol.md §6).

mod chain;
mod turns;

use std::collections::HashMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use lkstream_engine::{CallId, CallOptions, Invocation, InvocationId, RpcCode, RpcError, limits};
use lkstream_proto::id::Identity;

pub use chain::RpcNext;
pub(crate) use chain::{Handler, boxed};
use chain::{Link, link};
use turns::{Turn, Turns};

use crate::Room;
use crate::shared::{Shared, State};

/// The oldest server that forwards calls (protocol.md §6).
const SERVER_WITH_CALLS: [u32; 3] = [1, 8, 0];

/// A call to be made, as [interceptors](crate::Room::intercept_calls) see and may change it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RpcRequest {
    /// Who is called.
    pub destination: Identity,
    /// What is called.
    pub method: String,
    /// The argument.
    pub payload: String,
    /// How long to wait for the response.
    pub response_timeout: Duration,
}

/// A call that somebody makes to us, as its handler gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RpcInvocation {
    /// Who calls, as the server says.
    pub caller: Identity,
    /// The caller's id of the call.
    pub request_id: String,
    /// What is called.
    pub method: String,
    /// The argument.
    pub payload: String,
    /// How long the caller says there is for an answer: its own time limit less 7 s, at least 1 s (protocol.md §6).
    pub response_timeout: Duration,
}

/// A call that is made when it is awaited; see [`Room::call`](crate::Room::call).
#[must_use = "a call is made when it is awaited"]
#[derive(Debug)]
pub struct RpcCall {
    shared: Arc<Shared>,
    request: RpcRequest,
}

impl RpcCall {
    pub(crate) fn new(
        shared: Arc<Shared>,
        destination: Identity,
        method: String,
        payload: String,
    ) -> Self {
        let options = CallOptions::new(destination, method, payload, SystemTime::UNIX_EPOCH);
        RpcCall {
            shared,
            request: RpcRequest {
                destination: options.destination,
                method: options.method,
                payload: options.payload,
                response_timeout: options.response_timeout,
            },
        }
    }

    /// How long to wait for the response, all in all. Default 15 s (protocol.md §6).
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.request.response_timeout = limit;
        self
    }
}

impl IntoFuture for RpcCall {
    type Output = Result<String, RpcError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let RpcCall { shared, request } = self;
        let links = shared.lock().rpc.outgoing.clone();
        let end = move |request| -> Self::IntoFuture { Box::pin(perform(shared.clone(), request)) };
        RpcNext::new(links, Arc::new(end)).into_run(request)
    }
}

impl Room {
    /// Calls a method of another participant (`performRpc` of the official SDKs): await it, after
    /// [`timeout`](RpcCall::timeout) if 15 s are not right.
    ///
    /// The argument and the result are texts; of a participant whose client has `client_protocol` 0 they have at most
    /// 15 360 bytes, else 16 MiB (`stream_limits`). It goes before all streams. At most 64 calls to one participant are
    /// under way; further ones, up to 1024 in all, wait for their turn, which counts against their time. A participant that is not in the room,
    /// and one whose client knows no calls, give [`RpcCode::ConnectionTimeout`](crate::RpcCode) after 7 s; one that
    /// leaves gives [`RpcCode::RecipientDisconnected`](crate::RpcCode) after 1 s, in which a reply may still come.
    ///
    /// # Cancel safety
    /// Dropping the future forgets the call; the other side is not told, and its handler runs on.
    ///
    /// # Errors
    /// [`RpcError`]: what the handler returned, or a built-in one ([`RpcError::builtin`]).
    #[doc(alias = "perform_rpc")]
    pub fn call(
        &self,
        destination: impl Into<Identity>,
        method: impl Into<String>,
        payload: impl Into<String>,
    ) -> RpcCall {
        RpcCall::new(
            self.shared().clone(),
            destination.into(),
            method.into(),
            payload.into(),
        )
    }

    /// Serves a method to everybody in the room; an earlier handler of the same method is replaced.
    ///
    /// Each call runs as a task of its own, at most 256 at a time and 64 of one caller (`stream_limits`); further ones
    /// are refused. A handler goes on when its caller or the room is gone; its answer is then dropped. Its future is
    /// dropped when nobody can wait for it any more: 7 s after the time that the invocation names. A handler that
    /// panics answers [`RpcCode::ApplicationError`](crate::RpcCode). Errors are cut to 256 bytes of message and 15 360
    /// bytes of data. A handler that holds a `Room` keeps the membership alive.
    ///
    /// Calls of methods that nobody serves are answered with [`RpcCode::UnsupportedMethod`](crate::RpcCode). To
    /// be ready for calls that come at once, use [`RoomBuilder::on_rpc`](crate::RoomBuilder::on_rpc).
    #[doc(alias = "register_rpc_method")]
    pub fn on_rpc<F, R>(&self, method: impl Into<String>, handler: F)
    where
        F: Fn(RpcInvocation) -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, RpcError>> + Send + 'static,
    {
        let (method, handler) = (method.into(), boxed(handler));
        self.shared().lock().on_rpc(method, handler);
    }

    /// Serves a method no more; says whether it was served. Handlers that run go on.
    #[doc(alias = "unregister_rpc_method")]
    pub fn off_rpc(&self, method: &str) -> bool {
        self.shared().lock().off_rpc(method)
    }

    /// Runs `interceptor` around every call made from now on: it may change the request, look at or change the result,
    /// or answer by itself. Earlier ones are outside of later ones. There is no way to remove one.
    pub fn intercept_calls<F, R>(&self, interceptor: F)
    where
        F: Fn(RpcRequest, RpcNext<RpcRequest>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, RpcError>> + Send + 'static,
    {
        let interceptor = link(interceptor);
        let rpc = &mut self.shared().lock().rpc;
        let all = rpc.outgoing.iter().cloned().chain([interceptor]);
        rpc.outgoing = all.collect();
    }

    /// The same around every handler that is started from now on. Calls that reach no handler are not seen.
    pub fn intercept_invocations<F, R>(&self, interceptor: F)
    where
        F: Fn(RpcInvocation, RpcNext<RpcInvocation>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, RpcError>> + Send + 'static,
    {
        let interceptor = link(interceptor);
        let rpc = &mut self.shared().lock().rpc;
        let all = rpc.incoming.iter().cloned().chain([interceptor]);
        rpc.incoming = all.collect();
    }
}

/// Makes the call, once it is its turn, and waits for its end. Dropping the future forgets the call.
async fn perform(shared: Arc<Shared>, mut request: RpcRequest) -> Result<String, RpcError> {
    let deadline = Instant::now().checked_add(request.response_timeout);
    let turn = Turn::wait(&shared, &request.destination, deadline).await?;
    if let Some(deadline) = deadline.filter(|_| turn.has_waited) {
        request.response_timeout = deadline.saturating_duration_since(Instant::now());
    }
    let id = {
        let mut state = shared.lock();
        if state.ended.is_none() {
            if !state.session.can_publish_data() {
                return Err(RpcError::from(RpcCode::SendFailed)
                    .with_data("the token does not permit publishing data"));
            }
            if !forwards_calls(&state.session.server().version) {
                return Err(RpcCode::UnsupportedServer.into());
            }
        }
        let mut options = CallOptions::new(
            request.destination,
            request.method,
            request.payload,
            SystemTime::now(),
        );
        options.response_timeout = request.response_timeout;
        let id = state.engine.call(Instant::now(), options)?;
        state.rpc.calls.insert(id, Waiting::default());
        state.wake_driver();
        id
    };
    let pending = Pending { shared, id };
    std::future::poll_fn(|cx| pending.poll(cx)).await
}

/// A call that was made and has a caller waiting.
struct Pending {
    shared: Arc<Shared>,
    id: CallId,
}

impl Pending {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<String, RpcError>> {
        let waker = cx.waker().clone();
        let mut state = self.shared.lock();
        let state = &mut *state;
        let Some(waiting) = state.rpc.calls.get_mut(&self.id) else {
            return Poll::Ready(Err(RpcCode::RecipientDisconnected.into()));
        };
        match waiting.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                state.deferred.forget(waiting.waker.replace(waker));
                Poll::Pending
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(waiting) = state.rpc.calls.remove(&self.id) {
            state.deferred.forget(waiting.waker);
        }
        state.engine.cancel_call(self.id);
    }
}

/// Where the end of a call is put.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    result: Option<Result<String, RpcError>>,
    waker: Option<Waker>,
}

/// What a room knows about calls. The engine bounds the number of all of them.
#[derive(Default)]
pub(crate) struct Rpc {
    calls: HashMap<CallId, Waiting>,
    turns: Turns,
    handlers: HashMap<String, Handler>,
    /// Interceptors of our calls and of those to us, the outermost first.
    outgoing: Arc<[Link<RpcRequest>]>,
    incoming: Arc<[Link<RpcInvocation>]>,
    /// Invocations whose handlers the driver is to start.
    started: Vec<(Handler, Invocation)>,
}

impl std::fmt::Debug for Rpc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rpc")
            .field("calls", &self.calls.len())
            .field("methods", &self.handlers.keys())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Lets go of handlers and interceptors, outside of the lock: they may hold handles to this very room.
    pub(crate) fn release_handlers(&self) {
        let (handlers, started, interceptors) = {
            let rpc = &mut self.lock().rpc;
            (
                std::mem::take(&mut rpc.handlers),
                std::mem::take(&mut rpc.started),
                (
                    std::mem::take(&mut rpc.outgoing),
                    std::mem::take(&mut rpc.incoming),
                ),
            )
        };
        drop((handlers, started, interceptors));
    }
}

impl State {
    /// Serves a method; an earlier handler of it is replaced.
    pub(crate) fn on_rpc(&mut self, method: String, handler: Handler) {
        self.engine.serve(method.as_str());
        let replaced = self.rpc.handlers.insert(method, handler);
        self.deferred.drop_later(replaced);
    }

    /// Serves a method no more; says whether it was served.
    pub(crate) fn off_rpc(&mut self, method: &str) -> bool {
        self.engine.unserve(method);
        let removed = self.rpc.handlers.remove(method);
        let was_served = removed.is_some();
        self.deferred.drop_later(removed);
        was_served
    }

    /// A call of ours has ended.
    pub(crate) fn call_ended(&mut self, id: CallId, result: Result<String, RpcError>) {
        if let Some(waiting) = self.rpc.calls.get_mut(&id) {
            waiting.result = Some(result);
            self.deferred.wake(waiting.waker.take());
        }
    }

    /// Somebody calls one of our methods.
    pub(crate) fn invoked(&mut self, invocation: Invocation) {
        match self.rpc.handlers.get(&invocation.method) {
            Some(handler) => self.rpc.started.push((handler.clone(), invocation)),
            // It was unregistered while the request was read.
            None => self.answer(invocation.id, Err(RpcCode::UnsupportedMethod.into())),
        }
    }

    /// What is to be [run](run) outside of the lock.
    pub(crate) fn take_started(&mut self) -> Vec<(Handler, Invocation)> {
        std::mem::take(&mut self.rpc.started)
    }

    fn answer(&mut self, id: InvocationId, result: Result<String, RpcError>) {
        if let Err(error) = self.engine.respond(id, result, SystemTime::now()) {
            tracing::debug!(%error, "a call's answer was not sent");
        }
    }
}

/// Runs a handler, with the interceptors around it, as a task of its own.
pub(crate) fn run(shared: &Arc<Shared>, handler: Handler, invocation: Invocation) {
    let answer = Answer {
        shared: shared.clone(),
        id: Some(invocation.id),
    };
    let links = shared.lock().rpc.incoming.clone();
    let invocation = RpcInvocation {
        caller: invocation.caller,
        request_id: invocation.request_id,
        method: invocation.method,
        payload: invocation.payload,
        response_timeout: invocation.response_timeout,
    };
    let limit = invocation
        .response_timeout
        .saturating_add(limits::RPC_ROUND_TRIP);
    tokio::spawn(async move {
        let mut answer = answer;
        let handled = RpcNext::new(links, handler).into_run(invocation);
        let result = tokio::time::timeout(limit, handled).await;
        answer.give(result.unwrap_or_else(|_| Err(RpcCode::ResponseTimeout.into())));
    });
}

/// The answer that is owed to a caller. A handler that panics, or whose runtime ends, owes it, too.
struct Answer {
    shared: Arc<Shared>,
    id: Option<InvocationId>,
}

impl Answer {
    fn give(&mut self, result: Result<String, RpcError>) {
        if let Some(id) = self.id.take() {
            let mut state = self.shared.lock();
            state.answer(id, result);
            state.wake_driver();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.give(Err(RpcCode::ApplicationError.into()));
    }
}

/// Whether a server of this version forwards calls; one that does not say, may (protocol.md §6).
fn forwards_calls(version: &str) -> bool {
    let version = version.trim_start_matches('v');
    let numbers: Vec<u32> = version
        .split(['.', '-', '+'])
        .map_while(|part| part.parse().ok())
        .take(3)
        .collect();
    numbers.is_empty() || numbers.as_slice() >= SERVER_WITH_CALLS.as_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// protocol.md §6: semver ≥ 1.8.0, missing is not checked.
    #[test]
    fn servers_older_than_calls_are_known_by_their_version() {
        for version in [
            "1.8.0",
            "1.13.5",
            "2.0.0",
            "v1.9.1",
            "1.8.0-rc1",
            "",
            "main",
        ] {
            assert!(forwards_calls(version), "{version}");
        }
        for version in ["1.7.9", "0.15.2", "1.7.2-beta"] {
            assert!(!forwards_calls(version), "{version}");
        }
    }
}
