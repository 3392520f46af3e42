//! The session room between a real endpoint and a real registrar, peers as bytes: what a datagram causes, on a virtual clock.
//!
//! The data plane is not here: what it is told is kept, what it tells is said by the test.

use std::{collections::VecDeque, fmt::Write as _, net::SocketAddr, time::Duration};

pub(crate) use crate::peers::*;

use ringfork::{
    ids::{LegId, SessionId, ShardId, SocketId},
    msrp::{Command, Event, Failure, LegPeer},
    policy::Policy,
    session::{Counters, Effect, Function, Note, SessionView, Settings},
    sip::{Endpoint, Flow, Listening, Output, Registrar, RegistrarSettings},
    time::Instant,
};

pub(crate) const SERVER: &str = "127.0.0.1:5060";
pub(crate) const ALICE: &str = "127.0.0.1:6000";
pub(crate) const MSRP: &str = "127.0.0.1:2855";
/// The feature tag of a CPM session, as a device registers it.
pub(crate) const TAG: &str =
    "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"";
pub(crate) const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub(crate) fn settings() -> Settings {
    Settings {
        shard: ShardId(3),
        domains: vec!["example.com".into()],
        host: None,
        msrp_addr: addr(MSRP),
        sip_udp: Some(addr(SERVER)),
        sip_tcp: None,
        t1: Duration::from_millis(500),
        session_expires: seconds(1800),
        no_answer: seconds(120),
        cema: true,
        legacy_session_match: false,
        max_message_bytes: 1_000_000,
        contact_without_tags_suitable: false,
        follow_any: false,
        trusted_peers: vec![("127.0.0.0".parse().expect("a network"), 8)],
        sessions_max: 100,
        devices_max: 16,
        legs_max: 33,
        dialogs_max: 10_000,
        bytes_max: 64 << 20,
        product: "CPM-serv/OMA2.2 Ringfork/test".into(),
    }
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) endpoint: Endpoint,
    pub(crate) function: Function,
    pub(crate) registrar: Registrar,
    /// What left, in order: where to, when, what.
    pub(crate) sent: VecDeque<(SocketAddr, Instant, Message)>,
    /// All that ever left.
    pub(crate) log: Vec<(SocketAddr, Message)>,
    /// What the data plane was told.
    pub(crate) media: Vec<Command>,
    pub(crate) ended: Vec<SessionId>,
    /// How the last of them was in the end.
    pub(crate) last: Option<SessionView>,
    /// Decisions, for the log.
    pub(crate) notes: Vec<Note>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings, &mut Policy)) -> Self {
        Self::seeded(0, change)
    }

    /// The server number `n`: all of its chance is its own.
    pub(crate) fn seeded(n: u8, change: impl FnOnce(&mut Settings, &mut Policy)) -> Self {
        let (mut settings, mut policy) = (settings(), Policy::default());
        change(&mut settings, &mut policy);
        let endpoint = Endpoint::new(
            ringfork::sip::Settings {
                shard: settings.shard,
                host: None,
                listening: vec![Listening {
                    socket: SocketId(0),
                    tcp: false,
                    addr: addr(SERVER),
                }],
                t1: settings.t1,
                servers_max: 1000,
                clients_max: 4000,
                trusted: ringfork::sip::Trusted::default(),
                servers_bytes: 8 << 20,
                clients_bytes: 8 << 20,
                product: settings.product.clone(),
            },
            [1 + 8 * n; 32],
        );
        let registrar = Registrar::new(
            RegistrarSettings {
                trusted: ringfork::sip::Trusted::new(settings.trusted_peers.clone()),
                ..RegistrarSettings::new(settings.domains.clone())
            },
            [2 + 8 * n; 32],
        );
        Self {
            now: Instant::START + seconds(1),
            endpoint,
            function: Function::new(settings, policy, [3 + 8 * n; 32]),
            registrar,
            sent: VecDeque::new(),
            log: Vec::new(),
            media: Vec::new(),
            ended: Vec::new(),
            last: None,
            notes: Vec::new(),
        }
    }

    /// A datagram comes in.
    pub(crate) fn receive(&mut self, from: &str, bytes: impl AsRef<[u8]>) {
        let flow = Flow::Udp {
            socket: SocketId(0),
            peer: addr(from),
        };
        self.endpoint.handle_message(self.now, flow, bytes.as_ref());
        self.pump();
    }

    /// The data plane tells something.
    pub(crate) fn tell(&mut self, event: &Event) {
        self.function.handle_media(self.now, event);
        self.pump();
    }

    pub(crate) fn bound(&mut self, leg: u8) {
        let session = self.session();
        self.tell(&Event::Bound {
            session,
            leg: LegId(leg),
        });
    }

    pub(crate) fn activity(&mut self, leg: u8) {
        let session = self.session();
        self.tell(&Event::Activity {
            session,
            leg: LegId(leg),
            settled: true,
        });
    }

    pub(crate) fn failed(&mut self, leg: u8, why: Failure) {
        let session = self.session();
        self.tell(&Event::Failed {
            session,
            leg: LegId(leg),
            why,
        });
    }

    /// The operator ends the session.
    pub(crate) fn end(&mut self) {
        let session = self.session();
        assert!(self.function.end(self.now, session));
        self.pump();
    }

    /// The shard goes down.
    pub(crate) fn drain(&mut self) {
        self.function.drain(self.now);
        self.pump();
    }

    fn pump(&mut self) {
        loop {
            let mut idle = true;
            while let Some(event) = self.endpoint.poll_event() {
                idle = false;
                self.function
                    .handle_sip(self.now, &event, &mut self.registrar);
            }
            while let Some(event) = self.registrar.poll_event() {
                idle = false;
                self.function.handle_registration(self.now, &event);
            }
            while let Some(effect) = self.function.poll_effect() {
                idle = false;
                self.apply(effect);
            }
            if idle {
                break;
            }
        }
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Datagram { to, bytes, .. } => {
                    let message = Message::read(&bytes);
                    self.log.push((to, message.clone()));
                    self.sent.push_back((to, self.now, message));
                }
                other => panic!("only datagrams here: {other:?}"),
            }
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Respond { txn, reply } => self.endpoint.respond(self.now, txn, reply),
            Effect::Request(draft) => self.endpoint.request(self.now, draft),
            Effect::Cancel { of, headers } => self.endpoint.cancel(self.now, of, &headers),
            Effect::Send { target, message } => self.endpoint.send(self.now, target, message),
            Effect::Media(command) => self.media.push(command),
            Effect::Ended { session, view } => {
                self.ended.push(session);
                self.last = Some(*view);
            }
            Effect::Note(note) => self.notes.push(note),
        }
    }

    /// Lets time pass, every timer at its time.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            let next = [
                self.endpoint.poll_timeout(),
                self.function.poll_timeout(),
                self.registrar.poll_timeout(),
            ]
            .into_iter()
            .flatten()
            .min()
            .filter(|at| *at <= end);
            let Some(at) = next else { break };
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.registrar.handle_timeout(self.now);
            self.function.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
    }

    /// The next message to a peer whose start line begins so; what else it got before is dropped only if it is a 100 or a
    /// repeat of what is waited for.
    pub(crate) fn expect(&mut self, to: &str, start: &str) -> Message {
        let at = self
            .sent
            .iter()
            .position(|(a, _, m)| *a == addr(to) && m.start.starts_with(start));
        let Some(at) = at else {
            panic!("nothing to {to} begins with {start:?}: {}", self.listing());
        };
        self.sent.remove(at).unwrap().2
    }

    /// Nothing (more) for a peer that begins so.
    pub(crate) fn expect_none(&self, to: &str, start: &str) {
        let found = self
            .sent
            .iter()
            .any(|(a, _, m)| *a == addr(to) && m.start.starts_with(start));
        assert!(!found, "{to} got {start:?}: {}", self.listing());
    }

    /// Forgets what was sent.
    pub(crate) fn forget(&mut self) {
        self.sent.clear();
    }

    /// The messages to a peer that begin so, taken out.
    pub(crate) fn all(&mut self, to: &str, start: &str) -> Vec<Message> {
        let mut found = Vec::new();
        self.sent.retain(|(a, _, m)| {
            let hit = *a == addr(to) && m.start.starts_with(start);
            if hit {
                found.push(m.clone());
            }
            !hit
        });
        found
    }

    fn listing(&self) -> String {
        self.sent
            .iter()
            .fold(String::new(), |mut out, (to, at, m)| {
                let _ = write!(out, "\n  {at:?} to {to}: {}", m.start);
                out
            })
    }

    /// The one session.
    pub(crate) fn session(&self) -> SessionId {
        self.view().session
    }

    pub(crate) fn view(&self) -> SessionView {
        let mut views = self.function.views();
        assert_eq!(views.len(), 1, "one session");
        views.remove(0)
    }

    /// The state and the reason of a leg.
    pub(crate) fn leg(&self, leg: u8) -> (&'static str, String) {
        let view = self.view().legs.swap_remove(usize::from(leg));
        (view.state, view.why)
    }

    /// What the data plane knows of the peer of a leg: the last word.
    pub(crate) fn peer(&self, leg: u8) -> LegPeer {
        self.media
            .iter()
            .rev()
            .find_map(|c| match c {
                Command::Start { leg: l, peer, .. } | Command::Update { leg: l, peer, .. }
                    if *l == LegId(leg) =>
                {
                    Some(peer.clone())
                }
                _ => None,
            })
            .unwrap_or_else(|| panic!("leg {leg} was never started"))
    }

    pub(crate) fn counters(&self) -> Counters {
        self.function.counters()
    }

    /// Everything has returned to zero.
    pub(crate) fn assert_empty(&mut self) {
        assert!(
            self.function.is_empty(),
            "left: {:?} {:?}",
            self.function.views(),
            self.counters()
        );
        let c = self.counters();
        assert_eq!((c.sessions, c.legs, c.dialogs, c.relays), (0, 0, 0, 0));
        let opened = self
            .media
            .iter()
            .filter(|c| matches!(c, Command::Open { .. }));
        let closed = self
            .media
            .iter()
            .filter(|c| matches!(c, Command::Close { .. }));
        assert_eq!(opened.count(), closed.count(), "the data plane has let go");
        // Timers B, D, F, H, I, J, K, L and M are over by then.
        self.advance(seconds(70));
        assert!(self.endpoint.is_empty(), "{:?}", self.endpoint.counts());
    }
}
