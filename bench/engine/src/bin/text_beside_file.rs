//! What a short text waits while its sender is sending a file, through a server on loopback, all in this process:
//! `text-beside-file MEGABYTES`. Prints one line of JSON; latencies run from the call of `send_text` until the
//! receiver has read the whole text.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lkstream::{ByteOptions, Compress, Room, TextOptions};
use lkstream_bench::load;
use lkstream_proto::token::{ApiKeys, Claims};
use lkstream_server::{Config, Server};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Time between two texts.
const PAUSE: Duration = Duration::from_millis(5);
/// Texts sent without a file, for comparison.
const IDLE_TEXTS: usize = 400;
/// Bytes of noise that the file repeats: more than deflate looks back.
const NOISE_BYTES: usize = 4_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let argument = std::env::args().nth(1);
    let megabytes: usize = argument
        .ok_or("usage: text-beside-file MEGABYTES")?
        .parse()?;
    let folder = std::env::temp_dir().join(format!("lkstream-bench-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let result = measure(&folder, megabytes).await;
    std::fs::remove_dir_all(&folder)?;
    println!("{}", result?);
    Ok(())
}

async fn measure(folder: &Path, megabytes: usize) -> Result<serde_json::Value> {
    let path = folder.join("noise.bin");
    let noise = load::noise(NOISE_BYTES);
    let mut file = std::fs::File::create(&path)?;
    let mut left = megabytes * 1_000_000;
    while left > 0 {
        let part = left.min(noise.len());
        file.write_all(&noise[..part])?;
        left -= part;
    }
    file.sync_all()?;
    drop(file);

    let server = Server::spawn(Config::dev().with_free_ports()).await?;
    let bob = Room::connect(&server.url(), &token("bob")?).await?;
    let mut files = bob.byte_streams("files");
    let mut texts = bob.text_streams("lk.chat");
    let alice = Arc::new(Room::connect(&server.url(), &token("alice")?).await?);
    alice.wait_for_participant("bob").await?;

    let latencies = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&latencies);
    let began = Instant::now();
    let reading = tokio::spawn(async move {
        while let Some(text) = texts.next().await {
            let text = text.read_all(1000).await?;
            let sent: u64 = text.trim_start_matches('x').parse()?;
            let latency = began.elapsed().saturating_sub(Duration::from_nanos(sent));
            noted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(latency);
        }
        Result::Ok(())
    });

    for _ in 0..IDLE_TEXTS {
        send_text(&alice, began).await?;
        tokio::time::sleep(PAUSE).await;
    }
    let idle = std::mem::take(&mut *latencies.lock().unwrap_or_else(PoisonError::into_inner));

    let receiving = tokio::spawn(async move {
        let mut file = files.next().await.ok_or("the room ended")?;
        let mut received = 0;
        while let Some(piece) = file.next().await {
            received += piece?.len();
        }
        Result::Ok(received)
    });
    let done = Arc::new(AtomicBool::new(false));
    let (sender, is_done) = (Arc::clone(&alice), Arc::clone(&done));
    let texting = tokio::spawn(async move {
        let mut sent = 0_usize;
        while !is_done.load(Ordering::Relaxed) {
            send_text(&sender, began).await?;
            sent += 1;
            tokio::time::sleep(PAUSE).await;
        }
        Result::Ok(sent)
    });
    let file_began = Instant::now();
    alice
        .send_file(&path, ByteOptions::new("files").compress(Compress::Never))
        .await?;
    let received = receiving.await??;
    let seconds = file_began.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    let sent = texting.await??;
    if received != megabytes * 1_000_000 {
        return Err(format!("{received} bytes arrived").into());
    }
    alice.close().await;
    reading.abort();
    let beside = std::mem::take(&mut *latencies.lock().unwrap_or_else(PoisonError::into_inner));
    server.shutdown().await;
    Ok(json!({
        "megabytes_per_second": megabytes as f64 / seconds,
        "sent": sent,
        "idle": quantiles(idle)?,
        "beside": quantiles(beside)?,
    }))
}

/// Sends a text of 100 bytes that says when.
async fn send_text(room: &Room, began: Instant) -> Result<()> {
    let text = format!("{:x>100}", format!("x{}", began.elapsed().as_nanos()));
    room.send_text(text, TextOptions::new("lk.chat")).await?;
    Ok(())
}

fn token(identity: &str) -> Result<String> {
    let hour = Duration::from_secs(3600);
    let claims = Claims::join(identity, "den", SystemTime::now(), hour);
    Ok(ApiKeys::one("devkey", "secret").sign(&claims, "devkey")?)
}

/// In milliseconds.
fn quantiles(mut latencies: Vec<Duration>) -> Result<serde_json::Value> {
    latencies.sort();
    let at = |share: f64| {
        let index = (latencies.len().saturating_sub(1)) as f64 * share;
        let latency = latencies.get(index.round() as usize);
        latency
            .map(|latency| latency.as_secs_f64() * 1e3)
            .ok_or("no text arrived")
    };
    Ok(json!({
        "texts": latencies.len(), "p50": at(0.5)?, "p99": at(0.99)?, "max": at(1.0)?,
    }))
}
