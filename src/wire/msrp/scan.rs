//! The search for the end of a body: CRLF, seven hyphens, the transaction id, a flag, CRLF (RFC 4975 §9).
//!
//! In short: find the fixed part (CRLF and seven hyphens); if the sender's transaction id, a flag and CRLF
//! follow, the body ends there; if anything else follows, go on behind it. What the end of a buffer leaves undecided is
//! held back, 44 bytes at most, and remembered here, so that the next buffer may lie anywhere else and no byte is searched
//! twice. `[MSRP-FRAME-06]` `[MSRP-FRAME-07]`
//!
//! A *look-alike*, the fixed part with some other id behind it, is body. It is told, because it may be the id of a leg that
//! the body is passed on to: its receiver would take it for the end (settled.md 13). `[MSRP-FRAME-05]`

use std::sync::LazyLock;

use memchr::{memmem, memrchr};

use super::syntax::{ALNUM, IDENT, is, is_flag, run};

/// The fixed part of an end-line with the CRLF before it.
const FIXED: &[u8; 9] = b"\r\n-------";

/// Longest transaction id.
const TID_MAX: usize = 32;

/// Most bytes that are ever held back: a whole end-line with its CRLF, but for the last byte.
pub const HELD_MAX: usize = FIXED.len() + TID_MAX + 3 - 1;

/// Bytes of a long body that are looked at together.
const BLOCK: usize = 128;

/// How far behind the start of a fixed part the word of four hyphens lies that it has: CRLF and three hyphens.
const WORD_AT_MAX: usize = 5;

/// From this length on a body is long.
const LONG: usize = 4 * BLOCK;

static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(FIXED));

/// What [`EndScan::scan`] found in one buffer.
///
/// In both cases the first `released` of the bytes that were held back from the buffers before turn out to be body: either
/// all of them or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The end-line. Bytes still held back belong to it.
    Found {
        /// Held bytes that are body.
        released: usize,
        /// Bytes at the start of this buffer that are body.
        body_end: usize,
        /// Offset in this buffer behind the end-line.
        after: usize,
        /// `$`, `+` or `#`.
        flag: u8,
    },
    /// No end yet.
    None {
        /// Held bytes that are body.
        released: usize,
        /// Bytes at the start of this buffer that surely are body; the others are held back.
        safe: usize,
    },
}

/// A fixed part with an id behind it that is not the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookalike<'a> {
    /// Body bytes before its CRLF, counted from the start of the body. None of its own bytes was released before.
    pub at: u64,
    /// The ident characters that follow the hyphens, the first 32 at most; a transaction id that this begins with would end
    /// here, or might.
    pub ident: &'a [u8],
}

/// The state of one search: one a body, kept between buffers.
#[derive(Clone, Debug)]
pub struct EndScan {
    /// Body bytes released so far.
    body: u64,
    /// Bytes held back: a beginning of an end-line.
    held: [u8; HELD_MAX],
    held_len: u8,
}

impl Default for EndScan {
    fn default() -> Self {
        Self::new()
    }
}

/// What stands at a place where an end-line may begin.
enum Candidate {
    /// The end-line: its length with the CRLF before it, and its flag.
    End { len: usize, flag: u8 },
    /// Body.
    Body,
    /// Body, with this many ident characters behind the hyphens.
    Other { ident: usize },
    /// The bytes do not tell yet.
    Open,
}

