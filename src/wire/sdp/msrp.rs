//! What a media section says about MSRP: RFC 4975 §8, RFC 6135, RFC 6714, RFC 5547, RFC 7701, RFC 8122.

use super::{
    session::{Media, number},
    types::{TypeList, words},
};
use crate::wire::uri::msrp::{Uri, Uris, uris};

/// Who connects (RFC 4145 §4). `holdconn` is not among them: it is never sent, and read as absent. `[COMEDIA-01]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setup {
    /// Whoever says it connects.
    Active,
    /// Whoever says it waits.
    Passive,
    /// Either.
    ActPass,
}

impl Setup {
    /// Reads the value of a setup attribute.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        [Self::Active, Self::Passive, Self::ActPass]
            .into_iter()
            .find(|s| value.eq_ignore_ascii_case(s.as_str().as_bytes()))
    }

    /// The value as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
        }
    }
}

/// The direction of media (RFC 8866 §6.7, RFC 4975 §8.9); sendrecv where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// From whoever says it.
    SendOnly,
    /// To whoever says it.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    const ALL: [Self; 4] = [
        Self::SendRecv,
        Self::SendOnly,
        Self::RecvOnly,
        Self::Inactive,
    ];

    /// The name of the attribute.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The same direction seen from the other end (RFC 3264 §6.1).
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::SendRecv | Self::Inactive => self,
        }
    }
}

/// A fingerprint of a certificate (RFC 8122 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint<'a> {
    /// Name of the hash function, `sha-256` for one.
    pub hash: &'a [u8],
    /// Pairs of hexadecimal digits with colons between them.
    pub value: &'a [u8],
}

/// The selectors of a file (RFC 5547 §6), as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FileSelector<'a> {
    /// Name, without its quotes, percent-encoded.
    pub name: Option<&'a [u8]>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Media type with its parameters.
    pub media_type: Option<&'a [u8]>,
    /// The first hash: `algorithm:` and pairs of hexadecimal digits.
    pub hash: Option<&'a [u8]>,
}

impl<'a> FileSelector<'a> {
    /// Reads the value of a file-selector attribute. `None` if a selector is not as the grammar has it.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut all = Self::default();
        for selector in words(value, false) {
            if let Some(name) = selector.strip_prefix(b"name:") {
                let name = name.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
                all.name = Some(name).filter(|n| !n.is_empty() && !n.contains(&b'"'));
                all.name?;
            } else if let Some(size) = selector.strip_prefix(b"size:") {
                all.size = Some(number(size)?);
            } else if let Some(kind) = selector.strip_prefix(b"type:") {
                all.media_type = Some(kind);
            } else if let Some(hash) = selector.strip_prefix(b"hash:") {
                all.hash = all.hash.or(Some(hash));
            } else {
                return None;
            }
        }
        Some(all)
    }
}

impl<'a> Media<'a> {
    /// Whether the section is MSRP over TCP, with TLS or without. `[MSRP-SDP-01]`
    #[must_use]
    pub fn is_msrp(&self) -> bool {
        self.kind.eq_ignore_ascii_case(b"message")
            && (self.proto.eq_ignore_ascii_case(b"TCP/MSRP") || self.is_tls())
    }

