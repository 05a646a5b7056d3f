//! The Python of docs/migrating.md, as it stands there.

use lkstream_conformance::host::Host;
use lkstream_conformance::peers::Site;
use lkstream_conformance::process::Failure;

/// The block of Python in docs/migrating.md that has this in it.
fn python_with(what: &str) -> String {
    let document = include_str!("../../../docs/migrating.md");
    let mut blocks = document
        .split("```python\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    blocks
        .find(|block| block.contains(what))
        .unwrap()
        .to_owned()
}

#[test]
#[ignore = "needs the official peers"]
fn python_program_meets_our_commands() -> Result<(), Failure> {
    let site = Site::ours()?;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("peer.py");
    std::fs::write(&script, python_with("register_byte_stream_handler"))?;
    let report = folder.path().join("report.txt");
    std::fs::write(&report, "twelve bytes")?;

    let mut bob = site.receiver("yard", "bob", &["--count", "1"])?;
    bob.expect("joined")?;
    let door = site.door(&Host::loopback());
    let mut program = door.python_program(&script, "yard", "py")?;
    let received = bob.succeed()?;
    assert_eq!(received.output, b"hello from Python");

    let arguments = ["--to", "py", report.to_str().unwrap()];
    site.sender("yard", "alice", &arguments)?.succeed()?;
    let said = String::from_utf8(program.succeed()?.output).unwrap();
    assert_eq!(said.trim_end(), "report.txt: 12 bytes from alice");
    Ok(())
}

#[test]
#[ignore = "needs the official peers"]
fn python_function_sends_by_our_command() -> Result<(), Failure> {
    let site = Site::ours()?;
    let folder = tempfile::tempdir()?;
    let report = folder.path().join("report.txt");
    std::fs::write(&report, "twelve bytes")?;
    let script = folder.path().join("send.py");
    let call = format!(
        "\nfor receipt in send({:?}, \"yard\", \"bob\"):\n    print(receipt[\"status\"])\n",
        report.to_str().unwrap()
    );
    std::fs::write(&script, python_with("--json") + &call)?;

    let inbox = folder.path().join("inbox");
    let arguments = ["--count", "1", "--out", inbox.to_str().unwrap()];
    let mut bob = site.receiver("yard", "bob", &arguments)?;
    bob.expect("joined")?;
    let door = site.door(&Host::loopback());
    let said = door.python_program(&script, "yard", "unused")?.succeed()?;
    bob.succeed()?;
    let statuses = String::from_utf8(said.output).unwrap();
    assert_eq!(statuses.lines().last(), Some("complete"));
    assert_eq!(std::fs::read(inbox.join("report.txt"))?, b"twelve bytes");
    Ok(())
}
