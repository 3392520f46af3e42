//! A device's leg: reads SENDs, checks each body, answers 200.

use crate::{
    body::{BodyReader, Corrupt, Mark},
    clock::Nanos,
    layout::SendLayout,
    leg::{BIND_TID, Current},
    order::{Fit, Order},
    stream::{Broken, Part, Stream},
    tally::Tally,
};

/// The state of one device.
pub(crate) struct Device {
    session: u32,
    own_path: Vec<u8>,
    reader: BodyReader,
    order: Order,
    layout: Option<SendLayout>,
    stream: Stream,
    /// The request or response that is being read.
    current: Option<Current>,
    /// Its head, to learn from; only where the body is not in pieces.
    head: Vec<u8>,
    body_len: usize,
    /// A message of several chunks: its id, and the position of its next byte.
    open: Option<(Vec<u8>, u64)>,
    /// What is being read is for somebody else.
    strange: bool,
    /// Whether the connection belongs to the session by now.
    bound: bool,
}

/// What the rest of the tool has to know while a device reads.
pub(crate) struct Arrivals<'a> {
    pub(crate) now: Nanos,
    /// Sequence numbers given out in this session.
    pub(crate) sent: u32,
    pub(crate) tally: &'a mut Tally,
}

impl Device {
    pub(crate) fn new(session: u32, own_path: &str, reader: BodyReader) -> Self {
        Self {
            session,
            own_path: own_path.as_bytes().to_vec(),
            reader,
            order: Order::default(),
            layout: None,
            stream: Stream::default(),
            current: None,
            head: Vec::new(),
            body_len: 0,
            open: None,
            strange: false,
            bound: false,
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
        let mark = self.reader.whole(&bytes[fits.body]);
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
                self.strange = head.to_path != self.own_path;
                let current = Current::of(head);
                if let Current::Send {
                    message_id, start, ..
                } = &current
                {
                    self.head.clear();
                    self.head.extend_from_slice(text);
                    self.body_len = 0;
                    self.begin(message_id, *start, arrivals.tally);
                }
                self.current = Some(current);
                Ok(())
            }
            Part::Body(piece) => {
                self.body_len += piece.len();
                self.reader.take(piece);
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

    /// A chunk begins: it has to be the first of a message, or the next of the one that is open.
    fn begin(&mut self, message_id: &[u8], start: u64, tally: &mut Tally) {
        match &self.open {
            Some((id, next)) if id == message_id && *next == start => {}
            None if start == 1 => {}
            Some(_) | None => {
                // The open one will not be finished: it is lost. A middle without its beginning is no message.
                self.reader.abandon();
                if start != 1 {
                    tally.corrupted += 1;
                }
            }
        }
        self.open = Some((message_id.to_vec(), start));
    }

    fn end(&mut self, flag: u8, out: &mut Vec<u8>, arrivals: &mut Arrivals<'_>) {
        match self.current.take() {
            None => {}
            Some(Current::Send {
                ask,
                message_id,
                start,
            }) => {
                let before = out.len();
                // RFC 4975 §7.3: a request for a session that is not here gets 481.
                ask.answer(if self.strange { 481 } else { 200 }, &self.own_path, out);
                match flag {
                    b'+' => {
                        self.open = Some((message_id, start + self.body_len as u64));
                        return;
                    }
                    b'#' => self.reader.abandon(),
                    _ => {
                        let mark = self.reader.finish();
                        if self.strange {
                            arrivals.tally.crossed += 1;
                        } else {
                            self.arrived(mark, arrivals);
                        }
                        if start == 1 && mark.is_ok() && !self.strange {
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
                self.open = None;
            }
            Some(Current::Bare(ask)) if self.strange => {
                arrivals.tally.unexpected += 1;
                ask.answer(481, &self.own_path, out);
            }
            Some(Current::Bare(ask)) => {
                self.bound = true;
                ask.answer(200, &self.own_path, out);
            }
            Some(Current::Response { tid, code }) if tid == BIND_TID && code == 200 => {
                self.bound = true;
            }
            // Nothing of ours is out there that could be reported on or answered.
            Some(Current::Report(_) | Current::Response { .. }) => arrivals.tally.unexpected += 1,
            Some(Current::Other(ask)) => {
                arrivals.tally.unexpected += 1;
                ask.answer(501, &self.own_path, out);
            }
        }
    }

    fn arrived(&mut self, mark: Result<Mark, Corrupt>, arrivals: &mut Arrivals<'_>) {
        match mark {
            Err(Corrupt) => arrivals.tally.corrupted += 1,
            Ok(mark) if mark.session != self.session => arrivals.tally.crossed += 1,
            Ok(mark) => {
                let fit: Fit = self.order.take(mark.seq, arrivals.sent);
                arrivals.tally.arrived(mark, fit, arrivals.now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Bodies, Padding};

    const OWN: &str = "msrp://d.example:1/x;tcp";

    struct Bench {
        bodies: Bodies,
        padding: Padding,
        device: Device,
        tally: Tally,
        out: Vec<u8>,
    }

    impl Bench {
        fn new() -> Self {
            let bodies = Bodies::new(4, "sip:a@example.net", "sip:b@example.com", 300).unwrap();
            Self {
                padding: Padding::new(bodies.padding_len(), 1),
                device: Device::new(4, OWN, BodyReader::new(&bodies)),
                bodies,
                tally: Tally::new(0..1_000),
                out: Vec::new(),
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
}
