//! Tags and lengths of packets.

use bytes::Bytes;
use lkstream_sctp::{Association, PeerFault};

use crate::link::script::{
    ABORT, COOKIE_ACK, Chunk, HEARTBEAT, HEARTBEAT_ACK, INIT, INIT_ACK, SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE, Script, WHOLE, answers, kinds, packet, parameter, raw_packet,
};
use crate::link::{Endpoint, Ours, config};
use crate::plain;

/// RFC 9260 §8.5.1 A: an INIT has the tag zero, and is alone (§3.3.2).
#[test]
fn an_init_has_no_tag_and_no_company() {
    let now = std::time::Instant::now();
    let mut ours = Ours::new(Association::accept(now, config(), 1));
    let script = Script::new(77, 1_000);
    let init = script.init(INIT, &[]);
    let tagged = packet(5, std::slice::from_ref(&init));
    let fault = ours.association.handle_packet(now, &tagged);
    assert_eq!(fault, Err(PeerFault::Tag));
    let data = script.data(0, WHOLE, 1, 0, b"x");
    for company in [[init.clone(), data.clone()], [init.clone(), init.clone()]] {
        let fault = ours.association.handle_packet(now, &packet(0, &company));
        assert!(matches!(fault, Err(PeerFault::Malformed(_))), "{fault:?}");
    }
    assert!(answers(&mut ours, now).is_empty());
    assert_eq!(ours.association.stats().packets_refused, 1);
}

/// RFC 9260 §8.5.1 B, C: ABORT and SHUTDOWN COMPLETE have our tag, or with the T flag their own.
#[test]
fn an_abort_needs_the_tag() {
    for (kind, flags, own_tag, is_taken) in [
        (ABORT, 0, true, true),
        (ABORT, 1, false, true),
        (ABORT, 0, false, false),
        (ABORT, 1, true, false),
        (SHUTDOWN_COMPLETE, 0, false, false),
        (SHUTDOWN_COMPLETE, 1, true, false),
    ] {
        let (mut ours, script, now) = plain();
        let tag = if own_tag { script.peer_tag } else { script.tag };
        let packet = packet(tag, &[Chunk::new(kind, flags, [])]);
        let result = ours.association.handle_packet(now, &packet);
        assert_eq!(ours.association.is_closed(), is_taken, "{kind} {flags}");
        assert_eq!(result.is_ok(), is_taken, "{kind} {flags}");
    }
    // Before there is another side, a reflected tag of zero is none.
    let now = std::time::Instant::now();
    let mut ours = Ours::new(Association::accept(now, config(), 1));
    let abort = packet(0, &[Chunk::new(ABORT, 1, [])]);
    assert_eq!(
        ours.association.handle_packet(now, &abort),
        Err(PeerFault::Tag)
    );
}

/// RFC 9260 §5.2.3, §5.2.5, §8.4: what answers something that was not asked changes nothing.
#[test]
fn answers_to_nothing_are_refused() {
    let (mut ours, script, now) = plain();
    let cookie = parameter(7, b"a cookie of nobody");
    let strays = [
        script.init(INIT_ACK, &cookie),
        Chunk::new(COOKIE_ACK, 0, []),
        Chunk::new(SHUTDOWN_ACK, 0, []),
        Chunk::new(SHUTDOWN_COMPLETE, 0, []),
        Chunk::new(HEARTBEAT_ACK, 0, parameter(1, &[0xff; 8])),
        Chunk::new(HEARTBEAT_ACK, 0, parameter(1, b"short")),
    ];
    for (count, stray) in strays.iter().enumerate() {
        let packet = packet(script.peer_tag, std::slice::from_ref(stray));
        assert!(ours.association.handle_packet(now, &packet).is_err());
        assert_eq!(ours.association.stats().chunks_refused, count as u64 + 1);
    }
    assert!(answers(&mut ours, now).is_empty());
    ours.write(now, 1, Bytes::from_static(b"still"));
    assert_eq!(answers(&mut ours, now).len(), 1);
}

/// RFC 9260 §3.2: a packet in which one length lies is dropped as a whole.
#[test]
fn one_lying_length_spoils_the_packet() {
    let (mut ours, script, now) = plain();
    let good = script.data(0, WHOLE, 1, 0, b"data");
    let whole = packet(script.peer_tag, std::slice::from_ref(&good));
    for (length, count) in [(0, 4), (3, 4), (5, 4), (0xffff, 4), (4, 3), (4, 1)] {
        let [high, low] = u16::to_be_bytes(length);
        let lie = [HEARTBEAT, 0, high, low];
        let body = [&whole[12..], &lie[..count]].concat();
        let packet = raw_packet(script.peer_tag, &body);
        let fault = ours.association.handle_packet(now, &packet);
        assert_eq!(fault, Err(PeerFault::Malformed(packet.len())), "{length}");
    }
    assert!(answers(&mut ours, now).is_empty());
    assert_eq!(ours.association.stats().packets_refused, 6);
    assert_eq!(ours.association.stats().chunks_received, 0);
}

/// RFC 9260 §8.3, §3.2: any number of requests in one packet or many leaves one answer of each kind.
#[test]
fn requests_are_answered_once() {
    let (mut ours, script, now) = plain();
    let beat = Chunk::new(HEARTBEAT, 0, parameter(1, &[7; 500]));
    let strange = Chunk::new(0xff, 0, [7; 5_000]);
    for _ in 0..100 {
        script.say(&mut ours, now, &[beat.clone(), strange.clone()]);
    }
    let said = answers(&mut ours, now);
    assert_eq!(kinds(&said), [crate::link::script::ERROR, HEARTBEAT_ACK]);
    assert!(said.iter().all(|chunk| chunk.value.len() <= 512));
}
