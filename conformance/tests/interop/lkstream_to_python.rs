//! `lkstream send` sends, the official SDK receives.

use lkstream_conformance::peers::Site;
use lkstream_conformance::process::Failure;

use super::payloads::{Payload, Payloads, assert_received};

#[test]
#[ignore = "needs the official peers"]
fn through_ours() -> Result<(), Failure> {
    lkstream_to_python(&Site::ours()?)
}

#[test]
#[ignore = "needs the official peers"]
fn through_stock() -> Result<(), Failure> {
    lkstream_to_python(&Site::stock()?)
}

fn lkstream_to_python(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let mut bob = site.python("recv", "yard", "bob", &["--hold"])?;
    bob.expect("joined")?;

    // Two files in one go, targeted.
    let arguments = [
        "--to",
        "bob",
        // livekit-server drops what it has not handed on yet when the sender leaves, and this receiver confirms nothing.
        "--linger",
        "15",
        payloads.random.path(),
        payloads.empty_file.path(),
    ];
    let mut alice = site.sender("yard", "alice", &arguments)?;
    // The SDK may read the small one to its end first.
    let mut received = [bob.expect("stream")?, bob.expect("stream")?];
    received.sort_by_key(|stream| stream["bytes"].as_u64());
    for (stream, payload) in received
        .iter()
        .zip([&payloads.empty_file, &payloads.random])
    {
        assert_received(stream, "bytes", "alice", payload);
        assert_eq!(stream["topic"], "files", "{stream}");
        assert_eq!(
            stream["name"],
            payload.path.file_name().unwrap().to_str().unwrap()
        );
        assert_eq!(stream["declared"], payload.data.len(), "{stream}");
    }
    alice.succeed()?;

    // Text and bytes while they come in on standard input, whole texts, to everybody.
    let streamed = |what: &[&str], payload: &Payload| {
        let mut alice = site.sender("yard", "alice", what)?;
        alice.write(&payload.data)?;
        alice.close_input();
        alice.succeed()
    };
    for payload in [&payloads.mixed, &payloads.empty_text] {
        streamed(&["--text", "-"], payload)?;
        assert_received(&bob.expect("stream")?, "text", "alice", payload);
    }
    for payload in [&payloads.random, &payloads.empty_file] {
        streamed(&["--name", "pipe.bin", "-"], payload)?;
        let stream = bob.expect("stream")?;
        assert_received(&stream, "bytes", "alice", payload);
        assert_eq!(stream["name"], "pipe.bin");
    }
    let short = Payload::new(payloads.folder.path(), "short.txt", "grüße 🦀".into())?;
    for payload in [&short, &payloads.empty_text] {
        let mut alice = site.sender(
            "yard",
            "alice",
            &["--topic", "lk.chat", "--text", payload.text()],
        )?;
        assert_received(&bob.expect("stream")?, "text", "alice", payload);
        alice.succeed()?;
    }
    bob.succeed()?;
    Ok(())
}
