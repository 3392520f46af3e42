//! SDP: every corpus description read, compared with `sdp-types`, written again; the attributes of MSRP.

use std::{fs, path::Path};

use proptest::prelude::*;
use ringfork::wire::{
    sdp::{
        AddressMatch, Direction, Error, MEDIA_MAX, Origin, Session, Setup, TypeList, Writer,
        match_address,
    },
    uri::msrp::Host,
};

fn files() -> Vec<(String, Vec<u8>)> {
    let files = folder("sdp");
    assert!(files.len() > 10);
    files
}

fn folder(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| {
            let path = entry.expect("readable").path();
            (
                path.file_stem()
                    .expect("named")
                    .to_string_lossy()
                    .into_owned(),
                fs::read(path).expect("readable"),
            )
        })
        .collect();
    files.sort();
    files
}

fn file(name: &str) -> Vec<u8> {
    let all = files();
    all.into_iter()
        .find(|(n, _)| n == name)
        .expect("in the corpus")
        .1
}

fn read(bytes: &[u8]) -> Session<'_> {
    Session::parse(bytes).unwrap_or_else(|e| panic!("{e:?}: {}", String::from_utf8_lossy(bytes)))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn agrees_with_sdp_types() {
    for (name, bytes) in files() {
        let ours = read(&bytes);
        let theirs = sdp_types::Session::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            text(ours.origin.username),
            theirs.origin.username.as_deref().unwrap_or("-"),
            "{name}"
        );
        assert_eq!(text(ours.origin.session_id), theirs.origin.sess_id);
        assert_eq!(
            ours.origin.version_number(),
            Some(theirs.origin.sess_version)
        );
        assert_eq!(text(ours.origin.address), theirs.origin.unicast_address);
        assert_eq!(text(ours.name), theirs.session_name);
        assert_eq!(
            ours.connection().map(|c| text(c.address).to_owned()),
            theirs
                .connection
                .as_ref()
                .map(|c| c.connection_address.clone())
        );
        assert_eq!(ours.media_len(), theirs.medias.len());
        for (mine, other) in ours.media().zip(&theirs.medias) {
            assert_eq!(text(mine.kind), other.media, "{name}");
            assert_eq!(
                (mine.port, text(mine.proto), text(mine.formats)),
                (other.port, &*other.proto, &*other.fmt)
            );
            let attributes: Vec<_> = mine
                .attributes()
                .map(|(n, v)| (text(n).to_owned(), v.map(|v| text(v).to_owned())))
                .collect();
            let expected: Vec<_> = other
                .attributes
                .iter()
                .map(|a| (a.attribute.clone(), a.value.clone()))
                .collect();
            assert_eq!(attributes, expected, "{name}");
        }
        let session: Vec<_> = ours
            .lines()
            .filter_map(|l| l.attribute())
            .map(|(n, _)| text(n).to_owned())
            .collect();
        let expected: Vec<_> = theirs
            .attributes
            .iter()
            .map(|a| a.attribute.clone())
            .collect();
        assert_eq!(session, expected, "{name}");
    }
}

// Copying every line gives the description back, byte by byte. [MSRP-SDP-05] file attributes among them.
#[test]
fn what_is_copied_is_equal() {
    for (name, bytes) in files() {
        let session = read(&bytes);
        let mut out = Vec::new();
        let mut writer = Writer::resume(&mut out);
        writer.copy(session.lines(), |_| true);
        for media in session.media() {
            writer.copy(media.lines(), |_| true);
        }
        if name == "bare-lf" {
            assert_eq!(text(&out).replace("\r\n", "\n"), text(&bytes));
        } else {
            assert_eq!(text(&out), text(&bytes), "{name}");
        }
    }
}

