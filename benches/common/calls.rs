//! A shard's SIP: registrations, and sessions that come and go, without media.

use std::time::Duration;

use super::{
    case::{Case, Meter},
    driver::Driver,
    peers::{Peer, hang_up, set_up},
};

/// SIP messages of a session with two devices, in and out, from INVITE to the last answer.
const MESSAGES: usize = 19;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("session/REGISTER", "message", 0, || {
            let mut driver = Driver::new();
            let bob = Peer::new(1);
            let mut cseq = 0;
            Box::new(move |rounds, meter| {
                for _ in 0..rounds {
                    cseq += 1;
                    driver.pass(meter, Duration::from_millis(500));
                    assert!(bob.register(&mut driver, meter, cseq), "it is answered 200");
                }
            })
        })
        .units(2),
        Case::new("session/set-up and end", "message", 0, || {
            let mut calls = Calls::new();
            Box::new(move |rounds, meter| {
                for _ in 0..rounds {
                    calls.round(meter);
                }
            })
        })
        .units(MESSAGES)
        .rounds(70),
    ]
}

/// Alice, and Bob with two devices.
struct Calls {
    driver: Driver,
    alice: Peer,
    devices: Vec<Peer>,
    n: u64,
}

impl Calls {
    fn new() -> Self {
        let mut meter = Meter::default();
        let mut driver = Driver::new();
        let devices: Vec<Peer> = (1..=2).map(Peer::new).collect();
        for d in &devices {
            assert!(d.register(&mut driver, &mut meter, 1));
        }
        Self {
            driver,
            alice: Peer::new(0),
            devices,
            n: 0,
        }
    }

    /// One session, half a second after the last one: what is left of those before ends in between.
    fn round(&mut self, meter: &mut Meter) {
        let driver = &mut self.driver;
        driver.pass(meter, Duration::from_millis(500));
        driver.clear();
        self.n += 1;
        let id = format!("call{:06}", self.n);
        let before = driver.messages;
        let ends = (&mut self.alice, self.devices.as_mut_slice());
        let call = set_up(driver, meter, ends, &id, false);
        assert_eq!(driver.shard.function().counters().sessions, 1);
        let ends = (&self.alice, self.devices.as_slice());
        assert!(hang_up(driver, meter, ends, &call), "all hear the BYE");
        assert_eq!(driver.shard.function().counters().sessions, 0);
        assert_eq!(driver.messages - before, MESSAGES);
    }
}
