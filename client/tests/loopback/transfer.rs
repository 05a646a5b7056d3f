//! Streams that arrive.

use std::sync::{Arc, Mutex};

use lkstream::{ByteOptions, Progress, ReadAllError, ReceiptStatus, TextOptions, TopicFilter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{noise, pair, server, within};

#[tokio::test]
async fn a_text_arrives_with_its_header() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("lk.chat")).await;
    let mut texts = bob.text_streams("lk.chat");
    let options = TextOptions::new("lk.chat")
        .attribute("lang", "en")
        .mime_type("text/markdown")
        .to("bob");
    let sent = within(alice.send_text("hello \u{1f600}", options))
        .await
        .unwrap();
    assert_eq!(sent.bytes(), 10);

    let text = within(texts.next()).await.unwrap();
    let info = text.info().clone();
    assert_eq!(info.sender, "alice");
    assert_eq!(info.publisher.as_ref(), Some(alice.local().sid()));
    assert_eq!(info.id, sent.info.id);
    assert_eq!(info.mime_type, "text/markdown");
    assert_eq!(info.total_length, Some(10));
    assert_eq!(info.attributes.get("lang").map(String::as_str), Some("en"));
    assert_eq!(within(text.read_all(100)).await.unwrap(), "hello \u{1f600}");
}

#[tokio::test]
async fn a_text_arrives_piece_by_piece_while_it_is_written() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts(TopicFilter::Any)).await;
    let mut texts = bob.text_streams(TopicFilter::Any);
    let writer = alice.stream_text(TextOptions::new("tokens")).await.unwrap();
    writer.write("one ").await.unwrap();
    let mut text = within(texts.next()).await.unwrap();
    assert_eq!(within(text.next()).await.unwrap().unwrap(), "one ");
    writer.write(String::from("two")).await.unwrap();
    assert_eq!(within(text.next()).await.unwrap().unwrap(), "two");
    within(writer.flush()).await.unwrap();
    assert_eq!(writer.progress().acknowledged, 7);
    let attributes = [("end".to_owned(), "yes".to_owned())].into();
    within(writer.close_with(attributes)).await.unwrap();
    assert!(within(text.next()).await.is_none());
    assert!(within(text.next()).await.is_none());
    assert_eq!(
        text.attributes().get("end").map(String::as_str),
        Some("yes")
    );
}

#[tokio::test]
async fn empty_and_large_texts_and_bytes_arrive() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("t").bytes("b")).await;
    let (mut texts, mut streams) = (bob.text_streams("t"), bob.byte_streams("b"));
    let words = "\u{1f600}\u{e9}a".repeat(60_000);
    for text in ["", words.as_str()] {
        within(alice.send_text(text, TextOptions::new("t")))
            .await
            .unwrap();
        let received = within(texts.next()).await.unwrap();
        assert!(within(received.read_all(usize::MAX)).await.unwrap() == text);
    }
    for size in [0, 1, 15_000, 15_001, 3_000_000] {
        let bytes = noise(size);
        within(async {
            let (sent, received) = tokio::join!(
                alice.send_bytes(bytes.clone(), ByteOptions::new("b").name("noise")),
                async { streams.next().await.unwrap().read_all(size).await },
            );
            assert_eq!(sent.unwrap().bytes(), size as u64);
            assert!(received.unwrap() == bytes, "{size} bytes");
        })
        .await;
    }
}

#[tokio::test]
async fn a_file_crosses_with_progress_and_receipts() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("files")).await;
    let mut files = bob.byte_streams("files");
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for size in [0_usize, 5_000_000] {
        let path = from.path().join("data.bin");
        std::fs::write(&path, noise(size)).unwrap();
        let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
        let options = ByteOptions::new("files").confirmed().on_progress({
            let seen = seen.clone();
            move |progress| seen.lock().unwrap().push(progress)
        });
        within(async {
            let (sent, stored) = tokio::join!(alice.send_file(&path, options), async {
                files.next().await.unwrap().write_to_dir(to.path()).await
            });
            let (mut sent, stored) = (sent.unwrap(), stored.unwrap());
            assert_eq!((sent.bytes(), stored.bytes), (size as u64, size as u64));
            assert!(std::fs::read(&stored.path).unwrap() == noise(size));
            let mut last = sent.receipts.next().await.unwrap();
            if last.status == ReceiptStatus::Accepted {
                last = sent.receipts.next().await.unwrap();
            }
            assert_eq!(last.status, ReceiptStatus::Complete);
            assert_eq!((last.from.as_str(), last.bytes), ("bob", size as u64));
            assert!(last.is_final());
        })
        .await;
        let seen = seen.lock().unwrap();
        let last = seen.last().unwrap();
        assert_eq!(
            (last.total, last.acknowledged),
            (Some(size as u64), size as u64)
        );
        assert!(seen.is_sorted_by_key(|progress| progress.acknowledged));
    }
    let mut names: Vec<_> = std::fs::read_dir(to.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["data (1).bin", "data.bin"]);
}

