//! What an application writes: recipients, attributes, tokens, writers that are shared.

use std::error::Error;

use lkstream::token::Claims as TokenClaims;
use lkstream::{ByteOptions, DataOptions, OpenError, PacketError, PublishError, TextOptions};
use tokio::io::AsyncWriteExt;

use super::*;

#[tokio::test]
async fn a_servers_own_token_lets_somebody_join() {
    let server = server().await;
    let token = server.token("lobby", "alice").unwrap();
    let room = within(Room::connect(&server.url(), &token)).await.unwrap();
    assert_eq!(
        (room.name().as_str(), room.local().identity().as_str()),
        ("lobby", "alice")
    );
    assert!(format!("{room:?}").contains("lobby"));
    let _: TokenClaims = claims("bob");
}

#[tokio::test]
async fn recipients_and_attributes_are_given_one_by_one_or_together() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("t")).await;
    let mut texts = bob.text_streams("t");
    let carol = join(&server, "carol").await;
    let mut unclaimed = carol.events();
    within(alice.wait_for_participant("carol")).await.unwrap();

    let options = TextOptions::new("t")
        .to(["bob", "nobody"])
        .attributes([("a", "1"), ("b", "2")])
        .attributes(std::collections::BTreeMap::from([(
            "c".to_owned(),
            "3".to_owned(),
        )]));
    within(alice.send_text("to two", options)).await.unwrap();
    let text = within(texts.next()).await.unwrap();
    let attributes: Vec<_> = text.info().attributes.iter().collect();
    assert_eq!(attributes.len(), 3);
    assert_eq!(within(text.read_all(10)).await.unwrap(), "to two");

    // A participant, and a list whose length is known at run time only.
    let bob_there = alice.participant("bob").unwrap();
    assert_eq!(alice.participant("nobody"), None);
    let names: Vec<String> = vec!["carol".into()];
    let options = TextOptions::new("t").to(&bob_there).to(&names[..]);
    within(alice.send_text("to both", options)).await.unwrap();
    let text = within(texts.next()).await.unwrap();
    assert_eq!(within(text.read_all(10)).await.unwrap(), "to both");
    // carol was not among those of the first text.
    let topic = event(&mut unclaimed, |event| match event {
        Event::UnclaimedStream(info) => Some(info),
        _ => None,
    });
    assert_eq!(topic.await.attributes.len(), 0);
}

/// Pieces of clones do not mix, and the stream ends with one close.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_of_a_writer_write_one_stream() {
    const PIECE: usize = 300_000;
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("files")).await;
    let mut files = bob.byte_streams("files");
    let writer = alice.stream_bytes(ByteOptions::new("files")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8_u8 {
        let writer = writer.clone();
        tasks.spawn(async move { writer.write(vec![number; PIECE]).await });
    }
    let reading = tokio::spawn(async move {
        let file = files.next().await.unwrap();
        file.read_all(10 << 20).await
    });
    for written in within(tasks.join_all()).await {
        written.unwrap();
    }
    let late = writer.clone();
    within(writer.close()).await.unwrap();
    within(late.write("too late")).await.unwrap_err();
    within(late.flush()).await.unwrap();
    within(late.close()).await.unwrap_err();
    let read = within(reading).await.unwrap().unwrap();
    let mut seen: Vec<u8> = read.chunks(PIECE).map(|piece| piece[0]).collect();
    assert!(
        read.chunks(PIECE)
            .all(|piece| piece.len() == PIECE && piece.iter().all(|byte| *byte == piece[0]))
    );
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7]);
}

/// A writer that waits for room learns that a clone has ended the stream.
#[tokio::test]
async fn a_clone_that_waits_learns_that_the_stream_was_aborted() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("files")).await;
    let mut files = bob.byte_streams("files");
    let writer = alice.stream_bytes(ByteOptions::new("files")).await.unwrap();
    let clone = writer.clone();
    // Nobody reads, so this waits at some point.
    let writing = tokio::spawn(async move { writer.write(vec![0; 64 << 20]).await });
    let file = within(files.next()).await.unwrap();
    tokio::task::yield_now().await;
    clone.abort_with("enough", [("why".to_owned(), "test".to_owned())].into());
    within(writing).await.unwrap().unwrap_err();
    let error = within(file.read_all(100 << 20)).await.unwrap_err();
    assert_eq!(error.to_string(), "aborted by the sender: enough");
}

