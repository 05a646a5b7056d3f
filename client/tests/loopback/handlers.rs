//! Handlers of streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lkstream::{
    ByteOptions, Event, HandlerOptions, Limit, ReadError, ReceiptStatus, StreamLimits, TextOptions,
    TextReader, TopicFilter,
};
use tokio::sync::{Notify, mpsc};

use crate::{event, join, pair, server, within};

/// What handlers report to a test, in order. Tests send few texts, so that it never fills up.
fn log() -> (mpsc::Sender<String>, mpsc::Receiver<String>) {
    mpsc::channel(1000)
}

/// A handler that reports each text, with a name before it.
fn reporting(
    name: &'static str,
    log: &mpsc::Sender<String>,
) -> impl Fn(TextReader) -> futures_util::future::BoxFuture<'static, ()> + Send + Sync + 'static {
    let log = log.clone();
    move |text| {
        let log = log.clone();
        Box::pin(async move {
            let text = text.read_all(1000).await.unwrap();
            log.send(format!("{name}: {text}")).await.unwrap();
        })
    }
}

async fn next(log: &mut mpsc::Receiver<String>) -> String {
    within(log.recv()).await.unwrap()
}

async fn send(room: &lkstream::Room, text: &str, topic: &str) {
    within(room.send_text(text, TextOptions::new(topic)))
        .await
        .unwrap();
}

#[tokio::test]
async fn handlers_of_the_builder_get_what_comes_at_once() {
    let server = server().await;
    let (said, mut heard) = log();
    let (stored, mut stores) = log();
    let alice = join(&server, "alice").await;
    let bob = crate::builder(&server, "bob")
        .on_text("t", reporting("text", &said))
        .on_bytes("b", move |file| {
            let stored = stored.clone();
            async move {
                let name = file.name().to_owned();
                let bytes = file.read_all(100).await.unwrap();
                stored.send(format!("{name}: {bytes:?}")).await.unwrap();
            }
        });
    let bob = within(bob.connect()).await.unwrap();
    within(alice.wait_for_participant("bob")).await.unwrap();
    send(&alice, "hello", "t").await;
    let options = ByteOptions::new("b").name("file");
    within(alice.send_bytes("abc", options)).await.unwrap();
    assert_eq!(next(&mut heard).await, "text: hello");
    assert_eq!(next(&mut stores).await, "file: b\"abc\"");
    assert!(bob.off_text("t") && bob.off_bytes("b"));
    assert!(!bob.off_text("t") && !bob.off_bytes("b"));
}

/// On several threads, where tasks alone would start in any order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn handlers_start_in_the_order_of_the_streams_and_overlap() {
    const STREAMS: usize = 200;
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let (started, mut starts) = log();
    let all_run = Arc::new(tokio::sync::Barrier::new(STREAMS));
    bob.on_text("t", move |text| {
        let (started, all_run) = (started.clone(), all_run.clone());
        async move {
            let number = text.info().attributes["number"].clone();
            started.send(number).await.unwrap();
            all_run.wait().await;
            started.send("end".into()).await.unwrap();
        }
    });
    let mut writers = Vec::new();
    for number in 0..STREAMS {
        let options = TextOptions::new("t").attribute("number", number.to_string());
        writers.push(within(alice.stream_text(options)).await.unwrap());
    }
    for number in 0..STREAMS {
        assert_eq!(next(&mut starts).await, number.to_string());
    }
    assert_eq!(next(&mut starts).await, "end");
}

/// Handlers that report their start, and end when they are told.
fn held(
    log: mpsc::Sender<String>,
    go_on: Arc<Notify>,
) -> impl Fn(TextReader) -> futures_util::future::BoxFuture<'static, ()> + Send + Sync + 'static {
    move |text| {
        let (log, go_on) = (log.clone(), go_on.clone());
        Box::pin(async move {
            let sender = text.info().sender.clone();
            let topic = text.info().topic.clone();
            let text = text.read_all(100).await.unwrap();
            log.send(format!("{sender} {topic} {text}")).await.unwrap();
            go_on.notified().await;
        })
    }
}

