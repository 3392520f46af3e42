//! A connection that no session uses: how long and for how much it is read.

use ringfork::msrp::Command;

use crate::harness::{ADDRESS, Leg, Send, each_way};

// RFC 4975 §5.4: a connection that no session uses is closed some time after; what still comes on it is not read for ever.
// [MSRP-CONN-03]
#[test]
fn a_connection_without_a_session_is_read_for_so_many_bytes() {
    each_way(|w| {
        let legs = w.session(1);
        w.command(Command::Close {
            session: legs[0].session,
        });
        let body = "x".repeat(20_000);
        let mut answered = 0;
        for n in 0..40 {
            let send = Send::new(w, format!("{n} {body}"));
            w.feed(legs[0].conn, &send.on(&legs[0]));
            if w.peers[legs[0].conn].closed {
                break;
            }
            assert_eq!(w.answer(legs[0].conn, &send.tid), Some(481), "{n}");
            answered += 1;
        }
        // What was under way has its answer; then it is closed.
        assert!((10..=14).contains(&answered), "{answered}");
        // Who has a session meanwhile begins anew.
        let again = w.session(1);
        for _ in 0..40 {
            let send = Send::new(w, &body);
            w.feed(again[0].conn, &send.on(&again[0]));
            w.one(again[1].conn);
        }
        assert!(!w.peers[again[0].conn].closed);
        w.end(again[0].session);
    });
}

// A stranger's bytes are read no longer than those of a session that is over. [MSRP-CONN-04]
#[test]
fn a_connection_that_names_nobody_is_read_for_so_many_bytes() {
    each_way(|w| {
        let stranger = w.accept();
        let nobody = Leg {
            own: format!("msrp://{ADDRESS}/nobody;tcp"),
            path: "msrp://x.example.com:1/y;tcp".to_owned(),
            ..w.session(0)[0].clone()
        };
        for _ in 0..20 {
            let send = Send::new(w, "x".repeat(20_000));
            w.feed(stranger, &send.on(&nobody));
        }
        assert!(w.peers[stranger].closed);
    });
}
