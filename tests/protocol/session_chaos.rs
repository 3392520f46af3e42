//! Peers that say anything at any time, from a seed: whatever they do, everything ends, and nothing is left; each INVITE gets
//! one final answer, each 2xx its ACK.

use std::{collections::BTreeSet, time::Duration};

use ringfork::{msrp::Failure, time::Instant};

use crate::world::*;

/// A small generator: the same seed, the same story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }
}

/// The 2xx that must be acknowledged: who said them, Call-ID, tag, CSeq.
type Owed = BTreeSet<(String, String, String, u32)>;

/// The first final answers to INVITEs of ours: by address and CSeq.
#[derive(Default)]
struct Finals {
    first: std::collections::BTreeMap<(String, u32), (u16, String)>,
    owed: Owed,
}

impl Finals {
    /// A peer answers an INVITE of ours; late is late for us as well (RFC 3261 §13.2.2.4: 64·T1 after the first 2xx).
    fn note(&mut self, from: &str, invite: &Message, code: u16, tag: &str, late: bool) {
        if code < 200 {
            return;
        }
        let first = self
            .first
            .entry((from.to_owned(), invite.cseq()))
            .or_insert((code, tag.to_owned()));
        // What comes from another branch of a fork, or behind a refusal, is not counted on.
        if *first == (code, tag.to_owned()) && code < 300 && !late {
            let call = invite.get("Call-ID").to_owned();
            self.owed
                .insert((from.to_owned(), call, tag.to_owned(), invite.cseq()));
        }
    }
}

/// A device answers its INVITE somehow.
fn answer_invite(
    world: &mut World,
    phone: &Phone,
    dice: &mut Dice,
    finals: &mut Finals,
    begun: Instant,
) {
    let mut phone = phone.clone();
    if dice.roll(8) == 0 {
        phone.tag.push_str("twin");
    }
    let code = dice.pick(&[
        100, 180, 183, 183, 200, 200, 200, 302, 408, 422, 486, 500, 503, 603,
    ]);
    let more = match (code, dice.roll(3)) {
        (183, 0) => format!("Require: 100rel\r\nRSeq: {}\r\n", 1 + dice.roll(3)),
        (422, _) => format!("Min-SE: {}\r\n", 1000 * dice.roll(4)),
        (200, 0) => "Session-Expires: 100;refresher=uac\r\nAllow: UPDATE\r\n".to_owned(),
        (200, 1) => "Session-Expires: 100;refresher=uas\r\n".to_owned(),
        _ => String::new(),
    };
    let body = match dice.roll(6) {
        0 => String::new(),
        1 => sdp(&phone.name, 9, "a=setup:active\r\n"),
        2 => phone.sdp().replace("message", "audio"),
        _ => phone.sdp(),
    };
    let invite = phone.invite.clone().unwrap();
    let late = world.now.since(begun) >= Duration::from_secs(20);
    finals.note(&phone.addr, &invite, code, &phone.tag, late);
    phone.answer(world, code, &more, if code == 200 { &body } else { "" });
}

/// Whoever got a request answers it, or says nothing.
fn answer_requests(world: &mut World, dice: &mut Dice, finals: &mut Finals) {
    let waiting: Vec<_> = world
        .sent
        .drain(..)
        .filter(|(_, _, m)| !m.start.starts_with("SIP/2.0") && !m.start.starts_with("ACK"))
        .collect();
    for (to, _, request) in waiting {
        let initial = request.start.starts_with("INVITE") && !request.get("To").contains("tag=");
        if initial || dice.roll(4) == 0 {
            continue;
        }
        let code = dice.pick(&[200, 200, 200, 481, 491, 500]);
        let (more, body) = if request.start.starts_with("INVITE") && code == 200 {
            (
                format!("Contact: <sip:x@{to}>\r\n"),
                sdp_version("again", 2, to.port() + 1000, "a=setup:active\r\n"),
            )
        } else {
            (String::new(), String::new())
        };
        if request.start.starts_with("INVITE") {
            finals.note(&to.to_string(), &request, code, request.tag("To"), true);
        }
        world.receive(&to.to_string(), request.respond(code, "", &more, &body));
    }
}

