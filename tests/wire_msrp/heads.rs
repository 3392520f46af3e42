//! Heads: what is refused at once, bounds, answers, and that nothing makes the parser panic.

use proptest::prelude::*;
use ringfork::wire::msrp::{HEAD_MAX, HEADERS_MAX, Layout, Parse, Reach, Rule, parse, write};

use crate::reader::hear;

const START: &str = "MSRP k2n4x7q9 SEND\r\nTo-Path: msrp://b.example.com:1/x;tcp\r\nFrom-Path: msrp://a.example.com:1/y;tcp\r\n";

// [MSRP-FRAME-01] lower-case "msrp", a double space, a bare LF are not MSRP; nothing more is waited for.
#[test]
fn what_is_no_msrp_is_refused_as_soon_as_it_shows() {
    for (bytes, at) in [
        ("msrp k2n4x7q9 SEND\r\n", 0),
        ("m", 0),
        ("GET ", 0),
        ("MSRQ", 3),
        ("MSRP  k2n4x7q9 SEND\r\n", 5),
        ("MSRP k2n ", 8),
        ("MSRP k2n4x7q9\r\n", 13),
        ("MSRP k2n4x7q9 send", 13),
        ("MSRP k2n4x7q9  SEND", 13),
        ("MSRP k2n4\tx7q9 SEND", 9),
    ] {
        let e = parse(bytes.as_bytes(), 0).expect_err(bytes);
        assert_eq!(
            (e.rule, e.reach, e.status),
            (Rule::StartLine, Reach::Connection, None),
            "{bytes:?}"
        );
        assert_eq!(e.at, at, "{bytes:?}");
    }
    let e = parse(b"MSRP k2n4x7q9 SEND\nTo-Path", 0).expect_err("a bare LF");
    assert_eq!(
        (e.rule, e.reach, e.at),
        (Rule::LineEnd, Reach::Connection, 18)
    );
    // Every beginning of a right start line is waited for.
    let start = b"MSRP k2n4x7q9 SEND\r\n";
    for len in 0..=start.len() {
        assert_eq!(parse(&start[..len], 0), Ok(Parse::Partial { scanned: len }));
    }
}

// [MSRP-FRAME-12] 16 KiB and 64 headers; both are answered 400, then the connection ends.
#[test]
fn heads_are_bounded() {
    let fill = |len: usize| {
        let tail = "Content-Type: a/b\r\n\r\n";
        let pad = len - START.len() - "Message-ID: abcd\r\n".len() - "X: \r\n".len() - tail.len();
        format!(
            "{START}Message-ID: abcd\r\nX: {}\r\n{tail}",
            "y".repeat(pad)
        )
    };
    let largest = fill(HEAD_MAX);
    assert_eq!(largest.len(), HEAD_MAX);
    assert!(matches!(
        parse(largest.as_bytes(), 0),
        Ok(Parse::Complete { len: HEAD_MAX, .. })
    ));
    let e = parse(fill(HEAD_MAX + 1).as_bytes(), 0).expect_err("a byte too long");
    assert_eq!(
        (e.rule, e.reach, e.status),
        (Rule::TooLong, Reach::Connection, Some(400))
    );
    // A head without an end is given up at the limit, not later, however it comes in.
    let endless = format!("{START}X: {}", "y".repeat(1 << 20));
    let mut scanned = 0;
    let mut given = 0;
    let e = loop {
        given += 1000;
        match parse(&endless.as_bytes()[..given], scanned) {
            Ok(Parse::Partial { scanned: n }) => scanned = n,
            other => break other.expect_err("no end"),
        }
    };
    assert_eq!((e.rule, given), (Rule::TooLong, 17_000));

    let headers = |n: usize| {
        let extra: String = (0..n - 4).map(|i| format!("X-{i}: y\r\n")).collect();
        format!("{START}Message-ID: abcd\r\n{extra}Content-Type: a/b\r\n\r\n")
    };
    assert!(matches!(
        parse(headers(HEADERS_MAX).as_bytes(), 0),
        Ok(Parse::Complete { .. })
    ));
    let e = parse(headers(HEADERS_MAX + 1).as_bytes(), 0).expect_err("one too many");
    assert_eq!(
        (e.rule, e.reach, e.status),
        (Rule::TooMany, Reach::Connection, Some(400))
    );
}

// [MSRP-FRAME-09] the answer to what cannot be understood: 400, the same id, to the previous hop.
#[test]
fn an_error_tells_what_to_answer() {
    let bytes = format!(
        "{START}Message-ID: abcd\r\nByte-Range: x\r\nContent-Type: a/b\r\n\r\nhi\r\n-------k2n4x7q9$\r\n"
    );
    let e = parse(bytes.as_bytes(), 0).expect_err("no range");
    let of = |s: Option<ringfork::wire::msrp::Span>| {
        s.map(|s| s.of(bytes.as_bytes())).unwrap_or_default()
    };
    let mut out = Vec::new();
    write::response(
        &mut out,
        of(e.tid),
        e.status.expect("answerable"),
        of(e.from_path),
        of(e.to_path),
    );
    assert_eq!(
        String::from_utf8_lossy(&out),
        "MSRP k2n4x7q9 400 Bad Request\r\nTo-Path: msrp://a.example.com:1/y;tcp\r\nFrom-Path: msrp://b.example.com:1/x;tcp\r\n-------k2n4x7q9$\r\n"
    );
    assert_eq!(e.reach, Reach::Chunk);
}

