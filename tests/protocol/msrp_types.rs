//! What may be sent to whom: types, wrapped types, sizes, directions; and what CPIM carries.

use ringfork::{
    ids::LegId,
    msrp::{Command, Direction, Event, Finish, LegOffer},
};

use crate::harness::{
    IS_COMPOSING, Leg, Send, World, assemble, cpim, each_way, each_way_with, pattern, settings,
};

const FT: &str = "application/vnd.gsma.rcs-ft-http+xml";

// [MSRP-TYPES-03] A device without a wrapped type does not get such a message; the other does.
#[test]
fn a_wrapped_type_that_one_device_lacks() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let plain = w.leg_like(session, 1, |p| {
            p.accept_types = b"message/cpim".to_vec();
            p.accept_wrapped_types = b"text/plain message/imdn+xml".to_vec();
        });
        let rich = w.leg_like(session, 2, |p| {
            p.accept_types = b"message/cpim".to_vec();
            p.accept_wrapped_types = format!("text/* {FT}").into_bytes();
        });
        let file = Send::new(w, cpim(FT, "<file/>")).content_type("message/cpim");
        w.feed(sender.conn, &file.on(&sender));
        assert!(w.read(plain.conn).is_empty());
        assert_eq!(w.ack_all(&rich).len(), 1);
        assert_eq!(w.answer(sender.conn, &file.tid), Some(200));
        let text =
            Send::new(w, cpim("text/plain;charset=utf-8", "hi")).content_type("Message/CPIM");
        w.feed(sender.conn, &text.on(&sender));
        assert_eq!(
            (w.sends(plain.conn).len(), w.sends(rich.conn).len()),
            (1, 1)
        );
        // At top level a wrapped type is not allowed.
        let bare = Send::new(w, "hi").content_type("text/plain");
        w.feed(sender.conn, &bare.on(&sender));
        assert_eq!(
            w.answer(sender.conn, &bare.tid),
            Some(415),
            "no device takes it"
        );
        assert!(w.read(plain.conn).is_empty() && w.read(rich.conn).is_empty());
        w.end(session);
    });
}

// [MSRP-RSP-06] [MSRP-TYPES-05] What we said we accept decides for the sender, wrapped or not; multipart by its name.
#[test]
fn what_we_accept_from_a_sender() {
    each_way(|w| {
        let session = w.open();
        let device = w.leg(session, 1);
        let id = w.plane.mint(session, LegId(0));
        let own = format!("msrp://127.0.0.1:2855/{id};tcp");
        w.command(Command::Offer {
            session,
            leg: LegId(0),
            offer: LegOffer {
                own_uri: own.clone().into_bytes().into(),
                accept_types: b"message/cpim multipart/mixed text/plain".to_vec(),
                accept_wrapped_types: b"text/plain".to_vec(),
            },
        });
        let path = "msrp://sender.example.com:7000/s;tcp".to_owned();
        w.command(Command::Start {
            session,
            leg: LegId(0),
            peer: World::peer(&path),
        });
        let sender = Leg {
            session,
            leg: LegId(0),
            own,
            path,
            conn: w.accept(),
        };
        w.bind(&sender);
        for (content_type, body, code) in [
            ("image/png", "x".to_owned(), 415),
            ("text/html", "x".to_owned(), 415),
            ("message/cpim", cpim("image/png", "x"), 415),
            ("text/plain", "x".to_owned(), 200),
            ("multipart/mixed;boundary=b", "--b--".to_owned(), 200),
            ("message/cpim", cpim("text/plain", "x"), 200),
        ] {
            let send = Send::new(w, &body).content_type(content_type);
            w.feed(sender.conn, &send.on(&sender));
            let got = w.ack_all(&device).len();
            assert_eq!(got, usize::from(code == 200), "{content_type}");
            assert_eq!(
                w.answer(sender.conn, &send.tid),
                Some(code),
                "{content_type}"
            );
        }
        w.end(session);
    });
}

