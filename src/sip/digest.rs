//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760): SHA-256 first, MD5 for older devices.
//!
//! A nonce carries its own proof, so a flood of challenges costs no memory; only nonces that a right password has used are
//! remembered, for their count.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::quality::FixedState;
use md5::Md5;
use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};
use sha2::{Digest as _, Sha256};

use crate::{
    time::Instant,
    wire::sip::{Auth, Message, Name},
};

/// A nonce is good for so long.
const NONCE_LIFE: Duration = Duration::from_secs(300);
/// Nonces that are in use.
pub const NONCES_MAX: usize = 65_536;

/// What the credentials of a request are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Right.
    Right,
    /// None for this realm, or wrong ones: challenge.
    Wrong,
    /// Right, but of a nonce that is too old, not ours, or used in this place before: challenge with `stale=true`.
    Stale,
}

/// Challenges and checks for one realm.
#[derive(Debug)]
pub struct Digest {
    realm: String,
    secret: [u8; 32],
    rng: ChaCha12Rng,
    /// The highest nonce count seen of each nonce in use.
    counts: HashMap<Box<[u8]>, Used, FixedState>,
    /// Nonces in the order in which they came into use, with the end of their life.
    in_use: VecDeque<(Instant, Box<[u8]>)>,
}

/// The last use of a nonce.
#[derive(Clone, Copy, Debug)]
struct Used {
    count: u32,
    /// Of the whole request: one that comes again, byte for byte, asks nothing new.
    print: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
}

impl Digest {
    /// For `realm`; nonces come from `seed`.
    #[must_use]
    pub fn new(realm: &str, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self {
            realm: realm.to_owned(),
            secret,
            counts: HashMap::with_hasher(FixedState::with_seed(rng.next_u64())),
            rng,
            in_use: VecDeque::new(),
        }
    }

    /// WWW-Authenticate lines (each with CRLF) for a 401, the strongest first (RFC 8760 §2.4).
    pub fn challenge(&mut self, now: Instant, stale: bool) -> String {
        let nonce = self.nonce(now);
        let stale = if stale { ", stale=true" } else { "" };
        ["SHA-256", "MD5"]
            .map(|algorithm| {
                format!(
                    "WWW-Authenticate: Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}\r\n",
                    self.realm
                )
            })
            .concat()
    }

    /// Checks the Authorization of a request against the password of `usernames`, any of which may be the one it names.
    ///
    /// The `uri` is part of what is hashed but is not compared with the Request-URI: elements on the way may have changed
    /// that.
    pub fn verify(
        &mut self,
        now: Instant,
        request: &Message<'_>,
        usernames: &[&[u8]],
        password: &[u8],
    ) -> Verdict {
        let credentials = request
            .headers(Name::Authorization)
            .filter_map(|v| Auth::parse(v).ok())
            .find(|a| a.is_digest() && a.text(b"realm").as_deref() == Some(self.realm.as_bytes()));
        let (Some(auth), Some(method)) = (credentials, request.method()) else {
            return Verdict::Wrong;
        };
        let text = |name: &[u8]| auth.text(name).map(|v| v.into_owned());
        let (Some(username), Some(nonce), Some(uri), Some(response)) = (
            text(b"username"),
            text(b"nonce"),
            text(b"uri"),
            text(b"response"),
        ) else {
            return Verdict::Wrong;
        };
        let algorithm = match text(b"algorithm") {
            None => Algorithm::Md5,
            Some(a) if a.eq_ignore_ascii_case(b"MD5") => Algorithm::Md5,
            Some(a) if a.eq_ignore_ascii_case(b"SHA-256") => Algorithm::Sha256,
            Some(_) => return Verdict::Wrong,
        };
        if !usernames.contains(&username.as_slice()) {
            return Verdict::Wrong;
        }
        let ha1 = algorithm.hash(&[&username, self.realm.as_bytes(), password]);
        let ha2 = algorithm.hash(&[method.as_bytes(), &uri]);
        let qop = text(b"qop");
        let (expected, count) = match &qop {
            // RFC 2069 clients: a nonce serves once.
            None => (
                algorithm.hash(&[ha1.as_bytes(), &nonce, ha2.as_bytes()]),
                Some(1),
            ),
            Some(qop) if qop.eq_ignore_ascii_case(b"auth") => {
                let (nc, cnonce) = (
                    text(b"nc").unwrap_or_default(),
                    text(b"cnonce").unwrap_or_default(),
                );
                let parts: [&[u8]; 6] = [ha1.as_bytes(), &nonce, &nc, &cnonce, qop, ha2.as_bytes()];
                (algorithm.hash(&parts), hex_count(&nc))
            }
            Some(_) => return Verdict::Wrong,
        };
        if !same(expected.as_bytes(), &response.to_ascii_lowercase()) {
            return Verdict::Wrong;
        }
        let print = self.counts.hasher().hash_one(request.as_bytes());
        match count {
            Some(count) if self.use_nonce(now, &nonce, Used { count, print }) => Verdict::Right,
            Some(_) | None => Verdict::Stale,
        }
    }

