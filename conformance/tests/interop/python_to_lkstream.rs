//! The official SDK sends, `lkstream recv` receives.

use lkstream_conformance::peers::Site;
use lkstream_conformance::process::Failure;

use super::payloads::{Payloads, assert_file, assert_text};

#[test]
#[ignore = "needs the official peers"]
fn files_through_ours() -> Result<(), Failure> {
    files(&Site::ours()?)
}

#[test]
#[ignore = "needs the official peers"]
fn files_through_stock() -> Result<(), Failure> {
    files(&Site::stock()?)
}

#[test]
#[ignore = "needs the official peers"]
fn texts_through_ours() -> Result<(), Failure> {
    texts(&Site::ours()?)
}

#[test]
#[ignore = "needs the official peers"]
fn texts_through_stock() -> Result<(), Failure> {
    texts(&Site::stock()?)
}

fn files(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let out = tempfile::tempdir()?;
    let sends = [
        ("send_file", &payloads.random, "random.bin"),
        ("send_file", &payloads.empty_file, "empty.bin"),
        ("stream_bytes", &payloads.random, "random (1).bin"),
        ("stream_bytes", &payloads.empty_file, "empty (1).bin"),
        ("send_bytes", &payloads.mixed, "mixed.txt"),
    ];

    let folder = out.path().to_str().unwrap();
    let count = sends.len().to_string();
    let mut bob = site.receiver("yard", "bob", &["--out", folder, "--count", &count])?;
    bob.expect("joined")?;
    for (how, payload, stored) in sends {
        let arguments = ["--wait-for", "bob", &payload.by(how)];
        let mut alice = site.python("send", "yard", "alice", &arguments)?;
        alice.expect("sent")?;
        let received = bob.expect("received")?;
        assert_eq!(received["from"], "alice", "{received}");
        assert_eq!(received["bytes"], payload.data.len(), "{received}");
        assert_file(&out.path().join(stored), payload);
        alice.succeed()?;
    }
    bob.succeed()?;
    Ok(())
}

fn texts(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    for (how, payload) in [
        ("send_text", &payloads.mixed),
        ("stream_text", &payloads.mixed),
        ("send_text", &payloads.empty_text),
        ("stream_text", &payloads.empty_text),
    ] {
        let mut bob = site.receiver("yard", "bob", &["--count", "1"])?;
        bob.expect("joined")?;
        let mut alice = site.python(
            "send",
            "yard",
            "alice",
            &["--wait-for", "bob", &payload.by(how)],
        )?;
        alice.expect("sent")?;
        let received = bob.expect("received")?;
        assert_eq!(received["from"], "alice", "{received}");
        assert_eq!(received["topic"], "lk.chat", "{received}");
        assert_text(&bob.succeed()?.output, payload);
        alice.succeed()?;
    }
    Ok(())
}
