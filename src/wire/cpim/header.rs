//! The two header blocks of a CPIM message, and headers found by namespace and name. `[CPIM-03]`

use super::HEADERS_MAX;

/// The namespace of the headers of RFC 3862 §4, and of names without a prefix where no NS says otherwise.
pub const CORE: &[u8] = b"urn:ietf:params:cpim-headers:";

/// The namespace of the headers of RFC 5438 §6.
pub const IMDN: &[u8] = b"urn:ietf:params:imdn";

/// Most prefixes that stand for one namespace at a time.
pub const PREFIXES_MAX: usize = 8;

/// A view of a CPIM message whose header blocks are whole.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    headers: &'a [u8],
    mime: &'a [u8],
    /// Where the content begins, in the bytes that were parsed.
    pub content_at: usize,
}

impl<'a> Message<'a> {
    /// Views the message at the start of `body`. `None` if the two blocks do not end within its first
    /// [`HEADERS_MAX`] bytes. Lines end in CRLF; LF alone is understood.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let window = &body[..body.len().min(HEADERS_MAX)];
        let (headers_end, mime_at) = block(window, 0)?;
        let (mime_end, content_at) = block(window, mime_at)?;
        Some(Self {
            headers: &window[..headers_end],
            mime: &window[mime_at..mime_end],
            content_at,
        })
    }

    /// The message headers, in order.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.headers }
    }

    /// The headers called `name` in `namespace`, whatever prefix they are written with, in order: there may be several.
    /// Names are compared with case (RFC 3862 §2.2). A prefix stands for what the last NS header before it declares
    /// (§3.4); of one namespace [`PREFIXES_MAX`] prefixes at a time are known.
    pub fn find(
        &self,
        namespace: &'a [u8],
        name: &'a [u8],
    ) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut bound = [None; PREFIXES_MAX];
        if same_namespace(CORE, namespace) {
            bound[0] = Some(&[][..]);
        }
        self.headers().filter(move |h| {
            let prefix = h.prefix().unwrap_or_default();
            let found = h.local_name() == name && bound.contains(&Some(prefix));
            if h.name == b"NS"
                && let Some((prefix, uri)) = namespace_of(h.value)
            {
                declare(&mut bound, prefix, same_namespace(uri, namespace));
            }
            found
        })
    }

    /// The value of the first header called `name` in `namespace`.
    #[must_use]
    pub fn value(&self, namespace: &'a [u8], name: &'a [u8]) -> Option<&'a [u8]> {
        self.find(namespace, name).next().map(|h| h.value)
    }

    /// The MIME headers of the content, in order.
    #[must_use]
    pub fn mime(&self) -> MimeHeaders<'a> {
        MimeHeaders { rest: self.mime }
    }

    /// The value of the first MIME header `name`, compared without case.
    #[must_use]
    pub fn mime_value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.mime()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The Content-Type of the content, with its parameters.
    #[must_use]
    pub fn content_type(&self) -> Option<&'a [u8]> {
        self.mime_value(b"Content-Type")
    }
}

/// A message header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name as it is written, with its prefix.
    pub name: &'a [u8],
    /// The parameters, each with its leading `;`, or nothing.
    pub parameters: &'a [u8],
    /// The value, escapes not undone.
    pub value: &'a [u8],
}

impl<'a> Header<'a> {
    /// The prefix, if the name has one.
    #[must_use]
    pub fn prefix(&self) -> Option<&'a [u8]> {
        let dot = self.name.iter().position(|&b| b == b'.')?;
        Some(&self.name[..dot])
    }

    /// The name without its prefix.
    #[must_use]
    pub fn local_name(&self) -> &'a [u8] {
        match self.prefix() {
            Some(prefix) => &self.name[prefix.len() + 1..],
            None => self.name,
        }
    }

    /// The language tag, if there is one (RFC 3862 §3.3).
    #[must_use]
    pub fn language(&self) -> Option<&'a [u8]> {
        self.parameters
            .split(|&b| b == b';')
            .find_map(|p| p.strip_prefix(b"lang="))
    }

    /// Reads one line. `None` if it is no header: no name, or no colon and space behind it.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let colon = line.iter().position(|&b| b == b':')?;
        let (name, rest) = (&line[..colon], &line[colon + 1..]);
        let mut quoted = false;
        let space = if rest.first() == Some(&b';') {
            rest.iter().position(|&b| {
                quoted ^= b == b'"';
                b == b' ' && !quoted
            })?
        } else {
            0
        };
        let (parameters, value) = rest.split_at(space);
        // "Name:" with an empty value is written with its space or, by some clients, without.
        let value = match value {
            [] => value,
            [b' ', value @ ..] => value,
            _ => return None,
        };
        let named = !name.is_empty()
            && !name
                .iter()
                .any(|b| *b <= b' ' || b"()<>@,;\\\"/[]?={}".contains(b));
        named.then_some(Self {
            name,
            parameters,
            value,
        })
    }
}

/// The message headers of a block, in order; what is no header is passed over.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        loop {
            let (line, rest) = line(self.rest)?;
            self.rest = rest;
            if let Some(header) = Header::parse(line) {
                return Some(header);
            }
        }
    }
}

