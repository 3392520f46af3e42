//! How sessions end: activity, BYE, CANCEL, lost media, lost registrations; and that everything ends.

use ringfork::{
    ids::LegId,
    msrp::{Command, Event, Failure, Finish},
};

use crate::world::*;

/// The device that got a BYE or CANCEL answers it.
fn answer(world: &mut World, phone: &Phone, start: &str) -> Message {
    let request = world.expect(&phone.addr, start);
    world.receive(&phone.addr, request.respond(200, "", "", ""));
    if start == "CANCEL" {
        phone.answer(world, 487, "", "");
        world.expect(&phone.addr, "ACK");
    }
    request
}

// [TERM-MEDIA-04] [TERM-MEDIA-14] [TERM-MEDIA-15] [TERM-MEDIA-16] [TERM-MEDIA-17] [TERM-MEDIA-18] [B2BUA-11]
#[test]
fn activity_leaves_one_device() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = invited(&mut world, 4, &alice);
    for n in [0, 2] {
        phones[n].accept(&mut world);
    }
    phones[3].answer(&mut world, 180, "", "");
    phones[1].answer(&mut world, 100, "", "");
    alice.answered(&world.expect(ALICE, "SIP/2.0 200"));
    world.receive(ALICE, alice.ack());
    world.forget();
    let before = world.now;
    world.activity(3);
    // In the same turn: BYE to who answered, CANCEL to who rings.
    assert!(world.sent.iter().all(|(_, at, _)| *at == before));
    assert_eq!(world.view().state, "settled");
    let bye = answer(&mut world, &phones[0], "BYE");
    assert_eq!(bye.get("Reason"), ELSEWHERE);
    for n in [1, 3] {
        let cancel = answer(&mut world, &phones[n], "CANCEL");
        assert_eq!(cancel.get("Reason"), ELSEWHERE);
    }
    world.expect_none(&phones[2].addr, "");
    world.expect_none(ALICE, "");
    for leg in [1, 2, 4] {
        assert_eq!(
            world.leg(leg),
            ("ended", "Call completed elsewhere".to_owned())
        );
        let gone = world.media.iter().any(|c| {
            matches!(c,
            Command::End { leg: l, how: Finish::Gone, .. } if *l == LegId(leg))
        });
        assert!(gone, "leg {leg}");
    }
    assert_eq!(world.leg(3).0, "active");
    // Once is enough.
    world.activity(3);
    world.expect_none(&phones[0].addr, "");
    assert_eq!(world.counters().settled, 1);
    let bye = alice.next("BYE", "", "");
    world.receive(ALICE, bye);
    answer(&mut world, &phones[2], "BYE");
    world.expect(ALICE, "SIP/2.0 200");
    world.assert_empty();
}

// [TERM-MEDIA-17]: where the data plane has not cut the others off by itself, it is told to, and of them alone.
#[test]
fn the_others_are_cut_off_where_they_were_not() {
    let mut world = World::new();
    established(&mut world, 3, &mut Alice::new());
    let (session, leg, settled) = (world.session(), LegId(2), false);
    world.tell(&Event::Activity {
        session,
        leg,
        settled,
    });
    let cut = |c: &Command| match c {
        Command::End {
            leg,
            how: Finish::Abort,
            ..
        } => Some(leg.0),
        _ => None,
    };
    assert_eq!(
        world.media.iter().filter_map(cut).collect::<Vec<_>>(),
        [1, 3]
    );
}

// [TERM-MEDIA-04]: what a device that has left had still said settles nothing.
#[test]
fn activity_of_a_device_that_has_left() {
    let mut world = World::new();
    let mut phones = established(&mut world, 2, &mut Alice::new());
    let bye = phones[0].next("BYE", "Reason: SIP;cause=480\r\n", "");
    world.receive(&phones[0].addr, bye);
    world.activity(1);
    world.expect_none(&phones[1].addr, "BYE");
    assert_eq!(world.view().state, "established");
}

