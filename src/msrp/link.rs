//! A connection: where the reading of its bytes stands, and which legs are bound to it.

use std::{net::SocketAddr, rc::Rc};

use arrayvec::ArrayVec;

use super::{message::Rest, slab::Handle};
use crate::{
    buf::{Answer, Slice, TID_LEN, Tid},
    ids::{LegId, SessionId, ShardId},
    time::Instant,
    timer::TimerId,
    wire::msrp::{ByteRange, EndScan, FailureReport, Layout},
};

/// Body bytes that wait for their end before a frame goes out in pieces (settled.md 10).
pub(super) const HOLD_MAX: usize = 8 * 1024;

/// Pieces that wait so; more are put together into one.
const PIECES_MAX: usize = 64;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// We open it.
    Connecting,
    /// It is up.
    Open,
    /// We have asked to close it; what still comes is not read.
    Closing,
    /// Another shard has it.
    HandedOver,
}

/// What becomes of the body that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing: it was refused, or is informational.
    Discard,
    /// It waits for its end, or for its content type.
    Hold,
    /// It is passed on as it comes.
    Through,
    /// It is another shard's.
    Foreign(ShardId),
}

/// The frame that is being read.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) tid: ArrayVec<u8, 32>,
    /// To-Path of the response.
    pub(super) hop: Vec<u8>,
    pub(super) failure_report: FailureReport,
    pub(super) mode: Mode,
    pub(super) session: SessionId,
    pub(super) leg: LegId,
    pub(super) message: Handle,
    pub(super) declared: Option<ByteRange>,
    /// Position of its first byte.
    pub(super) start: u64,
    /// Body bytes so far.
    pub(super) len: u64,
    pub(super) rest: Option<Rest>,
    /// Body bytes that wait.
    pub(super) parts: Vec<Slice>,
    pub(super) held: usize,
    pub(super) scan: EndScan,
    /// Places in the body where a transaction id of ours could be taken for the end: position in the body, id.
    pub(super) lookalikes: Vec<(u64, Tid)>,
    /// A message that was delivered before: answered, not passed on [MSRP-CONN-05].
    pub(super) again: bool,
    /// When it was answered an error, and the rest of it began to be read over.
    pub(super) refused_at: Option<Instant>,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            tid: ArrayVec::new(),
            hop: Vec::new(),
            failure_report: FailureReport::Yes,
            mode: Mode::Discard,
            session: SessionId::default(),
            leg: LegId::default(),
            message: Handle::NONE,
            declared: None,
            start: 1,
            len: 0,
            rest: None,
            parts: Vec::new(),
            held: 0,
            scan: EndScan::new(),
            lookalikes: Vec::new(),
            again: false,
            refused_at: None,
        }
    }
}

/// Frames that nobody reads into: a connection has one only while it is in the middle of a message with a body.
#[derive(Debug, Default)]
#[expect(
    clippy::vec_box,
    reason = "a frame moves between its link and here as a pointer"
)]
pub(super) struct Frames(Vec<Box<Frame>>);

/// As many connections may alternate between messages without an allocation.
const SPARE_MAX: usize = 1024;

impl Frames {
    pub(super) fn take(&mut self) -> Box<Frame> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes one back; nothing of what it held stays.
    pub(super) fn put_by(&mut self, mut frame: Box<Frame>) {
        if self.0.len() < SPARE_MAX {
            frame.clear();
            self.0.push(frame);
        }
    }
}

impl Frame {
    /// Makes ready for the next frame; nothing of the last one is held.
    pub(super) fn begin(&mut self, tid: &[u8], hop: &[u8], mode: Mode) {
        self.clear();
        // At most 32 characters: [`crate::wire::msrp`] sees to it.
        let _ = self.tid.try_extend_from_slice(&tid[..tid.len().min(32)]);
        self.hop.extend_from_slice(hop);
        self.mode = mode;
    }

    pub(super) fn clear(&mut self) {
        self.tid.clear();
        self.hop.clear();
        self.failure_report = FailureReport::Yes;
        self.mode = Mode::Discard;
        self.message = Handle::NONE;
        self.declared = None;
        self.start = 1;
        self.len = 0;
        self.rest = None;
        self.parts.clear();
        self.held = 0;
        self.scan = EndScan::new();
        self.lookalikes.clear();
        self.again = false;
        self.refused_at = None;
    }

    /// Remembers a look-alike long enough to be an id of ours.
    pub(super) fn look_alike(lookalikes: &mut Vec<(u64, Tid)>, at: u64, ident: &[u8]) {
        if let Some(tid) = ident.get(..TID_LEN).and_then(|i| Tid::try_from(i).ok()) {
            lookalikes.push((at, tid));
        }
    }

