#![allow(clippy::unwrap_used)]

use std::io::Write;

use super::*;

fn nothing(_: &str) -> Option<String> {
    None
}

const LONG: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn dev_is_the_known_key_on_loopback() {
    let plan = plan(
        &Arguments {
            dev: true,
            ..Arguments::default()
        },
        &nothing,
    )
    .unwrap();
    assert_eq!(plan.config.bind, IpAddr::from([127, 0, 0, 1]));
    assert_eq!((plan.config.port, plan.config.rtc_port), (7880, 7882));
    assert_eq!(plan.keys, [DEV_API_KEY]);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn without_a_key_it_is_a_usage_error() {
    let failure = plan(&Arguments::default(), &nothing).unwrap_err();
    assert_eq!(failure.code, crate::exit::Code::Usage);
    assert!(failure.remedy.contains("--dev"));
}

#[test]
fn flags_win_over_dev_over_environment_over_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(
        file,
        "port: 1\nrtc: {{udp_port: 2}}\nkeys: {{filed: {LONG}}}\nbind_addresses: [127.0.0.2]\n"
    )
    .unwrap();
    let environment = |name: &str| (name == "LIVEKIT_KEYS").then(|| format!("env: {LONG}"));
    let with_file = || Arguments {
        config: Some(file.path().to_owned()),
        ..Arguments::default()
    };

    let from_file = plan(&with_file(), &nothing).unwrap();
    assert_eq!(
        (
            from_file.keys[0].as_str(),
            from_file.config.port,
            from_file.config.rtc_port
        ),
        ("filed", 1, 2)
    );
    assert_eq!(from_file.config.bind, IpAddr::from([127, 0, 0, 2]));
    assert_eq!(plan(&with_file(), &environment).unwrap().keys, ["env"]);
    assert_eq!(
        plan(
            &Arguments {
                dev: true,
                ..with_file()
            },
            &environment
        )
        .unwrap()
        .keys,
        [DEV_API_KEY]
    );
    let flags = Arguments {
        dev: true,
        keys: vec![format!("flag: {LONG}")],
        port: Some(9),
        ..with_file()
    };
    let from_flags = plan(&flags, &environment).unwrap();
    assert_eq!(
        (from_flags.keys[0].as_str(), from_flags.config.port),
        ("flag", 9)
    );
}

#[test]
fn weak_secrets_are_named() {
    let open = Arguments {
        dev: true,
        bind: Some(IpAddr::from([0, 0, 0, 0])),
        ..Arguments::default()
    };
    assert!(plan(&open, &nothing).unwrap().warnings[0].contains("anybody can join"));
    let short = Arguments {
        keys: vec!["k: short".to_owned()],
        ..Arguments::default()
    };
    let warnings = plan(&short, &nothing).unwrap().warnings;
    assert!(warnings[0].contains("5 bytes"), "{warnings:?}");
}

#[test]
fn bad_keys_are_not_quoted() {
    let failure = plan(
        &Arguments {
            keys: vec!["hush".to_owned()],
            ..Arguments::default()
        },
        &nothing,
    )
    .unwrap_err();
    assert_eq!(failure.code, crate::exit::Code::Usage);
    assert!(!failure.to_string().contains("hush"));
}
