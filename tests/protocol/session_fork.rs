//! The fork and what the devices answer.

use std::time::Duration;

use crate::world::*;

// [TERM-INV-16] [TERM-INV-15] [B2BUA-01]: n devices, n INVITEs, each a dialog of its own.
#[test]
fn each_device_gets_an_invite_of_its_own() {
    let mut world = World::new();
    let alice = Alice::new();
    let phones = invited(&mut world, 3, &alice);
    let mut seen: Vec<String> = vec![alice.call_id.into(), "alicetag".into()];
    for phone in &phones {
        let invite = phone.invite.as_ref().unwrap();
        for own in [
            invite.get("Call-ID"),
            invite.tag("From"),
            invite.contact(),
            invite.get("Via"),
            invite.sdp("o")[0],
            invite.sdp("a=path")[0],
        ] {
            assert!(
                !seen.contains(&own.to_owned()),
                "{own} is of another leg too"
            );
            seen.push(own.to_owned());
        }
        assert!(!invite.get("To").contains("tag"));
        assert_eq!(invite.get("CSeq"), "1 INVITE");
        assert_eq!(invite.all("Via").count(), 1);
        // settled.md 1: byte for byte, and nothing to find the device by.
        assert_eq!(format!("<{}>", invite.uri()), phone.contact());
        assert!(
            invite.header("Accept-Contact").is_none() && invite.header("Reject-Contact").is_none()
        );
        assert!(invite.header("Request-Disposition").is_none());
    }
    assert_eq!(world.counters().legs, 4);
}

// [TERM-INV-17] [TERM-INV-18] [TERM-INV-21] [B2BUA-02] [SIP-MSG-08] [TIMER-01]
#[test]
fn the_invite_of_a_leg_is_ours_and_says_what_the_caller_said() {
    let mut world = World::new();
    let mut alice = Alice::new();
    alice.contact =
        format!("<sip:alice@{ALICE};x=y>;+g.3gpp.iari-ref=\"urn%3Ax\";isfocus;expires=5");
    alice.more = "Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\";explicit\r\n\
                  Accept-Contact: *;language=\"en\"\r\nX-Foo: bar\r\nSubject: Lunch\r\nOrganization: Acme\r\n\
                  User-Agent: CPM-client/OMA2.2 Phone\r\nConversation-ID: conv-1\r\nContribution-ID: contr-1\r\n\
                  InReplyTo-Contribution-ID: contr-0\r\nSession-Expires: 1800;refresher=uac\r\nSupported: timer, 100rel\r\n"
        .into();
    let phones = invited(&mut world, 1, &alice);
    let invite = phones[0].invite.as_ref().unwrap();
    let accepts: Vec<_> = invite.all("Accept-Contact").collect();
    assert_eq!(
        accepts,
        [
            "*;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\";explicit",
            "*;language=\"en\""
        ]
    );
    let contact = invite.get("Contact");
    assert!(
        contact.starts_with("<sip:") && contact.contains(&format!("@{SERVER}>")),
        "{contact}"
    );
    assert!(
        contact.ends_with(">;+g.3gpp.iari-ref=\"urn%3Ax\";isfocus"),
        "{contact}"
    );
    assert_eq!(invite.get("User-Agent"), "CPM-serv/OMA2.2 Ringfork/test");
    assert_eq!(invite.get("X-Foo"), "bar");
    assert_eq!(invite.get("Subject"), "Lunch");
    assert_eq!(invite.get("Organization"), "Acme");
    assert_eq!(invite.get("Conversation-ID"), "conv-1");
    assert_eq!(invite.get("Contribution-ID"), "contr-1");
    assert_eq!(invite.get("InReplyTo-Contribution-ID"), "contr-0");
    assert_eq!(invite.get("Max-Forwards"), "69");
    assert!(invite.get("Supported").contains("timer"));
    assert_eq!(invite.get("Session-Expires"), "1800");
    assert!(
        invite
            .get("From")
            .starts_with("\"Alice\" <sip:alice@example.com>;tag=")
    );
    assert_eq!(invite.get("To"), "<sip:bob@example.com>");
}

