//! The loads on the engine of this repository, with its allocations counted.

use std::alloc::System;
use std::error::Error;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> Result<(), Box<dyn Error>> {
    let count = || {
        let stats = COUNTED.stats();
        (stats.allocations + stats.reallocations) as u64
    };
    lkstream_bench::run::run::<lkstream_bench::ours::Ours>(Some(count))
}
