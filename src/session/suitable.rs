//! Which of the user's devices get a session: the note to step 7 of "Handle a CPM Session Invitation" (cpm-notes.md §5), the
//! caller's preferences (RFC 3841), one INVITE a device [TERM-INV-13] [PREF-01] [PREF-02] [REG-07].
//!
//! The law: only what contacts, request and settings say counts; nothing is sent here.

use std::{collections::HashSet, rc::Rc};

use super::{
    Unfit,
    features::{FeatureSet, SCORE_FULL, service},
};
use crate::{
    sip::{Binding, Flow, NoWay, Target, next_hop, reach_by},
    time::Instant,
    wire::sip::{CallerPreference, Message, Name, Params, RequestDisposition},
};

/// The ICSI of a CPM session, decoded.
pub(super) const SESSION: &str = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session";
/// What CPM services have in common.
const CPM: &str = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.";

/// A device that may be invited.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Its Contact, byte for byte.
    pub(super) uri: Rc<[u8]>,
    pub(super) instance: Option<Vec<u8>>,
    /// The Route of requests to it.
    pub(super) path: Vec<Vec<u8>>,
    pub(super) target: Target,
    /// The flow is the only way to it, within dialogs too.
    pub(super) pinned: bool,
    q: u16,
    last_use: Instant,
    /// How well it fits what the caller prefers, in thousandths.
    score: u32,
}

/// The user's devices, as far as they fit.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those to invite, best first.
    pub(super) devices: Vec<Candidate>,
    /// The contacts that are not invited, and why.
    pub(super) unfit: Vec<(Rc<[u8]>, Unfit)>,
}

/// What the request asks of devices.
#[derive(Debug)]
pub(super) struct Asked {
    /// The service that a device must offer, decoded; `None`: any.
    service: Option<String>,
    accept: Vec<Preference>,
    reject: Vec<FeatureSet>,
    /// RFC 3841 §7.2.2: the method, where the caller prefers nothing.
    implicit: Option<FeatureSet>,
    /// Request-Disposition: no-fork (settled.md 4).
    one_only: bool,
    /// A contact without any feature is suitable.
    untagged: bool,
}

#[derive(Debug)]
struct Preference {
    features: FeatureSet,
    require: bool,
    explicit: bool,
}

impl Candidate {
    /// A place that a device has named, which nobody registered.
    pub(super) const fn named(
        uri: Rc<[u8]>,
        (target, pinned): (Target, bool),
        path: Vec<Vec<u8>>,
    ) -> Self {
        Self {
            uri,
            instance: None,
            path,
            target,
            pinned,
            q: 0,
            last_use: Instant::START,
            score: 0,
        }
    }
}

impl Asked {
    /// Reads the request. `service`: the ICSI that its devices must offer.
    pub(super) fn of(request: &Message<'_>, service: Option<&str>, untagged: bool) -> Self {
        let accept: Vec<Preference> = request
            .each(Name::AcceptContact, CallerPreference::parse)
            .flatten()
            .map(|p| Preference {
                features: FeatureSet::of(p.features()),
                require: p.require(),
                explicit: p.explicit(),
            })
            .filter(|p| !p.features.is_empty())
            .collect();
        let reject: Vec<FeatureSet> = request
            .each(Name::RejectContact, CallerPreference::parse)
            .flatten()
            .map(|p| FeatureSet::of(p.features()))
            .filter(|f| !f.is_empty())
            .collect();
        let implicit = (accept.is_empty() && reject.is_empty())
            .then(|| request.method())
            .flatten()
            .map(|m| FeatureSet::of_token("methods", &m.as_bytes().escape_ascii().to_string()));
        let one_only = request
            .tokens(Name::RequestDisposition)
            .filter_map(|d| RequestDisposition::parse(d).ok())
            .any(|d| d == RequestDisposition::NoFork);
        Self {
            service: service.map(ToOwned::to_owned),
            accept,
            reject,
            implicit,
            one_only,
            untagged,
        }
    }

    /// How well a contact fits, or why it does not (RFC 3841 §7.2.4).
    fn score(&self, contact: &FeatureSet) -> Result<u32, Unfit> {
        if contact.is_empty() {
            // Immune to the caller's preferences (RFC 3841 §7.2.3).
            return self.untagged.then_some(SCORE_FULL).ok_or(Unfit::Untagged);
        }
        let offers = self.service.as_ref().is_none_or(|s| contact.offers(s));
        // A contact that says nothing of CPM has no CPM tag, whatever else it says.
        let untagged = self.untagged && !contact.services().any(|s| s.starts_with(CPM));
        if !offers && !untagged {
            return Err(Unfit::Service);
        }
        let rejected = |r: &FeatureSet| r.all_named_by(contact) && r.matches(contact);
        if self.reject.iter().any(rejected) {
            return Err(Unfit::Rejected);
        }
        let mut scores = Vec::new();
        for preference in &self.accept {
            if !preference.features.matches(contact) {
                if preference.require {
                    return Err(Unfit::Required);
                }
                continue;
            }
            let score = preference.features.score(contact);
            scores.push(
                match (score < SCORE_FULL, preference.explicit, preference.require) {
                    (true, true, true) => return Err(Unfit::Required),
                    (true, true, false) => 0,
                    (true, false, _) | (false, _, _) => score,
                },
            );
        }
        let count = u32::try_from(scores.len()).unwrap_or(u32::MAX).max(1);
        Ok(scores.iter().sum::<u32>() / count)
    }

