//! One run: a server of one to three shards, users with devices, senders, a network, all of it from one seed.

use std::{net::SocketAddr, time::Duration};

use ringfork::config::{Ack, Config};

use crate::{
    book::{Book, Plant},
    device::{self, Device},
    host::{Host, MSRP, SIP},
    net::{Faults, Happening, Net, Seen, Side, StreamId},
    peer::{self, Kind},
    sender::{self, Line, Sender},
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
        net.saw(seen);
        let config = config(&mut net);
        let host = Host::new(shards, &config, seed);
        let (mut peers, mut book) = (Vec::new(), Book::new(plant));
        // Everybody at once: that is when a turn has much to tell.
        let crowd = !calm && net.pick(4) == 0;
        let (users, most) = if crowd { (2, 3) } else { (1 + net.pick(2), 0) };
        if crowd {
            net.saw("everybody at once");
            (net.faults.away, net.faults.away_us) = (900, 20_000);
        }
        for user in 0..users {
            for _ in 0..(1 + net.pick(4)).max(most) {
                let me = peers.len();
                let mut plan = device_plan(&mut net);
                if crowd {
                    plan.register_at = Duration::ZERO;
                    plan.answer = plan
                        .answer
                        .map(|(_, code)| (Duration::from_millis(10), code));
                }
                let tcp = net.pick(3) == 0;
                book.add_device(me, user);
                peers.push(Peer::Device(Box::new(Device::new(
                    me,
                    user,
                    address(me),
                    tcp,
                    plan,
                ))));
            }
        }
        for user in 0..users {
            let me = peers.len();
            let mut plan = sender_plan(&mut net);
            if crowd {
                plan.invite_at = Duration::from_millis(400);
            }
            let tcp = net.pick(3) == 0;
            peers.push(Peer::Sender(Box::new(Sender::new(
                me,
                user,
                address(me),
                tcp,
                plan,
            ))));
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
        }
        for io in &mut self.host.io {
            self.book.wrong.append(&mut io.wrong);
        }
        self.book.close(&left);
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
                        Peer::Device(d) if d.c.media.is_some_and(|(s, _)| s == stream) => {
                            d.media_ended(&mut self.book)
                        }
                        Peer::Sender(s) if s.c.media.is_some_and(|(m, _)| m == stream) => {
                            s.media_ended(net, &mut self.book)
                        }
                        Peer::Device(d) if d.c.is_sip(stream) => d.c.sip_lost(),
                        Peer::Sender(s) if s.c.is_sip(stream) => s.c.sip_lost(),
                        Peer::Device(_) | Peer::Sender(_) => {}
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
                        Peer::Device(d) => d.c.push(&mut self.net, stream),
                        Peer::Sender(s) => s.c.push(&mut self.net, stream),
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
                match &mut self.peers[n] {
                    Peer::Device(d) => d.media(&mut self.net, &mut self.book, &bytes),
                    Peer::Sender(s) => s.media(&mut self.net, &mut self.book, &bytes),
                }
            }
        }
        if self.net.take_room(stream, 1 - side) {
            note_room(&mut self.net, stream, 1 - side);
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

/// What the operator wrote: the defaults, or small bounds that a run can reach.
fn config(net: &mut Net) -> Config {
    let mut config = Config {
        drain: Duration::from_secs(1),
        ..Config::default()
    };
    if net.pick(3) == 0 {
        net.saw("outbox of 64 KiB");
        config.msrp.outbox_bytes = 64 << 10;
    }
    if net.pick(3) == 0 {
        net.saw("ack receipt");
        config.msrp.ack = Ack::Receipt;
    }
    if net.pick(3) == 0 {
        net.saw("sessions of 90 s");
        config.sip.session_expires = Duration::from_secs(90);
    }
    config.msrp.cema = net.pick(4) != 0;
    config
}

fn ms(net: &mut Net, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + net.pick(usize::try_from(to - from).expect("small")) as u64)
}

