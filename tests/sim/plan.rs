//! What the operator, the devices and the senders of a run will do, drawn from its seed before anything happens.

use std::time::Duration;

use ringfork::config::{Ack, Config};

use crate::{
    device,
    net::Net,
    peer::Kind,
    sender::{self, Line},
};

/// What the operator wrote: the defaults, or small bounds that a run can reach.
pub(crate) fn config(net: &mut Net) -> Config {
    let mut config = Config {
        drain: Duration::from_secs(1),
        ..Config::default()
    };
    if net.pick(3) == 0 {
        net.saw("outbox of 64 KiB");
        config.msrp.outbox_bytes = 64 << 10;
    }
    if net.pick(3) == 0 {
        net.saw("ack receipt");
        config.msrp.ack = Ack::Receipt;
    }
    if net.pick(3) == 0 {
        net.saw("sessions of 90 s");
        config.sip.session_expires = Duration::from_secs(90);
    }
    config.msrp.cema = net.pick(4) != 0;
    config
}

fn ms(net: &mut Net, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + net.pick(usize::try_from(to - from).expect("small")) as u64)
}

pub(crate) fn device_plan(net: &mut Net) -> device::Plan {
    let ring_after = (net.pick(2) == 0).then(|| ms(net, 1, 400));
    let answer = match net.pick(12) {
        0 => None,
        1 => Some((ms(net, 10, 900), 486)),
        2 => Some((ms(net, 10, 900), [480, 603, 404, 500, 200][net.pick(5)])),
        3 => Some((ms(net, 3_000, 20_000), 200)),
        _ => Some((ms(net, 1, 1_500), 200)),
    };
    let ack = match net.pick(14) {
        0 => None,
        1 => Some((Duration::ZERO, 413)),
        2 => Some((ms(net, 30, 3_000), 200)),
        _ => Some((Duration::from_micros(net.pick(2_000) as u64), 200)),
    };
    let kinds = [
        Kind::Chat,
        Kind::Composing,
        Kind::WrappedComposing,
        Kind::Imdn,
    ];
    let acts = (net.pick(2) == 0).then(|| (1 + net.pick(6), kinds[net.pick(4)]));
    let faulty = net.faults.reset > 0;
    device::Plan {
        register_at: ms(net, 0, 300),
        ring_after,
        answer,
        twice: net.pick(6) == 0,
        blank: net.pick(25) == 0,
        setup: if net.pick(2) == 0 {
            "active"
        } else {
            "passive"
        },
        cema: net.pick(2) == 0,
        ack,
        ack_twice: net.pick(8) == 0,
        ack_strange: net.pick(8) == 0,
        acts,
        stalls: (faulty && net.pick(8) == 0).then(|| (1 + net.pick(4), ms(net, 50, 20_000))),
        resets: (faulty && net.pick(12) == 0).then(|| 1 + net.pick(8)),
        leaves: (net.pick(10) == 0).then(|| ms(net, 500, 20_000)),
        mute_after: None,
        again: Vec::new(),
    }
}

pub(crate) fn sender_plan(net: &mut Net) -> sender::Plan {
    let count = 1 + net.pick(14);
    let (mut at, mut soon) = (Duration::from_millis(20), false);
    // Some write faster than a slow device reads.
    let hasty = net.pick(5) == 0;
    let lines = (0..count)
        .map(|_| {
            let most = if hasty || std::mem::take(&mut soon) {
                40
            } else {
                900
            };
            at += ms(net, 5, most);
            let size = match net.pick(8) {
                0 => 60_000 + net.pick(150_000),
                2 | 3 if hasty => 20_000 + net.pick(100_000),
                1 => 5_000 + net.pick(20_000),
                4 => 130,
                _ => 130 + net.pick(2_000),
            };
            let chunk = (net.pick(3) == 0)
                .then(|| 200 + net.pick(20_000))
                .map(|c| c.max(size / 60));
            let reports = [
                "",
                "",
                "Failure-Report: yes\r\n",
                "Success-Report: yes\r\n",
                "Failure-Report: no\r\n",
                "Failure-Report: partial\r\n",
                "Success-Report: yes\r\nFailure-Report: no\r\n",
            ][net.pick(7)];
            // The chunks of one message are written 2 ms apart; the next message waits for them, or is written in between.
            let line = Line {
                at,
                size,
                chunk,
                reports,
                aborted: net.pick(12) == 0,
            };
            if net.pick(3) == 0 {
                // The next message may begin between the chunks of this one.
                soon = true;
            } else {
                at += Duration::from_millis(2)
                    * u32::try_from(chunk.map_or(1, |c| size / c + 2)).expect("few chunks");
            }
            line
        })
        .collect();
    let settle = match net.pick(9) {
        0..=2 => ms(net, 0, 3_000),
        // Long enough for a session timer.
        3 => Duration::from_secs(150),
        _ => Duration::from_secs(45),
    };
    sender::Plan {
        invite_at: ms(net, 400, 1_200),
        cancel_after: (net.pick(8) == 0).then(|| ms(net, 1, 2_000)),
        setup: ["active", "actpass", "passive"][net.pick(3)],
        cema: net.pick(2) == 0,
        lines,
        resets: (net.faults.reset > 0 && net.pick(20) == 0).then(|| ms(net, 100, 5_000)),
        bye_after: at + settle,
    }
}
