//! Messages that do not go on, or have a hole: nobody gets them, and their sender is told (settled.md 35).

use std::time::Duration;

use ringfork::msrp::{Command, Event, Finish, Output};

use crate::harness::{Cuts, Leg, Msg, Send, World, cpim, each_way, pattern, settings};

/// Both directions: the place of the sender, and of the one who gets it.
const WAYS: [(usize, usize); 2] = [(0, 1), (1, 0)];

/// A chunk: its first and last position, and its flag.
type Part = (usize, usize, char);

/// Sends chunks of one message (positions from and to, flag) and sees each answered 200. Its Message-ID.
fn chunks(w: &mut World, from: &Leg, parts: &[Part], more: &str) -> String {
    let (id, body) = (w.id("holed"), pattern(150));
    for &(first, last, flag) in parts {
        let mut send = Send::new(w, &body[first - 1..last])
            .id(&id)
            .range(&format!("{first}-{last}/150"))
            .flag(flag);
        if !more.is_empty() {
            send = send.extra(more);
        }
        w.feed(from.conn, &send.on(from));
        if more.is_empty() {
            assert_eq!(w.answer(from.conn, &send.tid), Some(200), "{first}-{last}");
        }
    }
    id
}

fn reports(all: &[Msg]) -> Vec<(&str, &str, &str)> {
    all.iter()
        .filter(|m| m.what == "REPORT")
        .map(|m| {
            let of = |name: &str| m.header(name).unwrap_or_default();
            (of("Message-ID"), of("Byte-Range"), of("Status"))
        })
        .collect()
}

/// Nothing of a message is held any more.
fn is_free(w: &World) -> bool {
    let held = w.plane.gauges();
    (held.messages, held.kept_bytes, held.unanswered) == (0, 0, 0)
}

// settled.md 35, RFC 4975 §7.1.2: chunks 1-50 and 101-150 (the last with `$`), 101-150 alone, or 1-50 and no more: each SEND is
// answered 200, the message is whole nowhere, and after 30 s its sender has a REPORT; the receiver is told that it ends.
// [MSRP-CHUNK-04] [MSRP-CHUNK-05] [MSRP-CHUNK-07] [MSRP-RPT-05]
#[test]
fn a_message_that_is_never_whole_is_reported() {
    let shapes: [(&[Part], &str); 5] = [
        (&[(1, 50, '+'), (101, 150, '$')], "1-150/150"),
        (&[(101, 150, '$')], "1-150/150"),
        (&[(101, 150, '$'), (1, 50, '+')], "1-150/150"),
        (&[(1, 50, '+')], "1-50/150"),
        (&[(101, 140, '+')], "1-140/150"),
    ];
    for (parts, range) in shapes {
        each_way(|w| {
            for (from, to) in WAYS {
                let legs = w.session(1);
                let id = chunks(w, &legs[from], parts, "");
                w.ack_all(&legs[to]);
                w.pass(Duration::from_secs(29));
                assert!(w.read(legs[from].conn).is_empty(), "it may still go on");
                w.pass(Duration::from_secs(2));
                let told = w.read(legs[from].conn);
                assert_eq!(
                    reports(&told),
                    [(id.as_str(), range, "000 408 Request Timeout")]
                );
                let got = w.ack_all(&legs[to]);
                assert_eq!(got.last().map(|m| m.flag), Some(b'#'), "{got:?}");
                assert!(is_free(w), "{:?}", w.plane.gauges());
                // And only once.
                w.pass(Duration::from_secs(60));
                assert!(w.read(legs[from].conn).is_empty());
                assert_eq!(w.plane.timers(), 0, "{parts:?}");
                // The next message passes.
                let next = Send::new(w, "next");
                w.feed(legs[from].conn, &next.on(&legs[from]));
                assert_eq!(w.ack_all(&legs[to])[0].text(), "next");
                let other = |e: &Event| !matches!(e, Event::Activity { .. });
                assert!(!w.events.iter().any(other), "{:?}", w.events);
                w.end(legs[0].session);
            }
        });
    }
}

