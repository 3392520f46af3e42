//! The checks of an invitation, which devices are suitable, what belongs to whom.

use ringfork::policy::Unreachable;

use crate::world::*;

/// Alice's INVITE with these headers; what it gets when Bob has one suitable device.
fn refused(world: &mut World, more: &str) -> Message {
    let phone = Phone::new(1);
    phone.register(world, &format!(";{TAG}"));
    let mut alice = Alice::new();
    alice.more = more.into();
    world.receive(ALICE, alice.invite());
    world.expect_none(&phone.addr, "INVITE");
    world.expect(ALICE, "SIP/2.0 4")
}

fn goes_on(world: &mut World, more: &str) -> Message {
    let mut phone = Phone::new(1);
    phone.register(world, &format!(";{TAG}"));
    let mut alice = Alice::new();
    alice.more = more.into();
    world.receive(ALICE, alice.invite());
    phone.invited(world)
}

// [TERM-INV-02] [SIP-MSG-09]
#[test]
fn a_required_release_is_looked_for() {
    let requiring = || {
        World::with(|_, p| {
            p.required_release = vec!["2.0".parse().unwrap(), "2.2".parse().unwrap()]
        })
    };
    let no = refused(&mut requiring(), "User-Agent: CPM-client/OMA1.0\r\n");
    assert!(no.start.contains("403"));
    assert_eq!(
        no.get("Warning"),
        "399 127.0.0.1:5060 \"132 Version not supported\""
    );
    refused(&mut requiring(), "");
    goes_on(&mut requiring(), "User-Agent: CPM-serv/OMA2.2 x\r\n");
}

// [TERM-INV-03] [ASSERT-04] [SIP-MSG-09]
#[test]
fn anonymity_is_allowed_or_not() {
    let denying = || World::with(|_, p| p.anonymity_allowed = false);
    for privacy in ["id", "user", "header", "none;id"] {
        let no = refused(&mut denying(), &format!("Privacy: {privacy}\r\n"));
        assert!(no.start.contains("403"));
        assert_eq!(
            no.get("Warning"),
            "399 127.0.0.1:5060 \"119 Anonymity not allowed\""
        );
    }
    goes_on(&mut denying(), "Privacy: none\r\n");
    let invite = goes_on(&mut World::new(), "Privacy: id;header\r\n");
    assert_eq!(invite.get("Privacy"), "id;header");
}

// [TERM-INV-10] [TERM-INV-11]
#[test]
fn the_service_is_asserted_by_us() {
    let ours = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session";
    let invite = goes_on(
        &mut World::new(),
        &format!("P-Preferred-Service: {ours}\r\n"),
    );
    assert_eq!(invite.get("P-Asserted-Service"), ours);
    assert!(invite.header("P-Preferred-Service").is_none());
    let invite = goes_on(
        &mut World::new(),
        &format!("P-Asserted-Service: {ours}.group\r\n"),
    );
    assert_eq!(invite.get("P-Asserted-Service"), format!("{ours}.group"));
    let foreign = "P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.mmtel\r\n";
    let no = refused(&mut World::new(), foreign);
    assert!(no.start.contains("403"));
    assert_eq!(
        no.get("Warning"),
        "399 127.0.0.1:5060 \"122 Function not allowed\""
    );
    goes_on(
        &mut World::with(|_, p| p.foreign_services_allowed = true),
        foreign,
    );
}

