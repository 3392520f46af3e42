//! A request that came to nothing: what was answered instead, as RFC 7501 counts failed attempts.

use std::fmt;

use crate::trouble::Trouble;

/// What came instead of a 2xx.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The final response; 408 if none came in time (RFC 3261 §8.1.3.1); none if the answer cannot be used.
    pub(crate) code: Option<u16>,
    what: String,
}

impl Refusal {
    pub(super) fn by(code: u16, to: impl fmt::Display) -> Self {
        Self {
            code: Some(code),
            what: format!("{to} was answered {code}"),
        }
    }

    pub(super) fn silence(to: &str) -> Self {
        Self {
            code: Some(408),
            what: format!("no answer to {to}"),
        }
    }

    pub(super) fn other(what: impl Into<String>) -> Self {
        Self {
            code: None,
            what: what.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<Trouble> for Refusal {
    fn from(t: Trouble) -> Self {
        Self::other(t.to_string())
    }
}

impl From<Refusal> for Trouble {
    fn from(r: Refusal) -> Self {
        match r.code {
            Some(_) => Self::unreachable(r.what),
            None => Self::failed(r.what),
        }
    }
}
