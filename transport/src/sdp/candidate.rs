//! Candidate lines (RFC 8839 §5.1).

use std::net::{IpAddr, SocketAddr};

/// Type preference of an address of a socket of ours (RFC 8445 §5.1.2.2).
pub(crate) const HOST: u32 = 126;
/// Type preference of an address that the other side has seen (RFC 8445 §5.1.2.2).
pub(crate) const PEER_REFLEXIVE: u32 = 110;

/// The priority of the candidate at this place in our list (RFC 8445 §5.1.2.1); all are of component 1.
pub(crate) fn local_priority(type_preference: u32, place: usize) -> u32 {
    let local_preference = 65_535u32.saturating_sub(u32::try_from(place).unwrap_or(u32::MAX));
    type_preference << 24 | local_preference << 8 | 255
}

/// A candidate that can be checked: UDP, with a numeric address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) address: SocketAddr,
    pub(crate) priority: u32,
}

/// What a line turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CandidateLine {
    Usable(Candidate),
    /// Nothing that we can check: TCP, another component, a `.local` name, the end-of-candidates mark.
    Ignored,
    Bad,
}

impl CandidateLine {
    pub(crate) fn parse(line: &str) -> Self {
        let line = line.trim();
        let line = line.strip_prefix("a=").unwrap_or(line);
        let line = line.strip_prefix("candidate:").unwrap_or(line);
        if line.is_empty() || line == "end-of-candidates" {
            return Self::Ignored;
        }
        let mut words = line.split_ascii_whitespace();
        let mut next = || words.next();
        let (
            Some(_foundation),
            Some(component),
            Some(protocol),
            Some(priority),
            Some(address),
            Some(port),
        ) = (next(), next(), next(), next(), next(), next())
        else {
            return Self::Bad;
        };
        let (Ok(component), Ok(priority), Ok(port)) = (
            component.parse::<u16>(),
            priority.parse::<u32>(),
            port.parse::<u16>(),
        ) else {
            return Self::Bad;
        };
        if next() != Some("typ") || next().is_none() {
            return Self::Bad;
        }
        if component != 1 || !protocol.eq_ignore_ascii_case("udp") || address.ends_with(".local") {
            return Self::Ignored;
        }
        let Ok(ip) = address.parse::<IpAddr>() else {
            // Host names other than `.local` are legal, and not looked up.
            return Self::Ignored;
        };
        Self::Usable(Candidate {
            address: SocketAddr::new(ip, port),
            priority,
        })
    }
}
