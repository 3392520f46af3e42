//! CPIM messages (RFC 3862): header blocks, namespaces, the content's type. `[CPIM-01]`
//!
//! ```text
//! message headers CRLF         Name ":" *( ";" parameter ) SP value
//! MIME headers of the content CRLF
//! content
//! ```
//!
//! [`classify`] tells from the first bytes of a body what it carries, [`Message`] views one whose two header blocks are
//! there. Nothing is changed and nothing refused that can be read: what is passed on is passed on as it came (`[CPIM-02]`),
//! and lines that are no headers are passed over.

mod classify;
mod header;
mod text;

pub use classify::{
    Verdict, classify, classify_type, is_mime_at, mime_at, mime_block, wrapped_type,
};
pub use header::{CORE, Header, Headers, IMDN, Message, MimeHeaders, PREFIXES_MAX};
pub use text::{escape, unescape};

/// How far into a body its two header blocks may reach to be understood (settled.md 10), in bytes.
pub const HEADERS_MAX: usize = 8 * 1024;
