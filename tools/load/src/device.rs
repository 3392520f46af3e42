//! A device's leg: reads SENDs, checks each body, answers 200, reports where it is asked to. It may speak too.

use std::collections::BTreeSet;

use crate::{
    assembly::{Assembly, Chunk},
    body::{BodyReader, Corrupt, Mark, Padding},
    clock::Nanos,
    layout::SendLayout,
    leg::{BIND_TID, Current, LegSpec},
    order::{Fit, Order},
    stream::{Broken, Part, Stream},
    tally::Tally,
    voice::{self, Voice, Words},
};

/// The state of one device.
pub(crate) struct Device {
    spec: LegSpec,
    /// Messages that are not whole yet.
    open: Assembly,
    order: Order,
    layout: Option<SendLayout>,
    stream: Stream,
    /// The request or response that is being read.
    current: Option<Current>,
    /// Its head, to learn from; only where the body is not in pieces.
    head: Vec<u8>,
    body_len: usize,
    /// What is being read is for somebody else.
    strange: bool,
    /// Whether the connection belongs to the session by now.
    bound: bool,
    /// Once it has spoken.
    voice: Option<Box<Voice>>,
    /// Messages that it wrote.
    said: u32,
    /// Of these, those without an answer.
    unanswered: BTreeSet<u32>,
    /// REPORTs that it wrote.
    reports: u32,
}

/// What the rest of the tool has to know while a device reads.
pub(crate) struct Arrivals<'a> {
    pub(crate) now: Nanos,
    /// Sequence numbers given out in this session.
    pub(crate) sent: u32,
    /// The first number that this device must not get any more: another one has answered.
    pub(crate) not_from: Option<u32>,
    pub(crate) tally: &'a mut Tally,
}

impl Device {
    pub(crate) fn new(spec: &LegSpec, reader: BodyReader) -> Self {
        Self {
            spec: spec.clone(),
            open: Assembly::new(reader),
            order: Order::default(),
            layout: None,
            stream: Stream::default(),
            current: None,
            head: Vec::new(),
            body_len: 0,
            strange: false,
            bound: false,
            voice: None,
            said: 0,
            unanswered: BTreeSet::new(),
            reports: 0,
        }
    }

    /// Begins a round: what is sent from now on counts, from `next`.
    pub(crate) fn expect_from(&mut self, next: u32) {
        self.order = Order::from(next);
    }

    pub(crate) fn is_bound(&self) -> bool {
        self.bound
    }

    /// Without a binding request: a raw pipe belongs to the session as soon as it is there.
    pub(crate) fn bind(&mut self) {
        self.bound = true;
    }

    /// Its leg.
    pub(crate) fn spec(&self) -> &LegSpec {
        &self.spec
    }

    /// Whether it can speak; if not, [`Device::say`] needs a voice for it.
    pub(crate) fn has_voice(&self) -> bool {
        self.voice.is_some()
    }

    pub(crate) fn give_voice(&mut self, voice: Voice) {
        self.voice = Some(Box::new(voice));
    }

    /// Appends a message of its own that was meant for `at`. Its number begins with `base`. Without a voice it is silent.
    pub(crate) fn say(
        &mut self,
        words: Words,
        base: u32,
        at: Nanos,
        padding: &Padding,
        out: &mut Vec<u8>,
    ) {
        let Some(voice) = &mut self.voice else { return };
        let number = base | self.said;
        voice.say(words, number, at, padding, out);
        self.unanswered.insert(number);
        self.said += 1;
    }

    /// Its own messages that have no answer yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// What has come, by number.
    pub(crate) fn order(&self) -> &Order {
        &self.order
    }

    /// Takes what was read; answers go to `out`.
    pub(crate) fn receive(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        arrivals: &mut Arrivals<'_>,
    ) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let n = match self.short_way(bytes, out, arrivals) {
                Some(n) => n,
                None => self.long_way(bytes, out, arrivals)?,
            };
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn short_way(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        arrivals: &mut Arrivals<'_>,
    ) -> Option<usize> {
        if !self.stream.at_start() {
            return None;
        }
        let layout = self.layout.as_ref()?;
        let fits = layout.fits(bytes)?;
        layout.answer(&bytes[fits.tid], out);
        let mark = self.open.whole(&bytes[fits.body]);
        self.arrived(mark, arrivals);
        Some(fits.len)
    }

