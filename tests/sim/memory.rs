//! Receive memory of a shard that is short of it: what it is handed is pinned for as long as it holds a piece of it.
//!
//! The driver's rules (`io/driver/receive.rs`): above half the shard is told, above three quarters whoever pins most is
//! stopped until half is free again, and with none left nothing is received at all.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use ringfork::{
    buf::{Region, Slice},
    ids::ConnId,
    shard::World,
};

use crate::{host::Host, net::Net};

/// Bytes that are held, by the connection that brought them.
type Held = Rc<RefCell<BTreeMap<ConnId, usize>>>;

/// The receive memory of one shard.
#[derive(Debug)]
pub(crate) struct Memory {
    total: usize,
    held: Held,
    /// What the shard was told last.
    told: usize,
    /// Connections that are stopped, and those that found no memory.
    pressed: Vec<ConnId>,
    starved: Vec<ConnId>,
}

struct Piece {
    bytes: Box<[u8]>,
    of: Held,
    conn: ConnId,
}

impl Region for Piece {
    fn bytes(&self, start: usize, len: usize) -> &[u8] {
        &self.bytes[start..start + len]
    }

    fn pinned(&self) -> bool {
        true
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut held = self.of.borrow_mut();
        let now = held.get_mut(&self.conn).expect("it was counted");
        *now -= self.bytes.len();
        if *now == 0 {
            held.remove(&self.conn);
        }
    }
}

impl Memory {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            held: Held::default(),
            told: 0,
            pressed: Vec::new(),
            starved: Vec::new(),
        }
    }

    pub(crate) fn pinned(&self) -> usize {
        self.held.borrow().values().sum()
    }

    /// Whether nothing is received from a connection for now; then it is had in mind.
    pub(crate) fn stops(&mut self, net: &mut Net, conn: ConnId) -> bool {
        let full = self.pinned() >= self.total;
        if full {
            net.saw("no receive memory left");
            if !self.starved.contains(&conn) {
                self.starved.push(conn);
            }
        }
        full || self.pressed.contains(&conn)
    }

    /// Whether there is memory for somebody who waits for some.
    pub(crate) fn may_go_on(&self) -> bool {
        let pinned = self.pinned();
        (!self.starved.is_empty() && pinned < self.total)
            || (!self.pressed.is_empty() && pinned * 2 <= self.total)
    }

    /// What has come on a connection.
    pub(crate) fn hand_in(&self, conn: ConnId, bytes: Vec<u8>) -> Slice {
        let len = u32::try_from(bytes.len()).expect("a piece of a stream");
        if len > 0 {
            *self.held.borrow_mut().entry(conn).or_default() += bytes.len();
        }
        let piece = Piece {
            bytes: bytes.into(),
            of: Rc::clone(&self.held),
            conn,
        };
        if len == 0 {
            return Slice::copied(&piece.bytes);
        }
        Slice::new(Rc::new(piece), 0, len)
    }
}

impl Host {
    /// The start of a turn: tells the shard when its memory is short, stops who pins most, lets in who may go on.
    pub(crate) fn relieve(&mut self, net: &mut Net, k: usize) {
        let Some(memory) = &mut self.io[k].memory else {
            return;
        };
        let (pinned, total) = (memory.pinned(), memory.total);
        let held = memory.held.borrow();
        let may = held.iter().filter(|(c, _)| !memory.pressed.contains(c));
        let most = may.max_by_key(|(_, bytes)| **bytes).map(|(c, _)| *c);
        drop(held);
        let short = pinned * 2 > total;
        if short || (pinned != memory.told && memory.told * 2 > total) {
            net.saw("receive memory short");
            self.shards[k].pressure(net.now, pinned, total);
        }
        memory.told = pinned;
        // As the driver has it: what the shard gave back meanwhile counts in the next turn.
        if pinned * 4 > total * 3
            && let Some(conn) = most
        {
            net.saw("stopped for receive memory");
            memory.pressed.push(conn);
        }
        let pinned = memory.pinned();
        let mut again = Vec::new();
        if pinned < total {
            again.append(&mut memory.starved);
        }
        if pinned * 2 <= total {
            again.append(&mut memory.pressed);
        }
        for conn in again {
            self.again(net, k, conn);
        }
    }
}
