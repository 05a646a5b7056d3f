#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use ring::hmac;

use super::*;
use crate::participant::{KindDetail, ParticipantKind, TrackSource};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

const NOW: u64 = 1_800_000_000;

fn keys() -> ApiKeys {
    let mut keys = ApiKeys::one("devkey", "secret");
    keys.insert("other", "hush");
    keys
}

fn claims() -> Claims {
    Claims::join("alice", "room", at(NOW), Duration::from_secs(3600))
}

/// A token from raw JSON, signed rightly with `secret`.
fn raw(header: &str, claims: &str, secret: &str) -> String {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

const HS256: &str = r#"{"alg":"HS256"}"#;

fn verify_json(json: &str) -> Result<Claims, TokenError> {
    keys().verify(&raw(HS256, json, "secret"), at(NOW))
}

#[test]
fn a_token_of_any_of_our_keys_is_accepted() {
    for key in ["devkey", "other"] {
        let token = keys().sign(&claims(), key).unwrap();
        let verified = keys().verify(&token, at(NOW)).unwrap();
        assert_eq!(verified.issuer, key);
        assert_eq!(verified.participant_identity(), "alice");
        assert_eq!(verified.video.as_ref().unwrap().room, "room");
        assert_eq!(peek(&token).unwrap(), verified);
    }
}

#[test]
fn a_token_is_the_bytes_of_rfc_7515() {
    let claims = Claims {
        subject: "a".into(),
        expires: Some(2_000_000_000),
        ..Claims::default()
    };
    // Computed apart with Python's hmac and base64.
    assert_eq!(
        sign(&claims, "devkey", "secret").unwrap(),
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJkZXZrZXkiLCJzdWIiOiJhIiwiZXhwIjoyMDAwMDAwMDAwfQ.2AWmI-ZDIIEjne5Xr6i-3j0ehsiFnTwhb1Hbvt-yBdc"
    );
}

#[test]
fn times_have_a_leeway_of_60_s() {
    // Section 1.1.
    let token = keys().sign(&claims(), "devkey").unwrap();
    let end = NOW + 3600;
    assert!(keys().verify(&token, at(end + 60)).is_ok());
    assert_eq!(
        keys().verify(&token, at(end + 61)),
        Err(TokenError::Expired {
            ago: Duration::from_secs(61)
        })
    );
    assert!(keys().verify(&token, at(NOW - 60)).is_ok());
    assert_eq!(
        keys().verify(&token, at(NOW - 61)),
        Err(TokenError::NotYetValid {
            wait: Duration::from_secs(61)
        })
    );
    assert_eq!(
        keys().verify(&token, at(end + 61)).unwrap_err().to_string(),
        "the token expired 61 s ago"
    );
}

#[test]
fn not_before_and_issued_at_count_each_alone() {
    for claim in ["nbf", "iat"] {
        let json =
            |seconds: u64| format!(r#"{{"iss":"devkey","exp":1900000000,"{claim}":{seconds}}}"#);
        assert!(verify_json(&json(NOW + 60)).is_ok(), "{claim}");
        assert_eq!(
            verify_json(&json(NOW + 61)),
            Err(TokenError::NotYetValid {
                wait: Duration::from_secs(61)
            }),
            "{claim}"
        );
    }
}

#[test]
fn an_expiry_is_mandatory() {
    for json in [
        r#"{"iss":"devkey","sub":"a"}"#,
        r#"{"iss":"devkey","sub":"a","exp":null}"#,
    ] {
        assert_eq!(verify_json(json), Err(TokenError::NoExpiry));
    }
}

#[test]
fn dates_of_another_type_are_malformed_not_absent() {
    for json in [
        r#"{"iss":"devkey","exp":"1900000000"}"#,
        r#"{"iss":"devkey","exp":1900000000,"nbf":"1900000000"}"#,
        r#"{"iss":"devkey","exp":1900000000,"iat":[]}"#,
        r#"{"iss":"devkey","exp":-5}"#,
    ] {
        assert!(
            matches!(verify_json(json), Err(TokenError::Malformed { .. })),
            "{json}"
        );
    }
    // RFC 7519 allows fractions, and a date beyond every clock is no error.
    assert_eq!(
        verify_json(r#"{"iss":"devkey","exp":1900000000.9}"#)
            .unwrap()
            .expires,
        Some(1_900_000_000)
    );
    assert!(verify_json(r#"{"iss":"devkey","exp":1e300}"#).is_ok());
    assert!(verify_json(r#"{"iss":"devkey","exp":18446744073709551615}"#).is_ok());
}

#[test]
fn other_algorithms_are_refused() {
    let json = r#"{"iss":"devkey","sub":"a","exp":1900000000}"#;
    for alg in ["none", "None", "HS384", "HS512", "RS256", "hs256", ""] {
        let token = raw(&format!(r#"{{"alg":"{alg}"}}"#), json, "secret");
        assert_eq!(
            keys().verify(&token, at(NOW)),
            Err(TokenError::UnsupportedAlgorithm),
            "{alg}"
        );
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        assert!(keys().verify(&format!("{unsigned}."), at(NOW)).is_err());
    }
    let token = raw(HS256, json, "secret");
    let (unsigned, _) = token.rsplit_once('.').unwrap();
    assert_eq!(
        keys().verify(&format!("{unsigned}."), at(NOW)),
        Err(TokenError::BadSignature)
    );
}

#[test]
fn wrong_keys_are_told_apart_from_wrong_secrets() {
    let stranger = sign(&claims(), "stranger", "secret").unwrap();
    assert_eq!(
        keys().verify(&stranger, at(NOW)),
        Err(TokenError::UnknownKey {
            key: "stranger".into()
        })
    );
    let forged = sign(&claims(), "devkey", "hush").unwrap();
    assert_eq!(
        keys().verify(&forged, at(NOW)),
        Err(TokenError::BadSignature)
    );
    // A bad signature is said before a bad date: dates of a forger mean nothing.
    assert_eq!(
        keys().verify(&forged, at(NOW * 2)),
        Err(TokenError::BadSignature)
    );
    assert_eq!(
        ApiKeys::new().verify(&forged, at(NOW)),
        Err(TokenError::UnknownKey {
            key: "devkey".into()
        })
    );
}

#[test]
fn malformed_tokens_are_refused() {
    let good = keys().sign(&claims(), "devkey").unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    for token in [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b".into(),
        "a.b.c".into(),
        format!("{good}."),
        format!("{good}.x"),
        format!("{good}="),
        format!(" {good}"),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.{}", parts[1], parts[0], parts[2]),
        raw(HS256, "[]", "secret"),
        raw(HS256, "", "secret"),
        raw(HS256, r#"{"iss":5,"exp":1900000000}"#, "secret"),
        raw(HS256, r#"{"video":"x","exp":1900000000}"#, "secret"),
        raw("{}", r#"{"iss":"devkey"}"#, "secret"),
        raw("nothing", r#"{"iss":"devkey"}"#, "secret"),
        raw(HS256, &"[".repeat(100_000), "secret"),
    ] {
        assert!(
            matches!(
                keys().verify(&token, at(NOW)),
                Err(TokenError::Malformed { .. })
            ),
            "{:?}",
            &token[..token.len().min(80)]
        );
    }
}

#[test]
fn grants_default_as_section_1_1_says() {
    let claims = verify_json(
        r#"{"iss":"devkey","exp":1900000000,"jti":"old","video":{"roomJoin":true,"room":"r"}}"#,
    )
    .unwrap();
    assert_eq!(claims.participant_identity(), "old");
    let permission = claims.permission();
    assert!(permission.can_publish && permission.can_subscribe && permission.can_publish_data);
    assert!(!permission.can_update_metadata && !permission.can_subscribe_metrics);
    assert!(!permission.can_manage_agent_session && !permission.hidden);

    let claims = verify_json(
        r#"{"iss":"devkey","exp":1900000000,"sub":"new","jti":"old","kind":"agent",
            "video":{"canPublish":false,"canUpdateOwnMetadata":true,"hidden":true,
                     "canPublishSources":["camera","screen_share","warp"]}}"#,
    )
    .unwrap();
    assert_eq!(claims.participant_identity(), "new");
    assert_eq!(claims.participant_kind(), ParticipantKind::Agent);
    assert!(claims.is_agent());
    let permission = claims.permission();
    assert!(!permission.can_publish && !permission.can_publish_data);
    assert!(permission.can_update_metadata && permission.hidden);
    assert_eq!(
        permission.can_publish_sources,
        [TrackSource::Camera as i32, TrackSource::ScreenShare as i32]
    );

    let claims = verify_json(
        r#"{"iss":"devkey","exp":1900000000,"video":{"canPublish":false,"canPublishData":true}}"#,
    )
    .unwrap();
    assert!(claims.permission().can_publish_data);
    assert!(!claims.is_agent());
}

#[test]
fn null_is_absent_and_unknown_is_ignored() {
    let claims = verify_json(
        r#"{"iss":"devkey","exp":1900000000,"sub":null,"name":null,"kind":"gadget","kindDetails":null,
            "attributes":null,"metadata":null,"roomConfig":null,"roomPreset":null,"sha256":null,
            "nbf":null,"sip":{"admin":true},"inference":{},"agent":{},"observability":[],
            "video":{"roomJoin":null,"room":null,"canPublish":null,"canPublishSources":null,
                     "agent":null,"hidden":null,"future":1}}"#,
    )
    .unwrap();
    assert_eq!(claims.video, Some(VideoGrant::default()));
    assert_eq!(claims.participant_identity(), "");
    assert_eq!(claims.participant_kind(), ParticipantKind::Standard);
    let none = verify_json(r#"{"iss":"devkey","exp":1900000000,"video":null}"#).unwrap();
    assert_eq!(none.video, None);
    assert!(!none.permission().can_publish_data);
}

#[test]
fn all_claims_come_back_as_they_went() {
    let claims = Claims {
        token_id: "j".into(),
        identity: "alice".into(),
        name: "Alice".into(),
        kind: "sip".into(),
        kind_details: vec!["cloud_agent".into(), "forwarded".into()],
        room_config: Some(serde_json::json!({"name": "x", "emptyTimeout": 5})),
        room_preset: "p".into(),
        sha256: "abc=".into(),
        metadata: "{}".into(),
        attributes: [("a".to_owned(), "ü".to_owned())].into(),
        video: Some(VideoGrant {
            room_create: true,
            room_list: true,
            room_record: true,
            room_admin: true,
            room_join: true,
            room: "r".into(),
            can_publish: Some(false),
            can_subscribe: Some(true),
            can_publish_data: Some(true),
            can_update_own_metadata: Some(false),
            can_subscribe_metrics: Some(true),
            can_manage_agent_session: Some(true),
            can_publish_sources: vec!["camera".into()],
            ingress_admin: true,
            hidden: true,
            recorder: true,
            agent: true,
            destination_room: "d".into(),
        }),
        ..claims()
    };
    let token = keys().sign(&claims, "devkey").unwrap();
    let back = keys().verify(&token, at(NOW)).unwrap();
    assert_eq!(
        back,
        Claims {
            issuer: "devkey".into(),
            ..claims
        }
    );
    assert_eq!(
        back.participant_kind_details(),
        [KindDetail::CloudAgent, KindDetail::Forwarded]
    );
    let permission = back.permission();
    assert!(permission.recorder && permission.agent && permission.can_manage_agent_session);
}

#[test]
fn empty_keys_sign_and_verify_nothing() {
    assert_eq!(sign(&claims(), "", "secret"), Err(SignError::EmptyKey));
    assert_eq!(sign(&claims(), "devkey", ""), Err(SignError::EmptyKey));
    assert_eq!(
        keys().sign(&claims(), "nobody"),
        Err(SignError::UnknownKey {
            key: "nobody".into()
        })
    );
    let keys = ApiKeys::one("devkey", "");
    assert!(keys.is_empty());
    let token = raw(HS256, r#"{"iss":"","exp":1900000000}"#, "");
    assert_eq!(
        keys.verify(&token, at(NOW)),
        Err(TokenError::UnknownKey { key: String::new() })
    );
}

#[test]
fn keys_are_read_from_lines() {
    let keys: ApiKeys = "# ours\nk1: s1\n\n 'k2' : \"a:b\"\n".parse().unwrap();
    assert_eq!(keys.names().collect::<Vec<_>>(), ["k1", "k2"]);
    assert_eq!(keys.secret("k2"), Some("a:b"));
    assert_eq!(keys.len(), 2);
    assert_eq!(format!("{keys:?}"), r#"{"k1", "k2"}"#);
    assert_eq!("".parse::<ApiKeys>(), Err(KeysError::Empty));
    assert_eq!("a".parse::<ApiKeys>(), Err(KeysError::NoColon { line: 1 }));
    assert_eq!(
        "\na:".parse::<ApiKeys>(),
        Err(KeysError::Missing { line: 2 })
    );
    assert_eq!(
        "a: 1\na: 2".parse::<ApiKeys>(),
        Err(KeysError::Repeated {
            line: 2,
            key: "a".into()
        })
    );
}

proptest! {
    #[test]
    fn no_token_panics(token in "[A-Za-z0-9_.=-]{0,120}") {
        prop_assert!(keys().verify(&token, at(NOW)).is_err());
    }

    #[test]
    fn no_claims_panic(json in "\\PC{0,80}") {
        let _ = verify_json(&json);
    }

    #[test]
    fn one_changed_character_is_enough(at_byte in 0usize..1000, to in "[A-Za-z0-9_.-]") {
        let good = keys().sign(&claims(), "devkey").unwrap();
        let mut bad = good.clone().into_bytes();
        let len = bad.len();
        bad[at_byte % len] = to.as_bytes()[0];
        let bad = String::from_utf8(bad).unwrap();
        prop_assume!(bad != good);
        prop_assert!(keys().verify(&bad, at(NOW)).is_err());
    }
}
