//! What peers make a shard hold is bounded over all of them: whoever holds most is given up first.

use super::{
    conns::{Conn, Role},
    world::Shard,
};
use crate::ids::ConnId;

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

    /// The connection that holds most, if all together hold more than `max`. What is closing is as good as gone.
    fn worst(&self, max: usize, held_by: fn(&Self, ConnId, &Conn) -> usize) -> Option<ConnId> {
        let (mut all, mut worst) = (0, None);
        for (conn, entry) in self.conns.iter().filter(|(_, c)| !c.closing) {
            let held = held_by(self, conn, entry);
            all += held;
            worst = worst.max(Some((held, conn)));
        }
        worst.filter(|_| all > max).map(|(_, conn)| conn)
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
