//! What a message says: a CPIM message (RFC 3862) with a text inside that names its session, sequence number, length and
//! intended send time, and carries a checksum over all of it. A device so knows from the body alone what it got.
//!
//! ```text
//! From: <sip:caller7@example.net>
//! To: <sip:user7@example.com>
//! DateTime: 2026-01-01T00:00:00Z
//!
//! Content-Type: text/plain
//!
//! RL1 SSSSSSSS QQQQQQQQ NNNNNNNN TTTTTTTTTTTTTTTT CCCCCCCCCCCCCCCC padding…
//! ```
//!
//! All fields in lower-case hexadecimal: session, sequence number, bytes of the whole body, time, checksum. The checksum is
//! of everything before it, joined with that of the padding behind it; the padding differs from message to message.
//!
//! Who composes says so in a document of RFC 3994 that carries the same mark in a comment, at the same place, so that one
//! reader reads both.

use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};

use crate::{
    clock::Nanos,
    sum::{self, Sum},
};

/// Content-Type of the messages.
pub(crate) const CONTENT_TYPE: &[u8] = b"message/cpim";
/// Content-Type of isComposing.
pub(crate) const COMPOSING_TYPE: &[u8] = b"application/im-iscomposing+xml";

/// An isComposing document up to the mark in its comment, and what closes it.
const COMPOSING: &str = "<isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state></isComposing><!--";
const COMMENT_END: &[u8] = b"-->";

const TAG: &[u8] = b"RL1 ";
/// Tag, three fields of 8 digits and two of 16, a space behind each.
const MARK_LEN: usize = 4 + 3 * 9 + 2 * 17;
/// The checksum with its space comes last in the mark.
const SUM_LEN: usize = 17;
/// Different paddings; each begins one byte further into one pool.
const PADDINGS: usize = 64;

/// What a whole body said of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub(crate) session: u32,
    pub(crate) seq: u32,
    /// When it was meant to be sent.
    pub(crate) at: Nanos,
}

/// The paddings and their sums, shared by all sessions.
pub(crate) struct Padding {
    pool: Vec<u8>,
    sums: Vec<u64>,
    len: usize,
}

impl Padding {
    /// For bodies whose padding is `len` bytes long.
    pub(crate) fn new(len: usize, seed: u64) -> Self {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz .,-!?";
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let mut pool = vec![0; len + PADDINGS];
        rng.fill_bytes(&mut pool);
        for b in &mut pool {
            *b = LETTERS[usize::from(*b % 32)];
        }
        let sums = (0..PADDINGS).map(|i| Sum::of(&pool[i..i + len])).collect();
        Self { pool, sums, len }
    }

    fn of(&self, session: u32, seq: u32) -> (&[u8], u64) {
        let i = session.wrapping_mul(23).wrapping_add(seq) as usize % PADDINGS;
        (&self.pool[i..i + self.len], self.sums[i])
    }
}

/// Writes the bodies of one session.
pub(crate) struct Bodies {
    session: u32,
    /// Up to the checksum, with session and length filled in.
    front: Vec<u8>,
    bytes: usize,
    /// What follows the mark, unless it is padding.
    tail: Option<&'static [u8]>,
}

impl Bodies {
    /// Bodies of `bytes` bytes from `from` to `to` (SIP URIs). `Err` says how many bytes are the least.
    pub(crate) fn new(session: u32, from: &str, to: &str, bytes: usize) -> Result<Self, usize> {
        let mut front = format!(
            "From: <{from}>\r\nTo: <{to}>\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\nContent-Type: text/plain\r\n\r\n"
        )
        .into_bytes();
        let least = front.len() + MARK_LEN;
        let Ok(len) = u32::try_from(bytes) else {
            return Err(least);
        };
        if bytes < least {
            return Err(least);
        }
        mark(&mut front, session, len);
        Ok(Self {
            session,
            front,
            bytes,
            tail: None,
        })
    }

    /// isComposing documents (RFC 3994) whose mark stands where that of these bodies stands; none if their CPIM headers are
    /// shorter than such a document, which those of a SIP URI never are.
    pub(crate) fn composing(&self) -> Option<Self> {
        let mark_at = self.front.len() - (MARK_LEN - SUM_LEN);
        let mut front = COMPOSING.as_bytes().to_vec();
        if front.len() > mark_at {
            return None;
        }
        front.resize(mark_at, b' ');
        let bytes = self.front.len() + SUM_LEN + COMMENT_END.len();
        mark(&mut front, self.session, u32::try_from(bytes).ok()?);
        Some(Self {
            session: self.session,
            front,
            bytes,
            tail: Some(COMMENT_END),
        })
    }

    /// Bytes of a body.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Bytes of padding that a body needs.
    pub(crate) fn padding_len(&self) -> usize {
        self.bytes - self.front.len() - SUM_LEN
    }

