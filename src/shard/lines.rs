//! How many lines of the log peers can cause. What is not said is counted, and the count is said.
//!
//! The law: of each kind and session the first line of a second is said and the others are counted, once a second; all shards
//! together say at most [`LINES_PER_S`] lines in any second, all kinds together, and no kind more than half of a shard's share
//! while another is silent; what found no place there is counted by kind, in one line a second. At `debug` somebody looks for
//! one decision among many: more is said there of one session, out of an allowance of its own, bounded as well.
//!
//! Calling order: [`Lines::admit`] before each line, [`Lines::poll`] when [`Lines::next`] says so, until it has nothing more.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use foldhash::quality::FixedState;

use crate::{ids::SessionId, time::Instant};

/// Lines from `info` up that all shards may say in a second; with [`SERVICES_PER_S`] they are the hundred that a flood makes.
pub const LINES_PER_S: usize = 90;

/// The same for the services.
pub const SERVICES_PER_S: usize = 10;

/// Lines at `debug` that all shards may say in a second.
pub const DEBUG_LINES_PER_S: usize = 1000;

/// Lines at `debug` of one kind and session in a second; the others are counted.
const DEBUG_PER_SESSION: u32 = 50;
/// The same of what belongs to no session: refusals of strangers, connections.
const DEBUG_STRANGERS: u32 = 200;

/// So long the lines of a kind and session are counted together.
const SECOND: Duration = Duration::from_secs(1);

/// What a line is about. Whoever adds one says here what may cause it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A session is over (`info`).
    Ended,
    /// A message that no device took (`info`).
    Undelivered,
    /// A letter between shards that found no place (`warn`).
    Mail,
    /// The admin interface (`warn`).
    Admin,
    /// SIP that came, and what was sent (`debug`).
    Signalling,
    /// An answer of ours, and why (`debug`).
    Answer,
    /// What became of a leg (`debug`).
    Leg,
    /// A contact that a session does not fit (`debug`).
    Fork,
    /// What the data plane reports (`debug`).
    Media,
    /// A device has registered or left (`debug`).
    Registration,
    /// A stream connection has come or gone (`debug`).
    Connection,
    /// What the admin interface is asked (`debug`).
    AdminDetail,
}

const KINDS: [(Kind, &str); 12] = [
    (Kind::Ended, "ended"),
    (Kind::Undelivered, "undelivered"),
    (Kind::Mail, "mail"),
    (Kind::Admin, "admin"),
    (Kind::Signalling, "signalling"),
    (Kind::Answer, "answer"),
    (Kind::Leg, "leg"),
    (Kind::Fork, "fork"),
    (Kind::Media, "media"),
    (Kind::Registration, "registration"),
    (Kind::Connection, "connection"),
    (Kind::AdminDetail, "admin detail"),
];

impl Kind {
    const fn place(self) -> usize {
        self as usize
    }

    /// As the log calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        KINDS[self.place()].1
    }

    const fn is_debug(self) -> bool {
        match self {
            Self::Ended | Self::Undelivered | Self::Mail | Self::Admin => false,
            Self::Signalling
            | Self::Answer
            | Self::Leg
            | Self::Fork
            | Self::Media
            | Self::Registration
            | Self::Connection
            | Self::AdminDetail => true,
        }
    }

    /// Lines of one session in a second.
    const fn quota(self, about: Option<SessionId>) -> u32 {
        match (self, about) {
            // Each of these lines is of another session: the hundred bounds them.
            (Self::Ended, None) => u32::MAX,
            (Self::Ended | Self::Undelivered | Self::Mail | Self::Admin, _) => 1,
            (_, Some(_)) => DEBUG_PER_SESSION,
            (_, None) => DEBUG_STRANGERS,
        }
    }
}

/// What is to be said instead of lines that were not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many more lines of this kind about this session within a second.
    More {
        /// Which kind.
        kind: Kind,
        /// Whose; `None`: of no session.
        about: Option<SessionId>,
        /// How many.
        lines: u64,
    },
    /// Lines that found no place among those of all, by kind, as `ended 350, undelivered 7`; and how many they are.
    LeftOut {
        /// By kind.
        kinds: String,
        /// In all.
        lines: u64,
    },
}

