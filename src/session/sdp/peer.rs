//! The peer's half of a leg, out of its description and ours: who connects, where to, how paths are matched.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{DISCARD, Own, Terms, moved, msrp_at, ours};
use crate::{
    msrp::{Direction, LegPeer, Matching, Role},
    wire::{
        sdp::{self, AddressMatch, Media, Session, Setup, match_address},
        uri::msrp::Host,
    },
};

/// How a peer's connection is matched with it, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::session) enum Matched {
    /// Not known yet.
    #[default]
    Unknown,
    /// By the whole path.
    Path,
    /// By the session-id, as both sides have CEMA.
    Cema,
    /// By the session-id, as legacy peers are.
    Legacy,
}

impl Matched {
    pub(in crate::session) const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Path => "path",
            Self::Cema => "session-id: CEMA",
            Self::Legacy => "session-id: legacy",
        }
    }
}

/// What the data plane needs to know of the peer, and how our connection with it is matched, for people. `theirs` is its
/// answer to our last description, or the offer that our last description answers; `we_offered` says which.
///
/// `None` if its description has no MSRP line that can be used in the place where ours is.
pub(in crate::session) fn peer(
    own: &Own,
    theirs: &[u8],
    we_offered: bool,
    terms: Terms,
) -> Option<(LegPeer, Matched)> {
    let said = own.last()?;
    let said = Session::parse(&said).ok()?;
    let theirs = Session::parse(theirs).ok()?;
    let (ours, theirs) = (ours(&said)?, theirs.media().nth(msrp_at(&theirs).ok()?)?);
    let role = role(&ours, &theirs, we_offered);
    let (matching, matched) = if ours.cema() && theirs.cema() {
        (Matching::SessionId, Matched::Cema)
    } else if terms.legacy {
        (Matching::SessionId, Matched::Legacy)
    } else {
        (Matching::Strict, Matched::Path)
    };
    let list = |list: Option<sdp::TypeList<'_>>| list.map(|l| l.0.to_vec()).unwrap_or_default();
    let peer = LegPeer {
        path: theirs.path()?.into(),
        role,
        connect_to: connect_to(&ours, &theirs, terms),
        matching,
        accept_types: list(theirs.accept_types()),
        accept_wrapped_types: list(theirs.accept_wrapped_types()),
        max_size: theirs.max_size(),
        direction: Direction {
            peer_sends: sends(theirs.direction()) && receives(ours.direction()),
            peer_receives: receives(theirs.direction()) && sends(ours.direction()),
        },
    };
    Some((peer, matched))
}

/// RFC 6135 §4.2: the answer decides; without a word of it RFC 4975 does, and the offerer connects [COMEDIA-06].
fn role(ours: &Media<'_>, theirs: &Media<'_>, we_offered: bool) -> Role {
    if we_offered {
        match theirs.setup() {
            Some(Setup::Active) => Role::Passive,
            Some(Setup::Passive | Setup::ActPass) | None => Role::Active,
        }
    } else {
        match ours.setup() {
            Some(Setup::Active) => Role::Active,
            Some(Setup::Passive | Setup::ActPass) | None => Role::Passive,
        }
    }
}

/// Where to connect. With CEMA on both sides `c=` and `m=` say it [CEMA-03], else the leftmost URI of the path
/// [MSRP-URI-05]; a path whose name says nothing yet leaves `c=` and `m=` where we offered CEMA (RFC 6714 §4.2) or match
/// legacy peers. Never port 9 [COMEDIA-04].
fn connect_to(ours: &Media<'_>, theirs: &Media<'_>, terms: Terms) -> Option<SocketAddr> {
    let by_lines = || {
        let host = theirs.connection()?.host()?;
        address(host, theirs.port)
    };
    let by_path = || {
        let hop = theirs.next_hop()?;
        address(hop.host, hop.port?)
    };
    // RFC 6714 §4.2: behind a relay, and no middlebox in between, RFC 4975 rules: the relay is the first hop [MSRP-RELAY-01].
    let relayed = theirs.path_uris().is_some_and(|uris| uris.count() > 1);
    let straight = relayed && match_address(theirs) == AddressMatch::Same;
    if ours.cema() && theirs.cema() && !straight {
        return by_lines().or_else(by_path);
    }
    by_path().or_else(|| (ours.cema() || terms.legacy).then(by_lines).flatten())
}

fn address(host: Host<'_>, port: u16) -> Option<SocketAddr> {
    let ip = match host {
        Host::Ip(ip) => ip,
        Host::Name(name) if name.eq_ignore_ascii_case(b"localhost") => {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        }
        Host::Name(_) => return None,
    };
    (port != DISCARD && port != 0).then_some(SocketAddr::new(ip, port))
}

/// RFC 6714 §4.2: our offer had CEMA, the answer has none, and a middlebox stands between: only a new offer without CEMA makes
/// it do its part [CEMA-04].
pub(in crate::session) fn needs_plain_offer(own: &Own, answer: &[u8]) -> bool {
    let needs = || {
        let said = own.last()?;
        let said = Session::parse(&said).ok()?;
        let theirs = Session::parse(answer).ok()?;
        let (ours, theirs) = (ours(&said)?, theirs.media().nth(msrp_at(&theirs).ok()?)?);
        let relayed = theirs.path_uris()?.count() > 1;
        let waits = role(&ours, &theirs, true) == Role::Passive;
        Some(ours.cema() && !theirs.cema() && moved(&theirs) && (waits || relayed))
    };
    needs().unwrap_or(false)
}

const fn sends(direction: sdp::Direction) -> bool {
    matches!(
        direction,
        sdp::Direction::SendRecv | sdp::Direction::SendOnly
    )
}

const fn receives(direction: sdp::Direction) -> bool {
    matches!(
        direction,
        sdp::Direction::SendRecv | sdp::Direction::RecvOnly
    )
}
