//! Where the process stands between its start and its end, and what somebody wishes of it.

use std::cell::Cell;

use tokio::sync::mpsc;

use crate::ids::ShardId;

/// The ways to stop, the patient ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Sessions end by themselves, however long it takes.
    UntilEmpty,
    /// Sessions may end by themselves for most of `drain_s`, then they are ended.
    Drain,
    /// Sessions are ended at once.
    Now,
}

impl Stop {
    /// As the admin interface and the command line say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UntilEmpty => "until-empty",
            Self::Drain => "drain",
            Self::Now => "now",
        }
    }
}

/// What somebody wishes of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// An operator: that it stops.
    Stop(Stop),
    /// A signal: that it drains; again, that it ends now.
    Terminate,
    /// That it reads its configuration again.
    Reload,
    /// A shard's thread has ended although nobody asked it to.
    Failed(ShardId),
}

/// Wishes that wait. They are few, and one that does not fit repeats one that waits.
const WISHES_MAX: usize = 64;

/// Sends wishes, from any thread.
#[derive(Clone, Debug)]
pub struct Control(mpsc::Sender<Wish>);

/// Where wishes come out.
#[derive(Debug)]
pub struct Wishes(pub(super) mpsc::Receiver<Wish>);

/// A way to wish, and where the wishes come out.
#[must_use]
pub fn control() -> (Control, Wishes) {
    let (tx, rx) = mpsc::channel(WISHES_MAX);
    (Control(tx), Wishes(rx))
}

impl Control {
    /// Asks for the end.
    pub fn stop(&self, how: Stop) {
        self.wish(Wish::Stop(how));
    }

    /// Says that the thread of `shard` has ended by itself.
    pub fn failed(&self, shard: ShardId) {
        self.wish(Wish::Failed(shard));
    }

    pub(super) fn wish(&self, wish: Wish) {
        // Full: what does not fit repeats one that waits. Closed: the process is ending.
        if self.0.try_send(wish).is_err()
            && tracing::enabled!(tracing::Level::DEBUG)
            && super::voice::may(crate::shard::Kind::AdminDetail)
        {
            tracing::debug!(?wish, "a wish came too late, or too often");
        }
    }
}

/// Where the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Not every shard has answered yet.
    Starting,
    /// New sessions are taken.
    Ready,
    /// Nothing new is taken.
    Draining,
}

/// Where the process stands, as all of the services thread see it.
#[derive(Debug)]
pub(super) struct Phase(Cell<At>);

impl Phase {
    pub(super) const fn starting() -> Self {
        Self(Cell::new(At::Starting))
    }

    pub(super) fn set(&self, at: At) {
        self.0.set(at);
    }

    /// Why new sessions are not taken, for `/readyz`.
    pub(super) fn not_ready(&self) -> Option<&'static str> {
        match self.0.get() {
            At::Starting => Some("starting\n"),
            At::Ready => None,
            At::Draining => Some("draining\n"),
        }
    }
}