fn device_plan(net: &mut Net) -> device::Plan {
    let ring_after = (net.pick(2) == 0).then(|| ms(net, 1, 400));
    let answer = match net.pick(12) {
        0 => None,
        1 => Some((ms(net, 10, 900), 486)),
        2 => Some((ms(net, 10, 900), [480, 603, 404, 500, 200][net.pick(5)])),
        3 => Some((ms(net, 3_000, 20_000), 200)),
        _ => Some((ms(net, 1, 1_500), 200)),
    };
    let ack = match net.pick(14) {
        0 => None,
        1 => Some((Duration::ZERO, 413)),
        2 => Some((ms(net, 30, 3_000), 200)),
        _ => Some((Duration::from_micros(net.pick(2_000) as u64), 200)),
    };
    let kinds = [
        Kind::Chat,
        Kind::Composing,
        Kind::WrappedComposing,
        Kind::Imdn,
    ];
    let acts = (net.pick(2) == 0).then(|| (1 + net.pick(6), kinds[net.pick(4)]));
    let faulty = net.faults.reset > 0;
    device::Plan {
        register_at: ms(net, 0, 300),
        ring_after,
        answer,
        twice: net.pick(6) == 0,
        blank: net.pick(25) == 0,
        setup: if net.pick(2) == 0 {
            "active"
        } else {
            "passive"
        },
        cema: net.pick(2) == 0,
        ack,
        ack_twice: net.pick(8) == 0,
        ack_strange: net.pick(8) == 0,
        acts,
        stalls: (faulty && net.pick(8) == 0).then(|| (1 + net.pick(4), ms(net, 50, 20_000))),
        resets: (faulty && net.pick(12) == 0).then(|| 1 + net.pick(8)),
        leaves: (net.pick(10) == 0).then(|| ms(net, 500, 20_000)),
    }
}

fn sender_plan(net: &mut Net) -> sender::Plan {
    let count = 1 + net.pick(14);
    let (mut at, mut soon) = (Duration::from_millis(20), false);
    // Some write faster than a slow device reads.
    let hasty = net.pick(5) == 0;
    let lines = (0..count)
        .map(|_| {
            let most = if hasty || std::mem::take(&mut soon) {
                40
            } else {
                900
            };
            at += ms(net, 5, most);
            let size = match net.pick(8) {
                0 => 60_000 + net.pick(150_000),
                2 | 3 if hasty => 20_000 + net.pick(100_000),
                1 => 5_000 + net.pick(20_000),
                4 => 130,
                _ => 130 + net.pick(2_000),
            };
            let chunk = (net.pick(3) == 0)
                .then(|| 200 + net.pick(20_000))
                .map(|c| c.max(size / 60));
            let reports = [
                "",
                "",
                "Failure-Report: yes\r\n",
                "Success-Report: yes\r\n",
                "Failure-Report: no\r\n",
                "Failure-Report: partial\r\n",
                "Success-Report: yes\r\nFailure-Report: no\r\n",
            ][net.pick(7)];
            // The chunks of one message are written 2 ms apart; the next message waits for them, or is written in between.
            let line = Line {
                at,
                size,
                chunk,
                reports,
                aborted: net.pick(12) == 0,
            };
            if net.pick(3) == 0 {
                // The next message may begin between the chunks of this one.
                soon = true;
            } else {
                at += Duration::from_millis(2)
                    * u32::try_from(chunk.map_or(1, |c| size / c + 2)).expect("few chunks");
            }
            line
        })
        .collect();
    let settle = match net.pick(9) {
        0..=2 => ms(net, 0, 3_000),
        // Long enough for a session timer.
        3 => Duration::from_secs(150),
        _ => Duration::from_secs(45),
    };
    sender::Plan {
        invite_at: ms(net, 400, 1_200),
        cancel_after: (net.pick(8) == 0).then(|| ms(net, 1, 2_000)),
        setup: ["active", "actpass", "passive"][net.pick(3)],
        cema: net.pick(2) == 0,
        lines,
        resets: (net.faults.reset > 0 && net.pick(20) == 0).then(|| ms(net, 100, 5_000)),
        bye_after: at + settle,
    }
}
