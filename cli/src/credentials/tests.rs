#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Write;
use std::time::UNIX_EPOCH;

use super::*;
use crate::exit::Code;

const NONE: &[(&str, &str)] = &[];
const ALL: &[(&str, &str)] = &[
    ("LIVEKIT_URL", "wss://env.example"),
    ("LIVEKIT_API_KEY", "envkey"),
    ("LIVEKIT_API_SECRET", "envsecret"),
    ("LIVEKIT_TOKEN", "envtoken"),
];
const KEYS: &[(&str, &str)] = &[
    ("LIVEKIT_URL", "wss://env.example"),
    ("LIVEKIT_API_KEY", "envkey"),
    ("LIVEKIT_API_SECRET", "envsecret"),
];

fn flags(change: impl FnOnce(&mut ServerFlags)) -> ServerFlags {
    let mut flags = ServerFlags::default();
    change(&mut flags);
    flags
}

fn resolve(flags: &ServerFlags, variables: &[(&str, &str)]) -> Result<Target, Failure> {
    flags.resolve(&|name| {
        variables
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| (*v).to_owned())
    })
}

fn key(target: Target) -> KeyPair {
    match target.credential {
        Credential::Key(pair) => pair,
        Credential::Token(token) => panic!("a token from {}", token.source),
    }
}

#[test]
fn flags_win_over_dev_over_environment() {
    let all = flags(|f| {
        f.url = Some("ws://flag.example".into());
        f.key.dev = true;
        f.key.api_key = Some("flagkey".into());
        f.key.api_secret = Some("flagsecret".into());
    });
    let target = resolve(&all, ALL).ok().unwrap();
    assert_eq!(
        target.url,
        Sourced {
            value: "ws://flag.example".into(),
            source: Source::Flag("--url")
        }
    );
    let pair = key(target);
    assert_eq!(
        (pair.key.value.as_str(), pair.key.source),
        ("flagkey", Source::Flag("--api-key"))
    );
    assert_eq!(
        (pair.secret.value.as_str(), pair.secret.source),
        ("flagsecret", Source::Flag("--api-secret"))
    );

    let target = resolve(&flags(|f| f.key.dev = true), ALL).ok().unwrap();
    assert_eq!(
        (target.url.value.as_str(), target.url.source),
        (DEV_URL, Source::Dev)
    );
    let pair = key(target);
    assert_eq!(
        (pair.key.value.as_str(), pair.secret.value.as_str()),
        ("devkey", "secret")
    );

    let target = resolve(&flags(|_| ()), KEYS).ok().unwrap();
    assert_eq!(
        (target.url.value.as_str(), target.url.source),
        ("wss://env.example", Source::Env("LIVEKIT_URL"))
    );
    assert_eq!(key(target).key.source, Source::Env("LIVEKIT_API_KEY"));
}

#[test]
fn a_token_wins_on_its_own_level_only() {
    let given = flags(|f| f.token = Some(" flagtoken\n".into()));
    match resolve(&given, ALL).ok().unwrap().credential {
        Credential::Token(token) => {
            assert_eq!(
                token,
                Sourced {
                    value: "flagtoken".into(),
                    source: Source::Flag("--token")
                }
            );
        }
        Credential::Key(_) => panic!("a key"),
    }
    match resolve(&flags(|_| ()), ALL).ok().unwrap().credential {
        Credential::Token(token) => assert_eq!(token.source, Source::Env("LIVEKIT_TOKEN")),
        Credential::Key(_) => panic!("a key"),
    }
    let pair = key(
        resolve(&flags(|f| f.key.api_key = Some("flagkey".into())), ALL)
            .ok()
            .unwrap(),
    );
    assert_eq!(
        (pair.key.source, pair.secret.source),
        (Source::Flag("--api-key"), Source::Env("LIVEKIT_API_SECRET"))
    );
}

