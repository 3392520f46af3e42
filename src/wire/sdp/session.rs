//! A whole description and its media sections.

use super::{
    line::{Line, Lines},
    msrp::Setup,
};
use crate::wire::{msrp::is_token, uri::msrp::Host};

/// Most media sections of a description that is read.
pub const MEDIA_MAX: usize = 32;

/// Longest description that is read, in bytes.
pub const SDP_MAX: usize = 64 * 1024;

/// Why a body is no description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// Longer than [`SDP_MAX`].
    TooLong,
    /// More than [`MEDIA_MAX`] media sections.
    TooManyMedia,
    /// A line that is no letter, equals sign and value, or has a NUL or a lone CR in it.
    Line,
    /// The first line is not `v=0`.
    Version,
    /// No o= line behind it, or not of six fields with numeric identifier and version, or with a NUL or a lone CR in it.
    Origin,
    /// No s= line.
    Name,
    /// A c= line without its three fields.
    Connection,
    /// An m= line that is not `media port[/count] proto fmt…`.
    Media,
    /// An attribute whose name is no token.
    Attribute,
}

/// The fields of an o= line (RFC 8866 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// User name, `-` if there is none.
    pub username: &'a [u8],
    /// Session identifier: digits, of any length.
    pub session_id: &'a [u8],
    /// Session version: digits, of any length.
    pub version: &'a [u8],
    /// Network type, `IN`.
    pub nettype: &'a [u8],
    /// Address type, `IP4` or `IP6`.
    pub addrtype: &'a [u8],
    /// Address or name.
    pub address: &'a [u8],
}

impl<'a> Origin<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        if breaks(value) {
            return None;
        }
        let [username, session_id, version, nettype, addrtype, address] = fields(value)?;
        let number = |d: &[u8]| d.iter().all(u8::is_ascii_digit);
        (number(session_id) && number(version)).then_some(Self {
            username,
            session_id,
            version,
            nettype,
            addrtype,
            address,
        })
    }

    /// The version as a number, if 64 bits hold it.
    #[must_use]
    pub fn version_number(&self) -> Option<u64> {
        std::str::from_utf8(self.version).ok()?.parse().ok()
    }
}

/// The fields of a c= line (RFC 8866 §5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// Network type, `IN`.
    pub nettype: &'a [u8],
    /// Address type, `IP4` or `IP6`.
    pub addrtype: &'a [u8],
    /// Address or name; of a multicast address with its TTL and count.
    pub address: &'a [u8],
}

impl<'a> Connection<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        let [nettype, addrtype, address] = fields(value)?;
        Some(Self {
            nettype,
            addrtype,
            address,
        })
    }

    /// The host that it names. `None` where that is no single host.
    #[must_use]
    pub fn host(&self) -> Option<Host<'a>> {
        Host::of(self.address)
    }
}

/// A view of one description.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    /// All of it.
    pub text: &'a [u8],
    /// The o= line.
    pub origin: Origin<'a>,
    /// The s= line.
    pub name: &'a [u8],
    head: &'a [u8],
    media: [&'a [u8]; MEDIA_MAX],
    media_len: usize,
}

impl<'a> Session<'a> {
    /// Views `text`. Lines may end in CRLF or LF; t=, which RFC 8866 demands, may lack.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        if text.len() > SDP_MAX {
            return Err(Error::TooLong);
        }
        let mut lines = Lines::new(text);
        if lines.next_raw() != Some(b"v=0") {
            return Err(Error::Version);
        }
        let mut session = Self {
            text,
            origin: lines
                .next_raw()
                .and_then(|l| Origin::parse(l.strip_prefix(b"o=")?))
                .ok_or(Error::Origin)?,
            name: &[],
            head: text,
            media: [&[]; MEDIA_MAX],
            media_len: 0,
        };
        let mut named = false;
        // The section that is being read begins here, as a length of what is left.
        let mut section = text.len();
        let end = |rest: usize| text.len() - rest;
        loop {
            let before = lines.rest().len();
            let Some(raw) = lines.next_raw() else { break };
            if raw.is_empty() && lines.rest().iter().all(|b| b"\r\n".contains(b)) {
                break;
            }
            let [kind @ (b'a'..=b'z' | b'A'..=b'Z'), b'=', value @ ..] = raw else {
                return Err(Error::Line);
            };
            if breaks(value) {
                return Err(Error::Line);
            }
            match kind {
                b's' => {
                    if !named {
                        session.name = value;
                    }
                    named = true;
                }
                b'c' => {
                    Connection::parse(value).ok_or(Error::Connection)?;
                }
                b'a' => {
                    let name = value.split(|&b| b == b':').next().unwrap_or_default();
                    if !is_token(name) {
                        return Err(Error::Attribute);
                    }
                }
                b'm' => {
                    MediaLine::parse(value).ok_or(Error::Media)?;
                    session.close(&text[end(section)..end(before)]);
                    section = before;
                    if session.media_len == MEDIA_MAX {
                        return Err(Error::TooManyMedia);
                    }
                    session.media_len += 1;
                }
                _ => {}
            }
        }
        session.close(&text[end(section)..]);
        if named { Ok(session) } else { Err(Error::Name) }
    }

    /// The section that was being read ends.
    fn close(&mut self, section: &'a [u8]) {
        match self.media_len {
            0 => self.head = section,
            n => self.media[n - 1] = section,
        }
    }

    /// The lines before the first m=.
    #[must_use]
    pub fn lines(&self) -> Lines<'a> {
        Lines::new(self.head)
    }

    /// Number of media sections.
    #[must_use]
    pub const fn media_len(&self) -> usize {
        self.media_len
    }

    /// The media sections, in order.
    pub fn media(&self) -> impl Iterator<Item = Media<'a>> + '_ {
        self.media[..self.media_len]
            .iter()
            .filter_map(|section| Media::new(self.head, section))
    }

    /// The value of the first session-level attribute `name`; `Some(None)` if it stands without a value.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Option<&'a [u8]>> {
        attribute(self.lines(), name)
    }

    /// The session-level c= line.
    #[must_use]
    pub fn connection(&self) -> Option<Connection<'a>> {
        connection(self.lines())
    }
}

