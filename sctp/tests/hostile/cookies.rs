//! Cookies that are forged, stale or used again (RFC 9260 §5.1.5, §5.2.4, §5.2.6).

use std::time::{Duration, Instant};

use bytes::Bytes;
use lkstream_sctp::{Association, Event, PeerFault};

use crate::link::script::{
    COOKIE_ACK, COOKIE_ECHO, Chunk, DATA, ERROR, INIT, INIT_ACK, Script, WHOLE, answers, chunks,
    cookie, kinds, packet, parameter, word,
};
use crate::link::{Endpoint, Ours, config};
use crate::plain;

fn listening(now: Instant, seed: u64) -> Ours {
    Ours::new(Association::accept(now, config(), seed))
}

/// Asks for a cookie.
fn ask(ours: &mut Ours, script: &mut Script, now: Instant) -> Chunk {
    ours.input(now, &packet(0, &[script.init(INIT, &[])]));
    let said = answers(ours, now);
    assert_eq!(said[0].kind, INIT_ACK);
    script.learn(&said[0]);
    Chunk::new(COOKIE_ECHO, 0, cookie(&said[0]))
}

/// RFC 9260 §5.1.5: a cookie of another association, cut or changed, sets nothing up.
#[test]
fn forged_cookies_are_refused() {
    let now = Instant::now();
    let mut script = Script::new(77, 1_000);
    let mut other = listening(now, 2);
    let foreign = ask(&mut other, &mut script, now);
    let mut ours = listening(now, 1);
    let own = ask(&mut ours, &mut script, now);
    let mut changed = own.clone();
    changed.value[9] ^= 1;
    let cut = Chunk::new(COOKIE_ECHO, 0, &own.value[..own.value.len() - 4]);
    for bad in [foreign, changed, cut, Chunk::new(COOKIE_ECHO, 0, [])] {
        let packet = packet(script.peer_tag, &[bad]);
        let fault = ours.association.handle_packet(now, &packet);
        assert_eq!(fault, Err(PeerFault::Cookie));
    }
    // RFC 9260 §5.1.5 step 3: the right cookie under a wrong tag.
    let wrong_tag = packet(script.peer_tag ^ 1, std::slice::from_ref(&own));
    let fault = ours.association.handle_packet(now, &wrong_tag);
    assert_eq!(fault, Err(PeerFault::Tag));
    assert!(answers(&mut ours, now).is_empty() && !ours.is_connected());
    script.say(&mut ours, now, &[own]);
    assert!(ours.is_connected());
}

/// RFC 9260 §5.2.6, §3.3.10.3: a cookie that is too old is answered with an ERROR that says by how much.
#[test]
fn stale_cookies_are_reported() {
    let now = Instant::now();
    let mut script = Script::new(77, 1_000);
    let mut ours = listening(now, 1);
    let echo = ask(&mut ours, &mut script, now);
    let later = now + Duration::from_secs(63);
    script.say(&mut ours, later, std::slice::from_ref(&echo));
    assert!(!ours.is_connected());
    let mut error = Vec::new();
    assert!(ours.output(later, &mut error));
    // Under the tag of who asked, or it would be dropped there.
    assert_eq!(word(&error, 4), script.tag);
    let over = parameter(3, &3_000_000u32.to_be_bytes());
    assert_eq!(chunks(&error), [Chunk::new(ERROR, 0, over)]);
    // The next INIT gets a fresh one.
    let fresh = ask(&mut ours, &mut script, later);
    script.say(&mut ours, later, &[fresh]);
    assert!(ours.is_connected());
    // Case D: the old one again, for it is that of this association.
    script.say(&mut ours, later, &[echo]);
    let said = answers(&mut ours, later);
    assert!(kinds(&said).contains(&COOKIE_ACK));
    assert_eq!(ours.events, [Event::Connected]);
}

/// RFC 9260 §5.2.6: the side that asked begins again.
#[test]
fn a_stale_cookie_makes_us_ask_again() {
    let now = Instant::now();
    let mut ours = Ours::new(Association::connect(now, config(), 1));
    let mut script = Script::new(77, 1_000);
    for _ in 0..3 {
        let said = answers(&mut ours, now);
        assert_eq!(kinds(&said), [INIT]);
        script.learn(&said[0]);
        let cookie = parameter(7, b"their own");
        script.say(&mut ours, now, &[script.init(INIT_ACK, &cookie)]);
        assert_eq!(kinds(&answers(&mut ours, now)), [COOKIE_ECHO]);
        let stale = parameter(3, &[0, 0, 0, 9]);
        script.say(&mut ours, now, &[Chunk::new(ERROR, 0, stale)]);
    }
    assert!(!ours.is_connected() && !ours.association.is_closed());
}

/// RFC 9260 §5.2.4: a cookie that was used is no way back, neither into what goes on nor into what is over.
#[test]
fn used_cookies_change_nothing() {
    let now = Instant::now();
    let mut first = Script::new(77, 1_000);
    let mut ours = listening(now, 1);
    let echo = ask(&mut ours, &mut first, now);
    let mut script = first;
    let first_echo = packet(first.peer_tag, std::slice::from_ref(&echo));
    ours.input(now, &first_echo);
    first.say(&mut ours, now, &[first.data(0, WHOLE, 1, 0, b"one")]);
    assert_eq!(ours.read().unwrap().1, "one");
    // Again and again: an answer, nothing else (case D).
    for _ in 0..100 {
        ours.input(now, &first_echo);
    }
    assert!(kinds(&answers(&mut ours, now)).contains(&COOKIE_ACK));
    first.say(&mut ours, now, &[first.data(1, WHOLE, 1, 1, b"two")]);
    assert_eq!(ours.read().unwrap().1, "two");
    // The other side begins anew (case A); then both its old cookie and that of the restart are used up.
    script.tag = 78;
    script.tsn = 5_000;
    let anew = ask(&mut ours, &mut script, now);
    let anew = packet(script.peer_tag, &[anew]);
    ours.input(now, &anew);
    assert_eq!(ours.events, [Event::Connected, Event::Restarted]);
    let fault = ours.association.handle_packet(now, &first_echo);
    assert_eq!(fault, Err(PeerFault::Cookie));
    ours.input(now, &anew);
    assert_eq!(ours.events, [Event::Connected, Event::Restarted]);
    script.say(&mut ours, now, &[script.data(0, WHOLE, 1, 0, b"anew")]);
    assert_eq!(ours.read().unwrap().1, "anew");
    ours.association.abort(now);
    let _ = answers(&mut ours, now);
    for old in [&first_echo, &anew] {
        let fault = ours.association.handle_packet(now, old);
        assert_eq!(fault, Err(PeerFault::Closed));
    }
    assert!(answers(&mut ours, now).is_empty());
}

/// RFC 9260 §5.2.2: an INIT while all is well changes neither tags nor numbers until its cookie comes back.
#[test]
fn an_init_that_is_not_followed_changes_nothing() {
    let (mut ours, script, now) = plain();
    for tag in 1..1_000 {
        let mut stranger = Script::new(tag, tag);
        let _ = ask(&mut ours, &mut stranger, now);
        assert_ne!(stranger.peer_tag, script.peer_tag);
    }
    script.say(&mut ours, now, &[script.data(0, WHOLE, 1, 0, b"still")]);
    assert_eq!(ours.read().unwrap().1, "still");
    ours.write(now, 1, Bytes::from_static(b"back"));
    let said = answers(&mut ours, now);
    let data = said.iter().find(|chunk| chunk.kind == DATA).unwrap();
    assert_eq!(word(&data.value, 0), script.peer_tsn);
}
