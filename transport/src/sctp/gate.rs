//! Looks at SCTP packets on their way in and out: refuses what would cost rtc-sctp unbounded work or memory, and remembers
//! what a window update needs.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::STREAMS;

const COMMON_HEADER_BYTES: usize = 12;
const DATA: u8 = 0;
/// SACK-IMMEDIATELY among the flags of a DATA chunk (RFC 7053 §3).
const DATA_IMMEDIATE: u8 = 8;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const SHUTDOWN_COMPLETE: u8 = 14;
const FORWARD_TSN: u8 = 192;
const PARAMETER_SUPPORTED_EXTENSIONS: u16 = 0x8008;

/// A DATA chunk further ahead than a SACK can report (its offsets have 16 bits) is of no use.
const MAX_DATA_LEAD: u32 = 65_535;

/// A FORWARD TSN that skips more than this is an attack: rtc-sctp walks the distance one by one.
const MAX_FORWARD_LEAD: u32 = 1 << 20;

/// With less window than this, in bytes, a sender counts as stopped: about two packets.
const SMALL_WINDOW: u32 = 2_400;

/// Fragments are at least this large when a message needs many of them, in bytes.
const SMALL_FRAGMENT: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Refuse,
    /// The other side breaks the rules in a way that costs memory.
    Abort,
}

pub(crate) struct Gate {
    /// Ports and verification tag of the packets to us.
    header: Option<[u8; 8]>,
    /// The last cumulative TSN that we acknowledged, or the one before the first.
    acknowledged: Option<u32>,
    /// The other side has sent an ABORT.
    is_aborted: bool,
    /// Our INIT has got its answer.
    is_answered: bool,
    /// A SACK has left.
    running: bool,
    advertised: usize,
    forward_tsn: bool,
    /// The window of the other side has no room for a full packet.
    is_stopped: bool,
    /// It had none and has some now.
    has_opened: bool,
    /// Chunks acknowledged since the window was closed.
    overrun: u32,
    max_overrun: u32,
}

impl Gate {
    /// `closed_window_bytes`: how much may still arrive after the window is closed, to complete a message.
    pub(crate) fn new(closed_window_bytes: usize) -> Self {
        let chunks = u32::try_from(closed_window_bytes / SMALL_FRAGMENT).unwrap_or(u32::MAX);
        Self {
            header: None,
            acknowledged: None,
            is_aborted: false,
            is_answered: false,
            running: false,
            advertised: usize::MAX,
            forward_tsn: false,
            is_stopped: false,
            has_opened: false,
            overrun: 0,
            max_overrun: chunks,
        }
    }

    /// Looks at a packet from the other side.
    pub(crate) fn inspect(&mut self, packet: &[u8]) -> Verdict {
        if self.overrun > self.max_overrun {
            return Verdict::Abort;
        }
        if !has_good_causes(packet) {
            return Verdict::Refuse;
        }
        for chunk in chunks(packet) {
            let ok = match chunk[0] {
                DATA => match (word(chunk, 4), chunk.get(8..10)) {
                    (Some(tsn), Some(stream)) => {
                        u16::from_be_bytes([stream[0], stream[1]]) < STREAMS
                            && self.is_near(tsn, MAX_DATA_LEAD)
                    }
                    _ => false,
                },
                FORWARD_TSN => {
                    word(chunk, 4).is_some_and(|tsn| self.is_near(tsn, MAX_FORWARD_LEAD))
                }
                ABORT => {
                    self.is_aborted = true;
                    true
                }
                SACK => {
                    if let Some(window) = word(chunk, 8) {
                        let is_stopped = window < SMALL_WINDOW;
                        self.has_opened |= self.is_stopped && !is_stopped;
                        self.is_stopped = is_stopped;
                    }
                    true
                }
                INIT | INIT_ACK => {
                    self.is_answered |= chunk[0] == INIT_ACK;
                    if let (Some(tsn), false) = (word(chunk, 16), self.running) {
                        self.acknowledged = Some(tsn.wrapping_sub(1));
                        self.forward_tsn = supports_forward_tsn(chunk);
                    }
                    true
                }
                _ => true,
            };
            if !ok {
                return Verdict::Refuse;
            }
        }
        if let Some(Ok(header)) = packet.get(..8).map(<[u8; 8]>::try_from)
            && header[4..] != [0; 4]
        {
            self.header = Some(header);
        }
        Verdict::Pass
    }

    /// Not further ahead than `lead`; behind is fine.
    fn is_near(&self, tsn: u32, lead: u32) -> bool {
        self.acknowledged.is_some_and(|acknowledged| {
            let distance = tsn.wrapping_sub(acknowledged);
            distance <= lead || distance > u32::MAX / 2
        })
    }

