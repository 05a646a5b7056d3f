//! Names on the wire as types of their own, so that a sid is never taken for an identity.
//!
//! All of them are cheap to clone and compare by their text: up to 40 bytes are kept in the value
//! itself, longer texts in one shared allocation. None of them validates: what the wire says is kept
//! as it is, limits are checked where a name enters.

mod text;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use text::Text;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Text);

        impl $name {
            /// The text as it is on the wire.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Whether the text is empty, which on the wire means "not set".
            pub fn is_empty(&self) -> bool {
                self.as_str().is_empty()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::from("")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Text::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl From<&String> for $name {
            fn from(text: &String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl From<&$name> for $name {
            fn from(id: &$name) -> Self {
                id.clone()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.as_str() == other.as_str()
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.as_str().cmp(other.as_str())
            }
        }

        // As that of the text, since maps are asked for the text (`Borrow`).
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }
    };
}

text_id! {
    /// The name under which an application knows a participant; unique in a room, chosen by the token.
    Identity
}
text_id! {
    /// One session of a participant (`PA_` and 12 characters); a full reconnect gets a new one.
    ParticipantSid
}
text_id! {
    /// One lifetime of a room (`RM_` and 12 characters).
    RoomSid
}
text_id! {
    /// The name of a room, chosen by the application.
    RoomName
}
text_id! {
    /// One data stream; unique among the streams of its publisher, usually a UUID.
    StreamId
}
text_id! {
    /// What a stream or packet is about; chooses the handler at the receiver.
    Topic
}

/// Letters and digits without those that look alike (protocol.md §2.7).
const BASE57: &[u8; 57] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// How many characters follow the prefix of a sid (protocol.md §2.7).
const SID_CHARACTERS: usize = 12;

/// `prefix` and twelve base57 characters, about 70 bits of the caller's randomness.
fn sid(prefix: &str, random: [u8; 16]) -> String {
    let mut rest = u128::from_le_bytes(random);
    let mut text = String::with_capacity(prefix.len() + SID_CHARACTERS);
    text.push_str(prefix);
    for _ in 0..SID_CHARACTERS {
        text.push(char::from(BASE57[(rest % 57) as usize]));
        rest /= 57;
    }
    text
}

impl ParticipantSid {
    /// A new participant sid from 16 random bytes of the caller (protocol.md §2.7).
    pub fn generate(random: [u8; 16]) -> Self {
        Self::from(sid("PA_", random))
    }
}

impl RoomSid {
    /// A new room sid from 16 random bytes of the caller (protocol.md §2.7).
    pub fn generate(random: [u8; 16]) -> Self {
        Self::from(sid("RM_", random))
    }
}

impl StreamId {
    /// A version 4 UUID (RFC 9562 §5.4) from 16 random bytes of the caller, as official senders use.
    pub fn generate(random: [u8; 16]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = random;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (i, byte) in bytes.iter().enumerate() {
            at += usize::from(matches!(i, 4 | 6 | 8 | 10));
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 0x0f)];
            at += 2;
        }
        // Only ASCII was written.
        Self::from(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_have_the_prefix_and_the_alphabet_of_section_2_7() {
        for seed in 0..=255u8 {
            let random = std::array::from_fn(|i| seed.wrapping_mul(31).wrapping_add(i as u8 * 7));
            let participant = ParticipantSid::generate(random);
            let text = participant.as_str();
            assert_eq!(text.len(), 15);
            assert!(text.starts_with("PA_"));
            assert!(text[3..].bytes().all(|b| BASE57.contains(&b)), "{text}");
            assert!(RoomSid::generate(random).as_str().starts_with("RM_"));
        }
        assert_eq!(ParticipantSid::generate([0; 16]), "PA_222222222222");
        assert_ne!(
            ParticipantSid::generate([1; 16]),
            ParticipantSid::generate([2; 16])
        );
    }

    #[test]
    fn stream_ids_are_version_4_uuids() {
        assert_eq!(
            StreamId::generate([0xff; 16]),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        assert_eq!(
            StreamId::generate([0; 16]),
            "00000000-0000-4000-8000-000000000000"
        );
    }

    #[test]
    fn ids_are_found_in_maps_by_text() {
        let mut names = std::collections::HashMap::new();
        names.insert(Identity::from("alice"), 1);
        assert_eq!(names.get("alice"), Some(&1));
        assert_eq!(format!("{:>7}|", Identity::from("bob")), "    bob|");
        assert_eq!(format!("{:?}", Topic::from("a\n")), r#"Topic("a\n")"#);
    }
}
