//! What the operator wrote: one TOML file, read once, every problem reported with its place.
