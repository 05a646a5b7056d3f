//! The keys of the room or of each participant, in numbered slots.

use std::collections::BTreeMap;
use std::sync::Arc;

use lkstream_proto::id::Identity;
use thiserror::Error;

use super::chain::{Chain, Kdf};
use super::{Derivation, Plaintext};
use crate::limits;

/// Whether a room has one key or each participant its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySharing {
    /// One key for all.
    Shared,
    /// Everybody seals with a key of their own, which the others must have.
    PerParticipant,
}

/// How a [`Keyring`] works. The defaults are those of the official Rust and Python SDKs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyringOptions {
    /// One key for all, or one for each.
    pub sharing: KeySharing,
    /// How keys are derived. Default [`Derivation::Pbkdf2`].
    pub derivation: Derivation,
    /// Salt of the derivation. Default `LKFrameEncryptionKey`.
    pub salt: Vec<u8>,
    /// Ratchet steps that a receiver tries beyond the one that worked last, when a packet does not
    /// open. 0 tries none. Default 16. With [`Derivation::Pbkdf2`] each costs tens of milliseconds,
    /// once.
    pub ratchet_window: usize,
    /// What happens to what comes unencrypted. Default [`Plaintext::Refuse`].
    pub plaintext: Plaintext,
}

impl KeyringOptions {
    /// The defaults.
    pub fn new(sharing: KeySharing) -> KeyringOptions {
        KeyringOptions {
            sharing,
            derivation: Derivation::default(),
            salt: limits::KEY_SALT.to_vec(),
            ratchet_window: limits::RATCHET_WINDOW,
            plaintext: Plaintext::default(),
        }
    }
}

/// Why a key was not set, found or ratcheted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The index is beyond the ring.
    #[error("key index {index} is beyond the ring of {slots} slots")]
    NoSlot {
        /// The index given.
        index: u32,
        /// Slots of a ring.
        slots: u32,
    },
    /// There is no key in the slot.
    #[error("slot {index} holds no key")]
    Empty {
        /// The index given.
        index: u32,
    },
    /// A shared key was given for one participant, or the other way round.
    #[error("the keyring is for the other kind of key sharing")]
    WrongSharing,
    /// Keys of too many participants.
    #[error("the keyring holds keys of {limit} participants already")]
    TooManyParticipants {
        /// Participants allowed.
        limit: usize,
    },
    /// The secret is empty or cannot be derived from.
    #[error("the secret cannot be used")]
    BadSecret,
}

/// The slots of one participant, or of all.
#[derive(Debug, Clone, Default)]
struct Ring {
    slots: BTreeMap<u32, Chain>,
}

/// The keys of one participant: its own and those it opens others' packets with.
///
/// Cloning copies the keys. Secrets never appear in its `Debug` output.
#[derive(Debug, Clone)]
pub struct Keyring {
    kdf: Kdf,
    sharing: KeySharing,
    window: usize,
    plaintext: Plaintext,
    index: u32,
    shared: Ring,
    participants: BTreeMap<Identity, Ring>,
}

impl Keyring {
    /// A ring without keys: nothing can be sent or received until some are set.
    pub fn new(options: KeyringOptions) -> Keyring {
        Keyring {
            kdf: Kdf {
                derivation: options.derivation,
                salt: Arc::from(options.salt),
            },
            sharing: options.sharing,
            window: options.ratchet_window,
            plaintext: options.plaintext,
            index: 0,
            shared: Ring::default(),
            participants: BTreeMap::new(),
        }
    }

    /// A ring for one shared secret, in slot 0, everything else at its default.
    ///
    /// # Errors
    /// [`KeyError::BadSecret`] for an empty one.
    pub fn shared(secret: impl AsRef<[u8]>) -> Result<Keyring, KeyError> {
        let mut keyring = Keyring::new(KeyringOptions::new(KeySharing::Shared));
        keyring.set_shared_key(0, secret)?;
        Ok(keyring)
    }

