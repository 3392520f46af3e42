//! What is left when a session ends (settled.md 39), over a whole shard.

use std::time::Duration;

use crate::{
    lab::Lab,
    people::{cpim, session},
};

/// Alice's connection is lost for good: what Bob wrote meanwhile is reported to him before his BYE. (settled.md 8, 39)
#[test]
fn what_waits_for_a_lost_sender_is_reported_with_the_bye() {
    let mut lab = Lab::new();
    let (alice, devices) = session(&mut lab, 1);
    let d = &devices[0];
    lab.hang_up(alice.conn());
    let tid = d.say(&mut lab, "message/cpim", &cpim("are you still there?"));
    let answers = lab.frames(d.conn());
    assert_eq!((answers[0].what.as_str(), &answers[0].tid), ("200", &tid));
    lab.pass(Duration::from_millis(4_900));
    assert!(lab.frames(d.conn()).is_empty(), "she may come back");
    lab.pass(Duration::from_millis(200));
    lab.request_to(&d.sip, "BYE");
    let reports = lab.frames(d.conn());
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(reports[0].get("Status"), "000 408 Request Timeout");
}
