//! Descriptions from leg to leg: offers and answers at an intermediate node.

use ringfork::msrp::{Matching, Role};

use crate::world::*;

/// What Bob's device is offered when Alice offers this.
pub(crate) fn offered(world: &mut World, sdp: &str) -> (Phone, Message) {
    let mut phone = Phone::new(1);
    phone.register(world, &format!(";{TAG}"));
    let mut alice = Alice::new();
    alice.sdp = sdp.into();
    world.receive(ALICE, alice.invite());
    let invite = phone.invited(world);
    (phone, invite)
}

/// What Alice is answered when she offers `offer` and the device answers `answer`.
pub(crate) fn answered(world: &mut World, offer: &str, answer: &str) -> Message {
    let (phone, _) = offered(world, offer);
    phone.answer(world, 200, "", answer);
    world.expect(ALICE, "SIP/2.0 200")
}

// [TERM-INV-22] [MSRP-SDP-01] [MSRP-SDP-05] [MSRP-TYPES-02] [COMEDIA-01] [COMEDIA-02] [COMEDIA-05] [CEMA-01] [CEMA-07]
#[test]
fn an_offer_keeps_what_is_said_and_has_its_own_way() {
    let file = "a=file-selector:name:\"a b.jpg\" type:image/jpeg size:4092 hash:sha-1:72:24\r\na=file-transfer-id:vBnG\r\n\
                a=file-disposition:attachment\r\na=file-date:creation:\"Mon, 15 May 2006 15:01:31 +0300\"\r\n\
                a=file-icon:cid:id2@h\r\na=file-range:1-*\r\n";
    let offer = format!(
        "v=0\r\no=alice 1 1 IN IP4 127.0.0.1\r\ns=Lunch\r\ni=about\r\nc=IN IP4 127.0.0.1\r\nb=AS:64\r\nt=0 0\r\na=x-session:1\r\n\
         m=message 6002 TCP/MSRP *\r\ni=media\r\na=accept-types:message/cpim *\r\na=accept-wrapped-types:text/plain image/*\r\n\
         a=sendonly\r\na=maxsize:5000\r\na=setup:active\r\na=connection:new\r\na=x-unknown:as it is\r\na=chatroom:nickname\r\n\
         a=path:msrp://127.0.0.1:6002/alice;tcp\r\na=fingerprint:SHA-1 00:11\r\n{file}\
         m=audio 4000 RTP/AVP 0\r\na=ptime:20\r\n\
         m=message 6004 TCP/MSRP *\r\na=accept-types:*\r\na=path:msrp://127.0.0.1:6004/second;tcp\r\n"
    );
    let mut world = World::new();
    let (_, invite) = offered(&mut world, &offer);
    assert_eq!(
        invite.sdp("m"),
        [
            "message 2855 TCP/MSRP *",
            "audio 4000 RTP/AVP 0",
            "message 0 TCP/MSRP *"
        ]
    );
    // The audio line relied on the address of the session level, which is ours now.
    assert_eq!(invite.sdp("c"), ["IN IP4 127.0.0.1", "IN IP4 127.0.0.1"]);
    assert_eq!(invite.sdp("s"), ["Lunch"]);
    assert_eq!(invite.sdp("i"), ["about", "media"]);
    assert_eq!(invite.sdp("b"), ["AS:64"]);
    assert_eq!(invite.sdp("a=x-session"), ["1"]);
    assert_eq!(invite.sdp("a=x-unknown"), ["as it is"]);
    assert_eq!(invite.sdp("a=chatroom"), ["nickname"]);
    assert_eq!(invite.sdp("a=accept-types"), ["message/cpim *"]);
    assert_eq!(invite.sdp("a=accept-wrapped-types"), ["text/plain image/*"]);
    assert_eq!(invite.sdp("a=sendonly").len(), 1);
    assert_eq!(invite.sdp("a=max-size"), ["5000"]);
    assert!(invite.sdp("a=maxsize").is_empty());
    assert!(invite.body.contains(file), "{}", invite.body);
    assert_eq!(invite.sdp("a=setup"), ["actpass"]);
    assert!(invite.sdp("a=connection").is_empty() && invite.sdp("a=fingerprint").is_empty());
    assert_eq!(invite.sdp("a=msrp-cema"), [""]);
    let path = invite.sdp("a=path");
    assert_eq!(path.len(), 1);
    let id = path[0]
        .strip_prefix("msrp://127.0.0.1:2855/")
        .unwrap()
        .strip_suffix(";tcp")
        .unwrap();
    assert!(id.len() >= 14, "settled.md 6: {id}");
    assert!(invite.sdp("o")[0].starts_with("- ") && !invite.body.contains("alice"));
}