// settled.md 4
#[test]
fn missing_identifiers_are_made_and_the_same_on_all_legs() {
    let mut world = World::new();
    let phones = invited(&mut world, 2, &Alice::new());
    let of = |n: usize, name: &str| phones[n].invite.as_ref().unwrap().get(name).to_owned();
    for name in ["Conversation-ID", "Contribution-ID"] {
        assert_eq!(of(0, name), of(1, name));
        assert_eq!(of(0, name).len(), 36);
    }
    assert_ne!(of(0, "Conversation-ID"), of(0, "Contribution-ID"));
}

// [TERM-RSP-01] [TERM-RSP-02] [TERM-RSP-03] [TERM-RSP-04] [TERM-RSP-11] [TERM-RSP-12] [B2BUA-05]
#[test]
fn the_first_200_goes_up_and_each_is_acknowledged() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = invited(&mut world, 3, &alice);
    phones[0].answer(&mut world, 180, "", "");
    phones[1].answer(&mut world, 180, "", "");
    let ringing = world.all(ALICE, "SIP/2.0 180");
    assert_eq!(ringing.len(), 2);
    assert_eq!(ringing[0].tag("To"), ringing[1].tag("To"));
    let ack = phones[1].accept(&mut world);
    assert_eq!(ack.uri(), phones[1].contact().trim_matches(['<', '>']));
    assert_eq!(ack.get("CSeq"), "1 ACK");
    assert_eq!(
        ack.get("Call-ID"),
        phones[1].invite.as_ref().unwrap().get("Call-ID")
    );
    let ok = world.expect(ALICE, "SIP/2.0 200");
    assert_eq!(ok.tag("To"), ringing[0].tag("To"));
    assert_eq!(ok.get("Call-ID"), alice.call_id);
    assert!(ok.contact().ends_with(SERVER));
    assert_eq!(ok.sdp("m"), ["message 2855 TCP/MSRP *"]);
    assert_eq!(ok.sdp("a=setup"), ["passive"]);
    assert!(ok.sdp("a=path")[0].starts_with(&format!("msrp://{MSRP}/")));
    assert_eq!(
        ok.sdp("a=accept-types"),
        ["message/cpim application/im-iscomposing+xml"]
    );
    alice.answered(&ok);
    world.receive(ALICE, alice.ack());
    // A later 200 joins; the originator hears nothing of it.
    phones[0].accept(&mut world);
    phones[2].accept(&mut world);
    world.expect_none(ALICE, "");
    let paths: Vec<_> = (0..=3).map(|l| world.peer(l).path).collect();
    assert_eq!(*paths[0], *b"msrp://127.0.0.1:6002/alice;tcp");
    assert_eq!(*paths[2], *b"msrp://127.0.0.1:8002/dev2;tcp");
    assert_eq!(world.counters().dialogs, 4);
    // Every 200 that comes again is acknowledged again. [SIP-TXN-05]
    phones[0].accept(&mut world);
    world.advance(Duration::from_secs(1));
    phones[0].accept(&mut world);
    world.expect_none(&phones[0].addr, "BYE");
}

// [TERM-RSP-03]: two sessions, two Contacts, each finds its own.
#[test]
fn a_contact_names_one_session() {
    let mut world = World::new();
    let mut first = Alice::new();
    let phones = invited(&mut world, 1, &first);
    phones[0].accept(&mut world);
    first.answered(&world.expect(ALICE, "SIP/2.0 200"));
    world.receive(ALICE, first.ack());
    let mut second = Alice::new();
    second.call_id = "call-2";
    let text = second
        .invite()
        .replace("z9hG4bKinvite", "z9hG4bKinvite2")
        .replace("alicetag", "alicetag2");
    second.from = second.from.replace("alicetag", "alicetag2");
    world.receive(ALICE, text);
    let mut phone = phones[0].clone();
    phone.invited(&mut world);
    phone.tag = "devtag1b".into();
    phone.accept(&mut world);
    second.answered(&world.expect(ALICE, "SIP/2.0 200"));
    assert_ne!(first.uri, second.uri);
    world.receive(ALICE, second.ack());
    world.forget();
    let bye = second.next("BYE", "", "");
    world.receive(ALICE, bye);
    let bye = world.expect(&phone.addr, "BYE");
    assert_eq!(
        bye.get("Call-ID"),
        phone.invite.as_ref().unwrap().get("Call-ID")
    );
    assert!(bye.get("To").ends_with("devtag1b"));
}

