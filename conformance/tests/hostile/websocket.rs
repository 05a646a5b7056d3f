//! Attacks with WebSocket frames, by somebody with a plain token.

use std::time::Duration;

use bytes::Bytes;
use lkstream_conformance::process::Failure;
use lkstream_proto::signal::{Request, SignalRequest};
use tokio::time::{Instant, timeout_at};

use crate::guest;
use crate::pair::{Joins, Pair};
use crate::server::{Server, Target, every, token};
use crate::wire::{BINARY, CLOSE, CONTINUATION, Caller, Frame, Link, PING, PONG, TEXT};

/// How long a flood lasts at most.
const FLOOD: Duration = Duration::from_secs(6);

/// What has to become of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The server ends it.
    Ends,
    /// The server answers the next request.
    GoesOn,
    /// Either.
    Any,
}

/// Bytes to send over a link after its join.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fate: Fate,
}

impl Input {
    pub(crate) fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>, fate: Fate) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.into(),
            fate,
        }
    }

    /// Joins this room, sends it, and judges what becomes of the link.
    pub(crate) async fn check(&self, target: &Target, room: &str) -> Result<(), Failure> {
        let named = |error| Failure::new(format!("`{}`: {error:?}", self.name));
        let mut link = guest::join(target, Caller::here(), &token("attacker", room)).await?;
        let goes_on = self.send(&mut link).await.map_err(named)?;
        let is_fine = match self.fate {
            Fate::Ends => !goes_on,
            Fate::GoesOn => goes_on,
            Fate::Any => true,
        };
        if !is_fine {
            let fate = self.fate;
            return Err(Failure::new(format!(
                "`{}`: the link goes on: {goes_on}, expected {fate:?}",
                self.name
            )));
        }
        Ok(())
    }

    /// As [`Input::check`], for frames that may promise more than they hold: whether the link goes on then, nobody can tell.
    pub(crate) async fn check_without_answer(
        &self,
        target: &Target,
        room: &str,
    ) -> Result<(), Failure> {
        let mut link = guest::join(target, Caller::here(), &token("attacker", room)).await?;
        link.send_and_read(&self.bytes).await.map(drop)
    }

    /// Sends it while reading, since the server may wait for that, and tells whether the link goes on.
    async fn send(&self, link: &mut Link) -> Result<bool, Failure> {
        if !link.send_and_read(&self.bytes).await? {
            return Ok(false);
        }
        link.goes_on().await
    }
}

