//! serve, send and recv together, over loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Lkstream, Served, command, events, files, noise, write};

#[test]
fn files_arrive_and_are_confirmed() {
    let served = Served::start();
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let big = noise(3_000_001);
    let first = write(source.path(), "big.bin", &big);
    let second = write(source.path(), "empty.txt", b"");
    let receiver = served.receiver(out.path(), &["--count", "2"]);
    let sent = served
        .send(&["--json", "--to", "bob", &first, &second])
        .expect_code(0);
    let received = receiver.ended().expect_code(0);
    assert_eq!(
        files(out.path()),
        [
            ("big.bin".to_owned(), big),
            ("empty.txt".to_owned(), Vec::new())
        ]
    );

    let sent = sent.text();
    let delivered = events(&sent, "delivered");
    assert_eq!(delivered.len(), 2, "{sent}");
    assert_eq!(
        (&delivered[0]["name"], &delivered[0]["bytes"]),
        (&"big.bin".into(), &3_000_001.into())
    );
    let complete = events(&sent, "receipt")
        .into_iter()
        .filter(|event| event["status"] == "complete")
        .count();
    assert_eq!(complete, 2, "{sent}");
    assert_eq!(events(&sent, "done")[0]["streams"], 2);
    let stored = events(&received.stderr, "received");
    assert_eq!(stored.len(), 2, "{}", received.stderr);
    assert_eq!(stored[0]["from"], "alice");
    // Every line is one event: programs need not guess.
    for line in sent.lines().chain(received.stderr.lines()) {
        assert!(
            serde_json::from_str::<Value>(line).is_ok_and(|v| v["event"].is_string()),
            "{line}"
        );
    }
}

#[test]
fn compressed_files_arrive_as_they_were() {
    let served = Served::start();
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = b"GET /index.html HTTP/1.1 200\n".repeat(20_000);
    let mut expected = Vec::new();
    for (compress, content) in [("auto", &log), ("never", &log), ("always", &noise(100_000))] {
        let name = format!("{compress}.log");
        let path = write(source.path(), &name, content);
        let receiver = served.receiver(out.path(), &["--count", "1"]);
        served
            .send(&["--compress", compress, "--to", "bob", &path])
            .expect_code(0);
        receiver.ended().expect_code(0);
        expected.push((name, content.clone()));
    }
    expected.sort();
    assert!(files(out.path()) == expected);
    served.send(&["--compress", "maybe", "x"]).expect_code(2);
}

#[test]
fn people_read_who_has_received_it() {
    let served = Served::start();
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = write(source.path(), "note.txt", b"hello");
    let receiver = served.receiver(out.path(), &["--count", "1"]);
    let sent = served.send(&[&path]).expect_code(0).text();
    receiver.ended().expect_code(0);
    assert!(sent.contains("note.txt: delivered to the server"), "{sent}");
    assert!(sent.contains("note.txt: received by bob"), "{sent}");
}

#[test]
fn an_existing_name_is_kept() {
    let served = Served::start();
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(out.path(), "a.txt", b"mine");
    let path = write(source.path(), "a.txt", b"theirs");
    let receiver = served.receiver(out.path(), &["--count", "1"]);
    served.send(&[&path]).expect_code(0);
    let received = receiver.ended().expect_code(0);
    assert_eq!(
        files(out.path()),
        [
            ("a (1).txt".to_owned(), b"theirs".to_vec()),
            ("a.txt".to_owned(), b"mine".to_vec())
        ]
    );
    let path = events(&received.stderr, "received")[0]["path"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(path.ends_with("a (1).txt"), "{path}");
}

#[test]
fn a_name_of_others_leads_nowhere_else() {
    let served = Served::start();
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let path = write(parent.path(), "a", b"x");
    let receiver = served.receiver(&out, &["--count", "1"]);
    served
        .send(&["--name", "../../etc/\u{1b}[2Jevil", &path])
        .expect_code(0);
    receiver.ended().expect_code(0);
    let stored = files(&out);
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert!(
        !stored[0].0.chars().any(|c| c.is_control() || c == '/'),
        "{stored:?}"
    );
    assert_eq!(files(parent.path()).len(), 2, "nothing beside the folder");
}

#[test]
fn text_arrives_while_it_is_written_and_byte_for_byte() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let mut receiver = served.receiver(out.path(), &["--count", "1"]);
    let mut sender =
        Lkstream::start_with_input(served.client("send", &["--identity", "alice", "--text", "-"]));
    let euro = "€".as_bytes();
    sender.write("first line\npart é".as_bytes());
    receiver.wait_for_output(|out| out.ends_with("part é".as_bytes()));
    // A character that is cut waits for its end.
    sender.write(&euro[..1]);
    sender.write(&euro[1..]);
    receiver.wait_for_output(|out| out.ends_with(euro));
    sender.close_input();
    sender.ended().expect_code(0);
    assert_eq!(
        receiver.ended().expect_code(0).text(),
        "first line\npart é€"
    );
}

