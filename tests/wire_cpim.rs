//! CPIM and the XML it carries: what a message is, from as few bytes as tell; headers by namespace.

use std::{fs, path::Path};

use proptest::prelude::*;
use ringfork::wire::{
    cpim::{
        CORE, HEADERS_MAX, IMDN, Message, Verdict, classify, classify_type, escape, mime_at,
        mime_block, unescape, wrapped_type,
    },
    xml::{self, Disposition, Outcome},
};

fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(folder);
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
    let all = files("cpim");
    all.into_iter()
        .find(|(n, _)| n == name)
        .expect("in the corpus")
        .1
}

/// Each message of the corpus, what it is, and the type it wraps.
const WHAT: &[(&str, Verdict, Option<&str>)] = &[
    ("bare-lf", Verdict::Imdn, Some("message/imdn+xml")),
    (
        "conference-info",
        Verdict::Other,
        Some("application/conference-info+xml"),
    ),
    (
        "folded-type",
        Verdict::IsComposing,
        Some("application/im-iscomposing+xml"),
    ),
    (
        "iscomposing-active",
        Verdict::IsComposing,
        Some("application/im-iscomposing+xml"),
    ),
    (
        "iscomposing-idle",
        Verdict::IsComposing,
        Some("APPLICATION/Im-IsComposing+XML; charset=utf-8"),
    ),
    ("nested-cpim", Verdict::Chat, Some("message/cpim")),
    ("no-headers", Verdict::Chat, Some("text/plain")),
    ("no-mime-headers", Verdict::Chat, None),
    ("other-prefix", Verdict::Chat, Some("text/plain")),
    ("rcs-chat", Verdict::Chat, Some("text/plain; charset=UTF-8")),
    (
        "rcs-file-http",
        Verdict::Chat,
        Some("application/vnd.gsma.rcs-ft-http+xml"),
    ),
    (
        "rfc3862-5.1",
        Verdict::Chat,
        Some("text/xml; charset=utf-8"),
    ),
    (
        "rfc5438-7.2.1.1-delivered",
        Verdict::Imdn,
        Some("message/imdn+xml"),
    ),
    (
        "rfc5438-7.2.1.2-displayed",
        Verdict::Imdn,
        Some("message/imdn+xml"),
    ),
    (
        "rfc5438-8.1-processed",
        Verdict::Imdn,
        Some("message/imdn+xml"),
    ),
    (
        "rfc5438-8.3-aggregated",
        Verdict::Imdn,
        Some("multipart/mixed;\r\n                   boundary=\"imdn-boundary\""),
    ),
    ("torture", Verdict::Chat, Some("text/plain")),
];

// [CPIM-01] the RFC's examples and what RCS clients write. [ISCOMP-01] active and idle. [CPIM-04] the torture one.
#[test]
fn what_each_message_is() {
    let files = files("cpim");
    assert_eq!(files.len(), WHAT.len());
    for ((name, bytes), (expected, verdict, wrapped)) in files.iter().zip(WHAT) {
        assert_eq!(name, expected);
        assert_eq!(classify(bytes, true), *verdict, "{name}");
        assert_eq!(
            wrapped_type(bytes).map(|t| std::str::from_utf8(t).expect("UTF-8")),
            *wrapped,
            "{name}"
        );
    }
}

// [CPIM-05] cut anywhere: wait or be right, never be wrong; and not wait longer than the type takes.
#[test]
fn any_prefix_waits_or_is_right() {
    for ((name, bytes), (_, verdict, _)) in files("cpim").iter().zip(WHAT) {
        let mut decided = None;
        for len in 0..=bytes.len() {
            match (classify(&bytes[..len], false), decided) {
                (Verdict::NeedMore, None) => {}
                (now, None) => {
                    assert_eq!(now, *verdict, "{name} at {len}");
                    decided = Some(len);
                }
                (now, Some(_)) => assert_eq!(now, *verdict, "{name} at {len}, having been sure"),
            }
        }
        let decided = decided.unwrap_or_else(|| panic!("{name}: decided without its end"));
        let content_at = Message::parse(bytes).expect("two blocks").content_at;
        assert!(decided <= content_at, "{name}: {decided} of {content_at}");
    }
    // With the type's line, and the first byte of the next, it is known: the other headers are not waited for.
    let bytes = file("rfc5438-7.2.1.1-delivered");
    let line = b"Content-type: message/imdn+xml\r\n";
    let at = bytes
        .windows(line.len())
        .position(|w| w == line)
        .expect("there")
        + line.len();
    assert_eq!(classify(&bytes[..at], false), Verdict::NeedMore);
    assert_eq!(classify(&bytes[..=at], false), Verdict::Imdn);
}

