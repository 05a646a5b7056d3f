//! Remote calls between two rooms (protocol.md §6).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lkstream::{RpcCode, RpcError};

use super::*;

#[tokio::test]
async fn a_call_gives_what_the_handler_returns() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| {
        bob.on_rpc("echo", |call| async move {
            Ok(format!(
                "{} {} {:?}",
                call.caller, call.payload, call.response_timeout
            ))
        })
    })
    .await;
    let answer = within(
        alice
            .call("bob", "echo", "hi")
            .timeout(Duration::from_secs(10))
            .into_future(),
    );
    // protocol.md §6: the handler is told the timeout less 7 s.
    assert_eq!(answer.await.unwrap(), "alice hi 3s");

    bob.on_rpc(
        "repeat",
        |call| async move { Ok(call.payload.repeat(1000)) },
    );
    for piece in ["0123456789abcdefghij", "grüße, 🦀!"] {
        let long = piece.repeat(1000);
        let answer = within(alice.call("bob", "repeat", piece).into_future());
        assert_eq!(answer.await.unwrap(), long);
        bob.on_rpc("length", |call| async move {
            Ok(call.payload.len().to_string())
        });
        let answer = within(alice.call("bob", "length", &*long).into_future());
        assert_eq!(answer.await.unwrap(), long.len().to_string());
    }
}

#[tokio::test]
async fn errors_of_handlers_panics_and_missing_methods_come_back() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    bob.on_rpc("fail", |_| async {
        Err(RpcError::new(7, "no").with_data("why"))
    });
    bob.on_rpc("panic", |_| async {
        panic!("a handler that panics is a part of this test")
    });

    let error = within(alice.call("bob", "fail", "").into_future())
        .await
        .unwrap_err();
    assert_eq!(error, RpcError::new(7, "no").with_data("why"));
    let error = within(alice.call("bob", "panic", "").into_future())
        .await
        .unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::ApplicationError));
    let error = within(alice.call("bob", "nothing", "").into_future())
        .await
        .unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::UnsupportedMethod));
    assert_eq!(error.message, "Method not supported at destination");
    let error = within(alice.call("alice", "fail", "").into_future())
        .await
        .unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::RecipientNotFound));

    assert!(bob.off_rpc("fail"));
    assert!(!bob.off_rpc("fail"));
    let error = within(alice.call("bob", "fail", "").into_future())
        .await
        .unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::UnsupportedMethod));
}

#[tokio::test]
async fn a_slow_handler_and_a_leaving_one_end_the_call() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| {
        bob.on_rpc("sleep", |_| std::future::pending())
    })
    .await;
    let began = Instant::now();
    let call = alice
        .call("bob", "sleep", "")
        .timeout(Duration::from_millis(300));
    let error = within(call.into_future()).await.unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::ResponseTimeout));
    assert!(began.elapsed() >= Duration::from_millis(300));

    let call = tokio::spawn(alice.call("bob", "sleep", "").into_future());
    let call_again = alice.call("bob", "nothing", "").into_future();
    within(call_again).await.unwrap_err();
    within(bob.close()).await;
    let error = within(call).await.unwrap().unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::RecipientDisconnected));
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_handler_ends_when_nobody_can_wait_for_it_any_more() {
    struct Dropped(Option<tokio::sync::oneshot::Sender<Duration>>, Instant);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(self.1.elapsed());
        }
    }
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = std::sync::Mutex::new(Some(tell));
    let server = server().await;
    let (alice, _bob) = pair(&server, |bob| {
        bob.on_rpc("sleep", move |_| {
            let dropped = Dropped(tell.lock().unwrap().take(), Instant::now());
            async move {
                let _dropped = dropped;
                std::future::pending().await
            }
        })
    })
    .await;
    let call = alice
        .call("bob", "sleep", "")
        .timeout(Duration::from_millis(100));
    within(call.into_future()).await.unwrap_err();
    // protocol.md §6: the handler is told 1 s at least, and a round trip takes 7 s at most.
    let after = within(told).await.unwrap();
    assert!((8..10).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn our_own_leave_ends_our_calls() {
    let server = server().await;
    let (alice, _bob) = pair(&server, |bob| {
        bob.on_rpc("sleep", |_| std::future::pending())
    })
    .await;
    let call = tokio::spawn(alice.call("bob", "sleep", "").into_future());
    within(alice.call("bob", "nothing", "").into_future())
        .await
        .unwrap_err();
    within(alice.close()).await;
    let error = within(call).await.unwrap().unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::RecipientDisconnected));
    let error = within(alice.call("bob", "sleep", "").into_future())
        .await
        .unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::SendFailed));
}

