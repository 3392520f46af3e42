//! `ringfork-load`: the load generator.
fn main() {}
