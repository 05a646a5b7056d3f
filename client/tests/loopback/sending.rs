//! Payloads that are known as a whole: compressed, in one packet, and with attachments.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lkstream::{
    ByteOptions, Compress, Content, MissingCause, OpenError, Progress, SendError, TextOperation,
    TextOptions,
};

use crate::{noise, pair, server, within};

#[tokio::test]
async fn what_shrinks_takes_fewer_bytes_on_the_wire() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("t").bytes("b")).await;
    let (mut texts, mut streams) = (bob.text_streams("t"), bob.byte_streams("b"));
    let log = "GET /index.html HTTP/1.1 200 1234\n".repeat(30_000);
    for (compress, is_smaller) in [
        (Compress::Auto, true),
        (Compress::Always, true),
        (Compress::Never, false),
    ] {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let seen = progress.clone();
        let options = TextOptions::new("t")
            .compress(compress)
            .on_progress(move |progress| *seen.lock().unwrap() = progress);
        let (sent, received) = tokio::join!(
            within(alice.send_text(log.as_str(), options)),
            within(async { texts.next().await.unwrap().read_all(usize::MAX).await }),
        );
        assert_eq!(sent.unwrap().bytes(), log.len() as u64);
        assert!(received.unwrap() == log);
        let progress = *progress.lock().unwrap();
        assert_eq!(progress.acknowledged, log.len() as u64);
        assert_eq!(
            progress.wire < progress.sent / 10,
            is_smaller,
            "{progress:?}"
        );
    }

    // A file that shrinks, and one that does not.
    let folder = tempfile::tempdir().unwrap();
    for (content, is_smaller) in [(log.clone().into_bytes(), true), (noise(700_000), false)] {
        let path = folder.path().join("file");
        std::fs::write(&path, &content).unwrap();
        let progress = Arc::new(Mutex::new(Progress::default()));
        let seen = progress.clone();
        let options =
            ByteOptions::new("b").on_progress(move |progress| *seen.lock().unwrap() = progress);
        let (sent, received) = tokio::join!(
            within(alice.send_file(&path, options)),
            within(async { streams.next().await.unwrap().read_all(usize::MAX).await }),
        );
        assert_eq!(sent.unwrap().bytes(), content.len() as u64);
        assert!(received.unwrap() == content);
        let progress = *progress.lock().unwrap();
        assert_eq!(
            progress.wire < progress.sent / 10,
            is_smaller,
            "{progress:?}"
        );
    }
    within(alice.close()).await;
}

#[tokio::test]
async fn a_short_text_is_confirmed_though_it_is_one_packet() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("t")).await;
    let mut texts = bob.text_streams("t");
    let options = TextOptions::new("t")
        .confirmed()
        .operation(TextOperation::Update)
        .version(3)
        .reply_to("earlier")
        .generated();
    let mut sent = within(alice.send_text("hi", options)).await.unwrap();
    let text = within(texts.next()).await.unwrap();
    let expected = Content::Text {
        operation: TextOperation::Update,
        version: 3,
        reply_to: Some("earlier".into()),
        attachments: Vec::new(),
        generated: true,
    };
    assert_eq!(text.info().content, expected);
    assert_eq!(within(text.read_all(10)).await.unwrap(), "hi");
    let receipt = loop {
        let receipt = within(sent.receipts.next()).await.unwrap();
        if receipt.is_final() {
            break receipt;
        }
    };
    assert_eq!(receipt.status, lkstream::ReceiptStatus::Complete);
    assert_eq!(receipt.bytes, 2);
}

