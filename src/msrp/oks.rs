//! 200s as nearly all peers write them: our transaction id, our URI and the peer's path as we know them, no other header.
//!
//! They are the most frequent messages there are: half of all. So they are compared, not parsed, and those that come one behind
//! the other are taken in one run. Any other response is read the long way ([`super::answer`]).

use super::{
    code_place,
    core::Core,
    link::Link,
    session::Session,
    slab::{Handle, List, Slab},
    tid,
    unanswered::{SENT_BYTES, Sent, in_leg},
};
use crate::{
    buf::{Outbox, TID_LEN, Tid},
    ids::{ConnId, LegId, SessionId},
    time::Instant,
};

impl Core {
    /// Takes the 200s to SENDs of one leg that `bytes` begins with. Returns their length; 0: it begins with something else, or
    /// with one that is not whole.
    pub(super) fn plain_oks(
        &mut self,
        now: Instant,
        conn: ConnId,
        link: &Link,
        bytes: &[u8],
        outbox: &mut Outbox,
    ) -> usize {
        let Some((session, leg)) = self.whose_ok(link, bytes) else {
            return 0;
        };
        let Self {
            sessions,
            sent,
            answered,
            holders,
            ..
        } = self;
        let Some(Session { legs, holds, .. }) = sessions.get_mut(session).map(|s| &mut **s) else {
            return 0;
        };
        let Some(l) = (legs.get_mut(usize::from(leg.0)))
            .and_then(|l| l.as_deref_mut())
            .filter(|l| l.unanswered.len() > 0)
        else {
            return 0;
        };
        let stalled = l.stalled_since().is_some();
        let (ok, unanswered) = l.oks();
        let (mut at, mut count, mut counted) = (0, 0, 0);
        while let Some(tid) = ok_at(&bytes[at..], ok)
            && let Some((handle, message, share, own)) =
                answers(sent, unanswered, tid, (conn, session, leg))
        {
            unanswered.remove(sent, handle, in_leg);
            sent.release(handle);
            answered.extend(message.map(|m| (m, share)));
            at += ok_len(ok);
            count += 1;
            counted += usize::from(own);
        }
        if count == 0 {
            return 0;
        }
        if counted > 0 {
            holders.give(holds, counted * SENT_BYTES);
        }
        self.counters.responses_in[code_place(200)] += count;
        let mut answered = std::mem::take(&mut self.answered);
        for (message, share) in answered.drain(..) {
            self.acknowledged(now, message, usize::from(share), outbox);
        }
        self.answered = answered;
        if stalled {
            self.ease_stalled(now, session, leg, outbox);
        }
        at
    }

    /// Whose 200 it is that begins here, if it is one.
    fn whose_ok(&self, link: &Link, bytes: &[u8]) -> Option<(SessionId, LegId)> {
        // Nearly all connections carry one leg.
        if let [only] = link.bound[..] {
            return Some(only);
        }
        let tid = bytes.strip_prefix(START)?.first_chunk::<TID_LEN>()?;
        let (_, entry) = self.sent.find(tid::place(tid)?)?;
        Some((entry.session, entry.leg))
    }
}

/// The SEND of a leg that the 200 with `tid` answers, with its message and share, and whether it is counted by itself.
fn answers(
    sent: &Slab<Sent>,
    unanswered: &List,
    tid: &Tid,
    (conn, session, leg): (ConnId, SessionId, LegId),
) -> Option<(Handle, Option<Handle>, u16, bool)> {
    // Most peers answer in order.
    let (handle, entry) = match unanswered.first_of(sent) {
        Some((handle, first)) if first.tid == *tid => (handle, first),
        _ => sent
            .find(tid::place(tid)?)
            .filter(|(_, e)| e.tid == *tid && (e.session, e.leg) == (session, leg) && !e.open)?,
    };
    let counted = entry.counted;
    (entry.conn == conn).then_some((handle, entry.message, entry.share, counted))
}

const START: &[u8; 5] = b"MSRP ";
const END: &[u8; 3] = b"$\r\n";

/// Bytes of a 200 that has `ok` between its transaction ids.
fn ok_len(ok: &[u8]) -> usize {
    START.len() + TID_LEN + ok.len() + TID_LEN + END.len()
}

/// The transaction id of the 200 that `bytes` begins with, if it has `ok` between its two.
#[inline]
fn ok_at<'a>(bytes: &'a [u8], ok: &[u8]) -> Option<&'a Tid> {
    let (frame, _) = bytes.split_at_checked(ok_len(ok))?;
    let (start, rest) = frame.split_first_chunk()?;
    let (tid, rest) = rest.split_first_chunk::<TID_LEN>()?;
    let (rest, end) = rest.split_last_chunk()?;
    let (middle, again) = rest.split_last_chunk::<TID_LEN>()?;
    (start == START && again == tid && end == END && middle == ok).then_some(tid)
}
