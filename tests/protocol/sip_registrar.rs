//! The registrar (RFC 3261 §10.3), as REGISTERs come and its answers go.

use std::time::Duration;

use md5::{Digest as _, Md5};
use ringfork::{
    sip::{Flow, Registrar, RegistrarEvent, RegistrarSettings},
    time::Instant,
    wire::sip::Message,
};

use super::bench::{PEER, UDP, addr};

const BOB: &[u8] = b"sip:bob@example.com";

struct Lab {
    registrar: Registrar,
    now: Instant,
    cseq: u32,
}

impl Lab {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut RegistrarSettings)) -> Self {
        let mut settings = RegistrarSettings::new(vec!["example.com".to_owned()]);
        change(&mut settings);
        Self {
            registrar: Registrar::new(settings, [9; 32]),
            now: Instant::START,
            cseq: 0,
        }
    }

    /// A REGISTER with these headers, CSeq growing; the status and the headers of the answer.
    fn register(&mut self, headers: &str) -> (u16, String) {
        self.cseq += 1;
        let cseq = self.cseq;
        self.register_as("sip:bob@example.com", "device-1", cseq, headers)
    }

    fn register_as(&mut self, to: &str, call_id: &str, cseq: u32, headers: &str) -> (u16, String) {
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <{to}>;tag=x\r\nTo: <{to}>\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} REGISTER\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        let message = Message::parse(text.as_bytes()).unwrap();
        message.check().unwrap();
        let flow = Flow::Udp {
            socket: UDP,
            peer: addr(PEER),
        };
        let reply = self.registrar.handle_register(self.now, flow, &message);
        (reply.code, String::from_utf8(reply.headers).unwrap())
    }

    fn contacts(&self) -> Vec<String> {
        self.registrar
            .bindings(self.now, BOB)
            .map(|b| String::from_utf8(b.contact.to_vec()).unwrap())
            .collect()
    }

    fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.registrar.poll_event())
            .map(|e| match e {
                RegistrarEvent::Bound { contact, .. } => format!("+{}", contact.escape_ascii()),
                RegistrarEvent::Gone { contact, .. } => format!("-{}", contact.escape_ascii()),
            })
            .collect()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.registrar.handle_timeout(self.now);
    }
}

/// RFC 3261 §10.3 point 8, §10.2.3: several contacts with what they said of themselves; a fetch shows the time left.
#[test]
fn several_contacts_are_kept_with_their_parameters() {
    let mut lab = Lab::new();
    let (code, headers) = lab.register(
        "Contact: <sip:bob@192.0.2.7:5070>;q=0.5;expires=100, <sip:bob@192.0.2.8>;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"\r\nExpires: 200\r\n",
    );
    assert_eq!(code, 200);
    assert_eq!(
        headers,
        "Contact: <sip:bob@192.0.2.7:5070>;q=0.5;expires=100\r\n\
         Contact: <sip:bob@192.0.2.8>;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\";expires=200\r\n"
    );
    lab.pass(40);
    let (code, headers) = lab.register("");
    assert_eq!(code, 200);
    assert!(headers.contains("q=0.5;expires=60\r\n") && headers.contains(";expires=160\r\n"));
    let q: Vec<_> = lab.registrar.bindings(lab.now, BOB).map(|b| b.q).collect();
    assert_eq!(q, [500, 1000]);
    assert_eq!(lab.registrar.len(), 2);
    // Without any expiry: an hour.
    let (_, headers) = lab.register("Contact: <sip:bob@192.0.2.9>\r\n");
    assert!(headers.contains("<sip:bob@192.0.2.9>;expires=3600\r\n"));
}

