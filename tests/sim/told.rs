//! What came together in a turn, counted: a run of many seeds must have seen each kind.

use ringfork::ids::ConnId;

use crate::net::Net;

/// What was told in a turn, to count what came together.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) accepted: u32,
    pub(crate) closed: u32,
    pub(crate) bytes: Vec<ConnId>,
    pub(crate) datagrams: u32,
    pub(crate) all: u32,
}

/// Counts what came together in a turn.
pub(crate) fn count(net: &mut Net, told: &Told) {
    let mut several = told.bytes.clone();
    several.sort_unstable();
    several.dedup();
    let all = [
        (told.all == 1, "turn with one input"),
        (told.all > 1, "turn with several inputs"),
        (told.all > 9, "turn with ten inputs"),
        (several.len() > 1, "turn with bytes of several connections"),
        (
            told.bytes.len() > several.len(),
            "turn with bytes of a connection twice",
        ),
        (told.datagrams > 1, "turn with several datagrams"),
        (told.accepted > 1, "turn with several accepted"),
        (
            told.accepted > 0 && told.closed > 0,
            "turn with accept and closure",
        ),
        (told.closed > 1, "turn with several closures"),
    ];
    for (_, what) in all.into_iter().filter(|(yes, _)| *yes) {
        net.saw(what);
    }
}
