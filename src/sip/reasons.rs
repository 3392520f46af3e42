//! Why the registrar answers as it does, for logs and metrics.

use super::{Reply, digest::Verdict};
use crate::wire::sip::{Message, Name};

/// An answer to a REGISTER by its status.
pub(super) fn refuse(code: u16) -> Reply {
    Reply {
        code,
        why: of_register(code),
        ..Reply::default()
    }
}

/// Why a request is challenged.
pub(super) fn of_challenge(request: &Message<'_>, verdict: Verdict) -> &'static str {
    if request.header(Name::Authorization).is_none() {
        NO_CREDENTIALS
    } else if verdict == Verdict::Stale {
        STALE_CREDENTIALS
    } else {
        WRONG_CREDENTIALS
    }
}

/// A challenge to a request without credentials: the first step of every client.
pub const NO_CREDENTIALS: &str = "no credentials: challenged";
/// The credentials were of an old or used nonce.
pub const STALE_CREDENTIALS: &str = "credentials of an old nonce: challenged again";
/// The credentials were wrong.
pub const WRONG_CREDENTIALS: &str = "wrong credentials";

/// Why a REGISTER is answered so, for logs and metrics.
const fn of_register(code: u16) -> &'static str {
    match code {
        200 => "registered as asked",
        400 => "a Contact cannot be read, or * is not alone with Expires 0",
        403 => "too many contacts of this user, or no user of ours",
        404 => "no user of ours",
        420 => "it requires what we cannot do",
        423 => "its expiry is too short",
        513 => "its contacts are larger than what is kept of one",
        500 => "its CSeq is not higher than before",
        503 => "no room for its contacts, in all or of its source",
        _ => "",
    }
}