// [TERM-RSP-16] [B2BUA-03] [B2BUA-04], as settled.md 3 reads it.
#[test]
fn the_best_error_goes_up_when_all_have_refused() {
    let check = |codes: &[u16], expected: u16| {
        let mut world = World::new();
        let phones = invited(
            &mut world,
            u16::try_from(codes.len()).unwrap(),
            &Alice::new(),
        );
        // They ring: a CANCEL would go out at once (settled.md 5).
        for phone in &phones {
            phone.answer(&mut world, 180, "", "");
        }
        for (at, (phone, code)) in phones.iter().zip(codes).enumerate() {
            phone.answer(&mut world, *code, "Retry-After: 7\r\nX-Why: so\r\n", "");
            world.expect(&phone.addr, "ACK");
            // A 6xx of one ends no other, and nothing goes up before all have refused.
            for other in &phones[at + 1..] {
                world.expect_none(&other.addr, "CANCEL");
                world.expect_none(ALICE, "SIP/2.0 4");
                world.expect_none(ALICE, "SIP/2.0 5");
                world.expect_none(ALICE, "SIP/2.0 6");
            }
        }
        let refusal = world.expect(ALICE, &format!("SIP/2.0 {expected}"));
        if codes.contains(&expected) {
            assert_eq!(refusal.get("X-Why"), "so");
        }
        world.receive(
            ALICE,
            Alice::new().request("ACK", "invite", "", "").replace(
                "To: <sip:bob@example.com>",
                &format!("To: {}", refusal.get("To")),
            ),
        );
        world.assert_empty();
    };
    check(&[486], 486);
    check(&[488], 488);
    check(&[404], 404);
    check(&[404, 486, 603], 603);
    check(&[603, 486], 603);
    check(&[500, 480], 480);
    check(&[503], 500);
    check(&[486, 415], 415);
    // RFC 3261 §16.7 step 6: first what tells the caller how to go on; of a class the first that came.
    for preferred in [401, 407, 415, 420, 484] {
        check(&[486, preferred, 404], preferred);
        check(&[preferred, 500], preferred);
        check(&[603, preferred], 603);
    }
    check(&[480, 486], 486);
    check(&[404, 486], 404);
    check(&[500, 503], 500);
    check(&[600, 603], 600);
}

// [SIP-TXN-08]: a device that rings without end counts as not answering, and gets CANCEL.
#[test]
fn a_device_that_rings_without_end_is_given_up() {
    let mut world = World::new();
    let phones = invited(&mut world, 2, &Alice::new());
    phones[0].answer(&mut world, 180, "", "");
    phones[1].answer(&mut world, 486, "", "");
    world.advance(seconds(119));
    world.expect_none(&phones[0].addr, "CANCEL");
    world.advance(seconds(1));
    let cancel = world.expect(&phones[0].addr, "CANCEL");
    assert_eq!(
        cancel.get("Via"),
        phones[0].invite.as_ref().unwrap().get("Via")
    );
    world.expect(ALICE, "SIP/2.0 486");
    world.receive(&phones[0].addr, cancel.respond(200, "x", "", ""));
    phones[0].answer(&mut world, 487, "", "");
    world.assert_empty();
}

// [SIP-TXN-08]: timer C, begun again by each 101 to 199, where the operator waits longer.
#[test]
fn timer_c_begins_again_with_each_provisional_answer() {
    let mut world = World::with(|s, _| s.no_answer = seconds(3600));
    let phones = invited(&mut world, 1, &Alice::new());
    phones[0].answer(&mut world, 180, "", "");
    world.advance(seconds(170));
    phones[0].answer(&mut world, 180, "", "");
    world.advance(seconds(180));
    world.expect_none(&phones[0].addr, "CANCEL");
    world.advance(seconds(2));
    world.expect(&phones[0].addr, "CANCEL");
    world.expect(ALICE, "SIP/2.0 408");
}

