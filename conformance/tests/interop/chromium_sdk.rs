//! The official browser SDK in headless Chromium through `lkstream serve`, with our client on the other side.

use std::future::IntoFuture;
use std::time::{Duration, SystemTime};

use lkstream::{ByteOptions, Room, RpcError, TextOptions};
use lkstream_conformance::browser::{Addresses, Browser, Launch, Page};
use lkstream_conformance::peers::{KEY, SECRET, Site};
use lkstream_conformance::process::{DEADLINE, Failure};
use lkstream_proto::token::{Claims, sign};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::chromium::noise;
use super::payloads::sha256;

const TOPIC: &str = "yard";
const FILE: usize = 3_000_000;

fn token(identity: &str) -> Result<String, Failure> {
    let claims = Claims::join(
        identity,
        "court",
        SystemTime::now(),
        Duration::from_secs(600),
    );
    Ok(sign(&claims, KEY, SECRET)?)
}

/// A page that uses no microphone, as one that only exchanges data: it hides its addresses.
async fn browser() -> Result<Browser, Failure> {
    let launch = Launch {
        addresses: Addresses::Hidden,
        ..Launch::new()
    };
    Browser::launch(Page::LivekitClient, &launch).await
}

async fn join(browser: &mut Browser, site: &Site) -> Result<Value, Failure> {
    let join = json!({"url": site.url, "token": token("alice")?, "topic": TOPIC});
    browser.call("join", join).await
}

async fn rust(site: &Site) -> Result<Room, Failure> {
    let room = Room::builder(&site.url, &token("bob")?)
        .texts(TOPIC)
        .bytes(TOPIC)
        .on_rpc("echo", |call| async move { Ok(call.payload) })
        .on_rpc("fail", |call| async move {
            Err(RpcError::new(102, "refused").with_data(call.payload))
        });
    Ok(timeout(DEADLINE, room.connect()).await??)
}

/// The answer to the media sections of the first offer decides whether this works every time (protocol.md §3.4).
#[tokio::test]
#[ignore = "needs livekit-client in chromium"]
async fn ten_joins_in_a_row() -> Result<(), Failure> {
    let site = Site::ours()?;
    let bob = rust(&site).await?;
    let mut browser = browser().await?;
    for _ in 0..10 {
        let joined = join(&mut browser, &site).await?;
        println!("joined in {} ms", joined["milliseconds"]);
        browser
            .expect_with("participant", "identity", "bob")
            .await?;
        let seen = timeout(DEADLINE, bob.wait_for_participant("alice")).await??;
        assert_eq!(joined["sid"], seen.sid().as_str());
        exchange_texts(&mut browser, &bob, 1_000).await?;
        browser.call("leave", json!({})).await?;
        browser.expect("disconnected").await?;
    }
    bob.close().await;
    Ok(())
}

#[tokio::test]
#[ignore = "needs livekit-client in chromium"]
async fn texts_files_and_calls_both_ways() -> Result<(), Failure> {
    let site = Site::ours()?;
    let bob = rust(&site).await?;
    let mut browser = browser().await?;
    join(&mut browser, &site).await?;
    timeout(DEADLINE, bob.wait_for_participant("alice")).await??;
    for size in [1, 100, 7_500, 50_000] {
        exchange_texts(&mut browser, &bob, size).await?;
    }
    exchange_files(&mut browser, &bob).await?;

    let long = "grüße ".repeat(4_000);
    for payload in ["", "grüße", &long] {
        let call = json!({"to": "bob", "method": "echo", "payload": payload});
        assert_eq!(browser.call("call", call).await?["result"], payload);
        let echo = bob.call("alice", "echo", payload).into_future();
        assert_eq!(timeout(DEADLINE, echo).await??, payload);
    }
    let call = json!({"to": "bob", "method": "fail", "payload": "why"});
    let error = browser.call("call", call).await?;
    assert_eq!(
        error,
        json!({"code": 102, "message": "refused", "data": "why"})
    );
    let error = bob.call("alice", "fail", "why").into_future();
    let error = timeout(DEADLINE, error).await?.unwrap_err();
    assert_eq!((error.code, &*error.data), (101, "why"));
    bob.close().await;
    Ok(())
}

