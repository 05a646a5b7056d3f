//! Encrypted streams between engines, and what a keyring refuses (protocol.md §5.8).

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use lkstream_engine::encryption::{
    Derivation, Encryption, KeySharing, Keyring, KeyringOptions, Plaintext,
};
use lkstream_engine::{
    Config, Content, Engine, Event, IncomingId, OpenError, OpenOptions, Read, ReadError, Receipts,
    Rule, StreamKind, TopicFilter,
};
use lkstream_proto::packet::{Channel, DataPacket, Value};

use crate::script::*;

fn keyring(secret: &str, plaintext: Plaintext) -> Keyring {
    let mut options = KeyringOptions::new(KeySharing::Shared);
    options.derivation = Derivation::Hkdf;
    options.plaintext = plaintext;
    options.ratchet_window = 2;
    let mut keyring = Keyring::new(options);
    keyring.set_shared_key(0, secret).unwrap();
    keyring
}

fn engine(identity: &str, seed: u64, keyring: Keyring) -> Engine {
    let mut engine = Engine::new(Config::default(), seed).encrypted(keyring);
    engine.listen(StreamKind::Bytes, TopicFilter::Any);
    engine.listen(StreamKind::Text, TopicFilter::Any);
    let sid = format!("PA_{identity}");
    engine.set_local(Instant::now(), identity.into(), sid.as_str().into());
    engine
}

fn packets(engine: &mut Engine) -> Vec<Bytes> {
    std::iter::from_fn(|| engine.poll_packet().map(|packet| packet.bytes)).collect()
}

fn send(engine: &mut Engine, content: &[u8]) -> Vec<Bytes> {
    let mut options = OpenOptions::new(Content::bytes("noise"), "files", SystemTime::now());
    options.receipts = Receipts::Request;
    let id = engine.open(options).unwrap();
    let mut outgoing = engine.outgoing(id).unwrap();
    outgoing.write(Bytes::copy_from_slice(content)).unwrap();
    outgoing
        .close(attributes(&[("k", "secret words")]))
        .unwrap();
    outgoing.release();
    packets(engine)
}

fn opened(engine: &mut Engine) -> (IncomingId, Encryption) {
    std::iter::from_fn(|| engine.poll_event())
        .find_map(|event| match event {
            Event::Opened { id, info, .. } => Some((id, info.encryption)),
            _ => None,
        })
        .expect("opened")
}

fn read_all(engine: &mut Engine, id: IncomingId) -> (Vec<u8>, Read) {
    let mut read = Vec::new();
    loop {
        match engine.incoming(id).unwrap().read(Instant::now()) {
            Read::Piece(piece) => read.extend_from_slice(&piece),
            end => return (read, end),
        }
    }
}

fn receive(engine: &mut Engine, packets: &[Bytes]) -> (Encryption, Vec<u8>, Read) {
    for packet in packets {
        engine
            .handle_packet(Instant::now(), Channel::Reliable, packet.clone())
            .unwrap();
    }
    let (id, encryption) = opened(engine);
    let (read, end) = read_all(engine, id);
    (encryption, read, end)
}

/// protocol.md §5.8: header, chunks, trailer and user packets are sealed, the envelope is not.
#[test]
fn everything_of_a_stream_is_sealed_and_opened() {
    let mut alice = engine("alice", 1, keyring("k", Plaintext::Refuse));
    let mut bob = engine("bob", 2, keyring("k", Plaintext::Refuse));
    let content = noise(3, 40_000);
    let packets = send(&mut alice, &content);
    assert_eq!(packets.len(), 5);
    for packet in &packets {
        let packet = DataPacket::from_bytes(packet.clone()).unwrap();
        assert!(matches!(packet.value, Some(Value::Encrypted(_))));
        assert_eq!(packet.participant_identity, "alice");
        assert!(packet.sequence > 0);
    }
    let (encryption, read, end) = receive(&mut bob, &packets);
    assert_eq!((encryption, read), (Encryption::Gcm, content));
    let Read::Finished(summary) = end else {
        panic!("{end:?}")
    };
    assert_eq!(summary.attributes["k"], "secret words");
    let receipt = bob.poll_packet().expect("bob says that it took the stream");
    let receipt = DataPacket::from_bytes(receipt.bytes).unwrap();
    assert!(
        matches!(receipt.value, Some(Value::Encrypted(_))),
        "receipts too"
    );
}