impl EndScan {
    /// A search that begins with the first byte of a body.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            body: 0,
            held: [0; HELD_MAX],
            held_len: 0,
        }
    }

    /// Body bytes released so far.
    #[must_use]
    pub const fn body_len(&self) -> u64 {
        self.body
    }

    /// Bytes that are held back: the last ones of the buffers before, in order.
    #[must_use]
    pub fn held(&self) -> &[u8] {
        &self.held[..usize::from(self.held_len)]
    }

    /// Searches the next bytes of the body for the end-line of `tid`, the same for the whole body.
    pub fn scan(&mut self, bytes: &[u8], tid: &[u8]) -> Scan {
        self.scan_with(bytes, tid, |_| ())
    }

    /// As [`EndScan::scan`], and tells each look-alike on the way, in order.
    pub fn scan_with(
        &mut self,
        bytes: &[u8],
        tid: &[u8],
        mut other: impl FnMut(Lookalike<'_>),
    ) -> Scan {
        let mut released = 0;
        if self.held_len > 0 {
            match self.resume(bytes, tid, &mut other) {
                Ok(scan) => return scan,
                Err(held) => released = held,
            }
        }
        let base = self.body;
        let told = |at: usize| base + at as u64;
        let mut from = 0;
        while let Some(hit) = find_fixed(&bytes[from..]) {
            let at = from + hit;
            from = at + FIXED.len();
            match candidate(&bytes[at..], tid) {
                Candidate::End { len, flag } => {
                    self.body = told(at);
                    return Scan::Found {
                        released,
                        body_end: at,
                        after: at + len,
                        flag,
                    };
                }
                Candidate::Other { ident } => other(Lookalike {
                    at: told(at),
                    ident: &bytes[from..from + ident],
                }),
                Candidate::Body => {}
                Candidate::Open => return self.hold(bytes, at, released),
            }
        }
        // The fixed part itself may have begun: look for a CR in the last eight bytes.
        let tail = from.max(bytes.len().saturating_sub(FIXED.len() - 1));
        match memrchr(b'\r', &bytes[tail..]) {
            Some(cr) if FIXED.starts_with(&bytes[tail + cr..]) => {
                self.hold(bytes, tail + cr, released)
            }
            _ => self.hold(bytes, bytes.len(), released),
        }
    }

    /// Everything up to `safe` is body, the rest is held back.
    fn hold(&mut self, bytes: &[u8], safe: usize, released: usize) -> Scan {
        let rest = &bytes[safe..];
        self.held[..rest.len()].copy_from_slice(rest);
        self.held_len = small(rest.len());
        self.body += safe as u64;
        Scan::None { released, safe }
    }

    /// Decides, with the bytes that follow, what the held ones are: the end, still open, or (`Err`) that many bytes of body.
    fn resume(
        &mut self,
        bytes: &[u8],
        tid: &[u8],
        other: &mut impl FnMut(Lookalike<'_>),
    ) -> Result<Scan, usize> {
        let held = usize::from(self.held_len);
        let mut window = [0; 2 * HELD_MAX];
        let taken = bytes.len().min(HELD_MAX);
        window[..held].copy_from_slice(&self.held[..held]);
        window[held..held + taken].copy_from_slice(&bytes[..taken]);
        let window = &window[..held + taken];
        match candidate(window, tid) {
            Candidate::End { len, flag } => {
                return Ok(Scan::Found {
                    released: 0,
                    body_end: 0,
                    after: len - held,
                    flag,
                });
            }
            Candidate::Open => {
                // Open means that all of it could be the beginning, so it fits.
                self.held[held..held + taken].copy_from_slice(&bytes[..taken]);
                self.held_len = small(held + taken);
                return Ok(Scan::None {
                    released: 0,
                    safe: 0,
                });
            }
            Candidate::Other { ident } => other(Lookalike {
                at: self.body,
                ident: &window[FIXED.len()..FIXED.len() + ident],
            }),
            Candidate::Body => {}
        }
        // No other candidate begins within held bytes: their only CR beside the first is one that LF did not follow.
        self.held_len = 0;
        self.body += held as u64;
        Err(held)
    }
}

/// Whether a body of `size` bytes begins `bytes` and is ended there by the end-line of `tid` with `$`, with no fixed part
/// before that: the length of the end-line, with the CRLF before it. What [`EndScan`] finds, for who knows where to look.
#[must_use]
pub fn ends_at(bytes: &[u8], size: usize, tid: &[u8]) -> Option<usize> {
    let window = bytes.get(..size + FIXED.len())?;
    let tail = bytes[window.len()..].strip_prefix(tid)?;
    let ends = tail.starts_with(b"$\r\n") && find_fixed(window) == Some(size);
    ends.then_some(FIXED.len() + tid.len() + 3)
}

/// Where the first fixed part in `bytes` begins.
#[inline]
fn find_fixed(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < LONG {
        FINDER.find(bytes)
    } else {
        find_by_blocks(bytes)
    }
}

/// [`find_fixed`] for long ones.
///
/// Seven hyphens hold four at a multiple of four. So a block without such a word of hyphens, which text hardly ever has, is
/// passed over, some bytes a cycle; only around one that has it `memmem` looks, which compares two bytes of each place.
fn find_by_blocks(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let rest = &bytes[from..];
        if rest.len() < LONG {
            return FINDER.find(rest).map(|hit| from + hit);
        }
        let (blocks, _) = rest.as_chunks::<BLOCK>();
        let Some(at) = blocks.iter().position(has_word_of_hyphens) else {
            from += blocks.len() * BLOCK - WORD_AT_MAX;
            continue;
        };
        let start = (at * BLOCK).saturating_sub(WORD_AT_MAX);
        let next = (at + 1) * BLOCK;
        let window = &rest[start..rest.len().min(next + FIXED.len() - 1)];
        if let Some(hit) = FINDER.find(window) {
            return Some(from + start + hit);
        }
        from += next;
    }
}

fn has_word_of_hyphens(block: &[u8; BLOCK]) -> bool {
    const HYPHENS: u32 = u32::from_ne_bytes(*b"----");
    let (words, _) = block.as_chunks::<4>();
    // All of them, without a way out: that is what becomes vector instructions.
    words.iter().fold(false, |any, word| {
        any | (u32::from_ne_bytes(*word) == HYPHENS)
    })
}

/// What `bytes`, at a place where an end-line of `tid` may begin, turn out to be.
fn candidate(bytes: &[u8], tid: &[u8]) -> Candidate {
    let Some(rest) = bytes.strip_prefix(FIXED) else {
        return if FIXED.starts_with(bytes) {
            Candidate::Open
        } else {
            Candidate::Body
        };
    };
    if let Some(tail) = rest.strip_prefix(tid) {
        match tail {
            [flag, b'\r', b'\n', ..] if is_flag(*flag) => {
                return Candidate::End {
                    len: FIXED.len() + tid.len() + 3,
                    flag: *flag,
                };
            }
            [] => return Candidate::Open,
            [flag] | [flag, b'\r'] if is_flag(*flag) => return Candidate::Open,
            _ => {}
        }
    }
    let ident = run(&rest[..rest.len().min(TID_MAX)], IDENT);
    if ident == rest.len() && ident < TID_MAX {
        return if ident == 0 || is(rest[0], ALNUM) {
            Candidate::Open
        } else {
            Candidate::Body
        };
    }
    if ident >= 4 && is(rest[0], ALNUM) {
        Candidate::Other { ident }
    } else {
        Candidate::Body
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "never more than HELD_MAX, which is 43"
)]
fn small(n: usize) -> u8 {
    debug_assert!(n <= HELD_MAX);
    n as u8
}