// [MSRP-TYPES-04] [CEMA-01]
#[test]
fn our_own_limits_are_said() {
    let mut world = World::with(|s, _| s.cema = false);
    let (_, invite) = offered(
        &mut world,
        &sdp("alice", 6002, "a=max-size:99999999\r\na=msrp-cema\r\n"),
    );
    assert_eq!(invite.sdp("a=max-size"), ["1000000"]);
    assert!(
        invite.sdp("a=msrp-cema").is_empty(),
        "[CEMA-07]: never passed through"
    );
}

// [MSRP-SDP-01]
#[test]
fn an_answer_has_the_lines_of_its_offer() {
    let offer = format!(
        "m=audio 4000 RTP/AVP 0\r\n{}m=video 4002 RTP/AVP 31\r\n",
        "m=message 6002 TCP/MSRP *\r\na=accept-types:*\r\na=path:msrp://127.0.0.1:6002/alice;tcp\r\n"
    );
    let head = "v=0\r\no=x 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
    let answer = "m=audio 0 RTP/AVP 0\r\nm=message 8001 TCP/MSRP *\r\na=accept-types:text/plain\r\n\
                  a=path:msrp://127.0.0.1:8001/dev1;tcp\r\nm=video 5002 RTP/AVP 31\r\n";
    let ok = answered(
        &mut World::new(),
        &format!("{head}{offer}"),
        &format!("{head}{answer}"),
    );
    assert_eq!(
        ok.sdp("m"),
        [
            "audio 0 RTP/AVP 0",
            "message 2855 TCP/MSRP *",
            "video 5002 RTP/AVP 31"
        ]
    );
    assert_eq!(ok.sdp("a=accept-types"), ["text/plain"]);
}

// [COMEDIA-05]: never sent, and as if it were not there, in offers and answers of either side, at either level.
#[test]
fn connection_is_ignored_and_never_sent() {
    for value in ["new", "existing"] {
        let more = format!("a=setup:passive\r\na=connection:{value}\r\n");
        let both = |name, port| {
            sdp(name, port, &more)
                .replace("t=0 0\r\n", &format!("t=0 0\r\na=connection:{value}\r\n"))
        };
        let mut world = World::new();
        let (phone, invite) = offered(&mut world, &both("alice", 6002));
        phone.answer(&mut world, 200, "", &both("dev1", 8001));
        world.expect(&phone.addr, "ACK");
        let ok = world.expect(ALICE, "SIP/2.0 200");
        assert!(invite.sdp("a=connection").is_empty() && ok.sdp("a=connection").is_empty());
        // A connection of its own is made all the same.
        for leg in [0, 1] {
            assert_eq!(world.peer(leg).role, Role::Active);
            assert!(world.peer(leg).connect_to.is_some());
        }
    }
}

// [CEMA-07]: each leg follows its own descriptions.
#[test]
fn cema_of_one_leg_says_nothing_of_the_other() {
    for (alice, device) in [(true, true), (true, false), (false, true), (false, false)] {
        let with = |text: String, cema: bool| if cema { text + "a=msrp-cema\r\n" } else { text };
        let mut world = World::new();
        let offer = with(sdp("alice", 6002, "a=setup:actpass\r\n"), alice);
        let (phone, invite) = offered(&mut world, &offer);
        assert_eq!(invite.sdp("a=msrp-cema"), [""], "our own support");
        phone.answer(&mut world, 200, "", &with(phone.sdp(), device));
        let ok = world.expect(ALICE, "SIP/2.0 200");
        assert_eq!(ok.sdp("a=msrp-cema").len(), usize::from(alice));
        for (leg, cema) in [(0, alice), (1, device)] {
            let expected = if cema {
                Matching::SessionId
            } else {
                Matching::Strict
            };
            assert_eq!(world.peer(leg).matching, expected, "{alice} {device}");
        }
    }
}

