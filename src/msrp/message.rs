//! A message under way: what has come of it, and how far each leg that it goes to has it.

use std::rc::Rc;

use arrayvec::ArrayVec;

use super::{
    kept::Kept,
    ranges::Ranges,
    slab::{Handle, Hook, Reset},
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

/// Chunks that wait so, of one message; a further one is refused with 413.
pub(super) const PENDING_MAX: usize = 64;

/// What a message under way takes beside its head and its body.
pub(super) const MESSAGE_BYTES: usize = 512;

/// A chunk that waits until the content type of its message is known [CPIM-05]; its body lies in the kept bytes.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) rest: Rest,
    pub(super) declared: Option<ByteRange>,
    pub(super) flag: u8,
}

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
    pub(super) received: Ranges,
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
    pub(super) pending: Vec<Pending>,
    /// What it takes beside its body: counted with what is kept.
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
        self.own_types.content_type.clear();
        self.own_types.key.clear();
        self.types_before = None;
        self.shares.clear();
        self.chosen = false;
        self.delivered = false;
        self.accepted = false;
        self.held = None;
        self.hop.clear();
        self.kept.clear();
        self.keeping = false;
        self.rest = None;
        self.pending.clear();
        self.cost = 0;
        self.forwarded = 0;
        self.in_session = Hook::default();
        self.in_young = Hook::default();
        self.in_held = Hook::default();
    }
}

impl Message {
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
