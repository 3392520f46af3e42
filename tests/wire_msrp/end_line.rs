//! The end-line search against a naive one, in any pieces.

use proptest::prelude::*;
use ringfork::wire::msrp::{EndScan, HELD_MAX, Scan};

const FIXED: &[u8] = b"\r\n-------";

fn is_ident(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b".-+%=".contains(&b)
}

/// The plain version: at each place, is the end-line there?
fn naive(bytes: &[u8], tid: &[u8]) -> Option<(usize, usize, u8)> {
    (0..bytes.len()).find_map(|at| {
        let tail = bytes[at..].strip_prefix(FIXED)?.strip_prefix(tid)?;
        match tail {
            [flag @ (b'$' | b'+' | b'#'), b'\r', b'\n', ..] => {
                Some((at, at + FIXED.len() + tid.len() + 3, *flag))
            }
            _ => None,
        }
    })
}

/// The plain version of the look-alikes: body offset and ident of each, up to `end`.
fn naive_others(bytes: &[u8], end: usize, tid: &[u8]) -> Vec<(u64, Vec<u8>)> {
    (0..end)
        .filter_map(|at| {
            let rest = bytes[at..].strip_prefix(FIXED)?;
            let ident: Vec<u8> = rest
                .iter()
                .copied()
                .take(32)
                .take_while(|b| is_ident(*b))
                .collect();
            // What ends within the sender's own end-line is not decided yet.
            let open = b"$+#"
                .iter()
                .any(|f| [tid, &[*f], b"\r\n"].concat().starts_with(rest));
            let decided = !open && (ident.len() == 32 || ident.len() < rest.len());
            (decided && ident.len() >= 4 && ident[0].is_ascii_alphanumeric())
                .then_some((at as u64, ident))
        })
        .collect()
}

struct Heard {
    body: Vec<u8>,
    held: Vec<u8>,
    others: Vec<(u64, Vec<u8>)>,
    end: Option<(u8, usize)>,
}

/// Searches the pieces, each in memory of its own; puts the body together from what is released.
fn search(pieces: &[Vec<u8>], tid: &[u8]) -> Heard {
    let mut scan = EndScan::new();
    let mut heard = Heard {
        body: Vec::new(),
        held: Vec::new(),
        others: Vec::new(),
        end: None,
    };
    let mut before = 0;
    for piece in pieces {
        let released_before = heard.body.len() as u64;
        let mut others = Vec::new();
        let found = scan.scan_with(piece, tid, |o| others.push((o.at, o.ident.to_vec())));
        for (at, _) in &others {
            assert!(
                *at >= released_before,
                "a look-alike is told before any of its bytes is released"
            );
        }
        heard.others.extend(others);
        let (released, safe) = match found {
            Scan::Found {
                released, body_end, ..
            } => (released, body_end),
            Scan::None { released, safe } => (released, safe),
        };
        assert!(released == 0 || released == heard.held.len());
        heard.body.extend(heard.held.drain(..released));
        heard.body.extend_from_slice(&piece[..safe]);
        assert_eq!(scan.body_len(), heard.body.len() as u64);
        match found {
            Scan::Found { after, flag, .. } => {
                heard.end = Some((flag, before + after));
                return heard;
            }
            Scan::None { .. } => heard.held.extend_from_slice(&piece[safe..]),
        }
        assert_eq!(scan.held(), heard.held);
        assert!(heard.held.len() <= HELD_MAX);
        before += piece.len();
    }
    heard
}

fn check(bytes: &[u8], pieces: &[Vec<u8>], tid: &[u8]) {
    let heard = search(pieces, tid);
    match naive(bytes, tid) {
        Some((body_end, after, flag)) => {
            assert_eq!(heard.end, Some((flag, after)));
            assert_eq!(heard.body, &bytes[..body_end]);
            assert_eq!(heard.others, naive_others(bytes, body_end, tid));
        }
        None => {
            assert_eq!(heard.end, None);
            assert_eq!([heard.body, heard.held].concat(), bytes);
            assert_eq!(heard.others, naive_others(bytes, bytes.len(), tid));
        }
    }
}

fn cuts(bytes: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let n = sizes
            .next()
            .map_or(rest.len(), |n| (*n).clamp(1, rest.len()));
        pieces.push(rest[..n].to_vec());
        rest = &rest[n..];
    }
    pieces
}

/// Pieces of bodies that come as near to an end-line as can be.
fn part(tid: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let exact = |s: &str| Just(s.as_bytes().to_vec());
    prop_oneof![
        3 => exact("\r\n-------"),
        2 => Just([b"\r\n-------", tid.as_bytes()].concat()),
        1 => Just([b"\r\n-------", tid.as_bytes(), b"$\r\n"].concat()),
        1 => Just([b"\r\n-------", tid.as_bytes(), b"$\r\r\n"].concat()),
        1 => Just([b"\r\n-------", tid.as_bytes(), b"+"].concat()),
        2 => (0..tid.len()).prop_map(move |n| [b"\r\n-------", &tid.as_bytes()[..n]].concat()),
        2 => Just(tid.as_bytes().to_vec()),
        2 => exact("\r\n"), 2 => exact("\r"), 1 => exact("\n"), 2 => exact("-"), 2 => exact("------"), 1 => exact("-------"),
        1 => exact("$"), 1 => exact("+"), 1 => exact("#\r\n"), 1 => exact("otherid1"),
        1 => exact("abcdefghijklmnopqrstuvwxyz0123456789"),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ]
}