#[test]
fn a_ratchet_and_another_slot_are_followed_in_mid_stream() {
    let mut alice = engine("alice", 1, keyring("k", Plaintext::Refuse));
    let mut bob = engine("bob", 2, keyring("k", Plaintext::Refuse));
    let mut all = send(&mut alice, b"one");
    alice.keyring().unwrap().ratchet_shared_key(0).unwrap();
    let id = alice
        .open(OpenOptions::new(Content::text(), "t", SystemTime::now()))
        .unwrap();
    all.extend(packets(&mut alice));
    for ring in [alice.keyring().unwrap(), bob.keyring().unwrap()] {
        ring.set_shared_key(5, "next").unwrap();
    }
    alice.keyring().unwrap().use_index(5).unwrap();
    let mut outgoing = alice.outgoing(id).unwrap();
    outgoing.write(Bytes::from_static(b"two")).unwrap();
    outgoing.close(Default::default()).unwrap();
    all.extend(packets(&mut alice));
    let (_, read, end) = receive(&mut bob, &all);
    assert_eq!(read, b"one");
    assert!(matches!(end, Read::Finished(_)));
    let (id, _) = opened(&mut bob);
    let (read, end) = read_all(&mut bob, id);
    assert_eq!(read, b"two");
    assert!(matches!(end, Read::Finished(_)));
    assert_eq!(bob.counters().faults, 0);
}

#[test]
fn a_wrong_key_and_plaintext_are_refused_and_counted() {
    let mut alice = engine("alice", 1, keyring("k", Plaintext::Refuse));
    let sealed = send(&mut alice, b"x");
    let mut eve = engine("eve", 2, keyring("other", Plaintext::Refuse));
    for packet in &sealed {
        let fault = eve
            .handle_packet(Instant::now(), Channel::Reliable, packet.clone())
            .unwrap_err();
        assert!(matches!(fault.rule, Rule::Undecryptable(_)), "{fault:?}");
    }
    assert_eq!(eve.poll_event(), None);
    assert_eq!(eve.counters().faults, 3);

    let mut plain = Peer::bob();
    let fault = plain
        .take_packet(DataPacket::from_bytes(sealed[0].clone()).unwrap())
        .unwrap_err();
    assert_eq!(fault.rule, Rule::NoKeyring);

    let mut bob = engine("bob", 3, keyring("k", Plaintext::Refuse));
    let header = from_alice(Value::StreamHeader(byte_header("s"))).to_bytes();
    let fault = bob
        .handle_packet(Instant::now(), Channel::Reliable, header.clone())
        .unwrap_err();
    assert_eq!(fault.rule, Rule::Plaintext);
    assert_eq!(bob.poll_event(), None);

    let mut lax = engine("lax", 4, keyring("k", Plaintext::Accept));
    let chunk = from_alice(chunk("s", 0, "in the clear")).to_bytes();
    let trailer = from_alice(trailer("s")).to_bytes();
    let (encryption, read, end) = receive(&mut lax, &[header, chunk, trailer]);
    assert_eq!(
        (encryption, read.as_slice()),
        (Encryption::None, &b"in the clear"[..])
    );
    assert!(matches!(end, Read::Finished(_)));
}

#[test]
fn receiver_case_06_another_encryption_than_the_header_fails_the_stream() {
    for policy in [Plaintext::Refuse, Plaintext::Accept] {
        for part in [chunk("s", 0, "x"), trailer_with("s", "", &[("k", "v")])] {
            let mut alice = engine("alice", 1, keyring("k", Plaintext::Refuse));
            let mut bob = engine("bob", 2, keyring("k", policy));
            let mut options = OpenOptions::new(Content::text(), "t", SystemTime::now());
            options.id = Some("s".into());
            alice.open(options).unwrap();
            let header = packets(&mut alice);
            bob.handle_packet(Instant::now(), Channel::Reliable, header[0].clone())
                .unwrap();
            let fault = bob
                .handle_packet(
                    Instant::now(),
                    Channel::Reliable,
                    from_alice(part).to_bytes(),
                )
                .unwrap_err();
            assert_eq!(fault.rule, Rule::EncryptionMismatch);
            let (_, read, end) = receive(&mut bob, &[]);
            assert!(read.is_empty());
            assert_eq!(end, Read::Failed(ReadError::EncryptionMismatch));
        }
    }
}

#[test]
fn nothing_leaves_without_a_key() {
    let mut ring = keyring("k", Plaintext::Refuse);
    ring.use_index(1).unwrap();
    let mut alice = engine("alice", 1, ring);
    let options = OpenOptions::new(Content::text(), "t", SystemTime::now());
    assert_eq!(
        alice.open(options.clone()),
        Err(OpenError::NoKey { index: 1 })
    );
    alice.keyring().unwrap().use_index(0).unwrap();
    alice.open(options).unwrap();
    alice.keyring().unwrap().use_index(1).unwrap();
    assert_eq!(alice.poll_packet(), None, "the header waits");
    alice.keyring().unwrap().set_shared_key(1, "later").unwrap();
    let packet = alice.poll_packet().expect("there is a key again");
    let packet = DataPacket::from_bytes(packet.bytes).unwrap();
    assert!(matches!(packet.value, Some(Value::Encrypted(_))));
}
