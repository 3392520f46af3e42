//! What contacts may hold: number and bytes, in all, of a user, of a source (`limits.rs`).

use super::{Binding, Change, Registrar, refuse};
use crate::sip::{Flow, Reply, holders::source_of};

/// Bytes of one binding: address of record, Contact with its parameters, Path, Call-ID. No device needs half of it. Over it 513
/// (RFC 3261 §21.5.7: the message's length exceeds what we can do); 413 speaks of a body, and nothing is wrong with the syntax.
pub const BINDING_BYTES_MAX: usize = 2 << 10;
/// Bytes of the Contacts in a 200 to REGISTER: it fits a datagram, and who asks in another's name does not make us send him much.
/// Over it 403, as over the number.
const LISTED_BYTES_MAX: usize = 8 << 10;
/// What a binding takes beside what it says: its entry, a timer, what allocations cost.
const BINDING_BESIDE: usize = size_of::<Binding>() + 192;

impl Registrar {
    /// Whether what is added has room: in all, with its user, with the source that it comes from.
    pub(super) fn check_room(
        &mut self,
        aor: &[u8],
        flow: Flow,
        changes: &[Change<'_>],
        beside: usize,
    ) -> Result<(), Reply> {
        let bindings = self.users.get(aor).map_or(&[][..], Vec::as_slice);
        let from = source_of(flow);
        let (mut added, mut moved) = (0, 0);
        let (mut more, mut less) = (0, 0);
        let mut listed: usize = bindings
            .iter()
            .enumerate()
            .filter(|(at, _)| changes.iter().all(|c| c.known != Some(*at)))
            .map(|(_, b)| b.listed())
            .sum();
        for change in changes.iter().filter(|c| !c.expires.is_zero()) {
            if change.bytes() + beside > BINDING_BYTES_MAX {
                self.refused.size += 1;
                return Err(self.too_large(change.bytes() + beside));
            }
            let old = change.known.and_then(|at| bindings.get(at));
            more += change.bytes() + beside + BINDING_BESIDE;
            less += old.map_or(0, Binding::held);
            listed += change.contact.len() + change.params.len() + LISTED_BESIDE;
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
        let more = more.saturating_sub(less);
        let fits = if self.settings.trusted.believes(flow) {
            more <= self.pool.free()
        } else {
            self.pool.allows(self.holders.bytes(flow), more, 2)
        };
        if more > 0 && !fits {
            self.refused.bytes += 1;
            return Err(later());
        }
        if listed > LISTED_BYTES_MAX {
            self.refused.user += 1;
            return Err(refuse(403));
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

    /// Notes a binding of `bytes` that has come by `flow`.
    pub(super) fn take(&mut self, flow: Flow, bytes: usize) {
        self.holders.take(flow, bytes);
        self.pool.take(bytes);
    }

    /// Notes that a binding is gone.
    pub(super) fn leave(&mut self, old: &Binding) {
        self.holders.leave(old.flow, old.held());
        self.pool.give_back(old.held());
    }

    fn too_large(&self, bytes: usize) -> Reply {
        let host = self
            .settings
            .domains
            .first()
            .map_or("ringfork", String::as_str);
        Reply {
            headers: format!(
                "Warning: 399 {host} \"this contact takes {bytes} bytes with its path and Call-ID, {BINDING_BYTES_MAX} are allowed\"\r\n"
            )
            .into_bytes(),
            ..refuse(513)
        }
    }
}

/// What a Contact takes in a list beside its URI and parameters: name, brackets, `expires`, line end.
const LISTED_BESIDE: usize = 40;

impl Binding {
    /// Bytes that it holds in all.
    pub(super) fn held(&self) -> usize {
        usize::from(self.bytes) + BINDING_BESIDE
    }

    /// Bytes of its line in a 200.
    fn listed(&self) -> usize {
        self.contact.len() + self.params.len() + LISTED_BESIDE
    }
}

impl Change<'_> {
    /// What is kept of it. The instance is kept twice, alone and among the parameters.
    pub(super) fn bytes(&self) -> usize {
        let instance = self.instance.as_ref().map_or(0, Vec::len);
        self.contact.len() + self.params.len() + instance
    }
}