// [COMEDIA-03] [COMEDIA-04] [COMEDIA-06]: our answers to each offer.
#[test]
fn the_table_of_answers() {
    for (setup, port, answer, line, role) in [
        (
            "a=setup:active\r\n",
            6002,
            "passive",
            "message 2855 TCP/MSRP *",
            Role::Passive,
        ),
        (
            "a=setup:active\r\n",
            9,
            "passive",
            "message 2855 TCP/MSRP *",
            Role::Passive,
        ),
        (
            "a=setup:actpass\r\n",
            6002,
            "passive",
            "message 2855 TCP/MSRP *",
            Role::Passive,
        ),
        (
            "a=setup:passive\r\n",
            6002,
            "active",
            "message 9 TCP/MSRP *",
            Role::Active,
        ),
        (
            "",
            6002,
            "passive",
            "message 2855 TCP/MSRP *",
            Role::Passive,
        ),
        // [COMEDIA-01]: as if it were not there.
        (
            "a=setup:holdconn\r\n",
            6002,
            "passive",
            "message 2855 TCP/MSRP *",
            Role::Passive,
        ),
    ] {
        let mut world = World::new();
        let offer = sdp("alice", 6002, setup).replace("message 6002", &format!("message {port}"));
        let ok = answered(
            &mut world,
            &offer,
            &sdp("dev1", 8001, "a=setup:passive\r\n"),
        );
        assert_eq!(ok.sdp("a=setup"), [answer], "{setup}");
        assert_eq!(ok.sdp("m"), [line], "{setup}");
        assert_eq!(world.peer(0).role, role, "{setup}");
        if role == Role::Active {
            assert_eq!(world.peer(0).connect_to, Some(addr("127.0.0.1:6002")));
        }
    }
}

// [COMEDIA-03] [COMEDIA-04] [COMEDIA-06]: a device's answers to our actpass.
#[test]
fn the_table_of_a_devices_answers() {
    for (setup, port, role) in [
        ("a=setup:active\r\n", 8001, Role::Passive),
        ("a=setup:active\r\n", 9, Role::Passive),
        ("a=setup:passive\r\n", 8001, Role::Active),
        ("", 8001, Role::Active),
        ("a=setup:holdconn\r\n", 8001, Role::Active),
    ] {
        let mut world = World::new();
        let answer = sdp("dev1", 8001, setup).replace("message 8001", &format!("message {port}"));
        answered(&mut world, &Alice::new().sdp, &answer);
        let peer = world.peer(1);
        assert_eq!(peer.role, role, "{setup}");
        assert_eq!(*peer.path, *b"msrp://127.0.0.1:8001/dev1;tcp");
        if role == Role::Active {
            assert_eq!(peer.connect_to, Some(addr("127.0.0.1:8001")));
        }
        assert_eq!(peer.matching, Matching::Strict, "no CEMA in the answer");
        assert!(world.all(&Phone::new(1).addr, "INVITE").is_empty());
    }
}

// [COMEDIA-04]: never port 9, whatever the lines say.
#[test]
fn we_never_connect_to_port_9() {
    let mut world = World::new();
    let answer = sdp("dev1", 9, "a=setup:passive\r\na=msrp-cema\r\n");
    answered(&mut world, &Alice::new().sdp, &answer);
    assert_eq!(world.peer(1).connect_to, None);
}

