//! Chromium without a window, showing one page of `conformance/peers`. The page does what the test asks for over a
//! WebSocket, so no driver is needed.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::host::Host;
use crate::peers::{installed, peers, repository};
use crate::process::{DEADLINE, Events, Failure, Process, Tied};

/// The browser SDK's version.
pub const LIVEKIT_CLIENT: &str = "2.23.0";

/// What a browser shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// A bare `RTCPeerConnection`; the commands are in `peers/peer_connection.js`.
    PeerConnection,
    /// A participant on the official browser SDK; the commands are in `peers/livekit_client.js`.
    LivekitClient,
}

impl Page {
    fn file(self) -> &'static str {
        match self {
            Self::PeerConnection => "peer_connection.html",
            Self::LivekitClient => "livekit_client.html",
        }
    }
}

/// What Chromium tells about the machine's addresses in its candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// As they are, like a page that may use the microphone.
    Shown,
    /// Names that only multicast DNS knows, like any other page.
    Hidden,
}

/// How a browser is started. [`Launch::new`] has what a test on loopback wants.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Where the page is served, on a free port. A page that does not come from loopback is no secure context, so it has
    /// no SHA-256.
    pub server: Host,
    /// Where the browser runs. It must reach the server from there.
    pub browser: Host,
    /// Whether the page tells its addresses.
    pub addresses: Addresses,
    /// Further switches of Chromium.
    pub switches: Vec<String>,
}

impl Launch {
    /// On loopback, with its addresses shown.
    #[must_use]
    pub fn new() -> Self {
        Self {
            server: Host::loopback(),
            browser: Host::loopback(),
            addresses: Addresses::Shown,
            switches: Vec::new(),
        }
    }
}

impl Default for Launch {
    fn default() -> Self {
        Self::new()
    }
}

/// A running browser with one page. Dropping it ends it.
pub struct Browser {
    page: WebSocket,
    calls: u64,
    /// Events that came while a call was waiting for its result.
    events: VecDeque<Value>,
    process: Process,
    server: JoinHandle<()>,
    profile: TempDir,
}

impl Browser {
    /// Starts a browser and waits until all scripts of its page have run.
    pub async fn launch(page: Page, launch: &Launch) -> Result<Self, Failure> {
        let chromium = installed(peers().join("chromium/chromium"))?;
        let profile = tempfile::tempdir()?;
        let (arrived, mut pages) = mpsc::channel(1);
        let server = &launch.server;
        let listener = server.enter(|| TcpListener::bind((server.address(), 0)))??;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let command = command(&chromium, page, launch, address, profile.path());
        let process = Process::spawn("chromium", &command, Events::Output)?;
        let server = tokio::spawn(async move {
            // It ends with the browser; what goes wrong before shows as a page that does not come.
            let _ = axum::serve(listener, serve(arrived)).await;
        });
        let Ok(Some(page)) = timeout(DEADLINE, pages.recv()).await else {
            server.abort();
            return Err(process.failure(&format!("no page in {DEADLINE:?}")));
        };
        let mut browser = Self {
            page,
            calls: 0,
            events: VecDeque::new(),
            process,
            server,
            profile,
        };
        browser.expect("ready").await?;
        Ok(browser)
    }

