//! What is written: the order of RFC 4975 §9, and that it reads back as it was meant.

use std::collections::HashSet;

use foldhash::fast::FixedState;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::ChaCha12Rng};
use ringfork::wire::msrp::{
    ByteRange, FailureReport, Head, Kind, Method, Parse, is_ident, parse,
    write::{self, Report, Send},
};

const TO: &[u8] = b"msrp://b.example.com:2855/x;tcp msrps://[2001:db8::1]:9/y;tcp";
const FROM: &[u8] = b"msrp://a.example.com:2855/z;tcp";

fn whole(bytes: &[u8]) -> (Head<'_>, usize) {
    match parse(bytes, 0) {
        Ok(Parse::Complete { head, len }) => (head, len),
        other => panic!("{other:?}"),
    }
}

// [MSRP-FRAME-01] [MSRP-FRAME-02] order and the blank line, byte for byte, for each kind of message.
#[test]
fn each_kind_of_message_byte_for_byte() {
    let headers = Send {
        message_id: b"0f1e2d3c",
        byte_range: ByteRange::parse(b"1-*/8"),
        success_report: true,
        failure_report: FailureReport::Partial,
    };
    let mut out = Vec::new();
    write::send(&mut out, b"k2n4x7q9", TO, FROM, &headers, b"text/plain");
    out.extend_from_slice(b"abcd");
    write::end_line(&mut out, b"k2n4x7q9", b'+');
    let bare = Send {
        byte_range: None,
        success_report: false,
        failure_report: FailureReport::Yes,
        ..headers
    };
    write::bare_send(&mut out, b"k2n4x7qa", TO, FROM, &bare);
    let report = Report {
        message_id: b"0f1e2d3c",
        byte_range: ByteRange::parse(b"1-8/8"),
        code: 408,
    };
    write::report(&mut out, b"k2n4x7qb", TO, FROM, &report);
    write::response(&mut out, b"k2n4x7qc", 481, FROM, TO);
    let paths = "To-Path: msrp://b.example.com:2855/x;tcp msrps://[2001:db8::1]:9/y;tcp\r\nFrom-Path: msrp://a.example.com:2855/z;tcp\r\n";
    assert_eq!(
        String::from_utf8_lossy(&out),
        format!(
            "MSRP k2n4x7q9 SEND\r\n{paths}Message-ID: 0f1e2d3c\r\nByte-Range: 1-*/8\r\nSuccess-Report: yes\r\n\
             Failure-Report: partial\r\nContent-Type: text/plain\r\n\r\nabcd\r\n-------k2n4x7q9+\r\n\
             MSRP k2n4x7qa SEND\r\n{paths}Message-ID: 0f1e2d3c\r\n-------k2n4x7qa$\r\n\
             MSRP k2n4x7qb REPORT\r\n{paths}Message-ID: 0f1e2d3c\r\nByte-Range: 1-8/8\r\nStatus: 000 408 Request Timeout\r\n\
             -------k2n4x7qb$\r\n\
             MSRP k2n4x7qc 481 Session Does Not Exist\r\nTo-Path: msrp://a.example.com:2855/z;tcp\r\n\
             From-Path: msrp://b.example.com:2855/x;tcp msrps://[2001:db8::1]:9/y;tcp\r\n-------k2n4x7qc$\r\n"
        )
    );
}

#[test]
fn a_million_ids_are_idents_and_never_repeat() {
    let mut rng = ChaCha12Rng::seed_from_u64(7);
    let mut seen: HashSet<[u8; 16], FixedState> = HashSet::default();
    for _ in 0..1_000_000 {
        let id: [u8; 16] = write::ident(|| rng.random());
        assert!(is_ident(&id) && id.iter().all(u8::is_ascii_alphanumeric));
        assert!(seen.insert(id), "no repeat");
    }
    // Every character carries chance: each place takes many values.
    for place in 0..16 {
        let values: HashSet<u8, FixedState> = seen.iter().take(2000).map(|id| id[place]).collect();
        assert_eq!(values.len(), 32, "place {place}");
    }
}

fn range() -> impl Strategy<Value = ByteRange> {
    (
        1..1u64 << 62,
        prop::option::of(0..1u64 << 40),
        prop::option::of(0..1u64 << 40),
    )
        .prop_map(|(start, len, more)| {
            let end = len.map(|len| start - 1 + len);
            ByteRange {
                start,
                end,
                total: more.map(|more| end.unwrap_or(start - 1) + more),
            }
        })
}

proptest! {
    #[test]
    fn a_send_reads_back(
        tid in "[a-zA-Z0-9][a-zA-Z0-9.+%=-]{3,31}",
        message_id in "[a-zA-Z0-9][a-zA-Z0-9.+%=-]{3,31}",
        byte_range in prop::option::of(range()),
        success_report: bool,
        failure in 0..3usize,
        content_type in "[a-z]{1,8}/[a-z.+-]{1,20}(;[a-z]{1,4}=[a-z0-9]{1,4}){0,2}",
    ) {
        let failure_report = [FailureReport::Yes, FailureReport::No, FailureReport::Partial][failure];
        let headers = Send { message_id: message_id.as_bytes(), byte_range, success_report, failure_report };
        let mut out = Vec::new();
        write::send(&mut out, tid.as_bytes(), TO, FROM, &headers, content_type.as_bytes());
        let (head, len) = whole(&out);
        prop_assert_eq!(len, out.len());
        prop_assert_eq!(head.kind, Kind::Request { method: Method::Send });
        prop_assert_eq!((head.tid, head.to_path, head.from_path), (tid.as_bytes(), TO, FROM));
        prop_assert_eq!(head.message_id, Some(message_id.as_bytes()));
        prop_assert_eq!(head.byte_range, byte_range);
        prop_assert_eq!((head.success_report, head.failure_report), (success_report, failure_report));
        prop_assert_eq!(head.content_type, Some(content_type.as_bytes()));
        // What a forwarder writes: its own start and paths, the rest as it lies. It is the same message again.
        let mut again = Vec::new();
        write::request(&mut again, head.tid, b"SEND", head.to_path, head.from_path);
        again.extend_from_slice(&out[head.rest.clone()]);
        prop_assert_eq!(&again, &out);
        // And with another range written in the place of the first.
        if let Some(at) = &head.range_at {
            let mut other = out[..at.value].to_vec();
            write::range_value(&mut other, ByteRange { start: 9, end: None, total: Some(77) });
            other.extend_from_slice(&out[at.end..]);
            prop_assert_eq!(whole(&other).0.byte_range, ByteRange::parse(b"9-*/77"));
        }
    }

    #[test]
    fn decimals(n: u64) {
        let mut out = Vec::new();
        write::decimal(&mut out, n);
        prop_assert_eq!(String::from_utf8_lossy(&out), n.to_string());
    }

    #[test]
    fn ranges_read_back(range in range()) {
        let mut out = Vec::new();
        write::range_value(&mut out, range);
        prop_assert_eq!(ByteRange::parse(&out), Some(range));
    }
}
