//! Bodies from leg to leg: what cannot be read is refused, and no leg sees another leg's way (settled.md 32).

use crate::world::*;

/// What belongs to Alice's leg alone: her path, a candidate, a fingerprint.
const PATH: &str = "127.0.0.1:6002/alice";
const CANDIDATE: &str = "1 1 UDP 2130706431 10.0.1.1 8998 typ host";
const FINGERPRINT: &str = "4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB";

/// Alice's offer, with all of it.
fn offer() -> String {
    sdp(
        "alice",
        6002,
        &format!(
            "a=setup:actpass\r\na=candidate:{CANDIDATE}\r\na=fingerprint:SHA-1 {FINGERPRINT}\r\n"
        ),
    )
}

fn shows(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    [PATH, CANDIDATE, FINGERPRINT]
        .iter()
        .any(|secret| text.contains(&secret.to_ascii_lowercase()))
}

fn text_of(message: &Message) -> String {
    let headers: Vec<String> = message
        .headers
        .iter()
        .map(|(n, v)| format!("{n}: {v}"))
        .collect();
    format!(
        "{}\r\n{}\r\n\r\n{}",
        message.start,
        headers.join("\r\n"),
        message.body
    )
}

/// A request of Alice's with this body and these headers of it.
fn with_body(request: &str, heads: &str, body: &str) -> String {
    let length = format!("{heads}Content-Length: {}\r\n\r\n{body}", body.len());
    request.replace("Content-Length: 0\r\n\r\n", &length)
}

/// A multipart of these parts, each with its head.
fn multipart(boundary: &str, parts: &[&str]) -> String {
    let mut out = String::new();
    for part in parts {
        out.push_str(&format!("--{boundary}\r\n{part}\r\n"));
    }
    out + &format!("--{boundary}--\r\n")
}

fn mixed(boundary: &str) -> String {
    format!("Content-Type: multipart/mixed;boundary={boundary}\r\n")
}

fn part(kind: &str, content: &str) -> String {
    format!("Content-Type: {kind}\r\n\r\n{content}")
}

fn base64(text: &str) -> String {
    const SET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits =
            three.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for at in 0..=three.len() {
            out.push(char::from(SET[(bits >> (18 - 6 * at)) as usize & 63]));
        }
        if out.len() % 77 == 76 {
            out.push_str("\r\n");
        }
    }
    out
}

/// `levels` multiparts, the description in the innermost.
fn nested(levels: usize) -> (String, String) {
    let mut body = multipart("b1", &[&part("application/sdp", &offer())]);
    for level in 2..=levels {
        let inner = format!("multipart/mixed;boundary=b{}", level - 1);
        body = multipart(&format!("b{level}"), &[&part(&inner, &body)]);
    }
    (mixed(&format!("b{levels}")), body)
}

struct Case {
    name: &'static str,
    heads: String,
    body: String,
}

fn case(name: &'static str, heads: impl Into<String>, body: impl Into<String>) -> Case {
    Case {
        name,
        heads: heads.into(),
        body: body.into(),
    }
}

