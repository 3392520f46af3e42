//! Requests that come back, answers that come too late, peers that cannot be reached.

use crate::world::*;

/// A device of `user` that is behind `hop`, with this Contact.
fn behind(world: &mut World, user: &str, contact: &str, hop: &str) {
    let from = "127.0.0.1:7999";
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKreg{user}\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@example.com>;tag=r\r\nTo: <sip:{user}@example.com>\r\nCall-ID: reg-{user}\r\nCSeq: 1 REGISTER\r\n\
         Contact: {contact};{TAG};expires=3600\r\nPath: <sip:{hop};lr>\r\nContent-Length: 0\r\n\r\n"
    );
    world.receive(from, text);
    world.expect(from, "SIP/2.0 200");
}

/// Settled.md 23: one server calling another, with the Request-URI unchanged, is no loop, though both go by the same name.
/// [SIP-MSG-06]
#[test]
fn another_server_of_our_kind_is_no_loop() {
    let mut one = World::new();
    let mut two = World::seeded(1, |_, _| {});
    behind(&mut one, "bob", "<sip:bob@example.com>", "127.0.0.1:5099");
    let mut phone = Phone::new(1);
    phone.register(&mut two, &format!(";{TAG}"));
    one.receive(ALICE, Alice::new().invite());
    let there = one.expect("127.0.0.1:5099", "INVITE sip:bob@example.com ");
    two.receive(SERVER, there.text());
    two.expect_none(SERVER, "SIP/2.0 482");
    phone.invited(&mut two);
}

/// RFC 3261 §16.3 point 4: what we send ourselves for another user of ours is a spiral, and served; what comes back for the same
/// user is a loop, told by our own sent-by and a branch of ours with the key of this very request. [SIP-MSG-06]
#[test]
fn a_spiral_is_served_and_a_loop_gets_482() {
    let mut world = World::new();
    behind(&mut world, "bob", "<sip:carol@example.com>", SERVER);
    let mut phone = Phone::new(1);
    let carol = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKregc\r\nMax-Forwards: 70\r\n\
         From: <sip:carol@example.com>;tag=r\r\nTo: <sip:carol@example.com>\r\nCall-ID: reg-c\r\nCSeq: 1 REGISTER\r\n\
         Contact: {};{TAG};expires=3600\r\nContent-Length: 0\r\n\r\n",
        phone.contact(),
        at = phone.addr
    );
    let at = phone.addr.clone();
    world.receive(&at, carol);
    world.expect(&at, "SIP/2.0 200");
    world.receive(ALICE, Alice::new().invite());
    let spiral = world.expect(SERVER, "INVITE sip:carol@example.com ");
    world.receive(SERVER, spiral.text());
    world.expect_none(SERVER, "SIP/2.0 482");
    phone.invited(&mut world);

    let looped = || {
        let mut world = World::new();
        behind(&mut world, "bob", "<sip:bob@example.com>", SERVER);
        world.receive(ALICE, Alice::new().invite());
        let back = world.expect(SERVER, "INVITE sip:bob@example.com ");
        (world, back.text())
    };
    let (mut world, back) = looped();
    // A proxy between may have put its Via on top.
    let through = back.replacen(
        "Via: ",
        "Via: SIP/2.0/UDP 127.0.0.1:7998;branch=z9hG4bKproxy\r\nVia: ",
        1,
    );
    world.receive("127.0.0.1:7998", through);
    world.expect("127.0.0.1:7998", "SIP/2.0 482");
    world.receive(SERVER, back);
    let refusal = world.expect(SERVER, "SIP/2.0 482");
    world.receive(SERVER, refusal.text());
    world.expect(ALICE, "SIP/2.0 482");

    // Another's sent-by over a branch of ours, a branch of ours of another request: no loop.
    let (mut world, back) = looped();
    world.receive(
        SERVER,
        back.replacen(
            "Via: SIP/2.0/UDP 127.0.0.1:5060",
            "Via: SIP/2.0/UDP 127.0.0.1:5061",
            1,
        ),
    );
    world.expect(SERVER, "INVITE sip:bob@example.com ");
    let (mut world, back) = looped();
    world.receive(
        SERVER,
        back.replacen("INVITE sip:bob@", "INVITE sip:dave@", 1),
    );
    world.expect_none(SERVER, "SIP/2.0 482");
    world.expect(SERVER, "SIP/2.0 480");
}