    /// Appends one body.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, seq: u32, at: Nanos, padding: &Padding) {
        let end = self.front.len();
        self.front[end - 35..end - 27].copy_from_slice(&hex8(seq));
        self.front[end - 17..end - 1].copy_from_slice(&hex16(at));
        let (pad, pad_sum) = match self.tail {
            Some(tail) => (tail, Sum::of(tail)),
            None => padding.of(self.session, seq),
        };
        let sum = sum::join(Sum::of(&self.front), pad_sum);
        out.extend_from_slice(&self.front);
        out.extend_from_slice(&hex16(sum));
        out.push(b' ');
        out.extend_from_slice(pad);
    }
}

/// The mark up to its checksum, with what stays the same filled in.
fn mark(front: &mut Vec<u8>, session: u32, len: u32) {
    front.extend_from_slice(TAG);
    front.extend_from_slice(format!("{session:08x} {:08x} {len:08x} {:016x} ", 0, 0).as_bytes());
}

/// Why a body is not one that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Corrupt;

/// Reads bodies of one leg, whole or in pieces. The CPIM headers must be as long as those of the leg's own session, which
/// holds for all sessions of one run if their URIs are equally long; a body of another session is then told apart from a
/// corrupted one.
#[derive(Clone, Debug)]
pub(crate) struct BodyReader {
    front_len: usize,
    /// The first bytes of the body, until its mark is whole.
    front: Vec<u8>,
    padding: Sum,
    len: u64,
}

impl BodyReader {
    /// For the bodies that `bodies` writes.
    pub(crate) fn new(bodies: &Bodies) -> Self {
        Self {
            front_len: bodies.front.len(),
            front: Vec::new(),
            padding: Sum::new(),
            len: 0,
        }
    }

    /// A body that lies there whole.
    pub(crate) fn whole(&self, body: &[u8]) -> Result<Mark, Corrupt> {
        let (front, padding) = body
            .split_at_checked(self.front_len + SUM_LEN)
            .ok_or(Corrupt)?;
        judge(front, self.front_len, Sum::of(padding), body.len() as u64)
    }

    /// Takes the next bytes of a body that comes in pieces.
    pub(crate) fn take(&mut self, mut piece: &[u8]) {
        self.len += piece.len() as u64;
        let missing = self.front_len + SUM_LEN - self.front.len();
        if missing > 0 {
            let n = missing.min(piece.len());
            self.front.extend_from_slice(&piece[..n]);
            piece = &piece[n..];
        }
        self.padding.update(piece);
    }

    /// Forgets a body that will not be finished.
    pub(crate) fn abandon(&mut self) {
        self.front.clear();
        self.padding = Sum::new();
        self.len = 0;
    }

    /// Ends a body that came in pieces, and begins the next.
    pub(crate) fn finish(&mut self) -> Result<Mark, Corrupt> {
        let padding = std::mem::replace(&mut self.padding, Sum::new()).finish();
        let len = std::mem::take(&mut self.len);
        let mark = if self.front.len() == self.front_len + SUM_LEN {
            judge(&self.front, self.front_len, padding, len)
        } else {
            Err(Corrupt)
        };
        self.front.clear();
        mark
    }
}

/// `front` goes up to and with the checksum and its space.
fn judge(front: &[u8], front_len: usize, padding: u64, len: u64) -> Result<Mark, Corrupt> {
    let (said, sum) = front.split_at(front_len);
    let mark = &said[front_len - (MARK_LEN - SUM_LEN)..];
    let right = hex16(sum::join(Sum::of(said), padding));
    // The other fields' digits are not looked at one by one: had one been altered, the sum would not be right.
    if !mark.starts_with(TAG)
        || sum[..16] != right
        || sum[16] != b' '
        || u64::from(unhex8(&mark[22..])) != len
    {
        return Err(Corrupt);
    }
    Ok(Mark {
        session: unhex8(&mark[4..]),
        seq: unhex8(&mark[13..]),
        at: unhex16(&mark[31..]),
    })
}

