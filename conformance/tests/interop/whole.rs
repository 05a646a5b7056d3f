//! Payloads that we send whole, to the official SDK: in a single packet, compressed, and with attachments. It
//! announces that it takes all of that; an old peer in the room makes it plain again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use lkstream::{ByteOptions, Compress, Room, TextOptions};
use lkstream_conformance::peers::{KEY, SECRET, Site};
use lkstream_conformance::process::{DEADLINE, Failure};
use lkstream_proto::token::{Claims, sign};
use tokio::time::timeout;

use super::payloads::{Payload, Payloads, assert_received};

#[tokio::test]
#[ignore = "needs the official peers"]
async fn through_ours() -> Result<(), Failure> {
    whole(&Site::ours()?).await
}

#[tokio::test]
#[ignore = "needs the official peers"]
async fn through_stock() -> Result<(), Failure> {
    whole(&Site::stock()?).await
}

fn token(identity: &str) -> Result<String, Failure> {
    let claims = Claims::join(
        identity,
        "yard",
        SystemTime::now(),
        Duration::from_secs(600),
    );
    Ok(sign(&claims, KEY, SECRET)?)
}

async fn whole(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let folder = payloads.folder.path();
    let make = |name: &str, data: Vec<u8>| Payload::new(folder, name, data);
    let short = make("short.txt", "grüße 🦀".into())?;
    let repeated = make("repeated.txt", "hello wörld ".repeat(20_000).into())?;
    let log = make(
        "service.log",
        (0..60_000)
            .flat_map(|n| format!("{n} GET /rooms/{} 200\n", n * 7919 % 1000).into_bytes())
            .collect(),
    )?;

    let mut bob = site.python("recv", "yard", "bob", &["--hold"])?;
    bob.expect("joined")?;
    let room = timeout(DEADLINE, Room::connect(&site.url, &token("alice")?)).await??;
    let seen = timeout(DEADLINE, room.wait_for_participant("bob")).await??;
    assert!(seen.client_protocol() >= 2 && seen.inflates(), "{seen:?}");

    // How many bytes a send took on the wire shows in which form it went.
    let wire = Arc::new(Mutex::new(0));
    let note = || {
        let wire = wire.clone();
        move |progress: lkstream::Progress| *wire.lock().unwrap() = progress.wire
    };
    let texts = [
        &short,
        &payloads.empty_text,
        &repeated,
        &log,
        &payloads.mixed,
    ];
    for payload in texts {
        for compress in [Compress::Auto, Compress::Always, Compress::Never] {
            let options = TextOptions::new("lk.chat")
                .attribute("how", "whole")
                .compress(compress)
                .on_progress(note());
            timeout(DEADLINE, room.send_text(payload.text(), options)).await??;
            let stream = bob.expect("stream")?;
            assert_received(&stream, "text", "alice", payload);
            assert_eq!(stream["attributes"]["how"], "whole", "{stream}");
            assert_eq!(stream["declared"], payload.data.len(), "{stream}");
            assert_wire(*wire.lock().unwrap(), payload, compress);
        }
    }
    for payload in [&short, &log, &payloads.random, &payloads.empty_file] {
        for compress in [Compress::Auto, Compress::Always, Compress::Never] {
            let options = ByteOptions::new("files")
                .name("all at once")
                .compress(compress)
                .on_progress(note());
            timeout(DEADLINE, room.send_bytes(payload.data.clone(), options)).await??;
            let stream = bob.expect("stream")?;
            assert_received(&stream, "bytes", "alice", payload);
            assert_eq!(stream["name"], "all at once", "{stream}");
            assert_wire(*wire.lock().unwrap(), payload, compress);

            let options = ByteOptions::new("files")
                .compress(compress)
                .on_progress(note());
            timeout(DEADLINE, room.send_file(payload.path(), options)).await??;
            let stream = bob.expect("stream")?;
            assert_received(&stream, "bytes", "alice", payload);
            assert_wire(*wire.lock().unwrap(), payload, compress);
        }
    }

    // A text and its files are three streams for it, of which the first names the others.
    let options = TextOptions::new("files")
        .to("bob")
        .attach(payloads.random.path())
        .attach_bytes("notes", ByteOptions::new("files").name("notes.txt"));
    let sent = timeout(DEADLINE, room.send_text(short.text(), options)).await??;
    let text = bob.expect("stream")?;
    assert_received(&text, "text", "alice", &short);
    let ids: Vec<&str> = sent
        .attachments
        .iter()
        .map(|sent| sent.info.id.as_str())
        .collect();
    assert_eq!(text["attachments"], serde_json::json!(ids), "{text}");
    // It reads them side by side, and the short one is done first or not.
    let mut streams = [bob.expect("stream")?, bob.expect("stream")?];
    streams.sort_by_key(|stream| stream["id"] != ids[0]);
    assert_received(&streams[0], "bytes", "alice", &payloads.random);
    assert_eq!(streams[0]["id"], ids[0], "{streams:?}");
    assert_eq!(streams[1]["id"], ids[1], "{streams:?}");
    assert_eq!(streams[1]["bytes"], 5, "{streams:?}");

    room.close().await;
    assert_eq!(bob.expect("left")?["identity"], "alice");
    bob.succeed()?;
    Ok(())
}

/// What shrinks takes much less than its size where it may be compressed, everything else a little more.
#[track_caller]
fn assert_wire(wire: u64, payload: &Payload, compress: Compress) {
    let size = payload.data.len() as u64;
    let shrinks = ["repeated.txt", "service.log"];
    let name = payload.path.file_name().unwrap().to_str().unwrap();
    if compress != Compress::Never && shrinks.contains(&name) {
        assert!(wire < size / 4, "{wire} bytes for {size} of {name}");
    } else if compress == Compress::Never {
        let most = size + size / 100 + 400;
        assert!(
            (size..most).contains(&wire),
            "{wire} bytes for {size} of {name}"
        );
    }
}