// The receivers fail before it is whole: the chunks that were answered 200 are reported all the same, with what they said.
#[test]
fn what_nobody_takes_and_does_not_go_on_is_reported() {
    for (code, status) in [
        (Some(413), "000 413 Stop Sending"),
        (Some(403), "000 403 Forbidden"),
        (None, "000 408 Request Timeout"),
    ] {
        for report in ["yes", "partial", "no"] {
            each_way(|w| {
                let legs = w.session(1);
                let send = Send::new(w, "part")
                    .range("1-4/8")
                    .flag('+')
                    .extra(&format!("Failure-Report: {report}"));
                w.feed(legs[0].conn, &send.on(&legs[0]));
                let got = w.one(legs[1].conn);
                match code {
                    Some(code) => w.respond(&legs[1], &got, code),
                    None => w.drop_conn(legs[1].conn),
                }
                w.pass(Duration::from_secs(31));
                let all = w.read(legs[0].conn);
                let told = match report {
                    "yes" => true,
                    "partial" => code.is_some(),
                    _ => false,
                };
                let want = [(send.id.as_str(), "1-4/8", status)];
                assert_eq!(reports(&all), if told { &want[..] } else { &[] });
                assert!(is_free(w));
                w.end(legs[0].session);
            });
        }
    }
}

// In CPIM, where the chunks wait for what the message is of: the receiver never hears of it.
#[test]
fn a_cpim_message_without_its_beginning_is_reported() {
    each_way(|w| {
        for (from, to) in WAYS {
            let legs = w.session(1);
            let body = cpim("text/plain", "nobody will know what this is about");
            let (last, at) = (body.len(), 60);
            let send = Send::new(w, &body[at - 1..])
                .range(&format!("{at}-{last}/{last}"))
                .content_type("message/cpim");
            w.feed(legs[from].conn, &send.on(&legs[from]));
            assert_eq!(w.answer(legs[from].conn, &send.tid), Some(200));
            w.pass(Duration::from_secs(31));
            let told = w.read(legs[from].conn);
            let range = format!("1-{last}/{last}");
            assert_eq!(
                reports(&told),
                [(send.id.as_str(), range.as_str(), "000 408 Request Timeout")]
            );
            assert!(w.read(legs[to].conn).is_empty());
            assert!(is_free(w));
            w.end(legs[0].session);
        }
    });
}

// RFC 4975 §7.1.2: with Failure-Report no nothing is told, with partial no timeout; what was held is given back all the same.
// [MSRP-RSP-02] [MSRP-RPT-05]
#[test]
fn who_asks_for_no_report_gets_none() {
    each_way(|w| {
        for report in ["Failure-Report: no", "Failure-Report: partial"] {
            for (from, _) in WAYS {
                let legs = w.session(1);
                chunks(w, &legs[from], &[(1, 50, '+'), (101, 150, '$')], report);
                w.pass(Duration::from_secs(40));
                assert_eq!(w.read(legs[from].conn), [], "{report}");
                // What the receiver does not answer, here: an error alone.
                w.pass(Duration::from_secs(30));
                assert!(is_free(w), "{report}: {:?}", w.plane.gauges());
                w.end(legs[0].session);
            }
        }
    });
}

