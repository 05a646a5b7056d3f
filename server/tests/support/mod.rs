//! What the server's tests share: tokens, a raw HTTP request, and deadlines.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod participant;

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use lkstream_proto::join::Join;
use lkstream_proto::limits;
use lkstream_proto::participant::{Capability, ClientInfo, Sdk};
use lkstream_proto::token::{ApiKeys, Claims};
use lkstream_server::{Config, DEV_API_KEY, DEV_API_SECRET, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No test waits longer than this for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(done) => done,
        Err(_) => panic!("no {what} within {DEADLINE:?}"),
    }
}

pub async fn server() -> Server {
    Server::spawn(Config::dev().with_free_ports())
        .await
        .expect("server starts")
}

pub fn claims(identity: &str, room: &str) -> Claims {
    Claims::join(identity, room, SystemTime::now(), Duration::from_secs(600))
}

pub fn sign(claims: &Claims) -> String {
    ApiKeys::one(DEV_API_KEY, DEV_API_SECRET)
        .sign(claims, DEV_API_KEY)
        .expect("a key of ours")
}

pub fn token(identity: &str, room: &str) -> String {
    sign(&claims(identity, room))
}

/// What our client says about itself.
pub fn client_info() -> ClientInfo {
    ClientInfo {
        sdk: Sdk::Rust as i32,
        version: "0.1.0".to_owned(),
        protocol: limits::PROTOCOL,
        client_protocol: limits::CLIENT_PROTOCOL,
        capabilities: vec![Capability::CompressionDeflateRaw as i32],
        ..ClientInfo::default()
    }
}

pub fn join_query() -> String {
    Join::new(client_info()).to_query()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One HTTP request on a connection of its own.
pub async fn http(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    within("http answer", async {
        let mut stream = TcpStream::connect(addr).await.expect("connects");
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("reads");
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .expect("a status")
            .parse()
            .expect("a number");
        Answer {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    })
    .await
}

/// The headers of a WebSocket upgrade, for requests that are refused before it.
pub const UPGRADE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
