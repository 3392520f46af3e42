//! Which connection is whose: by the port that it came to and the order in which it came.

/// What a connection is in its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Sender,
    Device(usize),
}

/// The connections of one session, by the numbers that their owner gives them.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) sender: Option<usize>,
    pub(super) devices: Vec<Option<usize>>,
}

impl Session {
    pub(super) fn is_whole(&self) -> bool {
        self.sender.is_some() && self.devices.iter().all(Option::is_some)
    }

    /// All that are there.
    pub(super) fn ids(&self) -> Vec<usize> {
        let all = self.sender.iter().chain(self.devices.iter().flatten());
        all.copied().collect()
    }

    /// Who gets what `role` writes.
    pub(super) fn receivers(&self, role: Role) -> &[Option<usize>] {
        match role {
            Role::Sender => &self.devices,
            Role::Device(0) => std::slice::from_ref(&self.sender),
            Role::Device(_) => &[],
        }
    }
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Seats {
    devices_a_session: usize,
    sessions: Vec<Session>,
    senders_seen: usize,
    devices_seen: usize,
}

impl Seats {
    pub(super) fn new(devices_a_session: usize) -> Self {
        Self {
            devices_a_session,
            sessions: Vec::new(),
            senders_seen: 0,
            devices_seen: 0,
        }
    }

    /// Gives the next sender (or device) that comes its place: its session and what it is in it.
    pub(super) fn take(&mut self, is_sender: bool, id: usize) -> (usize, Role) {
        let (session, role) = if is_sender {
            self.senders_seen += 1;
            (self.senders_seen - 1, Role::Sender)
        } else {
            self.devices_seen += 1;
            let j = self.devices_seen - 1;
            let n = self.devices_a_session;
            (j / n, Role::Device(j % n))
        };
        if self.sessions.len() <= session {
            let empty = Session {
                sender: None,
                devices: vec![None; self.devices_a_session],
            };
            self.sessions.resize(session + 1, empty);
        }
        let s = &mut self.sessions[session];
        match role {
            Role::Sender => s.sender = Some(id),
            Role::Device(j) => s.devices[j] = Some(id),
        }
        (session, role)
    }

    pub(super) fn session(&self, session: usize) -> &Session {
        &self.sessions[session]
    }

    /// The j-th of those who get what `role` writes, if they are still there.
    pub(super) fn receiver(&self, session: usize, role: Role, j: usize) -> Option<usize> {
        let all = self.sessions.get(session)?.receivers(role);
        all.get(j).copied().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Takes everybody's place in a session; who had one.
    pub(super) fn end(&mut self, session: usize) -> Vec<usize> {
        let s = &mut self.sessions[session];
        let ids = s.ids();
        s.sender = None;
        s.devices.fill(None);
        ids
    }

    /// All have gone: counting starts again.
    pub(super) fn start_again(&mut self) {
        *self = Self::new(self.devices_a_session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_by_port_and_order() {
        let mut seats = Seats::new(2);
        assert_eq!(seats.take(false, 10), (0, Role::Device(0)));
        assert_eq!(seats.take(true, 11), (0, Role::Sender));
        assert!(!seats.session(0).is_whole());
        assert_eq!(seats.take(false, 12), (0, Role::Device(1)));
        assert!(seats.session(0).is_whole());
        assert_eq!(seats.take(false, 13), (1, Role::Device(0)));
        assert_eq!(seats.take(true, 14), (1, Role::Sender));
        assert_eq!(
            seats.session(0).receivers(Role::Sender),
            [Some(10), Some(12)]
        );
        assert_eq!(seats.session(0).receivers(Role::Device(0)), [Some(11)]);
        assert!(seats.session(0).receivers(Role::Device(1)).is_empty());
        assert_eq!(seats.end(0), [11, 10, 12]);
        assert!(seats.end(0).is_empty(), "nobody ends twice");
        assert_eq!(seats.len(), 2);
        assert_eq!(seats.receiver(1, Role::Sender, 0), Some(13));
        seats.start_again();
        assert_eq!(seats.receiver(1, Role::Sender, 0), None);
        assert_eq!(seats.take(true, 0), (0, Role::Sender));
    }
}
