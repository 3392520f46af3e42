//! The media plane for several devices, over a whole shard: seed 000, 8.3.2.1.1.

use std::time::Duration;

use ringfork::shard::report::{Answer, Question, session_of};

use crate::{
    lab::{Lab, TCP},
    people::{Alice, COMPOSING, Device, cpim, hang_up, session},
};

/// One SEND of the originator gives one SEND on each leg: same body, Message-ID and range, paths of the leg, a fresh id.
/// [TERM-MEDIA-02] [TERM-MEDIA-03] [TERM-MEDIA-10] [TERM-MEDIA-11] [TERM-MEDIA-12]
#[test]
fn a_message_goes_to_every_device_with_the_paths_of_its_leg() {
    let mut lab = Lab::new();
    let (alice, devices) = session(&mut lab, 3);
    let body = cpim("to all");
    alice.say(&mut lab, "msg-1", &body);
    let mut tids = Vec::new();
    let mut paths = Vec::new();
    for d in &devices {
        let sends = lab.sends(d.conn());
        assert_eq!(sends.len(), 1, "device {}", d.n);
        let f = &sends[0];
        assert_eq!(f.body.as_deref(), Some(&body[..]));
        assert_eq!(f.get("Message-ID"), "msg-1");
        assert_eq!(f.range(), Some((1, Some(body.len()), Some(body.len()))));
        assert_eq!(f.get("To-Path"), d.path);
        assert_eq!(f.get("From-Path"), d.peer_path);
        tids.push(f.tid.clone());
        paths.push(d.peer_path.clone());
    }
    tids.sort();
    tids.dedup();
    paths.sort();
    paths.dedup();
    assert_eq!(
        (tids.len(), paths.len()),
        (3, 3),
        "each leg has its own transaction and session ids"
    );
}

/// [TERM-MEDIA-08] as settled R1 reads it: the 200 leaves when one device has acknowledged the whole message.
#[test]
fn the_200_comes_with_the_first_device_and_once() {
    let mut lab = Lab::new();
    let (alice, devices) = session(&mut lab, 2);
    let tid = alice.say(&mut lab, "msg-1", &cpim("held"));
    assert!(
        lab.frames(alice.conn()).is_empty(),
        "nothing was promised yet"
    );
    for d in &devices {
        let sends = lab.sends(d.conn());
        d.ok(&mut lab, &sends[0], 200);
    }
    let answers = lab.frames(alice.conn());
    assert_eq!(
        answers
            .iter()
            .map(|f| (f.what.as_str(), f.tid.as_str()))
            .collect::<Vec<_>>(),
        [("200", tid.as_str())]
    );
    assert_eq!(answers[0].get("To-Path"), alice.path);
    assert_eq!(answers[0].get("From-Path"), alice.peer_path);
}

/// No device says a word: the 200 leaves after 1 s at the latest, and the failure is reported 30 s after the last byte.
/// [MSRP-TMO-03] [TERM-MEDIA-08]
#[test]
fn silent_devices_give_a_200_after_a_second_and_a_report_after_thirty() {
    let mut lab = Lab::new();
    let (alice, _devices) = session(&mut lab, 2);
    let tid = alice.say(&mut lab, "msg-1", &cpim("anybody?"));
    lab.pass(Duration::from_millis(950));
    assert!(lab.frames(alice.conn()).is_empty());
    lab.pass(Duration::from_millis(100));
    assert_eq!(
        lab.frames(alice.conn())
            .iter()
            .map(|f| f.tid.clone())
            .collect::<Vec<_>>(),
        [tid]
    );
    lab.pass(Duration::from_secs(27));
    assert!(lab.frames(alice.conn()).is_empty());
    lab.pass(Duration::from_secs(5));
    let reports: Vec<_> = lab
        .frames(alice.conn())
        .into_iter()
        .filter(|f| f.what == "REPORT")
        .collect();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].get("Status").get(..7), Some("000 408"));
    assert_eq!(reports[0].get("Message-ID"), "msg-1");
}

