//! What we hand out and know again: tags, user parts of Contacts, branches. Each carries the number of its shard.
//!
//! The law: whatever comes back finds its shard without a table (design §2), and nobody can guess one. A token is 32 characters
//! of lower-case base 32, so it is a `token` and a `user` of RFC 3261 §25.1 and survives an element that changes its case:
//!
//! ```text
//! r  <shard, leg, session: 80 bits> <chance: 64 bits> <check: 10 bits>      a tag, the user part of a Contact
//! z9hG4bKr <shard: 6 bits, padded to 10> <chance: 80 bits> <loop: 30 bits>  a branch
//! ```

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::FixedState;
use rand::Rng;
use slotmap::{Key, KeyData};

use crate::ids::{LegId, SessionId, ShardId};

/// The letters; reading takes either case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// What every branch of RFC 3261 begins with (§8.1.1.7).
pub const MAGIC: &[u8] = b"z9hG4bK";
/// Length of a token in bytes.
pub const LEN: usize = 32;
/// Length of a branch in bytes, its magic cookie included.
pub const BRANCH_LEN: usize = 32;

/// A tag or Contact user of ours: 32 bytes of ASCII.
pub type Token = [u8; LEN];
/// A branch of ours: 32 bytes of ASCII.
pub type Branch = [u8; BRANCH_LEN];

/// What a token of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owned {
    /// The shard that minted it.
    pub shard: ShardId,
    /// The session that it belongs to; whether that lives is for the session room to say.
    pub session: SessionId,
    /// The leg of that session.
    pub leg: LegId,
    /// The 64 bits of chance: two tokens with the same names are still two tokens.
    pub chance: u64,
}

/// Mints a token for a leg. 64 bits of it are chance.
pub fn mint(shard: ShardId, session: SessionId, leg: LegId, rng: &mut impl Rng) -> Token {
    encode(shard, session, leg, rng.next_u64())
}

/// The token of these names with 64 bits of `chance` that nobody can guess.
#[must_use]
pub fn encode(shard: ShardId, session: SessionId, leg: LegId, chance: u64) -> Token {
    let names = (u128::from(shard.0) << 72)
        | (u128::from(leg.0) << 64)
        | u128::from(session.data().as_ffi());
    let mut out = [b'r'; LEN];
    // 80 bits are 16 letters, 65 bits are 13, 10 bits are 2.
    put(&mut out[1..17], names);
    put(&mut out[17..30], u128::from(chance));
    let check = check(&out[..30]);
    put(&mut out[30..], u128::from(check));
    out
}

/// Reads a token of ours; `None` for anything else. Upper and lower case are the same.
#[must_use]
pub fn read(token: &[u8]) -> Option<Owned> {
    let token: &Token = token.try_into().ok()?;
    let token = &token.to_ascii_lowercase();
    if token[0] != b'r' || take(&token[30..])? != u128::from(check(&token[..30])) {
        return None;
    }
    let names = take(&token[1..17])?;
    let chance = take(&token[17..30])?;
    let [session @ .., leg, shard] = *names.to_le_bytes().first_chunk::<10>()?;
    (shard < 64).then_some(())?;
    Some(Owned {
        shard: ShardId(shard),
        session: KeyData::from_ffi(u64::from_le_bytes(session)).into(),
        leg: LegId(leg),
        chance: u64::try_from(chance).ok()?,
    })
}

/// Mints a branch. `loop_hash` (its lower 30 bits) is what [`loop_hash_of_branch`] gives back (RFC 3261 §16.6 point 8).
pub fn mint_branch(shard: ShardId, loop_hash: u32, rng: &mut impl Rng) -> Branch {
    let mut out = [0; BRANCH_LEN];
    out[..MAGIC.len()].copy_from_slice(MAGIC);
    let own = &mut out[MAGIC.len()..];
    own[0] = b'r';
    put(&mut own[1..3], u128::from(shard.0));
    put(
        &mut own[3..19],
        u128::from(rng.next_u64()) | (u128::from(rng.next_u32() & 0xffff) << 64),
    );
    put(&mut own[19..25], u128::from(loop_hash & 0x3fff_ffff));
    out
}

/// The shard that minted a branch; `None` where it is not one of ours.
#[must_use]
pub fn shard_of_branch(branch: &[u8]) -> Option<ShardId> {
    let shard = take(own_part(branch)?.get(1..3)?)?;
    u8::try_from(shard).ok().filter(|n| *n < 64).map(ShardId)
}

