//! Activity: the device whose user is active stays, the others are torn down, at once.

use std::time::Duration;

use ringfork::{
    ids::LegId,
    msrp::{Command, Event, Failure, Finish},
};

use crate::harness::{
    Leg, Send, World, assemble, cpim, each_way, each_way_with, pattern, settings,
};

fn settling(w: &mut World, devices: u8) -> Vec<Leg> {
    let legs = w.session(devices);
    w.command(Command::SettleOnActivity {
        session: legs[0].session,
        on: true,
    });
    legs
}

// [TERM-MEDIA-01] [TERM-MEDIA-04] m1 and m2 reach both devices; device 1 answers; m3 reaches it alone. The activity message
// reaches the originator. [TERM-MEDIA-19]
#[test]
fn the_first_that_answers_stays() {
    each_way(|w| {
        let legs = settling(w, 3);
        for text in ["m1", "m2"] {
            let send = Send::new(w, text);
            w.feed(legs[0].conn, &send.on(&legs[0]));
            for leg in &legs[1..] {
                assert_eq!(w.ack_all(leg)[0].text(), text);
            }
        }
        w.read(legs[0].conn);
        let reply = Send::new(w, "it is me");
        w.feed(legs[1].conn, &reply.on(&legs[1]));
        assert_eq!(
            w.events,
            [Event::Activity {
                session: legs[0].session,
                leg: LegId(1),
                settled: true
            }]
        );
        let got = w.one(legs[0].conn);
        assert_eq!(got.text(), "it is me");
        w.respond(&legs[0], &got, 200);
        assert_eq!(w.answer(legs[1].conn, &reply.tid), Some(200));
        let send = Send::new(w, "m3");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        assert_eq!(w.ack_all(&legs[1])[0].text(), "m3");
        assert!(w.read(legs[2].conn).is_empty() && w.read(legs[3].conn).is_empty());
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
        w.end(legs[0].session);
    });
}

// settled.md 12: inside a frame, too. The others' frames end with `#`, no body byte follows; the active one gets it whole.
#[test]
fn activity_inside_a_frame() {
    each_way(|w| {
        let legs = settling(w, 3);
        let body = pattern(60_000);
        let send = Send::new(w, &body).range("1-*/60000");
        let bytes = send.on(&legs[0]);
        w.feed(legs[0].conn, &bytes[..30_000]);
        let reply = Send::new(w, "stop the others");
        w.feed(legs[2].conn, &reply.on(&legs[2]));
        for leg in [&legs[1], &legs[3]] {
            let got = w.sends(leg.conn);
            assert_eq!(got.last().unwrap().flag, b'#');
        }
        w.feed(legs[0].conn, &bytes[30_000..]);
        for leg in [&legs[1], &legs[3]] {
            assert!(w.peers[leg.conn].inbox.is_empty(), "no further byte");
        }
        let got = w.ack_all(&legs[2]);
        assert_eq!(assemble(&got), body);
        w.end(legs[0].session);
    });
}

// settled.md 12: what waits for a slow device is dropped, not sent after it was torn down.
#[test]
fn the_queue_of_a_slow_device_is_dropped() {
    let mut w = World::plain();
    let legs = settling(&mut w, 2);
    w.peers[legs[2].conn].takes = Some(150);
    for _ in 0..5 {
        let send = Send::new(&mut w, pattern(400));
        w.feed(legs[0].conn, &send.on(&legs[0]));
    }
    assert_eq!(w.ack_all(&legs[1]).len(), 5);
    let reply = Send::new(&mut w, "here");
    w.feed(legs[1].conn, &reply.on(&legs[1]));
    w.take(legs[2].conn, 1_000_000);
    let got = w.sends(legs[2].conn);
    assert_eq!(
        (got.len(), got[0].flag),
        (1, b'#'),
        "the one that had begun"
    );
    assert_eq!(
        w.plane.gauges().messages,
        1,
        "the reply, not acknowledged yet"
    );
    assert_eq!(w.outbox.spilled(), 0);
}

