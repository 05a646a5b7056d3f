//! The data channel establishment protocol, RFC 8832: who opens which channel on which SCTP stream.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::channel::{Order, Reliability, RetransmitLimit};

const TYPE_ACK: u8 = 0x02;
const TYPE_OPEN: u8 = 0x03;
const OPEN_HEADER_BYTES: usize = 12;
const UNORDERED: u8 = 0x80;
const LIMIT_COUNT: u8 = 0x01;
const LIMIT_LIFETIME: u8 = 0x02;

/// A message with PPID 50.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Open {
        label: Box<str>,
        reliability: Reliability,
    },
    Ack,
}

impl Message {
    /// `None` when it breaks the format: unknown type, wrong lengths, a label that is no UTF-8.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            TYPE_ACK => Some(Self::Ack),
            TYPE_OPEN => {
                let header = bytes.get(..OPEN_HEADER_BYTES)?;
                let parameter = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                let label = usize::from(u16::from_be_bytes([header[8], header[9]]));
                let protocol = usize::from(u16::from_be_bytes([header[10], header[11]]));
                if bytes.len() != OPEN_HEADER_BYTES + label + protocol {
                    return None;
                }
                let label =
                    std::str::from_utf8(&bytes[OPEN_HEADER_BYTES..OPEN_HEADER_BYTES + label])
                        .ok()?;
                Some(Self::Open {
                    label: label.into(),
                    reliability: reliability(header[1], parameter)?,
                })
            }
            _ => None,
        }
    }

    /// `None` when the label is longer than the format can say.
    pub(crate) fn encode(&self) -> Option<Bytes> {
        match self {
            Self::Ack => Some(Bytes::from_static(&[TYPE_ACK])),
            Self::Open { label, reliability } => {
                let (order, limit) = reliability.parts();
                let (kind, parameter) = match limit {
                    RetransmitLimit::None => (0, 0),
                    RetransmitLimit::Count(count) => (LIMIT_COUNT, count),
                    RetransmitLimit::Lifetime(milliseconds) => (LIMIT_LIFETIME, milliseconds),
                };
                let order = if order == Order::Unordered {
                    UNORDERED
                } else {
                    0
                };
                let mut bytes = BytesMut::with_capacity(OPEN_HEADER_BYTES + label.len());
                bytes.put_u8(TYPE_OPEN);
                bytes.put_u8(kind | order);
                bytes.put_u16(0);
                bytes.put_u32(parameter);
                bytes.put_u16(u16::try_from(label.len()).ok()?);
                bytes.put_u16(0);
                bytes.put_slice(label.as_bytes());
                Some(bytes.freeze())
            }
        }
    }
}

fn reliability(kind: u8, parameter: u32) -> Option<Reliability> {
    let order = if kind & UNORDERED == 0 {
        Order::Ordered
    } else {
        Order::Unordered
    };
    let limit = match kind & !UNORDERED {
        0 => RetransmitLimit::None,
        LIMIT_COUNT => RetransmitLimit::Count(parameter),
        LIMIT_LIFETIME => RetransmitLimit::Lifetime(parameter),
        _ => return None,
    };
    Some(match (order, limit) {
        (Order::Ordered, RetransmitLimit::None) => Reliability::Reliable,
        (Order::Unordered, RetransmitLimit::Count(0)) => Reliability::Lossy,
        _ => Reliability::Partial { order, limit },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn opens_survive_the_round_trip() {
        for reliability in [
            Reliability::Reliable,
            Reliability::Lossy,
            Reliability::Partial {
                order: Order::Unordered,
                limit: RetransmitLimit::None,
            },
            Reliability::Partial {
                order: Order::Ordered,
                limit: RetransmitLimit::Count(3),
            },
            Reliability::Partial {
                order: Order::Unordered,
                limit: RetransmitLimit::Lifetime(500),
            },
        ] {
            let message = Message::Open {
                label: "_reliable".into(),
                reliability,
            };
            assert_eq!(Message::decode(&message.encode().unwrap()), Some(message));
        }
        assert_eq!(
            Message::decode(&Message::Ack.encode().unwrap()),
            Some(Message::Ack)
        );
    }

    #[test]
    fn libwebrtc_open_is_understood() {
        // `_lossy`, unordered, no retransmission, priority 256, no protocol.
        let bytes = [
            3, 0x81, 1, 0, 0, 0, 0, 0, 0, 6, 0, 0, b'_', b'l', b'o', b's', b's', b'y',
        ];
        assert_eq!(
            Message::decode(&bytes),
            Some(Message::Open {
                label: "_lossy".into(),
                reliability: Reliability::Lossy
            })
        );
    }

    #[test]
    fn hostile_messages_are_refused() {
        let good = Message::Open {
            label: "x".into(),
            reliability: Reliability::Reliable,
        }
        .encode()
        .unwrap();
        for end in 0..good.len() {
            assert_eq!(Message::decode(&good[..end]), None);
        }
        let mut long = good.to_vec();
        long[8] = 0xff;
        assert_eq!(Message::decode(&long), None);
        let mut kind = good.to_vec();
        kind[1] = 0x7f;
        assert_eq!(Message::decode(&kind), None);
        let mut label = good.to_vec();
        *label.last_mut().unwrap() = 0xff;
        assert_eq!(Message::decode(&label), None);
        for first in [0, 1, 4, 255] {
            assert_eq!(Message::decode(&[first]), None);
        }
        assert_eq!(
            Message::encode(&Message::Open {
                label: "x".repeat(65_536).into(),
                reliability: Reliability::Lossy
            }),
            None
        );
    }
}
