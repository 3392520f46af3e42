//! Shares: whoever is greedy is stopped or refused, and a neighbour on the same shard notices nothing. With the bounds that are
//! shipped, on a clock that is made up.

use std::time::Duration;

use ringfork::{config::Config, limits::Limits};

use crate::{
    lab::{Lab, MEDIA, TAG},
    people::{Alice, Device, cpim, established, session},
    text::{self, Frame},
};

/// A neighbour who behaves: Alice, and two devices of Bob that answer at once.
struct Canary {
    alice: Alice,
    devices: Vec<Device>,
    sent: usize,
}

impl Canary {
    fn new(lab: &mut Lab) -> Self {
        let (alice, devices) = session(lab, 2);
        Self {
            alice,
            devices,
            sent: 0,
        }
    }

    /// A message there and one back: each reaches everybody, and is answered 200 at once.
    fn sings(&mut self, lab: &mut Lab) {
        self.sent += 1;
        let body = cpim(&"la ".repeat(self.sent % 400));
        let tid = self.alice.say(lab, &format!("song{}", self.sent), &body);
        for d in &self.devices {
            let got = lab.sends(d.conn());
            let [one] = &got[..] else {
                panic!("song {}: {} came", self.sent, got.len())
            };
            assert_eq!(one.body.as_deref(), Some(&body[..]));
            d.ok(lab, one, 200);
        }
        self.is_answered(lab, &tid);
        // An IMDN, which is no activity: what a device writes counts as well.
        let note = b"From: <sip:b@example.com>\r\nTo: <sip:a@example.com>\r\n\r\nContent-Type: message/imdn+xml\r\n\r\n<imdn/>";
        let tid = self.devices[0].say(lab, "message/cpim", note);
        let got = lab.frames(self.alice.conn());
        let one = got.iter().find(|f| f.what == "SEND").expect("the note");
        lab.bytes(
            self.alice.conn(),
            &text::msrp_response(one, 200, &self.alice.path),
        );
        let answers = lab.frames(self.devices[0].conn());
        assert_eq!(codes(&answers, &tid), ["200"]);
    }

    fn is_answered(&self, lab: &mut Lab, tid: &str) {
        let answers = lab.frames(self.alice.conn());
        assert_eq!(codes(&answers, tid), ["200"], "song {}", self.sent);
    }
}

fn codes(frames: &[Frame], tid: &str) -> Vec<String> {
    let of = frames.iter().filter(|f| f.tid == tid);
    of.map(|f| f.what[..3].to_owned()).collect()
}

/// A session whose sender writes without end and whose device reads and never answers.
struct Greedy {
    alice: Alice,
    device: Device,
}

impl Greedy {
    /// `n` tells it from others.
    fn new(lab: &mut Lab, n: u16, user: &str) -> Self {
        let mut device = Device::new(user, 200);
        let host = format!("10.{}.3.{}", n >> 8, n & 255);
        device.sip = format!("{host}:5060");
        device.path = format!("msrp://{host}:7000/dev{n};tcp");
        let m = device.registration(lab, TAG);
        let m = String::from_utf8(m)
            .unwrap()
            .replace("urn:uuid:200", &format!("urn:uuid:{n}"));
        lab.datagram(
            &device.sip,
            m.replace("Call-ID: reg", &format!("Call-ID: r{n}"))
                .as_bytes(),
        );
        lab.sent.clear();
        let alice = Alice::one_of_many(user, 1_000 + n);
        let (alice, mut devices) = established(lab, alice, vec![device]);
        lab.sent.clear();
        Self {
            alice,
            device: devices.remove(0),
        }
    }

    fn many(lab: &mut Lab, n: u16, user: impl Fn(u16) -> String) -> Vec<Self> {
        (0..n).map(|k| Self::new(lab, k, &user(k))).collect()
    }

