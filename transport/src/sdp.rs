//! Offers and answers (RFC 8866, 8829, 8841): only the lines that a connection of data channels needs.
//!
//! Reading takes any line order and ignores what it does not know. Writing answers media sections as inactive, each in
//! its minimal form (protocol.md §3.4, Appendix C).

mod answer;
mod candidate;

use std::fmt::Write as _;

pub(crate) use answer::{Local, write_answer, write_offer};
pub(crate) use candidate::{Candidate, CandidateLine, HOST, PEER_REFLEXIVE, local_priority};

use crate::certificate::Fingerprint;
use crate::error::SdpError;
use crate::limits;

/// `a=setup` (RFC 4145 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    ActPass,
    Active,
    Passive,
}

impl Setup {
    fn parse(value: &str) -> Option<Self> {
        match value {
            "actpass" => Some(Self::ActPass),
            "active" => Some(Self::Active),
            "passive" => Some(Self::Passive),
            _ => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

/// One `m=` section.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) kind: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
    pub(crate) formats: Vec<String>,
    attributes: Attributes,
}

impl Section {
    pub(crate) fn mid(&self) -> Option<&str> {
        self.attributes.value("mid")
    }

    /// A section for data channels, which of them whether it is accepted or not.
    pub(crate) fn is_data(&self) -> bool {
        self.kind == "application"
            && self.protocol.contains("SCTP")
            && self.formats.iter().any(|f| f == "webrtc-datachannel")
    }

    /// Not refused: a zero port means no, unless it only says that another section has the port (RFC 8843 §6).
    pub(crate) fn is_active(&self) -> bool {
        self.port != 0 || self.attributes.has("bundle-only")
    }
}

/// `a=` lines in order.
#[derive(Clone, Debug, Default)]
struct Attributes(Vec<(String, String)>);

impl Attributes {
    fn value(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }
}

/// What the other side's offer or answer says.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    pub(crate) sections: Vec<Section>,
    /// The mids of the first `a=group:BUNDLE`.
    pub(crate) bundle: Vec<String>,
    /// Which section is for data channels.
    pub(crate) data: usize,
    pub(crate) ufrag: String,
    pub(crate) password: String,
    pub(crate) fingerprints: Vec<Fingerprint>,
    pub(crate) setup: Setup,
    pub(crate) is_ice_lite: bool,
    /// `None`: the other side takes messages of any size (RFC 8841 §6.1).
    pub(crate) max_message_size: Option<usize>,
    pub(crate) candidates: Vec<String>,
}

impl Description {
    pub(crate) fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > limits::SDP_BYTES {
            return Err(SdpError::TooLong {
                size: text.len(),
                limit: limits::SDP_BYTES,
            });
        }
        let (session, sections) = split(text)?;
        let bundle: Vec<String> = session
            .values("group")
            .find_map(|group| group.strip_prefix("BUNDLE"))
            .map(|mids| mids.split_ascii_whitespace().map(str::to_owned).collect())
            .unwrap_or_default();
        let data = sections
            .iter()
            .position(|section| section.is_data() && section.is_active())
            .ok_or(SdpError::NoDataSection)?;
        // With BUNDLE the first mid of the group decides on the one transport (RFC 8843 §8.1).
        let bundled = sections[data]
            .mid()
            .is_some_and(|mid| bundle.iter().any(|other| other == mid));
        let tagged = bundle
            .first()
            .filter(|_| bundled)
            .and_then(|first| sections.iter().find(|section| section.mid() == Some(first)))
            .unwrap_or(&sections[data]);
        let lookup = |name: &'static str| {
            let found = tagged
                .attributes
                .value(name)
                .or_else(|| sections[data].attributes.value(name));
            found
                .or_else(|| session.value(name))
                .ok_or(SdpError::Missing(name))
        };
        let (ufrag, password) = (lookup("ice-ufrag")?, lookup("ice-pwd")?);
        if !(4..=256).contains(&ufrag.len()) || !ufrag.bytes().all(is_ice_char) {
            return Err(SdpError::Bad("ice-ufrag"));
        }
        if !(22..=256).contains(&password.len()) || !password.bytes().all(is_ice_char) {
            return Err(SdpError::Bad("ice-pwd"));
        }
        lookup("fingerprint")?;
        let fingerprints: Vec<_> = tagged
            .attributes
            .values("fingerprint")
            .chain(sections[data].attributes.values("fingerprint"))
            .chain(session.values("fingerprint"))
            .filter_map(Fingerprint::parse)
            .fold(Vec::new(), |mut known, fingerprint| {
                if !known.contains(&fingerprint) {
                    known.push(fingerprint);
                }
                known
            });
        if fingerprints.is_empty() {
            return Err(SdpError::Bad("fingerprint"));
        }
        let setup = match lookup("setup") {
            Ok(value) => Setup::parse(value).ok_or(SdpError::Bad("setup"))?,
            Err(_) => Setup::ActPass,
        };
        if let Some(port) = sections[data].attributes.value("sctp-port")
            && port.parse() != Ok(5000u16)
        {
            return Err(SdpError::Bad("sctp-port"));
        }
        let max_message_size = match sections[data].attributes.value("max-message-size") {
            None => Some(limits::DEFAULT_REMOTE_MESSAGE_SIZE),
            Some(value) => match value.trim().parse::<u64>() {
                Ok(0) => None,
                Ok(size) => Some(usize::try_from(size).unwrap_or(usize::MAX)),
                Err(_) => return Err(SdpError::Bad("max-message-size")),
            },
        };
        let mut candidates: Vec<String> = tagged
            .attributes
            .values("candidate")
            .map(str::to_owned)
            .collect();
        if !std::ptr::eq(tagged, &sections[data]) {
            candidates.extend(
                sections[data]
                    .attributes
                    .values("candidate")
                    .map(str::to_owned),
            );
        }
        candidates.extend(session.values("candidate").map(str::to_owned));
        let description = Self {
            bundle,
            data,
            ufrag: ufrag.to_owned(),
            password: password.to_owned(),
            fingerprints,
            setup,
            is_ice_lite: session.has("ice-lite"),
            max_message_size,
            candidates,
            sections,
        };
        Ok(description)
    }
}