// settled.md 12: what a torn-down device had sent still reaches the sender, for 2 s; then 481. [TERM-MEDIA-17]
#[test]
fn a_torn_down_device_is_heard_for_two_seconds() {
    each_way(|w| {
        let legs = settling(w, 2);
        let reply = Send::new(w, "first");
        w.feed(legs[1].conn, &reply.on(&legs[1]));
        w.pass(Duration::from_millis(1_500));
        let late = Send::new(w, "second, on its way");
        w.feed(legs[2].conn, &late.on(&legs[2]));
        assert_eq!(w.answer(legs[2].conn, &late.tid), Some(200));
        let texts: Vec<String> = w.ack_all(&legs[0]).iter().map(|m| m.text()).collect();
        assert_eq!(texts, ["first", "second, on its way"]);
        assert_eq!(w.events.len(), 1, "one activity settles");
        w.pass(Duration::from_millis(600));
        let dead = Send::new(w, "too late");
        w.feed(legs[2].conn, &dead.on(&legs[2]));
        assert_eq!(w.answer(legs[2].conn, &dead.tid), Some(481));
        assert!(w.read(legs[0].conn).is_empty());
        w.end(legs[0].session);
    });
}

// Without SettleOnActivity activity is told, and nobody is torn down. [TERM-MEDIA-14]
#[test]
fn activity_is_told_once_a_leg() {
    each_way(|w| {
        let legs = w.session(2);
        for leg in [&legs[1], &legs[1], &legs[2]] {
            let send = Send::new(w, "hi");
            w.feed(leg.conn, &send.on(leg));
        }
        let told = |leg| Event::Activity {
            session: legs[0].session,
            leg,
            settled: false,
        };
        assert_eq!(w.events, [told(LegId(1)), told(LegId(2))]);
        let send = Send::new(w, "to both");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        for leg in &legs[1..] {
            assert!(w.read(leg.conn).iter().any(|m| m.is_send()));
        }
        w.end(legs[0].session);
    });
}

// A torn-down leg on a shared connection: the other session on it is not touched.
#[test]
fn teardown_on_a_shared_connection() {
    each_way(|w| {
        let legs = settling(w, 2);
        let other_session = w.open();
        let other_sender = w.leg(other_session, 0);
        let mut other = w.unbound_leg(other_session, 1, |_| ());
        other.conn = legs[2].conn;
        w.bind(&other);
        let reply = Send::new(w, "me");
        w.feed(legs[1].conn, &reply.on(&legs[1]));
        w.pass(Duration::from_secs(3));
        let send = Send::new(w, "other session");
        w.feed(other_sender.conn, &send.on(&other_sender));
        assert_eq!(w.one(other.conn).text(), "other session");
        assert!(!w.peers[other.conn].closed);
        w.end_all(&[legs[0].session, other_session]);
    });
}

