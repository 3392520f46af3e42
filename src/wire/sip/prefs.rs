//! What the caller prefers: Accept-Contact, Reject-Contact, Request-Disposition (RFC 3841 §9).

use super::{Features, Malformed, Params, scan::Cursor};

/// One value of Accept-Contact or Reject-Contact.
#[derive(Clone, Copy, Debug)]
pub struct CallerPreference<'a> {
    params: Params<'a>,
}

impl<'a> CallerPreference<'a> {
    /// Reads one value: `*` and parameters, nothing else. [PREF-01]
    ///
    /// # Errors
    /// What breaks the grammar.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        c.expect(b'*')?;
        let params = Params::read(&mut c)?;
        c.end()?;
        Ok(Self { params })
    }

    /// The features that it names.
    #[must_use]
    pub const fn features(&self) -> Features<'a> {
        Features::of(self.params)
    }

    /// `require`: contacts that do not match are not used.
    #[must_use]
    pub fn require(&self) -> bool {
        self.params.has(b"require")
    }

    /// `explicit`: a contact that does not say so does not match.
    #[must_use]
    pub fn explicit(&self) -> bool {
        self.params.has(b"explicit")
    }

    /// Its parameters as written.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        self.params
    }
}

/// One directive of Request-Disposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestDisposition {
    /// Proxy rather than redirect.
    Proxy,
    /// Redirect rather than proxy.
    Redirect,
    /// CANCEL what still rings.
    Cancel,
    /// Do not.
    NoCancel,
    /// Several targets.
    Fork,
    /// One target.
    NoFork,
    /// Search on.
    Recurse,
    /// Hand 3xx back.
    NoRecurse,
    /// All at once.
    Parallel,
    /// One after another.
    Sequential,
    /// Wait for a busy callee.
    Queue,
    /// Do not.
    NoQueue,
}

impl RequestDisposition {
    /// Reads one directive.
    ///
    /// # Errors
    /// It is none of RFC 3841's.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        const ALL: [(&[u8], RequestDisposition); 12] = [
            (b"proxy", RequestDisposition::Proxy),
            (b"redirect", RequestDisposition::Redirect),
            (b"cancel", RequestDisposition::Cancel),
            (b"no-cancel", RequestDisposition::NoCancel),
            (b"fork", RequestDisposition::Fork),
            (b"no-fork", RequestDisposition::NoFork),
            (b"recurse", RequestDisposition::Recurse),
            (b"no-recurse", RequestDisposition::NoRecurse),
            (b"parallel", RequestDisposition::Parallel),
            (b"sequential", RequestDisposition::Sequential),
            (b"queue", RequestDisposition::Queue),
            (b"no-queue", RequestDisposition::NoQueue),
        ];
        ALL.iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(value))
            .map(|(_, d)| *d)
            .ok_or(Malformed { at: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_a_star_and_features() {
        let p = CallerPreference::parse(
            b"*;+g.3gpp.icsi-ref=\"urn%3Aa%3Ab,urn%3Aa%3Ac\";Require;explicit",
        )
        .unwrap();
        assert!(p.require() && p.explicit() && p.features().has_icsi(b"urn:a:c"));
        assert_eq!(p.features().iter().count(), 1);
        let p = CallerPreference::parse(b"* ; audio").unwrap();
        assert!(!p.require() && !p.explicit());
        for bad in ["", "sip:a@b", "*x", "*;", "*,", "<*>"] {
            assert!(CallerPreference::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn directives() {
        assert_eq!(
            RequestDisposition::parse(b"No-Fork"),
            Ok(RequestDisposition::NoFork)
        );
        assert!(RequestDisposition::parse(b"nofork").is_err());
    }
}
