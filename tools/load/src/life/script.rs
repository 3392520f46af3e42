//! What is to happen, drawn from the seed before anything does: who says what when. Times are offsets from the beginning.

use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};

use super::act::Deed;
use crate::{clock::Nanos, leg::Role, tally::as_f64, voice::Words};

/// A deed of a session, counted from 0, at an offset from the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub(crate) after: Nanos,
    pub(crate) session: u32,
    pub(crate) deed: Deed,
}

/// How chats are made up: shares of all that is said, between 0 and 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Mix {
    /// isComposing, of either side.
    pub(crate) composing: f64,
    /// Messages of the sender for which a success REPORT is asked.
    pub(crate) reported: f64,
    /// What devices say; only in sessions in which somebody answers.
    pub(crate) replies: f64,
    /// Sessions in which a device answers sooner or later, of all sessions.
    pub(crate) answered: f64,
}

impl Mix {
    /// The sender's messages alone.
    pub(crate) const PLAIN: Self = Self {
        composing: 0.0,
        reported: 0.0,
        replies: 0.0,
        answered: 0.0,
    };
}

/// Chance, repeatable.
pub(crate) struct Dice(ChaCha12Rng);

impl Dice {
    /// `what` keeps the draws for one purpose apart from those for another.
    pub(crate) fn new(seed: u64, what: &str) -> Self {
        let what = crate::sum::Sum::of(what.as_bytes());
        Self(ChaCha12Rng::seed_from_u64(seed ^ what.rotate_left(17)))
    }

    /// At least 0, below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        as_f64(self.0.next_u64() >> 11) / as_f64(1 << 53)
    }

    pub(crate) fn is(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// Below `n`, which is above 0.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        // A product of two u32 shifted by 32 bits fits into one.
        u32::try_from((u64::from(self.0.next_u32()) * u64::from(n)) >> 32).unwrap_or(0)
    }

    pub(crate) fn device(&mut self, devices: u16) -> u16 {
        u16::try_from(self.below(u32::from(devices))).unwrap_or(0)
    }

    /// The time to the next event of a Poisson process with so many a second.
    pub(crate) fn gap(&mut self, per_s: f64) -> Nanos {
        scale(1_000_000_000, -(1.0 - self.unit()).ln() / per_s)
    }
}

/// A share of a time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive time of hours at most, in nanoseconds: below 2^53"
)]
pub(crate) fn scale(time: Nanos, by: f64) -> Nanos {
    (as_f64(time) * by) as Nanos
}

/// Messages of all sessions in turn, at an even pace.
pub(crate) fn even(sessions: u32, per_s: f64, length: Nanos) -> Vec<Line> {
    let at = |n: u64| scale(1_000_000_000, as_f64(n) / per_s);
    (0_u64..)
        .map(at)
        .take_while(|&after| after < length)
        .zip((0..sessions).cycle())
        .map(|(after, session)| Line {
            after,
            session,
            deed: Deed::Say(Role::Sender, Words::Chat),
        })
        .collect()
}

/// The device that answers in each session, where one does.
pub(crate) fn answerers(
    mix: &Mix,
    sessions: u32,
    devices: u16,
    dice: &mut Dice,
) -> Vec<Option<u16>> {
    (0..sessions)
        .map(|_| answerer(mix, devices, dice))
        .collect()
}

/// A day of chat: what is said comes at exponential gaps, each from a session at random.
pub(crate) fn day(
    mix: &Mix,
    answers: &[Option<u16>],
    per_s: f64,
    length: Nanos,
    dice: &mut Dice,
) -> Vec<Line> {
    let sessions = u32::try_from(answers.len()).unwrap_or(u32::MAX);
    let mut lines = Vec::new();
    let mut after = dice.gap(per_s);
    while after < length {
        let session = dice.below(sessions);
        lines.push(Line {
            after,
            session,
            deed: words(mix, answers[session as usize], dice),
        });
        after += dice.gap(per_s);
    }
    lines
}

/// What is said in one call of length `hold`: `count` times something, evenly over its first three quarters. Where a device
/// answers, it does so in the middle.
pub(crate) fn call(
    mix: &Mix,
    devices: u16,
    count: u32,
    hold: Nanos,
    dice: &mut Dice,
) -> Vec<(Nanos, Deed)> {
    let answers = answerer(mix, devices, dice);
    (0..count)
        .map(|i| {
            let after = hold / 4 * 3 / u64::from(count) * u64::from(i);
            let deed = match answers {
                Some(device) if i == count / 2 => Deed::Say(Role::Device(device), Words::Chat),
                // Nobody answers before the one who does, and he does later too.
                Some(_) if i > count / 2 => words(mix, answers, dice),
                Some(_) | None => words(mix, None, dice),
            };
            (after, deed)
        })
        .collect()
}

