//! A faulty server on purpose: what the forwarder does to every n-th message when a test asks it to. Shows that the
//! checks of this tool find what they claim to find; never part of a measurement.

use std::str::FromStr;

/// What happens to a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The last device does not get it.
    Drop,
    /// The last device gets it twice.
    Double,
    /// The last device gets it after the next one.
    Reorder,
    /// The last device gets it with one bit of its text turned.
    Alter,
    /// The last device of the next session gets it, ours does not.
    Cross,
}

/// `KIND:N`: [`Kind`] for every `N`-th message of all sessions together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) every: u64,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (kind, every) = s.split_once(':').ok_or("expected KIND:N")?;
        let kind = match kind {
            "drop" => Kind::Drop,
            "double" => Kind::Double,
            "reorder" => Kind::Reorder,
            "alter" => Kind::Alter,
            "cross" => Kind::Cross,
            _ => return Err("expected drop, double, reorder, alter or cross".to_owned()),
        };
        let every = every.parse().map_err(|e| format!("{every}: {e}"))?;
        if every == 0 {
            return Err("N must be at least 1".to_owned());
        }
        Ok(Self { kind, every })
    }
}

/// Cuts a stream into frames in the plainest way there is and applies a [`Fault`].
pub(crate) struct Faulty {
    fault: Fault,
    messages: u64,
    /// The unfinished frame of each session, and how far its end has been looked for.
    open: Vec<(Vec<u8>, usize)>,
    /// The frame that waits for the next one of its session.
    held: Vec<Vec<u8>>,
}

/// What the last devices get instead of the sender's bytes.
#[derive(Default)]
pub(crate) struct Altered {
    /// For the last device of the sender's session.
    pub(crate) here: Vec<u8>,
    /// For the last device of the session after it.
    pub(crate) elsewhere: Vec<u8>,
}

impl Faulty {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            fault,
            messages: 0,
            open: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Takes what the sender of `session` wrote; whole frames come out, as the fault has them.
    pub(crate) fn take(&mut self, session: usize, bytes: &[u8]) -> Altered {
        let n = self.open.len().max(session + 1);
        self.open.resize(n, (Vec::new(), 0));
        self.held.resize(n, Vec::new());
        self.open[session].0.extend_from_slice(bytes);

        let mut out = Altered::default();
        loop {
            let (open, searched) = &mut self.open[session];
            let Some(len) = frame_len(open, searched) else {
                break;
            };
            let frame: Vec<u8> = open.drain(..len).collect();
            self.messages += 1;
            if !self.messages.is_multiple_of(self.fault.every) {
                out.here.extend_from_slice(&frame);
                out.here.append(&mut self.held[session]);
                continue;
            }
            match self.fault.kind {
                Kind::Drop => {}
                Kind::Double => {
                    out.here.extend_from_slice(&frame);
                    out.here.extend_from_slice(&frame);
                }
                Kind::Reorder => self.held[session].extend_from_slice(&frame),
                Kind::Alter => {
                    out.here.extend_from_slice(&frame);
                    let last_of_body = out.here.len() - end_line_len(&frame) - 1;
                    out.here[last_of_body] ^= 1;
                }
                Kind::Cross => out.elsewhere.extend_from_slice(&frame),
            }
        }
        out
    }
}

/// Length of the first frame, if it is whole. Its end is not before `searched`, which goes on with it.
fn frame_len(bytes: &[u8], searched: &mut usize) -> Option<usize> {
    let end_line = end_line(bytes)?;
    let found = bytes[*searched..]
        .windows(end_line.len())
        .position(|w| w == end_line);
    let Some(at) = found else {
        *searched = bytes.len().saturating_sub(end_line.len());
        return None;
    };
    *searched += at;
    let len = *searched + end_line.len() + b"$\r\n".len();
    if len > bytes.len() {
        return None;
    }
    *searched = 0;
    Some(len)
}

fn end_line_len(frame: &[u8]) -> usize {
    end_line(frame).map_or(0, |l| l.len() + b"$\r\n".len())
}

/// CRLF, seven dashes and the transaction id of the frame that begins here.
fn end_line(bytes: &[u8]) -> Option<Vec<u8>> {
    let id = bytes.strip_prefix(b"MSRP ")?;
    let id = &id[..id.iter().position(|&b| b == b' ')?];
    Some([b"\r\n-------", id].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(n: usize) -> Vec<Vec<u8>> {
        (0..n)
            .map(|i| format!("MSRP t{i} SEND\r\n\r\nbody {i}\r\n-------t{i}$\r\n").into_bytes())
            .collect()
    }

    fn after(fault: &str, pieces: usize) -> (Vec<u8>, Vec<u8>) {
        let stream = frames(4).concat();
        let mut f = Faulty::new(fault.parse().unwrap());
        let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
        for piece in stream.chunks(pieces) {
            let a = f.take(0, piece);
            here.extend(a.here);
            elsewhere.extend(a.elsewhere);
        }
        (here, elsewhere)
    }

    #[test]
    fn each_fault_does_what_it_says_however_the_stream_is_cut() {
        let f = frames(4);
        for cut in [1, 7, 1000] {
            assert_eq!(after("drop:2", cut).0, [&f[0][..], &f[2]].concat());
            assert_eq!(
                after("double:3", cut).0,
                [&f[0][..], &f[1], &f[2], &f[2], &f[3]].concat()
            );
            assert_eq!(
                after("reorder:2", cut).0,
                [&f[0][..], &f[2], &f[1]].concat()
            );
            assert_eq!(after("cross:4", cut).1, f[3]);
            let altered = after("alter:1", cut).0;
            assert!(
                String::from_utf8_lossy(&altered)
                    .starts_with("MSRP t0 SEND\r\n\r\nbody 1\r\n-------t0$")
            );
        }
    }

    #[test]
    fn a_fault_that_is_none_is_refused() {
        for bad in ["drop", "drop:0", "lose:3", "drop:x"] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
