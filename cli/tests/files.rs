//! Files that are not what they seem, the folder they go to, and what is left of a receiver that ends early.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use support::{Lkstream, Served, events, files, noise, run, write};

/// The metadata of `/proc` says 0 bytes, that of `/sys` 4096.
#[cfg(target_os = "linux")]
#[test]
fn files_of_the_kernel_arrive_whole() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let sources: Vec<&str> = [
        "/proc/version",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/proc/kallsyms",
    ]
    .into_iter()
    .filter(|path| std::fs::read(path).is_ok_and(|content| !content.is_empty()))
    .collect();
    let count = sources.len().to_string();
    let receiver = served.receiver(out.path(), &["--count", &count]);
    let mut arguments = vec!["--json", "--to", "bob"];
    arguments.extend(&sources);
    let sent = served.send(&arguments).expect_code(0).text();
    let received = receiver.ended().expect_code(0);
    for path in &sources {
        let name = Path::new(path).file_name().unwrap();
        let stored = std::fs::read(out.path().join(name)).unwrap();
        assert!(stored == std::fs::read(path).unwrap(), "{path}");
    }
    // What is announced is true, or nothing is.
    for opened in events(&sent, "opened")
        .iter()
        .chain(&events(&received.stderr, "opened"))
    {
        let path = out.path().join(opened["name"].as_str().unwrap());
        let length = std::fs::metadata(path).unwrap().len();
        assert!(
            opened["length"].is_null() || opened["length"] == length,
            "{opened}"
        );
    }
}

#[test]
fn a_file_above_the_limit_is_refused_before_anything_is_connected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.bin");
    let sparse = std::fs::File::create(&path).unwrap();
    sparse.set_len(5_000_000_001).unwrap();
    let path = path.to_str().unwrap();
    let base = ["--url", "ws://127.0.0.1:1", "--dev", "--room", "r"];
    let send = |arguments: &[&str]| {
        let mut all = vec!["send"];
        all.extend_from_slice(&base);
        all.extend_from_slice(arguments);
        run(&all)
    };
    // Nothing listens at port 1: had it connected, the code would be 4.
    let refused = send(&[path]).expect_code(1);
    assert!(
        refused
            .stderr
            .contains("has 5000000001 bytes, and a stream takes 5000000000 at most; ")
            && refused.stderr.contains("--max-size"),
        "{}",
        refused.stderr
    );
    send(&["--max-size", "6GB", path]).expect_code(4);
    send(&["--max-size", "much", path]).expect_code(2);
}

#[test]
fn the_limit_of_a_receiver_fails_the_stream_and_is_named() {
    let served = Served::start();
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = write(source.path(), "big.bin", &noise(300_000));
    let receiver = served.receiver(out.path(), &["--count", "1", "--max-size", "200kB"]);
    served.send(&["--to", "bob", &path]).expect_code(5);
    let received = receiver.ended().expect_code(5);
    let failed = &events(&received.stderr, "failed")[0];
    let text = |field: &str| failed[field].as_str().unwrap().to_owned();
    assert!(
        text("reason").contains("200000") && text("remedy").contains("--max-size"),
        "{failed}"
    );
    assert_eq!(files(out.path()), []);
}

#[test]
fn names_arrive_as_they_were() {
    let served = Served::start();
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let names = [
        "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}.txt",
        "\u{915}\u{94d}\u{200d}\u{937}.txt",
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}.jpg",
        "re\u{301}sume\u{301} 100 % (1).pdf",
    ];
    let paths: Vec<String> = names
        .iter()
        .map(|name| write(source.path(), name, name.as_bytes()))
        .collect();
    let receiver = served.receiver(out.path(), &["--count", "4"]);
    let mut arguments = vec!["--to", "bob"];
    arguments.extend(paths.iter().map(String::as_str));
    let sent = served.send(&arguments).expect_code(0).text();
    receiver.ended().expect_code(0);
    assert_eq!(files(out.path()), files(source.path()));
    for name in names {
        assert!(sent.contains(&format!("{name}: received by bob")), "{sent}");
    }
}

#[test]
fn a_missing_folder_is_made() {
    let served = Served::start();
    let folder = tempfile::tempdir().unwrap();
    let (inbox, path) = (
        folder.path().join("deep/inbox"),
        write(folder.path(), "a.txt", b"a"),
    );
    let receiver = served.receiver(&inbox, &["--count", "1"]);
    served.send(&[&path]).expect_code(0);
    receiver.ended().expect_code(0);
    assert_eq!(files(&inbox), [("a.txt".to_owned(), b"a".to_vec())]);
}

