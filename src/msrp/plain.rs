//! A message like the one before: in one SEND that is there as a whole, with the head, the types and the legs of the last.
//!
//! The long way ([`super::receive`], [`super::begin`], [`super::body`], [`super::choose`]) takes a message as it comes, in any
//! pieces, and asks everything anew. Nearly every message in a chat is short, comes at once and goes where the last one went:
//! then what was asked once holds as long as no leg changes ([`Plan`]), and the message is taken in one step. What it does on
//! the wire and in the tables is the same; what it cannot do the same, it leaves to the long way before anything has changed.

use std::rc::Rc;

use super::{
    Ack,
    choose::{is_across, progress_on},
    core::Core,
    fan::{Chunk, INTERRUPTIBLE},
    leg::State,
    link::{Link, Mode},
    message::{
        Held, MESSAGE_BYTES, Progress, Rest, SHARE_BYTES, Share, Types, in_held, in_session,
        in_young,
    },
    session::Session,
};
use crate::{
    buf::{Answer, Outbox, Slice},
    ids::{ConnId, LegId, SessionId},
    time::Instant,
    wire::{
        cpim::Verdict,
        msrp::{ByteRange, FailureReport, Head, Like, ends_at, write},
    },
};

/// Where the messages of one leg go, and what they carry. Made when one came that goes to all of its legs at once.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// No leg has changed since it was made.
    pub(super) stands: bool,
    from: LegId,
    conn: ConnId,
    kind: Option<Verdict>,
    types: Rc<Types>,
    /// A share for each leg that they go to, as it begins.
    shares: Vec<Share>,
    /// The largest message that all of them take.
    max: u64,
}

impl Core {
    /// Takes the message whose head lies at `at`, if it is like the one before. Returns where reading goes on; `None`: nothing
    /// was done.
    #[expect(clippy::too_many_arguments, reason = "a head and where it lies")]
    pub(super) fn plain(
        &mut self,
        now: Instant,
        conn: ConnId,
        link: &mut Link,
        head: &Like<'_>,
        bytes: &Slice,
        at: usize,
        outbox: &mut Outbox,
    ) -> Option<usize> {
        let size = whole_size(head)?;
        let (rest_at, body_at) = (at + head.rest(), at + head.len());
        let end_len = ends_at(&bytes[body_at..], size, head.tid)?;
        let body = &bytes[body_at..body_at + size];
        let (session, leg) = self.planned(conn, link, head, body)?;
        let ok = link.ok.clone()?;

        let Self {
            sessions,
            messages,
            settings,
            counters,
            holders,
            ..
        } = self;
        let s = sessions.get_mut(session)?;
        let wide = size as u64;
        let head_and_body = body_at + size - rest_at;
        let cost = MESSAGE_BYTES + head_and_body + s.plan.shares.len() * SHARE_BYTES;
        let may_begin = s.paused.is_empty()
            && s.incomplete.is_empty()
            && wide <= s.plan.max.min(settings.max_message_bytes);
        if !may_begin {
            return None;
        }
        let tight = holders.take_if_allowed(&mut s.holds, cost)?;

        let rest = Rest {
            bytes: bytes.part(rest_at, body_at),
            range: head.range_in_rest(),
        };
        let shared = bytes.part(rest_at, body_at + size);
        let (message, m) = messages.take_mut();
        (m.session, m.from) = (session, leg);
        // At most 32 characters: [`crate::wire::msrp`] sees to it.
        let _ = m.id.try_extend_from_slice(head.message_id());
        m.success_report = head.success_report;
        m.failure_report = FailureReport::Yes;
        m.types_before = Some(Rc::clone(&s.plan.types));
        m.kind = s.plan.kind;
        m.total = Some(wide);
        m.received.set_whole(wide + 1);
        m.ended = true;
        m.chosen = true;
        m.forwarded = 1 + wide;
        m.keeping = true;
        m.kept.add(1, bytes.part(body_at, body_at + size));
        m.rest = Some(rest.clone());
        m.cost = cost;
        (m.began, m.touched, m.young_since) = (now, now, now);
        m.shares.extend_from_slice(&s.plan.shares);

        counters.chunks_in += 1;
        counters.messages_in += 1;
        counters.messages_out += m.shares.len() as u64;
        self.kept_bytes += size;
        s.messages.push(messages, message, in_session);
        self.young.push(messages, message, in_young);

        let chunk = Chunk {
            start: 1,
            len: wide,
            declared: head.byte_range(),
            rest: &rest,
            flag: b'$',
            avoid: &[],
        };
        let mut others = std::mem::take(&mut self.others);
        let shared = [shared];
        let over = self.put_on_legs(
            now,
            message,
            &chunk,
            &shared,
            Some(wide),
            &mut others,
            outbox,
        );
        let over = over | tight;
        if over {
            let parts = [bytes.part(body_at, body_at + size)];
            self.put_on_others(now, message, &chunk, &parts, over, others, outbox);
        } else {
            self.others = others;
        }
        self.arm(session, now + super::due::PATIENCE);
        if !over {
            self.taken_whole(now, conn, message, head.tid, ok, outbox);
        } else {
            let mut taken = self.frames.take();
            let frame = &mut *taken;
            let hop = link.layout.as_ref().map(|l| l.head(head).previous_hop());
            frame.begin(head.tid, hop.unwrap_or_default(), Mode::Discard);
            (frame.session, frame.leg, frame.message) = (session, leg, message);
            self.completed(now, message, outbox);
            self.answer_last(now, conn, frame, outbox);
            self.frames.put_by(taken);
        }
        Some(body_at + size + end_len)
    }

