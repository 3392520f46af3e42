//! `wire::sdp`: descriptions read and written.

use std::hint::black_box;

use ringfork::wire::sdp::{Media, Session, Setup, Writer, match_address};

use super::{
    case::{Case, whole},
    corpus,
};

const OFFER: &[u8] = include_bytes!("../../tests/corpus/sdp/rfc4975-11.1-offer.sdp");
const ANSWER: &[u8] = include_bytes!("../../tests/corpus/sdp/rcs-answer-tls.sdp");

pub(crate) fn cases() -> Vec<Case> {
    let files = corpus::folder("sdp");
    let n = files.len();
    let lines: usize = files.iter().map(|f| read(f).unwrap()).sum();
    vec![
        one("sdp/read offer", OFFER),
        one("sdp/read RCS answer", ANSWER),
        Case::new("sdp/read corpus", "description", corpus::len(&files), {
            move || whole(move || files.iter().filter_map(|f| read(f)).sum::<usize>() == lines)
        })
        .units(n),
        write(),
    ]
}

/// What an offer or an answer is asked for; the number of its MSRP sections that can be served.
fn read(text: &[u8]) -> Option<usize> {
    let session = Session::parse(black_box(text)).ok()?;
    let served = |m: &Media<'_>| {
        black_box((m.setup(), m.cema(), m.max_size(), m.direction()));
        black_box((m.connection(), match_address(m)));
        let types = m.accept_types().map_or(0, |list| list.entries().count());
        m.is_msrp() && m.next_hop().is_some() && types > 0
    };
    Some(session.media().filter(served).count())
}

fn one(name: &str, text: &'static [u8]) -> Case {
    Case::new(name, "description", text.len(), move || {
        assert_eq!(read(text), Some(1));
        whole(move || read(text) == Some(1))
    })
}

fn write() -> Case {
    Case::new("sdp/write", "description", ANSWER.len(), || {
        let peer = Session::parse(ANSWER).unwrap();
        let mut out = Vec::with_capacity(1024);
        describe(&mut out, &peer);
        let expected = out.clone();
        assert_eq!(read(&expected), Some(1));
        whole(move || {
            out.clear();
            describe(&mut out, black_box(&peer));
            out == expected
        })
    })
}

/// A description of ours with what theirs says of the media.
fn describe(out: &mut Vec<u8>, peer: &Session<'_>) {
    let mut w = Writer::new(out);
    w.origin(&peer.origin).line(b's', peer.name);
    w.connection(b"192.0.2.1").time();
    for media in peer.media() {
        w.media(media.kind, 2855, media.proto, media.formats)
            .copy_media_except(media.lines(), &["path", "setup", "maxsize", "fingerprint"])
            .max_size(1 << 20)
            .attribute(
                "path",
                b"msrps://192.0.2.1:2855/AAABCDEFGHIJKLMNOPQRSTUVWXYZ;tcp",
            )
            .setup(Setup::Active);
    }
}
