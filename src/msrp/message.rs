//! A message under way: what has come of it, and how far each leg that it goes to has it.

use std::rc::Rc;

use arrayvec::ArrayVec;

use super::{
    kept::{Kept, PIECES_STAY},
    ranges::{Ranges, Received},
    slab::{Handle, Hook, Reset},
    unanswered::SENT_BYTES,
};
use crate::{
    buf::{Answer, Slice},
    ids::{ConnId, LegId, SessionId},
    time::Instant,
    wire::{
        cpim::Verdict,
        msrp::{ByteRange, FailureReport},
    },
};

/// What follows From-Path in a received head, up to and with the blank line, and where Byte-Range stands in it.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    pub(super) bytes: Slice,
    /// The whole line, its CRLF included; offsets into `bytes`.
    pub(super) range: Option<(usize, usize)>,
}

/// What a message under way takes beside its head, its body and its shares: its place, with the lists that stay with it.
pub(super) const MESSAGE_BYTES: usize = 1280;

/// What a share takes, with the SEND of a message that is put out in one.
pub(super) const SHARE_BYTES: usize = 64 + SENT_BYTES;

/// Places for shares that stay with the place of a message: as many devices as nearly all users have.
const SHARES_STAY: usize = 8;

/// Bytes of a list that stay with the place of a message.
const STAYS: usize = 96;

const _: () = assert!(size_of::<Message>() + 3 * STAYS + PIECES_STAY <= MESSAGE_BYTES);
const _: () = assert!(size_of::<Share>() + SENT_BYTES <= SHARE_BYTES);

/// How far a leg is with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The leg cannot take it yet: its connection is not up, or earlier messages wait. Sent from what is kept.
    Waiting,
    /// Chunks go out as they come.
    Sending,
    /// All of it is put out; responses are due.
    Sent,
    /// The leg has acknowledged all of it, or its socket took it where no response was asked for.
    Acked,
    /// It will not have it; the code is what a sender would be told. 0: torn down, which is nobody's failure.
    Failed(u16),
}

/// A message on one leg.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) leg: LegId,
    pub(super) progress: Progress,
    /// The SEND that is open on the leg, in the table of unanswered ones.
    pub(super) open: Handle,
    /// SENDs without a response yet.
    pub(super) outstanding: u32,
    /// Something of it was put out.
    pub(super) begun: bool,
    /// Where a waiting share goes on.
    pub(super) position: u64,
    /// What the outbox of its connection must have got rid of until its socket has taken all of it.
    pub(super) put: u64,
}

impl Share {
    /// Nothing of it is put out yet.
    pub(super) const fn new(leg: LegId, progress: Progress) -> Self {
        Self {
            leg,
            progress,
            open: Handle::NONE,
            outstanding: 0,
            begun: false,
            position: 1,
            put: 0,
        }
    }

    pub(super) fn is_final(&self) -> bool {
        match self.progress {
            Progress::Acked | Progress::Failed(_) => true,
            Progress::Waiting | Progress::Sending | Progress::Sent => false,
        }
    }
}

/// The response to the last chunk, held back until somebody answers for the message (settled.md R1).
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) conn: ConnId,
    pub(super) tid: ArrayVec<u8, 32>,
    /// The 200 to it, if that is ready made.
    pub(super) ok: Option<Rc<Answer>>,
}

impl Held {
    /// The response to the SEND `tid` that came on `conn`.
    pub(super) fn new(conn: ConnId, tid: &[u8]) -> Self {
        let mut held = Self {
            conn,
            tid: ArrayVec::new(),
            ok: None,
        };
        // At most 32 characters: [`crate::wire::msrp`] sees to it.
        let _ = held.tid.try_extend_from_slice(&tid[..tid.len().min(32)]);
        held
    }
}

/// What a message is of.
#[derive(Debug, Default)]
pub(super) struct Types {
    /// Value of Content-Type.
    pub(super) content_type: Vec<u8>,
    /// Media type, a NUL, and the wrapped type: what legs remember as accepted or not.
    pub(super) key: Vec<u8>,
}