// [TERM-MEDIA-14]: with one device activity changes nothing on the wire.
#[test]
fn activity_of_the_only_device_ends_nothing() {
    let mut world = World::new();
    established(&mut world, 1, &mut Alice::new());
    world.activity(1);
    assert!(world.sent.is_empty());
    assert_eq!(world.view().state, "settled");
}

#[test]
fn the_data_plane_settles_by_itself_unless_it_is_a_file() {
    let settles = |accept: &str| {
        let mut world = World::new();
        let name = accept.rsplit('.').next().unwrap();
        let params =
            format!(";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.{name}\"");
        Phone::new(1).register(&mut world, &params);
        let mut alice = Alice::new();
        alice.more = format!("Accept-Contact: *;+g.3gpp.icsi-ref=\"{accept}\"\r\n");
        world.receive(ALICE, alice.invite());
        world.expect("127.0.0.1:7001", "INVITE");
        world.media.iter().find_map(|c| match c {
            Command::SettleOnActivity { on, .. } => Some(*on),
            _ => None,
        })
    };
    let prefix = "urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm";
    assert_eq!(settles(&format!("{prefix}.session")), Some(true));
    assert_eq!(settles(&format!("{prefix}.filetransfer")), Some(false));
}

// [B2BUA-11]: a 200 that crosses our CANCEL is acknowledged and ended with the same Reason.
#[test]
fn a_200_that_crosses_a_cancel_is_ended() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = invited(&mut world, 2, &alice);
    phones[1].answer(&mut world, 180, "", "");
    phones[0].accept(&mut world);
    alice.answered(&world.expect(ALICE, "SIP/2.0 200"));
    world.receive(ALICE, alice.ack());
    world.activity(1);
    let cancel = world.expect(&phones[1].addr, "CANCEL");
    world.receive(&phones[1].addr, cancel.respond(481, "", "", ""));
    phones[1].accept(&mut world);
    let bye = world.expect(&phones[1].addr, "BYE");
    assert_eq!(bye.get("Reason"), ELSEWHERE);
    assert_eq!(world.leg(2).0, "ending");
    world.receive(&phones[1].addr, bye.respond(200, "", "", ""));
    assert_eq!(
        world.leg(2),
        ("ended", "Call completed elsewhere".to_owned())
    );
    // Its 200 again: only the ACK.
    phones[1].accept(&mut world);
    world.expect_none(&phones[1].addr, "BYE");
}

// settled.md 5: a CANCEL waits for the first provisional response.
#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let mut world = World::new();
    let alice = Alice::new();
    let phones = invited(&mut world, 2, &alice);
    phones[0].accept(&mut world);
    world.activity(1);
    world.expect_none(&phones[1].addr, "CANCEL");
    phones[1].answer(&mut world, 180, "", "");
    assert_eq!(
        world.expect(&phones[1].addr, "CANCEL").get("Reason"),
        ELSEWHERE
    );
}

// [SIP-TXN-07] [B2BUA-11]: the originator leaves before anyone answered.
#[test]
fn a_cancel_of_the_originator_reaches_every_device() {
    let mut world = World::new();
    let alice = Alice::new();
    let phones = invited(&mut world, 2, &alice);
    phones
        .iter()
        .for_each(|p| p.answer(&mut world, 180, "", ""));
    world.forget();
    let reason = "Reason: SIP;cause=487;text=\"gone\"\r\n";
    world.receive(ALICE, alice.request("CANCEL", "invite", reason, ""));
    world.expect(ALICE, "SIP/2.0 200");
    let refused = world.expect(ALICE, "SIP/2.0 487");
    world.receive(
        ALICE,
        alice.request("ACK", "invite", "", "").replace(
            "To: <sip:bob@example.com>",
            &format!("To: {}", refused.get("To")),
        ),
    );
    // [B2BUA-06]
    let cancel = answer(&mut world, &phones[0], "CANCEL");
    assert_eq!(cancel.get("Reason"), "SIP;cause=487;text=\"gone\"");
    // The other's 200 crosses.
    let cancel = world.expect(&phones[1].addr, "CANCEL");
    world.receive(&phones[1].addr, cancel.respond(200, "", "", ""));
    phones[1].accept(&mut world);
    answer(&mut world, &phones[1], "BYE");
    assert_eq!(world.ended.len(), 1);
    world.assert_empty();
}

