//! Attacks with addresses: taking over somebody else's, and making the server send to one that did not ask (RFC 8445 §19).

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lkstream_conformance::process::Failure;
use lkstream_proto::signal::{Request, Response, TrickleRequest};
use ring::hmac;
use tokio::time::{Instant, interval, sleep_until};

use crate::guest::{self, Guest, offer, plain_join};
use crate::pair::{Joins, Pair};
use crate::server::{Server, Target, token};
use crate::signalling::{OFFER, host_candidate};
use crate::wire::{Caller, Link, signal};

/// The user name fragment in [`OFFER`].
const FRAGMENT: &str = "abcdefgh";

/// How long somebody's address is watched.
const WATCH: Duration = Duration::from_secs(8);

/// The value of an attribute in an SDP.
pub(crate) fn attribute<'a>(sdp: &'a str, name: &str) -> &'a str {
    sdp.lines()
        .find_map(|line| {
            line.strip_prefix("a=")?
                .strip_prefix(name)?
                .strip_prefix(':')
        })
        .unwrap_or_default()
}

/// A STUN binding request that is genuine for whoever gave this answer (RFC 8445 §7.2). It nominates.
pub(crate) fn binding_request(answer: &str, fragment: &str, number: u32) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    bytes.extend_from_slice(b"attacker");
    bytes.extend_from_slice(&number.to_be_bytes());
    let add = |bytes: &mut Vec<u8>, kind: u16, value: &[u8]| {
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    let username = format!("{}:{fragment}", attribute(answer, "ice-ufrag"));
    add(&mut bytes, 0x0006, username.as_bytes());
    add(&mut bytes, 0x0024, &0x6e00_01ff_u32.to_be_bytes());
    add(&mut bytes, 0x802a, &7_u64.to_be_bytes());
    add(&mut bytes, 0x0025, &[]);
    // The length counts the integrity in, which covers all before it (RFC 8489 §14.5).
    let length = (bytes.len() - 20 + 24) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let password = attribute(answer, "ice-pwd").as_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password);
    let tag = hmac::sign(&key, &bytes);
    add(&mut bytes, 0x0008, tag.as_ref());
    bytes
}

/// Joins with [`OFFER`] and gives the link with the server's answer.
async fn answered(
    target: &Target,
    token: &str,
    sdp: &str,
    browser: &str,
) -> Result<(Link, String), Failure> {
    let mut request = plain_join();
    request.client.browser = browser.into();
    request.offer = Some(offer(sdp));
    let mut link = guest::joined(target, Caller::here(), token, &request).await?;
    let answer = link
        .expect("answer", |response| match response {
            Response::Answer(answer) => Some(answer.sdp),
            _ => None,
        })
        .await?;
    Ok((link, answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_stays_with_its_owner() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    // Its own checks would take the address back after a while.
    let never = Duration::from_secs(3600);
    let mut victim = Guest::join(&target, &token("victim", "yard"), |config| {
        config.keepalive = never;
    })
    .await?;
    let reliable = victim.channel("_reliable").await?;
    let (_link, answer) = answered(&target, &token("attacker", "attack"), OFFER, "").await?;
    let socket = victim.endpoint.socket()?;
    let attack = async {
        // The attacker's own session is genuine; only the address it claims is not its own.
        let spoof = async {
            let mut ticks = interval(Duration::from_millis(2));
            for number in 0.. {
                ticks.tick().await;
                let request = binding_request(&answer, FRAGMENT, number);
                // A full socket buffer is as good as a datagram lost.
                let _ = socket.send_to(&request, target.rtc);
            }
        };
        let messages = (0..400).map(|_| Bytes::from(vec![7; 15_000]));
        let is_taken = tokio::select! {
            sent = victim.send(reliable, messages) => sent?,
            () = spoof => false,
        };
        if !is_taken {
            return Err(victim.endpoint.failure("the victim's connection ended"));
        }
        Ok(())
    };
    server
        .endure(&mut pair, "spoofed checks from a victim's address", attack)
        .await
}

/// A socket that nobody asked to be sent anything, and how much it got.
struct Bystander(UdpSocket);

impl Bystander {
    fn new() -> Result<Self, Failure> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    fn port(&self) -> Result<u16, Failure> {
        Ok(self.0.local_addr()?.port())
    }

    /// Datagrams and bytes that have come.
    fn received(&self) -> (usize, usize) {
        let mut buffer = [0; 2048];
        let (mut datagrams, mut bytes) = (0, 0);
        while let Ok(size) = self.0.recv(&mut buffer) {
            datagrams += 1;
            bytes += size;
        }
        (datagrams, bytes)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_make_no_flood() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let bystanders: Vec<_> = (0..60)
        .map(|_| Bystander::new())
        .collect::<Result<_, _>>()?;
    let mut sdp = OFFER.to_owned();
    for bystander in &bystanders[..30] {
        sdp += &format!(
            "a=candidate:1 1 udp 2130706431 127.0.0.1 {} typ host\r\n",
            bystander.port()?
        );
    }
    let attack = async {
        // The server only checks by itself where the client is Firefox.
        let joined = answered(&target, &token("attacker", "attack"), &sdp, "firefox").await;
        let (mut link, _) = joined?;
        for bystander in &bystanders[30..] {
            let trickle = TrickleRequest {
                candidate_init: host_candidate("127.0.0.1", bystander.port()?),
                target: 0,
                r#final: false,
            };
            // Any number of times; the address is the same.
            let is_taken = link
                .send_and_read(&signal(Request::Trickle(trickle)).repeat(20))
                .await?;
            if !is_taken {
                break;
            }
        }
        sleep_until(Instant::now() + WATCH).await;
        let received = bystanders.iter().map(Bystander::received);
        let received: Vec<_> = received.filter(|(datagrams, _)| *datagrams > 0).collect();
        let datagrams: usize = received.iter().map(|(datagrams, _)| datagrams).sum();
        println!(
            "{} of 60 addresses got {datagrams} datagrams",
            received.len()
        );
        // A few addresses, a handful of checks each (RFC 8445 §14: at most seven transmissions of one).
        if received.len() > 20 || datagrams > 7 * 20 {
            return Err(Failure::new(format!(
                "{} addresses that never answered got {datagrams} datagrams",
                received.len()
            )));
        }
        Ok(())
    };
    server
        .endure(&mut pair, "candidates of bystanders", attack)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_does_not_answer_gets_three_times_what_it_sent() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let attack = async {
        // The server is the DTLS client of an offer that is passive, so that it speaks first.
        let sdp = OFFER.replace("setup:actpass", "setup:passive");
        for browser in ["", "firefox"] {
            let token = token(&format!("attacker-{browser}"), "attack");
            let (link, answer) = answered(&target, &token, &sdp, browser).await?;
            let bystander = Arc::new(Bystander::new()?);
            // Somebody who can spoof sends one genuine check as the bystander.
            let request = binding_request(&answer, FRAGMENT, 0);
            bystander.0.send_to(&request, target.rtc)?;
            sleep_until(Instant::now() + WATCH).await;
            let (datagrams, bytes) = bystander.received();
            println!(
                "{datagrams} datagrams of {bytes} bytes for one of {}",
                request.len()
            );
            if bytes > 3 * request.len() {
                return Err(Failure::new(format!(
                    "an address that sent {} bytes got {bytes} in {datagrams} datagrams",
                    request.len()
                )));
            }
            drop(link);
        }
        Ok(())
    };
    server.endure(&mut pair, "one spoofed check", attack).await
}
