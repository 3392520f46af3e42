//! Devices that send the call elsewhere: 300 and 302 (settled.md 34).

use crate::world::*;

/// Somebody at a port of this machine, where the devices are too.
fn place(n: u16) -> Phone {
    Phone::new(n)
}

/// A Contact of a redirect.
fn to(uri: &str) -> String {
    format!("Contact: <{uri}>\r\n")
}

/// The device refuses, and its ACK is taken.
fn refuse(world: &mut World, phone: &Phone, code: u16, more: &str) {
    let invite = phone.invite.as_ref().expect("an INVITE");
    world.receive(&phone.addr, invite.respond(code, &phone.tag, more, ""));
    world.expect(&phone.addr, "ACK");
}

/// Alice takes a refusal and acknowledges it.
fn refused(world: &mut World, code: &str) {
    let refusal = world.expect(ALICE, &format!("SIP/2.0 {code}"));
    let to = format!("To: {}", refusal.get("To"));
    let ack = Alice::new().request("ACK", "invite", "", "");
    world.receive(ALICE, ack.replace("To: <sip:bob@example.com>", &to));
    world.assert_empty();
}

fn finals(world: &World) -> usize {
    let is_final = |m: &Message| !m.start.starts_with("SIP/2.0 1");
    world
        .log
        .iter()
        .filter(|(a, m)| *a == addr(ALICE) && is_final(m))
        .count()
}

// [TERM-RSP-13]: when all have refused, and the peer gets no failure yet.
#[test]
fn a_redirect_is_followed_when_all_others_have_refused() {
    for code in [300, 302] {
        let mut world = World::new();
        let mut alice = Alice::new();
        let phones = invited(&mut world, 2, &alice);
        let mut there = place(99);
        refuse(
            &mut world,
            &phones[0],
            code,
            &to(&format!("sip:carol@{};x=y?Subject=no", there.addr)),
        );
        assert_eq!((world.all(&there.addr, "").len(), finals(&world)), (0, 0));
        phones[1].answer(&mut world, 180, "", "");
        assert!(world.all(&there.addr, "").is_empty(), "one still rings");
        refuse(&mut world, &phones[1], 486, "");
        let invite = there.invited(&mut world);
        assert_eq!(finals(&world), 0);
        assert_eq!(invite.uri(), format!("sip:carol@{};x=y", there.addr));
        let before = phones[0].invite.as_ref().unwrap();
        for same in ["To", "Conversation-ID", "Contribution-ID", "Max-Forwards"] {
            assert_eq!(invite.get(same), before.get(same));
        }
        // A leg of its own [B2BUA-01].
        for own in ["Call-ID", "From", "Contact"] {
            assert_ne!(invite.get(own), before.get(own));
        }
        assert_ne!(invite.sdp("a=path"), before.sdp("a=path"));
        assert!(world.leg(3).1.contains("device 1: it sent the call here"));
        there.accept(&mut world);
        alice.answered(&world.expect(ALICE, "SIP/2.0 200"));
        assert!(alice.uri.contains(SERVER));
    }
}

#[test]
fn nobody_is_sent_elsewhere_while_somebody_takes_part() {
    let mut world = World::new();
    let phones = invited(&mut world, 2, &Alice::new());
    phones[1].accept(&mut world);
    refuse(&mut world, &phones[0], 302, &to("sip:carol@127.0.0.1:7099"));
    world.advance(seconds(1));
    assert!(world.all("127.0.0.1:7099", "").is_empty());
    // Nor when he leaves later: the call was taken.
    world.failed(2, ringfork::msrp::Failure::Slow);
    world.expect(&phones[1].addr, "BYE");
    world.advance(seconds(1));
    assert!(world.all("127.0.0.1:7099", "").is_empty());
}

// A device that only rings counts as not answering in its time; then the call goes on.
#[test]
fn a_device_that_never_answers_does_not_keep_the_call() {
    let mut world = World::new();
    let phones = invited(&mut world, 2, &Alice::new());
    refuse(&mut world, &phones[0], 302, &to("sip:carol@127.0.0.1:7099"));
    phones[1].answer(&mut world, 180, "", "");
    world.advance(seconds(121));
    world.expect("127.0.0.1:7099", "INVITE");
}

