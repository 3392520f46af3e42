//! A shard's turn, as `io`'s driver has it (`shard::World` says in which order): what has come since the last one is told all
//! at once, and only then is the shard asked what it wants.
//!
//! What comes while a shard is away waits for its turn. Connections have the driver's phases: one that is being closed or has
//! ended is told as over only when what it had to send is out, in a later turn; its name stands for it until then.

use std::{net::SocketAddr, time::Duration};

use ringfork::{
    buf::Slice,
    ids::{ConnId, ShardId},
    shard::{ConnectError, Effect, End, World},
    time::Instant,
};

use crate::{
    host::{Host, MEDIA, MSRP, SIP, TCP, UDP},
    io::{Conn, Done, Phase},
    memory::Memory,
    net::{Happening, Net, Side, StreamId},
    told::{Told, count},
};

/// How long a connection that is over may take to send what it has (`flush_timeout`).
const FLUSH: Duration = Duration::from_secs(2);

impl Host {
    /// Something has come for a shard: it has a turn as soon as it is there.
    pub(crate) fn want(&mut self, net: &mut Net, k: usize, at: Instant) {
        let io = &mut self.io[k];
        let at = at.max(io.away).max(net.now);
        if io.next.is_none_or(|next| next > at) {
            io.next = Some(at);
            let shard = ShardId(k as u8);
            net.at(at, Happening::Turn { shard });
        }
    }

    /// One turn of shard `k`, unless it was had earlier.
    pub(crate) fn turn(&mut self, net: &mut Net, k: usize) {
        if self.io[k].next != Some(net.now) {
            return;
        }
        self.io[k].next = None;
        self.io[k].number += 1;
        let mut told = Told::default();
        self.relieve(net, k);
        self.tell(net, k, &mut told);
        let due = self.shards[k].next_due().filter(|at| *at <= net.now);
        if let Some(at) = due {
            if told.all > 0 {
                net.saw("turn with inputs and timers");
            }
            if at < net.now {
                net.saw("timers late");
            }
            self.shards[k].due(net.now);
        }
        count(net, &told);
        while let Some(effect) = self.shards[k].poll_effect() {
            self.carry_out(net, k, effect, &told);
        }
        self.send_all(net, k);
        let wakes = self.shards[k].take_wakes();
        for to in (0..self.shards.len()).filter(|n| wakes & (1 << n) != 0) {
            let (from, to) = (ShardId(k as u8), ShardId(to as u8));
            net.after(Duration::from_micros(5), Happening::Mail { from, to });
        }
        self.shards[k].outbox().end_turn();
        self.rest(net, k);
    }

    /// The end of a turn: when the next is wanted, and for how long the shard is away.
    fn rest(&mut self, net: &mut Net, k: usize) {
        let io = &mut self.io[k];
        io.away = net.now;
        if net.chance(net.faults.away) {
            // Mostly as long as a turn of much work; now and then the machine has something else to do.
            let most = if net.chance(50) {
                300_000
            } else {
                net.faults.away_us
            };
            io.away += Duration::from_micros(1 + net.pick(most) as u64);
        }
        let may_go_on = io.memory.as_ref().is_some_and(Memory::may_go_on);
        let busy = may_go_on
            || !(io.done.is_empty()
                && io.unheard.is_empty()
                && io.rotation.is_empty()
                && io.checks.is_empty()
                && io.drained.is_empty()
                && io.failed.is_empty());
        let next = [
            busy.then_some(net.now),
            io.deadlines.front().map(|d| d.0),
            self.shards[k].next_due(),
        ];
        if let Some(at) = next.into_iter().flatten().min() {
            self.want(net, k, at);
        }
    }

