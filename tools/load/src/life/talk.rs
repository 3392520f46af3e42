//! What a session owes to whom once devices speak: who has to get which of the sender's messages, who must not, and what
//! the sender has to hear. Knows numbers and times, no sockets.
//!
//! # Who stays
//!
//! The device whose message the sender gets first. What the sender wrote before that is for every device as long as its leg
//! stands; what he writes later is for that device alone, and a *leak* at any other (settled: a message that the sender wrote
//! after he had received the activity message). What was under way to the others when the activity came may be dropped, so
//! they may miss the last ones, without a gap; but not what had been written [`SETTLED`] before.

use std::collections::VecDeque;

use crate::{
    clock::Nanos,
    order::{Fit, Order},
};

/// A message that was written so long before the activity has to have reached every device.
pub(crate) const SETTLED: Nanos = 1_000_000_000;

/// A connection ended and it was not its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Untimely;

/// The numbers of a device's messages begin with these, so that they tell whose they are.
pub(crate) fn base(device: u16) -> u32 {
    (1 + u32::from(device)) << 24
}

/// Whose message a number is of, and which: the reverse of [`base`].
pub(crate) fn device_and_nth(number: u32) -> Option<(u16, u32)> {
    let device = u16::try_from((number >> 24).checked_sub(1)?).ok()?;
    Some((device, number & 0x00ff_ffff))
}

/// One session's account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk {
    devices: Vec<Part>,
    /// Messages that the sender has written.
    written: u32,
    /// When he wrote the last of them, as far back as it matters.
    recent: VecDeque<Nanos>,
    /// How many of his messages each device has to have, activity or not; set by the first device that speaks.
    owed: Option<u32>,
    /// Who stays, and the first number that is for it alone.
    kept: Option<(u16, u32)>,
    /// The call is being hung up: connections may end.
    pub(crate) is_ending: bool,
    /// Deeds that are still to be done.
    pub(crate) pending: u32,
}

/// One device's part.
#[derive(Clone, Debug, Default)]
struct Part {
    said: u32,
    heard: Order,
    /// Its connection has ended.
    gone: bool,
}

impl Talk {
    pub(crate) fn new(devices: u16) -> Self {
        Self {
            devices: vec![Part::default(); usize::from(devices)],
            ..Self::default()
        }
    }

    /// The sender writes a message at `now`: how many deliveries that asks for.
    pub(crate) fn wrote(&mut self, now: Nanos) -> u64 {
        self.written += 1;
        if self.owed.is_none() {
            self.recent.push_back(now);
            while self.recent.front().is_some_and(|&at| at + SETTLED <= now) {
                self.recent.pop_front();
            }
        }
        match self.kept {
            Some(_) => 1,
            None => self.devices.iter().filter(|d| !d.gone).count() as u64,
        }
    }

    /// A device writes a message at `now`. True if nobody did before: this is the activity.
    pub(crate) fn spoke(&mut self, device: u16, now: Nanos) -> bool {
        if let Some(part) = self.devices.get_mut(usize::from(device)) {
            part.said += 1;
        }
        if self.owed.is_some() {
            return false;
        }
        let young = self.recent.iter().filter(|&&at| at + SETTLED > now).count();
        // No more than were written.
        self.owed = Some(self.written - u32::try_from(young).unwrap_or(self.written));
        self.recent = VecDeque::new();
        true
    }

    /// The sender got the `nth` message of a device.
    pub(crate) fn heard(&mut self, device: u16, nth: u32) -> Fit {
        let Some(part) = self.devices.get_mut(usize::from(device)) else {
            return Fit::Never;
        };
        let fit = part.heard.take(nth, part.said);
        if self.kept.is_none() && fit != Fit::Never {
            self.kept = Some((device, self.written));
        }
        fit
    }

    /// The first number that this device must not get.
    pub(crate) fn not_from(&self, device: u16) -> Option<u32> {
        let (kept, from) = self.kept?;
        (kept != device).then_some(from)
    }

    /// A device's connection ended, after it had got what `got` says: how many deliveries are owed no more. An error if it
    /// should have stayed.
    pub(crate) fn ended(&mut self, device: u16, got: &Order) -> Result<u64, Untimely> {
        let may = self.may_go(device);
        let forgiven = self.forgiven(device, got);
        if let Some(part) = self.devices.get_mut(usize::from(device)) {
            part.gone = true;
        }
        match may {
            true => Ok(forgiven),
            false => Err(Untimely),
        }
    }

    /// What a device that does not stay need not have got, for the moment when nobody waits any longer.
    pub(crate) fn forgiven(&self, device: u16, got: &Order) -> u64 {
        let Some(owed) = self.owed.filter(|_| self.is_other(device)) else {
            return 0;
        };
        let gone = self.devices.get(usize::from(device)).is_none_or(|d| d.gone);
        let due = self.not_from(device).unwrap_or(self.written);
        match gone {
            true => 0,
            false => u64::from(due.saturating_sub(owed.max(got.next()))),
        }
    }

