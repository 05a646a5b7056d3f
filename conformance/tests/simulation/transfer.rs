//! Whole streams, both ways at once.

use lkstream_conformance::simulation::{Client, Ending, Length, Simulation, Stream};
use lkstream_conformance::wire;
use lkstream_engine::{Content, ReadError, Receipts};
use lkstream_proto::receipt::Status;

use super::{assert_finished, is_flushed, millis, noise, run_until_ended, seconds, words};

/// A file and a text each way at once; gives the hash of all that happened.
fn exchange(seed: u64, size: usize) -> (u64, u64) {
    let mut simulation = Simulation::new(seed);
    let all = ["alice", "bob"].map(|identity| {
        let mut client = Client::new(identity);
        // Coarser than the default: 20 MB are many segments.
        client.wire.segment = 16 << 10;
        simulation.join_with(client)
    });
    simulation.run_for(seconds(1));
    let mut sent = Vec::new();
    for (index, who) in all.into_iter().enumerate() {
        let file = Stream::bytes("files", noise(seed + index as u64, size));
        let mut text = Stream::text("lk.chat", words(seed + index as u64, 50_000));
        text.write_size = 7;
        let other = all[1 - index];
        sent.push((other, simulation.send(who, file).unwrap()));
        sent.push((other, simulation.send(who, text).unwrap()));
    }
    for (to, sent) in &sent {
        run_until_ended(&mut simulation, *to, *sent, seconds(60));
    }
    simulation.run_for(seconds(1));
    for (to, sent) in &sent {
        assert_finished(&simulation, *to, *sent);
        assert!(is_flushed(&simulation, *sent));
    }
    simulation.check_copies();
    assert_eq!(simulation.logged(), 0);
    // A text is not held up by the file that was opened before it.
    let ended = |index: usize| {
        let (to, sent) = sent[index];
        simulation.copy(to, sent).unwrap().ended.unwrap()
    };
    if size > 5_000_000 {
        assert!(ended(1) < ended(0) && ended(3) < ended(2));
    }
    (simulation.hash(), simulation.events())
}

#[test]
fn a_text_and_a_file_of_20_mb_cross_both_ways_at_once() {
    exchange(1, 20_000_000);
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let first = exchange(7, 300_000);
    assert_eq!(exchange(7, 300_000), first);
    assert_ne!(exchange(8, 300_000).0, first.0);
}

#[test]
fn empty_streams_arrive_whole() {
    let mut simulation = Simulation::new(2);
    let [alice, bob] = simulation.join_all(["alice", "bob"]);
    let mut open = Stream::bytes("files", Vec::new());
    open.length = Length::Open;
    let sent = [
        simulation.send(alice, Stream::text("lk.chat", "")).unwrap(),
        simulation
            .send(alice, Stream::bytes("files", Vec::new()))
            .unwrap(),
        simulation.send(alice, open).unwrap(),
    ];
    for sent in sent {
        run_until_ended(&mut simulation, bob, sent, seconds(5));
        assert_finished(&simulation, bob, sent);
    }
}

#[test]
fn an_aborted_stream_ends_with_its_reason() {
    let mut simulation = Simulation::new(3);
    let [alice, bob] = simulation.join_all(["alice", "bob"]);
    let mut stream = Stream::text("lk.chat", words(3, 40_000));
    stream.ending = Ending::Abort("changed my mind".to_owned());
    let sent = simulation.send(alice, stream).unwrap();
    run_until_ended(&mut simulation, bob, sent, seconds(5));
    let received = simulation.copy(bob, sent).unwrap();
    assert!(
        matches!(received.error(), Some(ReadError::AbortedBySender { reason }) if &**reason == "changed my mind"),
        "{:?}",
        received.end
    );
    simulation.check_copies();
}

