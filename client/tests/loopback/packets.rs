//! Single packets: data, keys and chat (protocol.md §4.1).

use lkstream::{Channel, ChatMessage, DataOptions, PublishError};

use super::*;

#[tokio::test]
async fn published_packets_arrive_as_events() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let mut events = bob.events();
    let mut data = async || {
        event(&mut events, |event| match event {
            Event::Data(message) => Some(message),
            _ => None,
        })
        .await
    };

    alice
        .publish_data("hello", DataOptions::new().topic("greeting").to("bob"))
        .await
        .unwrap();
    let message = data().await;
    assert_eq!(
        (&message.payload[..], message.channel),
        (&b"hello"[..], Channel::Reliable)
    );
    assert_eq!(
        (message.from, message.topic.unwrap()),
        ("alice".into(), "greeting".into())
    );

    // Lossy packets go while there is nothing else; loopback loses none.
    alice
        .publish_data(noise(1000), DataOptions::new().lossy())
        .await
        .unwrap();
    let message = data().await;
    assert_eq!(
        (&message.payload[..], message.channel),
        (&noise(1000)[..], Channel::Lossy)
    );
    assert_eq!(message.topic, None);

    // More than may wait: the calls wait, nothing is lost, and the order stays.
    let sender = alice.clone();
    tokio::spawn(async move {
        for number in 0..300_u32 {
            let mut payload = noise(10_000);
            payload[..4].copy_from_slice(&number.to_be_bytes());
            sender
                .publish_data(payload, DataOptions::new())
                .await
                .unwrap();
        }
    });
    for number in 0..300_u32 {
        assert_eq!(data().await.payload[..4], number.to_be_bytes());
    }
}

#[tokio::test]
async fn a_packet_that_is_too_large_is_refused_and_the_channel_goes_on() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let mut events = bob.events();
    for options in [DataOptions::new(), DataOptions::new().lossy()] {
        let error = alice
            .publish_data(noise(64_000), options.clone())
            .await
            .unwrap_err();
        let text = error.to_string();
        let PublishError::Packet(lkstream_engine::PublishError::TooLarge {
            size,
            limit: 64_000,
        }) = error
        else {
            panic!("{error:?}");
        };
        assert!(size > 64_000, "{size}");
        assert!(text.ends_with("send it as a stream"), "{text}");
        alice.publish_data(noise(63_000), options).await.unwrap();
        let size = event(&mut events, |event| match event {
            Event::Data(message) => Some(message.payload.len()),
            _ => None,
        });
        assert_eq!(size.await, 63_000);
    }
}

#[tokio::test]
async fn keys_and_chat_arrive_as_events() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let mut events = bob.events();
    alice.publish_dtmf(11, "#").await.unwrap();
    let (from, dtmf) = event(&mut events, |event| match event {
        Event::SipDtmf { from, dtmf } => Some((from, dtmf)),
        _ => None,
    })
    .await;
    assert_eq!((from, dtmf.code, &*dtmf.digit), ("alice".into(), 11, "#"));

    let sent = ChatMessage {
        id: "1".into(),
        timestamp: 5,
        message: "hi".into(),
        ..ChatMessage::default()
    };
    alice.publish_chat(sent.clone()).await.unwrap();
    let (from, message) = event(&mut events, |event| match event {
        Event::Chat { from, message } => Some((from, message)),
        _ => None,
    })
    .await;
    assert_eq!((from, message), ("alice".into(), sent));
}

/// Those who wait for room are let in one after the other, not all woken for each place.
#[tokio::test]
async fn waiting_to_publish_costs_as_much_as_there_are_packets() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const PUBLISHERS: usize = 200;
    let server = server().await;
    let (alice, _bob) = pair(&server, |bob| bob).await;
    let polls = Arc::new(AtomicUsize::new(0));
    let mut publishing = tokio::task::JoinSet::new();
    for _ in 0..PUBLISHERS {
        let (alice, polls) = (alice.clone(), polls.clone());
        publishing.spawn(async move {
            let mut publishing =
                std::pin::pin!(alice.publish_data(noise(60_000), DataOptions::new()));
            std::future::poll_fn(|cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                publishing.as_mut().poll(cx)
            })
            .await
        });
    }
    for published in within(publishing.join_all()).await {
        published.unwrap();
    }
    // The first poll, the one that gets in, and at most one that comes too late for each that gets in.
    let polls = polls.load(Ordering::Relaxed);
    assert!(polls <= 3 * PUBLISHERS, "{polls} polls");
}

#[tokio::test]
async fn those_who_wait_to_publish_learn_that_the_room_is_gone() {
    let server = server().await;
    let (alice, _bob) = pair(&server, |bob| bob).await;
    let mut publishing = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let alice = alice.clone();
        publishing
            .spawn(async move { alice.publish_data(noise(60_000), DataOptions::new()).await });
    }
    tokio::task::yield_now().await;
    server.shutdown().await;
    // Some got in before.
    within(publishing.join_all()).await;
    let error = alice.publish_data("late", DataOptions::new()).await;
    error.unwrap_err();
}