    /// Whether its transport is `TCP/TLS/MSRP`.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.proto.eq_ignore_ascii_case(b"TCP/TLS/MSRP")
    }

    /// The value of `path`: MSRP URIs with a space between two, the one to connect to first.
    #[must_use]
    pub fn path(&self) -> Option<&'a [u8]> {
        self.attribute("path").flatten().map(<[u8]>::trim_ascii)
    }

    /// The URIs of `path`; none where the attribute lacks.
    #[must_use]
    pub fn path_uris(&self) -> Option<Uris<'a>> {
        self.path().map(uris)
    }

    /// The first URI of `path`, if it is one: the hop to connect to.
    #[must_use]
    pub fn next_hop(&self) -> Option<Uri<'a>> {
        self.path_uris()?.next()?.ok()
    }

    /// `accept-types`. Every MSRP section must have it (RFC 4975 §8.6).
    #[must_use]
    pub fn accept_types(&self) -> Option<TypeList<'a>> {
        self.attribute("accept-types").flatten().map(TypeList)
    }

    /// `accept-wrapped-types`.
    #[must_use]
    pub fn accept_wrapped_types(&self) -> Option<TypeList<'a>> {
        self.attribute("accept-wrapped-types")
            .flatten()
            .map(TypeList)
    }

    /// Whether whoever made the description takes `content_type` as the body of a message. `[MSRP-TYPES-01]`
    #[must_use]
    pub fn takes(&self, content_type: &[u8]) -> bool {
        self.accept_types()
            .is_some_and(|list| list.allows(content_type))
    }

    /// Whether it takes `content_type` inside a container that it takes: by accept-types or accept-wrapped-types.
    #[must_use]
    pub fn takes_wrapped(&self, content_type: &[u8]) -> bool {
        self.takes(content_type)
            || self
                .accept_wrapped_types()
                .is_some_and(|list| list.allows(content_type))
    }

    /// `max-size`, in bytes; the misspelling `maxsize` of the field is understood.
    #[must_use]
    pub fn max_size(&self) -> Option<u64> {
        let value = self
            .attribute("max-size")
            .or_else(|| self.attribute("maxsize"))??
            .trim_ascii();
        // A size beyond 64 bits is no limit at all.
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        digits.then(|| number(value).unwrap_or(u64::MAX))
    }

    /// Whether `msrp-cema` stands in the section (RFC 6714 §5).
    #[must_use]
    pub fn cema(&self) -> bool {
        self.attribute("msrp-cema").is_some()
    }

    /// The direction, at either level.
    #[must_use]
    pub fn direction(&self) -> Direction {
        let at = |media: bool| {
            let mut lines = if media {
                self.lines()
            } else {
                self.session_lines()
            };
            lines.find_map(|line| {
                let (name, _) = line.attribute()?;
                Direction::ALL
                    .into_iter()
                    .find(|d| d.as_str().as_bytes() == name)
            })
        };
        at(true).or_else(|| at(false)).unwrap_or_default()
    }

    /// The fingerprints that hold for the section: its own, or, where it has none, those of the session level.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint<'a>> + use<'a> {
        let lines = if self.attribute("fingerprint").is_some() {
            self.lines()
        } else {
            self.session_lines()
        };
        lines.filter_map(|line| {
            let (b"fingerprint", Some(value)) = line.attribute()? else {
                return None;
            };
            let space = value.iter().position(|&b| b == b' ')?;
            Some(Fingerprint {
                hash: &value[..space],
                value: value[space + 1..].trim_ascii(),
            })
        })
    }

    /// `file-selector`; `Some(None)` where its value is not as RFC 5547 has it.
    #[must_use]
    pub fn file_selector(&self) -> Option<Option<FileSelector<'a>>> {
        self.attribute("file-selector")
            .map(|value| FileSelector::parse(value.unwrap_or_default()))
    }

    /// `file-range`: the first and the last byte, `None` for `*`.
    #[must_use]
    pub fn file_range(&self) -> Option<(u64, Option<u64>)> {
        let value = self.attribute("file-range")??;
        let dash = value.iter().position(|&b| b == b'-')?;
        let (start, stop) = (number(&value[..dash])?, &value[dash + 1..]);
        let stop = match stop {
            b"*" => None,
            digits => Some(number(digits)?),
        };
        (start > 0 && stop.is_none_or(|stop| stop >= start)).then_some((start, stop))
    }

    /// Whether `chatroom` stands in the section (RFC 7701 §8), and its value: the features.
    #[must_use]
    pub fn chatroom(&self) -> Option<&'a [u8]> {
        self.attribute("chatroom").map(Option::unwrap_or_default)
    }
}
