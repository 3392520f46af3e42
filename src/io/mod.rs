//! The only impure place of a shard: ring, operations, listeners, memory, threads, clock, signals.
//!
//! It translates and nothing more: due timers, completions, effects, submit, under a named budget a turn.
