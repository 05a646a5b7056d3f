//! The official SDK at both ends: our server in the middle, and the official one to prove the scripts.

use std::collections::HashMap;

use lkstream_conformance::peers::Site;
use lkstream_conformance::process::Failure;
use serde_json::Value;

use super::payloads::{Payloads, assert_received};

#[test]
#[ignore = "needs the official peers"]
fn through_ours() -> Result<(), Failure> {
    python_to_python(&Site::ours()?)
}

#[test]
#[ignore = "needs the official peers"]
fn through_stock() -> Result<(), Failure> {
    python_to_python(&Site::stock()?)
}

fn python_to_python(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let sends = [
        ("send_text", "text", "lk.chat", &payloads.mixed),
        ("stream_text", "text", "lk.chat", &payloads.mixed),
        ("send_text", "text", "lk.chat", &payloads.empty_text),
        ("stream_text", "text", "lk.chat", &payloads.empty_text),
        ("send_file", "bytes", "files", &payloads.random),
        ("send_file", "bytes", "files", &payloads.empty_file),
        ("stream_bytes", "bytes", "files", &payloads.random),
        ("stream_bytes", "bytes", "files", &payloads.empty_file),
        ("send_bytes", "bytes", "files", &payloads.random),
    ];

    let count = sends.len().to_string();
    let mut bob = site.python("recv", "yard", "bob", &["--count", &count, "--hold"])?;
    assert_eq!(bob.expect("joined")?["identity"], "bob");

    let what: Vec<String> = sends
        .iter()
        .map(|(how, .., payload)| payload.by(how))
        .collect();
    let mut arguments = vec!["--wait-for", "bob"];
    arguments.extend(what.iter().map(String::as_str));
    let mut alice = site.python("send", "yard", "alice", &arguments)?;
    let joined = alice.expect("joined")?;
    assert!(
        joined["sid"].as_str().unwrap().starts_with("PA_"),
        "{joined}"
    );
    let sent = sends
        .iter()
        .map(|_| alice.expect("sent"))
        .collect::<Result<Vec<Value>, Failure>>()?;

    // Streams may end in another order than they began.
    let mut received = HashMap::new();
    for _ in &sends {
        let stream = bob.expect("stream")?;
        received.insert(stream["id"].as_str().unwrap().to_owned(), stream);
    }
    for ((how, kind, topic, payload), sent) in sends.into_iter().zip(sent) {
        assert_eq!(sent["sha256"], payload.sha256, "{how}");
        let stream = &received[sent["id"].as_str().unwrap()];
        assert_received(stream, kind, "alice", payload);
        assert_eq!(stream["topic"], topic, "{how}");
        if kind == "bytes" {
            assert_eq!(
                stream["name"],
                payload.path.file_name().unwrap().to_str().unwrap()
            );
        }
    }

    alice.succeed()?;
    assert_eq!(bob.expect("left")?["identity"], "alice");
    bob.succeed()?;
    Ok(())
}
