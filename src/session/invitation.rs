//! The INVITE of a device while it has no final response: its early dialogs, and the usage that its 2xx makes.

use super::{
    body,
    state::{Early, Invitation},
    usage::Usage,
};
use crate::{
    ids::LegId,
    sip::{
        Dialog, Flow,
        reliable::{Received, Verdict},
    },
    wire::sip::Message,
};

impl Invitation {
    /// A dialog with a device that has one way alone.
    fn pinned(&self, mut dialog: Dialog) -> Dialog {
        if self.pinned {
            dialog.pin();
        }
        dialog
    }

    /// The early dialog with this To-tag.
    pub(super) fn early(&mut self, tag: &[u8]) -> Option<&mut Early> {
        self.early.iter_mut().find(|e| e.dialog.remote_tag() == tag)
    }

    /// Keeps the early dialog that a provisional response makes; says what it is [SIP-DLG-04].
    /// Where `room` says that there is none for another dialog, nothing is kept of it.
    pub(super) fn on_early(
        &mut self,
        response: &Message<'_>,
        (flow, stranger): (Flow, bool),
        room: bool,
    ) -> Verdict {
        let Some(tag) = response.to().ok().and_then(|t| t.tag()) else {
            return Verdict::Unreliable;
        };
        if self.early(tag).is_none() && self.early.len() < EARLY_MAX && room {
            let invite = Message::parse(&self.message).ok();
            let dialog = invite.and_then(|invite| Dialog::uac(&invite, response, flow));
            let dialog = dialog.map(|dialog| self.pinned(dialog));
            self.early.extend(dialog.map(|dialog| Early {
                dialog: dialog.with_stranger(stranger),
                received: Received::default(),
                answer: None,
            }));
        }
        let Some(early) = self.early(tag) else {
            return Verdict::Unreliable;
        };
        let verdict = early.received.judge(response);
        if matches!(verdict, Verdict::Prack(_))
            && let Some(answer) = body::description(response)
        {
            early.answer = Some(answer.to_vec());
        }
        verdict
    }

    /// The answer that came before this 2xx, if one did.
    pub(super) fn early_answer(&self, response: &Message<'_>) -> Option<Vec<u8>> {
        let to = response.to().ok()?;
        let tag = to.tag()?;
        self.early
            .iter()
            .find(|e| e.dialog.remote_tag() == tag)?
            .answer
            .clone()
    }

    /// The usage that a 2xx makes: of its early dialog if there was one, whose CSeq goes on.
    pub(super) fn accept(
        mut self,
        name: (crate::ids::SessionId, LegId),
        response: &Message<'_>,
        (flow, stranger): (Flow, bool),
    ) -> Option<Usage> {
        let tag = response.to().ok()?.tag()?.to_vec();
        let at = self.early.iter().position(|e| e.dialog.remote_tag() == tag);
        let dialog = if let Some(at) = at {
            let mut dialog = self.early.swap_remove(at).dialog;
            dialog.confirm(Some(response));
            dialog
        } else {
            let invite = Message::parse(&self.message).ok()?;
            let dialog = Dialog::uac(&invite, response, flow)?;
            self.pinned(dialog).with_stranger(stranger)
        };
        let mut usage = Usage::new(name, dialog, self.contact, self.own, self.wish);
        usage.learn(response);
        Some(usage)
    }
}

/// Early dialogs of one INVITE at most; further ones wait for their 2xx.
const EARLY_MAX: usize = 8;