/// [REG-08] a binding runs out by itself, or is removed by expires=0; each is told, a refresh is not.
#[test]
fn bindings_come_and_go() {
    let mut lab = Lab::new();
    lab.register("Contact: <sip:a@192.0.2.7>;expires=100, <sip:b@192.0.2.7>;expires=300\r\n");
    assert_eq!(lab.events(), ["+sip:a@192.0.2.7", "+sip:b@192.0.2.7"]);
    lab.pass(60);
    lab.register("Contact: <sip:a@192.0.2.7>;expires=100\r\n");
    assert_eq!(lab.events(), [""; 0]);
    assert_eq!(
        lab.registrar
            .poll_timeout()
            .map(|t| t <= Instant::START + Duration::from_secs(160)),
        Some(true)
    );
    lab.pass(99);
    assert_eq!(lab.contacts().len(), 2);
    lab.pass(1);
    assert_eq!(lab.events(), ["-sip:a@192.0.2.7"]);
    assert_eq!(lab.contacts(), ["sip:b@192.0.2.7"]);
    lab.register("Contact: <sip:b@192.0.2.7>;expires=0, <sip:nobody@192.0.2.7>;expires=0\r\n");
    assert_eq!(lab.events(), ["-sip:b@192.0.2.7"]);
    assert!(lab.registrar.is_empty());
    assert_eq!(lab.registrar.poll_timeout(), None);
}

/// RFC 3261 §10.2.2: `*` alone, with Expires 0, removes all.
#[test]
fn a_star_removes_all() {
    let mut lab = Lab::new();
    lab.register("Contact: <sip:a@192.0.2.7>, <sip:b@192.0.2.7>\r\n");
    lab.events();
    assert_eq!(lab.register("Contact: *\r\n").0, 400);
    assert_eq!(lab.register("Contact: *\r\nExpires: 60\r\n").0, 400);
    assert_eq!(lab.contacts().len(), 2);
    assert_eq!(
        lab.register("Contact: *\r\nExpires: 0\r\n"),
        (200, String::new())
    );
    assert_eq!(lab.events().len(), 2);
    assert!(lab.registrar.is_empty());
}

/// RFC 3261 §10.3 point 7: 423 with Min-Expires, and nothing is changed; too long is shortened.
#[test]
fn too_brief_and_too_long() {
    let mut lab = Lab::new();
    let too_brief = lab.register("Contact: <sip:a@192.0.2.7>, <sip:b@192.0.2.7>;expires=59\r\n");
    assert_eq!(too_brief, (423, "Min-Expires: 60\r\n".to_owned()));
    assert!(lab.registrar.is_empty());
    assert_eq!(
        lab.register("Contact: <sip:a@192.0.2.7>;expires=60\r\n").0,
        200
    );
    let (_, headers) = lab.register("Contact: <sip:a@192.0.2.7>;expires=4000000000\r\n");
    assert!(headers.contains("expires=86400\r\n"));
}

/// A binding has a size: over it 513 with a Warning, and nothing is kept, whichever part is long. [REG-07]
#[test]
fn a_contact_that_is_too_large_is_refused() {
    let long = "l".repeat(2_100);
    for headers in [
        format!("Contact: <sip:{long}@192.0.2.7>\r\n"),
        format!("Contact: <sip:a@192.0.2.7>;p=\"{long}\"\r\n"),
        format!("Contact: <sip:a@192.0.2.7>\r\nPath: <sip:{long}@h;lr>\r\n"),
        format!(
            "Contact: <sip:ok@192.0.2.7>, <sip:a@192.0.2.7>;+sip.instance=\"<{}>\"\r\n",
            &long[..1_000]
        ),
    ] {
        let mut lab = Lab::new();
        let (code, answer) = lab.register(&headers);
        assert_eq!(code, 513, "{answer}");
        assert!(
            answer.starts_with("Warning: 399 example.com \"this contact takes "),
            "{answer}"
        );
        assert!(lab.registrar.is_empty() && lab.registrar.bytes() == 0);
        assert_eq!(lab.registrar.refused().size, 1);
    }
    let mut lab = Lab::new();
    let long = "sip:".to_owned() + &"l".repeat(2_100) + "@example.com";
    assert_eq!(
        lab.register_as(&long, "c", 1, "Contact: <sip:a@192.0.2.7>\r\n")
            .0,
        404
    );
    assert_eq!(
        lab.register_as(
            "sip:bob@example.com",
            &long,
            1,
            "Contact: <sip:a@192.0.2.7>\r\n"
        )
        .0,
        513
    );
    // One that is smaller has room; it may be fetched, renewed and taken away.
    let contact = format!("Contact: <sip:a@192.0.2.7>;p=\"{}\"", "p".repeat(1_000));
    assert_eq!(lab.register(&format!("{contact}\r\n")).0, 200);
    assert!(lab.registrar.bytes() > 1_000);
    assert_eq!(lab.register(&format!("{contact};expires=0\r\n")).0, 200);
    assert_eq!(lab.registrar.bytes(), 0);
}