    /// Lets a piece of the body wait. Many small pieces are put together, so that a body that trickles in holds little.
    pub(super) fn hold(&mut self, piece: Slice) {
        self.held += piece.len();
        if let Some(last) = self.parts.last_mut()
            && last.join(&piece)
        {
            return;
        }
        if self.parts.len() == PIECES_MAX {
            self.join_parts();
        }
        self.parts.push(piece);
    }

    fn join_parts(&mut self) {
        let mut all = Vec::with_capacity(self.held);
        for part in &self.parts {
            all.extend_from_slice(part);
        }
        self.parts.clear();
        self.parts.push(Slice::copied(&all));
    }

    /// Copies what waits out of the receive buffers.
    pub(super) fn copy_out(&mut self) {
        if self.parts.iter().any(Slice::pinned) {
            self.join_parts();
        }
        self.copy_head_out();
    }

    /// Copies the head out of the receive buffer: the frame will last.
    pub(super) fn copy_head_out(&mut self) {
        if let Some(rest) = &mut self.rest
            && rest.bytes.pinned()
        {
            rest.bytes = Slice::copied(&rest.bytes);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) phase: Phase,
    /// Where we have connected to: it is used again for other sessions there [MSRP-CONN-01].
    pub(super) to: Option<Box<SocketAddr>>,
    /// The legs that are bound to it.
    pub(super) bound: Vec<(SessionId, LegId)>,
    /// The legs that wait for it to come up.
    pub(super) waiting: Box<[(SessionId, LegId)]>,
    /// It has named a session of this shard.
    pub(super) settled: bool,
    /// It carries sessions of other shards too, which say when they are done with it.
    pub(super) lent: bool,
    /// The leg that the last To-Path names, and that To-Path unless it is the very URI that we gave out for the leg.
    pub(super) memo: Vec<u8>,
    pub(super) memo_leg: Option<(SessionId, LegId)>,
    /// The head of the last SEND: the next is most often like it.
    pub(super) layout: Option<Box<Layout>>,
    /// Whose SENDs have that head, once all was looked at that speaks for or against them.
    pub(super) sender: Option<(SessionId, LegId)>,
    /// The 200 to them, ready made.
    pub(super) ok: Option<Rc<Answer>>,
    /// A head that has not ended, and how far it was searched.
    pub(super) head: Vec<u8>,
    /// At most [`crate::wire::msrp::HEAD_MAX`].
    pub(super) scanned: u16,
    /// When it began.
    pub(super) head_at: Instant,
    /// A body is being read.
    pub(super) in_body: bool,
    /// While one is being read; see [`Frames`].
    pub(super) frame: Option<Box<Frame>>,
    /// Since when no session uses it.
    pub(super) unused_since: Option<Instant>,
    pub(super) input_at: Instant,
    pub(super) timer: Option<(TimerId, Instant)>,
    pub(super) paused: bool,
}

/// What a link is of: thousands of them stand idle.
const _: () = assert!(size_of::<Link>() <= 192);

impl Link {
    pub(super) fn new(now: Instant, phase: Phase) -> Self {
        Self {
            phase,
            to: None,
            bound: Vec::new(),
            waiting: Box::default(),
            settled: false,
            lent: false,
            memo: Vec::new(),
            memo_leg: None,
            layout: None,
            sender: None,
            ok: None,
            head: Vec::new(),
            scanned: 0,
            head_at: now,
            in_body: false,
            frame: None,
            unused_since: Some(now),
            input_at: now,
            timer: None,
            paused: false,
        }
    }

    /// The next SEND is held against this one.
    pub(super) fn learn(&mut self, layout: Layout) {
        self.sender = None;
        match &mut self.layout {
            Some(known) => **known = layout,
            None => self.layout = Some(Box::new(layout)),
        }
    }

    /// A leg waits for it to come up.
    pub(super) fn wait(&mut self, session: SessionId, leg: LegId) {
        let mut waiting = std::mem::take(&mut self.waiting).into_vec();
        waiting.push((session, leg));
        self.waiting = waiting.into();
    }

    /// A leg is bound to it.
    pub(super) fn bind(&mut self, session: SessionId, leg: LegId) {
        if !self.bound.contains(&(session, leg)) {
            // One is what nearly all carry.
            self.bound.reserve_exact(1);
            self.bound.push((session, leg));
        }
        self.settled = true;
        self.unused_since = None;
    }
}
