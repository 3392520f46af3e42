//! One run: a server of one to three shards, users with devices, senders, a network, all of it from one seed.

use std::{net::SocketAddr, time::Duration};

use crate::{
    book::{Book, Plant},
    device::Device,
    host::{Host, MSRP, SIP},
    more::More,
    net::{Faults, Happening, Net, Seen, Side, StreamId},
    peer,
    plan::{config, device_plan, sender_plan},
    sender::Sender,
    text,
};

enum Peer {
    Device(Box<Device>),
    Sender(Box<Sender>),
}

pub(crate) struct Lab {
    net: Net,
    host: Host,
    peers: Vec<Peer>,
    pub(crate) book: Book,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) wrong: Vec<String>,
    pub(crate) deliveries: u64,
    pub(crate) activities: u64,
    pub(crate) seen: Seen,
}

thread_local! {
    /// Streams on which a side may write again: (stream, side that writes).
    static ROOM: std::cell::RefCell<Vec<(StreamId, usize)>> = const { std::cell::RefCell::new(Vec::new()) };
    /// Streams whose reader takes up reading.
    static READABLE: std::cell::RefCell<Vec<(StreamId, usize)>> = const { std::cell::RefCell::new(Vec::new()) };
}

pub(crate) fn note_room(_net: &mut Net, stream: StreamId, side: usize) {
    ROOM.with_borrow_mut(|r| r.push((stream, side)));
}

pub(crate) fn note_readable(_net: &mut Net, stream: StreamId, side: usize) {
    READABLE.with_borrow_mut(|r| r.push((stream, side)));
}

/// Whether a peer listens for streams there: devices and senders on 7000, all on their SIP port.
pub(crate) fn listens(_net: &Net, to: SocketAddr) -> bool {
    to.port() == 7000
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, u8::try_from(n + 1).expect("few peers")], 5060))
}

impl Lab {
    pub(crate) fn new(seed: u64, plant: Option<Plant>) -> Self {
        let calm = seed.is_multiple_of(4);
        let faults = if calm {
            Faults {
                lose: 0,
                double: 0,
                late: 0,
                stall: 0,
                reset: 0,
                refuse: 0,
                away: 0,
                away_us: 3_000,
            }
        } else {
            Faults {
                lose: 60,
                double: 40,
                late: 60,
                stall: 8,
                reset: 30,
                refuse: 30,
                away: 0,
                away_us: 3_000,
            }
        };
        let mut net = Net::new(seed, faults);
        if !calm {
            net.faults.away = [0, 30, 300, 900][net.pick(4)];
        }
        let (shards, seen) = [
            (1, "one shard"),
            (1, "one shard"),
            (2, "two shards"),
            (5, "five shards"),
        ][net.pick(4)];
        let mut more = More::new(seed);
        let (shards, seen) = if more.places.is_some() {
            // Others to write to, who are away for long.
            (net.faults.away, net.faults.away_us) = (900, 20_000);
            (2, "two shards")
        } else {
            (shards, seen)
        };
        net.saw(seen);
        let config = config(&mut net);
        let host = Host::new(shards, &config, seed, &mut more);
        let (mut peers, mut book) = (Vec::new(), Book::new(plant));
        // Everybody at once: that is when a turn has much to tell.
        let crowd = !calm && net.pick(4) == 0;
        let (users, most) = if crowd { (2, 3) } else { (1 + net.pick(2), 0) };
        let users = if more.shares { 2 } else { users };
        if crowd {
            net.saw("everybody at once");
            (net.faults.away, net.faults.away_us) = (900, 20_000);
        }
        for user in 0..users {
            for nth in 0..(1 + net.pick(4)).max(most) {
                let me = peers.len();
                let mut plan = device_plan(&mut net);
                if crowd {
                    plan.register_at = Duration::ZERO;
                    plan.answer = plan
                        .answer
                        .map(|(_, code)| (Duration::from_millis(10), code));
                }
                let tcp = net.pick(3) == 0;
                more.device(&mut plan);
                book.add_device(me, user);
                let mut device = Device::new(me, user, address(me), tcp, plan);
                device.c.group = more.shares.then_some(1 + nth);
                peers.push(Peer::Device(Box::new(device)));
            }
        }
        for user in 0..users {
            let me = peers.len();
            let mut plan = sender_plan(&mut net);
            if crowd {
                plan.invite_at = Duration::from_millis(400);
            }
            let tcp = net.pick(3) == 0;
            more.sender(&mut plan);
            let mut sender = Sender::new(me, user, address(me), tcp, plan);
            sender.c.group = more.shares.then_some(0);
            peers.push(Peer::Sender(Box::new(sender)));
        }
        for peer in &mut peers {
            match peer {
                Peer::Device(d) => d.start(&mut net),
                Peer::Sender(s) => s.start(&mut net),
            }
        }
        Self {
            net,
            host,
            peers,
            book,
        }
    }