/// The 200 that lists a user's bindings always fits a datagram: nobody is locked out by what was registered in his name.
#[test]
fn a_user_s_bindings_fit_one_datagram() {
    let mut lab = Lab::new();
    let mut codes = Vec::new();
    for n in 0..32 {
        let contact = format!(
            "Contact: <sip:d{n}@192.0.2.7>;p=\"{}\"\r\n",
            "p".repeat(1_400)
        );
        let (code, answer) = lab.register(&contact);
        assert!(answer.len() < 10_000);
        codes.push(code);
    }
    assert_eq!(codes.iter().filter(|c| **c == 200).count(), 5);
    assert_eq!(codes[31], 403);
    assert_eq!(lab.registrar.refused().user, 27);
    // Who is there is renewed, and may make room.
    let renewed = format!(
        "Contact: <sip:d0@192.0.2.7>;p=\"{}\"\r\n",
        "p".repeat(1_400)
    );
    assert_eq!(lab.register(&renewed).0, 200);
    assert_eq!(lab.register("Contact: *\r\nExpires: 0\r\n").0, 200);
    assert_eq!(lab.registrar.bytes(), 0);
}

/// All bindings are bounded in bytes; a source of strangers has half of what is free; who is registered stays it.
#[test]
fn bindings_are_bounded_in_bytes_with_a_share_for_strangers() {
    let mut lab = Lab::with(|s| s.bytes_max = 60_000);
    let register = |lab: &mut Lab, n: u32, cseq| {
        let user = format!("sip:u{n}@example.com");
        lab.register_as(
            &user,
            "c",
            cseq,
            &format!(
                "Contact: <sip:u{n}@192.0.2.7>;p=\"{}\"\r\n",
                "p".repeat(1_000)
            ),
        )
        .0
    };
    let kept = (0..100)
        .filter(|n| register(&mut lab, *n, 1) == 200)
        .count();
    assert!((8..20).contains(&kept), "{kept}");
    assert!(lab.registrar.bytes() <= 22_000, "a third");
    assert_eq!(lab.registrar.refused().bytes, 100 - kept as u64);
    assert_eq!(register(&mut lab, 0, 2), 200, "who is there is renewed");
    // A peer whom we trust stands for many.
    let mut lab = Lab::with(|s| {
        s.bytes_max = 60_000;
        s.trusted = ringfork::sip::Trusted::new(vec![("192.0.2.0".parse().unwrap(), 24)]);
    });
    let kept = (0..100)
        .filter(|n| register(&mut lab, *n, 1) == 200)
        .count();
    assert!(
        (30..60).contains(&kept) && lab.registrar.bytes() <= 60_000,
        "{kept}"
    );
}

/// Where no transaction was kept of a REGISTER, its repeat comes again: the same answer, and no new binding. Anything else under its
/// CSeq is late.
#[test]
fn the_very_same_register_is_answered_again() {
    let mut lab = Lab::new();
    let contact = "Contact: <sip:a@192.0.2.7>;expires=600\r\n";
    for _ in 0..3 {
        let (code, headers) = lab.register_as("sip:bob@example.com", "c1", 10, contact);
        assert_eq!(
            (code, headers.as_str()),
            (200, "Contact: <sip:a@192.0.2.7>;expires=600\r\n")
        );
    }
    assert_eq!(lab.events(), ["+sip:a@192.0.2.7"]);
    let other = "Contact: <sip:a@192.0.2.7>;expires=700\r\n";
    assert_eq!(
        lab.register_as("sip:bob@example.com", "c1", 10, other).0,
        500
    );
}

