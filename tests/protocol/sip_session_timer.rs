//! Session timers (RFC 4028).

use std::time::Duration;

use ringfork::{
    sip::session_timer::{Due, SessionTimer, Wish},
    time::Instant,
    wire::sip::Message,
};

use super::bench::*;

fn wish() -> Wish {
    Wish::new(Duration::from_secs(1800))
}

fn invite(more: &str) -> String {
    incoming("INVITE", "z9hG4bK1").replace("Max-", &format!("{more}Max-"))
}

fn answer(more: &str) -> Result<(String, Option<(u64, bool)>), u32> {
    let text = invite(more);
    let message = Message::parse(text.as_bytes()).unwrap();
    wish()
        .answer(Instant::START, &message)
        .map(|a| {
            (
                a.headers,
                a.timer.map(|t| (t.interval().as_secs(), t.is_ours())),
            )
        })
        .map_err(|e| e.min_se_s)
}

fn accepted(se: &str, alone: bool) -> Option<SessionTimer> {
    let text = Bench::answer(&invite(""), "200 OK")
        .replace("Content-Length", &format!("{se}Content-Length"));
    wish().accepted(
        Instant::START,
        &Message::parse(text.as_bytes()).unwrap(),
        alone,
    )
}

fn at(s: u64) -> Instant {
    Instant::START + Duration::from_secs(s)
}

/// [TIMER-01] what an INVITE of ours asks; never below Min-SE.
#[test]
fn what_we_ask_for() {
    assert_eq!(wish().headers(), "Session-Expires: 1800\r\nMin-SE: 90\r\n");
    assert_eq!(
        Wish::new(Duration::from_secs(10)).headers(),
        "Session-Expires: 90\r\nMin-SE: 90\r\n"
    );
}

/// [TIMER-02] too small, from a caller that would understand: 422 with Min-SE 90; from another it is taken.
#[test]
fn an_interval_that_is_too_small() {
    assert_eq!(
        answer("Supported: timer\r\nSession-Expires: 30\r\n"),
        Err(90)
    );
    assert_eq!(answer("Require: timer\r\nSession-Expires: 89\r\n"), Err(90));
    assert!(answer("Supported: timer\r\nSession-Expires: 90\r\n").is_ok());
    assert_eq!(
        answer("Session-Expires: 30\r\n"),
        Ok((
            "Session-Expires: 30;refresher=uas\r\n".to_owned(),
            Some((30, true))
        ))
    );
}

/// [TIMER-03] after a 422: its Min-SE, and an interval that is not smaller; not twice for the same.
#[test]
fn after_a_422() {
    let refusal = |min: &str| {
        Bench::answer(&invite(""), "422 Session Interval Too Small")
            .replace("Content-Length", &format!("{min}Content-Length"))
    };
    let raise =
        |wish: &mut Wish, min: &str| wish.raise(&Message::parse(refusal(min).as_bytes()).unwrap());
    let mut w = wish();
    assert!(raise(&mut w, "Min-SE: 600\r\n"));
    assert_eq!(w.headers(), "Session-Expires: 1800\r\nMin-SE: 600\r\n");
    assert!(raise(&mut w, "Min-SE: 3600\r\n"));
    assert_eq!(w.headers(), "Session-Expires: 3600\r\nMin-SE: 3600\r\n");
    assert!(
        !raise(&mut w, "Min-SE: 3600\r\n"),
        "it would end where it began"
    );
    assert!(!raise(&mut w, ""));
}

/// [TIMER-04] table 2 of RFC 4028, its six rows; the two that cannot be count as the first.
#[test]
fn table_2() {
    let said = |who: &str, require: bool| {
        format!(
            "Session-Expires: 900;refresher={who}\r\n{}",
            if require { "Require: timer\r\n" } else { "" }
        )
    };
    for (supported, refresher, who, ours) in [
        (false, "", "uas", true),
        (false, ";refresher=uac", "uas", true),
        (false, ";refresher=uas", "uas", true),
        (true, "", "uac", false),
        (true, ";refresher=uac", "uac", false),
        (true, ";refresher=uas", "uas", true),
    ] {
        let support = if supported {
            "Supported: timer\r\n"
        } else {
            ""
        };
        let got = answer(&format!("{support}Session-Expires: 900{refresher}\r\n"));
        assert_eq!(
            got,
            Ok((said(who, supported), Some((900, ours)))),
            "{supported} {refresher}"
        );
    }
}

/// [TIMER-04] not above what is asked, not below its Min-SE; where nothing is asked, our own or no timer.
#[test]
fn the_interval_of_a_2xx() {
    let seconds = |more: &str| answer(more).unwrap().1.map(|(s, _)| s);
    assert_eq!(
        seconds("Supported: timer\r\nSession-Expires: 900\r\n"),
        Some(900)
    );
    assert_eq!(
        seconds("Supported: timer\r\nSession-Expires: 7200\r\n"),
        Some(1800)
    );
    assert_eq!(
        seconds("Supported: timer\r\nSession-Expires: 7200\r\nMin-SE: 3600\r\n"),
        Some(3600)
    );
    assert_eq!(seconds("Supported: timer\r\n"), Some(1800));
    assert_eq!(
        seconds("Supported: 100rel, timer\r\nMin-SE: 3600\r\n"),
        Some(3600)
    );
    assert_eq!(seconds(""), None);
    assert_eq!(answer("").unwrap().0, "");
}

/// [TIMER-05] the refresher refreshes at half of the interval, once, and says who refreshes.
#[test]
fn the_refresher_refreshes_at_half() {
    let mut t = accepted("Session-Expires: 600;refresher=uac\r\n", false).unwrap();
    assert!(t.is_ours());
    assert_eq!(t.at(), at(300));
    assert_eq!(t.poll(at(299)), Due::Wait);
    assert_eq!(t.poll(at(300)), Due::Refresh);
    assert_eq!(t.poll(at(301)), Due::Wait, "once");
    assert_eq!(
        t.refresh_headers(),
        "Session-Expires: 600;refresher=uac\r\n"
    );
    // It had no answer: the session ends before it expires.
    assert_eq!(t.at(), at(568));
    assert_eq!(t.poll(at(568)), Due::End);
    let t = accepted("Session-Expires: 600;refresher=uas\r\n", false).unwrap();
    assert_eq!(
        t.refresh_headers(),
        "Session-Expires: 600;refresher=uas\r\n"
    );
}

/// [TIMER-06] who does not refresh ends the session the smaller of 32 s and a third of the interval before it expires.
#[test]
fn the_other_side_ends_it_before_it_expires() {
    for (interval, end) in [(600, 568), (96, 64), (93, 62), (90, 60)] {
        let mut t = accepted(
            &format!("Session-Expires: {interval};refresher=uas\r\n"),
            false,
        )
        .unwrap();
        assert!(!t.is_ours());
        assert_eq!(t.at(), at(end));
        assert_eq!(t.poll(at(end - 1)), Due::Wait);
        assert_eq!(t.poll(at(end)), Due::End);
    }
}

/// [TIMER-07] a 2xx without Session-Expires: no timer, unless we refresh by ourselves.
#[test]
fn a_2xx_without_session_expires() {
    assert_eq!(accepted("", false), None);
    let alone = accepted("", true).unwrap();
    assert!(alone.is_ours());
    assert_eq!(alone.at(), at(900));
}
