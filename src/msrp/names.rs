//! The names that we hand out on the wire: session-ids that find their leg, transaction ids that find their SEND.
//!
//! Both carry a place of ours in the clear and enough chance that nobody can make one up: what comes back is looked up by
//! the place, then compared as a whole.

use arrayvec::ArrayString;
use rand::Rng;
use slotmap::{Key, KeyData};

use crate::{
    buf::{TID_LEN, Tid},
    ids::{LegId, SessionId, ShardId},
};

/// Characters of a session-id: shard 1, leg 2, session 11, chance 14 (84 bits).
pub const SESSION_ID_LEN: usize = 28;

/// A session-id of our own making.
pub type SessionIdText = ArrayString<SESSION_ID_LEN>;

/// Six bits a character; all are `unreserved` (RFC 3986 §2.3), so nothing is ever escaped.
const URI64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Six bits a character; all are `ident-char`, and the first 62 are ALPHANUM (RFC 4975 §9).
const IDENT64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+";

/// What a session-id of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The shard that owns the session.
    pub shard: ShardId,
    /// The session.
    pub session: SessionId,
    /// The leg.
    pub leg: LegId,
}

/// Mints the session-id of a leg: where to find it, and 84 bits of chance. `[MSRP-URI-01]`
pub fn session_id(
    shard: ShardId,
    session: SessionId,
    leg: LegId,
    rng: &mut impl Rng,
) -> SessionIdText {
    let mut text = SessionIdText::new();
    put(&mut text, u64::from(shard.0), 1);
    put(&mut text, u64::from(leg.0), 2);
    put(&mut text, session.data().as_ffi(), 11);
    put(&mut text, rng.next_u64(), 7);
    put(&mut text, rng.next_u64(), 7);
    text
}

/// Reads what a session-id of ours says. `None`: it is none of ours. That it is the one of the leg it names is seen only by
/// comparing it with that leg's, as a whole.
#[must_use]
pub fn read_session_id(text: &[u8]) -> Option<Named> {
    if text.len() != SESSION_ID_LEN {
        return None;
    }
    let shard = u8::try_from(take(text, 0, 1)?).ok()?;
    let leg = u8::try_from(take(text, 1, 2)?).ok()?;
    let key = take(text, 3, 11)?;
    Some(Named {
        shard: ShardId(shard),
        session: KeyData::from_ffi(key).into(),
        leg: LegId(leg),
    })
}

fn put(text: &mut SessionIdText, mut bits: u64, characters: usize) {
    for _ in 0..characters {
        text.push(char::from(URI64[(bits & 63) as usize]));
        bits >>= 6;
    }
}

fn take(text: &[u8], from: usize, characters: usize) -> Option<u64> {
    let mut bits = 0u64;
    for (i, &c) in text.get(from..from + characters)?.iter().enumerate() {
        let value = u64::from(value(c)?);
        let shift = 6 * i;
        if value.checked_shl(u32::try_from(shift).ok()?)? >> shift != value {
            return None;
        }
        bits |= value << shift;
    }
    Some(bits)
}

const fn value(c: u8) -> Option<u8> {
    Some(match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    })
}

/// Places that a transaction id can name: 5 bits in its first character, 24 in the next four.
pub(super) const TID_PLACES: u32 = 1 << 29;

/// The place of a transaction id that names none: of a SEND that expects no response, of a REPORT.
pub(super) const NO_PLACE: u32 = TID_PLACES - 1;

/// Makes a transaction id that names `place` in the table of unanswered SENDs, with 64 bits of chance. `[MSRP-FRAME-04]`
pub(super) fn tid(place: u32, rng: &mut impl Rng) -> Tid {
    let chance = rng.next_u64();
    let place = u64::from(place);
    // Five bits of the place in the first character, which is a letter so; 24 in the next four; then the chance, 18 bits of it
    // in this half and 46 in the other.
    let first = (place & 31) | (place >> 5 & 0xff_ffff) << 6 | (chance & 0x3_ffff) << 30;
    let mut id = [0u8; TID_LEN];
    let (half, other) = id.split_at_mut(TID_LEN / 2);
    half.copy_from_slice(&eight(first));
    other.copy_from_slice(&eight(chance >> 18));
    id
}

