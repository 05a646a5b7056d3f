//! Answers that would be too large, and answers to packets that were not for us.

use std::time::Instant;

use bytes::Bytes;
use lkstream_sctp::{Association, Config};

use crate::link::script::{
    COOKIE_ACK, COOKIE_ECHO, Chunk, ERROR, HEARTBEAT, HEARTBEAT_ACK, INIT, INIT_ACK, SACK,
    SHUTDOWN_COMPLETE, Script, WHOLE, answers, chunks, cookie, kinds, packet, parameter,
};
use crate::link::{Endpoint, Ours, config};
use crate::{connected, plain};

/// Everything that is to be said, packet by packet.
fn packets(ours: &mut Ours, now: Instant) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| {
        let mut buffer = Vec::new();
        ours.output(now, &mut buffer).then_some(buffer)
    })
    .collect()
}

/// RFC 9260 §6.10: what is bundled fits the packet, whatever there is to answer; and all of it is answered, if not in the first.
#[test]
fn packets_are_never_larger_than_set() {
    for size in (256..1_400).step_by(12) {
        let (mut ours, script, now) = connected(Config {
            packet: size,
            ..config()
        });
        let echo = parameter(1, &vec![7; (size - 160).min(900)]);
        let mut said = vec![
            Chunk::new(0xff, 0, [7; 200]),
            Chunk::new(HEARTBEAT, 0, echo),
            script.data(1, WHOLE, 1, 1, b"x"),
            script.reset(0, 5, &[1]),
        ];
        said.extend((0..40).map(|_| script.data(1, WHOLE, 1, 1, b"x")));
        script.say(&mut ours, now, &said);
        // Gaps, more than there is room for.
        for ahead in 2..400 {
            let chunk = script.data(ahead * 2, WHOLE, 1, ahead as u16, b"x");
            script.say(&mut ours, now, &[chunk]);
        }
        ours.association.path_changed(now);
        ours.association.reset_stream(now, 2).unwrap();
        ours.write(now, 1, Bytes::from(vec![1; 3_000]));
        let packets = packets(&mut ours, now);
        let longest = packets.iter().map(Vec::len).max();
        assert!(longest <= Some(size & !3), "{longest:?} of {size}");
        let all: Vec<u8> = packets.iter().flat_map(|p| kinds(&chunks(p))).collect();
        for kind in [ERROR, HEARTBEAT_ACK, SACK, HEARTBEAT, 130, 0] {
            assert!(all.contains(&kind), "{kind} of {size}");
        }
    }
}

/// RFC 9260 §8.3: a heartbeat comes back unchanged; one that does not fit a packet is dropped and counted.
#[test]
fn heartbeats_come_back_whole_or_not_at_all() {
    let (mut ours, script, now) = plain();
    for length in [4, 5, 508, 512, 513, 1_000, 1_171, 1_172, 1_173, 4_000] {
        let before = ours.association.stats().chunks_refused;
        let beat = Chunk::new(HEARTBEAT, 0, parameter(1, &vec![9; length - 4]));
        let echo = beat.value.clone();
        script.say(&mut ours, now, &[beat]);
        let said = answers(&mut ours, now);
        let refused = ours.association.stats().chunks_refused - before;
        if length <= 1_172 {
            assert_eq!(said, [Chunk::new(HEARTBEAT_ACK, 0, echo)], "{length}");
            assert_eq!(refused, 0);
        } else {
            assert!(said.is_empty(), "{length}");
            assert_eq!(refused, 1);
        }
    }
}

/// RFC 9260 §8.5.1: what comes after a SHUTDOWN COMPLETE with our peer's own tag, or after an INIT, was not checked by its tag.
#[test]
fn what_follows_a_chunk_with_another_tag_is_not_looked_at() {
    let (mut ours, script, now) = plain();
    let data = script.data(0, WHOLE, 1, 0, b"x");
    let complete = Chunk::new(SHUTDOWN_COMPLETE, 1, []);
    let init = Script::new(5, 5).init(INIT, &[]);
    for (tag, first) in [(script.tag, complete), (0, init)] {
        let bytes = packet(tag, &[first, data.clone()]);
        assert!(ours.association.handle_packet(now, &bytes).is_err());
        assert!(ours.read().is_none(), "{tag}");
        assert!(answers(&mut ours, now).is_empty());
    }
    assert_eq!(ours.association.stats().chunks_received, 0);
    script.say(&mut ours, now, &[data]);
    assert_eq!(ours.read().unwrap().1, "x");
}

/// RFC 9260 §3.2.1, §3.2.2: parameters that are to be reported are, in the INIT ACK or along with the COOKIE ECHO, and what answers us
/// in the same way is taken.
#[test]
fn unknown_parameters_are_reported() {
    let now = Instant::now();
    let unknown = parameter(0xc123, b"never heard of");
    let listed = [parameter(0x8123, b"quiet"), unknown.clone()].concat();
    let mut ours = Ours::new(Association::accept(now, config(), 1));
    let mut script = Script::new(77, 1_000);
    ours.input(now, &packet(0, &[script.init(INIT, &listed)]));
    let said = answers(&mut ours, now);
    assert_eq!(kinds(&said), [INIT_ACK]);
    let report = parameter(8, &parameter(0xc123, b"never heard of")[..18]);
    let has_report = |value: &[u8]| value.windows(report.len()).any(|part| part == report);
    assert!(has_report(&said[0].value));
    script.learn(&said[0]);
    script.say(
        &mut ours,
        now,
        &[Chunk::new(COOKIE_ECHO, 0, cookie(&said[0]))],
    );
    assert_eq!(kinds(&answers(&mut ours, now)), [COOKIE_ACK]);

    let mut ours = Ours::new(Association::connect(now, config(), 1));
    let mut script = Script::new(77, 1_000);
    script.learn(&answers(&mut ours, now)[0]);
    // The cookie comes after what the other side did not know.
    let list = [
        parameter(8, &parameter(0xc000, &[])),
        unknown.clone(),
        parameter(7, b"their own"),
    ];
    script.say(&mut ours, now, &[script.init(INIT_ACK, &list.concat())]);
    let said = packets(&mut ours, now);
    assert_eq!(said.len(), 1);
    let said = chunks(&said[0]);
    assert_eq!(kinds(&said), [COOKIE_ECHO, ERROR]);
    assert_eq!(said[0].value, b"their own");
    assert_eq!(said[1].value, parameter(8, &unknown));
}

/// RFC 9260 §3.3.3: a flood of them is reported in part, and the INIT ACK fits the smallest packet.
#[test]
fn many_unknown_parameters_are_reported_in_part() {
    let now = Instant::now();
    let small = Config {
        packet: 256,
        ..config()
    };
    for length in [1, 40, 100, 20_000] {
        let list = parameter(0xc123, &vec![1; length]).repeat(60_000 / (length + 8));
        let mut ours = Ours::new(Association::accept(now, small.clone(), 1));
        let script = Script::new(77, 1_000);
        ours.input(now, &packet(0, &[script.init(INIT, &list)]));
        let said = packets(&mut ours, now);
        assert_eq!(said.len(), 1);
        assert!(said[0].len() <= 256, "{}", said[0].len());
        assert_eq!(kinds(&chunks(&said[0])), [INIT_ACK]);
    }
}
