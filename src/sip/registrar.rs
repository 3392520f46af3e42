//! The registrar of standalone mode (RFC 3261 §10.3): who is where. In memory for now.
//!
//! The law: a REGISTER changes everything that it asks for, or nothing. One device is one `+sip.instance` (and reg-id): its
//! new contact replaces the old one (settled.md 17). The flow that a device registered over is kept with its contact.
//! [REG-07] [REG-08]

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use foldhash::quality::FixedState;
use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};

use super::{
    Flow, RegistrarSettings, Reply,
    digest::{Digest, Verdict},
    holders::{Holders, Refused, source_of},
    route_key::address_of_record,
};
use crate::{
    time::Instant,
    timer::{TimerId, Timers},
    wire::{
        sip::{Contact, Message, Name, NameAddr, unfold},
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
    /// The values of Path (RFC 3327), first to last: the Route of requests to it.
    pub path: Vec<Vec<u8>>,
    /// When it was last registered.
    pub registered_at: Instant,
    /// When it was last registered or used ([`Registrar::used`]).
    pub last_use: Instant,
    /// When it goes, unless it is registered again.
    pub expires_at: Instant,
    call_id: Vec<u8>,
    cseq: u32,
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
    holders: Holders,
    refused: Refused,
    next_id: u64,
}

/// What a REGISTER asks of one contact.
#[derive(Debug)]
struct Change<'a> {
    contact: &'a [u8],
    params: Vec<u8>,
    instance: Option<Vec<u8>>,
    reg_id: Option<u32>,
    outbound: bool,
    q: u16,
    expires: Duration,
    /// The binding that it is about: its place in the user's list.
    known: Option<usize>,
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
        Self {
            holders: Holders::new(settings.source_max, hash_seed),
            settings,
            passwords,
            users: HashMap::with_hasher(FixedState::with_seed(hash_seed)),
            timers: Timers::new(),
            events: VecDeque::new(),
            digest,
            contacts: 0,
            refused: Refused::default(),
            next_id: 0,
        }
    }

    /// Answers a REGISTER (RFC 3261 §10.3); the reply is for [`Endpoint::respond`](super::Endpoint::respond).
    pub fn handle_register(&mut self, now: Instant, flow: Flow, request: &Message<'_>) -> Reply {
        match self.register(now, flow, request) {
            Ok(reply) | Err(reply) => reply,
        }
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
        let order = (call_id, cseq.number);
        let contacts: Vec<Contact<'_>> = request
            .contacts()
            .collect::<Result<_, _>>()
            .map_err(|_| refuse(400))?;
        if contacts.iter().any(|c| matches!(c, Contact::Star)) {
            self.remove_all(&aor, request, contacts.len(), order)?;
        } else {
            let changes = self.read_changes(&aor, request, &contacts, order)?;
            self.check_room(&aor, flow, &changes)?;
            let path: Vec<Vec<u8>> = request
                .values(Name::Path)
                .map(|p| unfold(p).into_owned())
                .collect();
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
        order: (&[u8], u32),
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

    /// Reads and checks what is asked of each contact; nothing is changed yet.
    fn read_changes<'a>(
        &self,
        aor: &[u8],
        request: &Message<'a>,
        contacts: &[Contact<'a>],
        order: (&[u8], u32),
    ) -> Result<Vec<Change<'a>>, Reply> {
        let bindings = self.users.get(aor).map_or(&[][..], Vec::as_slice);
        let edge = edge_of_flow(request);
        let mut changes = Vec::new();
        for contact in contacts {
            let Some(address) = contact.address() else {
                continue;
            };
            let seconds = contact
                .expires()
                .or_else(|| request.expires())
                .unwrap_or(crate::wire::sip::DELTA_DEFAULT);
            let expires = Duration::from_secs(u64::from(seconds));
            // RFC 3261 §10.3 point 7: an hour or more is never too brief.
            if !expires.is_zero()
                && expires < self.settings.min_expires.min(Duration::from_secs(3600))
            {
                let headers = format!("Min-Expires: {}\r\n", self.settings.min_expires.as_secs());
                return Err(Reply {
                    headers: headers.into_bytes(),
                    ..refuse(423)
                });
            }
            let instance = address
                .params
                .text(b"+sip.instance")
                .map(|i| i.into_owned())
                .filter(|i| !i.is_empty());
            let reg_id = address.params.number(b"reg-id");
            let known = bindings.iter().position(|b| {
                let same_device =
                    instance.is_some() && b.instance == instance && b.reg_id == reg_id;
                same_device || uri::compare::equal(&b.contact, address.uri)
            });
            if known.is_some_and(|at| is_late(&bindings[at], order)) {
                return Err(refuse(500));
            }
            changes.push(Change {
                contact: address.uri,
                // RFC 5626 §6: without an instance beside it, or behind an edge that knows nothing of flows, it says nothing.
                outbound: reg_id.is_some() && instance.is_some() && edge,
                params: params_without_expires(&address.params),
                instance,
                reg_id,
                q: contact.q().unwrap_or(1000),
                expires: expires.min(self.settings.max_expires),
                known,
            });
        }
        Ok(changes)
    }

    /// Whether what is added has room: in all, with its user, with the source that it comes from.
    fn check_room(&mut self, aor: &[u8], flow: Flow, changes: &[Change<'_>]) -> Result<(), Reply> {
        let bindings = self.users.get(aor).map_or(&[][..], Vec::as_slice);
        let from = source_of(flow);
        let (mut added, mut moved) = (0, 0);
        for change in changes.iter().filter(|c| !c.expires.is_zero()) {
            match change.known.and_then(|at| bindings.get(at)) {
                None => added += 1,
                Some(known) if source_of(known.flow) != from => moved += 1,
                Some(_) => {}
            }
        }
        let later = || Reply {
            headers: b"Retry-After: 60\r\n".to_vec(),
            ..refuse(503)
        };
        if added > 0 && self.contacts + added > self.settings.registrations_max {
            self.refused.full += 1;
            return Err(later());
        }
        if added > 0 && bindings.len() + added > self.settings.contacts_max {
            self.refused.user += 1;
            return Err(refuse(403));
        }
        if !self.holders.has_room(flow, added + moved) {
            self.refused.source += 1;
            return Err(later());
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
        (call_id, cseq): (&[u8], u32),
    ) {
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
            let binding = Binding {
                contact: change.contact.into(),
                params: change.params,
                instance: change.instance,
                reg_id: change.reg_id,
                outbound: change.outbound,
                q: change.q,
                flow,
                path: path.to_vec(),
                registered_at: now,
                last_use: now,
                expires_at,
                call_id: call_id.to_vec(),
                cseq,
                id: self.next_id,
                timer: self.timers.insert(expires_at, (key.clone(), self.next_id)),
            };
            self.holders.take(flow);
            let bindings = self.users.entry(key.clone()).or_default();
            let moved = match at {
                Some(at) => {
                    let old = std::mem::replace(&mut bindings[at], binding);
                    self.timers.cancel(old.timer);
                    self.holders.leave(old.flow);
                    *old.contact != *change.contact
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
        self.holders.leave(old.flow);
        self.events.push_back(RegistrarEvent::Gone {
            aor: key,
            contact: old.contact.to_vec(),
            instance: old.instance,
        });
    }
}

/// RFC 3261 §10.3 points 6 and 7: of one Call-ID, a CSeq that is not higher is late.
fn is_late(binding: &Binding, (call_id, cseq): (&[u8], u32)) -> bool {
    binding.call_id == call_id && cseq <= binding.cseq
}

/// Whether the first hop keeps flows: we are it, or it is an edge that says so in its Path by `ob` (RFC 5626 §6). Of several
/// values the one that the edge wrote is the last, as RFC 3327 has it; RFC 5626 says the first.
fn edge_of_flow(request: &Message<'_>) -> bool {
    let paths: Vec<&[u8]> = request.values(Name::Path).collect();
    let [first, .., last] = paths.as_slice() else {
        return match paths.first() {
            Some(only) => has_ob(only),
            None => request.values(Name::Via).nth(1).is_none(),
        };
    };
    has_ob(first) || has_ob(last)
}

fn has_ob(path: &[u8]) -> bool {
    let uri = NameAddr::parse_route(path).ok().map(|p| p.uri);
    uri.and_then(|uri| uri::sip::Uri::parse(uri).ok())
        .is_some_and(|uri| uri.param(b"ob").is_some())
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

fn params_without_expires(params: &crate::wire::sip::Params<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for param in params.iter() {
        if param.name.eq_ignore_ascii_case(b"expires") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(param.name);
        if let Some(value) = param.value {
            out.push(b'=');
            out.extend_from_slice(&unfold(value));
        }
    }
    out
}

fn refuse(code: u16) -> Reply {
    Reply {
        code,
        ..Reply::default()
    }
}
