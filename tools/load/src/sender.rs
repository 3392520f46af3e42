//! A sender's leg: writes SENDs, counts what is answered, reads what the devices say.

use std::collections::BTreeSet;

use crate::{
    body::{Bodies, BodyReader, Corrupt, Mark, Padding},
    chunks::Chunker,
    clock::Nanos,
    layout::ResponseLayout,
    leg::{BIND_TID, Current, LegSpec},
    order::{Fit, Order},
    stream::{Broken, Part, Stream},
    tally::Tally,
    voice::{Voice, Words},
};

/// Bytes that may wait for the socket before no more is written: above it, the peer is not reading.
const OUT_BYTES_MAX: usize = 1024 * 1024;

/// The state of one sender.
pub(crate) struct Sender {
    session: u32,
    own_path: Vec<u8>,
    voice: Voice,
    /// Writes chunks, if messages are cut.
    chunker: Option<Box<Chunker>>,
    next: u32,
    /// SENDs so far: as many as messages, but where these are cut.
    requests: u32,
    /// SENDs that have no answer yet.
    outstanding: u32,
    answers: Order,
    layout: Option<ResponseLayout>,
    stream: Stream,
    current: Option<Current>,
    text: Vec<u8>,
    bound: bool,
    reader: BodyReader,
    /// What devices said since [`Sender::take_heard`], in the order in which it came.
    heard: Vec<Result<Mark, Corrupt>>,
    /// Messages whose success REPORT has not come.
    reports_due: BTreeSet<u32>,
}

impl Sender {
    /// `run` is in each Message-ID, so that two runs against one server share none.
    pub(crate) fn new(spec: &LegSpec, bodies: Bodies, run: u32) -> Self {
        Self {
            session: spec.session,
            own_path: spec.own_path.as_bytes().to_vec(),
            reader: BodyReader::new(&bodies),
            voice: Voice::new(spec, b't', bodies, run),
            chunker: None,
            next: 0,
            requests: 0,
            outstanding: 0,
            answers: Order::default(),
            layout: None,
            stream: Stream::default(),
            current: None,
            text: Vec::new(),
            bound: false,
            heard: Vec::new(),
            reports_due: BTreeSet::new(),
        }
    }

    /// Its messages go in chunks.
    pub(crate) fn cut(mut self, chunker: Chunker) -> Self {
        self.chunker = Some(Box::new(chunker));
        self
    }

    /// SENDs that a message takes.
    pub(crate) fn per_message(&self) -> u32 {
        self.chunker.as_ref().map_or(1, |c| c.per_message())
    }

    /// Sequence numbers given out so far.
    pub(crate) fn sent(&self) -> u32 {
        self.next
    }

    /// Begins a round: answers to what was sent before no longer count.
    pub(crate) fn begin_round(&mut self) {
        self.outstanding = 0;
        self.answers = Order::from(self.requests);
        self.reports_due.clear();
    }

    pub(crate) fn is_bound(&self) -> bool {
        self.bound
    }

    pub(crate) fn bind(&mut self) {
        self.bound = true;
    }

    /// Appends one message that was meant for `at`, or as many as alternate their chunks. Returns how many.
    pub(crate) fn send(&mut self, at: Nanos, padding: &Padding, out: &mut Vec<u8>) -> u32 {
        let Some(chunker) = &mut self.chunker else {
            self.say(Words::Chat, at, padding, out);
            return 1;
        };
        let (messages, per_message) = (chunker.at_once(), chunker.per_message());
        chunker.write(self.next, self.requests, at, padding, out);
        self.next += messages;
        self.requests += messages * per_message;
        self.outstanding += messages * per_message;
        messages
    }

    /// The same, saying something else.
    pub(crate) fn say(&mut self, words: Words, at: Nanos, padding: &Padding, out: &mut Vec<u8>) {
        self.voice.say(words, self.next, at, padding, out);
        if words == Words::Reported {
            self.reports_due.insert(self.next);
        }
        self.next += 1;
        self.requests += 1;
        self.outstanding += 1;
    }

    /// SENDs without an answer.
    pub(crate) fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// Messages whose success REPORT has not come.
    pub(crate) fn reports_due(&self) -> usize {
        self.reports_due.len()
    }

