//! A worker over a real socket, without transports: its rooms, and what remains when one breaks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::Future;

use lkstream_proto::signal::{LeaveAction, Response, SignalResponse};
use lkstream_proto::token::Claims;
use tokio::sync::Semaphore;

use super::*;
use crate::link::{self, Messages};
use crate::room::Joining;

const DEADLINE: Duration = Duration::from_secs(30);

/// A ping with this time makes its room panic.
const POISON: i64 = 666;

fn trap(input: &Input) {
    if let Input::Request {
        request: Request::Ping(POISON),
        ..
    } = input
    {
        panic!("as the test asked for");
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("an answer in time")
}

/// A worker and the way to it.
struct Scene {
    commands: mpsc::Sender<Command>,
    joins: u8,
}

/// One who joined.
struct Guest {
    link: LinkId,
    messages: Messages,
}

impl Guest {
    /// The next message that `want` takes; `None` when the link ends before.
    async fn until<T>(&mut self, mut want: impl FnMut(Response) -> Option<T>) -> Option<T> {
        loop {
            let message = within(self.messages.next()).await?;
            let response = SignalResponse::from_bytes(message).unwrap();
            if let Some(found) = response.message.and_then(&mut want) {
                return Some(found);
            }
        }
    }
}

impl Scene {
    /// Runs a test beside a worker.
    async fn run<F: Future<Output = ()>>(
        change: impl FnOnce(&mut Options),
        test: impl FnOnce(Scene) -> F,
    ) {
        let mut options = Options {
            socket: Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
            certificate: Arc::new(Certificate::generate().unwrap()),
            candidates: Vec::new(),
            limits: room::Limits::default(),
            max_rooms: 3,
            max_rooms_per_identity: 2,
            node_id: "ND_test".to_owned(),
            keys: Arc::new(ApiKeys::one("key", "secret")),
            journal: Arc::default(),
            trap: Some(trap),
        };
        change(&mut options);
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let worker = Worker::new(options).unwrap();
        let scene = Scene { commands, joins: 0 };
        tokio::join!(worker.run(inbox), test(scene));
    }

    async fn join(&mut self, identity: &str, room: &str) -> Result<Guest, Denied> {
        self.join_with(identity, room, |_| {}).await
    }

    async fn join_with(
        &mut self,
        identity: &str,
        room: &str,
        change: impl FnOnce(&mut Admission),
    ) -> Result<Guest, Denied> {
        self.joins += 1;
        let claims = Claims::join(identity, room, std::time::SystemTime::now(), DEADLINE);
        let mut admission = Admission {
            room: room.into(),
            names_room: true,
            room_metadata: String::new(),
            joining: Joining::new(identity, [self.joins; 16]),
            offer: None,
            resume: None,
            claims: Box::new(claims),
        };
        change(&mut admission);
        let (queue, messages) = link::queue();
        let (reply, answer) = oneshot::channel();
        let command = Command::Join {
            admission: Box::new(admission),
            link: queue,
            reply,
        };
        self.commands.send(command).await.unwrap();
        let link = within(answer).await.expect("an answer")?;
        Ok(Guest { link, messages })
    }

    async fn ask(&self, guest: &Guest, request: Request) {
        let turn = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let command = Command::Request {
            link: guest.link,
            request: Box::new(request),
            turn,
        };
        self.commands.send(command).await.unwrap();
    }

    async fn stats(&self) -> Stats {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Stats(reply)).await.unwrap();
        within(answer).await.unwrap()
    }
}

