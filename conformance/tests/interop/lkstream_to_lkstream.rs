//! Our command line at both ends.

use lkstream_conformance::peers::Site;
use lkstream_conformance::process::Failure;

use super::payloads::{Payloads, assert_file, assert_text};

#[test]
#[ignore = "needs the official peers"]
fn through_ours() -> Result<(), Failure> {
    lkstream_to_lkstream(&Site::ours()?)
}

#[test]
#[ignore = "needs the official peers"]
fn through_stock() -> Result<(), Failure> {
    lkstream_to_lkstream(&Site::stock()?)
}

fn lkstream_to_lkstream(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let out = tempfile::tempdir()?;
    let folder = out.path().to_str().unwrap();

    let mut bob = site.receiver("yard", "bob", &["--out", folder, "--count", "2"])?;
    let files = [payloads.random.path(), payloads.empty_file.path()];
    let mut alice = site.sender("yard", "alice", &["--to", "bob", files[0], files[1]])?;
    alice.expect("delivered")?;
    let ended = alice.succeed()?;
    bob.succeed()?;
    assert_file(&out.path().join("random.bin"), &payloads.random);
    assert_file(&out.path().join("empty.bin"), &payloads.empty_file);
    // Our receiver confirms, so the sender says more than "delivered to the server".
    let transcript = String::from_utf8(ended.output).unwrap();
    assert!(
        transcript.contains(r#""status":"complete""#),
        "{transcript}"
    );

    for payload in [&payloads.mixed, &payloads.empty_text] {
        let mut bob = site.receiver("yard", "bob", &["--topic", "lk.chat", "--count", "1"])?;
        let mut alice = site.sender("yard", "alice", &["--to", "bob", "--text", "-"])?;
        alice.write(&payload.data)?;
        alice.succeed()?;
        assert_text(&bob.succeed()?.output, payload);
    }
    Ok(())
}