    /// Everything that has happened, in the driver's order.
    fn tell(&mut self, net: &mut Net, k: usize, told: &mut Told) {
        let now = net.now;
        for conn in std::mem::take(&mut self.io[k].failed) {
            told.all += 1;
            match self.io[k].conns.get(conn).map(|c| c.phase) {
                Some(Phase::Open) => self.tell_ended(net, k, conn, End::Reset, true),
                Some(Phase::Ending(how)) => self.tell_ended(net, k, conn, how, true),
                Some(Phase::Flushing) => self.tell_ended(net, k, conn, End::Ours, true),
                Some(Phase::Connecting) | None => {}
            }
        }
        for conn in std::mem::take(&mut self.io[k].drained) {
            told.all += 1;
            self.shards[k].drained(now, conn);
        }
        for conn in std::mem::take(&mut self.io[k].rotation) {
            if let Some(it) = self.io[k].conns.get_mut(conn) {
                it.waits = false;
                self.read(net, k, conn, true, told);
            }
        }
        for done in std::mem::take(&mut self.io[k].done) {
            self.complete(net, k, done, told);
        }
        while let Some((from, bytes)) = self.io[k].unheard.pop_front() {
            (told.all, told.datagrams) = (told.all + 1, told.datagrams + 1);
            self.shards[k].datagram(now, UDP, from, Slice::copied(&bytes));
            // The rest when the time for signalling is over.
            if !self.io[k].unheard.is_empty() && net.chance(100) {
                net.saw("datagrams left to the next turn");
                break;
            }
        }
        self.check(net, k, told);
        while let Some(&(at, conn)) = self.io[k].deadlines.front()
            && at <= now
        {
            self.io[k].deadlines.pop_front();
            let Some(it) = self.io[k]
                .conns
                .get(conn)
                .filter(|c| c.deadline == Some(at))
            else {
                continue;
            };
            net.saw("cut off with something to send");
            told.closed += 1;
            match it.phase {
                Phase::Ending(how) => self.tell_ended(net, k, conn, how, true),
                Phase::Flushing => self.tell_ended(net, k, conn, End::Ours, true),
                Phase::Connecting | Phase::Open => {}
            }
        }
        let given = std::mem::take(&mut self.io[k].given);
        for it in given {
            told.all += 1;
            let (stream, side) = (it.stream, it.side);
            let half = &net.streams[stream.0].half;
            let (local, peer) = (half[side].addr, half[1 - side].addr);
            match self.shards[k].adopted(now, MEDIA, local, peer, &it.bytes) {
                Some(conn) => self.enter(net, k, conn, stream, side, Phase::Open),
                None => net.close(stream, side, true),
            }
        }
        let mail = std::mem::take(&mut self.io[k].mail);
        if mail != 0 {
            told.all += 1;
            if mail.count_ones() > 1 {
                net.saw("turn with letters of several shards");
            }
            while self.shards[k].mail(now) {}
        }
    }

    fn complete(&mut self, net: &mut Net, k: usize, done: Done, told: &mut Told) {
        let now = net.now;
        told.all += u32::from(!matches!(done, Done::Bytes(..)));
        match done {
            Done::Accept(stream) => {
                let half = &net.streams[stream.0].half;
                let (from, to) = (half[0].addr, half[1].addr);
                let socket = if to == SIP { TCP } else { MEDIA };
                debug_assert!(to == SIP || to == MSRP);
                told.accepted += 1;
                match self.shards[k].accepted(now, socket, to, from) {
                    Some(conn) => self.enter(net, k, conn, stream, 1, Phase::Open),
                    None => net.close(stream, 1, true),
                }
            }
            Done::Bytes(stream, side) => {
                if let Some(conn) = self.at(net, k, stream, side) {
                    self.read(net, k, conn, false, told);
                }
            }
            Done::End(stream, side) => {
                if let Some(conn) = self.at(net, k, stream, side) {
                    told.closed += 1;
                    self.peer_ended(net, k, conn);
                }
            }
            Done::Room(stream, side) => {
                if let Some(conn) = self.at(net, k, stream, side)
                    && let Some(it) = self.io[k].conns.get_mut(conn)
                {
                    it.polling = false;
                    self.shards[k].outbox().writable(conn);
                }
            }
            Done::Connected(conn, outcome) => {
                let io = &mut self.io[k];
                let Some(it) = io.conns.get_mut(conn) else {
                    return;
                };
                it.phase = Phase::Open;
                if outcome.is_err() {
                    net.saw("connect failed later");
                    net.streams[it.stream.0].half[it.side].who = Side::Gone;
                    io.conns.remove(conn);
                }
                self.shards[k].connected(now, conn, outcome);
                self.shards[k].outbox().writable(conn);
                self.again(net, k, conn);
            }
        }
    }

