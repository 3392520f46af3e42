//! The end of a turn: everything is submitted, and the shard waits.
//!
//! To fall asleep and be woken costs both sides some microseconds, and on a virtual machine tens of them. Where the waits of
//! late were short, the next is begun awake: the ring's flag is watched, which costs no system call, and only if nothing has
//! come in a while does the shard sleep. One that has slept for a second gives back the memory that it has no use for.

use std::{io, time::Duration};

use super::Io;
use crate::{io::memory, shard::World, time::Instant};

/// A wait that was no longer was short: the next is likely to be.
const SHORT: Duration = Duration::from_micros(50);

/// Who has slept for so long is quiet.
const QUIET: Duration = Duration::from_secs(1);

/// Looks at the ring's flag between two at the clock.
const LOOKS: u32 = 8;

/// How a shard waits.
#[derive(Debug)]
pub(super) struct Idle {
    /// How long a wait is begun awake at most; zero: it never is.
    spin: Duration,
    /// The last wait was short, and not for having been begun awake in vain.
    soon: bool,
    /// It has worked since it last gave back memory.
    worked: bool,
}

impl Idle {
    pub(super) fn new(spin: Duration) -> Self {
        Self {
            spin,
            soon: false,
            worked: true,
        }
    }

    /// How long a wait of `limit` at most is to be begun awake.
    fn awake(&self, limit: Option<Duration>) -> Option<Duration> {
        let room = limit.is_none_or(|limit| limit > self.spin);
        (self.soon && room && !self.spin.is_zero()).then_some(self.spin)
    }
}

impl Io {
    /// Submits the turn's operations and waits, unless there is something to do; then settles the sends.
    pub(super) fn wait<W: World>(
        &mut self,
        world: &mut W,
        wait_max: Option<Duration>,
    ) -> io::Result<()> {
        let next = [
            world.next_due(),
            self.deadlines.front().map(|d| d.0),
            self.accept_retry,
        ]
        .into_iter()
        .flatten()
        .min();
        let limit = match (next.map(|at| at.since(self.now)), wait_max) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if self.is_busy() || limit == Some(Duration::ZERO) {
            self.idle.worked = true;
            self.submit(world, 0, None)?;
        } else {
            let began = self.post.clock.now();
            match self.idle.awake(limit) {
                Some(spin) => {
                    self.submit(world, 0, None)?;
                    self.idle.soon = self.comes_within(world, began, spin)?;
                    if !self.idle.soon {
                        let limit = limit.map(|limit| limit.saturating_sub(spin));
                        self.sleep(world, limit)?;
                    }
                }
                None => {
                    self.sleep(world, limit)?;
                    self.idle.soon = self.post.clock.now().since(began) <= SHORT;
                }
            }
        }
        world.outbox().end_turn();
        Ok(())
    }

    /// Submits everything and sleeps until something has come, for `limit` at most; a shard that has worked, for a while only:
    /// if nothing comes, it gives back memory and has a turn of nothing.
    fn sleep<W: World>(&mut self, world: &mut W, limit: Option<Duration>) -> io::Result<()> {
        let nap = self.idle.worked && limit.is_none_or(|limit| limit > QUIET);
        let began = self.post.clock.now();
        self.submit(world, 1, if nap { Some(QUIET) } else { limit })?;
        let quiet = nap && !self.is_busy() && self.post.clock.now().since(began) >= QUIET;
        if quiet {
            memory::give_back();
            self.counters.quiet += 1;
        }
        self.idle.worked = !quiet;
        Ok(())
    }

    /// Whether the next turn has something to do already.
    fn is_busy(&self) -> bool {
        let hungry = !(self.starved.is_empty() && self.pressed.is_empty());
        self.mail
            || !self.rotation.is_empty()
            || self.has_unheard()
            || !self.arrivals.is_empty()
            || !self.checks.is_empty()
            || !self.failed.is_empty()
            || !self.drained.is_empty()
            || !self.done.is_empty()
            // What this turn's sends hold comes free with them: those that wait for buffers do not wait for more.
            || (hungry && !self.batch.is_empty())
            || self.may_receive_again()
    }

    /// Submits everything, waits for `want` completions, and settles the sends.
    fn submit<W: World>(
        &mut self,
        world: &mut W,
        want: u32,
        limit: Option<Duration>,
    ) -> io::Result<()> {
        self.ring.enter(want, limit, &mut self.counters)?;
        self.table.clear();
        self.settle(world)
    }

    /// Stays awake until something has come, until `spin` after `began` at most. Whether something has.
    fn comes_within<W: World>(
        &mut self,
        world: &mut W,
        began: Instant,
        spin: Duration,
    ) -> io::Result<bool> {
        // Sends that were not taken whole have left something to do, too.
        while !self.is_busy() {
            if (0..LOOKS).any(|_| self.ring.has_news()) {
                self.submit(world, 0, None)?;
            } else if self.post.clock.now().since(began) > spin {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
