//! Remote calls with the official SDK, both roles, both servers (protocol.md §6).

use std::future::IntoFuture;
use std::time::{Duration, SystemTime};

use lkstream::encryption::Keyring;
use lkstream::{Room, RpcCode, RpcError};
use lkstream_conformance::peers::{KEY, SECRET, Site};
use lkstream_conformance::process::{DEADLINE, Failure};
use lkstream_proto::token::{Claims, sign};
use tokio::time::timeout;

use super::payloads::{Payload, sha256};

#[tokio::test]
#[ignore = "needs the official peers"]
async fn calls_to_python_through_ours() -> Result<(), Failure> {
    rust_calls_python(&Site::ours()?).await
}

#[tokio::test]
#[ignore = "needs the official peers"]
async fn calls_to_python_through_stock() -> Result<(), Failure> {
    rust_calls_python(&Site::stock()?).await
}

#[tokio::test]
#[ignore = "needs the official peers"]
async fn calls_from_python_through_ours() -> Result<(), Failure> {
    python_calls_rust(Site::ours()?).await
}

#[tokio::test]
#[ignore = "needs the official peers"]
async fn calls_from_python_through_stock() -> Result<(), Failure> {
    python_calls_rust(Site::stock()?).await
}

/// protocol.md §5.8: requests, acknowledgements and responses are among what is encrypted.
#[tokio::test]
#[ignore = "needs the official peers"]
async fn encrypted_calls_both_ways_through_ours() -> Result<(), Failure> {
    let site = Site::ours()?;
    let folder = tempfile::tempdir()?;
    let payload = Payload::new(folder.path(), "text", incompressible(20_000).into_bytes())?;
    let room = Room::builder(&site.url, &token("bob")?)
        .encryption(Keyring::shared("between us")?)
        .on_rpc("echo", |call| async move { Ok(call.payload) });
    let room = timeout(DEADLINE, room.connect()).await??;
    let text = payload.text().to_owned();
    let echo = payload.by("echo");
    let transcript = tokio::task::spawn_blocking(move || -> Result<_, Failure> {
        let arguments = ["--encrypt", "between us", "--to", "bob", &echo];
        let mut alice = site.python("rpc", "calls", "alice", &arguments)?;
        let result = alice.expect("result")?;
        alice.expect("idle")?;
        Ok((site, alice, result))
    });
    let (_site, mut alice, result) = timeout(DEADLINE, transcript).await???;
    assert_eq!(result["sha256"], payload.sha256, "{result}");
    let echo = room.call("alice", "echo", &*text).into_future();
    assert_eq!(timeout(DEADLINE, echo).await??, text);
    let error = room.call("alice", "fail", "why").into_future();
    let error = timeout(DEADLINE, error).await?.unwrap_err();
    assert_eq!((error.code, &*error.data), (101, "why"));
    room.close().await;
    alice.succeed()?;
    Ok(())
}

fn token(identity: &str) -> Result<String, Failure> {
    let now = SystemTime::now();
    let claims = Claims::join(identity, "calls", now, Duration::from_secs(600));
    Ok(sign(&claims, KEY, SECRET)?)
}

/// Random text does not shrink, so it needs chunks also where small requests are one packet.
fn incompressible(bytes: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut text = String::with_capacity(bytes + 4);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from_u32(0x4e00 + (state >> 40) as u32 % 0x5000).unwrap_or('x'));
    }
    text
}

async fn rust_calls_python(site: &Site) -> Result<(), Failure> {
    let mut bob = site.python("rpc", "calls", "bob", &[])?;
    bob.expect("ready")?;
    let room = timeout(DEADLINE, Room::connect(&site.url, &token("alice")?)).await??;
    let seen = timeout(DEADLINE, room.wait_for_participant("bob")).await??;
    println!("python's client_protocol: {}", seen.client_protocol());
    let call = |method: &str, payload: &str| {
        timeout(DEADLINE, room.call("bob", method, payload).into_future())
    };

    assert_eq!(call("echo", "grüße").await??, "grüße");
    let invoked = bob.expect("invoked")?;
    assert_eq!(invoked["caller"], "alice");
    // protocol.md §6: 15 s less the round trip of 7 s.
    assert_eq!(invoked["response_timeout"], 8.0, "{invoked}");
    assert_eq!(call("echo", "").await??, "");

    // More than a packet holds, both ways: one that shrinks and one that does not.
    for long in ["0123456789".repeat(2000), incompressible(20_000)] {
        assert_eq!(call("length", &long).await??, long.len().to_string());
        assert_eq!(call("echo", &long).await??, long);
    }
    let long = call("repeat", "0123456789abcdefghij").await??;
    assert_eq!(long, "0123456789abcdefghij".repeat(1000));

    let error = call("fail", "for this reason").await?.unwrap_err();
    assert_eq!(
        error,
        RpcError::new(101, "refused by the handler").with_data("for this reason")
    );
    let error = call("crash", "").await?.unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::ApplicationError), "{error}");
    let error = call("nothing", "").await?.unwrap_err();
    assert_eq!(error, RpcCode::UnsupportedMethod.into());

    let short = room
        .call("bob", "sleep", "30")
        .timeout(Duration::from_millis(1500));
    let error = timeout(DEADLINE, short.into_future()).await?.unwrap_err();
    assert_eq!(error.builtin(), Some(RpcCode::ResponseTimeout), "{error}");

    // Nobody of that name: nothing says so but the missing acknowledgement.
    let nobody = room.call("nobody", "echo", "").into_future();
    let sleeping = tokio::spawn(room.call("bob", "sleep", "30").into_future());
    let error = timeout(DEADLINE, nobody).await?.unwrap_err();
    assert_eq!(error, RpcCode::ConnectionTimeout.into());

    // The other call still waits: it is the end of its recipient that ends it.
    bob.close_input();
    let error = timeout(DEADLINE, sleeping).await??.unwrap_err();
    assert_eq!(
        error.builtin(),
        Some(RpcCode::RecipientDisconnected),
        "{error}"
    );
    bob.succeed()?;
    room.close().await;
    Ok(())
}

