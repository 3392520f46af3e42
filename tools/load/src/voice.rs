//! What a leg says of its own accord, beside the plain stream of messages: heads of SENDs and REPORTs with the digits that
//! change from one to the next written into their places.

use ringfork::wire::msrp::{
    ByteRange, FailureReport,
    write::{self, Report, Send},
};

use crate::{
    body::{Bodies, COMPOSING_TYPE, CONTENT_TYPE, Padding, hex8, unhex8},
    clock::Nanos,
    leg::LegSpec,
};

/// What is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Words {
    /// A chat message.
    Chat,
    /// A chat message for which a success REPORT is asked (RFC 4975 §7.1.2).
    Reported,
    /// isComposing (RFC 3994).
    Composing,
}

/// Length of our transaction ids: a letter and two numbers.
const TID_LEN: usize = 17;
/// Length of our Message-IDs: a letter and three numbers.
const ID_LEN: usize = 25;

/// Writes what one leg says. Numbers begin with a base that tells the legs of a session apart: 0 for the sender,
/// `(1 + device) << 24` for a device.
pub(crate) struct Voice {
    session: u32,
    letter: u8,
    /// A Message-ID up to its number.
    id_start: Vec<u8>,
    chat: Bodies,
    composing: Option<Bodies>,
    heads: [Head; 3],
}

/// A whole head, and where in it the digits of the number are.
struct Head {
    bytes: Vec<u8>,
    tid_at: usize,
    id_at: usize,
}

impl Voice {
    /// `letter` begins the transaction ids; `run` is in each Message-ID, so that two runs against one server share none.
    pub(crate) fn new(spec: &LegSpec, letter: u8, chat: Bodies, run: u32) -> Self {
        let session = spec.session;
        let composing = chat.composing();
        let composing_len = composing.as_ref().map_or(0, Bodies::len);
        let head = |report: bool, len: usize, content_type: &[u8]| {
            let tid = tid(letter, session, 0);
            let id = message_id(run, session, 0);
            let mut bytes = Vec::new();
            write::send(
                &mut bytes,
                &tid,
                spec.peer_path.as_bytes(),
                spec.own_path.as_bytes(),
                &Send {
                    message_id: &id,
                    byte_range: Some(ByteRange {
                        start: 1,
                        end: Some(len as u64),
                        total: Some(len as u64),
                    }),
                    success_report: report,
                    failure_report: FailureReport::Yes,
                },
                content_type,
            );
            let at = |what: &[u8]| {
                bytes
                    .windows(what.len())
                    .position(|w| w[0] == what[0] && w == what)
                    .map_or(0, |at| at + what.len() - 8)
            };
            let (tid_at, id_at) = (at(&tid), at(&id));
            Head {
                bytes,
                tid_at,
                id_at,
            }
        };
        Self {
            session,
            letter,
            id_start: message_id(run, session, 0)[..ID_LEN - 8].to_vec(),
            heads: [
                head(false, chat.len(), CONTENT_TYPE),
                head(true, chat.len(), CONTENT_TYPE),
                head(false, composing_len, COMPOSING_TYPE),
            ],
            chat,
            composing,
        }
    }

    /// Appends one SEND with number `seq` that was meant for `at`.
    pub(crate) fn say(
        &mut self,
        words: Words,
        seq: u32,
        at: Nanos,
        padding: &Padding,
        out: &mut Vec<u8>,
    ) {
        let (head, bodies) = match (words, &mut self.composing) {
            (Words::Composing, Some(composing)) => (&mut self.heads[2], composing),
            (Words::Reported, _) => (&mut self.heads[1], &mut self.chat),
            (Words::Chat, _) | (Words::Composing, None) => (&mut self.heads[0], &mut self.chat),
        };
        head.bytes[head.tid_at..head.tid_at + 8].copy_from_slice(&hex8(seq));
        head.bytes[head.id_at..head.id_at + 8].copy_from_slice(&hex8(seq));
        out.reserve(head.bytes.len() + bodies.len() + 64);
        out.extend_from_slice(&head.bytes);
        bodies.write(out, seq, at, padding);
        write::end_line(out, &tid(self.letter, self.session, seq), b'$');
    }