fn stream(tid: &'static str) -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(part(tid), 0..24), any::<bool>()).prop_map(move |(parts, ends)| {
        let mut bytes = parts.concat();
        if ends {
            bytes.extend([b"\r\n-------", tid.as_bytes(), b"$\r\nMSRP "].concat());
        }
        bytes
    })
}

const SHORT: &str = "a+b=";
const USUAL: &str = "k2n4x7q9";
const LONG: &str = "abcdefghijklmnopqrstuvwxyz012345";

// [MSRP-FRAME-06] only the whole end-line with the sender's id, at the start of a line, ends a body.
// [MSRP-FRAME-07] in any pieces.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn agrees_with_a_naive_search(
        (tid, bytes) in prop_oneof![
            stream(SHORT).prop_map(|b| (SHORT, b)),
            stream(USUAL).prop_map(|b| (USUAL, b)),
            stream(LONG).prop_map(|b| (LONG, b)),
        ],
        sizes in prop::collection::vec(1..60usize, 1..8),
    ) {
        check(&bytes, std::slice::from_ref(&bytes), tid.as_bytes());
        check(&bytes, &cuts(&bytes, &sizes), tid.as_bytes());
        check(&bytes, &cuts(&bytes, &[1]), tid.as_bytes());
    }
}

// [MSRP-FRAME-06] look-alikes are body.
#[test]
fn look_alikes_are_body() {
    for body in [
        "\r\n-------",
        "\r\n-------\r\n",
        "-------k2n4x7q9$\r\n",
        "\n-------k2n4x7q9$\r\n",
        "\r\n-------k2n4x7q9",
        "\r\n-------k2n4x7q9\r\n",
        "\r\n-------k2n4x7q9$\n",
        "\r\n-------k2n4x7q9$\r",
        "\r\n-------k2n4x7q9!\r\n",
        "\r\n-------k2n4x7q8$\r\n",
        "\r\n-------k2n4x7q90$\r\n",
        "\r\n-------K2N4X7Q9$\r\n",
        "\r\n--------k2n4x7q9$\r\n",
        "\r\n------k2n4x7q9$\r\n",
        "\r\n ------k2n4x7q9$\r\n",
    ] {
        let bytes = [body.as_bytes(), b"\r\n-------k2n4x7q9$\r\n"].concat();
        assert_eq!(
            naive(&bytes, b"k2n4x7q9").map(|f| f.0),
            Some(body.len()),
            "{body:?}"
        );
        for at in 0..=bytes.len() {
            check(
                &bytes,
                &[bytes[..at].to_vec(), bytes[at..].to_vec()],
                b"k2n4x7q9",
            );
        }
        check(&bytes, &cuts(&bytes, &[1]), b"k2n4x7q9");
    }
}

#[test]
fn a_leg_s_id_in_a_body_is_told_while_it_can_still_be_cut_off() {
    // The id of a leg, cut at each place: told once, with its place, before its bytes are released (checked in `search`).
    let body = b"abc\r\n-------legleglegleg0001+\r\nxyz\r\n-------k2n4x7q9$\r\n";
    for at in 0..body.len() {
        let heard = search(&[body[..at].to_vec(), body[at..].to_vec()], b"k2n4x7q9");
        assert_eq!(
            heard.others,
            [(3, b"legleglegleg0001+".to_vec())],
            "cut at {at}"
        );
        assert_eq!(heard.body, &body[..34]);
    }
}

// A long body is searched by blocks: an end-line, or a look-alike before it, is found wherever it lies in one, over the border of
// two, and in what is left behind the last.
#[test]
fn in_a_long_body_each_place_is_looked_at() {
    let tid = "long1d";
    let end = [FIXED, tid.as_bytes(), b"$\r\n"].concat();
    let other = [FIXED, b"other1d#\r\n".as_slice()].concat();
    for size in [511, 512, 515, 645, 1000] {
        for at in 0..size {
            for fill in [b'x', b'-'] {
                let mut bytes = vec![fill; size];
                // A look-alike some way before, where there is room.
                if let Some(before) = at.checked_sub(other.len() + 129) {
                    bytes[before..before + other.len()].copy_from_slice(&other);
                }
                bytes.truncate(at);
                bytes.extend_from_slice(&end);
                bytes.resize(bytes.len().max(size), fill);
                check(&bytes, &[bytes.clone()], tid.as_bytes());
            }
        }
    }
}