// [ASSERT-04]: what a stranger asserts is not believed, and does not reach the devices; nor does what Privacy hides.
#[test]
fn assertions_count_only_from_those_we_trust() {
    let asserted = "P-Asserted-Identity: <sip:alice@example.com>\r\n";
    let stranger = "10.9.9.9:5060";
    let device_sees = |from: &str, more: &str, trusted: &[(&str, u8)]| {
        let mut world = World::with(|s, _| {
            s.trusted_peers = trusted
                .iter()
                .map(|(n, p)| (n.parse().unwrap(), *p))
                .collect();
        });
        let mut phone = Phone::new(1);
        phone.register(&mut world, &format!(";{TAG}"));
        let mut alice = Alice::new();
        alice.more = more.into();
        world.receive(from, alice.invite());
        phone
            .invited(&mut world)
            .header("P-Asserted-Identity")
            .map(ToOwned::to_owned)
    };
    assert_eq!(
        device_sees(ALICE, asserted, &[("127.0.0.0", 8)]).as_deref(),
        Some("<sip:alice@example.com>")
    );
    // settled.md 2: what is written replaces the default.
    assert_eq!(device_sees(ALICE, asserted, &[("10.0.0.0", 8)]), None);
    assert_eq!(device_sees(stranger, asserted, &[]), None);
    assert_eq!(
        device_sees(stranger, asserted, &[("10.0.0.0", 8)]).as_deref(),
        Some("<sip:alice@example.com>")
    );
    assert_eq!(
        device_sees(
            ALICE,
            &format!("{asserted}Privacy: id\r\n"),
            &[("127.0.0.0", 8)]
        ),
        None
    );
}

// [TERM-INV-06]
#[test]
fn an_offer_against_policy_gets_488() {
    let mut world = World::with(|_, p| p.media_allowed = vec!["message".into()]);
    Phone::new(1).register(&mut world, &format!(";{TAG}"));
    let mut alice = Alice::new();
    alice.sdp.push_str("m=video 4000 RTP/AVP 31\r\n");
    world.receive(ALICE, alice.invite());
    world.expect(ALICE, "SIP/2.0 488");
    goes_on(
        &mut World::with(|_, p| p.media_allowed = vec!["message".into()]),
        "",
    );
}

// [MSRP-SDP-01]: an offer that has no MSRP over TCP for us, no path, no accept-types.
#[test]
fn an_offer_that_cannot_be_served_gets_488() {
    let good = Alice::new().sdp;
    for bad in [
        "nonsense".to_owned(),
        good.replace("TCP/MSRP", "TCP/TLS/MSRP"),
        good.replace("message 6002", "message 0"),
        good.replace("message 6002 TCP/MSRP *", "audio 6002 RTP/AVP 0"),
        good.replace("a=path:", "a=nopath:"),
        good.replace("a=accept-types:", "a=x:"),
    ] {
        let mut world = World::new();
        Phone::new(1).register(&mut world, &format!(";{TAG}"));
        let mut alice = Alice::new();
        alice.sdp.clone_from(&bad);
        world.receive(ALICE, alice.invite());
        assert!(
            world
                .sent
                .iter()
                .any(|(_, _, m)| m.start.starts_with("SIP/2.0 488")),
            "{bad}"
        );
        world.expect_none(&Phone::new(1).addr, "INVITE");
        assert_eq!(world.counters().sessions, 0);
    }
}

// [TERM-INV-07] [TERM-INV-08] [TERM-INV-26]: until the store and the ISF are there, every policy ends in 480.
#[test]
fn nobody_suitable_is_480() {
    for unreachable in [
        Unreachable::Defer,
        Unreachable::Reject,
        Unreachable::Interwork,
    ] {
        let mut world = World::with(|_, p| p.unreachable = unreachable);
        world.receive(ALICE, Alice::new().invite());
        world.expect(ALICE, "SIP/2.0 480");
        assert!(world.function.is_empty());
    }
}

#[test]
fn a_user_of_another_domain_is_404() {
    let mut world = World::new();
    let mut alice = Alice::new();
    alice.uri = "sip:bob@elsewhere.example".into();
    world.receive(ALICE, alice.invite());
    world.expect(ALICE, "SIP/2.0 404");
}

