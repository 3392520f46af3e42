//! The ways that SIP goes: streams that close under what uses them, on the shard that needs them and on others.

use std::time::Duration;

use crate::{
    lab::{Lab, Line, TAG, TCP},
    people::{Alice, Device},
    text::Sip,
};

/// Takes the whole SIP messages off a wire.
pub(crate) fn sips(lab: &mut Lab, line: Line) -> Vec<Sip> {
    let bytes = lab.take(line);
    let mut rest = &bytes[..];
    let mut all = Vec::new();
    while !rest.is_empty() {
        let head = rest.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let len: usize = Sip::read(&rest[..head])
            .unwrap()
            .get("Content-Length")
            .parse()
            .unwrap();
        all.push(Sip::read(&rest[..head + len]).unwrap());
        rest = &rest[head + len..];
    }
    all
}

/// The one request of this method on a wire; what else was there is dropped.
fn request(lab: &mut Lab, line: Line, method: &str) -> Sip {
    let all = sips(lab, line);
    let mut of = all
        .iter()
        .filter(|m| m.code().is_none() && m.method() == method);
    let found = of
        .next()
        .unwrap_or_else(|| panic!("no {method} in {all:?}"));
    assert!(of.next().is_none(), "two of {method}");
    found.clone()
}

/// The final responses to a method on a wire.
pub(crate) fn codes(lab: &mut Lab, line: Line, method: &str) -> Vec<u16> {
    sips(lab, line)
        .iter()
        .filter(|m| m.method() == method)
        .filter_map(Sip::code)
        .filter(|code| *code > 199)
        .collect()
}

/// A stream that comes to shard `at`.
pub(crate) fn stream(lab: &mut Lab, at: u8, from: &str) -> Line {
    lab.entry = Some(usize::from(at));
    let line = lab.connect(TCP, from);
    lab.entry = None;
    line
}

/// What a REGISTER over a stream says.
#[derive(Clone, Copy)]
struct Binding {
    /// Via values, topmost first, without branch.
    vias: &'static [&'static str],
    contact: &'static str,
    /// Further headers, each with CRLF.
    more: &'static str,
}

/// A device that came by itself.
const DIRECT: Binding = Binding {
    vias: &["10.0.1.5:5070"],
    contact: "<sip:bob@10.0.1.5:5070;transport=tcp>;+sip.instance=\"<urn:uuid:5>\"",
    more: "",
};

/// One behind an edge that it sees and we see.
const EDGE: Binding = Binding {
    vias: &["10.0.3.1:5080", "192.168.1.5:5060"],
    contact: "<sip:bob@192.168.1.5:5060>;+sip.instance=\"<urn:uuid:5>\"",
    more: "Path: <sip:10.0.3.1:5080;transport=tcp;lr>\r\n",
};

fn register(lab: &mut Lab, line: Line, b: Binding) {
    register_as(lab, line, b, 1);
}

fn register_as(lab: &mut Lab, line: Line, b: Binding, cseq: u32) {
    let branch = lab.fresh("z9hG4bKt");
    let vias: String = b
        .vias
        .iter()
        .map(|v| format!("Via: SIP/2.0/TCP {v};branch={branch}\r\n"))
        .collect();
    let m = format!(
        "REGISTER sip:example.com SIP/2.0\r\n{vias}Max-Forwards: 70\r\nFrom: <sip:bob@example.com>;tag=d5\r\n\
         To: <sip:bob@example.com>\r\nCall-ID: regbob5\r\nCSeq: {cseq} REGISTER\r\nContact: {};{TAG}\r\n{}Expires: 3600\r\n\
         Content-Length: 0\r\n\r\n",
        b.contact, b.more
    );
    lab.bytes(line, m.as_bytes());
    assert_eq!(codes(lab, line, "REGISTER"), [200]);
}

/// On one shard and on several, wherever the stream comes in.
fn everywhere(run: impl Fn(&mut Lab, u8)) {
    for shards in 1..=3 {
        for at in 0..shards {
            run(&mut Lab::of(shards), at);
        }
    }
}

