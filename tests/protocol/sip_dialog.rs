//! Dialogs: state, routes, order, target refresh; reliable provisional responses within them.

use rand::{SeedableRng, rngs::ChaCha12Rng};
use ringfork::{
    sip::{
        Dialog, Flow, Hop, NoWay, Target,
        reliable::{Received, Sent, Verdict},
        retransmit::Due,
    },
    time::Instant,
    wire::sip::{Message, Method},
};
use std::time::Duration;

use super::bench::*;

fn flow() -> Flow {
    Flow::Udp {
        socket: UDP,
        peer: addr(PEER),
    }
}

/// The response of a device, with these further headers.
fn device(status: &str, more: &str) -> String {
    let invite = draft("INVITE").replacen("\r\n", "\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n", 1);
    Bench::answer(&invite, status).replace("Content-Length", &format!("{more}Content-Length"))
}

fn as_caller(more: &str) -> Dialog {
    let (invite, ok) = (draft("INVITE"), device("200 OK", more));
    let message =
        |t: &str| Message::parse(Box::leak(t.to_owned().into_bytes().into_boxed_slice())).unwrap();
    Dialog::uac(&message(&invite), &message(&ok), flow()).unwrap()
}

fn as_callee(more: &str) -> Dialog {
    let invite =
        incoming("INVITE", "z9hG4bK1").replace("Content-Length", &format!("{more}Content-Length"));
    Dialog::uas(&Message::parse(invite.as_bytes()).unwrap(), b"ours", flow()).unwrap()
}

fn lines(request: &[u8]) -> Vec<String> {
    let text = String::from_utf8(request.to_vec()).unwrap();
    text.trim_end().split("\r\n").map(str::to_owned).collect()
}

/// [SIP-DLG-01] RFC 3261 §12.1.2, §12.2.1.1: the caller's requests; the CSeq grows by exactly one.
#[test]
fn requests_of_the_caller() {
    let mut d = as_caller("");
    let (bye, target) = d.request(Method::Bye);
    assert_eq!(
        lines(&bye),
        [
            "BYE sip:dev@192.0.2.7:5070 SIP/2.0",
            "Max-Forwards: 70",
            "From: <sip:alice@example.com>;tag=mine",
            "To: <sip:bob@example.com>;tag=theirs",
            "Call-ID: call-1",
            "CSeq: 2 BYE",
        ]
    );
    assert_eq!(target, Target::Udp(addr("192.0.2.7:5070")));
    let (update, _) = d.request(Method::Update);
    assert!(lines(&update).contains(&"CSeq: 3 UPDATE".to_owned()));
}

/// [SIP-DLG-01] RFC 3261 §12.1.1: the callee's requests: From and To change places, the CSeq is its own.
#[test]
fn requests_of_the_callee() {
    let mut d = as_callee("");
    let (bye, target) = d.request(Method::Bye);
    assert_eq!(
        lines(&bye),
        [
            "BYE sip:alice@192.0.2.7:5070 SIP/2.0",
            "Max-Forwards: 70",
            "From: <sip:bob@example.com>;tag=ours",
            "To: <sip:alice@example.com>;tag=theirs",
            "Call-ID: call-2",
            "CSeq: 1 BYE",
        ]
    );
    assert_eq!(target, Target::Udp(addr("192.0.2.7:5070")));
}

/// [SIP-DLG-01] loose routes: the caller's in reverse order of Record-Route, the callee's in its order; the first is where it
/// goes.
#[test]
fn loose_routes() {
    let record = "Record-Route: <sip:192.0.2.21;lr>, <sip:192.0.2.22:5090;transport=tcp;lr>\r\nRecord-Route: <sip:192.0.2.23;lr>\r\n";
    let (bye, target) = as_caller(record).request(Method::Bye);
    let bye = lines(&bye);
    assert_eq!(bye[0], "BYE sip:dev@192.0.2.7:5070 SIP/2.0");
    assert_eq!(
        bye[1..4],
        [
            "Route: <sip:192.0.2.23;lr>",
            "Route: <sip:192.0.2.22:5090;transport=tcp;lr>",
            "Route: <sip:192.0.2.21;lr>"
        ]
    );
    assert_eq!(target, Target::Udp(addr("192.0.2.23:5060")));
    let record = record.replace("<sip:192.0.2.21;lr>, ", "");
    let (bye, target) = as_callee(&record).request(Method::Bye);
    assert_eq!(
        lines(&bye)[1..3],
        [
            "Route: <sip:192.0.2.22:5090;transport=tcp;lr>",
            "Route: <sip:192.0.2.23;lr>"
        ]
    );
    assert_eq!(target, Target::Tcp(addr("192.0.2.22:5090")));
}

