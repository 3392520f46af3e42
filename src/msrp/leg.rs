//! A leg: the MSRP session with one peer, as our SDP and its SDP say it.

use std::{
    cell::{Cell, OnceCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use super::{
    Direction, LegOffer, LegPeer, Matching, Role, accept,
    slab::List,
    types::{Known, Types},
};
use crate::{
    buf::Ready,
    ids::{ConnId, LegId, SessionId},
    time::Instant,
    wire::{
        cpim::{self, Verdict},
        msrp::{media_type, write},
        uri::msrp::{Uri, uris},
    },
};

/// Where a leg is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Our half is known: a connection may name it.
    Offered,
    /// Both halves are known: it takes part.
    Started,
    /// Its media failed; `Start` or `Update` brings it back.
    Failed,
    /// Torn down: what its peer had sent is still read, for 2 s at most (settled.md 12).
    Aborted,
    /// Over: requests get 481.
    Ended,
}

/// The longest From-Path that is noted beside the one that the peer's SDP says: room for ten relays.
const WAY_MAX: usize = 2048;

/// The longest text of a peer that is remembered to save work: thousands of legs may each remember some.
pub(super) const REMEMBERED: usize = 512;

/// Types that a peer has refused with 415 and that are not sent to it again [MSRP-RSP-06].
const REFUSED_MAX: usize = 8;

/// Whole messages that went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// How many.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl Passed {
    pub(super) fn count(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

/// What a message carried that this leg's offer allows: the next is most often of the same types.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Value of Content-Type.
    pub(super) content_type: Vec<u8>,
    /// Inside CPIM: the MIME headers of the content, with the empty line behind them.
    pub(super) mime: Vec<u8>,
    /// The media type of the content, without parameters.
    pub(super) inner: Vec<u8>,
    pub(super) kind: Option<Verdict>,
    /// Where the MIME headers began in the last one.
    mime_at: Cell<usize>,
}

impl Seen {
    /// What a message of this type that begins with `first` carries, if it is the same.
    pub(super) fn kind_of(&self, content_type: &[u8], first: &[u8]) -> Option<Verdict> {
        let same = self.content_type == content_type && self.holds_for(first);
        self.kind.filter(|_| same)
    }

    /// Whether what begins with `first` wraps the same, if it wraps at all.
    pub(super) fn holds_for(&self, first: &[u8]) -> bool {
        if self.mime.is_empty() {
            return true;
        }
        let last = self.mime_at.get();
        let at = if cpim::is_mime_at(first, last) {
            last
        } else if let Some(at) = cpim::mime_at(first) {
            self.mime_at.set(at);
            at
        } else {
            return false;
        };
        first[at..].starts_with(&self.mime)
    }

    /// Appends what legs remember such a message by: media type, NUL, wrapped type.
    pub(super) fn put_key(&self, key: &mut Vec<u8>) {
        key.extend_from_slice(media_type(&self.content_type));
        key.push(0);
        key.extend_from_slice(&self.inner);
    }
}

/// The peer's half: [`LegPeer`], less what is over once it is connected.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) path: Rc<[u8]>,
    pub(super) role: Role,
    matching: Matching,
    direction: Direction,
    types: Rc<Types>,
    pub(super) max_size: Option<u64>,
}

/// A connect that has failed and is tried again (settled.md 38).
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    pub(super) to: SocketAddr,
    /// How long the last one waited.
    pub(super) wait: Duration,
    /// When; `None`: it is being tried.
    pub(super) at: Option<Instant>,
}

/// What only a leg has whose peer was slow, or that was refused something, or is being torn down.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Until when what the peer of an aborted leg had sent is read.
    pub(super) abort_by: Option<Instant>,
    /// Since when it is over its bounds and what feeds it is stopped (settled.md R3).
    pub(super) stalled_since: Option<Instant>,
    /// Since when another device has had room meanwhile.
    pub(super) lags_since: Option<Instant>,
    /// It was over its bounds at the end of a turn; its socket may have taken all of that at once, so it is looked at then.
    pub(super) look_at: Option<Instant>,
    /// What `left` of its outbox was when its connection last drained, and when that was.
    pub(super) drained_at: u64,
    pub(super) drained: Option<Instant>,
    pub(super) again: Option<Again>,
    /// The From-Path of what it sends, where that is not what its SDP says: another way through relays.
    came_by: Box<[u8]>,
    /// Types that its peer has refused.
    refused: Vec<Box<[u8]>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) state: State,
    /// Our MSRP URI on it.
    pub(super) own_uri: Rc<[u8]>,
    /// What we say we accept on it.
    pub(super) ours: Rc<Types>,
    pub(super) peer: Option<Peer>,
    /// [`Leg::head`] and [`Leg::oks`], once there was a message.
    head: OnceCell<Ready>,
    ok: Option<Box<[u8]>>,
    pub(super) conn: Option<ConnId>,
    /// A connection is being opened for it.
    pub(super) connecting: bool,
    /// SENDs put out and not answered, in the order of their ends.
    pub(super) unanswered: List,
    /// Messages that wait whole for this leg, and their bytes.
    pub(super) waiting: u32,
    /// Until its connection must be up.
    pub(super) bind_by: Option<Instant>,
    pub(super) trouble: Option<Box<Trouble>>,
    /// While it is stalled: not all that feeds it could be stopped, so what is new from there is refused.
    pub(super) refusing: bool,
    /// Its user was active on it.
    pub(super) active: bool,
    /// Its media was lost once and brought back: resent messages are recognised [MSRP-CONN-05].
    pub(super) restored: bool,
    /// What has come whole from its peer.
    pub(super) from: Passed,
    /// What was put out whole to its peer.
    pub(super) to: Passed,
    /// What the last message of its peer carried.
    pub(super) seen: Option<Box<Seen>>,
    accepted: Vec<u8>,
    accepted_says: bool,
}

