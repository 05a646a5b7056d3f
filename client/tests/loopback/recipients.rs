//! What a sender learns when its recipients leave.

use lkstream::{
    ByteOptions, Compress, MissedCause, ReceiptStatus, SendError, TextOptions, WriteError,
};

use crate::{join, noise, pair, server, within};

#[tokio::test]
async fn sending_stops_when_the_last_recipient_leaves() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("files")).await;
    let mut files = bob.byte_streams("files");
    let options = ByteOptions::new("files").total_length(1_000_000_000);
    let writer = alice.stream_bytes(options).await.unwrap();
    within(writer.write(noise(100_000))).await.unwrap();
    let file = within(files.next()).await.unwrap();
    within(bob.close()).await;
    let error = within(async {
        loop {
            if let Err(error) = writer.write(noise(100_000)).await {
                return error;
            }
        }
    })
    .await;
    let WriteError::NoRecipients(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.missed.len(), 1);
    assert_eq!(error.missed[0].identity, "bob");
    assert_eq!(error.missed[0].cause, MissedCause::Left);
    assert!(error.to_string().starts_with("bob left at "), "{error}");
    drop(file);
}

#[tokio::test]
async fn one_who_waits_for_something_to_write_learns_that_the_recipients_left() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("lk.chat")).await;
    let writer = alice
        .stream_text(TextOptions::new("lk.chat").to("bob"))
        .await
        .unwrap();
    let (error, ()) = within(async { tokio::join!(writer.stopped(), bob.close()) }).await;
    assert!(matches!(error, WriteError::NoRecipients(_)), "{error:?}");

    // The end of the stream by another handle, and that of the room.
    let writer = alice
        .stream_text(TextOptions::new("lk.chat"))
        .await
        .unwrap();
    let other = writer.clone();
    let stopped = async move { other.stopped().await };
    let (error, sent) = within(async { tokio::join!(stopped, writer.close()) }).await;
    assert!(matches!(error, WriteError::Closed), "{error:?}");
    sent.unwrap();
    let writer = alice
        .stream_text(TextOptions::new("lk.chat"))
        .await
        .unwrap();
    let stopped = writer.stopped();
    let (error, ()) = within(async { tokio::join!(stopped, server.shutdown()) }).await;
    assert!(matches!(error, WriteError::ConnectionLost(_)), "{error:?}");
}

#[tokio::test]
async fn a_whole_send_fails_when_its_recipient_leaves() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.bytes("files")).await;
    let mut files = bob.byte_streams("files");
    // More than everybody on the way keeps for a reader that does not read.
    let options = ByteOptions::new("files")
        .to("bob")
        .confirmed()
        .compress(Compress::Never);
    let sending = alice.send_bytes(vec![7; 200_000_000], options);
    let leaving = async {
        let file = files.next().await.unwrap();
        bob.close().await;
        file
    };
    let (sent, _file) = within(async { tokio::join!(sending, leaving) }).await;
    let error = sent.unwrap_err();
    assert!(
        matches!(
            &error,
            SendError::Close(lkstream::CloseError::NoRecipients(_))
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("bob"), "{error}");
}

#[tokio::test]
async fn receipts_end_with_each_recipient() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob.texts("lk.chat")).await;
    let carol = join(&server, "carol").await;
    within(alice.wait_for_participant("carol")).await.unwrap();
    let mut texts = bob.text_streams("lk.chat");
    let options = TextOptions::new("lk.chat").confirmed();
    let mut sent = within(alice.send_text("hello", options)).await.unwrap();
    // Bob takes it, and leaves without a word about it; carol takes no texts.
    let _text = within(texts.next()).await.unwrap();
    within(bob.close()).await;
    let mut last = Vec::new();
    while let Some(receipt) = within(sent.receipts.next()).await {
        if receipt.is_final() {
            last.push((receipt.from.to_string(), receipt.status));
        }
    }
    last.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(
        last,
        [
            ("bob".to_owned(), ReceiptStatus::Left),
            ("carol".to_owned(), ReceiptStatus::Failed)
        ]
    );
    drop(carol);
}
