//! SDP handling at an intermediate node: offers and answers of each leg, made from those of the other (cpm-notes.md §1).
//!
//! The law: transport is the leg's own (origin, address, port, path, setup, CEMA), the rest is copied byte by byte, in its
//! order; a media line is never added and never left out. Descriptions are kept as bytes and viewed when they are needed.

mod compare;
mod explain;
mod fit;
mod peer;
mod write;

use std::{borrow::Cow, net::SocketAddr, rc::Rc};

use memchr::memmem;

pub(super) use compare::{Change, change};
pub(super) use explain::warning;
pub(super) use fit::fitted;
pub(super) use peer::{Matched, needs_plain_offer, peer};
use write::Section;

use super::kept::{Kept, Shapes};
use crate::{
    msrp::{LegOffer, SessionIdText},
    policy::Policy,
    wire::sdp::{AddressMatch, Media, Session, Setup, match_address},
};

/// The media type of a description.
pub(super) const SDP: &str = "application/sdp";

/// What an offer is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Whether we offer and accept CEMA.
    pub(super) cema: bool,
    /// Whether a peer whose addresses differ without CEMA is matched by session-id.
    pub(super) legacy: bool,
    /// Our `a=max-size`.
    pub(super) max_size: u64,
    /// Where we listen.
    pub(super) addr: SocketAddr,
}

/// Our half of a leg's descriptions: what stays the same from one to the next.
#[derive(Clone, Debug)]
pub(super) struct Own {
    /// The identifier of o=, the same for the whole leg [MSRP-SDP-04].
    id: u64,
    /// Its version: grows by one whenever what we say changes.
    version: u64,
    /// Our MSRP URI; the data plane holds it too.
    uri: Rc<[u8]>,
    /// What we said last.
    last: Option<Kept>,
}

/// Why an offer or an answer cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is no SDP, or there is none.
    NotSdp,
    /// It has no MSRP line over TCP that is not refused.
    NoMsrp,
    /// The MSRP line has no path that could be one, or no accept-types (RFC 4975 §8.2, §8.6).
    Incomplete,
    /// Its `c=` and `m=` are not those of its path, and it has no `a=msrp-cema`: a middlebox in between does not speak MSRP
    /// (RFC 6714 §4.3) [CEMA-05].
    Middlebox,
    /// The operator does not allow a kind of media in it [TERM-INV-06].
    Forbidden,
    /// The lines of an answer are not those of its offer, and nobody can tell which belongs to which (settled.md 33).
    Lines,
}

impl Unusable {
    /// For people.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::NotSdp => "no session description",
            Self::NoMsrp => "no MSRP media over TCP",
            Self::Incomplete => "MSRP media without path or accept-types",
            Self::Middlebox => "address differs from path without CEMA",
            Self::Forbidden => "media not allowed",
            Self::Lines => "media lines of the answer are not those of the offer",
        }
    }
}

/// The place of the media line that carries the session: the first MSRP line over TCP that is not refused. Further ones are
/// refused: a CPM session has one.
pub(super) fn msrp_at(session: &Session<'_>) -> Result<usize, Unusable> {
    let at = session
        .media()
        .position(|m| m.is_msrp() && !m.is_tls() && m.port != 0)
        .ok_or(Unusable::NoMsrp)?;
    let media = session.media().nth(at).ok_or(Unusable::NoMsrp)?;
    // The hop that we connect to; what is between relays and their client is theirs (RFC 4976 §5) [MSRP-RELAY-01].
    let path_reads = media
        .path()
        .is_some_and(|path| path.len() <= PATH_BYTES_MAX)
        && media
            .path_uris()
            .is_some_and(|mut uris| uris.all(|uri| uri.is_ok()))
        && media.next_hop().is_some_and(|hop| !hop.secure);
    let serves = path_reads && media.accept_types().is_some();
    serves.then_some(at).ok_or(Unusable::Incomplete)
}

/// The longest path: it stands in each head that goes to its leg. A relay's URI has some 100 bytes, and few clients are behind
/// more than two.
const PATH_BYTES_MAX: usize = 2048;

