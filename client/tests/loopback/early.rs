//! What happens between the join and the first look at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lkstream::{DataOptions, RoomBuilder};

use super::*;

/// A greeting is sent when the joiner is announced, and may be here before `connect` returns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_that_comes_before_the_first_look_at_the_events_is_seen() {
    let server = server().await;
    let alice = join(&server, "alice").await;
    let mut joins = alice.events();
    let greeted = Arc::new(AtomicUsize::new(0));
    let (host, count) = (alice.clone(), greeted.clone());
    tokio::spawn(async move {
        while let Some(event) = joins.next().await {
            if let Event::Joined(guest) = event {
                let options = DataOptions::new().to(guest.identity().clone());
                host.publish_data("welcome", options).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    for number in 0..20 {
        let guest = join(&server, &format!("guest{number}")).await;
        let mut events = guest.events();
        let data = event(&mut events, |event| match event {
            Event::Data(message) => Some(message),
            _ => None,
        });
        assert_eq!(&data.await.payload[..], b"welcome");
        guest.close().await;
    }
    assert_eq!(greeted.load(Ordering::Relaxed), 20);
}

/// The same, sure to be early: the events are asked for after the packet has been answered.
#[tokio::test]
async fn events_before_the_first_call_are_kept_and_a_second_handle_starts_at_its_call() {
    let server = server().await;
    let answers = |bob: RoomBuilder| bob.on_rpc("ping", |_| async { Ok(String::new()) });
    let (alice, bob) = pair(&server, answers).await;
    alice
        .publish_data("early", DataOptions::new())
        .await
        .unwrap();
    // Calls travel on the same channel, so the packet has been taken in before the answer.
    within(alice.call("bob", "ping", "").into_future())
        .await
        .unwrap();
    let mut first = bob.events();
    let mut second = bob.events();
    alice
        .publish_data("late", DataOptions::new())
        .await
        .unwrap();
    let data = |event| match event {
        Event::Data(message) => Some(message.payload),
        _ => None,
    };
    assert_eq!(&event(&mut first, data).await[..], b"early");
    assert_eq!(&event(&mut first, data).await[..], b"late");
    assert_eq!(&event(&mut second, data).await[..], b"late");
}
