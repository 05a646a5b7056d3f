//! Attacks on the HTTP front that need no token.

use std::net::SocketAddr;
use std::time::Duration;

use lkstream_conformance::process::{DEADLINE, Failure};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::pair::{Joins, Pair};
use crate::server::{Server, Target, every};
use crate::wire::{self, Caller};

/// How long a connection that asks for nothing may be held. A server's own limits are shorter; this one is for a machine
/// under load.
const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks at the server, and for a write that it may not take.
const SHORT: Duration = Duration::from_millis(500);

/// What a request has to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// An error, or an end without a word.
    Refusal,
    /// A response of this status.
    Status(u16),
    /// Any end: it is odd, and not wrong.
    Any,
}

/// A request of the table.
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Expected,
}

impl Asked {
    pub(crate) fn new(
        name: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
        expected: Expected,
    ) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.into(),
            expected,
        }
    }

    /// Sends it and judges the answer.
    pub(crate) async fn check(&self, server: SocketAddr) -> Result<(), Failure> {
        let answer = wire::ask(server, &self.bytes)
            .await
            .map_err(|error| Failure::new(format!("`{}`: {error:?}", self.name)))?;
        let is_fine = match self.expected {
            Expected::Refusal => answer.is_refusal(),
            Expected::Status(status) => answer.status() == Some(status),
            Expected::Any => true,
        };
        if !is_fine {
            let expected = self.expected;
            return Err(Failure::new(format!(
                "`{}` gets {answer:?} instead of {expected:?}",
                self.name
            )));
        }
        Ok(())
    }
}