/// Registers `b` over a stream from an ephemeral port, which closes; then Alice invites.
fn lost(lab: &mut Lab, at: u8, from: &str, b: Binding) -> Alice {
    let line = stream(lab, at, from);
    register(lab, line, b);
    lab.hang_up(line);
    let alice = Alice::new();
    alice.invite(lab);
    alice
}

/// The connection to `to` comes up, and nobody else was to be reached.
fn opened(lab: &mut Lab, to: &str) -> Line {
    assert_eq!(lab.connects.len(), 1, "{:?}", lab.connects);
    lab.connected(to, true)
}

fn answer(lab: &mut Lab, line: Line, to: &Sip, code: u16, more: &str, body: &str) {
    let m = to.answer(code, "Said", "t5", more, body);
    lab.bytes(line, &m);
}

pub(crate) fn device() -> Device {
    Device::new("bob", 5)
}

/// settled.md 36: a stream that a contact came over and that is closed: a new one to the address that the contact names, never
/// to the port that the stream came from; for the INVITE, and within the dialog for the BYE.
#[test]
fn a_contact_whose_stream_is_closed_is_connected_to() {
    everywhere(|lab, at| {
        let mut alice = lost(lab, at, "10.0.1.5:40123", DIRECT);
        let line = opened(lab, "10.0.1.5:5070");
        let invite = request(lab, line, "INVITE");
        assert!(invite.get("Via").starts_with("SIP/2.0/TCP"));
        let more =
            "Contact: <sip:bob@10.0.1.5:5070;transport=tcp>\r\nContent-Type: application/sdp\r\n";
        answer(lab, line, &invite, 200, more, &device().sdp("active", ""));
        request(lab, line, "ACK");
        alice.up(lab);
        lab.hang_up(line);
        alice.bye(lab);
        let line = opened(lab, "10.0.1.5:5070");
        let bye = request(lab, line, "BYE");
        answer(lab, line, &bye, 200, "", "");
        assert_eq!(lab.response_to(&alice.sip, "BYE").code(), Some(200));
    });
}

/// settled.md 36: by the transport that the contact names, which is UDP where it names none.
#[test]
fn a_contact_of_udp_that_came_by_a_stream_gets_a_datagram() {
    everywhere(|lab, at| {
        let udp = Binding {
            contact: "<sip:bob@10.0.1.5:5070>",
            ..DIRECT
        };
        lost(lab, at, "10.0.1.5:40123", udp);
        // A large one asks for TCP first, to that address too [SIP-TXN-10].
        if !lab.connects.is_empty() {
            lab.connected("10.0.1.5:5070", false);
        }
        let invite = lab.request_to("10.0.1.5:5070", "INVITE");
        assert!(invite.get("Via").starts_with("SIP/2.0/UDP"));
    });
}

/// A stream that is open is used, for its peer may not listen (RFC 5923).
#[test]
fn a_stream_that_is_open_is_used() {
    everywhere(|lab, at| {
        let line = stream(lab, at, "10.0.1.5:40123");
        register(lab, line, DIRECT);
        Alice::new().invite(lab);
        request(lab, line, "INVITE");
        assert!(lab.connects.is_empty());
    });
}

/// RFC 3261 §18.4, §17.2.3: a stream that closes while an INVITE is in flight on it: the INVITE goes once more, by a new one, and
/// is the same to whoever has seen it. When that one closes too the device counts as unreachable.
#[test]
fn a_stream_that_closes_under_a_request() {
    everywhere(|lab, at| {
        let line = stream(lab, at, "10.0.1.5:40123");
        register(lab, line, DIRECT);
        let alice = Alice::new();
        alice.invite(lab);
        let first = request(lab, line, "INVITE");
        lab.hang_up(line);
        let line = opened(lab, "10.0.1.5:5070");
        let again = request(lab, line, "INVITE");
        assert_eq!(first.branch(), again.branch());
        assert_eq!(first.get("Call-ID"), again.get("Call-ID"));
        lab.hang_up(line);
        assert!(lab.connects.is_empty());
        assert_eq!(lab.response_to(&alice.sip, "INVITE").code(), Some(480));
    });
}

