//! Joins that fail, and what they say.

use std::future::IntoFuture;
use std::time::Duration;

use lkstream::{
    ConnectError, ConnectErrorKind, ConnectStep, OpenError, Room, RoomBuilder, TextOptions,
};
use lkstream_proto::token::ApiKeys;

use crate::{builder, claims, join, server, sign, within};

#[tokio::test]
async fn a_room_knows_itself_and_the_others() {
    let server = server().await;
    let alice = join(&server, "alice").await;
    assert_eq!(alice.name(), "den");
    assert!(alice.sid().as_str().starts_with("RM_"));
    assert_eq!(alice.local().identity(), &"alice");
    assert!(alice.local().sid().as_str().starts_with("PA_"));
    assert!(alice.participants().is_empty());
    let bob = join(&server, "bob").await;
    assert_eq!(bob.participant("alice").unwrap().sid(), alice.local().sid());
    let found = within(alice.wait_for_participant("bob")).await.unwrap();
    assert_eq!(found.sid(), bob.local().sid());
    assert!(found.is_active() && found.inflates());
    assert_eq!(found.client_protocol(), 2);
}

#[tokio::test]
async fn refused_tokens_are_refusals_with_the_servers_words() {
    let server = server().await;
    let mut expired = claims("alice");
    expired.expires = Some(1_000);
    let mut no_join = claims("alice");
    no_join.video = None;
    let wrong_key = ApiKeys::one("devkey", "another secret")
        .sign(&claims("alice"), "devkey")
        .unwrap();
    let unknown_key = ApiKeys::one("unknown", "secret")
        .sign(&claims("alice"), "unknown")
        .unwrap();
    let no_identity = sign(&claims(""));
    let long_identity = sign(&claims(&"x".repeat(257)));
    for (token, expected) in [
        ("garbage", 401),
        (sign(&expired).as_str(), 401),
        (wrong_key.as_str(), 401),
        (unknown_key.as_str(), 401),
        (sign(&no_join).as_str(), 401),
        (no_identity.as_str(), 400),
        (long_identity.as_str(), 400),
    ] {
        let error = within(Room::connect(&server.url(), token))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::Refused, "{error:?}");
        let ConnectError::Refused { status, reason } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*status, expected, "{reason}");
        assert!(!error.to_string().contains(token), "{error}");
    }
}

#[tokio::test]
async fn addresses_that_do_not_work_say_so() {
    // A port that was free a moment ago, on an address that only tests use.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let token = sign(&claims("alice"));
    let error = within(Room::connect(&format!("ws://{closed}"), &token))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ConnectError::Unreachable { .. }),
        "{error:?}"
    );
    assert_eq!(error.kind(), ConnectErrorKind::CannotConnect);

    let error = within(Room::connect("ws://name.invalid:1", &token))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ConnectError::NameResolution { .. }),
        "{error:?}"
    );
    let error = within(Room::connect("smtp://host", &token))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Invalid);
    let error = within(Room::connect("ws://127.0.0.1", "tok\r\nen"))
        .await
        .unwrap_err();
    assert_eq!(error, ConnectError::InvalidToken);
}

#[tokio::test]
async fn a_server_at_another_path_has_no_signalling() {
    let server = server().await;
    let token = sign(&claims("alice"));
    let error = within(Room::connect(
        &format!("{}/elsewhere", server.url()),
        &token,
    ))
    .await
    .unwrap_err();
    assert!(
        matches!(error, ConnectError::NoSignalling { .. }),
        "{error:?}"
    );
    // What the path may look like instead.
    for url in [
        format!("{}/", server.url()),
        server.url().replace("ws://", "http://"),
    ] {
        within(within(Room::connect(&url, &token)).await.unwrap().close()).await;
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_time_limit() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let limit = Duration::from_millis(200);
    let joining = Room::builder(&url, &sign(&claims("alice")))
        .signalling_timeout(limit)
        .connect();
    let error = within(joining).await.unwrap_err();
    assert_eq!(
        error,
        ConnectError::TimedOut {
            step: ConnectStep::Signalling,
            limit
        }
    );
    assert_eq!(error.kind(), ConnectErrorKind::TimedOut);
}

#[tokio::test]
async fn tls_to_a_server_without_it_fails_as_tls() {
    let server = server().await;
    let url = server.url().replace("ws://", "wss://");
    let error = within(Room::connect(&url, &sign(&claims("alice"))))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn without_the_permission_nothing_can_be_sent() {
    let server = server().await;
    let mut silent = claims("alice");
    silent.video.as_mut().unwrap().can_publish_data = Some(false);
    let room = within(Room::connect(&server.url(), &sign(&silent)))
        .await
        .unwrap();
    assert!(!room.local().can_publish_data());
    let error = room.stream_text(TextOptions::new("t")).await.unwrap_err();
    assert_eq!(error, OpenError::NotPermitted);
}

#[tokio::test]
async fn a_join_that_is_dropped_leaves_nothing_behind() {
    let server = server().await;
    let bob = join(&server, "bob").await;
    for _ in 0..5 {
        let (url, token) = (server.url(), sign(&claims("alice")));
        let joining = Room::connect(&url, &token);
        let _ = tokio::time::timeout(Duration::from_millis(5), joining).await;
    }
    let alice = join(&server, "alice").await;
    within(bob.wait_for_participant("alice")).await.unwrap();
    within(alice.close()).await;
    within(bob.wait_until(|others| others.is_empty()))
        .await
        .unwrap();
}

/// A time that no clock will show means "for ever" wherever an application may give one.
#[tokio::test]
async fn no_duration_is_too_long() {
    let server = server().await;
    let limits = || lkstream::StreamLimits {
        stall_limit: Duration::MAX,
        idle_timeout: Some(Duration::MAX),
        leave_grace: Duration::MAX,
        ..Default::default()
    };
    let patient = |room: RoomBuilder| {
        room.signalling_timeout(Duration::MAX)
            .join_timeout(Duration::MAX)
            .transport_timeout(Duration::MAX)
            .stream_limits(limits())
            .bytes("files")
            .on_rpc("echo", |call| async move { Ok(call.payload) })
    };
    let alice = within(patient(builder(&server, "alice")).connect())
        .await
        .unwrap();
    let bob = within(patient(builder(&server, "bob")).connect())
        .await
        .unwrap();
    within(alice.wait_for_participant("bob")).await.unwrap();
    let call = alice.call("bob", "echo", "x").timeout(Duration::MAX);
    assert_eq!(within(call.into_future()).await.unwrap(), "x");
    let mut files = bob.byte_streams("files");
    let writer = alice
        .stream_bytes(lkstream::ByteOptions::new("files"))
        .await
        .unwrap();
    let mut file = within(files.next()).await.unwrap();
    file.set_idle_timeout(Some(Duration::MAX));
    within(writer.write("x")).await.unwrap();
    within(file.next()).await.unwrap().unwrap();
    within(writer.close()).await.unwrap();
    within(bob.close()).await;
    let refused = alice
        .call("bob", "echo", "x")
        .timeout(Duration::MAX)
        .into_future();
    within(refused).await.unwrap_err();
}
