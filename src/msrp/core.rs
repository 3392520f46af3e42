//! What the data plane holds but for its connections: sessions, messages, unanswered SENDs; and the helpers that all of its
//! procedures use.
//!
//! Connections stand beside it ([`super::plane`]), so that a connection can be read and the sessions be changed at once.
//! What a procedure wants of another connection is put off as [`Deferred`] and carried out before the call ends.

use std::{collections::VecDeque, hash::BuildHasher, net::SocketAddr};

use foldhash::fast::FixedState;
use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};
use slotmap::SecondaryMap;

use super::{
    Counters, Event, Failure, Output, Settings, code_place, failure_place,
    holders::Holders,
    leg::{Leg, owner},
    link::Frames,
    message::{Message, in_session, in_young},
    session::{Done, Session},
    set::LegSet,
    slab::{Handle, List, Slab},
    tid::{self, Tids},
    types::Known,
    unanswered::{Expects, SENT_BYTES, Sent, in_leg},
};
use crate::{
    buf::{Answer, NotNow, Outbox, Slice, Tid},
    ids::{ConnId, LegId, SessionId},
    time::Instant,
    timer::Timers,
    wire::msrp::{FailureReport, write},
};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Session(SessionId),
    Link(ConnId),
}

/// What is to be done to connections once the call at hand has done its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deferred {
    /// The leg no longer uses the connection; `close`: at once, if no other session does.
    Unbind {
        conn: ConnId,
        session: SessionId,
        leg: LegId,
        close: bool,
    },
    /// The connection cannot be written to any more.
    Broken { conn: ConnId },
    /// The session's leg is over its bounds: stop reading what feeds it, where that is allowed.
    Stall { session: SessionId, leg: LegId },
    /// It is below them again.
    Resume { session: SessionId },
    /// The session that stopped the reading of a connection is over.
    ResumeConn { conn: ConnId },
    /// Framing is lost, or a path: every leg of the connection fails.
    Malformed { conn: ConnId },
    /// The leg's connection could not be made: it is tried again.
    Connect {
        session: SessionId,
        leg: LegId,
        to: SocketAddr,
    },
    /// The leg's connection is up: what waits for it is sent.
    Flush { session: SessionId, leg: LegId },
    /// A message was refused whose rest is still to come on the connection.
    WatchRefused { conn: ConnId },
    /// A head has begun on the connection and has not ended.
    WatchHead { conn: ConnId },
    /// A frame of the connection goes out as it comes: if nothing more comes for a second, it is interrupted.
    WatchQuiet { conn: ConnId },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) rng: ChaCha12Rng,
    pub(super) tids: Tids,
    pub(super) sessions: SecondaryMap<SessionId, Box<Session>>,
    /// What both sides of the legs accept.
    pub(super) types: Known,
    pub(super) messages: Slab<Message>,
    pub(super) sent: Slab<Sent>,
    /// Messages whose slices may pin receive buffers, and messages whose answer is held, each in the order of their times.
    pub(super) young: List,
    pub(super) held: List,
    pub(super) timers: Timers<Due>,
    pub(super) events: VecDeque<Event>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) deferred: VecDeque<Deferred>,
    pub(super) counters: Counters,
    /// What sessions, users and sources hold of messages under way and unanswered SENDs.
    pub(super) holders: Holders,
    /// Body bytes that are kept.
    pub(super) kept_bytes: usize,
    /// Bytes that are put together here before they are queued.
    pub(super) scratch: Vec<u8>,
    pub(super) frames: Frames,
    pub(super) prefix: Vec<u8>,
    /// What a chunk puts on each leg, and the shares that go the long way: lists that are used again.
    pub(super) shared: Vec<Slice>,
    pub(super) others: Vec<usize>,
    /// SENDs that were answered in one run of 200s: the message of each, and the share.
    pub(super) answered: Vec<(Handle, u16)>,
    hash: FixedState,
}

