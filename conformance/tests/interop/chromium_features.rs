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
/// (RFC 8260). We know none of them, and say so by not answering to them.
const TRIALS: &str = "--force-fieldtrials=WebRTC-Sctp-Snap/Enabled/WebRTC-IceHandshakeDtls/Enabled/\
                      WebRTC-EnableDtlsPqc/Enabled/WebRTC-DataChannelMessageInterleaving/Enabled/";

#[tokio::test]
#[ignore = "needs chromium"]
async fn page_on_trial_offers() -> Result<(), Failure> {
    let pair = Pair::page_offers_in(&trials(), Client::Page, own_channel).await?;
    exchange(pair, Client::Page).await
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn page_on_trial_answers() -> Result<(), Failure> {
    let pair = Pair::page_answers_in(&trials(), Client::Endpoint, own_channel).await?;
    exchange(pair, Client::Endpoint).await
}

fn trials() -> Launch {
    Launch {
        switches: vec![TRIALS.to_owned()],
        ..Launch::new()
    }
}

/// RFC 9653 §5.2: whoever says in its INIT or INIT ACK that it takes a checksum of zero may get it, nobody else does. Read from
/// the browser's own trace of decrypted packets.
#[tokio::test]
#[ignore = "needs chromium"]
async fn checksum_is_zero_only_where_that_was_offered() -> Result<(), Failure> {
    let launch = Launch {
        switches: vec![
            "--enable-logging".to_owned(),
            "--vmodule=*dcsctp_transport*=4,*text_pcap*=4".to_owned(),
        ],
        ..Launch::new()
    };
    let mut pair = Pair::page_offers_in(&launch, Client::Endpoint, own_channel).await?;
    let channel = pair.channel("endpoint").await?;
    pair.send(channel.id, &[noise(1, 10_000), noise(2, 10_000)])
        .await?;
    let log = pair.browser.log()?;
    let ours = Half::read(&log, "I")?;
    let theirs = Half::read(&log, "O")?;
    println!("ours {ours:?}, the page's {theirs:?}");
    assert!(ours.accepts_zero, "our INIT says that zero is fine");
    assert!(ours.packets > 10 && theirs.packets > 2, "{log}");
    assert_eq!(ours.zeros > 0, theirs.accepts_zero);
    Ok(())
}

/// Chunk types (RFC 9260 §3.2).
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const COOKIE_ECHO: u8 = 10;

/// RFC 9653 §4.1.
const ZERO_CHECKSUM_ACCEPTABLE: [u8; 2] = [0x80, 0x01];

/// What one side sent.
#[derive(Debug, Default)]
struct Half {
    /// Packets after the set-up.
    packets: usize,
    /// Of them, those with a checksum of zero.
    zeros: usize,
    /// Its INIT or INIT ACK has the parameter "Zero Checksum Acceptable".
    accepts_zero: bool,
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
                    half.accepts_zero |=
                        parameters(&packet).any(|parameter| parameter == ZERO_CHECKSUM_ACCEPTABLE);
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

/// The types of the parameters of an INIT or INIT ACK chunk, which follow its fixed part of 20 bytes (RFC 9260 §3.3.2).
fn parameters(packet: &[u8]) -> impl Iterator<Item = [u8; 2]> + '_ {
    let mut rest = packet.get(32..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (kind, length) = (rest.get(..2)?, rest.get(2..4)?);
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let kind = [kind[0], kind[1]];
        rest = rest
            .get(length.max(4).next_multiple_of(4)..)
            .unwrap_or_default();
        Some(kind)
    })
}
