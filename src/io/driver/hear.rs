//! Signalling: what a turn hears of it, from datagrams and from streams alike.
//!
//! Signalling waits for messages, not they for it: an INVITE that is forked costs as much as a hundred deliveries, and what a
//! turn has to send goes out at its end. So a turn hears signalling for [`SHARE`] and leaves the rest to the next. Datagrams and
//! streams have their turns in rotation, a stream a [`PIECE`] at a time, and one that says little ([`MODEST`]) comes before those
//! that say much: a stream that is written to without end waits behind its own bytes.
//!
//! What waits is bounded: datagrams by the buffers for them, the others wait in the socket; of a stream one short receive
//! ([`Settings::signalling_bytes`](crate::io::Settings)), and nothing more is received of it before that was heard.
//!
//! Letters of other shards are signalling for the most part, and have a share of their own.

use std::{io, time::Duration};

use super::Io;
use crate::{buf::Slice, io::token::Place, shard::World, time::Instant};

/// How long signalling of one turn is heard, and how long letters are read; the one that passes it is the last.
const SHARE: Duration = Duration::from_micros(100);

/// Bytes of a stream that are heard at once: a request or two of the usual size, and no more than a few dozen of the shortest.
const PIECE: usize = 512;

/// Bytes that a stream may say in a second, and at once, before it waits behind those that say more: some requests of a person.
const MODEST: u32 = 4 << 10;

/// What a stream with so much credit left at an earlier time has now.
fn credit((left, at): (u32, Instant), now: Instant) -> (u32, Instant) {
    let gained = now.since(at).as_millis() * u128::from(MODEST) / 1000;
    let gained = u32::try_from(gained).unwrap_or(MODEST);
    // The time of what is less than a byte is not lost.
    let at = if gained > 0 { now } else { at };
    (left.saturating_add(gained).min(MODEST), at)
}

/// Whose turn it is to be heard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Lane {
    #[default]
    Datagrams,
    /// Streams that say little.
    Fresh,
    /// The other streams.
    Talkers,
}

impl Lane {
    fn next(self) -> Self {
        match self {
            Self::Datagrams => Self::Fresh,
            Self::Fresh => Self::Talkers,
            Self::Talkers => Self::Datagrams,
        }
    }
}

/// The clock of a share of a turn.
struct Share {
    began: Instant,
}

impl Share {
    fn begin(io: &Io) -> Self {
        Self {
            began: io.post.clock.now(),
        }
    }

    fn is_over(&self, io: &Io) -> bool {
        io.post.clock.now().since(self.began) >= SHARE
    }
}

impl Io {
    /// Bytes of a signalling stream wait for their turn. Nothing more of it is received until they were heard.
    pub(super) fn wait_to_be_heard(&mut self, place: Place, slice: Slice) {
        if let Some(conn) = self.conns.get_mut(place) {
            conn.queued += u32::try_from(slice.len()).unwrap_or(u32::MAX);
            conn.queue.push_back(slice);
            conn.stops.behind = true;
        }
        self.line_up(place);
    }

    /// Has a signalling stream stand in the rotation, if something of it waits and it is not paused.
    pub(super) fn line_up(&mut self, place: Place) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(place) else {
            return;
        };
        if conn.queue.is_empty() || conn.stops.paused || conn.waiting {
            return;
        }
        conn.waiting = true;
        conn.credit = credit(conn.credit, now);
        if conn.credit.0 > 0 {
            self.fresh.push_back(place);
        } else {
            self.talkers.push_back(place);
        }
    }

    /// Whether signalling waits.
    pub(super) fn has_unheard(&self) -> bool {
        !(self.unheard.is_empty() && self.fresh.is_empty() && self.talkers.is_empty())
    }

    /// Hands over signalling, as long as [`SHARE`] lasts: a datagram, a piece of a stream that says little, one of the others,
    /// and so on; the next turn goes on where this one stopped.
    pub(super) fn hear<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        if !self.has_unheard() {
            return Ok(());
        }
        let share = Share::begin(self);
        while self.has_unheard() {
            let lane = self.lane;
            self.lane = lane.next();
            match lane {
                Lane::Datagrams => {
                    let Some(it) = self.unheard.pop_front() else {
                        continue;
                    };
                    world.datagram(self.now, it.socket, it.from, it.payload);
                }
                Lane::Fresh => {
                    let Some(place) = self.fresh.pop_front() else {
                        continue;
                    };
                    self.hear_piece(world, place)?;
                }
                Lane::Talkers => {
                    let Some(place) = self.talkers.pop_front() else {
                        continue;
                    };
                    self.hear_piece(world, place)?;
                }
            }
            if share.is_over(self) {
                break;
            }
        }
        self.counters.unheard += u64::from(self.has_unheard());
        self.copy_unheard();
        Ok(())
    }

    fn hear_piece<W: World>(&mut self, world: &mut W, place: Place) -> io::Result<()> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(place) else {
            return Ok(());
        };
        conn.waiting = false;
        if conn.stops.paused {
            return Ok(());
        }
        let Some(front) = conn.queue.front_mut() else {
            return Ok(());
        };
        let n = front.len().min(PIECE);
        let said = u32::try_from(n).unwrap_or(u32::MAX);
        conn.credit.0 = conn.credit.0.saturating_sub(said);
        let piece = front.part(0, n);
        if n == front.len() {
            conn.queue.pop_front();
        } else {
            *front = front.part(n, front.len());
        }
        conn.queued -= said;
        let id = conn.id;
        world.received(now, id, piece);
        let Some(conn) = self.conns.get_mut(place) else {
            return Ok(());
        };
        if !conn.queue.is_empty() {
            self.line_up(place);
            return Ok(());
        }
        conn.stops.behind = false;
        let end = conn.end;
        self.list(place);
        match end {
            Some(end) => self.peer_ended(world, place, end),
            None => Ok(()),
        }
    }

    /// What still waits is copied out of receive memory: signalling that waits must not hold up what does not.
    fn copy_unheard(&mut self) {
        for place in self.fresh.iter().chain(&self.talkers) {
            if let Some(conn) = self.conns.get_mut(*place) {
                conn.copy_queue();
            }
        }
    }

    /// Reads letters of other shards, as long as a share lasts. Whether some still wait.
    pub(super) fn read_letters<W: World>(&mut self, world: &mut W) -> bool {
        let share = Share::begin(self);
        while world.mail(self.now) {
            if share.is_over(self) {
                self.counters.unread += 1;
                return true;
            }
        }
        false
    }
}
