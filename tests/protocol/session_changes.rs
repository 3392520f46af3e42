//! Changes within a session: re-INVITE, UPDATE, session timers.

use crate::world::*;

use ringfork::msrp::{Command, Role};

const ALICE_CONTACT: &str = "Contact: <sip:alice@127.0.0.1:6000>\r\n";

/// The commands that touch a leg's media since `from`.
fn touched(world: &World, from: usize) -> usize {
    world.media[from..]
        .iter()
        .filter(|c| {
            matches!(
                c,
                Command::Start { .. } | Command::Update { .. } | Command::Offer { .. }
            )
        })
        .count()
}

/// Alice takes her 200 and acknowledges it.
fn acknowledge(world: &mut World, alice: &mut Alice) {
    alice.answered(&world.expect(ALICE, "SIP/2.0 200"));
    world.forget();
    world.receive(ALICE, alice.ack());
}

// [MSRP-SDP-02] [TIMER-04] [SIP-DLG-08]: a refresh by re-INVITE or UPDATE stays on its leg and touches nothing.
#[test]
fn a_refresh_is_answered_by_us_alone() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phones = established(&mut world, 2, &mut alice);
    let media = world.media.len();
    let refresh = "Session-Expires: 1800;refresher=uac\r\nSupported: timer\r\n";
    let same = alice.sdp.clone();
    let reinvite = alice.next("INVITE", refresh, &same);
    world.receive(ALICE, reinvite);
    let ok = world.expect(ALICE, "SIP/2.0 200");
    assert_eq!(ok.get("Session-Expires"), "1800;refresher=uac");
    assert_eq!(ok.get("Require"), "timer");
    let first = ok.sdp("o")[0].to_owned();
    world.receive(ALICE, alice.ack());
    let update = alice.next("UPDATE", refresh, "");
    world.receive(ALICE, update);
    let ok = world.expect(ALICE, "SIP/2.0 200");
    assert!(ok.body.is_empty() && ok.get("Session-Expires") == "1800;refresher=uac");
    let same = alice.sdp.clone();
    let reinvite = alice.next("INVITE", refresh, &same);
    world.receive(ALICE, reinvite);
    assert_eq!(world.expect(ALICE, "SIP/2.0 200").sdp("o")[0], first);
    world.receive(ALICE, alice.ack());
    // RFC 3264 §8: the o= line says whether it is another description, not how it is written.
    let rewritten = same.replace("a=accept-types", "a=x-late:1\r\na=accept-types");
    assert_ne!(rewritten, same);
    let reinvite = alice.next("INVITE", refresh, &rewritten);
    world.receive(ALICE, reinvite);
    assert_eq!(world.expect(ALICE, "SIP/2.0 200").sdp("o")[0], first);
    world.receive(ALICE, alice.ack());
    let update = phones[0].next("UPDATE", "", "");
    world.receive(&phones[0].addr, update);
    world.expect(&phones[0].addr, "SIP/2.0 200");
    assert!(world.sent.is_empty(), "no other leg hears of it");
    assert_eq!(touched(&world, media), 0);
}

// ORIG-REINV-02, -03, -08: what the far end has a say in goes to every device, and the first answer comes back.
// [MSRP-SDP-04] [MSRP-SDP-03]
#[test]
fn a_change_of_direction_is_passed_on() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 2, &mut alice);
    let first = phones[0].invite.as_ref().unwrap().clone();
    let hold = sdp_version("alice", 2, 6002, "a=setup:actpass\r\na=sendonly\r\n");
    let reinvite = alice.next("INVITE", "", &hold);
    world.receive(ALICE, reinvite);
    let mut asked: Vec<Message> = Vec::new();
    for phone in &phones {
        let invite = world.expect(&phone.addr, "INVITE");
        assert_eq!(invite.sdp("a=sendonly").len(), 1);
        assert_eq!(invite.sdp("a=setup"), ["actpass"]);
        asked.push(invite);
    }
    assert_eq!(asked[0].get("CSeq"), "2 INVITE");
    assert_eq!(asked[0].get("Contact"), first.get("Contact"));
    let (old, new) = (first.sdp("o")[0], asked[0].sdp("o")[0]);
    let fields = |o: &str| o.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
    assert_eq!(fields(old)[1], fields(new)[1]);
    assert_eq!(
        (fields(old)[2].as_str(), fields(new)[2].as_str()),
        ("0", "1")
    );
    world.expect_none(ALICE, "SIP/2.0 200");
    let agree = |phone: &Phone| {
        sdp_version(
            &phone.name,
            2,
            phone.port(),
            "a=setup:passive\r\na=recvonly\r\n",
        )
    };
    let more = format!("Contact: {}\r\n", phones[0].contact());
    world.receive(
        &phones[0].addr,
        asked[0].respond(200, "", &more, &agree(&phones[0])),
    );
    world.expect(&phones[0].addr, "ACK");
    let ok = world.expect(ALICE, "SIP/2.0 200");
    assert_eq!(ok.sdp("a=recvonly").len(), 1);
    world.receive(ALICE, alice.ack());
    let more = format!("Contact: {}\r\n", phones[1].contact());
    world.receive(
        &phones[1].addr,
        asked[1].respond(200, "", &more, &agree(&phones[1])),
    );
    world.expect(&phones[1].addr, "ACK");
    world.expect_none(ALICE, "");
    for leg in [1, 2] {
        let d = world.peer(leg).direction;
        assert!(!d.peer_sends && d.peer_receives, "leg {leg}");
    }
    let d = world.peer(0).direction;
    assert!(d.peer_sends && !d.peer_receives);
    // Same path, same role: the connection is left alone.
    assert!(
        world
            .media
            .iter()
            .rev()
            .take(6)
            .all(|c| !matches!(c, Command::Start { .. }))
    );
}

