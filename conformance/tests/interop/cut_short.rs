//! A sender that dies in the middle of a file: the receiver says so and keeps nothing under the file's name.

use lkstream_conformance::peers::Site;
use lkstream_conformance::process::Failure;

use super::payloads::Payloads;

#[test]
#[ignore = "needs the official peers"]
fn through_ours() -> Result<(), Failure> {
    cut_short(&Site::ours()?)
}

#[test]
#[ignore = "needs the official peers"]
fn through_stock() -> Result<(), Failure> {
    cut_short(&Site::stock()?)
}

fn cut_short(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let out = tempfile::tempdir()?;
    let folder = out.path().to_str().unwrap();
    let mut bob = site.receiver("yard", "bob", &["--out", folder, "--count", "1"])?;
    let mut alice = site.sender("yard", "alice", &["--to", "bob", "--name", "half.bin", "-"])?;
    // The input stays open, so the stream cannot have ended.
    alice.write(&payloads.random.data)?;
    bob.expect("opened")?;
    drop(alice);

    let failed = bob.expect("failed")?;
    assert_eq!(failed["name"], "half.bin", "{failed}");
    assert_eq!(bob.finish()?.code, Some(5));
    let kept: Vec<_> = std::fs::read_dir(out.path())?.collect();
    assert!(kept.is_empty(), "{kept:?}");
    Ok(())
}
