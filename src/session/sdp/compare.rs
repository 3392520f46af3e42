//! What a new description of a peer changes.

use super::write::{OWN, is_one_of};
use crate::wire::sdp::{Line, Media, Session};

/// How far a new description reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Change {
    /// It says what the last one said: a session refresh [MSRP-SDP-02].
    Nothing,
    /// Only how this leg is carried: address, path, setup. The other legs need not know.
    Transport,
    /// What the media are: the far end has a say.
    Media,
}

/// Compares a peer's description with the one before.
pub(in crate::session) fn change(before: &[u8], after: &[u8]) -> Change {
    if before == after {
        return Change::Nothing;
    }
    let (Ok(before), Ok(after)) = (Session::parse(before), Session::parse(after)) else {
        return Change::Media;
    };
    // RFC 3264 §8: the same o= line means the same description.
    if before.origin == after.origin {
        return Change::Nothing;
    }
    let same = before.media_len() == after.media_len()
        && shared(before.lines()).eq(shared(after.lines()))
        && before
            .media()
            .zip(after.media())
            .all(|(a, b)| same_media(&a, &b));
    if same {
        Change::Transport
    } else {
        Change::Media
    }
}

fn same_media(a: &Media<'_>, b: &Media<'_>) -> bool {
    if !a.is_msrp() || !b.is_msrp() {
        // What we do not carry is somebody else's transport too.
        return a.lines().eq(b.lines())
            && a.connection().map(|c| c.address) == b.connection().map(|c| c.address);
    }
    let line = |m: &Media<'_>| (m.port == 0, m.is_tls(), m.direction(), m.max_size());
    line(a) == line(b) && shared(a.lines()).eq(shared(b.lines()))
}

/// The lines that are passed from leg to leg.
fn shared<'a>(lines: impl Iterator<Item = Line<'a>>) -> impl Iterator<Item = Line<'a>> {
    lines.filter(|line| match line.attribute() {
        Some((name, _)) => !is_one_of(name, &OWN) && !is_one_of(name, &super::write::DIRECTIONS),
        None => !matches!(line.kind, b'v' | b'o' | b'c' | b'm' | b't'),
    })
}
