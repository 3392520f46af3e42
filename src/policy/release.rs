//! The CPM release that a User-Agent names (cpm-notes.md §7).

use std::{fmt, str::FromStr};

/// A release: `2.2` in `CPM-client/OMA2.2`. Compared as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// Before the dot.
    pub major: u16,
    /// Behind it.
    pub minor: u16,
}

impl Release {
    /// The release of the first `CPM-client/OMA<major>.<minor>` or `CPM-serv/OMA<major>.<minor>` in a User-Agent value.
    #[must_use]
    pub fn of_user_agent(value: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?;
        value.split_ascii_whitespace().find_map(|product| {
            let (name, version) = product.split_once('/')?;
            let ours =
                name.eq_ignore_ascii_case("CPM-client") || name.eq_ignore_ascii_case("CPM-serv");
            let (oma, release) = version.split_at_checked(3)?;
            (ours && oma.eq_ignore_ascii_case("OMA"))
                .then(|| release.parse().ok())
                .flatten()
        })
    }
}

/// Not of the form `<number>.<number>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARelease;

impl fmt::Display for NotARelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a release is two numbers with a dot between: 2.2")
    }
}

impl std::error::Error for NotARelease {}

impl FromStr for Release {
    type Err = NotARelease;

    fn from_str(s: &str) -> Result<Self, NotARelease> {
        let number = |s: &str| {
            s.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| s.parse().ok())
                .flatten()
        };
        let (major, minor) = s.split_once('.').ok_or(NotARelease)?;
        Ok(Self {
            major: number(major).ok_or(NotARelease)?,
            minor: number(minor).ok_or(NotARelease)?,
        })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_as_numbers() {
        let r: Release = "2.10".parse().unwrap();
        assert!(r > "2.9".parse().unwrap());
        assert_eq!("02.010".parse(), Ok(r));
        for bad in ["", "2", "2.", ".2", "2.x", "+2.1", "2.2.2", "99999.1"] {
            assert_eq!(bad.parse::<Release>(), Err(NotARelease), "{bad}");
        }
    }

    #[test]
    fn the_first_cpm_product_counts() {
        let of = |s: &str| Release::of_user_agent(s.as_bytes()).map(|r| r.to_string());
        assert_eq!(
            of("term-x/1 cpm-CLIENT/oma2.2 CPM-serv/OMA1.0"),
            Some("2.2".into())
        );
        assert_eq!(of("CPM-client/OM"), None);
        assert_eq!(of("CPM-client/é€2.2"), None);
        assert_eq!(of(""), None);
    }
}
