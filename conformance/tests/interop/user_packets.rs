//! Single packets, with the official SDK, both directions and both servers (protocol.md §4.1).

use std::time::{Duration, SystemTime};

use lkstream::{
    Channel, DataOptions, Event, PublishError, Room, Transcription, TranscriptionSegment,
};
use lkstream_conformance::peers::{KEY, SECRET, Site};
use lkstream_conformance::process::{DEADLINE, Failure};
use lkstream_proto::token::{Claims, sign};
use tokio::time::timeout;

use super::payloads::{Payload, sha256};

#[tokio::test]
#[ignore = "needs the official peers"]
async fn packets_through_ours() -> Result<(), Failure> {
    let site = Site::ours()?;
    rust_to_python(&site).await?;
    python_to_rust(&site).await
}

#[tokio::test]
#[ignore = "needs the official peers"]
async fn packets_through_stock() -> Result<(), Failure> {
    let site = Site::stock()?;
    rust_to_python(&site).await?;
    python_to_rust(&site).await
}

/// Servers take transcriptions from agents only (protocol.md §4.3).
fn agent(identity: &str) -> Result<String, Failure> {
    let now = SystemTime::now();
    let mut claims = Claims::join(identity, "packets", now, Duration::from_secs(600));
    claims.kind = "agent".to_owned();
    Ok(sign(&claims, KEY, SECRET)?)
}

async fn rust_to_python(site: &Site) -> Result<(), Failure> {
    let mut bob = site.python("data", "packets", "bob", &[])?;
    bob.expect("idle")?;
    let room = timeout(DEADLINE, Room::connect(&site.url, &agent("alice")?)).await??;
    timeout(DEADLINE, room.wait_for_participant("bob")).await??;
    // The official server tells of joins every 3 s (protocol.md §2.9), and packets of strangers have no sender.
    bob.expect("participant")?;

    let payload = vec![7; 60_000];
    let options = DataOptions::new().topic("seven").to("bob");
    room.publish_data(payload.clone(), options).await?;
    room.publish_data("quick", DataOptions::new().lossy())
        .await?;
    let mut packets = Vec::new();
    // Nothing orders the two channels; the driver goes on with the rest by itself only while this task waits.
    settle(&room).await?;
    for _ in 0..2 {
        packets.push(bob.expect("data")?);
    }
    packets.sort_by_key(|packet| packet["bytes"].as_u64());
    let (lossy, reliable) = (&packets[0], &packets[1]);
    assert_eq!(lossy["sha256"], sha256(b"quick"), "{lossy}");
    assert_eq!(lossy["kind"], "KIND_LOSSY", "{lossy}");
    assert_eq!(reliable["sha256"], sha256(&payload), "{reliable}");
    assert_eq!(reliable["kind"], "KIND_RELIABLE", "{reliable}");
    assert_eq!(reliable["topic"], "seven", "{reliable}");
    assert_eq!(reliable["sender"], "alice", "{reliable}");

    // The channel survives a packet that is too large.
    let refused = room.publish_data(vec![0; 64_001], DataOptions::new()).await;
    assert!(
        matches!(refused, Err(PublishError::Packet(_))),
        "{refused:?}"
    );

    room.publish_dtmf(5, "5").await?;
    let transcription = Transcription {
        transcribed_participant_identity: "alice".to_owned(),
        track_id: "TR_none".to_owned(),
        segments: vec![TranscriptionSegment {
            id: "SG_1".to_owned(),
            text: "as you said".to_owned(),
            ..TranscriptionSegment::default()
        }],
    };
    room.publish_transcription(transcription).await?;
    settle(&room).await?;
    let key = bob.expect("dtmf")?;
    assert_eq!((&key["code"], &key["digit"]), (&5.into(), &"5".into()));
    assert_eq!(bob.expect("transcription")?["texts"][0], "as you said");
    room.close().await;
    bob.succeed()?;
    Ok(())
}

/// Waits until everything queued before was acknowledged by the server.
async fn settle(room: &Room) -> Result<(), Failure> {
    let options = lkstream::TextOptions::new("settle").to("nobody");
    timeout(DEADLINE, room.send_text("", options)).await??;
    Ok(())
}

async fn python_to_rust(site: &Site) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let large = Payload::new(folder.path(), "large", vec![3; 60_000])?;
    let room = timeout(DEADLINE, Room::connect(&site.url, &agent("bob")?)).await??;
    let mut events = room.events();
    let arguments = [
        "--kind",
        "agent",
        "--topic",
        "three",
        "--to",
        "bob",
        &large.by("reliable"),
        &large.by("lossy"),
        "dtmf:9",
        "transcription:so it is",
    ];
    let mut alice = site.python("data", "packets", "alice", &arguments)?;
    // Nothing orders the two channels.
    let (mut channels, mut key, mut said) = (Vec::new(), None, None);
    while channels.len() < 2 || key.is_none() || said.is_none() {
        match timeout(DEADLINE, events.next()).await? {
            Some(Event::Data(message)) => {
                assert_eq!(sha256(&message.payload), large.sha256);
                assert_eq!(message.from, "alice");
                let topic = message.topic.as_ref().map(|topic| topic.as_str());
                assert_eq!(topic, Some("three"));
                channels.push(message.channel);
            }
            Some(Event::SipDtmf { from, dtmf }) => key = Some((from, dtmf)),
            Some(Event::Transcription { transcription, .. }) => said = Some(transcription),
            Some(_) => {}
            None => return Err(Failure::new("the events ended")),
        }
    }
    assert!(channels.contains(&Channel::Reliable) && channels.contains(&Channel::Lossy));
    let (from, key) = key.unwrap();
    assert_eq!((from, key.code, &*key.digit), ("alice".into(), 1, "9"));
    assert_eq!(said.unwrap().segments[0].text, "so it is");
    alice.expect("idle")?;
    alice.succeed()?;
    room.close().await;
    Ok(())
}
