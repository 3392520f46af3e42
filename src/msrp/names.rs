//! The session-ids that we hand out: they find their leg.
//!
//! One carries a place of ours in the clear and enough chance that nobody can make one up: what comes back is looked up by
//! the place, then compared as a whole.

use arrayvec::ArrayString;
use rand::Rng;
use slotmap::{Key, KeyData};

use crate::ids::{LegId, SessionId, ShardId};

/// Characters of a session-id: shard 1, leg 2, session 11, chance 14 (84 bits).
pub const SESSION_ID_LEN: usize = 28;

/// A session-id of our own making.
pub type SessionIdText = ArrayString<SESSION_ID_LEN>;

/// Six bits a character; all are `unreserved` (RFC 3986 §2.3), so nothing is ever escaped.
const URI64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

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
}