impl Core {
    pub(super) fn new(settings: Settings, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let hash = FixedState::with_seed(rng.next_u64());
        let tids = Tids::new(ChaCha12Rng::from_rng(&mut rng));
        let holders = Holders::new(settings.kept_bytes_max, hash.hash_one("holders"));
        Self {
            settings,
            rng,
            tids,
            sessions: SecondaryMap::new(),
            types: Known::default(),
            messages: Slab::new(),
            sent: Slab::new(),
            young: List::default(),
            held: List::default(),
            timers: Timers::new(),
            events: VecDeque::new(),
            outputs: VecDeque::new(),
            deferred: VecDeque::new(),
            counters: Counters::default(),
            holders,
            kept_bytes: 0,
            scratch: Vec::with_capacity(1024),
            frames: Frames::default(),
            prefix: Vec::with_capacity(crate::wire::cpim::HEADERS_MAX),
            shared: Vec::new(),
            others: Vec::new(),
            answered: Vec::new(),
            hash,
        }
    }

    pub(super) fn hasher(&self) -> FixedState {
        self.hash.clone()
    }

    /// The hash by which a Message-ID is looked up.
    pub(super) fn id_hash(&self, id: &[u8]) -> u64 {
        self.hash.hash_one(id)
    }

    pub(super) fn leg(&self, session: SessionId, leg: LegId) -> Option<&Leg> {
        self.sessions.get(session)?.leg(leg)
    }

    pub(super) fn leg_mut(&mut self, session: SessionId, leg: LegId) -> Option<&mut Leg> {
        self.sessions.get_mut(session)?.leg_mut(leg)
    }

    /// Has the session's timer fire at `at` or before.
    pub(super) fn arm(&mut self, session: SessionId, at: Instant) {
        let Some(s) = self.sessions.get_mut(session) else {
            return;
        };
        if let Some((id, armed)) = s.timer {
            if armed <= at {
                return;
            }
            self.timers.cancel(id);
        }
        s.timer = Some((self.timers.insert(at, Due::Session(session)), at));
    }

    /// Puts bytes on a connection that are no frame with a body: a response, a REPORT, a bodiless SEND. A frame that is open
    /// there is interrupted first [MSRP-CHUNK-03].
    pub(super) fn put(&mut self, now: Instant, conn: ConnId, bytes: &[u8], outbox: &mut Outbox) {
        self.interrupt(now, conn, outbox);
        if outbox.whole(conn, bytes).is_err() {
            self.deferred.push_back(Deferred::Broken { conn });
        }
    }

    /// Puts a response on the connection that the request came on. [MSRP-RSP-01]
    #[expect(clippy::too_many_arguments, reason = "a response has as many parts")]
    pub(super) fn respond(
        &mut self,
        now: Instant,
        conn: ConnId,
        tid: &[u8],
        code: u16,
        to_path: &[u8],
        from_path: &[u8],
        outbox: &mut Outbox,
    ) {
        self.counters.responses_out[code_place(code)] += 1;
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        write::response(&mut bytes, tid, code, to_path, from_path);
        self.put(now, conn, &bytes, outbox);
        self.scratch = bytes;
    }

    /// As [`Core::respond`], from a ready-made 200.
    pub(super) fn reply(
        &mut self,
        now: Instant,
        conn: ConnId,
        tid: &[u8],
        code: u16,
        ok: &Answer,
        outbox: &mut Outbox,
    ) {
        self.counters.responses_out[code_place(code)] += 1;
        if code != 200 {
            let mut bytes = std::mem::take(&mut self.scratch);
            bytes.clear();
            write::response_like(&mut bytes, tid, code, ok.middle());
            self.put(now, conn, &bytes, outbox);
            self.scratch = bytes;
            return;
        }
        let mut put = outbox.answer(conn, ok, tid);
        if put == Err(NotNow::Open) {
            self.interrupt(now, conn, outbox);
            put = outbox.answer(conn, ok, tid);
        }
        if put == Err(NotNow::Full) {
            self.deferred.push_back(Deferred::Broken { conn });
        }
    }

    /// As [`Core::respond`], in the name of a leg.
    #[expect(clippy::too_many_arguments, reason = "a response has as many parts")]
    pub(super) fn respond_as(
        &mut self,
        now: Instant,
        conn: ConnId,
        tid: &[u8],
        code: u16,
        to_path: &[u8],
        (session, leg): (SessionId, LegId),
        outbox: &mut Outbox,
    ) {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        if let Some(l) = self.leg(session, leg) {
            write::response(&mut bytes, tid, code, to_path, &l.own_uri);
            self.counters.responses_out[code_place(code)] += 1;
            self.put(now, conn, &bytes, outbox);
        }
        self.scratch = bytes;
    }