    /// The time, chance, and a proof over both.
    fn nonce(&mut self, now: Instant) -> String {
        let head = [
            now.as_nanos().to_be_bytes(),
            self.rng.next_u64().to_be_bytes(),
        ]
        .concat();
        format!("{}{}", hex(&head), self.proof(&head))
    }

    fn proof(&self, head: &[u8]) -> String {
        let sum = Sha256::new()
            .chain_update(self.secret)
            .chain_update(head)
            .finalize();
        hex(sum.get(..16).unwrap_or_default())
    }

    /// Whether a nonce is ours, young, and was not used with this count or a higher one but by the same request; remembers the count.
    fn use_nonce(&mut self, now: Instant, nonce: &[u8], now_used: Used) -> bool {
        while let Some((end, _)) = self.in_use.front()
            && (*end <= now || self.in_use.len() >= NONCES_MAX)
        {
            if let Some((_, old)) = self.in_use.pop_front() {
                self.counts.remove(&old);
            }
        }
        let Some((head, proof)) = nonce.split_at_checked(32) else {
            return false;
        };
        let Some(head) = unhex(head) else {
            return false;
        };
        if !same(self.proof(&head).as_bytes(), proof) {
            return false;
        }
        let Some(made) = head.first_chunk::<8>() else {
            return false;
        };
        let end = Instant::from_nanos(u64::from_be_bytes(*made)) + NONCE_LIFE;
        if end <= now {
            return false;
        }
        match self.counts.get_mut(nonce) {
            Some(seen) if now_used.count == seen.count => now_used.print == seen.print,
            Some(seen) if now_used.count < seen.count => false,
            Some(seen) => {
                *seen = now_used;
                true
            }
            None => {
                self.counts.insert(nonce.into(), now_used);
                self.in_use.push_back((end, nonce.into()));
                true
            }
        }
    }
}

impl Algorithm {
    /// The hash of parts with colons between, in hexadecimal.
    fn hash(self, parts: &[&[u8]]) -> String {
        let joined = parts.join(&b':');
        match self {
            Self::Md5 => hex(&Md5::digest(joined)),
            Self::Sha256 => hex(&Sha256::digest(joined)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        for digit in [b >> 4, b & 15] {
            out.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
        out
    })
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    text.chunks(2)
        .map(|pair| match pair {
            [a, b] => Some(digit(*a)? << 4 | digit(*b)?),
            _ => None,
        })
        .collect()
}

/// `nc`: eight hexadecimal digits.
fn hex_count(nc: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(nc).ok().filter(|t| t.len() == 8)?;
    u32::from_str_radix(text, 16).ok()
}

/// Compares in a time that does not tell how much of it is right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 §3.9.1: the example, both algorithms.
    #[test]
    fn the_example_of_rfc_7616() {
        let compute = |algorithm: Algorithm| {
            let ha1 = algorithm.hash(&[b"Mufasa", b"http-auth@example.org", b"Circle of Life"]);
            let ha2 = algorithm.hash(&[b"GET", b"/dir/index.html"]);
            algorithm.hash(&[
                ha1.as_bytes(),
                b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                b"00000001",
                b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                b"auth",
                ha2.as_bytes(),
            ])
        };
        assert_eq!(compute(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(
            compute(Algorithm::Sha256),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn a_nonce_is_ours_young_and_counts_up() {
        // Each another request.
        let mut prints = 0..;
        let mut used = |count| Used {
            count,
            print: prints.next().unwrap_or(0),
        };
        let mut digest = Digest::new("example.com", [1; 32]);
        let now = Instant::START + Duration::from_secs(10);
        let nonce = digest.nonce(now);
        assert_ne!(nonce, digest.nonce(now));
        assert!(digest.use_nonce(now, nonce.as_bytes(), used(1)));
        assert!(
            !digest.use_nonce(now, nonce.as_bytes(), used(1)),
            "a replay"
        );
        assert!(digest.use_nonce(now, nonce.as_bytes(), used(2)));
        let mut forged = nonce.clone().into_bytes();
        forged[0] ^= 1;
        assert!(!digest.use_nonce(now, &forged, used(1)));
        assert!(!digest.use_nonce(now + NONCE_LIFE, nonce.as_bytes(), used(3)));
        assert!(digest.counts.is_empty(), "forgotten with its life");
        assert!(!digest.use_nonce(now, b"", used(1)));
    }
}
