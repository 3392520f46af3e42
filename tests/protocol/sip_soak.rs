//! Whatever comes in whatever order: no panic, one answer at most a transaction, and everything returns to zero.

use std::collections::HashMap;

use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};
use ringfork::{
    ids::{ServerTxnId, ShardId},
    sip::{Event, Reply, Target, TxnRef},
};

use super::bench::*;

struct Soak {
    b: Bench,
    rng: ChaCha12Rng,
    heard: usize,
    seen: usize,
    open: Vec<ServerTxnId>,
    answered: HashMap<ServerTxnId, u16>,
    ours: Vec<TxnRef>,
    last: HashMap<TxnRef, u16>,
    requests: Vec<String>,
    conns: Vec<ringfork::ids::ConnId>,
}

impl Soak {
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.rng.next_u32()).unwrap() % n.max(1)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len());
        from.get(at).cloned()
    }

    /// Damages a message sometimes: cut, a byte changed, a line lost.
    fn damage(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        match self.below(12) {
            0 => bytes.truncate(self.below(text.len())),
            1 => {
                let at = self.below(bytes.len());
                bytes[at] = b" ,;:<>\"\r\nx0"[self.below(11)];
            }
            2 => {
                let lines: Vec<_> = text.split("\r\n").collect();
                let lost = self.below(lines.len());
                let kept: Vec<_> = lines
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| *n != lost)
                    .map(|(_, l)| *l)
                    .collect();
                return kept.join("\r\n");
            }
            _ => {}
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn send_in(&mut self, text: &str) {
        let text = self.damage(text);
        match self.pick(&self.conns.clone()) {
            Some(conn) if self.below(3) == 0 => self.b.tcp(conn, &text),
            _ => self.b.udp(&text),
        }
    }

    fn step(&mut self) {
        match self.below(10) {
            0 | 1 => {
                let methods = [
                    "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "MESSAGE", "FROB",
                ];
                let method = self.pick(&methods).unwrap();
                let n = self.below(40);
                let branch = if self.below(8) == 0 {
                    format!("{n}")
                } else {
                    format!("z9hG4bK{n}")
                };
                let text = incoming(method, &branch)
                    .replace("call-2", &format!("call-{}", self.below(10)));
                self.send_in(&text);
            }
            2 => {
                let cseq = u32::try_from(self.ours.len()).unwrap() + 1;
                let mut text = draft(["INVITE", "BYE", "MESSAGE"][self.below(3)]);
                if self.below(3) == 0 {
                    text = text.replace(
                        "Content-Length",
                        &format!("X: {}\r\nContent-Length", "x".repeat(1400)),
                    );
                }
                let to = [
                    to_udp(),
                    Target::Tcp(addr(PEER)),
                    Target::Tcp(addr("192.0.2.55:5060")),
                ];
                let target = to[self.below(3)];
                let of = self.b.request(cseq, target, &text);
                self.ours.push(of);
            }
            3 | 4 => {
                if let Some(request) = self.pick(&self.requests.clone()) {
                    let statuses = [
                        "100 Trying",
                        "180 Ringing",
                        "200 OK",
                        "200 OK",
                        "486 Busy Here",
                        "503 No",
                        "600 Busy",
                    ];
                    let status = self.pick(&statuses).unwrap();
                    self.send_in(&Bench::answer(&request, status));
                }
            }
            5 => {
                if let Some(txn) = self.pick(&self.open.clone()) {
                    let code = [100, 180, 200, 200, 202, 408, 486, 603][self.below(8)];
                    self.b.respond(txn, code);
                    if code >= 200 {
                        self.answered.entry(txn).or_insert(code);
                    }
                }
            }
            6 => {
                if let Some(of) = self.pick(&self.ours.clone()) {
                    self.b.endpoint.cancel(self.b.now, of, b"");
                    self.b.collect();
                }
            }
            7 if self.below(4) == 0 => {
                if let Some(conn) = self.pick(&self.conns.clone()) {
                    self.conns.retain(|c| *c != conn);
                    self.b.endpoint.handle_closed(self.b.now, ShardId(3), conn);
                    self.b.collect();
                }
            }
            _ => {
                let ms = self.b.ms() + [0, 1, 50, 300, 2_000][self.below(5)];
                self.b.run_to(ms);
            }
        }
        self.follow();
    }

    /// Answers connects, remembers what may be answered, checks the order of events.
    fn follow(&mut self) {
        while self.seen < self.b.sent.len() {
            let sent = self.b.sent[self.seen].1.clone();
            self.seen += 1;
            match sent {
                Sent::Connect(to) => {
                    let conn = self.b.conns.insert(());
                    self.b.endpoint.handle_connecting(to, conn);
                    let up = self.below(2) == 0;
                    self.b.endpoint.handle_connected(self.b.now, conn, up);
                    if up {
                        self.conns.push(conn);
                    }
                    self.b.collect();
                }
                Sent::Close(conn) => {
                    self.conns.retain(|c| *c != conn);
                    self.b.endpoint.handle_closed(self.b.now, ShardId(3), conn);
                }
                Sent::Datagram(_, text) | Sent::Stream(_, text) => {
                    if !text.starts_with("SIP/") && !text.starts_with("ACK") {
                        self.requests.push(text);
                    }
                }
            }
        }
        for (_, event) in self.b.events.split_off(self.heard) {
            match event {
                Event::Request { txn, .. } => self.open.push(txn),
                Event::Response { of, message, .. } => {
                    let code: u16 = std::str::from_utf8(&message[8..11])
                        .unwrap()
                        .parse()
                        .unwrap();
                    let before = self.last.insert(of, code).unwrap_or(0);
                    assert!(
                        before < 200 || (before < 300 && (200..300).contains(&code)),
                        "{code} after the final {before}"
                    );
                }
                Event::TimedOut { of } | Event::Unreachable { of } => {
                    let before = self.last.insert(of, 408).unwrap_or(0);
                    assert!(before < 200, "an end after the final {before}");
                }
                Event::ServerFailed { .. } | Event::Ack { .. } | Event::Cancelled { .. } => {}
            }
        }
        self.heard = self.b.events.len();
    }
}

