//! The Rust API itself beside the official SDK, where the command line shows too little: every way to send and to
//! read, attributes, and an agent of ours that speaks for a user.

use std::time::{Duration, SystemTime};

use lkstream::{ByteOptions, Room, TextOptions};
use lkstream_conformance::peers::{KEY, SECRET, Site};
use lkstream_conformance::process::{DEADLINE, Failure};
use lkstream_proto::token::{Claims, sign};
use tokio::time::timeout;

use super::payloads::{Payloads, assert_received, sha256};

#[tokio::test]
#[ignore = "needs the official peers"]
async fn rust_to_python_through_ours() -> Result<(), Failure> {
    rust_to_python(&Site::ours()?).await
}

#[tokio::test]
#[ignore = "needs the official peers"]
async fn rust_to_python_through_stock() -> Result<(), Failure> {
    rust_to_python(&Site::stock()?).await
}

#[tokio::test]
#[ignore = "needs the official peers"]
async fn python_to_rust_through_ours() -> Result<(), Failure> {
    python_to_rust(&Site::ours()?).await
}

#[tokio::test]
#[ignore = "needs the official peers"]
async fn python_to_rust_through_stock() -> Result<(), Failure> {
    python_to_rust(&Site::stock()?).await
}

#[tokio::test]
#[ignore = "needs the official peers"]
async fn agent_of_ours_through_ours() -> Result<(), Failure> {
    agent_of_ours(&Site::ours()?).await
}

#[tokio::test]
#[ignore = "needs the official peers"]
async fn agent_of_ours_through_stock() -> Result<(), Failure> {
    agent_of_ours(&Site::stock()?).await
}

fn token(identity: &str, kind: &str) -> Result<String, Failure> {
    let mut claims = Claims::join(
        identity,
        "yard",
        SystemTime::now(),
        Duration::from_secs(600),
    );
    claims.kind = kind.to_owned();
    Ok(sign(&claims, KEY, SECRET)?)
}

async fn rust_to_python(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let mut bob = site.python("recv", "yard", "bob", &["--hold"])?;
    bob.expect("joined")?;

    let room = timeout(DEADLINE, Room::connect(&site.url, &token("alice", "")?)).await??;
    timeout(DEADLINE, room.wait_for_participant("bob")).await??;

    for payload in [&payloads.mixed, &payloads.empty_text] {
        let options = TextOptions::new("lk.chat")
            .attribute("how", "whole")
            .to("bob");
        let sent = timeout(DEADLINE, room.send_text(payload.text(), options)).await??;
        let stream = bob.expect("stream")?;
        assert_received(&stream, "text", "alice", payload);
        assert_eq!(stream["id"], sent.info.id.as_str(), "{stream}");
        assert_eq!(stream["attributes"]["how"], "whole", "{stream}");
        assert_eq!(stream["declared"], payload.data.len(), "{stream}");

        let writer = timeout(DEADLINE, room.stream_text(TextOptions::new("lk.chat"))).await??;
        let characters: Vec<char> = payload.text().chars().collect();
        for piece in characters.chunks(777) {
            timeout(DEADLINE, writer.write(piece.iter().collect::<String>())).await??;
        }
        timeout(DEADLINE, writer.close()).await??;
        assert_received(&bob.expect("stream")?, "text", "alice", payload);
    }
    for payload in [&payloads.random, &payloads.empty_file] {
        let name = payload.path.file_name().unwrap().to_str().unwrap();
        let sent = timeout(
            DEADLINE,
            room.send_file(payload.path(), ByteOptions::new("files")),
        )
        .await?
        .map_err(|error| Failure::new(format!("send_file: {error}")))?;
        assert_eq!(sent.bytes(), u64::try_from(payload.data.len()).unwrap());
        let stream = bob.expect("stream")?;
        assert_received(&stream, "bytes", "alice", payload);
        assert_eq!(stream["name"], name, "{stream}");

        let options = ByteOptions::new("files")
            .name("all at once")
            .mime_type("image/png");
        timeout(DEADLINE, room.send_bytes(payload.data.clone(), options)).await??;
        let stream = bob.expect("stream")?;
        assert_received(&stream, "bytes", "alice", payload);
        assert_eq!(stream["mime_type"], "image/png", "{stream}");

        let options = ByteOptions::new("files").name("piece by piece");
        let writer = timeout(DEADLINE, room.stream_bytes(options)).await??;
        for piece in payload.data.chunks(44_444) {
            timeout(DEADLINE, writer.write(piece.to_vec())).await??;
        }
        timeout(DEADLINE, writer.close()).await??;
        assert_received(&bob.expect("stream")?, "bytes", "alice", payload);
    }
    room.close().await;
    assert_eq!(bob.expect("left")?["identity"], "alice");
    bob.succeed()?;
    Ok(())
}