// [BYE-04]: BYE of the originator, answered when the devices have answered; the Reason passes. [B2BUA-06]
#[test]
fn a_bye_of_the_originator_ends_all_devices() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 2, &mut alice);
    let bye = alice.next("BYE", "Reason: SIP;cause=200;text=\"User left\"\r\n", "");
    world.receive(ALICE, bye);
    let first = world.expect(&phones[0].addr, "BYE");
    assert_eq!(first.get("Reason"), "SIP;cause=200;text=\"User left\"");
    assert!(first.get("Supported").contains("timer"));
    assert_eq!(first.get("CSeq"), "2 BYE");
    world.receive(&phones[0].addr, first.respond(200, "", "", ""));
    world.expect_none(ALICE, "SIP/2.0 200");
    answer(&mut world, &phones[1], "BYE");
    world.expect(ALICE, "SIP/2.0 200");
    world.assert_empty();
}

// settled.md 15: after 5 s, whatever the devices do.
#[test]
fn a_bye_is_answered_after_five_seconds() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 1, &mut alice);
    let bye = alice.next("BYE", "", "");
    world.receive(ALICE, bye);
    assert!(
        world
            .expect(&phones[0].addr, "BYE")
            .header("Reason")
            .is_none()
    );
    world.advance(seconds(4));
    world.expect_none(ALICE, "SIP/2.0 200");
    world.advance(seconds(1));
    world.expect(ALICE, "SIP/2.0 200");
    world.advance(seconds(40));
    world.assert_empty();
}

// [BYE-03] [B2BUA-06]: the user left: everything ends, and the device hears so when the originator has answered.
#[test]
fn a_bye_of_a_device_without_reason_ends_the_session() {
    for reason in ["", "Reason: SIP ;cause=200 ;text=\"Call completed\"\r\n"] {
        let mut world = World::new();
        let mut alice = Alice::new();
        let mut phones = established(&mut world, 2, &mut alice);
        let bye = phones[0].next("BYE", reason, "");
        world.receive(&phones[0].addr, bye);
        let up = world.expect(ALICE, "BYE");
        assert_eq!(up.header("Reason").is_some(), !reason.is_empty());
        assert_eq!(up.uri(), format!("sip:alice@{ALICE}"));
        assert_eq!(
            up.get("To"),
            "\"Alice\" <sip:alice@example.com>;tag=alicetag"
        );
        assert_eq!(up.get("From"), alice.to);
        assert_eq!(up.get("CSeq"), "1 BYE");
        world.expect_none(&phones[0].addr, "SIP/2.0 200");
        answer(&mut world, &phones[1], "BYE");
        let ends = |world: &World| -> Vec<Finish> {
            let of_leg = world.media.iter().filter_map(|c| match c {
                Command::End { leg, how, .. } if *leg == LegId(1) => Some(*how),
                _ => None,
            });
            of_leg.collect()
        };
        // What the user said last is still read until the BYE is answered.
        assert_eq!(ends(&world), [Finish::Abort]);
        world.receive(ALICE, up.respond(200, "", "", ""));
        world.expect(&phones[0].addr, "SIP/2.0 200");
        assert_eq!(ends(&world), [Finish::Abort, Finish::Gone]);
        world.assert_empty();
    }
}

