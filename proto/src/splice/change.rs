//! The changes that a splice makes inside the value of a packet.

use super::{PacketView, Sender, regular};
use crate::schema::{packet, user};
use crate::wire::{block_len, put_block, put_block_start, put_number, put_text, text_len};

/// What happens to the value of a packet.
pub(super) enum Change<'a> {
    /// Nothing.
    None,
    /// A user packet gets the sender's name and the same destinations as the packet.
    User(&'a [u8]),
    /// A message is marked as generated: it is the value `tag` itself, or field `around` of it.
    Generated {
        tag: u32,
        outside: &'a [u8],
        around: u32,
        message: &'a [u8],
        generated: u32,
    },
}

impl Change<'_> {
    /// Bytes that [`Change::write`] writes.
    pub(super) fn len(&self, view: &PacketView, sender: &Sender<'_>) -> usize {
        match *self {
            Self::None => 0,
            Self::User(user) => {
                block_len(packet::USER, Self::user_len(user, view, sender))
                    + view
                        .inner_destinations()
                        .map(|name| block_len(packet::DESTINATION_IDENTITIES, name.len()))
                        .sum::<usize>()
            }
            Self::Generated {
                tag,
                outside,
                around,
                message,
                generated,
            } => block_len(
                tag,
                Self::generated_len(outside, around, message, generated),
            ),
        }
    }

    fn user_len(user: &[u8], view: &PacketView, sender: &Sender<'_>) -> usize {
        regular(user)
            .filter(|field| stays_in_user(field.tag, view))
            .map(|field| field.whole.len())
            .sum::<usize>()
            + text_len(user::PARTICIPANT_SID, sender.sid.len())
            + text_len(user::PARTICIPANT_IDENTITY, sender.identity.len())
            + view
                .outer_destinations()
                .map(|name| block_len(user::DESTINATION_IDENTITIES, name.len()))
                .sum::<usize>()
    }

    fn message_len(message: &[u8], generated: u32) -> usize {
        // Key and number of `generated` are one byte each.
        2 + regular(message)
            .filter(|field| field.tag != generated)
            .map(|field| field.whole.len())
            .sum::<usize>()
    }

    fn generated_len(outside: &[u8], around: u32, message: &[u8], generated: u32) -> usize {
        let message = Self::message_len(message, generated);
        if around == 0 {
            return message;
        }
        block_len(around, message)
            + regular(outside)
                .filter(|field| field.tag != around)
                .map(|field| field.whole.len())
                .sum::<usize>()
    }

    pub(super) fn write(&self, view: &PacketView, sender: &Sender<'_>, buf: &mut Vec<u8>) {
        match *self {
            Self::None => {}
            Self::User(user) => {
                put_block_start(buf, packet::USER, Self::user_len(user, view, sender));
                for field in regular(user).filter(|field| stays_in_user(field.tag, view)) {
                    buf.extend_from_slice(field.whole);
                }
                put_text(buf, user::PARTICIPANT_SID, sender.sid.as_bytes());
                put_text(buf, user::PARTICIPANT_IDENTITY, sender.identity.as_bytes());
                for name in view.outer_destinations() {
                    put_block(buf, user::DESTINATION_IDENTITIES, name);
                }
                for name in view.inner_destinations() {
                    put_block(buf, packet::DESTINATION_IDENTITIES, name);
                }
            }
            Self::Generated {
                tag,
                outside,
                around,
                message,
                generated,
            } => {
                put_block_start(
                    buf,
                    tag,
                    Self::generated_len(outside, around, message, generated),
                );
                if around != 0 {
                    for field in regular(outside).filter(|field| field.tag != around) {
                        buf.extend_from_slice(field.whole);
                    }
                    put_block_start(buf, around, Self::message_len(message, generated));
                }
                for field in regular(message).filter(|field| field.tag != generated) {
                    buf.extend_from_slice(field.whole);
                }
                put_number(buf, generated, 1);
            }
        }
    }
}

/// Whether a field of a user packet stays as the sender wrote it.
fn stays_in_user(tag: u32, view: &PacketView) -> bool {
    match tag {
        user::PARTICIPANT_SID | user::PARTICIPANT_IDENTITY => false,
        user::DESTINATION_IDENTITIES => !view.has_destinations,
        _ => true,
    }
}