/// Text in pieces that cut characters, larger than the window.
#[tokio::test]
async fn a_text_writer_is_async_write() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("t")).await;
    let mut texts = bob.text_streams("t");
    let text = "a\u{f6}\u{20ac}\u{1f600}".repeat(100_000);
    for (piece, length) in [(1, 1000), (7, 10_000), (70_001, text.len())] {
        let whole = text[..length].to_owned();
        let reading = async {
            let text = texts.next().await.unwrap();
            text.read_all(10 << 20).await
        };
        let writing = async {
            let mut writer = alice.stream_text(TextOptions::new("t")).await.unwrap();
            for piece in whole.as_bytes().chunks(piece) {
                writer.write_all(piece).await.unwrap();
            }
            writer.shutdown().await.unwrap();
        };
        let (read, ()) = within(async { tokio::join!(reading, writing) }).await;
        assert!(read.unwrap() == whole, "pieces of {piece}");
    }

    let mut writer = alice.stream_text(TextOptions::new("t")).await.unwrap();
    let error = writer.write_all(b"a\xffb").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    writer.write_all(b"\xc3").await.unwrap();
    let error = within(writer.shutdown()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn the_mime_type_is_the_one_of_the_names_extension() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("files")).await;
    let mut files = bob.byte_streams("files");
    let folder = tempfile::tempdir().unwrap();
    for (name, options, mime_type) in [
        ("a.png", ByteOptions::new("files"), "image/png"),
        ("b.TXT", ByteOptions::new("files"), "text/plain"),
        ("c", ByteOptions::new("files"), "application/octet-stream"),
        (
            "d",
            ByteOptions::new("files").name("d.json"),
            "application/json",
        ),
        ("e.png", ByteOptions::new("files").mime_type("x/y"), "x/y"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, "x").unwrap();
        within(alice.send_file(&path, options)).await.unwrap();
        let file = within(files.next()).await.unwrap();
        assert_eq!(file.info().mime_type, mime_type, "{name}");
    }
}

/// One cause each, and errors of the system as their source.
#[tokio::test]
async fn errors_name_one_cause() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("ws://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = within(Room::connect(&nobody, "token")).await.unwrap_err();
    let source = error.source().unwrap();
    assert!(error.to_string().contains(&source.to_string()), "{error}");

    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("t")).await;
    let mut texts = bob.text_streams("t");
    let writer = alice.stream_text(TextOptions::new("t")).await.unwrap();
    within(writer.write("x")).await.unwrap();
    let mut text = within(texts.next()).await.unwrap();
    within(text.next()).await.unwrap().unwrap();

    // Somebody else joins as bob.
    let second = join(&server, "bob").await;
    let reason = within(bob.closed()).await.to_string();
    assert_eq!(
        reason,
        "the server closed the connection: another participant joined with the same identity"
    );
    let read = within(text.read_all(10)).await.unwrap_err();
    assert_eq!(read.to_string(), reason);
    let sent = within(bob.send_text("x", TextOptions::new("t"))).await;
    assert_eq!(sent.unwrap_err().to_string(), reason);
    let published = within(bob.publish_data("x", DataOptions::new())).await;
    let published = published.unwrap_err();
    assert_eq!(published.to_string(), reason);
    assert!(matches!(
        published,
        PublishError::Packet(PacketError::ConnectionLost(_))
    ));
    let opened = bob.stream_text(TextOptions::new("t")).await.unwrap_err();
    assert!(matches!(
        opened,
        OpenError::Stream(lkstream::StreamOpenError::ConnectionLost(_))
    ));
    let call = within(std::future::IntoFuture::into_future(
        bob.call("alice", "m", ""),
    ));
    assert!(call.await.unwrap_err().to_string().ends_with(&reason));
    drop(second);
}
