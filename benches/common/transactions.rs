//! The transaction machines, and the endpoint that runs them.

use std::{hint::black_box, net::SocketAddr, time::Duration};

use ringfork::{
    ids::{LegId, SessionId, ShardId, SocketId},
    sip::{
        Draft, Endpoint, Event, Flow, Listening, Output, Reply, Settings, Target, TxnRef,
        transaction::{Timer, invite_client, invite_server, non_invite_client, non_invite_server},
    },
    time::Instant,
};
use slotmap::SlotMap;

use super::case::{Case, Meter, Rounds, whole};

/// Rounds are so far apart that transactions of the past (64·T1 at most) end while new ones come.
const APART: Duration = Duration::from_millis(500);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("transactions/four machines", "step", 0, || {
            whole(|| black_box(lives()) == STEPS)
        })
        .units(STEPS),
        Case::new("transactions/non-INVITE server", "transaction", 0, || {
            rounds(Ends::request)
        }),
        Case::new("transactions/INVITE server", "transaction", 0, || {
            rounds(Ends::invite)
        }),
        Case::new("transactions/INVITE client", "transaction", 0, || {
            rounds(Ends::call)
        }),
    ]
}

const STEPS: usize = 14;

/// A usual life of each machine, over a datagram; how many steps led where they should.
fn lives() -> usize {
    let mut steps = 0;
    {
        use invite_client::{Event as E, State as S, step};
        for (from, event, to) in [
            (S::Calling, E::Fired(Timer::A), S::Calling),
            (S::Calling, E::Provisional, S::Proceeding),
            (S::Proceeding, E::Success, S::Accepted),
            (S::Accepted, E::Fired(Timer::M), S::Terminated),
        ] {
            steps += usize::from(step(black_box(from), black_box(event)).0 == to);
        }
    }
    {
        use invite_server::{Event as E, State as S, step};
        for (from, event, to) in [
            (S::Proceeding, E::UserProvisional, S::Proceeding),
            (S::Proceeding, E::UserFailure, S::Completed),
            (S::Completed, E::Fired(Timer::G), S::Completed),
            (S::Completed, E::Ack, S::Confirmed),
            (S::Confirmed, E::Fired(Timer::I), S::Terminated),
        ] {
            steps += usize::from(step(black_box(from), black_box(event)).0 == to);
        }
    }
    {
        use non_invite_client::{Event as E, State as S, step};
        for (from, event, to) in [
            (S::Trying, E::Final, S::Completed),
            (S::Completed, E::Fired(Timer::K), S::Terminated),
        ] {
            steps += usize::from(step(black_box(from), black_box(event)).0 == to);
        }
    }
    {
        use non_invite_server::{Event as E, State as S, step};
        for (from, event, to) in [
            (S::Trying, E::UserFinal, S::Completed),
            (S::Completed, E::Request, S::Completed),
            (S::Completed, E::Fired(Timer::J), S::Terminated),
        ] {
            steps += usize::from(step(black_box(from), black_box(event)).0 == to);
        }
    }
    steps
}

/// An endpoint and who is at its other end.
struct Ends {
    endpoint: Endpoint,
    now: Instant,
    peer: SocketAddr,
    sessions: SlotMap<SessionId, ()>,
    n: u64,
}

/// Rounds of one transaction each; in the end only those of the last 64·T1 are left.
fn rounds(one: fn(&mut Ends, &mut Meter) -> bool) -> Rounds {
    let mut ends = Ends::new();
    Box::new(move |rounds, meter| {
        for _ in 0..rounds {
            ends.now += APART;
            ends.n += 1;
            assert!(one(&mut ends, meter), "a transaction went wrong");
            let (endpoint, now) = (&mut ends.endpoint, ends.now);
            meter.measure(|| endpoint.handle_timeout(now));
            while endpoint.poll_output().is_some() || endpoint.poll_event().is_some() {}
            let counts = endpoint.counts();
            assert!(counts.clients + counts.servers <= 70, "{counts:?}");
        }
    })
}