/// Whether a device that registered with `params` is invited by a request with `more`.
fn is_invited(params: &str, more: &str, untagged: bool) -> bool {
    let mut world = World::with(|s, _| s.contact_without_tags_suitable = untagged);
    let phone = Phone::new(1);
    phone.register(&mut world, params);
    let mut alice = Alice::new();
    alice.more = more.into();
    world.receive(ALICE, alice.invite());
    !world.all(&phone.addr, "INVITE").is_empty()
}

// [TERM-INV-13] [PREF-01] [PREF-02]
#[test]
fn suitability() {
    let icsi = |values: &str| format!(";+g.3gpp.icsi-ref=\"{values}\"");
    let encoded = "urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session";
    let plain = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session";
    let mmtel = "urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel";
    for (params, invited) in [
        (icsi(encoded), true),
        (icsi(&encoded.replace("%3A", "%3a")), true),
        (icsi(plain), true),
        (icsi(&format!("{mmtel},{encoded}")), true),
        (icsi(&format!("{encoded}.group")), true),
        (icsi(mmtel), false),
        (icsi(&format!("{encoded}s")), false),
        (";audio".to_owned(), false),
        (String::new(), false),
    ] {
        assert_eq!(is_invited(&params, "", false), invited, "{params}");
    }
    // The switch for contacts that say nothing of CPM.
    assert!(is_invited("", "", true));
    assert!(is_invited(";audio", "", true));

    let tagged = |more: &str| format!(";{TAG}{more}");
    for (params, accept, invited) in [
        (
            tagged(""),
            "*;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\";require;explicit",
            true,
        ),
        (
            tagged(""),
            "*;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session.group\";require",
            true,
        ),
        // A tag that the contact does not name: no match is not proven, unless it must be explicit.
        (tagged(""), "*;video;require", true),
        (tagged(""), "*;video;explicit", true),
        (tagged(""), "*;video;require;explicit", false),
        (tagged(";video"), "*;video;require;explicit", true),
        (tagged(";video=\"FALSE\""), "*;video;require", false),
        (tagged(";video=\"FALSE\""), "*;video", true),
        (
            tagged(";mobility=\"!fixed\""),
            "*;mobility=\"fixed\";require",
            false,
        ),
        (
            tagged(";language=\"en,de\""),
            "*;language=\"de\";require;explicit",
            true,
        ),
        // Several values: all of them count.
        (
            tagged(";video"),
            "*;video;require;explicit, *;language=\"de\";require;explicit",
            false,
        ),
        (tagged(""), "*", true),
        (
            tagged(";+sip.instance=\"<urn:uuid:1>\""),
            "*;+sip.instance=\"<urn:uuid:2>\";require",
            false,
        ),
        (tagged(";methods=\"MESSAGE\""), "*;audio", true),
    ] {
        let more = format!("Accept-Contact: {accept}\r\n");
        assert_eq!(
            is_invited(&params, &more, false),
            invited,
            "{params} {accept}"
        );
    }
    let reject = "Reject-Contact: *;mobility=\"mobile\"\r\n";
    assert!(!is_invited(&tagged(";mobility=\"mobile\""), reject, false));
    assert!(is_invited(&tagged(";mobility=\"fixed\""), reject, false));
    assert!(is_invited(&tagged(""), reject, false));
}

// [REG-07]: two flows of one device, one INVITE.
#[test]
fn one_instance_gets_one_invite() {
    let mut world = World::new();
    let phones: Vec<_> = (1..=3).map(Phone::new).collect();
    let instance = |n: u8, id: u8| format!(";{TAG};+sip.instance=\"<urn:uuid:{n}>\";reg-id={id}");
    phones[0].register(&mut world, &instance(1, 1));
    phones[1].register(&mut world, &format!("{};q=0.5", instance(1, 2)));
    phones[2].register(&mut world, &instance(2, 1));
    world.receive(ALICE, Alice::new().invite());
    world.expect(&phones[0].addr, "INVITE");
    world.expect(&phones[2].addr, "INVITE");
    world.expect_none(&phones[1].addr, "INVITE");
}

