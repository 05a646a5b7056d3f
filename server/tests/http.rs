//! HTTP: health, validation, refusals before the upgrade (protocol.md §1.2, §1.4, §2.1), ports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use lkstream_proto::token::{ApiKeys, Claims};
use lkstream_server::{Config, DEV_API_KEY, DEV_API_SECRET, Server, SpawnError};
use support::participant::dial;
use support::{UPGRADE, claims, http, join_query, server, sign, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn health_and_unknown_paths() {
    // §2.1, §7.4.
    let server = server().await;
    let health = http(server.addr(), "GET", "/", &[]).await;
    assert_eq!((health.status, health.body.as_str()), (200, "OK"));
    assert_eq!(
        http(server.addr(), "GET", "/nothing", &[]).await.status,
        404
    );
    assert_eq!(http(server.addr(), "DELETE", "/", &[]).await.status, 405);
    // Not an upgrade.
    let path = format!(
        "/rtc/v1?{}&access_token={}",
        join_query(),
        token("a", "room")
    );
    assert_eq!(http(server.addr(), "GET", &path, &[]).await.status, 404);
    // Dual peer connections are not served.
    let path = format!("/rtc?access_token={}", token("a", "room"));
    assert_eq!(
        http(server.addr(), "GET", &path, &UPGRADE).await.status,
        404
    );
}

#[tokio::test]
async fn validate_takes_the_token_from_header_or_query() {
    // §1.2, §2.1; a leading double slash is collapsed.
    let server = server().await;
    let token = token("a", "room");
    let bearer = format!("Bearer {token}");
    let query = join_query();
    for path in ["/rtc/v1/validate", "//rtc/v1/validate", "/rtc/validate"] {
        let answer = http(
            server.addr(),
            "GET",
            &format!("{path}?{query}&access_token={token}"),
            &[],
        )
        .await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "success"),
            "{path}"
        );
        assert!(answer.head.contains("access-control-allow-origin: *"));
        let answer = http(
            server.addr(),
            "GET",
            &format!("{path}?{query}"),
            &[("Authorization", &bearer)],
        )
        .await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "success"),
            "{path}"
        );
    }
    // The header goes first.
    let answer = http(
        server.addr(),
        "GET",
        &format!("/rtc/v1/validate?{query}&access_token={token}"),
        &[("Authorization", "Bearer nonsense")],
    )
    .await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (401, "invalid authorization token")
    );
}

#[tokio::test]
async fn cross_origin_requests_may_do_all_this() {
    // §2.1: browsers need it on errors too.
    let server = server().await;
    let answer = http(
        server.addr(),
        "OPTIONS",
        "/rtc/v1/validate",
        &[
            ("Origin", "https://example.com"),
            ("Access-Control-Request-Headers", "authorization, x-more"),
        ],
    )
    .await;
    assert_eq!(answer.status, 204);
    assert!(answer.head.contains("access-control-allow-origin: *"));
    assert!(
        answer
            .head
            .contains("access-control-allow-headers: authorization, x-more")
    );
    let answer = http(server.addr(), "GET", "/rtc/v1/validate?access_token=x", &[]).await;
    assert_eq!(answer.status, 401);
    assert!(answer.head.contains("access-control-allow-origin: *"));
    assert!(answer.head.contains("content-type: text/plain"));
}

