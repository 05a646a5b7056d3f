//! Writing offers and answers.

use std::net::SocketAddr;

use super::{Description, HOST, Section, Setup, line, local_priority};
use crate::config::{Credentials, IceMode};

/// What we say about ourselves.
pub(crate) struct Local<'a> {
    pub(crate) credentials: &'a Credentials,
    pub(crate) fingerprint: &'a str,
    pub(crate) candidates: &'a [SocketAddr],
    pub(crate) ice: IceMode,
    pub(crate) setup: Setup,
    pub(crate) max_message_size: usize,
    /// Counts the descriptions of this connection.
    pub(crate) version: u64,
}

/// The mid of the only section of our offers.
const DATA_MID: &str = "0";

pub(crate) fn write_offer(local: &Local<'_>) -> String {
    let mut out = String::with_capacity(1_024);
    head(&mut out, local, DATA_MID);
    line(
        &mut out,
        format_args!("m=application 9 UDP/DTLS/SCTP webrtc-datachannel"),
    );
    data_section(&mut out, local, DATA_MID);
    candidates(&mut out, local.candidates);
    out
}

/// Answers every section of the offer in its order: the data section accepted, bundled media inactive, the rest refused.
pub(crate) fn write_answer(offer: &Description, local: &Local<'_>) -> String {
    let accepts = |index: usize, section: &Section| {
        let Some(mid) = section.mid() else {
            return index == offer.data;
        };
        let bundled = offer.bundle.iter().any(|other| other == mid);
        let first = offer
            .sections
            .iter()
            .position(|other| other.mid() == Some(mid))
            == Some(index);
        let data_bundled = offer.sections[offer.data]
            .mid()
            .is_some_and(|data| offer.bundle.iter().any(|other| other == data));
        index == offer.data
            || (bundled
                && data_bundled
                && first
                && section.is_active()
                && !section.is_data()
                && !section.formats.is_empty())
    };
    let accepted: Vec<bool> = offer
        .sections
        .iter()
        .enumerate()
        .map(|(index, section)| accepts(index, section))
        .collect();
    // The group keeps the offer's order, since its first mid has a meaning.
    let is_accepted = |mid: &str| {
        offer
            .sections
            .iter()
            .zip(&accepted)
            .any(|(section, accepted)| *accepted && section.mid() == Some(mid))
    };
    let group: Vec<&str> = offer
        .bundle
        .iter()
        .map(String::as_str)
        .filter(|mid| is_accepted(mid))
        .collect();
    let tagged = group
        .first()
        .and_then(|first| {
            offer
                .sections
                .iter()
                .position(|section| section.mid() == Some(first))
        })
        .unwrap_or(offer.data);

    let mut out = String::with_capacity(1_024 + 400 * offer.sections.len());
    head(&mut out, local, &group.join(" "));
    for (index, section) in offer.sections.iter().enumerate() {
        if index == offer.data {
            line(
                &mut out,
                format_args!("m=application 9 {} webrtc-datachannel", section.protocol),
            );
            data_section(&mut out, local, section.mid().unwrap_or_default());
        } else if accepted[index] {
            media_section(&mut out, local, section);
        } else {
            refused_section(&mut out, section);
        }
        if index == tagged {
            candidates(&mut out, local.candidates);
        }
    }
    out
}

fn head(out: &mut String, local: &Local<'_>, group: &str) {
    line(out, format_args!("v=0"));
    line(
        out,
        format_args!(
            "o=- {} {} IN IP4 127.0.0.1",
            session_id(local.fingerprint),
            local.version
        ),
    );
    line(out, format_args!("s=-"));
    line(out, format_args!("t=0 0"));
    if local.ice == IceMode::Lite {
        line(out, format_args!("a=ice-lite"));
    }
    if !group.is_empty() {
        line(out, format_args!("a=group:BUNDLE {group}"));
    }
    line(out, format_args!("a=ice-options:trickle"));
}

/// A number that stays the same for all descriptions of a connection, which the origin line asks for (RFC 8866 §5.2).
fn session_id(fingerprint: &str) -> u64 {
    let digits: String = fingerprint
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(15)
        .collect();
    u64::from_str_radix(&digits, 16).unwrap_or(1)
}

fn transport(out: &mut String, local: &Local<'_>) {
    line(out, format_args!("a=ice-ufrag:{}", local.credentials.ufrag));
    line(
        out,
        format_args!("a=ice-pwd:{}", local.credentials.password),
    );
    line(
        out,
        format_args!("a=fingerprint:sha-256 {}", local.fingerprint),
    );
    line(out, format_args!("a=setup:{}", local.setup.as_str()));
}

fn data_section(out: &mut String, local: &Local<'_>, mid: &str) {
    line(out, format_args!("c=IN IP4 0.0.0.0"));
    if !mid.is_empty() {
        line(out, format_args!("a=mid:{mid}"));
    }
    transport(out, local);
    line(out, format_args!("a=sctp-port:5000"));
    line(
        out,
        format_args!("a=max-message-size:{}", local.max_message_size),
    );
}

fn media_section(out: &mut String, local: &Local<'_>, section: &Section) {
    let format = section.formats.first().map_or("0", String::as_str);
    line(
        out,
        format_args!("m={} 9 {} {format}", section.kind, section.protocol),
    );
    line(out, format_args!("c=IN IP4 0.0.0.0"));
    line(
        out,
        format_args!("a=mid:{}", section.mid().unwrap_or_default()),
    );
    line(out, format_args!("a=rtcp-mux"));
    for name in ["rtpmap", "fmtp"] {
        let ours = section
            .attributes
            .values(name)
            .find(|value| value.split(' ').next() == Some(format));
        if let Some(value) = ours {
            line(out, format_args!("a={name}:{value}"));
        }
    }
    line(out, format_args!("a=inactive"));
    transport(out, local);
}

fn refused_section(out: &mut String, section: &Section) {
    let format = section.formats.first().map_or("0", String::as_str);
    line(
        out,
        format_args!("m={} 0 {} {format}", section.kind, section.protocol),
    );
    line(out, format_args!("c=IN IP4 0.0.0.0"));
    if let Some(mid) = section.mid() {
        line(out, format_args!("a=mid:{mid}"));
    }
    line(out, format_args!("a=inactive"));
}

fn candidates(out: &mut String, addresses: &[SocketAddr]) {
    for (index, address) in addresses.iter().enumerate() {
        let priority = local_priority(HOST, index);
        line(
            out,
            format_args!(
                "a=candidate:{} 1 udp {priority} {} {} typ host",
                index + 1,
                address.ip(),
                address.port()
            ),
        );
    }
    line(out, format_args!("a=end-of-candidates"));
}
