//! A call that a device sends to another user of ours.

use crate::{
    lab::{Lab, SIP_ADDR, TAG},
    people::{Alice, Device},
};

/// Whatever we have sent to ourselves comes in.
fn to_ourselves(lab: &mut Lab) {
    while let Some(m) = lab.to(SIP_ADDR) {
        let mut text = format!("{}\r\n", m.start);
        for (name, value) in &m.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let bytes = [text.as_bytes(), b"\r\n", &m.body].concat();
        lab.datagram(SIP_ADDR, &bytes);
    }
}

/// A device of Bob's sends the call to Carol, a user of ours too: it enters her procedure as a request of its own, whichever
/// shard serves her, and what her device says is Bob's word to Alice. [TERM-RSP-13]
#[test]
fn a_call_sent_to_another_user_of_ours_rings_his_device() {
    for shards in [1, 2, 4] {
        let mut lab = Lab::of(shards);
        let mut bob = Device::register(&mut lab, 1);
        let mut carol = Device::register_for(&mut lab, "carol", 2, TAG);
        let alice = Alice::new();
        alice.invite(&mut lab);
        bob.invited(&mut lab);
        bob.respond(&mut lab, 302, "Contact: <sip:carol@example.com>\r\n", "");
        lab.request_to(&bob.sip, "ACK");
        to_ourselves(&mut lab);
        let invite = carol.invited(&mut lab);
        assert!(invite.get("From").starts_with("<sip:alice@"));
        assert!(
            !invite.body.windows(9).any(|w| w == b"10.0.2.1:"),
            "nor Alice's path"
        );
        carol.respond(&mut lab, 180, "", "");
        to_ourselves(&mut lab);
        assert_eq!(lab.response_to(&alice.sip, "INVITE").code(), Some(180));
        // She sends it on, to where it came from or to a third: nobody is asked again.
        carol.respond(
            &mut lab,
            302,
            "Contact: <sip:bob@example.com>, <sip:dave@example.com>\r\n",
            "",
        );
        to_ourselves(&mut lab);
        let last = lab.response_to(&alice.sip, "INVITE");
        assert_eq!(last.code(), Some(480));
        assert!(lab.to(&bob.sip).is_none());
    }
}