    /// What this device lacks and has to have had when its connection ends, for people; nothing if it has all.
    pub(crate) fn lacks(&self, device: u16, got: &Order) -> Option<String> {
        let due = self.not_from(device).unwrap_or(self.written);
        let missing = due.saturating_sub(got.next()) + got.missing();
        let lacks = u64::from(missing) > self.forgiven(device, got);
        lacks.then(|| {
            format!(
                "device {device}: {missing} of {due} messages missing, {} of them in the middle; the first {} were settled \
                 when a device spoke; the sender heard {:?} first",
                got.missing(),
                self.owed.map_or_else(|| "none".to_owned(), |n| n.to_string()),
                self.kept.map(|k| k.0),
            )
        })
    }

    /// Whether this device does not stay, or may not: as long as the sender has heard nobody, each may be the one who goes.
    fn is_other(&self, device: u16) -> bool {
        self.kept.is_none_or(|(kept, _)| kept != device)
    }

    fn may_go(&self, device: u16) -> bool {
        self.is_ending || self.owed.is_some() && self.is_other(device)
    }

    /// Whether this device has got all that it has to have.
    pub(crate) fn is_served(&self, device: u16, got: &Order) -> bool {
        let gone = self.devices.get(usize::from(device)).is_none_or(|d| d.gone);
        let due = self.not_from(device).unwrap_or(self.written);
        gone || !got.has_gap() && got.next() >= due
    }

    /// Whether nothing is left to do, and all that was said has been heard.
    pub(crate) fn is_heard(&self) -> bool {
        self.pending == 0
            && self
                .devices
                .iter()
                .all(|d| d.heard.next() >= d.said && !d.heard.has_gap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Nanos = 1_000_000_000;

    fn got(n: u32) -> Order {
        let mut order = Order::default();
        for i in 0..n {
            order.take(i, n);
        }
        order
    }

    /// Ten messages, one a second, then device 1 of 3 speaks at 10 s.
    fn talk() -> Talk {
        let mut t = Talk::new(3);
        for i in 0..10 {
            assert_eq!(t.wrote(i * S), 3);
        }
        assert!(t.spoke(1, 10 * S));
        t
    }

    #[test]
    fn whose_number_it_is() {
        assert_eq!(device_and_nth(base(0) | 7), Some((0, 7)));
        assert_eq!(device_and_nth(base(63)), Some((63, 0)));
        assert_eq!(device_and_nth(12), None, "the sender's own");
    }

    #[test]
    fn once_the_sender_has_heard_a_device_what_he_writes_is_for_it_alone() {
        let mut t = talk();
        assert_eq!(t.wrote(10 * S), 3, "he does not know yet");
        assert_eq!(t.not_from(0), None);
        assert_eq!(t.heard(1, 0), Fit::New);
        assert_eq!(t.not_from(0), Some(11));
        assert_eq!(t.not_from(1), None);
        assert_eq!(t.wrote(10 * S), 1);
        assert!(!t.spoke(1, 11 * S), "it is the activity once");
    }

    #[test]
    fn the_others_may_miss_what_was_under_way_and_nothing_before() {
        let mut t = talk();
        t.wrote(10 * S + 1);
        t.heard(1, 0);
        // Written at 0 to 9 s: settled at 10 s. The eleventh was under way.
        assert_eq!(t.ended(0, &got(10)), Ok(1));
        assert_eq!(t.ended(2, &got(4)), Ok(1), "six stay lost");
        assert_eq!(t.ended(2, &got(4)), Ok(0), "once");
    }

    #[test]
    fn a_gap_is_never_forgiven() {
        let mut t = talk();
        for i in 0..4 {
            t.wrote(10 * S + i);
        }
        t.heard(1, 0);
        let mut order = got(10);
        order.take(12, 14);
        assert_eq!(
            t.ended(0, &order),
            Ok(1),
            "the last alone: 10 and 11 are missing"
        );
    }

    #[test]
    fn a_device_goes_before_its_time_unless_another_has_spoken_or_the_call_ends() {
        let mut t = Talk::new(2);
        t.wrote(0);
        assert_eq!(t.clone().ended(0, &got(1)), Err(Untimely));
        t.spoke(1, S);
        t.heard(1, 0);
        assert_eq!(t.clone().ended(0, &got(1)), Ok(0));
        assert_eq!(t.clone().ended(1, &got(1)), Err(Untimely), "it has to stay");
        t.is_ending = true;
        assert_eq!(t.ended(1, &got(0)), Ok(0), "what it did not get is lost");
    }

    #[test]
    fn one_that_goes_before_the_sender_heard_anybody_counts_no_more() {
        let mut t = talk();
        assert_eq!(t.ended(0, &got(10)), Ok(0));
        assert_eq!(t.wrote(10 * S), 2);
    }

    #[test]
    fn quiet_is_when_all_has_come_both_ways() {
        let mut t = talk();
        assert!(!t.is_heard());
        t.heard(1, 0);
        assert!(t.is_heard());
        t.pending = 1;
        assert!(!t.is_heard());
        assert!(t.is_served(0, &got(10)));
        assert!(!t.is_served(0, &got(9)));
        t.wrote(11 * S);
        assert!(t.is_served(0, &got(10)), "not for it");
        assert!(!t.is_served(1, &got(10)));
    }
}
