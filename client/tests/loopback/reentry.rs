//! Code of an application that uses the room from where the room calls, wakes or drops it.

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use lkstream::encryption::Keyring;
use lkstream::{ByteOptions, DataOptions, HandlerOptions, RpcError, TextOptions};

use super::*;

/// Runs `body` in a runtime of its own: a thread that locks itself out fails the test rather than hangs it.
fn on_a_thread<F: Future<Output = ()> + Send + 'static>(body: F) {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(body);
        done.send(()).unwrap();
    });
    ended
        .recv_timeout(2 * DEADLINE)
        .expect("the body failed, or locked itself out");
}

/// Uses the room whenever it is dropped, woken, or read.
struct Reentrant {
    room: Room,
    bytes: Vec<u8>,
    uses: Arc<AtomicUsize>,
}

impl Reentrant {
    fn new(room: &Room, uses: &Arc<AtomicUsize>) -> Self {
        Reentrant {
            room: room.clone(),
            bytes: noise(100_000),
            uses: uses.clone(),
        }
    }

    fn touch(&self) {
        self.room.participants();
        self.uses.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Reentrant {
    fn drop(&mut self) {
        self.touch();
    }
}

impl AsRef<[u8]> for Reentrant {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Wake for Reentrant {
    fn wake(self: Arc<Self>) {
        self.touch();
    }
}

#[test]
fn handlers_that_are_replaced_may_use_the_room_when_they_are_dropped() {
    on_a_thread(async {
        let server = server().await;
        let (alice, _bob) = pair(&server, |bob| bob).await;
        let uses = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 {
            let held = Reentrant::new(&alice, &uses);
            alice.on_rpc("m", move |_| {
                held.room.participants();
                async { Ok::<_, RpcError>(String::new()) }
            });
        }
        assert_eq!(uses.load(Ordering::Relaxed), 1);
        assert!(alice.off_rpc("m"));
        assert_eq!(uses.load(Ordering::Relaxed), 2);

        let held = Reentrant::new(&alice, &uses);
        let registration = alice.on_text(HandlerOptions::new("t"), move |_| {
            held.room.participants();
            async {}
        });
        registration.unregister();
        alice.close().await;
    });
}

#[test]
fn a_change_of_keys_may_use_the_room() {
    on_a_thread(async {
        let server = server().await;
        let keyring = Keyring::shared("secret").unwrap();
        let room = within(builder(&server, "alice").encryption(keyring).connect())
            .await
            .unwrap();
        let inner = room.clone();
        let changed = room.with_keyring(move |keyring| {
            inner.participants();
            keyring.ratchet_shared_key(0)
        });
        within(changed).await.unwrap().unwrap();
        assert_eq!(join(&server, "bob").await.with_keyring(|_| ()).await, None);
    });
}

#[test]
fn payloads_may_use_the_room_when_they_are_dropped() {
    on_a_thread(async {
        let server = server().await;
        let (alice, bob) = pair(&server, |bob| bob.bytes("files")).await;
        let uses = Arc::new(AtomicUsize::new(0));
        let payload = || Bytes::from_owner(Reentrant::new(&alice, &uses));
        let mut files = bob.byte_streams("files");

        let sent = alice.send_bytes(payload(), ByteOptions::new("files"));
        let read = async { files.next().await.unwrap().read_all(1 << 20).await };
        let (sent, read) = within(async { tokio::join!(sent, read) }).await;
        assert_eq!(read.unwrap(), noise(100_000));
        sent.unwrap();

        let writer = alice.stream_bytes(ByteOptions::new("none")).await.unwrap();
        within(writer.write(payload())).await.unwrap();
        within(writer.close()).await.unwrap();
        let writer = alice.stream_bytes(ByteOptions::new("none")).await.unwrap();
        within(writer.write(payload())).await.unwrap();
        writer.abort("enough");
        let error = alice.publish_data(payload(), DataOptions::new()).await;
        error.unwrap_err();

        within(alice.close()).await;
        let error = alice.send_bytes(payload(), ByteOptions::new("files")).await;
        error.unwrap_err();
        alice.participants();
        assert_eq!(uses.load(Ordering::Relaxed), 5, "each was dropped");
    });
}

#[test]
fn wakers_may_use_the_room_when_they_are_woken_and_dropped() {
    on_a_thread(async {
        let server = server().await;
        let (alice, bob) = pair(&server, |bob| {
            bob.bytes("files")
                .texts("texts")
                .on_rpc("slow", |_| async { std::future::pending().await })
        })
        .await;
        let uses = Arc::new(AtomicUsize::new(0));
        let waker = || Waker::from(Arc::new(Reentrant::new(&alice, &uses)));
        // Twice: the second waker replaces the first.
        let poll = |future: std::pin::Pin<&mut dyn Future<Output = ()>>| {
            let mut future = future;
            for _ in 0..2 {
                let polled = future.as_mut().poll(&mut Context::from_waker(&waker()));
                assert_eq!(polled, Poll::Pending);
            }
        };

        let mut events = alice.events();
        loop {
            let next = pin!(events.next());
            if next.poll(&mut Context::from_waker(&waker())).is_pending() {
                break;
            }
        }
        let mut texts = alice.text_streams("texts");
        let writer = alice.stream_bytes(ByteOptions::new("files")).await.unwrap();
        let mut sent = alice
            .send_text("x", TextOptions::new("none").to("alice").confirmed())
            .await
            .unwrap();
        let mut files = bob.byte_streams("files");
        within(writer.write(noise(10))).await.unwrap();
        let mut file = within(files.next()).await.unwrap();
        within(file.next()).await.unwrap().unwrap();
        {
            poll(pin!(async { drop(texts.next().await) }));
            poll(pin!(async { drop(file.next().await) }));
            poll(pin!(async { drop(sent.receipts.next().await) }));
            poll(pin!(async {
                drop(alice.call("bob", "slow", "").into_future().await)
            }));
            poll(pin!(async { drop(alice.closed().await) }));
            poll(pin!(async {
                drop(writer.write(noise(1 << 20)).await);
                std::future::pending::<()>().await;
            }));
        }
        let before = uses.load(Ordering::Relaxed);
        within(alice.close()).await;
        assert!(uses.load(Ordering::Relaxed) > before, "nobody was woken");
    });
}
