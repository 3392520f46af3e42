//! What is a leg's own, and what of several devices goes up.

use ringfork::msrp::Failure;

use crate::world::*;

// [B2BUA-03]: the challenge of a device passes with what it asks.
#[test]
fn a_challenge_goes_up_as_it_came() {
    for (code, name) in [(401, "WWW-Authenticate"), (407, "Proxy-Authenticate")] {
        let mut world = World::new();
        let phones = invited(&mut world, 2, &Alice::new());
        phones[0].answer(&mut world, 486, "", "");
        let challenge = "Digest realm=\"bob\", nonce=\"n\"";
        phones[1].answer(&mut world, code, &format!("{name}: {challenge}\r\n"), "");
        assert_eq!(
            world.expect(ALICE, &format!("SIP/2.0 {code}")).get(name),
            challenge
        );
    }
}

// [B2BUA-05]: two devices ring reliably, with the same RSeq: one dialog upstream with numbers of ours, and ringing is not lost
// behind the other's progress.
#[test]
fn two_devices_ring_reliably_in_one_dialog() {
    let mut world = World::new();
    let mut alice = Alice::new();
    alice.more = "Require: 100rel\r\nSupported: 100rel\r\n".into();
    let phones = invited(&mut world, 2, &alice);
    let reliable = "Require: 100rel\r\nRSeq: 1\r\n";
    for (phone, code) in phones.iter().zip([183, 180]) {
        phone.answer(&mut world, code, reliable, "");
        let prack = world.expect(&phone.addr, "PRACK");
        assert_eq!(prack.get("RAck"), "1 1 INVITE");
        world.receive(&phone.addr, prack.respond(200, "", "", ""));
    }
    let first = world.expect(ALICE, "SIP/2.0 183");
    world.expect_none(ALICE, "SIP/2.0 180");
    alice.answered(&first);
    let cseq = alice.cseq;
    let number = |m: &Message| m.get("RSeq").parse::<u32>().unwrap();
    let prack = alice.next(
        "PRACK",
        &format!("RAck: {} {cseq} INVITE\r\n", number(&first)),
        "",
    );
    world.receive(ALICE, prack);
    world.expect(ALICE, "SIP/2.0 200");
    let second = world.expect(ALICE, "SIP/2.0 180");
    assert_eq!(second.tag("To"), first.tag("To"));
    assert_eq!(number(&second), number(&first) + 1);
    let prack = alice.next(
        "PRACK",
        &format!("RAck: {} {cseq} INVITE\r\n", number(&second)),
        "",
    );
    world.receive(ALICE, prack);
    world.expect(ALICE, "SIP/2.0 200");
    world.advance(seconds(5));
    // What says nothing new is not said again.
    world.expect_none(ALICE, "SIP/2.0 1");
    phones[1].accept(&mut world);
    assert_eq!(
        world.expect(ALICE, "SIP/2.0 200").tag("To"),
        first.tag("To")
    );
}

// [B2BUA-01]: CSeq, route set, Via, origin and session timer of a leg: nothing of one is seen on another.
#[test]
fn nothing_of_a_dialog_is_seen_on_another_leg() {
    let mut world = World::new();
    let mut alice = Alice::new();
    alice.cseq = 4711;
    alice.more = "Record-Route: <sip:edge-a@127.0.0.1:6000;lr>\r\nSession-Expires: 1700;refresher=uac\r\nSupported: timer\r\n".into();
    let phones = invited(&mut world, 2, &alice);
    for phone in &phones {
        let more = format!(
            "Record-Route: <sip:edge-{}@{};lr>\r\nSession-Expires: 600;refresher=uas\r\nRequire: timer\r\n",
            phone.name, phone.addr
        );
        phone.answer(&mut world, 200, &more, &phone.sdp());
        let ack = world.expect(&phone.addr, "ACK");
        assert_eq!(ack.get("CSeq"), "1 ACK");
        assert_eq!(
            ack.get("Route"),
            format!("<sip:edge-{}@{};lr>", phone.name, phone.addr)
        );
    }
    let ok = world.expect(ALICE, "SIP/2.0 200");
    assert_eq!(ok.get("CSeq"), "4711 INVITE");
    assert_eq!(
        ok.all("Record-Route").collect::<Vec<_>>(),
        ["<sip:edge-a@127.0.0.1:6000;lr>"]
    );
    assert_eq!(ok.get("Session-Expires"), "1700;refresher=uac");
    alice.answered(&ok);
    world.receive(ALICE, alice.ack());
    // All that each of them ever got names nobody else's.
    world.end();
    let names = |of: &str| match of {
        ALICE => vec!["edge-a", "alicetag", "call-1", "4711", "127.0.0.1:6002"],
        "127.0.0.1:7001" => vec!["edge-dev1", "devtag1", "127.0.0.1:8001", "127.0.0.1:7001"],
        _ => vec!["edge-dev2", "devtag2", "127.0.0.1:8002", "127.0.0.1:7002"],
    };
    let all = [ALICE, "127.0.0.1:7001", "127.0.0.1:7002"];
    let of_calls = |m: &&(std::net::SocketAddr, Message)| !m.1.get("CSeq").contains("REGISTER");
    for (to, message) in world.log.iter().filter(of_calls) {
        for other in all.iter().filter(|a| addr(a) != *to) {
            for name in names(other) {
                let seen = format!("{}{:?}{}", message.start, message.headers, message.body);
                assert!(!seen.contains(name), "{to} sees {name}: {seen}");
            }
        }
    }
    let mut calls: Vec<_> = world
        .log
        .iter()
        .filter(|(_, m)| m.start.starts_with("BYE"))
        .map(|(_, m)| {
            let own = (
                m.get("Call-ID").to_owned(),
                m.tag("From").to_owned(),
                m.get("Route").to_owned(),
            );
            assert_eq!(m.all("Route").count(), 1);
            own
        })
        .collect();
    calls.sort();
    calls.dedup();
    assert_eq!(calls.len(), 3, "a BYE a leg, each in its dialog");
}

// What a leg said is kept small while nothing changes: it is what it was when it is needed again.
#[test]
fn a_leg_that_stood_idle_is_restored_by_the_path_it_said() {
    for idle in [1, 40, 400] {
        let mut world = World::new();
        let mut alice = Alice::new();
        alice.sdp = sdp("alice", 6002, "a=setup:passive\r\n");
        let phones = established(&mut world, 1, &mut alice);
        world.bound(0);
        let before = world.peer(0);
        assert_eq!(before.role, ringfork::msrp::Role::Active);
        world.advance(seconds(idle));
        world.media.clear();
        world.failed(0, Failure::ConnectionLost);
        // We connect ourselves: nobody is asked.
        world.expect_none(ALICE, "INVITE");
        let again = world.peer(0);
        assert_eq!(*again.path, *b"msrp://127.0.0.1:6002/alice;tcp");
        assert_eq!(
            (again.path, again.connect_to),
            (before.path, before.connect_to)
        );
        world.bound(0);
        world.advance(seconds(10));
        world.expect_none(&phones[0].addr, "BYE");
    }
}
