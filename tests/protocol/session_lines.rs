//! Media lines: those of an answer are those of its offer, and path, c= and m= name one place.

use ringfork::msrp::Role;

use crate::{
    sdp::{answered, offered},
    world::*,
};

const AUDIO: &str = "m=audio 4000 RTP/AVP 0\r\n";

/// Alice's offer of audio before MSRP and video behind it.
fn three_lines() -> String {
    let text = sdp("alice", 6002, "a=setup:actpass\r\n");
    text.replace("m=message", &format!("{AUDIO}m=message")) + "m=video 4002 RTP/AVP 31\r\n"
}

// [MSRP-SDP-01]: settled.md 33: the lines of the offer, in its order; what lacks has port 0, and never is it a device's path that
// stands there.
#[test]
fn an_answer_with_other_lines_is_repaired_or_ends_the_leg() {
    let message = |n: u16| Phone::new(n).sdp();
    let head = |n: u16| message(n).split("m=message").next().unwrap().to_owned();
    let line = |n: u16| message(n).replace(&head(n), "");
    let (audio, video) = ("m=audio 5000 RTP/AVP 0\r\n", "m=video 5002 RTP/AVP 31\r\n");
    for (lines, expected) in [
        (
            vec![line(1)],
            Some([
                "audio 0 RTP/AVP 0",
                "message 2855 TCP/MSRP *",
                "video 0 RTP/AVP 31",
            ]),
        ),
        (
            vec![line(1), audio.into()],
            Some([
                "audio 5000 RTP/AVP 0",
                "message 2855 TCP/MSRP *",
                "video 0 RTP/AVP 31",
            ]),
        ),
        (
            vec![video.into(), line(1), audio.into()],
            Some([
                "audio 5000 RTP/AVP 0",
                "message 2855 TCP/MSRP *",
                "video 5002 RTP/AVP 31",
            ]),
        ),
        (
            vec![
                line(1).replace("8001 TCP/MSRP *", "8001 TCP/MSRP * 1 2"),
                video.into(),
            ],
            Some([
                "audio 0 RTP/AVP 0",
                "message 2855 TCP/MSRP *",
                "video 5002 RTP/AVP 31",
            ]),
        ),
        (
            vec![
                audio.into(),
                line(1),
                video.into(),
                "m=text 0 RTP/AVP 98\r\n".into(),
            ],
            Some([
                "audio 5000 RTP/AVP 0",
                "message 2855 TCP/MSRP *",
                "video 5002 RTP/AVP 31",
            ]),
        ),
        // Nobody can tell which of the two it serves, or what an accepted line too many is for.
        (vec![line(1), line(1)], None),
        (
            vec![
                audio.into(),
                line(1),
                video.into(),
                "m=text 5004 RTP/AVP 98\r\n".into(),
            ],
            None,
        ),
        (vec![audio.into(), video.into()], None),
    ] {
        let mut world = World::new();
        let (phone, _) = offered(&mut world, &three_lines());
        phone.answer(&mut world, 200, "", &(head(1) + &lines.concat()));
        world.expect(&phone.addr, "ACK");
        if let Some(expected) = expected {
            let ok = world.expect(ALICE, "SIP/2.0 200");
            assert_eq!(ok.sdp("m"), expected, "{lines:?}");
            assert_eq!(ok.sdp("a=path").len(), 1);
            assert!(
                ok.sdp("a=path")[0].contains(MSRP) && !ok.body.contains("8001"),
                "{}",
                ok.body
            );
            assert_eq!(*world.peer(1).path, *b"msrp://127.0.0.1:8001/dev1;tcp");
            world.expect_none(&phone.addr, "BYE");
        } else {
            let bye = world.expect(&phone.addr, "BYE");
            assert!(bye.get("Reason").contains("cause=488"), "{lines:?}");
            world.expect(ALICE, "SIP/2.0 488");
        }
        assert!(
            world
                .log
                .iter()
                .all(|(to, m)| *to != addr(ALICE) || !m.body.contains(":8001/"))
        );
    }
}

