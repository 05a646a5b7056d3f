//! Two rooms and a server in one process, over real sockets on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod early;
mod ends;
mod handlers;
mod joining;
mod odd_servers;
mod packets;
mod recipients;
mod reentry;
mod rpc;
mod sending;
mod transfer;
mod waiting;

use std::future::Future;
use std::time::{Duration, SystemTime};

use lkstream::{Event, Room, RoomBuilder};
use lkstream_proto::token::{ApiKeys, Claims};
use lkstream_server::{Config, Server};

/// Longest wait for anything in these tests; what takes longer is a failure, not a slow machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits, but not for ever.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("the deadline of the tests passed")
}

async fn server() -> Server {
    Server::spawn(Config::dev().with_free_ports())
        .await
        .unwrap()
}

fn claims(identity: &str) -> Claims {
    Claims::join(
        identity,
        "den",
        SystemTime::now(),
        Duration::from_secs(3600),
    )
}

fn sign(claims: &Claims) -> String {
    ApiKeys::one("devkey", "secret")
        .sign(claims, "devkey")
        .unwrap()
}

fn builder(server: &Server, identity: &str) -> RoomBuilder {
    Room::builder(&server.url(), &sign(&claims(identity)))
}

async fn join(server: &Server, identity: &str) -> Room {
    within(builder(server, identity).connect()).await.unwrap()
}

/// alice and bob, who see each other with open connections; bob takes what `bobs` registers.
async fn pair(server: &Server, bobs: impl FnOnce(RoomBuilder) -> RoomBuilder) -> (Room, Room) {
    let bob = within(bobs(builder(server, "bob")).connect())
        .await
        .unwrap();
    let alice = join(server, "alice").await;
    within(alice.wait_for_participant("bob")).await.unwrap();
    within(bob.wait_for_participant("alice")).await.unwrap();
    (alice, bob)
}

/// The next event that `pick` takes.
async fn event<T>(events: &mut lkstream::Events, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    within(async {
        loop {
            let event = events.next().await.expect("the events ended");
            if let Some(picked) = pick(event) {
                return picked;
            }
        }
    })
    .await
}

/// Bytes that do not repeat soon.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