// settled.md 14: the network says that this device is lost.
#[test]
fn a_lost_device_leaves_alone_while_others_stand() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phones = established(&mut world, 2, &mut alice);
    let bye = phones[0].next("BYE", "Reason: SIP;cause=503;text=\"lost\"\r\n", "");
    world.receive(&phones[0].addr, bye);
    world.expect(&phones[0].addr, "SIP/2.0 200");
    world.expect_none(ALICE, "");
    world.expect_none(&phones[1].addr, "");
    assert_eq!(world.leg(1).0, "ended");
    // A BYE for it later is of nothing.
    let bye = phones[0].next("BYE", "", "");
    world.receive(&phones[0].addr, bye);
    world.expect(&phones[0].addr, "SIP/2.0 481");
    // The last one takes the session with it.
    let bye = phones[1].next("BYE", "Reason: SIP;cause=480\r\n", "");
    world.receive(&phones[1].addr, bye);
    let up = world.expect(ALICE, "BYE");
    assert_eq!(up.get("Reason"), "SIP;cause=480");
    world.receive(ALICE, up.respond(200, "", "", ""));
    world.expect(&phones[1].addr, "SIP/2.0 200");
    world.assert_empty();
}

// [SIP-DLG-06]
#[test]
fn byes_that_come_twice_or_cross() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phones = established(&mut world, 1, &mut alice);
    let (first, second) = (alice.next("BYE", "", ""), alice.next("BYE", "", ""));
    world.receive(ALICE, first);
    let down = world.expect(&phones[0].addr, "BYE");
    // Double: both get 200.
    world.receive(ALICE, second);
    world.expect(ALICE, "SIP/2.0 200");
    // Crossing: the device's own is answered at once.
    let bye = phones[0].next("BYE", "", "");
    world.receive(&phones[0].addr, bye);
    world.expect(&phones[0].addr, "SIP/2.0 200");
    world.receive(&phones[0].addr, down.respond(481, "", "", ""));
    world.expect(ALICE, "SIP/2.0 200");
    // Dead.
    let third = alice.next("BYE", "", "");
    world.receive(ALICE, third);
    world.expect(ALICE, "SIP/2.0 481");
    world.assert_empty();
}

// [SIP-DLG-06]: the caller may end an early dialog by BYE; the callee may not.
#[test]
fn a_bye_in_an_early_dialog() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phones = invited(&mut world, 1, &alice);
    phones[0].answer(&mut world, 180, "", "");
    let bye = phones[0].next("BYE", "", "");
    world.receive(&phones[0].addr, bye);
    world.expect(&phones[0].addr, "SIP/2.0 481");
    alice.answered(&world.expect(ALICE, "SIP/2.0 180"));
    let bye = alice.next("BYE", "", "");
    world.receive(ALICE, bye);
    world.expect(ALICE, "SIP/2.0 200");
    world.expect(ALICE, "SIP/2.0 487");
    answer(&mut world, &phones[0], "CANCEL");
    world.assert_empty();
}

// [SIP-DLG-06]: no BYE to the originator before its ACK.
#[test]
fn the_originator_gets_no_bye_before_its_ack() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phones = invited(&mut world, 1, &alice);
    phones[0].accept(&mut world);
    alice.answered(&world.expect(ALICE, "SIP/2.0 200"));
    let bye = phones[0].next("BYE", "Reason: SIP;cause=200\r\n", "");
    world.receive(&phones[0].addr, bye);
    world.expect_none(ALICE, "BYE");
    world.advance(seconds(2));
    world.forget();
    world.receive(ALICE, alice.ack());
    let up = world.expect(ALICE, "BYE");
    assert_eq!(up.get("Reason"), "SIP;cause=200");
    world.receive(ALICE, up.respond(200, "", "", ""));
    world.expect(&phones[0].addr, "SIP/2.0 200");
    world.assert_empty();
}

