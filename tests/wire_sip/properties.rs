//! Properties: damage never panics, a naive reader agrees, what is written is read back, comparison is symmetric.

#![allow(clippy::collapsible_if, reason = "one question after the other")]

use crate::{
    ask::{ask_all, ask_stream, ask_uri, ask_value},
    corpus::{all, good, read},
};
use proptest::{prelude::*, sample::Index};
use ringfork::wire::{
    multipart::Multipart,
    sip::*,
    uri::{self, compare},
};

/// The plain version of the reader: lines by splitting, continuations by looking, names up to the colon.
fn naive(bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    // Lossy text is as good as the bytes for finding ends; the bytes are compared below.
    if head.len() != end {
        return None;
    }
    let mut lines: Vec<String> = Vec::new();
    for line in head.split("\r\n") {
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => last.push_str(&format!("\r\n{line}")),
            _ => lines.push(line.to_owned()),
        }
    }
    let blank: &[char] = &[' ', '\t', '\r', '\n'];
    let pair = |line: &String| {
        let (name, value) = line.split_once(':')?;
        Some((
            name.trim_end_matches([' ', '\t']).as_bytes().to_vec(),
            value.trim_matches(blank).as_bytes().to_vec(),
        ))
    };
    lines.iter().skip(1).map(pair).collect()
}

fn corpus_message() -> impl Strategy<Value = Vec<u8>> {
    any::<Index>().prop_map(|i| {
        let all = all();
        all[i.index(all.len())].bytes.clone()
    })
}

/// Damages a message: overwrites, removes, doubles, at random places, with what hurts most.
fn damage() -> impl Strategy<Value = (u8, Index, Index, Vec<u8>)> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\r\n ".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"<".to_vec()),
        Just(b">".to_vec()),
        Just(b";".to_vec()),
        Just(b",".to_vec()),
        Just(b":".to_vec()),
        Just(b"%".to_vec()),
        Just(b"[".to_vec()),
        Just(b"--".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 1..4),
    ];
    (0..3u8, any::<Index>(), any::<Index>(), piece)
}

fn apply(bytes: &mut Vec<u8>, (kind, at, to, piece): &(u8, Index, Index, Vec<u8>)) {
    let (a, b) = (at.index(bytes.len() + 1), to.index(bytes.len() + 1));
    let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 40));
    match kind {
        0 => drop(bytes.splice(from..from, piece.iter().copied())),
        1 => drop(bytes.drain(from..to)),
        _ => {
            let end = (from + piece.len()).min(bytes.len());
            bytes.splice(from..end, piece.iter().copied());
        }
    }
}

