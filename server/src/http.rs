//! HTTP: health, validation and the WebSocket upgrade (protocol.md §2.1).
//!
//! A join is checked and made before the upgrade, so that a refusal is an HTTP error with a text that clients understand.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, WebSocketUpgrade};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lkstream_proto::token::ApiKeys;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::admission::{Denied, Path, admit};
use crate::journal::Journal;
use crate::link::{self, SignalLimits, Who};
use crate::stats::Shared;
use crate::worker::Command;

const GONE: &str = "the server is shutting down";

/// What every request needs.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) keys: Arc<ApiKeys>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) signal: Arc<SignalLimits>,
    /// Bounds the joins that are decoded at once, and wait for the worker.
    pub(crate) joins: Arc<Semaphore>,
    /// Every WebSocket task holds it; the server waits for the last one.
    pub(crate) alive: mpsc::WeakSender<()>,
}

/// The service of the HTTP port.
pub(crate) async fn respond(front: &Front, request: Request) -> Response {
    let asked_headers = request
        .headers()
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .cloned();
    let mut response = if request.method() == Method::OPTIONS {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD, POST, OPTIONS"),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            asked_headers.unwrap_or(HeaderValue::from_static("*")),
        );
        response
    } else {
        match route(front, request).await {
            Ok(response) => response,
            Err(denied) => {
                front.shared.count_refused_join();
                front.journal.say("refused joins", |more| {
                    let status = denied.status.as_u16();
                    tracing::info!(status, why = %denied.text, more, "a join was refused");
                });
                text(denied.status, denied.text)
            }
        }
    };
    // Browsers read status and text of refusals across origins (protocol.md §2.1).
    response.headers_mut().insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    response
}

async fn route(front: &Front, request: Request) -> Result<Response, Denied> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"));
    }
    // Clients that were given an address with a slash at its end ask for `//rtc` (protocol.md §2.1).
    let path = format!("/{}", request.uri().path().trim_start_matches('/'));
    match path.as_str() {
        "/" if front.commands.is_closed() => Ok(text(StatusCode::SERVICE_UNAVAILABLE, GONE)),
        "/" => Ok(text(StatusCode::OK, "OK")),
        "/rtc/validate" => validate(front, Path::Legacy, request).await,
        "/rtc/v1/validate" => validate(front, Path::Single, request).await,
        "/rtc/v1" if is_upgrade(&request) => join(front, Path::Single, request).await,
        // A join request means one peer connection on this path, too (protocol.md §2.1). Two are not served here;
        // official clients ask for `/rtc/v1` first.
        "/rtc" if is_upgrade(&request) && has_join_request(&request) => {
            join(front, Path::Legacy, request).await
        }
        _ => Ok(text(StatusCode::NOT_FOUND, "404 page not found")),
    }
}

async fn validate(front: &Front, path: Path, request: Request) -> Result<Response, Denied> {
    let _turn = turn(front).await?;
    check(front, path, &request)?;
    Ok(text(StatusCode::OK, "success"))
}

/// A join request may be large when it is inflated, so few are decoded at once.
async fn turn(front: &Front) -> Result<tokio::sync::SemaphorePermit<'_>, Denied> {
    front.joins.acquire().await.map_err(|_| gone())
}

fn gone() -> Denied {
    Denied::new(StatusCode::SERVICE_UNAVAILABLE, GONE)
}

fn check(
    front: &Front,
    path: Path,
    request: &Request,
) -> Result<crate::admission::Admission, Denied> {
    let authorization = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    let query = request.uri().query().unwrap_or_default();
    admit(&front.keys, path, authorization, query, SystemTime::now())
}

fn is_upgrade(request: &Request) -> bool {
    request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn has_join_request(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|parameter| parameter.len() > 13 && parameter.starts_with("join_request="))
}

async fn join(front: &Front, path: Path, request: Request) -> Result<Response, Denied> {
    let _turn = turn(front).await?;
    let admission = check(front, path, &request)?;
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|rejection| Denied::new(rejection.status(), rejection.body_text()))?;
    let who = Who {
        room: admission.room.clone(),
        identity: admission.joining.identity.clone(),
    };
    let (outgoing, messages) = link::queue();
    let (reply, answer) = oneshot::channel();
    front
        .commands
        .send(Command::Join {
            admission: Box::new(admission),
            link: outgoing,
            reply,
        })
        .await
        .map_err(|_| gone())?;
    let id = answer.await.map_err(|_| gone())??;
    let alive = front.alive.upgrade().ok_or_else(gone)?;
    let front = front.clone();
    Ok(upgrade
        .max_message_size(front.signal.request)
        .max_frame_size(front.signal.request)
        .read_buffer_size(link::READ_BUFFER)
        .write_buffer_size(link::WRITE_BUFFER)
        .max_write_buffer_size(link::WRITE_BUFFER_LIMIT)
        .on_upgrade(move |socket| async move {
            link::run(socket, id, who, messages, front).await;
            drop(alive);
        }))
}

fn text(status: StatusCode, text: impl Into<String>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_server_whose_worker_is_gone_says_so() {
        let (commands, inbox) = mpsc::channel(1);
        let (alive, _links) = mpsc::channel(1);
        let front = Front {
            keys: Arc::default(),
            commands,
            shared: Arc::default(),
            journal: Arc::default(),
            signal: Arc::default(),
            joins: Arc::new(Semaphore::new(1)),
            alive: alive.downgrade(),
        };
        let health = || Request::new(Body::empty());
        assert_eq!(respond(&front, health()).await.status(), StatusCode::OK);
        drop(inbox);
        let answer = respond(&front, health()).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
