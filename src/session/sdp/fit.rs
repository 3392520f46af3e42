//! An answer whose lines are not those of its offer (settled.md 33) [MSRP-SDP-01].
//!
//! The law: a line that was accepted has one place, or there is no answer. What was not answered is refused.

use super::{Unusable, msrp_at};
use crate::wire::sdp::{Media, Session, Writer};

/// The answer with a line for each of `offer`'s, in their order: as it came, where it has them. Lines that lack are refused, lines
/// in another order are found by kind, transport and format, refused lines too many are left out.
///
/// # Errors
/// What keeps it from being used: no description, no MSRP, lines that belong to none of the offer's or to several.
pub(in crate::session) fn fitted(offer: &[u8], answer: &[u8]) -> Result<Vec<u8>, Unusable> {
    let offered = Session::parse(offer).map_err(|_| Unusable::NotSdp)?;
    let session = Session::parse(answer).map_err(|_| Unusable::NotSdp)?;
    let lines: Vec<Media<'_>> = offered.media().collect();
    let answers: Vec<Media<'_>> = session.media().collect();
    if in_order(&lines, &answers, shares) {
        return usable(answer.to_vec());
    }
    match places(&lines, &answers) {
        Some(places) => usable(written(&session, &lines, &answers, &places)),
        // Formats that nobody offered, each line in its place all the same.
        None if in_order(&lines, &answers, |_, _| true) => usable(answer.to_vec()),
        None => Err(Unusable::Lines),
    }
}

fn usable(answer: Vec<u8>) -> Result<Vec<u8>, Unusable> {
    msrp_at(&Session::parse(&answer).map_err(|_| Unusable::NotSdp)?)?;
    Ok(answer)
}

