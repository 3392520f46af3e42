//! Who the generator's people are: one caller and one user a session, so that a server that shards by user gets many.

/// The sender of a session: outside the served domains.
pub(crate) fn caller(session: u32) -> String {
    format!("sip:caller{session:05}@example.net")
}

/// The served user of a session, who has the devices.
pub(crate) fn user(session: u32) -> String {
    format!("sip:user{session:05}@example.com")
}

/// The domain that the server under test has to serve.
pub(crate) const DOMAIN: &str = "example.com";
