//! Handlers, and interceptors that run around them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use lkstream_engine::RpcError;

use super::RpcInvocation;

type Running = Pin<Box<dyn Future<Output = Result<String, RpcError>> + Send>>;
/// What is at the end of a chain.
type Inner<T> = Arc<dyn Fn(T) -> Running + Send + Sync>;

/// A handler of calls.
pub(crate) type Handler = Inner<RpcInvocation>;
/// An interceptor.
pub(super) type Link<T> = Arc<dyn Fn(T, RpcNext<T>) -> Running + Send + Sync>;

/// The rest of a chain of interceptors, and the call or the handler at its end.
///
/// An interceptor [runs](RpcNext::run) it to let the call through, changed or not, and may change what comes back.
/// One that drops it instead answers by itself.
pub struct RpcNext<T> {
    links: Arc<[Link<T>]>,
    at: usize,
    inner: Inner<T>,
}

impl<T> std::fmt::Debug for RpcNext<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RpcNext")
            .field("interceptors", &self.links.len().saturating_sub(self.at))
            .finish_non_exhaustive()
    }
}

impl<T> RpcNext<T> {
    pub(super) fn new(links: Arc<[Link<T>]>, inner: Inner<T>) -> Self {
        RpcNext {
            links,
            at: 0,
            inner,
        }
    }

    /// Goes on with this request.
    ///
    /// # Cancel safety
    /// Dropping the future forgets the call, or stops the handler.
    ///
    /// # Errors
    /// Those of the call or the handler.
    pub async fn run(self, request: T) -> Result<String, RpcError> {
        self.into_run(request).await
    }

    pub(super) fn into_run(self, request: T) -> Running {
        match self.links.get(self.at).cloned() {
            Some(link) => link(
                request,
                RpcNext {
                    at: self.at + 1,
                    ..self
                },
            ),
            None => (self.inner)(request),
        }
    }
}

/// A closure as a handler.
pub(crate) fn boxed<F, R>(handler: F) -> Handler
where
    F: Fn(RpcInvocation) -> R + Send + Sync + 'static,
    R: Future<Output = Result<String, RpcError>> + Send + 'static,
{
    Arc::new(move |invocation| -> Running { Box::pin(handler(invocation)) })
}

/// A closure as an interceptor.
pub(super) fn link<T, F, R>(interceptor: F) -> Link<T>
where
    F: Fn(T, RpcNext<T>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<String, RpcError>> + Send + 'static,
{
    Arc::new(move |request, next| -> Running { Box::pin(interceptor(request, next)) })
}