    /// Writes `bytes` unless nobody reads them just now.
    fn writes(&self, lab: &mut Lab, bytes: &[u8]) {
        if lab.wire(self.alice.conn()).paused.is_none() {
            lab.bytes(self.alice.conn(), bytes);
        }
        // The device reads, and says nothing.
        lab.take(self.device.conn());
    }

    /// A whole message of `size` bytes.
    fn says(&self, lab: &mut Lab, size: usize) {
        let (tid, id) = (lab.fresh("gtid"), lab.fresh("gmsg"));
        let send = self.alice.send(&tid, &id, &cpim(&"x".repeat(size)), "");
        self.writes(lab, &send);
    }
}

fn kept(lab: &Lab) -> u64 {
    lab.sum(|r| r.kept_bytes)
}

/// 8 MB/s of 30 KB messages to one device that reads and never answers: its sender is stopped, the device dropped in its
/// time, and nobody else is told 408 (issue 11, A1).
#[test]
fn one_mute_device_starves_nobody() {
    let mut lab = Lab::new();
    let mut canary = Canary::new(&mut lab);
    let greedy = Greedy::new(&mut lab, 1, "mallory");
    let mut most = 0;
    let mut stopped = false;
    for _ in 0..150 {
        for _ in 0..27 {
            greedy.says(&mut lab, 30_000);
        }
        stopped |= lab.wire(greedy.alice.conn()).paused.is_some();
        canary.sings(&mut lab);
        most = most.max(kept(&lab));
        lab.pass(Duration::from_millis(100));
    }
    assert!(stopped, "its sender is not read any further");
    assert!(most < 22 << 20, "a third of limits.kept_bytes: {most}");
    let answers = lab.frames(greedy.alice.conn());
    let first_408 = answers.iter().position(|f| f.what.starts_with("408"));
    let oks = answers.iter().filter(|f| f.what.starts_with("200")).count();
    assert!(
        oks > 100 && first_408.is_none_or(|at| at >= oks),
        "stopped before refused"
    );
    assert!(lab.sum(|r| r.sessions) >= 1);
}

fn many_mute_devices(n: u16, user: impl Fn(u16) -> String) {
    let mut lab = Lab::new();
    let mut canary = Canary::new(&mut lab);
    let greedy = Greedy::many(&mut lab, n, user);
    for round in 0..30 {
        let each = (300 / usize::from(n)).max(1);
        for g in &greedy {
            for _ in 0..each {
                g.says(&mut lab, 30_000);
            }
            // What is too little for a large message is taken by small ones.
            for _ in 0..4 {
                g.says(&mut lab, 200);
            }
        }
        canary.sings(&mut lab);
        assert!(kept(&lab) < 64 << 20, "{round}: {}", kept(&lab));
        lab.pass(Duration::from_millis(100));
    }
    assert!(kept(&lab) > 30 << 20, "the flood filled it: {}", kept(&lab));
}

#[test]
fn a_hundred_mute_devices_of_a_hundred_users_starve_nobody() {
    many_mute_devices(100, |n| format!("mallory{n}"));
}

#[test]
fn a_thousand_mute_devices_of_a_thousand_users_starve_nobody() {
    many_mute_devices(1_000, |n| format!("mallory{n}"));
}

