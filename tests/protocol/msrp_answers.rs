//! Transaction responses: which, when, to whom, and what a peer's errors do.

use std::time::Duration;

use ringfork::{
    ids::LegId,
    msrp::{Ack, Event, Failure},
};

use crate::harness::{Msg, Send, World, each_way, each_way_with, pattern, settings};

// [MSRP-RSP-01] The same id, To-Path the first From-Path URI, From-Path ours, `$`, on the same connection; for 200 and errors.
#[test]
fn the_form_of_a_response() {
    each_way(|w| {
        let legs = w.session(1);
        let good = Send::new(w, "ok");
        w.feed(legs[1].conn, &good.on(&legs[1]));
        let bad = Send::new(w, "12345").range("9-1/5");
        w.feed(legs[1].conn, &bad.on(&legs[1]));
        let answers = w.read(legs[1].conn);
        assert_eq!(answers.len(), 2);
        for (answer, (send, code)) in answers.iter().zip([(&good, 200), (&bad, 400)]) {
            assert_eq!(answer.code(), Some(code));
            assert_eq!(answer.tid, send.tid);
            assert_eq!(answer.header("To-Path"), Some(legs[1].path.as_str()));
            assert_eq!(answer.header("From-Path"), Some(legs[1].own.as_str()));
            assert_eq!((answer.flag, answer.body.as_deref()), (b'$', None));
        }
        w.end(legs[0].session);
    });
}

// [TERM-MEDIA-08] [MSRP-RSP-01] ack = "receipt": every SEND is answered by us at once, before any device has.
#[test]
fn receipt_answers_at_once() {
    let mut s = settings();
    s.ack = Ack::Receipt;
    each_way_with(s, |w| {
        let legs = w.session(2);
        let send = Send::new(w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
        w.end(legs[0].session);
    });
}

// settled.md R1, ack = "held": with the first device that has all of it, after one second at the latest. [TERM-MEDIA-08]
#[test]
fn held_answers_with_the_first_device_or_after_a_second() {
    each_way(|w| {
        let legs = w.session(2);
        let send = Send::new(w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.pass(Duration::from_millis(500));
        assert!(w.read(legs[0].conn).is_empty(), "held");
        w.ack_all(&legs[2]);
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
        w.ack_all(&legs[1]);
        let slow = Send::new(w, "nobody answers");
        w.feed(legs[0].conn, &slow.on(&legs[0]));
        w.pass(Duration::from_millis(990));
        assert!(w.read(legs[0].conn).is_empty(), "held");
        w.pass(Duration::from_millis(20));
        assert_eq!(w.answer(legs[0].conn, &slow.tid), Some(200));
        w.end(legs[0].session);
    });
}

// [MSRP-RSP-02] Failure-Report no: silence for success, 415, 413, 481 (see `bind`), and no REPORT.
#[test]
fn failure_report_no_is_silence() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let device = w.leg_like(session, 1, |p| p.accept_types = b"text/plain".to_vec());
        let good = Send::new(w, "ok").extra("Failure-Report: no");
        w.feed(sender.conn, &good.on(&sender));
        assert_eq!(w.one(device.conn).header("Failure-Report"), Some("no"));
        let bad = Send::new(w, "x")
            .content_type("image/png")
            .extra("Failure-Report: no");
        w.feed(sender.conn, &bad.on(&sender));
        let large = Send::new(w, "x")
            .range("1-*/999999999999")
            .extra("Failure-Report: no");
        w.feed(sender.conn, &large.on(&sender));
        let broken = Send::new(w, "x").range("5-1/9").extra("Failure-Report: no");
        w.feed(sender.conn, &broken.on(&sender));
        assert!(w.read(device.conn).is_empty());
        w.pass(Duration::from_secs(40));
        assert!(w.read(sender.conn).is_empty());
        assert_eq!(w.plane.gauges().messages, 0, "done when a socket took it");
        w.end(session);
    });
}

// [MSRP-RSP-03] partial: silence when accepted, 415 when the type is bad.
#[test]
fn failure_report_partial_tells_errors_alone() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let device = w.leg_like(session, 1, |p| p.accept_types = b"text/plain".to_vec());
        let good = Send::new(w, "ok").extra("Failure-Report: partial");
        w.feed(sender.conn, &good.on(&sender));
        assert_eq!(w.one(device.conn).header("Failure-Report"), Some("partial"));
        w.pass(Duration::from_secs(2));
        assert!(w.read(sender.conn).is_empty());
        let bad = Send::new(w, "x")
            .content_type("image/png")
            .extra("Failure-Report: partial");
        w.feed(sender.conn, &bad.on(&sender));
        assert_eq!(w.answer(sender.conn, &bad.tid), Some(415));
        w.end(session);
    });
}

