//! What is known of each call while it lives, and who waits for it to change.

use std::collections::BTreeMap;

use crate::{clock::Nanos, leg::Role, plane::Event, slot::Slot, tally::Tally, ua::Bye};

/// One call.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Legs whose MSRP connection is there and bound.
    pub(crate) up: usize,
    /// Devices whose answer has been acknowledged: before that the server need not know that they are there.
    pub(crate) acked: usize,
    /// When the last of them came up.
    pub(crate) up_at: Nanos,
    /// The first device that spoke, and when it was meant to.
    pub(crate) active: Option<(u16, Nanos)>,
    /// All that was asked has been done and nothing is under way.
    pub(crate) is_quiet: bool,
    /// BYEs to its devices.
    pub(crate) byes: BTreeMap<u16, Bye>,
    /// A connection that ended before its time, or never came up.
    pub(crate) broken: Option<String>,
    changed: Slot<()>,
}

impl Entry {
    fn new() -> Self {
        Self {
            up: 0,
            acked: 0,
            up_at: 0,
            active: None,
            is_quiet: false,
            byes: BTreeMap::new(),
            broken: None,
            changed: Slot::new(),
        }
    }

    /// What is nudged at each change. One waits at a time.
    pub(crate) fn changed(&self) -> Slot<()> {
        self.changed.clone()
    }
}

/// All calls that live, and what concerns no single one.
#[derive(Default)]
pub(crate) struct Board {
    calls: BTreeMap<u32, Entry>,
    alarms: BTreeMap<(Nanos, u64), Slot<()>>,
    asked: u64,
    /// The round's counts, once it is over.
    done: Option<Tally>,
    closed: bool,
    cut: Option<Nanos>,
}

impl Board {
    pub(crate) fn begin(&mut self, call: u32) {
        self.calls.insert(call, Entry::new());
    }

    pub(crate) fn call(&self, call: u32) -> Option<&Entry> {
        self.calls.get(&call)
    }

    pub(crate) fn forget(&mut self, call: u32) {
        self.calls.remove(&call);
    }

    /// What is given a value at `at`.
    pub(crate) fn alarm(&mut self, at: Nanos) -> Slot<()> {
        self.asked += 1;
        let slot = Slot::new();
        self.alarms.insert((at, self.asked), slot.clone());
        slot
    }

    pub(crate) fn take_done(&mut self) -> Option<Tally> {
        self.done.take()
    }

    pub(crate) fn take_closed(&mut self) -> bool {
        std::mem::take(&mut self.closed)
    }

    pub(crate) fn take_cut(&mut self) -> Option<Nanos> {
        self.cut.take()
    }

    /// Takes what the data plane says at `now`.
    pub(crate) fn take(&mut self, event: Event, now: Nanos) {
        match event {
            Event::Up(call) => self.change(call, |e| {
                e.up += 1;
                e.up_at = now;
            }),
            Event::Down(call, role, why) => {
                let who = match role {
                    Role::Sender => "sender".to_owned(),
                    Role::Device(d) => format!("device {d}"),
                };
                self.change(call, |e| e.broken = Some(format!("{who}: {why}")));
            }
            Event::Active(call, device, at) => {
                self.change(call, |e| e.active = Some((device, at)));
            }
            Event::Quiet(call) => self.change(call, |e| e.is_quiet = true),
            Event::Rang(at) => {
                while let Some(first) = self.alarms.first_entry()
                    && first.key().0 <= at
                {
                    first.remove().put(());
                }
            }
            Event::Done(tally) => self.done = Some(*tally),
            Event::Closed => self.closed = true,
            Event::Cut(at) => self.cut = Some(at),
        }
    }

    /// An ACK reached a device.
    pub(crate) fn acked(&mut self, call: u32) {
        self.change(call, |e| e.acked += 1);
    }

    /// A BYE reached a device.
    pub(crate) fn hung_up(&mut self, call: u32, device: u16, bye: Bye) {
        self.change(call, |e| {
            e.byes.insert(device, bye);
        });
    }

    fn change(&mut self, call: u32, how: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.calls.get_mut(&call) {
            how(entry);
            entry.changed.nudge(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_go_off_in_order_and_not_before_their_time() {
        let mut board = Board::default();
        let slots = [30, 10, 20].map(|at| board.alarm(at));
        let rang = |slot: &Slot<()>| slot.try_take().is_some();
        board.take(Event::Rang(20), 21);
        assert_eq!(slots.each_ref().map(rang), [false, true, true]);
        board.take(Event::Rang(30), 30);
        assert!(rang(&slots[0]));
    }

    #[test]
    fn what_happens_to_a_call_is_written_down_and_who_waits_is_nudged() {
        let mut board = Board::default();
        board.begin(7);
        board.take(Event::Up(7), 5);
        board.take(Event::Up(7), 6);
        board.take(Event::Up(8), 6);
        board.hung_up(
            7,
            0,
            Bye {
                at: 9,
                cause: Some(200),
            },
        );
        let entry = board.call(7).unwrap();
        assert_eq!((entry.up, entry.up_at), (2, 6));
        assert_eq!(entry.byes.len(), 1);
        assert!(entry.changed().try_take().is_some());
        assert!(entry.changed().try_take().is_none(), "one nudge for all");
        assert!(board.call(8).is_none());
    }
}
