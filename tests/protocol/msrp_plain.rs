//! The short way is the long way: two planes are told the same, one in whole segments, so that it takes a message like the one
//! before in one step, the other byte by byte, so that it never can. What their peers read, what they tell and what they hold
//! is the same after every step.

use std::{collections::VecDeque, time::Duration};

use rand::{RngExt, SeedableRng, rngs::ChaCha12Rng};
use ringfork::msrp::{Ack, Command, Direction, Finish, Gauges, Settings};

use crate::harness::{Cuts, IS_COMPOSING, Leg, Msg, Send, World, cpim, pattern, settings};

/// What happens, as it is told to both.
#[derive(Clone, Debug)]
enum Step {
    /// A leg sends: text or one of the others, of so many bytes, with a Byte-Range or not, with further headers.
    Says(usize, What, usize, Ranged, &'static str),
    /// A leg answers the oldest SEND that it has not.
    Answers(usize, u16),
    /// Every leg answers all 200.
    AllAnswer,
    /// A leg reports on the last message of the originator.
    Reports(usize, &'static str),
    Joins,
    Ends(usize, bool),
    Changes(usize, Change),
    Drops(usize),
    /// From here on a peer takes so many bytes; none: all.
    Takes(usize, Option<usize>),
    Settles,
    Passes(u64),
}

#[derive(Clone, Copy, Debug)]
enum What {
    Text,
    Wrapped(&'static str),
    Composing,
}

#[derive(Clone, Copy, Debug)]
enum Ranged {
    Whole,
    Open,
    Not,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Usual,
    Deaf,
    Types(&'static str),
    Max(u64),
}

/// One of the two.
struct Side {
    world: World,
    legs: Vec<Leg>,
    unanswered: Vec<VecDeque<Msg>>,
    last_id: String,
    seen: Vec<String>,
}

impl Side {
    fn new(settings: Settings, cuts: Cuts, devices: u8) -> Self {
        let mut world = World::new(settings, cuts);
        let legs = world.session(devices);
        Self {
            unanswered: legs.iter().map(|_| VecDeque::new()).collect(),
            world,
            legs,
            last_id: String::new(),
            seen: Vec::new(),
        }
    }

    /// Everything that the peers have got and the plane has told since the last look; ids of our making left out.
    fn look(&mut self) {
        for (at, leg) in self.legs.iter().enumerate() {
            if !self.world.peers.contains_key(leg.conn) {
                continue;
            }
            for msg in self.world.read(leg.conn) {
                let (tid, own) = (msg.tid.clone(), msg.is_send() || msg.what == "REPORT");
                let tid = if own { "ours" } else { tid.as_str() };
                self.seen.push(format!(
                    "leg {at}: {tid} {} {:?} {:?} {}",
                    msg.what,
                    msg.headers,
                    msg.text(),
                    char::from(msg.flag)
                ));
                if msg.is_send() {
                    self.unanswered[at].push_back(msg);
                }
            }
        }
        for event in std::mem::take(&mut self.world.events) {
            self.seen.push(format!("{event:?}"));
        }
    }

    fn answer(&mut self, at: usize, code: u16) {
        if let Some(send) = self.unanswered[at].pop_front() {
            let leg = &self.legs[at];
            let comment = if code == 200 { "OK" } else { "x" };
            let bytes = format!(
                "MSRP {} {code} {comment}\r\nTo-Path: {}\r\nFrom-Path: {}\r\n-------{}$\r\n",
                send.tid, leg.own, leg.path, send.tid
            );
            self.world.feed(leg.conn, bytes.as_bytes());
        }
    }

    fn does(&mut self, step: &Step) {
        let w = &mut self.world;
        match *step {
            Step::Says(at, what, size, ranged, extra) => {
                let text = String::from_utf8(pattern(size)).unwrap();
                let (kind, body) = match what {
                    What::Text => ("text/plain", text),
                    What::Wrapped(inner) => ("message/cpim", cpim(inner, &text)),
                    What::Composing => (
                        "message/cpim",
                        cpim("application/im-iscomposing+xml", IS_COMPOSING),
                    ),
                };
                let n = body.len();
                let mut send = Send::new(w, body).content_type(kind);
                match ranged {
                    Ranged::Whole => send = send.range(&format!("1-{n}/{n}")),
                    Ranged::Open => send = send.range(&format!("1-*/{n}")),
                    Ranged::Not => {}
                }
                if !extra.is_empty() {
                    send = send.extra(extra);
                }
                if at == 0 {
                    self.last_id.clone_from(&send.id);
                }
                let leg = &self.legs[at];
                w.feed(leg.conn, &send.on(leg));
            }
            Step::Answers(at, code) => self.answer(at, code),
            Step::AllAnswer => {
                for at in 0..self.legs.len() {
                    while !self.unanswered[at].is_empty() {
                        self.answer(at, 200);
                    }
                }
            }
            Step::Reports(at, status) => {
                let (leg, id) = (self.legs[at].clone(), self.last_id.clone());
                w.report(&leg, &id, None, status);
            }
            Step::Joins => {
                let number = u8::try_from(self.legs.len()).unwrap();
                let leg = w.leg_after(self.legs[0].session, number);
                self.legs.push(leg);
                self.unanswered.push(VecDeque::new());
            }
            Step::Ends(at, abort) => w.command(Command::End {
                session: self.legs[at].session,
                leg: self.legs[at].leg,
                how: if abort { Finish::Abort } else { Finish::Gone },
            }),
            Step::Changes(at, change) => {
                let leg = &self.legs[at];
                let mut peer = World::peer(&leg.path);
                match change {
                    Change::Usual => {}
                    Change::Deaf => {
                        peer.direction = Direction {
                            peer_sends: true,
                            peer_receives: false,
                        };
                    }
                    Change::Types(types) => peer.accept_types = types.as_bytes().to_vec(),
                    Change::Max(max) => peer.max_size = Some(max),
                }
                w.command(Command::Update {
                    session: leg.session,
                    leg: leg.leg,
                    peer,
                });
            }
            Step::Drops(at) => {
                let conn = self.legs[at].conn;
                if w.peers.get(conn).is_some_and(|p| !p.closed) {
                    w.drop_conn(conn);
                }
            }
            Step::Takes(at, takes) => {
                let conn = self.legs[at].conn;
                if w.peers.get(conn).is_none_or(|p| p.closed) {
                    return;
                }
                if let Some(bytes) = takes {
                    w.peers[conn].takes = Some(bytes);
                } else {
                    w.take(conn, usize::MAX);
                }
            }
            Step::Settles => w.command(Command::SettleOnActivity {
                session: self.legs[0].session,
                on: true,
            }),
            Step::Passes(ms) => w.pass(Duration::from_millis(ms)),
        }
    }
}

fn draw(rng: &mut ChaCha12Rng, legs: usize) -> Step {
    let device = 1 + rng.random_range(0..legs - 1);
    let usual = Step::Says(0, What::Wrapped("text/plain"), 60, Ranged::Whole, "");
    let pick = |rng: &mut ChaCha12Rng, n: usize| rng.random_range(0..n);
    match rng.random_range(0..40) {
        0..14 => usual,
        14..18 => {
            let what = [
                What::Text,
                What::Wrapped("text/plain"),
                What::Wrapped("text/html"),
                What::Composing,
            ][pick(rng, 4)];
            let ranged = [Ranged::Whole, Ranged::Whole, Ranged::Open, Ranged::Not][pick(rng, 4)];
            let extra = [
                "",
                "",
                "",
                "Success-Report: yes",
                "Failure-Report: no",
                "Failure-Report: partial",
            ][pick(rng, 6)];
            let size = [1, 60, 61, 2047, 2048, 2049, 3000][pick(rng, 7)];
            Step::Says([0, 0, 0, device][pick(rng, 4)], what, size, ranged, extra)
        }
        18..20 => Step::Says(device, What::Wrapped("text/plain"), 60, Ranged::Whole, ""),
        20..27 => {
            let code = [200, 200, 200, 200, 200, 200, 400, 408, 413, 415, 481][pick(rng, 11)];
            Step::Answers(device, code)
        }
        27..30 => Step::AllAnswer,
        30 => Step::Reports(
            device,
            ["000 200 OK", "000 413 x", "000 408 x"][pick(rng, 3)],
        ),
        31 if legs < 8 => Step::Joins,
        32 => Step::Ends(device, rng.random()),
        33 | 34 => {
            let change = [
                Change::Usual,
                Change::Usual,
                Change::Deaf,
                Change::Types("text/html"),
                Change::Max(100),
            ][pick(rng, 5)];
            Step::Changes([0, device][pick(rng, 2)], change)
        }
        35 => Step::Drops(device),
        36 | 37 => Step::Takes(device, [None, Some(0), Some(700), Some(5000)][pick(rng, 4)]),
        38 => Step::Settles,
        _ => Step::Passes([5, 60, 1100, 31_000][pick(rng, 4)]),
    }
}

#[test]
fn a_message_taken_in_one_step_is_taken_as_any_other() {
    let mut under_way = 0;
    for seed in 0..80 {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let settings = Settings {
            ack: if rng.random() {
                Ack::Held
            } else {
                Ack::Receipt
            },
            outbox_bytes: 8 << 10,
            unanswered_max: 12,
            ..settings()
        };
        let devices = rng.random_range(1..=4);
        let mut sides =
            [Cuts::None, Cuts::Bytes].map(|cuts| Side::new(settings.clone(), cuts, devices));
        for _ in 0..60 {
            let step = draw(&mut rng, sides[0].legs.len());
            let [one, other] = sides.each_mut().map(|side| {
                side.does(&step);
                side.look();
                std::mem::take(&mut side.seen)
            });
            assert_eq!(one, other, "seed {seed}: {step:?}");
            // What is held of a body that came in many pieces weighs more.
            let [one, other] = sides.each_ref().map(|side| Gauges {
                held_bytes: 0,
                ..side.world.plane.gauges()
            });
            assert_eq!(one, other, "seed {seed}: {step:?}");
            under_way += one.messages;
        }
        for side in &mut sides {
            side.world.end(side.legs[0].session);
        }
    }
    assert!(under_way > 0, "messages were under way");
}

// Several 200s come at once, and among them what is as long as one: an error is an error to its sender.
#[test]
fn what_only_looks_like_a_200_is_none() {
    let mut w = World::plain();
    let legs = w.session(1);
    let sends: Vec<Send> = (0..3).map(|_| Send::new(&mut w, "hello")).collect();
    for send in &sends {
        w.feed(legs[0].conn, &send.on(&legs[0]));
    }
    let said = |send: &Msg, status: &str, closing: &str| {
        let (own, path) = (&legs[1].own, &legs[1].path);
        format!(
            "MSRP {} {status}\r\nTo-Path: {own}\r\nFrom-Path: {path}\r\n-------{closing}$\r\n",
            send.tid
        )
    };
    let got = w.sends(legs[1].conn);
    let answers: String = got
        .iter()
        .zip(["200 OK", "413 No", "200 OK"])
        .map(|(send, status)| said(send, status, &send.tid))
        .collect();
    w.feed_once(legs[1].conn, answers.as_bytes());
    let told: Vec<_> = w.read(legs[0].conn);
    for (send, code) in sends.iter().zip([200, 413, 200]) {
        let answer = told.iter().find(|m| m.tid == send.tid);
        assert_eq!(answer.and_then(Msg::code), Some(code), "{told:?}");
    }
    // The very 200 that is awaited, from a connection that the SEND did not go out on, answers nothing.
    let send = Send::new(&mut w, "hello");
    w.feed(legs[0].conn, &send.on(&legs[0]));
    let got = w.one(legs[1].conn);
    let stranger = w.accept();
    w.feed_once(stranger, said(&got, "200 OK", &got.tid).as_bytes());
    assert!(w.read(legs[0].conn).is_empty(), "held");
    assert_eq!(w.plane.gauges().unanswered, 1);
    w.drop_conn(stranger);
    // One that does not close with the id that it began with is no response at all.
    let other = format!("x{}", &got.tid[1..]);
    w.feed_once(legs[1].conn, said(&got, "200 OK", &other).as_bytes());
    assert_ne!(w.answer(legs[0].conn, &send.tid), Some(200));
    w.end(legs[0].session);
}