#[test]
fn a_refused_change_changes_nothing() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 1, &mut alice);
    let media = world.media.len();
    let hold = sdp_version("alice", 2, 6002, "a=setup:actpass\r\na=inactive\r\n");
    let reinvite = alice.next("INVITE", "", &hold);
    world.receive(ALICE, reinvite);
    let asked = world.expect(&phones[0].addr, "INVITE");
    world.receive(&phones[0].addr, asked.respond(488, "", "", ""));
    world.expect(&phones[0].addr, "ACK");
    world.expect(ALICE, "SIP/2.0 488");
    assert_eq!(touched(&world, media), 0);
    assert_eq!(world.view().state, "established");
}

// A device on which the session settled asks the originator; one of several is answered by us.
#[test]
fn a_device_asks_the_originator_when_it_is_alone() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phones = established(&mut world, 1, &mut alice);
    let hold = sdp_version("dev1", 2, 8001, "a=setup:actpass\r\na=inactive\r\n");
    let reinvite = phones[0].next("INVITE", "", &hold);
    world.receive(&phones[0].addr, reinvite);
    let asked = world.expect(ALICE, "INVITE");
    assert_eq!(asked.get("CSeq"), "1 INVITE");
    assert_eq!(asked.sdp("a=inactive").len(), 1);
    let answer = sdp_version("alice", 2, 6002, "a=setup:active\r\na=inactive\r\n");
    world.receive(ALICE, asked.respond(200, "", ALICE_CONTACT, &answer));
    world.expect(ALICE, "ACK");
    let ok = world.expect(&phones[0].addr, "SIP/2.0 200");
    assert_eq!(
        (ok.sdp("a=inactive").len(), ok.sdp("a=setup")),
        (1, vec!["passive"])
    );

    let mut world = World::new();
    let mut phones = established(&mut world, 2, &mut Alice::new());
    let reinvite = phones[0].next("INVITE", "", &hold);
    world.receive(&phones[0].addr, reinvite);
    world.expect(&phones[0].addr, "SIP/2.0 200");
    world.expect_none(ALICE, "");
}

// [SIP-DLG-02]
#[test]
fn a_new_contact_is_where_the_next_request_goes() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phones = established(&mut world, 1, &mut alice);
    alice.contact = "<sip:alice@127.0.0.1:6100>".into();
    let update = alice.next("UPDATE", "", "");
    world.receive(ALICE, update);
    world.expect(ALICE, "SIP/2.0 200");
    let bye = phones[0].next("BYE", "", "");
    world.receive(&phones[0].addr, bye);
    assert_eq!(
        world.expect("127.0.0.1:6100", "BYE").uri(),
        "sip:alice@127.0.0.1:6100"
    );
}

// A new address of the peer concerns its leg alone.
#[test]
fn a_new_path_is_answered_by_us() {
    let mut world = World::new();
    let mut alice = Alice::new();
    established(&mut world, 2, &mut alice);
    let moved = sdp_version("alice", 2, 6200, "a=setup:active\r\n");
    let reinvite = alice.next("INVITE", "", &moved);
    world.receive(ALICE, reinvite);
    assert_eq!(
        world.expect(ALICE, "SIP/2.0 200").sdp("a=setup"),
        ["passive"]
    );
    assert!(world.sent.is_empty());
    assert_eq!(*world.peer(0).path, *b"msrp://127.0.0.1:6200/alice;tcp");
    assert!(matches!(world.media.last(), Some(Command::Start { .. })));
}