#[test]
fn a_leg_s_description_is_the_offer_s_with_our_own_transport() {
    let bytes = file("rfc5547-6-file");
    let offer = read(&bytes);
    let media = offer.media().next().expect("one");
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer
        .origin(&Origin {
            username: b"-",
            session_id: b"7",
            version: b"1",
            nettype: b"IN",
            addrtype: b"IP6",
            address: b"2001:db8::9",
        })
        .line(b's', offer.name)
        .connection(b"2001:db8::9")
        .time()
        .media(media.kind, 2855, media.proto, media.formats)
        .copy_media_except(
            media.lines(),
            &["path", "setup", "connection", "msrp-cema", "fingerprint"],
        )
        .attribute("path", b"msrp://[2001:db8::9]:2855/0123456789abcdef;tcp")
        .setup(Setup::ActPass)
        .max_size(1_048_576)
        .flag("msrp-cema");
    assert_eq!(
        text(&out),
        "v=0\r\no=- 7 1 IN IP6 2001:db8::9\r\ns=-\r\nc=IN IP6 2001:db8::9\r\nt=0 0\r\nm=message 2855 TCP/MSRP *\r\n\
         i=This is my latest picture\r\na=sendonly\r\na=accept-types:message/cpim\r\na=accept-wrapped-types:*\r\n\
         a=file-selector:name:\"My cool picture.jpg\" type:image/jpeg size:32349 hash:sha-1:72:24:5F:E8:65:3D:DA:F3:71:36:2F:86:D4:71:91:3E:E4:A2:CE:2E\r\n\
         a=file-transfer-id:vBnG916bdberum2fFEABR1FR3ExZMUrd\r\na=file-disposition:attachment\r\n\
         a=file-date:creation:\"Mon, 15 May 2006 15:01:31 +0300\"\r\na=file-icon:cid:id2@alicepc.example.com\r\n\
         a=file-range:1-32349\r\na=path:msrp://[2001:db8::9]:2855/0123456789abcdef;tcp\r\na=setup:actpass\r\n\
         a=max-size:1048576\r\na=msrp-cema\r\n"
    );
    let again = read(&out);
    let media = again.media().next().expect("one");
    assert_eq!(match_address(&media), AddressMatch::Same);
    assert!(
        media.cema()
            && media.setup() == Some(Setup::ActPass)
            && media.max_size() == Some(1_048_576)
    );
    assert!(sdp_types::Session::parse(&out).is_ok());
}

#[test]
fn what_a_media_section_says_about_msrp() {
    let bytes = file("rcs-answer-tls");
    let session = read(&bytes);
    let media = session.media().next().expect("one");
    assert!(media.is_msrp() && media.is_tls() && !media.cema());
    assert_eq!(
        (media.port, media.setup(), media.direction()),
        (443, Some(Setup::Passive), Direction::SendRecv)
    );
    // The misspelling of the field. cpm-notes.md §1 point 6.
    assert_eq!(media.max_size(), Some(1_048_576));
    let hop = media.next_hop().expect("a path");
    assert!(hop.secure && hop.session_id == Some(b"9Xa31-7"));
    let prints: Vec<_> = media.fingerprints().collect();
    assert_eq!((prints.len(), prints[0].hash), (1, &b"SHA-1"[..]));
    assert!(prints[0].value.starts_with(b"4A:AD:"));

    let bytes = file("rfc5547-6-file");
    let session = read(&bytes);
    let media = session.media().next().expect("one");
    let selector = media.file_selector().flatten().expect("a file");
    assert_eq!(selector.name, Some(&b"My cool picture.jpg"[..]));
    assert_eq!(
        (selector.size, selector.media_type),
        (Some(32349), Some(&b"image/jpeg"[..]))
    );
    assert!(selector.hash.is_some_and(|h| h.starts_with(b"sha-1:72:24")));
    assert_eq!(
        (media.file_range(), media.direction()),
        (Some((1, Some(32349))), Direction::SendOnly)
    );

    let bytes = file("rfc5547-9.3-capability");
    let capability = read(&bytes);
    let media = capability.media().next().expect("one");
    assert_eq!(
        (media.port, media.max_size(), media.path()),
        (0, Some(20000), None)
    );
    assert_eq!(
        media.file_selector().flatten(),
        Some(ringfork::wire::sdp::FileSelector::default())
    );
    let bytes = file("rfc7701-9.1-offer");
    assert_eq!(
        read(&bytes).media().next().and_then(|m| m.chatroom()),
        Some(&b"nickname private-messages"[..])
    );
}

#[test]
fn sections_keep_to_themselves_and_fall_back_to_the_session() {
    let bytes = file("several-media");
    let session = read(&bytes);
    let [audio, first, second, video] = session.media().collect::<Vec<_>>()[..] else {
        panic!("four sections");
    };
    assert!(!audio.is_msrp() && first.is_msrp() && second.is_msrp() && !video.is_msrp());
    assert_eq!(
        audio.connection().and_then(|c| c.host()),
        Host::of(b"192.0.2.1")
    );
    assert_eq!(
        first.connection().and_then(|c| c.host()),
        Host::of(b"192.0.2.2")
    );
    assert_eq!(
        (first.direction(), second.direction()),
        (Direction::RecvOnly, Direction::SendOnly)
    );
    assert_eq!((first.setup(), second.port), (Some(Setup::Passive), 0));
    assert_eq!(first.fingerprints().count(), 1);
    let unknown: Vec<_> = first
        .attributes()
        .filter(|(n, _)| n.starts_with(b"x-"))
        .collect();
    assert_eq!(
        unknown,
        [
            (&b"x-unknown"[..], None),
            (b"x-unknown", Some(&b"again"[..]))
        ]
    );
    let kinds: Vec<u8> = session.lines().map(|l| l.kind).collect();
    assert_eq!(kinds, b"vosiuepcbtaaa");
}

