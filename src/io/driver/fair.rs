//! Shares of a turn: how much one connection may bring before the others have theirs.
//!
//! A connection that brings much is received a share at a time. Alone it has a large one, since each turn has its price; where
//! several bring much they divide it. And where others say a little now and then, which is chat, all that bring much have the
//! small share at once: whoever says something next waits for the turn that runs.
//!
//! What was kept for a slow peer goes out as its socket takes it. By shares of a turn, the large messages beside chat came to
//! two thirds of their rate, and chat's latency rose as well: p50 from 115 to 168 µs (`perf/budget.md`).

use std::time::Duration;

use crate::{
    io::{settings::Settings, token::Place},
    time::Instant,
};

/// How long somebody counts among the others after a word.
const LATELY: Duration = Duration::from_millis(100);

/// So many others, or more, make it chat: what is heavy has a sender, and devices that answer it, which wait for nobody.
const CHAT: usize = 4;

/// What the bytes of one connection may cost in a turn, where its share of bytes costs more.
const WORK: Duration = Duration::from_micros(500);

/// So many bytes are a connection's in a turn, whatever they cost.
const LEAST: u32 = 2 << 10;

/// The share of a connection whose last `n` bytes took that long. Where a message comes in chunks of a byte, 64 KiB are
/// hundreds of chunks, and each of them goes to every device.
pub(super) fn affordable(n: usize, took: Duration) -> u32 {
    let bytes = n as u128 * WORK.as_nanos() / took.as_nanos().max(1);
    u32::try_from(bytes).unwrap_or(u32::MAX).max(LEAST)
}

/// Who brings how much.
#[derive(Debug)]
pub(super) struct Heavy {
    /// Connections that bring a whole share or more in a turn: how many, this turn so far and the turn before.
    now: u32,
    before: u32,
    /// The last different ones that brought less, and when, the latest last.
    light: [Option<(Place, Instant)>; CHAT],
    chat: bool,
}

impl Default for Heavy {
    fn default() -> Self {
        Self {
            now: 0,
            before: 0,
            light: [None; CHAT],
            chat: false,
        }
    }
}

impl Heavy {
    pub(super) fn begin_turn(&mut self, now: Instant) {
        self.before = std::mem::take(&mut self.now);
        self.chat = self.light[0].is_some_and(|(_, at)| now.since(at) <= LATELY);
    }

    /// Somebody has brought less than a share.
    pub(super) fn light(&mut self, place: Place, now: Instant) {
        if let Some((last, at)) = &mut self.light[CHAT - 1]
            && *last == place
        {
            *at = now;
            return;
        }
        // Out of his old place, or the oldest one out; the rest move up.
        let known = self
            .light
            .iter()
            .position(|l| l.is_some_and(|l| l.0 == place));
        self.light[known.unwrap_or(0)..].rotate_left(1);
        self.light[CHAT - 1] = Some((place, now));
    }

    /// The share of a turn where `n` connections bring as much as they may.
    fn divided(&self, settings: &Settings, n: u32) -> u32 {
        if self.chat {
            return settings.fair_bytes;
        }
        (settings.alone_bytes / n.max(1)).max(settings.fair_bytes)
    }

    /// The share of a connection that is received from next.
    pub(super) fn share(&self, settings: &Settings) -> u32 {
        self.divided(settings, self.now)
    }

    /// The share of a connection that was given `taken` bytes this turn.
    pub(super) fn share_of(&self, settings: &Settings, taken: u32) -> u32 {
        let one_more = u32::from(taken < settings.fair_bytes);
        self.divided(settings, self.before.max(self.now + one_more))
    }

    /// A connection was given `taken` bytes this turn, `before` until now.
    pub(super) fn count(&mut self, settings: &Settings, before: u32, taken: u32) {
        self.now += u32::from(before < settings.fair_bytes && taken >= settings.fair_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_cost_much_are_a_smaller_share() {
        let of = |n, us| affordable(n, Duration::from_micros(us));
        assert_eq!(of(64 << 10, 500), 64 << 10);
        assert_eq!(of(64 << 10, 5000), (64 << 10) / 10);
        assert_eq!(of(64 << 10, 500_000), LEAST);
        assert!(
            of(64 << 10, 0) > 1 << 30,
            "cheap bytes are not bounded here"
        );
    }

    fn place(slot: u32) -> Place {
        Place {
            slot,
            generation: 0,
        }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn heavy_ones_divide_a_turn_and_a_lone_one_has_all_of_it() {
        let (settings, mut heavy) = (Settings::default(), Heavy::default());
        let (fair, alone) = (settings.fair_bytes, settings.alone_bytes);
        assert_eq!(heavy.share_of(&settings, 0), alone);
        for n in 1..=8 {
            heavy.count(&settings, 0, alone);
            assert_eq!(heavy.share(&settings), (alone / n).max(fair));
        }
        heavy.begin_turn(at(1));
        assert_eq!(heavy.share_of(&settings, 0), fair, "eight the turn before");
    }

    #[test]
    fn where_others_chat_who_brings_much_has_a_small_share_until_they_are_silent() {
        let (settings, mut heavy) = (Settings::default(), Heavy::default());
        let share_at = |heavy: &mut Heavy, ms| {
            heavy.begin_turn(at(ms));
            heavy.share_of(&settings, 0)
        };
        // A sender between two large messages, and two devices that answer: no chat.
        for ms in [1, 2, 3, 4] {
            for who in 1..CHAT {
                heavy.light(place(u32::try_from(who).unwrap()), at(ms));
            }
        }
        assert_eq!(share_at(&mut heavy, 5), settings.alone_bytes);
        heavy.light(place(9), at(6));
        assert_eq!(share_at(&mut heavy, 7), settings.fair_bytes);
        // The first of the four was last heard at 4 ms.
        assert_eq!(share_at(&mut heavy, 104), settings.fair_bytes);
        assert_eq!(share_at(&mut heavy, 105), settings.alone_bytes);
        // Who speaks again is no further one.
        for ms in [110, 111] {
            for who in [9, 2, 3] {
                heavy.light(place(who), at(ms));
            }
        }
        assert_eq!(share_at(&mut heavy, 111), settings.alone_bytes);
        heavy.light(place(7), at(111));
        assert_eq!(share_at(&mut heavy, 112), settings.fair_bytes);
    }
}