// Several contacts by q, then in their order; five in all; then the best of what was said.
#[test]
fn five_places_at_most_are_tried_best_first() {
    let mut world = World::new();
    let phones = invited(&mut world, 2, &Alice::new());
    let contact = |n: u16, q: &str| format!("<sip:c@127.0.0.1:{}>{q}", 7090 + n);
    let first = format!(
        "Contact: {}, {}\r\nContact: {}, {}\r\n",
        contact(1, ";q=0.1"),
        contact(2, ";q=0.7"),
        contact(3, ""),
        contact(4, ";q=0.7")
    );
    let second = format!(
        "Contact: {}, {}, {}\r\n",
        contact(5, ";q=0.2"),
        contact(6, ";q=0.9"),
        contact(2, ";q=1")
    );
    refuse(&mut world, &phones[0], 300, &first);
    refuse(&mut world, &phones[1], 302, &second);
    for n in [3, 2, 6, 4, 5] {
        for other in 1..=6 {
            let waits = world.sent.iter().any(|(a, _, m)| {
                *a == addr(&place(90 + other).addr) && m.start.starts_with("INVITE")
            });
            assert_eq!(waits, other == n, "{other} while it is the turn of {n}");
        }
        let mut there = place(90 + n);
        there.invited(&mut world);
        assert_eq!(finals(&world), 0);
        let code = if n == 4 { 404 } else { 500 };
        refuse(&mut world, &there, code, "");
    }
    world.expect_none("127.0.0.1:7091", "INVITE");
    refused(&mut world, "404");
}

// Never to where the call has been: two that name each other, one that names itself, the user himself; in whatever form.
#[test]
fn a_loop_ends_at_once() {
    let own = |phone: &Phone| phone.contact().trim_matches(['<', '>']).to_owned();
    let (first, second) = (own(&place(1)), own(&place(2)));
    for (one, two) in [
        (second.clone(), first.clone()),
        (format!("{second};n=1"), format!("{first};transport=udp")),
        (
            second.to_uppercase().replace("SIP:BOB-DEV", "sip:bob-dev"),
            format!("{first}?Subject=x"),
        ),
        (first, second),
        (
            "sip:bob@example.com".into(),
            "sip:BOB@EXAMPLE.COM".replace("BOB", "bob"),
        ),
        (
            "sip:bob@example.com;gr=urn:uuid:1".into(),
            "sip:bob@example.com:5060".into(),
        ),
    ] {
        let mut world = World::new();
        let phones = invited(&mut world, 2, &Alice::new());
        refuse(&mut world, &phones[0], 302, &to(&one));
        refuse(&mut world, &phones[1], 302, &to(&two));
        for phone in &phones {
            world.expect_none(&phone.addr, "INVITE");
        }
        world.expect_none(SERVER, "INVITE");
        refused(&mut world, "480");
    }
    // One place after the other, and back: five at most, however their names change.
    let mut world = World::new();
    let phones = invited(&mut world, 1, &Alice::new());
    refuse(&mut world, &phones[0], 302, &to("sip:c0@127.0.0.1:7091"));
    for n in 1..=5 {
        let mut there = place(91);
        there.invited(&mut world);
        refuse(
            &mut world,
            &there,
            302,
            &to(&format!("sip:c{n}@127.0.0.1:7091")),
        );
    }
    refused(&mut world, "480");
}

// Only to where the device could have registered, unless the operator says otherwise; never without the TLS that is asked for, to
// a name that nobody can resolve, or to no URI at all.
#[test]
fn a_redirect_leads_where_the_device_could_have_registered() {
    let check = |any: bool, contact: &str, expected: Option<&str>| {
        let mut world = World::with(|s, _| s.follow_any = any);
        let phones = invited(&mut world, 1, &Alice::new());
        world.forget();
        refuse(&mut world, &phones[0], 302, contact);
        let went: Vec<_> = world
            .sent
            .iter()
            .filter(|(_, _, m)| m.start.starts_with("INVITE"))
            .map(|(a, _, _)| *a)
            .collect();
        assert_eq!(
            went,
            expected.map(addr).into_iter().collect::<Vec<_>>(),
            "{contact}"
        );
        if expected.is_none() {
            refused(&mut world, "480");
        }
    };
    for any in [false, true] {
        check(any, &to("sip:c@127.0.0.1:7099"), Some("127.0.0.1:7099"));
        check(any, &to("sip:c@127.0.0.1"), Some("127.0.0.1:5060"));
        // Another user of ours: a request of its own.
        check(any, &to("sip:carol@example.com"), Some(SERVER));
        check(any, &to("sip:carol@EXAMPLE.com.;x=y"), Some(SERVER));
        for nowhere in [
            to("sips:c@127.0.0.1:7099"),
            to("sip:c@127.0.0.1:7099;transport=tls"),
            to("sip:c@127.0.0.1:7099;maddr=10.9.9.9"),
            to("sips:carol@example.com"),
            to("tel:+12125550100"),
            to("http://127.0.0.1/"),
            to("sip:c@elsewhere.example"),
            to("sip:c@example.com.elsewhere.example"),
            to(&format!("sip:{}@127.0.0.1:7099", "c".repeat(3000))),
            "Contact: *\r\n".into(),
            String::new(),
        ] {
            check(any, &nowhere, None);
        }
    }
    check(false, &to("sip:c@10.9.9.9:7099"), None);
    check(true, &to("sip:c@10.9.9.9:7099"), Some("10.9.9.9:7099"));
    check(
        false,
        &to("sip:c@10.9.9.9, <sip:c@127.0.0.1:7098>")
            .replace(">>", ">")
            .replace("9.9, <", "9.9>, <"),
        Some("127.0.0.1:7098"),
    );
}