    /// What devices said since the last time.
    pub(crate) fn take_heard(&mut self) -> Vec<Result<Mark, Corrupt>> {
        std::mem::take(&mut self.heard)
    }

    /// Closed loop: fills the window of `window` messages with unanswered SENDs, as long as the peer reads. Returns how many
    /// it sent.
    pub(crate) fn fill(
        &mut self,
        window: u32,
        at: Nanos,
        padding: &Padding,
        waiting: usize,
        out: &mut Vec<u8>,
    ) -> u32 {
        let from = self.next;
        let end = out.len() + OUT_BYTES_MAX.saturating_sub(waiting);
        let window = window.saturating_mul(self.per_message());
        while self.outstanding < window && (out.len() < end || waiting == 0 && from == self.next) {
            self.send(at, padding, out);
        }
        self.next - from
    }

    /// Takes what was read; answers to requests of the peer go to `out`.
    pub(crate) fn receive(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        tally: &mut Tally,
    ) -> Result<(), Broken> {
        while !bytes.is_empty() {
            if self.stream.at_start()
                && let Some((tid, len)) = self.layout.as_ref().and_then(|l| l.fits(bytes))
            {
                // Only a 200 is ever learned.
                self.answered(tid, 200, tally);
                bytes = &bytes[len..];
                continue;
            }
            let n = self.long_way(bytes, out, tally)?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn long_way(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        tally: &mut Tally,
    ) -> Result<usize, Broken> {
        let mut stream = std::mem::take(&mut self.stream);
        let taken = stream.message(bytes, &mut |part| match part {
            Part::Head(head, text) => {
                if head.to_path != self.own_path {
                    return Err(Broken(format!(
                        "sender of session {}: To-Path {} is not ours",
                        self.session,
                        String::from_utf8_lossy(head.to_path)
                    )));
                }
                self.current = Some(Current::of(head));
                self.text.clear();
                self.text.extend_from_slice(text);
                Ok(())
            }
            Part::Body(piece) => {
                self.reader.take(piece);
                Ok(())
            }
            Part::End(flag) => {
                self.end(flag, out, tally);
                Ok(())
            }
        })?;
        self.stream = stream;
        Ok(taken)
    }

    fn end(&mut self, flag: u8, out: &mut Vec<u8>, tally: &mut Tally) {
        match self.current.take() {
            None => {}
            Some(Current::Response { tid, code }) if tid == BIND_TID => {
                if code == 200 {
                    self.bound = true;
                } else {
                    tally.refused(code);
                }
            }
            Some(Current::Response { tid, code }) => {
                self.answered(&tid, code, tally);
                if code == 200 {
                    self.layout = ResponseLayout::learn(&self.text, &tid);
                }
            }
            Some(Current::Report {
                message_id,
                code: 200,
            }) => {
                let number = self.voice.number_of(&message_id);
                if number.is_some_and(|n| self.reports_due.remove(&n)) {
                    tally.life.reports_came += 1;
                } else {
                    tally.unexpected += 1;
                }
            }
            Some(Current::Report { code, .. }) => tally.reported(code),
            Some(Current::Bare(ask)) => {
                self.bound = true;
                ask.answer(200, &self.own_path, out);
            }
            Some(Current::Send { ask, .. }) => {
                ask.answer(200, &self.own_path, out);
                match flag {
                    // The next chunk goes on where this one ended.
                    b'+' => {}
                    b'#' => self.reader.abandon(),
                    _ => {
                        let mark = self.reader.finish();
                        self.heard.push(mark);
                    }
                }
            }
            Some(Current::Other(ask)) => {
                tally.unexpected += 1;
                ask.answer(501, &self.own_path, out);
            }
        }
    }

    fn answered(&mut self, tid: &[u8], code: u16, tally: &mut Tally) {
        let fit = self
            .voice
            .number(tid)
            .map(|n| self.answers.take(n, self.requests));
        match fit.unwrap_or(Fit::Never) {
            // Answers may come in any order.
            Fit::New | Fit::Late => {
                self.outstanding -= self.outstanding.min(1);
                if code == 200 {
                    tally.answered += 1;
                } else {
                    tally.refused(code);
                }
            }
            Fit::Again | Fit::Never => tally.unexpected += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use ringfork::wire::msrp::write;

    use super::*;
    use crate::leg::{How, Role};

    fn tid(session: u32, seq: u32) -> [u8; 17] {
        crate::voice::tid(b't', session, seq)
    }

    fn bench() -> (Sender, Padding, Tally) {
        let bodies = Bodies::new(3, "sip:a@example.net", "sip:b@example.com", 200).unwrap();
        let padding = Padding::new(bodies.padding_len(), 1);
        let spec = LegSpec {
            session: 3,
            user: 3,
            role: Role::Sender,
            how: How::Passive,
            own_path: "msrp://s.example:1/y;tcp".to_owned(),
            peer_path: "msrp://r.example:1/z;tcp".to_owned(),
        };
        (Sender::new(&spec, bodies, 7), padding, Tally::new(0..100))
    }

    fn answer(tid: &[u8], code: u16) -> Vec<u8> {
        let mut out = Vec::new();
        write::response(
            &mut out,
            tid,
            code,
            b"msrp://s.example:1/y;tcp",
            b"msrp://r.example:1/z;tcp",
        );
        out
    }

    #[test]
    fn a_window_is_filled_and_refilled_as_answers_come() {
        let (mut s, padding, mut tally) = bench();
        let mut out = Vec::new();
        assert_eq!(s.fill(4, 0, &padding, 0, &mut out), 4);
        assert_eq!(s.fill(4, 0, &padding, out.len(), &mut out), 0);
        // One the long way, then two the short way, one of them in two pieces.
        let answers = [
            answer(&tid(3, 0), 200),
            answer(&tid(3, 1), 200),
            answer(&tid(3, 3), 200),
        ]
        .concat();
        s.receive(&answers[..250], &mut out, &mut tally).unwrap();
        s.receive(&answers[250..], &mut out, &mut tally).unwrap();
        assert_eq!(tally.answered, 3);
        assert_eq!(s.fill(4, 0, &padding, 0, &mut out), 3);
        s.receive(&answer(&tid(3, 2), 200), &mut out, &mut tally)
            .unwrap();
        assert_eq!(
            (tally.answered, tally.unexpected),
            (4, 0),
            "answers may overtake each other"
        );
    }

    #[test]
    fn answers_that_are_none_of_ours_or_come_twice_are_unexpected() {
        let (mut s, padding, mut tally) = bench();
        let mut out = Vec::new();
        s.fill(2, 0, &padding, 0, &mut out);
        for tid in [tid(3, 0), tid(3, 0), tid(3, 2), tid(4, 1)] {
            s.receive(&answer(&tid, 200), &mut out, &mut tally).unwrap();
        }
        assert_eq!((tally.answered, tally.unexpected), (1, 3));
        s.receive(&answer(&tid(3, 1), 408), &mut out, &mut tally)
            .unwrap();
        assert_eq!(tally.refused.get(&408), Some(&1));
    }

    #[test]
    fn what_is_written_is_one_message_a_send_with_ids_of_its_own() {
        let (mut s, padding, _) = bench();
        let mut out = Vec::new();
        s.send(1, &padding, &mut out);
        s.send(2, &padding, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(
                "MSRP t0000000300000000 SEND\r\nTo-Path: msrp://r.example:1/z;tcp\r\n"
            )
        );
        assert!(
            text.contains("\r\nMessage-ID: m000000070000000300000001\r\nByte-Range: 1-200/200\r\n")
        );
        assert!(text.contains("\r\n-------t0000000300000000$\r\nMSRP t0000000300000001 SEND\r\n"));
        assert!(text.ends_with("\r\n-------t0000000300000001$\r\n"));
    }

    #[test]
    fn a_peer_that_does_not_read_is_not_flooded() {
        let (mut s, padding, _) = bench();
        let mut out = Vec::new();
        assert_eq!(s.fill(10, 0, &padding, OUT_BYTES_MAX, &mut out), 0);
        assert!(s.fill(u32::MAX, 0, &padding, 0, &mut out) > 1000);
        assert!(out.len() < OUT_BYTES_MAX + 1000);
    }
}
