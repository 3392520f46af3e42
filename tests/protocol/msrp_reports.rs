//! REPORTs: of N devices the sender sees one story.

use std::time::Duration;

use crate::harness::{Send, World, each_way};

fn with_success(w: &mut World, body: &str) -> Send {
    Send::new(w, body).extra("Success-Report: yes")
}

// [MSRP-RPT-01] [MSRP-RPT-08] [MSRP-RPT-03] A device's REPORT reaches the sender: his Message-ID, Status, full To-Path, no report headers.
#[test]
fn a_success_report_crosses() {
    each_way(|w| {
        let legs = w.session(1);
        let send = with_success(w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.ack_all(&legs[1]);
        w.read(legs[0].conn);
        w.report(&legs[1], &send.id, Some("1-5/5"), "000 200 OK");
        let report = w.one(legs[0].conn);
        assert_eq!(
            report.headers,
            [
                ("To-Path", legs[0].path.as_str()),
                ("From-Path", legs[0].own.as_str()),
                ("Message-ID", send.id.as_str()),
                ("Byte-Range", "1-5/5"),
                ("Status", "000 200 OK"),
            ]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
        assert_eq!((report.flag, report.body), (b'$', None));
        assert!(w.read(legs[1].conn).is_empty(), "a REPORT is not answered");
        w.end(legs[0].session);
    });
}

// [MSRP-RPT-08] The other way too: the originator's REPORT reaches the device that had sent the message, and no other.
#[test]
fn the_originators_report_reaches_its_device() {
    each_way(|w| {
        let legs = w.session(2);
        let send = with_success(w, "from two");
        w.feed(legs[2].conn, &send.on(&legs[2]));
        w.ack_all(&legs[0]);
        w.read(legs[2].conn);
        w.report(&legs[0], &send.id, None, "000 200 OK");
        let report = w.one(legs[2].conn);
        assert_eq!(report.header("To-Path"), Some(legs[2].path.as_str()));
        assert_eq!(
            report.header("Byte-Range"),
            Some("1-8/8"),
            "absent means all of it"
        );
        assert!(w.read(legs[1].conn).is_empty());
        w.end(legs[0].session);
    });
}

// [MSRP-RPT-01] To a sender behind a relay: the To-Path of a REPORT is all of the SEND's From-Path, of a response its first URI.
#[test]
fn a_report_passes_all_hops_back() {
    each_way(|w| {
        let session = w.open();
        let path = "msrp://relay.example.com:2855/abc;tcp msrp://alice.example.com:7001/a1;tcp";
        let sender = w.leg_like(session, 0, |p| p.path = path.as_bytes().into());
        let device = w.leg(session, 1);
        let send = with_success(w, "hello");
        w.feed(sender.conn, &send.on(&sender));
        w.ack_all(&device);
        let answer = w.one(sender.conn);
        assert_eq!(answer.header("To-Path"), path.split(' ').next());
        w.report(&device, &send.id, Some("1-5/5"), "000 200 OK");
        let report = w.one(sender.conn);
        assert_eq!(
            (report.what.as_str(), report.header("To-Path")),
            ("REPORT", Some(path))
        );
        // One of ours, too.
        let lost = Send::new(w, "lost");
        w.feed(sender.conn, &lost.on(&sender));
        w.pass(Duration::from_secs(2));
        w.drop_conn(device.conn);
        let told = w.read(sender.conn);
        let report = told.iter().find(|m| m.what == "REPORT").unwrap();
        assert_eq!(report.header("To-Path"), Some(path));
        w.end(session);
    });
}

// [MSRP-RPT-02] Nothing is ever sent for a REPORT: not for a good one, a broken one, or one for nobody.
#[test]
fn a_report_is_never_answered() {
    each_way(|w| {
        let legs = w.session(1);
        w.report(&legs[1], "unknown1", Some("1-5/5"), "000 413 Stop");
        w.report(&legs[1], "unknown2", None, "000 200 OK");
        let nobody = crate::harness::Leg {
            own: "msrp://127.0.0.1:2855/nobody;tcp".to_owned(),
            ..legs[1].clone()
        };
        w.report(&nobody, "unknown3", None, "000 200 OK");
        assert!(w.read(legs[1].conn).is_empty());
        assert!(w.read(legs[0].conn).is_empty());
        w.end(legs[0].session);
    });
}

// [MSRP-RPT-03] Not asked for: not passed on.
#[test]
fn a_success_report_that_nobody_asked_for() {
    each_way(|w| {
        let legs = w.session(1);
        let send = Send::new(w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.report(&legs[1], &send.id, Some("1-5/5"), "000 200 OK");
        w.ack_all(&legs[1]);
        w.report(&legs[1], &send.id, Some("1-5/5"), "000 200 OK");
        let got = w.read(legs[0].conn);
        assert_eq!(got.len(), 1, "the 200 alone: {got:?}");
        w.end(legs[0].session);
    });
}

// [MSRP-RPT-04] Three devices confirm, before and after the message is done: each byte is reported once.
#[test]
fn each_byte_is_reported_once() {
    each_way(|w| {
        let legs = w.session(3);
        let send = with_success(w, "0123456789");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.report(&legs[1], &send.id, Some("1-4/10"), "000 200 OK");
        w.report(&legs[2], &send.id, Some("1-4/10"), "000 200 OK");
        w.report(&legs[2], &send.id, Some("3-6/10"), "000 200 OK");
        for leg in &legs[1..] {
            w.ack_all(leg);
        }
        assert_eq!(w.plane.gauges().messages, 0);
        w.report(&legs[3], &send.id, Some("1-10/10"), "000 200 OK");
        w.report(&legs[1], &send.id, Some("5-10/10"), "000 200 OK");
        let ranges: Vec<String> = w
            .read(legs[0].conn)
            .iter()
            .filter(|m| m.what == "REPORT")
            .map(|m| m.header("Byte-Range").unwrap().to_owned())
            .collect();
        assert_eq!(ranges, ["1-4/10", "5-6/10", "7-10/10"]);
        w.end(legs[0].session);
    });
}

// [MSRP-RPT-03] A range beyond the message: reported as far as there are bytes, while it is under way and after.
#[test]
fn no_byte_is_reported_that_is_none() {
    each_way(|w| {
        let legs = w.session(1);
        for early in [true, false] {
            let send = with_success(w, "hello");
            w.feed(legs[0].conn, &send.on(&legs[0]));
            if early {
                w.report(&legs[1], &send.id, Some("1-99/99"), "000 200 OK");
            }
            w.ack_all(&legs[1]);
            w.report(&legs[1], &send.id, Some("1-99/99"), "000 200 OK");
            let got = w.read(legs[0].conn);
            let ranges: Vec<_> = got.iter().filter_map(|m| m.header("Byte-Range")).collect();
            assert_eq!(ranges, ["1-5/5"], "{early}");
        }
        w.end(legs[0].session);
    });
}

// A REPORT on a connection that its leg is not bound to, with all the right URIs: it is nobody's.
#[test]
fn a_report_from_elsewhere_is_ignored() {
    each_way(|w| {
        let legs = w.session(1);
        let send = with_success(w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.ack_all(&legs[1]);
        w.read(legs[0].conn);
        let thief = crate::harness::Leg {
            conn: w.accept(),
            ..legs[1].clone()
        };
        w.report(&thief, &send.id, Some("1-5/5"), "000 200 OK");
        w.report(&thief, &send.id, Some("1-5/5"), "000 403 Forbidden");
        assert!(w.read(legs[0].conn).is_empty() && w.read(thief.conn).is_empty());
        w.report(&legs[1], &send.id, Some("1-5/5"), "000 200 OK");
        assert_eq!(w.one(legs[0].conn).what, "REPORT");
        w.end(legs[0].session);
    });
}

// [MSRP-RPT-05] Failure-Report against error and timeout. By now the 200 was given, so a REPORT tells it.
#[test]
fn who_is_told_of_a_failure() {
    for (report, error, timeout) in [
        (None, true, true),
        (Some("yes"), true, true),
        (Some("partial"), true, false),
        (Some("no"), false, false),
    ] {
        for (code, told) in [(Some(415), error), (None, timeout)] {
            let mut w = World::plain();
            let legs = w.session(2);
            let mut send = Send::new(&mut w, "hello");
            if let Some(value) = report {
                send = send.extra(&format!("Failure-Report: {value}"));
            }
            w.feed(legs[0].conn, &send.on(&legs[0]));
            w.pass(Duration::from_millis(if report == Some("partial") {
                10
            } else {
                1_100
            }));
            for leg in &legs[1..] {
                let got = w.one(leg.conn);
                if let Some(code) = code {
                    w.respond(leg, &got, code);
                }
            }
            w.pass(Duration::from_secs(40));
            let reports: Vec<String> = w
                .read(legs[0].conn)
                .iter()
                .filter(|m| m.what == "REPORT")
                .map(|m| {
                    assert_eq!(m.header("Byte-Range"), Some("1-5/5"));
                    m.header("Status").unwrap().to_owned()
                })
                .collect();
            let want: &[&str] = match (told, code) {
                (false, _) => &[],
                (true, Some(_)) => &["000 415 Unsupported Media Type"],
                (true, None) => &["000 408 Request Timeout"],
            };
            assert_eq!(reports, want, "{report:?} {code:?}");
        }
    }
}

// [MSRP-RPT-05] One device has it: the failure of another is nobody's business, also when it is reported late.
#[test]
fn a_failure_beside_a_success_is_not_told() {
    each_way(|w| {
        let legs = w.session(2);
        let send = Send::new(w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.ack_all(&legs[1]);
        let got = w.one(legs[2].conn);
        w.respond(&legs[2], &got, 413);
        w.report(&legs[2], &send.id, Some("1-5/5"), "000 413 Stop");
        let answers = w.read(legs[0].conn);
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert!(w.events.is_empty());
        // The one that had it takes it back: now nobody has it.
        w.report(&legs[1], &send.id, Some("1-5/5"), "000 403 Forbidden");
        assert_eq!(
            w.one(legs[0].conn).header("Status"),
            Some("000 403 Forbidden")
        );
        w.end(legs[0].session);
    });
}

// [MSRP-RSP-02] [MSRP-RPT-05] The same with Failure-Report no or partial: the one is told nothing, the other of errors alone.
#[test]
fn a_late_failure_is_told_to_who_asks_for_it() {
    for (report, status, told) in [
        ("no", "000 403 Forbidden", false),
        ("no", "000 408 Request Timeout", false),
        ("partial", "000 403 Forbidden", true),
        ("partial", "000 408 Request Timeout", false),
    ] {
        each_way(|w| {
            let legs = w.session(1);
            let send = Send::new(w, "hello").extra(&format!("Failure-Report: {report}"));
            w.feed(legs[0].conn, &send.on(&legs[0]));
            w.pass(Duration::from_millis(100));
            assert_eq!(w.plane.pending(legs[0].session), 0, "the socket has it");
            w.report(&legs[1], &send.id, Some("1-5/5"), status);
            let got = w.read(legs[0].conn);
            let statuses: Vec<_> = got.iter().filter_map(|m| m.header("Status")).collect();
            assert_eq!(
                statuses,
                if told { vec![status] } else { vec![] },
                "{report}"
            );
            w.end(legs[0].session);
        });
    }
}

// [MSRP-RPT-06] A REPORT after the session has ended: no reaction, the connection stays.
#[test]
fn a_late_report_is_ignored() {
    each_way(|w| {
        let legs = w.session(1);
        let send = with_success(w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.ack_all(&legs[1]);
        w.read(legs[0].conn);
        w.command(ringfork::msrp::Command::Close {
            session: legs[0].session,
        });
        w.report(&legs[1], &send.id, Some("1-5/5"), "000 200 OK");
        assert!(w.read(legs[1].conn).is_empty() && w.read(legs[0].conn).is_empty());
        assert!(!w.peers[legs[1].conn].closed);
        w.end(legs[0].session);
    });
}

// [MSRP-RPT-07] Status 000 413 stops a message as a 413 response does; another namespace is passed on, not interpreted.
#[test]
fn a_status_reads_as_a_response() {
    each_way(|w| {
        let legs = w.session(2);
        let id = w.id("stopped");
        let first = Send::new(w, "part").id(&id).range("1-4/8").flag('+');
        w.feed(legs[0].conn, &first.on(&legs[0]));
        w.ack_all(&legs[1]);
        w.ack_all(&legs[2]);
        w.report(&legs[1], &id, Some("1-4/8"), "000 413 Stop");
        w.report(&legs[2], &id, Some("1-4/8"), "123 413 Whatever");
        let all = w.read(legs[0].conn);
        let told: Vec<_> = all
            .iter()
            .filter(|m| m.what == "REPORT")
            .map(|m| (m.header("Message-ID"), m.header("Status")))
            .collect();
        assert_eq!(told, [(Some(id.as_str()), Some("123 413"))]);
        let second = Send::new(w, "part").id(&id).range("5-8/8");
        w.feed(legs[0].conn, &second.on(&legs[0]));
        assert!(w.read(legs[1].conn).is_empty(), "stopped");
        assert_eq!(w.ack_all(&legs[2]).len(), 1, "goes on");
        w.end(legs[0].session);
    });
}

// [MSRP-RPT-07] The message stops as by a 413 response: to the only device no further byte of it goes, further chunks are
// answered 413, and what comes after it passes. Another namespace stops nothing, before the message is done and after.
#[test]
fn a_413_by_report_stops_as_one_by_response() {
    for by_report in [true, false] {
        each_way(|w| {
            let legs = w.session(1);
            let id = w.id("stopped");
            let first = Send::new(w, "part").id(&id).range("1-4/8").flag('+');
            w.feed(legs[0].conn, &first.on(&legs[0]));
            let got = w.one(legs[1].conn);
            if by_report {
                w.respond(&legs[1], &got, 200);
                w.report(&legs[1], &id, Some("1-4/8"), "000 413 Stop");
            } else {
                w.respond(&legs[1], &got, 413);
            }
            w.read(legs[0].conn);
            let second = Send::new(w, "part").id(&id).range("5-8/8");
            w.feed(legs[0].conn, &second.on(&legs[0]));
            let all = w.read(legs[0].conn);
            assert_eq!(all.len(), 1, "{all:?}");
            assert_eq!((all[0].code(), &all[0].tid), (Some(413), &second.tid));
            assert!(
                w.read(legs[1].conn).iter().all(|m| m
                    .body
                    .as_deref()
                    .unwrap_or_default()
                    .is_empty())
            );
            let next = with_success(w, "next");
            w.feed(legs[0].conn, &next.on(&legs[0]));
            assert_eq!(w.ack_all(&legs[1])[0].text(), "next");
            assert_eq!(w.answer(legs[0].conn, &next.tid), Some(200));
            w.report(&legs[1], &next.id, Some("1-4/4"), "413 413 Whatever");
            assert_eq!(w.one(legs[0].conn).header("Status"), Some("413 413"));
            w.report(&legs[1], &next.id, Some("1-4/4"), "000 200 OK");
            assert_eq!(w.one(legs[0].conn).header("Status"), Some("000 200 OK"));
            w.end(legs[0].session);
        });
    }
}