#[tokio::test]
async fn a_room_that_breaks_is_ended_and_nothing_else() {
    Scene::run(
        |_| {},
        |mut scene| async move {
            let mut alice = scene.join("alice", "broken").await.unwrap();
            let mut bob = scene.join("bob", "broken").await.unwrap();
            let mut carol = scene.join("carol", "other").await.unwrap();
            scene.ask(&bob, Request::Ping(POISON)).await;
            for guest in [&mut alice, &mut bob] {
                let leave = guest
                    .until(|response| match response {
                        Response::Leave(leave) => Some(leave),
                        _ => None,
                    })
                    .await
                    .expect("a leave");
                assert_eq!(leave.action, LeaveAction::Reconnect as i32);
                assert_eq!(leave.reason, DisconnectReason::StateMismatch as i32);
                assert!(within(guest.messages.next()).await.is_none(), "and the end");
            }
            scene.ask(&carol, Request::Ping(1)).await;
            let pong = carol.until(|response| match response {
                Response::Pong(at) => Some(at),
                _ => None,
            });
            assert!(pong.await.is_some(), "others go on");
            let stats = scene.stats().await;
            assert_eq!((stats.rooms, stats.participants), (1, 1));
            assert_eq!(stats.rooms_broken, 1);
            let mut again = scene.join("alice", "broken").await.unwrap();
            let joined = again.until(|response| match response {
                Response::Join(joined) => Some(joined),
                _ => None,
            });
            let others = joined.await.unwrap().other_participants;
            assert!(others.is_empty(), "the room is a new one");
        },
    )
    .await;
}

#[tokio::test]
async fn rooms_that_nobody_is_in_give_way() {
    Scene::run(
        |_| {},
        |mut scene| async move {
            let mut guests = Vec::new();
            for room in ["a", "b", "c"] {
                guests.push(scene.join("alice", room).await.unwrap());
            }
            let full = scene.join("bob", "d").await.err().expect("no room is free");
            assert_eq!(full.text, "the server has 3 rooms already");
            // One who goes leaves an empty room behind, which is kept for a while.
            scene
                .ask(&guests[1], Request::Leave(Default::default()))
                .await;
            guests.push(scene.join("bob", "d").await.unwrap());
            let stats = scene.stats().await;
            assert_eq!((stats.rooms, stats.rooms_evicted), (3, 1));
        },
    )
    .await;
}

#[tokio::test]
async fn a_token_that_names_no_room_opens_few() {
    Scene::run(
        |options| options.max_rooms = 100,
        |mut scene| async move {
            let unnamed = |admission: &mut Admission| admission.names_room = false;
            let mut guests = Vec::new();
            for room in ["a", "b"] {
                guests.push(scene.join_with("alice", room, unnamed).await.unwrap());
            }
            let refused = scene.join_with("alice", "c", unnamed).await.err().unwrap();
            assert!(
                refused.text.starts_with("this identity is in 2 rooms"),
                "{refused:?}"
            );
            // Others may, and it may join a room that is there.
            guests.push(scene.join_with("bob", "c", unnamed).await.unwrap());
            guests.push(scene.join_with("alice", "c", unnamed).await.unwrap());
            for guest in &guests {
                scene.ask(guest, Request::Leave(Default::default())).await;
            }
            scene.join_with("alice", "d", unnamed).await.unwrap();
        },
    )
    .await;
}

#[tokio::test]
async fn a_refused_join_leaves_no_room_behind() {
    Scene::run(
        |_| {},
        |mut scene| async move {
            let old = |admission: &mut Admission| admission.joining.client.protocol = 1;
            assert!(scene.join_with("alice", "a", old).await.is_err());
            assert_eq!(scene.stats().await.rooms, 0);
        },
    )
    .await;
}

#[tokio::test]
async fn no_duration_panics() {
    let limits = |limits: &mut room::Limits, duration| {
        limits.stalled_after = duration;
        limits.cut_after = duration;
        limits.connect_timeout = duration;
        limits.resume_timeout = duration;
        limits.farewell = duration;
        limits.leave_drain = duration;
        limits.empty_timeout = duration;
        limits.departure_timeout = duration;
    };
    for duration in [Duration::MAX, Duration::ZERO] {
        Scene::run(
            |options| limits(&mut options.limits, duration),
            |mut scene| async move {
                let alice = scene.join("alice", "a").await.unwrap();
                scene.ask(&alice, Request::Leave(Default::default())).await;
                assert_eq!(scene.stats().await.rooms_broken, 0);
            },
        )
        .await;
    }
}
