//! What an offer would have needed to be served: the warn-code and the text of a Warning (RFC 3261 §20.43).

use super::{Unusable, moved};
use crate::wire::sdp::{Media, Session};

/// Media lines that are told of.
const LINES_MAX: usize = 4;

/// The code and text of the Warning of a 488 to `offer`, with what is wrong with which media line.
pub(in crate::session) fn warning(offer: &[u8], why: Unusable) -> (u16, String) {
    // RFC 3261 §20.43: 304 media type not available, 305 incompatible media format, 399 whatever else.
    let code = match why {
        Unusable::NoMsrp | Unusable::Forbidden => 304,
        Unusable::Incomplete => 305,
        Unusable::NotSdp | Unusable::Lines | Unusable::Middlebox => 399,
    };
    let mut text = why.text().to_owned();
    let Ok(session) = Session::parse(offer) else {
        return (code, text);
    };
    let told = session
        .media()
        .enumerate()
        .filter_map(|(at, media)| Some((at + 1, fault(&media, why)?)))
        .take(LINES_MAX);
    for (at, fault) in told {
        text.push_str(&format!("; media line {at}: {fault}"));
    }
    (code, text)
}

/// What keeps a media line from being served, if `why` is its fault.
fn fault(media: &Media<'_>, why: Unusable) -> Option<&'static str> {
    let fault = match why {
        Unusable::NotSdp | Unusable::Lines => return None,
        Unusable::Forbidden if media.is_msrp() => return None,
        Unusable::Forbidden => "its kind of media may not be allowed",
        Unusable::Middlebox if media.is_msrp() && moved(media) => {
            "a=msrp-cema is missing, or c= and m= differ from a=path"
        }
        Unusable::Middlebox => return None,
        Unusable::NoMsrp | Unusable::Incomplete => unserved(media),
    };
    Some(fault)
}

/// Why no session can be on a media line.
fn unserved(media: &Media<'_>) -> &'static str {
    if !media.is_msrp() {
        "it is not MSRP"
    } else if media.is_tls() {
        "it is MSRP over TLS"
    } else if media.port == 0 {
        "its port is 0"
    } else if media.accept_types().is_none() {
        "it has no a=accept-types"
    } else if media.next_hop().is_none() {
        "it has no a=path that can be reached"
    } else {
        "it has no a=path that can be read, or one with msrps"
    }
}
