//! Attacks with tokens, join requests and resumes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use lkstream_conformance::peers::{KEY, SECRET};
use lkstream_conformance::process::Failure;
use lkstream_proto::join::{Join, Resume};
use lkstream_proto::participant::ClientInfo;
use lkstream_proto::signal::{ReconnectReason, Response};
use lkstream_proto::token::{Claims, VideoGrant};
use prost::Message as _;
use ring::hmac;
use tokio::time::Instant;

use crate::guest::{self, offer, plain_join};
use crate::http::{Asked, Expected};
use crate::pair::{Joins, Pair};
use crate::server::{Server, Target, claims, every, signed, token};
use crate::signalling::{OFFER, bad_offers, host_candidate};
use crate::wire::{Caller, Link, upgrade};

/// How long identities come and go.
const STORM: Duration = Duration::from_secs(5);

/// A token whose parts are as given, with a true signature over them.
fn jwt(header: &str, claims: &[u8]) -> String {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// A field of protobuf with this number and content.
pub(crate) fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut value in [u64::from(number << 3 | 2), content.len() as u64] {
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
    }
    bytes.extend_from_slice(content);
    bytes
}

/// The query of a join with these bytes as its request, which are told to be in gzip (1) or plain (0).
pub(crate) fn join_query(compression: u8, request: &[u8]) -> String {
    let wrapped = [&[0x08, compression][..], &field(2, request)].concat();
    format!(
        "join_request={}",
        URL_SAFE.encode(wrapped).replace('=', "%3D")
    )
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// The request of a join whose client is ours with these bytes behind it.
fn client_and(extra: &[u8]) -> String {
    let client = [&plain_join().client.encode_to_vec()[..], extra].concat();
    join_query(1, &gzip(&field(1, &client)))
}

/// A join whose client tells so many capabilities, all of them unknown and of 5 bytes each.
fn capabilities(count: usize) -> String {
    client_and(&field(13, &[0xff, 0xff, 0xff, 0xff, 0x0f].repeat(count)))
}

fn tokens() -> Vec<(String, String, Expected)> {
    use Expected::{Any, Refusal, Status};
    let now = claims("attacker", "yard").issued_at.unwrap();
    let grant = r#""video":{"roomJoin":true,"room":"yard"}"#;
    let good = format!(
        r#"{{"iss":"{KEY}","sub":"attacker","exp":{},{grant}}}"#,
        now + 600
    );
    let with = |from: &str, to: &str| {
        assert!(good.contains(from));
        jwt(HS256, good.replace(from, to).as_bytes())
    };
    let changed = |change: &dyn Fn(&mut Claims)| {
        let mut claims = claims("attacker", "yard");
        change(&mut claims);
        signed(&claims)
    };
    let granted = |change: &dyn Fn(&mut VideoGrant)| {
        changed(&|claims| change(claims.video.as_mut().unwrap()))
    };
    let (head, signature) = good_parts(&token("attacker", "yard"));
    let exp = format!(r#""exp":{}"#, now + 600);
    let mut tokens = vec![
        ("empty", String::new(), Refusal),
        ("dots", "..".into(), Status(401)),
        ("1000 dots", ".".repeat(1000), Status(401)),
        ("no base64", "!!.??.##".into(), Status(401)),
        ("no JSON", jwt("nonsense", b"nonsense"), Status(401)),
        ("no signature", format!("{head}."), Status(401)),
        (
            "half a signature",
            format!("{head}.{}", &signature[..20]),
            Status(401),
        ),
        (
            "signature of another token",
            format!("{head}.{}", good_parts(&token("somebody", "yard")).1),
            Status(401),
        ),
        (
            "four parts",
            format!("{head}.{signature}.{signature}"),
            Status(401),
        ),
        (
            "algorithm none",
            jwt(r#"{"alg":"none"}"#, good.as_bytes()),
            Status(401),
        ),
        (
            "algorithm None without a signature",
            format!(
                "{}.{}.",
                URL_SAFE_NO_PAD.encode(r#"{"alg":"None"}"#),
                URL_SAFE_NO_PAD.encode(&good)
            ),
            Status(401),
        ),
        (
            "algorithm RS256",
            jwt(r#"{"alg":"RS256"}"#, good.as_bytes()),
            Status(401),
        ),
        (
            "algorithm that is a number",
            jwt(r#"{"alg":256}"#, good.as_bytes()),
            Status(401),
        ),
        (
            "header of an array",
            jwt(r#"["HS256"]"#, good.as_bytes()),
            Status(401),
        ),
        (
            "key in the header",
            jwt(
                r#"{"alg":"HS512","jwk":{"kty":"oct","k":"AA"}}"#,
                good.as_bytes(),
            ),
            Status(401),
        ),
        ("claims of null", jwt(HS256, b"null"), Status(401)),
        (
            "nested claims",
            jwt(HS256, "[".repeat(10_000).as_bytes()),
            Status(401),
        ),
        (
            "nested unknown claim",
            with(
                "\"sub\"",
                &format!("\"x\":{}{},\"sub\"", "[".repeat(5000), "]".repeat(5000)),
            ),
            Any,
        ),
        ("unknown key", with(KEY, "nobody"), Status(401)),
        (
            "key of null",
            with(&format!("\"{KEY}\""), "null"),
            Status(401),
        ),
        ("no expiry", with(&format!("{exp},"), ""), Status(401)),
        ("expiry of null", with(&exp, r#""exp":null"#), Status(401)),
        (
            "expiry that is a text",
            with(&exp, r#""exp":"9999999999""#),
            Status(401),
        ),
        ("expiry in the past", with(&exp, r#""exp":1"#), Status(401)),
        ("negative expiry", with(&exp, r#""exp":-1"#), Status(401)),
        ("expiry beyond 64 bits", with(&exp, r#""exp":1e300"#), Any),
        (
            "not valid before the year 5138",
            with(&exp, &format!(r#"{exp},"nbf":99999999999"#)),
            Status(401),
        ),
        (
            "issued in the year 5138",
            with(&exp, &format!(r#"{exp},"iat":99999999999"#)),
            Status(401),
        ),
        (
            "claims twice",
            with(
                "\"sub\":\"attacker\"",
                r#""sub":"attacker","sub":"innocent-receiver""#,
            ),
            Refusal,
        ),
        ("grant of null", with(grant, r#""video":null"#), Refusal),
        (
            "grant that is a text",
            with(grant, r#""video":"all""#),
            Status(401),
        ),
        (
            "grant without join",
            granted(&|video| video.room_join = false),
            Status(401),
        ),
        (
            "room of 10 kB",
            granted(&|video| video.room = "r".repeat(10_000)),
            Status(400),
        ),
        (
            "no identity",
            changed(&|claims| claims.subject.clear()),
            Status(400),
        ),
        (
            "identity of 10 kB",
            changed(&|claims| claims.subject = "i".repeat(10_000)),
            Status(400),
        ),
        (
            "name of 10 kB",
            changed(&|claims| claims.name = "n".repeat(10_000)),
            Status(400),
        ),
        (
            "attributes of 40 kB",
            changed(&|claims| {
                claims.attributes = (0..4000)
                    .map(|key| (key.to_string(), "value".into()))
                    .collect()
            }),
            Any,
        ),
        (
            "metadata of 40 kB",
            changed(&|claims| claims.metadata = "m".repeat(40_000)),
            Any,
        ),
        (
            "identity of control characters",
            changed(&|claims| claims.subject = "\u{1b}[2J\0\r\n\u{202e}".into()),
            Any,
        ),
        (
            "kind that there is not",
            changed(&|claims| claims.kind = "emperor".into()),
            Any,
        ),
    ];
    tokens
        .drain(..)
        .map(|(name, token, expected)| (format!("token: {name}"), token, expected))
        .collect()
}

/// What is signed, and the signature.
fn good_parts(token: &str) -> (String, String) {
    let (head, signature) = token.rsplit_once('.').unwrap();
    (head.to_owned(), signature.to_owned())
}

fn queries() -> Vec<(String, String, Expected)> {
    use Expected::{Any, Refusal, Status};
    let with = |change: &dyn Fn(&mut Join)| {
        let mut join = plain_join();
        change(&mut join);
        join.to_query()
    };
    let client = |change: &dyn Fn(&mut ClientInfo)| with(&|join| change(&mut join.client));
    let attributes = |count: usize, bytes: usize| -> BTreeMap<String, String> {
        (0..count)
            .map(|key| (key.to_string(), "v".repeat(bytes)))
            .collect()
    };
    let mut queries: Vec<(String, String, Expected)> = [
        ("no request", String::new(), Status(400)),
        ("empty request", "join_request=".into(), Status(400)),
        ("no base64", "join_request=!!!".into(), Status(400)),
        ("broken escape", "join_request=%zz".into(), Status(400)),
        (
            "no wrapper",
            format!("join_request={}", URL_SAFE_NO_PAD.encode([0xff; 50])),
            Status(400),
        ),
        ("unknown compression", join_query(9, b""), Status(400)),
        ("no gzip", join_query(1, b"nonsense"), Status(400)),
        (
            "half a gzip",
            join_query(1, &gzip(&[7; 10_000])[..20]),
            Status(400),
        ),
        (
            "gzip of 64 MiB",
            join_query(1, &gzip(&vec![0; 64 << 20])),
            Refusal,
        ),
        (
            "gzip of a MiB and a byte",
            join_query(1, &gzip(&vec![0; (1 << 20) + 1])),
            Refusal,
        ),
        (
            "gzip of gzip",
            join_query(1, &gzip(&gzip(&[7; 1000]))),
            Status(400),
        ),
        (
            "plain that is no request",
            join_query(0, b"\x0a\xff"),
            Status(400),
        ),
        (
            "endless groups",
            join_query(1, &gzip(&[0x0b; 100_000])),
            Refusal,
        ),
        (
            "client of unknown fields",
            client_and(&field(999, &[0; 500_000])),
            Any,
        ),
        (
            "500 000 empty tracks",
            join_query(1, &gzip(&field(5, b"").repeat(500_000))),
            Refusal,
        ),
        (
            "300 000 empty attributes",
            join_query(1, &gzip(&field(4, b"").repeat(300_000))),
            Refusal,
        ),
        (
            "200 000 clients",
            join_query(1, &gzip(&field(1, b"").repeat(200_000))),
            Any,
        ),
        ("209 000 capabilities", capabilities(209_000), Any),
        ("1000 capabilities", capabilities(1000), Any),
        (
            "metadata without the right",
            with(&|join| join.metadata = "m".into()),
            Status(401),
        ),
        (
            "metadata of 1 MB without the right",
            with(&|join| join.metadata = "m".repeat(1_000_000)),
            Refusal,
        ),
        (
            "attributes without the right",
            with(&|join| join.attributes = attributes(10, 10)),
            Status(401),
        ),
        (
            "client of protocol 0",
            client(&|client| client.protocol = 0),
            Refusal,
        ),
        (
            "client of protocol -1",
            client(&|client| client.protocol = -1),
            Refusal,
        ),
        (
            "client of protocol 2^31-1",
            client(&|client| client.protocol = i32::MAX),
            Any,
        ),
        (
            "client of stream features -1",
            client(&|client| client.client_protocol = -1),
            Any,
        ),
        (
            "client of an unknown kind",
            client(&|client| client.sdk = 999),
            Any,
        ),
        (
            "client with names of 100 kB",
            client(&|client| {
                for text in [
                    &mut client.os,
                    &mut client.browser,
                    &mut client.version,
                    &mut client.device_model,
                    &mut client.other_sdks,
                    &mut client.address,
                ] {
                    *text = "x".repeat(100_000);
                }
            }),
            Any,
        ),
        (
            "client with control characters",
            client(&|client| client.version = "\u{1b}[2J\0\r\n".into()),
            Any,
        ),
        (
            "another room than the token's",
            with(&|join| join.room = "other yard".into()),
            Any,
        ),
        (
            "10 000 tracks",
            with(&|join| join.add_tracks = vec![vec![1; 10].into(); 10_000]),
            Any,
        ),
        (
            "50 candidates in the offer",
            with(&|join| {
                let lines = (0..50).map(|port| {
                    format!(
                        "a=candidate:1 1 udp 1 127.0.0.1 {} typ host\r\n",
                        3000 + port
                    )
                });
                join.offer = Some(offer(OFFER.to_owned() + &lines.collect::<String>()));
            }),
            Any,
        ),
        (
            "candidates that are none in the offer",
            with(&|join| {
                join.offer = Some(offer(format!(
                    "{}a=candidate:{}\r\n",
                    OFFER,
                    host_candidate("0.0.0.0", 0)
                )))
            }),
            Any,
        ),
    ]
    .map(|(name, query, expected)| (format!("join: {name}"), query, expected))
    .into();
    for (name, sdp) in bad_offers() {
        let query = with(&|join| join.offer = Some(offer(sdp.clone())));
        // A long one compresses to few bytes.
        queries.push((format!("join: {name}"), query, Refusal));
    }
    let resume = |name: &str, sid: &str, reason: i32| {
        let resume = Resume {
            sid: sid.into(),
            reason: ReconnectReason::try_from(reason).unwrap_or(ReconnectReason::Unknown),
        };
        let query = with(&|join| join.resume = Some(resume.clone()));
        (format!("resume: {name}"), query, Expected::Any)
    };
    queries.extend([
        resume("no session", "", 0),
        resume("session that there is not", "PA_nobody", 1),
        resume("session of 100 kB", &"P".repeat(100_000), 1),
        resume("session of control characters", "PA_\0\r\n", 2),
        resume("reason that there is not", "PA_x", 77),
    ]);
    queries
}

/// Joins that a server has to refuse or survive.
pub(crate) fn inputs() -> Vec<Asked> {
    let plain = plain_join().to_query();
    let good = token("attacker", "yard");
    let ask = |name: String, query: &str, token: &str, expected| {
        let request = upgrade(&format!("/rtc/v1?{query}"), token) + "\r\n";
        Asked::new(name, request, expected)
    };
    let mut inputs = Vec::new();
    for (name, token, expected) in tokens() {
        inputs.push(ask(name, &plain, &token, expected));
    }
    for (name, query, expected) in queries() {
        inputs.push(ask(name, &query, &good, expected));
    }
    inputs
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_joins_harm_nobody() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let attack = async {
        let mut outcomes = Vec::new();
        for input in inputs() {
            outcomes.push(input.check(target.http).await);
        }
        every(outcomes)
    };
    server.endure(&mut pair, "hostile joins", attack).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_with_a_megabyte_of_capabilities_throws_nobody_out() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let attack = async {
        for number in 0..5 {
            let token = token(&format!("attacker-{number}-{}", "x".repeat(200)), "yard");
            let query = capabilities(209_000);
            // Refused or not: who is there stays there.
            if let Ok(mut link) = Link::open(Caller::here(), target.http, &query, &token).await? {
                link.goes_on().await?;
            }
        }
        Ok(())
    };
    server
        .endure(&mut pair, "joins with a megabyte of capabilities", attack)
        .await
}

/// Joins under one identity again and again, each of which throws out the one before. Tells how many joins there were.
pub(crate) async fn storm(target: &Target, room: &str, query: &str) -> Result<usize, Failure> {
    let token = token("twin", room);
    let until = Instant::now() + STORM;
    let mut joins = 0;
    let mut last = None;
    while Instant::now() < until {
        let opened = Link::open(Caller::here(), target.http, query, &token).await?;
        joins += usize::from(opened.is_ok());
        // The one before is only dropped when the next is there.
        last = opened.ok();
    }
    drop(last);
    Ok(joins)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_identity_that_joins_for_ever_holds_little() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let plain = plain_join().to_query();
    let large = capabilities(209_000);
    for (what, query, room) in [
        ("join storm in another room", &plain, "attack"),
        ("join storm in the same room", &plain, "yard"),
        (
            "join storm with capabilities, one link unread",
            &large,
            "attack",
        ),
    ] {
        let deaf = guest::join(&target, Caller::here().deaf(), &token("deaf", "attack")).await?;
        let attack = async {
            let (one, other) =
                tokio::join!(storm(&target, room, query), storm(&target, room, query));
            Ok(one? + other?)
        };
        let joins = server.endure(&mut pair, what, attack).await?;
        println!("{what}: {joins} joins");
        drop(deaf);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_by_nobody_else() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::Once).await?;
    let mut spy = guest::join(&target, Caller::here(), &token("spy", "yard")).await?;
    // Every participant is told the sids of the others.
    let others = spy
        .expect("join response", |response| match response {
            Response::Join(join) => Some(join.other_participants),
            _ => None,
        })
        .await?;
    let attack = async {
        for victim in others {
            let mut request = plain_join();
            request.resume = Some(Resume {
                sid: victim.sid.into(),
                reason: ReconnectReason::SignalDisconnected,
            });
            for room in ["yard", "attack"] {
                let token = token("attacker", room);
                let query = request.to_query();
                let opened = Link::open(Caller::here(), target.http, &query, &token).await?;
                // The server may refuse it, or tell it to join anew.
                if let Ok(mut link) = opened
                    && link.goes_on().await?
                {
                    return Err(Failure::new("another identity resumed a session"));
                }
            }
        }
        Ok(())
    };
    server
        .endure(&mut pair, "resumes of other sessions", attack)
        .await
}