/// A receiver in the middle of a file.
fn in_the_middle(served: &Served, out: &Path) -> (Lkstream, Lkstream) {
    let mut receiver = served.receiver(out, &[]);
    let mut sender = Lkstream::start_with_input(served.client(
        "send",
        &["--json", "--identity", "alice", "--name", "half", "-"],
    ));
    sender.write(&noise(100_000));
    receiver.wait_for_event("progress");
    let parts = files(out);
    assert!(
        parts.len() == 1 && parts[0].0.ends_with(".part"),
        "{}",
        parts[0].0
    );
    (receiver, sender)
}

#[cfg(unix)]
#[test]
fn what_a_killed_receiver_left_is_removed_by_the_next() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let (receiver, sender) = in_the_middle(&served, out.path());
    // Somebody holds it: it stays.
    let other = served.receiver(out.path(), &["--identity", "carol"]);
    assert_eq!(files(out.path()).len(), 1);
    other.signal("TERM");
    assert!(!other.ended().expect_code(130).stderr.contains("warning"));
    receiver.signal("KILL");
    receiver.ended().expect_code(-1);
    drop(sender);
    write(out.path(), "mine.part", b"");
    assert_eq!(files(out.path()).len(), 2);
    let mut next = served.receiver(out.path(), &["--identity", "carol"]);
    let warning = next.wait_for_event("warning");
    assert!(
        warning["message"]
            .as_str()
            .unwrap()
            .starts_with("removed 1 unfinished file "),
        "{warning}"
    );
    assert_eq!(files(out.path()), [("mine.part".to_owned(), Vec::new())]);
    next.interrupt();
    next.ended().expect_code(130);
}

#[cfg(unix)]
#[test]
fn the_end_of_the_terminal_ends_everything_cleanly() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let (receiver, sender) = in_the_middle(&served, out.path());
    sender.signal("HUP");
    sender.ended().expect_code(130);
    let mut receiver = receiver;
    let failed = receiver.wait_for_event("failed");
    assert_eq!(failed["reason"], "alice cancelled it", "{failed}");
    receiver.signal("HUP");
    receiver.ended().expect_code(130);
    assert_eq!(files(out.path()), []);

    let (receiver, sender) = in_the_middle(&served, out.path());
    receiver.signal("HUP");
    receiver.ended().expect_code(130);
    assert_eq!(files(out.path()), []);
    drop(sender);
    served.process.signal("HUP");
    served.process.ended().expect_code(0);
}

/// `nohup` has it ignored, and means it.
#[cfg(target_os = "linux")]
#[test]
fn an_ignored_hangup_stays_ignored() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let ignoring = |command: std::process::Command| {
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        shell
    };
    let receiver = served.receiver_of(ignoring, out.path(), &["--count", "1"]);
    receiver.signal("HUP");
    served.send(&["--text", "still here"]).expect_code(0);
    assert_eq!(receiver.ended().expect_code(0).text(), "still here");
}

/// Threads and memory do not grow with the number of files that wait for the disk.
#[cfg(target_os = "linux")]
#[test]
fn many_small_files_take_few_threads() {
    let served = Served::start();
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let count = 400;
    let paths: Vec<String> = (0..count)
        .map(|number| write(source.path(), &format!("{number:04}"), b"small"))
        .collect();
    let receiver = served.receiver(out.path(), &["--count", &count.to_string()]);
    let status = format!("/proc/{}/status", receiver.id());
    let threads = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let watching = std::thread::spawn({
        let threads = threads.clone();
        move || {
            // Until the process is gone.
            while let Ok(status) = std::fs::read_to_string(&status) {
                let Some(now) = status.lines().find_map(|l| l.strip_prefix("Threads:")) else {
                    return;
                };
                let now = now.trim().parse().unwrap();
                threads.fetch_max(now, std::sync::atomic::Ordering::Relaxed);
                std::thread::yield_now();
            }
        }
    });
    let mut arguments = vec!["--to", "bob"];
    arguments.extend(paths.iter().map(String::as_str));
    served.send(&arguments).expect_code(0);
    receiver.ended().expect_code(0);
    watching.join().unwrap();
    assert_eq!(files(out.path()), files(source.path()));
    let threads = threads.load(std::sync::atomic::Ordering::Relaxed);
    assert!((1..=24).contains(&threads), "{threads} threads");
}