// settled.md 9: never leniency with a range that cannot be. [MSRP-FRAME-09]
#[test]
fn impossible_ranges_are_refused_and_empty_ones_read() {
    let head = |range: &str| {
        let bytes =
            format!("{START}Message-ID: abcd\r\nByte-Range: {range}\r\nContent-Type: a/b\r\n\r\n");
        match parse(bytes.as_bytes(), 0) {
            Ok(Parse::Complete { head, .. }) => head.byte_range,
            Ok(Parse::Partial { .. }) => panic!("whole"),
            Err(e) => {
                assert_eq!((e.rule, e.status), (Rule::ByteRange, Some(400)));
                None
            }
        }
    };
    for good in ["1-0/0", "101-100/300", "1-*/*", "1-5/*", "1-*/5"] {
        assert!(head(good).is_some(), "{good}");
    }
    for bad in [
        "0-0/0",
        "1-301/300",
        "5-3/9",
        "2-0/9",
        "302-*/300",
        "1-2",
        "1-2/3/4",
        "a-b/c",
        "1 - 2/3",
        "",
    ] {
        assert!(head(bad).is_none(), "{bad}");
    }
    assert!(
        head("101-100/300")
            .is_some_and(|r| r.is_empty() && r.has_room_for(0) && !r.has_room_for(1))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A message with a few bytes changed, dropped or doubled: any outcome but a panic, and the same in any pieces.
    #[test]
    fn mutated_messages_never_panic(
        pick in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
        size in 1..70usize,
    ) {
        let all = crate::heads::CORPUS;
        let mut bytes = pick.get(all).to_vec();
        for (at, byte, kind) in edits {
            if bytes.is_empty() { break; }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, b"\r\n-:"[usize::from(byte) % 4]),
                _ => bytes.truncate(at),
            }
        }
        let whole = hear([&bytes[..]]);
        let pieces = hear(bytes.chunks(size));
        prop_assert_eq!(whole.bodies, pieces.bodies);
        prop_assert_eq!(whole.poisoned.is_some(), pieces.poisoned.is_some());
        prop_assert_eq!(whole.lines.len(), pieces.lines.len());
    }

    /// What is held against a known head comes to the same as what is parsed: with other ids and another range, damaged, or
    /// cut at any place.
    #[test]
    fn a_known_head_is_the_head_that_is_parsed(
        pick in any::<prop::sample::Index>(),
        edit in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        other in prop::option::of(("[a-z0-9]{1,40}", "[a-z0-9]{1,40}", "([0-9]{1,20}|\\*)-([0-9]{1,3}|\\*)/([0-9]{1,4}|\\*)")),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = *pick.get(CORPUS);
        let Ok(Parse::Complete { head, .. }) = parse(whole, 0) else {
            return Err(TestCaseError::fail("the corpus is right"));
        };
        let layout = Layout::learn(&head, whole);
        prop_assert_eq!(layout.is_some(), head.is_send() && head.content_type.is_some());
        let Some(layout) = layout else { return Ok(()) };
        let mut bytes = whole.to_vec();
        let viewed = |bytes: &[u8]| {
            let like = layout.read(bytes)?;
            let head = layout.head(&like);
            // What is asked of the short view is what the whole one says.
            assert_eq!(Some(like.message_id()), head.message_id);
            assert_eq!(like.byte_range(), head.byte_range);
            assert_eq!(like.rest()..like.len(), head.rest);
            assert_eq!(like.tid, head.tid);
            let range = head.range_at.map(|at| (at.line - head.rest.start, at.end + 2 - head.rest.start));
            assert_eq!(like.range_in_rest(), range);
            assert_eq!((like.success_report, like.failure_report), (head.success_report, head.failure_report));
            Some((format!("{head:?}"), like.len()))
        };
        prop_assert_eq!(viewed(whole), Some((format!("{head:?}"), head.rest.end)));
        if let Some((tid, id, range)) = other {
            let text = String::from_utf8_lossy(whole);
            let old = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
            let mut text = text.replacen(&old(head.tid), &tid, 1);
            text = text.replacen(&format!("ID: {}\r", old(head.message_id.unwrap())), &format!("ID: {id}\r"), 1);
            if let Some(at) = head.range_at {
                text = text.replacen(&old(&whole[at.value..at.end]), &range, 1);
            }
            bytes = text.into_bytes();
            if let Ok(Parse::Complete { head, len }) = parse(&bytes, 0) {
                prop_assert_eq!(viewed(&bytes), Some((format!("{head:?}"), len)));
            }
        }
        if let Some((at, byte)) = edit {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Some(like) = layout.read(&bytes) {
            viewed(&bytes);
            prop_assert_eq!(parse(&bytes, 0), Ok(Parse::Complete { head: layout.head(&like), len: like.len() }));
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), scanned in 0..400usize) {
        let _ = parse(&bytes, scanned);
        let mut msrp = b"MSRP k2n4x7q9 SEND\r\n".to_vec();
        msrp.extend_from_slice(&bytes);
        let _ = parse(&msrp, scanned);
    }
}

/// Some of the corpus, to be damaged.
const CORPUS: &[&[u8]] = &[
    include_bytes!("../corpus/msrp/rfc4975-11.1-4.msrp"),
    include_bytes!("../corpus/msrp/rfc4975-11.1-5.msrp"),
    include_bytes!("../corpus/msrp/rfc4975-11.6-report.msrp"),
    include_bytes!("../corpus/msrp/rfc4976-3-send-3.msrp"),
    include_bytes!("../corpus/msrp/unknown-headers.msrp"),
    include_bytes!("../corpus/msrp/body-lookalikes.msrp"),
    include_bytes!("../corpus/msrp/longest-id.msrp"),
    include_bytes!("../corpus/msrp/bare-send.msrp"),
];