// A hole that is filled in time is none: each chunk gives the message 30 s more.
#[test]
fn what_goes_on_in_time_is_delivered() {
    each_way(|w| {
        for (from, to) in WAYS {
            let legs = w.session(1);
            let (id, body) = (w.id("slow"), pattern(150));
            let mut got = Vec::new();
            for (first, last, flag) in [(1, 50, '+'), (101, 150, '$'), (51, 100, '+')] {
                w.pass(Duration::from_secs(25));
                let send = Send::new(w, &body[first - 1..last])
                    .id(&id)
                    .range(&format!("{first}-{last}/150"))
                    .flag(flag);
                w.feed(legs[from].conn, &send.on(&legs[from]));
                got.extend(w.ack_all(&legs[to]));
            }
            let mut bodies: Vec<_> = got
                .iter()
                .map(|m| (m.header("Byte-Range"), m.body.clone().unwrap()))
                .collect();
            bodies.sort();
            assert_eq!(
                bodies.iter().map(|b| b.1.len()).sum::<usize>(),
                150,
                "{bodies:?}"
            );
            w.pass(Duration::from_secs(60));
            assert!(reports(&w.read(legs[from].conn)).is_empty());
            assert!(is_free(w));
            w.end(legs[0].session);
        }
    });
}

// A large chunk that takes minutes to come goes on all the time.
#[test]
fn a_slow_chunk_is_waited_for() {
    let mut w = World::plain();
    let legs = w.session(1);
    let body = pattern(40_000);
    let send = Send::new(&mut w, &body).range("1-*/40000");
    let bytes = send.on(&legs[0]);
    let mut got = Vec::new();
    for piece in bytes.chunks(4_000) {
        w.feed(legs[0].conn, piece);
        w.pass(Duration::from_secs(20));
        got.extend(w.ack_all(&legs[1]));
    }
    assert_eq!(crate::harness::assemble(&got), body);
    assert_eq!(got.last().unwrap().flag, b'$');
    let answers = w.read(legs[0].conn);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].code(), Some(200));
    w.end(legs[0].session);
}

// A chunk that stands still for half a minute: what was answered of its message is reported, and the rest is answered 408 when
// it comes. Not 481: the session is there. [MSRP-RSP-07] [MSRP-URI-03]
#[test]
fn a_chunk_that_stands_still_is_answered_408() {
    let mut w = World::plain();
    for answered_before in [true, false] {
        let legs = w.session(1);
        let (id, body) = (w.id("stuck"), pattern(40_000));
        let mut first = 0;
        if answered_before {
            let send = Send::new(&mut w, &body[..10_000])
                .id(&id)
                .range("1-*/40000")
                .flag('+');
            w.feed(legs[0].conn, &send.on(&legs[0]));
            assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
            first = 10_000;
        }
        let send = Send::new(&mut w, &body[first..])
            .id(&id)
            .range(&format!("{}-*/40000", first + 1));
        let bytes = send.on(&legs[0]);
        w.feed(legs[0].conn, &bytes[..20_000]);
        // It is interrupted for the device, which answers what it has.
        w.pass(Duration::from_secs(2));
        w.ack_all(&legs[1]);
        w.pass(Duration::from_secs(29));
        let told = w.read(legs[0].conn);
        assert_eq!(reports(&told).len(), usize::from(answered_before));
        w.feed(legs[0].conn, &bytes[20_000..]);
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(408));
        let got = w.ack_all(&legs[1]);
        assert_eq!(got.last().map(|m| m.flag), Some(b'#'));
        assert!(is_free(&w));
        let next = Send::new(&mut w, "next");
        w.feed(legs[0].conn, &next.on(&legs[0]));
        assert_eq!(w.ack_all(&legs[1])[0].text(), "next");
        w.end(legs[0].session);
    }
}

// A later chunk was refused: its answer has told it, and no REPORT follows.
#[test]
fn what_a_response_has_told_is_not_reported() {
    each_way(|w| {
        let legs = w.session(1);
        let id = w.id("stopped");
        let first = Send::new(w, "part").id(&id).range("1-4/12").flag('+');
        w.feed(legs[0].conn, &first.on(&legs[0]));
        let got = w.one(legs[1].conn);
        w.respond(&legs[1], &got, 413);
        let second = Send::new(w, "part").id(&id).range("5-8/12").flag('+');
        w.feed(legs[0].conn, &second.on(&legs[0]));
        assert_eq!(w.answer(legs[0].conn, &second.tid), Some(413));
        w.pass(Duration::from_secs(40));
        assert!(w.read(legs[0].conn).is_empty());
        assert!(is_free(w));
        w.end(legs[0].session);
    });
}

