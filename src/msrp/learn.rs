//! What a message carries, learned from its first bytes; and the bytes that are kept of it.

use super::{
    accept, core::Core, fan::Chunk, leg::REMEMBERED, link::Frame, message::Progress, slab::Handle,
};
use crate::{
    buf::{Outbox, Slice},
    time::Instant,
    wire::{
        cpim::{self, Verdict},
        msrp::{ByteRange, media_type},
    },
};

/// Messages are kept up to this size while they are passed on (settled.md R2).
const KEEP_MAX: usize = 64 * 1024;

impl Core {
    /// Keeps body bytes for as long as we answer for them (settled.md R2).
    pub(super) fn keep(&mut self, now: Instant, message: Handle, position: u64, piece: &Slice) {
        let Some(m) = self.messages.get_mut(message).filter(|m| m.keeping) else {
            return;
        };
        let session = m.session;
        if !self.may_take(session, piece.len()) {
            self.drop_kept(message);
            return;
        }
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        let before = m.kept.bytes();
        m.kept.add(position, piece.clone());
        self.kept_bytes = self.kept_bytes + m.kept.bytes() - before;
        self.weigh(message);
        self.mark_young(now, message);
        self.keep_small(message);
    }

    /// With a leg that is sending it, only a small message is kept; with none, it is spooled whole (settled.md R2).
    fn keep_small(&mut self, message: Handle) {
        let large = self.messages.get(message).is_some_and(|m| {
            m.kept.bytes() > KEEP_MAX
                && m.shares
                    .iter()
                    .any(|s| s.begun || s.progress == Progress::Sending)
        });
        if large {
            self.drop_kept(message);
        }
    }

    /// Learns what a message carries, as soon as its bytes tell; then activity takes effect, and its legs are chosen.
    ///
    /// # Errors
    /// The code to refuse it with.
    pub(super) fn learn_kind(
        &mut self,
        now: Instant,
        frame: &Frame,
        ended: bool,
        outbox: &mut Outbox,
    ) -> Result<(), u16> {
        let message = frame.message;
        let Some(m) = self.messages.get_mut(message) else {
            return Err(481);
        };
        if m.kind.is_some() {
            return Ok(());
        }
        let (session, from) = (m.session, m.from);
        let mut prefix = std::mem::take(&mut self.prefix);
        // From the first bytes of the message. In one piece they are looked at where they lie.
        let first: &[u8] = match &frame.parts[..] {
            [only] if frame.start == 1 => only,
            _ => {
                m.kept.prefix(&mut prefix, cpim::HEADERS_MAX);
                &prefix
            }
        };
        let complete = ended || first.len() >= cpim::HEADERS_MAX;
        // A header tells once its line has ended: bytes that end none are not looked at again and again.
        let before = m.looked.min(first.len());
        let new = &first[before.saturating_sub(1)..];
        let tells = complete || before == 0 || new.contains(&b'\n');
        m.looked = first.len();
        let kind = if tells {
            self.kind_of(message, first, complete)
        } else {
            Ok(Verdict::NeedMore)
        };
        self.prefix = prefix;
        let kind = kind?;
        let Some(m) = self.messages.get_mut(message) else {
            return Err(481);
        };
        if kind == Verdict::NeedMore {
            // What waits for it must be kept.
            return if m.keeping { Ok(()) } else { Err(408) };
        }
        m.kind = Some(kind);
        // RFC 4975 §8.9: direction rules regular messages, not notifications. [MSRP-SDP-03]
        if kind == Verdict::Chat
            && self
                .leg(session, from)
                .is_none_or(|l| !l.direction().peer_sends)
        {
            return Err(403);
        }
        if matches!(kind, Verdict::Chat | Verdict::IsComposing) {
            self.activity(now, session, from, outbox);
        }
        self.choose(now, message)?;
        self.keep_small(message);
        Ok(())
    }

    /// What a message that begins with `first` carries, and whether its leg may send that. [`Verdict::NeedMore`]: `first`
    /// does not tell, and is not all.
    fn kind_of(&mut self, message: Handle, first: &[u8], complete: bool) -> Result<Verdict, u16> {
        let Self {
            sessions,
            messages,
            settings,
            ..
        } = self;
        let m = messages.get_mut(message).ok_or(481u16)?;
        let l = sessions
            .get_mut(m.session)
            .and_then(|s| s.leg_mut(m.from))
            .ok_or(481u16)?;
        if let Some(seen) = &l.seen
            && let Some(kind) = seen.kind_of(&m.own_types.content_type, first)
        {
            m.own_types.key.extend_from_slice(&seen.inner);
            return Ok(kind);
        }
        let mut kind = cpim::classify_type(&m.own_types.content_type);
        let wraps = kind == Verdict::NeedMore;
        let mut inner: &[u8] = &[];
        if wraps {
            kind = cpim::classify(first, complete);
            if kind == Verdict::NeedMore {
                return Ok(kind);
            }
            inner = cpim::wrapped_type(first).map_or(inner, media_type);
        }
        if !accept::wrapped(inner, &l.ours.accept, &l.ours.wrapped) {
            return Err(415);
        }
        let carried = if wraps {
            inner
        } else {
            media_type(&m.own_types.content_type)
        };
        // settled.md 40: a client says this by itself, to stay connected; nobody has written it.
        if matches!(kind, Verdict::Chat | Verdict::IsComposing)
            && accept::listed(&settings.not_activity, carried)
        {
            kind = Verdict::Other;
        }
        m.own_types.key.extend_from_slice(inner);
        let mime = if wraps {
            cpim::mime_block(first)
        } else {
            Some(&[][..])
        };
        let mime = mime.filter(|mime| m.own_types.content_type.len() + mime.len() <= REMEMBERED);
        if let Some(mime) = mime {
            let seen = l.seen.get_or_insert_default();
            seen.kind = Some(kind);
            for (to, from) in [
                (&mut seen.content_type, &m.own_types.content_type[..]),
                (&mut seen.mime, mime),
                (&mut seen.inner, inner),
            ] {
                to.clear();
                to.extend_from_slice(from);
            }
        }
        Ok(kind)
    }

    /// Puts out the chunks that waited for the type of their message. [CPIM-05]
    pub(super) fn flush_pending(&mut self, now: Instant, message: Handle, outbox: &mut Outbox) {
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        let Some(pending) = m.pending.take() else {
            return;
        };
        let ended = std::mem::take(&mut m.pending_end);
        let last = m.total.filter(|_| ended);
        // One head for all of them: they are of one message, and Byte-Range is written anew.
        let Some(rest) = m.rest.clone() else { return };
        // A `$` without a byte says how long the message is, where its last byte has not come.
        let empty = last
            .filter(|&last| !pending.each().any(|(_, end)| end == last + 1))
            .map(|last| (last + 1, last + 1));
        for (start, end) in pending.each().chain(empty) {
            let Some(m) = self.messages.get(message) else {
                return;
            };
            let mut parts = Vec::new();
            m.kept.each(start, end, |s| parts.push(s));
            let chunk = Chunk {
                start,
                len: end - start,
                declared: Some(ByteRange {
                    start,
                    end: Some(0),
                    total: m.total,
                }),
                rest: &rest,
                flag: if last == Some(end - 1) { b'$' } else { b'+' },
                avoid: &[],
            };
            self.forward(now, message, &chunk, &parts, outbox);
        }
    }
}
