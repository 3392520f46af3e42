//! Chunks: large bodies, ranges, interruption, abort, order.

use std::time::Duration;

use ringfork::msrp::{Ack, Event};

use crate::harness::{Msg, Send, World, assemble, each_way, each_way_with, pattern, settings};

fn range(m: &Msg) -> &str {
    m.header("Byte-Range").unwrap()
}

// [MSRP-CHUNK-01] A chunk over 2048 octets on a leg is interruptible, whatever the sender wrote.
#[test]
fn a_large_chunk_is_interruptible() {
    each_way(|w| {
        let legs = w.session(1);
        for (size, given, want) in [
            (2048, Some("1-2048/2048"), "1-2048/2048"),
            (2049, Some("1-2049/2049"), "1-*/2049"),
            (5000, None, "1-*/5000"),
            (5000, Some("1-*/5000"), "1-*/5000"),
            (5000, Some("1-*/*"), "1-*/*"),
            (20_000, Some("1-20000/20000"), "1-*/20000"),
        ] {
            let mut send = Send::new(w, pattern(size));
            send.range = given.map(str::to_owned);
            w.feed(legs[0].conn, &send.on(&legs[0]));
            let got = w.ack_all(&legs[1]);
            assert_eq!(got.len(), 1, "{size} {given:?}");
            assert_eq!(range(&got[0]), want);
            assert_eq!(got[0].body.as_deref(), Some(&send.body[..]));
        }
        w.end(legs[0].session);
    });
}

// [MSRP-CHUNK-02] [MSRP-CHUNK-04] Chunks go out in order, with their true positions, one Message-ID and the same reports asked.
#[test]
fn a_message_in_chunks() {
    each_way(|w| {
        let legs = w.session(2);
        let body = pattern(6_000);
        let id = w.id("chunked");
        for (n, part) in body.chunks(1_000).enumerate() {
            let start = n * 1_000 + 1;
            let send = Send::new(w, part)
                .id(&id)
                .range(&format!("{start}-{}/6000", start + 999))
                .extra("Success-Report: yes")
                .flag(if n == 5 { '$' } else { '+' });
            w.feed(legs[0].conn, &send.on(&legs[0]));
            if n < 5 {
                // settled.md R1: a chunk with `+` is answered on receipt.
                assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
            } else {
                assert!(w.read(legs[0].conn).is_empty(), "the last one is held");
            }
        }
        for leg in &legs[1..] {
            let got = w.sends(leg.conn);
            assert_eq!(got.len(), 6);
            assert_eq!(assemble(&got), body);
            for (n, m) in got.iter().enumerate() {
                assert_eq!(m.header("Message-ID"), Some(id.as_str()));
                assert_eq!(m.header("Success-Report"), Some("yes"));
                assert_eq!(m.header("Failure-Report"), None);
                assert_eq!(m.flag, if n == 5 { b'$' } else { b'+' });
            }
        }
        w.end(legs[0].session);
    });
}

// [MSRP-CHUNK-03] A large transfer is interrupted with `+` for a response on the same connection, and goes on under the same
// Message-ID at the right position.
#[test]
fn a_transfer_is_interrupted_for_a_response() {
    let mut w = World::plain();
    let legs = w.session(1);
    let body = pattern(60_000);
    let send = Send::new(&mut w, &body).range("1-*/60000");
    let bytes = send.on(&legs[0]);
    let (first, second) = bytes.split_at(30_000);
    w.feed_once(legs[0].conn, first);
    let device = Send::new(&mut w, "me too");
    w.feed(legs[1].conn, &device.on(&legs[1]));
    // Before the transfer has ended.
    let early = w.read(legs[1].conn);
    assert_eq!(early.len(), 2);
    assert_eq!((early[0].flag, early[1].code()), (b'+', Some(200)));
    w.feed_once(legs[0].conn, second);
    let late = w.read(legs[1].conn);
    assert_eq!(late.len(), 1);
    assert_eq!(late[0].header("Message-ID"), Some(send.id.as_str()));
    assert_ne!(late[0].tid, early[0].tid);
    assert_eq!(late[0].flag, b'$');
    assert_eq!(assemble(&[early[0].clone(), late[0].clone()]), body);
    assert_eq!(
        range(&late[0]),
        format!("{}-*/60000", early[0].body.as_ref().unwrap().len() + 1)
    );
    // The sender, too, got the device's message in between.
    assert_eq!(w.one(legs[0].conn).text(), "me too");
}