// That a message, or a head, does not go on because we do not read its connection is no fault of it (settled.md R3).
#[test]
fn while_we_do_not_read_no_time_runs() {
    let mut slow = settings();
    (slow.stall, slow.outbox_bytes) = (Duration::from_secs(60), 64 << 10);
    let mut w = World::new(slow, Cuts::None);
    let legs = w.session(1);
    w.peers[legs[1].conn].takes = Some(0);
    let (id, body) = (w.id("large"), pattern(100_000));
    let part = |w: &mut World, at: usize, end: usize, flag| {
        Send::new(w, &body[at..end])
            .id(&id)
            .range(&format!("{}-*/100000", at + 1))
            .flag(flag)
    };
    let first = part(&mut w, 0, 90_000, '+');
    let second = part(&mut w, 90_000, 100_000, '$').on(&legs[0]);
    // The head of the second has begun when the reading stops.
    let mut bytes = first.on(&legs[0]);
    bytes.extend_from_slice(&second[..40]);
    w.feed(legs[0].conn, &bytes);
    assert_eq!(w.answer(legs[0].conn, &first.tid), Some(200));
    let paused = |o: &Output| matches!(o, Output::Pause { conn } if *conn == legs[0].conn);
    assert!(w.outputs.iter().any(paused));
    for _ in 0..4 {
        w.pass(Duration::from_secs(11));
        w.take(legs[1].conn, 1_000);
    }
    assert!(!w.peers[legs[0].conn].closed);
    assert!(w.read(legs[0].conn).is_empty(), "nothing is given up");
    w.peers[legs[1].conn].takes = None;
    w.take(legs[1].conn, 1 << 20);
    w.feed(legs[0].conn, &second[40..]);
    let mut got = Vec::new();
    for _ in 0..3 {
        got.extend(w.ack_all(&legs[1]));
        w.pass(Duration::from_millis(20));
    }
    assert_eq!(crate::harness::assemble(&got), body);
    w.end(legs[0].session);
}

// What was refused and does not end is forgotten, too, without a word.
#[test]
fn a_refused_message_that_does_not_end_is_forgotten() {
    let mut w = World::plain();
    let legs = w.session(1);
    let send = Send::new(&mut w, "12345")
        .range("1-5/999999999999")
        .flag('+');
    w.feed(legs[0].conn, &send.on(&legs[0]));
    assert_eq!(w.answer(legs[0].conn, &send.tid), Some(413));
    w.pass(Duration::from_secs(31));
    assert!(w.read(legs[0].conn).is_empty());
    assert!(is_free(&w));
    w.end(legs[0].session);
}

// Whoever leaves in the middle of a message is told nothing; nothing of it stays.
#[test]
fn a_sender_who_leaves_in_the_middle_leaves_nothing() {
    each_way(|w| {
        for how in [Some(Finish::Gone), Some(Finish::Abort), None] {
            for (from, _) in WAYS {
                let legs = w.session(2);
                chunks(w, &legs[from], &[(1, 50, '+'), (101, 150, '$')], "");
                match how {
                    Some(how) => w.command(Command::End {
                        session: legs[from].session,
                        leg: legs[from].leg,
                        how,
                    }),
                    None => w.drop_conn(legs[from].conn),
                }
                for leg in &legs {
                    w.ack_all(leg);
                }
                w.pass(Duration::from_secs(40));
                assert!(reports(&w.read(legs[from].conn)).is_empty(), "{how:?}");
                assert!(is_free(w), "{how:?}: {:?}", w.plane.gauges());
                w.end(legs[0].session);
            }
        }
    });
}

