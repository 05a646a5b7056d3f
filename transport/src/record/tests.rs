#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn pair() -> (RecordLayer, RecordLayer) {
    let (a, b) = ([1; 16], [2; 16]);
    let layer = |local: &[u8; 16], local_salt, remote: &[u8; 16], remote_salt| RecordLayer {
        local: Direction::new(local, local_salt).unwrap(),
        remote: Direction::new(remote, remote_salt).unwrap(),
        next_sequence: 1,
        replay: ReplayWindow::default(),
    };
    (layer(&a, [1; 4], &b, [2; 4]), layer(&b, [2; 4], &a, [1; 4]))
}

#[test]
fn records_open_once() {
    let (mut alice, mut bob) = pair();
    let mut sealed = Vec::new();
    alice.seal(APPLICATION_DATA, b"hello", &mut sealed).unwrap();
    assert_eq!(sealed.len(), 5 + OVERHEAD_BYTES);
    let mut copy = sealed.clone();
    let range = bob.open(&mut copy).unwrap();
    assert_eq!(&copy[range], b"hello");
    assert!(bob.open(&mut sealed.clone()).is_none());
}

#[test]
fn changed_records_are_refused() {
    let (mut alice, mut bob) = pair();
    let mut sealed = Vec::new();
    alice.seal(APPLICATION_DATA, b"hello", &mut sealed).unwrap();
    for at in (0..sealed.len()).filter(|at| ![1, 2, 11, 12].contains(at)) {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(bob.open(&mut changed).is_none(), "byte {at}");
    }
    for end in 0..sealed.len() {
        assert!(bob.open(&mut sealed[..end].to_vec()).is_none());
    }
    assert!(bob.open(&mut sealed).is_some());
}

#[test]
fn renumbered_records_do_not_repeat_a_number() {
    let (mut alice, mut bob) = pair();
    let mut handshake = Vec::new();
    alice.seal(22, b"finished", &mut handshake).unwrap();
    assert!(bob.open(&mut handshake.clone()).is_some());
    let mut again = alice.renumber(&handshake);
    let range = bob.open(&mut again).unwrap();
    assert_eq!(&again[range], b"finished");
}

#[test]
fn the_replay_window_forgets_nothing_recent() {
    let mut window = ReplayWindow::default();
    let mut seen = std::collections::HashSet::new();
    let mut random = 7u64;
    let mut top = 0u64;
    for _ in 0..20_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let sequence = (top + random % 900).saturating_sub(850);
        let recent = sequence + 900 > window.end;
        if recent {
            assert_eq!(
                window.is_new(sequence),
                !seen.contains(&sequence),
                "{sequence} of {top}"
            );
        }
        if window.is_new(sequence) {
            window.accept(sequence);
            assert!(seen.insert(sequence), "{sequence} twice");
        }
        top = top.max(sequence);
    }
    window.accept(top + 1_000_000);
    assert!(!window.is_new(top));
    assert!(window.is_new(top + 999_999));
}

#[test]
fn records_of_a_datagram_stop_at_a_cut() {
    let (mut alice, _) = pair();
    let mut datagram = Vec::new();
    alice.seal(APPLICATION_DATA, b"one", &mut datagram).unwrap();
    alice.seal(ALERT, b"two", &mut datagram).unwrap();
    assert_eq!(
        records(&datagram)
            .map(|record| record.kind)
            .collect::<Vec<_>>(),
        [APPLICATION_DATA, ALERT]
    );
    assert_eq!(records(&datagram[..datagram.len() - 1]).count(), 1);
    assert_eq!(records(&[]).count(), 0);
}