#[test]
fn texts_are_kept_apart_by_newlines() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let mut receiver = served.receiver(out.path(), &["--count", "3"]);
    served.send(&["--text", "one"]).expect_code(0);
    receiver.wait_for_output(|out| out == b"one\n");
    served.send(&["--text", "two\n"]).expect_code(0);
    served.send(&["--text", "-three-"]).expect_code(0);
    assert_eq!(
        receiver.ended().expect_code(0).text(),
        "one\ntwo\n-three-\n"
    );
}

#[test]
fn standard_input_is_sent_as_bytes() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let content = noise(500_000);
    let receiver = served.receiver(out.path(), &["--count", "1", "--topic", "backup"]);
    let mut sender = Lkstream::start_with_input(served.client(
        "send",
        &[
            "--identity",
            "alice",
            "--topic",
            "backup",
            "--name",
            "disk.img",
            "-",
        ],
    ));
    sender.write(&content);
    sender.close_input();
    sender.ended().expect_code(0);
    receiver.ended().expect_code(0);
    assert_eq!(files(out.path()), [("disk.img".to_owned(), content)]);
}

#[test]
fn what_is_no_text_fails_at_both_ends() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let receiver = served.receiver(out.path(), &["--count", "1"]);
    let mut sender =
        Lkstream::start_with_input(served.client("send", &["--identity", "alice", "--text", "-"]));
    sender.write(b"abc\xffdef");
    sender.close_input();
    let sent = sender.ended().expect_code(5);
    assert!(
        sent.stderr.contains("not UTF-8 text at byte 3"),
        "{}",
        sent.stderr
    );
    let received = receiver.ended().expect_code(5);
    assert_eq!(
        events(&received.stderr, "failed").len(),
        1,
        "{}",
        received.stderr
    );
}

#[cfg(unix)]
fn interrupt_a_sender(after: impl Fn(&mut Lkstream)) {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let mut receiver = served.receiver(out.path(), &["--count", "1"]);
    let mut sender =
        Lkstream::start_with_input(served.client("send", &["--identity", "alice", "-"]));
    sender.write(&noise(100_000));
    receiver.wait_for_event("opened");
    sender.interrupt();
    after(&mut sender);
    sender.ended().expect_code(130);
    let received = receiver.ended().expect_code(5);
    assert_eq!(
        events(&received.stderr, "failed").len(),
        1,
        "{}",
        received.stderr
    );
    assert_eq!(files(out.path()), []);
}

#[cfg(unix)]
#[test]
fn an_interrupted_sender_leaves_nothing_half_written() {
    interrupt_a_sender(|_| ());
}

/// Ctrl-C ends the program that feeds the sender, too: its last words are not the end of the stream.
#[cfg(unix)]
#[test]
fn an_interrupted_pipeline_leaves_nothing_half_written() {
    interrupt_a_sender(Lkstream::close_input);
}

#[cfg(unix)]
#[test]
fn an_interrupted_receiver_leaves_nothing_half_written() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let mut receiver = served.receiver(out.path(), &[]);
    let mut sender =
        Lkstream::start_with_input(served.client("send", &["--identity", "alice", "-"]));
    sender.write(&noise(100_000));
    receiver.wait_for_event("progress");
    receiver.interrupt();
    receiver.ended().expect_code(130);
    assert_eq!(files(out.path()), []);
}

#[cfg(unix)]
#[test]
fn a_server_that_stops_tells_everybody() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let receiver = served.receiver(out.path(), &[]);
    served.process.interrupt();
    let received = receiver.ended().expect_code(1);
    let error = &events(&received.stderr, "error")[0];
    assert_eq!(error["code"], 1);
    assert!(
        error["cause"]
            .as_str()
            .unwrap()
            .contains("the server is shutting down"),
        "{error}"
    );
    served.process.ended().expect_code(0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_5() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let to_full = |mut command: Command| {
        command.stdout(Stdio::from(
            File::options().write(true).open("/dev/full").unwrap(),
        ));
        command
    };
    let receiver = served.receiver_of(to_full, out.path(), &["--count", "1"]);
    served.send(&["--text", "hello"]);
    let received = receiver.ended().expect_code(5);
    assert!(
        received.stderr.contains("No space left on device"),
        "{}",
        received.stderr
    );
}