#[test]
fn what_is_missing_is_named() {
    for (given, variables, cause, remedy) in [
        (flags(|_| ()), NONE, "no server is named", "--dev"),
        (
            flags(|f| f.url = Some("ws://h".into())),
            NONE,
            "no credentials are given",
            "LIVEKIT_TOKEN",
        ),
        (
            flags(|f| f.url = Some("localhost:7880".into())),
            KEYS,
            "does not start with ws://",
            "ws://host:port",
        ),
        (
            flags(|f| {
                f.url = Some("ws://h".into());
                f.key.api_key = Some("k".into());
            }),
            NONE,
            "API key k (--api-key) has no secret",
            "--api-secret-file",
        ),
        (
            flags(|f| {
                f.url = Some("ws://h".into());
                f.key.api_secret = Some("hush".into());
            }),
            NONE,
            "the API secret (--api-secret) has no key",
            "--api-key",
        ),
        (
            flags(|f| {
                f.key.dev = true;
                f.key.api_secret = Some(String::new());
            }),
            NONE,
            "the API secret (--api-secret) is empty",
            "server's own",
        ),
    ] {
        let failure = resolve(&given, variables).err().unwrap();
        assert_eq!(failure.code, Code::Usage);
        assert!(failure.cause.contains(cause), "{failure}");
        assert!(failure.remedy.contains(remedy), "{failure}");
        assert!(!failure.to_string().contains("hush"));
    }
}

#[test]
fn a_secret_file_is_read_without_its_newline() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "filesecret").unwrap();
    let given = flags(|f| {
        f.key.dev = true;
        f.key.api_secret_file = Some(file.path().to_owned());
    });
    assert_eq!(
        key(resolve(&given, ALL).ok().unwrap()).secret.value,
        "filesecret"
    );
    let missing = flags(|f| {
        f.key.dev = true;
        f.key.api_secret_file = Some("/no/such/file".into());
    });
    assert_eq!(resolve(&missing, ALL).err().unwrap().code, Code::Usage);
}

#[test]
fn a_ready_made_token_must_fit_what_is_asked() {
    let pair = key(resolve(&flags(|f| f.key.dev = true), NONE).ok().unwrap());
    let token = token::sign(&pair, "r", "alice", None, OWN_TOKEN, UNIX_EPOCH).unwrap();
    let given = flags(|f| {
        f.url = Some("ws://h".into());
        f.token = Some(token);
    });
    let none = |_: &str| None;
    let admit = |room, identity| given.admit(&none, room, identity, "default", UNIX_EPOCH);
    let admission = admit(None, None).ok().unwrap();
    assert_eq!(
        (admission.room.as_str(), admission.identity.as_str()),
        ("r", "alice")
    );
    assert!(admit(Some("r"), Some("alice")).is_ok());
    assert!(
        admit(Some("other"), None)
            .err()
            .unwrap()
            .cause
            .contains("is for room r, not other")
    );
    assert!(
        admit(None, Some("bob"))
            .err()
            .unwrap()
            .cause
            .contains("is for identity alice, not bob")
    );
    let garbage = flags(|f| {
        f.url = Some("ws://h".into());
        f.token = Some("hush".into());
    });
    let failure = garbage
        .admit(&none, None, None, "default", UNIX_EPOCH)
        .err()
        .unwrap();
    assert_eq!(failure.code, Code::Refused);
    assert!(!failure.to_string().contains("hush"));
}

#[test]
fn shown_urls_hold_no_secrets() {
    for (url, wanted) in [
        ("ws://127.0.0.1:7880", "ws://127.0.0.1:7880"),
        (
            "wss://user:hush@host/base/?access_token=hush#hush",
            "wss://host/base",
        ),
        ("ws://host?hush", "ws://host"),
    ] {
        assert_eq!(shown(url), wanted);
    }
}

#[test]
fn a_key_without_a_room_is_a_usage_error() {
    let dev = flags(|f| f.key.dev = true);
    let failure = dev
        .admit(&|_| None, None, None, "me", UNIX_EPOCH)
        .err()
        .unwrap();
    assert_eq!(failure.code, Code::Usage);
    assert!(failure.remedy.contains("--room"));
    let admission = dev
        .admit(&|_| None, Some("r"), None, "me", UNIX_EPOCH)
        .ok()
        .unwrap();
    assert_eq!(admission.identity, "me");
}