/// OPTIONS that are passed on come back too. [SIP-MSG-06]
#[test]
fn options_that_come_back_get_482() {
    let mut world = World::new();
    behind(&mut world, "bob", "<sip:bob@example.com>", SERVER);
    let options = Alice::new().request("OPTIONS", "options", "", "");
    world.receive(ALICE, options);
    let back = world.expect(SERVER, "OPTIONS sip:bob@example.com ");
    world.receive(SERVER, back.text());
    world.expect(SERVER, "SIP/2.0 482");
}

/// Alice holds; the device has the re-INVITE.
fn holding(world: &mut World, alice: &mut Alice) -> (Phone, Message) {
    let phone = established(world, 1, alice).remove(0);
    let hold = sdp_version("alice", 2, 6002, "a=setup:actpass\r\na=inactive\r\n");
    let reinvite = alice.next("INVITE", "", &hold);
    world.receive(ALICE, reinvite);
    let asked = world.expect(&phone.addr, "INVITE");
    (phone, asked)
}

fn late_200(phone: &Phone, asked: &Message) -> String {
    let more = format!("Contact: {}\r\n", phone.contact());
    let sdp = sdp_version("dev1", 2, 8001, "a=setup:passive\r\na=inactive\r\n");
    asked.respond(200, "", &more, &sdp)
}

/// RFC 3261 §13.2.2.4, §15: a 200 to a re-INVITE that comes after the BYE gets its ACK each time, and no other BYE: while the BYE
/// waits for its answer, when it has that, and when the session is forgotten. [SIP-TXN-05]
#[test]
fn a_200_to_a_reinvite_after_the_bye_gets_an_ack_alone() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let (phone, asked) = holding(&mut world, &mut alice);
    let bye = alice.next("BYE", "", "");
    world.receive(ALICE, bye);
    let down = world.expect(&phone.addr, "BYE");
    assert_eq!(down.cseq(), asked.cseq() + 1);
    let late = |world: &mut World| {
        world.receive(&phone.addr, late_200(&phone, &asked));
        let ack = world.expect(&phone.addr, "ACK");
        assert_eq!(ack.get("CSeq"), format!("{} ACK", asked.cseq()));
        assert_eq!(ack.tag("To"), phone.tag);
        world.expect_none(&phone.addr, "BYE");
        world.expect_none(&phone.addr, "ACK");
    };
    late(&mut world);
    late(&mut world);
    world.receive(&phone.addr, down.respond(200, "", "", ""));
    late(&mut world);
    assert!(world.function.is_empty());
    late(&mut world);
    world.assert_empty();
}

/// The same from the side that invited: the BYE was the device's.
#[test]
fn a_200_of_the_originator_to_a_reinvite_after_the_bye_gets_an_ack_alone() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phone = established(&mut world, 1, &mut alice).remove(0);
    let hold = sdp_version("dev1", 2, 8001, "a=setup:passive\r\na=inactive\r\n");
    let reinvite = phone.next("INVITE", "", &hold);
    world.receive(&phone.addr, reinvite);
    let asked = world.expect(ALICE, "INVITE");
    let bye = phone.next("BYE", "", "");
    world.receive(&phone.addr, bye);
    let up = world.expect(ALICE, "BYE");
    let more = format!("Contact: <sip:alice@{ALICE}>\r\n");
    let sdp = sdp_version("alice", 2, 6002, "a=setup:actpass\r\na=inactive\r\n");
    let late = |world: &mut World| {
        world.receive(ALICE, asked.respond(200, "", &more, &sdp));
        let ack = world.expect(ALICE, "ACK");
        assert_eq!(ack.get("CSeq"), format!("{} ACK", asked.cseq()));
        world.expect_none(ALICE, "BYE");
    };
    late(&mut world);
    world.receive(ALICE, up.respond(200, "", "", ""));
    late(&mut world);
    late(&mut world);
}

