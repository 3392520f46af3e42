//! What a leg that stands keeps of texts that only its next change needs: descriptions, its Contact.
//!
//! The law: a text comes back byte for byte. At rest it is taken apart: what is the leg's own stands alone, and what nearly all
//! legs have alike (the same client wrote it) is held once for all of them.

use std::{borrow::Cow, rc::Rc};

/// Stands in a shape for a piece of the leg's own; a text with one in it is not taken apart.
const GAP: u8 = 0;
/// Ends each piece but the last.
const END: u8 = b'\n';

/// Shapes that are looked at for one that is alike: as many kinds of clients, offers and answers apart.
const SHAPES_MAX: usize = 16;

/// A text. See the module.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// As it came, or was written.
    Whole(Vec<u8>),
    /// At rest.
    Apart {
        /// What is alike, gaps in it.
        shape: Rc<[u8]>,
        /// What belongs in the gaps, in order.
        own: Box<[u8]>,
    },
}

/// The shapes that were used last, on one shard.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    known: Vec<Rc<[u8]>>,
    /// The oldest of them.
    next: usize,
}

impl Shapes {
    fn of(&mut self, shape: Vec<u8>) -> Rc<[u8]> {
        if let Some(known) = self.known.iter().find(|k| ***k == *shape) {
            return Rc::clone(known);
        }
        let shape: Rc<[u8]> = shape.into();
        if self.known.len() < SHAPES_MAX {
            self.known.push(Rc::clone(&shape));
        } else if let Some(oldest) = self.known.get_mut(self.next) {
            *oldest = Rc::clone(&shape);
            self.next = (self.next + 1) % SHAPES_MAX;
        }
        shape
    }
}

impl Kept {
    /// The text.
    pub(super) fn text(&self) -> Cow<'_, [u8]> {
        let (shape, own) = match self {
            Self::Whole(text) => return Cow::Borrowed(text),
            Self::Apart { shape, own } => (shape, own),
        };
        let mut text = Vec::with_capacity(shape.len() + own.len());
        let mut pieces = own.split(|b| *b == END);
        for (at, part) in shape.split(|b| *b == GAP).enumerate() {
            if at > 0 {
                text.extend_from_slice(pieces.next().unwrap_or_default());
            }
            text.extend_from_slice(part);
        }
        Cow::Owned(text)
    }

    /// Takes a session description apart: its origin, its addresses and its paths are the leg's own.
    pub(super) fn rest_description(&mut self, shapes: &mut Shapes) {
        self.rest(shapes, |line| {
            [&b"o="[..], b"c=", b"a=path:"]
                .iter()
                .find(|name| line.starts_with(name))
                .map(|name| name.len())
        });
    }

    /// Takes a Contact apart: its parameters are what others have too.
    pub(super) fn rest_contact(&mut self, shapes: &mut Shapes) {
        // As if its address were a line of its own.
        self.rest_parts(shapes, |text| {
            let end = text.iter().position(|b| *b == b'>').unwrap_or(text.len());
            vec![(0, end)]
        });
    }

    /// `own`: where in a line the leg's own begins, if anything in it is.
    fn rest(&mut self, shapes: &mut Shapes, own: impl Fn(&[u8]) -> Option<usize>) {
        self.rest_parts(shapes, |text| {
            let mut at = 0;
            let mut pieces = Vec::new();
            for line in text.split_inclusive(|b| *b == b'\n') {
                let end = line.trim_ascii_end().len();
                if let Some(from) = own(line).filter(|from| *from <= end) {
                    pieces.push((at + from, at + end));
                }
                at += line.len();
            }
            pieces
        });
    }

    /// `pieces`: where the leg's own begin and end, in rising order.
    fn rest_parts(
        &mut self,
        shapes: &mut Shapes,
        pieces: impl FnOnce(&[u8]) -> Vec<(usize, usize)>,
    ) {
        let Self::Whole(text) = self else { return };
        let pieces = pieces(text);
        let whole = pieces
            .iter()
            .all(|&(from, to)| !text[from..to].contains(&END));
        if text.contains(&GAP) || pieces.is_empty() || !whole {
            text.shrink_to_fit();
            return;
        }
        let (mut shape, mut own) = (Vec::with_capacity(text.len()), Vec::new());
        let mut done = 0;
        for (nth, &(from, to)) in pieces.iter().enumerate() {
            shape.extend_from_slice(&text[done..from]);
            shape.push(GAP);
            if nth > 0 {
                own.push(END);
            }
            own.extend_from_slice(&text[from..to]);
            done = to;
        }
        shape.extend_from_slice(&text[done..]);
        *self = Self::Apart {
            shape: shapes.of(shape),
            own: own.into(),
        };
    }
}

impl From<Vec<u8>> for Kept {
    fn from(text: Vec<u8>) -> Self {
        Self::Whole(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &[u8], shapes: &mut Shapes) -> Kept {
        let mut kept = Kept::from(text.to_vec());
        kept.rest_description(shapes);
        assert_eq!(*kept.text(), *text, "{}", text.escape_ascii());
        kept
    }

    #[test]
    fn a_description_comes_back_byte_for_byte() {
        let mut shapes = Shapes::default();
        for dir in ["tests/corpus/sdp", "tests/corpus/sdp_bad"] {
            for file in std::fs::read_dir(dir).unwrap() {
                let text = std::fs::read(file.unwrap().path()).unwrap();
                described(&text, &mut shapes);
                for cut in 0..text.len() {
                    described(&text[..cut], &mut shapes);
                }
            }
        }
        for text in [
            &b""[..],
            b"\n",
            b"o=",
            b"o=\r\n",
            b"o=\0\r\n",
            b"c= \r\na=path:\r\nc=x",
            b"a=path:a\ra=path:b\n",
        ] {
            described(text, &mut shapes);
        }
        assert!(shapes.known.len() <= SHAPES_MAX, "bounded");
    }

    #[test]
    fn what_two_legs_have_alike_is_held_once() {
        let mut shapes = Shapes::default();
        let text = |n: u8| {
            format!(
                "v=0\r\no=- {n} 1 IN IP4 10.0.0.{n}\r\na=accept-types:*\r\na=path:msrp://{n}\r\n"
            )
        };
        let [one, two] = [1, 2].map(|n| described(text(n).as_bytes(), &mut shapes));
        let (Kept::Apart { shape: a, .. }, Kept::Apart { shape: b, own }) = (one, two) else {
            panic!("both are at rest");
        };
        assert!(Rc::ptr_eq(&a, &b));
        assert_eq!(*own, *b"- 2 1 IN IP4 10.0.0.2\nmsrp://2");
    }

    #[test]
    fn a_contact_comes_back_byte_for_byte() {
        let mut shapes = Shapes::default();
        for text in ["<sip:x@h>;+g.a=\"b\"", "sip:x@h", "<sip:x@h>", "", ">"] {
            let mut kept = Kept::from(text.as_bytes().to_vec());
            kept.rest_contact(&mut shapes);
            assert_eq!(*kept.text(), *text.as_bytes());
        }
    }
}
