//! What the participants are told: nothing is lost in silence, through our server and through the official one.

use lkstream::{DataOptions, Event, Room, TextOptions};
use lkstream_conformance::host::Host;
use lkstream_conformance::peers::Site;
use lkstream_conformance::process::{DEADLINE, Failure};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::payloads::Payloads;

#[test]
#[ignore = "needs the official peers"]
fn the_only_recipient_ends_through_ours() -> Result<(), Failure> {
    the_only_recipient_ends(&Site::ours()?)
}

#[test]
#[ignore = "needs the official peers"]
fn the_only_recipient_ends_through_stock() -> Result<(), Failure> {
    the_only_recipient_ends(&Site::stock()?)
}

/// The terminal of the only recipient is closed in the middle of a file.
fn the_only_recipient_ends(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let out = tempfile::tempdir()?;
    let folder = out.path().to_str().unwrap();
    let mut bob = site.receiver("yard", "bob", &["--out", folder])?;
    let mut alice = site.sender("yard", "alice", &["--to", "bob", "--name", "half.bin", "-"])?;
    alice.write(&payloads.random.data)?;
    bob.expect("opened")?;
    bob.signal("HUP")?;
    bob.finish()?;
    // The input stays open, so alice ends for bob's sake.
    let input = alice.take_input();
    let ended = alice.finish()?;
    drop(input);
    assert_eq!(ended.code, Some(5), "{:?}", alice.failure("its output"));
    let kept: Vec<_> = std::fs::read_dir(out.path())?.collect();
    assert!(kept.is_empty(), "{kept:?}");
    Ok(())
}

#[test]
#[ignore = "needs the official peers"]
fn a_topic_that_nobody_took_through_ours() -> Result<(), Failure> {
    a_topic_that_nobody_took(&Site::ours()?)
}

#[test]
#[ignore = "needs the official peers"]
fn a_topic_that_nobody_took_through_stock() -> Result<(), Failure> {
    a_topic_that_nobody_took(&Site::stock()?)
}

fn a_topic_that_nobody_took(site: &Site) -> Result<(), Failure> {
    let payloads = Payloads::new()?;
    let _bob = site.receiver("yard", "bob", &["--topic", "other"])?;
    let arguments = ["--to", "bob", payloads.random.path()];
    let mut alice = site.sender("yard", "alice", &arguments)?;
    let ended = alice.finish()?;
    assert_eq!(ended.code, Some(5), "{:?}", alice.failure("its output"));
    Ok(())
}

#[test]
#[ignore = "needs the official peers"]
fn many_small_files_through_ours() -> Result<(), Failure> {
    many_small_files(&Site::ours()?)
}

#[test]
#[ignore = "needs the official peers"]
fn many_small_files_through_stock() -> Result<(), Failure> {
    many_small_files(&Site::stock()?)
}

/// More files than a receiver has open at a time.
fn many_small_files(site: &Site) -> Result<(), Failure> {
    const FILES: usize = 600;
    let (source, out) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut arguments = vec!["--to".to_owned(), "bob".to_owned()];
    for number in 0..FILES {
        let path = source.path().join(format!("{number}.txt"));
        std::fs::write(&path, number.to_string())?;
        arguments.push(path.to_str().unwrap().to_owned());
    }
    let (folder, count) = (out.path().to_str().unwrap(), FILES.to_string());
    let mut bob = site.receiver("yard", "bob", &["--out", folder, "--count", &count])?;
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    site.sender("yard", "alice", &arguments)?.succeed()?;
    bob.succeed()?;
    for number in 0..FILES {
        let stored = std::fs::read_to_string(out.path().join(format!("{number}.txt")))?;
        assert_eq!(stored, number.to_string());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the official peers"]
async fn texts_into_a_paused_pipe_through_ours() -> Result<(), Failure> {
    texts_into_a_paused_pipe(&Site::ours()?).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the official peers"]
async fn texts_into_a_paused_pipe_through_stock() -> Result<(), Failure> {
    texts_into_a_paused_pipe(&Site::stock()?).await
}

/// More text than the pipe holds, in more streams than a receiver has open at a time.
async fn texts_into_a_paused_pipe(site: &Site) -> Result<(), Failure> {
    const TEXTS: usize = 600;
    let count = TEXTS.to_string();
    let arguments = ["--topic", "lk.chat", "--count", &count];
    let door = site.door(&Host::loopback());
    let mut bob = door.paused_receiver("yard", "bob", 4, &arguments)?;
    let alice = Room::connect(&site.url, &site.token("yard", "alice")?).await?;
    timeout(DEADLINE, alice.wait_for_participant("bob")).await??;
    let filler = "x".repeat(300);
    for number in 0..TEXTS {
        let options = TextOptions::new("lk.chat").to("bob");
        let text = format!("{number} {filler}");
        timeout(DEADLINE, alice.send_text(text, options)).await??;
    }
    let ended = tokio::task::spawn_blocking(move || bob.succeed()).await??;
    alice.close().await;
    let output = String::from_utf8(ended.output)?;
    for (number, line) in output.lines().enumerate() {
        assert_eq!(line, format!("{number} {filler}"));
    }
    assert_eq!(output.lines().count(), TEXTS);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the official peers"]
async fn a_greeting_before_the_events_are_read_through_ours() -> Result<(), Failure> {
    a_greeting_before_the_events_are_read(&Site::ours()?).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the official peers"]
async fn a_greeting_before_the_events_are_read_through_stock() -> Result<(), Failure> {
    a_greeting_before_the_events_are_read(&Site::stock()?).await
}

/// Alice sends every guest one packet as soon as it has joined; the guest looks only when that is through.
async fn a_greeting_before_the_events_are_read(site: &Site) -> Result<(), Failure> {
    const GUESTS: usize = 12;
    let alice = Room::connect(&site.url, &site.token("yard", "alice")?).await?;
    let (greeted, mut greetings) = mpsc::channel(GUESTS);
    let (host, mut events) = (alice.clone(), alice.events());
    let greeting = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::Joined(guest) = event {
                let options = DataOptions::new().to(guest.identity().clone());
                let sent = host.publish_data("welcome", options).await;
                if greeted.send(sent.is_ok()).await.is_err() {
                    return;
                }
            }
        }
    });
    for number in 0..GUESTS {
        let identity = format!("guest-{number}");
        let guest = Room::connect(&site.url, &site.token("yard", &identity)?).await?;
        assert_eq!(timeout(DEADLINE, greetings.recv()).await?, Some(true));
        let mut events = guest.events();
        let welcomed = async {
            while let Some(event) = events.next().await {
                if let Event::Data(_) = event {
                    return true;
                }
            }
            false
        };
        let welcomed = timeout(DEADLINE, welcomed).await;
        assert!(matches!(welcomed, Ok(true)), "{identity} is not welcomed");
        guest.close().await;
    }
    alice.close().await;
    greeting.abort();
    Ok(())
}

#[test]
#[ignore = "needs the official peers"]
fn the_first_text_of_a_newcomer_reaches_python() -> Result<(), Failure> {
    let site = Site::ours()?;
    let mut bob = site.python("recv", "yard", "bob", &["--hold"])?;
    bob.expect("joined")?;
    for number in 0..8 {
        let identity = format!("alice-{number}");
        let arguments = ["--to", "bob", "--topic", "lk.chat", "--text", "first"];
        let mut alice = site.sender("yard", &identity, &arguments)?;
        let stream = bob.expect("stream")?;
        assert_eq!(stream["sender"], identity, "{stream}");
        alice.succeed()?;
    }
    bob.succeed()?;
    Ok(())
}