/// Activity of the third of four devices: BYE with the Reason to the three others in the same turn, none to it or to the
/// originator; the message that was the activity is forwarded; the next one goes to that device alone; the torn-down legs
/// answer 481 and nothing of them remains.
/// [TERM-MEDIA-01] [TERM-MEDIA-04] [TERM-MEDIA-13] [TERM-MEDIA-14] [TERM-MEDIA-15] [TERM-MEDIA-16] [TERM-MEDIA-17] [TERM-MEDIA-18] [TERM-MEDIA-19]
#[test]
fn activity_settles_the_session_on_one_device() {
    for (content_type, body) in [
        ("message/cpim", cpim("I am here")),
        (
            "application/im-iscomposing+xml",
            COMPOSING.as_bytes().to_vec(),
        ),
    ] {
        let mut lab = Lab::new();
        let (mut alice, devices) = session(&mut lab, 4);
        for n in 1..=2 {
            alice.say(&mut lab, &format!("msg-{n}"), &cpim("early"));
        }
        for d in &devices {
            let sends = lab.sends(d.conn());
            assert_eq!(sends.len(), 2);
            for f in &sends {
                d.ok(&mut lab, f, 200);
            }
        }
        lab.frames(alice.conn());
        let tid = devices[2].say(&mut lab, content_type, &body);
        for (n, d) in devices.iter().enumerate() {
            if n == 2 {
                assert!(lab.to(&d.sip).is_none(), "no BYE to the active device");
                continue;
            }
            let bye = lab.request_to(&d.sip, "BYE");
            assert!(
                bye.get("Reason").starts_with("SIP;cause=200"),
                "{}",
                bye.get("Reason")
            );
            assert_eq!(
                bye.get("Call-ID"),
                d.invite.as_ref().expect("invited").get("Call-ID")
            );
            let r = bye.answer(200, "OK", "", "", "");
            lab.datagram(&d.sip, &r);
        }
        assert!(lab.to(&alice.sip).is_none(), "no BYE to the originator");
        let got = lab.sends(alice.conn());
        assert_eq!(
            got.iter().map(|f| f.body.clone()).collect::<Vec<_>>(),
            [Some(body.clone())]
        );
        assert_eq!(got[0].get("To-Path"), alice.path);
        assert!(
            lab.frames(devices[2].conn())
                .iter()
                .any(|f| f.what == "200" && f.tid == tid)
        );

        alice.say(&mut lab, "msg-3", &cpim("for you alone"));
        let sends = lab.sends(devices[2].conn());
        assert_eq!(sends.len(), 1);
        devices[2].ok(&mut lab, &sends[0], 200);
        for n in [0, 1, 3] {
            assert!(
                lab.sends(devices[n].conn()).is_empty(),
                "a torn-down device gets nothing"
            );
        }
        // Their sessions are gone: closed, or 481 to who still speaks.
        for n in [0, 1, 3] {
            if lab.wire(devices[n].conn()).closed.is_none() {
                let tid = devices[n].say(&mut lab, "message/cpim", &cpim("too late"));
                let answers = lab.frames(devices[n].conn());
                assert!(
                    answers.iter().any(|f| f.tid == tid && f.what == "481"),
                    "{answers:?}"
                );
            }
        }
        let legs: usize = lab.shards[0].function().counters().legs;
        assert_eq!(legs, 2, "the originator and one device are left");
        hang_up(&mut lab, &mut alice, &devices);
        assert!(lab.is_idle());
    }
}

/// With one device nothing is ever torn down; with two, an IMDN, a bodiless SEND and a REPORT are no activity.
/// [TERM-MEDIA-14] [MSRP-BARE-02]
#[test]
fn what_is_no_activity() {
    let mut lab = Lab::new();
    let (alice, devices) = session(&mut lab, 1);
    devices[0].say(&mut lab, "message/cpim", &cpim("alone"));
    assert!(lab.to(&devices[0].sip).is_none() && lab.to(&alice.sip).is_none());

    let mut lab = Lab::new();
    let (alice, devices) = session(&mut lab, 2);
    let imdn = b"From: <sip:b@example.com>\r\nTo: <sip:a@example.com>\r\n\r\nContent-Type: message/imdn+xml\r\n\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>1</message-id></imdn>";
    devices[0].say(&mut lab, "message/cpim", imdn);
    assert_eq!(
        lab.sends(alice.conn()).len(),
        1,
        "it is forwarded all the same"
    );
    let report = format!(
        "MSRP repo1234 REPORT\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: nobody\r\nByte-Range: 1-3/3\r\nStatus: 000 200\r\n-------repo1234$\r\n",
        devices[0].peer_path, devices[0].path
    );
    lab.bytes(devices[0].conn(), report.as_bytes());
    for d in &devices {
        assert!(lab.to(&d.sip).is_none(), "nobody is torn down");
    }
    assert!(lab.sends(alice.conn()).is_empty());
}

