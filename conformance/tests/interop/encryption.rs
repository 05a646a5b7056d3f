//! The official SDK as an encrypted peer, both directions and both servers (protocol.md §5.8).

use std::time::{Duration, SystemTime};

use lkstream::encryption::{Encryption, Keyring};
use lkstream::{ByteOptions, Room, TextOptions};
use lkstream_conformance::peers::{KEY, SECRET, Site};
use lkstream_conformance::process::{DEADLINE, Failure};
use lkstream_proto::token::{Claims, sign};
use tokio::time::timeout;

use super::payloads::{Payloads, assert_received, sha256};

const PASSWORD: &str = "only for the two of us";

#[tokio::test]
#[ignore = "needs the official peers"]
async fn encrypted_both_ways_through_ours() -> Result<(), Failure> {
    let site = Site::ours()?;
    rust_to_python(&site).await?;
    python_to_rust(&site).await
}

#[tokio::test]
#[ignore = "needs the official peers"]
async fn encrypted_both_ways_through_stock() -> Result<(), Failure> {
    let site = Site::stock()?;
    rust_to_python(&site).await?;
    python_to_rust(&site).await
}

fn token(identity: &str) -> Result<String, Failure> {
    let now = SystemTime::now();
    let claims = Claims::join(identity, "vault", now, Duration::from_secs(600));
    Ok(sign(&claims, KEY, SECRET)?)
}

async fn rust_to_python(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let mut bob = site.python("recv", "vault", "bob", &["--hold", "--encrypt", PASSWORD])?;
    bob.expect("joined")?;
    let room = Room::builder(&site.url, &token("alice")?).encryption(Keyring::shared(PASSWORD)?);
    let room = timeout(DEADLINE, room.connect()).await??;
    timeout(DEADLINE, room.wait_for_participant("bob")).await??;

    let text = TextOptions::new("lk.chat");
    timeout(DEADLINE, room.send_text(payloads.mixed.text(), text)).await??;
    assert_received(&bob.expect("stream")?, "text", "alice", &payloads.mixed);
    // The receiver has to find the next key by itself.
    room.with_keyring(|keyring| keyring.ratchet_shared_key(0))
        .await
        .unwrap()?;
    let bytes = ByteOptions::new("files");
    timeout(
        DEADLINE,
        room.send_bytes(payloads.random.data.clone(), bytes),
    )
    .await??;
    assert_received(&bob.expect("stream")?, "bytes", "alice", &payloads.random);

    // The official server tells of joins every 3 s (protocol.md §2.9): bob may never learn that alice was there.
    room.close().await;
    bob.succeed()?;
    Ok(())
}

async fn python_to_rust(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let room = Room::builder(&site.url, &token("bob")?)
        .texts("lk.chat")
        .bytes("files")
        .encryption(Keyring::shared(PASSWORD)?);
    let room = timeout(DEADLINE, room.connect()).await??;
    let (mut texts, mut files) = (room.text_streams("lk.chat"), room.byte_streams("files"));

    for how in ["send_text", "stream_text"] {
        let arguments = [
            "--to",
            "bob",
            "--encrypt",
            PASSWORD,
            &payloads.mixed.by(how),
        ];
        let mut alice = site.python("send", "vault", "alice", &arguments)?;
        let text = timeout(DEADLINE, texts.next()).await?.unwrap();
        assert_eq!(text.info().encryption, Encryption::Gcm);
        let text = timeout(DEADLINE, text.read_all(1 << 20)).await??;
        assert_eq!(sha256(text.as_bytes()), payloads.mixed.sha256, "{how}");
        alice.expect("sent")?;
        alice.succeed()?;
    }
    let arguments = [
        "--to",
        "bob",
        "--encrypt",
        PASSWORD,
        &payloads.random.by("send_file"),
    ];
    let mut alice = site.python("send", "vault", "alice", &arguments)?;
    let file = timeout(DEADLINE, files.next()).await?.unwrap();
    assert_eq!(file.info().encryption, Encryption::Gcm);
    let data = timeout(DEADLINE, file.read_all(8 << 20)).await??;
    assert_eq!(sha256(&data), payloads.random.sha256);
    alice.expect("sent")?;
    alice.succeed()?;
    room.close().await;
    Ok(())
}
