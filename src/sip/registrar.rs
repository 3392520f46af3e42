//! The registrar of standalone mode (RFC 3261 §10.3): who is where. In memory for now.
//!
//! The law: a REGISTER changes everything that it asks for, or nothing. One device is one `+sip.instance` (and reg-id): its
//! new contact replaces the old one (settled.md 17). The flow that a device registered over is kept with its contact. What is kept
//! is bounded in bytes: a binding, a user's bindings (the 200 that lists them fits a datagram), a source's, all.
//! [REG-07] [REG-08]

mod read;
mod room;

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use foldhash::quality::FixedState;
use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};

use self::read::{Change, Order, is_late};
pub use self::room::BINDING_BYTES_MAX;
use super::{
    Flow, RegistrarSettings, Reply,
    digest::{Digest, Verdict},
    holders::{Holders, Refused},
    reasons::{self, refuse},
    route_key::address_of_record,
    token,
};
use crate::{
    share::Pool,
    time::Instant,
    timer::{TimerId, Timers},
    wire::{
        sip::{Contact, Message, Method, Name, unfold},
        uri,
    },
};

/// Where one device of a user is.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The Contact URI, byte for byte. Sessions with the device hold it too.
    pub contact: Rc<[u8]>,
    /// Its header parameters as written, from the first semicolon on: feature tags, `+sip.instance`, q; without `expires`.
    pub params: Vec<u8>,
    /// `+sip.instance`, without quotes.
    pub instance: Option<Vec<u8>>,
    /// `reg-id` (RFC 5626).
    pub reg_id: Option<u32>,
    /// It counts: the flow that it registered over, its own or that of the edge of its Path, is the only way to the device.
    pub outbound: bool,
    /// Preference in thousandths; 1000 where none was given.
    pub q: u16,
    /// The way that the REGISTER came.
    pub flow: Flow,
    /// Whether what it says of another host is believed (settled.md 42).
    pub trusted: bool,
    /// The values of Path (RFC 3327), first to last: the Route of requests to it.
    pub path: Vec<Vec<u8>>,
    /// When it was last registered.
    pub registered_at: Instant,
    /// When it was last registered or used ([`Registrar::used`]).
    pub last_use: Instant,
    /// When it goes, unless it is registered again.
    pub expires_at: Instant,
    call_id: Box<[u8]>,
    cseq: u32,
    /// Of the whole REGISTER: one that comes again is no new one.
    print: u32,
    /// What it says, in bytes: [`BINDING_BYTES_MAX`] at most.
    bytes: u16,
    id: u64,
    timer: TimerId,
}

/// What happened to a user's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrarEvent {
    /// A device has registered that was not, or from another contact than before.
    Bound {
        /// The key of the address of record: see [`address_of_record`](super::route_key::address_of_record).
        aor: Rc<[u8]>,
        /// The Contact URI.
        contact: Vec<u8>,
        /// Its instance.
        instance: Option<Vec<u8>>,
    },
    /// A device has left or its registration has run out. One that has only moved to another contact is not gone.
    Gone {
        /// The key of the address of record.
        aor: Rc<[u8]>,
        /// The Contact URI that it had.
        contact: Vec<u8>,
        /// Its instance.
        instance: Option<Vec<u8>>,
    },
}

/// The registrar of a shard: it holds the users whose addresses hash to it.
#[derive(Debug)]
pub struct Registrar {
    settings: RegistrarSettings,
    /// By key of the address of record: its password.
    passwords: HashMap<Vec<u8>, String, FixedState>,
    users: HashMap<Rc<[u8]>, Vec<Binding>, FixedState>,
    timers: Timers<(Rc<[u8]>, u64)>,
    events: VecDeque<RegistrarEvent>,
    digest: Digest,
    contacts: usize,
    /// Bytes of all bindings.
    pool: Pool,
    /// For what must come out the same again.
    secret: u64,
    holders: Holders,
    refused: Refused,
    next_id: u64,
}