/// settled.md 36, 18: nobody listens there: 480 at once, not 500 and not 408 after 32 s.
#[test]
fn a_connection_that_is_refused_means_unreachable_at_once() {
    everywhere(|lab, at| {
        let alice = lost(lab, at, "10.0.1.5:40123", DIRECT);
        lab.connected("10.0.1.5:5070", false);
        assert!(lab.connects.is_empty());
        assert_eq!(lab.response_to(&alice.sip, "INVITE").code(), Some(480));
    });
}

/// settled.md 36, RFC 5626 §6: a `reg-id` counts beside an instance on a direct flow: that is the only way. Else it says nothing.
#[test]
fn a_reg_id_that_counts_makes_the_flow_the_only_way() {
    everywhere(|lab, at| {
        let counts = Binding {
            contact: "<sip:bob@10.0.1.5:5070;transport=tcp>;reg-id=1;+sip.instance=\"<urn:uuid:5>\"",
            ..DIRECT
        };
        let alice = lost(lab, at, "10.0.1.5:40123", counts);
        assert!(lab.connects.is_empty());
        assert_eq!(lab.response_to(&alice.sip, "INVITE").code(), Some(480));
    });
    let none = [
        // Without an instance.
        Binding {
            contact: "<sip:bob@10.0.1.5:5070;transport=tcp>;reg-id=1",
            ..DIRECT
        },
        // A proxy stood between that has left no Path.
        Binding {
            vias: &["10.0.1.5:5080", "192.168.1.5:5060"],
            contact: "<sip:bob@10.0.1.5:5070;transport=tcp>;reg-id=1;+sip.instance=\"<urn:uuid:5>\"",
            ..DIRECT
        },
    ];
    for b in none {
        everywhere(|lab, at| {
            lost(lab, at, "10.0.1.5:40123", b);
            opened(lab, "10.0.1.5:5070");
        });
    }
}

/// A session over `line`: the device accepts there.
fn up_over(lab: &mut Lab, line: Line, contact: &str) -> Alice {
    let mut alice = Alice::new();
    alice.invite(lab);
    let invite = request(lab, line, "INVITE");
    let more = format!("Contact: {contact}\r\nContent-Type: application/sdp\r\n");
    answer(lab, line, &invite, 200, &more, &device().sdp("active", ""));
    request(lab, line, "ACK");
    alice.up(lab);
    alice
}

/// RFC 5626 §4.2: a device that has lost its flow registers over another: its session goes on over that, also where its Contact
/// is of the new stream. Where it has not, it is unreachable at once, and nothing waits for it.
#[test]
fn a_session_goes_on_over_the_stream_that_its_device_registers_over_next() {
    let outbound = Binding {
        contact: "<sip:bob@192.168.1.5:40123;transport=tcp;ob>;reg-id=1;+sip.instance=\"<urn:uuid:5>\"",
        ..DIRECT
    };
    let moved = Binding {
        contact: "<sip:bob@192.168.1.5:40124;transport=tcp;ob>;reg-id=1;+sip.instance=\"<urn:uuid:5>\"",
        ..DIRECT
    };
    for (before, after) in [(outbound, moved), (DIRECT, DIRECT)] {
        everywhere(|lab, at| {
            let line = stream(lab, at, "10.0.1.5:40123");
            register(lab, line, before);
            let uri = before.contact.split('>').next().unwrap();
            let mut alice = up_over(lab, line, &format!("{uri}>"));
            lab.hang_up(line);
            let line = stream(lab, at, "10.0.1.5:40124");
            register_as(lab, line, after, 2);
            alice.bye(lab);
            request(lab, line, "BYE");
            assert!(lab.connects.is_empty());
        });
    }
    everywhere(|lab, at| {
        let line = stream(lab, at, "10.0.1.5:40123");
        register(lab, line, outbound);
        let uri = outbound.contact.split('>').next().unwrap();
        let mut alice = up_over(lab, line, &format!("{uri}>"));
        lab.hang_up(line);
        alice.bye(lab);
        assert!(lab.connects.is_empty());
        assert_eq!(lab.response_to(&alice.sip, "BYE").code(), Some(200));
    });
}

