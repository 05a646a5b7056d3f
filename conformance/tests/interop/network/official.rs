//! One end is official: the Python SDK sends or receives, and livekit-server is between.

use lkstream_conformance::peers::Site;
use lkstream_conformance::process::Failure;

use super::{PATIENCE, assert_hindered, cut_in_the_middle_of, wireless};
use crate::interop::payloads::{Payload, Payloads, assert_file, assert_received};

#[test]
#[ignore = "needs the official peers and a lab"]
fn lkstream_to_python_over_a_lossy_link() -> Result<(), Failure> {
    lkstream_to_python(false)
}

#[test]
#[ignore = "needs the official peers and a lab"]
fn lkstream_to_python_over_a_link_that_is_cut() -> Result<(), Failure> {
    lkstream_to_python(true)
}

#[test]
#[ignore = "needs the official peers and a lab"]
fn python_to_lkstream_over_a_lossy_link() -> Result<(), Failure> {
    python_to_lkstream(false)
}

#[test]
#[ignore = "needs the official peers and a lab"]
fn python_to_lkstream_over_a_link_that_is_cut() -> Result<(), Failure> {
    python_to_lkstream(true)
}

/// The first 2 MB of the random ones: livekit-server and the SDK are slow on such a link.
fn payload(payloads: &Payloads) -> Result<Payload, Failure> {
    let data = payloads.random.data[..2_000_000].to_vec();
    Payload::new(payloads.folder.path(), "small.bin", data)
}

fn lkstream_to_python(is_cut: bool) -> Result<(), Failure> {
    let lab = wireless()?;
    let site = Site::stock_on(lab.right())?;
    let door = site.door(lab.left());
    let payloads = Payloads::new()?;
    let payload = payload(&payloads)?;

    let mut bob = door.python("recv", "yard", "bob", &["--count", "1"])?;
    bob.expect("joined")?;
    // She stays until we end her: livekit-server says that somebody left before it has delivered what they sent.
    let arguments = ["--to", "bob", "--linger", "10m", payload.path()];
    let mut alice = door.sender("yard", "alice", &arguments)?;
    if is_cut {
        bob.expect("opened")?;
        cut_in_the_middle_of(&lab, payload.data.len())?;
    }
    let stream = bob.expect_within("stream", PATIENCE)?;
    assert_received(&stream, "bytes", "alice", &payload);
    alice.expect("delivered")?;
    bob.succeed()?;
    assert_hindered(&lab, is_cut)
}

fn python_to_lkstream(is_cut: bool) -> Result<(), Failure> {
    let lab = wireless()?;
    let site = Site::stock_on(lab.right())?;
    let door = site.door(lab.left());
    let payloads = Payloads::new()?;
    let payload = payload(&payloads)?;
    let out = tempfile::tempdir()?;
    let folder = out.path().to_str().unwrap();

    let mut bob = door.receiver("yard", "bob", &["--out", folder, "--count", "1"])?;
    bob.expect("joined")?;
    let arguments = ["--wait-for", "bob", &payload.by("send_file")];
    let mut alice = door.python("send", "yard", "alice", &arguments)?;
    if is_cut {
        bob.expect("opened")?;
        cut_in_the_middle_of(&lab, payload.data.len())?;
    }
    let received = bob.expect_within("received", PATIENCE)?;
    assert_eq!(received["from"], "alice", "{received}");
    assert_eq!(received["bytes"], payload.data.len(), "{received}");
    assert_file(&out.path().join("small.bin"), &payload);
    alice.succeed()?;
    bob.succeed()?;
    assert_hindered(&lab, is_cut)
}
