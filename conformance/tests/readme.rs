//! The Rust of README.md and docs/migrating.md, as it stands there: each block is found in this file, and runs. `ci/readme` runs the
//! README's commands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use lkstream::{ByteOptions, Room, TextOptions};
use lkstream_server::{Config, Server};
use tokio::sync::oneshot;

const LIMIT: Duration = Duration::from_secs(60);

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Lines without their indentation, and without those that only the test has.
fn lines(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.ends_with("// test"))
        .collect()
}

fn check_blocks(name: &str, text: &str, least: usize) {
    let here = lines(include_str!("readme.rs"));
    let blocks: Vec<&str> = text
        .split("```rust\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(
        blocks.len() >= least,
        "{name} has {} blocks of Rust",
        blocks.len()
    );
    for block in blocks {
        let block = lines(block);
        assert!(
            here.windows(block.len())
                .any(|window| window == block.as_slice()),
            "of {name} this file does not have\n{}",
            block.join("\n")
        );
    }
}

#[test]
fn every_block_of_rust_is_in_this_file() {
    check_blocks("README.md", include_str!("../../README.md"), 4);
    let migrating = include_str!("../../docs/migrating.md");
    check_blocks("docs/migrating.md", migrating, 1);
}

#[rustfmt::skip]
async fn send(url: String, token: String) -> Outcome {
    let room = Room::connect(&url, &token).await?;
    room.send_text("hello, room", TextOptions::new("lk.chat")).await?;
    room.send_file("report.pdf", ByteOptions::new("files")).await?;
    room.close().await;
    Ok(())
}

#[rustfmt::skip]
async fn receive(url: String, token: String, ready: oneshot::Sender<()>) -> Outcome {
    let room = Room::connect(&url, &token).await?;
    let mut files = room.byte_streams("files");
    let _ = ready.send(()); // test
    while let Some(file) = files.next().await {
        let stored = file.write_to_dir("inbox").await?;
        println!("{}", stored.path.display());
    }
    Ok(())
}

#[rustfmt::skip]
async fn chat(url: String, token: String, ready: oneshot::Sender<()>) -> Outcome {
    let room = Room::connect(&url, &token).await?;
    room.send_text("hello", TextOptions::new("lk.chat")).await?;
    let mut texts = room.text_streams("lk.chat");
    let _ = ready.send(()); // test
    while let Some(text) = texts.next().await {
        let sender = text.info().sender.clone();
        println!("{sender}: {}", text.read_all(1 << 20).await?);
    }
    Ok(())
}

#[rustfmt::skip]
async fn call(room: &Room) -> Outcome<String> {
    room.on_rpc("greet", |call| async move { Ok(format!("hello {}", call.payload)) });
    let answer = room.call("bob", "greet", "alice").await?;
    Ok(answer)
}

#[rustfmt::skip]
async fn embedded() -> Outcome {
    let server = Server::spawn(Config::dev().with_free_ports()).await?;
    let token = server.token("lobby", "alice")?;
    let alice = Room::connect(&server.url(), &token).await?;
    println!("{} is in {}", alice.local().identity(), server.url());
    server.shutdown().await; // dropping it stops it, too
    Ok(())
}

/// One test, since the README's paths are relative to a folder that belongs to the whole process.
#[tokio::test]
async fn the_rust_of_the_readme_does_what_it_says() -> Outcome {
    let folder = tempfile::tempdir()?;
    std::env::set_current_dir(folder.path())?;
    std::fs::create_dir("inbox")?;
    std::fs::write("report.pdf", vec![7; 100_000])?;
    tokio::time::timeout(LIMIT, embedded()).await??;

    let server = Server::spawn(Config::dev().with_free_ports()).await?;
    let url = server.url();
    let watcher = Room::connect(&url, &server.token("lobby", "watcher")?).await?;
    let bob = Room::connect(&url, &server.token("lobby", "bob")?).await?;
    bob.on_rpc("greet", |call| async move {
        Ok(format!("bob greets {}", call.payload))
    });
    watcher.wait_for_participant("bob").await?;
    let answer = tokio::time::timeout(LIMIT, call(&watcher)).await??;
    assert_eq!(answer, "bob greets alice");

    let mut texts = watcher.text_streams("lk.chat");
    let token = server.token("lobby", "carol")?;
    let (ready, is_ready) = oneshot::channel();
    let receiving = tokio::spawn(async move {
        let ended = receive(url, token, ready).await;
        ended.map_err(|e| e.to_string())
    });
    tokio::time::timeout(LIMIT, is_ready).await??;
    let token = server.token("lobby", "alice")?;
    tokio::time::timeout(LIMIT, send(server.url(), token)).await??;
    let text = tokio::time::timeout(LIMIT, texts.next()).await?.unwrap();
    assert_eq!(text.read_all(1000).await?, "hello, room");
    let (url, token) = (server.url(), server.token("lobby", "dave")?);
    let (ready, is_ready) = oneshot::channel();
    let chatting = tokio::spawn(async move {
        let ended = chat(url, token, ready).await;
        ended.map_err(|e| e.to_string())
    });
    let text = tokio::time::timeout(LIMIT, texts.next()).await?.unwrap();
    assert_eq!(text.read_all(1000).await?, "hello");
    tokio::time::timeout(LIMIT, is_ready).await??;
    server.shutdown().await;
    tokio::time::timeout(LIMIT, chatting).await???;
    tokio::time::timeout(LIMIT, receiving).await???;
    assert_eq!(std::fs::read("inbox/report.pdf")?, vec![7; 100_000]);
    Ok(())
}