/// Eight lower-case hexadecimal digits.
pub(crate) fn hex8(n: u32) -> [u8; 8] {
    // Spread the nibbles over the bytes of a word, then add '0', and 39 more to each that is above 9.
    let mut x = u64::from(n);
    x = (x | (x << 16)) & 0x0000_ffff_0000_ffff;
    x = (x | (x << 8)) & 0x00ff_00ff_00ff_00ff;
    x = (x | (x << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    let above = ((x + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (x + 0x3030_3030_3030_3030 + above * 39).to_be_bytes()
}

/// Sixteen lower-case hexadecimal digits.
pub(crate) fn hex16(n: u64) -> [u8; 16] {
    let mut out = [0; 16];
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half is taken on its own"
    )]
    let (high, low) = ((n >> 32) as u32, n as u32);
    out[..8].copy_from_slice(&hex8(high));
    out[8..].copy_from_slice(&hex8(low));
    out
}

/// The number that the first eight bytes are the digits of; anything if they are none.
pub(crate) fn unhex8(digits: &[u8]) -> u32 {
    let mut word = [0; 8];
    word.copy_from_slice(&digits[..8]);
    let x = u64::from_be_bytes(word);
    let letters = (x >> 6) & 0x0101_0101_0101_0101;
    let mut d = (x & 0x0f0f_0f0f_0f0f_0f0f) + letters * 9;
    d = (d | (d >> 4)) & 0x00ff_00ff_00ff_00ff;
    d = (d | (d >> 8)) & 0x0000_ffff_0000_ffff;
    d = (d | (d >> 16)) & 0xffff_ffff;
    u32::try_from(d).unwrap_or(0)
}

fn unhex16(digits: &[u8]) -> u64 {
    u64::from(unhex8(digits)) << 32 | u64::from(unhex8(&digits[8..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(session: u32, seq: u32, bytes: usize) -> (BodyReader, Vec<u8>) {
        let mut bodies =
            Bodies::new(session, "sip:a@example.net", "sip:b@example.com", bytes).unwrap();
        let padding = Padding::new(bodies.padding_len(), 3);
        let mut out = Vec::new();
        bodies.write(&mut out, seq, 0xfedc_ba98_7654_3210, &padding);
        assert_eq!(out.len(), bytes);
        (BodyReader::new(&bodies), out)
    }

    #[test]
    fn digits_there_and_back() {
        for n in [0, 1, 9, 10, 0x0123_4567, 0x89ab_cdef, u32::MAX] {
            assert_eq!(hex8(n), *format!("{n:08x}").as_bytes());
            assert_eq!(unhex8(&hex8(n)), n);
        }
        assert_eq!(hex16(0x12_3456_789a_bcde), *b"00123456789abcde");
    }

    #[test]
    fn a_body_is_read_back_whole_and_in_any_two_pieces() {
        for bytes in [190, 200, 1024] {
            let (mut reader, body) = made(9, 77, bytes);
            let mark = Mark {
                session: 9,
                seq: 77,
                at: 0xfedc_ba98_7654_3210,
            };
            assert_eq!(reader.whole(&body), Ok(mark));
            for cut in 0..=body.len() {
                reader.take(&body[..cut]);
                reader.take(&body[cut..]);
                assert_eq!(reader.finish(), Ok(mark), "cut at {cut}");
            }
        }
    }

    #[test]
    fn each_altered_bit_shows_and_so_does_a_missing_or_an_added_byte() {
        let (reader, body) = made(1, 2, 256);
        for bit in 0..body.len() * 8 {
            let mut altered = body.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(reader.whole(&altered), Err(Corrupt), "bit {bit}");
        }
        assert_eq!(reader.whole(&body[..255]), Err(Corrupt));
        assert_eq!(reader.whole(&[&body[..], b"x"].concat()), Err(Corrupt));
        assert_eq!(reader.whole(b"short"), Err(Corrupt));
    }

    #[test]
    fn a_body_too_small_for_its_mark_says_what_is_needed() {
        let least = Bodies::new(1, "sip:a@x", "sip:b@x", 10).err().unwrap();
        assert!(Bodies::new(1, "sip:a@x", "sip:b@x", least).is_ok());
        assert!(Bodies::new(1, "sip:a@x", "sip:b@x", least - 1).is_err());
    }

    #[test]
    fn is_composing_is_read_by_the_same_reader_and_is_an_xml_document() {
        let chat = Bodies::new(
            7,
            "sip:caller00007@example.net",
            "sip:user00007@example.com",
            300,
        )
        .unwrap();
        let padding = Padding::new(chat.padding_len(), 3);
        let mut out = Vec::new();
        chat.composing()
            .unwrap()
            .write(&mut out, 0x0100_0003, 55, &padding);
        assert_eq!(
            BodyReader::new(&chat).whole(&out),
            Ok(Mark {
                session: 7,
                seq: 0x0100_0003,
                at: 55
            })
        );
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("<isComposing xmlns="), "{text}");
        assert!(text.ends_with("-->"), "{text}");
        // XML 1.0 §2.5: no two hyphens within a comment.
        assert_eq!(text.matches("--").count(), 2, "{text}");
        let short = Bodies::new(7, "sip:a@b", "sip:c@d", 300).unwrap();
        assert!(short.composing().is_none());
    }

    #[test]
    fn it_is_a_cpim_message_and_paddings_differ() {
        let (_, one) = made(1, 1, 300);
        let (_, two) = made(1, 2, 300);
        let text = String::from_utf8(one.clone()).unwrap();
        assert!(
            text.starts_with("From: <sip:a@example.net>\r\nTo: <sip:b@example.com>\r\nDateTime: ")
        );
        assert!(
            text.contains(
                "\r\n\r\nContent-Type: text/plain\r\n\r\nRL1 00000001 00000001 0000012c "
            )
        );
        assert_ne!(one[250..], two[250..]);
    }
}