/// A message of one leg, under way to others.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) session: SessionId,
    pub(super) from: LegId,
    pub(super) id: ArrayVec<u8, 32>,
    pub(super) success_report: bool,
    pub(super) failure_report: FailureReport,
    /// Bytes of the whole message, once known.
    pub(super) total: Option<u64>,
    pub(super) received: Received,
    /// What success REPORTs were passed on for.
    pub(super) reported: Ranges,
    /// The chunk with `$` has come: no further chunk begins behind it.
    pub(super) ended: bool,
    /// It has ended and all of its bytes have come.
    pub(super) complete: bool,
    /// What further chunks are answered, once nobody takes it.
    pub(super) refused: Option<u16>,
    /// A SEND of it was answered so.
    pub(super) told: bool,
    pub(super) kind: Option<Verdict>,
    /// What it is of, as it came; empty where it is as those before it.
    pub(super) own_types: Types,
    pub(super) types_before: Option<Rc<Types>>,
    pub(super) shares: Vec<Share>,
    /// The legs that it goes to are chosen.
    pub(super) chosen: bool,
    /// A leg has acknowledged all of it.
    pub(super) delivered: bool,
    /// The last chunk was answered 200.
    pub(super) accepted: bool,
    pub(super) held: Option<Held>,
    /// To-Path of the held response.
    pub(super) hop: Vec<u8>,
    pub(super) kept: Kept,
    pub(super) keeping: bool,
    /// The head of its first chunk.
    pub(super) rest: Option<Rest>,
    /// Chunks that wait until its content type is known [CPIM-05], joined; their bodies lie in the kept bytes. And whether
    /// the one with `$` is among them.
    pub(super) pending: Option<Box<Received>>,
    pub(super) pending_end: bool,
    /// Bytes that were looked at for its content type in vain.
    pub(super) looked: usize,
    /// What it takes of its session's share, its body included.
    pub(super) cost: usize,
    /// Position behind the last byte put out of the chunk that is being read.
    pub(super) forwarded: u64,
    pub(super) began: Instant,
    pub(super) touched: Instant,
    /// When it was put into the list of those whose slices are still pinned, and of those whose answer is held.
    pub(super) young_since: Instant,
    pub(super) held_since: Instant,
    pub(super) in_session: Hook,
    pub(super) in_young: Hook,
    pub(super) in_held: Hook,
}

impl Reset for Message {
    fn reset(&mut self) {
        self.id.clear();
        self.total = None;
        self.received.clear();
        self.reported.clear();
        self.ended = false;
        self.complete = false;
        self.refused = None;
        self.told = false;
        self.kind = None;
        clear(&mut self.own_types.content_type);
        clear(&mut self.own_types.key);
        self.types_before = None;
        if self.shares.capacity() > SHARES_STAY {
            self.shares = Vec::new();
        }
        self.shares.clear();
        self.chosen = false;
        self.delivered = false;
        self.accepted = false;
        self.held = None;
        clear(&mut self.hop);
        self.kept.clear();
        self.keeping = false;
        self.rest = None;
        if self.pending.is_some() {
            self.pending = None;
        }
        self.pending_end = false;
        self.looked = 0;
        self.cost = 0;
        self.forwarded = 0;
        self.in_session = Hook::default();
        self.in_young = Hook::default();
        self.in_held = Hook::default();
    }
}

/// Empties a list; its memory stays where it is little, for the next message in this place.
fn clear(list: &mut Vec<u8>) {
    if list.capacity() > STAYS {
        *list = Vec::new();
    }
    list.clear();
}

impl Message {
    /// What it takes of its session's share.
    pub(super) fn weight(&self) -> usize {
        let types = &self.own_types;
        let lists = self.hop.len() + types.content_type.len() + types.key.len();
        MESSAGE_BYTES
            + self.rest.as_ref().map_or(0, |rest| rest.bytes.len())
            + lists.saturating_sub(3 * STAYS)
            + self.shares.len() * SHARE_BYTES
            + self.received.weight()
            + self.pending.as_ref().map_or(0, |p| p.weight())
            + self.kept.weight()
    }

    pub(super) fn types(&self) -> &Types {
        self.types_before.as_deref().unwrap_or(&self.own_types)
    }

    pub(super) fn is_from_originator(&self) -> bool {
        self.from == LegId::ORIGINATOR
    }

    /// The code to tell once no leg has it and none will: what all of them said, else 408. `None`: some leg may still.
    pub(super) fn failure(&self) -> Option<u16> {
        let mut told: Option<u16> = None;
        for share in &self.shares {
            match share.progress {
                Progress::Failed(0) => {}
                Progress::Failed(code) => {
                    told = Some(match told {
                        None => code,
                        Some(other) if other == code => code,
                        Some(_) => 408,
                    });
                }
                Progress::Acked | Progress::Waiting | Progress::Sending | Progress::Sent => {
                    return None;
                }
            }
        }
        Some(told.unwrap_or(408))
    }

    pub(super) fn share_of(&mut self, leg: LegId) -> Option<&mut Share> {
        self.shares.iter_mut().find(|s| s.leg == leg)
    }

    /// The last byte that has come, as far as reports say it: `1-n/n`.
    pub(super) fn whole_range(&self) -> ByteRange {
        let last = self.received.end() - 1;
        ByteRange {
            start: 1,
            end: Some(last),
            total: self.total.or(self.complete.then_some(last)),
        }
    }
}

/// [`Message::in_session`].
pub(super) fn in_session(m: &mut Message) -> &mut Hook {
    &mut m.in_session
}

/// [`Message::in_young`].
pub(super) fn in_young(m: &mut Message) -> &mut Hook {
    &mut m.in_young
}

/// [`Message::in_held`].
pub(super) fn in_held(m: &mut Message) -> &mut Hook {
    &mut m.in_held
}