    /// Sets the secret of all in one slot, and forgets what was ratcheted from the one before.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn set_shared_key(&mut self, index: u32, secret: impl AsRef<[u8]>) -> Result<(), KeyError> {
        let chain = self.chain(KeySharing::Shared, index, secret.as_ref())?;
        self.shared.slots.insert(index, chain);
        Ok(())
    }

    /// Sets the secret of one participant, ourselves included, in one slot.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn set_key(
        &mut self,
        identity: &Identity,
        index: u32,
        secret: impl AsRef<[u8]>,
    ) -> Result<(), KeyError> {
        let chain = self.chain(KeySharing::PerParticipant, index, secret.as_ref())?;
        let limit = limits::KEYED_PARTICIPANTS;
        if !self.participants.contains_key(identity) && self.participants.len() >= limit {
            return Err(KeyError::TooManyParticipants { limit });
        }
        self.participants
            .entry(identity.clone())
            .or_default()
            .slots
            .insert(index, chain);
        Ok(())
    }

    /// Forgets the keys of one participant.
    pub fn remove(&mut self, identity: &Identity) {
        self.participants.remove(identity);
    }

    /// Ratchets the shared key of a slot: what is sealed from now on takes the next key, and the
    /// others find it within their window.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn ratchet_shared_key(&mut self, index: u32) -> Result<(), KeyError> {
        if self.sharing != KeySharing::Shared {
            return Err(KeyError::WrongSharing);
        }
        ratchet(self.shared.slots.get_mut(&index), index)
    }

    /// Ratchets the key of one participant.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn ratchet_key(&mut self, identity: &Identity, index: u32) -> Result<(), KeyError> {
        if self.sharing != KeySharing::PerParticipant {
            return Err(KeyError::WrongSharing);
        }
        let ring = self.participants.get_mut(identity);
        ratchet(ring.and_then(|ring| ring.slots.get_mut(&index)), index)
    }

    /// Seals with this slot from now on; 0 at first.
    ///
    /// # Errors
    /// [`KeyError::NoSlot`] beyond the ring. A slot that is empty yet is fine until something is
    /// sealed.
    pub fn use_index(&mut self, index: u32) -> Result<(), KeyError> {
        in_ring(index)?;
        self.index = index;
        Ok(())
    }

    /// Derives all keys that were set, which else happens when one is first used: with
    /// [`Derivation::Pbkdf2`] that takes tens of milliseconds a key. Clones share what was derived.
    pub fn derive_keys(&self) {
        for ring in std::iter::once(&self.shared).chain(self.participants.values()) {
            for chain in ring.slots.values() {
                chain.key();
            }
        }
    }

    /// The slot that is sealed with.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What happens to what comes unencrypted.
    pub fn plaintext(&self) -> Plaintext {
        self.plaintext
    }

    pub(super) fn window(&self) -> usize {
        self.window
    }

    /// Whether there is a key to seal `identity`'s packets with.
    pub(crate) fn can_seal(&self, identity: &Identity) -> bool {
        self.sealing(identity).is_some()
    }

    pub(super) fn sealing(&self, identity: &Identity) -> Option<&Chain> {
        match self.sharing {
            KeySharing::Shared => self.shared.slots.get(&self.index),
            KeySharing::PerParticipant => self.participants.get(identity)?.slots.get(&self.index),
        }
    }

    pub(super) fn opening(&mut self, identity: &str, index: u32) -> Option<&mut Chain> {
        match self.sharing {
            KeySharing::Shared => self.shared.slots.get_mut(&index),
            KeySharing::PerParticipant => {
                let ring = self.participants.get_mut(&Identity::from(identity))?;
                ring.slots.get_mut(&index)
            }
        }
    }

    fn chain(&self, sharing: KeySharing, index: u32, secret: &[u8]) -> Result<Chain, KeyError> {
        in_ring(index)?;
        if self.sharing != sharing {
            return Err(KeyError::WrongSharing);
        }
        if secret.is_empty() {
            return Err(KeyError::BadSecret);
        }
        Ok(Chain::new(self.kdf.clone(), secret))
    }
}

fn in_ring(index: u32) -> Result<(), KeyError> {
    let slots = limits::KEY_SLOTS;
    if index < slots {
        Ok(())
    } else {
        Err(KeyError::NoSlot { index, slots })
    }
}

fn ratchet(chain: Option<&mut Chain>, index: u32) -> Result<(), KeyError> {
    in_ring(index)?;
    chain
        .ok_or(KeyError::Empty { index })?
        .ratchet()
        .ok_or(KeyError::BadSecret)
}
