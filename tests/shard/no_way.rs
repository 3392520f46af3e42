//! URIs that name no place that we can send to.

use crate::{
    lab::{Lab, TAG},
    people::{Alice, Device},
    ways::{CALLER, Caller, codes, device, sips, stream},
};

/// RFC 5630 §5.3, settled.md 18: a contact that names no place that we can send to is registered, and cannot be invited: 480, and
/// nothing leaves in clear, for somewhere else, or back to where the REGISTER came from.
#[test]
fn a_contact_that_cannot_be_reached_gets_nothing() {
    let contacts = [
        "<sips:bob@10.0.1.5:5070>",
        "<sips:bob@10.0.1.5:5070;transport=tcp>",
        "<sip:bob@10.0.1.5:5070;transport=tls>",
        "<sip:bob@10.0.1.5:5070;transport=TLS>",
        "<sip:bob@10.0.1.5:5070;transport=sctp>",
        "<sip:bob@10.0.1.5:5070;transport=ws>",
        "<sip:bob@10.0.1.5:5070;transport=carrier-pigeon>",
        "<tel:+4912345>",
    ];
    for contact in contacts {
        for tcp in [true, false] {
            let mut lab = Lab::new();
            let d = device();
            let m = d.registration(&mut lab, TAG);
            let m = String::from_utf8(m)
                .unwrap()
                .replace("<sip:bob@10.0.1.5:5060>", contact);
            let line = stream(&mut lab, 0, "10.0.1.5:40123");
            if tcp {
                lab.bytes(line, m.replace("SIP/2.0/UDP", "SIP/2.0/TCP").as_bytes());
                assert_eq!(codes(&mut lab, line, "REGISTER"), [200]);
            } else {
                lab.datagram(&d.sip, m.as_bytes());
                assert_eq!(lab.response_to(&d.sip, "REGISTER").code(), Some(200));
            }
            let alice = Alice::new();
            alice.invite(&mut lab);
            assert_eq!(
                lab.response_to(&alice.sip, "INVITE").code(),
                Some(480),
                "{contact}"
            );
            assert!(lab.connects.is_empty() && lab.sent.is_empty());
            assert!(sips(&mut lab, line).is_empty());
        }
    }
}

/// RFC 3261 §8.1.1.8: a caller whose Contact or Record-Route we could not send to is told so, before anybody rings; a name too,
/// as long as we ask no DNS. RFC 5630 §5.1.2: of `sips` in its own words.
#[test]
fn a_caller_that_cannot_be_reached_is_refused() {
    let cases = [
        ("<sips:alice@10.0.2.1:5060>", "", "380"),
        ("<sip:alice@10.0.2.1:5060;transport=tls>", "", "380"),
        ("<sip:alice@10.0.2.1:5060;transport=sctp>", "", "399"),
        (CALLER, "Record-Route: <sips:10.0.2.8;lr>\r\n", "380"),
        (
            CALLER,
            "Record-Route: <sip:10.0.2.8;transport=ws;lr>\r\n",
            "399",
        ),
        (CALLER, "Record-Route: <sip:edge.example.net;lr>\r\n", "399"),
    ];
    for (contact, more, warning) in cases {
        let mut lab = Lab::new();
        let d = Device::register(&mut lab, 5);
        let caller = Caller::new(&mut lab, 0);
        caller.invite(&mut lab, contact, more);
        let refusal = sips(&mut lab, caller.line)
            .into_iter()
            .find(|m| m.code().is_some_and(|c| c > 199));
        let refusal = refusal.expect("an answer");
        assert_eq!(refusal.code(), Some(480), "{contact} {more}");
        assert!(
            refusal.get("Warning").starts_with(warning),
            "{contact} {more}"
        );
        assert!(lab.to(&d.sip).is_none(), "nobody rings");
    }
    // settled.md 42: a stranger's Contact that is not where he is means there.
    for contact in [
        "<sip:alice@client.example.net;transport=tcp>",
        "<sip:alice@192.168.1.7;transport=tcp>",
        CALLER,
    ] {
        let mut lab = Lab::new();
        let d = Device::register(&mut lab, 5);
        let caller = Caller::new(&mut lab, 0);
        caller.invite(&mut lab, contact, "");
        lab.request_to(&d.sip, "INVITE");
    }
}