    /// Takes a place for a SEND that is about to be put out; its transaction id says the place. [MSRP-FRAME-04]
    ///
    /// `avoid`: ids that stand in the body as if they ended it. [MSRP-FRAME-05]
    pub(super) fn new_sent(&mut self, avoid: &[(u64, Tid)]) -> (Handle, Tid) {
        let (handle, sent) = self.sent.take_mut();
        let tid = self.tids.make_beside(handle.place, &sent.tid, avoid);
        (handle, tid)
    }

    /// The SEND whose end-line was put out: from now on its response is awaited.
    pub(super) fn sent_ended(&mut self, now: Instant, handle: Handle, outbox: &Outbox) {
        let Some(sent) = self.sent.get_mut(handle) else {
            return;
        };
        sent.open = false;
        sent.at = now;
        sent.put = outbox.put(sent.conn);
        let (session, leg, expects) = (sent.session, sent.leg, sent.expects);
        match expects {
            Expects::Nothing => self.release_sent(session, handle),
            Expects::Response | Expects::Error => {
                let Self {
                    sessions,
                    sent,
                    deferred,
                    ..
                } = self;
                let Some(s) = sessions.get_mut(session) else {
                    return;
                };
                // settled.md R3: reading stops only while nothing of ours waits for answers there.
                if !s.paused.is_empty()
                    && let Some(conn) = s.leg(leg).and_then(|l| l.conn)
                    && let Some(at) = s.paused.iter().position(|&c| c == conn)
                {
                    s.paused.swap_remove(at);
                    deferred.push_back(Deferred::ResumeConn { conn });
                    // What it feeds is looked at anew: it is refused now.
                    let stalled = s
                        .all()
                        .filter(|l| l.stalled_since().is_some())
                        .map(|l| l.id);
                    deferred.extend(stalled.map(|leg| Deferred::Stall { session, leg }));
                }
                if let Some(l) = s.leg_mut(leg) {
                    l.unanswered.push(sent, handle, in_leg);
                }
                self.arm(session, now + super::due::RESPONSE);
            }
        }
    }

    /// Forgets a SEND: answered, or of no more interest.
    pub(super) fn drop_sent(&mut self, handle: Handle) {
        let Some(s) = self.sent.get(handle) else {
            return;
        };
        let (session, leg) = (s.session, s.leg);
        let Self { sessions, sent, .. } = self;
        if let Some(l) = sessions.get_mut(session).and_then(|s| s.leg_as_it_is(leg)) {
            l.unanswered.remove(sent, handle, in_leg);
        }
        self.release_sent(session, handle);
    }

    /// Gives the place of a SEND back, and what its session held for it.
    fn release_sent(&mut self, session: SessionId, handle: Handle) {
        if self.sent.get(handle).is_some_and(|sent| sent.counted) {
            self.give(session, SENT_BYTES);
        }
        self.sent.release(handle);
    }

    /// A session takes so many bytes.
    pub(super) fn take(&mut self, session: SessionId, bytes: usize) {
        if let Some(s) = self.sessions.get_mut(session) {
            self.holders.take(&mut s.holds, bytes);
        }
    }

    /// It gives them back.
    pub(super) fn give(&mut self, session: SessionId, bytes: usize) {
        if let Some(s) = self.sessions.get_mut(session) {
            self.holders.give(&mut s.holds, bytes);
        }
    }

    /// Whether a session may take so many more.
    pub(super) fn may_take(&self, session: SessionId, more: usize) -> bool {
        let s = self.sessions.get(session);
        s.is_some_and(|s| self.holders.allows(&s.holds, more))
    }

    /// What a message takes has changed: it is counted anew. False: more than its session may.
    pub(super) fn weigh(&mut self, message: Handle) -> bool {
        let Some(m) = self.messages.get_mut(message) else {
            return true;
        };
        let (session, after) = (m.session, m.weight());
        let before = std::mem::replace(&mut m.cost, after);
        if after <= before {
            self.give(session, before - after);
            return true;
        }
        let may = self.may_take(session, after - before);
        self.take(session, after - before);
        may
    }

    /// Forgets every SEND of a leg.
    pub(super) fn drop_all_sent(&mut self, session: SessionId, leg: LegId) {
        while let Some(first) = self
            .leg(session, leg)
            .and_then(|l| l.unanswered.first(&self.sent))
        {
            self.drop_sent(first);
        }
    }

