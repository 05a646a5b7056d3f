//! `lkstream send` to `lkstream recv` through `lkstream serve`.

use lkstream_conformance::peers::Site;
use lkstream_conformance::process::Failure;

use super::{CUT, PATIENCE, assert_hindered, wireless};
use crate::interop::payloads::{Payloads, assert_file};

#[test]
#[ignore = "needs a lab"]
fn file_over_a_lossy_link() -> Result<(), Failure> {
    file(false)
}

#[test]
#[ignore = "needs a lab"]
fn file_over_a_link_that_is_cut() -> Result<(), Failure> {
    file(true)
}

fn file(is_cut: bool) -> Result<(), Failure> {
    let lab = wireless()?;
    let site = Site::ours_on(lab.right())?;
    let door = site.door(lab.left());
    let payloads = Payloads::new()?;
    let out = tempfile::tempdir()?;
    let folder = out.path().to_str().unwrap();

    let mut bob = door.receiver("yard", "bob", &["--out", folder, "--count", "1"])?;
    bob.expect("joined")?;
    let mut alice = door.sender("yard", "alice", &["--to", "bob", payloads.random.path()])?;
    if is_cut {
        let progress = bob.expect("progress")?;
        assert!(progress["bytes"].as_u64() < Some(5_000_000), "{progress}");
        lab.cut_for(CUT)?;
    }
    let received = bob.expect_within("received", PATIENCE)?;
    assert_eq!(received["bytes"], payloads.random.data.len(), "{received}");
    alice.succeed()?;
    bob.succeed()?;
    assert_file(&out.path().join("random.bin"), &payloads.random);
    assert_hindered(&lab, is_cut)
}
