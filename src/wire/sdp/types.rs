//! The lists of accept-types and accept-wrapped-types (RFC 4975 §8.6). `[MSRP-TYPES-01]`

use crate::wire::msrp::{is_token, media_type};

/// The value of an accept-types or accept-wrapped-types attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeList<'a>(pub &'a [u8]);

impl<'a> TypeList<'a> {
    /// The entries as they are written, with their parameters. A quoted parameter may hold a space.
    pub fn entries(self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        words(self.0, true)
    }

    /// Whether `content_type` may be sent by this list: named, or covered by `type/*` or `*`. Case and parameters, on either
    /// side, do not matter. What is no media type is never allowed.
    #[must_use]
    pub fn allows(self, content_type: &[u8]) -> bool {
        let Some((kind, sub)) = split(media_type(content_type)) else {
            return false;
        };
        if !is_token(kind) || !is_token(sub) {
            return false;
        }
        self.entries().map(media_type).any(|entry| {
            entry == b"*"
                || split(entry).is_some_and(|(k, s)| {
                    k.eq_ignore_ascii_case(kind) && (s == b"*" || s.eq_ignore_ascii_case(sub))
                })
        })
    }
}

fn split(media_type: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = media_type.iter().position(|&b| b == b'/')?;
    Some((&media_type[..slash], &media_type[slash + 1..]))
}

/// What stands between spaces, quoted strings kept whole; in these `\"` is a character where `escapes` is set.
pub(super) fn words(value: &[u8], escapes: bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = rest
            .iter()
            .position(|&b| {
                let end = b == b' ' && !quoted;
                quoted ^= b == b'"' && !escaped;
                escaped = escapes && quoted && b == b'\\' && !escaped;
                end
            })
            .unwrap_or(rest.len());
        let word = &rest[..end];
        rest = &rest[end..];
        Some(word)
    })
}