// [CEMA-02]
#[test]
fn cema_is_answered_where_it_is_offered() {
    let device = sdp("dev1", 8001, "a=setup:passive\r\n");
    for (cema, offer, answer) in [
        (true, "a=setup:actpass\r\na=msrp-cema\r\n", true),
        (true, "a=setup:actpass\r\n", false),
        (false, "a=setup:actpass\r\na=msrp-cema\r\n", false),
    ] {
        let mut world = World::with(|s, _| s.cema = cema);
        let ok = answered(&mut world, &sdp("alice", 6002, offer), &device);
        assert_eq!(!ok.sdp("a=msrp-cema").is_empty(), answer, "{cema} {offer}");
        assert_eq!(ok.sdp("a=setup"), ["passive"]);
        let matching = if answer {
            Matching::SessionId
        } else {
            Matching::Strict
        };
        assert_eq!(world.peer(0).matching, matching);
    }
    // An offerer behind a relay that connects itself (RFC 6714 §4.3).
    let relayed = sdp("alice", 6002, "a=setup:active\r\na=msrp-cema\r\n").replace(
        "a=path:msrp://127.0.0.1:6002/alice;tcp",
        "a=path:msrp://127.0.0.1:6002/relay;tcp msrp://10.0.0.1:7/alice;tcp",
    );
    let ok = answered(&mut World::new(), &relayed, &device);
    assert!(ok.sdp("a=msrp-cema").is_empty());
}

// [CEMA-03]: with CEMA on both sides c= and m= say where, the path who.
#[test]
fn with_cema_the_lines_are_connected_to() {
    let mut world = World::new();
    let answer = sdp("dev1", 8001, "a=setup:passive\r\na=msrp-cema\r\n")
        .replace("path:msrp://127.0.0.1:8001/", "path:msrp://x.invalid:1234/");
    answered(&mut world, &Alice::new().sdp, &answer);
    let peer = world.peer(1);
    assert_eq!(peer.connect_to, Some(addr("127.0.0.1:8001")));
    assert_eq!(*peer.path, *b"msrp://x.invalid:1234/dev1;tcp");
    assert_eq!(peer.matching, Matching::SessionId);
    let leg = world.view().legs.swap_remove(1);
    assert_eq!(leg.why, "accepted; we connect to 127.0.0.1:8001");
    assert_eq!(leg.matched, "session-id: CEMA", "said once");
    // Also where the path has an address that could be connected to.
    let mut world = World::new();
    let answer = sdp("dev1", 8001, "a=setup:passive\r\na=msrp-cema\r\n")
        .replace("path:msrp://127.0.0.1:8001/", "path:msrp://10.0.0.7:1234/");
    answered(&mut world, &Alice::new().sdp, &answer);
    assert_eq!(world.peer(1).connect_to, Some(addr("127.0.0.1:8001")));
}

// [MSRP-URI-05]: behind a relay it is the first hop of the path that we connect to.
#[test]
fn the_leftmost_hop_is_connected_to() {
    let mut world = World::new();
    let answer = sdp("dev1", 8001, "a=setup:passive\r\n").replace(
        "path:msrp://127.0.0.1:8001/",
        "path:msrp://127.0.0.1:8001/hop;tcp msrp://10.0.0.7:1234/",
    );
    answered(&mut world, &Alice::new().sdp, &answer);
    let peer = world.peer(1);
    assert_eq!(peer.connect_to, Some(addr("127.0.0.1:8001")));
    assert_eq!(
        *peer.path,
        *b"msrp://127.0.0.1:8001/hop;tcp msrp://10.0.0.7:1234/dev1;tcp"
    );
}

// [CEMA-04]: an answer from behind a relay without CEMA, and c= is not its first hop: RFC 6714 §4.2 wants a new offer without
// CEMA though it is us who connect.
#[test]
fn a_relayed_answer_without_cema_gets_a_plain_offer() {
    let mut world = World::new();
    let (phone, _) = offered(&mut world, &Alice::new().sdp);
    let answer = sdp("dev1", 8001, "a=setup:passive\r\n")
        .replace("c=IN IP4 127.0.0.1", "c=IN IP4 10.0.0.7")
        .replace(
            "path:msrp://127.0.0.1:8001/",
            "path:msrp://127.0.0.1:8001/hop;tcp msrp://10.0.0.9:1234/",
        );
    phone.answer(&mut world, 200, "", &answer);
    world.expect(&phone.addr, "ACK");
    let again = world.expect(&phone.addr, "INVITE");
    assert!(again.sdp("a=msrp-cema").is_empty());
}

