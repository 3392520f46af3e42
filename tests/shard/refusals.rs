//! Every refusal says why: in the log, in its counter, and in a Warning where that helps whoever asked.

use ringfork::config::Config;
use tracing::Level;

use crate::{
    explain::{Log, line},
    lab::{Lab, TAG},
    people::{Alice, Device},
};

/// The counter of a refusal, over all shards.
fn refused(lab: &Lab, code: u16, why: &str) -> u64 {
    let all = lab.shards.iter().flat_map(|s| s.report().refusals);
    all.filter(|(k, _)| *k == (code, why)).map(|(_, n)| n).sum()
}

/// Each refusal says why, in the log and in its counter; wrong credentials have a counter of their own.
#[test]
fn each_refusal_says_why() {
    let log = Log::from(Level::DEBUG);
    let config = Config::from_toml(
        "test",
        "[[user]]\naor = \"sip:bob@example.com\"\npassword = \"secret\"\n",
    )
    .unwrap();
    let mut lab = Lab::with(&config);
    let request = |method: &str, uri: &str, branch: &str, more: &str| {
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.9.1:5060;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:eve@other.example>;tag=e\r\nTo: <{uri}>\r\nCall-ID: {branch}\r\nCSeq: 1 {method}\r\n{more}Content-Length: 0\r\n\r\n"
        )
    };
    let register = |branch: &str, more: &str| {
        request("REGISTER", "sip:example.com", branch, more)
            .replace("To: <sip:example.com>", "To: <sip:bob@example.com>")
    };
    let contact = "Contact: <sip:eve@10.0.9.1>\r\n";
    let wrong = "Authorization: Digest username=\"bob\", realm=\"example.com\", nonce=\"n\", uri=\"sip:example.com\", response=\"0\"\r\n";
    let mut check = |m: String, code: u16, why: &str| {
        let before = refused(&lab, code, why);
        lab.datagram("10.0.9.1:5060", m.as_bytes());
        let answer = loop {
            let m = lab
                .to("10.0.9.1:5060")
                .unwrap_or_else(|| panic!("no answer: {why}"));
            if m.code() != Some(100) {
                break m;
            }
        };
        assert_eq!(answer.code(), Some(code), "{why}: {answer:?}");
        let lines = log.lines();
        line(
            &lines,
            &[
                "answered",
                &format!("code={code}"),
                &format!("why=\"{why}\""),
                "peer=10.0.9.1:5060",
            ],
        );
        assert_eq!(refused(&lab, code, why), before + 1, "{why}");
        answer
    };
    check(register("r1", contact), 401, "no credentials: challenged");
    check(
        register("r2", &format!("{contact}{wrong}")),
        401,
        "wrong credentials",
    );
    let strange = register("r3", contact).replace("bob@example.com", "bob@foreign.example");
    check(
        strange,
        403,
        "too many contacts of this user, or no user of ours",
    );
    let more = format!("{contact}Require: foo\r\n");
    check(register("r4", &more), 420, "it requires what we cannot do");
    let unknown = "sip:carol@elsewhere.example";
    check(
        request("INVITE", unknown, "i1", contact),
        404,
        "no user of ours",
    );
    check(
        request("INVITE", "sip:carol@example.com", "i2", ""),
        400,
        "no Contact",
    );
    let nobody = check(
        request("INVITE", "sip:carol@example.com", "i3", contact),
        480,
        "no registered contact",
    );
    assert_eq!(
        nobody.get("Warning"),
        "399 10.0.0.1:5060 \"no registered contact\""
    );
    let no = check(
        request("INFO", "sip:carol@example.com", "m1", ""),
        405,
        "method not served here; Allow says which are",
    );
    assert!(no.get("Allow").contains("INVITE"));
    assert_eq!(
        no.get("Warning"),
        "399 10.0.0.1:5060 \"method not served here; Allow says which are\""
    );
    check(
        request("BYE", "sip:carol@example.com", "b1", ""),
        481,
        "Call/Transaction Does Not Exist",
    );
    let spent = request("INVITE", "sip:carol@example.com", "i4", contact)
        .replace("Max-Forwards: 70", "Max-Forwards: 0");
    check(spent, 483, "its hops are spent");
    let broken = request("OPTIONS", "sip:example.com", "o1", "no colon\r\n");
    check(broken, 400, "it breaks a rule of SIP");
    assert_eq!(lab.sum(|r| r.wrong_credentials), 1);
}

