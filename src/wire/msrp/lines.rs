//! The lines of a head: where each ends, and where the head does.

use super::{
    Error, Rule,
    syntax::{ALNUM, IDENT, UPPER, is, is_flag, run},
};

/// Where a walk stopped: the rule and the offset. A walk that ran out of bytes stops too; `parse` knows which it was.
pub(super) type Stop = (Rule, usize);

/// Looks for the end of the head in `head[scanned..]`: the offset behind it, and the flag if it is an end-line. A line that
/// can only mean lost framing is told where it stands, whatever follows: nobody waits for an end that may never come.
pub(super) fn find_end(head: &[u8], scanned: usize) -> Result<Option<(usize, Option<u8>)>, Error> {
    let Some(tid) = opening(head)? else {
        return Ok(None);
    };
    let from = scanned.min(head.len());
    let mut begins = memchr::memrchr(b'\n', &head[..from]).map_or(0, |lf| lf + 1);
    for lf in memchr::memchr_iter(b'\n', &head[from..]).map(|i| from + i) {
        let line = &head[..=lf];
        if !line.ends_with(b"\r\n") {
            return Err(Error::new(Rule::LineEnd, lf, line, None));
        }
        if line.ends_with(b"\r\n\r\n") {
            return Ok(Some((lf + 1, None)));
        }
        if let Some(flag) = ends_in_end_line(line, tid) {
            return Ok(Some((lf + 1, Some(flag))));
        }
        if begins > 0 && memchr::memchr(b':', &head[begins..lf]).is_none() {
            return Err(Error::new(Rule::Header, begins, line, None));
        }
        begins = lf + 1;
    }
    Ok(None)
}

/// The transaction id, once the start line is there up to the first character of its method or status code.
fn opening(head: &[u8]) -> Result<Option<&[u8]>, Error> {
    let wrong = |at: usize| Err(Error::new(Rule::StartLine, at, head, None));
    const MSRP: &[u8] = b"MSRP ";
    let same = head.iter().zip(MSRP).take_while(|(a, b)| a == b).count();
    if same < MSRP.len() {
        return if same == head.len() {
            Ok(None)
        } else {
            wrong(same)
        };
    }
    let rest = &head[MSRP.len()..];
    let len = run(&rest[..rest.len().min(33)], IDENT);
    let at = MSRP.len() + len;
    if rest.first().is_some_and(|&b| !is(b, ALNUM)) {
        return wrong(MSRP.len());
    }
    if len > 32 {
        return wrong(MSRP.len() + 32);
    }
    match &rest[len..] {
        [] => Ok(None),
        [b' '] if len >= 4 => Ok(None),
        [b' ', c, ..] if len >= 4 && is(*c, UPPER) | c.is_ascii_digit() => Ok(Some(&rest[..len])),
        _ => wrong(at),
    }
}

/// The flag, if `line`, which ends in CRLF, ends in a line that is the end-line of `tid`.
fn ends_in_end_line(line: &[u8], tid: &[u8]) -> Option<u8> {
    let rest = line.strip_suffix(b"\r\n")?;
    let (&flag, rest) = rest.split_last()?;
    let before = rest.strip_suffix(tid)?.strip_suffix(b"-------")?;
    (is_flag(flag) && before.ends_with(b"\r\n")).then_some(flag)
}

/// The end of the line that begins at `at`: the offset of its CR. Notes in `ascii` where a byte is beyond ASCII.
///
/// `utf8text` has no control character but HTAB, so the first other one must be the CR of the line's end: one search finds
/// the end and what may not stand before it.
pub(super) fn line_end(head: &[u8], at: usize, ascii: &mut bool) -> Result<usize, Stop> {
    let mut from = at;
    loop {
        let text = head.get(from..).unwrap_or_default();
        let Some(found) = text_len(text) else {
            return Err((Rule::TooLong, head.len()));
        };
        let place = from + found;
        match &text[found..] {
            [b'\r', b'\n', ..] => return Ok(place),
            [b'\t', ..] => {}
            [0x80..=0xff, ..] => *ascii = false,
            [b'\r'] => return Err((Rule::TooLong, head.len())),
            [b'\n', ..] => return Err((Rule::LineEnd, place)),
            _ => return Err((Rule::Control, place)),
        }
        from = place + 1;
    }
}

/// Bytes of plain text, %x20-7E, before the first other one; `None` if there is no other.
///
/// Lines are short: 16 bytes at a time, which the compiler turns into vector instructions, are quicker than a search that
/// sets up a longer stride.
fn text_len(text: &[u8]) -> Option<usize> {
    // As a signed byte, all beyond ASCII is below the space too.
    let is_other = |b: u8| b.cast_signed() < 0x20 || b == 0x7f;
    let (pieces, rest) = text.as_chunks::<16>();
    for (i, piece) in pieces.iter().enumerate() {
        let mut marks = [0u8; 16];
        for (mark, &b) in marks.iter_mut().zip(piece) {
            *mark = if is_other(b) { 0xff } else { 0 };
        }
        let marks = u128::from_le_bytes(marks);
        if marks != 0 {
            return Some(i * 16 + (marks.trailing_zeros() / 8) as usize);
        }
    }
    let behind = text.len() - rest.len();
    rest.iter().position(|&b| is_other(b)).map(|i| behind + i)
}

/// The flag, if `line` is the end-line of `tid`.
pub(super) fn end_line(line: &[u8], tid: &[u8]) -> Option<u8> {
    let rest = line.strip_prefix(b"-------")?.strip_prefix(tid)?;
    match rest {
        [flag] if is_flag(*flag) => Some(*flag),
        _ => None,
    }
}
