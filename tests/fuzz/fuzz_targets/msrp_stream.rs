//! Any bytes as an MSRP stream: whole, and cut where the first bytes say. The bodies that come out are the same, and the
//! stream is refused in both or in neither.
#![no_main]

#[path = "../../wire_msrp/reader.rs"]
#[allow(dead_code, reason = "the tests ask more of it")]
mod reader;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((sizes, bytes)) = input.split_first_chunk::<4>() else {
        return;
    };
    let whole = reader::hear([bytes]);
    let mut pieces = Vec::new();
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().map_or(1, |n| usize::from(*n).clamp(1, rest.len()));
        let (piece, after) = rest.split_at(size);
        pieces.push(piece);
        rest = after;
    }
    let cut = reader::hear(pieces);
    assert_eq!(whole.bodies, cut.bodies);
    assert_eq!(whole.poisoned.is_some(), cut.poisoned.is_some());
    assert_eq!(whole.lines.len(), cut.lines.len());
});