/// [B2BUA-11] RFC 3261 §9.1, §13.2.2.4: a 200 that crosses our CANCEL gets ACK and BYE, that once; each repeat its ACK, also when
/// the session is over.
#[test]
fn a_200_after_the_cancel_gets_one_bye() {
    let mut world = World::new();
    let alice = Alice::new();
    let phone = invited(&mut world, 1, &alice).remove(0);
    phone.answer(&mut world, 180, "", "");
    world.receive(ALICE, alice.request("CANCEL", "invite", "", ""));
    world.expect(&phone.addr, "CANCEL");
    for _ in 0..3 {
        phone.accept(&mut world);
    }
    let byes = world.all(&phone.addr, "BYE");
    assert_eq!(byes.len(), 1);
    world.receive(&phone.addr, byes[0].respond(200, "", "", ""));
    phone.accept(&mut world);
    phone.accept(&mut world);
    let after = world.all(&phone.addr, "BYE");
    let again = after.iter().filter(|b| b.tag("To") == phone.tag).count();
    assert!(again <= 1, "one for a dialog that is forgotten: {after:?}");
}

/// RFC 3261 §12.2.2, RFC 5630 §5.1.2: a Contact that we could not send to changes nothing: the re-INVITE or UPDATE that brings it
/// is refused, and what stands goes on by the one before.
#[test]
fn a_change_to_a_contact_that_cannot_be_reached_is_refused() {
    for contact in [
        "<sips:alice@127.0.0.1:6000>",
        "<sip:alice@127.0.0.1:6000;transport=tls>",
        "<sip:alice@127.0.0.1:6000;transport=ws>",
        "<sip:alice@client.example.net>",
    ] {
        for method in ["INVITE", "UPDATE"] {
            let mut world = World::new();
            let mut alice = Alice::new();
            let mut phone = established(&mut world, 1, &mut alice).remove(0);
            let good = std::mem::replace(&mut alice.contact, contact.into());
            let sdp = if method == "INVITE" {
                alice.sdp.clone()
            } else {
                String::new()
            };
            let change = alice.next(method, "", &sdp);
            world.receive(ALICE, change);
            let refusal = world.expect(ALICE, "SIP/2.0 400");
            let code = if contact.contains("sips") || contact.contains("tls") {
                "380"
            } else {
                "399"
            };
            assert!(refusal.get("Warning").starts_with(code), "{contact}");
            alice.contact = good;
            let bye = phone.next("BYE", "", "");
            world.receive(&phone.addr, bye);
            let up = world.expect(ALICE, "BYE");
            assert_eq!(up.uri(), format!("sip:alice@{ALICE}"));
        }
    }
}

/// A device whose 200 names no place that we can send to gets its ACK and BYE by the way that the 200 came, and counts as not
/// there.
#[test]
fn a_device_whose_answer_cannot_be_reached_takes_no_part() {
    for contact in ["<sips:bob@127.0.0.1:7001>", "<sip:bob@phone.example.net>"] {
        let mut world = World::new();
        let phone = invited(&mut world, 1, &Alice::new()).remove(0);
        let invite = phone.invite.clone().unwrap();
        let more = format!("Contact: {contact}\r\n");
        world.receive(
            &phone.addr,
            invite.respond(200, &phone.tag, &more, &phone.sdp()),
        );
        world.expect(&phone.addr, "ACK");
        let bye = world.expect(&phone.addr, "BYE");
        assert!(bye.get("Reason").contains("cause=480"));
        world.expect(ALICE, "SIP/2.0 480");
    }
}

/// settled.md 24, 36: a registered name is not looked up, and its requests do not go back to where the REGISTER came from: 480. Of
/// two devices the other one is invited.
#[test]
fn a_name_in_a_contact_is_not_invited() {
    let mut world = World::new();
    let mut phones = [Phone::new(1), Phone::new(2)];
    for (n, phone) in phones.iter().enumerate() {
        let contact = if n == 0 {
            "<sip:bob@phone.example.net>".into()
        } else {
            phone.contact()
        };
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKreg{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:bob@example.com>;tag=r\r\nTo: <sip:bob@example.com>\r\nCall-ID: reg-{n}\r\nCSeq: 1 REGISTER\r\n\
             Contact: {contact};{TAG};expires=3600\r\nContent-Length: 0\r\n\r\n",
            at = phone.addr
        );
        world.receive(&phone.addr, text);
        world.expect(&phone.addr, "SIP/2.0 200");
        if n == 0 {
            world.receive(ALICE, Alice::new().invite());
            world.expect(ALICE, "SIP/2.0 480");
            world.expect_none(&phone.addr, "INVITE");
        }
    }
    let mut alice = Alice::new();
    alice.call_id = "call-2";
    world.receive(ALICE, alice.request("INVITE", "invite2", "", &alice.sdp));
    phones[1].invited(&mut world);
    world.expect_none(&phones[0].addr, "INVITE");
}

