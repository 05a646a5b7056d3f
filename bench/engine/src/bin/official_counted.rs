//! The loads on the official engine, with its allocations counted.

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
    lkstream_bench::run::run::<lkstream_bench::official::Official>(Some(count))
}
