//! Sends a file to one participant and waits for the confirmation: `send_file <url> <token> <identity> <file>`.

use lkstream::{ByteOptions, Room};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, token, identity, file] = arguments.as_slice() else {
        return Err("usage: send_file <url> <token> <identity> <file>".into());
    };

    let room = Room::connect(url, token).await?;
    let receiver = room.wait_for_participant(identity.as_str()).await?;
    let options = ByteOptions::new("files")
        .to(receiver.identity().clone())
        .confirmed()
        .on_progress(|p| println!("{} of {:?} bytes acknowledged", p.acknowledged, p.total));
    let mut sent = room.send_file(file, options).await?;
    // Only receivers built on this crate confirm; others leave you with "delivered to the server".
    while let Some(receipt) = sent.receipts.next().await {
        println!("{}: {:?}", receipt.from, receipt.status);
        if receipt.is_final() {
            break;
        }
    }
    room.close().await;
    Ok(())
}
