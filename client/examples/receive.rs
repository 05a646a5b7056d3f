//! Prints texts and stores files that arrive in a room: `receive <url> <token> <directory>`.

use lkstream::Room;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, token, directory] = arguments.as_slice() else {
        return Err("usage: receive <url> <token> <directory>".into());
    };

    // Registered before connecting, so nothing that arrives at once is missed.
    let room = Room::builder(url, token)
        .texts("lk.chat")
        .bytes("files")
        .connect()
        .await?;
    let (mut texts, mut files) = (room.text_streams("lk.chat"), room.byte_streams("files"));
    loop {
        tokio::select! {
            Some(text) = texts.next() => {
                let sender = text.info().sender.clone();
                println!("{sender}: {}", text.read_all(1 << 20).await?);
            }
            Some(file) = files.next() => println!("stored {}", file.write_to_dir(directory).await?.path.display()),
            reason = room.closed() => {
                println!("the room is gone: {reason}");
                return Ok(());
            }
        }
    }
}
