//! What Chromium offers beyond the plain connection, or may come to offer: hidden addresses, a checksum of zero, and
//! features that it has on trial.

use lkstream_conformance::browser::{Addresses, Launch};
use lkstream_conformance::process::Failure;

use super::chromium::{Client, Pair, exchange, noise, own_channel};

/// A page without the right to use the microphone tells names that only multicast DNS knows. Nothing is looked up here; its
/// checks bring its address (RFC 8445 §7.3.1.3).
#[tokio::test]
#[ignore = "needs chromium"]
async fn page_hides_its_addresses() -> Result<(), Failure> {
    let launch = Launch {
        addresses: Addresses::Hidden,
        ..Launch::new()
    };
    let pair = Pair::page_offers_in(&launch, Client::Endpoint, own_channel).await?;
    let stats = pair.endpoint.peer.stats();
    assert!(stats.candidates_ignored > 0, "{stats:?}");
    exchange(pair, Client::Endpoint).await
}

/// Trials of libwebrtc that change what offers, handshakes and chunks look like: the SCTP handshake inside of the SDP, DTLS
/// inside of STUN, a ClientHello with a post-quantum key share that is larger than a datagram, and interleaved messages
/// (RFC 8260). We know none of them, and say so by not answering to them. The tests look for what each of them changes: a trial that
/// Chromium renames is ignored without a word.
const TRIALS: &str = "--force-fieldtrials=WebRTC-Sctp-Snap/Enabled/WebRTC-IceHandshakeDtls/Enabled/\
                      WebRTC-EnableDtlsPqc/Enabled/WebRTC-DataChannelMessageInterleaving/Enabled/";

#[tokio::test]
#[ignore = "needs chromium"]
async fn page_on_trial_offers() -> Result<(), Failure> {
    let mut pair = Pair::page_offers_in(&trials(), Client::Page, own_channel).await?;
    let has = |line: &str, word: &str| {
        let mut lines = pair.sdp.lines();
        lines.any(|it| it.starts_with(line) && it.contains(word))
    };
    assert!(has("a=sctp-init:", ""), "Snap: {}", pair.sdp);
    assert!(has("a=ice-options:", "sped"), "DTLS in STUN: {}", pair.sdp);
    // Chromium 156 has this one without its trial, too.
    let hello = client_hello(&pair.endpoint.first);
    assert!(hello > Some(1_200), "post-quantum: {hello:?} bytes");
    assert_interleaves(&mut pair).await?;
    exchange(pair, Client::Page).await
}

/// An answer has what the offer has, so only the last trial shows.
#[tokio::test]
#[ignore = "needs chromium"]
async fn page_on_trial_answers() -> Result<(), Failure> {
    let mut pair = Pair::page_answers_in(&trials(), Client::Endpoint, own_channel).await?;
    assert_interleaves(&mut pair).await?;
    exchange(pair, Client::Endpoint).await
}

fn trials() -> Launch {
    let mut launch = traced();
    launch.switches.push(TRIALS.to_owned());
    launch
}

/// With a trace of decrypted packets in the browser's log.
fn traced() -> Launch {
    let switches = [
        "--enable-logging",
        "--vmodule=*dcsctp_transport*=4,*text_pcap*=4",
    ];
    Launch {
        switches: switches.map(str::to_owned).to_vec(),
        ..Launch::new()
    }
}

/// Bytes of the first ClientHello, which a record of a handshake message of type 1 begins (RFC 6347 §4.1, §4.2.2).
fn client_hello(datagrams: &[Vec<u8>]) -> Option<u32> {
    let hello = datagrams
        .iter()
        .find(|datagram| datagram.first() == Some(&22) && datagram.get(13) == Some(&1))?;
    let [high, middle, low] = hello.get(14..17)?.try_into().ok()?;
    Some(u32::from_be_bytes([0, high, middle, low]))
}

/// Waits for the page's INIT or INIT ACK, which must say that it knows I-DATA.
async fn assert_interleaves(pair: &mut Pair) -> Result<(), Failure> {
    let Pair {
        browser, endpoint, ..
    } = pair;
    let theirs = endpoint
        .until("INIT of the page", |_| {
            let half = browser.log().and_then(|log| Half::read(&log, "O"));
            half.map(|half| half.has_init.then_some(half)).transpose()
        })
        .await??;
    assert!(theirs.interleaves, "{theirs:?}");
    Ok(())
}