// A message that is whole and waits behind one that is not has its own time. (A first leg that never comes.)
#[test]
fn a_whole_message_behind_one_with_a_hole_is_told_in_time() {
    let mut w = World::plain();
    let session = w.open();
    let sender = w.leg(session, 0);
    let (id, body) = (w.id("holed"), pattern(150));
    let mut whole = String::new();
    for step in 0..4 {
        // The first goes on, and on, and is never whole.
        let at = 20 * step;
        let send = Send::new(&mut w, &body[at..at + 10])
            .id(&id)
            .range(&format!("{}-{}/150", at + 1, at + 10))
            .flag('+');
        w.feed(sender.conn, &send.on(&sender));
        if step == 0 {
            let send = Send::new(&mut w, "whole");
            whole.clone_from(&send.id);
            w.feed(sender.conn, &send.on(&sender));
        }
        w.pass(Duration::from_secs(10));
        w.read(sender.conn)
            .iter()
            .filter(|m| m.what == "REPORT")
            .for_each(|m| {
                assert_eq!(m.header("Message-ID"), Some(whole.as_str()));
                assert_eq!(step, 2);
                whole.clear();
            });
    }
    assert!(whole.is_empty(), "told after 30 s");
    w.end(session);
}

// RFC 4975 §7.1.1, §10.5: who is told 408 or 413 stops sending the message. What had left before is refused too: no receiver sees a
// message that begins in its middle. With its first byte it begins anew. [MSRP-CHUNK-04]
#[test]
fn the_rest_of_a_refused_message_is_refused() {
    each_way(|w| {
        for (from, to) in WAYS {
            let legs = w.session(1);
            let chunk = |w: &mut World, id: &str, first: usize, last: usize, flag: char| {
                let send = Send::new(w, &pattern(150)[first - 1..last])
                    .id(id)
                    .range(&format!("{first}-{last}/150"))
                    .flag(flag);
                w.feed(legs[from].conn, &send.on(&legs[from]));
                w.answer(legs[from].conn, &send.tid)
            };
            let begun: Vec<String> = (0..64).map(|n| w.id(&format!("begun{n}-"))).collect();
            for id in &begun {
                assert_eq!(chunk(w, id, 1, 50, '+'), Some(200));
            }
            let refused = w.id("refused");
            assert_eq!(
                chunk(w, &refused, 1, 50, '+'),
                Some(413),
                "too many at a time"
            );
            chunk(w, &begun[0], 51, 150, '$');
            w.ack_all(&legs[to]);
            assert_eq!(
                chunk(w, &refused, 51, 100, '+'),
                Some(413),
                "on its way already"
            );
            assert_eq!(chunk(w, &refused, 101, 150, '$'), Some(413));
            assert!(
                w.ack_all(&legs[to]).is_empty(),
                "nothing of it is passed on"
            );
            assert_eq!(chunk(w, &refused, 1, 50, '+'), Some(200), "sent again");
            assert_eq!(chunk(w, &refused, 51, 100, '+'), Some(200));
        }
    });
}

// The same of one that was given up: what comes of it later, and is not its beginning, is refused. [MSRP-CHUNK-05]
#[test]
fn what_comes_late_of_a_message_that_was_given_up_is_refused() {
    each_way(|w| {
        for (from, to) in WAYS {
            let legs = w.session(1);
            let id = chunks(w, &legs[from], &[(1, 50, '+')], "");
            w.ack_all(&legs[to]);
            w.pass(Duration::from_secs(31));
            w.ack_all(&legs[to]);
            let late = Send::new(w, &pattern(150)[50..150])
                .id(&id)
                .range("51-150/150")
                .flag('$');
            w.feed(legs[from].conn, &late.on(&legs[from]));
            assert_eq!(w.answer(legs[from].conn, &late.tid), Some(408));
            assert!(w.ack_all(&legs[to]).is_empty());
            assert!(is_free(w), "{:?}", w.plane.gauges());
        }
    });
}
