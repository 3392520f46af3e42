//! Why a leg or a session is in its state, and other decisions: values that cost nothing until somebody reads them.

use std::{fmt, net::SocketAddr, rc::Rc};

use crate::{
    ids::{LegId, SessionId},
    sip::NoWay,
    wire::sip::reason_phrase,
};

/// Why a leg or a session is in its state, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// That it takes part says all.
    #[default]
    Nothing,
    /// In words, of the leg itself.
    Words(&'static str),
    /// What another leg did, or what befell it.
    Of(LegId, &'static str),
    /// A device answered this.
    Status(u16),
    /// A device answered this, and may still take part.
    Said(u16),
    /// No device takes the session; this is what its originator is told.
    Nobody(u16),
    /// It accepted, and we connect to this address; `None`: to a name that is not resolved.
    Connects(Option<Box<SocketAddr>>),
}

// One stands in each leg.
const _: () = assert!(size_of::<Why>() <= 24);

impl From<&'static str> for Why {
    fn from(words: &'static str) -> Self {
        Self::Words(words)
    }
}

impl Why {
    /// Whether nothing is said.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// The same, said of `leg` where another leg or the session is meant.
    #[must_use]
    pub fn of(self, leg: LegId) -> Self {
        match self {
            Self::Words(words) => Self::Of(leg, words),
            Self::Nothing
            | Self::Of(..)
            | Self::Status(_)
            | Self::Said(_)
            | Self::Nobody(_)
            | Self::Connects(_) => self,
        }
    }

    /// The same, said of `leg` itself: who is meant is left out where that is it.
    #[must_use]
    pub fn seen_from(&self, leg: LegId) -> Self {
        match self {
            Self::Of(of, words) if *of == leg => Self::Words(words),
            Self::Nothing
            | Self::Words(_)
            | Self::Of(..)
            | Self::Status(_)
            | Self::Said(_)
            | Self::Nobody(_)
            | Self::Connects(_) => self.clone(),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Words(words) => f.write_str(words),
            Self::Of(LegId::ORIGINATOR, words) => write!(f, "the originator: {words}"),
            Self::Of(leg, words) => write!(f, "device {}: {words}", leg.0),
            Self::Status(code) => write!(f, "{code} {}", reason_phrase(*code)),
            Self::Said(code) => write!(f, "it said {code}"),
            Self::Nobody(code) => {
                write!(f, "no device takes it: {code} {}", reason_phrase(*code))
            }
            Self::Connects(Some(to)) => write!(f, "accepted; we connect to {to}"),
            Self::Connects(None) => {
                f.write_str("accepted; we should connect, but its address is a name")
            }
        }
    }
}

/// Why a contact is not invited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It has no feature tag at all.
    Untagged,
    /// It does not offer the service of the session.
    Service,
    /// The caller rejects what it is.
    Rejected,
    /// It is not what the caller requires.
    Required,
    /// The caller prefers nothing, and it does not take the method.
    Method,
    /// Another contact of the same device is invited.
    SameDevice,
    /// The session has as many devices as it may, or its caller wants no fork.
    Surplus,
    /// It names no place that we can send to.
    NoWay(NoWay),
}

impl Unfit {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Untagged => "contact without any feature tag",
            Self::Service => "contact without the session's feature tag",
            Self::Rejected => "contact that the caller rejects",
            Self::Required => "contact without what the caller requires",
            Self::Method => "contact that does not take the method",
            Self::SameDevice => "another contact of the same device is invited",
            Self::Surplus => "the session has no place for a further device",
            Self::NoWay(NoWay::Scheme) => "contact or Path that is no SIP URI",
            Self::NoWay(NoWay::Secure) => "contact or Path for TLS, which we have not",
            Self::NoWay(NoWay::Transport) => "contact or Path of a transport that we have not",
            Self::NoWay(NoWay::Name) => "contact or Path with a name: only addresses are reached",
        }
    }
}

/// A decision, for the log.
#[derive(Clone, Debug)]
pub struct Note {
    /// The session; `None`: none came of it.
    pub session: Option<SessionId>,
    /// What was decided.
    pub what: Decision,
}

/// What was decided.
#[derive(Clone, Debug)]
pub enum Decision {
    /// A session has begun; so many devices are invited.
    Begun {
        /// How many.
        devices: usize,
    },
    /// A contact of the user is not invited.
    Unfit {
        /// Its Contact.
        contact: Rc<[u8]>,
        /// Why.
        why: Unfit,
    },
    /// What a leg is, or has become.
    Leg {
        /// Which.
        leg: LegId,
        /// Why.
        why: Why,
    },
}