/// [SIP-DLG-01] RFC 3261 §13.2.2.4: the 2xx of an early dialog says the route set anew, in reverse order of its Record-Route
/// too; and the remote target. §12.2.1.1: the CSeq goes on.
#[test]
fn a_2xx_renews_the_routes_of_an_early_dialog() {
    let invite = draft("INVITE");
    let ringing = device("180 Ringing", "Record-Route: <sip:192.0.2.31;lr>\r\n");
    let ok = device(
        "200 OK",
        "Record-Route: <sip:192.0.2.21;lr>, <sip:192.0.2.22;lr>\r\n",
    )
    .replace("dev@192.0.2.7:5070", "dev@192.0.2.9:5099");
    let read = |text: &'static [u8]| Message::parse(text).unwrap();
    let leak = |text: String| -> &'static [u8] { Box::leak(text.into_bytes().into_boxed_slice()) };
    let (invite, ringing, ok) = (leak(invite), leak(ringing), leak(ok));
    let mut d = Dialog::uac(&read(invite), &read(ringing), flow()).unwrap();
    assert!(!d.is_confirmed());
    let (prack, _) = d.request(Method::Prack);
    assert!(lines(&prack).contains(&"Route: <sip:192.0.2.31;lr>".to_owned()));
    d.confirm(Some(&read(ok)));
    assert!(d.is_confirmed());
    let (bye, _) = d.request(Method::Bye);
    let bye = lines(&bye);
    assert_eq!(
        bye[..3],
        [
            "BYE sip:dev@192.0.2.9:5099 SIP/2.0",
            "Route: <sip:192.0.2.22;lr>",
            "Route: <sip:192.0.2.21;lr>"
        ]
    );
    assert!(bye.contains(&"CSeq: 3 BYE".to_owned()));
}

/// [SIP-DLG-01] a strict router takes the Request-URI, and the remote target goes last in Route.
#[test]
fn strict_routes() {
    let record = "Record-Route: <sip:192.0.2.22;lr>, <sip:192.0.2.21;method=INVITE;x=y?a=b>\r\n";
    let (bye, target) = as_caller(record).request(Method::Bye);
    assert_eq!(
        lines(&bye)[..3],
        [
            "BYE sip:192.0.2.21;x=y SIP/2.0",
            "Route: <sip:192.0.2.22;lr>",
            "Route: <sip:dev@192.0.2.7:5070>"
        ]
    );
    assert_eq!(target, Target::Udp(addr("192.0.2.21:5060")));
}

/// [SIP-DLG-01] settled.md 16: a lower CSeq gets 500; ACK and CANCEL count for nothing; gaps are fine.
#[test]
fn a_lower_cseq_is_refused() {
    let mut d = as_callee("");
    let mut check = |method: &str, cseq: u32| {
        let request = incoming(method, "z9hG4bK9").replace("CSeq: 7", &format!("CSeq: {cseq}"));
        d.check_request(&Message::parse(request.as_bytes()).unwrap())
    };
    assert_eq!(check("INFO", 6), Err(500));
    assert_eq!(check("ACK", 1), Ok(()));
    assert_eq!(check("INFO", 20), Ok(()));
    assert_eq!(check("BYE", 19), Err(500));
    assert_eq!(check("CANCEL", 7), Ok(()));
    assert_eq!(check("BYE", 21), Ok(()));
}

