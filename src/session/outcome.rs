//! The best of the errors, when no device takes a session: RFC 3261 §16.7 step 6, read for a B2BUA (settled.md 3)
//! [TERM-RSP-16] [B2BUA-03].

/// How an invitation of a device ended without a session: a final response, or what stands for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// 300 to 699. 408 stands for a device that never answered, 480 for one that could not be reached.
    pub(super) code: u16,
    /// Headers of the response that pass upstream, each with CRLF.
    pub(super) headers: Vec<u8>,
}

impl Refusal {
    /// A refusal of our own making.
    pub(super) const fn of(code: u16) -> Self {
        Self {
            code,
            headers: Vec::new(),
        }
    }

    /// What it becomes upstream. A redirect is not followed and its Contact not shown: the user is not there. A 503 of a
    /// device says nothing of us (RFC 3261 §16.7 step 6). A device that was told to stop says nothing at all, and one whose edge
    /// has lost its flow is not there (RFC 5626 §11.5).
    fn upstream(self) -> Self {
        match self.code {
            300..400 | 430 | 487 => Self::of(480),
            503 => Self::of(500),
            _ => self,
        }
    }
}

/// The one of `refusals` that goes upstream; 480 if there is none.
pub(super) fn best(refusals: impl IntoIterator<Item = Refusal>) -> Refusal {
    refusals
        .into_iter()
        .enumerate()
        .min_by_key(|(at, refusal)| (rank(refusal.code), *at))
        .map_or(Refusal::of(480), |(_, refusal)| refusal.upstream())
}

/// Lower is better: any 6xx first, then by class; within 4xx what tells the caller how to go on (RFC 3261 §16.7 step 6),
/// then what a person or device said, last what only means that nobody was there.
const fn rank(code: u16) -> u16 {
    match code {
        600.. => 0,
        401 | 407 | 415 | 420 | 484 => 41,
        408 | 430 | 480 => 43,
        487 => 44,
        400..500 => 42,
        500..600 => 50,
        // A redirect that is not followed is worth less than any answer of the same user.
        ..400 => 60,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(codes: &[u16], expected: u16) {
        assert_eq!(
            best(codes.iter().copied().map(Refusal::of)).code,
            expected,
            "{codes:?}"
        );
    }

    // [TERM-RSP-16] [B2BUA-03]
    #[test]
    fn a_6xx_wins_then_the_lowest_class() {
        check(&[404, 486, 603], 603);
        check(&[500, 404], 404);
        check(&[404, 486], 404);
        check(&[486, 404], 486);
        check(&[486, 415, 404], 415);
        check(&[480, 486], 486);
        check(&[408, 480], 408);
        check(&[488], 488);
        check(&[503], 500);
        check(&[503, 504], 500);
        check(&[302, 500], 500);
        check(&[302], 480);
        check(&[487], 480);
        check(&[430], 480);
        check(&[430, 486], 486);
        check(&[], 480);
    }
}
