//! Messages in chunks of one octet, in any order: their number refuses nothing that their bytes do not (settled.md 35).

use crate::harness::{Msg, Send, World, assemble, bare, cpim, pattern};

/// The body that SENDs put together by their Byte-Ranges, in whatever order.
fn placed(sends: &[Msg]) -> Vec<u8> {
    let mut all = Vec::new();
    for send in sends {
        let start: usize = send
            .header("Byte-Range")
            .unwrap()
            .split('-')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let body = send.body.as_deref().unwrap_or_default();
        all.resize(all.len().max(start - 1 + body.len()), 0);
        all[start - 1..start - 1 + body.len()].copy_from_slice(body);
    }
    all
}

/// The orders in which a sender may write `n` octets, each in a chunk of its own.
fn orders(w: &mut World, n: usize) -> Vec<(&'static str, Vec<usize>)> {
    let mut random: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        random.swap(i, w.chance(i as u64 + 1) as usize);
    }
    vec![
        ("rising", (0..n).collect()),
        ("falling", (0..n).rev().collect()),
        (
            "even, then odd",
            (0..n).step_by(2).chain((1..n).step_by(2)).collect(),
        ),
        ("random", random),
    ]
}

// settled.md 35: 1-octet chunks of a CPIM message in any order: their number refuses nothing, what waits until the type is
// known is joined. RFC 4975 §5.1: each is answered 200. [MSRP-CHUNK-05] [CPIM-05]
#[test]
fn a_cpim_message_in_chunks_of_one_octet_in_any_order() {
    let mut w = World::plain();
    for (n, wordy) in [(700, false), (9_500, true)] {
        let text = String::from_utf8(pattern(n)).unwrap();
        let body = if wordy {
            // Its headers go on for 8,000 octets.
            let long = format!("Subject: {}\r\n\r\nContent-Type", text.split_at(7_500).0);
            cpim("text/plain", "x").replacen("\r\n\r\nContent-Type", &format!("\r\n{long}"), 1)
        } else {
            cpim("text/plain", &text)
        };
        let body = body.as_bytes();
        for (order, places) in orders(&mut w, body.len()) {
            let legs = w.session(2);
            let id = w.id("octets");
            let mut got = Vec::new();
            let last = *places.last().unwrap();
            for &at in &places {
                let flag = if at + 1 == body.len() { '$' } else { '+' };
                let send = Send::new(&mut w, &body[at..=at])
                    .id(&id)
                    .range(&format!("{0}-{0}/{1}", at + 1, body.len()))
                    .content_type("message/cpim")
                    .flag(flag);
                w.feed(legs[0].conn, &send.on(&legs[0]));
                let sends = w.ack_all(&legs[1]);
                w.ack_all(&legs[2]);
                if order == "falling" && at != last {
                    assert!(sends.is_empty(), "not before its type is known");
                }
                got.extend(sends);
                assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200), "{order} {at}");
            }
            assert_eq!(placed(&got), body, "{order}");
            assert_eq!(got.iter().filter(|m| m.flag == b'$').count(), 1, "{order}");
            if order == "falling" {
                assert_eq!(got.len(), 2, "what waited is one chunk");
            }
            assert_eq!(w.plane.gauges().messages, 0, "{order}");
            w.end(legs[0].session);
        }
    }
}

// What waits for a device is put together, whatever the order; later bytes win. [MSRP-CHUNK-06]
#[test]
fn octets_in_any_order_wait_for_a_device_and_go_out_whole() {
    let mut w = World::plain();
    let body = pattern(2_000);
    for (order, places) in orders(&mut w, body.len()) {
        let session = w.open();
        let sender = w.leg(session, 0);
        let mut device = w.unbound_leg(session, 1, |_| ());
        let id = w.id("octets");
        let end = body.len() - 1;
        // First the wrong octets, then the right ones, and the end.
        let first = places.iter().filter(|&&at| at != end).map(|&at| (at, b'-'));
        let then = places
            .iter()
            .filter(|&&at| at != end)
            .map(|&at| (at, body[at]));
        for (at, octet) in first.chain(then).chain([(end, body[end])]) {
            let send = Send::new(&mut w, [octet])
                .id(&id)
                .range(&format!("{0}-{0}/{1}", at + 1, body.len()))
                .flag(if at == end { '$' } else { '+' });
            w.feed(sender.conn, &send.on(&sender));
        }
        let held = w.plane.gauges().held_bytes;
        assert!(held < 8_000, "{order}: {held}");
        device.conn = w.accept();
        let tid = w.id("bind");
        let bytes = bare(&tid, &device);
        w.feed(device.conn, &bytes);
        let got = w.ack_all(&device);
        assert_eq!(got.len(), 1, "{order}");
        assert_eq!(assemble(&got), body, "{order}");
        w.end(session);
    }
}