impl Registrar {
    /// A registrar without bindings.
    #[must_use]
    pub fn new(settings: RegistrarSettings, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let hash_seed = rng.next_u64();
        let realm = settings.domains.first().map_or("ringfork", String::as_str);
        let mut digest_seed = [0; 32];
        rng.fill_bytes(&mut digest_seed);
        let digest = Digest::new(realm, digest_seed);
        let mut passwords = HashMap::with_hasher(FixedState::with_seed(hash_seed));
        for (aor, password) in &settings.users {
            if let Some(key) = address_of_record(aor.as_bytes()) {
                passwords.insert(key, password.clone());
            }
        }
        let pool = Pool::new(settings.bytes_max);
        Self {
            holders: Holders::new(settings.source_max, hash_seed),
            settings,
            passwords,
            users: HashMap::with_hasher(FixedState::with_seed(hash_seed)),
            timers: Timers::new(),
            events: VecDeque::new(),
            digest,
            contacts: 0,
            pool,
            secret: rng.next_u64(),
            refused: Refused::default(),
            next_id: 0,
        }
    }

    /// Answers a REGISTER (RFC 3261 §10.3); the reply is for [`Endpoint::respond`](super::Endpoint::respond).
    pub fn handle_register(&mut self, now: Instant, flow: Flow, request: &Message<'_>) -> Reply {
        let (Ok(reply) | Err(reply)) = self.register(now, flow, request);
        reply
    }

    /// The devices of a user, by the key of the address of record; those whose time is over are not among them.
    pub fn bindings(&self, now: Instant, aor: &[u8]) -> impl Iterator<Item = &Binding> {
        self.users
            .get(aor)
            .into_iter()
            .flatten()
            .filter(move |b| b.expires_at > now)
    }

    /// Notes that a device was reached: of equal q the one last used comes first.
    pub fn used(&mut self, now: Instant, aor: &[u8], contact: &[u8]) {
        let Some(bindings) = self.users.get_mut(aor) else {
            return;
        };
        if let Some(binding) = bindings.iter_mut().find(|b| *b.contact == *contact) {
            binding.last_use = now;
        }
    }

    /// Whether a request is one of a user who is registered, from where one of his devices is.
    #[must_use]
    pub fn knows(&self, now: Instant, flow: Flow, request: &Message<'_>) -> bool {
        let whose = if request.method() == Some(Method::Register) {
            request.to()
        } else {
            request.from()
        };
        let aor = whose.ok().and_then(|a| address_of_record(a.uri));
        aor.is_some_and(|aor| {
            self.bindings(now, &aor)
                .any(|b| b.flow.peer() == flow.peer())
        })
    }

    /// Whether an address is of a domain that we serve. A global telephone number always is.
    #[must_use]
    pub fn serves(&self, address: &[u8]) -> bool {
        match uri::Uri::parse(address) {
            Ok(uri::Uri::Sip(sip)) => {
                let host = sip.host.to_string();
                self.settings
                    .domains
                    .iter()
                    .any(|d| d.eq_ignore_ascii_case(host.trim_end_matches('.')))
            }
            Ok(uri::Uri::Tel(tel)) => tel.is_global(),
            Ok(uri::Uri::Other { .. }) | Err(_) => false,
        }
    }

    /// Checks the credentials of a request from a user: `Ok` where the user has no password or they are right.
    ///
    /// # Errors
    /// The 401 to answer with.
    pub fn authenticate(
        &mut self,
        now: Instant,
        aor: &[u8],
        request: &Message<'_>,
    ) -> Result<(), Reply> {
        let Some(password) = self.passwords.get(aor) else {
            return Ok(());
        };
        let address = aor.splitn(2, |b| *b == b':').nth(1).unwrap_or(aor);
        let user = address.split(|b| *b == b'@').next().unwrap_or(address);
        let verdict = self
            .digest
            .verify(now, request, &[user, address], password.as_bytes());
        if verdict == Verdict::Right {
            return Ok(());
        }
        let challenge = self.digest.challenge(now, verdict == Verdict::Stale);
        Err(Reply {
            why: reasons::of_challenge(request, verdict),
            headers: challenge.into_bytes(),
            ..refuse(401)
        })
    }

