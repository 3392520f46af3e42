//! What the user of transactions repeats itself: a 2xx until its ACK comes, an ACK whenever its 2xx comes again.

use std::time::Duration;

use crate::{sip::transaction::T2, time::Instant};

/// The schedule by which a 2xx to an INVITE is sent again until its ACK comes, on any transport: T1, doubling up to T2, for
/// 64·T1 (RFC 3261 §13.3.1.4). A reliable provisional response runs by the same, without the cap at T2 (RFC 3262 §3).
/// [SIP-TXN-04]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    interval: Duration,
    cap: Duration,
    next: Instant,
    until: Instant,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Wait,
    /// Send it again.
    Again,
    /// 64·T1 have passed without ACK: end the session by BYE. Once; drop the schedule.
    GiveUp,
}

impl Repeat {
    /// The schedule of a 2xx that was first sent `now`.
    #[must_use]
    pub fn success(now: Instant, t1: Duration) -> Self {
        Self {
            interval: t1,
            cap: T2,
            next: now + t1,
            until: now + t1 * 64,
        }
    }

    /// The schedule of a reliable provisional response that was first sent `now`. [SIP-DLG-07]
    #[must_use]
    pub fn provisional(now: Instant, t1: Duration) -> Self {
        Self {
            cap: t1 * 64,
            ..Self::success(now, t1)
        }
    }

    /// When to ask next.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.next.min(self.until)
    }

    /// What is due `now`; moves on.
    pub fn poll(&mut self, now: Instant) -> Due {
        if now >= self.until {
            return Due::GiveUp;
        }
        if now < self.next {
            return Due::Wait;
        }
        self.interval = (self.interval * 2).min(self.cap);
        self.next = now + self.interval;
        Due::Again
    }
}

/// The ACKs that we have sent, to be sent again for each 2xx that comes again (RFC 3261 §13.2.2.4). [SIP-TXN-05]
///
/// One entry a dialog and INVITE; the oldest of a dialog goes when a newer INVITE is acknowledged. All go 64·T1 after the last:
/// no 2xx is repeated for longer, and a leg that stands holds nothing of how it came about.
#[derive(Clone, Debug, Default)]
pub struct Acks(Option<Box<Kept>>);

/// What there is of them, while there are any.
#[derive(Clone, Debug)]
struct Kept {
    acks: Vec<Ack>,
    until: Instant,
}

/// Dialogs of one INVITE whose ACKs are kept.
const ACKS_MAX: usize = 8;

#[derive(Clone, Debug)]
struct Ack {
    remote_tag: Vec<u8>,
    cseq: u32,
    message: Vec<u8>,
}

impl Acks {
    /// Keeps the ACK of the INVITE `cseq` in the dialog with `remote_tag`, which was first sent `now`. Of the dialogs of one INVITE
    /// the first eight are kept; a further one is acknowledged once.
    pub fn keep(
        &mut self,
        (now, t1): (Instant, Duration),
        remote_tag: &[u8],
        cseq: u32,
        message: Vec<u8>,
    ) {
        let until = now + t1 * 64;
        let kept = self.0.get_or_insert_with(|| {
            let acks = Vec::new();
            Box::new(Kept { acks, until })
        });
        kept.until = until;
        kept.acks
            .retain(|a| a.remote_tag != remote_tag || a.cseq == cseq);
        let known = |a: &Ack| a.remote_tag == remote_tag && a.cseq == cseq;
        // Full: that 2xx's repeats go unanswered, and its sender ends the dialog.
        if !kept.acks.iter().any(known) && kept.acks.len() < ACKS_MAX {
            kept.acks.push(Ack {
                remote_tag: remote_tag.to_vec(),
                cseq,
                message,
            });
        }
    }

    /// Bytes that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of = |a: &Ack| size_of::<Ack>() + a.remote_tag.len() + a.message.len();
        let kept = self.0.as_ref();
        kept.map_or(0, |kept| {
            size_of::<Kept>() + kept.acks.iter().map(of).sum::<usize>()
        })
    }

    /// When they are forgotten.
    #[must_use]
    pub fn at(&self) -> Option<Instant> {
        self.0.as_ref().map(|kept| kept.until)
    }

    /// Forgets them if it is time.
    pub fn forget(&mut self, now: Instant) {
        if self.at().is_some_and(|until| until <= now) {
            *self = Self::default();
        }
    }

    /// The ACK that was sent for this INVITE in this dialog.
    #[must_use]
    pub fn find(&self, remote_tag: &[u8], cseq: u32) -> Option<&[u8]> {
        let kept = self.0.as_ref()?;
        let found = kept
            .acks
            .iter()
            .find(|a| a.remote_tag == remote_tag && a.cseq == cseq)?;
        Some(&found.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: Duration = Duration::from_millis(500);

    fn times(mut repeat: Repeat) -> (Vec<u128>, u128) {
        let mut sent = Vec::new();
        loop {
            let at = repeat.at();
            assert_eq!(
                repeat.poll(Instant::from_nanos(at.as_nanos() - 1)),
                Due::Wait
            );
            let ms = at.since(Instant::START).as_millis();
            match repeat.poll(at) {
                Due::Again => sent.push(ms),
                Due::GiveUp => return (sent, ms),
                Due::Wait => panic!("due, but nothing to do"),
            }
        }
    }

    /// [SIP-TXN-04] T1, 2·T1, ... T2, T2, ...; BYE at 32 s.
    #[test]
    fn a_2xx_is_repeated_up_to_t2_for_64_t1() {
        let (sent, end) = times(Repeat::success(Instant::START, T1));
        assert_eq!(
            sent,
            [
                500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500
            ]
        );
        assert_eq!(end, 32_000);
    }

    /// [SIP-DLG-07] RFC 3262 §3: no cap.
    #[test]
    fn a_reliable_provisional_response_doubles_without_cap() {
        let (sent, end) = times(Repeat::provisional(Instant::START, T1));
        assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500]);
        assert_eq!(end, 32_000);
    }

    /// [SIP-TXN-05] each dialog of an INVITE has its own ACK; a newer INVITE replaces the older.
    #[test]
    fn acks_by_dialog_and_number() {
        let mut acks = Acks::default();
        let now = (Instant::START, T1);
        acks.keep(now, b"a", 1, b"one".to_vec());
        acks.keep(now, b"b", 1, b"two".to_vec());
        assert_eq!(acks.find(b"a", 1), Some(&b"one"[..]));
        assert_eq!(acks.find(b"b", 1), Some(&b"two"[..]));
        acks.keep(now, b"a", 2, b"three".to_vec());
        assert_eq!(acks.find(b"a", 1), None);
        assert_eq!(acks.find(b"a", 2), Some(&b"three"[..]));
        for tag in 0..20u8 {
            acks.keep(now, &[tag], 1, Vec::new());
        }
        assert_eq!(acks.0.map(|kept| kept.acks.len()), Some(8), "bounded");
    }

    /// [SIP-TXN-05] a 2xx is repeated for 64·T1; after that its ACK is not held.
    #[test]
    fn acks_are_forgotten_when_no_2xx_comes_again() {
        let mut acks = Acks::default();
        acks.keep((Instant::START, T1), b"a", 1, b"one".to_vec());
        let last = Instant::START + T1 * 64;
        assert_eq!(acks.at(), Some(last));
        acks.forget(Instant::from_nanos(last.as_nanos() - 1));
        assert!(acks.find(b"a", 1).is_some());
        acks.forget(last);
        assert!(acks.find(b"a", 1).is_none() && acks.at().is_none());
    }
}
