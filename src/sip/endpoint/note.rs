//! What is told of each final answer: to whom it was given, and why.

use std::{collections::VecDeque, net::SocketAddr};

use super::{Endpoint, way::Way};
use crate::{
    ids::SessionId,
    sip::{Note, token},
    wire::sip::{Message, Method, reason_phrase},
};

/// Notes that wait for somebody to read them; where nobody does, none is kept beyond.
const NOTES_MAX: usize = 1024;

impl Endpoint {
    /// The next answer that was given.
    pub fn poll_note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }
}

/// Notes a final answer of ours. `why` empty: its status says all.
pub(super) fn note(
    notes: &mut VecDeque<Note>,
    request: &Message<'_>,
    (code, tag, why): (u16, &[u8], &'static str),
    peer: SocketAddr,
) {
    if code < 200 || notes.len() >= NOTES_MAX {
        return;
    }
    let asked = request.to().ok().and_then(|to| token::read(to.tag()?));
    let about = asked
        .or_else(|| token::read(tag))
        .filter(|owned| owned.session != SessionId::default());
    let why = if why.is_empty() {
        reason_phrase(code)
    } else {
        why
    };
    notes.push_back(Note {
        about: about.map(|owned| (owned.session, owned.leg)),
        peer,
        method: request.method().map_or("", known),
        code,
        why,
    });
}

/// Where a response goes.
pub(super) const fn peer(way: Way) -> SocketAddr {
    match way {
        Way::Datagram { to, .. } | Way::Stream { to, .. } | Way::Opening { to } => to,
    }
}

/// The name of a method that we know.
const fn known(method: Method<'_>) -> &'static str {
    match method {
        Method::Invite => "INVITE",
        Method::Ack => "ACK",
        Method::Bye => "BYE",
        Method::Cancel => "CANCEL",
        Method::Options => "OPTIONS",
        Method::Register => "REGISTER",
        Method::Prack => "PRACK",
        Method::Update => "UPDATE",
        Method::Message => "MESSAGE",
        Method::Refer => "REFER",
        Method::Subscribe => "SUBSCRIBE",
        Method::Notify => "NOTIFY",
        Method::Info => "INFO",
        Method::Publish => "PUBLISH",
        Method::Other(_) => "other",
    }
}
