//! The key of an address of record: one spelling for all that mean the same user (RFC 3261 §10.3 step 5).

use super::{Error, Host, Part, Uri, sip, tel::Tel, tel::digits, unescape};
use std::fmt::Write as _;

/// The longest key that [`canonical`] writes. A longer address is refused: no user has it, and tables hold keys.
pub const KEY_BYTES_MAX: usize = 256;

/// Writes the key of the address `uri` into `out` and returns it.
///
/// Equal keys mean the same user: escapes undone, host in lower case and addresses in their shortest form, `sips` as
/// `sip` (RFC 5630 §3.1), parameters, headers and password left out. `tel:+1-201-555` and
/// `sip:+1201555@any;user=phone` both give `tel:+1201555`; a local number keeps its `ext`, `isub` and `phone-context`.
/// An explicit port stays. Of other schemes the scheme is put in lower case, the rest stays as it is.
///
/// # Errors
/// What [`Uri::parse`] says; [`Part::Length`] if the key is longer than `out` or than [`KEY_BYTES_MAX`].
pub fn canonical<'o>(uri: &[u8], out: &'o mut [u8]) -> Result<&'o [u8], Error> {
    let mut key = Key { out, len: 0 };
    let written = match Uri::parse(uri)? {
        Uri::Sip(sip) => key.sip(&sip),
        Uri::Tel(tel) => key.tel(&tel),
        Uri::Other { scheme, rest } => key
            .lower(scheme)
            .and_then(|()| key.push(b':'))
            .and_then(|()| key.all(rest)),
    };
    let len = key.len;
    match written {
        Some(()) => Ok(key.out.get(..len).unwrap_or_default()),
        None => Err(Error::new(Part::Length, 0)),
    }
}

/// The user part with its escapes undone: `%2B1201` is a number too.
fn undo<'o>(user: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    let mut len = 0;
    for c in unescape(user) {
        *out.get_mut(len)? = c.byte;
        len += 1;
    }
    out.get(..len)
}

/// Room that is being written; `None` from a method means that it is full.
struct Key<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl Key<'_> {
    fn sip(&mut self, uri: &sip::Uri<'_>) -> Option<()> {
        let mut plain = [0; KEY_BYTES_MAX];
        if uri.is_phone()
            && let Some(user) = uri.user.and_then(|user| undo(user, &mut plain))
            && let Ok(tel) = Tel::subscriber(user)
            && (tel.is_global() || tel.phone_context().is_some())
        {
            return self.tel(&tel);
        }
        self.all(b"sip:")?;
        if let Some(user) = uri.user {
            unescape(user).try_for_each(|c| self.push(c.byte))?;
            self.push(b'@')?;
        }
        match uri.host {
            Host::Name(name) => self.lower(name.strip_suffix(b".").unwrap_or(name))?,
            Host::V4(_) | Host::V6(_) => write!(self, "{}", uri.host).ok()?,
        }
        match uri.port {
            Some(port) => write!(self, ":{port}").ok(),
            None => Some(()),
        }
    }

    fn tel(&mut self, tel: &Tel<'_>) -> Option<()> {
        self.all(b"tel:")?;
        tel.digits()
            .try_for_each(|b| self.push(b.to_ascii_lowercase()))?;
        for name in [&b"ext"[..], b"isub", b"phone-context"] {
            let Some(value) = tel.param(name) else {
                continue;
            };
            // A global number is whole without its context.
            if tel.is_global() && name == b"phone-context" {
                continue;
            }
            self.push(b';')?;
            self.all(name)?;
            self.push(b'=')?;
            if name == b"ext" || value.first() == Some(&b'+') {
                digits(value).try_for_each(|b| self.push(b.to_ascii_lowercase()))?;
            } else {
                unescape(value).try_for_each(|c| self.push(c.byte.to_ascii_lowercase()))?;
            }
        }
        Some(())
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        if self.len >= KEY_BYTES_MAX {
            return None;
        }
        *self.out.get_mut(self.len)? = byte;
        self.len += 1;
        Some(())
    }

    fn all(&mut self, bytes: &[u8]) -> Option<()> {
        bytes.iter().try_for_each(|b| self.push(*b))
    }

    fn lower(&mut self, bytes: &[u8]) -> Option<()> {
        bytes
            .iter()
            .try_for_each(|b| self.push(b.to_ascii_lowercase()))
    }
}

impl std::fmt::Write for Key<'_> {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.all(s.as_bytes()).ok_or(std::fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uri: &str) -> String {
        let mut out = [0; KEY_BYTES_MAX];
        let key = canonical(uri.as_bytes(), &mut out).unwrap_or_else(|e| panic!("{uri}: {e:?}"));
        String::from_utf8_lossy(key).into_owned()
    }

    #[test]
    fn spellings_of_one_user_give_one_key() {
        for (key_wanted, spellings) in [
            (
                "tel:+12015550123",
                &[
                    "tel:+12015550123",
                    "TEL:+1-201-555-0123",
                    "tel:+1(201)555.0123;npdi",
                    "sip:+12015550123@ims.example.com;user=phone",
                    "sip:+1-201-555-0123@other.example;USER=Phone",
                    "sips:+12015550123;npdi@ims.example.com:5061;user=phone",
                    "tel:+12015550123;phone-context=+1",
                    "sip:%2B12015550123@ims.example.com;user=phone",
                ][..],
            ),
            (
                "sip:alice@example.com",
                &[
                    "sip:alice@example.com",
                    "sip:%61lice@EXAMPLE.com.",
                    "SIPS:al%69ce:pw@example.com;transport=tcp?a=b",
                ],
            ),
            (
                "tel:7042;phone-context=example.com",
                &[
                    "tel:70-42;phone-context=Example.com",
                    "sip:7042;phone-context=example.com@h;user=phone",
                ],
            ),
            (
                "tel:911;ext=12;phone-context=+1201",
                &["tel:911;phone-context=+1-201;ext=1-2"],
            ),
            ("sip:[2001:db8::1]:5070", &["sip:[2001:DB8:0:0::1]:5070"]),
            ("sip:192.0.2.1", &["sip:192.0.2.1;lr"]),
            ("urn:Service:sos", &["URN:Service:sos"]),
        ] {
            for spelling in spellings {
                assert_eq!(key(spelling), key_wanted, "{spelling}");
            }
        }
    }

    #[test]
    fn different_users_keep_different_keys() {
        let keys = [
            "sip:alice@example.com",
            "sip:Alice@example.com",
            "sip:alice@example.com:5060",
            "sip:alice@example.org",
            "sip:example.com",
            "sip:+1201@example.com",
            "tel:+1201",
            "tel:1201",
            "sip:1201@example.com;user=phone",
            "tel:1201;phone-context=+1",
            "sip:%00@example.com",
            "sip:%00%00@example.com",
        ]
        .map(key);
        for (i, a) in keys.iter().enumerate() {
            assert!(keys.iter().skip(i + 1).all(|b| a != b), "{a}");
        }
    }

    #[test]
    fn too_long_is_refused() {
        let long = format!("sip:{}@h", "a".repeat(KEY_BYTES_MAX));
        let mut out = [0; 1024];
        assert_eq!(
            canonical(long.as_bytes(), &mut out),
            Err(Error::new(Part::Length, 0))
        );
        assert_eq!(
            canonical(b"sip:a@b", &mut out[..6]),
            Err(Error::new(Part::Length, 0))
        );
        assert_eq!(canonical(b"sip:a@b", &mut out[..7]), Ok(&b"sip:a@b"[..]));
    }
}
