//! HTTP and WebSocket connections written by hand, so that every byte can be wrong (RFC 9112, RFC 6455).

use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use lkstream_conformance::process::{DEADLINE, Failure};
use lkstream_proto::signal::{Ping, Request, Response, SignalRequest, SignalResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// The receive buffer of somebody who does not read: the smallest that Linux gives.
const DEAF: u32 = 4096;

/// Opcodes (RFC 6455 §5.2).
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Whom a connection seems to come from, and whether that one reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    address: Ipv4Addr,
    is_deaf: bool,
}

impl Caller {
    /// From the address that the innocent pair has, too.
    pub(crate) fn here() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST,
            is_deaf: false,
        }
    }

    /// From another address of the loopback.
    pub(crate) fn elsewhere(number: u8) -> Self {
        Self {
            address: Ipv4Addr::new(127, 0, 1, number),
            is_deaf: false,
        }
    }

    /// Takes next to nothing into its buffer.
    pub(crate) fn deaf(self) -> Self {
        Self {
            is_deaf: true,
            ..self
        }
    }

    /// Connects, and nothing else.
    pub(crate) async fn connect(self, server: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if self.is_deaf {
            socket.set_recv_buffer_size(DEAF)?;
        }
        socket.bind((self.address, 0).into())?;
        socket.connect(server).await
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A response with this status and body, as far as it came.
    Response(u16, Bytes),
    /// The server closed or reset the connection without a response.
    Closed,
}

impl Answer {
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Response(status, _) => Some(*status),
            Self::Closed => None,
        }
    }

    /// An error of the client's or the server's, or an end without a word.
    pub(crate) fn is_refusal(&self) -> bool {
        self.status().is_none_or(|status| status >= 400)
    }
}

/// Reads the head of one response.
pub(crate) async fn answer(stream: &mut TcpStream) -> Result<Answer, Failure> {
    let mut bytes = BytesMut::new();
    let read = async {
        loop {
            if let Some(answer) = parse(&bytes) {
                return answer;
            }
            match stream.read_buf(&mut bytes).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Answer::Closed,
            }
        }
    };
    timeout(DEADLINE, read)
        .await
        .map_err(|_| Failure::new("no answer"))
}

/// A response whose body has come as far as its head promises.
fn parse(bytes: &BytesMut) -> Option<Answer> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse::<usize>().ok())
        .unwrap_or(0);
    let body = bytes.get(end + 4..end + 4 + length)?;
    Some(Answer::Response(status, Bytes::copy_from_slice(body)))
}

/// Sends a request as it stands and reads the answer. Whether all of it was taken does not matter: a server may answer
/// before it has read everything.
pub(crate) async fn ask(server: SocketAddr, request: &[u8]) -> Result<Answer, Failure> {
    let mut stream = Caller::here().connect(server).await?;
    let _ = stream.write_all(request).await;
    answer(&mut stream).await
}

/// A plain GET.
pub(crate) async fn get(server: SocketAddr, path: &str) -> Result<Answer, Failure> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    ask(server, request.as_bytes()).await
}

/// The head of a request to upgrade at this path, without the empty line that ends it.
pub(crate) fn upgrade(path: &str, token: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\nAuthorization: Bearer {token}\r\n",
        STANDARD.encode([7; 16])
    )
}

/// A frame whose parts need not fit together.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) is_final: bool,
    pub(crate) reserved: u8,
    pub(crate) is_masked: bool,
    /// The length that is told, where it is not the true one.
    pub(crate) declared: Option<u64>,
    pub(crate) data: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(opcode: u8, data: impl Into<Vec<u8>>) -> Self {
        Self {
            opcode,
            is_final: true,
            reserved: 0,
            is_masked: true,
            declared: None,
            data: data.into(),
        }
    }

    /// The first or a middle frame of a message.
    pub(crate) fn part(opcode: u8, data: impl Into<Vec<u8>>) -> Self {
        Self {
            is_final: false,
            ..Self::new(opcode, data)
        }
    }

    /// With a mask of zeros, which changes nothing.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mask = if self.is_masked { 0x80 } else { 0 };
        let mut bytes = vec![if self.is_final { 0x80 } else { 0 } | self.reserved | self.opcode];
        match self.declared.unwrap_or(self.data.len() as u64) {
            length @ 0..=125 => bytes.push(mask | length as u8),
            length @ 126..=0xffff => {
                bytes.push(mask | 126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                bytes.push(mask | 127);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
        if self.is_masked {
            bytes.extend_from_slice(&[0; 4]);
        }
        bytes.extend_from_slice(&self.data);
        bytes
    }
}

/// A signalling request as one frame.
pub(crate) fn signal(request: Request) -> Vec<u8> {
    let bytes = SignalRequest::from(request).to_bytes();
    Frame::new(BINARY, bytes).bytes()
}

/// A WebSocket after its upgrade.
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
}

/// What a link gave at last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    /// A signalling message.
    Signal(Box<Response>),
    /// A pong, with its payload.
    Pong(Bytes),
    /// The end: a close frame, or the end of the connection.
    End,
}