// A re-INVITE without offer gets ours; the answer comes in the ACK.
#[test]
fn a_reinvite_without_offer_gets_ours() {
    let mut world = World::new();
    let mut alice = Alice::new();
    established(&mut world, 1, &mut alice);
    let reinvite = alice.next("INVITE", "", "");
    world.receive(ALICE, reinvite);
    let ok = world.expect(ALICE, "SIP/2.0 200");
    assert_eq!(ok.sdp("a=setup"), ["actpass"]);
    let answer = sdp_version("alice", 2, 6300, "a=setup:passive\r\n");
    world.receive(ALICE, alice.request("ACK", "ackr", "", &answer));
    let peer = world.peer(0);
    assert_eq!(
        (peer.role, peer.connect_to),
        (Role::Active, Some(addr("127.0.0.1:6300")))
    );
}

// [SIP-DLG-03]
#[test]
fn changes_that_cross() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phones = established(&mut world, 1, &mut alice);
    let hold = |name: &str, port| sdp_version(name, 2, port, "a=setup:actpass\r\na=inactive\r\n");
    let reinvite = alice.next("INVITE", "", &hold("alice", 6002));
    world.receive(ALICE, reinvite);
    let asked = world.expect(&phones[0].addr, "INVITE");
    // Ours is open on the device's leg.
    let crossing = phones[0].next("INVITE", "", &hold("dev1", 8001));
    world.receive(&phones[0].addr, crossing);
    world.expect(&phones[0].addr, "SIP/2.0 491");
    // Theirs is open on the originator's.
    let second = alice.next("INVITE", "", &hold("alice", 6002));
    world.receive(ALICE, second);
    let busy = world.expect(ALICE, "SIP/2.0 500");
    assert!(busy.get("Retry-After").parse::<u8>().unwrap() <= 10);
    // The far end's 491 is the asker's to wait for.
    world.receive(&phones[0].addr, asked.respond(491, "", "", ""));
    world.expect(ALICE, "SIP/2.0 491");
}

// [SIP-DLG-03]: we wait 2.1 to 4 s where the Call-ID is ours, then ask again.
#[test]
fn a_491_to_our_refresh_is_tried_again() {
    let mut world = World::with(|s, _| s.session_expires = seconds(90));
    let mut alice = Alice::new();
    let phones = invited(&mut world, 1, &alice);
    phones[0].answer(
        &mut world,
        200,
        "Session-Expires: 90;refresher=uac\r\nRequire: timer\r\n",
        &phones[0].sdp(),
    );
    acknowledge(&mut world, &mut alice);
    world.advance(seconds(45));
    let refresh = world.expect(&phones[0].addr, "INVITE");
    world.receive(&phones[0].addr, refresh.respond(491, "", "", ""));
    let refused = world.now;
    world.advance(seconds(5));
    let (_, at, again) = world
        .sent
        .iter()
        .find(|(a, _, m)| *a == addr(&phones[0].addr) && m.start.starts_with("INVITE"))
        .unwrap();
    let waited = at.since(refused).as_millis();
    assert!((2100..=4000).contains(&waited), "{waited}");
    assert_eq!(again.cseq(), refresh.cseq() + 1);
}

// A change that the far end never answers gets 504, in time.
#[test]
fn a_change_that_nobody_answers_gets_an_answer() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 1, &mut alice);
    let hold = sdp_version("alice", 2, 6002, "a=setup:actpass\r\na=inactive\r\n");
    let update = alice.next("UPDATE", "", &hold);
    world.receive(ALICE, update);
    let asked = world.expect(&phones[0].addr, "INVITE");
    world.receive(&phones[0].addr, asked.respond(100, "", "", ""));
    world.advance(seconds(20));
    world.expect(ALICE, "SIP/2.0 504");
}

#[test]
fn a_cancelled_change_is_taken_back() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 1, &mut alice);
    let hold = sdp_version("alice", 2, 6002, "a=setup:actpass\r\na=inactive\r\n");
    let reinvite = alice.next("INVITE", "", &hold);
    world.receive(ALICE, reinvite);
    let asked = world.expect(&phones[0].addr, "INVITE");
    world.receive(&phones[0].addr, asked.respond(180, "", "", ""));
    let branch = format!("INVITE{}", alice.cseq);
    world.receive(ALICE, alice.request("CANCEL", &branch, "", ""));
    world.expect(ALICE, "SIP/2.0 487");
    let cancel = world.expect(&phones[0].addr, "CANCEL");
    world.receive(&phones[0].addr, cancel.respond(200, "", "", ""));
    world.receive(&phones[0].addr, asked.respond(487, "", "", ""));
    assert_eq!(world.view().state, "established");
}

