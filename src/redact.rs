//! Addresses of people, as a log may show them: who it was stays with the operator's session list.

use std::fmt;

/// A URI or address that prints without what names a person: scheme and domain stay, since an operator looks for those;
/// the user, a telephone number and the address of a device do not.
#[derive(Clone, Copy)]
pub struct Redacted<'a>(pub &'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = ["sip:", "sips:", "tel:", "msrp:", "msrps:"]
            .into_iter()
            .find(|s| {
                self.0
                    .get(..s.len())
                    .is_some_and(|p| p.eq_ignore_ascii_case(s))
            });
        f.write_str(scheme.unwrap_or(""))?;
        f.write_str("[redacted]")?;
        let host = self.0.rsplit_once('@').map(|(_, rest)| rest);
        let domain = host.map(|h| h.split([':', ';', '?', '>', '/']).next().unwrap_or(""));
        match domain {
            // A name has a letter in its last label; a device's address does not, and an IPv6 one begins with a bracket.
            Some(d)
                if d.rsplit('.')
                    .next()
                    .is_some_and(|l| l.bytes().any(|b| b.is_ascii_alphabetic()))
                    && d.bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) =>
            {
                write!(f, "@{d}")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Redacted;

    #[test]
    fn what_names_a_person_or_a_device_is_not_shown() {
        for (address, shown) in [
            ("sip:bob@example.com", "sip:[redacted]@example.com"),
            (
                "SIP:bob@example.com;user=phone",
                "sip:[redacted]@example.com",
            ),
            (
                "sip:bob:pw@example.com:5070;transport=tcp",
                "sip:[redacted]@example.com",
            ),
            ("sip:bob@192.0.2.7:5060", "sip:[redacted]"),
            ("sip:bob@[2001:db8::7]:5060", "sip:[redacted]"),
            ("sip:192.0.2.7", "sip:[redacted]"),
            ("tel:+15551234", "tel:[redacted]"),
            ("bob", "[redacted]"),
            ("", "[redacted]"),
            ("sip:a@b\u{1b}[31m", "sip:[redacted]"),
            (
                "\"Bob Smith\" <sip:bob@example.com>",
                "[redacted]@example.com",
            ),
        ] {
            assert_eq!(Redacted(address).to_string(), shown);
            assert_eq!(format!("{:?}", Redacted(address)), shown);
        }
    }
}