impl Link {
    /// Joins with this query, or says how the server refused.
    pub(crate) async fn open(
        caller: Caller,
        server: SocketAddr,
        query: &str,
        token: &str,
    ) -> Result<Result<Self, Answer>, Failure> {
        let mut stream = caller.connect(server).await?;
        let request = upgrade(&format!("/rtc/v1?{query}"), token) + "\r\n";
        if stream.write_all(request.as_bytes()).await.is_err() {
            return Ok(Err(Answer::Closed));
        }
        let mut buffer = BytesMut::new();
        let head = async {
            loop {
                if let Some(end) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                    return Some(end + 4);
                }
                if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                    return None;
                }
            }
        };
        let end = timeout(DEADLINE, head)
            .await
            .map_err(|_| Failure::new("no answer to the upgrade"))?;
        let Some(end) = end else {
            return Ok(Err(Answer::Closed));
        };
        if buffer.starts_with(b"HTTP/1.1 101") {
            buffer.advance(end);
            return Ok(Ok(Self { stream, buffer }));
        }
        Ok(Err(match parse(&buffer) {
            Some(answer) => answer,
            // The body is still on its way; the status is what counts.
            None => {
                let status = std::str::from_utf8(&buffer[9..12])?.parse()?;
                Answer::Response(status, Bytes::new())
            }
        }))
    }

    /// Sends bytes as they stand; false once the server takes none any more.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Sends bytes as they stand while reading and dropping what comes; false once the server takes none any more. Fails if
    /// it neither takes them nor ends the link.
    pub(crate) async fn send_and_read(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        let (mut reader, mut writer) = self.stream.split();
        // What is read here may end in the middle of a frame, so it has to be kept.
        let read = async { while matches!(reader.read_buf(&mut self.buffer).await, Ok(1..)) {} };
        let both = async {
            tokio::select! {
                written = writer.write_all(bytes) => written.is_ok(),
                () = read => false,
            }
        };
        timeout(DEADLINE, both)
            .await
            .map_err(|_| Failure::new("the server neither takes the bytes nor ends the link"))
    }

    /// Drops what was read so far, for somebody who reads and never looks.
    pub(crate) fn forget(&mut self) {
        self.buffer.clear();
    }

    /// The next frame but pings, which it answers.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            let Some((opcode, data)) = self.frame().await else {
                return Heard::End;
            };
            match opcode {
                BINARY => {
                    let response = SignalResponse::from_bytes(data);
                    if let Some(response) = response.ok().and_then(|response| response.message) {
                        return Heard::Signal(Box::new(response));
                    }
                }
                PING => {
                    self.send(&Frame::new(PONG, data).bytes()).await;
                }
                PONG => return Heard::Pong(data),
                CLOSE => return Heard::End,
                _ => {}
            }
        }
    }

    /// The next signalling message that `wanted` takes.
    pub(crate) async fn expect<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(Response) -> Option<T>,
    ) -> Result<T, Failure> {
        let found = async {
            loop {
                match self.hear().await {
                    Heard::Signal(response) => {
                        if let Some(found) = wanted(*response) {
                            return Some(found);
                        }
                    }
                    Heard::Pong(_) => {}
                    Heard::End => return None,
                }
            }
        };
        timeout(DEADLINE, found)
            .await
            .map_err(|_| Failure::new(format!("no {what}")))?
            .ok_or_else(|| Failure::new(format!("the link ended before its {what}")))
    }

    /// Whether the server still takes requests here: false if it has ended the link, by a leave or without a word.
    pub(crate) async fn goes_on(&mut self) -> Result<bool, Failure> {
        // A number that no input uses, and that only the answer to this request repeats.
        const NUMBER: i64 = 0x7e57;
        let ping = Ping {
            timestamp: NUMBER,
            rtt: 0,
        };
        if !self.send(&signal(Request::PingReq(ping))).await {
            return Ok(false);
        }
        let went_on = async {
            loop {
                match self.hear().await {
                    Heard::Signal(response) => match *response {
                        Response::PongResp(pong) if pong.last_ping_timestamp == NUMBER => {
                            return true;
                        }
                        Response::Leave(_) => return false,
                        _ => {}
                    },
                    Heard::Pong(_) => {}
                    Heard::End => return false,
                }
            }
        };
        timeout(DEADLINE, went_on)
            .await
            .map_err(|_| Failure::new("the link neither answers nor ends"))
    }

    async fn frame(&mut self) -> Option<(u8, Bytes)> {
        let head = self.take(2).await?;
        let length = match head[1] & 0x7f {
            126 => usize::from(u16::from_be_bytes(self.take(2).await?[..].try_into().ok()?)),
            127 => usize::try_from(u64::from_be_bytes(self.take(8).await?[..].try_into().ok()?))
                .ok()?,
            length => usize::from(length),
        };
        Some((head[0] & 0xf, self.take(length).await?))
    }

    async fn take(&mut self, bytes: usize) -> Option<Bytes> {
        while self.buffer.len() < bytes {
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
        Some(self.buffer.split_to(bytes).freeze())
    }
}
