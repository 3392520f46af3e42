//! What belongs to another shard goes there by mail; what comes by mail goes the way of any input.

use super::{conns::Role, edge::Effect, mail::Letter, world::Shard};
use crate::{
    buf::Slice,
    ids::{ConnId, ShardId},
    sip::{
        Flow,
        route_key::{self, Owner},
    },
    time::Instant,
    wire::sip::{Message, Method},
};

/// Whether a message asks something of us, and then whether it belongs to something that has begun. An ACK is never refused.
fn asks(message: &Message<'_>) -> Option<bool> {
    let method = message.method()?;
    let in_dialog = || message.to().is_ok_and(|to| to.tag().is_some());
    (method != Method::Ack).then(|| method == Method::Cancel || in_dialog())
}

impl Shard {
    /// A whole SIP message: to our endpoint, or unparsed beyond the key to the shard that owns it (design §2).
    pub(super) fn route(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        let (Flow::Udp { peer, .. } | Flow::Stream { peer, .. }) = flow;
        let Ok(message) = Message::parse(bytes) else {
            // Answered 400 where it lets itself be answered, as long as its source does not make a habit of it.
            if self.sources.ask(now, peer.ip(), false) {
                self.endpoint.handle_message(now, flow, bytes);
            } else {
                self.tally.source_requests += 1;
            }
            return;
        };
        self.tally.sip_in(&message);
        if let Some(begun) = asks(&message)
            && !self.sources.ask(now, peer.ip(), begun)
        {
            self.tally.source_requests += 1;
            self.endpoint.refuse(now, flow, bytes);
            return;
        }
        let shards = self.post.shards();
        let (to, begun) = if shards == 1 {
            (self.id, true)
        } else {
            self.owner(now, &message, shards)
        };
        if to == self.id {
            let known = self.endpoint.is_crowded() && self.registrar.knows(now, flow, &message);
            self.endpoint.handle_read(now, flow, &message, known);
            return;
        }
        let bytes: Box<[u8]> = bytes.into();
        let letter = match flow {
            Flow::Udp { socket, peer } => Letter::Datagram {
                socket,
                from: peer,
                bytes,
            },
            Flow::Stream { conn, .. } => {
                if let Some(entry) = self.conns.get_mut(conn) {
                    entry.readers |= 1 << to.0;
                }
                Letter::Message { flow, bytes }
            }
        };
        let sent = if begun {
            self.post.send_reserved(to, letter)
        } else {
            self.post.send(to, letter)
        };
        match sent {
            Ok(()) => {}
            // A datagram is dropped: its sender repeats it. On a stream nobody would, so an initial request is answered.
            Err(Letter::Datagram { .. }) => self.tally.mail_full += 1,
            Err(Letter::Message { flow, bytes }) => {
                self.tally.mail_full += 1;
                self.endpoint.refuse(now, flow, &bytes);
            }
            Err(_) => self.say_mail(to, "a letter that is not SIP was refused"),
        }
    }

    /// What has come by mail: it was sent here because it is ours.
    fn hear(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        match Message::parse(bytes) {
            Ok(message) if self.endpoint.is_crowded() => {
                let known = self.registrar.knows(now, flow, &message);
                self.endpoint.handle_read(now, flow, &message, known);
            }
            Ok(_) | Err(_) => self.endpoint.handle_message(now, flow, bytes),
        }
    }

    /// Whose a message is, and whether it belongs to something that has begun.
    fn owner(&mut self, now: Instant, message: &Message<'_>, shards: u8) -> (ShardId, bool) {
        match route_key::owner(message, shards) {
            Owner::Shard(shard) => (shard, true),
            Owner::Branch(shard) => (self.branches.find(now, message).unwrap_or(shard), true),
            Owner::User(shard) => {
                if message.method() == Some(Method::Invite) {
                    self.branches.note(now, message, shard);
                }
                (shard, false)
            }
        }
    }

    /// Takes a letter of each other shard. Whether more wait.
    pub(super) fn read_mail(&mut self, now: Instant) -> bool {
        let mut more = false;
        for from in (0..self.post.shards()).map(ShardId) {
            if let Some(letter) = self.post.receive(from) {
                self.read(now, from, letter);
                more |= self.post.waits(from);
            }
        }
        more
    }