    /// Registrations that have run out.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut most = 0..crate::timer::DUE_MAX;
        while let Some((aor, id)) = most.next().and_then(|_| self.timers.poll(now)) {
            let at = self
                .users
                .get(&aor)
                .and_then(|u| u.iter().position(|b| b.id == id));
            if let Some(at) = at {
                self.remove(&aor, at);
            }
        }
    }

    /// When to call [`Registrar::handle_timeout`] next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<RegistrarEvent> {
        self.events.pop_front()
    }

    /// Bytes that are held of contacts.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.pool.used()
    }

    /// Contacts in all.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.contacts
    }

    /// What was refused for want of room.
    #[must_use]
    pub const fn refused(&self) -> Refused {
        self.refused
    }

    /// Timers that are set: one a contact.
    #[must_use]
    pub const fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Whether nobody is registered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.contacts == 0
    }

    fn register(
        &mut self,
        now: Instant,
        flow: Flow,
        request: &Message<'_>,
    ) -> Result<Reply, Reply> {
        require(request)?;
        let (Ok(to), Ok(call_id), Ok(cseq)) = (request.to(), request.call_id(), request.cseq())
        else {
            return Err(refuse(400));
        };
        let aor = address_of_record(to.uri).ok_or_else(|| refuse(404))?;
        if !self.serves(to.uri) {
            let strict = !self.passwords.is_empty();
            return Err(refuse(if strict { 403 } else { 404 }));
        }
        self.authenticate(now, &aor, request)?;
        let print = token::hash(self.secret, |add| add(request.as_bytes()));
        let order = Order {
            call_id,
            cseq: cseq.number,
            print: u32::try_from(print >> 32).unwrap_or(0),
        };
        let contacts: Vec<Contact<'_>> = request
            .contacts()
            .collect::<Result<_, _>>()
            .map_err(|_| refuse(400))?;
        if contacts.iter().any(|c| matches!(c, Contact::Star)) {
            self.remove_all(&aor, request, contacts.len(), order)?;
        } else {
            let changes = self.read_changes(&aor, request, &contacts, order)?;
            let path: Vec<Vec<u8>> = request
                .values(Name::Path)
                .map(|p| unfold(p).into_owned())
                .collect();
            let beside = aor.len() + call_id.len() + path.iter().map(Vec::len).sum::<usize>();
            self.check_room(&aor, flow, &changes, beside)?;
            self.apply(now, flow, &aor, changes, &path, order);
        }
        Ok(self.accepted(now, &aor, request))
    }

    /// `Contact: *` (RFC 3261 §10.2.2, §10.3 point 6).
    fn remove_all(
        &mut self,
        aor: &[u8],
        request: &Message<'_>,
        contacts: usize,
        order: Order<'_>,
    ) -> Result<(), Reply> {
        if contacts != 1 || request.expires() != Some(0) {
            return Err(refuse(400));
        }
        let bindings = self.users.get(aor).map_or(&[][..], Vec::as_slice);
        if bindings.iter().any(|b| is_late(b, order)) {
            return Err(refuse(500));
        }
        for at in (0..bindings.len()).rev() {
            self.remove(aor, at);
        }
        Ok(())
    }

    fn apply(
        &mut self,
        now: Instant,
        flow: Flow,
        aor: &[u8],
        changes: Vec<Change<'_>>,
        path: &[Vec<u8>],
        order: Order<'_>,
    ) {
        let beside = aor.len() + order.call_id.len() + path.iter().map(Vec::len).sum::<usize>();
        // By id, for places move as bindings go.
        let bindings = self.users.get(aor).map_or(&[][..], Vec::as_slice);
        let known: Vec<Option<u64>> = changes
            .iter()
            .map(|c| c.known.and_then(|at| bindings.get(at)).map(|b| b.id))
            .collect();
        for (change, known) in changes.into_iter().zip(known) {
            let at = self.users.get(aor).and_then(|bindings| {
                bindings.iter().position(|b| {
                    // The second clause: the same contact twice in one REGISTER.
                    Some(b.id) == known || uri::compare::equal(&b.contact, change.contact)
                })
            });
            if change.expires.is_zero() {
                if let Some(at) = at {
                    self.remove(aor, at);
                }
                continue;
            }
            let key = match self.users.get_key_value(aor) {
                Some((key, _)) => key.clone(),
                None => aor.into(),
            };
            self.next_id += 1;
            let expires_at = now + change.expires;
            let bytes = u16::try_from(change.bytes() + beside).unwrap_or(u16::MAX);
            let binding = Binding {
                contact: change.contact.into(),
                params: change.params,
                instance: change.instance,
                reg_id: change.reg_id,
                outbound: change.outbound,
                q: change.q,
                flow,
                trusted: self.settings.trusted.believes(flow),
                path: path.to_vec(),
                registered_at: now,
                last_use: now,
                expires_at,
                call_id: order.call_id.into(),
                cseq: order.cseq,
                print: order.print,
                bytes,
                id: self.next_id,
                timer: self.timers.insert(expires_at, (key.clone(), self.next_id)),
            };
            self.take(flow, binding.held());
            let bindings = self.users.entry(key.clone()).or_default();
            let mut replaced = None;
            let moved = match at {
                Some(at) => {
                    let old = std::mem::replace(&mut bindings[at], binding);
                    *replaced.insert(old).contact != *change.contact
                }
                None => {
                    bindings.push(binding);
                    self.contacts += 1;
                    true
                }
            };
            let binding = at.map_or_else(|| bindings.last(), |at| bindings.get(at));
            if let (true, Some(binding)) = (moved, binding) {
                self.events.push_back(RegistrarEvent::Bound {
                    aor: key,
                    contact: binding.contact.to_vec(),
                    instance: binding.instance.clone(),
                });
            }
            if let Some(old) = replaced {
                self.timers.cancel(old.timer);
                self.leave(&old);
            }
        }
    }

    /// 200 with all bindings, their time left, and the Path (RFC 3261 §10.3 point 8, RFC 3327 §5.3).
    fn accepted(&self, now: Instant, aor: &[u8], request: &Message<'_>) -> Reply {
        let mut headers = Vec::new();
        for path in request.headers(Name::Path) {
            headers.extend_from_slice(b"Path: ");
            headers.extend_from_slice(&unfold(path));
            headers.extend_from_slice(b"\r\n");
        }
        for binding in self.bindings(now, aor) {
            headers.extend_from_slice(b"Contact: <");
            headers.extend_from_slice(&binding.contact);
            headers.push(b'>');
            headers.extend_from_slice(&binding.params);
            let left = binding.expires_at.since(now).as_secs().max(1);
            headers.extend_from_slice(format!(";expires={left}\r\n").as_bytes());
        }
        let outbound = self.bindings(now, aor).any(|b| b.outbound)
            && request
                .tokens(Name::Supported)
                .any(|t| t.eq_ignore_ascii_case(b"outbound"));
        if outbound {
            headers.extend_from_slice(b"Require: outbound\r\n");
        }
        Reply {
            headers,
            ..refuse(200)
        }
    }

    /// Takes a binding away: it left, or its time is over.
    fn remove(&mut self, aor: &[u8], at: usize) {
        let Some((key, _)) = self.users.get_key_value(aor) else {
            return;
        };
        let key = key.clone();
        let Some(bindings) = self.users.get_mut(aor) else {
            return;
        };
        let old = bindings.remove(at);
        if bindings.is_empty() {
            self.users.remove(aor);
        }
        self.contacts -= 1;
        self.timers.cancel(old.timer);
        self.leave(&old);
        self.events.push_back(RegistrarEvent::Gone {
            aor: key,
            contact: old.contact.to_vec(),
            instance: old.instance,
        });
    }
}

/// What a REGISTER may require: Path and outbound are kept to.
fn require(request: &Message<'_>) -> Result<(), Reply> {
    let unknown = request
        .tokens(Name::Require)
        .find(|t| !t.eq_ignore_ascii_case(b"path") && !t.eq_ignore_ascii_case(b"outbound"));
    match unknown {
        None => Ok(()),
        Some(tag) => Err(Reply {
            headers: format!("Unsupported: {}\r\n", tag.escape_ascii()).into_bytes(),
            ..refuse(420)
        }),
    }
}
