//! The checks of 8.3.2.1 in the order of their steps, and who is anonymous.

use ringfork::policy::Unreachable;

use crate::world::*;

// [TERM-INV-03]: the note: an anonymous From and no identity shown. What a stranger asserts shows nothing [ASSERT-04].
#[test]
fn an_anonymous_from_without_an_identity_that_we_believe_is_anonymous() {
    let anonymous = "sip:anonymous@anonymous.invalid";
    let asserted = "P-Asserted-Identity: <sip:alice@example.com>\r\n";
    let ours = "127.0.0.1:6100";
    for (from, source, more, refused) in [
        (anonymous, ours, "", true),
        (anonymous, ours, asserted, false),
        (anonymous, "10.9.9.9:5060", "", true),
        (anonymous, "10.9.9.9:5060", asserted, true),
        (anonymous, "192.0.2.4:5060", asserted, false),
        (
            "sip:Anonymous@ANONYMOUS.invalid",
            "10.9.9.9:5060",
            asserted,
            true,
        ),
        ("sip:alice@example.com", "10.9.9.9:5060", asserted, false),
        ("sip:alice@example.com", "10.9.9.9:5060", "", false),
    ] {
        for allowed in [false, true] {
            let mut world = World::with(|s, p| {
                p.anonymity_allowed = allowed;
                s.trusted_peers = vec![
                    ("192.0.2.0".parse().unwrap(), 24),
                    ("127.0.0.0".parse().unwrap(), 8),
                ];
            });
            let phone = Phone::new(1);
            phone.register(&mut world, &format!(";{TAG}"));
            let mut alice = Alice::new();
            alice.from = format!("<{from}>;tag=alicetag");
            alice.more = more.into();
            world.receive(source, alice.invite());
            let invited = !world.all(&phone.addr, "INVITE").is_empty();
            assert_eq!(invited, allowed || !refused, "{from} {source} {more}");
            if !invited {
                let no = world
                    .log
                    .iter()
                    .find(|(_, m)| m.start.contains("403"))
                    .unwrap();
                assert!(no.1.get("Warning").contains("119 Anonymity not allowed"));
            }
        }
    }
}

// [TERM-INV-01] [TERM-INV-26]: settled.md 31: of two checks that reject, the earlier one answers, whichever two.
#[test]
fn the_first_check_that_rejects_answers() {
    /// Step, what makes Alice's INVITE fail it, its answer, and a word of its Warning.
    type Step = (u8, fn(&mut Alice), &'static str, &'static str);
    let steps: [Step; 5] = [
        (
            1,
            |a| a.more += "User-Agent: CPM-client/OMA1.0\r\n",
            "403",
            "132 ",
        ),
        (2, |a| a.more += "Privacy: id\r\n", "403", "119 "),
        (
            5,
            |a| a.sdp = a.sdp.replace("TCP/MSRP", "TCP/TLS/MSRP"),
            "488",
            "",
        ),
        (6, |a| a.uri = "sip:nobody@example.com".into(), "480", ""),
        (
            7,
            |a| a.more += "P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.mmtel\r\n",
            "403",
            "122 ",
        ),
    ];
    let strict = || {
        World::with(|_, p| {
            p.required_release = vec!["2.2".parse().unwrap()];
            p.anonymity_allowed = false;
        })
    };
    let answer = |failing: &[&Step]| {
        let mut world = strict();
        Phone::new(1).register(&mut world, &format!(";{TAG}"));
        let mut alice = Alice::new();
        for step in failing {
            (step.1)(&mut alice);
        }
        if !failing.iter().any(|s| s.0 == 1) {
            alice.more += "User-Agent: CPM-client/OMA2.2\r\n";
        }
        world.receive(ALICE, alice.invite());
        let invited = world.all(&Phone::new(1).addr, "INVITE").len();
        (world.all(ALICE, "SIP/2.0 4").pop(), invited)
    };
    assert_eq!(answer(&[]).1, 1, "nothing fails");
    for (at, first) in steps.iter().enumerate() {
        for second in &steps[at..] {
            let (refusal, invited) = answer(&[second, first]);
            let refusal = refusal.unwrap();
            assert_eq!(invited, 0);
            let warning = refusal.header("Warning").unwrap_or_default();
            assert!(
                refusal.start.contains(first.2)
                    && (first.3.is_empty() || warning.contains(first.3)),
                "steps {} and {}: {refusal:#?}",
                first.0,
                second.0
            );
        }
    }
}

// [TERM-INV-26] [TERM-INV-13]: registered, and none of the devices suitable: the same answer as with none at all.
#[test]
fn registered_but_unsuitable_is_480() {
    for unreachable in [
        Unreachable::Defer,
        Unreachable::Reject,
        Unreachable::Interwork,
    ] {
        let mut world = World::with(|_, p| p.unreachable = unreachable);
        let phones: Vec<_> = (1..=3).map(Phone::new).collect();
        phones[0].register(&mut world, "");
        phones[1].register(&mut world, ";audio");
        phones[2].register(
            &mut world,
            ";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel\"",
        );
        world.receive(ALICE, Alice::new().invite());
        world.expect(ALICE, "SIP/2.0 480");
        for phone in &phones {
            world.expect_none(&phone.addr, "INVITE");
        }
        let counters = world.counters();
        let deferred = u64::from(unreachable == Unreachable::Defer);
        let interworked = u64::from(unreachable == Unreachable::Interwork);
        assert_eq!(
            (counters.would_defer, counters.would_interwork),
            (deferred, interworked)
        );
        assert!(world.function.is_empty());
    }
}