    /// Runs until everybody has been quiet for long enough.
    pub(crate) fn run(mut self) -> Outcome {
        let end = self.net.now + Duration::from_secs(400);
        let mut events = 0_u64;
        while let Some(what) = self.net.next(end) {
            events += 1;
            if events > 2_000_000 {
                self.book
                    .wrong
                    .push("zero: the run does not end".to_owned());
                break;
            }
            self.happen(what);
            self.pump();
        }
        let mut left = Vec::new();
        for (n, shard) in self.host.shards.iter().enumerate() {
            if !shard.is_idle() {
                left.push(format!("shard {n}: {}", shard.what_is_left()));
            }
            for (bound, times) in shard.report().limits_reached {
                if times > 0 {
                    self.net.saw(bound);
                }
            }
        }
        for io in &mut self.host.io {
            if let Some(memory) = &io.memory
                && memory.pinned() > 0
            {
                left.push(format!("{} bytes of receive memory", memory.pinned()));
            }
            self.book.wrong.append(&mut io.wrong);
        }
        self.book.close(&left);
        if self.book.races > 0 {
            self.net.saw("two devices active at once");
        }
        Outcome {
            wrong: self.book.wrong,
            deliveries: self.book.deliveries,
            activities: self.book.activities,
            seen: self.net.seen,
        }
    }

    fn happen(&mut self, what: Happening) {
        let net = &mut self.net;
        if let Happening::Ended { .. } | Happening::Cut { .. } | Happening::Opened { .. } = what {
            net.trace(|| format!("{what:?}"));
        }
        match what {
            Happening::Alarm { peer, token } => match &mut self.peers[peer] {
                Peer::Device(d) => {
                    if let Some(todo) = d.c.todo(token) {
                        d.todo(net, &mut self.book, todo);
                    }
                }
                Peer::Sender(s) => {
                    if let Some(todo) = s.c.todo(token) {
                        s.todo(net, &mut self.book, todo);
                    }
                }
            },
            Happening::Datagram { from, to, bytes } if to == SIP => {
                self.host
                    .handle(net, Happening::Datagram { from, to, bytes });
            }
            Happening::Datagram { to, bytes, .. } => {
                if let Some(n) = self.peer_at(to) {
                    self.sip(n, &bytes);
                }
            }
            Happening::Opened { stream } => {
                let to = net.streams[stream.0].half[1].addr;
                if to == SIP || to == MSRP {
                    self.host.handle(net, Happening::Opened { stream });
                } else if net.streams[stream.0].half[1].who == Side::Gone {
                    self.host.handle(net, Happening::Made { stream });
                } else if let Some(n) = self.peers.iter().position(|p| p.addr().ip() == to.ip()) {
                    net.streams[stream.0].half[1].who = Side::Peer(n);
                    match &mut self.peers[n] {
                        Peer::Device(d) => d.accepted(net, stream),
                        Peer::Sender(s) => s.accepted(net, stream),
                    }
                    self.release(stream, 1);
                    self.net
                        .after(Duration::from_micros(200), Happening::Made { stream });
                }
            }
            Happening::Bytes {
                stream,
                side,
                bytes,
            } => match net.streams[stream.0].half[side].who {
                Side::Peer(_) => {
                    let half = &mut net.streams[stream.0].half[side];
                    half.in_flight -= bytes.len();
                    half.waiting.push_back(bytes);
                    self.release(stream, side);
                }
                Side::Shard(..) | Side::Moving => self.host.handle(
                    net,
                    Happening::Bytes {
                        stream,
                        side,
                        bytes,
                    },
                ),
                Side::Gone => {}
            },
            Happening::Ended {
                stream,
                side,
                reset,
            } => match net.streams[stream.0].half[side].who {
                Side::Peer(n) => {
                    net.streams[stream.0].half[side].who = Side::Gone;
                    match &mut self.peers[n] {
                        Peer::Device(d) if d.c.is_sip(stream) => d.c.sip_lost(),
                        Peer::Sender(s) if s.c.is_sip(stream) => s.c.sip_lost(),
                        Peer::Device(_) | Peer::Sender(_) => {}
                    }
                    for n in std::mem::take(&mut net.streams[stream.0].media.peers) {
                        match &mut self.peers[n] {
                            Peer::Device(d) if d.c.is_media(stream) => {
                                d.media_ended(&mut self.book);
                            }
                            Peer::Sender(s) if s.c.is_media(stream) => {
                                s.media_ended(net, &mut self.book);
                            }
                            Peer::Device(_) | Peer::Sender(_) => {}
                        }
                    }
                }
                Side::Shard(..) => self.host.handle(
                    net,
                    Happening::Ended {
                        stream,
                        side,
                        reset,
                    },
                ),
                Side::Moving => net.after(
                    Duration::from_millis(1),
                    Happening::Ended {
                        stream,
                        side,
                        reset,
                    },
                ),
                Side::Gone => {}
            },
            Happening::Cut { stream } => {
                for side in 0..2 {
                    if net.streams[stream.0].half[side].who != Side::Gone {
                        net.saw("stream reset");
                        let reset = true;
                        net.after(
                            Duration::ZERO,
                            Happening::Ended {
                                stream,
                                side,
                                reset,
                            },
                        );
                    }
                }
            }
            other @ (Happening::Adopt { .. }
            | Happening::Made { .. }
            | Happening::Mail { .. }
            | Happening::Turn { .. }) => self.host.handle(net, other),
        }
    }