// [CPIM-05] bounded: 8 KiB of headers without a type are enough.
#[test]
fn headers_without_end_are_given_up() {
    let endless = b"X: y\r\n".repeat(HEADERS_MAX);
    assert_eq!(
        classify(&endless[..HEADERS_MAX - 1], false),
        Verdict::NeedMore
    );
    assert_eq!(classify(&endless[..HEADERS_MAX], false), Verdict::Other);
    assert_eq!(classify(&endless, false), Verdict::Other);
    assert_eq!(classify(b"From: <sip:a@b>\r\n", true), Verdict::Other);
    assert_eq!(classify(b"", true), Verdict::Other);
    assert_eq!(classify(b"", false), Verdict::NeedMore);
    assert!(Message::parse(&endless).is_none());
}

#[test]
fn plain_content_types() {
    for (kind, verdict) in [
        ("text/plain", Verdict::Chat),
        ("text/plain;charset=utf-8", Verdict::Chat),
        ("image/png", Verdict::Chat),
        ("multipart/mixed; boundary=x", Verdict::Chat),
        ("message/CPIM", Verdict::NeedMore),
        (
            "application/im-iscomposing+xml ; charset=utf-8",
            Verdict::IsComposing,
        ),
        ("Message/IMDN+xml", Verdict::Imdn),
        ("application/conference-info+xml", Verdict::Other),
        ("application/group-state-object+xml", Verdict::Other),
    ] {
        assert_eq!(classify_type(kind.as_bytes()), verdict, "{kind}");
    }
}

// [CPIM-03] a header is its namespace and its name, whatever the prefix; a prefix holds from its NS on.
#[test]
fn headers_by_namespace() {
    let bytes = file("other-prefix");
    let message = Message::parse(&bytes).expect("whole");
    assert_eq!(message.value(IMDN, b"Message-ID"), Some(&b"right"[..]));
    assert_eq!(message.find(IMDN, b"Message-ID").count(), 1);
    assert_eq!(
        message.value(IMDN, b"Disposition-Notification"),
        Some(&b"positive-delivery, display"[..])
    );
    assert_eq!(
        message.value(b"urn:example:something-else", b"Message-ID"),
        Some(&b"wrong"[..])
    );
    assert_eq!(
        message.value(b"urn:example:third", b"Message-ID"),
        Some(&b"late"[..])
    );
    let bytes = file("rfc3862-5.1");
    let message = Message::parse(&bytes).expect("whole");
    assert_eq!(
        message.value(b"mid:MessageFeatures@id.foo.com", b"WackyMessageOption"),
        Some(&b"Use-silly-font"[..])
    );
    assert_eq!(
        message.value(CORE, b"From"),
        Some(&b"MR SANDERS <im:piglet@100akerwood.com>"[..])
    );
    assert_eq!(
        message.content_type(),
        Some(&b"text/xml; charset=utf-8"[..])
    );
    assert!(bytes[message.content_at..].starts_with(b"<body>"));
}

// [CPIM-04] escapes, language tags, repeated, unknown and broken headers.
#[test]
fn the_torture_message() {
    let bytes = file("torture");
    let message = Message::parse(&bytes).expect("whole");
    let subjects: Vec<_> = message.find(CORE, b"Subject").collect();
    assert_eq!(subjects.len(), 2);
    assert_eq!(
        (subjects[0].language(), subjects[0].value),
        (Some(&b"en"[..]), &b"plain"[..])
    );
    assert_eq!(subjects[1].language(), Some(&b"fr"[..]));
    assert_eq!(unescape(subjects[1].value), "\u{e9}t\u{e9} \\ \"x\" \t|");
    assert_eq!(message.find(CORE, b"To").count(), 2);
    assert_eq!(
        message.find(CORE, b"From").count(),
        1,
        "names are compared with case"
    );
    assert_eq!(message.value(CORE, b"X-Empty"), Some(&b""[..]));
    assert_eq!(
        message.value(b"urn:example:default", b"Unprefixed"),
        Some(&b"in the default namespace"[..])
    );
    assert_eq!(message.value(CORE, b"Unprefixed"), None);
    assert!(message.headers().any(|h| h.prefix() == Some(b"unknown")));
    assert!(!message.headers().any(|h| h.name == b"Bad Name"));
    assert_eq!(
        message.mime_value(b"content-type"),
        Some(&b"text/plain"[..])
    );
    assert_eq!(message.mime_value(b"MIME-version"), Some(&b"1.0"[..]));
}