// [MSRP-CHUNK-03] Two sessions on one device connection: a short message of the second gets through before the transfer ends.
#[test]
fn another_session_on_the_same_connection_gets_through() {
    let mut w = World::plain();
    let one = w.session(1);
    let two_session = w.open();
    let two_sender = w.leg(two_session, 0);
    let mut two = w.unbound_leg(two_session, 1, |_| ());
    two.conn = one[1].conn;
    w.bind(&two);
    let body = pattern(60_000);
    let send = Send::new(&mut w, &body).range("1-*/60000");
    let bytes = send.on(&one[0]);
    let (first, second) = bytes.split_at(30_000);
    w.feed_once(one[0].conn, first);
    let short = Send::new(&mut w, "short");
    w.feed(two_sender.conn, &short.on(&two_sender));
    let got = w.sends(two.conn);
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].flag, b'+');
    assert_eq!(
        (got[1].text().as_str(), got[1].header("To-Path")),
        ("short", Some(two.path.as_str()))
    );
    w.feed_once(one[0].conn, second);
    let rest = w.sends(one[1].conn);
    assert_eq!(assemble(&[got[0].clone(), rest[0].clone()]), body);
}

// A frame without input for a second is interrupted, and resumed when more comes (settled.md 10).
#[test]
fn a_quiet_second_interrupts_a_frame() {
    let mut w = World::plain();
    let legs = w.session(2);
    let body = pattern(40_000);
    let send = Send::new(&mut w, &body).range("1-*/*");
    let bytes = send.on(&legs[0]);
    w.feed_once(legs[0].conn, &bytes[..20_000]);
    w.pass(Duration::from_millis(900));
    assert!(w.read(legs[1].conn).is_empty(), "still open");
    w.pass(Duration::from_millis(200));
    let mut got = w.sends(legs[1].conn);
    assert_eq!((got.len(), got[0].flag), (1, b'+'));
    w.feed_once(legs[0].conn, &bytes[20_000..30_000]);
    w.pass(Duration::from_millis(1_100));
    got.extend(w.sends(legs[1].conn));
    assert_eq!(got.len(), 2, "interrupted a second time");
    w.feed_once(legs[0].conn, &bytes[30_000..]);
    got.extend(w.sends(legs[1].conn));
    assert_eq!(got.iter().map(|m| m.flag).collect::<Vec<_>>(), b"++$");
    assert_eq!(assemble(&got), body);
    assert_eq!(assemble(&w.sends(legs[2].conn)), body);
}

// Only the end-line is missing when the frame is interrupted: an empty chunk says that the message is complete.
#[test]
fn an_interrupted_frame_with_nothing_left_ends_with_an_empty_chunk() {
    let mut w = World::plain();
    let legs = w.session(1);
    let body = pattern(20_000);
    let send = Send::new(&mut w, &body).range("1-*/20000");
    let bytes = send.on(&legs[0]);
    let end = send.end().len();
    w.feed_once(legs[0].conn, &bytes[..bytes.len() - end]);
    w.pass(Duration::from_millis(1_100));
    w.feed_once(legs[0].conn, &bytes[bytes.len() - end..]);
    let got = w.sends(legs[1].conn);
    assert_eq!(got.iter().map(|m| m.flag).collect::<Vec<_>>(), b"+$");
    assert_eq!(range(&got[1]), "20001-20000/20000");
    assert_eq!(assemble(&got), body);
    for m in &got {
        w.respond(&legs[1], m, 200);
    }
    assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
}

// [MSRP-CHUNK-05] Chunks 2, 1, 3 in that order: passed on as they come, put together for what is kept; `$` on the last position
// fixes the total.
#[test]
fn chunks_out_of_order() {
    each_way(|w| {
        let legs = w.session(1);
        let id = w.id("disorder");
        for (range, body, flag) in [
            ("4-6/*", "def", '+'),
            ("1-3/*", "abc", '+'),
            ("7-9/*", "ghi", '$'),
        ] {
            let send = Send::new(w, body).id(&id).range(range).flag(flag);
            w.feed(legs[0].conn, &send.on(&legs[0]));
            let got = w.one(legs[1].conn);
            assert_eq!((got.text().as_str(), got.flag), (body, flag as u8));
            let want = if flag == '$' { "7-9/9" } else { range };
            assert!(range_is(&got, range) || range_is(&got, want));
        }
        // Nobody answers: what was kept is the message.
        w.pass(Duration::from_secs(31));
        let kept = w.events.iter().find_map(|e| match e {
            Event::Undelivered { body, .. } => Some(body.clone()),
            _ => None,
        });
        assert_eq!(kept.as_deref(), Some(&b"abcdefghi"[..]));
        w.end(legs[0].session);
    });
}

