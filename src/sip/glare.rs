//! Requests that cross: re-INVITE and UPDATE from both sides at once (RFC 3261 §14, RFC 3311 §5, RFC 6141). [SIP-DLG-03]

use std::time::Duration;

use rand::Rng;

/// A refusal: its status, and the seconds of Retry-After if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// 491 or 500.
    pub code: u16,
    /// 0 to 10, with 500.
    pub retry_after_s: Option<u8>,
}

/// Which re-INVITEs, UPDATEs and offers of one dialog have no final response (or answer) yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// A re-INVITE of ours.
    pub our_invite: bool,
    /// A (re-)INVITE of theirs.
    pub their_invite: bool,
    /// An UPDATE of ours.
    pub our_update: bool,
    /// An UPDATE of theirs.
    pub their_update: bool,
    /// An offer of ours that has no answer.
    pub our_offer: bool,
    /// An offer of theirs that we have not answered.
    pub their_offer: bool,
}

impl Conflict {
    /// What crosses one of ours: 491.
    #[must_use]
    pub const fn crossing() -> Self {
        Self {
            code: 491,
            retry_after_s: None,
        }
    }
}

impl Pending {
    /// Whether a re-INVITE of theirs may be served (RFC 3261 §14.2): not while one of theirs is open (500 with
    /// Retry-After), nor one of ours (491).
    ///
    /// # Errors
    /// What to refuse it with.
    pub fn their_reinvite(&self, rng: &mut impl Rng) -> Result<(), Conflict> {
        if self.their_invite {
            return Err(Self::later(rng));
        }
        if self.our_invite || self.our_offer {
            return Err(Conflict::crossing());
        }
        Ok(())
    }

    /// Whether an UPDATE of theirs may be served (RFC 3311 §5.2): not while another is open (500 with Retry-After); with an
    /// offer not while ours has no answer (491), nor while theirs has none (500 with Retry-After). [SIP-DLG-08]
    ///
    /// # Errors
    /// What to refuse it with.
    pub fn their_update(&self, has_offer: bool, rng: &mut impl Rng) -> Result<(), Conflict> {
        if self.their_update || (has_offer && self.their_offer) {
            return Err(Self::later(rng));
        }
        if has_offer && (self.our_offer || self.our_invite) {
            return Err(Conflict::crossing());
        }
        Ok(())
    }

    /// Whether we may send a re-INVITE now (RFC 3261 §14.1).
    #[must_use]
    pub const fn may_reinvite(&self) -> bool {
        !self.our_invite && !self.their_invite && !self.our_offer && !self.their_offer
    }

    /// Whether we may send an UPDATE now (RFC 3311 §5.1).
    #[must_use]
    pub const fn may_update(&self, with_offer: bool) -> bool {
        let offers = self.our_offer || self.their_offer || self.our_invite || self.their_invite;
        !(self.our_update || with_offer && offers)
    }

    fn later(rng: &mut impl Rng) -> Conflict {
        Conflict {
            code: 500,
            retry_after_s: u8::try_from(rng.next_u32() % 11).ok(),
        }
    }
}

/// How long to wait after a 491: 2.1 to 4 s where the Call-ID is ours, else 0 to 2 s, in steps of 10 ms (RFC 3261 §14.1).
#[must_use]
pub fn wait_after_491(call_id_is_ours: bool, rng: &mut impl Rng) -> Duration {
    let (from, steps) = if call_id_is_ours {
        (2_100, 191)
    } else {
        (0, 201)
    };
    Duration::from_millis(from + 10 * u64::from(rng.next_u32() % steps))
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::ChaCha12Rng};

    use super::*;

    /// [SIP-DLG-03] the interval of each side, and both of its ends are reached.
    #[test]
    fn waits_by_call_id() {
        let mut rng = ChaCha12Rng::seed_from_u64(7);
        for (ours, from, to) in [(true, 2_100, 4_000), (false, 0, 2_000)] {
            let waits: Vec<_> = (0..20_000)
                .map(|_| wait_after_491(ours, &mut rng).as_millis())
                .collect();
            assert_eq!(waits.iter().min(), Some(&from));
            assert_eq!(waits.iter().max(), Some(&to));
            assert!(waits.iter().all(|w| w % 10 == 0));
        }
    }

    /// [SIP-DLG-03] [SIP-DLG-08]
    #[test]
    fn crossing_requests() {
        let mut rng = ChaCha12Rng::seed_from_u64(7);
        let code = |r: Result<(), Conflict>| r.err().map(|c| (c.code, c.retry_after_s.is_some()));
        let none = Pending::default();
        let ours = Pending {
            our_invite: true,
            ..none
        };
        let theirs = Pending {
            their_invite: true,
            their_offer: true,
            ..none
        };
        assert_eq!(code(none.their_reinvite(&mut rng)), None);
        assert_eq!(code(ours.their_reinvite(&mut rng)), Some((491, false)));
        assert_eq!(code(theirs.their_reinvite(&mut rng)), Some((500, true)));
        assert_eq!(code(ours.their_update(true, &mut rng)), Some((491, false)));
        assert_eq!(code(ours.their_update(false, &mut rng)), None);
        assert_eq!(code(theirs.their_update(true, &mut rng)), Some((500, true)));
        let update = Pending {
            their_update: true,
            ..none
        };
        assert_eq!(
            code(update.their_update(false, &mut rng)),
            Some((500, true))
        );
        assert!(none.may_reinvite() && !ours.may_reinvite() && !theirs.may_reinvite());
        assert!(theirs.may_update(false) && !theirs.may_update(true));
        for _ in 0..100 {
            let refused = theirs.their_reinvite(&mut rng).unwrap_err();
            assert!(refused.retry_after_s.unwrap() <= 10);
        }
    }
}
