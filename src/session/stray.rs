//! A 2xx that nobody waits for: of a second dialog of one INVITE, or of a session that is over (RFC 3261 §13.2.2.4).

use super::{function, headers, turn::Turn};
use crate::{
    sip::{Dialog, Draft, Flow, TxnRef},
    wire::sip::{Message, Method, Name},
};

/// ACK, then BYE, that once. Made of the response alone, for its INVITE may be forgotten. The ACK, to be kept.
pub(super) fn end_stray(
    turn: &mut Turn,
    of: TxnRef,
    flow: Flow,
    response: &Message<'_>,
) -> Option<Vec<u8>> {
    let (mut dialog, ack) = acknowledge(turn, of, flow, response)?;
    if !turn.is_new_stray(dialog.remote_tag(), of) {
        return Some(ack);
    }
    let headers = format!(
        "Supported: timer\r\nUser-Agent: {}\r\n",
        turn.settings.product
    );
    let (message, target) = dialog.bodiless(Method::Bye, headers.as_bytes());
    // Of no leg: the leg's own requests may have the same number.
    let of = TxnRef {
        leg: function::STRAY,
        cseq: dialog.local_cseq(),
        ..of
    };
    turn.request(Draft {
        of,
        target,
        key: 0,
        message,
    });
    turn.counters.strays += 1;
    Some(ack)
}

/// The ACK alone: what a 2xx to a re-INVITE gets when its dialog is over, for that has had its BYE.
pub(super) fn acknowledge(
    turn: &mut Turn,
    of: TxnRef,
    flow: Flow,
    response: &Message<'_>,
) -> Option<(Dialog, Vec<u8>)> {
    let mut invite = b"INVITE sip:invalid SIP/2.0\r\n".to_vec();
    for (name, value) in response.named() {
        if matches!(name, Name::From | Name::To | Name::CallId | Name::CSeq) {
            headers::put(&mut invite, name.as_bytes(), value);
        }
    }
    invite.extend_from_slice(b"\r\n");
    let invite = Message::parse(&invite).ok()?;
    let dialog = Dialog::uac(&invite, response, flow)?.with_stranger(turn.is_stranger(flow));
    let (ack, target) = dialog.ack(of.cseq);
    turn.send(target, ack.clone());
    Some((dialog, ack))
}
