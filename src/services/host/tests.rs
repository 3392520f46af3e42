use std::{io::Read as _, net::UdpSocket, rc::Rc, time::Duration};

use super::{super::control, *};
use crate::{
    buf::{Outbox, Slice},
    ids::{ConnId, SocketId},
    shard::{ConnectError, Effect, End, report::Report},
    time::Instant,
};

/// A world that sends datagrams back with its number, refuses connections, and answers questions.
struct Echo {
    seat: Seat,
    outbox: Outbox,
    effects: Vec<Effect>,
}

impl Echo {
    fn new(seat: Seat) -> Self {
        Self {
            seat,
            outbox: Outbox::new(1 << 20),
            effects: Vec::new(),
        }
    }
}

impl World for Echo {
    fn accepted(
        &mut self,
        _: Instant,
        _: SocketId,
        _: SocketAddr,
        _: SocketAddr,
    ) -> Option<ConnId> {
        None
    }
    fn adopted(
        &mut self,
        _: Instant,
        _: SocketId,
        _: SocketAddr,
        _: SocketAddr,
        _: &[u8],
    ) -> Option<ConnId> {
        None
    }
    fn settled(&self, _: ConnId) -> bool {
        true
    }
    fn connected(&mut self, _: Instant, _: ConnId, _: Result<SocketAddr, ConnectError>) {}
    fn received(&mut self, _: Instant, _: ConnId, _: Slice) {}
    fn ended(&mut self, _: Instant, _: ConnId, _: End) {}
    fn datagram(&mut self, _: Instant, socket: SocketId, from: SocketAddr, bytes: Slice) {
        assert!(&*bytes != b"panic", "as asked");
        let bytes: Rc<[u8]> = [&*bytes, b" ", &[b'0' + self.seat.shard.0]].concat().into();
        self.effects.push(Effect::Datagram {
            socket,
            to: from,
            bytes,
        });
    }
    fn drained(&mut self, _: Instant, _: ConnId) {}
    fn signals(&self, _: ConnId) -> bool {
        false
    }
    fn mail(&mut self, _: Instant) -> bool {
        while let Some(ask) = self.seat.post.question() {
            let sessions = u64::from(self.seat.shard.0) + 1;
            let report = Report {
                sessions,
                ..Report::default()
            };
            (ask.reply)(Answer::Counters(Box::new(report)));
        }
        false
    }
    fn due(&mut self, _: Instant) {}
    fn next_due(&self) -> Option<Instant> {
        None
    }
    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }
    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }
    fn pressure(&mut self, _: Instant, _: usize, _: usize) {}
    fn take_wakes(&mut self) -> u64 {
        0
    }
}

fn config(shards: u8) -> Arc<Config> {
    let mut config = Config::ephemeral();
    config.shards = Some(shards);
    config.limits.connections = 64;
    config.limits.receive_bytes = 1 << 20;
    Arc::new(config)
}

fn started(config: &Arc<Config>) -> (Server, super::super::Wishes) {
    let (control, wishes) = control();
    let ground = Ground::probe(config).unwrap();
    let server = start(config, &ground, Clock::start(), &control, Echo::new).unwrap();
    (server, wishes)
}

fn ask(shards: &dyn Shards, shard: u8) -> Option<u64> {
    let (tx, rx) = mpsc::channel();
    let reply = Box::new(move |answer| tx.send(answer).unwrap());
    if !shards.ask(ShardId(shard), Question::Counters, reply) {
        return None;
    }
    match rx.recv_timeout(Duration::from_secs(5)) {
        Ok(Answer::Counters(report)) => {
            assert!(report.ring.iter().any(|(name, _)| *name == "turns"));
            Some(report.sessions)
        }
        other => panic!("{other:?}"),
    }
}

/// Waits anew where the kernel's end of a ring that this thread has tried breaks off the wait.
fn patiently<T>(mut wait: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match wait() {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[test]
fn every_shard_answers_its_mail_and_stops() {
    for n in [1, 2, 5] {
        let (server, _wishes) = started(&config(n));
        for shard in 0..n {
            assert_eq!(ask(&*server.shards, shard), Some(u64::from(shard) + 1));
        }
        assert_eq!(ask(&*server.shards, n), None, "there is no such shard");
        assert_eq!(server.shards.count(), usize::from(n));
        server.threads.stop();
    }
}

#[test]
fn sip_has_one_port_for_both_transports_and_is_reached_there() {
    let (server, _wishes) = started(&config(2));
    let a = &server.addresses;
    assert_eq!(a.sip[0].transport, Transport::Udp);
    assert_eq!(a.sip[1].transport, Transport::Tcp);
    assert_eq!(a.sip[0].addr, a.sip[1].addr);
    assert!(a.msrp[0].addr.port() != 0 && a.admin.port() != 0);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket.send_to(b"hello", a.sip[0].addr).unwrap();
    let mut buffer = [0; 64];
    let (n, from) = patiently(|| socket.recv_from(&mut buffer)).unwrap();
    assert_eq!(from, a.sip[0].addr);
    assert!([&b"hello 0"[..], b"hello 1"].contains(&&buffer[..n]));
    // A stream that is refused is reset, not left hanging.
    let mut stream = std::net::TcpStream::connect(a.msrp[0].addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    assert_eq!(patiently(|| stream.read(&mut buffer)).unwrap_or(0), 0);
}

#[test]
fn a_shard_that_panics_is_told() {
    let (server, mut wishes) = started(&config(1));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .send_to(b"panic", server.addresses.sip[0].addr)
        .unwrap();
    let wish = wishes.0.blocking_recv();
    assert_eq!(wish, Some(super::super::phase::Wish::Failed(ShardId(0))));
    server.threads.stop();
}

#[test]
fn an_address_that_is_taken_is_told_and_nothing_is_left_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let (control, _wishes) = control();
    for what in ["msrp", "admin"] {
        let mut config = (*config(2)).clone();
        match what {
            "msrp" => config.msrp.listen[0].addr = addr,
            _ => config.admin.listen = addr,
        }
        let config = Arc::new(config);
        let ground = Ground::probe(&config).unwrap();
        let outcome = start(&config, &ground, Clock::start(), &control, Echo::new);
        let told = outcome.err().expect("the address is taken").to_string();
        assert!(told.contains(&addr.to_string()), "{told}");
    }
}

#[test]
fn what_can_be_switched_off_has_the_names_that_the_driver_has() {
    assert_eq!(config::FEATURES, Feature::ALL.map(Feature::name));
}

#[test]
fn what_is_switched_off_is_not_used_and_said() {
    let mut config = (*config(1)).clone();
    config.io.features_off = vec!["incremental", "fixed_files"];
    let ground = Ground::probe(&config).unwrap();
    for off in [Feature::Incremental, Feature::FixedFiles] {
        assert!(!ground.features.has(off));
        assert!(ground.without.iter().any(|(f, _)| *f == off));
    }
    assert_eq!(
        ground.settings.connections as usize,
        ground.limits.connections
    );
}

#[test]
fn shards_draw_from_different_chance() {
    let seeds: std::collections::BTreeSet<_> =
        (0..64).map(|n| for_shard([7; 32], ShardId(n))).collect();
    assert_eq!(seeds.len(), 64);
}