    /// The devices to invite, best first: by q, by the caller's preference, by last use. One an instance [REG-07], at most
    /// `max`.
    pub(super) fn devices<'b>(
        &self,
        bindings: impl Iterator<Item = &'b Binding>,
        max: usize,
    ) -> Found {
        let mut unfit = Vec::new();
        let mut found: Vec<(Candidate, bool)> = Vec::new();
        for binding in bindings {
            let params = Params::parse(&binding.params).unwrap_or_default();
            let features = FeatureSet::of(crate::wire::sip::Features::of(params));
            let score = match self.score(&features) {
                Ok(score) => score,
                Err(why) => {
                    unfit.push((Rc::clone(&binding.contact), why));
                    continue;
                }
            };
            let target = match target(binding) {
                Ok(target) => target,
                Err(why) => {
                    unfit.push((Rc::clone(&binding.contact), Unfit::NoWay(why)));
                    continue;
                }
            };
            let implied = self
                .implicit
                .as_ref()
                .is_none_or(|i| features.is_empty() || i.matches(&features));
            found.push((
                Candidate {
                    uri: Rc::clone(&binding.contact),
                    instance: binding.instance.clone(),
                    path: binding.path.clone(),
                    target,
                    pinned: is_pinned(binding),
                    q: binding.q,
                    last_use: binding.last_use,
                    score,
                },
                implied,
            ));
        }
        // RFC 3841 §7.2.4: a preference that nobody stated does not leave the user without a device.
        if found.iter().any(|(_, implied)| *implied) {
            for (candidate, _) in found.extract_if(.., |(_, implied)| !*implied) {
                unfit.push((candidate.uri, Unfit::Method));
            }
        }
        let mut found: Vec<Candidate> = found.into_iter().map(|(c, _)| c).collect();
        found.sort_by_key(|c| std::cmp::Reverse((c.q, c.score, c.last_use)));
        let mut seen = HashSet::new();
        found.retain(|c| {
            let first = c.instance.as_ref().is_none_or(|i| seen.insert(i.clone()));
            if !first {
                unfit.push((Rc::clone(&c.uri), Unfit::SameDevice));
            }
            first
        });
        let max = if self.one_only { 1 } else { max };
        for surplus in found.drain(max.min(found.len())..) {
            unfit.push((surplus.uri, Unfit::Surplus));
        }
        Found {
            devices: found,
            unfit,
        }
    }
}

/// Where requests to a device go: over the flow that it registered for that (RFC 5626), else over its Path, else to its
/// Contact's address (settled.md 36).
///
/// A stream that it registered over is used while it is open, for it may not listen (RFC 5923). A URI that names no place that
/// we can send to makes a device that cannot be invited. What a stranger says of another host, in a Contact or in the first hop of a
/// Path, is no place to send to: as behind a NAT, the place that he registered from is (settled.md 42).
fn target(binding: &Binding) -> Result<Target, NoWay> {
    if is_pinned(binding) {
        return Ok(Target::Flow(binding.flow));
    }
    let path = binding.path.first().map(Vec::as_slice);
    let to = match next_hop(path, &binding.contact) {
        Ok(to) if binding.trusted || binding.flow.is_of(to.addr) => to,
        Ok(_) => return Ok(Target::Flow(binding.flow)),
        Err(NoWay::Name) if !binding.trusted && path.is_none() => {
            return Ok(Target::Flow(binding.flow));
        }
        Err(why) => return Err(why),
    };
    Ok(match binding.flow {
        // From the socket that it knows.
        flow @ Flow::Udp { peer, .. } if peer == to.addr && !to.tcp => Target::Flow(flow),
        flow @ (Flow::Udp { .. } | Flow::Stream { .. }) => reach_by(flow, to),
    })
}

/// Whether the flow is the only way to a device. Behind an edge the flow is the edge's, which its Path leads to.
fn is_pinned(binding: &Binding) -> bool {
    binding.outbound && binding.path.is_empty()
}

/// The CPM services that a request names in Accept-Contact, decoded; those of `P-Asserted-Service` are not among them.
pub(super) fn services(request: &Message<'_>) -> Vec<String> {
    request
        .each(Name::AcceptContact, CallerPreference::parse)
        .flatten()
        .flat_map(|p| {
            FeatureSet::of(p.features())
                .services()
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A service identifier of P-Asserted-Service or P-Preferred-Service, decoded.
pub(super) fn service_header(value: &[u8]) -> String {
    service(&String::from_utf8_lossy(value))
}

/// Whether the decoded `urn` is the service of a CPM session, its group form included [TERM-INV-11].
pub(super) fn is_session_service(urn: &str) -> bool {
    urn == SESSION || urn.strip_prefix(SESSION) == Some(".group")
}

/// Whether the decoded `urn` is `oma.cpm.<name>`, its group form included.
pub(super) fn is_cpm(urn: &str, name: &str) -> bool {
    urn.strip_prefix(CPM)
        .map(|rest| rest.strip_suffix(".group").unwrap_or(rest))
        == Some(name)
}