async fn python_calls_rust(site: Site) -> Result<(), Failure> {
    let room = Room::builder(&site.url, &token("bob")?)
        .on_rpc("echo", |call| async move {
            assert_eq!(call.caller, "alice");
            Ok(call.payload)
        })
        .on_rpc("length", |call| async move {
            Ok(call.payload.len().to_string())
        })
        .on_rpc("timeout", |call| async move {
            Ok(call.response_timeout.as_millis().to_string())
        })
        .on_rpc("fail", |call| async move {
            Err(RpcError::new(101, "refused").with_data(call.payload))
        })
        .on_rpc("long_error", |_| async move {
            Err(RpcError::new(102, "ü".repeat(1000)).with_data("ß".repeat(20_000)))
        })
        .on_rpc("crash", |_| async move {
            panic!("a panic that this test asks for")
        })
        .on_rpc("sleep", |_| std::future::pending());
    let room = timeout(DEADLINE, room.connect()).await??;

    // The room has to go on while the transcript is read.
    let transcript = tokio::task::spawn_blocking(move || -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        let short = Payload::new(folder.path(), "short", "grüße".into())?;
        let empty = Payload::new(folder.path(), "empty", Vec::new())?;
        let even = Payload::new(
            folder.path(),
            "even",
            "0123456789".repeat(2000).into_bytes(),
        )?;
        let odd = Payload::new(folder.path(), "odd", incompressible(20_000).into_bytes())?;
        let calls = [
            short.by("echo"),
            empty.by("echo"),
            even.by("length"),
            even.by("echo"),
            odd.by("length"),
            odd.by("echo"),
            short.by("timeout"),
            short.by("fail"),
            empty.by("long_error"),
            empty.by("crash"),
            empty.by("nothing"),
        ];
        let mut arguments = vec!["--to", "bob"];
        arguments.extend(calls.iter().map(String::as_str));
        let mut alice = site.python("rpc", "calls", "alice", &arguments)?;
        for payload in [&short, &empty] {
            let result = alice.expect("result")?;
            assert_eq!(result["sha256"], sha256(&payload.data), "{result}");
        }
        for payload in [&even, &odd] {
            assert_eq!(
                alice.expect("result")?["text"],
                payload.data.len().to_string()
            );
            let result = alice.expect("result")?;
            assert_eq!(result["sha256"], sha256(&payload.data), "{result}");
        }
        // protocol.md §6: without a timeout of its own, 15 s less 7 s.
        assert_eq!(alice.expect("result")?["text"], "8000");
        let error = alice.expect("rpc_error")?;
        assert_eq!(
            (&error["code"], &error["message"], &error["data"]),
            (&101.into(), &"refused".into(), &"grüße".into())
        );
        // protocol.md §6: 256 bytes of the message and 15 360 of the data, whole characters.
        let error = alice.expect("rpc_error")?;
        assert_eq!(error["message"], "ü".repeat(128));
        assert_eq!(error["data"], "ß".repeat(7680));
        for code in [RpcCode::ApplicationError, RpcCode::UnsupportedMethod] {
            let error = alice.expect("rpc_error")?;
            assert_eq!(error["code"], code as u32, "{error}");
            assert_eq!(error["message"], code.text(), "{error}");
        }
        alice.succeed()?;

        // A handler that does not answer in time, and a caller that leaves in the middle.
        let sleep = empty.by("sleep");
        let mut carol = site.python(
            "rpc",
            "calls",
            "alice",
            &["--to", "bob", "--timeout", "1.5", &sleep, &sleep],
        )?;
        let error = carol.expect("rpc_error")?;
        assert_eq!(error["code"], RpcCode::ResponseTimeout as u32, "{error}");
        carol.succeed()?;

        let mut dave = site.python("rpc", "calls", "alice", &["--to", "bob", &short.by("echo")])?;
        let result = dave.expect("result")?;
        assert_eq!(result["sha256"], sha256(&short.data), "{result}");
        dave.succeed()?;
        Ok(())
    });
    timeout(3 * DEADLINE, transcript).await???;
    room.close().await;
    Ok(())
}