/// [SIP-TXN-01] each of our requests has one end; everything is released after the longest timers.
#[test]
fn everything_ends() {
    for seed in 0..200 {
        let mut soak = Soak {
            b: Bench::with(ringfork::sip::Settings {
                servers_max: 20,
                clients_max: 80,
                ..settings()
            }),
            rng: ChaCha12Rng::seed_from_u64(seed),
            heard: 0,
            seen: 0,
            open: Vec::new(),
            answered: HashMap::new(),
            ours: Vec::new(),
            last: HashMap::new(),
            requests: Vec::new(),
            conns: Vec::new(),
        };
        for _ in 0..3 {
            let conn = soak.b.conns.insert(());
            soak.conns.push(conn);
        }
        for _ in 0..400 {
            soak.step();
            let counts = soak.b.endpoint.counts();
            assert!(counts.servers <= 20 + 20 / 4 + 16 && counts.clients <= 80 + 80);
        }
        // The user answers what is open; then time passes.
        for txn in soak.open.clone() {
            soak.b.reply(
                txn,
                Reply {
                    code: 480,
                    ..Reply::default()
                },
            );
        }
        for _ in 0..30 {
            let ms = soak.b.ms() + 30_000;
            soak.b.run_to(ms);
            soak.follow();
        }
        for conn in std::mem::take(&mut soak.conns) {
            soak.b.endpoint.handle_closed(soak.b.now, ShardId(3), conn);
        }
        let counts = soak.b.endpoint.counts();
        assert!(soak.b.endpoint.is_empty(), "seed {seed}: {counts:?}");
        assert_eq!((counts.timers, counts.connections), (0, 0), "seed {seed}");
        for of in &soak.ours {
            assert!(
                soak.last.get(of).is_some_and(|code| *code >= 200),
                "seed {seed}: {of:?} has no end"
            );
        }
    }
}
