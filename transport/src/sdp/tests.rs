#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;

use super::*;
use crate::config::{Credentials, IceMode};

const FINGERPRINT: &str = "AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99";

/// An offer in the shape of the official clients: three audio, three video, one data section, everything bundled.
fn offer() -> String {
    let mut out =
        String::from("v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    out.push_str(
        "a=group:BUNDLE 0 1 2 3 4 5 6\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n",
    );
    for mid in 0..6 {
        if mid < 3 {
            out.push_str("m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n");
        } else {
            out.push_str("m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n");
        }
        out.push_str(&transport_lines(&format!("{mid}")));
        out.push_str("a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
        if mid < 3 {
            out.push_str("a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n");
            out.push_str(
                "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\n",
            );
        } else {
            out.push_str("a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n");
        }
    }
    out.push_str("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n");
    out.push_str(&transport_lines("6"));
    out.push_str("a=sctp-port:5000\r\na=max-message-size:262144\r\na=sctp-init:AQAAJgAAAAE=\r\n");
    out
}

fn transport_lines(mid: &str) -> String {
    format!(
        "a=ice-ufrag:Qx1+\r\na=ice-pwd:0123456789abcdefghijklmn\r\na=ice-options:trickle goog-sped-v1\r\n\
         a=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\na=mid:{mid}\r\n"
    )
}

fn local<'a>(credentials: &'a Credentials, candidates: &'a [SocketAddr]) -> Local<'a> {
    Local {
        credentials,
        fingerprint: FINGERPRINT,
        candidates,
        ice: IceMode::Lite,
        setup: Setup::Active,
        max_message_size: 65_535,
        version: 1,
    }
}

fn answer_to(offer: &str) -> String {
    let credentials = Credentials::from_random([9; 48]);
    let candidates = [
        "10.0.0.1:7881".parse().unwrap(),
        "[2001:db8::1]:7881".parse().unwrap(),
    ];
    write_answer(
        &Description::parse(offer).unwrap(),
        &local(&credentials, &candidates),
    )
}

/// The lines of each section; the first is the session.
fn sections(sdp: &str) -> Vec<Vec<&str>> {
    let mut out = vec![Vec::new()];
    for line in sdp.lines() {
        if line.starts_with("m=") {
            out.push(Vec::new());
        }
        out.last_mut().unwrap().push(line);
    }
    out
}

#[test]
fn an_official_offer_is_understood() {
    let description = Description::parse(&offer()).unwrap();
    assert_eq!(description.sections.len(), 7);
    assert_eq!(description.data, 6);
    assert_eq!(description.bundle, ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(
        (description.ufrag.as_str(), description.setup),
        ("Qx1+", Setup::ActPass)
    );
    assert_eq!(description.max_message_size, Some(262_144));
    assert_eq!(description.fingerprints.len(), 1);
    assert!(!description.is_ice_lite && description.candidates.is_empty());
}

#[test]
fn the_answer_has_the_minimal_inactive_form() {
    let answer = answer_to(&offer());
    let sections = sections(&answer);
    assert_eq!(sections.len(), 8);
    assert!(sections[0].contains(&"a=group:BUNDLE 0 1 2 3 4 5 6"));
    assert!(sections[0].contains(&"a=ice-lite"));
    for (index, section) in sections[1..].iter().enumerate() {
        let mid = format!("a=mid:{index}");
        assert!(section.contains(&mid.as_str()));
        for line in [
            "a=setup:active",
            &format!("a=fingerprint:sha-256 {FINGERPRINT}"),
            "c=IN IP4 0.0.0.0",
        ] {
            assert!(section.contains(&line), "{line} in {index}");
        }
        assert!(section.iter().any(|line| line.starts_with("a=ice-ufrag:")));
        assert!(section.iter().any(|line| line.starts_with("a=ice-pwd:")));
        // The tagged section, and no other.
        assert_eq!(
            section.iter().any(|line| line.starts_with("a=candidate:")),
            index == 0,
            "{index}"
        );
        assert!(
            !section
                .iter()
                .any(|line| line.starts_with("a=extmap") || line.starts_with("a=rtcp-fb"))
        );
    }
    assert_eq!(sections[1][0], "m=audio 9 UDP/TLS/RTP/SAVPF 111");
    assert!(sections[1].contains(&"a=rtpmap:111 opus/48000/2"));
    assert!(sections[1].contains(&"a=fmtp:111 minptime=10;useinbandfec=1"));
    assert!(sections[1].contains(&"a=inactive") && sections[1].contains(&"a=rtcp-mux"));
    assert_eq!(sections[4][0], "m=video 9 UDP/TLS/RTP/SAVPF 96");
    assert!(!sections[4].iter().any(|line| line.starts_with("a=fmtp")));
    assert_eq!(
        sections[7][0],
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"
    );
    assert!(
        sections[7].contains(&"a=sctp-port:5000")
            && sections[7].contains(&"a=max-message-size:65535")
    );
    assert!(!sections[7].contains(&"a=inactive"));
    assert!(sections[1].contains(&"a=candidate:1 1 udp 2130706431 10.0.0.1 7881 typ host"));
    assert!(
        sections[1]
            .iter()
            .any(|line| line.contains("2001:db8::1 7881 typ host"))
    );
}

#[test]
fn our_own_descriptions_can_be_read() {
    let answer = Description::parse(&answer_to(&offer())).unwrap();
    assert_eq!((answer.setup, answer.is_ice_lite), (Setup::Active, true));
    assert_eq!(answer.max_message_size, Some(65_535));
    assert_eq!(answer.candidates.len(), 2);
    let credentials = Credentials::from_random([9; 48]);
    let text = write_offer(&Local {
        ice: IceMode::Full,
        setup: Setup::ActPass,
        ..local(&credentials, &[])
    });
    let offer = Description::parse(&text).unwrap();
    assert_eq!(
        (offer.sections.len(), offer.setup, offer.bundle),
        (1, Setup::ActPass, vec!["0".to_owned()])
    );
    assert_eq!(offer.ufrag, credentials.ufrag());
}

#[test]
fn a_data_only_offer_gets_its_candidates_there() {
    let text = format!(
        "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\na=group:BUNDLE data\n\
         m=application 9 UDP/DTLS/SCTP webrtc-datachannel\n{}a=sctp-port:5000\n",
        transport_lines("data").replace('\r', "")
    );
    let answer = answer_to(&text);
    let sections = sections(&answer);
    assert_eq!(sections.len(), 2);
    assert!(sections[0].contains(&"a=group:BUNDLE data"));
    assert!(sections[1].contains(&"a=mid:data"));
    assert!(
        sections[1]
            .iter()
            .any(|line| line.starts_with("a=candidate:"))
    );
    assert_eq!(
        Description::parse(&text).unwrap().max_message_size,
        Some(65_536)
    );
}

#[test]
fn refused_and_unbundled_sections_stay_out_of_the_group() {
    // A stopped transceiver (port 0), a bundle-only section, and one that is not bundled.
    let text = offer()
        .replacen("m=audio 9", "m=audio 0", 1)
        .replacen("m=video 9", "m=video 0", 1)
        .replacen("a=mid:3\r\n", "a=mid:3\r\na=bundle-only\r\n", 1)
        .replacen("BUNDLE 0 1 2 3 4 5 6", "BUNDLE 0 1 3 4 5 6", 1);
    let answer = answer_to(&text);
    let sections = sections(&answer);
    assert!(
        sections[0].contains(&"a=group:BUNDLE 1 3 4 5 6"),
        "{answer}"
    );
    assert_eq!(sections[1][0], "m=audio 0 UDP/TLS/RTP/SAVPF 111");
    assert_eq!(sections[3][0], "m=audio 0 UDP/TLS/RTP/SAVPF 111");
    assert_eq!(sections[4][0], "m=video 9 UDP/TLS/RTP/SAVPF 96");
    assert!(
        sections[2]
            .iter()
            .any(|line| line.starts_with("a=candidate:"))
    );
    assert_eq!(
        sections
            .iter()
            .flatten()
            .filter(|line| line.starts_with("a=candidate:1 "))
            .count(),
        1
    );
}

#[test]
fn the_tagged_section_decides_on_the_transport() {
    let text = offer().replacen("Qx1+", "tagg", 1);
    assert_eq!(Description::parse(&text).unwrap().ufrag, "tagg");
    let text = text.replace("a=group:BUNDLE 0 1 2 3 4 5 6\r\n", "");
    assert_eq!(Description::parse(&text).unwrap().ufrag, "Qx1+");
}

#[test]
fn session_level_lines_count_too() {
    let text = format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=fingerprint:SHA-256 {FINGERPRINT}\r\n\
         a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdefghijklmn\r\na=setup:passive\r\n\
         m=application 9 DTLS/SCTP webrtc-datachannel\r\na=mid:x\r\na=max-message-size:0\r\n"
    );
    let description = Description::parse(&text).unwrap();
    assert_eq!(
        (description.setup, description.is_ice_lite),
        (Setup::Passive, true)
    );
    assert_eq!(description.max_message_size, None);
}

#[test]
fn bad_descriptions_are_refused() {
    let refused = |text: &str| Description::parse(text).unwrap_err();
    assert_eq!(refused(""), SdpError::Syntax);
    assert_eq!(refused("hello"), SdpError::Syntax);
    assert_eq!(refused("v=0\r\nrubbish"), SdpError::Syntax);
    assert_eq!(refused("v=0\r\nm=audio\r\n"), SdpError::Syntax);
    assert_eq!(refused("v=0\r\nm=audio 99999 X 1\r\n"), SdpError::Syntax);
    assert_eq!(refused("v=0\r\n"), SdpError::NoDataSection);
    assert_eq!(
        refused(&offer().replace("m=application 9", "m=application 0")),
        SdpError::NoDataSection
    );
    assert_eq!(
        refused(&offer().replace("a=ice-ufrag:Qx1+\r\n", "")),
        SdpError::Missing("ice-ufrag")
    );
    assert_eq!(
        refused(&offer().replace("a=ice-ufrag:Qx1+", "a=ice-ufrag:a b")),
        SdpError::Bad("ice-ufrag")
    );
    assert_eq!(
        refused(&offer().replace("0123456789abcdefghijklmn", "short")),
        SdpError::Bad("ice-pwd")
    );
    assert_eq!(
        refused(&offer().replace("sha-256", "sha-1")),
        SdpError::Bad("fingerprint")
    );
    assert_eq!(
        refused(&offer().replace("actpass", "holdconn")),
        SdpError::Bad("setup")
    );
    assert_eq!(
        refused(&offer().replace("sctp-port:5000", "sctp-port:1")),
        SdpError::Bad("sctp-port")
    );
    assert_eq!(
        refused(&offer().replace("size:262144", "size:-1")),
        SdpError::Bad("max-message-size")
    );
    let long = "x".repeat(limits::SDP_BYTES + 1);
    assert_eq!(
        refused(&long),
        SdpError::TooLong {
            size: long.len(),
            limit: limits::SDP_BYTES
        }
    );
    let many = format!(
        "v=0\r\n{}",
        "m=audio 9 X 1\r\n".repeat(limits::SDP_SECTIONS + 1)
    );
    assert!(matches!(refused(&many), SdpError::TooManySections { .. }));
}

#[test]
fn cut_offers_never_panic() {
    let text = offer();
    for end in 0..text.len() {
        if let Ok(description) = Description::parse(&text[..end]) {
            let credentials = Credentials::from_random([9; 48]);
            let _ = write_answer(&description, &local(&credentials, &[]));
        }
    }
}

#[test]
fn nothing_of_the_offer_breaks_out_of_its_line() {
    let text = offer()
        .replace("a=mid:0", "a=mid:0 evil")
        .replace("BUNDLE 0 ", "BUNDLE 0 evil ");
    let answer = answer_to(&text);
    assert!(
        answer
            .lines()
            .all(|line| line.as_bytes().get(1) == Some(&b'='))
    );
}

#[test]
fn candidates_are_sorted_out() {
    let usable = |line: &str| match CandidateLine::parse(line) {
        CandidateLine::Usable(candidate) => candidate.address.to_string(),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(
        usable("candidate:1 1 udp 2130706431 10.0.0.1 7881 typ host generation 0 ufrag x"),
        "10.0.0.1:7881"
    );
    assert_eq!(
        usable("a=candidate:1 1 UDP 1 2001:db8::1 9 typ srflx raddr 10.0.0.1 rport 9"),
        "[2001:db8::1]:9"
    );
    for line in [
        "",
        "candidate:",
        "end-of-candidates",
        "a=end-of-candidates",
        "candidate:1 1 udp 1 4f9c6d6e-1111-2222-3333-444444444444.local 54321 typ host",
        "candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype active",
        "candidate:1 2 udp 1 10.0.0.1 9 typ host",
        "candidate:1 1 udp 1 example.org 9 typ host",
    ] {
        assert_eq!(CandidateLine::parse(line), CandidateLine::Ignored, "{line}");
    }
    for line in [
        "candidate:1",
        "x",
        "candidate:1 1 udp",
        "candidate:1 1 udp x 10.0.0.1 9 typ host",
        "1 1 udp 1 10.0.0.1 9",
        "1 1 udp 1 10.0.0.1 99999 typ host",
        "1 1 udp 1 10.0.0.1 9 typ",
    ] {
        assert_eq!(CandidateLine::parse(line), CandidateLine::Bad, "{line}");
    }
}