/// settled.md 17: of one Call-ID an older (or the same) CSeq gets 500 and changes nothing; another Call-ID may have any.
#[test]
fn late_registers_are_refused() {
    let mut lab = Lab::new();
    let contact = "Contact: <sip:a@192.0.2.7>;expires=600\r\n";
    assert_eq!(
        lab.register_as("sip:bob@example.com", "c1", 10, contact).0,
        200
    );
    for cseq in [9, 10] {
        let late = lab.register_as(
            "sip:bob@example.com",
            "c1",
            cseq,
            "Contact: <sip:new@192.0.2.7>, <sip:a@192.0.2.7>;expires=0\r\n",
        );
        assert_eq!(late.0, 500);
        assert_eq!(
            lab.register_as(
                "sip:bob@example.com",
                "c1",
                cseq,
                "Contact: *\r\nExpires: 0\r\n"
            )
            .0,
            500
        );
    }
    assert_eq!(lab.contacts(), ["sip:a@192.0.2.7"]);
    assert_eq!(
        lab.register_as("sip:bob@example.com", "c2", 1, contact).0,
        200
    );
    assert_eq!(lab.contacts().len(), 1);
}

/// [REG-07] settled.md 17: one instance is one device: a new contact replaces the old one; another reg-id is another flow.
#[test]
fn an_instance_has_one_contact() {
    let mut lab = Lab::new();
    let device = |host: &str, more: &str| {
        format!("Contact: <sip:bob@{host}>;+sip.instance=\"<urn:uuid:1>\"{more}\r\n")
    };
    lab.register(&device("192.0.2.7", ""));
    assert_eq!(lab.events(), ["+sip:bob@192.0.2.7"]);
    lab.register_as(
        "sip:bob@example.com",
        "after-a-restart",
        1,
        &device("192.0.2.8", ""),
    );
    assert_eq!(lab.contacts(), ["sip:bob@192.0.2.8"]);
    assert_eq!(lab.events(), ["+sip:bob@192.0.2.8"], "moved, not gone");
    lab.register(&device("192.0.2.9", ";reg-id=1"));
    lab.register(&device("192.0.2.10", ";reg-id=2"));
    lab.register(&device("192.0.2.11", ";reg-id=1"));
    assert_eq!(
        lab.contacts(),
        [
            "sip:bob@192.0.2.8",
            "sip:bob@192.0.2.11",
            "sip:bob@192.0.2.10"
        ]
    );
    let instances: std::collections::HashSet<_> = lab
        .registrar
        .bindings(lab.now, BOB)
        .map(|b| b.instance.clone())
        .collect();
    assert_eq!(instances, [Some(b"<urn:uuid:1>".to_vec())].into());
}

/// Contacts are compared as URIs (RFC 3261 §19.1.4), and addresses of record by their canonical form.
#[test]
fn the_same_uri_is_the_same_contact() {
    let mut lab = Lab::new();
    lab.register("Contact: <sip:b%6fb@EXAMPLE.net:5070;transport=TCP>\r\n");
    lab.register("Contact: <sip:bob@example.net:5070;transport=tcp>\r\n");
    assert_eq!(lab.contacts(), ["sip:bob@example.net:5070;transport=tcp"]);
    lab.register_as(
        "sip:b%6fb@EXAMPLE.com:5060",
        "other",
        1,
        "Contact: <sip:bob@192.0.2.8>\r\n",
    );
    assert_eq!(lab.contacts().len(), 2);
}

/// The flow and the Path of a REGISTER are kept, the Path is answered (RFC 3327 §5.3); the last used is known.
#[test]
fn flow_and_path_are_kept() {
    let mut lab = Lab::new();
    let (_, headers) = lab.register(
        "Path: <sip:p1;lr>, <sip:p2;lr>\r\nRequire: path\r\nContact: <sip:a@192.0.2.7>\r\n",
    );
    assert!(headers.starts_with("Path: <sip:p1;lr>, <sip:p2;lr>\r\nContact: "));
    lab.pass(5);
    lab.registrar.used(lab.now, BOB, b"sip:a@192.0.2.7");
    let binding = lab.registrar.bindings(lab.now, BOB).next().unwrap();
    assert_eq!(binding.path, [b"<sip:p1;lr>", b"<sip:p2;lr>"]);
    assert_eq!(
        binding.flow,
        Flow::Udp {
            socket: UDP,
            peer: addr(PEER)
        }
    );
    assert_eq!(binding.registered_at, Instant::START);
    assert_eq!(binding.last_use, lab.now);
}

