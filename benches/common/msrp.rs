//! `wire::msrp` and `wire::cpim`: heads, the search for the end of a body, what a body is.

use std::hint::black_box;

use ringfork::wire::{
    cpim,
    msrp::{ByteRange, EndScan, FailureReport, Parse, Scan, parse, write},
    uri::msrp::same_path,
};

use super::{
    case::{Case, whole},
    corpus,
};

const TID: &[u8] = b"k2n4x7q9k2n4x7q9";
const TO: &[u8] = b"msrp://192.0.2.10:2855/0a1b2c3d4e5f6g7h;tcp";
/// What a segment on Ethernet carries.
const PIECE: usize = 1448;
const FROM: &[u8] = b"msrp://192.0.2.20:2855/h7g6f5e4d3c2b1a0;tcp";

pub(crate) fn cases() -> Vec<Case> {
    let mut all = heads();
    all.push(stream());
    for len in [200, 8 << 10, 64 << 10, 1 << 20] {
        all.extend(end_lines(len));
    }
    all.extend(others());
    all
}

fn send() -> Vec<u8> {
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

fn response() -> Vec<u8> {
    let mut out = Vec::new();
    write::response(&mut out, TID, 200, FROM, TO);
    out
}

/// Whether `head` is a whole head that ends in `flag`.
fn reads(head: &[u8], flag: Option<u8>) -> bool {
    matches!(parse(black_box(head), 0), Ok(Parse::Complete { head: view, len })
        if len == head.len() && view.tid == TID && view.end_flag == flag)
}

fn heads() -> Vec<Case> {
    let (send, response) = (send(), response());
    let written = response.clone();
    vec![
        Case::new("head/send", "head", send.len(), move || {
            assert!(reads(&send, None));
            whole(move || reads(&send, None))
        }),
        Case::new("head/response", "head", response.len(), move || {
            assert!(reads(&response, Some(b'$')));
            whole(move || reads(&response, Some(b'$')))
        }),
        Case::new("head/write response", "head", written.len(), move || {
            let mut out = Vec::with_capacity(1024);
            whole(move || {
                out.clear();
                let [tid, to, from] = black_box([TID, FROM, TO]);
                write::response(&mut out, tid, 200, to, from);
                out == written
            })
        }),
    ]
}

/// How many whole messages stand in `bytes`, one behind the other.
fn messages(mut bytes: &[u8]) -> usize {
    let mut n = 0;
    while let Ok(Parse::Complete { head, len }) = parse(bytes, 0) {
        let mut end = len;
        if head.end_flag.is_none() {
            let Scan::Found { after, .. } = EndScan::new().scan(&bytes[len..], head.tid) else {
                break;
            };
            end += after;
        }
        bytes = &bytes[end..];
        n += 1;
    }
    n
}

/// All good messages of the corpus, as they would come in one buffer.
fn stream() -> Case {
    let files = corpus::folder("msrp");
    let (all, stream) = (files.len(), files.concat());
    Case::new("framing/corpus", "message", stream.len(), move || {
        assert_eq!(messages(&stream), all, "each is a whole message");
        whole(move || messages(black_box(&stream)) == all)
    })
    .units(all)
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

fn end_lines(len: usize) -> Vec<Case> {
    let mut stream = body(len);
    write::end_line(&mut stream, TID, b'$');
    let pieces = stream.clone();
    let rounds = (200_000 / len as u64).clamp(2, 200);
    let found = |scan: Scan, end: usize| matches!(scan, Scan::Found { body_end, flag: b'$', .. } if body_end == end);
    let in_pieces = |stream: &[u8]| {
        let mut scan = EndScan::new();
        let mut pieces = stream.chunks(PIECE);
        pieces.any(|piece| matches!(scan.scan(black_box(piece), TID), Scan::Found { .. }))
            && scan.body_len() == (stream.len() - TID.len() - 12) as u64
    };
    let mut all = vec![
        Case::new(
            format!("end-line/whole/{len}"),
            "body",
            stream.len(),
            move || whole(move || found(EndScan::new().scan(black_box(&stream), TID), len)),
        )
        .rounds(rounds),
    ];
    if len > PIECE {
        all.push(
            Case::new(
                format!("end-line/pieces of {PIECE}/{len}"),
                "body",
                pieces.len(),
                move || whole(move || in_pieces(&pieces)),
            )
            .rounds(rounds),
        );
    }
    all
}

fn others() -> [Case; 3] {
    let chat: &[u8] = include_bytes!("../../tests/corpus/cpim/rcs-chat.cpim");
    let files = corpus::folder("cpim");
    let verdicts = |files: &[Vec<u8>]| -> usize {
        let read = |file: &Vec<u8>| cpim::classify(black_box(file), true);
        files
            .iter()
            .filter(|f| read(f) == cpim::Verdict::Chat)
            .count()
    };
    let chats = verdicts(&files);
    [
        Case::new("other/classify", "body", chat.len(), move || {
            whole(move || cpim::classify(black_box(chat), true) == cpim::Verdict::Chat)
        }),
        Case::new("other/classify corpus", "body", corpus::len(&files), {
            let files = files.clone();
            move || {
                assert!(
                    chats > 3 && chats < files.len(),
                    "some are chat, some are not"
                );
                whole(move || verdicts(&files) == chats)
            }
        })
        .units(files.len()),
        Case::new("other/compare paths", "path", TO.len(), || {
            let spelled: &[u8] = b"MSRP://192.0.2.10:2855/0a1b2c3d4e5f6g7h;TCP";
            whole(move || same_path(black_box(TO), black_box(spelled)))
        }),
    ]
}
