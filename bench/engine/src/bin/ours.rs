//! The loads on the engine of this repository.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    lkstream_bench::run::run::<lkstream_bench::ours::Ours>(None)
}