/// The MIME headers of a block, in order: name and value. A folded value keeps its line ends.
#[derive(Clone, Debug)]
pub struct MimeHeaders<'a> {
    rest: &'a [u8],
}

impl<'a> MimeHeaders<'a> {
    pub(super) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }
}

impl<'a> Iterator for MimeHeaders<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.rest;
            let (first, mut rest) = line(start)?;
            let mut end = first.len();
            while let [b' ' | b'\t', ..] = rest {
                let Some((more, after)) = line(rest) else {
                    break;
                };
                end = start.len() - rest.len() + more.len();
                rest = after;
            }
            self.rest = rest;
            let whole = &start[..end];
            if let Some(colon) = first.iter().position(|&b| b == b':')
                && colon > 0
            {
                return Some((
                    whole[..colon].trim_ascii_end(),
                    whole[colon + 1..].trim_ascii(),
                ));
            }
        }
    }
}

/// From here on `prefix` stands for the namespace that is looked for, or no longer does.
fn declare<'a>(bound: &mut [Option<&'a [u8]>; PREFIXES_MAX], prefix: &'a [u8], stands: bool) {
    if let Some(known) = bound.iter_mut().find(|b| **b == Some(prefix)) {
        if !stands {
            *known = None;
        }
    } else if stands && let Some(free) = bound.iter_mut().find(|b| b.is_none()) {
        *free = Some(prefix);
    }
}

/// `NS: [prefix] "<" URI ">"`: prefix (empty for the default namespace) and URI.
fn namespace_of(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let open = value.iter().position(|&b| b == b'<')?;
    let close = value.iter().position(|&b| b == b'>')?;
    let uri = value.get(open + 1..close)?;
    Some((value[..open].trim_ascii(), uri.trim_ascii()))
}

/// Namespaces are compared as they are written, but for a colon at the end, which is written and left out for both of ours.
fn same_namespace(a: &[u8], b: &[u8]) -> bool {
    let bare = |uri: &'_ [u8]| uri.len() - usize::from(uri.ends_with(b":"));
    a[..bare(a)] == b[..bare(b)]
}

/// A line without its end, and what follows it; `None` if there is none. The last may lack its end.
pub(super) fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    let (line, rest) = match memchr::memchr(b'\n', text) {
        Some(lf) => (&text[..lf], &text[lf + 1..]),
        None => (text, &[][..]),
    };
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest))
}

/// The block of lines that begins at `at`: where the empty line that ends it begins, and what follows that line begins.
pub(super) fn block(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut from = at;
    let mut ends = |lf: usize| {
        let empty = matches!(&text[from..lf], [] | [b'\r']);
        let line = std::mem::replace(&mut from, lf + 1);
        empty.then_some((line, lf + 1))
    };
    // Header lines are short: 16 bytes at a time are quicker than a search that is set up anew for each line.
    let (pieces, rest) = text.get(at..)?.as_chunks::<16>();
    for (i, piece) in pieces.iter().enumerate() {
        let mut marks = [0u8; 16];
        for (mark, &b) in marks.iter_mut().zip(piece) {
            *mark = if b == b'\n' { 0xff } else { 0 };
        }
        let mut marks = u128::from_le_bytes(marks);
        while marks != 0 {
            let place = marks.trailing_zeros() / 8;
            if let Some(found) = ends(at + i * 16 + place as usize) {
                return Some(found);
            }
            marks &= !(0xff << (place * 8));
        }
    }
    let behind = text.len() - rest.len();
    (behind..text.len())
        .filter(|&lf| text[lf] == b'\n')
        .find_map(ends)
}

/// Whether the first empty line of `text` is its last. For texts of one line or more before that, whose lines end in CRLF;
/// `false` for others.
pub(super) fn ends_with_first_empty_line(text: &[u8]) -> bool {
    let Some(lines) = text.strip_suffix(b"\r\n\r\n") else {
        return false;
    };
    // An empty line is a line feed behind a line feed, or a carriage return between. Without a way out in the middle, many
    // places are looked at at once.
    let (Some(second), Some(third)) = (text.get(1..), text.get(2..)) else {
        return false;
    };
    let starts_empty = matches!(text, [b'\n', ..] | [b'\r', b'\n', ..]);
    let inside = lines
        .iter()
        .zip(second)
        .zip(third)
        .fold(false, |found, ((&a, &b), &c)| {
            found | (a == b'\n') & ((b == b'\n') | (b == b'\r') & (c == b'\n'))
        });
    !starts_empty && !inside
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        // Whatever the bytes, it says no more than the search does.
        #[test]
        fn the_first_empty_line_is_the_last(text in "[\r\n\r\na]{0,12}(\r\n\r\n)?") {
            let text = text.as_bytes();
            let found = block(text, 0).is_some_and(|(_, behind)| behind == text.len());
            let says = ends_with_first_empty_line(text);
            prop_assert!(!says || found, "{:?}", text);
            let plain = text.ends_with(b"\r\n\r\n") && text.len() > 4;
            prop_assert!(says || !found || !plain, "{:?}", text);
        }
    }
}