#[tokio::test]
async fn a_text_arrives_with_its_files() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("lk.chat").bytes("lk.chat")).await;
    let mut texts = bob.text_streams("lk.chat");
    let mut files = bob.byte_streams("lk.chat");
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.png");
    std::fs::write(&picture, noise(300_000)).unwrap();

    let options = TextOptions::new("lk.chat")
        .to("bob")
        .attach(&picture)
        .attach_bytes("notes", ByteOptions::new("lk.chat").name("notes.txt"))
        .attach_with(
            &picture,
            ByteOptions::new("lk.chat").id("mine").name("again.png"),
        );
    let receive = async {
        let text = texts.next().await.unwrap();
        assert_eq!(text.attachments().len(), 3);
        assert_eq!(text.attachments()[2], "mine");
        let info = text.info().clone();
        assert_eq!(text.read_all(100).await.unwrap(), "look");
        let mut attachments = files.attachments_of(&info);
        let mut names = Vec::new();
        while let Some(file) = attachments.next().await {
            let file = file.unwrap();
            names.push(file.name().to_owned());
            let expected = match file.name() {
                "notes.txt" => b"notes".to_vec(),
                _ => noise(300_000),
            };
            assert!(file.read_all(usize::MAX).await.unwrap() == expected);
        }
        names
    };
    // A stream that belongs to nothing stays for whoever asks for the next one.
    alice
        .send_bytes("stray", ByteOptions::new("lk.chat").name("stray"))
        .await
        .unwrap();
    let (sent, names) = tokio::join!(within(alice.send_text("look", options)), within(receive));
    assert_eq!(names, ["picture.png", "notes.txt", "again.png"]);
    let sent = sent.unwrap();
    let ids: Vec<_> = sent
        .attachments
        .iter()
        .map(|sent| sent.info.id.clone())
        .collect();
    let Content::Text { attachments, .. } = &sent.info.content else {
        panic!("no text");
    };
    assert_eq!(*attachments, ids);
    let stray = within(files.next()).await.unwrap();
    assert_eq!(stray.name(), "stray");

    // What cannot be read is found before anything is sent.
    let missing = TextOptions::new("lk.chat").attach(folder.path().join("missing"));
    let error = within(alice.send_text("look", missing)).await.unwrap_err();
    assert!(matches!(error, SendError::File { .. }), "{error}");
    within(alice.send_text("next", TextOptions::new("lk.chat")))
        .await
        .unwrap();
    let text = within(texts.next()).await.unwrap();
    assert_eq!(within(text.read_all(100)).await.unwrap(), "next");
}

#[tokio::test]
async fn an_attachment_that_cannot_come_any_more_is_an_error() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("lk.chat").bytes("lk.chat")).await;
    let mut texts = bob.text_streams("lk.chat");
    let mut files = bob.byte_streams("lk.chat");
    let options = TextOptions::new("lk.chat").attached("never");
    within(alice.send_text("look", options)).await.unwrap();
    let text = within(texts.next()).await.unwrap();
    let info = text.info().clone();
    within(text.read_all(100)).await.unwrap();
    alice.close().await;
    let mut attachments = files.attachments_of(&info);
    let missing = within(attachments.next()).await.unwrap().unwrap_err();
    assert_eq!(missing.id, "never");
    assert_eq!(missing.cause, MissingCause::SenderLeft);
    assert!(within(attachments.next()).await.is_none());
    bob.close().await;
    let mut attachments = files.attachments_of(&info);
    let missing = within(attachments.next()).await.unwrap().unwrap_err();
    assert_eq!(missing.cause, MissingCause::RoomGone);
}

#[tokio::test]
async fn a_send_that_is_dropped_is_aborted_for_its_receivers() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("b")).await;
    let mut streams = bob.byte_streams("b");
    let mut reader = {
        // Too much for anybody's buffers, to a reader that does not read.
        let mut sending = std::pin::pin!(alice.send_bytes(
            vec![7; 64 << 20],
            ByteOptions::new("b").compress(Compress::Never)
        ));
        tokio::select! {
            sent = &mut sending => panic!("{sent:?}"),
            reader = within(streams.next()) => reader.unwrap(),
        }
    };
    let error = within(async {
        loop {
            match reader.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("it reads as whole"),
            }
        }
    })
    .await;
    assert!(
        matches!(error, lkstream::ReadError::AbortedBySender { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_header_too_large_is_an_error_of_the_send() {
    let server = server().await;
    let (alice, _bob) = pair(&server, |bob| bob).await;
    let options = TextOptions::new("t").attribute("a", "x".repeat(15_000));
    let error = within(alice.send_text("hi", options)).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Open(OpenError::Stream(_))),
        "{error}"
    );
    assert!(error.to_string().contains("15000"), "{error}");
}

/// An acknowledgement wakes those whose packets it covers, not everybody who waits for one.
#[tokio::test]
async fn waiting_for_acknowledgements_costs_as_much_as_there_are_packets() {
    const WRITERS: usize = 60;
    /// A header, four chunks of 15 000 bytes, a trailer.
    const PACKETS: usize = 6;

    let server = server().await;
    let (alice, _bob) = pair(&server, |bob| bob).await;
    let polls = Arc::new(AtomicUsize::new(0));
    let mut closing = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let writer = alice.stream_bytes(ByteOptions::new("none")).await.unwrap();
        within(writer.write(noise(60_000))).await.unwrap();
        let polls = polls.clone();
        closing.spawn(async move {
            let mut closing = std::pin::pin!(writer.close());
            std::future::poll_fn(|cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                closing.as_mut().poll(cx)
            })
            .await
        });
    }
    for closed in within(closing.join_all()).await {
        closed.unwrap();
    }
    let polls = polls.load(Ordering::Relaxed);
    assert!(polls <= WRITERS * (PACKETS + 1), "{polls} polls");
}