fn range_is(m: &Msg, want: &str) -> bool {
    m.header("Byte-Range") == Some(want)
}

// [MSRP-CHUNK-05] `$` in a middle position fixes the total, whatever the range said.
#[test]
fn the_last_flag_fixes_the_total() {
    each_way(|w| {
        let legs = w.session(1);
        let id = w.id("short");
        let first = Send::new(w, "abc").id(&id).range("1-3/9").flag('+');
        w.feed(legs[0].conn, &first.on(&legs[0]));
        let last = Send::new(w, "de").id(&id).range("4-*/9");
        w.feed(legs[0].conn, &last.on(&legs[0]));
        let got = w.ack_all(&legs[1]);
        assert_eq!(assemble(&got), b"abcde");
        assert_eq!(range(&got[1]), "4-5/5", "consistent with what is sent");
        assert_eq!(w.answer(legs[0].conn, &last.tid), Some(200));
        assert_eq!(w.plane.gauges().messages, 0, "the message is complete");
        w.end(legs[0].session);
    });
}

// [MSRP-CHUNK-06] [MSRP-CHUNK-09] A chunk that says 1-100 and has 60 bytes: its range on the leg is that of its bytes, and the
// next byte is 61.
#[test]
fn the_length_is_that_of_the_body() {
    each_way(|w| {
        let legs = w.session(1);
        let id = w.id("lied");
        let first = Send::new(w, pattern(60))
            .id(&id)
            .range("1-100/150")
            .flag('+');
        w.feed(legs[0].conn, &first.on(&legs[0]));
        let second = Send::new(w, pattern(90)).id(&id).range("61-150/150");
        w.feed(legs[0].conn, &second.on(&legs[0]));
        let got = w.ack_all(&legs[1]);
        assert_eq!(range(&got[0]), "1-60/150");
        assert_eq!(range(&got[1]), "61-150/150");
        assert_eq!(
            w.answer(legs[0].conn, &second.tid),
            Some(200),
            "all 150 are there"
        );
        w.end(legs[0].session);
    });
}

// [MSRP-CHUNK-07] The sender aborts with `#`: so do the legs, and nobody is told of an undelivered message.
#[test]
fn an_abort_is_passed_on() {
    each_way(|w| {
        let legs = w.session(2);
        for size in [100, 30_000] {
            let send = Send::new(w, pattern(size)).range("1-*/90000").flag('#');
            w.feed(legs[0].conn, &send.on(&legs[0]));
            for leg in &legs[1..] {
                let got = w.ack_all(leg);
                assert_eq!((got.len(), got[0].flag), (1, b'#'), "{size}");
            }
            assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
            assert_eq!(w.plane.gauges().messages, 0);
        }
        w.pass(Duration::from_secs(40));
        assert!(w.events.is_empty(), "{:?}", w.events);
        w.end(legs[0].session);
    });
}

// [MSRP-CHUNK-07] Aborted between chunks: the leg that had the first gets the abort.
#[test]
fn an_abort_after_a_chunk() {
    each_way(|w| {
        let legs = w.session(1);
        let id = w.id("abort");
        let first = Send::new(w, "first").id(&id).range("1-5/*").flag('+');
        w.feed(legs[0].conn, &first.on(&legs[0]));
        let abort = Send::new(w, "").id(&id).range("6-5/*").flag('#');
        w.feed(legs[0].conn, &abort.on(&legs[0]));
        let got = w.ack_all(&legs[1]);
        assert_eq!(got.iter().map(|m| m.flag).collect::<Vec<_>>(), b"+#");
        assert_eq!(w.plane.gauges().messages, 0);
        w.end(legs[0].session);
    });
}

// The sender's connection is lost in the middle of a frame, and between two: every leg gets `#`.
#[test]
fn a_lost_sender_aborts_what_it_had_begun() {
    each_way(|w| {
        for within in [true, false] {
            let legs = w.session(2);
            if within {
                let send = Send::new(w, pattern(50_000)).range("1-*/*");
                let bytes = send.on(&legs[0]);
                w.feed(legs[0].conn, &bytes[..30_000]);
            } else {
                let send = Send::new(w, pattern(500)).range("1-*/*").flag('+');
                w.feed(legs[0].conn, &send.on(&legs[0]));
            }
            w.drop_conn(legs[0].conn);
            for leg in &legs[1..] {
                let got = w.sends(leg.conn);
                assert_eq!(got.last().unwrap().flag, b'#', "within: {within}");
            }
            w.end(legs[0].session);
        }
    });
}

