//! Recipients of streams, and the publishers they are attributed to.

use lkstream_conformance::simulation::{Client, Ending, Pace, Simulation, Stream};
use lkstream_engine::TopicFilter;
use lkstream_proto::participant::ParticipantKind;

use super::{assert_finished, millis, noise, run_until_ended, seconds, words};

/// streams.md receiver 19.
#[test]
fn two_publishers_of_the_same_stream_id_do_not_touch_each_other() {
    let mut simulation = Simulation::new(41);
    let [alice, mallory, bob] = simulation.join_all(["alice", "mallory", "bob"]);
    let first = simulation
        .send(alice, Stream::bytes("files", noise(41, 400_000)).id("same"))
        .unwrap();
    let second = simulation
        .send(
            mallory,
            Stream::bytes("files", noise(42, 300_000)).id("same"),
        )
        .unwrap();
    for sent in [first, second] {
        run_until_ended(&mut simulation, bob, sent, seconds(10));
        assert_finished(&simulation, bob, sent);
    }
    assert_eq!(simulation.received(bob).len(), 2);
    assert_eq!(simulation.faults(bob), 0);
}

/// The other's trailer, abort or leave does not end the stream either.
#[test]
fn the_end_of_another_stream_of_the_same_id_ends_only_that() {
    let mut simulation = Simulation::new(42);
    let [alice, mallory, bob] = simulation.join_all(["alice", "mallory", "bob"]);
    let open = simulation
        .send(
            alice,
            Stream::text("lk.chat", "to be continued")
                .id("same")
                .ending(Ending::Hold),
        )
        .unwrap();
    let forged = simulation
        .send(
            mallory,
            Stream::text("lk.chat", "the end")
                .id("same")
                .ending(Ending::Abort("forged".to_owned())),
        )
        .unwrap();
    run_until_ended(&mut simulation, bob, forged, seconds(5));
    simulation.leave(mallory);
    simulation.run_for(seconds(10));
    let received = simulation.copy(bob, open).unwrap();
    assert_eq!(received.bytes, b"to be continued");
    assert!(received.end.is_none(), "{:?}", received.end);
}

#[test]
fn only_those_named_get_a_stream() {
    let mut simulation = Simulation::new(43);
    let [alice, bob, carol, dave] = simulation.join_all(["alice", "bob", "carol", "dave"]);
    let sent = simulation
        .send(
            alice,
            Stream::bytes("files", noise(43, 200_000)).to(&["bob", "dave", "nobody", "alice"]),
        )
        .unwrap();
    for who in [bob, dave] {
        run_until_ended(&mut simulation, who, sent, seconds(10));
        assert_finished(&simulation, who, sent);
    }
    simulation.run_for(seconds(1));
    for who in [alice, carol] {
        assert_eq!(simulation.packets(who), 0);
        assert!(simulation.received(who).is_empty());
    }
    assert_eq!(simulation.logged(), 0);
}

#[test]
fn an_agent_speaks_for_a_user() {
    let mut simulation = Simulation::new(44);
    let [user, bob] = simulation.join_all(["user", "bob"]);
    let mut client = Client::new("agent");
    client.kind = ParticipantKind::Agent;
    let agent = simulation.join_with(client);
    simulation.run_for(seconds(1));
    let mut text = Stream::text("lk.transcription", words(44, 40_000)).speaking_for("user");
    text.write_size = 100;
    let sent = simulation.send(agent, text).unwrap();
    for who in [user, bob] {
        run_until_ended(&mut simulation, who, sent, seconds(10));
        assert_finished(&simulation, who, sent);
        let info = &simulation.copy(who, sent).unwrap().info;
        assert_eq!(info.sender.as_str(), "user");
        assert_eq!(info.publisher.as_ref(), simulation.sid(agent));
    }
}

#[test]
fn only_agents_speak_for_others() {
    let mut simulation = Simulation::new(45);
    let [_victim, mallory, bob] = simulation.join_all(["victim", "mallory", "bob"]);
    let sent = simulation
        .send(
            mallory,
            Stream::text("lk.chat", "I owe mallory 100").speaking_for("victim"),
        )
        .unwrap();
    run_until_ended(&mut simulation, bob, sent, seconds(10));
    assert_eq!(
        simulation.copy(bob, sent).unwrap().info.sender.as_str(),
        "mallory"
    );
}

#[test]
fn what_nobody_listens_to_is_not_kept() {
    let mut simulation = Simulation::new(46);
    let alice = simulation.join("alice");
    let mut client = Client::new("bob");
    client.topics = vec![TopicFilter::from("wanted")];
    let bob = simulation.join_with(client);
    simulation.run_for(seconds(1));
    let wanted = simulation
        .send(alice, Stream::bytes("wanted", noise(46, 50_000)))
        .unwrap();
    simulation
        .send(alice, Stream::bytes("unwanted", noise(47, 5_000_000)))
        .unwrap();
    run_until_ended(&mut simulation, bob, wanted, seconds(10));
    simulation.run_for(seconds(5));
    assert_finished(&simulation, bob, wanted);
    assert_eq!(simulation.received(bob).len(), 1);
    assert_eq!(simulation.unclaimed(bob), 1);
}

/// Whoever joins in the middle of a stream does not get its second half.
#[test]
fn a_newcomer_gets_no_part_of_a_running_stream() {
    let mut simulation = Simulation::new(48);
    let [alice, bob] = simulation.join_all(["alice", "bob"]);
    simulation.set_pace(bob, Pace::Eager);
    let sent = simulation
        .send(alice, Stream::bytes("files", noise(48, 20_000_000)))
        .unwrap();
    simulation.run_for(millis(150));
    let carol = simulation.join("carol");
    run_until_ended(&mut simulation, bob, sent, seconds(20));
    assert_finished(&simulation, bob, sent);
    assert!(simulation.copy(carol, sent).is_none());
    // She gets the next one whole.
    let next = simulation
        .send(alice, Stream::text("lk.chat", "welcome"))
        .unwrap();
    run_until_ended(&mut simulation, carol, next, seconds(5));
    assert_finished(&simulation, carol, next);
}