/// A device that still rings gets CANCEL with the Reason, and one whose 200 crosses it gets ACK and BYE. [B2BUA-11] [TERM-MEDIA-16]
#[test]
fn a_ringing_device_is_cancelled_and_a_crossing_200_is_ended() {
    let mut lab = Lab::new();
    let mut devices: Vec<Device> = (1..=3).map(|k| Device::register(&mut lab, k)).collect();
    let mut alice = Alice::new();
    alice.invite(&mut lab);
    for d in &mut devices {
        d.invited(&mut lab);
    }
    devices[0].accept(&mut lab);
    alice.up(&mut lab);
    devices[1].respond(&mut lab, 180, "", "");
    devices[2].respond(&mut lab, 180, "", "");
    devices[0].say(&mut lab, "message/cpim", &cpim("mine"));
    for d in &devices[1..] {
        let cancel = lab.request_to(&d.sip, "CANCEL");
        assert!(
            cancel.get("Reason").contains("cause=200"),
            "{}",
            cancel.get("Reason")
        );
        assert_eq!(
            cancel.branch(),
            d.invite.as_ref().expect("invited").branch()
        );
    }
    // The second one says 200 all the same.
    let sdp = devices[1].sdp("active", "");
    let more = format!(
        "Contact: <sip:bob@{}>\r\nContent-Type: application/sdp\r\n",
        devices[1].sip
    );
    devices[1].respond(&mut lab, 200, &more, &sdp);
    lab.request_to(&devices[1].sip, "ACK");
    let bye = lab.request_to(&devices[1].sip, "BYE");
    assert!(bye.get("Reason").starts_with("SIP;cause=200"));
}

/// The connection goes where the answer says; the first bytes on it are a SEND. [TERM-MEDIA-05] [TERM-MEDIA-06] [TERM-MEDIA-07] [MSRP-BARE-01]
#[test]
fn a_passive_device_is_connected_to_and_spoken_to_at_once() {
    let mut lab = Lab::new();
    let mut d = Device::register(&mut lab, 1);
    let mut alice = Alice::new();
    alice.invite(&mut lab);
    d.invited(&mut lab);
    let sdp = d.sdp("passive", "");
    let more = format!(
        "Contact: <sip:bob@{}>\r\nContent-Type: application/sdp\r\n",
        d.sip
    );
    d.respond(&mut lab, 200, &more, &sdp);
    let conn = lab.connected("10.0.1.1:7000", true);
    let first = lab.frames(conn);
    assert_eq!(first[0].what, "SEND");
    assert_eq!(first[0].get("To-Path"), d.path);
    assert!(first[0].body.is_none());
    alice.up(&mut lab);
}

/// What a device had already written when another settled the session is still delivered. (settled.md 12)
#[test]
fn a_loser_is_still_heard() {
    let mut lab = Lab::new();
    let (alice, devices) = session(&mut lab, 2);
    devices[0].say(&mut lab, "message/cpim", &cpim("first"));
    devices[1].say(&mut lab, "message/cpim", &cpim("second, a moment later"));
    let bodies: Vec<_> = lab
        .sends(alice.conn())
        .into_iter()
        .filter_map(|f| f.body)
        .collect();
    assert_eq!(bodies, [cpim("first"), cpim("second, a moment later")]);
    assert!(lab.to(&devices[0].sip).is_none());
    lab.request_to(&devices[1].sip, "BYE");
}