/// RFC 9653 §5.2: whoever says in its INIT or INIT ACK that it takes a checksum of zero may get it, nobody else does. Read from
/// the browser's own trace of decrypted packets.
#[tokio::test]
#[ignore = "needs chromium"]
async fn checksum_is_zero_only_where_that_was_offered() -> Result<(), Failure> {
    let mut pair = Pair::page_offers_in(&traced(), Client::Endpoint, own_channel).await?;
    let channel = pair.channel("endpoint").await?;
    pair.send(channel.id, &[noise(1, 10_000), noise(2, 10_000)])
        .await?;
    // The browser writes its log when it likes.
    let Pair {
        browser, endpoint, ..
    } = &mut pair;
    let (ours, theirs) = endpoint
        .until("packets of both sides in the browser's log", |_| {
            let read = || {
                let log = browser.log()?;
                let (ours, theirs) = (Half::read(&log, "I")?, Half::read(&log, "O")?);
                let is_enough = ours.packets > 10 && theirs.packets > 2;
                Ok::<_, Failure>(is_enough.then_some((ours, theirs)))
            };
            read().transpose()
        })
        .await??;
    println!("ours {ours:?}, the page's {theirs:?}");
    assert!(ours.accepts_zero, "our INIT says that zero is fine");
    assert_eq!(ours.zeros > 0, theirs.accepts_zero);
    Ok(())
}

/// Chunk types (RFC 9260 §3.2).
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const COOKIE_ECHO: u8 = 10;

/// RFC 9653 §4.1.
const ZERO_CHECKSUM_ACCEPTABLE: [u8; 2] = [0x80, 0x01];

/// RFC 5061 §4.2.7, and the chunk type of RFC 8260 §2.1 in it.
const SUPPORTED_EXTENSIONS: [u8; 2] = [0x80, 0x08];
const I_DATA: u8 = 64;

/// What one side sent.
#[derive(Debug, Default)]
struct Half {
    /// Packets after the set-up.
    packets: usize,
    /// Of them, those with a checksum of zero.
    zeros: usize,
    /// An INIT or INIT ACK was among it.
    has_init: bool,
    /// It has the parameter "Zero Checksum Acceptable".
    accepts_zero: bool,
    /// It names I-DATA among the extensions.
    interleaves: bool,
}

impl Half {
    /// From the lines `I` (received by the page) or `O` (sent by it), time, offset and bytes, as text2pcap takes them.
    fn read(log: &str, direction: &str) -> Result<Self, Failure> {
        let mut half = Self::default();
        for line in log.lines() {
            let mut words = line.split_ascii_whitespace();
            if !line.contains("# SCTP_PACKET") || words.next() != Some(direction) {
                continue;
            }
            let packet = words
                .skip(2)
                .take_while(|word| *word != "#")
                .map(|word| u8::from_str_radix(word, 16))
                .collect::<Result<Vec<u8>, _>>()?;
            // The common header has 12 bytes, the last four of them the checksum (RFC 9260 §3.1).
            match packet.get(12).copied() {
                Some(INIT | INIT_ACK) => {
                    half.has_init = true;
                    for (kind, value) in parameters(&packet) {
                        half.accepts_zero |= kind == ZERO_CHECKSUM_ACCEPTABLE;
                        half.interleaves |= kind == SUPPORTED_EXTENSIONS && value.contains(&I_DATA);
                    }
                }
                // Like the INIT it always has its checksum.
                Some(COOKIE_ECHO) | None => {}
                Some(_) => {
                    half.packets += 1;
                    half.zeros += usize::from(packet[8..12] == [0; 4]);
                }
            }
        }
        Ok(half)
    }
}

/// The parameters of an INIT or INIT ACK chunk, which follow its fixed part of 20 bytes (RFC 9260 §3.3.2).
fn parameters(packet: &[u8]) -> impl Iterator<Item = ([u8; 2], &[u8])> {
    let mut rest = packet.get(32..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (kind, length) = (rest.get(..2)?, rest.get(2..4)?);
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let parameter = ([kind[0], kind[1]], rest.get(4..length)?);
        rest = rest
            .get(length.max(4).next_multiple_of(4)..)
            .unwrap_or_default();
        Some(parameter)
    })
}