// [SIP-TXN-04]: our 200 is repeated until the ACK; without one, BYE at 64·T1. Four times, for this place has never answered (settled 42).
#[test]
fn a_200_that_nobody_acknowledges_ends_in_bye() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = invited(&mut world, 1, &alice);
    phones[0].accept(&mut world);
    world.advance(seconds(31));
    let all = world.all(ALICE, "SIP/2.0 200");
    assert_eq!(all.len(), 1 + 4);
    world.expect_none(ALICE, "BYE");
    world.advance(seconds(1));
    alice.answered(&all[0]);
    let up = world.expect(ALICE, "BYE");
    world.receive(ALICE, up.respond(200, "", "", ""));
    answer(&mut world, &phones[0], "BYE");
    world.assert_empty();

    // A late ACK of the INVITE before says nothing of this one (RFC 3261 §13.2.2.4: the same CSeq number).
    let mut world = World::new();
    let mut alice = Alice::new();
    established(&mut world, 1, &mut alice);
    let before = alice.ack();
    let again = alice.next("INVITE", "", &alice.sdp.clone());
    world.receive(ALICE, again);
    world.expect(ALICE, "SIP/2.0 200");
    world.receive(ALICE, before);
    world.advance(seconds(2));
    assert_eq!(world.all(ALICE, "SIP/2.0 200").len(), 2);

    // With an ACK it stops at once.
    let mut world = World::new();
    let mut alice = Alice::new();
    established(&mut world, 1, &mut alice);
    world.advance(seconds(40));
    world.expect_none(ALICE, "");
}

// settled.md 7, 8; [COMEDIA-07]
#[test]
fn lost_media_of_a_device_end_its_leg_alone() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 2, &mut alice);
    world.failed(1, Failure::NotConnected);
    let bye = answer(&mut world, &phones[0], "BYE");
    assert!(bye.get("Reason").contains("cause=503"));
    world.expect_none(ALICE, "");
    assert_eq!(
        world.leg(1),
        ("ended", "its MSRP connection never came up".to_owned())
    );
    world.failed(2, Failure::Slow);
    answer(&mut world, &phones[1], "BYE");
    let up = world.expect(ALICE, "BYE");
    world.receive(ALICE, up.respond(200, "", "", ""));
    world.assert_empty();
}

// settled.md 8: one attempt, then BYE to all within 6 s.
#[test]
fn a_lost_originator_gets_one_attempt() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 2, &mut alice);
    world.bound(0);
    world.failed(0, Failure::ConnectionLost);
    let again = world.expect(ALICE, "INVITE");
    assert_eq!(again.get("Call-ID"), alice.call_id);
    assert_eq!(again.sdp("a=setup"), ["actpass"]);
    let answer_sdp = sdp_version("alice", 2, 6002, "a=setup:active\r\n");
    world.receive(
        ALICE,
        again.respond(
            200,
            "",
            &format!("Contact: <sip:alice@{ALICE}>\r\n"),
            &answer_sdp,
        ),
    );
    world.expect(ALICE, "ACK");
    assert_eq!(world.peer(0).role, ringfork::msrp::Role::Passive);
    world.bound(0);
    world.advance(seconds(10));
    world.expect_none(&phones[0].addr, "BYE");
    // Lost again, and this time nobody comes back.
    world.failed(0, Failure::ConnectionLost);
    let lost_at = world.now;
    world.advance(seconds(6));
    for phone in &phones {
        let at = world
            .sent
            .iter()
            .find(|(a, _, m)| *a == addr(&phone.addr) && m.start.starts_with("BYE"))
            .unwrap()
            .1;
        assert!(at.since(lost_at) < seconds(6));
        answer(&mut world, phone, "BYE");
    }
    assert!(!world.all(ALICE, "BYE").is_empty());
}

#[test]
fn an_originator_that_never_connects_ends_the_session() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 1, &mut alice);
    world.failed(0, Failure::NotConnected);
    world.expect_none(ALICE, "INVITE");
    answer(&mut world, &phones[0], "BYE");
    let up = world.expect(ALICE, "BYE");
    world.receive(ALICE, up.respond(408, "", "", ""));
    world.assert_empty();
}