/// The fields of an m= line (RFC 8866 §5.14).
#[derive(Clone, Copy, Debug)]
struct MediaLine<'a> {
    kind: &'a [u8],
    port: u16,
    proto: &'a [u8],
    formats: &'a [u8],
}

impl<'a> MediaLine<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        let mut parts = value.splitn(4, |&b| b == b' ');
        let (kind, ports, proto, formats) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let mut ports = ports.splitn(2, |&b| b == b'/');
        let port = number(ports.next()?)?;
        if let Some(count) = ports.next() {
            number::<u32>(count)?;
        }
        (is_token(kind)
            && proto.split(|&b| b == b'/').all(is_token)
            && !formats.trim_ascii().is_empty())
        .then_some(Self {
            kind,
            port,
            proto,
            formats,
        })
    }
}

/// A view of one media section.
#[derive(Clone, Copy, Debug)]
pub struct Media<'a> {
    /// `message`, `audio`, …
    pub kind: &'a [u8],
    /// Port; 0 means refused or disabled (RFC 3264 §6).
    pub port: u16,
    /// `TCP/MSRP`, `TCP/TLS/MSRP`, `RTP/AVP`, …
    pub proto: &'a [u8],
    /// The formats, with spaces between them; `*` for MSRP.
    pub formats: &'a [u8],
    head: &'a [u8],
    section: &'a [u8],
}

impl<'a> Media<'a> {
    fn new(head: &'a [u8], section: &'a [u8]) -> Option<Self> {
        let first = Lines::new(section).next()?;
        let line = MediaLine::parse(first.value)?;
        Some(Self {
            kind: line.kind,
            port: line.port,
            proto: line.proto,
            formats: line.formats,
            head,
            section,
        })
    }

    /// All lines of the section, the m= line first.
    #[must_use]
    pub fn lines(&self) -> Lines<'a> {
        Lines::new(self.section)
    }

    /// The attributes of the section: name, and value if there is one.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.lines().filter_map(|line: Line<'a>| line.attribute())
    }

    /// The value of the section's first attribute `name`; `Some(None)` if it stands without a value. Names are compared
    /// with case (RFC 8866 §5.13).
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Option<&'a [u8]>> {
        attribute(self.lines(), name)
    }

    /// As [`Media::attribute`]; where the section is silent, the session level speaks for it.
    #[must_use]
    pub fn attribute_or_session(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.attribute(name)
            .or_else(|| attribute(Lines::new(self.head), name))
    }

    /// The c= line that holds for the section: its own, or that of the session level.
    #[must_use]
    pub fn connection(&self) -> Option<Connection<'a>> {
        connection(self.lines()).or_else(|| connection(Lines::new(self.head)))
    }

    /// `setup` (RFC 4145 §4), at either level; `holdconn` counts as none. `[COMEDIA-01]`
    #[must_use]
    pub fn setup(&self) -> Option<Setup> {
        Setup::parse(self.attribute_or_session("setup")??)
    }

    /// The session-level lines, which some attributes of the section fall back to.
    pub(super) fn session_lines(&self) -> Lines<'a> {
        Lines::new(self.head)
    }
}

fn attribute<'a>(mut lines: Lines<'a>, name: &str) -> Option<Option<&'a [u8]>> {
    lines.find_map(|line| match line.attribute() {
        Some((found, value)) if found == name.as_bytes() => Some(value),
        _ => None,
    })
}

fn connection(mut lines: Lines<'_>) -> Option<Connection<'_>> {
    Connection::parse(lines.find(|line| line.kind == b'c')?.value)
}

/// Whether a value has in it what no line may have (RFC 8866 §9, `byte-string`): for some readers it would be two lines.
fn breaks(value: &[u8]) -> bool {
    value.iter().any(|b| matches!(b, 0 | b'\r'))
}

/// Exactly `N` fields with one space between two, none of them empty. Spaces behind the last are forgiven.
fn fields<const N: usize>(value: &[u8]) -> Option<[&[u8]; N]> {
    let mut all = value.trim_ascii_end().split(|&b| b == b' ');
    let mut fields = [&[][..]; N];
    for field in &mut fields {
        *field = all.next().filter(|f| !f.is_empty())?;
    }
    all.next().is_none().then_some(fields)
}

pub(super) fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