/// settled.md 36: an edge that closes idle streams is connected to where its Path says, with and without `ob`: the flow that a
/// `reg-id` behind it stands for is the edge's own (RFC 5626 §5.3). Within the dialog its Record-Route says the same.
#[test]
fn an_edge_that_closes_idle_streams_loses_nobody() {
    let flow = Binding {
        contact: "<sip:bob@192.168.1.5:5060>;reg-id=1;+sip.instance=\"<urn:uuid:5>\"",
        more: "Path: <sip:token@10.0.3.1:5080;transport=tcp;lr;ob>\r\nSupported: outbound, path\r\n",
        ..EDGE
    };
    let without = Binding {
        contact: flow.contact,
        ..EDGE
    };
    for b in [EDGE, flow, without] {
        everywhere(|lab, at| {
            let mut alice = lost(lab, at, "10.0.3.1:43210", b);
            let line = opened(lab, "10.0.3.1:5080");
            let invite = request(lab, line, "INVITE");
            assert_eq!(invite.start, "INVITE sip:bob@192.168.1.5:5060 SIP/2.0");
            assert!(
                invite
                    .get("Route")
                    .contains("10.0.3.1:5080;transport=tcp;lr")
            );
            let route = "Record-Route: <sip:10.0.3.1:5080;transport=tcp;lr>\r\n\
                 Contact: <sip:bob@192.168.1.5:5060>\r\nContent-Type: application/sdp\r\n";
            answer(lab, line, &invite, 200, route, &device().sdp("active", ""));
            request(lab, line, "ACK");
            alice.up(lab);
            lab.hang_up(line);
            alice.bye(lab);
            let line = opened(lab, "10.0.3.1:5080");
            let bye = request(lab, line, "BYE");
            assert_eq!(bye.get("Route"), "<sip:10.0.3.1:5080;transport=tcp;lr>");
        });
    }
}

/// RFC 5626 §11.5: an edge that has lost the flow says 430; for the caller the user is not there.
#[test]
fn a_430_of_an_edge_is_a_480_upstream() {
    let mut lab = Lab::new();
    let line = stream(&mut lab, 0, "10.0.3.1:43210");
    register(&mut lab, line, EDGE);
    let alice = Alice::new();
    alice.invite(&mut lab);
    let invite = request(&mut lab, line, "INVITE");
    answer(&mut lab, line, &invite, 430, "", "");
    assert_eq!(lab.response_to(&alice.sip, "INVITE").code(), Some(480));
}

/// A caller on a stream.
pub(crate) struct Caller {
    pub(crate) alice: Alice,
    pub(crate) line: Line,
}

impl Caller {
    pub(crate) fn new(lab: &mut Lab, at: u8) -> Self {
        let line = stream(lab, at, "10.0.2.1:41000");
        let alice = Alice::new();
        Self { alice, line }
    }

    fn say(&self, lab: &mut Lab, method: &str, uri: &str, more: &str, body: &str) {
        let m = self
            .alice
            .message(method, uri, "z9hG4bKcaller", 1, more, body);
        let m = String::from_utf8(m)
            .unwrap()
            .replace("SIP/2.0/UDP", "SIP/2.0/TCP");
        lab.bytes(self.line, m.as_bytes());
    }

    pub(crate) fn invite(&self, lab: &mut Lab, contact: &str, more: &str) {
        let more = format!(
            "Contact: {contact}\r\nAccept-Contact: *;{TAG}\r\nContent-Type: application/sdp\r\n{more}"
        );
        let sdp = self.alice.sdp();
        self.say(lab, "INVITE", "sip:bob@example.com", &more, &sdp);
    }
}