/// What a leg is of: thousands of them stand idle.
const _: () = assert!(size_of::<Leg>() <= 224);

impl Leg {
    pub(super) fn new(id: LegId, offer: LegOffer, known: &mut Known) -> Self {
        Self {
            id,
            state: State::Offered,
            ours: known.of(&offer.accept_types, &offer.accept_wrapped_types),
            own_uri: offer.own_uri,
            peer: None,
            head: OnceCell::new(),
            ok: None,
            conn: None,
            connecting: false,
            unanswered: List::default(),
            waiting: 0,
            bind_by: None,
            trouble: None,
            refusing: false,
            active: false,
            restored: false,
            from: Passed::default(),
            to: Passed::default(),
            seen: None,
            accepted: Vec::new(),
            accepted_says: false,
        }
    }

    /// Our half anew.
    pub(super) fn set_offer(&mut self, offer: LegOffer, known: &mut Known) {
        self.ours = known.of(&offer.accept_types, &offer.accept_wrapped_types);
        self.own_uri = offer.own_uri;
        self.forget_ready();
    }

    /// What was made ready from either half goes.
    fn forget_ready(&mut self) {
        self.head.take();
        self.ok = None;
        self.seen = None;
        self.accepted.clear();
        if let Some(trouble) = &mut self.trouble {
            trouble.refused.clear();
        }
    }

    /// No connection is waited for any longer: it is there, or the leg is over.
    pub(super) fn stop_connecting(&mut self) {
        self.connecting = false;
        self.bind_by = None;
        if let Some(trouble) = &mut self.trouble {
            trouble.again = None;
        }
    }

