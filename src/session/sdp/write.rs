//! Writing a description of ours: own transport, everything else copied.

use super::{DISCARD, Own, Terms};
use crate::wire::sdp::{Direction, Media, Origin, Session, Setup, Writer};

/// A media line of ours, in the place of the one that it is made from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Section<'a> {
    /// The MSRP line that carries the session.
    Ours {
        /// Whose place and m= line it has.
        line: Media<'a>,
        /// Whose attributes it has.
        content: Media<'a>,
        /// Who connects.
        setup: Setup,
        /// Whether it has `a=msrp-cema`: our own support, never the other leg's [CEMA-07].
        cema: bool,
        /// Its direction.
        direction: Direction,
    },
    /// Media that we do not carry: as it came.
    Through(Media<'a>),
    /// Port 0 [MSRP-SDP-01].
    Refused(Media<'a>),
}

/// Attributes that each leg has of its own, or that say what is not true behind us (cpm-notes.md §1): `connection` is never
/// sent [COMEDIA-05], nor are ICE and TLS parameters of somebody else's transport.
pub(super) const OWN: [&str; 17] = [
    "path",
    "setup",
    "connection",
    "fingerprint",
    "tls-id",
    "msrp-cema",
    "max-size",
    "maxsize",
    "candidate",
    "remote-candidates",
    "end-of-candidates",
    "ice-ufrag",
    "ice-pwd",
    "ice-lite",
    "ice-mismatch",
    "ice-options",
    "ice-pacing",
];

/// The direction attributes: written anew where an answer narrows them.
pub(super) const DIRECTIONS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];

/// Writes it.
pub(super) fn description(
    own: &Own,
    content: &Session<'_>,
    sections: &[Section<'_>],
    terms: Terms,
) -> Vec<u8> {
    let address = terms.addr.ip().to_string();
    let mut out = Vec::with_capacity(1024);
    let mut w = Writer::new(&mut out);
    w.origin(&Origin {
        username: b"-",
        session_id: own.id.to_string().as_bytes(),
        version: own.version.to_string().as_bytes(),
        nettype: b"IN",
        addrtype: if terms.addr.is_ipv6() { b"IP6" } else { b"IP4" },
        address: address.as_bytes(),
    });
    w.line(b's', content.name);
    w.copy(content.lines(), |l| {
        matches!(l.kind, b'i' | b'u' | b'e' | b'p')
    });
    w.connection(address.as_bytes());
    w.copy(content.lines(), |l| l.kind == b'b');
    if content.lines().any(|l| l.kind == b't') {
        w.copy(content.lines(), |l| matches!(l.kind, b't' | b'r' | b'z'));
    } else {
        w.time();
    }
    w.copy(content.lines(), |l| match l.attribute() {
        Some((name, _)) => !is_one_of(name, &OWN),
        None => false,
    });
    for section in sections {
        write_section(&mut w, own, content, *section, terms);
    }
    out
}

fn write_section(
    w: &mut Writer<'_>,
    own: &Own,
    session: &Session<'_>,
    section: Section<'_>,
    terms: Terms,
) {
    match section {
        Section::Refused(line) => {
            w.media(line.kind, 0, line.proto, line.formats);
        }
        Section::Through(media) => {
            for line in media.lines() {
                w.line(line.kind, line.value);
                let inherits = line.kind == b'm' && media.lines().all(|l| l.kind != b'c');
                // The session-level address is ours now, so the line carries the one that it relied on.
                if inherits && let Some(c) = session.lines().find(|l| l.kind == b'c') {
                    w.line(b'c', c.value);
                }
            }
        }
        Section::Ours {
            line,
            content,
            setup,
            cema,
            direction,
        } => {
            // RFC 4145 §4.1: the active end has no port to say [COMEDIA-04].
            let port = if setup == Setup::Active {
                DISCARD
            } else {
                terms.addr.port()
            };
            w.media(line.kind, port, line.proto, line.formats);
            let stated = DIRECTIONS
                .iter()
                .any(|d| content.attribute_or_session(d).is_some());
            w.copy(content.lines(), |l| match l.attribute() {
                Some((name, _)) => !is_one_of(name, &OWN) && !is_one_of(name, &DIRECTIONS),
                None => !matches!(l.kind, b'm' | b'c' | b'k'),
            });
            if stated || direction != Direction::SendRecv {
                w.flag(direction.as_str());
            }
            w.max_size(
                content
                    .max_size()
                    .map_or(terms.max_size, |m| m.min(terms.max_size)),
            );
            w.attribute("path", &own.uri);
            w.setup(setup);
            if cema {
                w.flag("msrp-cema");
            }
        }
    }
}

pub(super) fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|n| n.as_bytes() == name)
}
