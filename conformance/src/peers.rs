//! The official peers and our own binaries, started the same way: a room server is a [`Site`], a participant a
//! [`Process`] that visits it. They run on the loopback or on any other [`Host`]. `ci/peers` installs what is official.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use lkstream_proto::token::{Claims, sign};
use serde_json::json;

use crate::browser::{Browser, Launch, Page};
use crate::host::Host;
use crate::process::{DEADLINE, Events, Failure, Process, ResourceLimits, Tied};

/// The Python SDK's version.
pub const PYTHON_SDK: &str = "1.2.1";
/// The official server's version.
pub const LIVEKIT_SERVER: &str = "1.13.5";

/// The API key of every site.
pub const KEY: &str = "devkey";
/// The API secret of every site; the official server wants 32 characters.
pub const SECRET: &str = "secretsecretsecretsecretsecretsecret";

/// For a page to come back in.
const TOKEN_LIFE: Duration = Duration::from_secs(600);

pub(crate) fn repository() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

pub(crate) fn peers() -> PathBuf {
    std::env::var_os("LKSTREAM_PEERS").map_or_else(|| repository().join(".peers"), PathBuf::from)
}

pub(crate) fn installed(path: PathBuf) -> Result<PathBuf, Failure> {
    if path.exists() {
        Ok(path)
    } else {
        Err(Failure::new(format!(
            "{} is not there: ./ci/peers installs the official peers",
            path.display()
        )))
    }
}

/// The `lkstream` binary of the same build as this program: `cargo build -p lkstream-cli` makes it.
fn lkstream() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?;
    let name = format!("lkstream{}", std::env::consts::EXE_SUFFIX);
    // Tests are one folder further down than programs.
    let mut places = program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(&name));
    let found = places.find(|binary| binary.exists());
    found.ok_or_else(|| {
        Failure::new(format!(
            "no {name} beside {}: cargo build -p lkstream-cli",
            program.display()
        ))
    })
}

/// Ports that were free a moment ago, here: TCP, UDP, and one more TCP.
fn free_ports(address: Ipv4Addr) -> std::io::Result<(u16, u16, u16)> {
    let http = TcpListener::bind((address, 0))?;
    let rtc = UdpSocket::bind((address, 0))?;
    let fallback = TcpListener::bind((address, 0))?;
    Ok((
        http.local_addr()?.port(),
        rtc.local_addr()?.port(),
        fallback.local_addr()?.port(),
    ))
}

/// A room server, ours or the official one, on free ports. Dropping it ends it.
pub struct Site {
    /// Its WebSocket URL.
    pub url: String,
    /// Where it takes HTTP.
    pub http: SocketAddr,
    /// Where it takes ICE over UDP.
    pub rtc: SocketAddr,
    server: Process,
    _folder: Option<tempfile::TempDir>,
}

impl Site {
    /// `lkstream serve` on the loopback.
    pub fn ours() -> Result<Self, Failure> {
        Self::ours_on(&Host::loopback())
    }

    /// `lkstream serve` on this host.
    pub fn ours_on(host: &Host) -> Result<Self, Failure> {
        Self::serve(host, host.program(lkstream()?))
    }

    /// `lkstream serve` on the loopback with these limits.
    pub fn ours_limited(limits: ResourceLimits) -> Result<Self, Failure> {
        let host = Host::loopback();
        Self::serve(&host, host.program(lkstream()?).limited(limits))
    }

    fn serve(host: &Host, program: Tied) -> Result<Self, Failure> {
        let command = program
            .with(["serve", "--json", "--bind", &host.address().to_string()])
            .with(["--port", "0", "--rtc-port", "0"])
            .with(["--keys", &format!("{KEY}: {SECRET}")]);
        let mut server = Process::spawn("lkstream serve", &command, Events::Output)?;
        let listening = server.expect("listening")?;
        let port = |name: &str| {
            listening[name]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
        };
        match (listening["url"].as_str(), port("port"), port("rtc_port")) {
            (Some(url), Some(http), Some(rtc)) => Ok(Self {
                url: url.to_owned(),
                http: (host.address(), http).into(),
                rtc: (host.address(), rtc).into(),
                server,
                _folder: None,
            }),
            _ => Err(server.failure("does not say where it listens")),
        }
    }

