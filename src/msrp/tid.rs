//! The transaction ids that we make (RFC 4975 §9: ident): what comes back finds its SEND.
//!
//! One names a place in the table of unanswered SENDs, in the clear, and carries enough chance that nobody can make one up: what
//! comes back is looked up by the place, then compared as a whole. The chance is drawn and written out for many ids at once;
//! the characters of a place are made once and taken from its last id from then on.

use rand::{Rng, rngs::ChaCha12Rng};

use crate::buf::{TID_LEN, Tid};

/// Six bits a character; all are `ident-char`, and the first 62 are ALPHANUM (RFC 4975 §9).
const IDENT64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+";

/// Characters that name the place: 5 bits in the first, which is a letter so, and 24 in the next four.
const PLACE_LEN: usize = 5;

/// Places that a transaction id can name.
pub(super) const PLACES: u32 = 1 << 29;

/// The place of a transaction id that names none: of a SEND that expects no response, of a REPORT.
pub(super) const NO_PLACE: u32 = PLACES - 1;

/// Characters of chance: 66 bits.
const CHANCE_LEN: usize = TID_LEN - PLACE_LEN;

/// Ids whose chance is drawn at once.
const AT_ONCE: usize = 64;

/// Makes transaction ids.
#[derive(Debug)]
pub(super) struct Tids {
    rng: ChaCha12Rng,
    chance: [u8; AT_ONCE * CHANCE_LEN],
    used: usize,
}

impl Tids {
    pub(super) fn new(rng: ChaCha12Rng) -> Self {
        let chance = [0; AT_ONCE * CHANCE_LEN];
        Self {
            rng,
            used: chance.len(),
            chance,
        }
    }

    /// The chance of a new id, or of several that name different places: those of one chunk on its legs. `[MSRP-FRAME-04]`
    pub(super) fn chance(&mut self) -> Chance {
        if self.used == self.chance.len() {
            self.draw();
        }
        let mut chance = [0; CHANCE_LEN];
        if let Some(next) = self.chance[self.used..].first_chunk() {
            chance = *next;
        }
        self.used += CHANCE_LEN;
        Chance(chance)
    }

    /// A new id that names `place`. `last`: the last one that did, zeros if there was none.
    pub(super) fn make(&mut self, place: u32, last: &Tid) -> Tid {
        self.chance().id(place, last)
    }

    /// As [`Tids::make`], other than those in `avoid`: they stand in the body as if they ended it. [MSRP-FRAME-05]
    pub(super) fn make_beside(&mut self, place: u32, last: &Tid, avoid: &[(u64, Tid)]) -> Tid {
        loop {
            let id = self.make(place, last);
            if is_beside(&id, avoid) {
                return id;
            }
        }
    }

    /// An id that names no place.
    pub(super) fn make_nameless(&mut self) -> Tid {
        self.make(NO_PLACE, &[0; TID_LEN])
    }

    #[cold]
    fn draw(&mut self) {
        self.rng.fill_bytes(&mut self.chance);
        for c in &mut self.chance {
            *c = ident(*c & 63);
        }
        self.used = 0;
    }
}

/// What nobody can guess of an id: 66 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance([u8; CHANCE_LEN]);

impl Chance {
    /// The id that names `place`. `last`: the last one that did, zeros if there was none.
    #[inline]
    pub(super) fn id(&self, place: u32, last: &Tid) -> Tid {
        let mut id = if last[0] == 0 { named(place) } else { *last };
        id[PLACE_LEN..].copy_from_slice(&self.0);
        id
    }
}

/// Whether an id is none of those in `avoid`.
pub(super) fn is_beside(id: &Tid, avoid: &[(u64, Tid)]) -> bool {
    avoid.iter().all(|(_, a)| a != id)
}

/// The character of [`IDENT64`] for six bits, without a table: many are made at once.
const fn ident(bits: u8) -> u8 {
    // A to Z, then a to z, 0 to 9, a dot and a plus: each begins so far from where the last would have gone on.
    let mut c = bits + b'A';
    c += if bits >= 26 { b'a' - b'Z' - 1 } else { 0 };
    c -= if bits >= 52 { b'z' + 1 - b'0' } else { 0 };
    c -= if bits >= 62 { b'9' + 1 - b'.' } else { 0 };
    c -= if bits >= 63 { b'.' + 1 - b'+' } else { 0 };
    c
}

/// An id with the characters of `place`, but for its chance.
#[cold]
fn named(place: u32) -> Tid {
    let mut id = [0; TID_LEN];
    id[0] = IDENT64[(place & 31) as usize];
    for (i, c) in id[1..PLACE_LEN].iter_mut().enumerate() {
        *c = IDENT64[(place >> (5 + 6 * i) & 63) as usize];
    }
    id
}

/// The place that a transaction id of ours names. `None`: it is none of ours.
pub(super) fn place(id: &Tid) -> Option<u32> {
    let bits = |i: usize| u32::from(IDENT64_BITS[usize::from(id[i])]);
    let (a, b, c, d, e) = (bits(0), bits(1), bits(2), bits(3), bits(4));
    // What is in the alphabet has its two upper bits clear.
    (a < 32 && (b | c | d | e) < 64).then_some(a | b << 5 | c << 11 | d << 17 | e << 23)
}

/// The six bits that a character of [`IDENT64`] stands for; 255 for any other.
const IDENT64_BITS: [u8; 256] = {
    let mut bits = [255; 256];
    let mut i = 0;
    while i < 64 {
        bits[IDENT64[i as usize] as usize] = i;
        i += 1;
    }
    bits
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn characters_are_those_of_the_alphabet() {
        for bits in 0..64 {
            assert_eq!(ident(bits), IDENT64[usize::from(bits)]);
        }
    }

    // [MSRP-FRAME-04] A million transaction ids: no repeat, ident characters, the first alphanumeric, at least 64 random bits.
    #[test]
    fn transaction_ids_never_repeat_and_name_their_place() {
        let mut tids = Tids::new(ChaCha12Rng::seed_from_u64(3));
        let mut seen = HashSet::new();
        let mut last = [0; TID_LEN];
        for i in 0..1_000_000u32 {
            let (at, id) = match i % 7 {
                0 => (NO_PLACE, tids.make_nameless()),
                // The place of the one before once more.
                1 if i > 1 => (i - 2, tids.make(i - 2, &last)),
                _ => (i, tids.make(i, &[0; TID_LEN])),
            };
            if i % 7 == 6 {
                last = id;
            }
            assert!(is_ident(&id));
            assert_eq!(place(&id), Some(at));
            // The chance alone, without the place.
            assert!(seen.insert(<[u8; CHANCE_LEN]>::try_from(&id[PLACE_LEN..]).unwrap()));
        }
        // Every character carries six bits: each of the alphabet is there about as often as any other.
        let mut often = [0u32; 256];
        for c in seen.iter().flatten() {
            often[usize::from(*c)] += 1;
        }
        let mean = 11_000_000 / 64;
        assert!(
            IDENT64
                .iter()
                .all(|&c| often[usize::from(c)].abs_diff(mean) < mean / 50)
        );
    }

    #[test]
    fn what_is_none_of_ours_names_no_place() {
        for id in [
            *b"~AAAAAAAAAAAAAAA",
            *b"gAAAAAAAAAAAAAAA",
            *b"AAAA-AAAAAAAAAAA",
        ] {
            assert_eq!(place(&id), None, "{id:?}");
        }
    }

    fn is_ident(id: &[u8]) -> bool {
        id[0].is_ascii_alphanumeric()
            && (4..=32).contains(&id.len())
            && id
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b".-+%=".contains(b))
    }
}