// [MSRP-CHUNK-08] From zero octets to 100 MB in one chunk, with little memory.
#[test]
fn chunks_of_any_size() {
    let mut w = World::plain();
    let legs = w.session(2);
    for size in [0usize, 1] {
        let send = Send::new(&mut w, pattern(size));
        w.feed(legs[0].conn, &send.on(&legs[0]));
        for leg in &legs[1..] {
            assert_eq!(w.ack_all(leg)[0].body.as_ref().unwrap().len(), size);
        }
    }
    w.read(legs[0].conn);
    let total: usize = 100 << 20;
    let send = Send::new(&mut w, "").range(&format!("1-*/{total}"));
    w.feed(legs[0].conn, send.head(&legs[0]).as_bytes());
    let piece = pattern(1 << 16);
    let mut sums = [0usize; 2];
    for _ in 0..total / piece.len() {
        w.feed_once(legs[0].conn, &piece);
        for (sum, leg) in sums.iter_mut().zip(&legs[1..]) {
            // The body is not put together here: its bytes are counted as they come.
            *sum += w.peers[leg.conn].inbox.len();
            let keep = w.peers[leg.conn].inbox.len().min(4096);
            let inbox = &mut w.peers[leg.conn].inbox;
            let from = inbox.len() - keep;
            inbox.drain(..from);
            *sum -= keep;
        }
        assert!(w.plane.gauges().kept_bytes <= 64 << 10);
    }
    w.feed(legs[0].conn, send.end().as_bytes());
    for (sum, leg) in sums.iter_mut().zip(&legs[1..]) {
        let tail = &w.peers[leg.conn].inbox;
        assert!(tail.ends_with(b"$\r\n"));
        *sum += tail.len();
        assert!(*sum > total && *sum < total + 1_000, "one chunk of {total}");
    }
}

// [MSRP-CHUNK-10] An empty message keeps `1-0/0`.
#[test]
fn an_empty_message_says_1_0_0() {
    each_way(|w| {
        let legs = w.session(1);
        let send = Send::new(w, "").range("1-0/0");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        let got = w.ack_all(&legs[1]);
        assert_eq!(range(&got[0]), "1-0/0");
        assert_eq!(got[0].body.as_deref(), Some(&b""[..]));
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
        w.end(legs[0].session);
    });
}

// Messages of one sender that are chunked and interleaved stay apart.
#[test]
fn interleaved_messages_stay_apart() {
    let mut receipt = settings();
    receipt.ack = Ack::Receipt;
    each_way_with(receipt, |w| {
        let legs = w.session(2);
        let (a, b) = (w.id("mesA"), w.id("mesB"));
        for n in 0..4usize {
            for id in [&a, &b] {
                let flag = if n == 3 { '$' } else { '+' };
                let body = format!("{}{n}", if *id == a { "a" } else { "b" });
                let start = 2 * n + 1;
                let send = Send::new(w, body)
                    .id(id)
                    .range(&format!("{start}-{}/8", start + 1))
                    .flag(flag);
                w.feed(legs[0].conn, &send.on(&legs[0]));
                assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
            }
        }
        for leg in &legs[1..] {
            let got = w.ack_all(leg);
            for (id, want) in [(&a, "a0a1a2a3"), (&b, "b0b1b2b3")] {
                let mine: Vec<Msg> = got
                    .iter()
                    .filter(|m| m.header("Message-ID") == Some(id))
                    .cloned()
                    .collect();
                assert_eq!(assemble(&mine), want.as_bytes());
            }
        }
        assert_eq!(w.plane.gauges().messages, 0);
        w.end(legs[0].session);
    });
}

// A device that joins in the middle of a chunked message gets the next message, never a fragment.
#[test]
fn a_leg_starts_at_a_message_boundary() {
    each_way(|w| {
        let legs = w.session(1);
        let id = w.id("running");
        let first = Send::new(w, "one ").id(&id).range("1-4/8").flag('+');
        w.feed(legs[0].conn, &first.on(&legs[0]));
        let late = w.leg(legs[0].session, 2);
        let second = Send::new(w, "two ").id(&id).range("5-8/8");
        w.feed(legs[0].conn, &second.on(&legs[0]));
        assert!(w.read(late.conn).is_empty(), "no fragment");
        let next = Send::new(w, "next");
        w.feed(legs[0].conn, &next.on(&legs[0]));
        assert_eq!(w.one(late.conn).text(), "next");
        assert_eq!(w.sends(legs[1].conn).len(), 3);
        w.end(legs[0].session);
    });
}

