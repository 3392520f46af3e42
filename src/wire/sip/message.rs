//! A message: start line, headers and body found in one pass over the head, nothing allocated, nothing changed.

use super::{
    CSeq, Contact, Disposition, Error, Malformed, MediaType, Method, Name, NameAddr, Rule,
    SessionExpires, Tokens, Via, counts,
    name::OTHER,
    scan::{List, trim},
};
use crate::wire::uri::{TOKEN, number};
use memchr::{memchr, memchr2, memrchr};

/// The most headers of a message. Real ones stay below 60; each costs ten bytes on the stack of whoever reads it.
pub const HEADERS_MAX: usize = 128;

/// The largest head, blank line included: what a datagram can carry, and as much on a stream.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request line.
    Request {
        /// The method.
        method: Method<'a>,
        /// The Request-URI, as written; [`Message::check`] says whether it is one.
        uri: &'a [u8],
    },
    /// A status line.
    Response {
        /// The status code, 100 to 699.
        code: u16,
        /// The reason phrase; may be empty.
        reason: &'a [u8],
    },
}

/// Where a header stands: offsets from the start of the message, all below [`HEAD_BYTES_MAX`].
#[derive(Clone, Copy)]
pub(super) struct Field {
    id: u8,
    name: u16,
    name_end: u16,
    value: u16,
    value_end: u16,
}

impl Field {
    const NONE: Self = Self {
        id: OTHER,
        name: 0,
        name_end: 0,
        value: 0,
        value_end: 0,
    };

    /// Its name and value in the bytes that it was read from.
    pub(super) fn of<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let piece = |from: u16, to: u16| {
            bytes
                .get(usize::from(from)..usize::from(to))
                .unwrap_or_default()
        };
        (
            piece(self.name, self.name_end),
            piece(self.value, self.value_end),
        )
    }
}