pub(crate) const CALLER: &str = "<sip:alice@10.0.2.1:5060;transport=tcp>";

/// RFC 3261 §18.2.2: a response whose stream is closed goes by a new one to the port of sent-by, also where the stream is another
/// shard's. [SIP-TXN-09]
#[test]
fn a_response_whose_stream_is_closed_goes_to_sent_by() {
    everywhere(|lab, at| {
        let mut d = Device::register(lab, 5);
        let caller = Caller::new(lab, at);
        caller.invite(lab, CALLER, "");
        d.invited(lab);
        lab.hang_up(caller.line);
        d.respond(lab, 486, "", "");
        let line = opened(lab, "10.0.2.1:5060");
        assert_eq!(codes(lab, line, "INVITE"), [486]);
    });
}

/// settled.md 36: within a dialog the caller's Contact says where, also when its stream is closed.
#[test]
fn a_bye_to_a_caller_whose_stream_is_closed_goes_to_its_contact() {
    everywhere(|lab, at| {
        let mut d = Device::register(lab, 5);
        let mut caller = Caller::new(lab, at);
        caller.invite(lab, CALLER, "");
        d.invited(lab);
        d.accept(lab);
        let ok = sips(lab, caller.line)
            .into_iter()
            .find(|m| m.code() == Some(200));
        let ok = ok.expect("a 200");
        caller.alice.ok = Some(ok.clone());
        caller.say(lab, "ACK", &ok.uri("Contact"), "", "");
        lab.hang_up(caller.line);
        let invite = d.invite.clone().unwrap();
        let bye = format!(
            "BYE {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKdbye\r\nMax-Forwards: 70\r\nFrom: {};tag=t5\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: 9 BYE\r\nContent-Length: 0\r\n\r\n",
            invite.uri("Contact"),
            d.sip,
            invite.get("To"),
            invite.get("From"),
            invite.get("Call-ID"),
        );
        lab.datagram(&d.sip, bye.as_bytes());
        let line = opened(lab, "10.0.2.1:5060");
        let bye = request(lab, line, "BYE");
        assert_eq!(
            bye.start,
            "BYE sip:alice@10.0.2.1:5060;transport=tcp SIP/2.0"
        );
    });
}

/// A peer that is on another stream by now is reached over that: its last request came by it.
#[test]
fn a_dialog_follows_its_peer_to_another_stream() {
    everywhere(|lab, at| {
        let mut d = Device::register(lab, 5);
        let mut caller = Caller::new(lab, at);
        caller.invite(lab, CALLER, "");
        d.invited(lab);
        d.accept(lab);
        let ok = sips(lab, caller.line)
            .into_iter()
            .find(|m| m.code() == Some(200));
        let ok = ok.expect("a 200");
        caller.alice.ok = Some(ok.clone());
        caller.say(lab, "ACK", &ok.uri("Contact"), "", "");
        lab.hang_up(caller.line);
        caller.line = stream(lab, at, "10.0.2.1:41001");
        let m = caller
            .alice
            .message("OPTIONS", &ok.uri("Contact"), "z9hG4bKo", 2, "", "");
        lab.bytes(caller.line, &m);
        assert_eq!(codes(lab, caller.line, "OPTIONS"), [200]);
        let reason = "Reason: SIP;cause=200\r\n";
        let invite = d.invite.clone().unwrap();
        let bye = format!(
            "BYE {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKdbye\r\nMax-Forwards: 70\r\nFrom: {};tag=t5\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: 9 BYE\r\n{reason}Content-Length: 0\r\n\r\n",
            invite.uri("Contact"),
            d.sip,
            invite.get("To"),
            invite.get("From"),
            invite.get("Call-ID"),
        );
        lab.datagram(&d.sip, bye.as_bytes());
        request(lab, caller.line, "BYE");
        assert!(lab.connects.is_empty());
    });
}