#[test]
fn a_device_that_says_nothing_at_all_counts_as_408() {
    let mut world = World::new();
    let phones = invited(&mut world, 1, &Alice::new());
    world.advance(seconds(33));
    // Timer A, four times: this place has never answered (settled 42).
    assert_eq!(world.all(&phones[0].addr, "INVITE").len(), 4);
    world.expect(ALICE, "SIP/2.0 408");
    world.assert_empty();
}

// [TIMER-03]
#[test]
fn a_422_is_tried_again_with_a_larger_interval() {
    let mut world = World::with(|s, _| s.session_expires = seconds(90));
    let mut phones = invited(&mut world, 1, &Alice::new());
    let first = phones[0].invite.clone().unwrap();
    assert_eq!(first.get("Session-Expires"), "90");
    phones[0].answer(&mut world, 422, "Min-SE: 200\r\n", "");
    world.expect(&phones[0].addr, "ACK");
    let again = phones[0].invited(&mut world);
    assert_eq!(again.get("Call-ID"), first.get("Call-ID"));
    assert_eq!(again.tag("From"), first.tag("From"));
    assert_eq!(again.get("CSeq"), "2 INVITE");
    assert_eq!(again.get("Min-SE"), "200");
    assert_eq!(again.get("Session-Expires"), "200");
    assert_eq!(again.body, first.body);
    assert_eq!(again.all("Session-Expires").count(), 1);
    let ack = phones[0].accept(&mut world);
    assert_eq!(ack.get("CSeq"), "2 ACK");
    world.expect(ALICE, "SIP/2.0 200");
}

// [SIP-DLG-07]: PRACK towards the device; the originator, who did not ask for it, gets an ordinary 183.
#[test]
fn a_device_that_requires_prack_gets_it() {
    let mut world = World::new();
    let phones = invited(&mut world, 1, &Alice::new());
    phones[0].answer(&mut world, 183, "Require: 100rel\r\nRSeq: 700\r\n", "");
    let prack = world.expect(&phones[0].addr, "PRACK");
    assert_eq!(prack.get("RAck"), "700 1 INVITE");
    assert_eq!(prack.get("CSeq"), "2 PRACK");
    assert!(prack.get("To").ends_with("devtag1"));
    let up = world.expect(ALICE, "SIP/2.0 183");
    assert!(up.header("RSeq").is_none() && up.header("Require").is_none());
    // The same again is neither acted on nor acknowledged.
    phones[0].answer(&mut world, 183, "Require: 100rel\r\nRSeq: 700\r\n", "");
    world.expect_none(&phones[0].addr, "PRACK");
    world.receive(&phones[0].addr, prack.respond(200, "", "", ""));
    phones[0].accept(&mut world);
    // The dialog is the early one: its numbers go on.
    world.end();
    let bye = world.expect(&phones[0].addr, "BYE");
    assert_eq!(bye.get("CSeq"), "3 BYE");
}

// [SIP-DLG-07]: an answer that came in a reliable provisional response counts when the 200 has none.
#[test]
fn the_answer_may_come_in_a_reliable_response() {
    let mut world = World::new();
    let phones = invited(&mut world, 1, &Alice::new());
    let sdp = phones[0].sdp();
    phones[0].answer(&mut world, 183, "Require: 100rel\r\nRSeq: 1\r\n", &sdp);
    let prack = world.expect(&phones[0].addr, "PRACK");
    world.receive(&phones[0].addr, prack.respond(200, "", "", ""));
    phones[0].answer(&mut world, 200, "", "");
    world.expect(&phones[0].addr, "ACK");
    world.expect(ALICE, "SIP/2.0 200");
    assert_eq!(*world.peer(1).path, *b"msrp://127.0.0.1:8001/dev1;tcp");
}

