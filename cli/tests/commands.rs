//! Commands without another participant: usage, tokens, addresses, folders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use lkstream_proto::token::{Claims, sign};
use support::{Lkstream, Served, command, run};

/// The error line, alone on standard error but for the line about the server.
#[track_caller]
fn one_error(stderr: &str) -> String {
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.starts_with("server "))
        .collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert!(errors[0].starts_with("error: "), "{stderr}");
    errors[0].to_owned()
}

#[test]
fn usage_errors_are_2() {
    for arguments in [
        &["send"] as &[&str],
        &["nonsense"],
        &["send", "--dev", "--room", "r"],
        &["send", "--dev", "--room", "", "--text", "x"],
        &["send", "--dev", "--room", "r", "--text", "x", "file"],
        &["send", "--dev", "--text", "x"],
        &["send", "--room", "r", "--text", "x"],
        &[
            "send",
            "--url",
            "ws://127.0.0.1:1",
            "--room",
            "r",
            "--text",
            "x",
        ],
        &["recv", "--dev", "--room", "r", "--count", "0"],
        &["token", "--dev", "--room", "r"],
        &[
            "token",
            "--dev",
            "--room",
            "r",
            "--identity",
            "i",
            "--valid-for",
            "soon",
        ],
        &["serve"],
        &["serve", "--keys", "nonsense"],
        &["serve", "--config", "/no/such/file"],
    ] {
        let ended = run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("error: "),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
    let long = "x".repeat(257);
    for flag in ["--room", "--identity"] {
        let mut arguments = vec!["recv", "--dev", flag, &long];
        if flag != "--room" {
            arguments.extend(["--room", "r"]);
        }
        let ended = run(&arguments).expect_code(2);
        assert!(ended.stderr.contains("257 bytes"), "{}", ended.stderr);
    }
}

#[test]
fn help_is_there_and_ends_well() {
    for arguments in [
        &["--help"] as &[&str],
        &["send", "--help"],
        &["recv", "-h"],
        &["--version"],
    ] {
        assert!(
            !run(arguments).expect_code(0).stdout.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_token_is_printed_alone() {
    let ended = run(&[
        "token",
        "--dev",
        "--room",
        "r",
        "--identity",
        "i",
        "--valid-for",
        "2h",
    ])
    .expect_code(0);
    let token = ended.text();
    assert_eq!(token.lines().count(), 1);
    assert_eq!(token.trim().split('.').count(), 3);
    let mut command = command(&["token", "--room", "r", "--identity", "i"]);
    command
        .env("LIVEKIT_API_KEY", "k")
        .env("LIVEKIT_API_SECRET", "short");
    let ended = Lkstream::start(command).ended().expect_code(0);
    assert!(
        ended.stderr.contains("key k (LIVEKIT_API_KEY)"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("warning: the secret has 5 bytes"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("short"), "{}", ended.stderr);
}

#[test]
fn a_refused_token_is_3_and_never_shown() {
    let served = Served::start();
    let now = SystemTime::now();
    let token = |key: &str, secret: &str, from: SystemTime| {
        sign(
            &Claims::join("i", "r", from, Duration::from_secs(600)),
            key,
            secret,
        )
        .unwrap()
    };
    for token in [
        token("devkey", "wrong", now),
        token("otherkey", "secret", now),
        token("devkey", "secret", now - Duration::from_secs(7200)),
        "not-a-token".to_owned(),
    ] {
        let ended = run(&["recv", "--url", &served.url, "--token", &token]).expect_code(3);
        assert!(!ended.stderr.contains(&token), "{}", ended.stderr);
        let line = one_error(&ended.stderr);
        assert!(line.contains("; check "), "{line}");
    }
    let no_data = {
        let mut claims = Claims::join("mute", "r", now, Duration::from_secs(600));
        claims.video.as_mut().unwrap().can_publish_data = Some(false);
        sign(&claims, "devkey", "secret").unwrap()
    };
    let out = tempfile::tempdir().unwrap();
    let _receiver = served.receiver(out.path(), &[]);
    let ended = run(&[
        "send",
        "--url",
        &served.url,
        "--token",
        &no_data,
        "--text",
        "x",
    ])
    .expect_code(3);
    assert!(ended.stderr.contains("canPublishData"), "{}", ended.stderr);
}

#[test]
fn a_closed_port_is_4() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    drop(listener);
    let ended = run(&["send", "--url", &url, "--dev", "--room", "r", "--text", "x"]).expect_code(4);
    let line = one_error(&ended.stderr);
    assert!(
        line.contains(&url) && line.contains("lkstream serve --dev"),
        "{line}"
    );
    assert!(
        ended.stderr.contains("(--url), key devkey (--dev)"),
        "{}",
        ended.stderr
    );
}

#[test]
fn nobody_to_receive_is_6() {
    let served = Served::start();
    let ended = served
        .send(&["--wait", "0.3", "--text", "x"])
        .expect_code(6);
    assert!(
        ended.stderr.contains("nobody else joined within 300ms"),
        "{}",
        ended.stderr
    );
    let ended = served
        .send(&[
            "--wait", "0.3", "--to", "bob", "--to", "carol", "--text", "x",
        ])
        .expect_code(6);
    assert!(
        ended.stderr.contains("bob, carol did not join"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_used_port_is_named() {
    let served = Served::start();
    let (port, rtc_port) = (served.port.to_string(), served.rtc_port.to_string());
    let ended = run(&["serve", "--dev", "--port", &port, "--rtc-port", "0"]).expect_code(1);
    let line = one_error(&ended.stderr);
    assert!(line.contains(&port) && line.contains("--port"), "{line}");
    let ended = run(&["serve", "--dev", "--port", "0", "--rtc-port", &rtc_port]).expect_code(1);
    let line = one_error(&ended.stderr);
    assert!(
        line.contains(&rtc_port) && line.contains("--rtc-port"),
        "{line}"
    );
}

#[test]
fn what_cannot_be_sent_or_stored_is_said_before_connecting() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let (folder, missing) = (dir.path().to_str().unwrap(), missing.to_str().unwrap());
    // Nothing listens at port 1: had it connected, the code would be 4.
    let base = ["--url", "ws://127.0.0.1:1", "--dev", "--room", "r"];
    for (arguments, wanted) in [
        (["send", missing].as_slice(), "does not exist"),
        (&["send", folder], "is a directory"),
        (
            &[
                "recv",
                "--out",
                concat!(env!("CARGO_BIN_EXE_lkstream"), "/below"),
            ],
            "can't use the folder",
        ),
        (
            &["recv", "--out", env!("CARGO_BIN_EXE_lkstream")],
            "is not a folder",
        ),
    ] {
        let mut all = arguments.to_vec();
        all.extend_from_slice(&base);
        let ended = run(&all).expect_code(1);
        assert!(
            one_error(&ended.stderr).contains(wanted),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn serve_says_where_it_listens_and_which_ports_to_open() {
    let mut process = Lkstream::start(command(&[
        "serve",
        "--dev",
        "--port",
        "0",
        "--rtc-port",
        "0",
    ]));
    let printed = process.wait_for_output(|out| out.windows(6).any(|w| w == b"Ctrl-C"));
    let printed = String::from_utf8(printed).unwrap();
    assert!(
        printed.contains("ws://127.0.0.1:") && printed.contains("TCP ") && printed.contains("UDP "),
        "{printed}"
    );
    #[cfg(unix)]
    {
        process.interrupt();
        process.ended().expect_code(0);
    }
}

#[test]
fn serve_takes_a_configuration_file_and_names_what_it_ignores() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("livekit.yaml");
    let yaml = "port: 1\nbind_addresses: [127.0.0.1]\nrtc:\n  udp_port: 1\n  tcp_port: 7881\nredis: {address: hush}\n\
                keys:\n  filed: 0123456789abcdef0123456789abcdef\n";
    std::fs::write(&path, yaml).unwrap();
    let arguments = [
        "serve",
        "--config",
        path.to_str().unwrap(),
        "--port",
        "0",
        "--rtc-port",
        "0",
    ];
    let mut process = Lkstream::start(command(&arguments));
    let redis = process.wait_for(|line| line.contains("`redis`"));
    assert!(
        redis.contains("warning: ") && !redis.contains("hush"),
        "{redis}"
    );
    process.wait_for(|line| line.contains("`rtc.tcp_port`"));
    let printed = process.wait_for_output(|out| out.ends_with(b"Ctrl-C ends it\n"));
    let printed = String::from_utf8(printed).unwrap();
    assert!(
        printed.contains("ws://127.0.0.1:") && printed.contains("key filed (--config)"),
        "{printed}"
    );
}
