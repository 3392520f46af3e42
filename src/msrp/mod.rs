//! The data plane: framer (stream to chunks), leg table, fan-out, responses, reports, delivery accounting.
//!
//! Bytes in, slices out. A body is counted, never copied on its way. No socket, no clock.
