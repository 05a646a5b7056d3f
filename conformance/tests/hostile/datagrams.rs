//! Attacks with datagrams, by somebody who is in no room: STUN, DTLS and what is neither (RFC 7983 §7).

use std::net::UdpSocket;
use std::time::Duration;

use bytes::Bytes;
use lkstream_conformance::process::Failure;
use tokio::time::{Instant, sleep_until};

use crate::addresses::binding_request;
use crate::guest::Guest;
use crate::pair::{Joins, Pair};
use crate::server::{Server, token};

/// A datagram with its name.
pub(crate) type Input = (String, Vec<u8>);

/// An answer whose credentials nobody has.
const NOBODY: &str = "a=ice-ufrag:nobodynobody\r\na=ice-pwd:nobodynobodynobodynobody\r\n";

/// A DTLS record (RFC 6347 §4.1) whose length may be another than its body's.
fn record(kind: u8, epoch: u16, length: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0xfe, 0xfd];
    bytes.extend_from_slice(&epoch.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 1]);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A DTLS handshake message (RFC 6347 §4.2.2), or a fragment of one.
fn handshake(kind: u8, length: u32, offset: u32, fragment: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&offset.to_be_bytes()[1..]);
    bytes.extend_from_slice(&(fragment.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(fragment);
    record(22, 0, bytes.len() as u16, &bytes)
}

/// Datagrams that a server has to survive, and that must not end a connection from whose address they seem to come.
pub(crate) fn inputs() -> Vec<Input> {
    let request = binding_request(NOBODY, "abcd", 1);
    let changed = |at: usize, value: u8| {
        let mut bytes = request.clone();
        bytes[at] = value;
        bytes
    };
    let mut inputs: Vec<Input> = vec![
        ("STUN for nobody".into(), request.clone()),
        ("STUN of another cookie".into(), changed(4, 0)),
        ("STUN of a length beyond its end".into(), changed(2, 0xff)),
        ("STUN of length 0".into(), changed(3, 0)),
        ("STUN of an odd length".into(), changed(3, 7)),
        ("STUN indication".into(), changed(1, 0x11)),
        (
            "STUN success that nobody asked for".into(),
            [&[1, 1][..], &request[2..]].concat(),
        ),
        (
            "STUN error that nobody asked for".into(),
            [&[1, 0x11][..], &request[2..]].concat(),
        ),
        ("TURN allocation".into(), changed(1, 3)),
        ("STUN header alone".into(), request[..20].to_vec()),
        (
            "STUN with an attribute beyond its end".into(),
            changed(23, 0xff),
        ),
        ("STUN with an attribute of 65 535 bytes".into(), {
            let mut bytes = changed(22, 0xff);
            bytes[23] = 0xff;
            bytes
        }),
        ("STUN of empty attributes".into(), {
            let mut bytes = request[..20].to_vec();
            bytes.resize(1420, 0);
            bytes[2..4].copy_from_slice(&1400_u16.to_be_bytes());
            bytes
        }),
        (
            "STUN with a user name without a colon".into(),
            changed(24 + 12, b'x'),
        ),
        (
            "STUN with a user name that is no UTF-8".into(),
            changed(24, 0xff),
        ),
        ("STUN twice in one datagram".into(), request.repeat(2)),
        ("one byte of STUN".into(), vec![0]),
        ("one byte of DTLS".into(), vec![22]),
        ("nothing".into(), Vec::new()),
        (
            "channel data of TURN".into(),
            vec![0x40, 0, 0, 4, 1, 2, 3, 4],
        ),
        ("RTP".into(), [&[0x80, 96, 0, 1][..], &[0; 100]].concat()),
        ("RTCP".into(), [&[0x80, 200, 0, 6][..], &[0; 24]].concat()),
        (
            "DNS".into(),
            b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01".to_vec(),
        ),
        (
            "QUIC".into(),
            [&[0xc0, 0, 0, 0, 1][..], &[0; 1200]].concat(),
        ),
        ("datagram of 65 000 zeros".into(), vec![0; 65_000]),
        ("datagram of 65 000 high bytes".into(), vec![0xff; 65_000]),
    ];
    for (name, bytes) in [
        ("header alone", record(22, 0, 0, b"")),
        ("half a header", record(22, 0, 0, b"")[..7].to_vec()),
        ("length beyond its end", record(22, 0, 0xffff, b"abc")),
        (
            "another version",
            [&[22, 3, 1][..], &record(22, 0, 3, b"abc")[3..]].concat(),
        ),
        ("empty client hello", handshake(1, 0, 0, b"")),
        ("client hello of zeros", handshake(1, 100, 0, &[0; 100])),
        (
            "client hello of high bytes",
            handshake(1, 100, 0, &[0xff; 100]),
        ),
        ("fragment of 16 MB", handshake(1, 0x00ff_ffff, 0, b"abc")),
        ("fragment beyond its end", handshake(1, 10, 9, b"abc")),
        (
            "fragment at the end of 16 MB",
            handshake(1, 0x00ff_ffff, 0x00ff_fffc, b"abc"),
        ),
        ("unknown handshake message", handshake(99, 3, 0, b"abc")),
        ("server hello", handshake(2, 3, 0, b"abc")),
        ("certificate of nothing", handshake(11, 3, 0, &[0, 0, 0])),
        ("finished in the clear", handshake(20, 12, 0, &[0; 12])),
        ("hello request", handshake(0, 0, 0, b"")),
        ("change of cipher", record(20, 0, 1, &[1])),
        ("change of cipher to 7", record(20, 0, 1, &[7])),
        ("fatal alert in the clear", record(21, 0, 2, &[2, 40])),
        ("close notify in the clear", record(21, 0, 2, &[1, 0])),
        ("alert of one byte", record(21, 0, 1, &[2])),
        ("application data in the clear", record(23, 0, 3, b"abc")),
        ("application data of epoch 1", record(23, 1, 40, &[7; 40])),
        (
            "application data of epoch 65 535",
            record(23, 0xffff, 40, &[7; 40]),
        ),
        (
            "application data too short for a tag",
            record(23, 1, 3, b"abc"),
        ),
        ("unknown kind", record(63, 0, 3, b"abc")),
        ("100 empty records", record(23, 1, 0, b"").repeat(100)),
    ] {
        inputs.push((format!("DTLS: {name}"), bytes));
    }
    inputs
}

/// Sends all of them, some times over, and not faster than a socket's buffer is read.
pub(crate) async fn send(
    socket: &UdpSocket,
    target: std::net::SocketAddr,
    inputs: &[Input],
    times: usize,
) -> Result<(), Failure> {
    for _ in 0..times {
        for (_, bytes) in inputs {
            // A full buffer is as good as a datagram lost.
            let _ = socket.send_to(bytes, target);
        }
        sleep_until(Instant::now() + Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_of_strangers_are_nothing() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let attack = async {
        let stranger = UdpSocket::bind("127.0.0.1:0")?;
        send(&stranger, target.rtc, &inputs(), 100).await
    };
    server
        .endure(&mut pair, "datagrams of a stranger", attack)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_in_the_name_of_a_participant_end_nothing() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let mut victim = Guest::join(&target, &token("victim", "yard"), |_| {}).await?;
    let reliable = victim.channel("_reliable").await?;
    let spoof = victim.endpoint.socket()?;
    let attack = async {
        for _ in 0..20 {
            send(&spoof, target.rtc, &inputs(), 2).await?;
            let messages = (0..20).map(|_| Bytes::from(vec![7; 15_000]));
            if !victim.send(reliable, messages).await? {
                return Err(victim.endpoint.failure("the victim's connection ended"));
            }
        }
        Ok(())
    };
    server
        .endure(&mut pair, "datagrams from a participant's address", attack)
        .await
}