/// A file system of 1 MB, for root only.
#[cfg(target_os = "linux")]
struct TinyDisk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl TinyDisk {
    fn mount() -> Option<TinyDisk> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "none"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then(|| TinyDisk(dir))
    }
}

#[cfg(target_os = "linux")]
impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// The same command where no file may be larger than 2 MB; a write beyond that is an error, as on a full disk.
#[cfg(target_os = "linux")]
fn with_small_files(command: Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    shell
}

/// Sends what does not fit and then what does, to a receiver with room for 2 MB at most.
#[cfg(target_os = "linux")]
fn send_too_much(out: &Path, change: impl Fn(Command) -> Command, reason: &str) {
    let served = Served::start();
    let source = tempfile::tempdir().unwrap();
    let big = write(source.path(), "big.bin", &noise(4_000_000));
    let small = write(source.path(), "small.bin", b"fits");
    let receiver = served.receiver_of(change, out, &["--count", "2"]);
    // The only one who was there could not keep it.
    let sent = served.send(&[&big]).expect_code(5);
    assert!(
        sent.stderr.contains("bob could not receive"),
        "{}",
        sent.stderr
    );
    let sent = served.send(&["--to", "bob", &small]).expect_code(0);
    assert!(sent.text().contains("received by bob"), "{}", sent.text());
    let received = receiver.ended().expect_code(5);
    let failed = &events(&received.stderr, "failed")[0];
    assert!(
        failed["reason"].as_str().unwrap().contains(reason),
        "{failed}"
    );
    assert_eq!(files(out), [("small.bin".to_owned(), b"fits".to_vec())]);
}

/// Only root can have a small disk, so everybody also tests with a limit on files, which takes the same way.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_fails_the_stream_and_leaves_nothing() {
    if let Some(disk) = TinyDisk::mount() {
        send_too_much(disk.0.path(), |command| command, "No space left on device");
    }
    let out = tempfile::tempdir().unwrap();
    send_too_much(out.path(), with_small_files, "File too large");
}

#[cfg(target_os = "linux")]
#[test]
fn a_recipient_by_name_that_fails_makes_the_sender_fail() {
    let served = Served::start();
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let big = write(source.path(), "big.bin", &noise(4_000_000));
    let receiver = served.receiver_of(with_small_files, out.path(), &["--count", "1"]);
    let sent = served.send(&["--to", "bob", &big]).expect_code(5);
    assert!(
        sent.stderr.contains("bob could not receive"),
        "{}",
        sent.stderr
    );
    receiver.ended().expect_code(5);
    assert_eq!(files(out.path()), []);
}

#[test]
fn the_demo_shows_it_all_and_cleans_up() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = command(&["demo", "--size", "4"]);
    command.env("TMPDIR", temporary.path());
    let ended = Lkstream::start(command).ended().expect_code(0);
    let printed = ended.text();
    for wanted in [
        "ws://127.0.0.1:",
        "Text streams arrive",
        "4 MB",
        "the same at both ends",
    ] {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
    assert_eq!(ended.stderr, "");
    assert_eq!(files(temporary.path()), []);
}

#[cfg(unix)]
#[test]
fn an_interrupted_demo_cleans_up() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = command(&["demo", "--json"]);
    command.env("TMPDIR", temporary.path());
    let mut demo = Lkstream::start(command);
    demo.wait_for_output(|out| out.windows(12).any(|w| w == b"\"event\":\"tex"));
    demo.interrupt();
    demo.ended().expect_code(130);
    assert_eq!(files(temporary.path()), []);
}

#[test]
fn texts_at_once_do_not_mix() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let mut receiver = served.receiver(out.path(), &["--count", "2"]);
    let slow = ["--identity", "slow", "--text", "-"];
    let mut slow = Lkstream::start_with_input(served.client("send", &slow));
    slow.write(b"slow one,");
    receiver.wait_for_output(|out| out == b"slow one,");
    // It waits for the other's end, or for its pause.
    served.send(&["--text", "quick"]).expect_code(0);
    slow.write(b" slow two");
    slow.close_input();
    slow.ended().expect_code(0);
    let printed = receiver.ended().expect_code(0).text();
    let whole = "slow one, slow two\nquick\n";
    let passed_on = "slow one,\nquick\n slow two\n";
    assert!(printed == whole || printed == passed_on, "{printed:?}");
}