/// [SIP-TXN-04] RFC 3261 §13.3.1.4: over TCP too our 200 is repeated until the ACK; without one, BYE at 64·T1.
#[test]
fn a_200_over_tcp_that_nobody_acknowledges_is_repeated_and_ends_in_bye() {
    everywhere(|lab, at| {
        let mut d = Device::register(lab, 5);
        let caller = Caller::new(lab, at);
        caller.invite(lab, CALLER, "");
        d.invited(lab);
        d.accept(lab);
        lab.pass(Duration::from_millis(31_900));
        let heard = sips(lab, caller.line);
        let oks = heard.iter().filter(|m| m.code() == Some(200)).count();
        assert_eq!(oks, 1 + 10, "0.5, 1.5, 3.5, 7.5, then every 4 s");
        assert!(heard.iter().all(|m| m.method() != "BYE"));
        lab.pass(Duration::from_millis(200));
        request(lab, caller.line, "BYE");
    });
}

/// [SIP-TXN-10] RFC 3261 §18.1.1: a large INVITE to a device of UDP goes by TCP; refused, by datagram, with the Via of one and
/// repeated as one. What follows in the dialog is small and goes by datagram.
#[test]
fn a_large_invite_goes_by_tcp_and_falls_back_on_refusal() {
    for shards in 1..=3 {
        for up in [true, false] {
            let mut lab = Lab::of(shards);
            let mut d = Device::register(&mut lab, 5);
            let mut alice = Alice::new();
            alice.invite_with(&mut lab, &format!("Subject: {}\r\n", "x".repeat(1400)));
            assert!(lab.to(&d.sip).is_none(), "not by datagram");
            let line = lab.connected(&d.sip, up);
            let more = format!(
                "Contact: <sip:bob@{}>\r\nContent-Type: application/sdp\r\n",
                d.sip
            );
            if up {
                let invite = request(&mut lab, line, "INVITE");
                assert!(invite.get("Via").starts_with("SIP/2.0/TCP"));
                lab.pass(Duration::from_secs(3));
                assert!(sips(&mut lab, line).is_empty(), "nothing is repeated on it");
                answer(&mut lab, line, &invite, 200, &more, &d.sdp("active", ""));
                request(&mut lab, line, "ACK");
            } else {
                lab.pass(Duration::from_millis(600));
                let first = d.invited(&mut lab);
                assert!(first.get("Via").starts_with("SIP/2.0/UDP"));
                assert_eq!(d.invited(&mut lab).branch(), first.branch(), "timer A");
                d.respond(&mut lab, 200, &more, &d.sdp("active", ""));
                lab.request_to(&d.sip, "ACK");
            }
            alice.up(&mut lab);
            alice.bye(&mut lab);
            if !up {
                lab.request_to(&d.sip, "BYE");
            }
        }
    }
}

/// RFC 3261 §18.4: one segment with good requests and then garbage: what was asked is answered, by whichever shard, before the
/// connection is closed.
#[test]
fn answers_under_way_leave_before_a_broken_stream_is_closed() {
    for shards in [1, 2, 3, 5] {
        for at in 0..shards {
            let mut lab = Lab::of(shards);
            let line = stream(&mut lab, at, "10.0.2.9:41000");
            let mut segment = Vec::new();
            for n in 0..8 {
                let alice = Alice::calling(&format!("user{n}"), 9);
                let uri = format!("sip:user{n}@example.com");
                segment.extend(alice.message("OPTIONS", &uri, &format!("z9hG4bKo{n}"), n, "", ""));
            }
            segment.extend(b"\0\0garbage that is no SIP\r\n\r\n");
            lab.bytes(line, &segment);
            assert_eq!(codes(&mut lab, line, "OPTIONS").len(), 8, "{shards} shards");
            assert_eq!(lab.wire(line).closed, Some(true));
            // And a shard that does not come to say what it has is not waited for.
            let mut lab = Lab::of(shards);
            let line = stream(&mut lab, at, "10.0.2.9:41000");
            lab.mail_waits = true;
            lab.bytes(line, &segment);
            lab.pass(Duration::from_secs(2));
            assert_eq!(lab.wire(line).closed, Some(true));
        }
    }
}