    fn read(&mut self, now: Instant, from: ShardId, letter: Letter) {
        match letter {
            Letter::Datagram {
                socket,
                from: peer,
                bytes,
            } => {
                self.hear(now, Flow::Udp { socket, peer }, &bytes);
            }
            Letter::Message { flow, bytes } => self.hear(now, flow, &bytes),
            Letter::Stream { conn, bytes } => match self.conns.get_mut(conn) {
                Some(entry) => {
                    // Whoever sends on it is told when it is gone.
                    entry.readers |= 1 << from.0;
                    self.send_stream(conn, &bytes);
                }
                None => {
                    let sent = self.post.send(from, Letter::Unsent { conn, bytes });
                    self.tally.mail_full += u64::from(sent.is_err());
                }
            },
            Letter::Unsent { conn, bytes } => {
                self.endpoint.handle_unsent(now, from, conn, &bytes);
            }
            Letter::Part { conn } => {
                let sent = self.post.send(from, Letter::Parted { conn });
                self.tally.mail_full += u64::from(sent.is_err());
            }
            Letter::Parted { conn } => self.parted(conn, from),
            Letter::StreamGone { conn } => self.endpoint.handle_closed(now, from, conn),
            Letter::Frames { conn, peer, bytes } => {
                let known = self.far.iter().copied().find(|c| {
                    matches!(self.conns.get(*c).map(|e| &e.role), Some(Role::Far { home, conn: theirs }) if *home == from && *theirs == conn)
                });
                let known = known.or_else(|| {
                    let new = self.conns.insert(Role::Far { home: from, conn }, peer)?;
                    self.outbox.add(new);
                    self.far.push(new);
                    self.plane.handle_accepted(now, new);
                    Some(new)
                });
                if let Some(conn) = known {
                    self.plane
                        .handle_bytes(now, conn, Slice::passing(bytes), &mut self.outbox);
                }
            }
            Letter::Reply { conn, bytes } => {
                // Whole frames of another shard: ours makes way first, and goes on under a new head.
                self.plane.interrupt(now, conn, &mut self.outbox);
                self.send_stream(conn, &bytes);
            }
            Letter::FramesDone { conn } => {
                if let Some(entry) = self.conns.get_mut(conn) {
                    entry.readers &= !(1 << from.0);
                    if entry.readers == 0 {
                        self.plane.given_back(now, conn);
                    }
                }
            }
            Letter::FramesGone { conn } => {
                let gone = self.far.iter().copied().find(|c| {
                    matches!(self.conns.get(*c).map(|e| &e.role), Some(Role::Far { home, conn: theirs }) if *home == from && *theirs == conn)
                });
                if let Some(conn) = gone {
                    self.plane.handle_closed(now, conn, &mut self.outbox);
                    self.forget(conn);
                }
            }
        }
        self.settle(now);
    }

    /// The first request of an MSRP connection names a session of another shard: the connection goes there for good.
    pub(super) fn hand_over(&mut self, conn: ConnId, to: ShardId, bytes: Vec<u8>) {
        self.tally.handed_over += 1;
        if let Some(entry) = self.conns.get_mut(conn) {
            entry.closing = true;
        }
        self.effects.push_back(Effect::HandOver { conn, to, bytes });
    }

    /// Bytes that came behind the first request before the driver was told: they go with the connection. `false`: it does not
    /// leave.
    pub(super) fn goes_along(&mut self, conn: ConnId, more: &[u8]) -> bool {
        let leaves = self.effects.iter_mut().find_map(|effect| match effect {
            Effect::HandOver { conn: c, bytes, .. } if *c == conn => Some(bytes),
            Effect::HandOver { .. }
            | Effect::Datagram { .. }
            | Effect::Connect { .. }
            | Effect::Close { .. }
            | Effect::Pause { .. }
            | Effect::Resume { .. } => None,
        });
        leaves.map(|bytes| bytes.extend_from_slice(more)).is_some()
    }

    /// Frames of another shard's session, on a connection that stays here.
    pub(super) fn mail_frames(&mut self, conn: ConnId, to: ShardId, bytes: Vec<u8>) {
        let Some(entry) = self.conns.get_mut(conn) else {
            return;
        };
        entry.readers |= 1 << to.0;
        let letter = Letter::Frames {
            conn,
            peer: entry.peer,
            bytes: bytes.into(),
        };
        if self.post.send(to, letter).is_err() {
            // A frame cut short cannot be mended: the connection is closed, its peer sees a lost connection.
            self.tally.connections_overrun += 1;
            self.close(conn, false);
        }
    }

    /// What this shard's sessions have to say on connections of others, all of it: the driver knows none of these, and would
    /// drop what it finds there.
    pub(super) fn mail_far_replies(&mut self) {
        while self.mail_far_once() {}
    }

    /// A round of it. Without a place in the mail it waits as for a slow peer, and counts as its lag. True: who was slow has
    /// room, and sessions may have said more.
    fn mail_far_once(&mut self) -> bool {
        let now = self.clock;
        let mut more = false;
        self.far_waits = false;
        for i in 0..self.far.len() {
            let Some(conn) = self.far.get(i).copied() else {
                break;
            };
            let Some(Role::Far { home, conn: theirs }) = self.conns.get(conn).map(|c| &c.role)
            else {
                continue;
            };
            let (home, theirs) = (*home, *theirs);
            if self.outbox.backlog(conn) == 0 {
                continue;
            }
            // Only whole frames travel: an open one is interrupted, and goes on under a new head.
            self.plane.interrupt(now, conn, &mut self.outbox);
            if !self.post.has_place(home) {
                self.far_waits = true;
                self.outbox.sent(conn, self.outbox.backlog(conn), 0);
                continue;
            }
            let slow = self.outbox.slow(conn);
            let bytes = self.outbox.take(conn);
            let letter = Letter::Reply {
                conn: theirs,
                bytes: bytes.into(),
            };
            // There was a place, and nobody else writes to this box.
            self.tally.mail_full += u64::from(self.post.send(home, letter).is_err());
            if slow {
                self.plane.handle_drained(now, conn, &mut self.outbox);
                self.settle(now);
                more = true;
            }
        }
        more
    }

    /// Tells the shards in `readers` that a connection of ours is gone.
    pub(super) fn tell_readers(
        &mut self,
        readers: u64,
        letter: impl Fn(ConnId) -> Letter,
        conn: ConnId,
    ) {
        for n in (0..self.post.shards()).filter(|n| readers & (1 << n) != 0) {
            if self.post.send(ShardId(n), letter(conn)).is_err() {
                self.tally.mail_full += 1;
                self.say_mail(ShardId(n), "no place to say that a connection is gone");
            }
        }
    }
}