/// Every bad token and parameter gets the same answer from both paths, before any upgrade.
#[tokio::test]
async fn bad_joins_are_refused_with_the_right_status() {
    // §1.2, §1.4.
    let server = server().await;
    let query = join_query();
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let long = "x".repeat(257);
    let expired = Claims::join("a", "room", now - 2 * hour, hour);
    let future = Claims::join("a", "room", now + hour, hour);
    let mut no_grant = claims("a", "room");
    no_grant.video = None;
    let mut no_join = claims("a", "room");
    no_join.video.as_mut().unwrap().room_join = false;
    let mut no_expiry = claims("a", "room");
    no_expiry.expires = None;
    let wrong_secret = ApiKeys::one(DEV_API_KEY, "another")
        .sign(&claims("a", "room"), DEV_API_KEY)
        .unwrap();
    let unknown_key = ApiKeys::one("other", DEV_API_SECRET)
        .sign(&claims("a", "room"), "other")
        .unwrap();
    let ok = token("a", "room");
    let mut truncated = ok.clone();
    truncated.pop();
    let cases: Vec<(&str, String, String, u16, &str)> = vec![
        (
            "no token",
            query.clone(),
            String::new(),
            401,
            "permissions denied",
        ),
        (
            "garbage",
            query.clone(),
            "garbage".into(),
            401,
            "invalid authorization token",
        ),
        (
            "three garbage parts",
            query.clone(),
            "a.b.c".into(),
            401,
            "invalid authorization token",
        ),
        (
            "unknown key",
            query.clone(),
            unknown_key,
            401,
            "invalid API key",
        ),
        (
            "wrong secret",
            query.clone(),
            wrong_secret,
            401,
            "signature",
        ),
        ("truncated", query.clone(), truncated, 401, ""),
        ("expired", query.clone(), sign(&expired), 401, "expired"),
        (
            "not yet valid",
            query.clone(),
            sign(&future),
            401,
            "valid only in",
        ),
        (
            "no expiry",
            query.clone(),
            sign(&no_expiry),
            401,
            "no expiry",
        ),
        (
            "no grant",
            query.clone(),
            sign(&no_grant),
            401,
            "permissions denied",
        ),
        (
            "no roomJoin",
            query.clone(),
            sign(&no_join),
            401,
            "permissions denied",
        ),
        (
            "empty identity",
            query.clone(),
            token("", "room"),
            400,
            "identity cannot be empty",
        ),
        (
            "long identity",
            query.clone(),
            token(&long, "room"),
            400,
            "identity of 257 bytes, at most 256 allowed",
        ),
        (
            "empty room",
            query.clone(),
            token("a", ""),
            400,
            "no room name",
        ),
        (
            "long room",
            query.clone(),
            token("a", &long),
            400,
            "room name of 257 bytes, at most 256 allowed",
        ),
        (
            "long room in the query",
            format!("{query}&room={long}"),
            token("a", ""),
            400,
            "room name of 257 bytes",
        ),
        (
            "no join request",
            "sdk=js&protocol=17".into(),
            ok.clone(),
            400,
            "join_request",
        ),
        (
            "garbage join request",
            "join_request=%21%21".into(),
            ok.clone(),
            400,
            "join_request",
        ),
        (
            "broken escapes",
            "join_request=%zz".into(),
            ok,
            400,
            "query",
        ),
    ];
    for (what, query, token, status, text) in &cases {
        let authorization = format!("Bearer {token}");
        let mut headers = UPGRADE.to_vec();
        if !token.is_empty() {
            headers.push(("Authorization", &authorization));
        }
        for path in ["/rtc/v1/validate", "/rtc/v1"] {
            let answer = http(server.addr(), "GET", &format!("{path}?{query}"), &headers).await;
            assert_eq!(answer.status, *status, "{what} on {path}: {answer:?}");
            assert!(answer.body.contains(text), "{what} on {path}: {answer:?}");
            assert!(!answer.body.contains("eyJ"), "no token in a message");
        }
    }
    let answer = http(
        server.addr(),
        "GET",
        &format!("/rtc/v1/validate?{query}"),
        &[("Authorization", "Basic abc")],
    )
    .await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.body,
        "invalid authorization header. Must start with Bearer "
    );
    let stats = server.stats().await;
    assert_eq!(stats.joins_refused, 2 * cases.len() as u64 + 1);
    assert_eq!((stats.rooms, stats.participants), (0, 0));
}

#[tokio::test]
async fn the_room_may_come_from_the_query() {
    // §1.4 rule 3.
    let server = server().await;
    let path = format!(
        "/rtc/v1/validate?{}&room=lobby&access_token={}",
        join_query(),
        token("a", "")
    );
    assert_eq!(http(server.addr(), "GET", &path, &[]).await.status, 200);
}

#[tokio::test]
async fn attributes_of_a_join_need_the_right_to_update_metadata() {
    // §1.4 rule 6.
    let server = server().await;
    let mut join = lkstream_proto::join::Join::new(support::client_info());
    join.attributes.insert("k".to_owned(), "v".to_owned());
    let query = join.to_query();
    let path = format!(
        "/rtc/v1/validate?{query}&access_token={}",
        token("a", "room")
    );
    assert_eq!(http(server.addr(), "GET", &path, &[]).await.status, 401);
    let mut may = claims("a", "room");
    may.video.as_mut().unwrap().can_update_own_metadata = Some(true);
    let path = format!("/rtc/v1/validate?{query}&access_token={}", sign(&may));
    assert_eq!(http(server.addr(), "GET", &path, &[]).await.status, 200);
}

#[tokio::test]
async fn long_request_lines_are_taken() {
    // §2.3: at least 8 KiB.
    let server = server().await;
    let padding = "x".repeat(40_000);
    let path = format!(
        "/rtc/v1/validate?{}&access_token={}&padding={padding}",
        join_query(),
        token("a", "room")
    );
    assert_eq!(http(server.addr(), "GET", &path, &[]).await.status, 200);
}

#[tokio::test]
async fn a_used_port_is_named() {
    let first = server().await;
    let mut config = Config::dev().with_free_ports();
    config.port = first.addr().port();
    let error = Server::spawn(config).await.unwrap_err();
    assert_eq!(error, SpawnError::PortInUse(first.addr()));
    assert!(error.to_string().contains(&first.addr().port().to_string()));

    let mut config = Config::dev().with_free_ports();
    config.rtc_port = first.rtc_addr().port();
    let error = Server::spawn(config).await.unwrap_err();
    assert_eq!(error, SpawnError::RtcPortInUse(first.rtc_addr()));
    assert_eq!(
        error.to_string(),
        format!(
            "udp port {} is in use on 127.0.0.1",
            first.rtc_addr().port()
        )
    );
}

