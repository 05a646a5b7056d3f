//! Sends one text to everybody in a room: `send_text <url> <token> <text>`.

use lkstream::{Room, TextOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, token, text] = arguments.as_slice() else {
        return Err("usage: send_text <url> <token> <text>".into());
    };

    let room = Room::connect(url, token).await?;
    room.wait_until(|others| !others.is_empty()).await?;
    let sent = room.send_text(text, TextOptions::new("lk.chat")).await?;
    println!("delivered to the server: {} bytes", sent.bytes());
    room.close().await;
    Ok(())
}