// [COMEDIA-01] holdconn is read as absent, also where the session level says something else.
#[test]
fn setup_values() {
    for (value, setup) in [
        ("active", Some(Setup::Active)),
        ("passive", Some(Setup::Passive)),
        ("actpass", Some(Setup::ActPass)),
        ("ACTIVE", Some(Setup::Active)),
        ("holdconn", None),
        ("", None),
        ("active passive", None),
    ] {
        let bytes = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nm=message 9 TCP/MSRP *\r\na=setup:{value}\r\n"
        );
        assert_eq!(
            read(bytes.as_bytes())
                .media()
                .next()
                .and_then(|m| m.setup()),
            setup,
            "{value}"
        );
    }
    let bytes = file("several-media");
    assert_eq!(read(&bytes).media().last().and_then(|m| m.setup()), None);
}

// [CEMA-06] IPv6 by value, ports exactly, names as text; what needs a resolver says so.
#[test]
fn addresses_match() {
    let check = |c: &str, port: u16, uri: &str| {
        let bytes = format!(
            "v=0\no=- 1 1 IN IP4 x\ns=-\nc={c}\nm=message {port} TCP/MSRP *\na=path:{uri}\n"
        );
        match_address(&read(bytes.as_bytes()).media().next().expect("one"))
    };
    use AddressMatch::{Different, Same, Unresolved};
    for (c, port, uri, outcome) in [
        (
            "IN IP6 2001:db8::1",
            2855,
            "msrp://[2001:DB8:0:0::1]:2855/x;tcp",
            Same,
        ),
        (
            "IN IP6 2001:db8::1",
            2855,
            "msrp://[2001:db8::2]:2855/x;tcp",
            Different,
        ),
        (
            "IN IP6 2001:db8::1",
            2856,
            "msrp://[2001:db8::1]:2855/x;tcp",
            Different,
        ),
        (
            "IN IP4 192.0.2.1",
            2855,
            "msrp://192.0.2.1:2855/x;tcp",
            Same,
        ),
        (
            "IN IP4 192.0.2.1",
            2855,
            "msrp://192.0.2.2:2855/x;tcp",
            Different,
        ),
        (
            "IN IP4 192.0.2.1",
            2855,
            "msrp://[::ffff:192.0.2.1]:2855/x;tcp",
            Different,
        ),
        (
            "IN IP4 host.example.com",
            2855,
            "msrp://HOST.example.com:2855/x;tcp",
            Same,
        ),
        (
            "IN IP4 host.example.com",
            2855,
            "msrp://other.example.com:2855/x;tcp",
            Unresolved,
        ),
        (
            "IN IP4 192.0.2.1",
            2855,
            "msrp://x.invalid:2855/x;tcp",
            Unresolved,
        ),
        (
            "IN IP4 192.0.2.1",
            2855,
            "msrp://x.invalid:2856/x;tcp",
            Different,
        ),
        (
            "IN IP4 192.0.2.1",
            2855,
            "msrp://x.invalid/x;tcp",
            Different,
        ),
        // The first URI of several is the one to connect to.
        (
            "IN IP4 192.0.2.1",
            2855,
            "msrp://192.0.2.1:2855/x;tcp msrp://192.0.2.9:1/y;tcp",
            Same,
        ),
        ("IN IP4 192.0.2.1", 2855, "junk", Different),
    ] {
        assert_eq!(check(c, port, uri), outcome, "{c} {port} {uri}");
    }
}

// [MSRP-TYPES-01] wildcards are understood, parameters and case do not affect matching.
#[test]
fn type_lists() {
    for (list, kind, allowed) in [
        ("text/plain", "text/plain", true),
        ("text/plain", "TEXT/Plain; charset=utf-8", true),
        ("text/plain;charset=\"utf 8\" text/html", "text/html", true),
        ("text/plain;charset=\"a text/html\"", "text/html", false),
        ("text/plain;x=\"\\\" text/html\" a/b", "text/html", false),
        ("text/plain;x=\"\\\" text/html\" a/b", "a/b", true),
        ("text/plain;x=y", "text/plain", true),
        ("text/*", "text/html", true),
        ("text/*", "image/png", false),
        ("*", "image/png", true),
        ("*", "junk", false),
        ("*", "", false),
        ("message/cpim", "message/cpimx", false),
        ("message/cpim", "message", false),
        ("", "text/plain", false),
        ("  message/cpim   text/plain ", "text/plain", true),
        ("*/*", "text/plain", false),
    ] {
        assert_eq!(
            TypeList(list.as_bytes()).allows(kind.as_bytes()),
            allowed,
            "{list} {kind}"
        );
    }
    let bytes = file("cema-offer-unresolvable");
    let session = read(&bytes);
    let media = session.media().next().expect("one");
    // Wrapped types may stand inside containers alone; what may stand alone may be wrapped too.
    assert!(media.takes(b"message/cpim") && media.takes_wrapped(b"message/cpim"));
    assert!(!media.takes(b"text/plain") && media.takes_wrapped(b"text/plain;charset=x"));
    assert!(!media.takes_wrapped(b"image/png"));
}