// Gone at once: 481 from then on, and what was on its way does without the leg.
#[test]
fn a_leg_that_is_gone() {
    each_way(|w| {
        let legs = w.session(2);
        let send = Send::new(w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.command(Command::End {
            session: legs[0].session,
            leg: LegId(1),
            how: Finish::Gone,
        });
        w.ack_all(&legs[2]);
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
        let dead = Send::new(w, "dead");
        w.feed(legs[1].conn, &dead.on(&legs[1]));
        assert!(w.read(legs[1].conn).iter().any(|m| m.code() == Some(481)));
        w.end(legs[0].session);
    });
}

// [MSRP-CHUNK-11] A device that stops reading is dropped at its bound; the others get everything, memory stays bounded.
#[test]
fn one_slow_device_of_several_is_dropped() {
    let mut small = crate::harness::settings();
    small.outbox_bytes = 64 << 10;
    let mut w = World::new(small, crate::harness::Cuts::None);
    let legs = w.session(3);
    w.peers[legs[2].conn].takes = Some(0);
    let body = pattern(30_000);
    for _ in 0..10 {
        let send = Send::new(&mut w, &body);
        w.feed(legs[0].conn, &send.on(&legs[0]));
        for leg in [&legs[1], &legs[3]] {
            assert_eq!(assemble(&w.ack_all(leg)), body);
        }
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
        assert!(w.outbox.backlog(legs[2].conn) < 128 << 10);
    }
    assert_eq!(
        w.events,
        [Event::Failed {
            session: legs[0].session,
            leg: LegId(2),
            why: Failure::Slow
        }]
    );
    assert!(w.peers[legs[2].conn].closed);
    assert_eq!(w.plane.gauges().messages, 0);
}

// [TERM-MEDIA-01] A session settles once: whoever comes to it afterwards takes nothing from the one that stays.
#[test]
fn a_session_settles_once() {
    each_way(|w| {
        let legs = w.session(2);
        let session = legs[0].session;
        w.command(Command::SettleOnActivity { session, on: true });
        let first = Send::new(w, "I am here");
        w.feed(legs[1].conn, &first.on(&legs[1]));
        let late = w.leg(session, 3);
        w.events.clear();
        let second = Send::new(w, "and I");
        w.feed(late.conn, &second.on(&late));
        let told = Event::Activity {
            session,
            leg: LegId(3),
            settled: false,
        };
        assert_eq!(w.events, [told]);
        assert_eq!(w.plane.leg_view(session, LegId(1)).unwrap().state, "bound");
        w.end(session);
    });
}

// settled.md 40: a heartbeat is nobody's word: it reaches the originator and settles nothing, plain or in CPIM, in any case and
// with parameters, in one piece or in chunks. What the user then says settles the session.
#[test]
fn a_heartbeat_is_no_activity() {
    let beat = "Text/X-MSRP-Heartbeat; charset=utf-8";
    each_way(|w| {
        let legs = settling(w, 2);
        for (content_type, body) in [
            ("text/x-msrp-heartbeat", "HEARTBEAT".to_owned()),
            (beat, "HEARTBEAT".to_owned()),
            ("message/cpim", cpim("text/x-msrp-heartbeat", "HEARTBEAT")),
            ("message/CPIM", cpim(beat, "HEARTBEAT")),
        ] {
            for leg in &legs[1..] {
                // Twice: the second is like the one before.
                for _ in 0..2 {
                    let send = Send::new(w, &body).content_type(content_type);
                    w.feed(leg.conn, &send.on(leg));
                    let got = w.ack_all(&legs[0]);
                    assert_eq!(got.len(), 1, "it passes");
                    assert_eq!(got[0].text(), body);
                    assert_eq!(got[0].header("Content-Type"), Some(content_type));
                    assert_eq!(w.answer(leg.conn, &send.tid), Some(200));
                }
                let id = w.id("parts");
                for (n, part) in [&body[..4], &body[4..]].into_iter().enumerate() {
                    let (first, all) = (1 + 4 * n, body.len());
                    let send = Send::new(w, part)
                        .id(&id)
                        .content_type(content_type)
                        .range(&format!("{first}-{}/{all}", first + part.len() - 1))
                        .flag(if n == 0 { '+' } else { '$' });
                    w.feed(leg.conn, &send.on(leg));
                }
                w.ack_all(&legs[0]);
                w.read(leg.conn);
            }
        }
        assert!(w.events.is_empty(), "{:?}", w.events);
        // The originator's own goes to every device.
        let send = Send::new(w, "HEARTBEAT").content_type(beat);
        w.feed(legs[0].conn, &send.on(&legs[0]));
        for leg in &legs[1..] {
            assert_eq!(w.ack_all(leg).len(), 1, "both are there");
        }
        let send = Send::new(w, "it is me");
        w.feed(legs[2].conn, &send.on(&legs[2]));
        assert_eq!(
            w.events,
            [Event::Activity {
                session: legs[0].session,
                leg: LegId(2),
                settled: true
            }]
        );
        w.end(legs[0].session);
    });
}

// Which types are none is the operator's choice: with another list a heartbeat is as good as any text; isComposing may be on it.
#[test]
fn the_list_says_what_is_no_activity() {
    for (list, quiet) in [
        ("", &[][..]),
        (
            "text/x-ping text/x-pong",
            &["text/x-ping", "text/x-pong"][..],
        ),
        (
            "application/im-iscomposing+xml",
            &["application/im-iscomposing+xml"][..],
        ),
    ] {
        let mut settings = settings();
        settings.not_activity = list.as_bytes().into();
        each_way_with(settings, |w| {
            for content_type in [
                "text/plain",
                "text/x-msrp-heartbeat",
                "text/x-ping",
                "text/x-pong",
                "text/x-pin",
                "application/im-iscomposing+xml",
            ] {
                for wrapped in [true, false] {
                    let legs = settling(w, 2);
                    let send = if wrapped {
                        Send::new(w, cpim(content_type, "x")).content_type("message/cpim")
                    } else {
                        Send::new(w, "x").content_type(content_type)
                    };
                    w.feed(legs[1].conn, &send.on(&legs[1]));
                    assert_eq!(
                        w.events.is_empty(),
                        quiet.contains(&content_type),
                        "{list:?}: {content_type}"
                    );
                    assert_eq!(w.ack_all(&legs[0]).len(), 1);
                    w.end(legs[0].session);
                }
            }
        });
    }
}