// [MSRP-TYPES-04] Over our limit: 413 at the first chunk whose total shows it, or when the limit is passed.
#[test]
fn over_the_size_limit() {
    let mut small = settings();
    small.max_message_bytes = 20_000;
    each_way_with(small, |w| {
        let legs = w.session(1);
        let told = Send::new(w, "begin").range("1-*/20001").flag('+');
        w.feed(legs[0].conn, &told.on(&legs[0]));
        assert_eq!(w.answer(legs[0].conn, &told.tid), Some(413));
        assert!(w.read(legs[1].conn).is_empty());
        for len in [30_000, 20_001] {
            let grows = Send::new(w, pattern(len)).range("1-*/*");
            w.feed(legs[0].conn, &grows.on(&legs[0]));
            assert_eq!(w.answer(legs[0].conn, &grows.tid), Some(413), "{len}");
        }
        if let Some(last) = w.sends(legs[1].conn).last() {
            assert_eq!(last.flag, b'#', "what was begun is aborted");
        }
        let fits = Send::new(w, pattern(20_000)).range("1-*/20000");
        w.feed(legs[0].conn, &fits.on(&legs[0]));
        assert_eq!(w.ack_all(&legs[1]).len(), 1);
        assert_eq!(w.answer(legs[0].conn, &fits.tid), Some(200));
        w.end(legs[0].session);
    });
}

// [MSRP-TYPES-04] A message of exactly a device's max-size, or of exactly ours, is none that is too large: told, or not.
#[test]
fn exactly_the_limit() {
    let mut small = settings();
    small.max_message_bytes = 20_000;
    each_way_with(small, |w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let device = w.leg_like(session, 1, |p| p.max_size = Some(500));
        for range in [None, Some("1-500/500"), Some("1-*/500"), Some("1-*/*")] {
            let mut send = Send::new(w, pattern(500));
            send.range = range.map(str::to_owned);
            w.feed(sender.conn, &send.on(&sender));
            let got = w.ack_all(&device);
            assert_eq!(got.len(), 1, "{range:?}");
            assert_eq!(got[0].body, Some(pattern(500)));
            assert_eq!(w.answer(sender.conn, &send.tid), Some(200), "{range:?}");
        }
        // Large enough to be passed on as it comes.
        let large = w.leg_like(session, 2, |p| p.max_size = Some(12_000));
        let send = Send::new(w, pattern(12_000)).range("1-*/*");
        w.feed(sender.conn, &send.on(&sender));
        let got = w.ack_all(&large);
        assert_eq!(assemble(&got), pattern(12_000));
        assert_eq!(got.last().map(|m| m.flag), Some(b'$'));
        w.read(device.conn);
        w.read(sender.conn);
        w.command(Command::End {
            session,
            leg: large.leg,
            how: Finish::Gone,
        });
        let mut over = Send::new(w, pattern(501));
        over.range = Some("1-501/501".to_owned());
        w.feed(sender.conn, &over.on(&sender));
        assert_eq!(w.answer(sender.conn, &over.tid), Some(413));
        w.end(session);
    });
}

// [MSRP-TYPES-04] Over a device's max-size: not sent to it; the other gets it. Nobody can: 413.
#[test]
fn over_a_devices_limit() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let small = w.leg_like(session, 1, |p| p.max_size = Some(100));
        let big = w.leg_like(session, 2, |p| p.max_size = Some(1_000));
        let send = Send::new(w, pattern(500)).range("1-500/500");
        w.feed(sender.conn, &send.on(&sender));
        assert!(w.read(small.conn).is_empty());
        assert_eq!(w.ack_all(&big).len(), 1);
        assert_eq!(w.answer(sender.conn, &send.tid), Some(200));
        let huge = Send::new(w, pattern(5_000)).range("1-*/5000");
        w.feed(sender.conn, &huge.on(&sender));
        assert_eq!(w.answer(sender.conn, &huge.tid), Some(413));
        // Of unknown size: it ends where the limit is passed.
        let open = Send::new(w, pattern(500)).range("1-*/*");
        w.feed(sender.conn, &open.on(&sender));
        assert!(w.read(small.conn).iter().all(|m| m.flag != b'$'));
        assert_eq!(w.ack_all(&big).len(), 1);
        w.end(session);
    });
}