    /// Ends the frame that is open on a connection with `+`; who writes it goes on under a new head. [MSRP-CHUNK-03]
    pub(super) fn interrupt(&mut self, now: Instant, conn: ConnId, outbox: &mut Outbox) {
        if let Some((_, tid)) = outbox.open(conn) {
            self.end_open(now, conn, &tid, b'+', outbox);
        }
    }

    /// Ends the open frame `tid` of a connection.
    pub(super) fn end_open(
        &mut self,
        now: Instant,
        conn: ConnId,
        tid: &Tid,
        flag: u8,
        outbox: &mut Outbox,
    ) {
        outbox.end(conn, flag);
        let Some(handle) = self.find_sent(tid) else {
            return;
        };
        if let Some(sent) = self.sent.get(handle)
            && let Some(message) = sent.message
            && let Some(m) = self.messages.get_mut(message)
            && let Some(share) = m.shares.get_mut(usize::from(sent.share))
        {
            share.open = Handle::NONE;
        }
        self.sent_ended(now, handle, outbox);
    }

    /// The SEND of ours that a transaction id names.
    pub(super) fn find_sent(&self, tid: &[u8]) -> Option<Handle> {
        let tid: &Tid = tid.try_into().ok()?;
        let handle = self.sent.at(tid::place(tid)?)?;
        (self.sent.get(handle)?.tid == *tid).then_some(handle)
    }

    /// The mark of a leg's frames, and the connection that it is bound to.
    pub(super) fn line_of(&self, session: SessionId, leg: LegId) -> Option<(ConnId, u64)> {
        let conn = self.leg(session, leg)?.conn?;
        Some((conn, owner(session, leg)))
    }

    /// Puts the message in the list of those whose slices may pin receive buffers.
    pub(super) fn mark_young(&mut self, now: Instant, message: Handle) {
        if let Some(m) = self.messages.get_mut(message)
            && !m.in_young.is_on()
        {
            m.young_since = now;
            self.young.push(&mut self.messages, message, in_young);
        }
    }

    /// Lets go of the body that is kept of a message.
    pub(super) fn drop_kept(&mut self, message: Handle) {
        if let Some(m) = self.messages.get_mut(message)
            && (m.keeping || m.kept.bytes() > 0)
        {
            let (session, weight) = (m.session, m.kept.weight());
            self.kept_bytes -= m.kept.bytes();
            m.cost -= weight;
            m.kept.clear();
            m.keeping = false;
            self.give(session, weight);
        }
    }

    /// The message is done: it is forgotten but for what late REPORTs need.
    pub(super) fn forget(&mut self, message: Handle) {
        let Some(m) = self.messages.get(message) else {
            return;
        };
        let (session, cost) = (m.session, m.cost);
        self.kept_bytes -= m.kept.bytes();
        let done = (m.chosen && m.refused.is_none()).then(|| {
            let mut acked = LegSet::default();
            for share in &m.shares {
                if share.progress == super::message::Progress::Acked {
                    acked.insert(share.leg);
                }
            }
            Done {
                id: self.id_hash(&m.id),
                from: m.from,
                success_report: m.success_report,
                failure_report: m.failure_report,
                total: m.received.end() - 1,
                acked,
                reported: (!m.reported.is_empty()).then(|| Box::new(m.reported.clone())),
            }
        });
        self.young.remove(&mut self.messages, message, in_young);
        self.held
            .remove(&mut self.messages, message, super::message::in_held);
        if let Some(s) = self.sessions.get_mut(session) {
            self.holders.give(&mut s.holds, cost);
            s.messages.remove(&mut self.messages, message, in_session);
            s.incomplete.retain(|(_, _, h)| *h != message);
            if let Some(done) = done
                && (done.success_report || done.failure_report != FailureReport::No)
            {
                s.remember(done);
            }
        }
        self.messages.release(message);
    }

    /// Counts and tells that a leg's media failed.
    pub(super) fn tell_failed(&mut self, session: SessionId, leg: LegId, why: Failure) {
        self.counters.legs_dropped[failure_place(why)] += 1;
        self.events.push_back(Event::Failed { session, leg, why });
    }
}