// [TIMER-04] [TIMER-02]: table 2 of RFC 4028, towards the originator.
#[test]
fn the_originators_interval() {
    let agreed = |more: &str| {
        let mut world = World::new();
        let mut alice = Alice::new();
        alice.more = more.into();
        let phones = invited(&mut world, 1, &alice);
        phones[0].accept(&mut world);
        let ok = world.expect(ALICE, "SIP/2.0 200");
        (
            ok.header("Session-Expires").map(ToOwned::to_owned),
            ok.header("Require").map(ToOwned::to_owned),
        )
    };
    let timer = Some("timer".to_owned());
    let some = |s: &str| Some(s.to_owned());
    assert_eq!(agreed(""), (None, None));
    assert_eq!(
        agreed("Supported: timer\r\n"),
        (some("1800;refresher=uac"), timer.clone())
    );
    assert_eq!(
        agreed("Session-Expires: 600\r\n"),
        (some("600;refresher=uas"), None)
    );
    assert_eq!(
        agreed("Supported: timer\r\nSession-Expires: 600\r\n"),
        (some("600;refresher=uac"), timer.clone())
    );
    assert_eq!(
        agreed("Supported: timer\r\nSession-Expires: 600;refresher=uas\r\n"),
        (some("600;refresher=uas"), timer.clone())
    );
    assert_eq!(
        agreed("Supported: timer\r\nSession-Expires: 7200;refresher=uac\r\n"),
        (some("1800;refresher=uac"), timer)
    );
}

// [TIMER-05] [TIMER-07]: each leg by its own interval; UPDATE where it is allowed, else a re-INVITE.
#[test]
fn each_leg_is_refreshed_by_its_own_interval() {
    let mut world = World::with(|s, _| s.session_expires = seconds(600));
    let mut alice = Alice::new();
    let phones = invited(&mut world, 3, &alice);
    phones[0].answer(
        &mut world,
        200,
        "Session-Expires: 200;refresher=uac\r\nRequire: timer\r\nAllow: INVITE, UPDATE\r\n",
        &phones[0].sdp(),
    );
    phones[1].answer(
        &mut world,
        200,
        "Session-Expires: 400;refresher=uac\r\n",
        &phones[1].sdp(),
    );
    // No timer there, and nobody else to notice its death: we look by ourselves.
    phones[2].answer(&mut world, 200, "", &phones[2].sdp());
    acknowledge(&mut world, &mut alice);
    world.advance(seconds(99));
    assert!(world.sent.is_empty());
    world.advance(seconds(1));
    let update = world.expect(&phones[0].addr, "UPDATE");
    assert_eq!(update.get("Session-Expires"), "200;refresher=uac");
    assert!(update.get("Supported").contains("timer") && update.body.is_empty());
    let more = format!(
        "Contact: {}\r\nSession-Expires: 200;refresher=uac\r\n",
        phones[0].contact()
    );
    world.receive(&phones[0].addr, update.respond(200, "", &more, ""));
    world.advance(seconds(99));
    world.expect_none(&phones[0].addr, "");
    world.advance(seconds(1));
    world.expect(&phones[0].addr, "UPDATE");
    let invite = phones[1].invite.as_ref().unwrap();
    let refresh = world.expect(&phones[1].addr, "INVITE");
    assert_eq!(refresh.sdp("o"), invite.sdp("o"), "nothing has changed");
    world.expect_none(&phones[2].addr, "");
    world.expect_none(ALICE, "");
}

// [TIMER-06]: nobody refreshes towards us: BYE before the interval ends; the originator's ends everything.
#[test]
fn an_originator_that_stops_refreshing_ends_the_session() {
    let mut world = World::new();
    let mut alice = Alice::new();
    alice.more = "Supported: timer\r\nSession-Expires: 120;refresher=uac\r\n".into();
    let phones = established(&mut world, 2, &mut alice);
    // Each sign of life of hers begins the interval anew.
    let refresh = "Supported: timer\r\nSession-Expires: 120;refresher=uac\r\n";
    for _ in 0..2 {
        world.advance(seconds(80));
        let update = alice.next("UPDATE", refresh, "");
        world.receive(ALICE, update);
        world.expect(ALICE, "SIP/2.0 200");
    }
    world.advance(seconds(87));
    world.expect_none(ALICE, "BYE");
    world.advance(seconds(1));
    world.expect(ALICE, "BYE");
    for phone in &phones {
        world.expect(&phone.addr, "BYE");
    }
}