/// The SDK resumes its session over a new WebSocket, while data goes on or just after it.
#[tokio::test]
#[ignore = "needs livekit-client in chromium"]
async fn signalling_drops_and_comes_back() -> Result<(), Failure> {
    let site = Site::ours()?;
    let bob = rust(&site).await?;
    let mut browser = browser().await?;
    join(&mut browser, &site).await?;
    let before = timeout(DEADLINE, bob.wait_for_participant("alice")).await??;
    for _ in 0..3 {
        browser.call("drop_signalling", json!({})).await?;
        resumed(&mut browser).await?;
        exchange_texts(&mut browser, &bob, 20_000).await?;
    }

    let folder = tempfile::tempdir()?;
    let mut files = bob.byte_streams(TOPIC);
    let send = json!({"topic": TOPIC, "size": FILE, "name": "theirs.bin", "dropAt": 0.3});
    let receive = async {
        let reader = timeout(DEADLINE, files.next()).await?;
        let reader = reader.ok_or_else(|| Failure::new("bob's room is gone"))?;
        let stored = timeout(DEADLINE, reader.write_to_dir(folder.path())).await??;
        Ok::<_, Failure>(std::fs::read(&stored.path)?)
    };
    let (sent, bytes) = tokio::try_join!(browser.call("send_file", send), receive)?;
    assert_eq!(sent["sha256"], sha256(&bytes));
    resumed(&mut browser).await?;

    let bytes = noise(4, FILE);
    let path = folder.path().join("ours.bin");
    std::fs::write(&path, &bytes)?;
    let options = ByteOptions::new(TOPIC).to("alice");
    let send = async {
        let sent = timeout(DEADLINE, bob.send_file(&path, options).into_future());
        Ok::<_, Failure>(sent.await??)
    };
    tokio::try_join!(browser.call("drop_signalling", json!({})), send)?;
    let received = browser.expect("file").await?;
    assert_eq!(received["sha256"], sha256(&bytes), "{received}");
    resumed(&mut browser).await?;

    // A resume keeps the session, a restart would be another one.
    let after = bob.participant(before.identity());
    assert_eq!(
        after.map(|alice| alice.sid().clone()),
        Some(before.sid().clone())
    );
    bob.close().await;
    Ok(())
}

async fn resumed(browser: &mut Browser) -> Result<(), Failure> {
    browser.expect("signalReconnecting").await?;
    browser.expect("reconnected").await?;
    Ok(())
}

#[tokio::test]
#[ignore = "needs livekit-client in chromium"]
async fn restart_is_another_session() -> Result<(), Failure> {
    let site = Site::ours()?;
    let bob = rust(&site).await?;
    let mut browser = browser().await?;
    join(&mut browser, &site).await?;
    let before = timeout(DEADLINE, bob.wait_for_participant("alice")).await??;
    browser.call("restart", json!({})).await?;
    browser.expect("reconnecting").await?;
    browser.expect("reconnected").await?;
    exchange_texts(&mut browser, &bob, 20_000).await?;
    let after = timeout(DEADLINE, bob.wait_for_participant("alice")).await??;
    assert_ne!(after.sid(), before.sid());
    bob.close().await;
    Ok(())
}

async fn exchange_texts(browser: &mut Browser, bob: &Room, size: usize) -> Result<(), Failure> {
    let mut texts = bob.text_streams(TOPIC);
    let send = json!({"topic": TOPIC, "size": size});
    let sent = browser.call("send_text", send).await?;
    let reader = timeout(DEADLINE, texts.next()).await?;
    let reader = reader.ok_or_else(|| Failure::new("bob's room is gone"))?;
    assert_eq!(reader.info().sender.as_str(), "alice");
    let text = timeout(DEADLINE, reader.read_all(1 << 20)).await??;
    assert_eq!(sent["sha256"], sha256(text.as_bytes()), "{size} characters");

    let text: String = noise(size as u64, size)
        .iter()
        .map(|byte| char::from_u32(0x4e00 + u32::from(*byte)).unwrap_or('x'))
        .collect();
    let send = bob.send_text(&text, TextOptions::new(TOPIC).to("alice"));
    timeout(DEADLINE, send.into_future()).await??;
    let received = browser.expect("text").await?;
    assert_eq!(received["from"], "bob", "{received}");
    assert_eq!(received["sha256"], sha256(text.as_bytes()), "{received}");
    Ok(())
}

async fn exchange_files(browser: &mut Browser, bob: &Room) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut files = bob.byte_streams(TOPIC);
    let send = json!({"topic": TOPIC, "size": FILE, "name": "noise.bin"});
    let sent = browser.call("send_file", send).await?;
    let reader = timeout(DEADLINE, files.next()).await?;
    let reader = reader.ok_or_else(|| Failure::new("bob's room is gone"))?;
    let stored = timeout(DEADLINE, reader.write_to_dir(folder.path())).await??;
    let bytes = std::fs::read(&stored.path)?;
    assert_eq!(sent["sha256"], sha256(&bytes));
    assert_eq!(
        stored.path.file_name().and_then(|name| name.to_str()),
        Some("noise.bin")
    );

    let bytes = noise(3, FILE);
    let path = folder.path().join("ours.bin");
    std::fs::write(&path, &bytes)?;
    let options = ByteOptions::new(TOPIC)
        .to("alice")
        .mime_type("application/x-noise");
    timeout(DEADLINE, bob.send_file(&path, options).into_future()).await??;
    let received = browser.expect("file").await?;
    assert_eq!(
        (&received["from"], &received["name"], &received["mimeType"]),
        (
            &"bob".into(),
            &"ours.bin".into(),
            &"application/x-noise".into()
        )
    );
    assert_eq!(received["announced"], FILE, "{received}");
    assert_eq!(received["sha256"], sha256(&bytes), "{received}");
    Ok(())
}