/// What is said of one kind and session within a second.
#[derive(Debug)]
struct Said {
    lines: u32,
    more: u64,
}

/// The lines of one level within the last second.
#[derive(Debug)]
struct Allowance {
    max: usize,
    recent: VecDeque<(Instant, Kind)>,
    of_kind: [usize; KINDS.len()],
}

impl Allowance {
    fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            recent: VecDeque::new(),
            of_kind: [0; KINDS.len()],
        }
    }

    /// Places that are free in the second that ends now.
    fn free(&mut self, now: Instant) -> usize {
        while let Some((at, kind)) = self.recent.front().copied()
            && at + SECOND <= now
        {
            self.recent.pop_front();
            self.of_kind[kind.place()] -= 1;
        }
        self.max.saturating_sub(self.recent.len())
    }

    /// Takes a place, if as many are free as are kept free, and the kind has not more than is free.
    fn take(&mut self, now: Instant, kind: Kind, kept: usize) -> bool {
        let free = self.free(now).saturating_sub(kept);
        let held = &mut self.of_kind[kind.place()];
        if *held >= free {
            return false;
        }
        *held += 1;
        self.recent.push_back((now, kind));
        true
    }
}

/// The lines of one thread.
#[derive(Debug)]
pub struct Lines {
    info: Allowance,
    debug: Allowance,
    /// What was said within the last second; never more than the allowances let be said.
    said: HashMap<(Kind, Option<SessionId>), Said, FixedState>,
    /// When the second of each of them is over.
    due: VecDeque<(Instant, (Kind, Option<SessionId>))>,
    /// How many of them have something to count: nobody is woken for the others.
    counting: usize,
    /// By kind.
    left_out: [u64; KINDS.len()],
    /// When that is said.
    sum_at: Option<Instant>,
    sum_every: Duration,
    last_sum: Option<Instant>,
}

impl Lines {
    /// The lines of one of so many shards.
    #[must_use]
    pub fn of_shard(shards: u8, seed: u64) -> Self {
        let shards = usize::from(shards).max(1);
        Self::new(LINES_PER_S / shards, DEBUG_LINES_PER_S / shards, seed)
    }

    /// The lines of the services.
    #[must_use]
    pub fn of_services() -> Self {
        Self::new(SERVICES_PER_S, SERVICES_PER_S, 0)
    }

    fn new(info: usize, debug: usize, seed: u64) -> Self {
        Self {
            info: Allowance::new(info),
            debug: Allowance::new(debug),
            said: HashMap::with_hasher(FixedState::with_seed(seed)),
            due: VecDeque::new(),
            counting: 0,
            left_out: [0; KINDS.len()],
            sum_at: None,
            // Where there is one place a second, every other one is for the sum.
            sum_every: if info > 1 { SECOND } else { SECOND * 2 },
            last_sum: None,
        }
    }

    /// Whether a line may be said now. If not, it is counted, and the count comes by [`Lines::poll`].
    pub fn admit(&mut self, now: Instant, kind: Kind, about: Option<SessionId>) -> bool {
        let key = (kind, about);
        while let Some((at, past)) = self.due.front()
            && *at <= now
            && self.said.get(past).is_none_or(|s| s.more == 0)
        {
            self.said.remove(past);
            self.due.pop_front();
        }
        if let Some(said) = self.said.get_mut(&key)
            && said.lines >= kind.quota(about)
        {
            self.counting += usize::from(said.more == 0);
            said.more += 1;
            return false;
        }
        if !self.take(now, kind) {
            self.leave_out(now, kind, 1);
            return false;
        }
        let due = &mut self.due;
        let said = self.said.entry(key).or_insert_with(|| {
            due.push_back((now + SECOND, key));
            Said { lines: 0, more: 0 }
        });
        said.lines += 1;
        true
    }

