//! Writing a description of ours: own transport, everything else copied.

use std::net::IpAddr;

use memchr::memmem;

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
    /// Port 0, and what its user agent can do.
    Able(Media<'a>),
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

/// The formats of an MSRP line of ours (RFC 4975 §8.1), whatever the peer wrote (settled.md 34) [MSRP-SDP-01].
const ANY: &[u8] = b"*";

/// Writes it.
pub(super) fn description(
    own: &Own,
    content: &Session<'_>,
    sections: &[Section<'_>],
    terms: Terms,
) -> Vec<u8> {
    // Equal in path, c= and m= (settled.md 6, RFC 4975 §8.1): with a name of ours all of them have it.
    let address = own.host();
    let addrtype: &[u8] = match std::str::from_utf8(address).map(str::parse) {
        Ok(Ok(IpAddr::V6(_))) => b"IP6",
        Ok(Ok(IpAddr::V4(_))) => b"IP4",
        Ok(Err(_)) | Err(_) if terms.addr.is_ipv6() => b"IP6",
        Ok(Err(_)) | Err(_) => b"IP4",
    };
    let mut out = Vec::with_capacity(1024);
    let mut w = Writer::new(&mut out);
    w.origin(&Origin {
        username: b"-",
        session_id: own.id.to_string().as_bytes(),
        version: own.version.to_string().as_bytes(),
        nettype: b"IN",
        addrtype,
        address,
    });
    w.line(b's', content.name);
    w.copy(content.lines(), |l| {
        matches!(l.kind, b'i' | b'u' | b'e' | b'p')
    });
    w.line(b'c', &[b"IN ", addrtype, b" ", address].concat());
    w.copy(content.lines(), |l| l.kind == b'b');
    if content.lines().any(|l| l.kind == b't') {
        w.copy(content.lines(), |l| matches!(l.kind, b't' | b'r' | b'z'));
    } else {
        w.time();
    }
    w.copy(content.lines(), |l| match l.attribute() {
        Some((name, _)) => !is_one_of(name, &OWN) && !names_msrp(l.value),
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
            let formats = if line.is_msrp() { ANY } else { line.formats };
            w.media(line.kind, 0, line.proto, formats);
        }
        Section::Able(media) => {
            w.media(media.kind, 0, media.proto, media.formats);
            w.copy(media.lines(), |l| match l.attribute() {
                Some((name, _)) => !is_one_of(name, &OWN),
                None => !matches!(l.kind, b'm' | b'c' | b'k'),
            });
        }
        Section::Through(media) => {
            for line in media.lines() {
                // Whoever writes it: an MSRP URI is a way of the leg's own (settled.md 32).
                if names_msrp(line.value) {
                    continue;
                }
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
            w.media(line.kind, port, line.proto, ANY);
            let stated = DIRECTIONS
                .iter()
                .any(|d| content.attribute_or_session(d).is_some());
            w.copy(content.lines(), |l| match l.attribute() {
                _ if names_msrp(l.value) => false,
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

/// Whether a value holds an MSRP URI: `path`, or the same in an attribute of another transport (RFC 8864).
fn names_msrp(value: &[u8]) -> bool {
    memmem::find_iter(value, b"://").any(|at| {
        let before = value.get(..at).unwrap_or_default();
        [&b"msrp"[..], b"msrps"].iter().any(|scheme| {
            let from = before.len().saturating_sub(scheme.len());
            before
                .get(from..)
                .is_some_and(|s| s.eq_ignore_ascii_case(scheme))
        })
    })
}

pub(super) fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|n| n.as_bytes() == name)
}