/// [SIP-DLG-01] a message belongs to a dialog by Call-ID and both tags.
#[test]
fn dialogs_are_told_apart_by_both_tags() {
    let d = as_callee("");
    let info = incoming("INFO", "z9hG4bK1").replace(
        "To: <sip:bob@example.com>",
        "To: <sip:bob@example.com>;tag=ours",
    );
    let matches = |t: &str| d.matches(&Message::parse(t.as_bytes()).unwrap());
    assert!(matches(&info));
    for (from, to) in [
        ("tag=ours", "tag=other"),
        ("tag=theirs", "tag=other"),
        ("call-2", "call-3"),
        (";tag=ours", ""),
    ] {
        assert!(!matches(&info.replace(from, to)));
    }
}

/// [SIP-DLG-02] a re-INVITE or UPDATE with a new Contact changes the remote target, others do not; a 2xx to ours alike.
#[test]
fn only_target_refresh_requests_refresh_the_target() {
    let mut d = as_callee("");
    let moved = |method: &str, port: u16| {
        incoming(method, "z9hG4bK1")
            .replace("alice@192.0.2.7:5070", &format!("alice@192.0.2.8:{port}"))
    };
    for (method, port, now_at) in [
        ("INFO", 1, 5070),
        ("MESSAGE", 2, 5070),
        ("INVITE", 3, 3),
        ("BYE", 4, 3),
        ("UPDATE", 5, 5),
    ] {
        d.refresh_target(&Message::parse(moved(method, port).as_bytes()).unwrap());
        let (bye, target) = d.request(Method::Bye);
        assert!(lines(&bye)[0].contains(&format!(":{now_at} ")), "{method}");
        let Target::Udp(to) = target else { panic!() };
        assert_eq!(to.port(), now_at);
    }
    let ok = device("200 OK", "").replace("dev@192.0.2.7:5070", "dev@192.0.2.8:9");
    d.refresh_target(&Message::parse(ok.as_bytes()).unwrap());
    assert_eq!(d.remote_target(), b"sip:dev@192.0.2.8:9");
}

/// [SIP-TXN-05] the ACK of a 2xx: CSeq number of its INVITE, the dialog's routes, the same whenever it is asked for.
#[test]
fn the_ack_of_a_2xx() {
    let mut d = as_caller("Record-Route: <sip:192.0.2.21;lr>\r\n");
    let _ = d.request(Method::Update);
    let (ack, target) = d.ack(1);
    assert_eq!(
        lines(&ack)[..2],
        [
            "ACK sip:dev@192.0.2.7:5070 SIP/2.0",
            "Route: <sip:192.0.2.21;lr>"
        ]
    );
    assert!(lines(&ack).contains(&"CSeq: 1 ACK".to_owned()));
    assert!(ack.ends_with(b"Content-Length: 0\r\n\r\n"));
    assert_eq!(target, Target::Udp(addr("192.0.2.21:5060")));
    assert_eq!(d.ack(1).0, ack);
    assert_eq!(d.local_cseq(), 2, "an ACK counts for nothing");
}

/// [SIP-DLG-04] one INVITE, two To-tags: two dialogs; a 2xx gives its own its route set and target.
#[test]
fn a_forked_invite_has_several_dialogs() {
    let invite = draft("INVITE");
    let invite = Message::parse(invite.as_bytes()).unwrap();
    let early = device(
        "183 Session Progress",
        "Record-Route: <sip:192.0.2.30;lr>\r\n",
    )
    .replace("tag=theirs", "tag=one");
    let mut one = Dialog::uac(&invite, &Message::parse(early.as_bytes()).unwrap(), flow()).unwrap();
    let ok = device("200 OK", "").replace("tag=theirs", "tag=two");
    let ok = Message::parse(ok.as_bytes()).unwrap();
    let two = Dialog::uac(&invite, &ok, flow()).unwrap();
    assert!(!one.is_confirmed() && two.is_confirmed());
    assert!(!one.matches(&ok) && two.matches(&ok));
    let own = device("200 OK", "Record-Route: <sip:192.0.2.31;lr>\r\n")
        .replace("tag=theirs", "tag=one")
        .replace("dev@192.0.2.7:5070", "dev@192.0.2.8:5071");
    one.confirm(Some(&Message::parse(own.as_bytes()).unwrap()));
    assert!(one.is_confirmed());
    let (bye, _) = one.request(Method::Bye);
    assert_eq!(
        lines(&bye)[..2],
        [
            "BYE sip:dev@192.0.2.8:5071 SIP/2.0",
            "Route: <sip:192.0.2.31;lr>"
        ]
    );
}

