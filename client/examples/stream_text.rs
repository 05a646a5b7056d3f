//! Streams a text as it is made, from two tasks that share the writer: `stream_text <url> <token> <identity>`.

use std::time::Duration;

use lkstream::{Room, TextOptions, TextWriter};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, token, identity] = arguments.as_slice() else {
        return Err("usage: stream_text <url> <token> <identity>".into());
    };

    let room = Room::connect(url, token).await?;
    room.wait_for_participant(identity).await?;
    let writer = room
        .stream_text(TextOptions::new("lk.chat").to(identity))
        .await?;
    // Clones write the same stream; what one writes is never in the middle of what the other does.
    let counting = tokio::spawn(count(writer.clone()));
    for word in ["the", " quick", " brown", " fox"] {
        writer.write(word).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    match counting.await? {
        Ok(()) => drop(writer.close().await?),
        // Receivers read an error with this reason, and the attributes in the trailer.
        Err(error) => writer.abort_with(
            "the counter failed",
            [("error".to_owned(), error.to_string())].into(),
        ),
    }
    room.close().await;
    Ok(())
}

async fn count(writer: TextWriter) -> Result<(), lkstream::WriteError> {
    for number in 0..4 {
        writer.write(format!(" [{number}]")).await?;
        tokio::time::sleep(Duration::from_millis(70)).await;
    }
    Ok(())
}
