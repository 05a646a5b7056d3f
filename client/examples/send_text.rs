//! Sends one text to everybody in a room, or to those named: `send_text <url> <token> <text> [<identity>…]`.

use lkstream::{Room, TextOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, token, text, recipients @ ..] = arguments.as_slice() else {
        return Err("usage: send_text <url> <token> <text> [<identity>…]".into());
    };

    let room = Room::connect(url, token).await?;
    room.wait_until(|others| !others.is_empty()).await?;
    let options = TextOptions::new("lk.chat")
        .to(recipients)
        .attributes([("lang", "en")]);
    let sent = room.send_text(text, options).await?;
    println!("delivered to the server: {} bytes", sent.bytes());
    room.close().await;
    Ok(())
}