    /// livekit-server on the loopback.
    pub fn stock() -> Result<Self, Failure> {
        Self::stock_on(&Host::loopback())
    }

    /// livekit-server on this host.
    pub fn stock_on(host: &Host) -> Result<Self, Failure> {
        let binary = installed(peers().join(format!("livekit-server-{LIVEKIT_SERVER}/server")))?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("livekit.yaml");
        let address = host.address();
        let command = host
            .program(binary)
            .with(["--config".into(), path.clone().into_os_string()]);
        let mut last = Failure::new("never started");
        // Another process may take a port between our look and the server's bind.
        for _ in 0..3 {
            let (http, rtc, fallback) = host.enter(|| free_ports(address))??;
            let config = format!(
                "port: {http}\nbind_addresses: [{address}]\n\
                 rtc:\n  udp_port: {rtc}\n  tcp_port: {fallback}\n  node_ip: {address}\n  \
                 enable_loopback_candidate: {}\n\
                 keys:\n  {KEY}: {SECRET}\n",
                host.is_loopback()
            );
            std::fs::write(&path, config)?;
            let mut server = Process::spawn("livekit-server", &command, Events::Output)?;
            match answers(&mut server, host, http) {
                Ok(()) => {
                    return Ok(Self {
                        url: format!("ws://{address}:{http}"),
                        http: (address, http).into(),
                        rtc: (address, rtc).into(),
                        server,
                        _folder: Some(folder),
                    });
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// Where participants on this host come in.
    #[must_use]
    pub fn door(&self, host: &Host) -> Door {
        Door {
            url: self.url.clone(),
            host: host.clone(),
        }
    }

    /// [`Door::python`] on the loopback.
    pub fn python(
        &self,
        role: &str,
        room: &str,
        identity: &str,
        arguments: &[&str],
    ) -> Result<Process, Failure> {
        self.door(&Host::loopback())
            .python(role, room, identity, arguments)
    }

    /// [`Door::sender`] on the loopback.
    pub fn sender(
        &self,
        room: &str,
        identity: &str,
        arguments: &[&str],
    ) -> Result<Process, Failure> {
        self.door(&Host::loopback())
            .sender(room, identity, arguments)
    }

    /// A token for a participant of this site, good for ten minutes.
    pub fn token(&self, room: &str, identity: &str) -> Result<String, Failure> {
        let claims = Claims::join(identity, room, SystemTime::now(), TOKEN_LIFE);
        Ok(sign(&claims, KEY, SECRET)?)
    }

    /// [`Door::receiver`] on the loopback.
    pub fn receiver(
        &self,
        room: &str,
        identity: &str,
        arguments: &[&str],
    ) -> Result<Process, Failure> {
        self.door(&Host::loopback())
            .receiver(room, identity, arguments)
    }

    /// The id of the server's process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The server's process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.server
    }

    /// A failure with the server's log.
    pub fn failure(&self, what: &str) -> Failure {
        self.server.failure(what)
    }
}

/// A site as seen from a host: it starts participants there.
pub struct Door {
    url: String,
    host: Host,
}

impl Door {
    /// A participant on the Python SDK: `recv`, `send` or `joins` with the arguments of `peers/python_peer.py`.
    pub fn python(
        &self,
        role: &str,
        room: &str,
        identity: &str,
        arguments: &[&str],
    ) -> Result<Process, Failure> {
        let python = installed(peers().join(format!("python-livekit-{PYTHON_SDK}/bin/python")))?;
        let script = repository().join("conformance/peers/python_peer.py");
        let command = self
            .host
            .program(python)
            .with([script.into_os_string()])
            .with([role, &self.url, "--room", room, "--identity", identity])
            .with(["--key", KEY, "--secret", SECRET])
            .with(arguments)
            .variable("PYTHONUNBUFFERED", "1");
        Process::spawn(
            &format!("python {role} {identity}"),
            &command,
            Events::Output,
        )
    }

    /// A Python program of its own, with the SDK installed and `lkstream` on its path. URL and token of the participant are its
    /// arguments; for `lkstream` they are in the environment, too.
    pub fn python_program(
        &self,
        script: &Path,
        room: &str,
        identity: &str,
    ) -> Result<Process, Failure> {
        let python = installed(peers().join(format!("python-livekit-{PYTHON_SDK}/bin/python")))?;
        let claims = Claims::join(identity, room, SystemTime::now(), TOKEN_LIFE);
        let token = sign(&claims, KEY, SECRET)?;
        let ours = lkstream()?;
        let folder = ours.parent().unwrap_or(&ours);
        let path = std::env::var("PATH").unwrap_or_default();
        let command = self
            .host
            .program(python)
            .with([script.as_os_str().to_owned()])
            .with([self.url.as_str(), token.as_str()])
            .variable("PATH", &format!("{}:{path}", folder.display()))
            .variable("LIVEKIT_URL", &self.url)
            .variable("LIVEKIT_API_KEY", KEY)
            .variable("LIVEKIT_API_SECRET", SECRET)
            .variable("PYTHONUNBUFFERED", "1");
        Process::spawn(&format!("python of {identity}"), &command, Events::Output)
    }

    /// A participant on our command line that sends, with JSON events. It is `send` with further arguments.
    pub fn sender(
        &self,
        room: &str,
        identity: &str,
        arguments: &[&str],
    ) -> Result<Process, Failure> {
        self.lkstream("send", room, identity, arguments, Events::Output)
    }

    /// A participant on our command line that receives, with JSON events on standard error, since texts are the
    /// payload on standard output. It is `recv` with further arguments.
    pub fn receiver(
        &self,
        room: &str,
        identity: &str,
        arguments: &[&str],
    ) -> Result<Process, Failure> {
        self.lkstream("recv", room, identity, arguments, Events::Errors)
    }

    /// A participant on our command line that receives texts into a pipe whose reader sleeps for so many seconds first.
    pub fn paused_receiver(
        &self,
        room: &str,
        identity: &str,
        seconds: u32,
        arguments: &[&str],
    ) -> Result<Process, Failure> {
        let script = format!("\"$@\" | (sleep {seconds}; cat)");
        let command = self
            .host
            .program("/bin/sh")
            .with(["-c", &script, "sh"])
            .with([lkstream()?.into_os_string()])
            .with(["recv", "--json", "--url", &self.url])
            .with(["--api-key", KEY, "--api-secret", SECRET])
            .with(["--room", room, "--identity", identity])
            .with(arguments);
        Process::spawn(
            &format!("lkstream recv {identity}, paused"),
            &command,
            Events::Errors,
        )
    }

    /// A page on the browser SDK that has joined. It is served where it runs, so that only what the room needs crosses a
    /// network. Files of the topic are not kept: it tells their `progress`.
    pub async fn page(&self, room: &str, identity: &str, topic: &str) -> Result<Browser, Failure> {
        let launch = Launch {
            server: self.host.own_loopback(),
            browser: self.host.clone(),
            ..Launch::new()
        };
        let mut browser = Browser::launch(Page::LivekitClient, &launch).await?;
        let claims = Claims::join(identity, room, SystemTime::now(), TOKEN_LIFE);
        let token = sign(&claims, KEY, SECRET)?;
        let join = json!({"url": self.url, "token": token, "topic": topic, "progress": true});
        browser.call("join", join).await?;
        Ok(browser)
    }

    fn lkstream(
        &self,
        role: &str,
        room: &str,
        identity: &str,
        arguments: &[&str],
        events: Events,
    ) -> Result<Process, Failure> {
        let command = self
            .host
            .program(lkstream()?)
            .with([role, "--json", "--url", &self.url])
            .with(["--api-key", KEY, "--api-secret", SECRET])
            .with(["--room", room, "--identity", identity])
            .with(arguments);
        Process::spawn(&format!("lkstream {role} {identity}"), &command, events)
    }
}

/// Waits until the server accepts connections.
fn answers(server: &mut Process, host: &Host, port: u16) -> Result<(), Failure> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if !server.is_running() {
            return Err(server.failure("ended at its start"));
        }
        let connected = host.enter(|| TcpStream::connect((host.address(), port)))?;
        if connected.is_ok() {
            return Ok(());
        }
        // There is no event to wait for: a refused connection says nothing about when to try again.
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(server.failure("does not listen"))
}