    fn long_way(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        arrivals: &mut Arrivals<'_>,
    ) -> Result<usize, Broken> {
        let mut stream = std::mem::take(&mut self.stream);
        let taken = stream.message(bytes, &mut |part| match part {
            Part::Head(head, text) => {
                self.strange = head.to_path != self.spec.own_path.as_bytes();
                let current = Current::of(head);
                if let Current::Send {
                    message_id, start, ..
                } = &current
                {
                    self.head.clear();
                    self.head.extend_from_slice(text);
                    self.body_len = 0;
                    if !self.strange {
                        match self.open.begin(message_id, *start) {
                            Chunk::Fits => {}
                            Chunk::Again => arrivals.tally.duplicated += 1,
                            Chunk::Torn => arrivals.tally.corrupted += 1,
                        }
                    }
                }
                self.current = Some(current);
                Ok(())
            }
            Part::Body(piece) => {
                self.body_len += piece.len();
                self.open.take(piece);
                Ok(())
            }
            Part::End(flag) => {
                self.end(flag, out, arrivals);
                Ok(())
            }
        })?;
        self.stream = stream;
        Ok(taken)
    }

    fn end(&mut self, flag: u8, out: &mut Vec<u8>, arrivals: &mut Arrivals<'_>) {
        match self.current.take() {
            None => {}
            Some(Current::Send {
                ask,
                message_id,
                start,
                wants_report,
            }) => {
                let before = out.len();
                // RFC 4975 §7.3: a request for a session that is not here gets 481.
                ask.answer(
                    if self.strange { 481 } else { 200 },
                    self.spec.own_path.as_bytes(),
                    out,
                );
                if self.strange {
                    arrivals.tally.crossed += 1;
                    return;
                }
                match flag {
                    b'+' => self.open.pause(),
                    b'#' => self.open.abandon(),
                    _ => {
                        let Some(mark) = self.open.finish() else {
                            return;
                        };
                        self.arrived(mark, arrivals);
                        if wants_report {
                            self.report(&message_id, start, out);
                        } else if start == 1 && mark.is_ok() {
                            self.layout = SendLayout::learn(
                                &self.head,
                                &ask.tid,
                                &message_id,
                                self.body_len,
                                &out[before..],
                            );
                        }
                    }
                }
            }
            Some(Current::Bare(ask)) if self.strange => {
                arrivals.tally.unexpected += 1;
                ask.answer(481, self.spec.own_path.as_bytes(), out);
            }
            Some(Current::Bare(ask)) => {
                self.bound = true;
                ask.answer(200, self.spec.own_path.as_bytes(), out);
            }
            Some(Current::Response { tid, code }) if tid == BIND_TID && code == 200 => {
                self.bound = true;
            }
            Some(Current::Response { tid, code }) => {
                let number = self.voice.as_ref().and_then(|v| v.number(&tid));
                match number.is_some_and(|n| self.unanswered.remove(&n)) {
                    true if code == 200 => arrivals.tally.life.said_answered += 1,
                    true => arrivals.tally.life.said_refused += 1,
                    false => arrivals.tally.unexpected += 1,
                }
            }
            // What we say asks for no success REPORT.
            Some(Current::Report { code: 200, .. }) => arrivals.tally.unexpected += 1,
            Some(Current::Report { code, .. }) => arrivals.tally.reported(code),
            Some(Current::Other(ask)) => {
                arrivals.tally.unexpected += 1;
                ask.answer(501, self.spec.own_path.as_bytes(), out);
            }
        }
    }

    /// A success REPORT for a message that is whole now; its last chunk began at `start`.
    fn report(&mut self, message_id: &[u8], start: u64, out: &mut Vec<u8>) {
        let tid = voice::tid(b'r', self.spec.session, self.reports);
        self.reports += 1;
        let len = start - 1 + self.body_len as u64;
        voice::report(
            out,
            &tid,
            self.spec.peer_path.as_bytes(),
            self.spec.own_path.as_bytes(),
            message_id,
            len,
        );
    }

