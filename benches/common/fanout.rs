//! The data plane: one chunk of 200 bytes to 1, 2, 4 and 8 legs, and the leg table with many in it.

use super::{
    case::{Case, Meter, Rounds, whole},
    plane::{Bench, Coming, ids},
};

const BODY: usize = 200;
const SESSIONS: usize = 1000;

/// SENDs that a shard under load reads, passes on and sees answered at once.
const BATCH: usize = 16;

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for devices in [1, 2, 4, 8] {
        let (n, bytes) = (usize::from(devices), usize::from(devices) * BODY);
        let name = |what| format!("fanout-200B/{devices}-legs-{what}");
        all.push(
            Case::new(name("whole-delivery"), "delivery", bytes, move || {
                let mut bench = checked(devices);
                whole(move || bench.fan_out() == n && bench.answer() == 1)
            })
            .units(n),
        );
        all.push(
            Case::new(name("send-only"), "delivery", bytes, move || {
                send_only(devices)
            })
            .units(n),
        );
    }
    all.push(
        Case::new(
            "fanout-200B/4-legs-in batches",
            "delivery",
            4 * BATCH * BODY,
            || {
                let mut bench = checked(4);
                Box::new(move |rounds, meter| {
                    for _ in 0..rounds {
                        assert!(batch(&mut bench, meter), "not all of a batch was answered");
                    }
                })
            },
        )
        .units(4 * BATCH),
    );
    all.push(
        Case::new("legs/1000 sessions in turn", "delivery", BODY, || {
            let mut bench = Bench::many(SESSIONS, 1, BODY);
            whole(move || {
                bench.next();
                bench.fan_out() == 1 && bench.answer() == 1
            })
        })
        .rounds(2 * SESSIONS as u64),
    );
    all.push(
        Case::new("legs/come and go beside 1000", "leg", 0, || {
            let mut coming = Coming::beside(SESSIONS, 4);
            Box::new(move |rounds, meter| {
                for _ in 0..rounds {
                    assert!(coming.round(meter), "a leg heard nothing, or stayed");
                }
            })
        })
        .units(5),
    );
    all
}

/// One session, of which is known that it does what it says.
fn checked(devices: u8) -> Bench {
    let mut bench = Bench::new(devices, BODY);
    for _ in 0..100 {
        assert_eq!(bench.fan_out(), usize::from(devices));
        assert_eq!(bench.plane.gauges().unanswered, usize::from(devices));
        assert_eq!(bench.answer(), 1, "the 200 to the sender");
        assert_eq!(bench.plane.gauges().messages, 0);
    }
    bench
}

fn send_only(devices: u8) -> Rounds {
    let mut bench = checked(devices);
    Box::new(move |rounds, meter| {
        for _ in 0..rounds {
            let sent = meter.measure(|| bench.fan_out());
            assert_eq!(sent, usize::from(devices));
            assert_eq!(bench.answer(), 1, "the 200 to the sender");
        }
    })
}

/// Many SENDs come together, leave together, and are answered together.
fn batch(bench: &mut Bench, meter: &mut Meter) -> bool {
    let devices = bench.devices().iter();
    let mut sent: Vec<_> = devices
        .map(|&conn| (conn, Vec::with_capacity(BATCH * 1024)))
        .collect();
    meter.measure(|| {
        bench.batch_out(BATCH, |conn, piece| {
            if let Some((_, bytes)) = sent.iter_mut().find(|(to, _)| *to == conn) {
                bytes.extend_from_slice(piece);
            }
        });
    });
    let answers = bench.answers_to(&sent);
    meter.measure(|| bench.batch_answered(answers)) == 1
        && sent.iter().all(|(_, bytes)| ids(bytes).count() == BATCH)
        && bench.plane.gauges().messages == 0
}
