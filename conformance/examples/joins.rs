//! Joins and leaves a room again and again, and prints how long each join took, one JSON object a line, as
//! `bench/compare` reads it: `joins URL KEY SECRET COUNT`.

use std::time::{Duration, Instant, SystemTime};

use lkstream::Room;
use lkstream_proto::token::{Claims, sign};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, key, secret, count] = arguments.as_slice() else {
        return Err("usage: joins URL KEY SECRET COUNT".into());
    };
    for number in 0..count.parse::<u32>()? {
        let identity = format!("joiner-{number}");
        let claims = Claims::join(
            identity.as_str(),
            "bench",
            SystemTime::now(),
            Duration::from_secs(600),
        );
        let token = sign(&claims, key, secret)?;
        let began = Instant::now();
        let room = Room::connect(url, &token).await?;
        let milliseconds = began.elapsed().as_secs_f64() * 1e3;
        println!(
            "{}",
            serde_json::json!({"event": "joined", "identity": identity, "milliseconds": milliseconds})
        );
        room.close().await;
    }
    Ok(())
}