#[test]
fn headers_arrive_as_sent() {
    let mut simulation = Simulation::new(4);
    let [alice, bob] = simulation.join_all(["alice", "bob"]);
    let mut stream = Stream::bytes("maps", noise(4, 100)).id("my-id");
    stream.content = Content::bytes("world.osm");
    let sent = simulation.send(alice, stream).unwrap();
    run_until_ended(&mut simulation, bob, sent, seconds(5));
    let info = &simulation.copy(bob, sent).unwrap().info;
    assert_eq!(info.id.as_str(), "my-id");
    assert_eq!(info.topic.as_str(), "maps");
    assert_eq!(info.content, Content::bytes("world.osm"));
    assert_eq!(info.mime_type, "application/octet-stream");
    assert_eq!(info.total_length, Some(100));
    assert_eq!(info.sender.as_str(), "alice");
    assert_eq!(info.publisher.as_ref(), simulation.sid(alice));
    assert_eq!(info.attributes.get("number").map(String::as_str), Some("0"));
}

#[test]
fn receivers_confirm_when_asked() {
    let mut simulation = Simulation::new(5);
    let [alice, bob, carol] = simulation.join_all(["alice", "bob", "carol"]);
    let mut stream = Stream::bytes("files", noise(5, 100_000)).to(&["bob"]);
    stream.receipts = Receipts::Request;
    let sent = simulation.send(alice, stream).unwrap();
    simulation.run_for(seconds(2));
    assert_finished(&simulation, bob, sent);
    assert_eq!(simulation.packets(carol), 0);
    let complete: Vec<_> = simulation
        .receipts(alice)
        .iter()
        .filter(|confirmation| confirmation.status == Status::Complete)
        .collect();
    assert_eq!(complete.len(), 1, "{:?}", simulation.receipts(alice));
    assert_eq!(complete[0].stream, simulation.sent(sent).id);
    assert_eq!(complete[0].from.as_str(), "bob");
    assert_eq!(complete[0].bytes, 100_000);
}

#[test]
fn a_thin_and_long_wire_carries_everything_too() {
    let mut simulation = Simulation::new(6);
    let mut thin = Client::new("alice");
    thin.wire = wire::Config {
        latency: millis(300),
        bytes_per_second: 200_000,
        receive_window: 60_000,
        send_buffer: 30_000,
        ..wire::Config::default()
    };
    let alice = simulation.join_with(thin);
    let bob = simulation.join("bob");
    simulation.run_for(seconds(5));
    let there = simulation
        .send(alice, Stream::bytes("files", noise(6, 500_000)))
        .unwrap();
    let back = simulation
        .send(bob, Stream::bytes("files", noise(7, 500_000)))
        .unwrap();
    run_until_ended(&mut simulation, bob, there, seconds(60));
    run_until_ended(&mut simulation, alice, back, seconds(60));
    assert_finished(&simulation, bob, there);
    assert_finished(&simulation, alice, back);
}

/// The file fills every buffer on the way, and those are small.
#[test]
fn a_text_arrives_soon_while_a_file_is_sent() {
    let mut simulation = Simulation::new(9);
    // The receiver's wire is the thinner one, so the room's log fills as well.
    let [alice, bob] = [("alice", 10_000_000), ("bob", 5_000_000)].map(|(identity, speed)| {
        let mut client = Client::new(identity);
        client.wire.bytes_per_second = speed;
        simulation.join_with(client)
    });
    simulation.run_for(seconds(1));
    let file = simulation
        .send(alice, Stream::bytes("files", noise(9, 30_000_000)))
        .unwrap();
    simulation.run_for(millis(300));
    let mut worst = millis(0);
    for index in 0..10 {
        let opened = simulation.now();
        let text = simulation
            .send(alice, Stream::text("lk.chat", words(index, 100)))
            .unwrap();
        run_until_ended(&mut simulation, bob, text, seconds(5));
        worst = worst.max(simulation.now() - opened);
        simulation.run_for(millis(50));
    }
    assert!(simulation.copy(bob, file).unwrap().end.is_none());
    // 20 ms are the wires' own; what a room logs before it slows a publisher (1 MiB), its receive window (1 MiB) and
    // two send buffers of 256 KiB are 520 ms at 5 MB/s.
    assert!(worst < millis(600), "{worst:?}");
    println!("worst {worst:?}");
    run_until_ended(&mut simulation, bob, file, seconds(20));
    assert_finished(&simulation, bob, file);
}
