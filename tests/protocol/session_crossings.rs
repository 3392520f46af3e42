//! What crosses what: legs on their way out, ACKs that are held, dialogs that nobody waits for.

use ringfork::msrp::Failure;

use crate::world::*;

// The BYE that ends a second dialog of a device's INVITE has the CSeq of the leg's own: its answer is not the leg's.
#[test]
fn the_answer_to_a_strays_bye_ends_no_leg() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let phones = established(&mut world, 2, &mut alice);
    let mut twin = phones[0].clone();
    twin.tag = "twin".into();
    twin.accept(&mut world);
    let stray = world.expect(&twin.addr, "BYE");
    world.activity(2);
    let own = world.expect(&phones[0].addr, "BYE");
    assert_eq!((stray.cseq(), own.cseq()), (2, 2));
    world.receive(&twin.addr, stray.respond(200, "", "", ""));
    assert_eq!(world.leg(1).0, "ending");
    world.receive(&phones[0].addr, own.respond(200, "", "", ""));
    assert_eq!(world.leg(1).0, "ended");
}

// [SIP-DLG-06]: an originator who is to leave gets his BYE when he has acknowledged our 200; until then that is all that waits.
// A change that was to be tried again by then is dropped with the session.
#[test]
fn an_originator_on_his_way_out_is_asked_nothing_more() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phones = invited(&mut world, 1, &alice);
    phones[0].accept(&mut world);
    alice.answered(&world.expect(ALICE, "SIP/2.0 200"));
    // Not acknowledged yet, so the connection that is lost can be asked back only later.
    world.failed(0, Failure::ConnectionLost);
    let bye = phones[0].next("BYE", "", "");
    world.receive(&phones[0].addr.clone(), bye);
    world.advance(seconds(3));
    world.expect_none(ALICE, "INVITE");
    world.expect_none(ALICE, "BYE");
    world.receive(ALICE, alice.ack());
    let up = world.expect(ALICE, "BYE");
    world.receive(ALICE, up.respond(200, "", "", ""));
    world.expect(&phones[0].addr, "SIP/2.0 200");
    world.assert_empty();
}

// RFC 3261 §13.2.2.4: a 2xx gets its ACK, also where that waited for the originator's answer and the device leaves before.
#[test]
fn a_held_ack_goes_out_when_the_device_leaves() {
    let mut world = World::new();
    let mut alice = Alice::new();
    alice.sdp.clear();
    let mut phones = invited(&mut world, 1, &alice);
    phones[0].answer(&mut world, 200, "", &phones[0].sdp());
    world.expect_none(&phones[0].addr, "ACK");
    let bye = phones[0].next("BYE", "", "");
    world.receive(&phones[0].addr.clone(), bye);
    world.expect(&phones[0].addr, "ACK");
}

// [SIP-DLG-06]: the originator hangs up while our BYE is on its way to him: he gets his 200, and so does the device.
#[test]
fn the_originators_bye_crosses_ours() {
    let mut world = World::new();
    let mut alice = Alice::new();
    let mut phones = established(&mut world, 1, &mut alice);
    let bye = phones[0].next("BYE", "", "");
    world.receive(&phones[0].addr, bye);
    let ours = world.expect(ALICE, "BYE");
    let his = alice.next("BYE", "", "");
    world.receive(ALICE, his);
    world.expect(ALICE, "SIP/2.0 200");
    world.receive(ALICE, ours.respond(481, "", "", ""));
    world.expect(&phones[0].addr, "SIP/2.0 200");
    world.assert_empty();
}
