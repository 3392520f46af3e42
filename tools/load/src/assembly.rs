//! Messages of one leg that are not whole yet. A message may come in several chunks, and chunks of several messages may
//! alternate on a connection (RFC 4975 §5.1): each is told by its Message-ID, and its chunks come in their order.

use std::collections::VecDeque;

use crate::body::{BodyReader, Corrupt, Mark};

/// Messages that may be open at a time; beyond it the oldest is lost.
const OPEN_MAX: usize = 256;
/// Message-IDs that are remembered of messages in several chunks that have ended, so that a repeated last chunk is told
/// from a lost beginning.
const ENDED_MAX: usize = 64;

/// How a chunk fits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Chunk {
    /// The first of a message, or the next of one that is open.
    Fits,
    /// It has been there already. What it carries is not looked at.
    Again,
    /// Something before it is missing: the message cannot become whole.
    Torn,
}

/// The open messages.
pub(crate) struct Assembly {
    /// What each message is read with from its beginning.
    fresh: BodyReader,
    open: VecDeque<Open>,
    /// The one whose chunk is being read.
    current: Option<Open>,
    ended: VecDeque<Vec<u8>>,
}

struct Open {
    id: Vec<u8>,
    chunks: u32,
    /// Position of the next byte, from 1.
    next: u64,
    reader: BodyReader,
}

impl Assembly {
    pub(crate) fn new(fresh: BodyReader) -> Self {
        Self {
            fresh,
            open: VecDeque::new(),
            current: None,
            ended: VecDeque::new(),
        }
    }

    /// A body that lies there whole.
    pub(crate) fn whole(&self, body: &[u8]) -> Result<Mark, Corrupt> {
        self.fresh.whole(body)
    }

    /// A chunk of message `id` begins, at position `start` of it.
    pub(crate) fn begin(&mut self, id: &[u8], start: u64) -> Chunk {
        let at = self.open.iter().position(|o| o.id == id);
        let found = at.and_then(|at| self.open.remove(at));
        match found {
            Some(open) if open.next == start => {
                self.current = Some(open);
                Chunk::Fits
            }
            Some(open) if start < open.next => {
                self.open.push_back(open);
                self.current = None;
                Chunk::Again
            }
            None if start != 1 && self.ended.iter().any(|e| e == id) => {
                self.current = None;
                Chunk::Again
            }
            Some(_) | None => {
                self.current = Some(Open {
                    id: id.to_vec(),
                    chunks: 0,
                    next: start,
                    reader: self.fresh.clone(),
                });
                if start == 1 { Chunk::Fits } else { Chunk::Torn }
            }
        }
    }

    /// The next bytes of the chunk.
    pub(crate) fn take(&mut self, piece: &[u8]) {
        if let Some(open) = &mut self.current {
            open.next += piece.len() as u64;
            open.reader.take(piece);
        }
    }

    /// The chunk ends, its message goes on.
    pub(crate) fn pause(&mut self) {
        let Some(mut open) = self.current.take() else {
            return;
        };
        open.chunks += 1;
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back(open);
    }

    /// The chunk ends and its message with it; nothing if the chunk was there already.
    pub(crate) fn finish(&mut self) -> Option<Result<Mark, Corrupt>> {
        let mut open = self.current.take()?;
        if open.chunks > 0 {
            if self.ended.len() == ENDED_MAX {
                self.ended.pop_front();
            }
            self.ended.push_back(open.id);
        }
        Some(open.reader.finish())
    }

    /// The message is given up by who sends it.
    pub(crate) fn abandon(&mut self) {
        self.current = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Bodies, Padding};

    struct Bench {
        assembly: Assembly,
        bodies: Vec<Vec<u8>>,
    }

    impl Bench {
        fn new() -> Self {
            let mut bodies = Bodies::new(4, "sip:a@example.net", "sip:b@example.com", 300).unwrap();
            let padding = Padding::new(bodies.padding_len(), 1);
            let body = |seq| {
                let mut body = Vec::new();
                bodies.write(&mut body, seq, 0, &padding);
                body
            };
            let all: Vec<Vec<u8>> = (0..3).map(body).collect();
            Self {
                assembly: Assembly::new(BodyReader::new(&bodies)),
                bodies: all,
            }
        }

        /// Bytes `range` of message `n`; if they end it, the number that its body says.
        fn chunk(&mut self, n: u8, range: std::ops::Range<usize>) -> (Chunk, Option<u32>) {
            let (start, is_last) = (range.start as u64 + 1, range.end == 300);
            let fits = self.assembly.begin(&[b'm', n], start);
            for piece in self.bodies[usize::from(n)][range].chunks(7) {
                self.assembly.take(piece);
            }
            if is_last {
                let mark = self.assembly.finish();
                (fits, mark.and_then(Result::ok).map(|m| m.seq))
            } else {
                self.assembly.pause();
                (fits, None)
            }
        }
    }

    #[test]
    fn chunks_of_several_messages_alternate_and_each_becomes_whole() {
        let mut b = Bench::new();
        for range in [0..100, 100..200] {
            for n in 0..3 {
                assert_eq!(b.chunk(n, range.clone()), (Chunk::Fits, None));
            }
        }
        for n in [1, 0, 2] {
            assert_eq!(b.chunk(n, 200..300), (Chunk::Fits, Some(u32::from(n))));
        }
        assert!(b.assembly.open.is_empty());
    }

    #[test]
    fn a_chunk_that_comes_again_changes_nothing_wherever_it_is() {
        let mut b = Bench::new();
        for range in [0..100, 100..200] {
            assert_eq!(b.chunk(0, range.clone()).0, Chunk::Fits);
            assert_eq!(b.chunk(0, range).0, Chunk::Again);
        }
        assert_eq!(b.chunk(0, 200..300), (Chunk::Fits, Some(0)));
        assert_eq!(b.chunk(0, 200..300), (Chunk::Again, None));
    }

    #[test]
    fn a_missing_chunk_tears_its_message_and_no_other() {
        let mut b = Bench::new();
        assert_eq!(b.chunk(0, 0..100).0, Chunk::Fits);
        assert_eq!(b.chunk(1, 0..100).0, Chunk::Fits);
        assert_eq!(b.chunk(0, 200..300), (Chunk::Torn, None));
        assert_eq!(b.chunk(1, 100..300), (Chunk::Fits, Some(1)));
        assert_eq!(b.chunk(2, 100..300), (Chunk::Torn, None));
    }

    #[test]
    fn what_is_never_finished_is_bounded() {
        let mut b = Bench::new();
        for n in 0..2 * OPEN_MAX {
            b.assembly.begin(n.to_string().as_bytes(), 1);
            b.assembly.take(b"x");
            b.assembly.pause();
        }
        assert_eq!(b.assembly.open.len(), OPEN_MAX);
    }
}
