//! What is ready made of every SEND on a leg.

use super::{TID_LEN, Tid, line::START};

/// The start of the SENDs on a leg, from `MSRP` to their paths, with room for the transaction id; and before it the end-line
/// of the frame before, so that the two are copied as one.
#[derive(Clone, Debug)]
pub struct Ready(Vec<u8>);

/// An end-line with the CRLF that closes the body (RFC 4975 §9), and where in it the transaction id and the flag are.
pub(super) const END_LEN: usize = TID_LEN + 12;
const END_TID: usize = 9;
const END_FLAG: usize = END_TID + TID_LEN;

/// Where the transaction id of the SEND is.
const SEND_TID: usize = END_LEN + START.len();
const FIXED: usize = SEND_TID + TID_LEN;

impl Ready {
    /// `parts`: what follows the transaction id, one behind the other.
    #[must_use]
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut bytes = end_line(&[0; TID_LEN], 0).to_vec();
        bytes.extend_from_slice(START);
        bytes.extend_from_slice(&[0; TID_LEN]);
        for part in parts {
            bytes.extend_from_slice(part);
        }
        Self(bytes)
    }

    /// What follows the transaction id.
    #[must_use]
    pub fn behind_id(&self) -> &[u8] {
        &self.0[FIXED..]
    }

    /// Bytes from `MSRP` on.
    pub(super) fn len(&self) -> usize {
        self.0.len() - END_LEN
    }

    /// Appends the start of the SEND `tid`, and before it the end-line that was put off.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, before: Option<(Tid, u8)>, tid: &Tid) {
        let at = out.len();
        match before {
            Some((last, flag)) => {
                out.extend_from_slice(&self.0);
                if let Some(fixed) = out[at..].first_chunk_mut::<FIXED>() {
                    fixed[END_TID..END_FLAG].copy_from_slice(&last);
                    fixed[END_FLAG] = flag;
                    fixed[SEND_TID..].copy_from_slice(tid);
                }
            }
            None => {
                out.extend_from_slice(&self.0[END_LEN..]);
                if let Some(fixed) = out[at..].first_chunk_mut::<{ FIXED - END_LEN }>() {
                    fixed[START.len()..].copy_from_slice(tid);
                }
            }
        }
    }
}

/// A response that is ready made but for the transaction id of its request (RFC 4975 §9), with room for one as long as the last.
#[derive(Clone, Debug)]
pub struct Answer {
    bytes: Box<[u8]>,
    id: usize,
}

/// Where the end-line of a message without a body goes on behind its transaction id.
const LAST: &[u8] = b"$\r\n";

impl Answer {
    /// `middle`: what stands between its two transaction ids, of which each has `id` characters.
    #[must_use]
    pub fn new(middle: &[u8], id: usize) -> Self {
        let room = vec![0; id];
        Self {
            bytes: [START, &room[..], middle, &room[..], LAST].concat().into(),
            id,
        }
    }

    /// What stands between its two transaction ids.
    #[must_use]
    pub fn middle(&self) -> &[u8] {
        &self.bytes[START.len() + self.id..self.second()]
    }

    /// Where its second transaction id is.
    fn second(&self) -> usize {
        self.bytes.len() - LAST.len() - self.id
    }

    /// Bytes of one to the request `tid`.
    pub(super) fn len_for(&self, tid: &[u8]) -> usize {
        self.bytes.len() - 2 * self.id + 2 * tid.len()
    }

    /// Appends the one to the request `tid`.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, tid: &[u8]) {
        if tid.len() != self.id {
            for part in [START, tid, self.middle(), tid, LAST] {
                out.extend_from_slice(part);
            }
            return;
        }
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        let (first, second) = (at + START.len(), at + self.second());
        out[first..first + tid.len()].copy_from_slice(tid);
        out[second..second + tid.len()].copy_from_slice(tid);
    }
}

/// CRLF, seven hyphens, transaction id, flag, CRLF (RFC 4975 §9); the first CRLF closes the body.
#[must_use]
pub fn end_line(tid: &Tid, flag: u8) -> [u8; END_LEN] {
    let mut line = *b"\r\n-------0123456789abcdef$\r\n";
    line[END_TID..END_FLAG].copy_from_slice(tid);
    line[END_FLAG] = flag;
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_written_with_and_without_the_end_before_it() {
        let ready = Ready::new(&[b" SEND\r\n", b"To-Path: x\r\n"]);
        let (last, tid) = (*b"aaaaaaaaaaaaaaaa", *b"bbbbbbbbbbbbbbbb");
        let mut out = b"body".to_vec();
        ready.write(&mut out, Some((last, b'+')), &tid);
        ready.write(&mut out, None, &last);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "body\r\n-------aaaaaaaaaaaaaaaa+\r\nMSRP bbbbbbbbbbbbbbbb SEND\r\nTo-Path: x\r\n\
             MSRP aaaaaaaaaaaaaaaa SEND\r\nTo-Path: x\r\n"
        );
        assert_eq!(ready.len(), 5 + TID_LEN + ready.behind_id().len());
    }

    #[test]
    fn an_answer_is_written_for_ids_of_any_length() {
        let answer = Answer::new(b" 200 OK\r\nTo-Path: x\r\n-------", 4);
        for tid in [&b"abcd"[..], b"abcdefgh"] {
            let mut out = b"before".to_vec();
            answer.write(&mut out, tid);
            assert_eq!(answer.len_for(tid), out.len() - 6);
            let text = std::str::from_utf8(tid).unwrap();
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!("beforeMSRP {text} 200 OK\r\nTo-Path: x\r\n-------{text}$\r\n")
            );
        }
        assert_eq!(answer.middle(), b" 200 OK\r\nTo-Path: x\r\n-------");
    }
}