fn unreadable() -> Vec<Case> {
    let description = part("application/sdp", &offer());
    let text = part("text/plain", "hello");
    let good = multipart("b1", &[&description, &text]);
    let two = |first: &str, second: &str| multipart("b1", &[first, second]);
    let (five, six) = (nested(5), nested(6));
    let parts = |n: usize| {
        let mut all = vec![text.as_str(); n - 1];
        all.push(&description);
        multipart("b1", &all)
    };
    let inner = |kind: &str, body: &str| two(&part(kind, body), &text);
    let encoded = |encoding: &str, kind: &str, content: &str| {
        let head = format!("Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n");
        two(&description, &(head + content))
    };
    let quoted = offer()
        .replace("path", "p=61th")
        .replace("finger", "f=69nger");
    vec![
        case("no boundary", "Content-Type: multipart/mixed\r\n", &*good),
        case("empty boundary", mixed("\"\""), &*good),
        case("blank boundary", mixed("\"b1 \""), &*good),
        case("needless escape", mixed("\"\\b1\""), &*good),
        case(
            "long boundary",
            mixed(&"b".repeat(71)),
            good.replace("b1", &"b".repeat(71)),
        ),
        case("another boundary", mixed("b2"), &*good),
        case("no end", mixed("b1"), good.replace("--b1--", "--b1")),
        case("lines of LF", mixed("b1"), good.replace("\r\n", "\n")),
        case(
            "no colon",
            mixed("b1"),
            two(&description, "Content-Type text/plain\r\n\r\nx"),
        ),
        case(
            "no type",
            mixed("b1"),
            two(&description, "Content-Type: text\r\n\r\nx"),
        ),
        case(
            "two types",
            mixed("b1"),
            two(
                &description,
                &format!(
                    "Content-Type: text/plain\r\n{}",
                    part("application/sdp", "x")
                ),
            ),
        ),
        case("33 parts", mixed("b1"), parts(33)),
        case("70 parts", mixed("b1"), parts(70)),
        case(
            "33 parts in two levels",
            mixed("b1"),
            two(
                &part(
                    "multipart/mixed;boundary=in",
                    &parts(32).replace("b1", "in"),
                ),
                &text,
            ),
        ),
        case("five levels", &*five.0, &*five.1),
        case("six levels", &*six.0, &*six.1),
        case(
            "two descriptions",
            mixed("b1"),
            two(&description, &description),
        ),
        case(
            "two descriptions, one inside",
            mixed("b1"),
            two(
                &description,
                &part(
                    "multipart/alternative;boundary=in",
                    &multipart("in", &[&description]),
                ),
            ),
        ),
        case(
            "two alternatives",
            mixed("b1"),
            inner(
                "multipart/alternative;boundary=in",
                &multipart("in", &[&description, &part("Application/SDP", "x")]),
            ),
        ),
        case(
            "inner without boundary",
            mixed("b1"),
            inner("multipart/alternative", &multipart("in", &[&description])),
        ),
        case(
            "inner with another",
            mixed("b1"),
            inner(
                "multipart/alternative;boundary=x",
                &multipart("in", &[&description]),
            ),
        ),
        case(
            "base64 description",
            mixed("b1"),
            two(
                &format!(
                    "Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n\r\n{}",
                    base64(&offer())
                ),
                &text,
            ),
        ),
        case(
            "quoted description",
            mixed("b1"),
            two(
                &format!(
                    "Content-Type: application/sdp\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n{quoted}"
                ),
                &text,
            ),
        ),
        case(
            "compressed description",
            mixed("b1"),
            two(
                &format!(
                    "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n\r\n{}",
                    offer()
                ),
                &text,
            ),
        ),
        case(
            "base64 alone",
            "Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n",
            base64(&offer()),
        ),
        case(
            "as text",
            mixed("b1"),
            two(&description, &part("text/plain", &offer())),
        ),
        case(
            "as text alone",
            mixed("b1"),
            two(&text, &part("text/plain", &offer())),
        ),
        case(
            "as text with LF",
            mixed("b1"),
            two(&text, &part("text/plain", &offer().replace("\r\n", "\n"))),
        ),
        case(
            "as a fragment",
            mixed("b1"),
            two(
                &text,
                &part(
                    "application/trickle-ice-sdpfrag",
                    &format!("a=candidate:{CANDIDATE}\r\n"),
                ),
            ),
        ),
        case(
            "in a SIP fragment",
            mixed("b1"),
            two(
                &text,
                &part(
                    "message/sipfrag",
                    &format!(
                        "INVITE sip:b@h SIP/2.0\r\nContent-Type: application/sdp\r\n\r\n{}",
                        offer()
                    ),
                ),
            ),
        ),
        case(
            "base64 text",
            mixed("b1"),
            encoded("base64", "text/plain", &base64(&offer())),
        ),
        case(
            "quoted text",
            mixed("b1"),
            encoded("quoted-printable", "text/plain", &quoted),
        ),
        case(
            "unknown encoding",
            mixed("b1"),
            encoded("x-uuencode", "text/plain", "M"),
        ),
        case(
            "encoded multipart",
            mixed("b1"),
            inner(
                "multipart/mixed;boundary=in\r\nContent-Transfer-Encoding: base64",
                &base64(&good),
            ),
        ),
        case(
            "compressed part",
            mixed("b1"),
            two(
                &description,
                "Content-Type: text/xml\r\nContent-Encoding: deflate\r\n\r\nx",
            ),
        ),
        case(
            "path in a message",
            mixed("b1"),
            two(
                &description,
                &part(
                    "message/cpim",
                    &format!(
                        "From: <sip:a@b>\r\n\r\nContent-Type: text/plain\r\n\r\nmsrp://{}",
                        PATH.to_uppercase()
                    ),
                ),
            ),
        ),
        case(
            "path in a list",
            mixed("b1"),
            two(
                &description,
                &part(
                    "application/resource-lists+xml",
                    &format!("<x y='msrp://{PATH};tcp'/>"),
                ),
            ),
        ),
        case(
            "path in a part's head",
            mixed("b1"),
            two(
                &description,
                &format!("Content-Description: msrp://{PATH}\r\n\r\nx"),
            ),
        ),
        case(
            "path in the description's head",
            mixed("b1"),
            two(&format!("X: {FINGERPRINT}\r\n{description}"), &text),
        ),
        case(
            "path in the head",
            mixed(&format!("b1;x=\"{PATH}\"")),
            &*good,
        ),
        case(
            "a type twice",
            format!("{}c: text/plain\r\n", mixed("b1")),
            &*good,
        ),
        case("no type at all", "", offer()),
        case(
            "optional text",
            "Content-Type: text/plain\r\nContent-Disposition: x;handling=optional\r\n",
            offer(),
        ),
        case(
            "optional text in base64",
            "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: x;handling=optional\r\n",
            base64(&offer()),
        ),
    ]
}