// The same of an answer to a change, whoever gives it.
#[test]
fn the_answer_to_a_change_is_repaired_or_ends_the_leg() {
    let change = |name: &str, port| {
        sdp_version(name, 2, port, "a=setup:actpass\r\na=sendonly\r\n")
            .replace("m=message", &format!("{AUDIO}m=message"))
    };
    let answer = sdp_version("dev1", 2, 8001, "a=setup:passive\r\na=recvonly\r\n");
    for (answer, good) in [
        (answer.clone(), true),
        (answer.clone() + "m=audio 5000 RTP/AVP 0\r\n", true),
        (answer.clone() + "m=video 5000 RTP/AVP 31\r\n", false),
        (answer.replace("message 8001", "message 0"), false),
        (String::new(), false),
    ] {
        let mut world = World::new();
        let mut alice = Alice::new();
        let phones = established(&mut world, 1, &mut alice);
        let text = alice.next("INVITE", "", &change("alice", 6002));
        world.receive(ALICE, text);
        let asked = world.expect(&phones[0].addr, "INVITE");
        assert_eq!(
            asked.sdp("m"),
            ["audio 4000 RTP/AVP 0", "message 2855 TCP/MSRP *"]
        );
        let more = format!("Contact: {}\r\n", phones[0].contact());
        world.receive(&phones[0].addr, asked.respond(200, "", &more, &answer));
        world.expect(&phones[0].addr, "ACK");
        if good {
            let ok = world.expect(ALICE, "SIP/2.0 200");
            assert_eq!(ok.sdp("m")[1], "message 2855 TCP/MSRP *");
            assert!(ok.sdp("m")[0].starts_with("audio ") && !ok.body.contains("8001"));
            world.expect_none(&phones[0].addr, "BYE");
        } else {
            world.expect(&phones[0].addr, "BYE");
            world.expect(ALICE, "SIP/2.0 488");
            assert!(
                world
                    .log
                    .iter()
                    .all(|(to, m)| *to != addr(ALICE) || !m.body.contains(":8001/"))
            );
        }
    }
}

// The same of the originator's answer to a late offer, in its ACK.
#[test]
fn the_answer_to_a_late_offer_is_repaired_or_ends_it() {
    for (lines, good) in [
        ("", true),
        ("m=audio 0 RTP/AVP 0\r\n", true),
        ("m=video 5 RTP/AVP 31\r\n", false),
    ] {
        let mut world = World::new();
        let mut alice = Alice::new();
        let answer = std::mem::take(&mut alice.sdp).replace("actpass", "active") + lines;
        let phones = invited(&mut world, 1, &alice);
        let offer = sdp("dev1", 8001, "a=setup:actpass\r\n")
            .replace("m=message", &format!("{AUDIO}m=message"));
        phones[0].answer(&mut world, 200, "", &offer);
        let ok = world.expect(ALICE, "SIP/2.0 200");
        alice.answered(&ok);
        let ack = alice.request("ACK", "ack", "", &answer);
        world.receive(ALICE, ack);
        let ack = world.expect(&phones[0].addr, "ACK");
        if good {
            assert_eq!(
                ack.sdp("m"),
                ["audio 0 RTP/AVP 0", "message 2855 TCP/MSRP *"]
            );
            assert!(!ack.body.contains("6002"));
        } else {
            world.expect(&phones[0].addr, "BYE");
            world.expect(ALICE, "BYE");
        }
    }
}

// [MSRP-SDP-01]: settled.md 34: whatever stands there, ours says `*`; a refused line of ours too.
#[test]
fn our_msrp_lines_have_one_format() {
    let odd = |text: String| text.replace("TCP/MSRP *", "TCP/MSRP * 1 2");
    let second = "m=message 6004 TCP/MSRP 7\r\na=accept-types:*\r\na=path:msrp://127.0.0.1:6004/second;tcp\r\n";
    let mut world = World::new();
    let (phone, invite) = offered(&mut world, &(odd(Alice::new().sdp) + second));
    let lines = ["message 2855 TCP/MSRP *", "message 0 TCP/MSRP *"];
    assert_eq!(invite.sdp("m"), lines);
    phone.answer(
        &mut world,
        200,
        "",
        &odd(phone.sdp() + "m=message 0 TCP/MSRP *\r\n"),
    );
    assert_eq!(world.expect(ALICE, "SIP/2.0 200").sdp("m"), lines);
}

