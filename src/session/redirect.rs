//! A device that sends the call elsewhere, by 300 or 302 [TERM-RSP-13] (settled.md 34).
//!
//! The law: only when everybody else has refused; five times at most; never to where the call has been; and only to where the
//! device could have registered itself, its own address or our domains, unless the operator says otherwise.

use std::rc::Rc;

use super::{
    Why,
    fork::Common,
    state::{Invitation, Originator, Session},
    suitable::Candidate,
    turn::Turn,
};
use crate::{
    ids::LegId,
    sip::{Target, hop, route_key::address_of_record, token},
    wire::{
        sip::{Message, Name},
        uri::sip::Uri,
    },
};

/// How often in a session.
const FOLLOWED_MAX: u8 = 5;
/// The longest URI that is followed: as long as the Contact that a device may register.
const URI_BYTES_MAX: usize = 2048;
/// Contacts of one answer that are looked at.
const CONTACTS_MAX: usize = 16;

/// What devices have said of where the user is.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    /// Best first: by q, then as they came. As many as may be followed.
    waiting: Vec<Place>,
    followed: u8,
}

#[derive(Debug)]
struct Place {
    uri: Rc<[u8]>,
    q: u16,
    /// Where requests to it go, over which Route.
    target: Target,
    /// That is the only way.
    pinned: bool,
    path: Vec<Vec<u8>>,
    /// The leg that named it.
    from: LegId,
}

impl Session {
    /// A device has answered 300 or 302: keeps what may be followed.
    pub(super) fn on_redirect(
        &mut self,
        turn: &Turn,
        leg: LegId,
        invitation: &Invitation,
        response: &Message<'_>,
    ) {
        let Some(own) = self.device(leg).map(|d| Rc::clone(&d.uri)) else {
            return;
        };
        let Ok(invite) = Message::parse(&invitation.message) else {
            return;
        };
        let path: Vec<Vec<u8>> = invite.headers(Name::Route).map(<[u8]>::to_vec).collect();
        let mut found = Vec::new();
        for contact in response.contacts().take(CONTACTS_MAX).flatten() {
            let Some(address) = contact.address() else {
                continue;
            };
            let uri = without_headers(address.uri);
            if uri.len() > URI_BYTES_MAX || self.has_been_at(uri) {
                continue;
            }
            let Some(way) = self.way_to(turn, uri, &own, invitation.target) else {
                continue;
            };
            let (target, routed) = way;
            found.push(Place {
                uri: uri.into(),
                q: contact.q().unwrap_or(1000),
                target,
                pinned: routed && invitation.pinned,
                path: if routed { path.clone() } else { Vec::new() },
                from: leg,
            });
        }
        let Originator::Inviting(inviting) = &mut self.up else {
            return;
        };
        let waiting = &mut inviting.redirects.waiting;
        waiting.append(&mut found);
        waiting.sort_by_key(|place| std::cmp::Reverse(place.q));
        let mut kept: Vec<Place> = Vec::new();
        for place in waiting.drain(..) {
            let known = kept.iter().any(|k| same_place(&k.uri, &place.uri));
            if !known && kept.len() < FOLLOWED_MAX.into() {
                kept.push(place);
            }
        }
        *waiting = kept;
    }

    /// Everybody has refused: invites the next place that a device has named. `false`: there is none.
    pub(super) fn follow(&mut self, turn: &mut Turn) -> bool {
        let bytes = Rc::clone(&self.invite);
        let Ok(invite) = Message::parse(&bytes) else {
            return false;
        };
        while let Some((place, made)) = self.next_place() {
            if self.has_been_at(&place.uri) {
                continue;
            }
            let common = Common::of(turn, &invite, self.trusted, &made);
            let device = Candidate::named(place.uri, (place.target, place.pinned), place.path);
            if let Some(leg) = self.invite_device(turn, &invite, &common, device) {
                let session = self.id;
                if let Some(device) = self.device(leg) {
                    device.because(turn, session, Why::Of(place.from, "it sent the call here"));
                }
                return true;
            }
        }
        false
    }