// [SIP-MSG-07]: settled.md 32: 400 and no leg, nothing of it anywhere.
#[test]
fn a_body_that_cannot_be_read_gets_400_and_no_leg() {
    for Case { name, heads, body } in unreadable() {
        let mut world = World::new();
        let phone = Phone::new(1);
        phone.register(&mut world, &format!(";{TAG}"));
        let invite = Alice::new().request("INVITE", "invite", "", "");
        world.receive(ALICE, with_body(&invite, &heads, &body));
        let invited = world.all(&phone.addr, "");
        assert!(invited.is_empty(), "{name}: {invited:#?}");
        let answers = world.all(ALICE, "SIP/2.0 ");
        assert!(
            answers.iter().any(|m| m.start.starts_with("SIP/2.0 400")),
            "{name}: {answers:#?}"
        );
        assert_eq!(world.counters().sessions, 0, "{name}");
    }
}

// [SIP-MSG-07]: what passes holds nothing of Alice's way, and our path once.
#[test]
fn no_leg_sees_the_way_of_another() {
    let description = part("application/sdp", &offer());
    let cpim = part(
        "message/cpim",
        "From: <sip:a@b>\r\n\r\nContent-Type: text/plain\r\n\r\na=path:to you\r\n",
    );
    let good = multipart("b1", &[&description, &cpim]);
    let four = nested(4);
    let inside = multipart("in", &[&description]);
    let inside = format!("{}{inside}{}", offer(), offer());
    let mut full = vec![cpim.as_str(); 31];
    full.push(&description);
    let lines = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 127.0.0.1\r\na=dcsa:2 path:msrp://127.0.0.1:6002/alice;dc\r\n";
    for Case { name, heads, body } in [
        case("a description", "Content-Type: application/sdp\r\n", offer()),
        case("its type in capitals", "CONTENT-TYPE: APPLICATION/SDP\r\n", offer()),
        case("its type in short, with a parameter", "c: application/sdp;charset=\"utf-8\"\r\n", offer()),
        case("plain by name", "Content-Type: application/sdp\r\nContent-Transfer-Encoding: 8BIT\r\nContent-Encoding: identity\r\n", offer()),
        case("with LF alone", "Content-Type: application/sdp\r\n", offer().replace("\r\n", "\n")),
        case("of the session level", "Content-Type: application/sdp\r\n", offer().replace("t=0 0\r\n", &format!("t=0 0\r\na=candidate:{CANDIDATE}\r\na=fingerprint:SHA-1 {FINGERPRINT}\r\na=path:msrp://{PATH};tcp\r\n"))),
        case("in an attribute of another line", "Content-Type: application/sdp\r\n", format!("{}{lines}", offer())),
        case("in an attribute that nobody knows", "Content-Type: application/sdp\r\n", format!("{}a=x-also:MSRP://{PATH};tcp\r\n", offer())),
        case("a multipart", mixed("b1"), &*good),
        case("its boundary in quotes", mixed("\"b1\""), &*good),
        case("preamble and epilogue", mixed("b1"), format!("{}{good}{}", offer(), offer())),
        case("preamble and epilogue inside", mixed("b1"), multipart("b1", &[&part("multipart/alternative;boundary=in", &inside), &cpim])),
        case("four levels", &*four.0, &*four.1),
        case("32 parts", mixed("b1"), multipart("b1", &full)),
        case("the boundary in the description", mixed("b1"), good.replace("a=setup", "a=x:--b1--\r\na=setup")),
    ] {
        let mut world = World::new();
        let phone = Phone::new(1);
        phone.register(&mut world, &format!(";{TAG}"));
        let invite = Alice::new().request("INVITE", "invite", "", "");
        world.receive(ALICE, with_body(&invite, &heads, &body));
        let invite = world.expect(&phone.addr, "INVITE ");
        let text = text_of(&invite);
        assert!(!shows(&text), "{name}: {text}");
        assert_eq!(text.matches(&format!("a=path:msrp://{MSRP}/")).count(), 1, "{name}: {text}");
        // What is not the description's passes.
        let cpims = |text: &str| text.matches("message/cpim\r\n\r\nFrom").count();
        assert_eq!(cpims(&invite.body), cpims(&body), "{name}");
    }
}

