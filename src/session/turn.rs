//! What a procedure has at hand: the time, the choices, chance, and the list of effects that it writes.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};

use super::{Counters, Decision, Effect, Note, Settings, kept::Shapes, sdp};
use crate::{
    ids::{LegId, ServerTxnId, SessionId},
    msrp,
    policy::Policy,
    share::Pool,
    sip::{
        Draft, Flow, Reply, Target, Trusted, TxnRef,
        session_timer::Wish,
        token::{self, Token},
    },
    time::Instant,
    wire::sip::{Message, Name, Start, Via},
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
    /// Whom we believe (settled.md 2).
    pub(super) trusted: Trusted,
    pub(super) rng: ChaCha12Rng,
    pub(super) effects: VecDeque<Effect>,
    pub(super) counters: Counters,
    /// Dialogs of all sessions, as they were when each session was last left alone.
    pub(super) dialogs: usize,
    /// Bytes of all sessions, likewise.
    pub(super) memory: Pool,
    /// What the texts of legs at rest have alike.
    pub(super) shapes: Shapes,
    /// For what nobody else can make: the keys in our branches.
    secret: u64,
    /// 2xx that nobody waited for, and whose dialogs we have ended.
    strays: VecDeque<u64>,
}

/// Strays that are remembered: each is repeated for 32 s at most, and seldom.
const STRAYS_MAX: usize = 256;

impl Turn {
    pub(super) fn new(settings: Settings, policy: Policy, seed: [u8; 32]) -> Self {
        Self {
            now: Instant::START,
            memory: Pool::new(settings.bytes_max),
            trusted: Trusted::new(settings.trusted_peers.clone()),
            settings,
            policy,
            rng: ChaCha12Rng::from_seed(seed),
            effects: VecDeque::new(),
            counters: Counters::default(),
            dialogs: 0,
            shapes: Shapes::default(),
            // No draw: the chance of everything else stays as it is.
            secret: token::hash(0x5eed, |add| add(&seed)),
            strays: VecDeque::new(),
        }
    }

    /// What the branches of the requests that follow from `request` say of it: 30 bits over the Request-URI as it came, which
    /// decides whom we invite, and the side that serves it; not 0 (RFC 3261 §16.6 point 8, RFC 5393 §4.2.2, settled.md 23).
    /// There is one side so far, the terminating one.
    pub(super) fn key(&self, request: &Message<'_>) -> u32 {
        let hash = token::hash(self.secret, |add| {
            add(b"terminating");
            if let Start::Request { uri, .. } = request.start() {
                add(uri);
            }
        });
        u32::try_from(hash & 0x3fff_ffff).unwrap_or(0).max(1)
    }

    /// Whether a request has been here before and has come back unchanged: a Via below is ours, sent-by and branch, and its
    /// branch has the key of this very request. One whose Request-URI has changed is a spiral, and welcome; so is what
    /// another server of our kind sends (RFC 3261 §16.3 point 4, settled.md 23) [SIP-MSG-06].
    pub(super) fn is_loop(&self, request: &Message<'_>) -> bool {
        let key = self.key(request);
        request.each(Name::Via, Via::parse).flatten().any(|via| {
            let Some(branch) = via.branch() else {
                return false;
            };
            token::shard_of_branch(branch) == Some(self.settings.shard)
                && token::loop_hash_of_branch(branch) == Some(key)
                && self.is_sent_by_us(&via)
        })
    }

    fn is_sent_by_us(&self, via: &Via<'_>) -> bool {
        let own = [self.settings.sip_udp, self.settings.sip_tcp];
        own.into_iter().flatten().any(|addr| {
            let host = match &self.settings.host {
                Some(host) => via.host.to_string().eq_ignore_ascii_case(host),
                None => via.host.ip() == Some(addr.ip()),
            };
            host && via.port_or_default() == addr.port()
        })
    }

    /// Whether this 2xx is the first of its dialog that nobody waited for.
    pub(super) fn is_new_stray(&mut self, tag: &[u8], of: TxnRef) -> bool {
        let stray = token::hash(self.secret, |add| {
            add(tag);
            add(&of.cseq.to_be_bytes());
        });
        if self.strays.contains(&stray) {
            return false;
        }
        if self.strays.len() >= STRAYS_MAX {
            self.strays.pop_front();
        }
        self.strays.push_back(stray);
        true
    }

    /// The number that stands for a user in the data plane.
    pub(super) fn user_number(&self, aor: &[u8]) -> u64 {
        token::hash(self.secret, |add| add(aor))
    }

    /// Whether another dialog has room.
    pub(super) fn has_room(&self) -> bool {
        self.dialogs < self.settings.dialogs_max && self.has_memory()
    }

    /// Whether sessions that stand may hold more: their messages are bounded, so a little is left for what each brings.
    pub(super) fn has_memory(&self) -> bool {
        self.memory.free() > self.settings.bytes_max / 16
    }

    /// Whether somebody whom we do not know speaks to us this way.
    pub(super) fn is_stranger(&self, flow: Flow) -> bool {
        !self.trusted.believes(flow)
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
        let host = self.settings.host.as_deref();
        sdp::Own::new(self.rng.next_u64(), host, self.settings.msrp_addr, id)
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
        self.warn(399, text)
    }

    /// The same with a code of its own.
    pub(super) fn warn(&self, code: u16, text: &str) -> Vec<u8> {
        format!("Warning: {code} {} \"{text}\"\r\n", self.host()).into_bytes()
    }

    /// Where we listen ourselves: for what goes to another user of ours.
    pub(super) fn ourselves(&self) -> Option<Target> {
        let settings = &self.settings;
        let near = |mut addr: SocketAddr| {
            if addr.ip().is_unspecified() {
                addr.set_ip(match addr {
                    SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                    SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                });
            }
            addr
        };
        let udp = settings.sip_udp.map(|addr| Target::Udp(near(addr)));
        udp.or_else(|| settings.sip_tcp.map(|addr| Target::Tcp(near(addr))))
    }

    /// Refuses a request, and says in a Warning what would have helped.
    pub(super) fn refuse_saying(&mut self, txn: ServerTxnId, code: u16, why: &'static str) {
        let headers = self.warning(why);
        let reply = Reply {
            code,
            headers,
            why,
            ..Reply::default()
        };
        self.respond(txn, reply);
    }

    /// The URI by which the peer of a leg reaches that leg, `user` being a token of it [TERM-INV-18] [TERM-RSP-03].
    pub(super) fn contact_uri(&self, user: &Token, target: Target) -> String {
        let stream = target.is_stream();
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