// [MSRP-CHUNK-09] The sender's last bytes end with `+`, and an empty chunk with `$` follows: one message, complete with it.
#[test]
fn an_empty_last_chunk_completes_the_message() {
    each_way(|w| {
        let legs = w.session(1);
        for _ in 0..70 {
            let id = w.id("emptyend");
            let first = Send::new(w, "all of it").id(&id).range("1-9/9").flag('+');
            w.feed(legs[0].conn, &first.on(&legs[0]));
            assert_eq!(w.answer(legs[0].conn, &first.tid), Some(200));
            let last = Send::new(w, "").id(&id).range("10-9/9");
            w.feed(legs[0].conn, &last.on(&legs[0]));
            let got = w.ack_all(&legs[1]);
            assert_eq!(got.iter().map(|m| m.flag).collect::<Vec<_>>(), b"+$");
            assert_eq!(range(&got[1]), "10-9/9");
            assert_eq!(w.answer(legs[0].conn, &last.tid), Some(200));
            assert_eq!(w.plane.gauges().messages, 0);
        }
        w.end(legs[0].session);
    });
}

// [MSRP-CHUNK-05] Out of order, with a hole of one byte: the message is whole when that byte has come, not before.
#[test]
fn a_hole_of_one_byte_is_a_hole() {
    each_way(|w| {
        let legs = w.session(1);
        let id = w.id("hole");
        for (body, range, flag, pending) in [
            ("efgh", "5-8/8", '$', 1),
            ("abc", "1-3/8", '+', 1),
            ("d", "4-4/8", '+', 0),
        ] {
            let send = Send::new(w, body).id(&id).range(range).flag(flag);
            w.feed(legs[0].conn, &send.on(&legs[0]));
            let got = w.ack_all(&legs[1]);
            assert!(got.iter().all(|m| m.header("Message-ID") == Some(&id)));
            assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
            assert_eq!(w.plane.pending(legs[0].session), pending, "{range}");
        }
        w.end(legs[0].session);
    });
}

// [MSRP-CHUNK-11] [MSRP-TYPES-04] One device's limit is passed in the middle of a body of unknown length: that device gets `#`,
// the other, which comes behind it, all of it.
#[test]
fn one_device_that_takes_no_more_does_not_stop_the_others() {
    let mut w = World::plain();
    let session = w.open();
    let sender = w.leg(session, 0);
    let small = w.leg_like(session, 1, |p| p.max_size = Some(20_000));
    let big = w.leg(session, 2);
    let body = pattern(60_000);
    let send = Send::new(&mut w, &body).range("1-*/*");
    for piece in send.on(&sender).chunks(5_000) {
        w.feed_once(sender.conn, piece);
    }
    assert_eq!(w.sends(small.conn).last().map(|m| m.flag), Some(b'#'));
    let got = w.ack_all(&big);
    assert_eq!(got.last().map(|m| m.flag), Some(b'$'));
    assert_eq!(assemble(&got), body);
    assert_eq!(w.answer(sender.conn, &send.tid), Some(200));
    w.end(session);
}

// [MSRP-CHUNK-02] [MSRP-CHUNK-04] A large message that waited for its first device goes out in chunks of ours: in order, each byte
// once, one Message-ID, the last one alone with `$`.
#[test]
fn a_large_message_that_waited() {
    let mut w = World::plain();
    let session = w.open();
    let sender = w.leg(session, 0);
    let body = pattern(200_000);
    let send = Send::new(&mut w, &body).range("1-*/200000");
    w.feed(sender.conn, &send.on(&sender));
    let device = w.leg_after(session, 1);
    let got = w.ack_all(&device);
    assert!(got.len() > 1, "more than one chunk");
    assert_eq!(assemble(&got), body);
    for (n, m) in got.iter().enumerate() {
        assert_eq!(m.header("Message-ID"), Some(send.id.as_str()));
        let last = n + 1 == got.len();
        assert_eq!(m.flag, if last { b'$' } else { b'+' });
        let start = range(m).split('-').next().unwrap();
        assert_eq!(range(m), format!("{start}-*/200000"));
    }
    assert_eq!(w.answer(sender.conn, &send.tid), Some(200));
    w.end(session);
}