    /// The shard's name for its side of a stream.
    fn at(&self, net: &Net, k: usize, stream: StreamId, side: usize) -> Option<ConnId> {
        match net.streams[stream.0].half[side].who {
            Side::Shard(shard, conn) if usize::from(shard.0) == k => Some(conn),
            Side::Shard(..) | Side::Moving | Side::Peer(_) | Side::Gone => None,
        }
    }

    /// A shard has named a connection.
    fn enter(
        &mut self,
        net: &mut Net,
        k: usize,
        conn: ConnId,
        stream: StreamId,
        side: usize,
        phase: Phase,
    ) {
        let io = &mut self.io[k];
        let before = io.conns.len();
        let it = Conn {
            stream,
            side,
            phase,
            blocked: false,
            polling: false,
            given: 0,
            waits: false,
            deadline: None,
        };
        io.conns.insert(conn, it);
        if io.conns.len() == before {
            let what =
                format!("names: shard {k}: {conn:?} was given while the driver had another by it");
            io.wrong.push(what);
        }
        net.streams[stream.0].half[side].who = Side::Shard(ShardId(k as u8), conn);
        self.again(net, k, conn);
    }

    /// Has the next turn look at what waits on a connection.
    pub(crate) fn again(&mut self, net: &Net, k: usize, conn: ConnId) {
        let io = &mut self.io[k];
        if let Some(it) = io.conns.get_mut(conn) {
            let half = &net.streams[it.stream.0].half[it.side];
            let some = if half.waiting.is_empty() {
                half.ended.is_some()
            } else {
                !half.paused
            };
            // Before it is made nothing is received.
            let made = it.phase != Phase::Connecting;
            if some && made && !std::mem::replace(&mut it.waits, true) {
                io.rotation.push_back(conn);
            }
        }
    }

    /// Gives the shard a piece of what waits on a connection, or all of it; its end behind it.
    fn read(&mut self, net: &mut Net, k: usize, conn: ConnId, rotates: bool, told: &mut Told) {
        let settled = self.shards[k].settled(conn);
        let io = &mut self.io[k];
        let Some(it) = io.conns.get_mut(conn) else {
            return;
        };
        let (stream, side) = (it.stream, it.side);
        let half = &mut net.streams[stream.0].half[side];
        match it.phase {
            // It waits: no receive is armed, or what came before has not been given yet.
            Phase::Connecting => return,
            Phase::Open if it.waits => return,
            Phase::Open => {}
            // To drop what still comes.
            Phase::Ending(_) | Phase::Flushing => half.waiting.clear(),
        }
        if !(half.paused || half.waiting.is_empty()) {
            // Whoever is stopped is looked at again once there is memory.
            if it.phase == Phase::Open
                && let Some(memory) = &mut io.memory
                && memory.stops(net, conn)
            {
                return;
            }
            let again = it.given == io.number;
            let full = if settled {
                !rotates && net.chance(30)
            } else {
                again
            };
            if full {
                net.saw("bytes left to the next turn");
                return self.again(net, k, conn);
            }
            it.given = io.number;
            let all = net.chance(if rotates { 700 } else { 300 });
            let waiting = &mut net.streams[stream.0].half[side].waiting;
            let bytes: Vec<u8> = if all {
                waiting.drain(..).flatten().collect()
            } else {
                waiting.pop_front().unwrap_or_default()
            };
            told.all += 1;
            told.bytes.push(conn);
            let slice = match &self.io[k].memory {
                Some(memory) => memory.hand_in(conn, bytes),
                None => Slice::copied(&bytes),
            };
            self.shards[k].received(net.now, conn, slice);
        }
        if net.take_room(stream, 1 - side) {
            crate::lab::note_room(net, stream, 1 - side);
        }
        let half = &net.streams[stream.0].half[side];
        if half.waiting.is_empty() && half.ended.is_some() {
            self.peer_ended(net, k, conn);
        } else if rotates {
            self.again(net, k, conn);
        }
    }

