//! A re-INVITE or UPDATE before the INVITE has its final response.
//!
//! The law: only a refresh is served, on its leg alone; what has an offer crosses the INVITE's own.

use super::{
    headers,
    state::{DeviceState, Originator, Session},
    turn::{self, Turn},
};
use crate::{
    ids::{LegId, ServerTxnId},
    sip::glare::{Conflict, Pending},
    wire::sip::{Message, Method},
};

impl Session {
    /// A re-INVITE or UPDATE in an early dialog. Only a refresh can be served: our INVITE's offer, or theirs, has no answer yet
    /// (RFC 3261 §14.2, RFC 3311 §5.2) [SIP-DLG-03] [SIP-DLG-08].
    pub(super) fn on_early_change(
        &mut self,
        turn: &mut Turn,
        leg: LegId,
        txn: ServerTxnId,
        request: &Message<'_>,
    ) {
        let theirs = leg == LegId::ORIGINATOR;
        let pending = Pending {
            our_invite: !theirs,
            our_offer: !theirs && !self.late_offer,
            their_invite: theirs,
            their_offer: theirs && !self.late_offer,
            ..Pending::default()
        };
        let served = if request.method() == Some(Method::Invite) {
            pending.their_reinvite(&mut turn.rng)
        } else {
            // An offer where there was none before would be another negotiation than the INVITE's: not now either.
            let has_offer = !request.body().is_empty();
            pending
                .their_update(has_offer, &mut turn.rng)
                .and(if has_offer {
                    Err(Conflict::crossing())
                } else {
                    Ok(())
                })
        };
        if let Err(conflict) = served {
            refuse_conflict(turn, txn, conflict);
            return;
        }
        let contact = match &self.up {
            Originator::Inviting(waiting) if theirs => Some(waiting.usage.contact.text().to_vec()),
            Originator::Inviting(_)
            | Originator::Up(_)
            | Originator::Parting(..)
            | Originator::Leaving(_)
            | Originator::Gone => match self.device(leg).map(|d| &d.state) {
                Some(
                    DeviceState::Inviting(invitation) | DeviceState::Cancelling(invitation, ..),
                ) => Some(invitation.contact.clone()),
                Some(DeviceState::Accepted(_) | DeviceState::Ending(_) | DeviceState::Ended)
                | None => None,
            },
        };
        // Our leg is over, and theirs not yet.
        let (Some(contact), Some(dialog)) = (contact, self.dialog_of(leg, request)) else {
            turn.respond_code(txn, 481);
            return;
        };
        if let Err(why) = dialog.could_follow(request) {
            let (code, text) = why.warning();
            turn.respond_with(txn, 400, turn.warn(code, text));
            return;
        }
        dialog.refresh_target(request);
        let mut headers = Vec::new();
        headers::put(&mut headers, b"Contact", &contact);
        headers.extend_from_slice(&turn::abilities(None));
        turn.respond_with(txn, 200, headers);
    }
}

/// A request that crosses another: 491, or 500 with Retry-After.
pub(super) fn refuse_conflict(turn: &mut Turn, txn: ServerTxnId, conflict: Conflict) {
    let mut headers = Vec::new();
    if let Some(after) = conflict.retry_after_s {
        headers::put(&mut headers, b"Retry-After", after.to_string().as_bytes());
    }
    turn.respond_with(txn, conflict.code, headers);
}
