//! Messages in chunks (RFC 4975 §5.1): each of a few KiB in a SEND of its own, the last with `$`, all before it with `+`.
//! Several messages are sent at once, their chunks in turn, as a client does that sends files beside each other.

use ringfork::wire::msrp::{
    ByteRange, FailureReport,
    write::{self, Send},
};

use crate::{
    body::{Bodies, CONTENT_TYPE, Padding},
    clock::Nanos,
    leg::LegSpec,
    voice,
};

/// How messages are cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chunking {
    /// Bytes of a chunk; the last of a message has what is left.
    pub(crate) bytes: usize,
    /// Messages whose chunks alternate.
    pub(crate) interleave: u32,
}

impl Chunking {
    /// SENDs that a message of `body_bytes` takes.
    pub(crate) fn per_message(&self, body_bytes: usize) -> u32 {
        u32::try_from(body_bytes.div_ceil(self.bytes)).unwrap_or(u32::MAX)
    }
}

/// Writes the messages of one sender in chunks.
pub(crate) struct Chunker {
    chunking: Chunking,
    spec: LegSpec,
    run: u32,
    bodies: Bodies,
    /// The bodies of the messages that are written at once.
    whole: Vec<Vec<u8>>,
}

impl Chunker {
    pub(crate) fn new(chunking: Chunking, spec: &LegSpec, bodies: Bodies, run: u32) -> Self {
        Self {
            chunking,
            spec: spec.clone(),
            run,
            bodies,
            whole: vec![Vec::new(); chunking.interleave as usize],
        }
    }

    /// Messages that are written at once.
    pub(crate) fn at_once(&self) -> u32 {
        self.chunking.interleave
    }

    /// SENDs that each message takes.
    pub(crate) fn per_message(&self) -> u32 {
        self.chunking.per_message(self.bodies.len())
    }

    /// Appends [`Chunker::at_once`] messages that were meant for `at`, numbered from `seq`, their SENDs from `request`.
    pub(crate) fn write(
        &mut self,
        seq: u32,
        mut request: u32,
        at: Nanos,
        padding: &Padding,
        out: &mut Vec<u8>,
    ) {
        for (body, seq) in self.whole.iter_mut().zip(seq..) {
            body.clear();
            self.bodies.write(body, seq, at, padding);
        }
        let len = self.bodies.len();
        for start in (0..len).step_by(self.chunking.bytes) {
            let end = (start + self.chunking.bytes).min(len);
            for (body, seq) in self.whole.iter().zip(seq..) {
                let tid = voice::tid(b't', self.spec.session, request);
                write::send(
                    out,
                    &tid,
                    self.spec.peer_path.as_bytes(),
                    self.spec.own_path.as_bytes(),
                    &Send {
                        message_id: &voice::message_id(self.run, self.spec.session, seq),
                        byte_range: Some(ByteRange {
                            start: start as u64 + 1,
                            end: Some(end as u64),
                            total: Some(len as u64),
                        }),
                        success_report: false,
                        failure_report: FailureReport::Yes,
                    },
                    CONTENT_TYPE,
                );
                out.extend_from_slice(&body[start..end]);
                let flag = if end == len { b'$' } else { b'+' };
                write::end_line(out, &tid, flag);
                request += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        body::BodyReader,
        leg::{How, Role},
        stream::{Part, Stream},
    };

    #[test]
    fn messages_are_cut_alternate_and_are_whole_once_joined() {
        let spec = LegSpec {
            session: 3,
            user: 3,
            role: Role::Sender,
            how: How::Passive,
            own_path: "msrp://s.example:1/y;tcp".to_owned(),
            peer_path: "msrp://r.example:1/z;tcp".to_owned(),
        };
        let bodies = Bodies::new(3, "sip:a@example.net", "sip:b@example.com", 700).unwrap();
        let padding = Padding::new(bodies.padding_len(), 1);
        let reader = BodyReader::new(&bodies);
        let chunking = Chunking {
            bytes: 300,
            interleave: 2,
        };
        let mut chunker = Chunker::new(chunking, &spec, bodies, 9);
        assert_eq!((chunker.at_once(), chunker.per_message()), (2, 3));
        let mut out = Vec::new();
        chunker.write(5, 40, 77, &padding, &mut out);

        let (mut stream, mut rest, mut log) = (Stream::default(), &out[..], Vec::new());
        let mut joined = [Vec::new(), Vec::new()];
        let (mut which, mut tids) = (0, Vec::new());
        while !rest.is_empty() {
            let n = stream.message(rest, &mut |part| {
                match part {
                    Part::Head(head, _) => {
                        let id = String::from_utf8_lossy(head.message_id.unwrap()).into_owned();
                        which = usize::from(id.ends_with('6'));
                        let range = head.byte_range.unwrap();
                        log.push((which, range.start, range.end.unwrap()));
                        tids.push(head.tid.to_vec());
                        assert_eq!(range.total, Some(700));
                    }
                    Part::Body(piece) => joined[which].extend_from_slice(piece),
                    Part::End(flag) => assert_eq!(flag == b'$', joined[which].len() == 700),
                }
                Ok(())
            });
            rest = &rest[n.unwrap()..];
        }
        assert_eq!(
            log,
            [
                (0, 1, 300),
                (1, 1, 300),
                (0, 301, 600),
                (1, 301, 600),
                (0, 601, 700),
                (1, 601, 700)
            ]
        );
        let expected: Vec<_> = (40..46).map(|n| voice::tid(b't', 3, n).to_vec()).collect();
        assert_eq!(tids, expected);
        for (body, seq) in joined.iter().zip([5, 6]) {
            let mark = reader.whole(body).unwrap();
            assert_eq!((mark.seq, mark.at), (seq, 77));
        }
    }
}
