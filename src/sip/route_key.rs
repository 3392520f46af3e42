//! Which shard a message belongs to (design §2): what comes back by what we handed out, the rest by the served user.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hasher},
    time::Duration,
};

use foldhash::quality::FixedState;

use super::token;
use crate::{
    ids::ShardId,
    time::Instant,
    wire::{
        sip::{Message, Method, Name, NameAddr, Start},
        uri::{self, KEY_BYTES_MAX, canonical},
    },
};

/// Who serves a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The shard that minted what the message carries.
    Shard(ShardId),
    /// A CANCEL or an ACK that names nobody of ours: the shard of its INVITE, by [`BranchMap`]; where that knows none, the
    /// shard of this user.
    Branch(ShardId),
    /// The shard of the served user.
    User(ShardId),
}

impl Owner {
    /// The shard, as far as the message itself says.
    #[must_use]
    pub const fn shard(&self) -> ShardId {
        match self {
            Self::Shard(s) | Self::Branch(s) | Self::User(s) => *s,
        }
    }
}

/// The owner of a message among `shards` shards.
///
/// A response: by the branch of our Via. A request: by the To-tag, the user of the Request-URI or of the first Route, where
/// those are tokens of ours; else by the hash of the served user: of a REGISTER the To, of others the Request-URI.
#[must_use]
pub fn owner(message: &Message<'_>, shards: u8) -> Owner {
    let ours = |shard: ShardId| Some(shard).filter(|s| s.0 < shards);
    let Start::Request { method, uri } = message.start() else {
        let branch = message.via().ok().and_then(|v| v.branch());
        let shard = branch.and_then(token::shard_of_branch).and_then(ours);
        // A response to nothing of ours goes anywhere, and is dropped there.
        return Owner::Shard(shard.unwrap_or_default());
    };
    let to = message.to().ok();
    let by_token = |bytes: Option<&[u8]>| token::read(bytes?).and_then(|t| ours(t.shard));
    let route = message.values(Name::Route).next();
    let route = route.and_then(|r| NameAddr::parse_route(r).ok());
    let named = by_token(to.as_ref().and_then(|t| t.tag()))
        .or_else(|| by_token(user(uri)))
        .or_else(|| by_token(route.and_then(|r| user(r.uri))));
    if let Some(shard) = named {
        return Owner::Shard(shard);
    }
    let served = match &to {
        Some(to) if method == Method::Register => to.uri,
        Some(_) | None => uri,
    };
    let shard = shard_of_user(served, shards);
    if matches!(method, Method::Cancel | Method::Ack) {
        Owner::Branch(shard)
    } else {
        Owner::User(shard)
    }
}

/// The shard of a user: the same on every shard, and after every restart.
#[must_use]
pub fn shard_of_user(address: &[u8], shards: u8) -> ShardId {
    let key = address_of_record(address);
    let mut hasher = FixedState::with_seed(0).build_hasher();
    hasher.write(key.as_deref().unwrap_or(address));
    let place = hasher.finish() % u64::from(shards.max(1));
    ShardId(u8::try_from(place).unwrap_or(0))
}

/// The key of an address of record: canonical ([`canonical`]), and without a port. `None`: it is no URI, or longer than any
/// user's.
#[must_use]
pub fn address_of_record(address: &[u8]) -> Option<Vec<u8>> {
    let mut room = [0; KEY_BYTES_MAX];
    let key = canonical(address, &mut room).ok()?;
    let port = match uri::Uri::parse(address) {
        Ok(uri::Uri::Sip(sip)) if key.starts_with(b"sip:") => sip.port,
        Ok(_) | Err(_) => None,
    };
    let suffix = port.map(|p| format!(":{p}")).unwrap_or_default();
    Some(key.strip_suffix(suffix.as_bytes()).unwrap_or(key).to_vec())
}

/// The user of a SIP URI.
fn user(uri: &[u8]) -> Option<&[u8]> {
    uri::sip::Uri::parse(uri).ok()?.user
}

/// Where INVITEs went, by the branch of their sender: for the CANCEL and the ACK that bring nothing else to know them by.
///
/// Bounded in number and in time (64·T1); over the bound the oldest is forgotten, and its CANCEL gets 481.
#[derive(Debug)]
pub struct BranchMap {
    shards: HashMap<u64, (ShardId, Instant), FixedState>,
    order: VecDeque<(Instant, u64)>,
    keep: Duration,
    max: usize,
}

impl BranchMap {
    /// Keeps `max` branches at most, each for 64·`t1`. `seed` is the shard's.
    #[must_use]
    pub fn new(t1: Duration, max: usize, seed: u64) -> Self {
        Self {
            shards: HashMap::with_hasher(FixedState::with_seed(seed)),
            order: VecDeque::new(),
            keep: t1 * 64,
            max,
        }
    }

