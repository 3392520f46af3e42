//! What may be sent to whom: `accept-types` and `accept-wrapped-types` (RFC 4975 §8.6).

/// Whether a list of formats, separated by spaces, holds `media_type`: as such, as `type/*` or as `*`. Parameters do not
/// count, nor does case [MSRP-TYPES-01].
pub(super) fn listed(list: &[u8], media_type: &[u8]) -> bool {
    list.split(|&b| b == b' ').any(|format| {
        let format = format
            .split(|&b| b == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if format == b"*" || format.eq_ignore_ascii_case(media_type) {
            return true;
        }
        format.strip_suffix(b"*").is_some_and(|kind| {
            kind.ends_with(b"/")
                && media_type
                    .get(..kind.len())
                    .is_some_and(|t| t.eq_ignore_ascii_case(kind))
        })
    })
}

/// Whether content of the type that `key` says (media type, NUL, wrapped type or nothing) is covered by the two lists.
pub(super) fn key(key: &[u8], types: &[u8], wrapped: &[u8]) -> bool {
    let mut parts = key.splitn(2, |&b| b == 0);
    let outer = parts.next().unwrap_or_default();
    let inner = parts.next().unwrap_or_default();
    listed(types, outer) && self::wrapped(inner, types, wrapped)
}

/// Whether `inner` may stand in a wrapper: listed in either list, or the second says nothing.
pub(super) fn wrapped(inner: &[u8], types: &[u8], wrapped: &[u8]) -> bool {
    inner.is_empty() || wrapped.is_empty() || listed(wrapped, inner) || listed(types, inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_matched_with_wildcards_and_without_parameters() {
        let list = b"message/cpim text/*;charset=utf-8 application/im-iscomposing+xml";
        for yes in ["message/cpim", "Message/CPIM", "text/plain", "TEXT/html"] {
            assert!(listed(list, yes.as_bytes()), "{yes}");
        }
        for no in ["message/imdn+xml", "texty/plain", "text", "application/x"] {
            assert!(!listed(list, no.as_bytes()), "{no}");
        }
        assert!(listed(b"a/b *", b"x/y"));
        assert!(!listed(b"", b"x/y"));
    }

    #[test]
    fn a_wrapped_type_needs_a_place_in_either_list() {
        let types = b"message/cpim text/html";
        assert!(key(b"message/cpim\0text/plain", types, b"text/plain"));
        assert!(key(b"message/cpim\0text/html", types, b"text/plain"));
        assert!(!key(b"message/cpim\0image/png", types, b"text/plain"));
        assert!(key(b"message/cpim\0image/png", types, b""));
        assert!(!key(b"text/plain\0", types, b"text/plain"));
    }
}