// Behind a NAT or an edge, the way that the device registered by.
#[test]
fn a_place_behind_the_same_edge_is_reached_over_it() {
    let mut world = World::new();
    let register = "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:7001;branch=z9hG4bKr\r\nMax-Forwards: 70\r\n\
        From: <sip:bob@example.com>;tag=r\r\nTo: <sip:bob@example.com>\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\nSupported: path\r\n\
        Path: <sip:edge@127.0.0.1:7001;lr>\r\n";
    let contact = format!("Contact: <sip:bob@192.168.0.5:5062>;{TAG}\r\nContent-Length: 0\r\n\r\n");
    world.receive("127.0.0.1:7001", format!("{register}{contact}"));
    world.expect("127.0.0.1:7001", "SIP/2.0 200");
    world.receive(ALICE, Alice::new().invite());
    let mut phone = place(1);
    let first = phone.invited(&mut world);
    refuse(&mut world, &phone, 302, &to("sip:work@192.168.0.5:5064"));
    let second = world.expect("127.0.0.1:7001", "INVITE sip:work@192.168.0.5:5064 ");
    assert_eq!(second.get("Route"), first.get("Route"));
}

// Two users of ours who name each other: what came from us goes to no user of ours again.
#[test]
fn what_we_sent_to_a_user_of_ours_goes_to_no_other() {
    let mut world = World::new();
    let phones = invited(&mut world, 1, &Alice::new());
    let mut again = Alice::new();
    again.call_id = "call-2";
    again.contact = format!("<{}>", phones[0].invite.as_ref().unwrap().contact());
    phones[0].accept(&mut world);
    world.forget();
    let text = again.invite().replace("z9hG4bKinvite", "z9hG4bKother");
    world.receive(ALICE, text);
    let mut phone = phones[0].clone();
    phone.invited(&mut world);
    refuse(&mut world, &phone, 302, &to("sip:carol@example.com"));
    world.expect_none(SERVER, "INVITE");
    world.expect(ALICE, "SIP/2.0 480");
}

// 301, 305 and 380 are a refusal as any: the user is not there (settled.md 34).
#[test]
fn other_redirects_are_not_followed() {
    for code in [301, 305, 380, 399] {
        let mut world = World::new();
        let phones = invited(&mut world, 1, &Alice::new());
        refuse(
            &mut world,
            &phones[0],
            code,
            &to("sip:carol@127.0.0.1:7099"),
        );
        assert!(world.all("127.0.0.1:7099", "").is_empty(), "{code}");
        refused(&mut world, "480");
    }
}

#[test]
fn a_cancel_meets_the_place_that_was_named() {
    let mut world = World::new();
    let alice = Alice::new();
    let phones = invited(&mut world, 1, &alice);
    let contacts = "Contact: <sip:c@127.0.0.1:7099>, <sip:c@127.0.0.1:7098>\r\n";
    refuse(&mut world, &phones[0], 302, contacts);
    let mut there = place(99);
    there.invited(&mut world);
    there.answer(&mut world, 180, "", "");
    world.expect(ALICE, "SIP/2.0 180");
    world.receive(ALICE, alice.request("CANCEL", "invite", "", ""));
    world.expect(ALICE, "SIP/2.0 487");
    let cancel = world.expect(&there.addr, "CANCEL");
    world.receive(&there.addr, cancel.respond(200, "x", "", ""));
    there.answer(&mut world, 487, "", "");
    world.advance(seconds(40));
    assert!(
        world.all("127.0.0.1:7098", "").is_empty(),
        "nobody else is asked"
    );
    world.assert_empty();
}

// Also where the devices are to offer.
#[test]
fn a_late_offer_is_sent_elsewhere_too() {
    let mut world = World::new();
    let mut alice = Alice::new();
    alice.sdp.clear();
    let phones = invited(&mut world, 1, &alice);
    refuse(&mut world, &phones[0], 302, &to("sip:carol@127.0.0.1:7099"));
    let mut there = place(99);
    assert!(there.invited(&mut world).body.is_empty());
    there.answer(&mut world, 200, "", &there.sdp());
    world.expect(ALICE, "SIP/2.0 200");
}
