//! What a message carries, learned from its first bytes; and the bytes that are kept of it.

use super::{accept, core::Core, fan::Chunk, link::Frame, message::Progress, slab::Handle};
use crate::{
    buf::{Outbox, Slice},
    ids::{LegId, SessionId},
    time::Instant,
    wire::{
        cpim::{self, Verdict},
        msrp::media_type,
    },
};

/// Messages are kept up to this size while they are passed on (settled.md R2).
const KEEP_MAX: usize = 64 * 1024;

impl Core {
    /// Keeps body bytes for as long as we answer for them (settled.md R2).
    pub(super) fn keep(&mut self, now: Instant, message: Handle, position: u64, piece: &Slice) {
        let max = self.settings.kept_bytes_max;
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        if !m.keeping {
            return;
        }
        let before = m.kept.bytes();
        if self.kept_bytes + piece.len() > max {
            self.drop_kept(message);
            return;
        }
        m.kept.add(position, piece.clone());
        self.kept_bytes = self.kept_bytes + m.kept.bytes() - before;
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
        let mut kind = cpim::classify_type(&m.content_type);
        if kind == Verdict::NeedMore {
            // Inside CPIM: from the first bytes of the message. In one piece they are looked at where they lie.
            let mut prefix = std::mem::take(&mut self.prefix);
            let first: &[u8] = match &frame.parts[..] {
                [only] if frame.start == 1 => only,
                _ => {
                    m.kept.prefix(&mut prefix, cpim::HEADERS_MAX);
                    &prefix
                }
            };
            let complete = ended || m.kept.bytes() >= cpim::HEADERS_MAX;
            kind = cpim::classify(first, complete);
            if kind != Verdict::NeedMore
                && let Some(inner) = cpim::wrapped_type(first)
            {
                m.type_key.extend_from_slice(media_type(inner));
            }
            self.prefix = prefix;
        }
        if kind == Verdict::NeedMore {
            // What waits for it must be kept.
            return if m.keeping { Ok(()) } else { Err(408) };
        }
        m.kind = Some(kind);
        let (session, from) = (m.session, m.from);
        self.check_source(message, session, from, kind)?;
        if matches!(kind, Verdict::Chat | Verdict::IsComposing) {
            self.activity(now, session, from, outbox);
        }
        self.choose(now, message)?;
        self.keep_small(message);
        Ok(())
    }

    /// Whether a leg may send what it sends.
    fn check_source(
        &self,
        message: Handle,
        session: SessionId,
        from: LegId,
        kind: Verdict,
    ) -> Result<(), u16> {
        let (Some(m), Some(l)) = (self.messages.get(message), self.leg(session, from)) else {
            return Err(481);
        };
        let inner = m.type_key.splitn(2, |&b| b == 0).nth(1).unwrap_or_default();
        if !accept::wrapped(inner, &l.offer.accept_types, &l.offer.accept_wrapped_types) {
            return Err(415);
        }
        // RFC 4975 §8.9: direction rules regular messages, not notifications. [MSRP-SDP-03]
        if kind == Verdict::Chat && !l.direction().peer_sends {
            return Err(403);
        }
        Ok(())
    }

    /// Puts out the chunks that waited for the type of their message. [CPIM-05]
    pub(super) fn flush_pending(&mut self, now: Instant, message: Handle, outbox: &mut Outbox) {
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        if m.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut m.pending);
        for p in &pending {
            let Some(m) = self.messages.get(message) else {
                return;
            };
            let mut parts = Vec::new();
            m.kept.each(p.start, p.end, |s| parts.push(s));
            let chunk = Chunk {
                start: p.start,
                len: p.end - p.start,
                declared: p.declared,
                rest: &p.rest,
                flag: p.flag,
                avoid: &[],
            };
            self.forward(now, message, &chunk, &parts, outbox);
        }
    }
}