    /// Looks at a packet of ours. Whether it is a SACK.
    pub(crate) fn note_sent(&mut self, packet: &[u8]) -> bool {
        let Some(chunk) = packet.get(COMMON_HEADER_BYTES..) else {
            return false;
        };
        match chunk.first() {
            Some(&SACK) => {
                if let (Some(tsn), Some(window)) = (word(chunk, 4), word(chunk, 8)) {
                    let advance = self
                        .acknowledged
                        .map_or(0, |before| tsn.wrapping_sub(before));
                    let was_closed = self.advertised == 0;
                    self.advertised = window as usize;
                    self.overrun = if window == 0 && was_closed {
                        self.overrun.saturating_add(advance)
                    } else {
                        0
                    };
                    self.acknowledged = Some(tsn);
                    self.running = true;
                }
                true
            }
            Some(&(INIT | INIT_ACK)) => {
                if let Some(window) = word(chunk, 8) {
                    self.advertised = window as usize;
                }
                false
            }
            _ => false,
        }
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.is_aborted
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Whether the window of the other side has opened again since the last call.
    pub(crate) fn take_window_opened(&mut self) -> bool {
        std::mem::take(&mut self.has_opened)
    }

    /// The window that the other side was last told, in bytes.
    pub(crate) fn advertised(&self) -> usize {
        self.advertised
    }

    /// A packet as if from the other side that does nothing but call for a SACK.
    pub(crate) fn outdated_forward_tsn(&self) -> Option<Bytes> {
        if !self.forward_tsn || !self.running {
            return None;
        }
        let mut packet = BytesMut::with_capacity(COMMON_HEADER_BYTES + 8);
        packet.put_slice(&self.header?);
        packet.put_u32(0);
        packet.put_slice(&[FORWARD_TSN, 0, 0, 8]);
        packet.put_u32(self.acknowledged?);
        let checksum = crc32c::crc32c(&packet);
        packet[8..12].copy_from_slice(&checksum.to_le_bytes());
        Some(packet.freeze())
    }
}

/// Whether a packet of ours carries user data.
pub(crate) fn carries_data(packet: &[u8]) -> bool {
    chunks(packet).any(|chunk| chunk[0] == DATA)
}

/// The packet with the I bit on its last DATA chunk: the other side shall acknowledge at once (RFC 7053). `None` without
/// user data.
pub(crate) fn ask_for_sack(packet: &[u8]) -> Option<Bytes> {
    let mut at = COMMON_HEADER_BYTES;
    let mut last = None;
    for chunk in chunks(packet) {
        if chunk[0] == DATA {
            last = Some(at);
        }
        at += chunk.len().next_multiple_of(4);
    }
    let flags = last? + 1;
    let mut asking = BytesMut::from(packet);
    asking[flags] |= DATA_IMMEDIATE;
    asking[8..12].fill(0);
    let checksum = crc32c::crc32c(&asking);
    asking[8..12].copy_from_slice(&checksum.to_le_bytes());
    Some(asking.freeze())
}

pub(crate) fn carries_sack(packet: &[u8]) -> bool {
    chunks(packet).any(|chunk| chunk[0] == SACK)
}

/// Whether a packet may end the association.
pub(crate) fn is_goodbye(packet: &[u8]) -> bool {
    chunks(packet).any(|chunk| {
        matches!(
            chunk[0],
            ABORT | SHUTDOWN | SHUTDOWN_ACK | SHUTDOWN_COMPLETE
        )
    })
}

pub(crate) fn is_init(packet: &[u8]) -> bool {
    packet.get(COMMON_HEADER_BYTES) == Some(&INIT)
}

pub(crate) fn is_init_ack(packet: &[u8]) -> bool {
    packet.get(COMMON_HEADER_BYTES) == Some(&INIT_ACK)
}

/// The chunks of a packet, header included and padding left out; stops at the first that is cut short.
fn chunks(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet.get(COMMON_HEADER_BYTES..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        let chunk = rest.get(..length).filter(|_| length >= 4)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(chunk)
    })
}

/// Whether rtc-sctp gets through the error causes of a packet: it trusts their lengths, and reads on behind the chunk.
fn has_good_causes(packet: &[u8]) -> bool {
    let mut rest = packet.get(COMMON_HEADER_BYTES..).unwrap_or_default();
    for chunk in chunks(packet) {
        let after = rest.get(chunk.len()..).unwrap_or_default();
        if matches!(chunk[0], ABORT | ERROR) {
            let mut causes = &chunk[4..];
            while let Some(head) = causes.get(..4) {
                let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
                match causes.get(length..) {
                    Some(next) if length >= 4 => causes = next,
                    _ => return false,
                }
            }
            if causes.len() + after.len() >= 4 {
                return false;
            }
        }
        let padding = chunk.len().next_multiple_of(4) - chunk.len();
        rest = after.get(padding..).unwrap_or_default();
    }
    true
}

fn word(chunk: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(chunk.get(at..at + 4)?.try_into().ok()?))
}