    /// For what only a leg in trouble has.
    pub(super) fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    /// Since when it is over its bounds and what feeds it is stopped (settled.md R3).
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.trouble.as_ref()?.stalled_since
    }

    /// It is within its bounds, or over: whether it was stalled.
    pub(super) fn end_stall(&mut self) -> bool {
        let trouble = self.trouble.as_mut();
        trouble.is_some_and(|t| {
            t.lags_since = None;
            t.stalled_since.take().is_some()
        })
    }

    /// ` SEND`, To-Path and From-Path: the ready-made part of each SEND to it, behind the transaction id. Made for the first
    /// message: a leg that nobody writes to needs none.
    pub(super) fn head(&self) -> &Ready {
        self.head.get_or_init(|| {
            Ready::new(&[
                b" SEND\r\nTo-Path: ",
                self.peer_path(),
                b"\r\nFrom-Path: ",
                &*self.own_uri,
                b"\r\n",
            ])
        })
    }

    /// What stands between the two transaction ids of a 200 from it, as nearly all write it, made for the first; and the
    /// SENDs that it may answer.
    pub(super) fn oks(&mut self) -> (&[u8], &mut List) {
        let peer_path = self.peer.as_ref().map_or(&[][..], |p| &*p.path);
        let ok = self.ok.get_or_insert_with(|| {
            // RFC 4975 §7.2: a response says who answers, which is the first hop alone.
            let hop = peer_path.split(|&b| b == b' ').next();
            write::middle_of_ok(&self.own_uri, hop.unwrap_or_default()).into()
        });
        (ok, &mut self.unanswered)
    }

    fn peer_path(&self) -> &[u8] {
        self.peer.as_ref().map_or(&[], |p| &*p.path)
    }

    /// The peer's half; what was made ready from the last one goes.
    pub(super) fn set_peer(&mut self, peer: LegPeer, known: &mut Known) {
        self.forget_ready();
        self.peer = Some(Peer {
            types: known.of(&peer.accept_types, &peer.accept_wrapped_types),
            path: peer.path,
            role: peer.role,
            matching: peer.matching,
            direction: peer.direction,
            max_size: peer.max_size,
        });
    }

    /// Whether a To-Path that names this leg by its session-id is the one that we gave out [MSRP-URI-02].
    pub(super) fn is_named_by(&self, uri: &Uri<'_>) -> bool {
        let Ok(own) = Uri::parse(&self.own_uri) else {
            return false;
        };
        match self.peer.as_ref().map(|p| p.matching) {
            Some(Matching::Strict) => own.is_same(uri),
            // Until the peer's SDP is there, nobody knows what lies between: the session-id alone cannot be guessed.
            Some(Matching::SessionId) | None => own.has_session_id_of(uri),
        }
    }

    /// Whether its peer is behind a relay (RFC 4976): a 200 is the relay's word alone, and a failure comes as a REPORT.
    pub(super) fn is_relayed(&self) -> bool {
        self.peer_path().contains(&b' ')
    }

    /// To-Path of a REPORT to it: the From-Path of what it sent, all hops of it (RFC 4975 §7.1.2). [MSRP-RELAY-01]
    pub(super) fn way_back(&self) -> &[u8] {
        match &self.trouble {
            Some(trouble) if !trouble.came_by.is_empty() => &trouble.came_by,
            Some(_) | None => self.peer_path(),
        }
    }

    /// Notes the way by which a SEND of it has come.
    pub(super) fn came_by(&mut self, from_path: &[u8]) {
        if from_path == self.way_back() || from_path.len() > WAY_MAX {
            return;
        }
        let way = if from_path == self.peer_path() {
            Box::default()
        } else {
            from_path.into()
        };
        self.trouble().came_by = way;
    }

    /// Whether a From-Path is that of the peer: byte for byte, or its last URI names the same session.
    pub(super) fn is_peer(&self, from_path: &[u8]) -> bool {
        let Some(peer) = &self.peer else {
            return true;
        };
        if *peer.path == *from_path {
            return true;
        }
        match (uris(from_path).last(), uris(&peer.path).last()) {
            (Some(Ok(theirs)), Some(Ok(known))) => match peer.matching {
                Matching::Strict => known.is_same(&theirs),
                Matching::SessionId => known.has_session_id_of(&theirs),
            },
            _ => false,
        }
    }

    pub(super) fn direction(&self) -> Direction {
        self.peer.as_ref().map_or(
            Direction {
                peer_sends: true,
                peer_receives: true,
            },
            |p| p.direction,
        )
    }

    /// Whether the peer takes content of the type that `key` says: media type, NUL, wrapped type [MSRP-TYPES-03].
    pub(super) fn takes(&mut self, key: &[u8]) -> bool {
        if !self.accepted.is_empty() && self.accepted == key {
            return self.accepted_says;
        }
        let Some(peer) = &self.peer else {
            return false;
        };
        let refused = self.trouble.as_ref().map_or(&[][..], |t| &t.refused);
        let says = !refused.iter().any(|r| **r == *key)
            && accept::key(key, &peer.types.accept, &peer.types.wrapped);
        self.accepted.clear();
        if key.len() <= REMEMBERED {
            self.accepted.extend_from_slice(key);
        }
        self.accepted_says = says;
        says
    }

    /// The peer answered 415: nothing of this type is sent to it again. With too many types the oldest is forgotten.
    pub(super) fn refuse_type(&mut self, key: &[u8]) {
        self.accepted.clear();
        if key.len() > REMEMBERED {
            return;
        }
        let refused = &mut self.trouble().refused;
        if refused.len() == REFUSED_MAX {
            refused.remove(0);
        }
        refused.push(key.into());
    }

    /// Whether it is one of those that messages go to, now or once its connection is up.
    pub(super) fn takes_part(&self) -> bool {
        self.state == State::Started
    }

    pub(super) fn state_name(&self) -> &'static str {
        match (self.state, self.conn) {
            (State::Offered, _) => "offered",
            (State::Started, Some(_)) => "bound",
            (State::Started, None) if self.connecting => "connecting",
            (State::Started, None) => "waiting",
            (State::Failed, _) => "failed",
            (State::Aborted, _) => "aborted",
            (State::Ended, _) => "ended",
        }
    }
}

/// The mark of a leg's frames in an outbox; equal for all of one leg, different for any two legs.
pub(super) fn owner(session: SessionId, leg: LegId) -> crate::buf::Owner {
    use slotmap::Key;
    // The generation stands in the upper half; its top byte is free until a slot was used 2^24 times.
    session.data().as_ffi() ^ (u64::from(leg.0) << 56)
}
