#![allow(clippy::unwrap_used)]

use super::*;

const FULL: &str = r#"
port: 7000
bind_addresses: ["127.0.0.1"]
rtc:
  udp_port: 7001
  tcp_port: 7002
  node_ip: 192.0.2.7
  enable_loopback_candidate: true
keys:
  first: "0123"
  second: 0456
room:
  empty_timeout: 60
  departure_timeout: 5
  max_participants: 12
  auto_create: true
log_level: debug
surprise:
  deep: 1
"#;

#[test]
fn reads_what_it_knows_and_names_the_rest() {
    let settings = FileSettings::parse(FULL).unwrap();
    assert_eq!(settings.port, Some(7000));
    assert_eq!(settings.bind, Some(Ipv4Addr::LOCALHOST.into()));
    assert_eq!(settings.rtc_port, Some(7001));
    assert_eq!(settings.node_ip, Some("192.0.2.7".parse().unwrap()));
    assert_eq!(settings.loopback, Some(LoopbackCandidates::Offer));
    assert_eq!(settings.empty_timeout, Some(Duration::from_secs(60)));
    assert_eq!(settings.departure_timeout, Some(Duration::from_secs(5)));
    assert_eq!(settings.max_participants, Some(12));
    assert_eq!(
        settings.warnings,
        [
            "`rtc.tcp_port` has no effect: ICE over TCP is not served, participants need UDP",
            "`log_level` has no effect: use -v, or RUST_LOG",
            "`surprise` is unknown here and has no effect",
        ]
    );
}

#[test]
fn secrets_of_digits_stay_as_written() {
    let keys = FileSettings::parse(FULL).unwrap().keys;
    assert_eq!(
        keys,
        [
            ("first".into(), "0123".into()),
            ("second".into(), "0456".into())
        ]
    );
}

#[test]
fn refuses_what_would_open_more_than_the_file_says() {
    for (text, wanted) in [
        (
            "room:\n  auto_create: false\n",
            "`room.auto_create` is false",
        ),
        (
            "bind_addresses: [127.0.0.1, 192.0.2.1]",
            "`bind_addresses` names several",
        ),
        (
            "bind_addresses: [example.org]",
            "`bind_addresses` is not an IP address",
        ),
        ("port: many", "`port` is not a number in range"),
        ("port: 70000", "`port` is not a number in range"),
        ("keys: [a, b]", "`keys` is not a map"),
        ("- a\n- b", "`the file` is not a section"),
        ("a: [", "no valid YAML"),
    ] {
        let error = FileSettings::parse(text).unwrap_err();
        assert!(error.contains(wanted), "{text:?}: {error}");
    }
}

#[test]
fn no_error_quotes_a_secret() {
    for text in [
        "keys:\n  key: [hush]\n",
        "keys: hush",
        "port: hush",
        "keys:\n key: \"hush\n",
    ] {
        let error = FileSettings::parse(text).unwrap_err();
        assert!(!error.contains("hush"), "{error}");
    }
    assert!(!parse_keys("hush").unwrap_err().contains("hush"));
}

#[test]
fn an_empty_file_says_nothing() {
    for text in ["", "\n# only a comment\n", "rtc:\n", "---\n"] {
        assert_eq!(
            FileSettings::parse(text).unwrap(),
            FileSettings::default(),
            "{text:?}"
        );
    }
}

#[test]
fn keys_come_one_a_line() {
    let keys = parse_keys("# comment\n a: b\n\n\"c\": 'd:e'\n").unwrap();
    assert_eq!(keys, [("a".into(), "b".into()), ("c".into(), "d:e".into())]);
    for text in ["a", "a:", ": b", "a: b\nc"] {
        assert!(parse_keys(text).is_err(), "{text}");
    }
}
