//! The query string: taken apart, and the parameters of `/rtc` (protocol.md §2.2).

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;

use super::request::BASE64;
use super::{Join, JoinError, Mode, Resume};
use crate::id::{ParticipantSid, RoomName};
use crate::limits::{ATTRIBUTES_BYTES, JOIN_REQUEST_BYTES};
use crate::participant::{Capability, ClientInfo, Sdk};
use crate::signal::ReconnectReason;

/// The token in a query (protocol.md §1.2), if it has one; the `Authorization` header goes first.
pub fn access_token(query: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == "access_token")
        .and_then(|(_, value)| unescape(value))
        .map(Cow::into_owned)
        .filter(|token| !token.is_empty())
}

/// Capabilities in a query that we look at; there are three.
const CAPABILITIES: usize = 32;

/// Every parameter we read.
const KNOWN: [&str; 19] = [
    "join_request",
    "room",
    "sdk",
    "version",
    "protocol",
    "client_protocol",
    "capabilities",
    "os",
    "os_version",
    "browser",
    "browser_version",
    "device_model",
    "network",
    "other_sdks",
    "attributes",
    "metadata",
    "reconnect",
    "sid",
    "reconnect_reason",
];

/// The known parameters of a query; of repeated ones the first.
pub(super) struct Parameters<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    pub(super) fn parse(query: &'a str) -> Result<Self, JoinError> {
        let mut found: Vec<(&'static str, Cow<'a, str>)> = Vec::new();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = KNOWN.iter().find(|known| **known == name) else {
                continue;
            };
            if found.iter().any(|(seen, _)| seen == name) {
                continue;
            }
            found.push((name, unescape(value).ok_or(JoinError::BadQuery)?));
        }
        Ok(Self(found))
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_ref())
    }

    fn text(&self, name: &str) -> String {
        self.value(name).unwrap_or_default().to_owned()
    }

    fn number(&self, name: &str) -> i32 {
        self.value(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.value(name), Some("1" | "true"))
    }

    /// The join that the parameters of protocol.md §2.2 describe.
    pub(super) fn join(&self) -> Result<Join, JoinError> {
        let capabilities = self
            .value("capabilities")
            .unwrap_or_default()
            .split(',')
            .take(CAPABILITIES)
            .filter_map(|name| Capability::from_name(name.trim()))
            .map(i32::from)
            .collect();
        let resume = self.flag("reconnect").then(|| Resume {
            sid: ParticipantSid::from(self.value("sid").unwrap_or_default()),
            reason: ReconnectReason::try_from(self.number("reconnect_reason"))
                .unwrap_or(ReconnectReason::Unknown),
        });
        Ok(Join {
            mode: Mode::Dual,
            client: ClientInfo {
                sdk: Sdk::from_name(self.value("sdk").unwrap_or_default()).into(),
                version: self.text("version"),
                protocol: self.number("protocol"),
                os: self.text("os"),
                os_version: self.text("os_version"),
                device_model: self.text("device_model"),
                browser: self.text("browser"),
                browser_version: self.text("browser_version"),
                address: String::new(),
                network: self.text("network"),
                other_sdks: self.text("other_sdks"),
                client_protocol: self.number("client_protocol"),
                capabilities,
            },
            room: RoomName::default(),
            metadata: self.text("metadata"),
            attributes: attributes(self.value("attributes").unwrap_or_default())?,
            offer: None,
            resume,
            sync_state: None,
            add_tracks: Vec::new(),
        })
    }
}

/// Attributes travel as base64url of a JSON object of texts.
fn attributes(text: &str) -> Result<BTreeMap<String, String>, JoinError> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    // JSON spends more bytes than the attributes have, but no more than six for each of them.
    if text.len() / 4 * 3 > 6 * ATTRIBUTES_BYTES {
        return Err(JoinError::TooLarge {
            limit: JOIN_REQUEST_BYTES,
        });
    }
    let json = BASE64.decode(text).map_err(|_| JoinError::BadAttributes)?;
    serde_json::from_slice(&json).map_err(|_| JoinError::BadAttributes)
}

/// Writes the parameters of `/rtc`.
pub(super) fn write_parameters(join: &Join, writer: &mut Writer) {
    let client = &join.client;
    writer.push("auto_subscribe", "1");
    writer.push("sdk", client.sdk().name());
    writer.push("version", &client.version);
    writer.push("protocol", &client.protocol.to_string());
    writer.push("client_protocol", &client.client_protocol.to_string());
    let capabilities: Vec<&str> = client.capabilities().map(Capability::name).collect();
    for (name, value) in [
        ("capabilities", capabilities.join(",").as_str()),
        ("os", &client.os),
        ("os_version", &client.os_version),
        ("device_model", &client.device_model),
        ("browser", &client.browser),
        ("browser_version", &client.browser_version),
        ("network", &client.network),
        ("other_sdks", &client.other_sdks),
        ("metadata", &join.metadata),
    ] {
        if !value.is_empty() {
            writer.push(name, value);
        }
    }
    if !join.attributes.is_empty() {
        // A map of texts always becomes JSON.
        let json = serde_json::to_vec(&join.attributes).unwrap_or_default();
        writer.push("attributes", &BASE64.encode(json));
    }
    if let Some(resume) = &join.resume {
        writer.push("reconnect", "1");
        writer.push("sid", resume.sid.as_str());
        writer.push("reconnect_reason", &i32::from(resume.reason).to_string());
    }
}

/// A query that grows, percent-encoded.
#[derive(Default)]
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    self.0.push(char::from(byte));
                }
                _ => {
                    const HEX: &[u8; 16] = b"0123456789ABCDEF";
                    self.0.push('%');
                    self.0.push(char::from(HEX[usize::from(byte >> 4)]));
                    self.0.push(char::from(HEX[usize::from(byte & 15)]));
                }
            }
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Undoes percent-encoding and `+` for a space; `None` where it is broken or not UTF-8.
fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(plain).ok().map(Cow::Owned)
}