/// 480: why none of the contacts is suitable, each reason once; a contact without the session's tag, say.
#[test]
fn a_480_says_what_would_have_made_a_contact_suitable() {
    let check = |contacts: &[&str], more: &str, warning: &str| {
        let mut lab = Lab::new();
        for (n, tags) in contacts.iter().enumerate() {
            let device = Device::new("bob", n as u8 + 1);
            let m = String::from_utf8(device.registration(&mut lab, tags)).unwrap();
            // An instance is a feature tag too.
            let instance = format!("+sip.instance=\"<urn:uuid:{}>\";", device.n);
            lab.datagram(&device.sip, m.replace(&instance, "").as_bytes());
        }
        let alice = Alice::new();
        alice.invite_with(&mut lab, more);
        let answer = lab.response_to(&alice.sip, "INVITE");
        assert_eq!(answer.code(), Some(480));
        assert_eq!(
            answer.get("Warning"),
            format!("399 10.0.0.1:5060 \"{warning}\"")
        );
    };
    check(&[], "", "no registered contact");
    check(
        &["+g.oma.sip-im"],
        "",
        "contact without the session's feature tag",
    );
    check(
        &["+g.oma.sip-im", "audio"],
        "",
        "contact without the session's feature tag",
    );
    check(&["q=0.5"], "", "contact without any feature tag");
    check(
        &["+g.oma.sip-im", "q=0.5"],
        "",
        "contact without any feature tag; contact without the session's feature tag",
    );
    check(
        &[TAG],
        &format!("Reject-Contact: *;{TAG}\r\n"),
        "contact that the caller rejects",
    );
}

/// 488: which media line, and why (RFC 3261 §20.43: 304, 305, 399).
#[test]
fn a_488_says_which_media_line_and_why() {
    let check = |sdp: &str, warning: &str| {
        let mut lab = Lab::new();
        Device::register(&mut lab, 1);
        let alice = Alice::new();
        let more = format!(
            "Contact: <sip:alice@{}>;{TAG}\r\nAccept-Contact: *;{TAG}\r\nContent-Type: application/sdp\r\n",
            alice.sip
        );
        let m = alice.message("INVITE", "sip:bob@example.com", "z9hG4bKx", 1, &more, sdp);
        lab.datagram(&alice.sip, &m);
        let answer = lab.response_to(&alice.sip, "INVITE");
        assert_eq!(answer.code(), Some(488), "{sdp}");
        assert_eq!(answer.get("Warning"), warning, "{sdp}");
    };
    let head = "v=0\r\no=- 1 1 IN IP4 10.0.2.1\r\ns=-\r\nc=IN IP4 10.0.2.1\r\nt=0 0\r\n";
    let types = "a=accept-types:message/cpim\r\n";
    let path = "a=path:msrp://10.0.2.1:7000/alice;tcp\r\n";
    check(
        &format!("{head}m=audio 4000 RTP/AVP 0\r\n"),
        "304 10.0.0.1:5060 \"no MSRP media over TCP; media line 1: it is not MSRP\"",
    );
    check(
        &format!("{head}m=audio 4000 RTP/AVP 0\r\nm=message 0 TCP/MSRP *\r\n{types}{path}"),
        "304 10.0.0.1:5060 \"no MSRP media over TCP; media line 1: it is not MSRP; media line 2: its port is 0\"",
    );
    check(
        &format!("{head}m=message 7000 TCP/TLS/MSRP *\r\n{types}{path}"),
        "304 10.0.0.1:5060 \"no MSRP media over TCP; media line 1: it is MSRP over TLS\"",
    );
    check(
        &format!("{head}m=message 7000 TCP/MSRP *\r\n{path}"),
        "305 10.0.0.1:5060 \"MSRP media without path or accept-types; media line 1: it has no a=accept-types\"",
    );
    check(
        &format!("{head}m=message 7000 TCP/MSRP *\r\n{types}"),
        "305 10.0.0.1:5060 \"MSRP media without path or accept-types; media line 1: it has no a=path that can be reached\"",
    );
    check(
        &format!("{head}m=message 7001 TCP/MSRP *\r\n{types}{path}"),
        "399 10.0.0.1:5060 \"address differs from path without CEMA; media line 1: a=msrp-cema is missing, or c= and m= differ from a=path\"",
    );
}

/// What a device says without a word gets ours: why it was not taken.
#[test]
fn a_refusal_that_a_device_gave_without_a_word_says_whose_it_is() {
    let check = |code: u16, theirs: &str, warning: &str| {
        let mut lab = Lab::new();
        let mut d = Device::register(&mut lab, 1);
        let alice = Alice::new();
        alice.invite(&mut lab);
        d.invited(&mut lab);
        d.respond(&mut lab, code, theirs, "");
        let answer = lab.response_to(&alice.sip, "INVITE");
        assert_eq!(answer.code(), Some(code));
        assert_eq!(answer.get("Warning"), warning, "{code}");
    };
    check(488, "", "399 10.0.0.1:5060 \"488 Not Acceptable Here\"");
    check(480, "Warning: 399 phone \"away\"\r\n", "399 phone \"away\"");
    check(486, "", "");
}

/// Connections that we open are counted by protocol and outcome.
#[test]
fn connects_are_counted_by_protocol_and_outcome() {
    let mut lab = Lab::new();
    let mut alice = Alice::new();
    let mut d = Device::register(&mut lab, 1);
    alice.invite(&mut lab);
    d.invited(&mut lab);
    let sdp = d.sdp("passive", "");
    let more = format!(
        "Contact: <sip:bob@{}>\r\nContent-Type: application/sdp\r\n",
        d.sip
    );
    d.respond(&mut lab, 200, &more, &sdp);
    alice.up(&mut lab);
    lab.connected("10.0.1.1:7000", false);
    let connects = lab.shards[0].report().connects;
    assert_eq!(connects, [(("msrp", "refused"), 1)]);
}