// [MSRP-SDP-03] A leg that may not send: its chat is refused with 403 and not delivered, its IMDN passes; a leg that does not
// want to receive gets IMDN alone.
#[test]
fn direction_rules_chat_alone() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg_like(session, 0, |p| {
            p.direction = Direction {
                peer_sends: true,
                peer_receives: false,
            };
        });
        let device = w.leg_like(session, 1, |p| {
            p.direction = Direction {
                peer_sends: false,
                peer_receives: true,
            };
        });
        let chat = Send::new(w, cpim("text/plain", "no")).content_type("message/cpim");
        w.feed(device.conn, &chat.on(&device));
        assert_eq!(w.answer(device.conn, &chat.tid), Some(403));
        let imdn = Send::new(w, cpim("message/imdn+xml", "<imdn/>")).content_type("message/cpim");
        w.feed(device.conn, &imdn.on(&device));
        assert_eq!(w.answer(device.conn, &imdn.tid), Some(200));
        let got = w.one(sender.conn);
        assert_eq!(got.header("Message-ID"), Some(imdn.id.as_str()));
        // [ISCOMP-01] Control, as RFC 4975 §8.9 has it: forwarded.
        for body in [
            IS_COMPOSING.to_owned(),
            cpim(ISCOMPOSING_TYPE, IS_COMPOSING),
        ] {
            let kind = if body == IS_COMPOSING {
                ISCOMPOSING_TYPE
            } else {
                "message/cpim"
            };
            let composing = Send::new(w, &body).content_type(kind);
            w.feed(device.conn, &composing.on(&device));
            assert_eq!(w.answer(device.conn, &composing.tid), Some(200));
            assert_eq!(w.one(sender.conn).text(), body);
        }
        w.end(session);
    });
}

const ISCOMPOSING_TYPE: &str = "application/im-iscomposing+xml";

/// A device's message, and whether it is activity.
fn activity_of(w: &mut World, content_type: &str, body: &str) -> bool {
    let legs = w.session(2);
    let send = Send::new(w, body).content_type(content_type);
    w.feed(legs[1].conn, &send.on(&legs[1]));
    let got = w.one(legs[0].conn);
    assert_eq!(got.text(), body, "forwarded unchanged");
    let active = w
        .events
        .iter()
        .any(|e| matches!(e, Event::Activity { leg, .. } if *leg == LegId(1)));
    w.end(legs[0].session);
    active
}

// [CPIM-01] [CPIM-02] [CPIM-03] [CPIM-04] [ISCOMP-01] [TERM-MEDIA-14] Chat and isComposing are activity, bare or in CPIM; IMDN
// is not. Whatever it looks like, it is forwarded byte for byte.
#[test]
fn what_counts_as_activity() {
    each_way(|w| {
        let torture = [
            // No From, no To; repeated and unknown headers; language tag; escapes; another prefix for IMDN.
            "Subject:;lang=fr une fois\r\nSubject: twice\r\nX: \\u00e9 \\\\\r\nNS: foo <urn:ietf:params:imdn>\r\nfoo.Message-ID: 34jk\r\n\r\nContent-Type: {}\r\nContent-ID: <1>\r\n\r\nbody".to_owned(),
            "From: <sip:anonymous@anonymous.invalid>\r\n\r\ncontent-type:{}\r\n\r\n".to_owned(),
            cpim("{}", "payload"),
        ];
        for form in &torture {
            for (inner, active) in [
                ("text/plain", true),
                ("text/plain; charset=utf-8", true),
                (FT, true),
                ("application/im-iscomposing+xml", true),
                ("APPLICATION/IM-ISCOMPOSING+XML", true),
                ("message/imdn+xml", false),
            ] {
                let body = form.replace("{}", inner);
                assert_eq!(activity_of(w, "message/cpim", &body), active, "{body}");
            }
        }
        for (content_type, active) in [
            ("text/plain", true),
            ("application/im-iscomposing+xml", true),
            ("message/imdn+xml", false),
        ] {
            assert_eq!(
                activity_of(w, content_type, IS_COMPOSING),
                active,
                "{content_type}"
            );
        }
    });
}