#[test]
fn escapes() {
    for (written, meant) in [
        ("plain", "plain"),
        ("\\\\ \\\" \\' \\b\\t\\n\\r", "\\ \" ' \u{8}\t\n\r"),
        ("\\u0041\\u00e9", "A\u{e9}"),
        ("\\ud83d\\ude00!", "\u{1f600}!"),
        ("\\ud83d!", "\u{fffd}!"),
        ("\\u12", "u12"),
        ("\\u+123", "u+123"),
        ("\\x", "x"),
        ("end\\", "end"),
        ("\\u\u{e9}\u{e9}\u{e9}", "u\u{e9}\u{e9}\u{e9}"),
    ] {
        assert_eq!(unescape(written.as_bytes()), meant, "{written}");
    }
    assert_eq!(
        escape("a\\b\"c\td\u{1}\u{7f}\u{e9}"),
        "a\\\\b\\\"c\\td\\u0001\\u007f\u{e9}"
    );
}

// [ISCOMP-01] the documents of RFC 3994 §5: active and idle.
#[test]
fn iscomposing_documents() {
    let all = files("xml");
    let read =
        |name: &str| xml::is_composing(&all.iter().find(|(n, _)| n == name).expect("there").1);
    let active = read("rfc3994-5-active").expect("active");
    assert_eq!(
        (
            active.active,
            active.refresh,
            active.content_type.as_deref()
        ),
        (true, Some(90), Some("text/plain"))
    );
    let idle = read("rfc3994-5-idle").expect("idle");
    assert_eq!(
        (idle.active, idle.refresh, idle.content_type.as_deref()),
        (false, None, Some("audio"))
    );
    // Any prefix, but the right namespace. RFC 3994 §6.
    let prefixed = br#"<c:isComposing xmlns:c="urn:ietf:params:xml:ns:im-iscomposing"><c:state> active </c:state></c:isComposing>"#;
    assert!(xml::is_composing(prefixed).is_ok_and(|c| c.active));
    // RFC 3994 §3.2: a state of an extension reads as idle.
    let extended = br#"<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>paused</state></isComposing>"#;
    assert!(xml::is_composing(extended).is_ok_and(|c| !c.active));
    let foreign = br#"<isComposing xmlns="urn:example"><state>active</state></isComposing>"#;
    assert_eq!(xml::is_composing(foreign), Err(xml::Error::NotThis));
    assert_eq!(
        xml::is_composing(b"<isComposing><state>active</state></isComposing>"),
        Err(xml::Error::NotThis)
    );
}

// [IMDN-02] the kind of a notification is that of its element.
#[test]
fn imdn_documents() {
    let all = files("xml");
    for (name, disposition, outcome) in [
        (
            "rfc5438-delivered",
            Disposition::Delivery,
            Outcome::Delivered,
        ),
        (
            "rfc5438-displayed",
            Disposition::Display,
            Outcome::Displayed,
        ),
        (
            "rfc5438-processed",
            Disposition::Processing,
            Outcome::Processed,
        ),
    ] {
        let imdn = xml::imdn(&all.iter().find(|(n, _)| n == name).expect("there").1).expect(name);
        assert_eq!((imdn.disposition, imdn.outcome), (disposition, outcome));
        assert_eq!(imdn.message_id, "34jk324j");
        assert_eq!(imdn.datetime.as_deref(), Some("2008-04-04T12:16:49-05:00"));
        assert_eq!(imdn.recipient_uri.as_deref(), Some("im:bob@example.com"));
        assert_eq!(
            imdn.original_recipient_uri.as_deref(),
            Some("im:bob@example.com")
        );
    }
    let doc = |status: &str| {
        format!(
            "<imdn xmlns='{}' xmlns:x='urn:x'><message-id>m</message-id><delivery-notification><status>{status}</status></delivery-notification></imdn>",
            xml::IMDN
        )
    };
    for (status, outcome) in [
        ("<failed/>", Outcome::Failed),
        ("<forbidden/>", Outcome::Forbidden),
        ("<error/>", Outcome::Error),
        ("<x:delivered/>", Outcome::Other),
        ("", Outcome::Other),
    ] {
        assert_eq!(
            xml::imdn(doc(status).as_bytes()).map(|i| i.outcome),
            Ok(outcome),
            "{status}"
        );
    }
    assert_eq!(
        xml::imdn(doc("<failed/>").replace(">m<", "><").as_bytes()),
        Err(xml::Error::NotThis)
    );
}