/// Frames that a server has to survive.
pub(crate) fn inputs() -> Vec<Input> {
    use Fate::{Any, Ends, GoesOn};
    let ping = SignalRequest::from(Request::Ping(1)).to_bytes();
    let mut inputs = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>, fate| inputs.push(Input::new(name, bytes, fate));
    let with = |change: &dyn Fn(&mut Frame), opcode: u8, data: &[u8]| {
        let mut frame = Frame::new(opcode, data);
        change(&mut frame);
        frame.bytes()
    };

    // Frames that RFC 6455 does not allow.
    add(
        "unmasked",
        with(&|frame| frame.is_masked = false, BINARY, &ping),
        Ends,
    );
    for bit in [0x40, 0x20, 0x10] {
        add(
            &format!("reserved bit {bit:#x}"),
            with(&|frame| frame.reserved = bit, BINARY, &ping),
            Ends,
        );
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        add(
            &format!("reserved opcode {opcode}"),
            Frame::new(opcode, *b"abc").bytes(),
            Ends,
        );
    }
    add(
        "ping of 126 bytes",
        Frame::new(PING, [1; 126]).bytes(),
        Ends,
    );
    add(
        "pong of 200 bytes",
        Frame::new(PONG, [1; 200]).bytes(),
        Ends,
    );
    add(
        "close of 200 bytes",
        Frame::new(CLOSE, [1; 200]).bytes(),
        Ends,
    );
    add("ping in parts", Frame::part(PING, *b"a").bytes(), Ends);
    add("close of one byte", Frame::new(CLOSE, [3]).bytes(), Ends);
    add(
        "close with a code below 1000",
        Frame::new(CLOSE, [0, 1]).bytes(),
        Ends,
    );
    add(
        "close with the code for no code",
        Frame::new(CLOSE, 1005_u16.to_be_bytes()).bytes(),
        Ends,
    );
    add(
        "close whose reason is no UTF-8",
        Frame::new(CLOSE, [3, 232, 0xff]).bytes(),
        Ends,
    );
    add(
        "frames after a close",
        [
            Frame::new(CLOSE, []).bytes(),
            Frame::new(BINARY, ping.clone()).bytes(),
        ]
        .concat(),
        Ends,
    );
    add(
        "part of nothing",
        Frame::new(CONTINUATION, *b"abc").bytes(),
        Ends,
    );
    add(
        "message inside a message",
        [
            Frame::part(BINARY, *b"a").bytes(),
            Frame::new(BINARY, ping.clone()).bytes(),
        ]
        .concat(),
        Ends,
    );
    add(
        "text that is no UTF-8",
        Frame::new(TEXT, [0xff; 10]).bytes(),
        Any,
    );

    // Lengths.
    for length in [
        2 << 20,
        (2 << 20) + 1,
        16 << 20,
        1 << 31,
        1 << 32,
        1 << 62,
        i64::MAX as u64,
    ] {
        let promise = with(
            &|frame| frame.declared = Some(length),
            BINARY,
            &[b'a'; 1000],
        );
        // What is within the limit may still come, and the link waits for it; nothing says so on the way.
        if length > 2 << 20 {
            add(&format!("promise of {length} bytes"), promise, Ends);
        }
    }
    add(
        "length with its highest bit set",
        with(&|frame| frame.declared = Some(1 << 63), BINARY, b"a"),
        Ends,
    );
    add(
        "message of more than 2 MiB",
        Frame::new(BINARY, vec![0; (2 << 20) + 1]).bytes(),
        Ends,
    );
    add(
        "parts of more than 2 MiB",
        [
            Frame::part(BINARY, []).bytes(),
            Frame::part(CONTINUATION, [b'a'; 60_000]).bytes().repeat(40),
        ]
        .concat(),
        Ends,
    );
    add(
        "300 000 parts of a byte",
        [
            Frame::part(BINARY, []).bytes(),
            Frame::part(CONTINUATION, *b"a").bytes().repeat(300_000),
            Frame::new(CONTINUATION, []).bytes(),
        ]
        .concat(),
        Any,
    );
    add(
        "300 000 empty parts",
        [
            Frame::part(BINARY, []).bytes(),
            Frame::part(CONTINUATION, []).bytes().repeat(300_000),
            Frame::new(CONTINUATION, []).bytes(),
        ]
        .concat(),
        Any,
    );
    add("empty message", Frame::new(BINARY, []).bytes(), GoesOn);
    add(
        "message in three parts with pings between",
        [
            Frame::part(BINARY, &ping[..1]).bytes(),
            Frame::new(PING, *b"x").bytes(),
            Frame::part(CONTINUATION, &ping[1..2]).bytes(),
            Frame::new(PING, *b"y").bytes(),
            Frame::new(CONTINUATION, &ping[2..]).bytes(),
        ]
        .concat(),
        GoesOn,
    );

    // Messages that are none.
    add("one text", Frame::new(TEXT, *b"{}").bytes(), GoesOn);
    add(
        "17 texts",
        Frame::new(TEXT, *b"{}").bytes().repeat(17),
        Ends,
    );
    add(
        "15 bad messages",
        Frame::new(BINARY, [0xff; 3]).bytes().repeat(15),
        GoesOn,
    );
    add(
        "17 bad messages",
        Frame::new(BINARY, [0xff; 3]).bytes().repeat(17),
        Ends,
    );
    add(
        "500 pongs that nobody asked for",
        Frame::new(PONG, [1; 125]).bytes().repeat(500),
        Any,
    );
    add(
        "500 pings",
        Frame::new(PING, [1; 125]).bytes().repeat(500),
        Any,
    );
    add(
        "bad and good in turn",
        [
            Frame::new(BINARY, [0xff]).bytes().repeat(15),
            Frame::new(BINARY, ping.clone()).bytes(),
        ]
        .concat()
        .repeat(30),
        Any,
    );

    // No WebSocket.
    add(
        "HTTP request",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Ends,
    );
    add("zeros", vec![0; 100_000], Ends);
    add("high bytes", vec![0xff; 1000], Ends);
    inputs
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_end_their_own_link() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let attack = async {
        let mut outcomes = Vec::new();
        for input in inputs() {
            // The innocents see the attacker come and go.
            outcomes.push(input.check(&target, "yard").await);
        }
        every(outcomes)
    };
    server.endure(&mut pair, "malformed frames", attack).await
}

/// Sends the same bytes again and again over links that read nothing, until the server ends them all or the time is over.
/// Tells how many it ended.
pub(crate) async fn flood(
    target: &Target,
    links: usize,
    room: &str,
    bytes: impl Into<Bytes>,
) -> Result<usize, Failure> {
    let bytes = bytes.into();
    let mut flooding = tokio::task::JoinSet::new();
    for number in 0..links {
        let token = token(&format!("attacker-{number}"), room);
        let mut link = guest::join(target, Caller::here().deaf(), &token).await?;
        let bytes = bytes.clone();
        flooding.spawn(async move {
            let until = Instant::now() + FLOOD;
            while let Ok(is_taken) = timeout_at(until, link.send(&bytes)).await {
                if !is_taken {
                    return true;
                }
            }
            false
        });
    }
    let mut ended = 0;
    while let Some(flooded) = flooding.join_next().await {
        ended += usize::from(flooded?);
    }
    Ok(ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_without_end_to_links_that_do_not_read_hold_little() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let pings = Frame::new(PING, [b'p'; 125]).bytes().repeat(2000);
    let attack = flood(&target, 3, "attack", pings);
    server
        .endure(&mut pair, "3 links of pings, unread", attack)
        .await?;
    Ok(())
}
