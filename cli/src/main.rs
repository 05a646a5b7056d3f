//! The `lkstream` command.

fn main() {}
