//! A side that says whatever a test wants it to: raw chunks in packets with the right ports, tag and checksum.

use std::time::Instant;

use super::Endpoint;

pub const DATA: u8 = 0;
pub const INIT: u8 = 1;
pub const INIT_ACK: u8 = 2;
pub const SACK: u8 = 3;
pub const HEARTBEAT: u8 = 4;
pub const HEARTBEAT_ACK: u8 = 5;
pub const ABORT: u8 = 6;
pub const SHUTDOWN: u8 = 7;
pub const SHUTDOWN_ACK: u8 = 8;
pub const ERROR: u8 = 9;
pub const COOKIE_ECHO: u8 = 10;
pub const COOKIE_ACK: u8 = 11;
pub const SHUTDOWN_COMPLETE: u8 = 14;
pub const RE_CONFIG: u8 = 130;
pub const FORWARD_TSN: u8 = 192;

/// Flags of DATA.
pub const END: u8 = 1;
pub const BEGIN: u8 = 2;
pub const UNORDERED: u8 = 4;
pub const WHOLE: u8 = BEGIN | END;

const PORT: u16 = 5_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub kind: u8,
    pub flags: u8,
    pub value: Vec<u8>,
}

impl Chunk {
    pub fn new(kind: u8, flags: u8, value: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            value: value.into(),
        }
    }

    /// As on the wire, padded.
    fn write(&self, out: &mut Vec<u8>) {
        let length = (self.value.len() + 4) as u16;
        out.extend([self.kind, self.flags]);
        out.extend(length.to_be_bytes());
        out.extend(&self.value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

/// A parameter, padded.
pub fn parameter(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = kind.to_be_bytes().to_vec();
    out.extend((value.len() as u16 + 4).to_be_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// A packet with any bytes in place of chunks.
pub fn raw_packet(tag: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = [PORT.to_be_bytes(), PORT.to_be_bytes()].concat();
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(body);
    let sum = crc32c::crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&sum);
    packet
}

pub fn packet(tag: u32, chunks: &[Chunk]) -> Vec<u8> {
    let mut body = Vec::new();
    chunks.iter().for_each(|chunk| chunk.write(&mut body));
    raw_packet(tag, &body)
}

/// The chunks of a packet that is as it should be.
pub fn chunks(packet: &[u8]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut rest = &packet[12..];
    while let Some(&[kind, flags, high, low]) = rest.first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        chunks.push(Chunk::new(kind, flags, &rest[4..length]));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    chunks
}

pub fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Everything that an endpoint has to say now, chunk by chunk.
pub fn answers(end: &mut impl Endpoint, now: Instant) -> Vec<Chunk> {
    let mut all = Vec::new();
    let mut buffer = Vec::new();
    while end.output(now, &mut buffer) {
        all.extend(chunks(&buffer));
        buffer.clear();
    }
    all
}

pub fn kinds(chunks: &[Chunk]) -> Vec<u8> {
    chunks.iter().map(|chunk| chunk.kind).collect()
}

/// What both sides know of each other.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// The tag of packets to this side, and its first TSN.
    pub tag: u32,
    pub tsn: u32,
    /// The same of the other side.
    pub peer_tag: u32,
    pub peer_tsn: u32,
}

impl Script {
    pub fn new(tag: u32, tsn: u32) -> Self {
        Self {
            tag,
            tsn,
            peer_tag: 0,
            peer_tsn: 0,
        }
    }

    /// What INIT and INIT ACK of this side say, with these parameters after the usual ones.
    pub fn init(&self, kind: u8, parameters: &[u8]) -> Chunk {
        let mut value = self.tag.to_be_bytes().to_vec();
        value.extend(1_000_000u32.to_be_bytes());
        value.extend([0, 100, 0, 100]);
        value.extend(self.tsn.to_be_bytes());
        // FORWARD TSN (RFC 3758 §3.1), RE-CONFIG (RFC 5061 §4.2.7).
        value.extend(parameter(0xc000, &[]));
        value.extend(parameter(0x8008, &[RE_CONFIG, FORWARD_TSN]));
        value.extend(parameters);
        Chunk::new(kind, 0, value)
    }

    /// Notes what an INIT or INIT ACK of the other side says.
    pub fn learn(&mut self, init: &Chunk) {
        self.peer_tag = word(&init.value, 0);
        self.peer_tsn = word(&init.value, 12);
    }

    /// Sends chunks.
    pub fn say(&self, end: &mut impl Endpoint, now: Instant, chunks: &[Chunk]) {
        end.input(now, &packet(self.peer_tag, chunks));
    }

    /// Sets an association up with a side that waits for it.
    pub fn connect(mut self, end: &mut impl Endpoint, now: Instant) -> Self {
        end.input(now, &packet(0, &[self.init(INIT, &[])]));
        let said = answers(end, now);
        let ack = said.iter().find(|chunk| chunk.kind == INIT_ACK);
        let ack = ack.expect("an INIT ACK");
        self.learn(ack);
        self.say(end, now, &[Chunk::new(COOKIE_ECHO, 0, cookie(ack))]);
        assert!(kinds(&answers(end, now)).contains(&COOKIE_ACK));
        self
    }

    /// DATA with the TSN that is `ahead` of the first.
    pub fn data(&self, ahead: u32, flags: u8, stream: u16, ssn: u16, payload: &[u8]) -> Chunk {
        let mut value = self.tsn.wrapping_add(ahead).to_be_bytes().to_vec();
        value.extend(stream.to_be_bytes());
        value.extend(ssn.to_be_bytes());
        value.extend(53u32.to_be_bytes());
        value.extend(payload);
        Chunk::new(DATA, flags, value)
    }

    /// A SACK of the first `count` chunks of the other side.
    pub fn sack(&self, count: u32, window: u32, gaps: &[(u16, u16)], duplicates: u16) -> Chunk {
        let cumulative = self.peer_tsn.wrapping_add(count).wrapping_sub(1);
        let mut value = cumulative.to_be_bytes().to_vec();
        value.extend(window.to_be_bytes());
        value.extend((gaps.len() as u16).to_be_bytes());
        value.extend(duplicates.to_be_bytes());
        for (start, end) in gaps {
            value.extend(start.to_be_bytes());
            value.extend(end.to_be_bytes());
        }
        for _ in 0..duplicates {
            value.extend(cumulative.to_be_bytes());
        }
        Chunk::new(SACK, 0, value)
    }

    /// FORWARD TSN past the first `count` chunks of this side, with streams and the SSNs to skip.
    pub fn forward(&self, count: u32, skipped: &[(u16, u16)]) -> Chunk {
        let cumulative = self.tsn.wrapping_add(count).wrapping_sub(1);
        let mut value = cumulative.to_be_bytes().to_vec();
        for (stream, ssn) in skipped {
            value.extend(stream.to_be_bytes());
            value.extend(ssn.to_be_bytes());
        }
        Chunk::new(FORWARD_TSN, 0, value)
    }

    /// The outgoing reset request that is `ahead` of the first (RFC 6525 §4.1), after `count` chunks of this side.
    pub fn reset(&self, ahead: u32, count: u32, streams: &[u16]) -> Chunk {
        let mut value = self.tsn.wrapping_add(ahead).to_be_bytes().to_vec();
        value.extend(self.peer_tsn.wrapping_sub(1).to_be_bytes());
        let last = self.tsn.wrapping_add(count).wrapping_sub(1);
        value.extend(last.to_be_bytes());
        for stream in streams {
            value.extend(stream.to_be_bytes());
        }
        Chunk::new(RE_CONFIG, 0, parameter(13, &value))
    }
}

/// The cookie in an INIT ACK.
pub fn cookie(init_ack: &Chunk) -> Vec<u8> {
    let mut rest = &init_ack.value[16..];
    loop {
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if rest[..2] == [0, 7] {
            return rest[4..length].to_vec();
        }
        rest = &rest[length.next_multiple_of(4)..];
    }
}