// [CPIM-05] The headers inside CPIM come in a second chunk: nothing is decided, nothing passed on, before; then both are.
#[test]
fn a_cpim_message_cut_inside_its_headers() {
    each_way(|w| {
        for (inner, active) in [("message/imdn+xml", false), ("text/plain", true)] {
            let legs = w.session(2);
            let body = cpim(inner, "the content");
            let id = w.id("cutcpim");
            for (from, to, flag) in [(0, 20, '+'), (20, 60, '+'), (60, body.len(), '$')] {
                let send = Send::new(w, &body[from..to])
                    .id(&id)
                    .range(&format!("{}-{to}/{}", from + 1, body.len()))
                    .content_type("message/cpim")
                    .flag(flag);
                w.feed(legs[1].conn, &send.on(&legs[1]));
                assert_eq!(w.answer(legs[1].conn, &send.tid), Some(200));
                if flag == '+' {
                    assert!(w.events.is_empty(), "no wrong activity");
                    assert!(w.read(legs[0].conn).is_empty(), "and nothing sent yet");
                }
            }
            let got = w.sends(legs[0].conn);
            assert_eq!(crate::harness::assemble(&got), body.as_bytes());
            assert_eq!(got.last().unwrap().flag, b'$');
            assert_eq!(!w.events.is_empty(), active);
            w.end(legs[0].session);
        }
    });
}

// [CPIM-05] The decision waits for no more than 8 KiB.
#[test]
fn endless_cpim_headers_are_bounded() {
    each_way(|w| {
        let legs = w.session(1);
        let body = format!(
            "X-Long: {}\r\n\r\nContent-Type: text/plain\r\n\r\nhi",
            "y".repeat(20_000)
        );
        let send = Send::new(w, &body)
            .range("1-*/*")
            .content_type("message/cpim");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        let got = w.ack_all(&legs[1]);
        assert_eq!(
            crate::harness::assemble(&got),
            body.as_bytes(),
            "passed on all the same"
        );
        w.end(legs[0].session);
    });
}

// [ISCOMP-03] isComposing with Failure-Report no, again and again: forwarded each time, activity once.
#[test]
fn a_refresh_is_no_new_activity() {
    each_way(|w| {
        let legs = w.session(2);
        w.command(Command::SettleOnActivity {
            session: legs[0].session,
            on: true,
        });
        for n in 0..4 {
            let send = Send::new(w, IS_COMPOSING)
                .content_type("application/im-iscomposing+xml")
                .extra("Failure-Report: no");
            w.feed(legs[1].conn, &send.on(&legs[1]));
            assert_eq!(w.sends(legs[0].conn).len(), 1, "{n}");
        }
        assert_eq!(w.events.len(), 1, "{:?}", w.events);
        assert!(w.read(legs[1].conn).is_empty());
        w.end(legs[0].session);
    });
}

// [ISCOMP-02] An isComposing that nobody takes is not deferred: the session room hears nothing of it.
#[test]
fn an_iscomposing_is_never_deferred() {
    each_way(|w| {
        let legs = w.session(1);
        let send = Send::new(w, cpim("application/im-iscomposing+xml", IS_COMPOSING))
            .content_type("message/cpim");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        let got = w.one(legs[1].conn);
        w.respond(&legs[1], &got, 400);
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(400));
        assert!(w.events.is_empty(), "{:?}", w.events);
        w.end(legs[0].session);
    });
}