// [MSRP-RSP-02] [MSRP-RSP-03] In chunks too: the 200 of a chunk in the middle is one that partial and no do not get.
#[test]
fn a_chunk_in_the_middle_is_answered_as_it_asks() {
    each_way(|w| {
        let legs = w.session(1);
        for report in ["partial", "no"] {
            let id = w.id("quiet");
            let chunk = |w: &mut World, body: &str, range: &str, flag| {
                Send::new(w, body)
                    .id(&id)
                    .range(range)
                    .extra(&format!("Failure-Report: {report}"))
                    .flag(flag)
                    .on(&legs[0])
            };
            let (first, last) = (
                chunk(w, "abcd", "1-4/8", '+'),
                chunk(w, "efgh", "5-8/8", '$'),
            );
            w.feed(legs[0].conn, &first);
            w.feed(legs[0].conn, &last);
            let aborted = chunk(w, "abcd", "1-4/8", '#');
            w.feed(legs[0].conn, &aborted);
            w.pass(Duration::from_secs(2));
            assert_eq!(w.sends(legs[1].conn).len(), 3, "{report}");
            assert!(w.read(legs[0].conn).is_empty(), "{report}");
        }
        w.end(legs[0].session);
    });
}

// [MSRP-RSP-04] A device's 403 is not tried again; the sender is told it.
#[test]
fn forbidden_by_the_only_device() {
    each_way(|w| {
        let legs = w.session(1);
        let send = Send::new(w, "not here");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        let got = w.one(legs[1].conn);
        w.respond(&legs[1], &got, 403);
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(403));
        w.pass(Duration::from_secs(40));
        assert!(w.read(legs[1].conn).is_empty(), "no retry");
        assert!(
            matches!(&w.events[..], [Event::Undelivered { message_id, .. }]
            if message_id == send.id.as_bytes())
        );
        w.end(legs[0].session);
    });
}

// [MSRP-RSP-05] A device answers 413 on chunk 1 of 10: it gets nothing more of it, the others all ten.
#[test]
fn stop_sending_stops_one_device() {
    each_way(|w| {
        let legs = w.session(2);
        let id = w.id("tenparts");
        for n in 0..10u32 {
            let flag = if n == 9 { '$' } else { '+' };
            let start = n * 4 + 1;
            let send = Send::new(w, "part")
                .id(&id)
                .range(&format!("{start}-{}/40", start + 3))
                .flag(flag);
            w.feed(legs[0].conn, &send.on(&legs[0]));
            if n == 0 {
                let first = w.one(legs[1].conn);
                w.respond(&legs[1], &first, 413);
            }
        }
        assert!(w.read(legs[1].conn).is_empty());
        assert_eq!(w.ack_all(&legs[2]).len(), 10);
        let next = Send::new(w, "another message");
        w.feed(legs[0].conn, &next.on(&legs[0]));
        assert_eq!(w.one(legs[1].conn).text(), "another message");
        w.end(legs[0].session);
    });
}

// [MSRP-RSP-05] 413 while the chunk is under way: it is interrupted with `#`, and the message goes on to the others.
#[test]
fn stop_sending_interrupts_a_chunk() {
    let mut w = World::plain();
    let legs = w.session(2);
    let body = pattern(40_000);
    let send = Send::new(&mut w, &body).range("1-*/40000");
    let bytes = send.on(&legs[0]);
    w.feed_once(legs[0].conn, &bytes[..20_000]);
    let raw = String::from_utf8_lossy(&w.peers[legs[1].conn].inbox).into_owned();
    let tid = raw.split(' ').nth(1).unwrap().to_owned();
    let open = Msg {
        tid,
        what: "SEND".to_owned(),
        headers: Vec::new(),
        body: None,
        flag: b'+',
        raw: Vec::new(),
    };
    w.respond(&legs[1], &open, 413);
    w.feed_once(legs[0].conn, &bytes[20_000..]);
    assert_eq!(w.one(legs[1].conn).flag, b'#');
    let other = w.ack_all(&legs[2]);
    assert_eq!(other[0].body.as_deref(), Some(&body[..]));
    assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
}