    /// All of a message is there, and put out on each of its legs: its SEND is answered, now or once somebody has it
    /// (settled.md R1).
    fn taken_whole(
        &mut self,
        now: Instant,
        conn: ConnId,
        message: super::slab::Handle,
        tid: &[u8],
        ok: Rc<Answer>,
        outbox: &mut Outbox,
    ) {
        let Self {
            sessions, messages, ..
        } = self;
        let Some(m) = messages.get_mut(message) else {
            return;
        };
        m.complete = true;
        if let Some(l) = sessions
            .get_mut(m.session)
            .and_then(|s| s.leg_as_it_is(m.from))
        {
            l.from.count(m.received.end() - 1);
        }
        if m.from == LegId::ORIGINATOR && self.settings.ack == Ack::Held {
            let mut held = Held::new(conn, tid);
            held.ok = Some(ok);
            m.held = Some(held);
            m.held_since = now;
            self.held.push(messages, message, in_held);
        } else {
            m.accepted = true;
            self.reply(now, conn, tid, 200, &ok, outbox);
        }
    }

    /// Whose message it is, if the plan of its session holds for it: the one that stands, or one that is made now.
    fn planned(
        &mut self,
        conn: ConnId,
        link: &mut Link,
        like: &Like<'_>,
        body: &[u8],
    ) -> Option<(SessionId, LegId)> {
        if let Some((session, leg)) = link.sender
            && let Some(s) = self.sessions.get(session)
            && s.plan.stands
            && (s.plan.from, s.plan.conn) == (leg, conn)
        {
            let seen = s.leg(leg)?.seen.as_ref()?;
            let same = seen.holds_for(body) && seen.kind == s.plan.kind;
            return same.then_some((session, leg));
        }
        link.sender = None;
        let head = &link.layout.as_ref()?.head(like);
        let (session, leg) = self.sender_of(conn, link, head)?;
        self.make_plan(conn, session, leg, head, body)?;
        let own = &self.leg(session, leg)?.own_uri;
        link.sender = Some((session, leg));
        let middle = write::middle_of_ok(head.previous_hop(), own);
        link.ok = Some(Rc::new(Answer::new(&middle, head.tid.len())));
        Some((session, leg))
    }

    /// Plans where messages like this one go. `None`: not to all legs at once, or it may not be sent, or means more than itself.
    fn make_plan(
        &mut self,
        conn: ConnId,
        session: SessionId,
        from: LegId,
        head: &Head<'_>,
        body: &[u8],
    ) -> Option<()> {
        let s = self.sessions.get_mut(session)?;
        let Session { plan, legs, .. } = &mut **s;
        let own = legs.get(usize::from(from.0))?.as_deref()?;
        let seen = own.seen.as_ref()?;
        if own.restored
            || Some(&seen.content_type[..]) != head.content_type
            || !seen.holds_for(body)
        {
            return None;
        }
        let kind = seen.kind?;
        let speaks = own.direction().peer_sends || kind != Verdict::Chat;
        // The first activity of a device settles the session.
        let told = from == LegId::ORIGINATOR
            || own.active
            || !matches!(kind, Verdict::Chat | Verdict::IsComposing);
        if !speaks || !told || !matches!(own.state, State::Offered | State::Started) {
            return None;
        }
        plan.stands = false;
        let mut types = Types {
            content_type: seen.content_type.clone(),
            key: Vec::new(),
        };
        seen.put_key(&mut types.key);
        plan.shares.clear();
        plan.max = u64::MAX;
        for l in legs.iter_mut().filter_map(|l| l.as_deref_mut()) {
            if !is_across(from, l.id) {
                continue;
            }
            match progress_on(l, Some(kind), &types.key, None, false) {
                None => {}
                Some(Progress::Sending) => {
                    let max = l.peer.as_ref().and_then(|p| p.max_size);
                    plan.max = plan.max.min(max.unwrap_or(u64::MAX));
                    plan.shares.push(Share::new(l.id, Progress::Sending));
                }
                Some(_) => return None,
            }
        }
        (plan.from, plan.conn, plan.kind) = (from, conn, Some(kind));
        plan.types = Rc::new(types);
        plan.stands = !plan.shares.is_empty();
        plan.stands.then_some(())
    }
}

/// The size of a message that is in one SEND with nothing to be written anew, if the head says so.
fn whole_size(head: &Like<'_>) -> Option<usize> {
    let ByteRange {
        start: 1,
        end: Some(end),
        total: Some(total),
    } = head.byte_range()?
    else {
        return None;
    };
    let whole = end == total && (1..=INTERRUPTIBLE).contains(&end);
    let whole = whole && head.failure_report == FailureReport::Yes;
    usize::try_from(end).ok().filter(|_| whole)
}
