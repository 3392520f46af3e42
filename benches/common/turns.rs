//! One whole turn of a shard, as `serve` runs it, with chunks of an established session.

use std::time::Duration;

use ringfork::{buf::Slice, ids::ConnId, shard::World};

use super::{
    case::{Case, Meter},
    driver::Driver,
    peers::{Peer, set_up},
    received::received,
};

const BODY: usize = 200;
/// SENDs that come in one buffer at saturation: the window of `ringfork-load`.
const WINDOW: usize = 64;

pub(crate) fn cases() -> Vec<Case> {
    [(1, 1), (1, 4), (WINDOW, 1), (WINDOW, 4), (WINDOW, 8)]
        .into_iter()
        .map(|(sends, devices)| {
            let (name, n) = (
                format!("turn/{sends}-sends-{devices}-legs"),
                sends * devices,
            );
            Case::new(name, "delivery", n * BODY, move || {
                let mut talk = Talk::new(sends, devices);
                Box::new(move |rounds, meter| {
                    for _ in 0..rounds {
                        talk.round(meter);
                    }
                })
            })
            .units(n)
            .rounds(if sends == 1 { 200 } else { 20 })
        })
        .collect()
}

/// Alice and the devices of Bob, with media.
fn session(devices: usize) -> (Driver, Peer, Vec<Peer>) {
    let mut meter = Meter::default();
    let mut driver = Driver::new();
    let mut alice = Peer::new(0);
    let mut all: Vec<Peer> = (1..).map(Peer::new).take(devices).collect();
    for d in &all {
        assert!(d.register(&mut driver, &mut meter, 1));
    }
    set_up(
        &mut driver,
        &mut meter,
        (&mut alice, &mut all),
        "call",
        true,
    );
    driver.clear();
    (driver, alice, all)
}

/// An established session: what is said in it, a buffer at a time.
struct Talk {
    driver: Driver,
    alice: ConnId,
    sends: Slice,
    count: usize,
    devices: Vec<Device>,
}

struct Device {
    conn: ConnId,
    /// The answer to a SEND behind its transaction id, which stands twice in it.
    middle: String,
}

impl Talk {
    fn new(count: usize, devices: usize) -> Self {
        let (driver, alice, devices) = session(devices);
        let cpim = "From: <sip:alice@example.com>\r\nTo: <sip:bob@example.com>\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\nContent-Type: text/plain;charset=utf-8\r\n\r\n";
        let content = format!("{cpim}{}", "x".repeat(BODY - cpim.len()));
        let send = |n| {
            format!(
                "MSRP tid{n:05} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: mid{n:05}\r\nByte-Range: 1-{BODY}/{BODY}\r\nContent-Type: message/cpim\r\n\r\n{content}\r\n-------tid{n:05}$\r\n",
                alice.theirs, alice.own
            )
        };
        let sends: String = (0..count).map(send).collect();
        let device = |d: &Peer| Device {
            conn: d.conn.expect("connected"),
            middle: format!(
                " 200 OK\r\nTo-Path: {}\r\nFrom-Path: {}\r\n-------",
                d.theirs, d.own
            ),
        };
        Self {
            driver,
            alice: alice.conn.expect("connected"),
            sends: received(sends.as_bytes()),
            count,
            devices: devices.iter().map(device).collect(),
        }
    }

    /// A turn with what Alice says, a turn with what all devices answer: she gets her 200s.
    fn round(&mut self, meter: &mut Meter) {
        let Self { driver, alice, .. } = self;
        driver.pass(meter, Duration::from_micros(100));
        let sends = self.sends.clone();
        driver.turn(meter, |shard, now| shard.received(now, *alice, sends));
        let answers: Vec<(ConnId, Slice)> = self
            .devices
            .iter()
            .map(|d| {
                let ids = ids(driver.got(d.conn));
                assert_eq!(ids.len(), self.count, "each SEND went to each device");
                let answer = |id: &&str| format!("MSRP {id}{}{id}$\r\n", d.middle);
                let text: String = ids.iter().map(answer).collect();
                (d.conn, Slice::copied(text.as_bytes()))
            })
            .collect();
        driver.turn(meter, |shard, now| {
            for (conn, bytes) in answers {
                shard.received(now, conn, bytes);
            }
        });
        let told = driver
            .got(*alice)
            .windows(10)
            .filter(|w| *w == b" 200 OK\r\nT");
        assert_eq!(told.count(), self.count, "one 200 each");
        assert_eq!(driver.shard.plane().gauges().messages, 0);
    }
}

/// The transaction ids of the SENDs that a device got.
fn ids(got: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(got).expect("text");
    text.match_indices(" SEND\r\nTo-Path: ")
        .map(|(at, _)| &text[at - 16..at])
        .collect()
}