// settled.md 4
#[test]
fn no_fork_chooses_the_best() {
    let mut world = World::new();
    let phones: Vec<_> = (1..=3).map(Phone::new).collect();
    phones[0].register(&mut world, &format!(";{TAG};q=0.5"));
    phones[1].register(&mut world, &format!(";{TAG}"));
    world.advance(seconds(1));
    phones[2].register(&mut world, &format!(";{TAG}"));
    let mut alice = Alice::new();
    alice.more = "Request-Disposition: no-fork\r\n".into();
    world.receive(ALICE, alice.invite());
    world.expect(&phones[2].addr, "INVITE");
    world.expect_none(&phones[0].addr, "INVITE");
    world.expect_none(&phones[1].addr, "INVITE");
}

#[test]
fn devices_and_sessions_are_bounded() {
    let mut world = World::with(|s, _| {
        s.devices_max = 2;
        s.sessions_max = 1;
    });
    for n in 1..=4 {
        Phone::new(n).register(&mut world, &format!(";{TAG}"));
    }
    world.receive(ALICE, Alice::new().invite());
    assert_eq!(world.counters().forked, 2);
    let mut second = Alice::new();
    second.call_id = "call-2";
    world.receive(
        ALICE,
        second.invite().replace("z9hG4bKinvite", "z9hG4bKother"),
    );
    let busy = world.expect(ALICE, "SIP/2.0 503");
    assert!(busy.header("Retry-After").is_some());
}

// [SIP-MSG-04] [SIP-MSG-05]
#[test]
fn what_we_cannot_do_is_refused_with_what_we_can() {
    let check = |method: &str, more: &str, body: &str, code: &str, header: &str, value: &str| {
        let mut world = World::new();
        let alice = Alice::new();
        let text = alice.request(method, "x", more, "").replace(
            "Content-Length: 0\r\n\r\n",
            &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        );
        world.receive(ALICE, text);
        let answer = world.expect(ALICE, &format!("SIP/2.0 {code}"));
        assert!(answer.get(header).contains(value), "{method} {more}");
    };
    check(
        "INVITE",
        "Require: foo, timer\r\n",
        "",
        "420",
        "Unsupported",
        "foo",
    );
    check("REFER", "", "", "405", "Allow", "INVITE");
    check(
        "MESSAGE",
        "Content-Type: text/plain\r\n",
        "hi",
        "405",
        "Allow",
        "UPDATE",
    );
    check("DANCE", "", "", "501", "Allow", "INVITE");
    check(
        "INVITE",
        "Content-Type: text/html\r\n",
        "<p>",
        "415",
        "Accept",
        "application/sdp",
    );
    check(
        "INVITE",
        "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n",
        "x",
        "415",
        "Accept-Encoding",
        "identity",
    );
    check(
        "INVITE",
        "Session-Expires: 30\r\nSupported: timer\r\n",
        "",
        "422",
        "Min-SE",
        "90",
    );
    // An optional body of a kind that nobody knows does not matter.
    let mut world = World::new();
    let text = Alice::new().request(
        "OPTIONS",
        "o",
        "Content-Type: x/y\r\nContent-Disposition: z;handling=optional\r\n",
        "",
    );
    world.receive(
        ALICE,
        text.replace("Content-Length: 0\r\n\r\n", "Content-Length: 1\r\n\r\nx"),
    );
    world.expect(ALICE, "SIP/2.0 480");
    let text = Alice::new().request("INVITE", "s", "", "");
    let text = text.replace("INVITE sip:bob@example.com", "INVITE http://x");
    world.receive(ALICE, text);
    world.expect(ALICE, "SIP/2.0 416");
}