#[tokio::test]
async fn one_at_a_time_holds_for_a_sender_and_a_topic() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let carl = join(&server, "carl").await;
    within(carl.wait_for_participant("bob")).await.unwrap();
    let (said, mut heard) = log();
    let go_on = Arc::new(Notify::new());
    let options = HandlerOptions::new(TopicFilter::Prefix("jobs.".into())).one_at_a_time();
    bob.on_text(options, held(said, go_on.clone()));
    for text in ["1", "2", "3"] {
        send(&alice, text, "jobs.a").await;
    }
    assert_eq!(next(&mut heard).await, "alice jobs.a 1");
    // Others do not wait for those of alice.
    send(&alice, "1", "jobs.b").await;
    assert_eq!(next(&mut heard).await, "alice jobs.b 1");
    send(&carl, "1", "jobs.a").await;
    assert_eq!(next(&mut heard).await, "carl jobs.a 1");
    // Once all three end, one is next and not two.
    go_on.notify_waiters();
    assert_eq!(next(&mut heard).await, "alice jobs.a 2");
    send(&carl, "2", "jobs.a").await;
    assert_eq!(next(&mut heard).await, "carl jobs.a 2");
    go_on.notify_waiters();
    assert_eq!(next(&mut heard).await, "alice jobs.a 3");
}

#[tokio::test]
async fn no_more_handlers_run_than_allowed() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let running = Arc::new(AtomicUsize::new(0));
    let (said, mut heard) = log();
    bob.on_text(HandlerOptions::new("t").at_most(2), move |text| {
        let (running, said) = (running.clone(), said.clone());
        async move {
            let count = running.fetch_add(1, Ordering::SeqCst) + 1;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            let text = text.read_all(10).await.unwrap();
            running.fetch_sub(1, Ordering::SeqCst);
            said.send(format!("{text} {}", count <= 2)).await.unwrap();
        }
    });
    for number in 0..20 {
        send(&alice, &number.to_string(), "t").await;
    }
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(next(&mut heard).await);
    }
    all.sort();
    let mut expected: Vec<String> = (0..20).map(|number| format!("{number} true")).collect();
    expected.sort();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn the_most_specific_handler_gets_a_stream() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let mut events = bob.events();
    let (said, mut heard) = log();
    let any = bob.on_text(TopicFilter::Any, reporting("any", &said));
    bob.on_text(TopicFilter::Prefix("a.".into()), reporting("a.", &said));
    bob.on_text(TopicFilter::Prefix("a.b.".into()), reporting("a.b.", &said));
    bob.on_text("a.b.c", reporting("a.b.c", &said));
    for (topic, who) in [
        ("a.b.c", "a.b.c"),
        ("a.b.d", "a.b."),
        ("a.c", "a."),
        ("b", "any"),
        ("", "any"),
    ] {
        send(&alice, topic, topic).await;
        assert_eq!(next(&mut heard).await, format!("{who}: {topic}"));
    }
    // Without the exact one the prefix gets its streams; without the default one, nobody.
    assert!(bob.off_text("a.b.c"));
    send(&alice, "again", "a.b.c").await;
    assert_eq!(next(&mut heard).await, "a.b.: again");
    any.unregister();
    send(&alice, "lost", "b").await;
    let unclaimed = event(&mut events, |event| match event {
        Event::UnclaimedStream(info) => Some(info),
        _ => None,
    })
    .await;
    assert_eq!(unclaimed.topic.as_str(), "b");
    assert_eq!(bob.counters().unclaimed, 1);
}

#[tokio::test]
async fn a_handler_that_panics_harms_nobody_else() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let (said, mut heard) = log();
    bob.on_text(
        HandlerOptions::new("t").one_at_a_time(),
        move |text: TextReader| {
            let said = said.clone();
            let early = text.info().attributes.contains_key("early");
            assert!(!early, "a handler panics on purpose, before its future");
            async move {
                let text = text.read_all(100).await.unwrap();
                assert_ne!(text, "panic", "a handler panics on purpose");
                said.send(text).await.unwrap();
            }
        },
    );
    let early = TextOptions::new("t").confirmed().attribute("early", "yes");
    let mut sent = within(alice.send_text("early", early)).await.unwrap();
    let receipt = within(async {
        loop {
            let receipt = sent.receipts.next().await.unwrap();
            if receipt.is_final() {
                return receipt;
            }
        }
    })
    .await;
    assert_eq!(receipt.status, ReceiptStatus::Failed);
    for text in ["panic", "calm", "panic", "still calm"] {
        send(&alice, text, "t").await;
    }
    assert_eq!(next(&mut heard).await, "calm");
    assert_eq!(next(&mut heard).await, "still calm");
}

#[tokio::test]
async fn what_waits_for_an_unregistered_handler_is_let_go_of() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let (said, mut heard) = log();
    let go_on = Arc::new(Notify::new());
    let options = HandlerOptions::new("t").at_most(1);
    let registration = bob.on_text(options, held(said.clone(), go_on.clone()));
    send(&alice, "runs", "t").await;
    assert_eq!(next(&mut heard).await, "alice t runs");
    let options = TextOptions::new("t").confirmed();
    let mut sent = within(alice.send_text("waits", options)).await.unwrap();
    // It has arrived.
    let receipt = within(sent.receipts.next()).await.unwrap();
    assert_eq!(receipt.status, ReceiptStatus::Accepted);
    registration.unregister();
    let receipt = within(sent.receipts.next()).await.unwrap();
    assert_eq!(receipt.status, ReceiptStatus::Failed);
    // The one that runs goes on, and another registration takes over.
    bob.on_text("t", reporting("new", &said));
    send(&alice, "hello", "t").await;
    assert_eq!(next(&mut heard).await, "new: hello");
    go_on.notify_waiters();
}

