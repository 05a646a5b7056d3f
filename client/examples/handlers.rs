//! Handles texts and files as they arrive, and jobs one at a time: `handlers <url> <token> <directory>`.

use lkstream::{HandlerOptions, Room, TextReader, TopicFilter};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, token, directory] = arguments.as_slice() else {
        return Err("usage: handlers <url> <token> <directory>".into());
    };
    let directory = directory.clone();

    // Registered before connecting, so nothing that arrives at once is missed.
    let room = Room::builder(url, token)
        .on_text("lk.chat", |text| print("chat", text))
        .on_text(
            HandlerOptions::new(TopicFilter::Prefix("jobs.".into())).one_at_a_time(),
            |job| print("job", job),
        )
        .on_text(TopicFilter::Any, |text| print("something else", text))
        .on_bytes("files", move |file| {
            let directory = directory.clone();
            async move {
                match file.write_to_dir(directory).await {
                    Ok(stored) => println!("stored {}", stored.path.display()),
                    Err(error) => eprintln!("a file failed: {error}"),
                }
            }
        })
        .connect()
        .await?;
    println!("the room is gone: {}", room.closed().await);
    Ok(())
}

async fn print(what: &str, text: TextReader) {
    let sender = text.info().sender.clone();
    match text.read_all(1 << 20).await {
        Ok(text) => println!("{what} from {sender}: {text}"),
        Err(error) => eprintln!("{what} from {sender} failed: {error}"),
    }
}