// [CEMA-04]: no CEMA in the answer, another address in the lines, and we wait: a new offer without CEMA.
#[test]
fn a_middlebox_without_cema_gets_a_plain_offer() {
    let mut world = World::new();
    let (phone, first) = offered(&mut world, &Alice::new().sdp);
    let answer =
        sdp("dev1", 8001, "a=setup:active\r\n").replace("c=IN IP4 127.0.0.1", "c=IN IP4 10.0.0.7");
    phone.answer(&mut world, 200, "", &answer);
    world.expect(&phone.addr, "ACK");
    world.expect(ALICE, "SIP/2.0 200");
    let again = world.expect(&phone.addr, "INVITE");
    assert!(again.sdp("a=msrp-cema").is_empty());
    assert_eq!(again.sdp("a=path"), first.sdp("a=path"));
    assert_eq!(again.cseq(), 2);
    let more = format!("Contact: {}\r\n", phone.contact());
    let answer = sdp_version("dev1", 2, 8009, "a=setup:passive\r\n");
    world.receive(&phone.addr, again.respond(200, "", &more, &answer));
    world.expect(&phone.addr, "ACK");
    assert_eq!(world.peer(1).connect_to, Some(addr("127.0.0.1:8009")));
    // Once: what follows is plain too.
    world.expect_none(&phone.addr, "INVITE");
}

// [CEMA-05] [CEMA-06]
#[test]
fn an_offer_from_behind_a_middlebox_is_refused_unless_legacy() {
    let check = |legacy: bool, from: &str, to: &str, accepted: bool| {
        let mut world = World::with(|s, _| s.legacy_session_match = legacy);
        let phone = Phone::new(1);
        phone.register(&mut world, &format!(";{TAG}"));
        let mut alice = Alice::new();
        alice.sdp = alice.sdp.replace(from, to);
        world.receive(ALICE, alice.invite());
        assert_eq!(
            !world.all(&phone.addr, "INVITE").is_empty(),
            accepted,
            "{to}"
        );
        assert_eq!(world.all(ALICE, "SIP/2.0 488").is_empty(), accepted, "{to}");
        world
    };
    check(false, "c=IN IP4 127.0.0.1", "c=IN IP4 10.0.0.7", false);
    check(false, "message 6002", "message 6003", false);
    check(true, "c=IN IP4 127.0.0.1", "c=IN IP4 10.0.0.7", true);
    // The same address in another spelling.
    let v6 = "c=IN IP6 2001:db8::1";
    let mut world = World::new();
    let phone = Phone::new(1);
    phone.register(&mut world, &format!(";{TAG}"));
    let mut alice = Alice::new();
    alice.sdp = alice
        .sdp
        .replace("c=IN IP4 127.0.0.1", v6)
        .replace("msrp://127.0.0.1:6002", "msrp://[2001:DB8:0:0::1]:6002");
    world.receive(ALICE, alice.invite());
    world.expect(&phone.addr, "INVITE");
}

// [MSRP-SDP-03]
#[test]
fn directions_rule_what_a_leg_may_do() {
    let mut world = World::new();
    let ok = answered(
        &mut world,
        &sdp("alice", 6002, "a=sendonly\r\n"),
        &sdp("dev1", 8001, "a=setup:passive\r\n"),
    );
    // The device forgot to say so: the answer cannot allow more than was offered (RFC 3264 §6.1).
    assert_eq!(ok.sdp("a=recvonly").len(), 1);
    let (alice, dev) = (world.peer(0).direction, world.peer(1).direction);
    assert!(alice.peer_sends && !alice.peer_receives);
    assert!(!dev.peer_sends && dev.peer_receives);
}

// [MSRP-SDP-04]: an identifier and a rising version a leg.
#[test]
fn each_leg_has_an_origin_of_its_own() {
    let mut world = World::new();
    let (phone, invite) = offered(&mut world, &Alice::new().sdp);
    phone.accept(&mut world);
    let ok = world.expect(ALICE, "SIP/2.0 200");
    let id = |m: &Message| m.sdp("o")[0].split(' ').nth(1).unwrap().to_owned();
    assert_ne!(id(&invite), id(&ok));
    assert!(id(&invite).parse::<i64>().is_ok());
    assert_ne!(invite.sdp("a=path"), ok.sdp("a=path"));
}