    /// The other side is over. What waits to be handed in comes first.
    fn peer_ended(&mut self, net: &mut Net, k: usize, conn: ConnId) {
        let io = &mut self.io[k];
        let Some(it) = io.conns.get_mut(conn) else {
            return;
        };
        let half = &mut net.streams[it.stream.0].half[it.side];
        let dropped = matches!(it.phase, Phase::Ending(_) | Phase::Flushing);
        if it.phase == Phase::Connecting || !(half.waiting.is_empty() || dropped) {
            return self.again(net, k, conn);
        }
        let Some(reset) = half.ended.take() else {
            return;
        };
        match it.phase {
            Phase::Open if reset => self.tell_ended(net, k, conn, End::Reset, true),
            Phase::Open => {
                it.phase = Phase::Ending(End::Closed);
                self.flush_within(net, k, conn);
            }
            Phase::Ending(how) if reset => self.tell_ended(net, k, conn, how, true),
            Phase::Flushing if reset => self.tell_ended(net, k, conn, End::Ours, true),
            Phase::Ending(_) | Phase::Flushing | Phase::Connecting => {}
        }
    }

    fn flush_within(&mut self, net: &Net, k: usize, conn: ConnId) {
        let io = &mut self.io[k];
        let at = net.now + FLUSH;
        if let Some(it) = io.conns.get_mut(conn) {
            it.deadline = Some(at);
        }
        io.deadlines.push_back((at, conn));
        io.checks.push(conn);
    }

    /// Connections that may be done with what they had to send.
    fn check(&mut self, net: &mut Net, k: usize, told: &mut Told) {
        for conn in std::mem::take(&mut self.io[k].checks) {
            let Some(phase) = self.io[k].conns.get(conn).map(|c| c.phase) else {
                continue;
            };
            if self.shards[k].outbox().backlog(conn) > 0 {
                net.saw("over, with something to send");
                continue;
            }
            let how = match phase {
                Phase::Ending(how) => how,
                Phase::Flushing => End::Ours,
                Phase::Connecting | Phase::Open => continue,
            };
            told.closed += 1;
            self.tell_ended(net, k, conn, how, false);
        }
    }

    /// Tells the shard that a connection is over, and lets go of it.
    fn tell_ended(&mut self, net: &mut Net, k: usize, conn: ConnId, how: End, reset: bool) {
        if let Some(it) = self.io[k].conns.remove(conn) {
            net.trace(|| format!("shard {k} is told that {conn:?} is over: {how:?}, {it:?}"));
            net.close(it.stream, it.side, reset);
            self.shards[k].ended(net.now, conn, how);
        }
    }

