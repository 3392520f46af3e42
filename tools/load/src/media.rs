//! What we say in SDP about an MSRP leg, and what we need to know of what the peer says.

use std::net::{IpAddr, SocketAddr};

use ringfork::wire::{
    sdp::{Media, Origin, Session, Setup, Writer},
    uri::msrp,
};

use crate::leg::How;

/// Who connects to whom, and by which rules (a choice of the run).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MediaStyle {
    /// What a sender's offer says.
    pub(crate) offer: Setup,
    /// What a device's answer to `actpass` says: active or passive.
    pub(crate) answer: Setup,
    /// RFC 6714.
    pub(crate) cema: bool,
}

impl Default for MediaStyle {
    /// What most phones do.
    fn default() -> Self {
        Self {
            offer: Setup::ActPass,
            answer: Setup::Active,
            cema: true,
        }
    }
}

/// The part of a peer's description that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Peer {
    pub(crate) path: String,
    pub(crate) setup: Option<Setup>,
    /// Where to connect to.
    pub(crate) at: SocketAddr,
    pub(crate) cema: bool,
}

/// Room for a description.
const TEXT_BYTES: usize = 512;

/// Our description of one leg.
pub(crate) fn describe(own_path: &str, listens: SocketAddr, setup: Setup, cema: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(TEXT_BYTES);
    let address = listens.ip().to_string();
    let kind: &[u8] = match listens.ip() {
        IpAddr::V4(_) => b"IP4",
        IpAddr::V6(_) => b"IP6",
    };
    let mut sdp = Writer::new(&mut out);
    sdp.origin(&Origin {
        username: b"-",
        session_id: b"1",
        version: b"1",
        nettype: b"IN",
        addrtype: kind,
        address: address.as_bytes(),
    })
    .line(b's', b"-")
    .connection(address.as_bytes())
    .time()
    .media(b"message", listens.port(), b"TCP/MSRP", b"*")
    .attribute(
        "accept-types",
        b"message/cpim application/im-iscomposing+xml",
    )
    .attribute("accept-wrapped-types", b"*")
    .attribute("path", own_path.as_bytes())
    .setup(setup);
    if cema {
        sdp.flag("msrp-cema");
    }
    out
}

/// Reads a peer's description. `Err` says what is missing.
pub(crate) fn read(sdp: &[u8], our_cema: bool) -> Result<Peer, String> {
    let session = Session::parse(sdp).map_err(|e| format!("SDP: {e:?}"))?;
    let media = session
        .media()
        .find(Media::is_msrp)
        .ok_or("SDP: no MSRP in it")?;
    if media.port == 0 {
        return Err("SDP: MSRP was refused".to_owned());
    }
    let path = media.path().ok_or("SDP: no path")?;
    let cema = media.cema();
    let by_path = || {
        media.next_hop().and_then(|u| match (u.host, u.port) {
            (msrp::Host::Ip(ip), Some(port)) => Some(SocketAddr::new(ip, port)),
            (msrp::Host::Ip(_) | msrp::Host::Name(_), _) => None,
        })
    };
    let by_line = media.connection().and_then(|c| match c.host() {
        Some(msrp::Host::Ip(ip)) => Some(SocketAddr::new(ip, media.port)),
        Some(msrp::Host::Name(_)) | None => None,
    });
    // RFC 6714 §4.2: where both speak CEMA, c= and m= say where to connect. RFC 4975 §5.4: else the path does.
    let at = if cema && our_cema {
        by_line
    } else {
        by_path().or(by_line)
    };
    Ok(Peer {
        path: String::from_utf8_lossy(path).into_owned(),
        setup: media.setup(),
        at: at.ok_or("SDP: no numeric address")?,
        cema,
    })
}

/// As the answerer: what we answer to an offer, and who connects.
pub(crate) fn answer_to(offer: &Peer, style: MediaStyle) -> (Setup, How) {
    match offer.setup {
        Some(Setup::Passive) => (Setup::Active, active(offer)),
        // RFC 6135 §4.2.2: an offer without the attribute is one of RFC 4975, whose offerer connects.
        Some(Setup::Active) | None => (Setup::Passive, How::Passive),
        Some(Setup::ActPass) => match style.answer {
            Setup::Passive => (Setup::Passive, How::Passive),
            Setup::Active | Setup::ActPass => (Setup::Active, active(offer)),
        },
    }
}

/// As the offerer: who connects, after the answer.
pub(crate) fn after_answer(answer: &Peer) -> How {
    match answer.setup {
        Some(Setup::Active) => How::Passive,
        Some(Setup::Passive | Setup::ActPass) | None => active(answer),
    }
}

fn active(peer: &Peer) -> How {
    How::Active {
        to: peer.at,
        bind: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "msrp://127.0.0.1:2855/abc;tcp";

    fn sdp(setup: Setup, cema: bool) -> Vec<u8> {
        describe(PATH, "127.0.0.1:2855".parse().unwrap(), setup, cema)
    }

    #[test]
    fn what_we_write_we_read() {
        let peer = read(&sdp(Setup::ActPass, true), true).unwrap();
        assert_eq!(peer.path, PATH);
        assert_eq!(peer.setup, Some(Setup::ActPass));
        assert_eq!(peer.at, "127.0.0.1:2855".parse().unwrap());
        assert!(peer.cema);
    }

    #[test]
    fn where_to_connect_depends_on_cema_alone() {
        let text = String::from_utf8(sdp(Setup::ActPass, true)).unwrap();
        let moved = text.replace("m=message 2855", "m=message 7777");
        assert_eq!(read(moved.as_bytes(), true).unwrap().at.port(), 7777);
        assert_eq!(read(moved.as_bytes(), false).unwrap().at.port(), 2855);
        let plain = moved.replace("a=msrp-cema\r\n", "");
        assert_eq!(read(plain.as_bytes(), true).unwrap().at.port(), 2855);
    }

    #[test]
    fn exactly_one_side_connects() {
        let style = |answer| MediaStyle {
            offer: Setup::ActPass,
            answer,
            cema: true,
        };
        for offered in [Setup::Active, Setup::Passive, Setup::ActPass] {
            for chosen in [Setup::Active, Setup::Passive] {
                let offer = read(&sdp(offered, true), true).unwrap();
                let (said, ours) = answer_to(&offer, style(chosen));
                let answer = read(&sdp(said, true), true).unwrap();
                let theirs = after_answer(&answer);
                assert!(
                    (ours == How::Passive) != (theirs == How::Passive),
                    "{offered:?} {chosen:?}"
                );
            }
        }
    }

    #[test]
    fn a_refused_or_foreign_description_is_an_error() {
        let text = String::from_utf8(sdp(Setup::Active, false)).unwrap();
        for bad in [
            text.replace("m=message 2855", "m=message 0"),
            text.replace("TCP/MSRP", "RTP/AVP"),
            String::new(),
        ] {
            assert!(read(bad.as_bytes(), false).is_err(), "{bad}");
        }
    }
}
