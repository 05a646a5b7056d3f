//! The HTTP upgrade to a WebSocket, by hand, since the body of a refusal says why (protocol.md §2.1).

use std::collections::HashSet;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::ConnectError;
use crate::url::ServerUrl;

/// Anything the signalling can run over: TCP, or TLS over it.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The signalling connection.
pub(crate) type WebSocket = WebSocketStream<Box<dyn Io>>;

/// The largest head of a response that is read, in bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// How much of the body of a refusal is read, in bytes.
const BODY_BYTES: usize = 4 * 1024;

/// How much of the server's words is shown, in bytes.
const REASON_BYTES: usize = 256;

/// Bytes of the WebSocket's read buffer, which tungstenite fills with zeros when it is made.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Bytes that wait for a server that does not read. Of pongs that find no room only the newest is kept
/// (RFC 6455 §5.5.3).
const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// Parts of a token of this length are not shown, in bytes.
const SECRET_BYTES: usize = 8;

/// The body that makes a 404 a refusal rather than a missing route (protocol.md §1.4, §2.12).
const NO_SUCH_ROOM: &str = "requested room does not exist";

/// Asks for the upgrade and takes the answer.
pub(crate) async fn upgrade(
    mut stream: Box<dyn Io>,
    server: &ServerUrl,
    token: &str,
    query: &str,
) -> Result<WebSocket, ConnectError> {
    let key = generate_key();
    let request = format!(
        "GET {}/rtc/v1?{query} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\
         User-Agent: lkstream/{}\r\n\r\n",
        server.prefix,
        server.host_header(),
        env!("CARGO_PKG_VERSION"),
    );
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;

    let mut received = Vec::with_capacity(READ_BUFFER_BYTES);
    let head_end = loop {
        if let Some(at) = find(&received, b"\r\n\r\n") {
            break at;
        }
        if received.len() > HEAD_BYTES {
            return Err(no_http());
        }
        if stream.read_buf(&mut received).await.map_err(broken)? == 0 {
            return Err(ConnectError::Signalling {
                cause: "the server closed the connection before it answered".into(),
            });
        }
    };
    let tail = received.split_off(head_end + 4);
    let head = Head::parse(&received).ok_or_else(no_http)?;
    if head.status != 101 {
        let body = read_body(&mut stream, &head, tail).await;
        return Err(refusal(head.status, &body, token));
    }
    let accepted =
        head.header("sec-websocket-accept") == Some(derive_accept_key(key.as_bytes()).as_str());
    let upgraded = head
        .header("upgrade")
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    if !accepted || !upgraded {
        return Err(ConnectError::Signalling {
            cause: "the server's websocket handshake is wrong".into(),
        });
    }
    let limit = lkstream_proto::limits::SIGNAL_BYTES;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    Ok(WebSocketStream::from_partially_read(stream, tail, Role::Client, Some(config)).await)
}

/// A response's status and headers.
struct Head<'a> {
    status: u16,
    lines: Vec<(&'a str, &'a str)>,
}

impl<'a> Head<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.split("\r\n");
        let status = lines
            .next()?
            .strip_prefix("HTTP/1.")?
            .split(' ')
            .nth(1)?
            .parse()
            .ok()?;
        let lines = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
            .collect();
        Some(Head { status, lines })
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.lines
            .iter()
            .find(|(each, _)| each.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }
}

