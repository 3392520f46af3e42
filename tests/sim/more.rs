//! What a run may have beside a plain one: small mailboxes, little memory, shared connections, devices that register again or
//! go mute for good, devices that all answer at once. A third of the seeds has none of it. It is drawn from a stream of chance of its own, so that the plain
//! part of a seed is the same with it and without.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng, rngs::ChaCha12Rng};
use ringfork::limits::Limits;

use crate::{
    device,
    peer::{Again, Kind},
    sender,
};

/// What is beyond a plain run.
pub(crate) struct More {
    rng: ChaCha12Rng,
    /// Open places of each mailbox.
    pub(crate) places: Option<usize>,
    /// Receive memory of each shard; what is kept and what lags behind are bounded as tightly.
    pub(crate) memory: Option<usize>,
    /// Senders have their sessions on one connection, and so have devices of different users.
    pub(crate) shares: bool,
    registers_again: bool,
    mute: bool,
    /// All devices are active after so many messages.
    race: Option<usize>,
}

impl More {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(!seed);
        let some = seed % 3 != 1;
        let mut one_in = |n: u32| rng.random_range(0..n) == 0 && some;
        let (small, memory, shares) = (one_in(3), one_in(3), one_in(3));
        let (registers_again, mute, race) = (one_in(3), one_in(3), one_in(3));
        Self {
            places: small.then_some(1),
            memory: memory.then(|| rng.random_range(30..250) << 10),
            shares,
            registers_again,
            mute,
            race: race.then(|| rng.random_range(1..4)),
            rng,
        }
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_range(0..n) == 0
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..to))
    }

    /// Bounds that a run can reach.
    pub(crate) fn bounds(&mut self, limits: &mut Limits) {
        if let Some(places) = self.places {
            limits.mailbox_places = places;
        }
        if self.memory.is_some() {
            limits.kept_bytes = self.rng.random_range(8..80) << 10;
            limits.spill_bytes = self.rng.random_range(50..400) << 10;
        }
    }

    /// What a device does beside its plain part.
    pub(crate) fn device(&mut self, plan: &mut device::Plan) {
        if self.places.is_some() {
            // All at once, so that one mailbox gets several.
            plan.register_at = Duration::ZERO;
        }
        if let Some(after) = self.race {
            let kinds = [Kind::Chat, Kind::Composing, Kind::WrappedComposing];
            plan.acts = Some((after, kinds[self.rng.random_range(0..3)]));
        }
        if self.mute && self.one_in(2) {
            plan.mute_after = Some(self.rng.random_range(0..5));
            plan.acts = None;
        }
        if self.registers_again && self.one_in(2) {
            for _ in 0..self.rng.random_range(1..4) {
                let how = match self.rng.random_range(0..4) {
                    0 => Again::Elsewhere,
                    1 => Again::Gone(self.ms(300, 3_000)),
                    _ => Again::Refresh,
                };
                plan.again.push((self.ms(350, 25_000), how));
            }
        }
        if self.shares && self.one_in(2) {
            plan.setup = "active";
        }
    }

    /// What a sender does beside its plain part.
    pub(crate) fn sender(&mut self, plan: &mut sender::Plan) {
        if self.shares {
            plan.setup = "active";
        }
    }
}