#[test]
fn a_recipient_by_name_gets_it_alone() {
    let served = Served::start();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bob = served.receiver(one.path(), &["--count", "1"]);
    let carol = [
        "recv",
        "--url",
        &served.url,
        "--dev",
        "--room",
        "r",
        "--identity",
        "carol",
        "--json",
        "--out",
    ];
    let mut carol_command = command(&carol);
    carol_command
        .arg(two.path())
        .args(["--count", "1", "--topic", "files"]);
    let mut carol = Lkstream::start(carol_command);
    carol.wait_for_event("joined");
    let source = tempfile::tempdir().unwrap();
    let first = write(source.path(), "for-bob", b"1");
    let second = write(source.path(), "for-all", b"2");
    served.send(&["--to", "bob", &first]).expect_code(0);
    bob.ended().expect_code(0);
    served.send(&[&second]).expect_code(0);
    carol.ended().expect_code(0);
    assert_eq!(files(one.path()), [("for-bob".to_owned(), b"1".to_vec())]);
    assert_eq!(files(two.path()), [("for-all".to_owned(), b"2".to_vec())]);
}

#[test]
fn a_receiver_of_another_topic_says_so_on_both_sides() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let receiver = served.receiver(out.path(), &["--topic", "mine", "--count", "1"]);
    let missed = served
        .send(&["--to", "bob", "--text", "not mine"])
        .expect_code(5);
    let reason = "bob could not receive it: nobody there takes streams of this topic";
    assert!(missed.text().contains(reason), "{}", missed.text());
    served
        .send(&["--topic", "mine", "--text", "mine"])
        .expect_code(0);
    let received = receiver.ended().expect_code(0);
    assert_eq!(received.text(), "mine");
    let warnings = events(&received.stderr, "warning");
    assert_eq!(warnings.len(), 1, "{}", received.stderr);
    assert_eq!(
        warnings[0]["message"],
        "a text from alice was not received: it has the topic lk.chat"
    );
}

/// More small files than may wait, to a disk that takes its time.
#[test]
fn many_small_files_arrive() {
    const FILES: usize = 600;
    let served = Served::start();
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let count = FILES.to_string();
    let receiver = served.receiver(out.path(), &["--count", &count]);
    let paths: Vec<String> = (0..FILES)
        .map(|at| {
            write(
                source.path(),
                &format!("{at:04}"),
                at.to_string().as_bytes(),
            )
        })
        .collect();
    let mut arguments = vec!["--to", "bob", "--linger", "0"];
    arguments.extend(paths.iter().map(String::as_str));
    let sent = served.send(&arguments).expect_code(0);
    assert_eq!(sent.text().matches(": received by bob").count(), FILES);
    receiver.ended().expect_code(0);
    assert_eq!(files(out.path()).len(), FILES);
}

#[cfg(unix)]
#[test]
fn a_receiver_that_goes_away_fails_the_sender_and_is_named() {
    for to in [&["--to", "bob"][..], &[]] {
        let served = Served::start();
        let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // Sparse, so that it costs nothing; nobody gets to its end.
        let path = source.path().join("big");
        File::create(&path).unwrap().set_len(4_000_000_000).unwrap();
        let mut receiver = served.receiver(out.path(), &["--count", "1"]);
        let mut arguments = vec!["--json", "--compress", "never"];
        arguments.extend(to);
        arguments.push(path.to_str().unwrap());
        let sender = Lkstream::start(served.client("send", &arguments));
        receiver.wait_for_event("progress");
        receiver.interrupt();
        receiver.ended().expect_code(130);
        let sent = sender.ended().expect_code(5).text();
        let failed = &events(&sent, "failed")[0];
        let reason = failed["reason"].as_str().unwrap();
        assert!(
            reason.contains("no recipient is left: bob ") && reason.ends_with(" %"),
            "{reason}"
        );
    }
}

#[test]
fn nobody_in_the_room_is_6_without_waiting() {
    let served = Served::start();
    let ended = served.send(&["--wait", "0", "--text", "x"]).expect_code(6);
    assert!(
        ended.stderr.contains("nobody else is in the room"),
        "{}",
        ended.stderr
    );
    let ended = served
        .send(&["--wait", "0", "--to", "bob", "--text", "x"])
        .expect_code(6);
    assert!(
        ended.stderr.contains("bob is not in the room"),
        "{}",
        ended.stderr
    );
}