    fn arrived(&mut self, mark: Result<Mark, Corrupt>, arrivals: &mut Arrivals<'_>) {
        match mark {
            Err(Corrupt) => arrivals.tally.corrupted += 1,
            Ok(mark) if mark.session != self.spec.session => arrivals.tally.crossed += 1,
            Ok(mark) if arrivals.not_from.is_some_and(|n| mark.seq >= n) => {
                arrivals.tally.life.leaked += 1;
            }
            Ok(mark) => {
                let fit: Fit = self.order.take(mark.seq, arrivals.sent);
                arrivals.tally.arrived(mark, fit, arrivals.now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ringfork::wire::msrp::write;

    use super::*;
    use crate::{
        body::Bodies,
        leg::{How, Role},
    };

    const OWN: &str = "msrp://d.example:1/x;tcp";

    struct Bench {
        bodies: Bodies,
        padding: Padding,
        device: Device,
        tally: Tally,
        out: Vec<u8>,
        not_from: Option<u32>,
    }

    fn spec() -> LegSpec {
        LegSpec {
            session: 4,
            user: 4,
            role: Role::Device(1),
            how: How::Passive,
            own_path: OWN.to_owned(),
            peer_path: "msrp://s.example:1/y;tcp".to_owned(),
        }
    }

    impl Bench {
        fn new() -> Self {
            let bodies = Bodies::new(4, "sip:a@example.net", "sip:b@example.com", 300).unwrap();
            Self {
                padding: Padding::new(bodies.padding_len(), 1),
                device: Device::new(&spec(), BodyReader::new(&bodies)),
                bodies,
                tally: Tally::new(0..1_000),
                out: Vec::new(),
                not_from: None,
            }
        }

        fn body(&mut self, seq: u32) -> Vec<u8> {
            let mut body = Vec::new();
            self.bodies.write(&mut body, seq, 10, &self.padding);
            body
        }

        /// Bytes `range` (from 0) of message `seq`, in a chunk of their own.
        fn chunk(&mut self, seq: u32, range: std::ops::Range<usize>, flag: char) -> Vec<u8> {
            let body = self.body(seq);
            let head = format!(
                "MSRP t{seq:07} SEND\r\nTo-Path: {OWN}\r\nFrom-Path: msrp://s.example:1/y;tcp\r\nMessage-ID: m{seq:07}\r\n\
                 Byte-Range: {}-{}/300\r\nContent-Type: message/cpim\r\n\r\n",
                range.start + 1,
                range.end
            );
            let end = format!("\r\n-------t{seq:07}{flag}\r\n");
            [head.as_bytes(), &body[range], end.as_bytes()].concat()
        }

        fn whole(&mut self, seq: u32) -> Vec<u8> {
            self.chunk(seq, 0..300, '$')
        }

        fn take(&mut self, bytes: &[u8]) {
            let mut arrivals = Arrivals {
                now: 50,
                sent: 100,
                not_from: self.not_from,
                tally: &mut self.tally,
            };
            self.device
                .receive(bytes, &mut self.out, &mut arrivals)
                .unwrap();
        }

        fn answers(&self) -> usize {
            String::from_utf8_lossy(&self.out)
                .matches(" 200 OK\r\nTo-Path: msrp://s.example:1/y;tcp\r\n")
                .count()
        }
    }

    #[test]
    fn messages_arrive_once_each_however_they_are_cut() {
        for cut in [1, 3, 100, 449, 450, 451, 10_000] {
            let mut b = Bench::new();
            let stream: Vec<u8> = (0..20).flat_map(|seq| b.whole(seq)).collect();
            for piece in stream.chunks(cut) {
                b.take(piece);
            }
            assert_eq!((b.tally.delivered, b.answers()), (20, 20), "cut {cut}");
            assert_eq!(
                b.tally.duplicated + b.tally.corrupted + b.tally.reordered,
                0
            );
            assert!(b.device.layout.is_some());
        }
    }

    #[test]
    fn a_message_in_chunks_is_one_message() {
        let mut b = Bench::new();
        let parts = [
            b.chunk(0, 0..7, '+'),
            b.chunk(0, 7..200, '+'),
            b.chunk(0, 200..300, '$'),
        ];
        b.take(&parts.concat());
        assert_eq!(
            (b.tally.delivered, b.tally.corrupted, b.answers()),
            (1, 0, 3)
        );
    }

    #[test]
    fn a_missing_chunk_and_an_abort_deliver_nothing() {
        let mut b = Bench::new();
        let parts = [b.chunk(0, 0..7, '+'), b.chunk(0, 200..300, '$')];
        b.take(&parts.concat());
        assert_eq!(
            (b.tally.delivered, b.tally.corrupted),
            (0, 2),
            "no message begins at 201, and its body is none"
        );
        let parts = [b.chunk(1, 0..100, '#'), b.whole(2)];
        b.take(&parts.concat());
        assert_eq!((b.tally.delivered, b.tally.corrupted), (1, 2));
    }

    #[test]
    fn doubles_late_ones_strangers_and_altered_ones_are_told_apart_on_both_ways() {
        for learned in [false, true] {
            let mut b = Bench::new();
            if learned {
                let first = b.whole(0);
                b.take(&first);
            }
            let at = b.tally.delivered;
            let (one, two, three) = (b.whole(1), b.whole(2), b.whole(3));
            b.take(&two);
            b.take(&two);
            b.take(&one);
            let mut altered = three.clone();
            let n = altered.len() - 30;
            altered[n] ^= 4;
            b.take(&altered);
            b.bodies = Bodies::new(5, "sip:a@example.net", "sip:b@example.com", 300).unwrap();
            let stranger = b.whole(4);
            b.take(&stranger);
            assert_eq!(b.tally.delivered, at + 2);
            assert_eq!(
                (
                    b.tally.duplicated,
                    b.tally.reordered,
                    b.tally.corrupted,
                    b.tally.crossed
                ),
                (1, 1, 1, 1),
                "learned: {learned}"
            );
        }
    }

    #[test]
    fn a_message_for_another_path_has_crossed_and_is_refused() {
        let mut b = Bench::new();
        let other = String::from_utf8(b.whole(0))
            .unwrap()
            .replace("d.example", "e.example");
        b.take(other.as_bytes());
        assert_eq!((b.tally.crossed, b.tally.delivered, b.answers()), (1, 0, 0));
        assert!(String::from_utf8_lossy(&b.out).starts_with("MSRP t0000000 481 "));
        let own = b.whole(0);
        b.take(&own);
        assert_eq!((b.tally.crossed, b.tally.delivered), (1, 1));
    }

    #[test]
    fn a_bodiless_send_binds_and_is_answered() {
        let mut b = Bench::new();
        b.take(
            format!(
                "MSRP bare0001 SEND\r\nTo-Path: {OWN}\r\nFrom-Path: msrp://s.example:1/y;tcp\r\nMessage-ID: bm01\r\n\
                 Byte-Range: 1-0/0\r\n-------bare0001$\r\n"
            )
            .as_bytes(),
        );
        assert!(b.device.is_bound());
        assert_eq!(
            (b.answers(), b.tally.delivered, b.tally.unexpected),
            (1, 0, 0)
        );
    }

    #[test]
    fn what_comes_after_another_device_has_answered_is_a_leak_and_no_delivery() {
        for learned in [false, true] {
            let mut b = Bench::new();
            let first = b.whole(0);
            if learned {
                b.take(&first);
            }
            b.not_from = Some(2);
            let (one, two) = (b.whole(1), b.whole(2));
            b.take(&one);
            b.take(&two);
            assert_eq!(b.tally.life.leaked, 1, "learned: {learned}");
            assert_eq!(b.tally.delivered, 1 + u64::from(learned));
        }
    }

    #[test]
    fn a_report_is_written_where_one_is_asked_for() {
        let mut b = Bench::new();
        for seq in 0..2 {
            let asking = String::from_utf8(b.whole(seq))
                .unwrap()
                .replace("Byte-Range", "Success-Report: yes\r\nByte-Range");
            b.take(asking.as_bytes());
        }
        let plain = b.whole(2);
        b.take(&plain);
        let text = String::from_utf8(b.out.clone()).unwrap();
        assert_eq!((b.tally.delivered, b.answers()), (3, 3));
        assert_eq!(text.matches(" REPORT\r\n").count(), 2, "{text}");
        assert!(
            text.contains(&format!(
                "REPORT\r\nTo-Path: msrp://s.example:1/y;tcp\r\nFrom-Path: {OWN}\r\nMessage-ID: m0000001\r\n\
                 Byte-Range: 1-300/300\r\nStatus: 000 200 OK\r\n"
            )),
            "{text}"
        );
    }

    #[test]
    fn what_it_says_is_answered_once() {
        let mut b = Bench::new();
        let bodies = Bodies::new(4, "sip:b@example.com", "sip:a@example.net", 300).unwrap();
        b.device.give_voice(Voice::new(&spec(), b'd', bodies, 1));
        for _ in 0..2 {
            b.device
                .say(Words::Chat, 2 << 24, 5, &b.padding, &mut b.out);
        }
        assert_eq!(b.device.unanswered(), 2);
        let answer = |number: u32, code| {
            let mut out = Vec::new();
            let tid = voice::tid(b'd', 4, number);
            write::response(
                &mut out,
                &tid,
                code,
                OWN.as_bytes(),
                b"msrp://s.example:1/y;tcp",
            );
            out
        };
        b.take(&answer(2 << 24, 200));
        assert_eq!((b.tally.life.said_answered, b.tally.unexpected), (1, 0));
        b.take(&answer(2 << 24, 200));
        assert_eq!((b.tally.life.said_answered, b.tally.unexpected), (1, 1));
        b.take(&answer(2 << 24 | 1, 408));
        assert_eq!(b.tally.life.said_refused, 1);
        assert_eq!(b.device.unanswered(), 0);
    }
}
