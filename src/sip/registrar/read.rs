//! What a REGISTER asks: read whole, and checked, before anything is changed.

use std::time::Duration;

use super::{Binding, Registrar, refuse};
use crate::{
    sip::Reply,
    wire::{
        sip::{Contact, Message, Name, NameAddr, unfold},
        uri,
    },
};

/// What a REGISTER asks of one contact.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) contact: &'a [u8],
    pub(super) params: Vec<u8>,
    pub(super) instance: Option<Vec<u8>>,
    pub(super) reg_id: Option<u32>,
    pub(super) outbound: bool,
    pub(super) q: u16,
    pub(super) expires: Duration,
    /// The binding that it is about: its place in the user's list.
    pub(super) known: Option<usize>,
}

impl Registrar {
    /// Reads and checks what is asked of each contact; nothing is changed yet.
    pub(super) fn read_changes<'a>(
        &self,
        aor: &[u8],
        request: &Message<'a>,
        contacts: &[Contact<'a>],
        order: Order<'_>,
    ) -> Result<Vec<Change<'a>>, Reply> {
        let bindings = self.users.get(aor).map_or(&[][..], Vec::as_slice);
        let edge = edge_of_flow(request);
        let mut changes = Vec::new();
        for contact in contacts {
            let Some(address) = contact.address() else {
                continue;
            };
            let seconds = contact
                .expires()
                .or_else(|| request.expires())
                .unwrap_or(crate::wire::sip::DELTA_DEFAULT);
            let expires = Duration::from_secs(u64::from(seconds));
            // RFC 3261 §10.3 point 7: an hour or more is never too brief.
            if !expires.is_zero()
                && expires < self.settings.min_expires.min(Duration::from_secs(3600))
            {
                let headers = format!("Min-Expires: {}\r\n", self.settings.min_expires.as_secs());
                return Err(Reply {
                    headers: headers.into_bytes(),
                    ..refuse(423)
                });
            }
            let instance = address
                .params
                .text(b"+sip.instance")
                .map(|i| i.into_owned())
                .filter(|i| !i.is_empty());
            let reg_id = address.params.number(b"reg-id");
            let known = bindings.iter().position(|b| {
                let same_device =
                    instance.is_some() && b.instance == instance && b.reg_id == reg_id;
                same_device || uri::compare::equal(&b.contact, address.uri)
            });
            if known.is_some_and(|at| is_late(&bindings[at], order)) {
                return Err(refuse(500));
            }
            changes.push(Change {
                contact: address.uri,
                // RFC 5626 §6: without an instance beside it, or behind an edge that knows nothing of flows, it says nothing.
                outbound: reg_id.is_some() && instance.is_some() && edge,
                params: params_without_expires(&address.params),
                instance,
                reg_id,
                q: contact.q().unwrap_or(1000),
                expires: expires.min(self.settings.max_expires),
                known,
            });
        }
        Ok(changes)
    }
}

/// What tells REGISTERs of one device apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order<'a> {
    pub(super) call_id: &'a [u8],
    pub(super) cseq: u32,
    /// Of the whole message.
    pub(super) print: u32,
}

/// RFC 3261 §10.3 points 6 and 7: of one Call-ID, a CSeq that is not higher is late. The very same REGISTER is not: where no
/// transaction was kept of it, its repeat comes here, and gets the same answer.
pub(super) fn is_late(binding: &Binding, order: Order<'_>) -> bool {
    let again = order.cseq == binding.cseq && order.print == binding.print;
    *binding.call_id == *order.call_id && order.cseq <= binding.cseq && !again
}

/// Whether the first hop keeps flows: we are it, or it is an edge that says so in its Path by `ob` (RFC 5626 §6). Of several
/// values the one that the edge wrote is the last, as RFC 3327 has it; RFC 5626 says the first.
fn edge_of_flow(request: &Message<'_>) -> bool {
    let paths: Vec<&[u8]> = request.values(Name::Path).collect();
    let [first, .., last] = paths.as_slice() else {
        return match paths.first() {
            Some(only) => has_ob(only),
            None => request.values(Name::Via).nth(1).is_none(),
        };
    };
    has_ob(first) || has_ob(last)
}

fn has_ob(path: &[u8]) -> bool {
    let uri = NameAddr::parse_route(path).ok().map(|p| p.uri);
    uri.and_then(|uri| uri::sip::Uri::parse(uri).ok())
        .is_some_and(|uri| uri.param(b"ob").is_some())
}

fn params_without_expires(params: &crate::wire::sip::Params<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for param in params.iter() {
        if param.name.eq_ignore_ascii_case(b"expires") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(param.name);
        if let Some(value) = param.value {
            out.push(b'=');
            out.extend_from_slice(&unfold(value));
        }
    }
    out
}