/// What fuzzing found, and its like: nothing of it may be read, for it would be written again.
#[test]
fn what_is_refused_in_the_corpus() {
    let refused: Vec<_> = folder("sdp_bad")
        .into_iter()
        .map(|(name, bytes)| (name, Session::parse(&bytes).map(|s| s.media_len())))
        .collect();
    assert_eq!(
        refused,
        [
            ("lone-cr-at-end-of-origin".to_owned(), Err(Error::Origin)),
            ("lone-cr-in-origin".to_owned(), Err(Error::Origin)),
        ]
    );
}

#[test]
fn what_is_no_description() {
    let head = "v=0\r\no=- 1 1 IN IP4 x\r\ns=-\r\n";
    for (bytes, error) in [
        (String::new(), Error::Version),
        ("v=1\r\n".into(), Error::Version),
        ("o=- 1 1 IN IP4 x\r\nv=0\r\n".into(), Error::Version),
        ("v=0\r\ns=-\r\n".into(), Error::Origin),
        ("v=0\r\no=- 1 1 IN IP4\r\ns=-\r\n".into(), Error::Origin),
        ("v=0\r\no=- one 1 IN IP4 x\r\ns=-\r\n".into(), Error::Origin),
        (
            "v=0\r\no=- 1 1 IN IP4 x\0y\r\ns=-\r\n".into(),
            Error::Origin,
        ),
        ("v=0\r\no=- 1 1 IN IP4 x\r\nt=0 0\r\n".into(), Error::Name),
        (format!("{head}junk\r\n"), Error::Line),
        (format!("{head}\r\na=x\r\n"), Error::Line),
        (format!("{head}a=x\0\r\n"), Error::Line),
        (format!("{head}a=x\ry\r\n"), Error::Line),
        (format!("{head}c=IN IP4\r\n"), Error::Connection),
        (format!("{head}a=:x\r\n"), Error::Attribute),
        (format!("{head}a=x y:z\r\n"), Error::Attribute),
        (format!("{head}m=message\r\n"), Error::Media),
        (
            format!("{head}m=message 65536 TCP/MSRP *\r\n"),
            Error::Media,
        ),
        (format!("{head}m=message -1 TCP/MSRP *\r\n"), Error::Media),
        (format!("{head}m=message 1 TCP/MSRP\r\n"), Error::Media),
        (format!("{head}m=message 1/x TCP/MSRP *\r\n"), Error::Media),
        (
            format!(
                "{head}{}",
                "m=message 1 TCP/MSRP *\r\n".repeat(MEDIA_MAX + 1)
            ),
            Error::TooManyMedia,
        ),
        (
            format!("{head}{}", "a=x\r\n".repeat(20_000)),
            Error::TooLong,
        ),
    ] {
        assert_eq!(
            Session::parse(bytes.as_bytes()).err(),
            Some(error),
            "{:.80}",
            bytes
        );
    }
    let full = format!("{head}{}", "m=message 1 TCP/MSRP *\r\n".repeat(MEDIA_MAX));
    assert_eq!(read(full.as_bytes()).media().count(), MEDIA_MAX);
    // An empty line at the very end is forgiven.
    assert!(Session::parse(format!("{head}a=x\r\n\r\n").as_bytes()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn mutated_descriptions_never_panic(
        pick in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
    ) {
        let all = [file("several-media"), file("rfc5547-6-file"), file("rcs-answer-tls")];
        let mut bytes = pick.get(&all).clone();
        for (at, byte, kind) in edits {
            if bytes.is_empty() { break; }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, b"\r\n:= \""[usize::from(byte) % 6]),
                _ => bytes.truncate(at),
            }
        }
        if let Ok(session) = Session::parse(&bytes) {
            prop_assert_eq!(session.media().count(), session.media_len());
            let mut lines = session.lines().count();
            for media in session.media() {
                lines += media.lines().count();
                let _ = (media.takes_wrapped(b"text/plain"), media.file_selector(), media.file_range(), media.max_size());
                let _ = (match_address(&media), media.direction(), media.setup(), media.fingerprints().count());
            }
            prop_assert_eq!(lines, text_lines(&bytes));
        }
    }
}

fn text_lines(bytes: &[u8]) -> usize {
    bytes
        .split(|&b| b == b'\n')
        .filter(|l| !matches!(l, [] | [b'\r']))
        .count()
}