// The only device refuses in the middle: so is the sender, at once, and for what follows of the message.
#[test]
fn refused_by_the_only_device_in_the_middle() {
    each_way(|w| {
        let legs = w.session(1);
        let id = w.id("refused");
        let first = Send::new(w, "part").id(&id).range("1-4/12").flag('+');
        w.feed(legs[0].conn, &first.on(&legs[0]));
        let got = w.one(legs[1].conn);
        w.respond(&legs[1], &got, 413);
        assert_eq!(w.answer(legs[0].conn, &first.tid), Some(200), "on receipt");
        for (range, flag) in [("5-8/12", '+'), ("9-12/12", '$')] {
            let more = Send::new(w, "part").id(&id).range(range).flag(flag);
            w.feed(legs[0].conn, &more.on(&legs[0]));
            assert_eq!(w.answer(legs[0].conn, &more.tid), Some(413));
        }
        assert!(w.read(legs[1].conn).is_empty());
        assert_eq!(w.plane.gauges().messages, 0);
        w.end(legs[0].session);
    });
}

// [MSRP-RSP-06] A type outside our accept-types: 415. After a device's 415 it gets no more of that type.
#[test]
fn unsupported_types() {
    each_way(|w| {
        let legs = w.session(2);
        let send = Send::new(w, "a picture").content_type("image/png");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        let got = w.one(legs[1].conn);
        w.respond(&legs[1], &got, 415);
        assert_eq!(w.ack_all(&legs[2]).len(), 1);
        assert_eq!(
            w.answer(legs[0].conn, &send.tid),
            Some(200),
            "one device has it"
        );
        let again = Send::new(w, "a second").content_type("image/png;x=y");
        w.feed(legs[0].conn, &again.on(&legs[0]));
        assert!(w.read(legs[1].conn).is_empty(), "no more of that type");
        assert_eq!(w.ack_all(&legs[2]).len(), 1);
        let text = Send::new(w, "text");
        w.feed(legs[0].conn, &text.on(&legs[0]));
        assert_eq!(w.one(legs[1].conn).text(), "text");
        w.end(legs[0].session);
    });
}