/// Judges an offer [TERM-INV-06].
pub(super) fn check_offer(offer: &[u8], terms: Terms, policy: &Policy) -> Result<(), Unusable> {
    let session = Session::parse(offer).map_err(|_| Unusable::NotSdp)?;
    if !session.media().all(|m| policy.allows_media(m.kind)) {
        return Err(Unusable::Forbidden);
    }
    let at = msrp_at(&session)?;
    let media = session.media().nth(at).ok_or(Unusable::NoMsrp)?;
    if !media.cema() && !terms.legacy && moved(&media) {
        return Err(Unusable::Middlebox);
    }
    Ok(())
}

/// Whether `c=` and `m=` are surely not the address of the path. Port 9 is no address [COMEDIA-04]; a name that nobody has
/// resolved proves nothing.
fn moved(media: &Media<'_>) -> bool {
    if media.port == DISCARD {
        return false;
    }
    match_address(media) == AddressMatch::Different
}

/// The port that an active end writes: nothing listens there (RFC 4145 §4.1).
const DISCARD: u16 = 9;

impl Own {
    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.uri.len() + self.last.as_ref().map_or(0, Kept::bytes)
    }

    /// A leg's half before anything was said. `id`: chance.
    /// `host`: our name, or the address that peers reach us by, where that is not where we listen.
    pub(super) fn new(
        id: u64,
        host: Option<&str>,
        addr: SocketAddr,
        session_id: SessionIdText,
    ) -> Self {
        let authority = host.map_or_else(
            || addr.to_string(),
            |host| format!("{host}:{}", addr.port()),
        );
        Self {
            // Some peers read it as a signed 64-bit number.
            id: id >> 1,
            version: 0,
            uri: format!("msrp://{authority}/{session_id};tcp")
                .into_bytes()
                .into(),
            last: None,
        }
    }

    /// The host of our MSRP URI, as c= and o= have it: without brackets.
    fn host(&self) -> &[u8] {
        let from = memmem::find(&self.uri, b"://").map_or(0, |at| at + 3);
        let rest = self.uri.get(from..).unwrap_or_default();
        let end = match rest.first() {
            Some(b'[') => rest.iter().position(|b| *b == b']'),
            Some(_) | None => rest.iter().position(|b| *b == b':'),
        };
        let host = rest.get(..end.unwrap_or(0)).unwrap_or_default();
        host.strip_prefix(b"[").unwrap_or(host)
    }

    /// What we said last.
    pub(super) fn last(&self) -> Option<Cow<'_, [u8]>> {
        self.last.as_ref().map(|last| last.text_with(&self.uri))
    }

    /// Keeps that as small as it goes.
    pub(super) fn rest(&mut self, shapes: &mut Shapes) {
        if let Some(last) = &mut self.last {
            last.rest_ours(shapes, &self.uri);
        }
    }

    /// An offer to this leg with what `from` (an offer of another leg, or an answer that we said on this one) says.
    /// `cema`: whether it has `a=msrp-cema`. Offers are `actpass` [COMEDIA-02].
    pub(super) fn offer(
        &mut self,
        from: &[u8],
        cema: bool,
        terms: Terms,
    ) -> Result<Vec<u8>, Unusable> {
        let session = Session::parse(from).map_err(|_| Unusable::NotSdp)?;
        let at = msrp_at(&session)?;
        let section = |(place, media)| {
            let media: Media<'_> = media;
            if place == at {
                Section::Ours {
                    line: media,
                    content: media,
                    setup: Setup::ActPass,
                    cema,
                    direction: media.direction(),
                }
            } else if media.is_msrp() {
                Section::Refused(media)
            } else {
                Section::Through(media)
            }
        };
        let sections: Vec<_> = session.media().enumerate().map(section).collect();
        Ok(self.say(&session, &sections, terms))
    }

    /// An answer to `offer`, which came on this leg, with what `from` (the answer of another leg, or what we said on this one
    /// before) says.
    pub(super) fn answer(
        &mut self,
        offer: &[u8],
        from: &[u8],
        terms: Terms,
    ) -> Result<Vec<u8>, Unusable> {
        let offered = Session::parse(offer).map_err(|_| Unusable::NotSdp)?;
        let session = Session::parse(from).map_err(|_| Unusable::NotSdp)?;
        let at = msrp_at(&offered)?;
        // Line for line: what does not fit is refused.
        let sections = offered.media().enumerate().map(|(place, line)| {
            let content = session
                .media()
                .nth(place)
                .filter(|c| c.port != 0 && line.port != 0);
            match content {
                Some(content) if place == at && content.is_msrp() => Section::Ours {
                    line,
                    content,
                    setup: answer_setup(line.setup()),
                    cema: terms.cema && answers_cema(&line),
                    direction: meet(line.direction().reversed(), content.direction()),
                },
                Some(content) if !line.is_msrp() && !content.is_msrp() => Section::Through(content),
                Some(_) | None => Section::Refused(line),
            }
        });
        let sections: Vec<_> = sections.collect();
        Ok(self.say(&session, &sections, terms))
    }

    /// Our half for the data plane: what the description that we said last accepts.
    pub(super) fn leg_offer(&self) -> LegOffer {
        let last = self.last();
        let said = last.as_deref().and_then(|last| Session::parse(last).ok());
        let media = said.as_ref().and_then(ours);
        let list = |value: Option<&[u8]>| value.unwrap_or_default().to_vec();
        LegOffer {
            own_uri: Rc::clone(&self.uri),
            accept_types: list(media.and_then(|m| m.accept_types()).map(|l| l.0)),
            accept_wrapped_types: list(media.and_then(|m| m.accept_wrapped_types()).map(|l| l.0)),
        }
    }

    /// Writes a description. If it says what the last one said, it has the same o= line too [MSRP-SDP-02].
    fn say(&mut self, content: &Session<'_>, sections: &[Section<'_>], terms: Terms) -> Vec<u8> {
        let mut said = write::description(self, content, sections, terms);
        if self.last().is_some_and(|last| *last != said) {
            self.version += 1;
            said = write::description(self, content, sections, terms);
        }
        self.last = Some(said.clone().into());
        said
    }
}

