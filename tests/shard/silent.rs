//! Media that never come up, and messages that nobody takes.

use std::time::Duration;

use crate::{
    lab::{Lab, MEDIA},
    people::{Alice, COMPOSING, Device, cpim, session},
};

/// A connection that names no session is closed after `bind_s`, and nobody else notices. [MSRP-CONN-04]
#[test]
fn a_connection_that_names_no_session_is_closed() {
    let mut lab = Lab::new();
    let (alice, devices) = session(&mut lab, 1);
    let silent = lab.connect(MEDIA, "10.0.9.9:1");
    lab.pass(Duration::from_secs(31));
    assert!(lab.wire(silent).closed.is_some());
    alice.say(&mut lab, "msg-1", &cpim("still here"));
    assert_eq!(lab.sends(devices[0].conn()).len(), 1);
}

/// An active device that never connects: BYE to it alone after `bind_s`, the others go on. [COMEDIA-07]
#[test]
fn media_that_never_comes_up_ends_that_leg_alone() {
    let mut lab = Lab::new();
    let mut devices: Vec<Device> = (1..=2).map(|n| Device::register(&mut lab, n)).collect();
    let mut alice = Alice::new();
    alice.invite(&mut lab);
    for device in &mut devices {
        device.invited(&mut lab);
    }
    devices[0].accept(&mut lab);
    alice.up(&mut lab);
    let silent = &devices[1];
    let more = format!(
        "Contact: <sip:bob@{}>\r\nContent-Type: application/sdp\r\n",
        silent.sip
    );
    silent.respond(&mut lab, 200, &more, &silent.sdp("active", ""));
    lab.request_to(&silent.sip, "ACK");
    let heard = |lab: &mut Lab, id: &str| {
        alice.say(lab, id, &cpim(id));
        let sends = lab.sends(devices[0].conn());
        assert_eq!(sends.len(), 1, "{id}");
        devices[0].ok(lab, &sends[0], 200);
        assert!(
            lab.frames(alice.conn()).iter().all(|f| f.what == "200"),
            "{id}"
        );
    };
    heard(&mut lab, "before");
    lab.pass(Duration::from_secs(29));
    assert!(lab.to(&silent.sip).is_none(), "it has until `bind_s`");
    lab.pass(Duration::from_secs(2));
    let bye = lab.request_to(&silent.sip, "BYE");
    assert!(bye.get("Reason").starts_with("SIP;cause=503"));
    lab.datagram(&silent.sip, &bye.answer(200, "OK", "", "", ""));
    heard(&mut lab, "after");
    assert!(lab.to(&alice.sip).is_none() && lab.to(&devices[0].sip).is_none());
    assert!(
        lab.frames(alice.conn()).is_empty(),
        "no report: one device has it"
    );
}

/// isComposing that nobody takes: nothing is kept for later, nothing is told to anybody, by REPORT or by MESSAGE. [ISCOMP-02]
#[test]
fn composing_that_nobody_takes_is_forgotten() {
    let mut lab = Lab::new();
    let mut device = Device::register(&mut lab, 1);
    let mut alice = Alice::new();
    alice.invite(&mut lab);
    device.invited(&mut lab);
    let more = format!(
        "Contact: <sip:bob@{}>\r\nContent-Type: application/sdp\r\n",
        device.sip
    );
    device.respond(&mut lab, 200, &more, &device.sdp("active", ""));
    lab.request_to(&device.sip, "ACK");
    alice.up(&mut lab);
    let composing = format!(
        "From: <sip:alice@other.example>\r\nTo: <sip:bob@example.com>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
         imdn.Message-ID: x\r\nimdn.Disposition-Notification: positive-delivery, negative-delivery\r\n\r\n\
         Content-Type: application/im-iscomposing+xml\r\n\r\n{COMPOSING}"
    );
    alice.say(&mut lab, "typing", composing.as_bytes());
    lab.pass(Duration::from_secs(31));
    // The device never connected; its BYE and Alice's are all that goes out.
    lab.request_to(&device.sip, "BYE");
    // An IMDN would be a SEND; what was asked of the data plane is answered by it.
    let told = lab.frames(alice.conn());
    assert!(told.iter().all(|f| f.what != "SEND"), "{told:?}");
    while let Some(m) = lab.to(&alice.sip) {
        assert!(m.code().is_some() || m.method() == "BYE", "{m:?}");
    }
}
