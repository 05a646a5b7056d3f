//! Streams and rooms that end with an error.

use lkstream::{
    ByteOptions, DisconnectReason, Disconnected, Event, MissedCause, OpenError, ReadError,
    SaveError, SendError, StreamLimits, TextOptions, WriteError,
};

use crate::{event, join, noise, pair, server, within};

#[tokio::test]
async fn nobody_registered_is_an_event() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let mut events = bob.events();
    within(alice.send_text("hello", TextOptions::new("nobody")))
        .await
        .unwrap();
    let info = event(&mut events, |event| match event {
        Event::UnclaimedStream(info) => Some(info),
        _ => None,
    })
    .await;
    assert_eq!(info.topic, "nobody");
    assert_eq!(info.sender, "alice");
}

#[tokio::test]
async fn a_dropped_writer_is_an_abort_at_the_reader() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("b")).await;
    let mut streams = bob.byte_streams("b");
    let writer = alice.stream_bytes(ByteOptions::new("b")).await.unwrap();
    writer.write(vec![7; 10]).await.unwrap();
    let mut reader = within(streams.next()).await.unwrap();
    assert_eq!(within(reader.next()).await.unwrap().unwrap().len(), 10);
    drop(writer);
    let error = within(reader.next()).await.unwrap().unwrap_err();
    assert!(
        matches!(error, ReadError::AbortedBySender { .. }),
        "{error:?}"
    );
    // It stays the same error, and never becomes an end.
    assert_eq!(within(reader.next()).await, Some(Err(error)));
}

#[tokio::test]
async fn an_abort_carries_its_reason_and_leaves_no_file() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("b")).await;
    let mut streams = bob.byte_streams("b");
    let directory = tempfile::tempdir().unwrap();
    let writer = alice
        .stream_bytes(ByteOptions::new("b").name("a").confirmed())
        .await
        .unwrap();
    writer.write(noise(100_000)).await.unwrap();
    let reader = within(streams.next()).await.unwrap();
    writer.abort("the disk is on fire");
    let error = within(reader.write_to_dir(directory.path()))
        .await
        .unwrap_err();
    let SaveError::Read(ReadError::AbortedBySender { reason }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(&**reason, "the disk is on fire");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_dropped_reader_does_not_hold_the_sender_and_says_failed() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("b")).await;
    let mut streams = bob.byte_streams("b");
    let writer = alice
        .stream_bytes(ByteOptions::new("b").confirmed())
        .await
        .unwrap();
    writer.write(vec![1; 10]).await.unwrap();
    drop(within(streams.next()).await.unwrap());
    // It was the only recipient, so there is nobody left to send to.
    let error = within(async {
        loop {
            if let Err(error) = writer.write(vec![2; 1_000_000]).await {
                return error;
            }
        }
    })
    .await;
    let WriteError::NoRecipients(error) = error else {
        panic!("{error:?}");
    };
    assert!(
        matches!(error.missed[0].cause, MissedCause::Failed { .. }),
        "{error:?}"
    );
    // The room goes on.
    within(alice.send_bytes(vec![3], ByteOptions::new("b")))
        .await
        .unwrap();
    let next = within(streams.next()).await.unwrap();
    assert_eq!(within(next.read_all(10)).await.unwrap(), vec![3]);
}

#[tokio::test]
async fn a_small_budget_pushes_back_and_loses_nothing() {
    let server = server().await;
    // A handful of chunks, and every batch of datagrams brings more.
    let limits = StreamLimits {
        reader_budget: 64 * 1024,
        ..StreamLimits::default()
    };
    let (alice, bob) = pair(&server, |bob| bob.bytes("b").stream_limits(limits)).await;
    let mut streams = bob.byte_streams("b");
    let bytes = noise(20_000_000);
    let sending = tokio::spawn({
        let (alice, bytes) = (alice.clone(), bytes.clone());
        async move { alice.send_bytes(bytes, ByteOptions::new("b")).await }
    });
    let mut reader = within(streams.next()).await.unwrap();
    let mut received = Vec::new();
    while let Some(piece) = within(reader.next()).await {
        received.extend_from_slice(&piece.unwrap());
        tokio::task::yield_now().await;
    }
    assert!(received == bytes);
    within(sending).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_sender_that_leaves_ends_its_streams_as_failed() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("b")).await;
    let mut streams = bob.byte_streams("b");
    let mut events = bob.events();
    let writer = alice.stream_bytes(ByteOptions::new("b")).await.unwrap();
    writer.write(vec![1; 10]).await.unwrap();
    let mut reader = within(streams.next()).await.unwrap();
    within(reader.next()).await.unwrap().unwrap();
    within(alice.close()).await;
    assert!(within(reader.next()).await.unwrap().is_err());
    event(&mut events, |event| match event {
        Event::Left(who) => (*who.identity() == "alice").then_some(()),
        _ => None,
    })
    .await;
    assert!(bob.participants().is_empty());
    // The writer of a closed room says so.
    assert!(matches!(
        within(writer.write(vec![1])).await,
        Err(WriteError::Closed | WriteError::ConnectionLost(_))
    ));
    let error = alice.stream_text(TextOptions::new("t")).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Stream(lkstream_engine::OpenError::ConnectionLost(_))
        ),
        "{error:?}"
    );
    assert_eq!(within(alice.closed()).await, Disconnected::Closed);
}

