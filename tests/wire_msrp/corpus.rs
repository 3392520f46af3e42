//! Every message of the corpus, whole, byte by byte and cut at each place.

use std::{fmt::Write as _, fs, path::Path};

use crate::reader::{Heard, hear};

fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| {
            let path = entry.expect("readable").path();
            let name = path
                .file_stem()
                .expect("named")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(path).expect("readable"))
        })
        .collect();
    files.sort();
    assert!(files.len() > 30, "the corpus is there");
    files
}

fn summary(files: &[(String, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (name, bytes) in files {
        let heard = hear([&bytes[..]]);
        let _ = writeln!(text, "{name}");
        for line in &heard.lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// Two pieces cut at `at`.
fn cut(bytes: &[u8], at: usize) -> Heard {
    hear([&bytes[..at], &bytes[at..]])
}

// [MSRP-FRAME-07] any split gives the same; several messages in one piece too.
#[test]
fn any_split_of_a_good_message_gives_the_same() {
    for (name, bytes) in files("msrp") {
        let whole = hear([&bytes[..]]);
        assert_eq!(whole.poisoned, None, "{name}");
        assert!(
            !whole.lines.iter().any(|l| l.contains("open")),
            "{name}: {whole:?}"
        );
        assert_eq!(hear(bytes.chunks(1)), whole, "{name} byte by byte");
        for at in 0..=bytes.len() {
            assert_eq!(cut(&bytes, at), whole, "{name} cut at {at}");
        }
    }
    let all: Vec<u8> = files("msrp")
        .into_iter()
        .flat_map(|(_, bytes)| bytes)
        .collect();
    let whole = hear([&all[..]]);
    assert_eq!(whole.poisoned, None);
    for size in [1, 2, 3, 7, 44, 45, 64, 1000] {
        assert_eq!(hear(all.chunks(size)), whole, "pieces of {size}");
    }
}

// [MSRP-FRAME-07] [MSRP-FRAME-09] a fault is the same fault wherever the stream is cut.
#[test]
fn any_split_of_a_bad_message_gives_the_same() {
    for (name, bytes) in files("msrp_bad") {
        let whole = hear([&bytes[..]]);
        let faults = |h: &Heard| -> Vec<String> {
            // A framing fault may be told as soon as its bytes are there: the place is the same, the rest may lack.
            h.lines
                .iter()
                .map(|l| l.split(" status").next().unwrap_or_default().to_owned())
                .collect()
        };
        assert!(!whole.lines.is_empty(), "{name}");
        assert_eq!(
            faults(&hear(bytes.chunks(1))),
            faults(&whole),
            "{name} byte by byte"
        );
        for at in (0..=bytes.len()).step_by(if bytes.len() > 2000 { 997 } else { 1 }) {
            assert_eq!(
                faults(&cut(&bytes, at)),
                faults(&whole),
                "{name} cut at {at}"
            );
        }
    }
}

// [MSRP-FRAME-08] unknown headers are kept in what is passed on, names are compared without case.
// [MSRP-FRAME-09] what cannot be understood is answered 400 where it can be answered, else the connection ends.
// [MSRP-FRAME-10] an unknown method is read as a request, so that it can be answered 501.
#[test]
fn what_the_corpus_says() {
    insta::assert_snapshot!("corpus_good", summary(&files("msrp")));
    insta::assert_snapshot!("corpus_bad", summary(&files("msrp_bad")));
}

// [MSRP-FRAME-03] bodies are octets: what went in comes out.
#[test]
fn bodies_come_out_as_they_went_in() {
    for (name, bytes) in files("msrp") {
        let start = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let heard = hear(bytes.chunks(5));
        let Some(start) = start.filter(|_| !heard.bodies.is_empty()) else {
            assert!(heard.bodies.is_empty(), "{name}");
            continue;
        };
        // The message ends in CRLF, seven hyphens, the id, a flag, CRLF.
        let tid = bytes[5..].iter().position(|&b| b == b' ').expect("an id");
        let end = bytes.len() - (2 + 7 + tid + 1 + 2);
        assert_eq!(heard.bodies, [bytes[start + 4..end].to_vec()], "{name}");
    }
    let body = |name: &str| {
        let all = files("msrp");
        let (_, bytes) = all.iter().find(|(n, _)| n == name).expect("in the corpus");
        hear(bytes.chunks(1)).bodies.concat()
    };
    assert_eq!(body("body-binary"), (0..=255).collect::<Vec<u8>>());
    assert_eq!(body("body-ends-in-crlf"), b"line\r\n\r\n");
    assert_eq!(body("body-lone-lf-cr"), b"a\nb\rc\n\r\n\r");
    assert_eq!(body("empty-body"), b"");
}

#[test]
fn a_fault_that_reaches_the_chunk_leaves_the_next_message_alone() {
    let good = &files("msrp")[0].1;
    let mut seen = 0;
    for (name, mut bytes) in files("msrp_bad") {
        if hear([&bytes[..]]).poisoned.is_some() {
            continue;
        }
        seen += 1;
        let lines = hear([&bytes[..]]).lines.len();
        bytes.extend_from_slice(good);
        let heard = hear(bytes.chunks(3));
        assert_eq!(heard.lines[lines..], hear([&good[..]]).lines[..], "{name}");
    }
    assert!(seen > 10);
}