    /// A place for a line; one is kept for the sum, where there are several.
    fn take(&mut self, now: Instant, kind: Kind) -> bool {
        if kind.is_debug() {
            return self.debug.take(now, kind, 0);
        }
        let sum_is_due = self.sum_at.is_some_and(|at| at <= now);
        let kept = usize::from(self.info.max > 1 || sum_is_due);
        self.info.take(now, kind, kept)
    }

    fn leave_out(&mut self, now: Instant, kind: Kind, lines: u64) {
        self.left_out[kind.place()] += lines;
        let soonest = self.last_sum.map_or(now, |last| last + self.sum_every);
        self.sum_at.get_or_insert(soonest.max(now + SECOND));
    }

    /// The next count that is to be said at `now`; `None`: none, for now.
    pub fn poll(&mut self, now: Instant) -> Option<Count> {
        while let Some((at, key)) = self.due.front().copied()
            && at <= now
        {
            self.due.pop_front();
            let (kind, about) = key;
            let Some(said) = self.said.remove(&key).filter(|s| s.more > 0) else {
                continue;
            };
            self.counting -= 1;
            if !self.take(now, kind) {
                self.leave_out(now, kind, said.more);
                continue;
            }
            // While it goes on, counts alone are said.
            let lines = kind.quota(about);
            self.said.insert(key, Said { lines, more: 0 });
            self.due.push_back((now + SECOND, key));
            return Some(Count::More {
                kind,
                about,
                lines: said.more,
            });
        }
        if self.sum_at.is_none_or(|at| at > now) || self.info.free(now) == 0 {
            return None;
        }
        self.info.recent.push_back((now, Kind::Ended));
        self.info.of_kind[Kind::Ended.place()] += 1;
        self.sum_at = None;
        self.last_sum = Some(now);
        let left_out = std::mem::take(&mut self.left_out);
        let kinds: Vec<String> = KINDS
            .iter()
            .zip(left_out)
            .filter(|(_, n)| *n > 0)
            .map(|((_, name), n)| format!("{name} {n}"))
            .collect();
        Some(Count::LeftOut {
            kinds: kinds.join(", "),
            lines: left_out.iter().sum(),
        })
    }