#[tokio::test]
async fn closing_sends_what_is_queued_first() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("b")).await;
    let mut streams = bob.byte_streams("b");
    let bytes = noise(200_000);
    let writer = alice.stream_bytes(ByteOptions::new("b")).await.unwrap();
    writer.write(bytes.clone()).await.unwrap();
    // Polled once, so the end is queued, but nothing waits for its acknowledgement.
    let mut closing = Box::pin(writer.close());
    assert!(futures_util::poll!(closing.as_mut()).is_pending());
    drop(closing);
    drop(alice);
    let reader = within(streams.next()).await.unwrap();
    assert!(within(reader.read_all(usize::MAX)).await.unwrap() == bytes);
}

#[tokio::test]
async fn dropping_the_last_handle_leaves_the_room() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let second = alice.clone();
    drop(alice);
    within(second.send_text("still here", TextOptions::new("t")))
        .await
        .unwrap();
    drop(second);
    within(bob.wait_until(|others| others.is_empty()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_that_shuts_down_tells_why() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("t")).await;
    let mut events = bob.events();
    let mut texts = bob.text_streams("t");
    let writer = alice.stream_text(TextOptions::new("t")).await.unwrap();
    writer.write("half a sen").await.unwrap();
    let mut text = within(texts.next()).await.unwrap();
    within(text.next()).await.unwrap().unwrap();
    within(server.shutdown()).await;
    for room in [&alice, &bob] {
        let reason = within(room.closed()).await;
        let Disconnected::ByServer { reason, .. } = reason else {
            panic!("{reason:?}");
        };
        assert_eq!(reason, DisconnectReason::ServerShutdown);
    }
    let error = within(text.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, ReadError::ConnectionLost(_)), "{error:?}");
    assert!(within(texts.next()).await.is_none());
    let ended = event(&mut events, |event| match event {
        Event::Disconnected(reason) => Some(reason),
        _ => None,
    })
    .await;
    assert!(matches!(ended, Disconnected::ByServer { .. }));
    assert_eq!(within(events.next()).await, None);
    let error = alice
        .send_text("x", TextOptions::new("t"))
        .await
        .unwrap_err();
    assert!(matches!(error, SendError::Open(_)), "{error:?}");
    assert!(within(alice.wait_for_participant("nobody")).await.is_err());
}

#[tokio::test]
async fn the_same_identity_again_takes_over() {
    let server = server().await;
    let first = join(&server, "alice").await;
    let second = join(&server, "alice").await;
    let reason = within(first.closed()).await;
    assert!(
        matches!(
            reason,
            Disconnected::ByServer {
                reason: DisconnectReason::DuplicateIdentity,
                ..
            }
        ),
        "{reason:?}"
    );
    assert!(second.participants().is_empty());
    within(second.close()).await;
}

#[tokio::test]
async fn a_file_that_can_not_be_read_or_changes_is_an_error() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("b")).await;
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = within(alice.send_file(&missing, ByteOptions::new("b")))
        .await
        .unwrap_err();
    assert!(matches!(error, SendError::File { .. }), "{error:?}");
    let error = within(alice.send_file(directory.path(), ByteOptions::new("b")))
        .await
        .unwrap_err();
    assert!(matches!(error, SendError::NotAFile { .. }), "{error:?}");

    // Nobody reads at bob's, so the sender is held in the middle of the file until it was changed.
    let mut streams = bob.byte_streams("b");
    let path = directory.path().join("large");
    std::fs::write(&path, noise(40_000_000)).unwrap();
    let sending = tokio::spawn({
        let (alice, path) = (alice.clone(), path.clone());
        async move { alice.send_file(&path, ByteOptions::new("b")).await }
    });
    let reader = within(streams.next()).await.unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(39_000_000)
        .unwrap();
    let read = within(reader.read_all(usize::MAX)).await.unwrap_err();
    assert!(
        matches!(&read, lkstream::ReadAllError::Read(ReadError::AbortedBySender { reason }) if reason.contains("changed")),
        "{read:?}"
    );
    let error = within(sending).await.unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            SendError::FileChanged {
                announced: 40_000_000,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_runtime_that_goes_away_ends_the_room() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    };
    let (servers, clients) = (runtime(), runtime());
    let server = servers.block_on(server());
    let room = clients.block_on(join(&server, "alice"));
    let writer = clients
        .block_on(room.stream_text(TextOptions::new("t")))
        .unwrap();
    clients.shutdown_background();
    let reason = servers.block_on(within(room.closed()));
    assert_eq!(reason, Disconnected::DriverGone);
    // Neither drop needs a runtime.
    drop(writer);
    drop(room);
}