/// Many tiny messages, messages that are begun and never go on, and 1-octet chunks: what each costs beside its bytes counts.
#[test]
fn what_is_small_and_unfinished_is_bounded_too() {
    type Flood = fn(&Greedy, &mut Lab);
    let floods: [(&str, Flood); 3] = [
        ("tiny", |g, lab| {
            for _ in 0..50 {
                g.says(lab, 1);
            }
        }),
        ("unfinished", |g, lab| {
            for _ in 0..20 {
                let (tid, id) = (lab.fresh("gtid"), lab.fresh("gmsg"));
                let send = text::Send {
                    tid: &tid,
                    to: &g.alice.peer_path,
                    from: &g.alice.path,
                    id: &id,
                    range: (1, 8_000, 1_000_000),
                    content_type: "message/cpim",
                    body: Some(&[b'h'; 8_000]),
                    flag: b'+',
                    ..Default::default()
                };
                g.writes(lab, &send.write());
            }
        }),
        ("chunks", |g, lab| {
            for _ in 0..50 {
                let (tid, at) = (lab.fresh("gtid"), lab.fresh("").parse::<usize>().unwrap());
                let send = text::Send {
                    tid: &tid,
                    to: &g.alice.peer_path,
                    from: &g.alice.path,
                    id: "onelong",
                    range: (10_000_000 - 2 * at, 10_000_000 - 2 * at, 10_000_000),
                    content_type: "message/cpim",
                    body: Some(b"x"),
                    flag: b'+',
                    ..Default::default()
                };
                g.writes(lab, &send.write());
            }
        }),
    ];
    for (what, flood) in floods {
        let mut lab = Lab::new();
        let mut canary = Canary::new(&mut lab);
        let greedy = Greedy::many(&mut lab, 100, |n| format!("mallory{n}"));
        let before = crate::memory::live();
        for _ in 0..12 {
            for g in &greedy {
                flood(g, &mut lab);
                lab.take(g.alice.conn());
            }
            canary.sings(&mut lab);
            lab.pass(Duration::from_millis(20));
        }
        let more = crate::memory::live() - before;
        assert!(more < 64 << 20, "{what}: {} KiB more", more >> 10);
    }
}

fn limited(with: impl FnOnce(&mut Limits)) -> Lab {
    let config = Config::default();
    let mut limits = Limits::new(&config, 1);
    with(&mut limits);
    Lab::limited(&config, &limits)
}

/// Spill: many devices of one user that lag a little hold together more than the one of a neighbour that lags for a moment.
#[test]
fn the_user_whose_devices_lag_most_together_is_given_up_first() {
    let mut lab = limited(|l| l.spill_bytes = 200_000);
    let (alice, bob) = session(&mut lab, 1);
    let devices = (11..=14)
        .map(|n| Device::register_for(&mut lab, "mallory", n, TAG))
        .collect();
    let (eve, mallory) = established(&mut lab, Alice::one_of_many("mallory", 999), devices);
    for d in bob.iter().chain(&mallory) {
        lab.widen(d.conn(), Some(0));
    }
    for n in 0..7 {
        alice.say(&mut lab, &format!("lag{n}"), &cpim(&"x".repeat(9_000)));
    }
    for n in 0..5 {
        eve.say(&mut lab, &format!("fill{n}"), &cpim(&"y".repeat(9_000)));
    }
    let held = lab.sum(|r| r.leg_outbox_bytes);
    assert!(lab.reached("spill_bytes") > 0, "too much was held: {held}");
    let closed = |d: &Device| lab.wire(d.conn()).closed.is_some();
    assert!(
        mallory.iter().any(closed),
        "of those who hold most together"
    );
    assert!(!closed(&bob[0]), "though it held more than any of them");
}

/// Framing: heads that do not end, from many connections of one source.
#[test]
fn the_source_whose_heads_wait_most_together_is_given_up_first() {
    let mut lab = limited(|l| l.framing_bytes = 18_000);
    let begun = |n: usize| format!("MSRP abcd SEND\r\nX-Long: {}", "x".repeat(n)).into_bytes();
    let neighbour = lab.connect(MEDIA, "10.0.9.2:1000");
    lab.bytes(neighbour, &begun(5_000));
    let greedy: Vec<_> = (0..5)
        .map(|n| {
            let line = lab.connect(MEDIA, &format!("10.0.9.1:{}", 1_000 + n));
            lab.bytes(line, &begun(3_000));
            line
        })
        .collect();
    assert!(lab.reached("framing_bytes") > 0);
    assert!(greedy.iter().any(|l| lab.wire(*l).closed.is_some()));
    assert!(
        lab.wire(neighbour).closed.is_none(),
        "its head was the longest"
    );
}
