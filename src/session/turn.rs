//! What a procedure has at hand: the time, the choices, chance, and the list of effects that it writes.

use std::collections::VecDeque;

use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};

use super::{Counters, Decision, Effect, Note, Settings, kept::Shapes, sdp};
use crate::{
    ids::{LegId, ServerTxnId, SessionId},
    msrp,
    policy::Policy,
    sip::{
        Draft, Flow, Reply, Target, TxnRef,
        session_timer::Wish,
        token::{self, Token},
    },
    time::Instant,
};

/// What we serve, for Allow.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, REGISTER";
/// Option tags that a request to us may require, for Supported.
pub(super) const SUPPORTED: [&str; 3] = ["timer", "100rel", "path"];
/// Bodies that we understand as a user agent, for Accept.
pub(super) const ACCEPT: [&str; 2] = ["application/sdp", "multipart/mixed"];

/// One turn's desk.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) now: Instant,
    pub(super) settings: Settings,
    pub(super) policy: Policy,
    pub(super) rng: ChaCha12Rng,
    pub(super) effects: VecDeque<Effect>,
    pub(super) counters: Counters,
    /// Dialogs of all sessions, as they were when each session was last left alone.
    pub(super) dialogs: usize,
    /// What the texts of legs at rest have alike.
    pub(super) shapes: Shapes,
}

impl Turn {
    pub(super) fn new(settings: Settings, policy: Policy, seed: [u8; 32]) -> Self {
        Self {
            now: Instant::START,
            settings,
            policy,
            rng: ChaCha12Rng::from_seed(seed),
            effects: VecDeque::new(),
            counters: Counters::default(),
            dialogs: 0,
            shapes: Shapes::default(),
        }
    }

    /// Whether another dialog has room.
    pub(super) fn has_room(&self) -> bool {
        self.dialogs < self.settings.dialogs_max
    }

    /// Answers a request.
    pub(super) fn respond(&mut self, txn: ServerTxnId, reply: Reply) {
        self.effects.push_back(Effect::Respond { txn, reply });
    }

    /// Answers a request by a status alone.
    pub(super) fn respond_code(&mut self, txn: ServerTxnId, code: u16) {
        self.respond(
            txn,
            Reply {
                code,
                ..Reply::default()
            },
        );
    }

    /// Answers a request by a status and headers.
    pub(super) fn respond_with(&mut self, txn: ServerTxnId, code: u16, headers: Vec<u8>) {
        self.respond(
            txn,
            Reply {
                code,
                headers,
                ..Reply::default()
            },
        );
    }

    pub(super) fn request(&mut self, draft: Draft) {
        self.effects.push_back(Effect::Request(draft));
    }

    /// CANCELs an INVITE of ours. `headers`: Reason, each with CRLF.
    pub(super) fn cancel(&mut self, of: TxnRef, mut headers: Vec<u8>) {
        // RFC 4028 §5: in every request but ACK [TIMER-01].
        headers.extend_from_slice(b"Supported: timer\r\n");
        self.effects.push_back(Effect::Cancel { of, headers });
    }

    pub(super) fn send(&mut self, target: Target, message: Vec<u8>) {
        self.effects.push_back(Effect::Send { target, message });
    }

    pub(super) fn media(&mut self, command: msrp::Command) {
        self.effects.push_back(Effect::Media(command));
    }

    /// Tells the log of a decision.
    pub(super) fn note(&mut self, session: Option<SessionId>, what: Decision) {
        self.effects.push_back(Effect::Note(Note { session, what }));
    }

    /// A tag, a Call-ID or the user of a Contact: whoever gets it back finds the leg.
    pub(super) fn mint(&mut self, session: SessionId, leg: LegId) -> Token {
        token::mint(self.settings.shard, session, leg, &mut self.rng)
    }

    /// A leg's half of the descriptions, with a session-id of its own.
    pub(super) fn own_sdp(&mut self, session: SessionId, leg: LegId) -> sdp::Own {
        let id = msrp::session_id(self.settings.shard, session, leg, &mut self.rng);
        sdp::Own::new(self.rng.next_u64(), self.settings.msrp_addr, id)
    }

    /// What offers are judged by.
    pub(super) const fn terms(&self) -> sdp::Terms {
        sdp::Terms {
            cema: self.settings.cema,
            legacy: self.settings.legacy_session_match,
            max_size: self.settings.max_message_bytes,
            addr: self.settings.msrp_addr,
        }
    }

    /// What we ask of session timers.
    pub(super) fn wish(&self) -> Wish {
        Wish::new(self.settings.session_expires)
    }

    /// Our host in Warning, and in Contact where we have a name.
    pub(super) fn host(&self) -> String {
        match (
            &self.settings.host,
            self.settings.sip_udp.or(self.settings.sip_tcp),
        ) {
            (Some(host), _) => host.clone(),
            (None, Some(addr)) => addr.to_string(),
            (None, None) => self.settings.msrp_addr.ip().to_string(),
        }
    }

    /// A Warning header with its CRLF [SIP-MSG-09]: cpm-notes.md §12.
    pub(super) fn warning(&self, text: &str) -> Vec<u8> {
        format!("Warning: 399 {} \"{text}\"\r\n", self.host()).into_bytes()
    }

    /// The URI by which the peer of a leg reaches that leg, `user` being a token of it [TERM-INV-18] [TERM-RSP-03].
    pub(super) fn contact_uri(&self, user: &Token, target: Target) -> String {
        let stream = match target {
            Target::Flow(Flow::Stream { .. }) | Target::Tcp(_) => true,
            Target::Flow(Flow::Udp { .. }) | Target::Udp(_) => false,
        };
        let (first, second) = if stream {
            (self.settings.sip_tcp, self.settings.sip_udp)
        } else {
            (self.settings.sip_udp, self.settings.sip_tcp)
        };
        let addr = first.or(second).unwrap_or(self.settings.msrp_addr);
        let host = match &self.settings.host {
            Some(host) => format!("{host}:{}", addr.port()),
            None => addr.to_string(),
        };
        // The socket that is there decides what is said, not the one that was wished for.
        let transport = if stream && first.is_some() || !stream && first.is_none() {
            ";transport=tcp"
        } else {
            ""
        };
        format!("sip:{}@{host}{transport}", user.escape_ascii())
    }

    /// A UUID-shaped identifier by chance (cpm-notes.md §6).
    pub(super) fn uuid(&mut self) -> String {
        let mut b = [0u8; 16];
        self.rng.fill_bytes(&mut b);
        b[6] = b[6] & 0x0f | 0x40;
        b[8] = b[8] & 0x3f | 0x80;
        let n = u128::from_be_bytes(b);
        let hex = format!("{n:032x}");
        let (a, b, c, d, e) = (
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        );
        format!("{a}-{b}-{c}-{d}-{e}")
    }
}

/// Allow, Supported and User-Agent of a request or response of ours that speaks for a leg, each with CRLF.
pub(super) fn abilities(product: Option<&str>) -> Vec<u8> {
    let mut out = format!("Allow: {ALLOW}\r\nSupported: {}\r\n", SUPPORTED.join(", "));
    if let Some(product) = product {
        out.push_str(&format!("User-Agent: {product}\r\n"));
    }
    out.into_bytes()
}
