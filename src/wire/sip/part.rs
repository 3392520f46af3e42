//! The headers of a part of a multipart body: same lines, folds and names as a message's.

use super::{
    Rule,
    message::{Lines, read_field},
};

/// The headers of a part in order: name and value as written.
pub(in crate::wire) struct PartHeaders<'a> {
    head: &'a [u8],
    lines: Lines<'a>,
}

impl<'a> PartHeaders<'a> {
    /// The headers that `head` holds; its blank line may be left out.
    pub(in crate::wire) const fn new(head: &'a [u8]) -> Self {
        Self {
            head,
            lines: Lines::new(head),
        }
    }

    /// Whether each line of `head` is a header.
    pub(in crate::wire) fn are_valid(head: &[u8]) -> bool {
        let mut valid = true;
        let mut lines = Lines::new(head);
        let mut note = |rule: Rule, _| valid &= rule == Rule::BlankLine;
        while let Some((from, to)) = lines.next(&mut note) {
            if read_field(head, from, to).is_none() {
                note(Rule::HeaderLine, from);
            }
        }
        valid
    }
}

impl<'a> Iterator for PartHeaders<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (from, to) = self.lines.next(&mut |_, _| {})?;
            if let Some(field) = read_field(self.head, from, to) {
                return Some(field.of(self.head));
            }
        }
    }
}