// [SIP-DLG-07]: an originator that requires 100rel gets reliable answers, with an RSeq of ours.
#[test]
fn an_originator_that_requires_100rel_gets_it() {
    let mut world = World::new();
    let mut alice = Alice::new();
    alice.more = "Require: 100rel\r\nSupported: 100rel\r\n".into();
    let phones = invited(&mut world, 1, &alice);
    phones[0].answer(&mut world, 180, "Require: 100rel\r\nRSeq: 700\r\n", "");
    let ringing = world.expect(ALICE, "SIP/2.0 180");
    assert_eq!(ringing.get("Require"), "100rel");
    let rseq = ringing.get("RSeq").to_owned();
    assert_ne!(rseq, "700");
    world.advance(Duration::from_millis(500));
    world.expect(ALICE, "SIP/2.0 180");
    alice.answered(&ringing);
    let cseq = alice.cseq;
    let prack = alice.next("PRACK", &format!("RAck: {rseq} {cseq} INVITE\r\n"), "");
    world.receive(ALICE, prack);
    world.expect(ALICE, "SIP/2.0 200");
    world.advance(seconds(5));
    world.expect_none(ALICE, "SIP/2.0 180");
    let prack = alice.next("PRACK", &format!("RAck: 1 {cseq} INVITE\r\n"), "");
    world.receive(ALICE, prack);
    world.expect(ALICE, "SIP/2.0 481");
}

// [SIP-DLG-04]: a core forks our INVITE; the first 2xx is the leg, every further one is acknowledged and ended.
#[test]
fn a_second_dialog_of_one_invite_is_acknowledged_and_ended() {
    let mut world = World::new();
    let phones = invited(&mut world, 1, &Alice::new());
    let mut twin = phones[0].clone();
    twin.tag = "twin".into();
    phones[0].answer(&mut world, 180, "", "");
    twin.answer(&mut world, 180, "", "");
    phones[0].accept(&mut world);
    world.expect(ALICE, "SIP/2.0 200");
    let ack = twin.accept(&mut world);
    assert!(ack.get("To").ends_with("twin"));
    let bye = world.expect(&twin.addr, "BYE");
    assert!(bye.get("To").ends_with("twin"));
    assert_eq!(bye.get("CSeq"), "2 BYE");
    world.receive(&twin.addr, bye.respond(200, "", "", ""));
    // The first goes on; a repeat of the other gets its ACK, and no second BYE.
    twin.accept(&mut world);
    world.expect_none(&twin.addr, "BYE");
    assert_eq!(world.leg(1).0, "accepted");
}

// [B2BUA-07]: an INVITE without offer: the device's offer goes up, the originator's answer comes down in the ACK.
#[test]
fn a_late_offer_goes_up_and_its_answer_down() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let answer = std::mem::take(&mut alice.sdp);
    let phones = invited(&mut world, 2, &alice);
    let invite = phones[0].invite.as_ref().unwrap();
    assert!(invite.body.is_empty());
    assert!(!invite.get("Supported").contains("100rel"));
    let offer = sdp("dev1", 8001, "a=setup:actpass\r\n");
    phones[0].answer(&mut world, 200, "", &offer);
    let ok = world.expect(ALICE, "SIP/2.0 200");
    assert_eq!(ok.sdp("a=setup"), ["actpass"]);
    assert_eq!(ok.sdp("m"), ["message 2855 TCP/MSRP *"]);
    world.expect_none(&phones[0].addr, "ACK");
    alice.answered(&ok);
    let ack = alice.request("ACK", "ack", "", &answer.replace("actpass", "active"));
    world.receive(ALICE, ack);
    let ack = world.expect(&phones[0].addr, "ACK");
    assert_eq!(ack.sdp("m"), ["message 2855 TCP/MSRP *"]);
    assert_eq!(ack.sdp("a=setup"), ["passive"]);
    assert_eq!(*world.peer(0).path, *b"msrp://127.0.0.1:6002/alice;tcp");
    assert_eq!(*world.peer(1).path, *b"msrp://127.0.0.1:8001/dev1;tcp");
    // One that comes later is answered at once.
    phones[1].answer(&mut world, 200, "", &sdp("dev2", 8002, ""));
    let ack = world.expect(&phones[1].addr, "ACK");
    assert_eq!(ack.sdp("a=setup"), ["passive"]);
    assert_eq!(*world.peer(2).path, *b"msrp://127.0.0.1:8002/dev2;tcp");
}