    fn carry_out(&mut self, net: &mut Net, k: usize, effect: Effect, told: &Told) {
        let (now, id) = (net.now, ShardId(k as u8));
        if !matches!(effect, Effect::Datagram { .. }) {
            net.trace(|| format!("shard {k} asks for {effect:.60?}"));
        }
        match effect {
            Effect::Datagram { to, bytes, .. } => net.send_datagram(SIP, to, &bytes),
            Effect::Connect { conn, to } => {
                let from = SocketAddr::new(SIP.ip(), 40_000 + (net.streams.len() % 20_000) as u16);
                let fails = !crate::lab::listens(net, to) || net.chance(net.faults.refuse);
                if fails && net.chance(500) {
                    net.saw("connect failed at once");
                    let none = Err(ConnectError::Exhausted);
                    return self.shards[k].connected(now, conn, none);
                }
                let stream = net.connect(Side::Shard(id, conn), from, to);
                if fails {
                    net.streams[stream.0].half[1].who = Side::Gone;
                }
                self.enter(net, k, conn, stream, 0, Phase::Connecting);
            }
            Effect::Close { conn, flush } => {
                let Some(it) = self.io[k].conns.get_mut(conn) else {
                    return net.saw("close of what is over");
                };
                if !flush || it.phase == Phase::Connecting {
                    self.tell_ended(net, k, conn, End::Ours, !flush);
                } else if it.phase != Phase::Flushing {
                    it.phase = Phase::Flushing;
                    net.streams[it.stream.0].half[it.side].paused = false;
                    self.flush_within(net, k, conn);
                    self.again(net, k, conn);
                }
            }
            Effect::Pause { conn } => {
                net.saw("reading stopped");
                if told.bytes.iter().filter(|c| **c == conn).count() > 1 {
                    net.saw("reading stopped behind more bytes");
                }
                if let Some(it) = self.io[k].conns.get(conn) {
                    net.streams[it.stream.0].half[it.side].paused = true;
                }
            }
            Effect::Resume { conn } => {
                if let Some(it) = self.io[k].conns.get(conn) {
                    net.streams[it.stream.0].half[it.side].paused = false;
                    self.again(net, k, conn);
                }
            }
            Effect::HandOver { conn, to, bytes } => {
                net.saw("connection handed over");
                if told.accepted > 0 {
                    net.saw("hand-over and accept in a turn");
                }
                let Some(it) = self.io[k].conns.remove(conn) else {
                    return net.saw("hand-over of what is over");
                };
                let (stream, side) = (it.stream, it.side);
                net.streams[stream.0].half[side].who = Side::Moving;
                let what = Happening::Adopt {
                    stream,
                    side,
                    to,
                    bytes,
                };
                net.after(Duration::from_micros(20), what);
            }
        }
    }

    /// One send for each connection that has something, and what it came to.
    fn send_all(&mut self, net: &mut Net, k: usize) {
        let io = &mut self.io[k];
        while let Some(conn) = self.shards[k].outbox().next_dirty() {
            let outbox = self.shards[k].outbox();
            let waiting = outbox.backlog(conn);
            let Some(it) = io.conns.get_mut(conn) else {
                outbox.sent(conn, waiting, waiting);
                let what = format!(
                    "names: shard {k}: {waiting} bytes for {conn:?}, unknown to the driver"
                );
                io.wrong.push(what);
                continue;
            };
            if it.phase == Phase::Connecting || it.polling {
                outbox.sent(conn, waiting, 0);
                continue;
            }
            let (stream, side) = (it.stream, it.side);
            if net.streams[stream.0].half[1 - side].who == Side::Gone {
                // Nobody is there any more: the socket takes it all the same, until it knows.
                outbox.sent(conn, waiting, waiting);
                if net.chance(500) {
                    net.saw("send failed");
                    io.failed.push(conn);
                } else {
                    io.checks.push(conn);
                }
                continue;
            }
            // As much as fits, and a byte more where there is one: whoever takes less is slow, and says when it is not.
            let mut fits = net.room(stream, side) + 1;
            // Now and then less is offered than there is, as where a vector is full.
            if net.chance(30) {
                fits = 1 + net.pick(fits);
            }
            self.offer.clear();
            for piece in outbox.gather(conn) {
                let n = piece.len().min(fits - self.offer.len());
                self.offer.extend_from_slice(&piece[..n]);
                if self.offer.len() == fits {
                    break;
                }
            }
            let offered = self.offer.len();
            let taken = net.send(stream, side, &self.offer);
            outbox.sent(conn, offered, taken);
            if taken > 0 {
                if it.blocked {
                    io.drained.push(conn);
                }
                if matches!(it.phase, Phase::Ending(_) | Phase::Flushing) {
                    io.checks.push(conn);
                }
            }
            it.blocked = taken < offered;
            it.polling = it.blocked;
        }
    }
}
