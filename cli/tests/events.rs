//! Every field of an event is true, at the sender and at the receiver (docs/cli.md, "JSON events").

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::{Ended, Lkstream, Served, events, noise, write};

/// The one event of this name.
#[track_caller]
fn only(lines: &str, name: &str) -> Value {
    let mut all = events(lines, name);
    assert_eq!(all.len(), 1, "{name}: {lines}");
    all.remove(0)
}

#[track_caller]
fn check_fields(event: &Value, expected: &Value) {
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&event[field], value, "{field} of {event}");
    }
}

/// No event has fewer or other fields than the documentation says.
#[track_caller]
fn check_names(lines: &str) {
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let name = event["event"].as_str().unwrap();
        let fields = match name {
            "server" => "credential credential_source event identity key room url url_source",
            "joined" => "event identity participant room seconds",
            "waiting" => "event for seconds",
            "opened" => {
                "attributes direction event from kind length mime_type name stream to topic"
            }
            "progress" => "bytes direction event length stream",
            "delivered" => "bytes event kind name seconds stream",
            "receipt" => "bytes event from name reason status stream",
            "received" => "bytes event from kind name path seconds stream topic",
            "failed" => "direction event from kind name reason remedy stream",
            "done" => "event seconds streams",
            "error" => "cause code event remedy",
            _ => panic!("{name} is not documented: {line}"),
        };
        let mut documented: Vec<&str> = fields.split(' ').collect();
        documented.sort_unstable();
        let found: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(found, documented, "{line}");
        let seconds = event
            .get("seconds")
            .map(|seconds| seconds.as_f64().unwrap());
        assert!(
            seconds.is_none_or(|seconds| (0.0..60.0).contains(&seconds)),
            "{line}"
        );
    }
}

/// Sends with events at both sides, to one receiver that stores one stream.
fn transfer(
    served: &Served,
    out: &std::path::Path,
    arguments: &[&str],
    input: Option<&[u8]>,
) -> (String, Ended) {
    let receiver = served.receiver(out, &["--count", "1"]);
    let mut all = vec!["--json", "--identity", "alice", "--to", "bob"];
    all.extend_from_slice(arguments);
    let mut sender = Lkstream::start_with_input(served.client("send", &all));
    if let Some(input) = input {
        sender.write(input);
    }
    sender.close_input();
    let sent = sender.ended().expect_code(0).text();
    let received = receiver.ended().expect_code(0);
    check_names(&sent);
    check_names(&received.stderr);
    (sent, received)
}

/// Arguments, standard input, and what the events say.
type Case<'a> = (&'a [&'a str], Option<&'a [u8]>, Value);