fn supports_forward_tsn(init: &[u8]) -> bool {
    let mut rest = init.get(20..).unwrap_or_default();
    while let Some(head) = rest.get(..4) {
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some(value) = rest.get(4..length) else {
            return false;
        };
        if kind == PARAMETER_SUPPORTED_EXTENSIONS && value.contains(&FORWARD_TSN) {
            return true;
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn packet(chunk: &[u8]) -> Vec<u8> {
        [&[0x13, 0x88, 0x13, 0x88, 1, 2, 3, 4, 0, 0, 0, 0], chunk].concat()
    }

    fn init(tsn: u32) -> Vec<u8> {
        let mut chunk = vec![INIT, 0, 0, 26, 0, 0, 0, 1, 0, 2, 0, 0, 1, 0, 1, 0];
        chunk.extend_from_slice(&tsn.to_be_bytes());
        chunk.extend_from_slice(&[0x80, 0x08, 0, 6, FORWARD_TSN, 130]);
        packet(&chunk)
    }

    fn data(tsn: u32, stream: u16) -> Vec<u8> {
        let mut chunk = vec![DATA, 3, 0, 17];
        chunk.extend_from_slice(&tsn.to_be_bytes());
        chunk.extend_from_slice(&stream.to_be_bytes());
        chunk.extend_from_slice(&[0, 0, 0, 0, 0, 53, 9, 0, 0, 0]);
        packet(&chunk)
    }

    fn sack(tsn: u32, window: u32) -> Vec<u8> {
        packet(
            &[
                &[SACK, 0, 0, 16][..],
                &tsn.to_be_bytes(),
                &window.to_be_bytes(),
                &[0; 4],
            ]
            .concat(),
        )
    }

    #[test]
    fn far_and_foreign_chunks_are_refused() {
        let mut gate = Gate::new(1_000_000);
        assert_eq!(gate.inspect(&data(7, 1)), Verdict::Refuse);
        assert_eq!(gate.inspect(&init(u32::MAX)), Verdict::Pass);
        assert_eq!(gate.inspect(&data(u32::MAX, 1)), Verdict::Pass);
        assert_eq!(gate.inspect(&data(3, 1)), Verdict::Pass);
        assert_eq!(gate.inspect(&data(3, STREAMS)), Verdict::Refuse);
        assert_eq!(gate.inspect(&data(70_000, 1)), Verdict::Refuse);
        let mut forward = vec![FORWARD_TSN, 0, 0, 8];
        forward.extend_from_slice(&0x7000_0000u32.to_be_bytes());
        assert_eq!(gate.inspect(&packet(&forward)), Verdict::Refuse);
    }

    #[test]
    fn data_into_a_closed_window_ends_it() {
        let mut gate = Gate::new(SMALL_FRAGMENT * 10);
        gate.inspect(&init(1));
        for tsn in 1..=12 {
            assert_eq!(gate.inspect(&data(tsn, 1)), Verdict::Pass);
            assert!(gate.note_sent(&sack(tsn, 0)));
        }
        assert_eq!(gate.inspect(&data(13, 1)), Verdict::Abort);
        gate.note_sent(&sack(13, 5_000));
        assert_eq!(gate.inspect(&data(14, 1)), Verdict::Pass);
    }

    #[test]
    fn causes_that_would_be_read_too_far_are_refused() {
        let mut gate = Gate::new(1_000);
        let good = [
            &[ABORT, 0, 0, 4][..],
            &[ABORT, 0, 0, 8, 0, 12, 0, 4],
            &[ERROR, 0, 0, 9, 0, 3, 0, 5, 1, 0, 0, 0],
        ];
        let bad = [
            &[ABORT, 0, 0, 8, 0, 12, 0xbd, 0x83][..],
            &[ABORT, 0, 0, 8, 0, 12, 0, 0],
            &[ABORT, 0, 0, 4, 3, 0, 0, 4],
            &[ERROR, 0, 0, 10, 0, 3, 0, 5, 1, 9, 0, 0, 1, 1, 1, 1],
            &[3, 0, 0, 4, ERROR, 0, 0, 8, 0, 12, 0, 9],
        ];
        for chunks in good {
            assert_eq!(gate.inspect(&packet(chunks)), Verdict::Pass, "{chunks:?}");
        }
        for chunks in bad {
            assert_eq!(gate.inspect(&packet(chunks)), Verdict::Refuse, "{chunks:?}");
        }
    }

    #[test]
    fn the_window_update_is_well_formed() {
        let mut gate = Gate::new(1_000);
        gate.inspect(&init(5));
        assert!(gate.outdated_forward_tsn().is_none());
        gate.note_sent(&sack(9, 77));
        let update = gate.outdated_forward_tsn().unwrap();
        assert_eq!(&update[12..], [FORWARD_TSN, 0, 0, 8, 0, 0, 0, 9]);
        assert_eq!(gate.advertised(), 77);
    }

    #[test]
    fn cut_packets_never_panic() {
        for whole in [init(1), data(1, 1), sack(1, 1)] {
            for end in 0..whole.len() {
                let mut gate = Gate::new(1_000);
                let _ = gate.inspect(&whole[..end]);
                let _ = gate.note_sent(&whole[..end]);
            }
        }
    }
}