// [REG-08]
#[test]
fn a_device_that_unregisters_leaves_and_a_new_one_does_not_join() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 2, &mut alice);
    phones[0].register_for(&mut world, &format!(";{TAG}"), 0, 2);
    let bye = answer(&mut world, &phones[0], "BYE");
    assert!(bye.get("Reason").contains("cause=480"));
    world.expect_none(ALICE, "");
    let late = Phone::new(9);
    late.register(&mut world, &format!(";{TAG}"));
    world.expect_none(&late.addr, "INVITE");
    // The other's registration runs out.
    phones[1].register_for(&mut world, &format!(";{TAG}"), 60, 2);
    world.advance(seconds(61));
    answer(&mut world, &phones[1], "BYE");
    let up = world.expect(ALICE, "BYE");
    world.receive(ALICE, up.respond(200, "", "", ""));
    world.advance(seconds(40));
    assert_eq!(world.counters().sessions, 0);
}

// [REG-08]: one that still rings.
#[test]
fn a_ringing_device_that_unregisters_is_cancelled() {
    let mut world = World::new();
    let alice = Alice::new();
    let phones = invited(&mut world, 1, &alice);
    phones[0].answer(&mut world, 180, "", "");
    phones[0].register_for(&mut world, &format!(";{TAG}"), 0, 2);
    answer(&mut world, &phones[0], "CANCEL");
    world.expect(ALICE, "SIP/2.0 480");
    world.assert_empty();
}

#[test]
fn drain_ends_everything_and_takes_nothing_new() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 2, &mut alice);
    world.drain();
    for phone in &phones {
        answer(&mut world, phone, "BYE");
    }
    let up = world.expect(ALICE, "BYE");
    world.receive(ALICE, up.respond(200, "", "", ""));
    let mut other = Alice::new();
    other.call_id = "call-9";
    world.receive(ALICE, other.invite().replace("z9hG4bKinvite", "z9hG4bKnew"));
    world.expect(ALICE, "SIP/2.0 503");
    world.assert_empty();

    let mut world = World::new();
    let phones = invited(&mut world, 1, &Alice::new());
    phones[0].answer(&mut world, 180, "", "");
    world.drain();
    world.expect(ALICE, "SIP/2.0 503");
    answer(&mut world, &phones[0], "CANCEL");
    world.assert_empty();
}

// Nobody answers any BYE, CANCEL or INVITE: everything is over all the same.
#[test]
fn everything_ends_when_nobody_answers() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = invited(&mut world, 3, &alice);
    phones[0].accept(&mut world);
    phones[1].answer(&mut world, 180, "", "");
    alice.answered(&world.expect(ALICE, "SIP/2.0 200"));
    world.receive(ALICE, alice.ack());
    world.end();
    world.advance(seconds(100));
    world.assert_empty();
}

// A device that answers when the session is long over is acknowledged and ended (RFC 3261 §13.2.2.4).
#[test]
fn a_200_after_the_end_is_acknowledged_and_ended() {
    let mut world = World::new();
    let alice = Alice::new();
    let phones = invited(&mut world, 1, &alice);
    let mut twin = phones[0].clone();
    twin.tag = "twin".into();
    phones[0].answer(&mut world, 200, "", &phones[0].sdp());
    world.end();
    world.advance(seconds(1));
    world.receive(ALICE, alice.ack());
    let bye = world.expect(&phones[0].addr, "BYE");
    world.receive(&phones[0].addr, bye.respond(200, "", "", ""));
    world.forget();
    world.advance(seconds(20));
    twin.answer(&mut world, 200, "", &twin.sdp());
    assert!(world.expect(&twin.addr, "ACK").get("To").ends_with("twin"));
    assert!(world.expect(&twin.addr, "BYE").get("To").ends_with("twin"));
}
