//! What peers make a shard hold is bounded over all of them: of whoever holds most, with all connections together, the one that
//! holds most is given up first. So who lags a little is never closed for the sake of many that lag each less and together
//! more.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    conns::{Conn, Role},
    world::Shard,
};
use crate::{ids::ConnId, sip::source};

/// Who answers for what a connection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    /// The user whom its session is for.
    User(u32),
    /// The address that it comes from.
    Source(IpAddr),
    /// Itself alone: its address is trusted, and speaks for many.
    Conn(ConnId),
}

impl Shard {
    /// Closes connections until what slow peers have not taken, and what has not come whole, are each within their bounds.
    /// `true`: there were some.
    pub(super) fn shed(&mut self) -> bool {
        let mut any = false;
        while self.outbox.spilled() > self.spill_max
            && let Some(conn) = self.worst(self.spill_max, Self::unsent)
        {
            self.tally.spill_dropped += 1;
            self.give_up(conn);
            any = true;
        }
        while self.framing + self.plane.heads() > self.framing_max
            && let Some(conn) = self.worst(self.framing_max, Self::unread)
        {
            self.tally.framing_dropped += 1;
            self.give_up(conn);
            any = true;
        }
        any
    }

    /// Of the holder that holds most the connection that holds most, if all together hold more than `max`. What is closing is
    /// as good as gone.
    fn worst(&self, max: usize, held_by: fn(&Self, ConnId, &Conn) -> usize) -> Option<ConnId> {
        let mut holders: BTreeMap<Holder, (usize, (usize, ConnId))> = BTreeMap::new();
        let mut all = 0;
        for (conn, entry) in self.conns.iter().filter(|(_, c)| !c.closing) {
            let held = held_by(self, conn, entry);
            if held == 0 {
                continue;
            }
            all += held;
            let (sum, worst) = (holders.entry(self.holder(conn, entry))).or_insert((0, (0, conn)));
            *sum += held;
            *worst = (*worst).max((held, conn));
        }
        let most = holders.into_values().max().filter(|_| all > max);
        most.map(|(_, (_, conn))| conn)
    }

    fn holder(&self, conn: ConnId, entry: &Conn) -> Holder {
        let user = match &entry.role {
            Role::Sip(_) => None,
            Role::Msrp | Role::Far { .. } => self.plane.user_of(conn),
        };
        match user {
            Some(user) => Holder::User(user),
            None if self.function.trusts(entry.peer.ip()) => Holder::Conn(conn),
            None => Holder::Source(source(entry.peer.ip())),
        }
    }

    fn unsent(&self, conn: ConnId, _: &Conn) -> usize {
        if self.outbox.slow(conn) {
            self.outbox.backlog(conn)
        } else {
            0
        }
    }

    fn unread(&self, conn: ConnId, entry: &Conn) -> usize {
        match &entry.role {
            Role::Sip(stream) => stream.held(),
            Role::Msrp | Role::Far { .. } => self.plane.head_of(conn),
        }
    }

    fn give_up(&mut self, conn: ConnId) {
        let now = self.clock;
        match self.conns.get(conn).map(|c| &c.role) {
            Some(Role::Msrp | Role::Far { .. }) => {
                self.plane.give_up(now, conn, &mut self.outbox);
            }
            Some(Role::Sip(_)) | None => self.close(conn, false),
        }
        self.settle(now);
    }
}