// [MSRP-RSP-07] 408 for a SEND is a timeout; 423 refuses the message alone.
#[test]
fn timeout_and_out_of_bounds_from_a_device() {
    each_way(|w| {
        let legs = w.session(3);
        let send = Send::new(w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        let got = w.one(legs[1].conn);
        w.respond(&legs[1], &got, 408);
        assert_eq!(
            w.events,
            [Event::Failed {
                session: legs[0].session,
                leg: LegId(1),
                why: Failure::Timeout
            }]
        );
        let got = w.one(legs[2].conn);
        w.respond(&legs[2], &got, 423);
        assert_eq!(w.events.len(), 1, "the leg stays");
        w.ack_all(&legs[3]);
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
        let next = Send::new(w, "next");
        w.feed(legs[0].conn, &next.on(&legs[0]));
        assert_eq!(w.one(legs[2].conn).text(), "next");
        w.end(legs[0].session);
    });
}

// [MSRP-RSP-08] [MSRP-RSP-09] 481 and 506 from a device end that leg alone.
#[test]
fn session_unknown_or_bound_elsewhere() {
    each_way(|w| {
        for (code, why) in [
            (481, Failure::SessionUnknown),
            (506, Failure::BoundElsewhere),
        ] {
            let legs = w.session(2);
            let send = Send::new(w, "hello");
            w.feed(legs[0].conn, &send.on(&legs[0]));
            let got = w.one(legs[1].conn);
            w.respond(&legs[1], &got, code);
            assert_eq!(
                w.events,
                [Event::Failed {
                    session: legs[0].session,
                    leg: LegId(1),
                    why
                }]
            );
            assert!(w.peers[legs[1].conn].closed, "nobody else uses it");
            let next = Send::new(w, "next");
            w.feed(legs[0].conn, &next.on(&legs[0]));
            assert_eq!(w.ack_all(&legs[2]).len(), 2);
            w.end(legs[0].session);
        }
    });
}

// [MSRP-RSP-10] Two senders use the same transaction id at the same time: their answers are their own.
#[test]
fn equal_ids_of_two_senders() {
    each_way(|w| {
        let (one, two) = (w.session(1), w.session(1));
        let mut a = Send::new(w, "from one");
        let mut b = Send::new(w, "from two");
        (a.tid, b.tid) = ("same1234".to_owned(), "same1234".to_owned());
        w.feed(one[0].conn, &a.on(&one[0]));
        w.feed(two[0].conn, &b.on(&two[0]));
        assert_eq!(w.ack_all(&two[1])[0].text(), "from two");
        assert_eq!(w.answer(two[0].conn, "same1234"), Some(200));
        assert!(w.read(one[0].conn).is_empty());
        assert_eq!(w.ack_all(&one[1])[0].text(), "from one");
        assert_eq!(w.answer(one[0].conn, "same1234"), Some(200));
        w.end_all(&[one[0].session, two[0].session]);
    });
}

// A response that answers nothing, or comes on another connection, changes nothing.
#[test]
fn a_made_up_response_is_ignored() {
    each_way(|w| {
        let legs = w.session(2);
        let send = Send::new(w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        let mine = w.one(legs[1].conn);
        w.respond(&legs[2], &mine, 481);
        let mut other = mine.clone();
        other.tid = format!(
            "{}{}",
            &mine.tid[..15],
            if mine.tid.ends_with('A') { 'B' } else { 'A' }
        );
        w.respond(&legs[1], &other, 481);
        other.tid = "short".to_owned();
        w.respond(&legs[1], &other, 481);
        assert!(w.events.is_empty(), "{:?}", w.events);
        w.respond(&legs[1], &mine, 200);
        w.respond(&legs[1], &mine, 481);
        assert!(w.events.is_empty(), "answered once");
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
        w.end(legs[0].session);
    });
}

// [MSRP-TMO-01] Silence for 30 s: the leg has failed, not a second before and not a second after.
#[test]
fn silence_for_thirty_seconds_fails_the_leg() {
    each_way(|w| {
        let legs = w.session(2);
        let send = Send::new(w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.ack_all(&legs[2]);
        w.pass(Duration::from_millis(29_900));
        assert!(w.events.is_empty());
        w.pass(Duration::from_millis(200));
        assert_eq!(
            w.events,
            [Event::Failed {
                session: legs[0].session,
                leg: LegId(1),
                why: Failure::Timeout
            }]
        );
        w.end(legs[0].session);
    });
}

// [MSRP-TMO-01] The 30 s run from the last byte: a device that takes the bytes late has its 30 s from then.
#[test]
fn the_time_runs_from_the_last_byte() {
    let mut w = World::plain();
    let legs = w.session(2);
    w.peers[legs[1].conn].takes = Some(100);
    let send = Send::new(&mut w, "hello");
    w.feed(legs[0].conn, &send.on(&legs[0]));
    w.ack_all(&legs[2]);
    w.pass(Duration::from_secs(20));
    w.take(legs[1].conn, 100_000);
    w.pass(Duration::from_secs(28));
    assert!(
        w.events.is_empty(),
        "48 s after it was queued, 28 s after it left"
    );
    w.pass(Duration::from_secs(4));
    assert!(matches!(
        w.events[..],
        [Event::Failed {
            why: Failure::Timeout,
            ..
        }]
    ));
}

// [MSRP-TMO-02] No timer with partial or no; sending goes on without waiting for responses.
#[test]
fn no_timer_without_a_promise() {
    each_way(|w| {
        let legs = w.session(1);
        for report in ["no", "partial"] {
            let send = Send::new(w, "x").extra(&format!("Failure-Report: {report}"));
            w.feed(legs[0].conn, &send.on(&legs[0]));
        }
        w.pass(Duration::from_secs(40));
        assert!(w.events.is_empty(), "{:?}", w.events);
        assert_eq!(w.plane.gauges().unanswered, 0);
        for _ in 0..20 {
            let send = Send::new(w, "y");
            w.feed(legs[0].conn, &send.on(&legs[0]));
        }
        assert_eq!(w.sends(legs[1].conn).len(), 22, "no stop-and-wait");
        assert_eq!(w.plane.gauges().unanswered, 20);
        w.end(legs[0].session);
    });
}

// [MSRP-TMO-03] We answered 200, and all devices stay silent: REPORT 000 408 with Message-ID and Byte-Range; the session room
// is told with the body.
#[test]
fn nobody_took_it() {
    each_way(|w| {
        let legs = w.session(2);
        let send = Send::new(w, "anyone?");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.pass(Duration::from_secs(32));
        let told = w.read(legs[0].conn);
        assert_eq!(told.len(), 2);
        assert_eq!(
            (told[0].code(), told[1].what.as_str()),
            (Some(200), "REPORT")
        );
        assert_eq!(told[1].header("Status"), Some("000 408 Request Timeout"));
        assert_eq!(told[1].header("Message-ID"), Some(send.id.as_str()));
        assert_eq!(told[1].header("Byte-Range"), Some("1-7/7"));
        let undelivered = w.events.iter().find_map(|e| match e {
            Event::Undelivered {
                body,
                message_id,
                content_type,
                ..
            } => Some((body.clone(), message_id.clone(), content_type.clone())),
            _ => None,
        });
        assert_eq!(
            undelivered,
            Some((
                b"anyone?".to_vec(),
                send.id.into_bytes(),
                b"text/plain".to_vec()
            ))
        );
        w.end(legs[0].session);
    });
}

// [MSRP-TMO-03] [MSRP-RPT-05] No device for 30 s: who asks for failures is told 408; who asks for errors alone, or for nothing,
// is not, for a timeout is none.
#[test]
fn nobody_was_there() {
    for (report, told) in [("yes", true), ("partial", false), ("no", false)] {
        let mut w = World::plain();
        let session = w.open();
        let sender = w.leg(session, 0);
        let send = Send::new(&mut w, "anyone?").extra(&format!("Failure-Report: {report}"));
        w.feed(sender.conn, &send.on(&sender));
        w.pass(Duration::from_secs(31));
        let reports: Vec<String> = w
            .read(sender.conn)
            .iter()
            .filter(|m| m.what == "REPORT")
            .map(|m| m.header("Status").unwrap().to_owned())
            .collect();
        let want: &[&str] = if told {
            &["000 408 Request Timeout"]
        } else {
            &[]
        };
        assert_eq!(reports, want, "{report}");
        assert_eq!(w.plane.pending(session), 0);
        w.end(session);
    }
}

// [MSRP-RSP-04] A 200 to a SEND whose end-line has not gone out says nothing: nobody can have taken what has not ended.
#[test]
fn a_200_before_the_end_is_ignored() {
    let mut w = World::plain();
    let legs = w.session(1);
    let body = pattern(40_000);
    let send = Send::new(&mut w, &body).range("1-*/40000");
    let bytes = send.on(&legs[0]);
    w.feed_once(legs[0].conn, &bytes[..20_000]);
    let raw = String::from_utf8_lossy(&w.peers[legs[1].conn].inbox).into_owned();
    let tid = raw.split(' ').nth(1).unwrap();
    let early = format!(
        "MSRP {tid} 200 OK\r\nTo-Path: {}\r\nFrom-Path: {}\r\n-------{tid}$\r\n",
        legs[1].own, legs[1].path
    );
    w.feed(legs[1].conn, early.as_bytes());
    w.feed_once(legs[0].conn, &bytes[20_000..]);
    let got = w.one(legs[1].conn);
    assert_eq!((got.tid.as_str(), got.flag), (tid, b'$'));
    assert!(
        w.read(legs[0].conn).is_empty(),
        "held: no device has it yet"
    );
    assert_eq!(w.plane.gauges().unanswered, 1);
    w.respond(&legs[1], &got, 200);
    assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
    w.end(legs[0].session);
}

// [MSRP-TMO-01] A device that takes nothing at all for 30 s has failed as one that says nothing.
#[test]
fn a_device_that_takes_no_byte_is_given_up() {
    let mut w = World::plain();
    let legs = w.session(2);
    w.peers[legs[1].conn].takes = Some(0);
    let send = Send::new(&mut w, "hello");
    w.feed(legs[0].conn, &send.on(&legs[0]));
    w.ack_all(&legs[2]);
    w.pass(Duration::from_secs(29));
    assert!(w.events.is_empty(), "{:?}", w.events);
    w.pass(Duration::from_secs(3));
    let why = Failure::Timeout;
    assert!(matches!(&w.events[..], [Event::Failed { leg: LegId(1), why: w, .. }] if *w == why));
    w.end(legs[0].session);
}

// [MSRP-RSP-06] Of the types that a device has refused the last eight are known; the oldest is tried again.
#[test]
fn many_unsupported_types() {
    let mut w = World::plain();
    let legs = w.session(1);
    let send = |w: &mut World, n: u8| {
        let send = Send::new(w, "x").content_type(&format!("image/x-{n}"));
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.read(legs[1].conn)
    };
    for n in 1..=9 {
        let got = send(&mut w, n);
        w.respond(&legs[1], &got[0], 415);
    }
    for n in 2..=9 {
        assert!(send(&mut w, n).is_empty(), "{n}");
    }
    assert_eq!(send(&mut w, 1).len(), 1);
    w.end(legs[0].session);
}