    /// The number of the SEND that this transaction id is of, if it is one of ours.
    pub(crate) fn number(&self, tid: &[u8]) -> Option<u32> {
        let (ours, seq) = tid.split_at_checked(TID_LEN - 8)?;
        let first = self::tid(self.letter, self.session, 0);
        (*ours == first[..TID_LEN - 8] && seq.len() == 8).then(|| unhex8(seq))
    }

    /// The number of the message that this Message-ID is of, if it is one of ours.
    pub(crate) fn number_of(&self, message_id: &[u8]) -> Option<u32> {
        let seq = message_id.strip_prefix(&self.id_start[..])?;
        (seq.len() == 8).then(|| unhex8(seq))
    }
}

/// A success REPORT for a whole message of `len` bytes (RFC 4975 §7.1.2): towards who sent it to us.
pub(crate) fn report(
    out: &mut Vec<u8>,
    tid: &[u8],
    to_path: &[u8],
    own_path: &[u8],
    message_id: &[u8],
    len: u64,
) {
    write::report(
        out,
        tid,
        to_path,
        own_path,
        &Report {
            message_id,
            byte_range: Some(ByteRange {
                start: 1,
                end: Some(len),
                total: Some(len),
            }),
            code: 200,
        },
    );
}

/// `letter`, session and number.
pub(crate) fn tid(letter: u8, session: u32, seq: u32) -> [u8; TID_LEN] {
    let mut tid = [letter; TID_LEN];
    tid[1..9].copy_from_slice(&hex8(session));
    tid[9..].copy_from_slice(&hex8(seq));
    tid
}

/// `m`, run, session and number.
pub(crate) fn message_id(run: u32, session: u32, seq: u32) -> Vec<u8> {
    [b"m", &hex8(run)[..], &hex8(session), &hex8(seq)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        body::BodyReader,
        leg::{How, Role},
        stream::{Part, Stream},
    };

    fn voice() -> Voice {
        let bodies = Bodies::new(
            3,
            "sip:caller00003@example.net",
            "sip:user00003@example.com",
            260,
        );
        let spec = LegSpec {
            session: 3,
            user: 3,
            role: Role::Sender,
            how: How::Passive,
            own_path: "msrp://s.example:1/y;tcp".to_owned(),
            peer_path: "msrp://r.example:1/z;tcp".to_owned(),
        };
        Voice::new(&spec, b't', bodies.unwrap(), 7)
    }

    #[test]
    fn each_kind_of_words_is_one_send_with_its_own_head_and_a_body_that_one_reader_reads() {
        let mut v = voice();
        let padding = Padding::new(v.chat.padding_len(), 1);
        let mut reader = BodyReader::new(&v.chat);
        for (seq, words, content_type, report) in [
            (4, Words::Chat, CONTENT_TYPE, false),
            (5, Words::Reported, CONTENT_TYPE, true),
            (6, Words::Composing, COMPOSING_TYPE, false),
            (0x0200_0001, Words::Chat, CONTENT_TYPE, false),
        ] {
            let mut out = Vec::new();
            v.say(words, seq, 9, &padding, &mut out);
            let (mut tid, mut id) = (Vec::new(), Vec::new());
            let n = Stream::default()
                .message(&out, &mut |part| {
                    match part {
                        Part::Head(head, _) => {
                            assert_eq!(head.content_type, Some(content_type));
                            assert_eq!(head.success_report, report);
                            tid.extend_from_slice(head.tid);
                            id.extend_from_slice(head.message_id.unwrap());
                        }
                        Part::Body(piece) => reader.take(piece),
                        Part::End(flag) => assert_eq!(flag, b'$'),
                    }
                    Ok(())
                })
                .unwrap();
            assert_eq!(n, out.len());
            let mark = reader.finish().unwrap();
            assert_eq!((mark.session, mark.seq, mark.at), (3, seq, 9));
            assert_eq!((v.number(&tid), v.number_of(&id)), (Some(seq), Some(seq)));
        }
    }

    #[test]
    fn what_is_not_ours_has_no_number() {
        let v = voice();
        for other in [
            &tid(b'd', 3, 1)[..],
            &tid(b't', 4, 1),
            b"RLbind0000000000",
            b"",
        ] {
            assert_eq!(v.number(other), None);
        }
        assert_eq!(v.number_of(&message_id(8, 3, 1)), None);
        assert_eq!(v.number_of(&message_id(7, 3, 1)[..24]), None);
    }
}
