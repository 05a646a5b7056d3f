//! Streams that wait for a receiver that does not read yet, or never does.

use std::sync::Arc;
use std::time::Duration;

use lkstream::{
    ByteOptions, Event, HandlerOptions, Limit, ReadError, ReceiptStatus, StreamLimits, TextOptions,
};
use tokio::sync::Semaphore;

use crate::{event, pair, server, within};

#[tokio::test]
async fn a_receiver_that_reads_later_gets_every_text() {
    const TEXTS: usize = 600;
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("lk.chat")).await;
    let mut texts = bob.text_streams("lk.chat");
    for at in 0..TEXTS {
        within(alice.send_text(format!("text {at}"), TextOptions::new("lk.chat")))
            .await
            .unwrap();
    }
    for at in 0..TEXTS {
        let text = within(texts.next()).await.unwrap();
        assert_eq!(
            within(text.read_all(100)).await.unwrap(),
            format!("text {at}")
        );
    }
    assert_eq!(bob.counters().failed_unread, 0);
}

/// As a slow disk does: handlers get all of a stream and take their time before they let go of it.
#[tokio::test]
async fn handlers_that_take_their_time_get_every_file() {
    const FILES: usize = 600;
    let server = server().await;
    let disk = Arc::new(Semaphore::new(0));
    let slow = disk.clone();
    let options = HandlerOptions::new("files").at_most(4);
    let (alice, _bob) = pair(&server, |bob| {
        bob.on_bytes(options, move |mut file| {
            let slow = slow.clone();
            async move {
                let mut size = 0;
                while let Some(piece) = file.next().await {
                    size += piece.unwrap().len();
                }
                let stored = file.busy_with(slow.acquire()).await;
                stored.unwrap().forget();
                assert_eq!(size, 1000);
                file.confirm();
            }
        })
    })
    .await;
    let mut sent = Vec::new();
    for _ in 0..FILES {
        let options = ByteOptions::new("files").to("bob").confirmed();
        sent.push(
            within(alice.send_bytes(vec![1; 1000], options))
                .await
                .unwrap(),
        );
    }
    disk.add_permits(FILES);
    for mut sent in sent {
        let last = within(async {
            loop {
                let receipt = sent.receipts.next().await.unwrap();
                if receipt.is_final() {
                    return receipt;
                }
            }
        })
        .await;
        assert_eq!(last.status, ReceiptStatus::Complete, "{}", last.reason);
    }
}

#[tokio::test]
async fn a_registration_that_nobody_reads_holds_nobody_for_ever() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| {
        let limits = StreamLimits {
            max_waiting: 4,
            stall_limit: Duration::from_millis(50),
            ..StreamLimits::default()
        };
        bob.texts("forgotten").bytes("files").stream_limits(limits)
    })
    .await;
    let mut events = bob.events();
    let mut files = bob.byte_streams("files");
    for _ in 0..16 {
        within(alice.send_text("hello", TextOptions::new("forgotten")))
            .await
            .unwrap();
    }
    let late = TextOptions::new("forgotten").to("bob").confirmed();
    let mut late = within(alice.send_text("late", late)).await.unwrap();
    // What is behind them arrives.
    within(alice.send_bytes("file", ByteOptions::new("files")))
        .await
        .unwrap();
    let file = within(files.next()).await.unwrap();
    assert_eq!(&within(file.read_all(100)).await.unwrap()[..], b"file");
    // What did not fit is told on both sides.
    let error = event(&mut events, |event| match event {
        Event::IncomingFailed { info, error } => {
            assert_eq!(info.topic, "forgotten");
            Some(error)
        }
        _ => None,
    })
    .await;
    assert!(
        matches!(error, ReadError::Limit(Limit::NotRead { waiting: 16, .. })),
        "{error:?}"
    );
    let receipt = within(late.receipts.next()).await.unwrap();
    assert_eq!(receipt.status, ReceiptStatus::Failed);
    assert_eq!(receipt.reason, error.to_string());
}

#[tokio::test]
async fn the_sender_learns_that_nobody_takes_the_topic() {
    let server = server().await;
    let (alice, _bob) = pair(&server, |bob| bob.texts("other")).await;
    let options = TextOptions::new("lk.chat").to("bob").confirmed();
    let mut sent = within(alice.send_text("hello", options)).await.unwrap();
    let receipt = within(sent.receipts.next()).await.unwrap();
    assert_eq!(receipt.status, ReceiptStatus::Failed);
    assert_eq!(receipt.reason, "nobody there takes streams of this topic");
}