#[tokio::test]
async fn interceptors_run_around_both_sides_in_order() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| {
        bob.on_rpc("echo", |call| async move { Ok(call.payload) })
    })
    .await;
    let seen = Arc::new(AtomicUsize::new(0));
    alice.intercept_calls({
        let seen = seen.clone();
        move |mut call, next| {
            seen.fetch_add(1, Ordering::Relaxed);
            call.payload.push_str(" 1");
            async move { Ok(next.run(call).await? + " 4") }
        }
    });
    alice.intercept_calls(|mut call, next| async move {
        call.payload.push_str(" 2");
        if call.method == "cached" {
            return Ok("from the cache".to_owned());
        }
        next.run(call).await
    });
    bob.intercept_invocations(|mut call, next| async move {
        if call.payload.contains("secret") {
            return Err(RpcError::new(403, "not you"));
        }
        call.payload.push_str(" 3");
        next.run(call).await
    });
    let call =
        |method: &str, payload: &str| within(alice.call("bob", method, payload).into_future());
    assert_eq!(call("echo", "0").await.unwrap(), "0 1 2 3 4");
    assert_eq!(call("cached", "0").await.unwrap(), "from the cache 4");
    assert_eq!(
        call("echo", "secret").await.unwrap_err(),
        RpcError::new(403, "not you")
    );
    assert_eq!(seen.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_call_overtakes_a_large_transfer() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| {
        bob.on_rpc("echo", |call| async move { Ok(call.payload) })
            .bytes("files")
    })
    .await;
    let mut files = bob.byte_streams("files");
    tokio::spawn(async move {
        while let Some(mut file) = files.next().await {
            while file.next().await.is_some() {}
        }
    });
    let sender = alice.clone();
    let file = tokio::spawn(async move {
        sender
            .send_bytes(noise(30_000_000), lkstream::ByteOptions::new("files"))
            .await
    });
    let mut calls = 0;
    while !file.is_finished() {
        assert_eq!(
            within(alice.call("bob", "echo", "x").into_future())
                .await
                .unwrap(),
            "x"
        );
        calls += 1;
    }
    within(file).await.unwrap().unwrap();
    assert!(calls > 3, "{calls} calls during the transfer");
}

/// A receiver handles 64 calls of one caller; the others wait for their turn rather than fail.
#[tokio::test]
async fn more_calls_than_are_handled_at_once_wait_for_their_turn() {
    const CALLS: usize = 300;
    let server = server().await;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (running.clone(), most.clone());
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (opened, arrived) = (gate.clone(), Arc::new(tokio::sync::Notify::new()));
    let full = arrived.clone();
    let (alice, _bob) = pair(&server, |bob| {
        bob.on_rpc("work", move |call| {
            let count = now.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(count, Ordering::SeqCst);
            if count == 64 {
                full.notify_one();
            }
            let (gate, now) = (gate.clone(), now.clone());
            async move {
                drop(gate.acquire().await);
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(call.payload)
            }
        })
    })
    .await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..CALLS {
        let alice = alice.clone();
        calls.spawn(async move {
            let call = alice.call("bob", "work", number.to_string());
            call.timeout(DEADLINE).await
        });
    }
    within(arrived.notified()).await;

    // One that can't wait that long says why.
    let limit = Duration::from_millis(50);
    let late = alice.call("bob", "work", "late").timeout(limit).await;
    assert_eq!(
        late.unwrap_err().to_string(),
        "Response timeout (1502): 64 earlier calls to bob have not ended"
    );

    opened.add_permits(1);
    for result in within(calls.join_all()).await {
        result.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 64);
}