#[test]
fn documents_are_bounded() {
    use xml::{Error, is_composing};
    let nested = |n: usize| format!("{}{}", "<a b='/>'>".repeat(n), "</a>".repeat(n));
    assert_eq!(is_composing(nested(32).as_bytes()), Err(Error::NotThis));
    assert_eq!(is_composing(nested(33).as_bytes()), Err(Error::TooLarge));
    // What looks like an end tag within a comment, CDATA or an instruction hides no depth.
    let hidden = "<a><!-- </a> --><![CDATA[</a>]]><?x </a>?>".repeat(33);
    assert_eq!(is_composing(hidden.as_bytes()), Err(Error::TooLarge));
    let flat = format!("<a>{}</a>", "<b/>".repeat(9000));
    assert_eq!(is_composing(flat.as_bytes()), Err(Error::TooLarge));
    assert_eq!(
        is_composing(&vec![b' '; xml::XML_MAX + 1]),
        Err(Error::TooLarge)
    );
    assert_eq!(
        is_composing(b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"),
        Err(Error::Malformed)
    );
    assert_eq!(is_composing(b"<a"), Err(Error::Malformed));
    assert_eq!(is_composing(b"\xff\xfe<\0a\0"), Err(Error::Malformed));
    assert_eq!(is_composing(b""), Err(Error::Malformed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn mutated_messages_never_panic(
        pick in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
    ) {
        let all = [file("torture"), file("other-prefix"), file("rfc5438-8.3-aggregated")];
        let mut bytes = pick.get(&all).clone();
        for (at, byte, kind) in edits {
            if bytes.is_empty() { break; }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, b"\r\n:;. <>"[usize::from(byte) % 8]),
                _ => bytes.truncate(at),
            }
        }
        let last = classify(&bytes, true);
        prop_assert!(last != Verdict::NeedMore);
        let mut sure = None;
        for len in 0..=bytes.len() {
            let now = classify(&bytes[..len], false);
            if let Some(before) = sure {
                prop_assert_eq!(now, before);
            } else if now != Verdict::NeedMore {
                sure = Some(now);
            }
        }
        prop_assert!(sure.is_none_or(|sure| sure == last));
        if let Some(message) = Message::parse(&bytes) {
            for header in message.headers() {
                let _ = (header.language(), unescape(header.value));
            }
            let _ = message.find(IMDN, b"Message-ID").count();
            let _ = xml::imdn(&bytes[message.content_at..]);
        }
    }

    #[test]
    fn escaped_text_reads_back(text in "\\PC*[\\x00-\\x1f\\\\\"]*") {
        let written = escape(&text);
        prop_assert_eq!(unescape(written.as_bytes()), text);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (classify(&bytes, true), wrapped_type(&bytes), unescape(&bytes));
        let _ = (xml::imdn(&bytes), xml::is_composing(&bytes));
    }
}

/// Where the first empty line from `at` on ends, looked for line by line.
fn behind_empty_line(text: &[u8], at: usize) -> Option<usize> {
    let mut from = at;
    for line in text[at..].split_inclusive(|&b| b == b'\n') {
        from += line.len();
        if line == b"\n" || line == b"\r\n" {
            return Some(from);
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    // [CPIM-01] The blocks are found where a naive search finds them; the MIME block alone decides what a message is.
    #[test]
    fn the_blocks_end_at_their_empty_lines(text in "(a: b|c|\r|\n|\r\n|\r\n|Content-Type: text/plain|x{9,20}){0,24}") {
        let body = text.as_bytes();
        let at = behind_empty_line(body, 0);
        prop_assert_eq!(mime_at(body), at);
        let block = at.and_then(|at| Some(&body[at..behind_empty_line(body, at)?]));
        prop_assert_eq!(mime_block(body), block);
        if let Some(block) = block {
            let other = [&b"From: <im:a@b.c>\r\n\r\n"[..], block, b"something else"].concat();
            prop_assert_eq!(classify(body, false), classify(&other, false));
            prop_assert_eq!(wrapped_type(body), wrapped_type(&other));
        }
    }
}