/// What makes no dialog: 100, a failure, no To-tag, no Contact.
#[test]
fn what_makes_no_dialog() {
    let invite = draft("INVITE");
    let invite = Message::parse(invite.as_bytes()).unwrap();
    let ok = device("200 OK", "");
    for bad in [
        ok.replace("200 OK", "100 Trying"),
        ok.replace("200 OK", "486 Busy Here"),
        ok.replace(";tag=theirs", ""),
        ok.replace("Contact: <sip:dev@192.0.2.7:5070>\r\n", ""),
    ] {
        assert!(Dialog::uac(&invite, &Message::parse(bad.as_bytes()).unwrap(), flow()).is_none());
    }
}

/// A stream is used again where the far side is the same host, and while it is open (settled.md 36). Where we cannot send there is
/// the flow alone, and a reason.
#[test]
fn where_a_dialog_sends() {
    let invite = incoming("INVITE", "z9hG4bK1");
    let mut bench = Bench::new();
    let conn = bench.conns.insert(());
    let stream = bench.stream_flow(conn, PEER);
    let make = |contact: &str, flow| {
        let invite = invite.replace("sip:alice@192.0.2.7:5070", contact);
        Dialog::uas(&Message::parse(invite.as_bytes()).unwrap(), b"ours", flow).unwrap()
    };
    let no_way = |contact: &str| {
        let dialog = make(contact, flow());
        assert_eq!(dialog.target(), Target::Flow(flow()));
        dialog.reaches()
    };
    assert_eq!(no_way("sips:alice@192.0.2.7"), Err(NoWay::Secure));
    assert_eq!(
        no_way("sip:alice@192.0.2.7;transport=TLS"),
        Err(NoWay::Secure)
    );
    assert_eq!(
        no_way("sip:alice@192.0.2.7;transport=sctp"),
        Err(NoWay::Transport)
    );
    assert_eq!(no_way("tel:+4912345"), Err(NoWay::Scheme));
    assert_eq!(no_way("sip:alice@dev.invalid"), Err(NoWay::Name));
    let make = |contact: &str, flow| make(contact, flow).target();
    let or = |tcp| Hop {
        addr: addr("192.0.2.7:5070"),
        tcp,
    };
    assert_eq!(
        make("sip:alice@192.0.2.7:5070;transport=tcp", stream),
        Target::Reuse {
            flow: stream,
            or: or(true)
        }
    );
    assert_eq!(
        make("sip:alice@192.0.2.7:5070", stream),
        Target::Reuse {
            flow: stream,
            or: or(false)
        }
    );
    assert_eq!(
        make("sip:alice@LocalHost:5070", flow()),
        Target::Udp(addr("127.0.0.1:5070"))
    );
    assert_eq!(
        make("sip:alice@192.0.2.99;transport=tcp", stream),
        Target::Tcp(addr("192.0.2.99:5060"))
    );
    assert_eq!(
        make("sip:alice@[2001:db8::1]:5061", flow()),
        Target::Udp(addr("[2001:db8::1]:5061"))
    );
}

fn reliable(rseq: &str) -> String {
    device(
        "183 Session Progress",
        &format!("Require: 100rel\r\nRSeq: {rseq}\r\n"),
    )
}

