//! An agent speaks for a user: its text stream's `sender_identity` is somebody else. The official server leaves the
//! user's identity on the header and writes the agent's on chunks and trailer; every receiver must still read one
//! whole stream, and ours must not take it for the user's own.

use lkstream_conformance::peers::Site;
use lkstream_conformance::process::Failure;

use super::payloads::{Payloads, assert_received, assert_text};

#[test]
#[ignore = "needs the official peers"]
fn through_ours() -> Result<(), Failure> {
    agent_speaks_for_user(&Site::ours()?)
}

#[test]
#[ignore = "needs the official peers"]
fn through_stock() -> Result<(), Failure> {
    agent_speaks_for_user(&Site::stock()?)
}

fn agent_speaks_for_user(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let mut user = site.python("recv", "ward", "user", &["--hold"])?;
    let mut bob = site.receiver(
        "ward",
        "bob",
        &["--topic", "lk.transcription", "--count", "1"],
    )?;
    user.expect("joined")?;
    bob.expect("joined")?;

    let mut arguments = vec![
        "--kind",
        "agent",
        "--speak-for",
        "user",
        "--topic",
        "lk.transcription",
    ];
    arguments.extend(["--wait-for", "user", "--wait-for", "bob", "--piece", "500"]);
    let text = payloads.mixed.by("stream_text");
    arguments.push(&text);
    let mut agent = site.python("send", "ward", "agent", &arguments)?;
    assert_eq!(
        agent.expect("joined")?["kind"],
        4,
        "the token makes an agent"
    );
    agent.expect("sent")?;

    assert_received(&user.expect("stream")?, "text", "user", &payloads.mixed);
    let received = bob.expect("received")?;
    assert_eq!(received["from"], "user", "{received}");
    assert_text(&bob.succeed()?.output, &payloads.mixed);
    agent.succeed()?;
    user.succeed()?;
    Ok(())
}