async fn python_to_rust(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let room = Room::builder(&site.url, &token("bob", "")?)
        .texts("lk.chat")
        .bytes("files");
    let room = timeout(DEADLINE, room.connect()).await??;
    let (mut texts, mut files) = (room.text_streams("lk.chat"), room.byte_streams("files"));

    for payload in [&payloads.mixed, &payloads.empty_text] {
        for how in ["send_text", "stream_text"] {
            let arguments = ["--to", "bob", "--attribute", "colour=red", &payload.by(how)];
            let mut alice = site.python("send", "yard", "alice", &arguments)?;
            let text = timeout(DEADLINE, texts.next()).await?.unwrap();
            assert_eq!(text.info().sender.as_str(), "alice");
            assert_eq!(
                text.info().attributes.get("colour").map(String::as_str),
                Some("red")
            );
            let text = timeout(DEADLINE, text.read_all(1 << 20)).await??;
            assert_eq!(sha256(text.as_bytes()), payload.sha256, "{how}");
            alice.expect("sent")?;
            alice.succeed()?;
        }
    }
    for payload in [&payloads.random, &payloads.empty_file] {
        for how in ["send_file", "stream_bytes", "send_bytes"] {
            let mut alice =
                site.python("send", "yard", "alice", &["--to", "bob", &payload.by(how)])?;
            let file = timeout(DEADLINE, files.next()).await?.unwrap();
            assert_eq!(
                file.name(),
                payload.path.file_name().unwrap().to_str().unwrap()
            );
            let data = timeout(DEADLINE, file.read_all(8 << 20)).await??;
            assert_eq!(sha256(&data), payload.sha256, "{how}");
            alice.expect("sent")?;
            alice.succeed()?;
        }
    }
    room.close().await;
    Ok(())
}

async fn agent_of_ours(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let mut user = site.python("recv", "yard", "user", &["--hold"])?;
    user.expect("joined")?;
    let listener = Room::builder(&site.url, &token("bob", "")?).texts("lk.transcription");
    let listener = timeout(DEADLINE, listener.connect()).await??;
    let mut texts = listener.text_streams("lk.transcription");

    let agent = timeout(
        DEADLINE,
        Room::connect(&site.url, &token("agent", "agent")?),
    )
    .await??;
    timeout(DEADLINE, agent.wait_for_participant("user")).await??;
    timeout(DEADLINE, agent.wait_for_participant("bob")).await??;
    let options = TextOptions::new("lk.transcription").sender_identity("user");
    timeout(DEADLINE, agent.send_text(payloads.mixed.text(), options)).await??;

    let text = timeout(DEADLINE, texts.next()).await?.unwrap();
    assert_eq!(
        text.info().sender.as_str(),
        "user",
        "the header's identity is what is shown"
    );
    let publisher = text.info().publisher.clone();
    assert_eq!(
        publisher.as_ref(),
        Some(&agent.local().sid().clone()),
        "the stream is the agent's"
    );
    let text = timeout(DEADLINE, text.read_all(1 << 20)).await??;
    assert_eq!(sha256(text.as_bytes()), payloads.mixed.sha256);
    assert_received(&user.expect("stream")?, "text", "user", &payloads.mixed);

    agent.close().await;
    listener.close().await;
    user.succeed()?;
    Ok(())
}