#[tokio::test]
async fn what_has_opened_is_handled_though_the_room_is_gone() {
    let server = server().await;
    let (alice, bob) = pair(&server, |bob| bob).await;
    let (said, mut heard) = log();
    let go_on = Arc::new(Notify::new());
    let options = HandlerOptions::new("t").one_at_a_time();
    bob.on_text(options, held(said, go_on.clone()));
    send(&alice, "1", "t").await;
    assert_eq!(next(&mut heard).await, "alice t 1");
    let mut receipts = Vec::new();
    for text in ["2", "3"] {
        let options = TextOptions::new("t").confirmed();
        let mut sent = within(alice.send_text(text, options)).await.unwrap();
        receipts.push(within(sent.receipts.next()).await.unwrap().status);
    }
    assert_eq!(receipts, [ReceiptStatus::Accepted; 2]);
    within(bob.close()).await;
    go_on.notify_one();
    assert_eq!(next(&mut heard).await, "alice t 2");
    go_on.notify_one();
    assert_eq!(next(&mut heard).await, "alice t 3");
    go_on.notify_one();
    // The handler, and with it its end of the log, goes with the last stream.
    assert_eq!(within(heard.recv()).await, None);
}

#[tokio::test]
async fn every_handler_of_a_topic_gets_every_stream() {
    let server = server().await;
    let (said, mut heard) = log();
    let first = reporting("1", &said);
    let (alice, bob) = pair(&server, |bob| bob.on_text("t", first)).await;
    let second = bob.on_text("t", reporting("2", &said));
    let mut texts = bob.text_streams("t");
    let options = TextOptions::new("t").confirmed();
    let mut sent = within(alice.send_text("hello", options)).await.unwrap();
    let mut all = [next(&mut heard).await, next(&mut heard).await];
    all.sort();
    assert_eq!(all, ["1: hello", "2: hello"]);
    let text = within(texts.next()).await.unwrap();
    assert_eq!(within(text.read_all(10)).await.unwrap(), "hello");
    // One receipt of each kind, however many readers there are.
    for status in [ReceiptStatus::Accepted, ReceiptStatus::Complete] {
        assert_eq!(within(sent.receipts.next()).await.unwrap().status, status);
    }
    second.unregister();
    drop(texts);
    send(&alice, "again", "t").await;
    assert_eq!(next(&mut heard).await, "1: again");
    assert!(heard.try_recv().is_err());
}

/// A handler that works slowly, next to one that stopped.
#[tokio::test]
async fn a_handler_that_is_busy_is_not_too_slow() {
    let server = server().await;
    let limits = StreamLimits {
        connection_budget: 300_000,
        stall_limit: Duration::from_millis(300),
        ..StreamLimits::default()
    };
    let (alice, bob) = pair(&server, |bob| bob.stream_limits(limits)).await;
    let (mut working, mut stopped) = (bob.byte_streams("working"), bob.byte_streams("stopped"));
    let writer = alice
        .stream_bytes(ByteOptions::new("stopped"))
        .await
        .unwrap();
    within(writer.write(vec![1; 100_000])).await.unwrap();
    within(writer.flush()).await.unwrap();
    let mut stopped = within(stopped.next()).await.unwrap();
    let bytes = crate::noise(1_000_000);
    let sending = alice.send_bytes(bytes.clone(), ByteOptions::new("working"));
    let receiving = async {
        let mut working = working.next().await.unwrap();
        let first = working.next().await.unwrap().unwrap();
        // As long as it takes until the other one, which took nothing, has failed.
        let error = working
            .busy_with(async {
                while bob.counters().slow_readers == 0 {
                    tokio::task::yield_now().await;
                }
                stopped.next().await.unwrap().unwrap_err()
            })
            .await;
        assert!(matches!(
            error,
            ReadError::Limit(Limit::ReaderTooSlow { .. })
        ));
        let rest = working.read_all(usize::MAX).await.unwrap();
        assert!([first, rest].concat() == bytes);
    };
    let (sent, ()) = within(async { tokio::join!(sending, receiving) }).await;
    sent.unwrap();
    assert_eq!(bob.counters().slow_readers, 1);
}
