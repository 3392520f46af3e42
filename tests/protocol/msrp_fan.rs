//! Fan-out: every device gets what the sender sends, under its own paths and transaction ids.

use std::{collections::HashSet, time::Duration};

use crate::harness::{Send, World, each_way};

// [TERM-MEDIA-03] [TERM-MEDIA-10] [TERM-MEDIA-11] [TERM-MEDIA-12] [TERM-MEDIA-02] One SEND gives one SEND on each leg with the
// same body, Message-ID and Byte-Range; the To-Path is the device's, the From-Path ours; ids differ on every leg.
#[test]
fn one_send_reaches_every_device() {
    each_way(|w| {
        let legs = w.session(3);
        let send = Send::new(w, "hello, devices")
            .range("1-14/14")
            .extra("X-Foo: bar");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        let mut tids = HashSet::from([send.tid.clone()]);
        for leg in &legs[1..] {
            let got = w.one(leg.conn);
            assert_eq!(got.what, "SEND");
            assert_eq!(got.text(), "hello, devices");
            assert_eq!(
                got.headers,
                [
                    ("To-Path", leg.path.as_str()),
                    ("From-Path", leg.own.as_str()),
                    ("Message-ID", send.id.as_str()),
                    ("Byte-Range", "1-14/14"),
                    ("X-Foo", "bar"),
                    ("Content-Type", "text/plain"),
                ]
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
            );
            assert_eq!(got.flag, b'$');
            assert!(tids.insert(got.tid.clone()), "its own transaction id");
            w.respond(leg, &got, 200);
        }
        let answer = w.one(legs[0].conn);
        assert_eq!(
            (answer.tid.as_str(), answer.what.as_str()),
            (send.tid.as_str(), "200 OK")
        );
        w.end(legs[0].session);
    });
}

// [TERM-MEDIA-19] [TERM-MEDIA-13] What any device sends reaches the originator, with rewritten paths.
#[test]
fn a_device_reaches_the_originator() {
    each_way(|w| {
        let legs = w.session(2);
        let send = Send::new(w, "from device 2");
        w.feed(legs[2].conn, &send.on(&legs[2]));
        assert_eq!(w.answer(legs[2].conn, &send.tid), Some(200), "on receipt");
        let got = w.one(legs[0].conn);
        assert_eq!(got.text(), "from device 2");
        assert_eq!(got.header("To-Path"), Some(legs[0].path.as_str()));
        assert_eq!(got.header("From-Path"), Some(legs[0].own.as_str()));
        assert!(w.read(legs[1].conn).is_empty(), "no other device gets it");
        w.respond(&legs[0], &got, 200);
        w.end(legs[0].session);
    });
}

#[test]
fn what_is_acknowledged_is_forgotten() {
    let mut w = World::plain();
    let legs = w.session(2);
    for _ in 0..100 {
        let send = Send::new(&mut w, "one of many");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        for leg in &legs[1..] {
            assert_eq!(w.ack_all(leg).len(), 1);
        }
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
    }
    let gauges = w.plane.gauges();
    assert_eq!(
        (gauges.messages, gauges.unanswered, gauges.kept_bytes),
        (0, 0, 0)
    );
    assert_eq!(w.plane.counters().deliveries_acknowledged, 200);
    w.pass(Duration::from_secs(40));
    assert!(w.events.is_empty(), "{:?}", w.events);
    w.end(legs[0].session);
}