/// The loop hash that a branch of ours was minted with.
#[must_use]
pub fn loop_hash_of_branch(branch: &[u8]) -> Option<u32> {
    u32::try_from(take(own_part(branch)?.get(19..25)?)?).ok()
}

/// The letters behind the magic cookie, where the branch has the shape of ours.
fn own_part(branch: &[u8]) -> Option<&[u8]> {
    let (magic, own) = branch.split_at_checked(MAGIC.len())?;
    let ours = branch.len() == BRANCH_LEN
        && magic.eq_ignore_ascii_case(MAGIC)
        && own.first()?.eq_ignore_ascii_case(&b'r');
    ours.then_some(own)
}

/// Writes the low bits of `bits`, five a letter, most significant first.
fn put(out: &mut [u8], mut bits: u128) {
    for letter in out.iter_mut().rev() {
        *letter = ALPHABET[usize::from(bits.to_le_bytes()[0] & 31)];
        bits >>= 5;
    }
}

/// Reads what `put` wrote; `None` where a letter is not of the alphabet.
fn take(letters: &[u8]) -> Option<u128> {
    letters.iter().try_fold(0, |bits: u128, letter| {
        let value = match letter.to_ascii_lowercase() {
            l @ b'a'..=b'z' => l - b'a',
            l @ b'2'..=b'7' => l - b'2' + 26,
            _ => return None,
        };
        Some((bits << 5) | u128::from(value))
    })
}

/// A hash of parts under a secret, for what must come out the same again.
#[must_use]
pub fn hash(secret: u64, parts: impl FnOnce(&mut dyn FnMut(&[u8]))) -> u64 {
    let mut hasher = FixedState::with_seed(secret).build_hasher();
    parts(&mut |part| part.hash(&mut hasher));
    hasher.finish()
}

/// Ten bits over the rest, so that a stranger's tag is hardly ever taken for ours.
fn check(letters: &[u8]) -> u32 {
    letters
        .iter()
        .fold(0x811c_9dc5_u32, |h, b| {
            (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)
        })
        .rotate_left(10)
        & 0x3ff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::ChaCha12Rng};

    use super::*;

    fn session(ffi: u64) -> SessionId {
        KeyData::from_ffi(ffi).into()
    }

    proptest! {
        #[test]
        fn reads_what_it_minted(shard in 0u8..64, leg: u8, ffi: u64, seed: u64, flip in 0usize..LEN) {
            let mut rng = ChaCha12Rng::seed_from_u64(seed);
            let token = mint(ShardId(shard), session(ffi), LegId(leg), &mut rng);
            let read_back = read(&token).unwrap();
            prop_assert_eq!(read_back.shard, ShardId(shard));
            prop_assert_eq!(read_back.leg, LegId(leg));
            prop_assert_eq!(read_back.session, session(ffi));
            prop_assert_eq!(read(&token.to_ascii_uppercase()), Some(read_back));
            prop_assert!(token.iter().all(u8::is_ascii_alphanumeric));
            let mut spoiled = token;
            spoiled[flip] = if spoiled[flip] == b'q' { b'p' } else { b'q' };
            prop_assert_ne!(read(&spoiled), Some(read_back));

            let branch = mint_branch(ShardId(shard), 0x1234_5678, &mut rng);
            prop_assert_eq!(shard_of_branch(&branch), Some(ShardId(shard)));
            prop_assert_eq!(loop_hash_of_branch(&branch), Some(0x1234_5678));
        }

        #[test]
        fn a_strangers_tag_is_not_ours(tag in prop::collection::vec(any::<u8>(), 0..40)) {
            // 10 bits of check and one letter: about one in 32,000 of the right shape passes; random bytes never have it.
            prop_assert_eq!(read(&tag), None);
        }
    }

    #[test]
    fn two_tokens_and_two_branches_differ() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let one = mint(ShardId(0), session(1), LegId(0), &mut rng);
        assert_ne!(one, mint(ShardId(0), session(1), LegId(0), &mut rng));
        let one = mint_branch(ShardId(0), 0, &mut rng);
        assert_ne!(one, mint_branch(ShardId(0), 0, &mut rng));
        assert_eq!(shard_of_branch(b"z9hG4bKrabc"), None);
        assert_eq!(shard_of_branch(b"z9hG4bK776asdhds776asdhds776asdh"), None);
    }
}
