//! The head of a SEND as the next one of its sender most often looks: the same but for its transaction id, its Message-ID
//! and its Byte-Range. Those are read, the rest is compared.

use std::ops::Range;

use super::{
    ByteRange, Head, Kind, Method,
    head::RangeAt,
    syntax::{IDENT, is_ident, run},
};

/// Bytes of the longest head that is kept: one that is longer is parsed each time.
const LAYOUT_MAX: usize = 1024;

/// A head of a SEND with a body, to hold the next ones against.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Characters of its transaction id.
    tid: usize,
    /// The head behind its transaction id, up to and with the blank line. All places are offsets into it.
    text: Vec<u8>,
    to_path: Range<usize>,
    from_path: Range<usize>,
    rest: usize,
    message_id: Range<usize>,
    byte_range: Option<(Range<usize>, ByteRange)>,
    content_type: Range<usize>,
    success_report: bool,
    failure_report: super::FailureReport,
}

/// `MSRP` and the space behind it.
const START: &[u8] = b"MSRP ";

impl Layout {
    /// Learns the head that [`super::parse`] has viewed in `bytes`, all of them. `None`: it is no SEND with a body, or too
    /// long to be kept.
    #[must_use]
    pub fn learn(head: &Head<'_>, bytes: &[u8]) -> Option<Self> {
        let (Some(id), Some(content_type), None) =
            (head.message_id, head.content_type, head.end_flag)
        else {
            return None;
        };
        if !head.is_send() || head.status.is_some() || head.rest.end > LAYOUT_MAX {
            return None;
        }
        let from = START.len() + head.tid.len();
        let text = bytes.get(from..head.rest.end)?;
        let place = |part: &[u8]| {
            let at = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
            (at + part.len() <= text.len()).then(|| at..at + part.len())
        };
        let byte_range = match (head.byte_range, head.range_at) {
            (Some(range), Some(at)) => Some((at.value - from..at.end - from, range)),
            _ => None,
        };
        Some(Self {
            tid: head.tid.len(),
            to_path: place(head.to_path)?,
            from_path: place(head.from_path)?,
            rest: head.rest.start - from,
            message_id: place(id)?,
            byte_range,
            content_type: place(content_type)?,
            success_report: head.success_report,
            failure_report: head.failure_report,
            text: text.to_vec(),
        })
    }

    /// Looks at the head at the start of `bytes`, if it is of this layout.
    ///
    /// `None`: it is another, or broken, or not whole: [`super::parse`] tells.
    #[must_use]
    pub fn read<'a>(&self, bytes: &'a [u8]) -> Option<Like<'a>> {
        let behind = bytes.strip_prefix(START)?;
        if let Some(read) = self.alike(behind) {
            return Some(read);
        }
        let (tid, text) = behind.split_at(run(&behind[..behind.len().min(33)], IDENT));
        if !is_ident(tid) {
            return None;
        }
        let mut walk = Walk {
            known: &self.text,
            text,
            known_at: 0,
            at: 0,
        };
        let (id, range) = match &self.byte_range {
            Some(range) if range.0.start < self.message_id.start => {
                let range = walk.range(range)?;
                (walk.id(&self.message_id)?, Some(range))
            }
            Some(range) => (walk.id(&self.message_id)?, Some(walk.range(range)?)),
            None => (walk.id(&self.message_id)?, None),
        };
        walk.same_up_to(self.text.len())?;
        Some(self.like(tid, (text, walk.at), id, range))
    }

    /// The head whose ids alone differ from the known one's, and have their lengths: two comparisons tell.
    fn alike<'a>(&self, behind: &'a [u8]) -> Option<Like<'a>> {
        let (tid, text) = behind.split_at_checked(self.tid)?;
        let len = self.text.len();
        let (Range { start, end }, head) = (self.message_id.clone(), text.get(..len)?);
        let same = head[end..] == self.text[end..]
            && head[..start] == self.text[..start]
            && is_ident(&head[start..end])
            && is_ident(tid);
        same.then(|| self.like(tid, (text, len), start..end, self.byte_range.clone()))
    }

    fn like<'a>(
        &self,
        tid: &'a [u8],
        (text, at): (&'a [u8], usize),
        id: Range<usize>,
        range: Option<(Range<usize>, ByteRange)>,
    ) -> Like<'a> {
        Like {
            tid,
            text,
            at,
            id,
            range,
            rest: self.rest,
            success_report: self.success_report,
            failure_report: self.failure_report,
        }
    }

    /// The whole view of a head that is [`Layout::read`].
    #[must_use]
    pub fn head<'a>(&self, like: &Like<'a>) -> Head<'a> {
        let text = like.text;
        // It is behind all that differs.
        let kind_at = like.at - (self.text.len() - self.content_type.start);
        let shift = like.shift();
        Head {
            kind: Kind::Request {
                method: Method::Send,
            },
            tid: like.tid,
            to_path: &text[self.to_path.clone()],
            from_path: &text[self.from_path.clone()],
            message_id: Some(like.message_id()),
            byte_range: like.byte_range(),
            success_report: self.success_report,
            failure_report: self.failure_report,
            status: None,
            content_type: Some(&text[kind_at..kind_at + self.content_type.len()]),
            rest: like.rest()..like.len(),
            range_at: like.range.as_ref().map(|(at, _)| RangeAt {
                line: shift + at.start - RANGE_NAME,
                value: shift + at.start,
                end: shift + at.end,
            }),
            end_flag: None,
        }
    }
}