/// What a user wrote just before he left is still delivered: his media end when his BYE is answered, that is when the
/// sender has answered ours; then 481. (settled.md 15, ORIG-BYE-10)
#[test]
fn a_user_who_leaves_is_heard_until_his_bye_is_answered() {
    let mut lab = Lab::new();
    let (alice, devices) = session(&mut lab, 2);
    let invite = devices[0].invite.clone().expect("invited");
    let bye = format!(
        "BYE {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKleave\r\nMax-Forwards: 70\r\nFrom: {};tag=t{}\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        invite.uri("Contact"),
        devices[0].sip,
        invite.get("To"),
        devices[0].n,
        invite.get("From"),
        invite.get("Call-ID"),
    );
    lab.datagram(&devices[0].sip, bye.as_bytes());
    let up = lab.request_to(&alice.sip, "BYE");
    assert!(lab.to(&devices[0].sip).is_none(), "not answered yet");
    // His datagram was faster than his stream.
    devices[0].say(&mut lab, "message/cpim", &cpim("good night"));
    let heard = lab.sends(alice.conn());
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].body, Some(cpim("good night")));
    // Nothing goes to him any more.
    alice.say(&mut lab, "msg-late", &cpim("wait!"));
    assert!(lab.sends(devices[0].conn()).is_empty());
    lab.datagram(&alice.sip, &up.answer(200, "OK", "", "", ""));
    assert_eq!(lab.response_to(&devices[0].sip, "BYE").code(), Some(200));
    devices[0].say(&mut lab, "message/cpim", &cpim("too late"));
    assert!(lab.sends(alice.conn()).is_empty());
}

/// The same message over a TCP connection of the sender's, pipelined with a keep-alive: framed by Content-Length. [SIP-MSG-03]
#[test]
fn sip_over_tcp_is_framed_and_kept_alive() {
    let mut lab = Lab::new();
    let conn = lab.connect(TCP, "10.0.3.1:5060");
    let options = "OPTIONS sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.3.1;branch=z9hG4bKo1\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:10.0.0.1>\r\nCall-ID: o1\r\nCSeq: 7 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    lab.bytes(conn, format!("\r\n\r\n{options}").as_bytes());
    let out = lab.wire(conn).out.clone();
    assert!(
        out.starts_with(b"\r\nSIP/2.0 200"),
        "{}",
        String::from_utf8_lossy(&out)
    );
    let answer = crate::text::Sip::read(&out[2..]).expect("a response");
    assert_eq!((answer.cseq(), answer.method()), (7, "OPTIONS"));
    lab.hang_up(conn);
    lab.pass(Duration::from_secs(60));
    assert!(lab.is_idle());
}

/// A message far larger than what a leg may lag behind goes whole to the only device, however slowly it reads: its sender is
/// not read meanwhile. (settled.md R3) [MSRP-CHUNK-11]
#[test]
fn the_only_device_sets_the_pace_of_a_large_message() {
    let mut lab = Lab::new();
    let (mut alice, devices) = session(&mut lab, 1);
    let device = devices[0].conn();
    let body = cpim(&"0123456789abcdef".repeat(512 << 10));
    lab.widen(device, Some(0));
    let tid = alice.say(&mut lab, "large", &body);
    assert!(
        lab.wire(alice.conn()).paused.is_some(),
        "the sender is not read"
    );
    let mut got = Vec::new();
    while got.is_empty() {
        lab.pass(Duration::from_millis(100));
        assert!(lab.to(&devices[0].sip).is_none(), "it is not torn down");
        lab.widen(device, Some(200_000));
        got = lab.sends(device);
    }
    let whole: Vec<u8> = got
        .iter()
        .filter_map(|f| f.body.clone())
        .flatten()
        .collect();
    assert!(whole == body, "every byte, in order");
    assert!(lab.wire(alice.conn()).paused.is_none());
    lab.widen(device, None);
    for f in &got {
        devices[0].ok(&mut lab, f, 200);
    }
    let answers = lab.frames(alice.conn());
    assert_eq!(
        answers
            .iter()
            .map(|f| (f.what.as_str(), f.tid.as_str()))
            .collect::<Vec<_>>(),
        [("200", tid.as_str())]
    );
    hang_up(&mut lab, &mut alice, &devices);
    assert!(lab.is_idle());
}