// The same within a session: a change whose body cannot be read changes nothing, on either side.
#[test]
fn a_change_that_cannot_be_read_gets_400() {
    for method in ["INVITE", "UPDATE"] {
        for Case { name, heads, body } in unreadable() {
            // There nothing passes but the description.
            let strange =
                name.contains("text") || name.contains("path") || name.contains("fragment");
            if strange
                || name.contains("part") && !name.contains("parts")
                || name.contains("encoding")
            {
                continue;
            }
            let mut world = World::new();
            let mut alice = Alice::new();
            let mut phones = established(&mut world, 1, &mut alice);
            let from_alice = alice.next(method, "", "");
            world.receive(ALICE, with_body(&from_alice, &heads, &body));
            world.expect(ALICE, "SIP/2.0 400");
            let from_phone = phones[0].next(method, "", "");
            world.receive(&phones[0].addr, with_body(&from_phone, &heads, &body));
            world.expect(&phones[0].addr, "SIP/2.0 400");
            assert!(
                world.all(ALICE, "").is_empty() && world.all(&phones[0].addr, "").is_empty(),
                "{name}"
            );
            assert_eq!(world.view().state, "established");
        }
    }
}

// settled.md 32: an answer that cannot be read is none: its leg ends, and nothing of it goes up.
#[test]
fn an_answer_that_cannot_be_read_ends_its_leg() {
    let answer = |n: u16| Phone::new(n).sdp();
    let described = |n| part("application/sdp", &answer(n));
    for (heads, body) in [
        (
            "Content-Type: multipart/mixed\r\n".to_owned(),
            multipart("b1", &[&described(1)]),
        ),
        (
            mixed("b1"),
            multipart("b1", &[&described(1), &described(1)]),
        ),
        (
            mixed("b1"),
            multipart("b1", &[&described(1), "no colon\r\n\r\nx"]),
        ),
        (
            "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n".to_owned(),
            answer(1),
        ),
        (
            "Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n".to_owned(),
            base64(&answer(1)),
        ),
        (String::new(), answer(1)),
        ("Content-Type: text/plain\r\n".to_owned(), answer(1)),
    ] {
        for code in [200, 183] {
            let mut world = World::new();
            let phones = invited(&mut world, 2, &Alice::new());
            let reliable = if code == 183 {
                "Require: 100rel\r\nRSeq: 1\r\n"
            } else {
                ""
            };
            let more = format!("Contact: {}\r\n{reliable}", phones[0].contact());
            let text = phones[0]
                .invite
                .as_ref()
                .unwrap()
                .respond(code, "devtag1", &more, "");
            world.receive(&phones[0].addr, with_body(&text, &heads, &body));
            if code == 183 {
                let prack = world.expect(&phones[0].addr, "PRACK");
                world.receive(&phones[0].addr, prack.respond(200, "", "", ""));
                phones[0].answer(&mut world, 200, "", "");
            }
            world.expect(&phones[0].addr, "ACK");
            world.expect(&phones[0].addr, "BYE");
            world.expect_none(ALICE, "SIP/2.0 200");
            phones[1].accept(&mut world);
            let ok = world.expect(ALICE, "SIP/2.0 200");
            assert!(!text_of(&ok).contains(":8001"), "{heads}");
            assert!(
                world
                    .log
                    .iter()
                    .all(|(to, m)| *to != addr(ALICE) || !text_of(m).contains(":8001/"))
            );
        }
    }
}

