//! What a leg that stands keeps of texts that only its next change needs: descriptions, its Contact.
//!
//! The law: a text comes back byte for byte. At rest it is taken apart: what is the leg's own stands alone, and what nearly all
//! legs have alike (the same client wrote it) is held once for all of them.

use std::{borrow::Cow, rc::Rc};

/// Stands in a shape for a piece of the leg's own; a text with one in it is not taken apart.
const GAP: u8 = 0;
/// Stands in a description that is at rest for the MSRP URI or path that its leg holds beside it; a text with one in it is not taken apart.
const URI: u8 = 1;
/// Ends each piece but the last.
const END: u8 = b'\n';

/// Shapes that are looked at for one that is alike: as many kinds of clients, offers and answers apart.
const SHAPES_MAX: usize = 16;

/// A text. See the module.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// At rest: what is alike, gaps in it.
    shape: Option<Rc<[u8]>>,
    /// At rest what belongs in the gaps, in order; else all of it, as it came, or was written.
    own: Box<[u8]>,
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
    /// Bytes that are its own.
    pub(super) const fn bytes(&self) -> usize {
        self.own.len() + 16
    }

    /// The text.
    pub(super) fn text(&self) -> Cow<'_, [u8]> {
        let own = &self.own;
        let Some(shape) = &self.shape else {
            return Cow::Borrowed(own);
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

    /// Takes a description of ours apart, in which `uri` is ours: the leg holds that beside it, and all else but the origin is
    /// what others have too. It comes back by [`Kept::text_with`].
    pub(super) fn rest_ours(&mut self, shapes: &mut Shapes, uri: &[u8]) {
        self.rest_with(shapes, uri, &[b"o="]);
    }

    /// Takes one of the peer apart, whose path the leg holds beside it. It comes back by [`Kept::text_with`].
    pub(super) fn rest_theirs(&mut self, shapes: &mut Shapes, path: &[u8]) {
        self.rest_with(shapes, path, &[b"o=", b"c=", b"a=path:"]);
    }

    fn rest_with(&mut self, shapes: &mut Shapes, known: &[u8], own: &[&[u8]]) {
        if self.shape.is_some() || self.own.contains(&URI) {
            return;
        }
        let mut apart = Self::from(replaced(&self.own, known, &[URI]));
        apart.rest(shapes, |line| {
            let own = own.iter().find(|name| line.starts_with(name))?;
            (!line[own.len()..].starts_with(&[URI])).then_some(own.len())
        });
        // What could not be taken apart stays as it is.
        if apart.shape.is_some() {
            *self = apart;
        }
    }

    /// Whether it is taken apart.
    pub(super) const fn rests(&self) -> bool {
        self.shape.is_some()
    }

    /// The text of a description, `known` being the URI or path with which it was taken apart.
    pub(super) fn text_with(&self, known: &[u8]) -> Cow<'_, [u8]> {
        match self.text() {
            Cow::Owned(text) => Cow::Owned(replaced(&text, &[URI], known)),
            whole @ Cow::Borrowed(_) => whole,
        }
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
        if self.shape.is_some() {
            return;
        }
        let text = &self.own;
        let pieces = pieces(text);
        let whole = pieces
            .iter()
            .all(|&(from, to)| !text[from..to].contains(&END));
        if text.contains(&GAP) || pieces.is_empty() || !whole {
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
        *self = Self {
            shape: Some(shapes.of(shape)),
            own: own.into(),
        };
    }
}

/// `text` with `to` wherever `from` stands.
fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&first) = rest.first() {
        if !from.is_empty() && rest.starts_with(from) {
            out.extend_from_slice(to);
            rest = &rest[from.len()..];
        } else {
            out.push(first);
            rest = &rest[1..];
        }
    }
    out
}

impl From<Vec<u8>> for Kept {
    fn from(text: Vec<u8>) -> Self {
        Self {
            shape: None,
            own: text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &[u8], shapes: &mut Shapes) -> Kept {
        let kept = |known: &[u8], shapes: &mut Shapes| {
            let mut kept = Kept::from(text.to_vec());
            kept.rest_theirs(shapes, known);
            assert_eq!(*kept.text_with(known), *text, "{}", text.escape_ascii());
            kept
        };
        // A path that stands in it, here and there, is as good as one that does not.
        kept(b"msrp", shapes);
        kept(b"", shapes)
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
        let (Some(a), Some(b)) = (&one.shape, &two.shape) else {
            panic!("both are at rest");
        };
        assert!(Rc::ptr_eq(a, b));
        assert_eq!(*two.own, *b"- 2 1 IN IP4 10.0.0.2\nmsrp://2");
    }

    #[test]
    fn a_description_of_ours_comes_back_byte_for_byte_and_holds_no_uri() {
        let uri = b"msrp://10.0.0.1:2855/abc;tcp";
        let mut shapes = Shapes::default();
        for (text, apart) in [
            (
                &b"v=0\r\no=- 7 1 IN IP4 10.0.0.1\r\na=path:msrp://10.0.0.1:2855/abc;tcp\r\na=x:msrp://10.0.0.1:2855/abc;tcp\r\n"[..],
                true,
            ),
            (b"o=- 7 1 IN IP4 10.0.0.1\r\na=path:other\r\n", true),
            (b"o=- 7\x01\r\na=path:msrp://10.0.0.1:2855/abc;tcp\r\n", false),
            (b"o=- 7\0\r\na=path:msrp://10.0.0.1:2855/abc;tcp\r\n", false),
            (b"a=path:msrp://10.0.0.1:2855/abc;tcp\r\n", false),
            (b"", false),
        ] {
            let mut kept = Kept::from(text.to_vec());
            kept.rest_ours(&mut shapes, uri);
            assert_eq!(kept.shape.is_some(), apart, "{}", text.escape_ascii());
            if apart {
                assert!(kept.own.starts_with(b"- 7 1") && kept.own.len() < 25);
            }
            assert_eq!(*kept.text_with(uri), *text, "{}", text.escape_ascii());
        }
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
