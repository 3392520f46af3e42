//! What each side of a leg accepts: two lists of media types.
//!
//! The law: the legs of one client say the same, so lists that are alike are held once for all legs of a shard.

use std::rc::Rc;

/// Lists that are looked at for one that is alike: as many kinds of clients.
const KNOWN_MAX: usize = 16;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Types {
    /// `accept-types`.
    pub(super) accept: Box<[u8]>,
    /// `accept-wrapped-types`; empty: anything.
    pub(super) wrapped: Box<[u8]>,
}

/// The lists that were used last, on one shard.
#[derive(Debug, Default)]
pub(super) struct Known {
    all: Vec<Rc<Types>>,
    /// The oldest of them.
    next: usize,
}

impl Known {
    /// The lists that say this.
    pub(super) fn of(&mut self, accept: &[u8], wrapped: &[u8]) -> Rc<Types> {
        let alike = |t: &&Rc<Types>| *t.accept == *accept && *t.wrapped == *wrapped;
        if let Some(known) = self.all.iter().find(alike) {
            return Rc::clone(known);
        }
        let types = Rc::new(Types {
            accept: accept.into(),
            wrapped: wrapped.into(),
        });
        if self.all.len() < KNOWN_MAX {
            self.all.push(Rc::clone(&types));
        } else if let Some(oldest) = self.all.get_mut(self.next) {
            *oldest = Rc::clone(&types);
            self.next = (self.next + 1) % KNOWN_MAX;
        }
        types
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_are_alike_are_held_once() {
        let mut known = Known::default();
        let one = known.of(b"message/cpim", b"*");
        assert!(Rc::ptr_eq(&one, &known.of(b"message/cpim", b"*")));
        for (accept, wrapped) in [(&b"message/cpim"[..], &b""[..]), (b"*", b"*")] {
            let other = known.of(accept, wrapped);
            assert_eq!((&*other.accept, &*other.wrapped), (accept, wrapped));
        }
    }

    #[test]
    fn clients_without_number_leave_no_more_than_so_many_lists() {
        let mut known = Known::default();
        for n in 0..100u8 {
            assert_eq!(*known.of(&[n], b"").accept, [n]);
        }
        assert_eq!(known.all.len(), KNOWN_MAX);
    }
}
