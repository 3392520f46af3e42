//! placeholder
#![allow(missing_docs)]
pub struct Outbox;
pub struct Piece;