// A 200 whose multipart is right: only its description counts, and only ours goes up.
#[test]
fn the_answer_in_a_multipart_is_taken() {
    let mut world = World::new();
    let phones = invited(&mut world, 1, &Alice::new());
    let body = multipart(
        "b1",
        &[
            &part("text/plain", &phones[0].sdp()),
            &part("application/sdp", &phones[0].sdp()),
        ],
    );
    let more = format!("Contact: {}\r\n", phones[0].contact());
    let text = phones[0]
        .invite
        .as_ref()
        .unwrap()
        .respond(200, "devtag1", &more, "");
    world.receive(&phones[0].addr, with_body(&text, &mixed("b1"), &body));
    world.expect(&phones[0].addr, "ACK");
    let ok = world.expect(ALICE, "SIP/2.0 200");
    assert_eq!(ok.get("Content-Type"), "application/sdp");
    assert!(!text_of(&ok).contains(":8001/"));
    assert_eq!(*world.peer(1).path, *b"msrp://127.0.0.1:8001/dev1;tcp");
}

// [B2BUA-10]: what a device can do is told, where it is not.
#[test]
fn the_capabilities_of_a_device_say_nothing_of_its_way() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phone = Phone::new(1);
    phone.register(&mut world, &format!(";{TAG}"));
    let options = alice.next("OPTIONS", "Accept: application/sdp\r\n", "");
    world.receive(ALICE, options);
    let passed = world.expect(&phone.addr, "OPTIONS");
    let more = format!("Contact: {}\r\n", phone.contact());
    let able = phone.sdp()
        + "a=fingerprint:SHA-1 00:11:22:33\r\na=candidate:1 1 UDP 1 10.0.1.1 8998 typ host\r\n";
    world.receive(&phone.addr, passed.respond(200, "t", &more, &able));
    let answer = world.expect(ALICE, "SIP/2.0 200");
    // RFC 3264 §9: port 0.
    assert_eq!(answer.sdp("m"), ["message 0 TCP/MSRP *"]);
    assert_eq!(
        answer.sdp("a=accept-types"),
        ["message/cpim application/im-iscomposing+xml"]
    );
    for own in ["a=path", "a=fingerprint", "a=candidate", "a=setup"] {
        assert!(answer.sdp(own).is_empty(), "{own}");
    }
    assert!(!text_of(&answer).contains("8001"));
}
