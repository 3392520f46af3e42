//! The short way: on one leg each message looks like the one before, but for its transaction id, its Message-ID and its
//! body. Once a message has been read the long way, the next is held against its layout by comparing bytes. What does not
//! fit goes the long way again, so this decides about speed alone, never about what is right.

use std::ops::Range;

const START: &[u8] = b"MSRP ";
const END: &[u8] = b"\r\n-------";
/// `$` and CRLF.
const LAST: &[u8] = b"$\r\n";

/// The layout of a SEND that is whole in one frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SendLayout {
    tid_len: usize,
    /// From behind the transaction id to the Message-ID.
    before_id: Vec<u8>,
    id_len: usize,
    /// From behind the Message-ID to the body.
    after_id: Vec<u8>,
    body_len: usize,
    /// A whole answer, with the transaction id that was learned from; empty if none is wanted.
    answer: Vec<u8>,
}

/// A frame that fits; offsets into the bytes that were looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fits {
    pub(crate) tid: Range<usize>,
    pub(crate) body: Range<usize>,
    pub(crate) len: usize,
}

impl SendLayout {
    /// Learns from a head that was parsed: its bytes, where in them the ids are, the length of the body that followed, and
    /// the answer that was written, if any.
    pub(crate) fn learn(
        head: &[u8],
        tid: &[u8],
        message_id: &[u8],
        body_len: usize,
        answer: &[u8],
    ) -> Option<Self> {
        let rest = head.strip_prefix(START)?.strip_prefix(tid)?;
        let id = find(rest, b"\r\nMessage-ID: ")? + b"\r\nMessage-ID: ".len();
        let after_id = rest[id..].strip_prefix(message_id)?;
        // Any length of the body is a number of digits in Byte-Range: it stays the same as long as these bytes do.
        after_id.ends_with(b"\r\n\r\n").then_some(())?;
        find(after_id, b"Byte-Range: 1-")?;
        if !answer.is_empty() {
            let middle = answer.strip_prefix(START)?.strip_prefix(tid)?;
            middle.strip_suffix(LAST)?.strip_suffix(tid)?;
        }
        Some(Self {
            tid_len: tid.len(),
            before_id: rest[..id].to_vec(),
            id_len: message_id.len(),
            after_id: after_id.to_vec(),
            body_len,
            answer: answer.to_vec(),
        })
    }

    /// Whether a whole frame of this layout begins `bytes`.
    pub(crate) fn fits(&self, bytes: &[u8]) -> Option<Fits> {
        let tid = START.len()..START.len() + self.tid_len;
        let id = tid.end + self.before_id.len();
        let after = id + self.id_len;
        let body = after + self.after_id.len();
        let end = body + self.body_len;
        let end_tid = end + END.len();
        let last = end_tid + self.tid_len;
        let len = last + LAST.len();
        let frame = bytes.get(..len)?;
        (frame.starts_with(START)
            && frame[tid.end..id] == self.before_id
            && frame[after..body] == self.after_id
            && frame[end..end_tid] == *END
            && frame[end_tid..last] == frame[tid.clone()]
            && frame[last..] == *LAST)
            .then_some(Fits {
                tid,
                body: body..end,
                len,
            })
    }

    /// Appends the answer to a frame that fits.
    pub(crate) fn answer(&self, tid: &[u8], out: &mut Vec<u8>) {
        if self.answer.is_empty() {
            return;
        }
        let at = out.len();
        out.extend_from_slice(&self.answer);
        let answer = &mut out[at..];
        answer[START.len()..][..tid.len()].copy_from_slice(tid);
        let last = answer.len() - LAST.len();
        answer[last - tid.len()..last].copy_from_slice(tid);
    }
}

/// The layout of a response: all but its transaction id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ResponseLayout {
    tid_len: usize,
    middle: Vec<u8>,
}

impl ResponseLayout {
    /// Learns from a response that was parsed.
    pub(crate) fn learn(response: &[u8], tid: &[u8]) -> Option<Self> {
        let middle = response
            .strip_prefix(START)?
            .strip_prefix(tid)?
            .strip_suffix(LAST)?
            .strip_suffix(tid)?;
        Some(Self {
            tid_len: tid.len(),
            middle: middle.to_vec(),
        })
    }

    /// The transaction id and the length of the response that begins `bytes`, if it is of this layout.
    pub(crate) fn fits<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], usize)> {
        let tid = START.len()..START.len() + self.tid_len;
        let end_tid = tid.end + self.middle.len();
        let last = end_tid + self.tid_len;
        let len = last + LAST.len();
        let frame = bytes.get(..len)?;
        (frame.starts_with(START)
            && frame[tid.end..end_tid] == self.middle
            && frame[end_tid..last] == frame[tid.clone()]
            && frame[last..] == *LAST)
            .then(|| (&frame[tid], len))
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    // Most places end at their first byte, without a call.
    let is_there = |w: &[u8]| w.first() == what.first() && w == what;
    bytes.windows(what.len()).position(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] =
        b"MSRP tttt0001 SEND\r\nTo-Path: msrp://a:1/x;tcp\r\nFrom-Path: msrp://b:1/y;tcp\r\n\
        Message-ID: mmmm0001\r\nByte-Range: 1-5/5\r\nContent-Type: text/plain\r\n\r\n";
    const ANSWER: &[u8] =
        b"MSRP tttt0001 200 OK\r\nTo-Path: msrp://b:1/y;tcp\r\nFrom-Path: msrp://a:1/x;tcp\r\n-------tttt0001$\r\n";

    fn frame(n: u8) -> Vec<u8> {
        let whole = [HEAD, b"hello\r\n-------tttt0001$\r\n"].concat();
        String::from_utf8(whole)
            .unwrap()
            .replace("0001", &format!("000{n}"))
            .into_bytes()
    }

    #[test]
    fn the_next_of_its_kind_fits_and_is_answered_the_same_way() {
        let layout = SendLayout::learn(HEAD, b"tttt0001", b"mmmm0001", 5, ANSWER).unwrap();
        let two = frame(2);
        let fits = layout.fits(&two).unwrap();
        assert_eq!(&two[fits.body.clone()], b"hello");
        assert_eq!(fits.len, two.len());
        let mut out = Vec::new();
        layout.answer(&two[fits.tid], &mut out);
        let expected = String::from_utf8_lossy(ANSWER).replace("0001", "0002");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn whatever_differs_elsewhere_goes_the_long_way() {
        let layout = SendLayout::learn(HEAD, b"tttt0001", b"mmmm0001", 5, ANSWER).unwrap();
        let one = frame(1);
        let fits = layout.fits(&one).unwrap();
        let id = 12 + find(&one, b"Message-ID: ").unwrap();
        for at in 0..one.len() {
            let mut changed = one.clone();
            changed[at] ^= 1;
            let free = fits.body.contains(&at) || (id..id + 8).contains(&at);
            assert_eq!(layout.fits(&changed).is_some(), free, "byte {at}");
            assert!(layout.fits(&one[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn a_response_fits_but_for_its_transaction_id() {
        let layout = ResponseLayout::learn(ANSWER, b"tttt0001").unwrap();
        let two = String::from_utf8_lossy(ANSWER)
            .replace("0001", "0002")
            .into_bytes();
        assert_eq!(layout.fits(&two), Some((&b"tttt0002"[..], two.len())));
        let other = String::from_utf8_lossy(ANSWER)
            .replace("200 OK", "408 OK")
            .into_bytes();
        assert_eq!(layout.fits(&other), None);
    }
}
