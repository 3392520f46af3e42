//! The Participating Function: pure state machines; input in, effects out; one file a procedure.
#![forbid(unsafe_code)]