fn originator_acts(world: &mut World, alice: &mut Alice, dice: &mut Dice) {
    let ok = world
        .all(ALICE, "SIP/2.0 200")
        .into_iter()
        .find(|m| m.get("CSeq").contains("INVITE"));
    if let Some(ok) = ok {
        alice.answered(&ok);
    }
    let text = match dice.roll(8) {
        0 => alice.request("CANCEL", "invite", "", ""),
        1 | 2 => alice.ack(),
        3 => alice.next("BYE", "", ""),
        4 => alice.next(
            "INVITE",
            "",
            &sdp_version("alice", 2, 6002, "a=inactive\r\n"),
        ),
        5 => alice.next("UPDATE", "", ""),
        6 => alice.next("INVITE", "", ""),
        _ => alice.next("PRACK", "RAck: 1 10 INVITE\r\n", ""),
    };
    world.receive(ALICE, text);
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let mut world = World::with(|s, _| {
        s.session_expires = seconds(100);
        s.no_answer = seconds(20);
    });
    let mut alice = Alice::new();
    if seed.is_multiple_of(5) {
        alice.sdp.clear();
    }
    if seed.is_multiple_of(7) {
        alice.more = "Require: 100rel\r\n".into();
    }
    let mut phones = invited(&mut world, 3, &alice);
    let (mut finals, begun) = (Finals::default(), world.now);
    for _ in 0..40 {
        let device = usize::try_from(dice.roll(3)).unwrap();
        let alive = world.counters().sessions == 1;
        match dice.roll(10) {
            0..=2 => answer_invite(
                &mut world,
                &phones[device].clone(),
                &mut dice,
                &mut finals,
                begun,
            ),
            3 => originator_acts(&mut world, &mut alice, &mut dice),
            4 | 5 => answer_requests(&mut world, &mut dice, &mut finals),
            6 => {
                let wait = seconds(dice.pick(&[0, 1, 3, 20, 60]));
                world.advance(wait);
            }
            7 if alive => world.activity(u8::try_from(device + 1).unwrap()),
            8 if alive => {
                let why = dice.pick(&[
                    Failure::ConnectionLost,
                    Failure::NotConnected,
                    Failure::Slow,
                ]);
                world.failed(u8::try_from(dice.roll(4)).unwrap(), why);
            }
            9 => {
                let reason = dice.pick(&["", "Reason: SIP;cause=503\r\n"]);
                let (method, body) = dice.pick(&[("BYE", ""), ("UPDATE", ""), ("INVITE", "")]);
                let text =
                    phones[device].next(method, if method == "BYE" { reason } else { "" }, body);
                let from = phones[device].addr.clone();
                world.receive(&from, text);
            }
            _ => {}
        }
    }
    // Nobody says anything any more.
    world.drain();
    world.advance(seconds(200));
    world.assert_empty();
    check_answers(&world);
    check_acks(&world, &finals.owed);
}

/// Each INVITE of the originator has one final answer, however often it was sent.
fn check_answers(world: &World) {
    let of = |m: &Message| (m.get("CSeq").to_owned(), m.get("Via").to_owned());
    let mut answers = std::collections::BTreeMap::<_, BTreeSet<_>>::new();
    for (to, m) in &world.log {
        let code = m.start.strip_prefix("SIP/2.0 ").map(|s| s[..3].to_owned());
        if let Some(code) = code.filter(|c| c.as_str() >= "200")
            && *to == addr(ALICE)
            && m.get("CSeq").ends_with("INVITE")
        {
            let tag = m.get("To").to_owned();
            answers.entry(of(m)).or_default().insert((code, tag));
        }
    }
    assert!(
        answers.keys().any(|(cseq, _)| cseq == "10 INVITE"),
        "the first INVITE was answered"
    );
    for (of, answers) in answers {
        assert_eq!(answers.len(), 1, "{of:?}: {answers:?}");
    }
}

/// Each 2xx has its ACK, within the dialog that the 2xx made.
fn check_acks(world: &World, owed: &Owed) {
    for (from, call, tag, cseq) in owed {
        let found = world.log.iter().any(|(to, m)| {
            to.to_string() == *from
                && m.start.starts_with("ACK ")
                && m.get("Call-ID") == call
                && m.cseq() == *cseq
                && m.tag("To") == tag
        });
        assert!(found, "{from}: no ACK for the 2xx {tag} to {cseq}");
    }
}

#[test]
fn whatever_peers_do_everything_ends() {
    for seed in 0..300 {
        let story = std::panic::catch_unwind(|| run(seed));
        assert!(story.is_ok(), "seed {seed}");
    }
}