/// The same for several that read about alike: each gets all of it. [MSRP-CHUNK-11]
#[test]
fn the_fastest_device_sets_the_pace_of_a_large_message_to_several() {
    for paces in [[200_000, 200_000], [400_000, 390_000]] {
        let mut lab = Lab::new();
        let (mut alice, devices) = session(&mut lab, 2);
        let body = cpim(&"0123456789abcdef".repeat(512 << 10));
        for device in &devices {
            lab.widen(device.conn(), Some(0));
        }
        let tid = alice.say(&mut lab, "large", &body);
        assert!(
            lab.wire(alice.conn()).paused.is_some(),
            "the sender is not read"
        );
        let mut got = [Vec::new(), Vec::new()];
        while got.iter().any(Vec::is_empty) {
            lab.pass(Duration::from_millis(100));
            for ((device, got), pace) in devices.iter().zip(&mut got).zip(paces) {
                assert!(
                    lab.to(&device.sip).is_none(),
                    "{paces:?}: it is not torn down"
                );
                if got.is_empty() {
                    lab.widen(device.conn(), Some(pace));
                    *got = lab.sends(device.conn());
                }
            }
        }
        for (device, got) in devices.iter().zip(&got) {
            let bodies = got.iter().filter_map(|f| f.body.clone());
            let whole: Vec<u8> = bodies.flatten().collect();
            assert!(whole == body, "every byte, in order");
            lab.widen(device.conn(), None);
            for f in got {
                device.ok(&mut lab, f, 200);
            }
        }
        assert!(lab.wire(alice.conn()).paused.is_none());
        let answers = lab.frames(alice.conn());
        let answers: Vec<_> = answers
            .iter()
            .map(|f| (f.what.as_str(), f.tid.as_str()))
            .collect();
        assert_eq!(answers, [("200", tid.as_str())]);
        hang_up(&mut lab, &mut alice, &devices);
        assert!(lab.is_idle());
    }
}

/// A device that reads nothing more is given up by its backlog; the other device and the sender wait for it once, for a quarter
/// of a second. [MSRP-CHUNK-11]
#[test]
fn a_device_that_stops_reading_is_dropped_alone() {
    let mut lab = Lab::new();
    let (alice, devices) = session(&mut lab, 2);
    lab.widen(devices[0].conn(), Some(100));
    let mut waits = 0;
    for n in 0..400 {
        alice.say(&mut lab, &format!("big-{n}"), &cpim(&"x".repeat(4_000)));
        let sends = lab.sends(devices[1].conn());
        assert_eq!(sends.len(), 1, "message {n}");
        assert_eq!(sends[0].flag, b'$');
        if lab.wire(alice.conn()).paused.is_some() {
            waits += 1;
            lab.pass(Duration::from_millis(300));
        }
        devices[1].ok(&mut lab, &sends[0], 200);
    }
    assert_eq!(waits, 1);
    let bye = lab.request_to(&devices[0].sip, "BYE");
    assert!(!bye.get("Reason").is_empty());
    assert_eq!(
        lab.frames(alice.conn())
            .iter()
            .filter(|f| f.what == "200")
            .count(),
        400
    );
}