/// Bytes of a Byte-Range line before its value.
const RANGE_NAME: usize = b"Byte-Range: ".len();

/// A head of a known layout: what it says of its own.
#[derive(Clone, Debug)]
pub struct Like<'a> {
    /// Its transaction id.
    pub tid: &'a [u8],
    /// As in the known one.
    pub success_report: bool,
    /// As in the known one.
    pub failure_report: super::FailureReport,
    /// What follows the transaction id: so many bytes of it are head. Places are offsets into it.
    text: &'a [u8],
    at: usize,
    id: Range<usize>,
    range: Option<(Range<usize>, ByteRange)>,
    rest: usize,
}

impl<'a> Like<'a> {
    fn shift(&self) -> usize {
        START.len() + self.tid.len()
    }

    /// Bytes of the head.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no head is empty")]
    pub fn len(&self) -> usize {
        self.shift() + self.at
    }

    /// Where what follows From-Path begins in the head; it goes to its end.
    #[must_use]
    pub fn rest(&self) -> usize {
        self.shift() + self.rest
    }

    /// Its Message-ID.
    #[must_use]
    pub fn message_id(&self) -> &'a [u8] {
        &self.text[self.id.clone()]
    }

    /// Its Byte-Range.
    #[must_use]
    pub fn byte_range(&self) -> Option<ByteRange> {
        self.range.as_ref().map(|(_, range)| *range)
    }

    /// Where the Byte-Range line stands in what follows From-Path, CRLF included.
    #[must_use]
    pub fn range_in_rest(&self) -> Option<(usize, usize)> {
        let (at, _) = self.range.as_ref()?;
        Some((at.start - RANGE_NAME - self.rest, at.end + 2 - self.rest))
    }
}

/// Goes through a head beside the known one.
struct Walk<'a> {
    known: &'a [u8],
    text: &'a [u8],
    known_at: usize,
    at: usize,
}

impl Walk<'_> {
    /// What stands before `end` in the known head stands here too.
    fn same_up_to(&mut self, end: usize) -> Option<()> {
        let known = &self.known[self.known_at..end];
        let text = self.text.get(self.at..self.at + known.len())?;
        (text == known).then(|| {
            self.known_at = end;
            self.at += known.len();
        })
    }

    /// The Message-ID, which stands at `known` in the known head.
    fn id(&mut self, known: &Range<usize>) -> Option<Range<usize>> {
        self.same_up_to(known.start)?;
        let rest = &self.text[self.at..];
        let len = run(&rest[..rest.len().min(33)], IDENT);
        is_ident(&rest[..len]).then(|| self.pass(known, len))
    }

    /// The Byte-Range.
    fn range(
        &mut self,
        (known, value): &(Range<usize>, ByteRange),
    ) -> Option<(Range<usize>, ByteRange)> {
        self.same_up_to(known.start)?;
        let rest = &self.text[self.at..];
        // With the line's end: what begins alike may go on.
        let same = &self.known[known.start..known.end + 2];
        if rest.starts_with(same) {
            return Some((self.pass(known, known.len()), *value));
        }
        // Three numbers of at most 20 digits and two separators.
        let len = rest.iter().take(63).position(|&b| b == b'\r')?;
        let value = ByteRange::parse(&rest[..len])?;
        Some((self.pass(known, len), value))
    }

    fn pass(&mut self, known: &Range<usize>, len: usize) -> Range<usize> {
        let at = self.at;
        self.known_at = known.end;
        self.at += len;
        at..at + len
    }
}