impl Ends {
    fn new() -> Self {
        let addr = |text: &str| text.parse().expect("an address");
        let settings = Settings {
            shard: ShardId(0),
            host: None,
            listening: vec![Listening {
                socket: SocketId(0),
                tcp: false,
                addr: addr("10.0.0.1:5060"),
            }],
            t1: Duration::from_millis(500),
            servers_max: 10_000,
            clients_max: 10_000,
            trusted: ringfork::sip::Trusted::default(),
            servers_bytes: 8 << 20,
            clients_bytes: 8 << 20,
            product: "Ringfork".to_owned(),
        };
        Self {
            endpoint: Endpoint::new(settings, [5; 32]),
            now: Instant::from_nanos(1),
            peer: addr("10.0.1.1:5060"),
            sessions: SlotMap::with_key(),
            n: 0,
        }
    }

    fn flow(&self) -> Flow {
        Flow::Udp {
            socket: SocketId(0),
            peer: self.peer,
        }
    }

    /// A request of the peer's.
    fn message(&self, method: &str) -> Vec<u8> {
        let n = self.n;
        format!(
            "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.1.1:5060;branch=z9hG4bK{n:08};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@example.com>;tag=a{n:08}\r\nTo: <sip:bob@example.com>\r\nCall-ID: call{n:08}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:alice@10.0.1.1:5060>\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    /// A request comes and is told; the answers leave. Whether all of them did.
    fn serve(&mut self, meter: &mut Meter, method: &str, codes: &[u16]) -> bool {
        let (message, flow, now) = (self.message(method), self.flow(), self.now);
        let endpoint = &mut self.endpoint;
        meter.measure(|| {
            endpoint.handle_message(now, flow, &message);
            let Some(Event::Request { txn, .. }) = endpoint.poll_event() else {
                return false;
            };
            codes.iter().all(|&code| {
                let reply = Reply {
                    code,
                    ..Reply::default()
                };
                endpoint.respond(now, txn, reply);
                matches!(endpoint.poll_output(), Some(Output::Datagram { .. }))
            })
        })
    }

    /// A request and its answer.
    fn request(&mut self, meter: &mut Meter) -> bool {
        self.serve(meter, "OPTIONS", &[200])
    }

    /// An INVITE that rings, then is refused; the ACK.
    fn invite(&mut self, meter: &mut Meter) -> bool {
        let served = self.serve(meter, "INVITE", &[180, 486]);
        let (ack, flow, now) = (self.message("ACK"), self.flow(), self.now);
        let endpoint = &mut self.endpoint;
        meter.measure(|| endpoint.handle_message(now, flow, &ack));
        // The machine keeps the ACK to itself.
        served && endpoint.poll_event().is_none()
    }

    /// An INVITE of ours that rings, then is answered.
    fn call(&mut self, meter: &mut Meter) -> bool {
        let session = self.sessions.insert(());
        let of = TxnRef {
            session,
            leg: LegId(1),
            cseq: 1,
        };
        let message = self.message("INVITE");
        // What we send begins without a Via.
        let text = String::from_utf8(message).expect("text");
        let via = text.find("Via").expect("a Via")..text.find("Max-").expect("Max-Forwards");
        let draft = Draft {
            of,
            target: Target::Udp(self.peer),
            key: 0,
            message: [&text[..via.start], &text[via.end..]].concat().into_bytes(),
        };
        let (flow, now) = (self.flow(), self.now);
        let endpoint = &mut self.endpoint;
        let sent = meter.measure(|| {
            endpoint.request(now, draft);
            endpoint.poll_output()
        });
        let Some(Output::Datagram { bytes, .. }) = sent else {
            return false;
        };
        [(180, "Ringing"), (200, "OK")].iter().all(|(code, reason)| {
            let text = String::from_utf8_lossy(&bytes);
            let headers = text.split_once("\r\n").expect("a start line").1;
            let answer = format!("SIP/2.0 {code} {reason}\r\n{headers}")
                .replace("To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag=b");
            meter.measure(|| {
                endpoint.handle_message(now, flow, answer.as_bytes());
                matches!(endpoint.poll_event(), Some(Event::Response { of: whose, .. }) if whose == of)
            })
        })
    }
}