/// What Alice wrote, or a device, and nobody has when the session ends is told to its writer on his connection, in the turn of the
/// BYE, whoever ends it. (settled.md 39)
#[test]
fn what_nobody_has_is_reported_with_the_bye() {
    for how in 0..4 {
        let mut lab = Lab::new();
        let mut d = Device::register(&mut lab, 1);
        let mut alice = Alice::new();
        alice.invite(&mut lab);
        d.invited(&mut lab);
        d.accept(&mut lab);
        // She takes the 200 and never connects.
        let ok = loop {
            let r = lab.response_to(&alice.sip, "INVITE");
            if r.code() == Some(200) {
                break r;
            }
        };
        alice.ok = Some(ok.clone());
        let ack = alice.message("ACK", &ok.uri("Contact"), "z9hG4bKack", 1, "", "");
        lab.datagram(&alice.sip, &ack);
        let tid = d.say(&mut lab, "message/cpim", &cpim("anybody there?"));
        let answers = lab.frames(d.conn());
        assert_eq!(
            (answers.len(), answers[0].what.as_str(), &answers[0].tid),
            (1, "200", &tid)
        );
        match how {
            // She is given up after `bind_s`.
            0 => lab.pass(Duration::from_secs(31)),
            1 => alice.bye(&mut lab),
            2 => {
                let all = Question::Sessions {
                    after: None,
                    max: 1,
                };
                let Answer::Sessions { page, .. } = lab.ask(0, all) else {
                    panic!("there is one");
                };
                let (_, id) = session_of(&page[0].id).expect("its name");
                lab.ask(0, Question::End(id));
                lab.turn();
            }
            _ => {
                lab.ask(0, Question::Drain { end: true });
                lab.turn();
            }
        }
        lab.request_to(&d.sip, "BYE");
        let reports = lab.frames(d.conn());
        assert_eq!(reports.len(), 1, "{how}: {reports:?}");
        assert_eq!(reports[0].what, "REPORT");
        assert_eq!(reports[0].get("Status"), "000 408 Request Timeout");
        assert_eq!(reports[0].get("To-Path"), d.path);
        assert!(lab.wire(d.conn()).closed.is_none(), "and then the end");
    }
}

/// A phone that answers 200 and opens its listener 50 ms later is reached; a second that never does gets its BYE after `bind_s`.
/// (settled.md 38) [COMEDIA-07]
#[test]
fn a_phone_that_listens_late_is_reached() {
    for refusals in [1, 5] {
        let mut lab = Lab::new();
        let mut d = Device::register(&mut lab, 1);
        let mut alice = Alice::new();
        alice.invite(&mut lab);
        d.invited(&mut lab);
        let sdp = d.sdp("passive", "");
        let more = format!(
            "Contact: <sip:bob@{}>\r\nContent-Type: application/sdp\r\n",
            d.sip
        );
        d.respond(&mut lab, 200, &more, &sdp);
        alice.up(&mut lab);
        lab.request_to(&d.sip, "ACK");
        alice.say(&mut lab, "msg-1", &cpim("early"));
        for _ in 0..refusals {
            lab.connected("10.0.1.1:7000", false);
            lab.pass(Duration::from_secs(2));
            assert!(lab.to(&d.sip).is_none(), "no BYE");
        }
        let conn = lab.connected("10.0.1.1:7000", true);
        let frames = lab.frames(conn);
        let bodies: Vec<_> = frames.iter().map(|f| (&*f.what, f.body.clone())).collect();
        assert_eq!(bodies, [("SEND", None), ("SEND", Some(cpim("early")))]);
    }
}

/// A device answers 481 to a message: its session is gone there. It gets BYE, the other goes on and has the message. [MSRP-RSP-08]
#[test]
fn a_device_that_answers_481_is_ended_alone() {
    let mut lab = Lab::new();
    let (alice, devices) = session(&mut lab, 2);
    let tid = alice.say(&mut lab, "msg-1", &cpim("hello"));
    let sends = lab.sends(devices[0].conn());
    devices[0].ok(&mut lab, &sends[0], 481);
    let bye = lab.request_to(&devices[0].sip, "BYE");
    assert!(bye.get("Reason").starts_with("SIP;cause=503"), "{bye:?}");
    assert!(lab.frames(alice.conn()).is_empty(), "the other may have it");
    let sends = lab.sends(devices[1].conn());
    devices[1].ok(&mut lab, &sends[0], 200);
    let answers = lab.frames(alice.conn());
    assert_eq!((answers[0].what.as_str(), &answers[0].tid), ("200", &tid));
    alice.say(&mut lab, "msg-2", &cpim("still with you"));
    assert_eq!(lab.sends(devices[1].conn()).len(), 1);
    assert!(lab.to(&devices[1].sip).is_none() && lab.to(&alice.sip).is_none());
}