/// One complete message.
#[derive(Clone)]
pub struct Message<'a> {
    bytes: &'a [u8],
    start: Start<'a>,
    fields: [Field; HEADERS_MAX],
    count: usize,
    head_len: usize,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message: a whole datagram, or what a [`super::Framer`] cut out. The body is as long as Content-Length
    /// says, what follows it is dropped; without one it is all the rest. [SIP-MSG-03]
    ///
    /// What is checked is what is needed to find things: start line, line ends, names and colons, bounds, the length of
    /// the body. The rest is [`Message::check`]'s.
    ///
    /// # Errors
    /// The first rule that is broken. [`Message::salvage`] still reads what an answer needs.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut message = Self::nothing_of(bytes);
        match message.read() {
            None => Ok(message),
            Some(error) => Err(error),
        }
    }

    /// Reads what can be read of a message that [`Message::parse`] refused: the headers that are whole, with which a
    /// request can be answered. Its start line may be made up: an empty method or URI, code 0.
    #[must_use]
    pub fn salvage(bytes: &'a [u8]) -> Self {
        let mut message = Self::nothing_of(bytes);
        message.read();
        message
    }

    const fn nothing_of(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            start: Start::Response {
                code: 0,
                reason: b"",
            },
            fields: [Field::NONE; HEADERS_MAX],
            count: 0,
            head_len: 0,
            body: b"",
        }
    }

    /// Reads its bytes, as far as they can be read; the first rule that is broken.
    fn read(&mut self) -> Option<Error> {
        let bytes = self.bytes;
        let mut first: Option<(Rule, usize)> = None;
        let mut note = |rule: Rule, at: usize| {
            first.get_or_insert((rule, at));
        };
        let mut lines = Lines::new(bytes);
        let mut length = None;
        let line = lines.first(&mut note);
        self.start = read_start(line, &mut note);
        while let Some((from, to)) = lines.next(&mut note) {
            let Some(mut field) = read_field(bytes, from, to) else {
                note(Rule::HeaderLine, from);
                continue;
            };
            let (name, value) = field.of(bytes);
            field.id = Name::of(name).id();
            if field.id == Name::ContentLength.id() {
                match number::<usize>(value) {
                    Some(n) if length.is_none() => length = Some(n),
                    Some(_) | None => note(Rule::ContentLength, from),
                }
            }
            match self.fields.get_mut(self.count) {
                Some(slot) => *slot = field,
                None => {
                    note(Rule::TooManyHeaders, from);
                    break;
                }
            }
            self.count += 1;
        }
        self.head_len = lines.at;
        let rest = bytes.get(lines.at..).unwrap_or_default();
        self.body = match length.map(|n| rest.get(..n)) {
            None => rest,
            Some(Some(body)) => body,
            Some(None) => {
                note(Rule::BodyShort, bytes.len());
                rest
            }
        };
        first.map(|(rule, at)| self.error(rule, at))
    }

    /// The first line.
    #[must_use]
    pub const fn start(&self) -> Start<'a> {
        self.start
    }

    /// Whether it is a request.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method of a request.
    #[must_use]
    pub const fn method(&self) -> Option<Method<'a>> {
        match self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The whole message without what may follow its body.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
            .get(..self.head_len + self.body.len())
            .unwrap_or_default()
    }

    /// Start line, headers and blank line.
    #[must_use]
    pub fn head(&self) -> &'a [u8] {
        self.bytes.get(..self.head_len).unwrap_or_default()
    }

    /// The body; empty if there is none.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    fn fields(&self) -> &[Field] {
        self.fields.get(..self.count).unwrap_or_default()
    }

    /// All headers in order: name as written, value as written without white space at its ends. A value may hold folds:
    /// see [`super::unfold`].
    pub fn all(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.fields().iter().map(|f| f.of(self.bytes))
    }

    /// All headers in order, names told apart.
    pub fn named(&self) -> impl Iterator<Item = (Name<'a>, &'a [u8])> {
        self.fields().iter().map(|f| {
            let (name, value) = f.of(self.bytes);
            (Name::by_id(f.id).unwrap_or(Name::Other(name)), value)
        })
    }

    /// The value of each header called `name`, a line each, as in [`Message::all`].
    pub fn headers<'m>(&'m self, name: Name<'m>) -> impl Iterator<Item = &'a [u8]> + use<'m, 'a> {
        let id = name.id();
        self.fields()
            .iter()
            .filter(move |f| f.id == id)
            .map(|f| f.of(self.bytes))
            .filter(move |(n, _)| id != OTHER || n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The value of the first header called `name`.
    #[must_use]
    pub fn header(&self, name: Name<'_>) -> Option<&'a [u8]> {
        self.headers(name).next()
    }

    /// The values of `name`, several of a line divided where its grammar is a list. A header whose grammar is unknown is
    /// not divided.
    pub fn values<'m>(&'m self, name: Name<'m>) -> impl Iterator<Item = &'a [u8]> + use<'m, 'a> {
        let list = name.is_list();
        self.headers(name).flat_map(move |line| {
            if list {
                List::new(line)
            } else {
                List::whole(line)
            }
        })
    }

    /// The tokens of a list such as Require, Supported, Allow; words that are none are passed over.
    pub fn tokens<'m>(&'m self, name: Name<'m>) -> impl Iterator<Item = &'a [u8]> + use<'m, 'a> {
        self.headers(name).flat_map(|line| Tokens(List::new(line)))
    }

    /// Reads the first value of `name` by `parse`, such as `RAck::parse`.
    ///
    /// # Errors
    /// [`Rule::Value`].
    pub fn one<T>(
        &self,
        name: Name<'static>,
        parse: fn(&'a [u8]) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Error> {
        self.values(name)
            .next()
            .map(|value| self.read_value(name, value, parse))
            .transpose()
    }

    /// Reads each value of `name` by `parse`.
    pub fn each<T>(
        &self,
        name: Name<'static>,
        parse: fn(&'a [u8]) -> Result<T, Malformed>,
    ) -> impl Iterator<Item = Result<T, Error>> {
        self.values(name)
            .map(move |value| self.read_value(name, value, parse))
    }

    fn need<T>(
        &self,
        name: Name<'static>,
        parse: fn(&'a [u8]) -> Result<T, Malformed>,
    ) -> Result<T, Error> {
        self.one(name, parse)?
            .ok_or_else(|| self.error(Rule::Missing(name), self.head_len))
    }

    fn read_value<T>(
        &self,
        name: Name<'static>,
        value: &'a [u8],
        parse: fn(&'a [u8]) -> Result<T, Malformed>,
    ) -> Result<T, Error> {
        parse(value).map_err(|bad| {
            let from = value
                .as_ptr()
                .addr()
                .saturating_sub(self.bytes.as_ptr().addr());
            self.error(Rule::Value(name), from + bad.at)
        })
    }

    pub(super) const fn error(&self, rule: Rule, at: usize) -> Error {
        Error {
            rule,
            at,
            in_response: !self.is_request(),
        }
    }

    /// The topmost Via.
    ///
    /// # Errors
    /// [`Rule::Missing`] or [`Rule::Value`], as for each of the following.
    pub fn via(&self) -> Result<Via<'a>, Error> {
        self.need(Name::Via, Via::parse)
    }

    /// From.
    ///
    /// # Errors
    /// See [`Message::via`].
    pub fn from(&self) -> Result<NameAddr<'a>, Error> {
        self.need(Name::From, NameAddr::parse)
    }

    /// To.
    ///
    /// # Errors
    /// See [`Message::via`].
    pub fn to(&self) -> Result<NameAddr<'a>, Error> {
        self.need(Name::To, NameAddr::parse)
    }

    /// Call-ID: compared byte by byte (RFC 3261 §20.8).
    ///
    /// # Errors
    /// See [`Message::via`].
    pub fn call_id(&self) -> Result<&'a [u8], Error> {
        self.need(Name::CallId, counts::call_id)
    }

    /// CSeq.
    ///
    /// # Errors
    /// See [`Message::via`].
    pub fn cseq(&self) -> Result<CSeq<'a>, Error> {
        self.need(Name::CSeq, CSeq::parse)
    }

    /// Max-Forwards; `None` if absent, or no number up to 255: [`Message::check`] refuses that.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        number(self.header(Name::MaxForwards)?)
    }

    /// Expires in seconds; one that is no 32-bit number counts as [`super::DELTA_DEFAULT`] (RFC 3261 §10.2.1.1): in a
    /// response, for [`Message::check`] refuses a request with one.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.header(Name::Expires).map(counts::delta)
    }

    /// The contacts in order.
    pub fn contacts(&self) -> impl Iterator<Item = Result<Contact<'a>, Error>> {
        self.each(Name::Contact, Contact::parse)
    }

    /// The addresses of Route, Record-Route, Path or Service-Route, in order.
    pub fn routes(&self, name: Name<'static>) -> impl Iterator<Item = Result<NameAddr<'a>, Error>> {
        self.each(name, NameAddr::parse_route)
    }

    /// Content-Type.
    ///
    /// # Errors
    /// [`Rule::Value`], as for the next two.
    pub fn content_type(&self) -> Result<Option<MediaType<'a>>, Error> {
        self.one(Name::ContentType, MediaType::parse)
    }

    /// Content-Disposition.
    ///
    /// # Errors
    /// See [`Message::content_type`].
    pub fn content_disposition(&self) -> Result<Option<Disposition<'a>>, Error> {
        self.one(Name::ContentDisposition, Disposition::parse)
    }

    /// Session-Expires.
    ///
    /// # Errors
    /// See [`Message::content_type`].
    pub fn session_expires(&self) -> Result<Option<SessionExpires>, Error> {
        self.one(Name::SessionExpires, SessionExpires::parse)
    }
}