#[test]
fn fields_are_true_on_both_sides() {
    let served = Served::start();
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content = noise(2_000_000);
    let file = write(source.path(), "r\u{e9}sum\u{e9} \u{9b}2J.pdf", &content);
    let name = "r\u{e9}sum\u{e9} \u{9b}2J.pdf";
    let small = write(source.path(), "small", b"abc");
    let out_path = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let cases: [Case<'_>; 6] = [
        (
            &[&file],
            None,
            json!({"kind": "bytes", "topic": "files", "name": name, "length": 2_000_000, "bytes": 2_000_000,
                   "path": out_path("r\u{e9}sum\u{e9} _2J.pdf")}),
        ),
        (
            &[
                "--topic",
                "t",
                "--name",
                "../a/b",
                "--compress",
                "always",
                &small,
            ],
            None,
            json!({"kind": "bytes", "topic": "t", "name": "../a/b", "length": 3, "bytes": 3, "path": out_path("b")}),
        ),
        (
            &["-"],
            Some(&content),
            json!({"kind": "bytes", "topic": "files", "name": "stdin", "length": null, "bytes": 2_000_000,
                   "path": out_path("stdin")}),
        ),
        (
            &["--text", "h\u{e9}llo"],
            None,
            json!({"kind": "text", "topic": "lk.chat", "name": null, "length": 6, "bytes": 6, "path": null}),
        ),
        (
            &["--text", ""],
            None,
            json!({"kind": "text", "topic": "lk.chat", "name": null, "length": 0, "bytes": 0, "path": null}),
        ),
        (
            &["--topic", "lines", "--text", "-"],
            Some(b"one\ntwo\n"),
            json!({"kind": "text", "topic": "lines", "name": null, "length": null, "bytes": 8, "path": null}),
        ),
    ];
    for (arguments, input, expected) in cases {
        let (sent, received) = transfer(&served, out.path(), arguments, input);
        let received = received.stderr;
        let (ours, theirs) = (only(&sent, "opened"), only(&received, "opened"));
        let stream = &ours["stream"];
        for opened in [&ours, &theirs] {
            for field in ["kind", "topic", "name", "length"] {
                assert_eq!(opened[field], expected[field], "{field} of {opened}");
            }
        }
        for field in ["stream", "mime_type", "attributes"] {
            assert_eq!(ours[field], theirs[field], "{field} of {ours} and {theirs}");
        }
        check_fields(
            &ours,
            &json!({"direction": "outgoing", "from": null, "to": ["bob"]}),
        );
        check_fields(
            &theirs,
            &json!({"direction": "incoming", "from": "alice", "to": null}),
        );
        check_fields(
            &only(&sent, "delivered"),
            &json!({"stream": stream, "kind": expected["kind"], "name": expected["name"], "bytes": expected["bytes"]}),
        );
        check_fields(
            &only(&received, "received"),
            &json!({"stream": stream, "kind": expected["kind"], "name": expected["name"], "bytes": expected["bytes"],
                    "from": "alice", "topic": expected["topic"], "path": expected["path"]}),
        );
        let receipts = events(&sent, "receipt");
        for receipt in &receipts {
            check_fields(
                receipt,
                &json!({"stream": stream, "name": expected["name"], "from": "bob"}),
            );
        }
        let last = receipts.last().unwrap();
        check_fields(
            last,
            &json!({"status": "complete", "bytes": expected["bytes"]}),
        );
        for (lines, direction) in [(&sent, "outgoing"), (&received, "incoming")] {
            let progress = events(lines, "progress");
            for event in &progress {
                check_fields(
                    event,
                    &json!({"stream": stream, "direction": direction, "length": expected["length"]}),
                );
                assert!(
                    event["bytes"].as_u64() <= expected["bytes"].as_u64(),
                    "{event}"
                );
            }
            assert!(
                progress.is_sorted_by_key(|event| event["bytes"].as_u64()),
                "{lines}"
            );
            check_fields(&only(lines, "done"), &json!({"streams": 1}));
        }
        let server = |identity: &str| {
            json!({"url": served.url, "url_source": "--url", "credential": "key", "credential_source": "--dev",
                   "key": "devkey", "room": "r", "identity": identity})
        };
        check_fields(&only(&sent, "server"), &server("alice"));
        check_fields(&only(&received, "server"), &server("bob"));
        for (lines, identity) in [(&sent, "alice"), (&received, "bob")] {
            let joined = only(lines, "joined");
            check_fields(&joined, &json!({"room": "r", "identity": identity}));
            assert!(
                joined["participant"].as_str().unwrap().starts_with("PA_"),
                "{joined}"
            );
        }
        // What drives a terminal is escaped, and means the same.
        for lines in [&sent, &received] {
            assert!(!lines.contains('\u{9b}'), "{lines}");
        }
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_is_a_failure_on_both_sides() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let mut receiver = served.receiver(out.path(), &["--count", "1"]);
    let arguments = ["--json", "--identity", "alice", "--name", "n", "-"];
    let mut sender = Lkstream::start_with_input(served.client("send", &arguments));
    sender.write(&noise(100_000));
    receiver.wait_for_event("progress");
    sender.interrupt();
    let sent = sender.ended().expect_code(130).text();
    let received = receiver.ended().expect_code(5).stderr;
    check_names(&sent);
    check_names(&received);
    let stream = &only(&sent, "opened")["stream"];
    check_fields(
        &only(&sent, "failed"),
        &json!({"direction": "outgoing", "stream": stream, "kind": "bytes", "name": "n", "from": null,
                "reason": "interrupted"}),
    );
    check_fields(
        &only(&sent, "error"),
        &json!({"code": 130, "cause": "interrupted"}),
    );
    check_fields(
        &only(&received, "failed"),
        &json!({"direction": "incoming", "stream": stream, "kind": "bytes", "name": "n", "from": "alice",
                "reason": "alice cancelled it", "remedy": "ask alice to send it again"}),
    );
    check_fields(
        &only(&received, "error"),
        &json!({"code": 5, "cause": "1 of 1 stream failed"}),
    );
}

/// The one who was first leaves, and learns why.
#[test]
fn a_second_participant_of_an_identity_is_named() {
    let served = Served::start();
    let out = tempfile::tempdir().unwrap();
    let first = served.receiver(out.path(), &[]);
    let second = served.receiver(out.path(), &["--count", "1"]);
    let ended = first.ended().expect_code(1).stderr;
    let error = only(&ended, "error");
    assert_eq!(error["remedy"], "choose another --identity", "{error}");
    assert!(
        error["cause"].as_str().unwrap().contains("same identity"),
        "{error}"
    );
    served.send(&["--text", "x"]).expect_code(0);
    second.ended().expect_code(0);
}
