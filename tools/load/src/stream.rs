//! One direction of an MSRP connection, read: bytes in any pieces in, heads, bodies in pieces and ends out. Holds an
//! unfinished head (16 KiB at most) and the 44 bytes that may be the beginning of an end-line, never a body.

use ringfork::wire::msrp::{self, EndScan, Head, Parse, Scan};

/// What a stream is made of, in this order: a head, then, if it has a body, pieces of it, then an end.
pub(crate) enum Part<'a> {
    /// A head, and the bytes it was parsed from.
    Head(&'a Head<'a>, &'a [u8]),
    /// The next bytes of the body.
    Body(&'a [u8]),
    /// The end-line's flag: `$`, `+` or `#`.
    End(u8),
}

/// The stream can no longer be framed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) String);

/// The state between two reads.
#[derive(Default)]
pub(crate) struct Stream {
    /// An unfinished head, from its first byte.
    head: Vec<u8>,
    /// Its bytes that need not be searched again.
    scanned: usize,
    body: Option<Open>,
}

struct Open {
    tid: Vec<u8>,
    scan: EndScan,
}

impl Stream {
    /// Whether the next byte begins a message.
    pub(crate) fn at_start(&self) -> bool {
        self.head.is_empty() && self.body.is_none()
    }

    /// Reads one message from `bytes`, or what there is of it, and returns the bytes taken; all of them if the message
    /// is not finished. Call again with the rest.
    pub(crate) fn message(
        &mut self,
        bytes: &[u8],
        on: &mut impl FnMut(Part<'_>) -> Result<(), Broken>,
    ) -> Result<usize, Broken> {
        let mut taken = 0;
        if self.body.is_none() {
            taken = self.head(bytes, on)?;
        }
        if self.body.is_some() {
            taken += self.body(&bytes[taken..], on)?;
        }
        Ok(taken)
    }

    fn head(
        &mut self,
        bytes: &[u8],
        on: &mut impl FnMut(Part<'_>) -> Result<(), Broken>,
    ) -> Result<usize, Broken> {
        let before = self.head.len();
        let mut joined = std::mem::take(&mut self.head);
        let text = if before == 0 {
            bytes
        } else {
            // No head is longer, so that no long body is copied here with it.
            joined.extend_from_slice(&bytes[..bytes.len().min(msrp::HEAD_MAX)]);
            &joined
        };
        let broken = |e: &msrp::Error| Broken(format!("{e:?}"));
        match msrp::parse(text, self.scanned).map_err(|e| broken(&e))? {
            Parse::Partial { scanned } => {
                self.scanned = scanned;
                if before == 0 {
                    joined.extend_from_slice(bytes);
                }
                self.head = joined;
                Ok(bytes.len())
            }
            Parse::Complete { head, len } => {
                self.scanned = 0;
                on(Part::Head(&head, &text[..len]))?;
                match head.end_flag {
                    Some(flag) => on(Part::End(flag))?,
                    None => {
                        self.body = Some(Open {
                            tid: head.tid.to_vec(),
                            scan: EndScan::new(),
                        });
                    }
                }
                Ok(len - before)
            }
        }
    }

    fn body(
        &mut self,
        bytes: &[u8],
        on: &mut impl FnMut(Part<'_>) -> Result<(), Broken>,
    ) -> Result<usize, Broken> {
        let Some(open) = &mut self.body else {
            return Ok(0);
        };
        let mut held = [0; msrp::HELD_MAX];
        let held = &mut held[..open.scan.held().len()];
        held.copy_from_slice(open.scan.held());
        match open.scan.scan(bytes, &open.tid) {
            Scan::None { released, safe } => {
                on(Part::Body(&held[..released]))?;
                on(Part::Body(&bytes[..safe]))?;
                Ok(bytes.len())
            }
            Scan::Found {
                released,
                body_end,
                after,
                flag,
            } => {
                self.body = None;
                on(Part::Body(&held[..released]))?;
                on(Part::Body(&bytes[..body_end]))?;
                on(Part::End(flag))?;
                Ok(after)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"MSRP aaaa1111 SEND\r\nTo-Path: msrp://a.example:1/x;tcp\r\nFrom-Path: msrp://b.example:2/y;tcp\r\n\
        Message-ID: m123\r\nByte-Range: 1-24/24\r\nContent-Type: text/plain\r\n\r\nab\r\n-------aaaa1112$\r\nxyz\
        \r\n-------aaaa1111$\r\n\
        MSRP bbbb2222 200 OK\r\nTo-Path: msrp://a.example:1/x;tcp\r\nFrom-Path: msrp://b.example:2/y;tcp\r\n\
        -------bbbb2222$\r\n";

    fn read(stream: &mut Stream, mut bytes: &[u8], log: &mut String) {
        while !bytes.is_empty() {
            let n = stream
                .message(bytes, &mut |part| {
                    match part {
                        Part::Head(h, _) => log.push_str(std::str::from_utf8(h.tid).unwrap()),
                        Part::Body(b) => log.push_str(std::str::from_utf8(b).unwrap()),
                        Part::End(f) => log.push(char::from(f)),
                    }
                    Ok(())
                })
                .unwrap();
            bytes = &bytes[n..];
        }
    }

    #[test]
    fn any_cut_gives_the_same_messages() {
        let whole = "aaaa1111ab\r\n-------aaaa1112$\r\nxyz$bbbb2222$";
        for cut in 0..TWO.len() {
            let (mut stream, mut log) = (Stream::default(), String::new());
            read(&mut stream, &TWO[..cut], &mut log);
            read(&mut stream, &TWO[cut..], &mut log);
            assert_eq!(log, whole, "cut at {cut}");
            assert!(stream.at_start());
        }
        let (mut stream, mut log) = (Stream::default(), String::new());
        for b in TWO {
            read(&mut stream, &[*b], &mut log);
        }
        assert_eq!(log, whole, "byte by byte");
    }

    #[test]
    fn what_is_no_msrp_breaks_the_stream() {
        let mut s = Stream::default();
        assert!(
            s.message(b"HTTP/1.1 200 OK\r\n\r\n", &mut |_| Ok(()))
                .is_err()
        );
    }
}
