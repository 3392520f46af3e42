//! Micro-benchmarks of `wire::msrp`: reading a head, finding the end of a body. Each checks its answer before it counts.
//!
//! `cargo bench --bench wire`; under `cargo test` each runs once, small.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringfork::wire::{
    cpim,
    msrp::{ByteRange, EndScan, FailureReport, Parse, Scan, parse, write},
    uri::msrp::same_path,
};

const TID: &[u8] = b"k2n4x7q9k2n4x7q9";
const TO: &[u8] = b"msrp://192.0.2.10:2855/0a1b2c3d4e5f6g7h;tcp";
const FROM: &[u8] = b"msrp://192.0.2.20:2855/h7g6f5e4d3c2b1a0;tcp";

fn head() -> Vec<u8> {
    let headers = write::Send {
        message_id: b"Msg0123456789",
        byte_range: ByteRange::parse(b"1-200/200"),
        success_report: false,
        failure_report: FailureReport::Yes,
    };
    let mut out = Vec::new();
    write::send(&mut out, TID, TO, FROM, &headers, b"message/cpim");
    out
}

fn heads(c: &mut Criterion) {
    let mut group = c.benchmark_group("head");
    let send = head();
    assert!(matches!(parse(&send, 0), Ok(Parse::Complete { len, .. }) if len == send.len()));
    group.throughput(Throughput::Bytes(send.len() as u64));
    group.bench_function("send", |b| b.iter(|| parse(black_box(&send), 0).is_ok()));

    let mut response = Vec::new();
    write::response(&mut response, TID, 200, FROM, TO);
    assert!(
        matches!(parse(&response, 0), Ok(Parse::Complete { head, .. }) if head.end_flag == Some(b'$'))
    );
    group.throughput(Throughput::Bytes(response.len() as u64));
    group.bench_function("response", |b| {
        b.iter(|| parse(black_box(&response), 0).is_ok())
    });

    let mut out = Vec::with_capacity(1024);
    group.throughput(Throughput::Bytes(response.len() as u64));
    group.bench_function("write response", |b| {
        b.iter(|| {
            out.clear();
            write::response(
                &mut out,
                black_box(TID),
                200,
                black_box(FROM),
                black_box(TO),
            );
            out.len()
        });
    });
    assert_eq!(out, response);
    group.finish();
}

/// A body of text with a line end every 70 bytes, and, every 4 KiB, a line of hyphens that looks like an end-line.
fn body(len: usize) -> Vec<u8> {
    let line = b"The quick brown fox jumps over the lazy dog, again and again and again\r\n";
    let mut body: Vec<u8> = line.iter().copied().cycle().take(len).collect();
    for at in (4096..len.saturating_sub(64)).step_by(4096) {
        body[at..at + 17].copy_from_slice(b"\r\n-------abcdefgh");
    }
    body
}

fn end_lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("end-line");
    for len in [200, 8 << 10, 64 << 10, 1 << 20] {
        let mut stream = body(len);
        write::end_line(&mut stream, TID, b'$');
        let found = EndScan::new().scan(&stream, TID);
        assert!(matches!(found, Scan::Found { body_end, flag: b'$', .. } if body_end == len));
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_with_input(BenchmarkId::new("whole", len), &stream, |b, stream| {
            b.iter(|| EndScan::new().scan(black_box(stream), TID));
        });
        group.bench_with_input(
            BenchmarkId::new("pieces of 1448", len),
            &stream,
            |b, stream| {
                b.iter(|| {
                    let mut scan = EndScan::new();
                    stream
                        .chunks(1448)
                        .any(|piece| matches!(scan.scan(black_box(piece), TID), Scan::Found { .. }))
                });
            },
        );
    }
    group.finish();
}

fn others(c: &mut Criterion) {
    let mut group = c.benchmark_group("other");
    let cpim: &[u8] = include_bytes!("../tests/corpus/cpim/rcs-chat.cpim");
    assert_eq!(cpim::classify(cpim, true), cpim::Verdict::Chat);
    group.throughput(Throughput::Bytes(cpim.len() as u64));
    group.bench_function("classify", |b| {
        b.iter(|| cpim::classify(black_box(cpim), true))
    });

    let spelled = b"MSRP://192.0.2.10:2855/0a1b2c3d4e5f6g7h;TCP";
    assert!(same_path(TO, spelled));
    group.throughput(Throughput::Elements(1));
    group.bench_function("compare paths", |b| {
        b.iter(|| same_path(black_box(TO), black_box(spelled)))
    });
    group.finish();
}

criterion_group!(benches, heads, end_lines, others);
criterion_main!(benches);
