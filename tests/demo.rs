//! The demonstration judges: over a server that does one thing wrong it says so, and at which step.
#![allow(
    clippy::unwrap_used,
    reason = "tests: what is not there is what is wrong"
)]

use std::{net::SocketAddr, sync::Arc};

use ringfork::{
    buf::{Outbox, Slice},
    config::Config,
    demo,
    ids::{ConnId, SocketId},
    io::Clock,
    services::{
        control,
        host::{self, Ground},
    },
    shard::{ConnectError, Effect, End, Shard, World},
    time::Instant,
};

/// What a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// It changes a word.
    Word,
    /// It tells nobody that he is torn down.
    NoBye,
    /// It rings no device.
    NoInvite,
}

/// A shard with a flaw.
struct Flawed(Shard, Flaw);

impl World for Flawed {
    fn accepted(
        &mut self,
        now: Instant,
        socket: SocketId,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Option<ConnId> {
        self.0.accepted(now, socket, local, peer)
    }

    fn adopted(
        &mut self,
        now: Instant,
        socket: SocketId,
        local: SocketAddr,
        peer: SocketAddr,
        bytes: &[u8],
    ) -> Option<ConnId> {
        self.0.adopted(now, socket, local, peer, bytes)
    }

    fn settled(&self, conn: ConnId) -> bool {
        self.0.settled(conn)
    }

    fn connected(&mut self, now: Instant, conn: ConnId, outcome: Result<SocketAddr, ConnectError>) {
        self.0.connected(now, conn, outcome);
    }

    fn received(&mut self, now: Instant, conn: ConnId, bytes: Slice) {
        let word = memchr::memmem::find(&bytes, b"Hi Bob");
        let bytes = match word.filter(|_| self.1 == Flaw::Word) {
            None => bytes,
            Some(at) => {
                let mut changed = bytes.to_vec();
                changed[at + 3] = b'R';
                Slice::copied(&changed)
            }
        };
        self.0.received(now, conn, bytes);
    }

    fn ended(&mut self, now: Instant, conn: ConnId, how: End) {
        self.0.ended(now, conn, how);
    }

    fn datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, bytes: Slice) {
        self.0.datagram(now, socket, from, bytes);
    }

    fn drained(&mut self, now: Instant, conn: ConnId) {
        self.0.drained(now, conn);
    }

    fn mail(&mut self, now: Instant) -> bool {
        self.0.mail(now)
    }

    fn signals(&self, conn: ConnId) -> bool {
        self.0.signals(conn)
    }

    fn due(&mut self, now: Instant) {
        self.0.due(now);
    }

    fn next_due(&self) -> Option<Instant> {
        self.0.next_due()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        let unsaid: Option<&[u8]> = match self.1 {
            Flaw::NoBye => Some(b"BYE "),
            Flaw::NoInvite => Some(b"INVITE "),
            Flaw::None | Flaw::Word => None,
        };
        loop {
            let effect = self.0.poll_effect()?;
            let is_unsaid = match &effect {
                Effect::Datagram { bytes, .. } => unsaid.is_some_and(|u| bytes.starts_with(u)),
                Effect::Connect { .. }
                | Effect::Close { .. }
                | Effect::Pause { .. }
                | Effect::Resume { .. }
                | Effect::HandOver { .. } => false,
            };
            if !is_unsaid {
                return Some(effect);
            }
        }
    }

    fn outbox(&mut self) -> &mut Outbox {
        self.0.outbox()
    }

    fn pressure(&mut self, now: Instant, pinned: usize, total: usize) {
        self.0.pressure(now, pinned, total);
    }

    fn take_wakes(&mut self) -> u64 {
        self.0.take_wakes()
    }
}

/// Plays over a server of one shard with this flaw.
fn play(flaw: Flaw) -> demo::Outcome {
    let mut config = Config::ephemeral();
    config.shards = Some(1);
    config.limits.receive_bytes = 1 << 20;
    config.limits.connections = 100;
    let config = Arc::new(config);
    let ground = Ground::probe(&config).expect("the kernel has what it takes");
    let (control, _wishes) = control();
    let server = host::start(&config, &ground, Clock::start(), &control, move |seat| {
        Flawed(seat.into_shard(), flaw)
    })
    .expect("it starts");
    let outcome = demo::play(server.addresses.sip[0].addr, Clock::start());
    server.threads.stop();
    outcome
}

/// The last step that was played, and whether all went well.
#[track_caller]
fn check(flaw: Flaw, step: &str) {
    let outcome = play(flaw);
    let last = outcome.steps.last().expect("a step");
    assert!(last.name.contains(step), "{flaw:?}: {:?}", outcome.steps);
    assert_eq!(
        (outcome.ok, last.ok),
        (flaw == Flaw::None, flaw == Flaw::None)
    );
    let before = &outcome.steps[..outcome.steps.len() - 1];
    assert!(before.iter().all(|s| s.ok), "{:?}", outcome.steps);
}

#[test]
fn a_server_without_a_flaw_is_seen_to_the_end() {
    check(Flaw::None, "devices leave");
}

#[test]
fn a_word_that_was_changed_is_seen() {
    check(Flaw::Word, "the message reaches every device");
}

#[test]
fn a_teardown_that_nobody_hears_of_is_seen() {
    check(Flaw::NoBye, "the others are torn down");
}

#[test]
fn a_device_that_does_not_ring_is_seen() {
    check(Flaw::NoInvite, "rings and answers");
}
