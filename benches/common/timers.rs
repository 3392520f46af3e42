//! The timer wheel, as full as a busy shard has it.

use std::{collections::VecDeque, time::Duration};

use ringfork::{time::Instant, timer::Timers};

use super::case::{Case, whole};

/// Timers that stand beside those that are measured, over five minutes.
const STANDING: u64 = 100_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("timers/set and cancel", "timer", 0, || {
            let (mut timers, mut now) = standing();
            whole(move || {
                now += Duration::from_micros(100);
                let id = timers.insert(now + Duration::from_secs(32), u64::MAX);
                timers.cancel(id) == Some(u64::MAX)
            })
        }),
        // As timer A of an INVITE that is answered too late, or the 30 s of a SEND: 16 fall due in a turn.
        Case::new("timers/set and fire", "timer", 0, || {
            let (mut timers, mut now) = standing();
            let mut expected: VecDeque<u64> = VecDeque::new();
            let mut name = STANDING;
            whole(move || {
                now += Duration::from_millis(1);
                for _ in 0..16 {
                    name += 1;
                    expected.push_back(name);
                    timers.insert(now + Duration::from_millis(500), name);
                }
                // Those that stand fire too, in between; ours in the order in which they were set.
                let mut right = true;
                while let Some(key) = timers.poll(now) {
                    right &= key <= STANDING || expected.pop_front() == Some(key);
                }
                right && expected.len() <= 500 * 16
            })
        })
        .units(16)
        .rounds(2000),
    ]
}

fn standing() -> (Timers<u64>, Instant) {
    let mut timers = Timers::new();
    let now = Instant::from_nanos(1);
    for n in 0..STANDING {
        timers.insert(now + Duration::from_millis(n * 3), n);
    }
    assert_eq!(timers.len() as u64, STANDING);
    (timers, now)
}