    /// When [`Lines::poll`] is to be called next.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let sum = self.sum_at.map(|at| {
            // It waits for a place.
            let oldest = self.info.recent.front().map(|(at, _)| *at + SECOND);
            let full = self.info.recent.len() >= self.info.max;
            oldest.filter(|_| full).map_or(at, |free| at.max(free))
        });
        let counts = self.due.front().filter(|_| self.counting > 0);
        counts.map(|(at, _)| *at).into_iter().chain(sum).min()
    }

    /// Whether nothing is counted or waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counting == 0 && self.sum_at.is_none()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn sessions(n: usize) -> Vec<SessionId> {
        let mut table = slotmap::SlotMap::<SessionId, ()>::with_key();
        (0..n).map(|_| table.insert(())).collect()
    }

    /// A clock that steps, and what was said by when.
    struct World {
        lines: Lines,
        now: Instant,
        said: Vec<Instant>,
        /// Lines that were asked for, and those that some count has told of.
        asked: u64,
        told: u64,
    }

    impl World {
        fn new(lines: Lines) -> Self {
            Self {
                lines,
                now: Instant::from_nanos(1),
                said: Vec::new(),
                asked: 0,
                told: 0,
            }
        }

        fn ask(&mut self, kind: Kind, about: Option<SessionId>) -> bool {
            self.asked += 1;
            let said = self.lines.admit(self.now, kind, about);
            if said {
                self.said.push(self.now);
                self.told += 1;
            }
            said
        }

        fn pass(&mut self, d: Duration) {
            let until = self.now + d;
            while let Some(at) = self.lines.next().filter(|at| *at <= until) {
                self.now = self.now.max(at);
                let mut none = true;
                while let Some(count) = self.lines.poll(self.now) {
                    none = false;
                    self.said.push(self.now);
                    let (Count::More { lines, .. } | Count::LeftOut { lines, .. }) = count;
                    self.told += lines;
                }
                assert!(
                    !none || self.lines.next().is_none_or(|n| n > self.now),
                    "it stands"
                );
            }
            self.now = until;
        }

        /// The most lines that any second has.
        fn worst(&self) -> usize {
            let within = |from: Instant| {
                let until = from + SECOND;
                self.said
                    .iter()
                    .filter(|at| **at >= from && **at < until)
                    .count()
            };
            self.said.iter().map(|at| within(*at)).max().unwrap_or(0)
        }
    }

    #[test]
    fn of_one_session_the_first_line_is_said_and_then_a_count_a_second() {
        let mut w = World::new(Lines::of_shard(1, 1));
        let one = Some(sessions(1)[0]);
        for _ in 0..3 {
            for n in 0..42_000_u32 {
                let said = w.ask(Kind::Undelivered, one);
                assert_eq!(said, w.said.len() == 1 && n == 0 && w.asked == 1);
                w.now += Duration::from_micros(20);
                w.pass(Duration::ZERO);
            }
            w.pass(Duration::from_millis(160));
        }
        assert!(w.said.len() <= 4, "{:?}", w.said);
        w.pass(Duration::from_secs(3));
        assert_eq!((w.told, w.lines.is_empty()), (w.asked, true));
        // When it is over, its next line is a first one.
        assert!(w.ask(Kind::Undelivered, one));
    }

    #[test]
    fn floods_of_many_sessions_and_kinds_stay_below_a_hundred_lines_in_any_second() {
        for shards in [1, 2, 8, 45, 64] {
            let all = sessions(3000);
            let mut worst = 0;
            let mut w = World::new(Lines::of_shard(shards, 1));
            for n in 0..30_000 {
                let about = Some(all[n % all.len()]);
                let kind = KINDS[n % 3].0;
                w.ask(kind, about);
                w.now += Duration::from_micros(101);
                w.pass(Duration::ZERO);
                if n == 100 {
                    assert!(!w.said.is_empty(), "something is said at once");
                }
            }
            w.pass(Duration::from_secs(10));
            worst = w.worst().max(worst);
            assert!(
                worst * usize::from(shards) <= LINES_PER_S,
                "{shards}: {worst}"
            );
            // Nothing is lost: it is said, or counted.
            assert_eq!((w.told, w.lines.is_empty()), (w.asked, true), "{shards}");
        }
    }

    #[test]
    fn a_flood_of_one_kind_leaves_room_for_the_others() {
        let mut w = World::new(Lines::of_shard(2, 1));
        let all = sessions(5000);
        for (n, session) in all.into_iter().enumerate() {
            w.ask(Kind::Undelivered, Some(session));
            w.now += Duration::from_micros(500);
            w.pass(Duration::ZERO);
            if n % 500 == 0 {
                assert!(w.ask(Kind::Ended, None), "{n}");
            }
        }
    }

    #[test]
    fn at_debug_more_is_said_and_it_is_bounded_as_well() {
        let mut w = World::new(Lines::of_shard(1, 1));
        let all = sessions(100);
        for n in 0..50_000 {
            w.ask(Kind::Leg, Some(all[n % 100]));
            w.ask(Kind::Answer, None);
            w.now += Duration::from_micros(50);
            w.pass(Duration::ZERO);
        }
        let worst = w.worst();
        assert!(
            (300..=DEBUG_LINES_PER_S + LINES_PER_S).contains(&worst),
            "{worst}"
        );
        w.pass(Duration::from_secs(10));
        assert_eq!(w.told, w.asked);
        // `info` has places of its own.
        let mut w = World::new(Lines::of_shard(1, 1));
        for n in 0..5000 {
            w.ask(Kind::Leg, Some(all[n % 100]));
        }
        assert!(w.ask(Kind::Ended, None));
    }

    #[test]
    fn names_stand_at_the_places_of_their_kinds() {
        for (at, (kind, _)) in KINDS.iter().enumerate() {
            assert_eq!(kind.place(), at);
        }
    }
}