    /// The id of the browser's first process, which has started all others.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What the browser has logged; nothing without `--enable-logging` among its switches.
    pub fn log(&self) -> Result<String, Failure> {
        let bytes = std::fs::read(self.profile.path().join(LOG))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs a command of the page and gives its result. Events that come before it wait for [`Browser::expect`]. Cancelling
    /// it leaves a result behind that nobody takes, which is harmless.
    pub async fn call(&mut self, command: &str, arguments: Value) -> Result<Value, Failure> {
        self.calls += 1;
        let id = self.calls;
        let text = json!({"id": id, "command": command, "arguments": arguments}).to_string();
        self.page.send(Message::Text(text.into())).await?;
        let what = format!("result of `{command}`");
        timeout(DEADLINE, self.result(id))
            .await
            .unwrap_or_else(|_| Err(self.late(&what)))
    }

    async fn result(&mut self, id: u64) -> Result<Value, Failure> {
        loop {
            let mut event = self.next().await?;
            if event["event"] != "result" {
                self.events.push_back(event);
            } else if event["id"] == id {
                return Ok(event["value"].take());
            }
        }
    }

    /// The next event of this name; other events before it wait for their own turn. An `error` of the page and the deadline
    /// are failures.
    pub async fn expect(&mut self, event: &str) -> Result<Value, Failure> {
        self.expect_where(event, |_| true).await
    }

    /// As [`Browser::expect`], and the event must have this field with this value.
    pub async fn expect_with(
        &mut self,
        event: &str,
        field: &str,
        value: &str,
    ) -> Result<Value, Failure> {
        self.expect_where(event, |seen| seen[field] == value).await
    }

    async fn expect_where(
        &mut self,
        event: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        match timeout(DEADLINE, self.wait_where(event, is_it)).await {
            Ok(result) => result,
            Err(_) => Err(self.late(&format!("`{event}`"))),
        }
    }

    /// As [`Browser::expect`], without a deadline. Cancelling it loses no event.
    pub async fn wait_for(&mut self, event: &str) -> Result<Value, Failure> {
        self.wait_where(event, |_| true).await
    }

    async fn wait_where(
        &mut self,
        event: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let is_it = |seen: &Value| seen["event"] == event && is_it(seen);
        if let Some(at) = self.events.iter().position(&is_it)
            && let Some(seen) = self.events.remove(at)
        {
            return Ok(seen);
        }
        loop {
            let seen = self.next().await?;
            if is_it(&seen) {
                return Ok(seen);
            }
            if seen["event"] != "result" {
                self.events.push_back(seen);
            }
        }
    }

    async fn next(&mut self) -> Result<Value, Failure> {
        loop {
            let text = match self.page.recv().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                other => {
                    return Err(self
                        .process
                        .failure(&format!("the page is gone: {other:?}")));
                }
            };
            let event: Value = serde_json::from_str(&text)?;
            if event["event"] == "error" {
                return Err(self
                    .process
                    .failure(&format!("the page fails: {}", event["what"])));
            }
            return Ok(event);
        }
    }

    fn late(&self, what: &str) -> Failure {
        let seen = &self.events;
        self.process.failure(&format!(
            "no {what} in {DEADLINE:?}, unread events: {seen:?}"
        ))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The log, in the profile's folder.
const LOG: &str = "chromium.log";

fn command(
    chromium: &Path,
    page: Page,
    launch: &Launch,
    address: SocketAddr,
    profile: &Path,
) -> Tied {
    launch
        .browser
        .program(chromium)
        .with([
            "--headless",
            // Its sandbox needs a user other than root and a kernel that lets it.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
        ])
        .with(match launch.addresses {
            Addresses::Shown => Some("--disable-features=WebRtcHideLocalIpsWithMdns"),
            Addresses::Hidden => None,
        })
        .with([format!("--user-data-dir={}", profile.display())])
        .with(&launch.switches)
        .with([format!("http://{address}/{}", page.file())])
        .variable("CHROME_LOG_FILE", &profile.join(LOG).to_string_lossy())
        // It is ended by force, so what it leaves behind has to go with the profile.
        .variable("TMPDIR", &profile.to_string_lossy())
}

fn serve(arrived: mpsc::Sender<WebSocket>) -> Router {
    let control = |State(arrived): State<mpsc::Sender<WebSocket>>, upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(move |page| async move {
            // Nobody waits any more when the start was given up.
            let _ = arrived.send(page).await;
        })
    };
    Router::new()
        .route("/control", any(control))
        .route("/{file}", get(file))
        .with_state(arrived)
}

/// The files that pages are made of, nothing else.
async fn file(UrlPath(name): UrlPath<String>) -> Response {
    let path = match &*name {
        "control.js"
        | "peer_connection.html"
        | "peer_connection.js"
        | "livekit_client.html"
        | "livekit_client.js" => repository().join("conformance/peers").join(&name),
        "livekit-client.umd.js" => sdk(),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let kind = if name.ends_with(".html") {
        "text/html"
    } else {
        "text/javascript"
    };
    match std::fs::read(path) {
        Ok(bytes) => ([(header::CONTENT_TYPE, kind)], bytes).into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

fn sdk() -> PathBuf {
    peers().join(format!(
        "livekit-client-{LIVEKIT_CLIENT}/package/dist/livekit-client.umd.js"
    ))
}