// [TIMER-06] [SIP-DLG-05]: a refresh that gets 481 or 408, or nothing, ends its leg.
#[test]
fn a_failed_refresh_ends_the_leg() {
    for code in [481, 408, 0] {
        let mut world = World::with(|s, _| s.session_expires = seconds(90));
        let mut alice = Alice::new();
        let phones = invited(&mut world, 2, &alice);
        phones[0].answer(
            &mut world,
            200,
            "Session-Expires: 90;refresher=uac\r\n",
            &phones[0].sdp(),
        );
        phones[1].answer(
            &mut world,
            200,
            "Session-Expires: 3600;refresher=uas\r\n",
            &phones[1].sdp(),
        );
        acknowledge(&mut world, &mut alice);
        world.advance(seconds(45));
        let refresh = world.expect(&phones[0].addr, "INVITE");
        if code == 0 {
            world.advance(seconds(33));
        } else {
            world.receive(&phones[0].addr, refresh.respond(code, "", "", ""));
        }
        let bye = world.expect(&phones[0].addr, "BYE");
        world.receive(&phones[0].addr, bye.respond(481, "", "", ""));
        assert_eq!(world.leg(1).0, "ended");
        assert_eq!(world.leg(2).0, "accepted");
        world.expect_none(ALICE, "BYE");
    }
}

// [SIP-DLG-05]: re-INVITE answered 481: with one device both legs are cleared.
#[test]
fn a_481_to_a_reinvite_clears_both_legs() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 1, &mut alice);
    let hold = sdp_version("alice", 2, 6002, "a=setup:actpass\r\na=inactive\r\n");
    let reinvite = alice.next("INVITE", "", &hold);
    world.receive(ALICE, reinvite);
    let asked = world.expect(&phones[0].addr, "INVITE");
    world.receive(&phones[0].addr, asked.respond(481, "", "", ""));
    world.expect(ALICE, "SIP/2.0 481");
    let down = world.expect(&phones[0].addr, "BYE");
    let up = world.expect(ALICE, "BYE");
    world.receive(&phones[0].addr, down.respond(481, "", "", ""));
    world.receive(ALICE, up.respond(200, "", "", ""));
    world.assert_empty();
}

// [SIP-TXN-05]: the 200 of our re-INVITE that comes again gets its ACK again.
#[test]
fn a_repeated_200_of_a_reinvite_is_acknowledged_again() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 1, &mut alice);
    let hold = sdp_version("alice", 2, 6002, "a=setup:actpass\r\na=inactive\r\n");
    let reinvite = alice.next("INVITE", "", &hold);
    world.receive(ALICE, reinvite);
    let asked = world.expect(&phones[0].addr, "INVITE");
    let more = format!("Contact: {}\r\n", phones[0].contact());
    let sdp = sdp_version("dev1", 2, 8001, "a=setup:passive\r\na=inactive\r\n");
    for _ in 0..3 {
        world.receive(&phones[0].addr, asked.respond(200, "", &more, &sdp));
        assert_eq!(world.expect(&phones[0].addr, "ACK").get("CSeq"), "2 ACK");
    }
    world.expect_none(&phones[0].addr, "BYE");
}

// [SIP-DLG-08] RFC 3311 §5.2: while an offer of ours waits for its answer an UPDATE with one crosses it; one without does not.
// [SIP-DLG-03] A re-INVITE crosses it always.
#[test]
fn an_update_without_offer_crosses_nothing() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phones = established(&mut world, 1, &mut alice);
    let hold = sdp_version("alice", 2, 6002, "a=setup:actpass\r\na=sendonly\r\n");
    let reinvite = alice.next("INVITE", "", &hold);
    world.receive(ALICE, reinvite);
    let phone = &mut phones[0];
    world.expect(&phone.addr, "INVITE");
    let update = phone.next("UPDATE", "", "");
    world.receive(&phone.addr, update);
    assert!(
        world
            .expect(&phone.addr, "SIP/2.0 ")
            .start
            .contains(" 200 ")
    );
    let theirs = sdp_version(&phone.name, 2, phone.port(), "a=setup:passive\r\n");
    for method in ["UPDATE", "INVITE"] {
        let crossing = phone.next(method, "", &theirs);
        world.receive(&phone.addr, crossing);
        world.expect(&phone.addr, "SIP/2.0 491");
    }
}
