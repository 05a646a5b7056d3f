//! The loads on the official engine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    lkstream_bench::run::run::<lkstream_bench::official::Official>(None)
}