// settled.md 6, RFC 4975 §8.1: path, c= and m= name one place: the listening address, or the name that we were given.
#[test]
fn path_and_lines_name_one_place() {
    for (host, listens, authority, c) in [
        (None, "127.0.0.1:2855", "127.0.0.1:2855", "IN IP4 127.0.0.1"),
        (
            None,
            "[2001:db8::7]:2855",
            "[2001:db8::7]:2855",
            "IN IP6 2001:db8::7",
        ),
        (
            Some("pf.example.com"),
            "127.0.0.1:2855",
            "pf.example.com:2855",
            "IN IP4 pf.example.com",
        ),
        (
            Some("pf.example.com"),
            "[::1]:2856",
            "pf.example.com:2856",
            "IN IP6 pf.example.com",
        ),
        (
            Some("192.0.2.7"),
            "0.0.0.0:2855",
            "192.0.2.7:2855",
            "IN IP4 192.0.2.7",
        ),
        (
            Some("[2001:db8::1]"),
            "127.0.0.1:2855",
            "[2001:db8::1]:2855",
            "IN IP6 2001:db8::1",
        ),
    ] {
        let mut world = World::with(|s, _| {
            s.host = host.map(Into::into);
            s.msrp_addr = addr(listens);
        });
        let (phone, invite) = offered(&mut world, &Alice::new().sdp);
        phone.accept(&mut world);
        let ok = world.expect(ALICE, "SIP/2.0 200");
        let port = listens.rsplit(':').next().unwrap();
        for ours in [&invite, &ok] {
            let path = ours.sdp("a=path")[0].strip_prefix("msrp://").unwrap();
            assert_eq!(path.split('/').next(), Some(authority));
            assert_eq!(ours.sdp("c"), [c]);
            assert_eq!(ours.sdp("m"), [format!("message {port} TCP/MSRP *")]);
            assert!(ours.sdp("o")[0].ends_with(c), "{}", ours.sdp("o")[0]);
        }
        // The data plane answers to the same.
        let said = world.media.iter().find_map(|c| match c {
            ringfork::msrp::Command::Offer { leg, offer, .. } if leg.0 == 0 => {
                Some(offer.own_uri.clone())
            }
            _ => None,
        });
        assert_eq!(said.as_deref(), Some(ok.sdp("a=path")[0].as_bytes()));
    }
}

