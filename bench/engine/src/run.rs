//! The command line of the programs: `PROGRAM LOAD AMOUNT`, answered by one line of JSON.

use std::error::Error;

use serde_json::{Map, Value, json};

use crate::load;
use crate::meter::{Cost, Count, Memory};

/// What one of the two engines does with the loads. Each method may panic when a stream does not arrive whole.
pub trait Engine {
    /// Sends this many blocks of 240 000 bytes as one byte stream, encodes, decodes and reads it.
    fn both_ways(blocks: usize, count: Option<Count>) -> Cost;
    /// Sends them only; the packets are encoded and dropped.
    fn sending(blocks: usize, count: Option<Count>) -> Cost;
    /// Receives and reads this many chunks only, in packets encoded before.
    fn receiving(chunks: usize, count: Option<Count>) -> Cost;
    /// Sends short texts one after the other with default options, each read whole.
    fn texts(texts: usize, count: Option<Count>) -> Cost;
    /// Sends the payload as one call to a recipient who can inflate; gives the bytes of all packets, too.
    fn one_shot(payload: Vec<u8>, count: Option<Count>) -> (Cost, u64);
    /// Sends the payload so and reads it; gives the size of the largest piece.
    fn largest_piece(payload: Vec<u8>) -> usize;
    /// Sends blocks to a reader that never reads, and a text on another stream after every 100 blocks. Gives how many
    /// of the texts were read, and for how long nothing was taken from the wire, in seconds of the engine's own clock.
    fn unread(blocks: usize) -> (usize, f64);
}

/// Runs the load that the arguments name and prints what it cost.
///
/// # Errors
/// Unknown loads, and files of `/proc` that cannot be read.
pub fn run<E: Engine>(count: Option<Count>) -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(amount)) = (arguments.next(), arguments.next()) else {
        return Err("usage: PROGRAM LOAD AMOUNT".into());
    };
    let amount: usize = amount.parse()?;
    let bytes = amount * 1_000_000;
    let blocks = bytes / load::BLOCK_BYTES;
    let chunks = blocks * (load::BLOCK_BYTES / load::CHUNK_BYTES);
    let result = match name.as_str() {
        "both-ways" => cost(E::both_ways(blocks, count), chunks),
        "sending" => cost(E::sending(blocks, count), chunks),
        "receiving" => cost(E::receiving(chunks, count), chunks),
        "texts" => cost(E::texts(amount, count), amount),
        "logs" => one_shot::<E>(load::logs(bytes), count)?,
        "noise" => one_shot::<E>(load::noise(bytes), count)?,
        "piece" => Map::from_iter([("largest".into(), E::largest_piece(vec![b'a'; bytes]).into())]),
        "unread" => {
            let memory = Memory::start()?;
            let (texts, paused) = E::unread(blocks);
            Map::from_iter([
                ("memory".into(), memory.growth()?.into()),
                ("texts".into(), texts.into()),
                ("expected".into(), (blocks / 100).into()),
                ("paused".into(), paused.into()),
            ])
        }
        _ => return Err(format!("no load is called {name}").into()),
    };
    println!("{}", Value::Object(result));
    Ok(())
}

fn one_shot<E: Engine>(
    payload: Vec<u8>,
    count: Option<Count>,
) -> Result<Map<String, Value>, Box<dyn Error>> {
    let size = payload.len();
    let memory = Memory::start()?;
    let (spent, wire) = E::one_shot(payload, count);
    let mut result = cost(spent, 1);
    result.insert("memory".into(), memory.growth()?.into());
    result.insert("size".into(), size.into());
    result.insert("wire".into(), wire.into());
    Ok(result)
}

fn cost(cost: Cost, items: usize) -> Map<String, Value> {
    Map::from_iter([
        ("items".into(), items.into()),
        ("cpu".into(), cost.cpu.as_secs_f64().into()),
        ("allocations".into(), json!(cost.allocations)),
    ])
}