/// `ice-char` (RFC 8839 §5.4).
fn is_ice_char(byte: u8) -> bool {
    // Some stacks write `-`, `_` and `=`, which do no harm.
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
}

fn split(text: &str) -> Result<(Attributes, Vec<Section>), SdpError> {
    let mut session = Attributes::default();
    let mut sections: Vec<Section> = Vec::new();
    let mut lines = text.split(['\r', '\n']).filter(|line| !line.is_empty());
    if lines.next() != Some("v=0") {
        return Err(SdpError::Syntax);
    }
    for line in lines {
        let Some((kind, value)) = line.split_once('=') else {
            return Err(SdpError::Syntax);
        };
        match kind {
            "m" => {
                let mut words = value.split_ascii_whitespace();
                let (Some(kind), Some(port), Some(protocol)) =
                    (words.next(), words.next(), words.next())
                else {
                    return Err(SdpError::Syntax);
                };
                let port = port
                    .split('/')
                    .next()
                    .and_then(|port| port.parse().ok())
                    .ok_or(SdpError::Syntax)?;
                sections.push(Section {
                    kind: kind.to_owned(),
                    port,
                    protocol: protocol.to_owned(),
                    formats: words.map(str::to_owned).collect(),
                    attributes: Attributes::default(),
                });
                if sections.len() > limits::SDP_SECTIONS {
                    return Err(SdpError::TooManySections {
                        count: sections.len(),
                        limit: limits::SDP_SECTIONS,
                    });
                }
            }
            "a" => {
                let (name, value) = value.split_once(':').unwrap_or((value, ""));
                let attributes = sections
                    .last_mut()
                    .map_or(&mut session, |section| &mut section.attributes);
                attributes
                    .0
                    .push((name.to_owned(), value.trim_end().to_owned()));
            }
            _ => {}
        }
    }
    Ok((session, sections))
}

/// Appends a line.
fn line(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(arguments);
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests;