/// A number that is none in a device's answer is as if it were not there: it spoils nothing, and goes no further.
#[test]
fn a_number_that_is_none_in_a_response_goes_no_further() {
    let mut world = World::new();
    let phone = invited(&mut world, 1, &Alice::new()).remove(0);
    phone.answer(
        &mut world,
        486,
        "Retry-After: later\r\nExpires: soon\r\nX-Why: so\r\n",
        "",
    );
    let refusal = world.expect(ALICE, "SIP/2.0 486");
    assert_eq!(refusal.get("X-Why"), "so");
    assert!(refusal.header("Retry-After").is_none() && refusal.header("Expires").is_none());
    let mut world = World::new();
    let phone = invited(&mut world, 1, &Alice::new()).remove(0);
    phone.answer(
        &mut world,
        200,
        "Session-Expires: long\r\nExpires: soon\r\n",
        &phone.sdp(),
    );
    let ok = world.expect(ALICE, "SIP/2.0 200");
    assert!(ok.header("Expires").is_none());
}

/// [SIP-TXN-08] settled.md 31: our own patience is `no_answer_s` from the INVITE on, however often it rings.
#[test]
fn ringing_again_does_not_lengthen_our_patience() {
    let mut world = World::new();
    let phone = invited(&mut world, 1, &Alice::new()).remove(0);
    for _ in 0..119 {
        phone.answer(&mut world, 180, "", "");
        world.advance(seconds(1));
    }
    world.expect_none(&phone.addr, "CANCEL");
    world.advance(seconds(1));
    world.expect(&phone.addr, "CANCEL");
    world.expect(ALICE, "SIP/2.0 408");
    phone.answer(&mut world, 487, "", "");
    world.assert_empty();
}

/// [SIP-TXN-08] settled.md 31, RFC 3261 §16.8: timer C guards what rings longer where the operator's patience is longer: 181 s from
/// the last 101 to 199, a 100 refreshes nothing; and a device that is never quiet for so long is given up at `no_answer_s`.
#[test]
fn timer_c_guards_where_our_patience_is_longer() {
    let mut world = World::with(|s, _| s.no_answer = seconds(3600));
    let phone = invited(&mut world, 1, &Alice::new()).remove(0);
    phone.answer(&mut world, 183, "", "");
    for _ in 0..180 {
        world.advance(seconds(1));
        let invite = phone.invite.clone().unwrap();
        world.receive(&phone.addr, invite.respond(100, "", "", ""));
        world.expect_none(&phone.addr, "CANCEL");
    }
    world.advance(seconds(1));
    world.expect(&phone.addr, "CANCEL");
    world.expect(ALICE, "SIP/2.0 408");
    // And where not even the CANCEL is answered, all is over 64·T1 later.
    world.advance(seconds(40));
    world.assert_empty();

    let mut world = World::with(|s, _| s.no_answer = seconds(400));
    let phone = invited(&mut world, 1, &Alice::new()).remove(0);
    for _ in 0..4 {
        phone.answer(&mut world, 180, "", "");
        world.advance(seconds(99));
    }
    world.expect_none(&phone.addr, "CANCEL");
    world.advance(seconds(4));
    world.expect(&phone.addr, "CANCEL");
}