/// The characters of [`IDENT64`] for eight groups of six bits, the lowest first: all at once, each in a byte of its own.
fn eight(bits: u64) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // 48 bits apart: into two halves of 24 bits, four of 12, eight of 6.
    let x = (bits & 0xff_ffff) | (bits & 0xffff_ff00_0000) << 8;
    let x = (x & 0x0000_0fff_0000_0fff) | (x & 0x00ff_f000_00ff_f000) << 4;
    let x = (x & 0x003f_003f_003f_003f) | (x & 0x0fc0_0fc0_0fc0_0fc0) << 2;
    // 1 in each byte that is `from` or more: bytes are below 64, so none carries into its neighbour.
    let above = |from: u64| (x + EACH * (128 - from)) >> 7 & EACH;
    // A to Z, then a to z, 0 to 9, a dot and a plus: each begins so far from where the last would have gone on.
    let c = x + EACH * u64::from(b'A') + above(26) * u64::from(b'a' - b'Z' - 1);
    let c = c - above(52) * u64::from(b'z' + 1 - b'0');
    let c = c - above(62) * u64::from(b'9' + 1 - b'.') - above(63) * u64::from(b'.' + 1 - b'+');
    c.to_le_bytes()
}

/// As [`tid`], other than those in `avoid`: they stand in the body as if they ended it. [MSRP-FRAME-05]
pub(super) fn tid_beside(place: u32, rng: &mut impl Rng, avoid: &[(u64, Tid)]) -> Tid {
    loop {
        let id = tid(place, rng);
        if avoid.iter().all(|(_, a)| *a != id) {
            return id;
        }
    }
}

/// The place that a transaction id of ours names. `None`: it is none of ours.
pub(super) fn read_tid(id: &Tid) -> Option<u32> {
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

    use rand::{SeedableRng, rngs::ChaCha12Rng};

    use super::*;

    #[test]
    fn a_session_id_says_where_its_leg_is() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        for ffi in [
            1u64 << 32,
            (7 << 32) | 123_456,
            (u64::from(u32::MAX) << 32) | 1,
        ] {
            for (shard, leg) in [(0, 0), (63, 255), (5, 8)] {
                let session: SessionId = KeyData::from_ffi(ffi).into();
                let text = session_id(ShardId(shard), session, LegId(leg), &mut rng);
                assert_eq!(text.len(), SESSION_ID_LEN);
                assert_eq!(
                    read_session_id(text.as_bytes()),
                    Some(Named {
                        shard: ShardId(shard),
                        session,
                        leg: LegId(leg)
                    })
                );
            }
        }
    }

    // [MSRP-URI-01] A million session-ids of one leg: all different, in the characters of a session-id.
    #[test]
    fn session_ids_never_repeat() {
        let mut rng = ChaCha12Rng::seed_from_u64(2);
        let session: SessionId = KeyData::from_ffi(1 << 32).into();
        let mut seen = HashSet::new();
        for _ in 0..1_000_000 {
            let id = session_id(ShardId(1), session, LegId(1), &mut rng);
            assert!(id.bytes().all(|b| value(b).is_some()));
            // The last 14 characters are chance: 84 bits.
            assert!(seen.insert(<[u8; 14]>::try_from(&id.as_bytes()[14..]).unwrap()));
        }
    }

    #[test]
    fn what_is_none_of_ours_names_nothing() {
        for text in [
            &b""[..],
            b"s1",
            &[b'A'; 27],
            &[b'A'; 29],
            &[b'~'; 28],
            &[b'_'; 28],
            b"2s93i9ek2a",
        ] {
            assert_eq!(read_session_id(text), None, "{text:?}");
        }
    }

    #[test]
    fn eight_characters_at_once_are_those_of_the_alphabet() {
        let mut rng = ChaCha12Rng::seed_from_u64(5);
        for i in 0..100_000u64 {
            let bits = if i < 64 {
                i * 0x0410_4104_1041
            } else {
                rng.next_u64()
            };
            for (at, c) in eight(bits).into_iter().enumerate() {
                assert_eq!(
                    c,
                    IDENT64[(bits >> (6 * at) & 63) as usize],
                    "{bits:x} {at}"
                );
            }
        }
    }

    // [MSRP-FRAME-04] A million transaction ids: no repeat, ident characters, the first alphanumeric, at least 64 random bits.
    #[test]
    fn transaction_ids_never_repeat_and_name_their_place() {
        let mut rng = ChaCha12Rng::seed_from_u64(3);
        let mut seen = HashSet::new();
        for i in 0..1_000_000u32 {
            let place = if i % 7 == 0 { NO_PLACE } else { i };
            let id = tid(place, &mut rng);
            assert!(crate::msrp::names::tests::is_ident(&id));
            assert_eq!(read_tid(&id), Some(place));
            // The chance alone, without the place.
            assert!(seen.insert(<[u8; 11]>::try_from(&id[5..]).unwrap()));
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
