#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use lkstream_proto::id::Identity;
use lkstream_proto::packet::EncryptedPacket;

use super::seal::{Sealer, open};
use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
        .collect()
}

fn keyring(derivation: Derivation) -> Keyring {
    let mut options = KeyringOptions::new(KeySharing::Shared);
    options.derivation = derivation;
    let mut keyring = Keyring::new(options);
    keyring.set_shared_key(0, "my-pass").unwrap();
    keyring
}

fn packet(iv: &str, value: &str) -> EncryptedPacket {
    EncryptedPacket {
        encryption_type: 0,
        iv: Bytes::from(bytes(iv)),
        key_index: 0,
        encrypted_value: Bytes::from(bytes(value)),
    }
}

/// protocol.md §5.8: derivations, no associated data, tag at the end, type 0 as JS writes it. The
/// vectors were made with another library (OpenSSL).
#[test]
fn vectors_of_both_derivations_open() {
    let iv = "000102030405060708090a0b";
    let mut pbkdf2 = keyring(Derivation::Pbkdf2);
    let sealed = packet(iv, "5e1d178f0d6acb0f02f017cae7f8288fdd8cb1f8b1");
    assert_eq!(open(&mut pbkdf2, "alice", &sealed).unwrap(), "hello");
    let mut hkdf = keyring(Derivation::Hkdf);
    let sealed = packet(iv, "9f98ddedbdf7049c0ebca8404e5be7bcc3549c277f");
    assert_eq!(open(&mut hkdf, "alice", &sealed).unwrap(), "hello");
}

/// protocol.md §5.8: a receiver finds a sender that ratcheted, within its window.
#[test]
fn a_ratcheted_key_is_found_within_the_window() {
    let alice = Identity::from("alice");
    let mut sender = keyring(Derivation::Hkdf);
    let mut sealer = Sealer::new(7);
    let mut receiver = keyring(Derivation::Hkdf);
    for round in 0..3 {
        let sealed = sealer.seal(&sender, &alice, b"hi".to_vec()).unwrap();
        assert_eq!(
            open(&mut receiver, "alice", &sealed).unwrap(),
            "hi",
            "round {round}"
        );
        for _ in 0..limits_window() {
            sender.ratchet_shared_key(0).unwrap();
        }
    }
    sender.ratchet_shared_key(0).unwrap();
    let sealed = sealer.seal(&sender, &alice, b"hi".to_vec()).unwrap();
    assert_eq!(
        open(&mut receiver, "alice", &sealed),
        Err(DecryptError::Refused { index: 0 }),
        "one step beyond"
    );
    // Somebody who did not ratchet is still understood.
    let late = keyring(Derivation::Hkdf);
    let sealed = sealer.seal(&late, &alice, b"old".to_vec()).unwrap();
    assert_eq!(open(&mut receiver, "bob", &sealed).unwrap(), "old");
}

fn limits_window() -> usize {
    crate::limits::RATCHET_WINDOW
}

#[test]
fn keys_of_participants_and_slots_are_kept_apart() {
    let (alice, bob) = (Identity::from("alice"), Identity::from("bob"));
    let mut options = KeyringOptions::new(KeySharing::PerParticipant);
    options.derivation = Derivation::Hkdf;
    options.ratchet_window = 0;
    let mut ring = Keyring::new(options);
    ring.set_key(&alice, 3, "a").unwrap();
    ring.set_key(&bob, 3, "b").unwrap();
    ring.use_index(3).unwrap();
    let mut sealer = Sealer::new(1);
    let sealed = sealer.seal(&ring, &alice, b"x".to_vec()).unwrap();
    assert_eq!(sealed.key_index, 3);
    assert_eq!(open(&mut ring, "alice", &sealed).unwrap(), "x");
    assert_eq!(
        open(&mut ring, "bob", &sealed),
        Err(DecryptError::Refused { index: 3 })
    );
    assert_eq!(
        open(&mut ring, "eve", &sealed),
        Err(DecryptError::NoKey { index: 3 })
    );
    ring.use_index(4).unwrap();
    assert!(!ring.can_seal(&alice));
    assert_eq!(ring.set_shared_key(0, "x"), Err(KeyError::WrongSharing));
    assert_eq!(
        ring.set_key(&alice, 16, "x"),
        Err(KeyError::NoSlot {
            index: 16,
            slots: 16
        })
    );
    assert_eq!(ring.set_key(&alice, 0, ""), Err(KeyError::BadSecret));
    assert_eq!(
        ring.ratchet_key(&alice, 9),
        Err(KeyError::Empty { index: 9 })
    );
}

#[test]
fn vectors_never_repeat_and_changed_bytes_do_not_open() {
    let alice = Identity::from("alice");
    let mut ring = keyring(Derivation::Hkdf);
    let mut sealer = Sealer::new(u64::MAX);
    sealer.counter = u32::MAX;
    let first = sealer.seal(&ring, &alice, b"x".to_vec()).unwrap();
    let second = sealer.seal(&ring, &alice, b"x".to_vec()).unwrap();
    assert_ne!(first.iv, second.iv);
    for at in 0..first.encrypted_value.len() {
        let mut changed = first.encrypted_value.to_vec();
        changed[at] ^= 1;
        let changed = EncryptedPacket {
            encrypted_value: changed.into(),
            ..first.clone()
        };
        assert!(open(&mut ring, "alice", &changed).is_err(), "byte {at}");
    }
    let short = EncryptedPacket {
        iv: Bytes::from_static(b"short"),
        ..first
    };
    assert_eq!(
        open(&mut ring, "alice", &short),
        Err(DecryptError::BadVector { size: 5 })
    );
}

#[test]
fn secrets_are_not_shown() {
    let text = format!("{:?}", keyring(Derivation::Hkdf));
    assert!(
        !text.contains("my-pass") && !text.contains("109, 121"),
        "{text}"
    );
}