/// [SIP-DLG-07] RFC 3262 §4: PRACK with RAck for each in order, once; a gap or a repeat gets none.
#[test]
fn reliable_responses_get_a_prack_in_order() {
    let mut received = Received::default();
    let mut judge = |text: &str| received.judge(&Message::parse(text.as_bytes()).unwrap());
    assert_eq!(
        judge(&device("183 Session Progress", "")),
        Verdict::Unreliable
    );
    assert_eq!(
        judge(&reliable("776655")),
        Verdict::Prack("RAck: 776655 1 INVITE\r\n".to_owned())
    );
    assert_eq!(judge(&reliable("776655")), Verdict::Ignore);
    assert_eq!(judge(&reliable("776657")), Verdict::Ignore);
    assert_eq!(
        judge(&reliable("776656")),
        Verdict::Prack("RAck: 776656 1 INVITE\r\n".to_owned())
    );
    assert_eq!(judge(&reliable("x")), Verdict::Ignore);
    let mut d = as_caller("");
    let (prack, _) = d.bodiless(Method::Prack, b"RAck: 776656 1 INVITE\r\n");
    let prack = lines(&prack);
    assert_eq!(prack[0], "PRACK sip:dev@192.0.2.7:5070 SIP/2.0");
    assert!(prack.contains(&"CSeq: 2 PRACK".to_owned()));
    assert!(prack.contains(&"RAck: 776656 1 INVITE".to_owned()));
}

/// [SIP-DLG-07] RFC 3262 §3: ours is repeated until its PRACK; the next has RSeq + 1; a wrong PRACK gets 481.
#[test]
fn reliable_responses_of_ours_wait_for_their_prack() {
    let t1 = Duration::from_millis(500);
    let mut rng = ChaCha12Rng::seed_from_u64(5);
    let mut sent = Sent::default();
    let now = Instant::START;
    let rseq = |headers: &str| -> u32 {
        let line = headers.strip_prefix("Require: 100rel\r\nRSeq: ").unwrap();
        line.trim_end().parse().unwrap()
    };
    let first = rseq(&sent.begin(now, t1, 7, &mut rng).unwrap());
    assert!((1..1 << 31).contains(&first));
    assert_eq!(sent.begin(now, t1, 7, &mut rng), None, "one at a time");
    let at = sent.at().unwrap();
    assert_eq!(at, now + t1);
    assert_eq!(sent.poll(at), Due::Again);
    let mut prack = |rseq: u32, cseq: u32| {
        let text = incoming("PRACK", "z9hG4bK2")
            .replace("Max-", &format!("RAck: {rseq} {cseq} INVITE\r\nMax-"));
        sent.acknowledge(&Message::parse(text.as_bytes()).unwrap())
    };
    assert_eq!(prack(first + 1, 7), Err(481));
    assert_eq!(prack(first, 8), Err(481));
    assert_eq!(prack(first, 7), Ok(()));
    assert_eq!(prack(first, 7), Err(481), "it waits no more");
    assert!(!sent.is_waiting());
    assert_eq!(rseq(&sent.begin(now, t1, 7, &mut rng).unwrap()), first + 1);
    assert_eq!(sent.poll(now + t1 * 64), Due::GiveUp);
    assert_eq!(sent.at(), None);
    let bare = incoming("PRACK", "z9hG4bK3");
    assert_eq!(
        sent.acknowledge(&Message::parse(bare.as_bytes()).unwrap()),
        Err(400)
    );
}

/// [SIP-DLG-01] [SIP-DLG-02] RFC 3261 §12.1.1: in a `sips` dialog only a `sips` URI becomes the remote target.
#[test]
fn a_secure_dialog_keeps_a_secure_target() {
    let leak = |t: String| -> &'static [u8] { Box::leak(t.into_bytes().into_boxed_slice()) };
    let invite = leak(draft("INVITE").replacen("INVITE sip:", "INVITE sips:", 1));
    let ok = leak(device("200 OK", "").replace("<sip:dev@", "<sips:dev@"));
    let read = |bytes: &'static [u8]| Message::parse(bytes).unwrap();
    let mut d = Dialog::uac(&read(invite), &read(ok), flow()).unwrap();
    assert!(d.is_secure());
    d.refresh_target(&read(leak(device("200 OK", ""))));
    assert_eq!(d.remote_target(), b"sips:dev@192.0.2.7:5070");
    let moved = device("200 OK", "").replace("<sip:dev@192.0.2.7:5070", "<sips:dev@192.0.2.8:9");
    d.refresh_target(&read(leak(moved)));
    assert_eq!(d.remote_target(), b"sips:dev@192.0.2.8:9");
}
