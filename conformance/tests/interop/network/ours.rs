//! `lkstream send` to `lkstream recv` through `lkstream serve`.

use lkstream_conformance::peers::Site;
use lkstream_conformance::process::Failure;

use super::{PATIENCE, assert_hindered, cut_in_the_middle_of, wireless};
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
        bob.expect("progress")?;
        cut_in_the_middle_of(&lab, payloads.random.data.len())?;
    }
    let received = bob.expect_within("received", PATIENCE)?;
    assert_eq!(received["bytes"], payloads.random.data.len(), "{received}");
    alice.succeed()?;
    bob.succeed()?;
    assert_file(&out.path().join("random.bin"), &payloads.random);
    assert_hindered(&lab, is_cut)
}