    /// The next one to try, and the identifiers that all legs have.
    fn next_place(&mut self) -> Option<(Place, Vec<u8>)> {
        let Originator::Inviting(inviting) = &mut self.up else {
            return None;
        };
        let Redirects { waiting, followed } = &mut inviting.redirects;
        if waiting.is_empty() || *followed >= FOLLOWED_MAX {
            return None;
        }
        *followed += 1;
        Some((waiting.remove(0), inviting.made.clone()))
    }

    /// Whether the call was for it, or has been sent to it. Its transport and parameters say nothing: a loop may change them.
    fn has_been_at(&self, uri: &[u8]) -> bool {
        same_place(self.user.as_bytes(), uri)
            || address_of_record(uri).is_none_or(|aor| aor == self.aor)
            || self.devices.iter().any(|d| same_place(&d.uri, uri))
    }

    /// Where requests to `uri` go, and whether over the Route of the device `own`, which named it. `None`: nobody may go there, or
    /// can.
    fn way_to(
        &self,
        turn: &Turn,
        uri: &[u8],
        own: &[u8],
        target: Target,
    ) -> Option<(Target, bool)> {
        let there = Uri::parse(uri).ok()?;
        let clear = there.transport().is_none_or(|t| {
            [&b"udp"[..], b"tcp"]
                .iter()
                .any(|known| t.eq_ignore_ascii_case(known))
        });
        // What wants TLS is not sent in clear, and nobody says by maddr where else it should go.
        if there.secure || !clear || there.maddr().is_some() {
            return None;
        }
        let ip = target.ip();
        let same = Uri::parse(own).is_ok_and(|own| own.host == there.host);
        if same || there.host.ip() == Some(ip) {
            return match hop(uri) {
                // Another port of its own.
                Ok(hop) if hop.addr.ip() == ip => Some((hop.into(), false)),
                // Behind a NAT or an edge: the way that it registered by.
                Ok(_) | Err(_) => Some((target, true)),
            };
        }
        let host = there.host.to_string();
        let domains = &turn.settings.domains;
        if domains
            .iter()
            .any(|d| d.eq_ignore_ascii_case(host.trim_end_matches('.')))
        {
            // As a request of its own, that user's devices being known where he is served. One that has come so goes no further:
            // two users who name each other would never end.
            return (!self.came_from_us()).then_some((turn.ourselves()?, false));
        }
        let hop = hop(uri).ok().filter(|_| turn.settings.follow_any)?;
        Some((hop.into(), false))
    }

    /// Whether the INVITE is one of ours: its Contact names a leg.
    fn came_from_us(&self) -> bool {
        let named = || {
            let invite = Message::parse(&self.invite).ok()?;
            let contact = invite.contacts().next()?.ok()?;
            let uri = Uri::parse(contact.address()?.uri).ok()?;
            token::read(uri.user?)
        };
        named().is_some()
    }
}

/// Whether two URIs name one place.
fn same_place(a: &[u8], b: &[u8]) -> bool {
    let (Ok(a), Ok(b)) = (Uri::parse(a), Uri::parse(b)) else {
        return false;
    };
    a.user == b.user && a.host == b.host && a.port.unwrap_or(5060) == b.port.unwrap_or(5060)
}

/// Headers in a URI have no place in a Request-URI (RFC 3261 §19.1.5); what they ask for is not done.
fn without_headers(uri: &[u8]) -> &[u8] {
    // A user may hold a question mark.
    let host = uri.iter().rposition(|b| *b == b'@').unwrap_or(0);
    let end = uri.iter().skip(host).position(|b| *b == b'?');
    end.map_or(uri, |end| &uri[..host + end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_uri_stay_behind() {
        for (uri, bare) in [
            ("sip:a@h", "sip:a@h"),
            ("sip:a@h?Subject=x", "sip:a@h"),
            ("sip:a?b@h;x=y?Subject=x&To=y", "sip:a?b@h;x=y"),
            ("sip:h?x=y", "sip:h"),
            ("", ""),
        ] {
            assert_eq!(without_headers(uri.as_bytes()), bare.as_bytes());
        }
    }
}