/// The beginning of a refusal's body. It is only for people: whatever goes wrong here leaves it shorter.
async fn read_body(stream: &mut Box<dyn Io>, head: &Head<'_>, mut body: Vec<u8>) -> Vec<u8> {
    let is_chunked = head
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let length = match head
        .header("content-length")
        .and_then(|value| value.parse().ok())
    {
        Some(length) => BODY_BYTES.min(length),
        None => BODY_BYTES,
    };
    // Without a length the server must close, or have ended its last chunk.
    while body.len() < length && !(is_chunked && body.ends_with(b"0\r\n\r\n")) {
        match stream.read_buf(&mut body).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    if is_chunked {
        // The first chunk is enough to show.
        if let Some(at) = find(&body, b"\r\n") {
            let size = std::str::from_utf8(&body[..at])
                .ok()
                .and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
            body.drain(..at + 2);
            body.truncate(size.unwrap_or(0));
        }
    }
    body
}

fn refusal(status: u16, body: &[u8], token: &str) -> ConnectError {
    let mut reason = String::new();
    let body = redact(&String::from_utf8_lossy(body), token);
    for c in body
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
    {
        if reason.len() + c.len_utf8() > REASON_BYTES {
            break;
        }
        reason.push(c);
    }
    reason.truncate(reason.trim_end().len());
    if reason.is_empty() {
        reason.push_str("no reason given");
    }
    match status {
        404 if !reason.contains(NO_SUCH_ROOM) => ConnectError::NoSignalling { reason },
        // 503 is how the stock server says that a room is full (protocol.md §1.4).
        400..=499 | 503 => ConnectError::Refused { status, reason },
        _ => ConnectError::ServerFailed { status, reason },
    }
}

/// Servers repeat what they were given; of our token no part is shown that is long enough to recognise.
fn redact(text: &str, token: &str) -> String {
    let (text, token) = (text.as_bytes(), token.as_bytes());
    let length = token.len().min(SECRET_BYTES);
    let parts: HashSet<&[u8]> = token.windows(length.max(1)).collect();
    let mut shown = Vec::with_capacity(text.len());
    // How far what was seen of the token reaches.
    let mut hidden = 0;
    for (at, byte) in text.iter().enumerate() {
        let part = text.get(at..at + length);
        if part.is_some_and(|part| parts.contains(part)) {
            if at >= hidden {
                shown.extend_from_slice(b"(token)");
            }
            hidden = at + length;
        }
        if at >= hidden {
            shown.push(*byte);
        }
    }
    String::from_utf8_lossy(&shown).into_owned()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn no_http() -> ConnectError {
    ConnectError::Signalling {
        cause: "what answers there does not speak http".into(),
    }
}

fn broken(error: io::Error) -> ConnectError {
    ConnectError::Signalling {
        cause: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    /// Answers one request with `response` and closes.
    async fn ask(response: &'static [u8]) -> Result<(), ConnectError> {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let server = ServerUrl::parse("ws://host").unwrap();
        let answer = async move {
            let mut request = Vec::new();
            while find(&request, b"\r\n\r\n").is_none() {
                theirs.read_buf(&mut request).await.unwrap();
            }
            theirs.write_all(response).await.unwrap();
        };
        tokio::join!(
            upgrade(Box::new(ours), &server, "token", "join_request=x"),
            answer
        )
        .0
        .map(drop)
    }

    #[tokio::test]
    async fn refusals_carry_status_and_words() {
        let refused =
            ask(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 15\r\n\r\ninvalid API key")
                .await
                .unwrap_err();
        assert_eq!(
            refused,
            ConnectError::Refused {
                status: 401,
                reason: "invalid API key".into()
            }
        );
        let chunked =
            ask(b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfull\r\n0\r\n\r\n")
                .await
                .unwrap_err();
        assert_eq!(
            chunked,
            ConnectError::Refused {
                status: 503,
                reason: "full".into()
            }
        );
        let unknown = ask(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap_err();
        assert_eq!(
            unknown,
            ConnectError::NoSignalling {
                reason: "no reason given".into()
            }
        );
        let no_room = ask(b"HTTP/1.1 404 Not Found\r\n\r\nrequested room does not exist")
            .await
            .unwrap_err();
        assert!(
            matches!(no_room, ConnectError::Refused { status: 404, .. }),
            "{no_room:?}"
        );
        let broken = ask(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 999\r\n\r\nproxy\x07\n")
            .await
            .unwrap_err();
        assert_eq!(
            broken,
            ConnectError::ServerFailed {
                status: 502,
                reason: "proxy".into()
            }
        );
    }

    #[test]
    fn nothing_of_the_token_is_shown() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJrZXkifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";
        let said = |body: String| match refusal(401, body.as_bytes(), token) {
            ConnectError::Refused { reason, .. } => reason,
            error => panic!("{error:?}"),
        };
        assert_eq!(
            said(format!("invalid token: {token}, error: bad signature")),
            "invalid token: (token), error: bad signature"
        );
        assert_eq!(said(format!("{token}{token}")), "(token)(token)");
        for (from, to) in [(0, 20), (21, 39), (30, 60), (40, token.len())] {
            assert_eq!(said(format!("part {}", &token[from..to])), "part (token)");
        }
        assert_eq!(said("h\u{f6}chstens 3".into()), "h\u{f6}chstens 3");
    }

    #[tokio::test]
    async fn what_is_no_websocket_server_is_an_error() {
        for response in [
            &b"SSH-2.0-OpenSSH\r\n\r\n"[..],
            b"",
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"\xff\xfe\r\n\r\n",
        ] {
            let error = ask(response).await.unwrap_err();
            assert!(
                matches!(error, ConnectError::Signalling { .. }),
                "{error:?}"
            );
        }
    }
}