#[tokio::test]
async fn both_ways_at_once() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("b")).await;
    let (mut to_alice, mut to_bob) = (alice.byte_streams("b"), bob.byte_streams("b"));
    // The registration of alice is younger than her join, which is what most programs do.
    let bytes = noise(4_000_000);
    within(async {
        let (one, two, three, four) = tokio::join!(
            alice.send_bytes(bytes.clone(), ByteOptions::new("b")),
            bob.send_bytes(bytes.clone(), ByteOptions::new("b")),
            async { to_alice.next().await.unwrap().read_all(usize::MAX).await },
            async { to_bob.next().await.unwrap().read_all(usize::MAX).await },
        );
        one.unwrap();
        two.unwrap();
        assert!(three.unwrap() == bytes && four.unwrap() == bytes);
    })
    .await;
}

#[tokio::test]
async fn async_read_and_write_work_together() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("b")).await;
    let mut streams = bob.byte_streams("b");
    let bytes = noise(1_000_000);
    within(async {
        let writing = async {
            let mut writer = alice.stream_bytes(ByteOptions::new("b")).await.unwrap();
            tokio::io::copy(&mut bytes.as_slice(), &mut writer)
                .await
                .unwrap();
            writer.shutdown().await.unwrap();
        };
        let reading = async {
            let mut reader = streams.next().await.unwrap();
            let mut all = Vec::new();
            reader.read_to_end(&mut all).await.unwrap();
            assert_eq!(reader.progress().read, 1_000_000);
            all
        };
        let ((), all) = tokio::join!(writing, reading);
        assert!(all == bytes);
    })
    .await;
}

#[tokio::test]
async fn a_stream_longer_than_the_limit_is_an_error() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("t")).await;
    let mut texts = bob.text_streams("t");
    within(alice.send_text("0123456789", TextOptions::new("t")))
        .await
        .unwrap();
    let text = within(texts.next()).await.unwrap();
    assert_eq!(
        within(text.read_all(9)).await,
        Err(ReadAllError::TooLong { limit: 9 })
    );
}

#[tokio::test]
async fn only_the_named_recipient_gets_it() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("t")).await;
    let carl = within(crate::builder(&server, "carl").texts("t").connect())
        .await
        .unwrap();
    within(alice.wait_for_participant("carl")).await.unwrap();
    let (mut bobs, mut carls) = (bob.text_streams("t"), carl.text_streams("t"));
    within(alice.send_text("for carl", TextOptions::new("t").to("carl")))
        .await
        .unwrap();
    within(alice.send_text("for all", TextOptions::new("t")))
        .await
        .unwrap();
    let first = within(carls.next()).await.unwrap();
    assert_eq!(within(first.read_all(100)).await.unwrap(), "for carl");
    // The order from one sender holds, so what bob gets first proves what he did not get.
    let first = within(bobs.next()).await.unwrap();
    assert_eq!(within(first.read_all(100)).await.unwrap(), "for all");
}

#[tokio::test]
async fn an_agent_speaks_for_a_user() {
    // protocol.md §4.3: the header keeps the user's identity, chunks and trailer carry the agent's; the sid binds them.
    let server = server().await;
    let bob = within(
        crate::builder(&server, "bob")
            .texts("lk.transcription")
            .connect(),
    )
    .await
    .unwrap();
    let mut texts = bob.text_streams("lk.transcription");
    let mut claims = crate::claims("agent");
    claims.kind = "agent".into();
    let agent = within(lkstream::Room::connect(
        &server.url(),
        &crate::sign(&claims),
    ))
    .await
    .unwrap();
    within(agent.wait_for_participant("bob")).await.unwrap();
    let options = TextOptions::new("lk.transcription").sender_identity("user");
    let writer = agent.stream_text(options).await.unwrap();
    writer.write("what the ").await.unwrap();
    writer.write("user said").await.unwrap();
    within(writer.close()).await.unwrap();
    let text = within(texts.next()).await.unwrap();
    assert_eq!(text.info().sender, "user");
    assert_eq!(text.info().publisher.as_ref(), Some(agent.local().sid()));
    assert_eq!(
        within(text.read_all(100)).await.unwrap(),
        "what the user said"
    );
}
