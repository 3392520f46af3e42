//! SDP (RFC 8866) with the attributes of RFC 4975, 4145, 6135, 6714, 5547, 7701, 8122.
//!
//! [`Session`] views a description where it lies; every line, known or not, is kept in order with its bytes. [`Writer`]
//! makes a description: lines copied byte by byte, lines of our own. What to offer and to answer is decided elsewhere
//! (room `session`).

mod address;
mod line;
mod msrp;
mod session;
mod types;
mod write;

pub use address::{AddressMatch, match_address};
pub use line::{Line, Lines};
pub use msrp::{Direction, FileSelector, Fingerprint, Setup};
pub use session::{Connection, Error, MEDIA_MAX, Media, Origin, SDP_MAX, Session};
pub use types::TypeList;
pub use write::Writer;