/// [SIP-DLG-08] RFC 3311 §5.2, RFC 3261 §14.2: in the early dialog of the one who invited a refresh is served, with our Contact, and
/// stays there; an offer while his own has no answer gets 500 with Retry-After, and so does another INVITE.
#[test]
fn an_update_in_the_early_dialog_of_the_originator() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phone = invited(&mut world, 1, &alice).remove(0);
    phone.answer(&mut world, 180, "", "");
    let ringing = world.expect(ALICE, "SIP/2.0 180");
    alice.answered(&ringing);
    world.forget();
    alice.contact = "<sip:alice@127.0.0.1:6001>".into();
    let refresh = alice.next("UPDATE", "", "");
    world.receive(ALICE, refresh);
    let ok = world.expect(ALICE, "SIP/2.0 200");
    assert_eq!(ok.get("Contact"), ringing.get("Contact"));
    assert!(ok.body.is_empty());
    for method in ["UPDATE", "INVITE"] {
        let offer = alice.next(
            method,
            "",
            &sdp_version("alice", 2, 6002, "a=setup:actpass\r\n"),
        );
        world.receive(ALICE, offer);
        let refusal = world.expect(ALICE, "SIP/2.0 500");
        assert!(refusal.get("Retry-After").parse::<u8>().unwrap() <= 10);
    }
    world.expect_none(&phone.addr, "");
    // The refresh has moved the remote target (RFC 3311 §5.2).
    phone.accept(&mut world);
    alice.answered(&world.expect(ALICE, "SIP/2.0 200"));
    alice.cseq = 10;
    world.receive(ALICE, alice.ack());
    world.end();
    world.expect("127.0.0.1:6001", "BYE");
}

/// [SIP-DLG-08] RFC 3311 §5.2: in the early dialog of a device a refresh is served; its offer crosses ours: 491.
#[test]
fn an_update_in_the_early_dialog_of_a_device() {
    let mut world = World::new();
    let mut phone = invited(&mut world, 1, &Alice::new()).remove(0);
    phone.answer(&mut world, 180, "", "");
    world.forget();
    let refresh = phone.next("UPDATE", "", "");
    world.receive(&phone.addr, refresh);
    let ok = world.expect(&phone.addr, "SIP/2.0 200");
    assert_eq!(
        ok.get("Contact"),
        phone.invite.as_ref().unwrap().get("Contact")
    );
    for method in ["UPDATE", "INVITE"] {
        let offer = phone.next(method, "", &phone.sdp());
        world.receive(&phone.addr, offer);
        world.expect(&phone.addr, "SIP/2.0 491");
    }
    world.expect_none(ALICE, "");
    // A lower number is out of order, whatever it asks [SIP-DLG-01].
    phone.cseq -= 2;
    let late = phone.next("UPDATE", "x: 1800\r\n", "");
    world.receive(
        &phone.addr,
        late.replace(";branch=z9hG4bK", ";branch=z9hG4bKlate"),
    );
    world.expect(&phone.addr, "SIP/2.0 500");
}

/// [SIP-DLG-08] RFC 3311 §5.2: an UPDATE with an offer that has the far end's say is passed on, and answered with the far end's
/// answer; a second one meanwhile gets 500 with Retry-After.
#[test]
fn an_update_with_an_offer_is_passed_on_and_a_second_one_waits() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phone = established(&mut world, 1, &mut alice).remove(0);
    let hold = |version| sdp_version("alice", version, 6002, "a=setup:actpass\r\na=sendonly\r\n");
    let update = alice.next("UPDATE", "", &hold(2));
    world.receive(ALICE, update);
    let asked = world.expect(&phone.addr, "INVITE");
    assert_eq!(asked.sdp("a=sendonly"), [""]);
    world.expect_none(ALICE, "SIP/2.0 200");
    for method in ["UPDATE", "UPDATE"] {
        let second = alice.next(method, "", &hold(3));
        world.receive(ALICE, second);
        let refusal = world.expect(ALICE, "SIP/2.0 500");
        assert!(refusal.get("Retry-After").parse::<u8>().unwrap() <= 10);
    }
    let more = format!("Contact: {}\r\n", phone.contact());
    let sdp = sdp_version("dev1", 2, 8001, "a=setup:passive\r\na=recvonly\r\n");
    world.receive(&phone.addr, asked.respond(200, "", &more, &sdp));
    world.expect(&phone.addr, "ACK");
    let ok = world.expect(ALICE, "SIP/2.0 200");
    assert_eq!(ok.sdp("a=recvonly"), [""]);
    assert!(ok.get("CSeq").ends_with("UPDATE"));
}