/// Start line and headers: no body, no addresses beyond what the wire shows.
impl std::fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.bytes.split(|b| *b == b'\r').next().unwrap_or_default();
        write!(
            f,
            "Message({}, {} headers, {} bytes of body)",
            line.escape_ascii(),
            self.count,
            self.body.len()
        )
    }
}

/// The lines of a head: the first, then each header with its continuations.
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    /// Where the next line begins; behind the blank line when that has been read.
    pub(super) at: usize,
}

impl<'a> Lines<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The first line, without its CR LF.
    pub(super) fn first(&mut self, note: &mut impl FnMut(Rule, usize)) -> &'a [u8] {
        let from = self.at;
        let to = self.line_end(note);
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// The next header line, from and to; `None` behind the blank line and where the head breaks off.
    pub(super) fn next(&mut self, note: &mut impl FnMut(Rule, usize)) -> Option<(usize, usize)> {
        let from = self.at;
        let mut to = self.line_end(note);
        if to == from || from == self.bytes.len() {
            return None;
        }
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t')) {
            to = self.line_end(note);
        }
        Some((from, to))
    }

    /// Moves behind the next CR LF and returns where it began. Without one: notes it, and moves to the end.
    fn line_end(&mut self, note: &mut impl FnMut(Rule, usize)) -> usize {
        let limit = self.bytes.len().min(HEAD_BYTES_MAX);
        let mut from = self.at;
        while let Some(found) = memchr2(
            b'\r',
            b'\n',
            self.bytes.get(from..limit).unwrap_or_default(),
        ) {
            let at = from + found;
            if self
                .bytes
                .get(at..limit)
                .is_some_and(|rest| rest.starts_with(b"\r\n"))
            {
                self.at = at + 2;
                return at;
            }
            from = at + 1;
            if from == limit {
                // Maybe half a line end: what is wrong is that the head ends here.
                break;
            }
            note(Rule::LineEnd, at);
        }
        let rule = if self.bytes.len() > limit {
            Rule::HeadTooLarge
        } else {
            Rule::BlankLine
        };
        note(rule, limit);
        self.at = self.bytes.len();
        self.at
    }
}

