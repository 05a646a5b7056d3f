//! Serves the method `greet`, or calls it: `rpc <url> <token>` and `rpc <url> <token> <identity> <name>`.

use std::time::Duration;

use lkstream::{Room, RpcError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [url, token] => serve(url, token).await,
        [url, token, identity, name] => call(url, token, identity, name).await,
        _ => Err("usage: rpc <url> <token> [<identity> <name>]".into()),
    }
}

async fn serve(url: &str, token: &str) -> Result<(), Box<dyn std::error::Error>> {
    // Registered before connecting, so no call that comes at once is refused.
    let room = Room::builder(url, token)
        .on_rpc("greet", |call| async move {
            if call.payload.is_empty() {
                return Err(RpcError::new(1, "nobody to greet"));
            }
            Ok(format!(
                "hello {}, says {} through me",
                call.payload, call.caller
            ))
        })
        .connect()
        .await?;
    println!("the room is gone: {}", room.closed().await);
    Ok(())
}

async fn call(
    url: &str,
    token: &str,
    identity: &str,
    name: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let room = Room::connect(url, token).await?;
    room.wait_for_participant(identity).await?;
    let greeting = room
        .call(identity, "greet", name)
        .timeout(Duration::from_secs(10))
        .await?;
    println!("{greeting}");
    room.close().await;
    Ok(())
}