#[tokio::test]
async fn shutdown_frees_the_ports_at_once() {
    let first = server().await;
    let mut config = Config::dev();
    config.port = first.addr().port();
    config.rtc_port = first.rtc_addr().port();
    support::within("shutdown", first.shutdown()).await;
    let second = Server::spawn(config)
        .await
        .expect("both ports are free again");
    assert_eq!(http(second.addr(), "GET", "/", &[]).await.status, 200);
}

#[tokio::test]
async fn a_dropped_server_stops() {
    let server = server().await;
    let addr = server.addr();
    drop(server);
    support::within("end of the server", async {
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A connection with a part of a request.
async fn half_made(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        .await
        .unwrap();
    stream
}

/// Waits until the server has closed a connection.
async fn is_closed(mut stream: TcpStream) {
    support::within("end of a connection", async {
        let mut buffer = [0; 1024];
        while let Ok(1..) = stream.read(&mut buffer).await {}
    })
    .await;
}

#[tokio::test]
async fn requests_and_idle_connections_have_a_time_limit() {
    let mut config = Config::dev().with_free_ports();
    config.http.head_timeout = Duration::from_millis(50);
    config.http.idle_timeout = Duration::from_millis(50);
    let server = Server::spawn(config).await.unwrap();
    is_closed(half_made(&server).await).await;
    is_closed(TcpStream::connect(server.addr()).await.unwrap()).await;
    let mut kept = TcpStream::connect(server.addr()).await.unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    is_closed(kept).await;
    assert_eq!(server.stats().await.connections_timed_out, 3);
}

#[tokio::test]
async fn connections_without_a_request_give_way_at_the_limits() {
    // Of one address, of all, and of all connections that there may be.
    let limits: [fn(&mut Config); 3] = [
        |config| config.http.pending_per_address = 8,
        |config| config.http.pending = 8,
        |config| config.http.connections = 8,
    ];
    for limit in limits {
        let mut config = Config::dev().with_free_ports();
        limit(&mut config);
        let server = Server::spawn(config).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..64 {
            held.push(half_made(&server).await);
        }
        let health = http(server.addr(), "GET", "/", &[]).await;
        assert_eq!(health.status, 200, "an honest request is served");
        for stream in held.drain(..50) {
            is_closed(stream).await;
        }
        assert!(server.stats().await.connections_evicted >= 50);
    }
}

#[tokio::test]
async fn unfinished_requests_are_bounded_together() {
    let mut config = Config::dev().with_free_ports();
    config.http.heads = 256 << 10;
    let server = Server::spawn(config).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut stream = half_made(&server).await;
        // What does not fit is not taken, so this may end with an error.
        let _ = stream.write_all(&[b'a'; 100 << 10]).await;
        held.push(stream);
    }
    assert_eq!(http(server.addr(), "GET", "/", &[]).await.status, 200);
    support::within("evictions", async {
        while server.stats().await.connections_evicted < 13 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // One request alone is bounded, too.
    let mut large = half_made(&server).await;
    let _ = large.write_all(&[b'a'; 300 << 10]).await;
    is_closed(large).await;
}

#[tokio::test]
async fn a_client_that_floods_or_does_not_read_is_slowed_down() {
    let mut config = Config::dev().with_free_ports();
    config.signal.write_timeout = Duration::from_millis(500);
    let server = Server::spawn(config).await.unwrap();
    let mut ws = dial(&server, &join_query(), &token("flood", "room")).await;
    for _ in 0..1000 {
        ws.feed(Message::Ping(vec![0; 125].into())).await.unwrap();
    }
    ws.flush().await.unwrap();
    support::within("a note of the flood", async {
        while server.stats().await.floods == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // Others are served meanwhile.
    let mut other = dial(&server, &join_query(), &token("other", "elsewhere")).await;
    assert!(matches!(other.next().await, Some(Ok(Message::Binary(_)))));
}

#[tokio::test]
async fn a_server_signs_tokens_for_its_own_rooms() {
    let server = server().await;
    let token = server.token("lobby", "alice").unwrap();
    let mut ws = dial(&server, &join_query(), &token).await;
    assert!(matches!(ws.next().await, Some(Ok(Message::Binary(_)))));
    let mut config = Config::new().with_free_ports();
    config.bind = server.addr().ip();
    let without_keys = Server::spawn(config).await.unwrap();
    assert!(without_keys.token("lobby", "alice").is_err());
}

#[tokio::test]
async fn no_duration_of_the_front_panics() {
    let mut config = Config::dev().with_free_ports();
    config.http.head_timeout = Duration::MAX;
    config.http.idle_timeout = Duration::MAX;
    config.signal.write_timeout = Duration::MAX;
    let server = Server::spawn(config).await.unwrap();
    assert_eq!(http(server.addr(), "GET", "/", &[]).await.status, 200);
    let mut ws = dial(&server, &join_query(), &token("a", "room")).await;
    assert!(matches!(ws.next().await, Some(Ok(Message::Binary(_)))));
}