    /// Lets those write, or read, who could not.
    fn pump(&mut self) {
        loop {
            let room: Vec<_> = ROOM.with_borrow_mut(std::mem::take);
            let readable: Vec<_> = READABLE.with_borrow_mut(std::mem::take);
            if room.is_empty() && readable.is_empty() {
                return;
            }
            for (stream, side) in readable {
                self.release(stream, side);
            }
            for (stream, side) in room {
                match self.net.streams[stream.0].half[side].who {
                    Side::Shard(..) => self.host.room(&mut self.net, stream, side),
                    Side::Peer(n) => match &mut self.peers[n] {
                        Peer::Device(d) => d.c.push(&mut self.net, stream, side),
                        Peer::Sender(s) => s.c.push(&mut self.net, stream, side),
                    },
                    Side::Moving | Side::Gone => {}
                }
            }
        }
    }

    /// Hands what waits on a stream to the peer that reads it.
    fn release(&mut self, stream: StreamId, side: usize) {
        loop {
            let half = &mut self.net.streams[stream.0].half[side];
            let Side::Peer(n) = half.who else { return };
            if half.paused {
                return;
            }
            let Some(bytes) = half.waiting.pop_front() else {
                break;
            };
            let is_sip = match &self.peers[n] {
                Peer::Device(d) => d.c.is_sip(stream),
                Peer::Sender(s) => s.c.is_sip(stream),
            };
            if is_sip {
                let whole = match &mut self.peers[n] {
                    Peer::Device(d) => d.c.sip_bytes(&bytes),
                    Peer::Sender(s) => s.c.sip_bytes(&bytes),
                };
                for m in whole {
                    self.sip(n, &m);
                }
            } else {
                self.net.streams[stream.0].media.input.extend(bytes);
                self.frames(stream, side);
            }
        }
        if self.net.take_room(stream, 1 - side) {
            note_room(&mut self.net, stream, 1 - side);
        }
    }

    /// Hands whole frames to the peers that they are for.
    fn frames(&mut self, stream: StreamId, side: usize) {
        while let Side::Peer(owner) = self.net.streams[stream.0].half[side].who {
            let media = &mut self.net.streams[stream.0].media;
            let Some(frame) = text::frame(&mut media.input)
                .unwrap_or_else(|e| panic!("peer {owner}: the server writes MSRP: {e}"))
            else {
                return;
            };
            let to = if media.shared {
                let at = |n: &&usize| match &self.peers[**n] {
                    Peer::Device(d) => d.is_at(frame.get("To-Path")),
                    Peer::Sender(s) => s.is_at(frame.get("To-Path")),
                };
                media.peers.iter().find(at).copied()
            } else {
                Some(owner)
            };
            match to.map(|n| &mut self.peers[n]) {
                Some(Peer::Device(d)) => d.frame(&mut self.net, &mut self.book, frame),
                Some(Peer::Sender(s)) => s.frame(&mut self.net, &mut self.book, frame),
                None => self.net.saw("frame for a session that has left"),
            }
        }
    }

    fn sip(&mut self, n: usize, bytes: &[u8]) {
        self.net
            .trace(|| format!("peer {n} gets {}", peer::gist(bytes)));
        match &mut self.peers[n] {
            Peer::Device(d) => d.sip(&mut self.net, &mut self.book, bytes),
            Peer::Sender(s) => s.sip(&mut self.net, &mut self.book, bytes),
        }
    }

    fn peer_at(&self, addr: SocketAddr) -> Option<usize> {
        self.peers.iter().position(|p| p.addr() == addr)
    }
}

impl Peer {
    fn addr(&self) -> SocketAddr {
        match self {
            Self::Device(d) => d.c.addr,
            Self::Sender(s) => s.c.addr,
        }
    }
}