/// Whether line for line answers line for line. `meets`: whether their formats do.
fn in_order(
    lines: &[Media<'_>],
    answers: &[Media<'_>],
    meets: fn(&Media<'_>, &Media<'_>) -> bool,
) -> bool {
    let fits = |(line, answer): (&Media<'_>, &Media<'_>)| {
        if answer.port == 0 {
            line.kind.eq_ignore_ascii_case(answer.kind)
        } else {
            answers_to(line, answer) && meets(line, answer)
        }
    };
    lines.len() == answers.len() && lines.iter().zip(answers).all(fits)
}

/// Whether an accepted line may be the answer to an offered one.
fn answers_to(line: &Media<'_>, answer: &Media<'_>) -> bool {
    line.port != 0
        && line.kind.eq_ignore_ascii_case(answer.kind)
        && line.proto.eq_ignore_ascii_case(answer.proto)
}

/// Whether they have a format in common; of MSRP there is one.
fn shares(line: &Media<'_>, answer: &Media<'_>) -> bool {
    line.is_msrp() || formats(line).any(|l| formats(answer).any(|a| a == l))
}

fn formats<'a>(m: &Media<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    m.formats
        .split(u8::is_ascii_whitespace)
        .filter(|w| !w.is_empty())
}

/// For each offered line the accepted one that answers it. `None`: an accepted line has no place, or nobody can tell which.
fn places(lines: &[Media<'_>], answers: &[Media<'_>]) -> Option<Vec<Option<usize>>> {
    let mut places = vec![None; lines.len()];
    let mut left: Vec<usize> = (0..answers.len())
        .filter(|a| answers[*a].port != 0)
        .collect();
    while !left.is_empty() {
        let free = |answer: usize, places: &[Option<usize>]| -> Vec<usize> {
            let fits = |at: &usize| {
                places[*at].is_none()
                    && answers_to(&lines[*at], &answers[answer])
                    && shares(&lines[*at], &answers[answer])
            };
            (0..lines.len()).filter(fits).collect()
        };
        // One that fits a single place goes there; that may leave a single place to another.
        let sure = left.iter().position(|a| free(*a, &places).len() <= 1);
        if let Some(next) = sure {
            let answer = left.remove(next);
            let at = *free(answer, &places).first()?;
            places[at] = Some(answer);
            continue;
        }
        // As many places as answers of one kind: in their order.
        let first = *left.first()?;
        let open = free(first, &places);
        let alike: Vec<usize> = left
            .iter()
            .copied()
            .filter(|a| free(*a, &places) == open)
            .collect();
        if alike.len() != open.len() {
            return None;
        }
        for (at, answer) in open.into_iter().zip(alike) {
            places[at] = Some(answer);
            left.retain(|a| *a != answer);
        }
    }
    Some(places)
}

fn written(
    session: &Session<'_>,
    lines: &[Media<'_>],
    answers: &[Media<'_>],
    places: &[Option<usize>],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(session.text.len());
    let mut w = Writer::resume(&mut out);
    w.copy(session.lines(), |_| true);
    for (line, place) in lines.iter().zip(places) {
        match place.and_then(|at| answers.get(at)) {
            Some(answer) => w.copy(answer.lines(), |_| true),
            None => w.media(line.kind, 0, line.proto, line.formats),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 h\r\nt=0 0\r\n";

    /// `m 2855` is an MSRP line, `audio 4000 0 8` another; divided by commas.
    fn described(lines: &str) -> String {
        let mut out = HEAD.to_owned();
        for line in lines.split(", ").filter(|l| !l.is_empty()) {
            match line.strip_prefix("m ") {
                Some(port) => out.push_str(&format!(
                    "m=message {port} TCP/MSRP *\r\na=accept-types:*\r\na=path:msrp://h:{port}/x;tcp\r\n"
                )),
                None => {
                    let (kind, rest) = line.split_once(' ').unwrap();
                    let (port, formats) = rest.split_once(' ').unwrap();
                    out.push_str(&format!("m={kind} {port} RTP/AVP {formats}\r\n"));
                }
            }
        }
        out
    }

    fn check(offer: &str, answer: &str, expected: Result<&str, Unusable>) {
        let found = fitted(described(offer).as_bytes(), described(answer).as_bytes());
        let found = found.map(|text| String::from_utf8(text).unwrap());
        // What is refused for want of an answer has no attributes.
        let bare = |text: String| {
            let lines: Vec<&str> = text.split("\r\n").filter(|l| l.starts_with("m=")).collect();
            lines.join("\n")
        };
        let expected = expected.map(|lines| bare(described(lines)));
        assert_eq!(found.map(bare), expected, "{offer} answered by {answer}");
    }

    // [MSRP-SDP-01]: settled.md 33.
    #[test]
    fn an_answer_gets_the_lines_of_its_offer_where_that_is_safe() {
        let same = "m 1, audio 2 0 8";
        check(same, "m 7, audio 8 0", Ok("m 7, audio 8 0"));
        check(same, "m 7, audio 0 0", Ok("m 7, audio 0 0"));
        // Fewer.
        check(same, "m 7", Ok("m 7, audio 0 0 8"));
        check("audio 2 0 8, m 1", "m 7", Ok("audio 0 0 8, m 7"));
        check(
            "audio 2 0, m 1, video 3 31",
            "m 7",
            Ok("audio 0 0, m 7, video 0 31"),
        );
        check(
            "audio 2 0, audio 3 8, m 1",
            "audio 9 8, m 7",
            Ok("audio 0 0, audio 9 8, m 7"),
        );
        // In another order.
        check(same, "audio 8 0, m 7", Ok("m 7, audio 8 0"));
        check(
            "audio 2 0, audio 3 8, m 1",
            "m 7, audio 8 8, audio 9 0",
            Ok("audio 9 0, audio 8 8, m 7"),
        );
        check(
            "audio 2 0, m 1, audio 3 0",
            "m 7, audio 8 0, audio 9 0",
            Ok("audio 8 0, m 7, audio 9 0"),
        );
        // More, refused.
        check("m 1", "m 7, video 0 31", Ok("m 7"));
        check("m 1", "video 0 31, m 7", Ok("m 7"));
        check("m 1, m 0", "m 7", Ok("m 7, m 0"));
        // More, accepted; or one too few of two alike: nobody can tell.
        check("m 1", "m 7, video 8 31", Err(Unusable::Lines));
        check("m 1", "m 7, m 8", Err(Unusable::Lines));
        check("m 1, m 0", "m 0, m 8", Ok("m 8, m 0"));
        check(
            "audio 2 0, audio 3 0, m 1",
            "audio 8 0, m 7",
            Err(Unusable::Lines),
        );
        check("m 1, audio 2 0", "m 7, video 8 31", Err(Unusable::Lines));
        // Without MSRP there is nothing to serve.
        check("m 1, audio 2 0", "m 0, audio 8 0", Err(Unusable::NoMsrp));
        check("m 1, audio 2 0", "audio 8 0", Err(Unusable::NoMsrp));
        check("m 1", "", Err(Unusable::NoMsrp));
        // Formats of the answerer's own, in their place.
        check(same, "m 7, audio 8 97", Ok("m 7, audio 8 97"));
    }
}