fn some_uri() -> impl Strategy<Value = String> {
    let scheme = prop::sample::select(vec!["sip:", "SIP:", "sips:", "tel:", "urn:"]);
    let user = prop::sample::select(vec![
        "", "alice@", "%61lice@", "Alice@", "+1-201@", "+1201@", "a:pw@", "a;b@", "a%3Bb@",
        "+1201", "7042", "x",
    ]);
    let host = prop::sample::select(vec![
        "",
        "h",
        "H.",
        "example.com",
        "[::1]",
        "[0:0::1]",
        "192.0.2.1",
        "h:5060",
    ]);
    let param = prop::sample::select(vec![
        "user=phone",
        "USER=phone",
        "transport=tcp",
        "Transport=TCP",
        "lr",
        "x=1",
        "x=%31",
        "maddr=h",
        "phone-context=+1",
        "ext=1-2",
    ]);
    let header = prop::sample::select(vec!["", "?a=b", "?A=b", "?a=b&c=d", "?c=d&a=b"]);
    (
        scheme,
        user,
        host,
        prop::collection::vec(param, 0..3),
        header,
    )
        .prop_map(|(s, u, h, p, q)| {
            format!(
                "{s}{u}{h}{}{q}",
                p.iter().map(|p| format!(";{p}")).collect::<String>()
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_never_panics(mut bytes in corpus_message(), damages in prop::collection::vec(damage(), 1..6)) {
        damages.iter().for_each(|d| apply(&mut bytes, d));
        ask_all(&Message::salvage(&bytes));
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert_eq!(message.as_bytes().len(), message.head().len() + message.body().len());
        }
        // A stream that holds a whole message is framed as a datagram is read.
        if let Frame::Message { head_len, len } = Framer::default().frame(&bytes) {
            if let Ok(message) = Message::parse(&bytes[..len]) {
                prop_assert_eq!((message.head().len(), message.as_bytes().len()), (head_len, len));
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        ask_all(&Message::salvage(&bytes));
        ask_value(&bytes);
        ask_uri(&bytes, &bytes[bytes.len() / 2..]);
        ask_stream(&bytes, 7);
        let _ = Multipart::parse(&bytes, b"x").is_ok();
    }

    #[test]
    fn a_damaged_stream_is_cut_alike(mut bytes in corpus_message(), damages in prop::collection::vec(damage(), 1..4), step in 1..50usize) {
        let whole = bytes.clone();
        damages.iter().for_each(|d| apply(&mut bytes, d));
        ask_stream(&[whole, bytes].concat(), step);
    }

    #[test]
    fn a_naive_reader_agrees(mut bytes in corpus_message(), damages in prop::collection::vec(damage(), 0..3)) {
        damages.iter().for_each(|d| apply(&mut bytes, d));
        if let (Ok(message), Some(naive)) = (Message::parse(&bytes), naive(&bytes)) {
            let ours: Vec<_> = message.all().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(ours, naive);
        }
    }

    #[test]
    fn comparison_is_symmetric_and_keys_follow_it(a in some_uri(), b in some_uri()) {
        let (a, b) = (a.as_bytes(), b.as_bytes());
        prop_assert!(compare::equal(a, a));
        prop_assert_eq!(compare::equal(a, b), compare::equal(b, a));
        let key = |uri: &[u8]| uri::canonical(uri, &mut [0; uri::KEY_BYTES_MAX]).map(<[u8]>::to_vec);
        // A key is a URI again, and its own key.
        if let Ok(key_of_a) = key(a) {
            if uri::Uri::parse(&key_of_a).is_ok() {
                prop_assert_eq!(key(&key_of_a), Ok(key_of_a.clone()));
            }
            if compare::equal(a, b) && !a.contains(&b';') && !b.contains(&b';') {
                prop_assert_eq!(key(b), Ok(key_of_a));
            }
        }
    }

    #[test]
    fn header_names_are_found_whatever_their_case(bytes in corpus_message(), flips in prop::collection::vec(any::<bool>(), 64)) {
        let message = Message::salvage(&bytes);
        for (name, _) in message.all() {
            let flipped: Vec<u8> = name.iter().zip(&flips).map(|(b, f)| if *f { b.to_ascii_uppercase() } else { b.to_ascii_lowercase() }).collect();
            if flipped.len() == name.len() {
                prop_assert_eq!(Name::of(&flipped), Name::of(name));
                prop_assert_eq!(message.headers(Name::of(&flipped)).count(), message.headers(Name::of(name)).count());
            }
        }
    }
}

/// Writes what was read.
fn write_again(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = match message.start() {
        Start::Request { method, uri } => Writer::request(&mut out, method, uri),
        Start::Response { code, reason } => Writer::status(&mut out, code, reason),
    };
    for (name, value) in message.named() {
        if name != Name::ContentLength && name != Name::ContentType {
            writer = writer.header(name, value);
        }
    }
    match message.header(Name::ContentType) {
        Some(content_type) => writer.body(content_type, message.body()).unwrap(),
        None => writer.end().unwrap(),
    }
    out
}

#[test]
fn what_is_written_is_read_back() {
    for entry in good() {
        let message = read(&entry.bytes).unwrap();
        let once = write_again(&message);
        let again = read(&once)
            .unwrap_or_else(|e| panic!("{}: {e:?}\n{}", entry.file, once.escape_ascii()));
        let content = |m: &Message<'_>| -> Vec<(Vec<u8>, Vec<u8>)> {
            let of_body = |n: &Name<'_>| *n == Name::ContentLength || *n == Name::ContentType;
            m.named()
                .filter(|(n, _)| !of_body(n))
                .map(|(n, v)| (n.as_bytes().to_vec(), unfold(v).into_owned()))
                .collect()
        };
        assert_eq!(content(&message), content(&again), "{}", entry.file);
        if message.header(Name::ContentType).is_some() {
            assert_eq!(message.body(), again.body(), "{}", entry.file);
        }
        // Written in our form once, it stays so byte for byte.
        assert_eq!(write_again(&again), once, "{}", entry.file);
        assert_eq!(
            Framer::default().frame(&once),
            Frame::Message {
                head_len: again.head().len(),
                len: once.len()
            }
        );
    }
}

#[test]
fn every_single_byte_may_be_wrong() {
    let wrong = [
        0, b'\r', b'"', b',', b'<', b'%', b' ', b'\n', b'\\', b';', b':', 0xff, b'[',
    ];
    for (turn, entry) in good().into_iter().enumerate() {
        let mut bytes = entry.bytes.clone();
        let head = read(&bytes).unwrap().head().len();
        for at in 0..head {
            let was = std::mem::replace(&mut bytes[at], wrong[(at + turn) % wrong.len()]);
            ask_all(&Message::salvage(&bytes));
            bytes[at] = was;
        }
    }
}
