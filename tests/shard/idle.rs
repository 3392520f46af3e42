//! What a leg that stands idle holds: live heap bytes of a shard, exactly, as the difference of two shards of which one has
//! twice as many sessions. What `io` holds of a connection and what the allocator rounds up come on top: `idle-slope` of
//! `perf/targets.toml` counts them.

use std::time::Duration;

use ringfork::{config::Config, limits::Limits};

use crate::{
    lab::{Lab, TAG},
    memory::live,
    people::{Alice, Device, established},
};

/// Devices of each user: as in `perf/scenarios/idle.toml`.
const DEVICES: u8 = 8;

/// Past 64·T1 all transactions are over (RFC 3261 §17).
const WAIT: Duration = Duration::from_secs(40);

/// Heap bytes of a shard with so many users, and with a session of each if they are `called`.
fn held(users: u8, called: bool) -> isize {
    let config = Config::default();
    let mut lab = Lab::limited(&config, &Limits::new(&config, 1));
    for user in 1..=users {
        let devices: Vec<Device> = (1..=DEVICES)
            .map(|n| {
                let mut device = Device::new(&format!("user{user}"), n);
                device.sip = format!("10.1.{user}.{n}:5060");
                let m = device.registration(&mut lab, TAG);
                lab.datagram(&device.sip, &m);
                let answer = lab.response_to(&device.sip, "REGISTER");
                assert_eq!(answer.code(), Some(200));
                device
            })
            .collect();
        if called {
            established(
                &mut lab,
                Alice::calling(&format!("user{user}"), user),
                devices,
            );
        }
        // A few at a time: tables of transactions grow with what is under way at once, not with what stands.
        if user.is_multiple_of(8) {
            lab.pass(WAIT);
        }
    }
    lab.pass(WAIT);
    let shard = lab.shards.pop().expect("one shard");
    let legs = usize::from(users) * (1 + usize::from(DEVICES));
    assert_eq!(
        shard.function().counters().legs,
        if called { legs } else { 0 }
    );
    let report = shard.report();
    assert_eq!(report.transactions, 0);
    let before = live();
    drop(shard);
    before - live()
}

/// Heap bytes of an idle leg with its dialog, and of a registration, at most: what was counted, and 5 %; and a ninth of what a
/// session takes to be counted for its user.
const LEG_MAX: isize = 1_660;
const REGISTRATION_MAX: isize = 540;

/// Target `idle-slope`: bytes that nobody needs any more, or that only the busy need, are not held by those that stand.
#[test]
fn an_idle_leg_holds_little() {
    let (few, many) = (56u8, 112);
    let users = isize::from(many - few);
    let (legs, devices) = (
        users * (1 + isize::from(DEVICES)),
        users * isize::from(DEVICES),
    );
    let registered = held(many, false) - held(few, false);
    let standing = held(many, true) - held(few, true);
    let (leg, registration) = ((standing - registered) / legs, registered / devices);
    println!("a leg {leg} bytes, a registration {registration}");
    assert!(leg <= LEG_MAX, "an idle leg holds {leg} bytes");
    assert!(
        registration <= REGISTRATION_MAX,
        "a registration holds {registration} bytes"
    );
}