/// The device that answers in a session, if one does.
fn answerer(mix: &Mix, devices: u16, dice: &mut Dice) -> Option<u16> {
    let (answers, device) = (dice.is(mix.answered), dice.device(devices));
    answers.then_some(device)
}

fn words(mix: &Mix, answers: Option<u16>, dice: &mut Dice) -> Deed {
    let (replies, composing, reported) = (
        dice.is(mix.replies),
        dice.is(mix.composing),
        dice.is(mix.reported),
    );
    match answers {
        Some(device) if replies => {
            let words = match composing {
                true => Words::Composing,
                false => Words::Chat,
            };
            Deed::Say(Role::Device(device), words)
        }
        Some(_) | None => {
            let words = match (composing, reported) {
                (true, _) => Words::Composing,
                (false, true) => Words::Reported,
                (false, false) => Words::Chat,
            };
            Deed::Say(Role::Sender, words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Nanos = 1_000_000_000;
    const MIX: Mix = Mix {
        composing: 0.25,
        reported: 0.2,
        replies: 0.3,
        answered: 0.5,
    };

    fn dice() -> Dice {
        Dice::new(7, "test")
    }

    #[test]
    fn the_same_seed_gives_the_same_day_and_another_another() {
        let day = |seed| {
            let mut dice = Dice::new(seed, "day");
            let answers = answerers(&MIX, 10, 3, &mut dice);
            day(&MIX, &answers, 100.0, 10 * S, &mut dice)
        };
        assert_eq!(day(1), day(1));
        assert_ne!(day(1), day(2));
    }

    #[test]
    fn a_day_has_as_much_as_its_rate_says_in_order_and_of_every_kind() {
        let mut dice = dice();
        let answers = answerers(&MIX, 40, 3, &mut dice);
        let day = day(&MIX, &answers, 1000.0, 20 * S, &mut dice);
        assert!((19_000..21_000).contains(&day.len()), "{}", day.len());
        assert!(day.is_sorted_by_key(|l| l.after));
        assert!(day.last().unwrap().after < 20 * S);
        let share = |is: fn(&Deed) -> bool| {
            as_f64(day.iter().filter(|l| is(&l.deed)).count() as u64) / as_f64(day.len() as u64)
        };
        let by_device = share(|d| matches!(d, Deed::Say(Role::Device(_), _)));
        // 0.3 in half the sessions; which half is chance.
        assert!((0.09..0.21).contains(&by_device), "{by_device}");
        let composing = share(|d| matches!(d, Deed::Say(_, Words::Composing)));
        assert!((0.23..0.27).contains(&composing), "{composing}");
        let reported = share(|d| matches!(d, Deed::Say(Role::Sender, Words::Reported)));
        assert!((0.10..0.16).contains(&reported), "{reported}");
        assert!((0..40).all(|s| day.iter().any(|l| l.session == s)));
    }

    #[test]
    fn one_device_speaks_in_a_session() {
        let mut dice = dice();
        let answers = answerers(&MIX, 20, 4, &mut dice);
        let day = day(&MIX, &answers, 1000.0, 5 * S, &mut dice);
        for session in 0..20 {
            let mut who: Vec<u16> = day
                .iter()
                .filter(|l| l.session == session)
                .filter_map(|l| match l.deed {
                    Deed::Say(Role::Device(d), _) => Some(d),
                    Deed::Say(Role::Sender, _)
                    | Deed::Race(..)
                    | Deed::Part(_)
                    | Deed::Post
                    | Deed::Ring => None,
                })
                .collect();
            who.dedup();
            assert!(who.len() <= 1, "session {session}: {who:?}");
        }
    }

    #[test]
    fn a_call_is_over_before_it_is_hung_up_and_its_device_answers_in_the_middle() {
        let mix = Mix {
            answered: 1.0,
            ..MIX
        };
        let call = call(&mix, 2, 5, 4 * S, &mut dice());
        assert_eq!(call.len(), 5);
        assert!(call.iter().all(|(after, _)| *after < 3 * S));
        let by_device = |(_, deed): &(Nanos, Deed)| matches!(deed, Deed::Say(Role::Device(_), _));
        assert!(!by_device(&call[0]) && !by_device(&call[1]) && by_device(&call[2]));
        assert!(super::call(&mix, 2, 0, S, &mut dice()).is_empty());
    }

    #[test]
    fn an_even_pace_goes_round_the_sessions() {
        let lines = even(3, 10.0, S);
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[4].session, 1);
        assert_eq!(lines[4].after, 400_000_000);
    }

    #[test]
    fn gaps_have_their_mean() {
        let mut dice = dice();
        let n = 20_000;
        let sum: Nanos = (0..n).map(|_| dice.gap(1000.0)).sum();
        let mean = sum / n;
        assert!((950_000..1_050_000).contains(&mean), "{mean}");
    }
}