// [SIP-MSG-06]
#[test]
fn max_forwards_ends_here() {
    let mut world = World::new();
    Phone::new(1).register(&mut world, &format!(";{TAG}"));
    world.receive(
        ALICE,
        Alice::new()
            .invite()
            .replace("Max-Forwards: 70", "Max-Forwards: 0"),
    );
    world.expect(ALICE, "SIP/2.0 483");
    world.expect_none(&Phone::new(1).addr, "INVITE");
}

// [B2BUA-10]
#[test]
fn options_to_us_and_options_for_a_user() {
    let mut world = World::new();
    let mut alice = Alice::new();
    alice.uri = format!("sip:{SERVER}");
    let options = alice.request("OPTIONS", "o1", "", "");
    world.receive(ALICE, options);
    let ours = world.expect(ALICE, "SIP/2.0 200");
    assert!(ours.get("Allow").contains("INVITE") && ours.get("Allow").contains("UPDATE"));
    assert!(ours.get("Accept").contains("application/sdp"));
    assert!(ours.get("Supported").contains("timer"));
    // RFC 3261 §11.2.
    assert_eq!(ours.get("Accept-Encoding"), "identity");
    assert_eq!(ours.get("Accept-Language"), "en");

    alice = Alice::new();
    let options = alice.next("OPTIONS", "", "");
    world.receive(ALICE, options);
    world.expect(ALICE, "SIP/2.0 480");
    let phone = Phone::new(1);
    phone.register(&mut world, &format!(";{TAG}"));
    let options = alice.next("OPTIONS", "Accept: application/sdp\r\nX-Foo: bar\r\n", "");
    world.receive(ALICE, options);
    let passed = world.expect(&phone.addr, "OPTIONS");
    assert_eq!(format!("<{}>", passed.uri()), phone.contact());
    assert_eq!(passed.get("Max-Forwards"), "69");
    assert_eq!(passed.get("X-Foo"), "bar");
    assert_ne!(passed.get("Call-ID"), alice.call_id);
    assert_eq!(passed.all("Via").count(), 1);
    assert_eq!(world.counters().relays, 1);
    let more = format!(
        "Contact: {};video\r\nAllow: INVITE, MESSAGE\r\nX-Bar: foo\r\n",
        phone.contact()
    );
    world.receive(&phone.addr, passed.respond(200, "t", &more, ""));
    let answer = world.expect(ALICE, "SIP/2.0 200");
    assert_eq!(answer.get("Allow"), "INVITE, MESSAGE");
    assert_eq!(answer.get("X-Bar"), "foo");
    assert!(answer.get("Contact").ends_with(">;video") && answer.contact().ends_with(SERVER));
    assert_eq!(answer.all("Via").count(), 1);
    // A device that says nothing: never 408 (RFC 4320 §4.2), and in time.
    let options = alice.next("OPTIONS", "", "");
    world.receive(ALICE, options);
    world.advance(seconds(31));
    world.expect(ALICE, "SIP/2.0 504");
    world.assert_empty();
}

// [SIP-DLG-01]
#[test]
fn what_is_of_no_dialog_gets_481() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 1, &mut alice);
    for method in ["BYE", "UPDATE", "PRACK", "INVITE", "OPTIONS"] {
        let stranger = alice.next(method, "", "").replace("alicetag", "othertag");
        world.receive(ALICE, stranger);
        world.expect(ALICE, "SIP/2.0 481");
        let made_up = alice.next(method, "", "");
        let tag = alice.to.split_once(";tag=").unwrap().1;
        world.receive(ALICE, made_up.replace(tag, "0123456789"));
        world.expect(ALICE, "SIP/2.0 481");
    }
    world.expect_none(&phones[0].addr, "BYE");
    // A number that was passed already.
    alice.cseq -= 8;
    let late = alice.request("UPDATE", "late", "", "");
    alice.cseq += 8;
    let update = alice.next("UPDATE", "", "");
    world.receive(ALICE, update);
    world.expect(ALICE, "SIP/2.0 200");
    world.receive(ALICE, late);
    world.expect(ALICE, "SIP/2.0 500");
}
