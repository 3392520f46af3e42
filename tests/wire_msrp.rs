//! MSRP on the wire: every corpus message whole, byte by byte and cut at each place; the end-line search against a naive
//! one; what is written is read back.

#[path = "wire_msrp/reader.rs"]
mod reader;

#[path = "wire_msrp/corpus.rs"]
mod corpus;
#[path = "wire_msrp/end_line.rs"]
mod end_line;
#[path = "wire_msrp/heads.rs"]
mod heads;
#[path = "wire_msrp/uris.rs"]
mod uris;
#[path = "wire_msrp/writers.rs"]
mod writers;