// [B2BUA-07]: never with a broken answer.
#[test]
fn a_late_offer_without_answer_ends_and_one_against_policy_is_refused() {
    let mut world = World::new();
    let mut alice = Alice::new();
    alice.sdp.clear();
    let phones = invited(&mut world, 1, &alice);
    phones[0].answer(&mut world, 200, "", &phones[0].sdp());
    let ok = world.expect(ALICE, "SIP/2.0 200");
    alice.answered(&ok);
    world.receive(ALICE, alice.ack());
    world.expect(&phones[0].addr, "ACK");
    world.expect(&phones[0].addr, "BYE");
    world.expect(ALICE, "BYE");

    let mut world = World::with(|_, p| p.late_offer = ringfork::policy::LateOffer::Reject);
    let mut alice = Alice::new();
    alice.sdp.clear();
    Phone::new(1).register(&mut world, &format!(";{TAG}"));
    world.receive(ALICE, alice.invite());
    world.expect(ALICE, "SIP/2.0 488");
    world.expect_none(&Phone::new(1).addr, "INVITE");
}

// A 200 without media that can be used ends that leg alone.
#[test]
fn a_200_without_msrp_is_acknowledged_and_ended() {
    let mut world = World::new();
    let phones = invited(&mut world, 2, &Alice::new());
    phones[0].answer(&mut world, 200, "", "");
    world.expect(&phones[0].addr, "ACK");
    world.expect(&phones[0].addr, "BYE");
    world.expect_none(ALICE, "SIP/2.0 2");
    phones[1].answer(
        &mut world,
        200,
        "",
        &phones[1].sdp().replace("message 8002", "message 0"),
    );
    world.expect(&phones[1].addr, "ACK");
    world.expect(&phones[1].addr, "BYE");
    world.expect(ALICE, "SIP/2.0 488");
}

// [SIP-MSG-07]
#[test]
fn the_description_in_a_multipart_is_replaced_and_the_rest_kept() {
    let mut world = World::new();
    let alice = Alice::new();
    let phone = Phone::new(1);
    phone.register(&mut world, &format!(";{TAG}"));
    let cpim = "From: <sip:a@b>\r\n\r\nContent-Type: text/plain\r\n\r\nHello\r\n";
    let body = format!(
        "--b1\r\nContent-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n\r\n<x/>\r\n\
         --b1\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--b1\r\nContent-Type: message/cpim\r\n\r\n{cpim}\r\n--b1--\r\n",
        alice.sdp
    );
    let text = alice.request("INVITE", "invite", "MIME-Version: 1.0\r\n", "");
    let text = text.replace(
        "Content-Length: 0\r\n\r\n",
        &format!(
            "Content-Type: multipart/mixed;boundary=b1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    world.receive(ALICE, text);
    let invite = world.expect(&phone.addr, "INVITE");
    assert_eq!(invite.get("Content-Type"), "multipart/mixed;boundary=b1");
    assert_eq!(invite.get("MIME-Version"), "1.0");
    let ours = invite.body.split("--b1\r\n").nth(2).unwrap();
    let ours = ours
        .strip_prefix("Content-Type: application/sdp\r\n\r\n")
        .unwrap();
    assert!(ours.contains(&format!("a=path:msrp://{MSRP}/")) && !ours.contains("6002"));
    assert_eq!(
        invite.body.replace(ours, &format!("{}\r\n", alice.sdp)),
        body
    );
}

// [SIP-DLG-04] [SIP-DLG-07] An INVITE that is forked behind us: each early dialog has its To-tag and its RSeq numbers.
#[test]
fn each_early_dialog_of_an_invite_gets_its_prack() {
    let mut world = World::new();
    let mut phones = invited(&mut world, 1, &Alice::new());
    for (tag, rseq) in [("one", 700), ("two", 41), ("one", 701)] {
        tag.clone_into(&mut phones[0].tag);
        let more = format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
        phones[0].answer(&mut world, 183, &more, "");
        let prack = world.expect(&phones[0].addr, "PRACK");
        assert_eq!(prack.get("RAck"), format!("{rseq} 1 INVITE"));
        assert!(prack.get("To").ends_with(&format!(";tag={tag}")));
        world.receive(&phones[0].addr, prack.respond(200, "", "", ""));
    }
}
