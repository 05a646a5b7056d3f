#![allow(clippy::unwrap_used)]

use super::*;

fn s(text: &str) -> String {
    text.to_owned()
}

/// The schema is a promise: each event as scripts see it.
#[test]
fn json_is_stable() {
    let cases = [
        (
            Event::Server {
                url: s("ws://127.0.0.1:7880"),
                url_source: s("--dev"),
                credential: Credential::Key,
                credential_source: s("--dev"),
                key: Some(s("devkey")),
                room: s("r"),
                identity: s("a"),
            },
            r#"{"event":"server","url":"ws://127.0.0.1:7880","url_source":"--dev","credential":"key","credential_source":"--dev","key":"devkey","room":"r","identity":"a"}"#,
        ),
        (
            Event::Joined {
                room: s("r"),
                identity: s("a"),
                participant: s("PA_1"),
                seconds: 0.5,
            },
            r#"{"event":"joined","room":"r","identity":"a","participant":"PA_1","seconds":0.5}"#,
        ),
        (
            Event::Waiting {
                r#for: vec![s("bob")],
                seconds: 30.0,
            },
            r#"{"event":"waiting","for":["bob"],"seconds":30.0}"#,
        ),
        (
            Event::Opened {
                direction: Direction::Outgoing,
                stream: s("id"),
                kind: Kind::Bytes,
                topic: s("files"),
                name: Some(s("a.txt")),
                mime_type: s("text/plain"),
                length: Some(3),
                from: None,
                to: Some(vec![s("bob")]),
                attributes: BTreeMap::from([(s("k"), s("v"))]),
            },
            r#"{"event":"opened","direction":"outgoing","stream":"id","kind":"bytes","topic":"files","name":"a.txt","mime_type":"text/plain","length":3,"from":null,"to":["bob"],"attributes":{"k":"v"}}"#,
        ),
        (
            Event::Progress {
                direction: Direction::Incoming,
                stream: s("id"),
                bytes: 1,
                length: None,
            },
            r#"{"event":"progress","direction":"incoming","stream":"id","bytes":1,"length":null}"#,
        ),
        (
            Event::Delivered {
                stream: s("id"),
                kind: Kind::Text,
                name: None,
                bytes: 3,
                seconds: 0.25,
            },
            r#"{"event":"delivered","stream":"id","kind":"text","name":null,"bytes":3,"seconds":0.25}"#,
        ),
        (
            Event::Receipt {
                stream: s("id"),
                name: Some(s("a.txt")),
                from: s("bob"),
                status: Status::Complete,
                bytes: 3,
                reason: None,
            },
            r#"{"event":"receipt","stream":"id","name":"a.txt","from":"bob","status":"complete","bytes":3,"reason":null}"#,
        ),
        (
            Event::Received {
                stream: s("id"),
                kind: Kind::Bytes,
                from: s("a"),
                topic: s("files"),
                name: Some(s("a.txt")),
                path: Some(s("./a.txt")),
                bytes: 3,
                seconds: 0.25,
            },
            r#"{"event":"received","stream":"id","kind":"bytes","from":"a","topic":"files","name":"a.txt","path":"./a.txt","bytes":3,"seconds":0.25}"#,
        ),
        (
            Event::Failed {
                direction: Direction::Incoming,
                stream: s("id"),
                kind: Kind::Text,
                name: None,
                from: Some(s("a")),
                reason: s("the sender left"),
                remedy: s("again"),
            },
            r#"{"event":"failed","direction":"incoming","stream":"id","kind":"text","name":null,"from":"a","reason":"the sender left","remedy":"again"}"#,
        ),
        (
            Event::Warning { message: s("m") },
            r#"{"event":"warning","message":"m"}"#,
        ),
        (
            Event::Listening {
                url: s("ws://127.0.0.1:7880"),
                bind: s("127.0.0.1"),
                port: 7880,
                rtc_port: 7882,
                keys: vec![s("devkey")],
                dev: true,
            },
            r#"{"event":"listening","url":"ws://127.0.0.1:7880","bind":"127.0.0.1","port":7880,"rtc_port":7882,"keys":["devkey"],"dev":true}"#,
        ),
        (Event::Stopped {}, r#"{"event":"stopped"}"#),
        (
            Event::Token {
                token: s("t"),
                room: s("r"),
                identity: s("a"),
                seconds: 60.0,
            },
            r#"{"event":"token","token":"t","room":"r","identity":"a","seconds":60.0}"#,
        ),
        (
            Event::Text {
                stream: s("id"),
                text: s("t"),
            },
            r#"{"event":"text","stream":"id","text":"t"}"#,
        ),
        (
            Event::Verified {
                bytes: 1,
                seconds: 1.0,
                bytes_per_second: 1.0,
                blake3: s("00"),
                matches: true,
            },
            r#"{"event":"verified","bytes":1,"seconds":1.0,"bytes_per_second":1.0,"blake3":"00","matches":true}"#,
        ),
        (
            Event::Done {
                streams: 2,
                seconds: 1.5,
            },
            r#"{"event":"done","streams":2,"seconds":1.5}"#,
        ),
        (
            Event::Error {
                code: 4,
                cause: s("c"),
                remedy: s("r"),
            },
            r#"{"event":"error","code":4,"cause":"c","remedy":"r"}"#,
        ),
    ];
    for (event, wanted) in cases {
        assert_eq!(serde_json::to_string(&event).unwrap(), wanted);
    }
}

#[test]
fn times_read_well() {
    for (seconds, wanted) in [
        (0.0, "0.0 ms"),
        (0.012, "12 ms"),
        (0.9999, "1.00 s"),
        (1.234, "1.23 s"),
        (90.4, "90 s"),
    ] {
        assert_eq!(time(seconds), wanted, "{seconds}");
    }
}