// [MSRP-RELAY-01]: RFC 6714 §4.2: c= and m= may be those of any URI of the path: the client's own (RFC 4976) or the relay's.
#[test]
fn a_client_behind_a_relay_is_served() {
    let relayed = |name: &str, port: u16, more: &str| {
        let own = format!("msrp://127.0.0.1:{port}/{name};tcp");
        sdp(name, port, more).replace(&own, &format!("msrp://10.0.0.9:2855/hop{name};tcp {own}"))
    };
    let as_relay = |text: String, port: u16| {
        text.replace("c=IN IP4 127.0.0.1", "c=IN IP4 10.0.0.9")
            .replace(&format!("message {port}"), "message 2855")
    };
    let secure = |text: String, port: u16| {
        text.replace(
            &format!(" msrp://127.0.0.1:{port}"),
            &format!(" msrps://127.0.0.1:{port}"),
        )
    };
    let offer = relayed("alice", 6002, "a=setup:passive\r\n");
    let answer = relayed("dev1", 8001, "a=setup:passive\r\n");
    let cema = |text: &str| format!("{text}a=msrp-cema\r\n");
    for (offer, answer) in [
        (offer.clone(), answer.clone()),
        (
            as_relay(offer.clone(), 6002),
            as_relay(answer.clone(), 8001),
        ),
        (secure(offer.clone(), 6002), secure(answer.clone(), 8001)),
        (cema(&offer), cema(&answer)),
    ] {
        let mut world = World::new();
        let ok = answered(&mut world, &offer, &answer);
        assert_eq!(ok.sdp("a=setup"), ["active"]);
        for (leg, text) in [(0, &offer), (1, &answer)] {
            let peer = world.peer(leg);
            // The whole list for To-Path, the first to connect to.
            let path = text
                .split("a=path:")
                .nth(1)
                .unwrap()
                .split("\r\n")
                .next()
                .unwrap();
            assert_eq!(*peer.path, *path.as_bytes());
            assert_eq!(peer.connect_to, Some(addr("10.0.0.9:2855")), "{text}");
            assert_eq!(peer.role, Role::Active);
        }
        world.expect_none(&Phone::new(1).addr, "INVITE");
    }
    // None of them is where the lines say: a middlebox [CEMA-05]. A relay that must be reached by TLS, and a path without end.
    for bad in [
        offer.replace("message 6002", "message 6003"),
        offer.replace("c=IN IP4 127.0.0.1", "c=IN IP4 10.0.0.7"),
        offer.replace("msrp://10.0.0.9", "msrps://10.0.0.9"),
        offer.replace(
            "msrp://10.0.0.9:2855",
            &"msrp://10.0.0.9:2855/hop;tcp ".repeat(100),
        ),
        offer.replace("msrp://10.0.0.9:2855", "nonsense"),
    ] {
        let mut world = World::new();
        Phone::new(1).register(&mut world, &format!(";{TAG}"));
        let mut alice = Alice::new();
        alice.sdp = bad;
        world.receive(ALICE, alice.invite());
        world.expect(ALICE, "SIP/2.0 488");
        world.expect_none(&Phone::new(1).addr, "INVITE");
    }
}

// [TERM-RSP-02]: the first client's answer, what it accepts; address, port and setup are ours.
#[test]
fn our_answer_says_what_the_first_client_accepts() {
    let mut world = World::new();
    let offer = sdp(
        "alice",
        6002,
        "a=setup:active\r\na=accept-wrapped-types:*\r\na=max-size:9000\r\n",
    );
    let mut alice = Alice::new();
    alice.sdp = offer;
    let phones = invited(&mut world, 2, &alice);
    let narrow = phones[0].sdp().replace(
        "message/cpim application/im-iscomposing+xml",
        "message/cpim",
    ) + "a=accept-wrapped-types:text/plain\r\na=max-size:4000\r\na=recvonly\r\n";
    phones[0].answer(&mut world, 200, "", &narrow);
    phones[1].accept(&mut world);
    let ok = world.expect(ALICE, "SIP/2.0 200");
    world.expect_none(ALICE, "SIP/2.0 200");
    assert_eq!(ok.sdp("m"), ["message 2855 TCP/MSRP *"]);
    assert_eq!(ok.sdp("c"), ["IN IP4 127.0.0.1"]);
    assert_eq!(ok.sdp("a=accept-types"), ["message/cpim"]);
    assert_eq!(ok.sdp("a=accept-wrapped-types"), ["text/plain"]);
    assert_eq!(ok.sdp("a=max-size"), ["4000"]);
    assert_eq!(ok.sdp("a=recvonly").len(), 1);
    assert_eq!(ok.sdp("a=setup"), ["passive"]);
    assert!(
        ok.sdp("a=path")[0].starts_with(&format!("msrp://{MSRP}/")) && !ok.body.contains("8001")
    );
    // The data plane filters for each by what it said itself [MSRP-TYPES-03].
    assert_eq!(world.peer(1).accept_types, b"message/cpim");
    assert_eq!(
        world.peer(2).accept_types,
        b"message/cpim application/im-iscomposing+xml"
    );
}