/// settled.md 17: foreign domains 404, with digest users 403; what it requires and we do not have: 420.
#[test]
fn who_may_register() {
    let mut lab = Lab::new();
    let contact = "Contact: <sip:a@192.0.2.7>\r\n";
    assert_eq!(
        lab.register_as("sip:bob@example.org", "c", 1, contact).0,
        404
    );
    assert_eq!(lab.register_as("tel:+1201555", "c", 2, contact).0, 200);
    assert_eq!(
        lab.register("Require: gruu\r\nContact: <sip:a@192.0.2.7>\r\n"),
        (420, "Unsupported: gruu\r\n".to_owned())
    );
    let mut lab = Lab::with(|s| {
        s.users
            .push(("sip:bob@example.com".to_owned(), "secret".to_owned()))
    });
    assert_eq!(
        lab.register_as("sip:bob@example.org", "c", 1, contact).0,
        403
    );
}

/// Full: 503 with Retry-After in all, 403 for one user; what is there can be refreshed and removed.
#[test]
fn bounds() {
    let mut lab = Lab::with(|s| {
        s.registrations_max = 3;
        s.contacts_max = 2;
    });
    let at = |n: u32| format!("Contact: <sip:x@192.0.2.{n}>\r\n");
    assert_eq!(lab.register(&at(1)).0, 200);
    assert_eq!(lab.register(&at(2)).0, 200);
    assert_eq!(lab.register(&at(3)).0, 403);
    assert_eq!(lab.register_as("sip:al@example.com", "c", 1, &at(1)).0, 200);
    assert_eq!(
        lab.register_as("sip:al@example.com", "c", 2, &at(2)),
        (503, "Retry-After: 60\r\n".to_owned())
    );
    assert_eq!(lab.register(&at(1)).0, 200, "a refresh takes no room");
    lab.register("Contact: <sip:x@192.0.2.1>;expires=0\r\n");
    assert_eq!(lab.register_as("sip:al@example.com", "c", 3, &at(2)).0, 200);
    assert_eq!(lab.registrar.len(), 3);
}

fn md5(parts: &[&str]) -> String {
    let sum = Md5::digest(parts.join(":"));
    sum.iter().map(|b| format!("{b:02x}")).collect()
}

/// RFC 3261 §22, RFC 8760: 401 with SHA-256 before MD5; right credentials pass once a count; wrong ones do not.
#[test]
fn digest() {
    let mut lab = Lab::with(|s| {
        s.users
            .push(("sip:bob@example.com".to_owned(), "secret".to_owned()))
    });
    let contact = "Contact: <sip:a@192.0.2.7>\r\n";
    let (code, challenge) = lab.register(contact);
    assert_eq!(code, 401);
    let challenges: Vec<_> = challenge.trim_end().split("\r\n").collect();
    assert!(challenges[0].starts_with("WWW-Authenticate: Digest realm=\"example.com\", nonce=\""));
    assert!(challenges[0].contains("algorithm=SHA-256, qop=\"auth\""));
    assert!(challenges[1].contains("algorithm=MD5, qop=\"auth\"") && !challenge.contains("stale"));
    let nonce = challenges[0]
        .split("nonce=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let credentials = |password: &str, nc: &str| {
        let ha1 = md5(&["bob", "example.com", password]);
        let ha2 = md5(&["REGISTER", "sip:example.com"]);
        let response = md5(&[&ha1, &nonce, nc, "abc", "auth", &ha2]);
        format!(
            "Authorization: Digest username=\"bob\", realm=\"example.com\", nonce=\"{nonce}\", uri=\"sip:example.com\", \
             response=\"{response}\", algorithm=MD5, cnonce=\"abc\", qop=auth, nc={nc}\r\n{contact}"
        )
    };
    assert_eq!(lab.register(&credentials("wrong", "00000001")).0, 401);
    assert_eq!(lab.register(&credentials("secret", "00000001")).0, 200);
    let (code, again) = lab.register(&credentials("secret", "00000001"));
    assert_eq!(
        (code, again.contains("stale=true")),
        (401, true),
        "a replay"
    );
    assert_eq!(lab.register(&credentials("secret", "00000002")).0, 200);
    lab.pass(300);
    let (code, again) = lab.register(&credentials("secret", "00000003"));
    assert_eq!((code, again.contains("stale=true")), (401, true), "too old");
    // Others register without.
    assert_eq!(
        lab.register_as("sip:al@example.com", "c", 1, contact).0,
        200
    );
}
