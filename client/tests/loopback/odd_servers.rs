//! Servers that do not keep to the protocol: a WebSocket that a test answers by hand.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use lkstream::{ConnectError, ConnectErrorKind, ConnectStep, Disconnected, Room};
use lkstream_proto::disconnect::DisconnectReason;
use lkstream_proto::participant::ParticipantInfo;
use lkstream_proto::signal::{
    JoinResponse, LeaveRequest, Response, SessionDescription, SignalResponse,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::within;

/// Joins a server that does `script` after the upgrade, with a join limit of 300 ms and a transport limit of 300 ms.
async fn join_scripted<F: Future<Output = ()> + Send>(
    script: impl FnOnce(WebSocketStream<TcpStream>) -> F + Send + 'static,
) -> ConnectError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let serving = async move {
        let (stream, _) = listener.accept().await.unwrap();
        script(tokio_tungstenite::accept_async(stream).await.unwrap()).await;
    };
    let limit = Duration::from_millis(300);
    let joining = Room::builder(&url, "token")
        .join_timeout(limit)
        .transport_timeout(limit)
        .connect();
    let (joined, ()) = within(async { tokio::join!(joining, serving) }).await;
    joined.unwrap_err()
}

fn frame(response: Response) -> Message {
    Message::Binary(SignalResponse::from(response).to_bytes())
}

fn welcome() -> Response {
    Response::Join(JoinResponse {
        participant: Some(ParticipantInfo {
            sid: "PA_1".into(),
            identity: "alice".into(),
            ..ParticipantInfo::default()
        }),
        ..JoinResponse::default()
    })
}

/// Holds the socket until the client hangs up.
async fn hold(mut socket: WebSocketStream<TcpStream>) {
    while let Some(Ok(_)) = socket.next().await {}
}

#[tokio::test]
async fn silence_after_the_upgrade_is_a_time_limit_of_the_join() {
    let error = join_scripted(hold).await;
    assert!(
        matches!(
            error,
            ConnectError::TimedOut {
                step: ConnectStep::Join,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.kind(), ConnectErrorKind::TimedOut);
}

#[tokio::test]
async fn garbage_is_skipped_until_the_time_limit() {
    let error = join_scripted(|mut socket| async move {
        for message in [
            Message::Binary(vec![0xff; 100].into()),
            Message::Text("{\"join\":{}}".into()),
            Message::Ping(vec![1].into()),
            Message::Binary(Vec::new().into()),
        ] {
            socket.send(message).await.unwrap();
        }
        hold(socket).await;
    })
    .await;
    assert!(
        matches!(
            error,
            ConnectError::TimedOut {
                step: ConnectStep::Join,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_close_before_the_join_is_an_error_of_signalling() {
    for close in [Some(Message::Close(None)), None] {
        let error = join_scripted(|mut socket| async move {
            if let Some(close) = close {
                socket.send(close).await.unwrap();
                hold(socket).await;
            }
        })
        .await;
        assert!(
            matches!(error, ConnectError::Signalling { .. }),
            "{error:?}"
        );
        assert_eq!(error.kind(), ConnectErrorKind::CannotConnect);
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_ends_it() {
    let error = join_scripted(|mut socket| async move {
        // The client may hang up in the middle of it.
        let _ = socket.send(Message::Binary(vec![0; 3 << 20].into())).await;
        hold(socket).await;
    })
    .await;
    assert!(
        matches!(&error, ConnectError::Signalling { cause } if cause.contains("2 MiB")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_leave_instead_of_a_welcome_is_a_refusal() {
    let error = join_scripted(|mut socket| async move {
        let leave = LeaveRequest {
            reason: DisconnectReason::JoinFailure.into(),
            ..LeaveRequest::default()
        };
        socket.send(frame(Response::Leave(leave))).await.unwrap();
        hold(socket).await;
    })
    .await;
    let ConnectError::Ended {
        reason: Disconnected::ByServer { reason, .. },
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(reason, DisconnectReason::JoinFailure);
}

#[tokio::test]
async fn a_welcome_without_a_data_connection_is_a_time_limit_of_its_own() {
    let error = join_scripted(|mut socket| async move {
        socket.send(frame(welcome())).await.unwrap();
        hold(socket).await;
    })
    .await;
    assert!(
        matches!(
            error,
            ConnectError::TimedOut {
                step: ConnectStep::DataConnection,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_that_is_none_fails_the_data_connection() {
    for sdp in [
        "",
        "v=0",
        "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
        "\u{0}garbage",
    ] {
        let error = join_scripted(move |mut socket| async move {
            socket.send(frame(welcome())).await.unwrap();
            let answer = SessionDescription {
                r#type: "answer".into(),
                sdp: sdp.into(),
                id: 1,
                ..Default::default()
            };
            socket.send(frame(Response::Answer(answer))).await.unwrap();
            hold(socket).await;
        })
        .await;
        assert!(
            matches!(
                error,
                ConnectError::DataConnection { .. } | ConnectError::TimedOut { .. }
            ),
            "{error:?}"
        );
    }
}

/// A server that pings and does not read gets the newest pong, and no memory.
#[tokio::test]
async fn pongs_that_nobody_reads_are_not_kept() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const PINGS: usize = 200_000;
    /// What the sockets of both sides may buffer, with room to spare.
    const IN_FLIGHT: usize = 16 << 20;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let joining = tokio::spawn(
        Room::builder(&url, "token")
            .join_timeout(Duration::MAX)
            .connect(),
    );
    let (stream, _) = within(listener.accept()).await.unwrap();
    let socket = within(tokio_tungstenite::accept_async(stream))
        .await
        .unwrap();
    let mut stream = socket.into_inner();
    // Unmasked pings of 125 bytes, in batches.
    let mut batch = Vec::new();
    for _ in 0..1000 {
        batch.extend_from_slice(&[0x89, 125]);
        batch.extend_from_slice(&[b'x'; 125]);
    }
    for _ in 0..PINGS / 1000 {
        within(stream.write_all(&batch)).await.unwrap();
    }
    within(stream.write_all(b"\x89\x04last")).await.unwrap();
    let mut received = Vec::new();
    while !ends_with_last_pong(&received) {
        let count = within(stream.read_buf(&mut received)).await.unwrap();
        assert_ne!(count, 0, "the client hung up");
    }
    assert!(received.len() < IN_FLIGHT, "{} bytes", received.len());
    joining.abort();
}

/// Whether this ends with a masked pong that says `last`.
fn ends_with_last_pong(received: &[u8]) -> bool {
    let Some([0x8a, 0x84, masked @ ..]) = received.last_chunk::<10>() else {
        return false;
    };
    let (mask, body) = masked.split_at(4);
    let plain: Vec<u8> = body
        .iter()
        .zip(mask)
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    plain == b"last"
}