/// Our MSRP section in a description that we wrote.
fn ours<'a>(said: &Session<'a>) -> Option<Media<'a>> {
    said.media().find(|m| m.is_msrp() && m.port != 0)
}

/// RFC 6135 §4.2.2, RFC 4145 §4.1: we can be reached, so we are passive wherever the offer leaves it to us [COMEDIA-03]
/// [COMEDIA-06].
const fn answer_setup(offered: Option<Setup>) -> Setup {
    match offered {
        Some(Setup::Passive) => Setup::Active,
        Some(Setup::Active | Setup::ActPass) | None => Setup::Passive,
    }
}

/// RFC 6714 §4.3: not where the offerer is behind a relay and connects itself [CEMA-02].
fn answers_cema(offer: &Media<'_>) -> bool {
    let relayed = offer.path_uris().is_some_and(|uris| uris.count() > 1);
    offer.cema() && !(relayed && matches!(offer.setup(), None | Some(Setup::Active)))
}

/// What both directions have in common.
const fn meet(
    a: crate::wire::sdp::Direction,
    b: crate::wire::sdp::Direction,
) -> crate::wire::sdp::Direction {
    use crate::wire::sdp::Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    match (a, b) {
        (SendRecv, other) | (other, SendRecv) => other,
        (SendOnly, SendOnly) => SendOnly,
        (RecvOnly, RecvOnly) => RecvOnly,
        (SendOnly, RecvOnly) | (RecvOnly, SendOnly) | (Inactive, _) | (_, Inactive) => Inactive,
    }
}

/// What a user agent can do, as another may see it: no place to reach it at (RFC 3264 §9). `None` if it is no description.
pub(super) fn capabilities(from: &[u8], own: &Own, terms: Terms) -> Option<Vec<u8>> {
    let session = Session::parse(from).ok()?;
    let sections: Vec<_> = session.media().map(Section::Able).collect();
    Some(write::description(own, &session, &sections, terms))
}