/// Requests that a front without a token has to survive.
pub(crate) fn requests() -> Vec<Asked> {
    use Expected::{Any, Refusal, Status};
    let mut asked = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>, expected| {
        asked.push(Asked::new(name, bytes, expected));
    };
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
    };

    // No HTTP at all.
    add(
        "TLS client hello",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
            .iter()
            .copied()
            .chain([7; 505])
            .collect(),
        Refusal,
    );
    add(
        "HTTP/2 preface",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        Refusal,
    );
    add("zeros", vec![0; 1000], Refusal);
    add("high bytes", vec![0xff; 1000], Refusal);
    add(
        "line breaks and garbage",
        b"\r\n\r\n\r\n\r\nx\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "a STUN request",
        b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "SSH banner",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec(),
        Refusal,
    );

    // Request lines.
    add("no version", b"GET /\r\n\r\n".to_vec(), Refusal);
    add(
        "version 0.9",
        b"GET / HTTP/0.9\r\nHost: x\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "version 9.9",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "no path",
        b"GET HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "empty method",
        b" / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "method of spaces",
        b"   / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "method with a control character",
        b"G\x01T / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "method of 100 kB",
        [
            vec![b'A'; 100_000],
            b" / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ]
        .concat(),
        Refusal,
    );
    add(
        "unknown method",
        b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Status(405),
    );
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
        let request = format!("{method} /rtc/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        add(
            &format!("{method} of a path for GET"),
            request.into_bytes(),
            Status(405),
        );
    }
    add(
        "CONNECT",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "OPTIONS *",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Any,
    );
    add(
        "whole URL as path",
        b"GET http://elsewhere/rtc/v1 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "path with a null byte",
        b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "path with a space",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Refusal,
    );
    add(
        "path without a slash",
        b"GET rtc HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Any,
    );
    add(
        "path that climbs",
        get("/../../etc/passwd", ""),
        Status(404),
    );
    add(
        "escaped path that climbs",
        get("/%2e%2e/%2e%2e/etc/passwd", ""),
        Status(404),
    );
    add(
        "path of 8 kB",
        get(&format!("/{}", "a".repeat(8_000)), ""),
        Refusal,
    );
    add(
        "path of 60 kB",
        get(&format!("/{}", "a".repeat(60_000)), ""),
        Refusal,
    );
    add(
        "path of 2 MB",
        get(&format!("/{}", "a".repeat(2_000_000)), ""),
        Refusal,
    );
    add(
        "broken escapes in the query",
        get("/rtc/v1?join_request=%", ""),
        Refusal,
    );
    add(
        "query of ampersands",
        get(&format!("/rtc/validate?{}", "&".repeat(30_000)), ""),
        Refusal,
    );
    add(
        "query of equal parameters",
        get(&format!("/rtc/validate?{}", "room=a&".repeat(4_000)), ""),
        Refusal,
    );

    // Headers.
    add("header without a colon", get("/", "nonsense\r\n"), Refusal);
    add("header without a name", get("/", ": value\r\n"), Refusal);
    add("space before the colon", get("/", "A : b\r\n"), Refusal);
    add("folded header", get("/", "A: b\r\n c\r\n"), Refusal);
    add("null byte in a value", get("/", "A: b\0c\r\n"), Refusal);
    add("null byte in a name", get("/", "A\0: b\r\n"), Refusal);
    add(
        "bare line feeds",
        b"GET / HTTP/1.1\nHost: x\n\n".to_vec(),
        Any,
    );
    add("no host", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Any);
    add("two hosts", get("/", "Host: y\r\n"), Any);
    add("1000 headers", get("/", &"A: b\r\n".repeat(1000)), Refusal);
    add(
        "100 headers of 1 kB",
        get("/", &format!("A: {}\r\n", "b".repeat(1000)).repeat(100)),
        Refusal,
    );
    add(
        "header of 1 MB",
        get("/", &format!("A: {}\r\n", "b".repeat(1 << 20))),
        Refusal,
    );
    add(
        "bearer token of 60 kB",
        get(
            "/rtc/validate",
            &format!("Authorization: Bearer {}\r\n", "a".repeat(60_000)),
        ),
        Refusal,
    );
    add(
        "authorization that is no UTF-8",
        [
            get("/rtc/validate", "Authorization: Bearer "),
            b"\xff\xfe\r\n\r\n".to_vec(),
        ]
        .concat(),
        Refusal,
    );

    // Bodies, which nothing here takes.
    add(
        "content length of letters",
        get("/", "Content-Length: many\r\n"),
        Refusal,
    );
    add(
        "negative content length",
        get("/", "Content-Length: -1\r\n"),
        Refusal,
    );
    add(
        "content length beyond 64 bits",
        get("/", "Content-Length: 99999999999999999999999\r\n"),
        Refusal,
    );
    add(
        "two content lengths",
        get("/", "Content-Length: 1\r\nContent-Length: 2\r\n"),
        Refusal,
    );
    add(
        "content length of an exabyte",
        get("/", "Content-Length: 1000000000000000000\r\n"),
        Any,
    );
    add(
        "length and chunks at once",
        get("/", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        Any,
    );
    add(
        "unknown transfer encoding",
        get("/", "Transfer-Encoding: rot13\r\n"),
        Any,
    );
    add(
        "chunk of a bad size",
        [
            get("/", "Transfer-Encoding: chunked\r\n"),
            b"zz\r\n".to_vec(),
        ]
        .concat(),
        Any,
    );
    add(
        "chunk of 2^64 bytes",
        [
            get("/", "Transfer-Encoding: chunked\r\n"),
            b"ffffffffffffffffff\r\n".to_vec(),
        ]
        .concat(),
        Any,
    );
    add(
        "200 requests at once",
        get("/", "").repeat(200),
        Status(200),
    );
    add(
        "Expect: 100-continue for ever",
        get("/", "Expect: 100-continue\r\nContent-Length: 9\r\n"),
        Any,
    );

    // Upgrades.
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    add(
        "upgrade without a token",
        get(
            "/rtc/v1",
            &format!("{upgrade}Sec-WebSocket-Version: 13\r\n{key}"),
        ),
        Status(401),
    );
    add(
        "upgrade to another protocol",
        get("/rtc/v1", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        Refusal,
    );
    add(
        "upgrade of the root",
        get("/", &format!("{upgrade}Sec-WebSocket-Version: 13\r\n{key}")),
        Any,
    );
    add(
        "upgrade without a version",
        get("/rtc/v1", &format!("{upgrade}{key}")),
        Refusal,
    );
    add(
        "upgrade in 10 000 words",
        get(
            "/rtc/v1",
            &format!("Connection: {}\r\n", "upgrade, ".repeat(1_000)),
        ),
        Refusal,
    );
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_one_by_one() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let attack = async {
        let mut outcomes = Vec::new();
        for request in requests() {
            outcomes.push(request.check(target.http).await);
        }
        every(outcomes)
    };
    server.endure(&mut pair, "malformed HTTP", attack).await
}

/// A connection that holds a place at the front.
#[derive(Clone, Copy, Debug)]
enum Hold {
    /// Says nothing.
    Silent,
    /// Sends all but the end of a head of 380 kB.
    HalfMade,
    /// Sends a header byte by byte, never its end.
    Dripping,
    /// Asks once, and then for nothing more.
    Idle,
}

impl Hold {
    /// Takes the place and never gives it back. That the server does not take the connection, or ends it, is as good.
    async fn run(self, caller: Caller, server: SocketAddr, held: mpsc::Sender<()>) {
        let connected = timeout(DEADLINE, caller.connect(server)).await;
        let Ok(Ok(mut stream)) = connected else {
            return;
        };
        match self {
            Self::Silent => {}
            Self::HalfMade => {
                let mut head = String::from("GET / HTTP/1.1\r\nHost: x\r\n");
                for number in 0..95 {
                    head.push_str(&format!("X-{number}: {}\r\n", "a".repeat(4000)));
                }
                // It need not take all of it.
                let _ = timeout(SHORT, stream.write_all(head.as_bytes())).await;
            }
            Self::Dripping => {
                drop(held);
                let mut drops = interval(Duration::from_millis(200));
                let head = "GET / HTTP/1.1\r\nX: ".bytes();
                for byte in head.chain(std::iter::repeat(b'a')) {
                    drops.tick().await;
                    if stream.write_all(&[byte]).await.is_err() {
                        break;
                    }
                }
                return std::future::pending().await;
            }
            Self::Idle => {
                let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            }
        }
        drop(held);
        std::future::pending().await
    }
}

/// Takes all these places at once, from many addresses, and waits until the server holds none of them.
async fn hold(target: &Target, holds: &[(Hold, usize)]) -> Result<(), Failure> {
    // Those of the pair and of the server itself, and some to spare.
    let before = target.open_files()? + 8;
    let (held, mut all_held) = mpsc::channel(1);
    let mut holding = JoinSet::new();
    for (hold, count) in holds {
        for number in 0..*count {
            let caller = Caller::elsewhere((number % 200) as u8 + 1);
            holding.spawn(hold.run(caller, target.http, held.clone()));
        }
    }
    drop(held);
    // Nothing is sent: it ends when the last of them has its place.
    while all_held.recv().await.is_some() {}
    println!("{} files open with all places taken", target.open_files()?);
    // What the server has forgotten, a client need not be told; so its side is asked. There is no event to wait for.
    let until = Instant::now() + PATIENCE;
    while target.open_files()? > before {
        if Instant::now() > until {
            let open = target.open_files()?;
            return Err(Failure::new(format!(
                "{open} files are still open after {PATIENCE:?}"
            )));
        }
        sleep(SHORT).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_for_nothing_end_and_hold_little() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    // The server may be full for newcomers, though not for those who are there.
    let mut pair = Pair::join(&target, "yard", Joins::Once).await?;
    let holds = [
        (Hold::HalfMade, 1500),
        (Hold::Silent, 500),
        (Hold::Dripping, 200),
        (Hold::Idle, 500),
    ];
    let attack = hold(&target, &holds);
    let what = "2700 connections held";
    server.endure(&mut pair, what, attack).await?;
    // Newcomers get in again.
    Pair::join(&target, "other yard", Joins::EachTime).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_files_left_serves_on() -> Result<(), Failure> {
    let mut server = Server::start_with_open_files(64)?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::Once).await?;
    let holds = [
        (Hold::Silent, 60),
        (Hold::HalfMade, 50),
        (Hold::Dripping, 20),
        (Hold::Idle, 20),
    ];
    let attack = hold(&target, &holds);
    let what = "150 connections held of a server that may open 64 files";
    server.endure(&mut pair, what, attack).await?;
    Pair::join(&target, "other yard", Joins::EachTime).await?;
    Ok(())
}