/// Divides a header line into name and value. `None` if it has no colon, or no token before it.
pub(super) fn read_field(bytes: &[u8], from: usize, to: usize) -> Option<Field> {
    let line = bytes.get(from..to)?;
    let colon = memchr(b':', line)?;
    let name = line.get(..colon)?;
    // HCOLON allows blanks before the colon, but no fold.
    let blanks = name
        .iter()
        .rev()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count();
    let name_len = colon - blanks;
    if name_len == 0 || !name.get(..name_len)?.iter().all(|b| TOKEN.has(*b)) {
        return None;
    }
    let value = trim(line.get(colon + 1..)?);
    let at = value.as_ptr().addr() - bytes.as_ptr().addr();
    let (at, end) = if value.is_empty() {
        (to, to)
    } else {
        (at, at + value.len())
    };
    Some(Field {
        id: OTHER,
        name: u16::try_from(from).ok()?,
        name_end: u16::try_from(from + name_len).ok()?,
        value: u16::try_from(at).ok()?,
        value_end: u16::try_from(end).ok()?,
    })
}

fn read_start<'a>(line: &'a [u8], note: &mut impl FnMut(Rule, usize)) -> Start<'a> {
    if line
        .get(..4)
        .is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/"))
    {
        return read_status(line, note);
    }
    let first = memchr(b' ', line).unwrap_or(line.len());
    let last = memrchr(b' ', line).unwrap_or(line.len());
    let method = line.get(..first).unwrap_or_default();
    let uri = line.get(first + 1..last).unwrap_or_default();
    let version = line.get(last + 1..).unwrap_or_default();
    if method.is_empty() || uri.is_empty() || !method.iter().all(|b| TOKEN.has(*b)) {
        note(Rule::StartLine, 0);
    } else {
        check_version(version, last + 1, note);
    }
    Start::Request {
        method: Method::of(method),
        uri,
    }
}

fn read_status<'a>(line: &'a [u8], note: &mut impl FnMut(Rule, usize)) -> Start<'a> {
    let space = memchr(b' ', line).unwrap_or(line.len());
    check_version(line.get(..space).unwrap_or_default(), 0, note);
    let rest = line.get(space + 1..).unwrap_or_default();
    // A missing space behind the code is forgiven (RFC 4475 §3.1.1.13).
    let end = memchr(b' ', rest).unwrap_or(rest.len());
    let (digits, reason) = rest.split_at_checked(end).unwrap_or((rest, b""));
    let code = number::<u16>(digits).filter(|code| digits.len() == 3 && (100..700).contains(code));
    if code.is_none() {
        note(Rule::StatusCode, space + 1);
    }
    Start::Response {
        code: code.unwrap_or(0),
        reason: reason.strip_prefix(b" ").unwrap_or(reason),
    }
}

fn check_version(version: &[u8], at: usize, note: &mut impl FnMut(Rule, usize)) {
    if version.eq_ignore_ascii_case(b"SIP/2.0") {
        return;
    }
    let (name, digits) = version.split_at_checked(4).unwrap_or_default();
    let is_version = name.eq_ignore_ascii_case(b"SIP/")
        && digits.iter().filter(|b| **b == b'.').count() == 1
        && digits
            .split(|b| *b == b'.')
            .all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit));
    note(
        if is_version {
            Rule::Version
        } else {
            Rule::StartLine
        },
        at,
    );
}