    /// Notes where an INVITE went. Its repeats keep it in mind.
    pub fn note(&mut self, now: Instant, invite: &Message<'_>, to: ShardId) {
        let Some(key) = self.key(invite) else {
            return;
        };
        self.forget(now);
        if self.order.len() >= self.max
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.shards.remove(&oldest);
        }
        let until = now + self.keep;
        self.shards.insert(key, (to, until));
        self.order.push_back((until, key));
    }

    /// Where the INVITE of this CANCEL or ACK went.
    #[must_use]
    pub fn find(&self, now: Instant, message: &Message<'_>) -> Option<ShardId> {
        let (shard, until) = self.shards.get(&self.key(message)?)?;
        (*until > now).then_some(*shard)
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// Forgets what is over.
    pub fn forget(&mut self, now: Instant) {
        while let Some((until, key)) = self.order.front().copied()
            && until <= now
        {
            self.order.pop_front();
            // A repeat may have renewed it.
            if self.shards.get(&key).is_some_and(|(_, u)| *u <= now) {
                self.shards.remove(&key);
            }
        }
    }

    /// Branch and sent-by; of RFC 2543 clients Call-ID and CSeq number.
    fn key(&self, message: &Message<'_>) -> Option<u64> {
        let via = message.via().ok()?;
        let mut hasher = self.shards.hasher().build_hasher();
        match via.transaction_branch() {
            Some(branch) => {
                hasher.write(&branch.to_ascii_lowercase());
                hasher.write(&via.sent_by.to_ascii_lowercase());
            }
            None => {
                hasher.write(message.call_id().ok()?);
                hasher.write_u32(message.cseq().ok()?.number);
            }
        }
        Some(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::ChaCha12Rng};

    use super::*;
    use crate::ids::{LegId, SessionId};

    fn request(line: &str, to: &str, branch: &str) -> Vec<u8> {
        format!(
            "{line} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch={branch}\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: {to}\r\nCall-ID: c\r\nCSeq: 1 {}\r\n\r\n",
            line.split(' ').next().unwrap()
        )
        .into_bytes()
    }

    fn of(message: &[u8], shards: u8) -> Owner {
        owner(&Message::parse(message).unwrap(), shards)
    }

    #[test]
    fn one_user_one_shard_however_it_is_written() {
        let register = request(
            "REGISTER sip:example.com",
            "<sip:bob@EXAMPLE.com>",
            "z9hG4bK1",
        );
        let invite = request(
            "INVITE sip:b%6fb@example.com:5060;transport=tcp",
            "<sip:x@y>",
            "z9hG4bK1",
        );
        for shards in [1, 2, 5, 64] {
            assert_eq!(of(&register, shards), of(&invite, shards));
            assert!(of(&invite, shards).shard().0 < shards);
        }
        let phone = shard_of_user(b"tel:+1-201-555", 64);
        assert_eq!(phone, shard_of_user(b"sip:+1201555@any;user=phone", 64));
        let spread: std::collections::HashSet<_> = (0..100)
            .map(|n| shard_of_user(format!("sip:u{n}@h").as_bytes(), 5))
            .collect();
        assert_eq!(spread.len(), 5);
    }

    #[test]
    fn what_carries_a_token_goes_to_its_shard() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let shard = ShardId(3);
        let token = token::mint(shard, SessionId::default(), LegId(1), &mut rng);
        let token = std::str::from_utf8(&token).unwrap();
        let tagged = request("BYE sip:x@h", &format!("<sip:b@h>;tag={token}"), "z9hG4bK1");
        let target = request(
            &format!("ACK sip:{token}@h:5060"),
            "<sip:b@h>;tag=z",
            "z9hG4bK1",
        );
        assert_eq!(of(&tagged, 5), Owner::Shard(shard));
        assert_eq!(of(&target, 5), Owner::Shard(shard));
        // A shard that is not there (fewer since a restart): by the user.
        assert!(matches!(of(&tagged, 2), Owner::User(_)));

        let branch = token::mint_branch(shard, 0, &mut rng);
        let branch = std::str::from_utf8(&branch).unwrap();
        let response = format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch={branch}\r\n\r\n");
        assert_eq!(of(response.as_bytes(), 5), Owner::Shard(shard));
        let stray = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\r\n";
        assert_eq!(of(stray, 5), Owner::Shard(ShardId(0)));
    }

    #[test]
    fn a_cancel_follows_its_invite() {
        let t1 = Duration::from_millis(500);
        let mut map = BranchMap::new(t1, 2, 1);
        let now = Instant::START;
        let later = |ms| now + Duration::from_millis(ms);
        let parse = |bytes: &'static [u8]| Message::parse(bytes).unwrap();
        let invite = |branch: &str| {
            let bytes = request("INVITE sip:bob@h", "<sip:bob@h>", branch);
            parse(Box::leak(bytes.into_boxed_slice()))
        };
        let cancel = |branch: &str| {
            let bytes = request("CANCEL sip:rewritten@h", "<sip:bob@h>", branch);
            parse(Box::leak(bytes.into_boxed_slice()))
        };
        assert!(matches!(owner(&cancel("z9hG4bKa"), 5), Owner::Branch(_)));
        map.note(now, &invite("z9hG4bKa"), ShardId(4));
        assert_eq!(map.find(now, &cancel("z9hG4bKa")), Some(ShardId(4)));
        assert_eq!(map.find(now, &cancel("z9hG4bKb")), None);
        assert_eq!(
            map.find(later(31_999), &cancel("z9hG4bKa")),
            Some(ShardId(4))
        );
        assert_eq!(map.find(later(32_000), &cancel("z9hG4bKa")), None);
        // Bounded: the oldest goes.
        map.note(now, &invite("z9hG4bKb"), ShardId(1));
        map.note(now, &invite("z9hG4bKc"), ShardId(2));
        assert_eq!(map.len(), 2);
        assert_eq!(map.find(now, &cancel("z9hG4bKa")), None);
        map.forget(later(40_000));
        assert!(map.is_empty());
    }
}
