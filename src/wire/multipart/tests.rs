use super::*;

const BODY: &[u8] = b"preamble\r\n--b 1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b 1 \t\r\n\
Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list;\r\n handling=optional\r\nContent-ID: <a@b>\r\n\r\n<x/>\r\n\
--b 1\r\n\r\nplain\r\n--b 12\r\nnot a delimiter\r\n--b 1--\r\nepilogue";

fn body() -> Multipart<'static> {
    Multipart::parse(BODY, b"b 1").unwrap()
}

#[test]
fn parts_are_found_with_their_headers() {
    let body = body();
    assert_eq!(body.preamble(), b"preamble\r\n");
    assert_eq!(body.epilogue(), b"epilogue");
    let parts: Vec<_> = body.parts().collect();
    assert_eq!(parts.len(), 3);
    assert!(parts[0].content_type().is(b"application", b"sdp"));
    assert_eq!(parts[0].body, b"v=0\r\n");
    assert_eq!(parts[1].content_id(), Some(&b"a@b"[..]));
    assert!(
        parts[1].disposition().unwrap().is(b"recipient-list")
            && parts[1].disposition().unwrap().is_optional()
    );
    assert_eq!(
        (parts[1].headers().count(), parts[1].body),
        (3, &b"<x/>"[..])
    );
    assert!(parts[2].content_type().is(b"text", b"plain") && parts[2].headers().count() == 0);
    assert_eq!(parts[2].body, b"plain\r\n--b 12\r\nnot a delimiter");
}

#[test]
fn one_part_is_replaced_and_the_rest_unchanged() {
    // SDP replaced, the rest byte for byte. [SIP-MSG-07]
    let body = body();
    let sdp = body.find(b"application", b"sdp").unwrap();
    let mut out = Vec::new();
    body.replace(&sdp, b"v=1\r\n", &mut out).unwrap();
    assert_eq!(
        out,
        BODY.to_vec()
            .into_iter()
            .map(|b| if b == b'0' { b'1' } else { b })
            .collect::<Vec<_>>()
    );
    out.clear();
    body.replace(&sdp, sdp.body, &mut out).unwrap();
    assert_eq!(out, BODY);
    out.clear();
    assert_eq!(
        body.replace(&sdp, b"x\r\n--b 1--", &mut out),
        Err(Error::Unwritable)
    );
    let other = Multipart::parse(b"--x\r\n\r\n\r\n--x--", b"x")
        .unwrap()
        .parts()
        .next()
        .unwrap();
    assert_eq!(body.replace(&other, b"", &mut out), Err(Error::Unwritable));
    assert!(out.is_empty());
}

#[test]
fn a_length_of_the_part_follows_its_content() {
    let body = b"--x\r\nContent-Length: 3\r\nContent-Type: a/b\r\n\r\nabc\r\n--x--\r\n";
    let multi = Multipart::parse(body, b"x").unwrap();
    let mut out = Vec::new();
    multi
        .replace(&multi.parts().next().unwrap(), b"0123456789", &mut out)
        .unwrap();
    assert_eq!(
        out,
        b"--x\r\nContent-Length: 10\r\nContent-Type: a/b\r\n\r\n0123456789\r\n--x--\r\n"
    );
}

#[test]
fn a_part_of_a_part() {
    let inner = b"--in\r\nContent-Type: application/SDP\r\n\r\nv=0\r\n--in--\r\n";
    let mut outer = Vec::new();
    Writer::new(&mut outer, b"out")
        .part(&[], b"x")
        .part(
            &[(Name::ContentType, b"multipart/alternative;boundary=\"in\"")],
            inner,
        )
        .end()
        .unwrap();
    let multi = Multipart::parse(&outer, b"out").unwrap();
    let sdp = multi.find(b"application", b"sdp").unwrap();
    assert_eq!(sdp.body, b"v=0");
    let mut changed = Vec::new();
    multi.replace(&sdp, b"v=1", &mut changed).unwrap();
    assert_eq!(
        changed.iter().zip(&outer).filter(|(a, b)| a != b).count(),
        1
    );
    // Deeper than the bound nothing is looked for.
    let mut deep = inner.to_vec();
    for depth in 0..DEPTH_MAX {
        let boundary = format!("d{depth}");
        let media = if depth == 0 {
            "multipart/x;boundary=in".into()
        } else {
            format!("multipart/x;boundary=d{}", depth - 1)
        };
        let mut out = Vec::new();
        Writer::new(&mut out, boundary.as_bytes())
            .part(&[(Name::ContentType, media.as_bytes())], &deep)
            .end()
            .unwrap();
        deep = out;
    }
    let boundary = format!("d{}", DEPTH_MAX - 1);
    assert!(
        Multipart::parse(&deep, boundary.as_bytes())
            .unwrap()
            .find(b"application", b"sdp")
            .is_none()
    );
}

#[test]
fn what_is_no_multipart() {
    for (body, error) in [
        (&b""[..], Error::NoPart),
        (b"text", Error::NoPart),
        (b"--x--", Error::NoPart),
        (b"--xy\r\n\r\n--xy--", Error::NoPart),
        (b"text --x\r\n\r\n--x--", Error::NoPart),
        (b"--x\r\n\r\na", Error::NoEnd),
        (b"--x\r\n\r\na--x--", Error::NoEnd),
        (b"--x\r\n\r\na\r\n--x", Error::NoEnd),
        (b"--x\r\n\r\na\r\n--x--y", Error::NoEnd),
        (b"--x\r\nno colon\r\n\r\na\r\n--x--", Error::Header),
        (
            b"--x\r\nContent-Type: none\r\n\r\na\r\n--x--",
            Error::Header,
        ),
        (b"--x\r\nA: b\nC: d\r\n\r\na\r\n--x--", Error::Header),
    ] {
        let found = Multipart::parse(body, b"x").map(|m| m.parts().count());
        assert_eq!(found, Err(error), "{}", body.escape_ascii());
    }
    for bad in [&b""[..], b"a ", b"a;b", &[b'a'; 71], b"a\r\n"] {
        assert!(matches!(Multipart::parse(b"", bad), Err(Error::Boundary)));
    }
}

#[test]
fn parts_may_be_empty_but_not_endless() {
    let multi = Multipart::parse(b"--x\r\n\r\n--x\r\nA: b\r\n--x\r\n--x--", b"x").unwrap();
    let parts: Vec<_> = multi
        .parts()
        .map(|p| (p.headers().count(), p.body))
        .collect();
    assert_eq!(parts, [(0, &b""[..]), (1, b""), (0, b"")]);
    let many = |n: usize| [b"--x\r\n\r\n".repeat(n), b"--x--".to_vec()].concat();
    assert_eq!(
        Multipart::parse(&many(PARTS_MAX), b"x")
            .unwrap()
            .parts()
            .count(),
        PARTS_MAX
    );
    assert!(matches!(
        Multipart::parse(&many(PARTS_MAX + 1), b"x"),
        Err(Error::TooManyParts)
    ));
}

#[test]
fn a_body_is_written_with_a_boundary_of_its_own() {
    let taken = choose_boundary(7, &[]);
    let boundary = choose_boundary(7, &[b"x", taken.as_bytes()]);
    assert!(is_boundary(boundary.as_bytes()) && boundary != taken);
    let mut out = b"kept".to_vec();
    Writer::new(&mut out, boundary.as_bytes())
        .part(&[(Name::ContentType, b"text/plain")], taken.as_bytes())
        .end()
        .unwrap();
    let multi = Multipart::parse(&out[4..], boundary.as_bytes()).unwrap();
    assert_eq!(multi.parts().next().unwrap().body, taken.as_bytes());
    let part = multi.parts().next().unwrap();
    let mut copy = Vec::new();
    Writer::new(&mut copy, b"other").copy(&part).end().unwrap();
    assert_eq!(
        Multipart::parse(&copy, b"other")
            .unwrap()
            .parts()
            .next()
            .unwrap()
            .as_bytes(),
        part.as_bytes()
    );
    for refused in [
        Writer::new(&mut copy.clone(), b"o").part(&[], b"--o").end(),
        Writer::new(&mut copy.clone(), b"o")
            .part(&[(Name::ContentId, b"a\r\nb: c")], b"")
            .end(),
        Writer::new(&mut copy.clone(), b"o;").part(&[], b"").end(),
    ] {
        assert_eq!(refused, Err(Error::Unwritable));
    }
    let before = copy.clone();
    assert!(Writer::new(&mut copy, b"").end().is_err());
    assert_eq!(copy, before);
}

/// `levels` multiparts, one in the other.
fn nested(levels: usize, inner: &[u8]) -> Vec<u8> {
    let mut body = inner.to_vec();
    for level in (1..=levels).rev() {
        let media = format!("Content-Type: multipart/mixed;boundary=d{}", level + 1);
        let head = if level == levels { "A: b" } else { &media };
        body = [
            format!("--d{level}\r\n{head}\r\n\r\n").as_bytes(),
            &body,
            format!("\r\n--d{level}--").as_bytes(),
        ]
        .concat();
    }
    body
}

fn walked(body: &[u8], boundary: &[u8]) -> Result<usize, Error> {
    let mut seen = 0;
    Multipart::walk(body, boundary, &mut |_| seen += 1).map(|()| seen)
}

// settled.md 32.
#[test]
fn a_body_is_walked_within_its_bounds_or_not_at_all() {
    assert_eq!(walked(&nested(DEPTH_MAX, b"x"), b"d1"), Ok(DEPTH_MAX));
    assert_eq!(
        walked(&nested(DEPTH_MAX + 1, b"x"), b"d1"),
        Err(Error::TooDeep)
    );
    assert_eq!(
        walked(&nested(DEPTH_MAX + 2, b"x"), b"d1"),
        Err(Error::TooDeep)
    );
    let many = |n: usize, x: &str| {
        [
            format!("--{x}\r\n\r\n").repeat(n).into_bytes(),
            format!("--{x}--").into_bytes(),
        ]
        .concat()
    };
    assert_eq!(walked(&many(PARTS_MAX, "x"), b"x"), Ok(PARTS_MAX));
    assert_eq!(
        walked(&many(PARTS_MAX + 1, "x"), b"x"),
        Err(Error::TooManyParts)
    );
    let outer = |n: usize| {
        [
            b"--x\r\nContent-Type: multipart/mixed;boundary=y\r\n\r\n",
            &*many(n, "y"),
            b"\r\n--x--",
        ]
        .concat()
    };
    assert_eq!(walked(&outer(PARTS_MAX - 1), b"x"), Ok(PARTS_MAX));
    assert_eq!(walked(&outer(PARTS_MAX), b"x"), Err(Error::TooManyParts));
    for (head, error) in [
        ("Content-Type: multipart/mixed", Error::Boundary),
        (
            "Content-Type: multipart/mixed;boundary=\"\"",
            Error::Boundary,
        ),
        (
            "Content-Type: multipart/mixed;boundary=\"\\y\"",
            Error::Boundary,
        ),
        ("Content-Type: multipart/mixed;boundary=z", Error::NoPart),
        (
            "Content-Type: multipart/mixed;boundary=y\r\nContent-Transfer-Encoding: base64",
            Error::Header,
        ),
        (
            "Content-Type: text/plain\r\nContent-Type: multipart/mixed;boundary=y",
            Error::Header,
        ),
    ] {
        let body = format!("--x\r\n{head}\r\n\r\n--y\r\n\r\n\r\n--y--\r\n--x--");
        assert_eq!(walked(body.as_bytes(), b"x"), Err(error), "{head}");
    }
}

// [SIP-MSG-07]
#[test]
fn a_body_is_rewritten_without_what_is_no_part() {
    let rewritten = |body: &[u8], boundary: &[u8], new: &[u8]| {
        let mut out = Vec::new();
        let content = |part: &Part<'_>| {
            part.content_type()
                .is(b"application", b"sdp")
                .then_some(new)
        };
        Multipart::rewrite(body, boundary, &content, &mut out).map(|()| out)
    };
    let out = rewritten(BODY, b"b 1", b"v=1\r\n").unwrap();
    let text = String::from_utf8(out).unwrap();
    let expected = std::str::from_utf8(BODY).unwrap();
    let expected = expected.replace("preamble\r\n", "").replace("epilogue", "");
    assert_eq!(
        text,
        expected.replace("v=0", "v=1").replace("--b 1 \t", "--b 1")
    );
    let inner = "no part\r\n--y\r\nContent-Length: 3\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--y--\r\nno part";
    let body = format!(
        "--x\r\nContent-Type: multipart/mixed;boundary=y\r\nContent-Length: {}\r\n\r\n{inner}\r\n--x--",
        inner.len()
    );
    let inner = "--y\r\nContent-Length: 5\r\nContent-Type: application/sdp\r\n\r\nv=123\r\n--y--";
    let expected = format!(
        "--x\r\nContent-Type: multipart/mixed;boundary=y\r\nContent-Length: {}\r\n\r\n{inner}\r\n--x--\r\n",
        inner.len()
    );
    let out = rewritten(body.as_bytes(), b"x", b"v=123").unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    // Within a line it is no delimiter.
    assert!(rewritten(BODY, b"b 1", b"v=0\r\na=--b 1--\r\n").is_ok());
    for closing in [&b"--b 1"[..], b"v\r\n--b 1--", b"v\n--b 1"] {
        assert_eq!(rewritten(BODY, b"b 1", closing), Err(Error::Unwritable));
    }
}

#[test]
fn contents_are_decoded() {
    let check = |head: &str, content: &str, expected: Option<&str>| {
        let body = format!("--x\r\n{head}\r\n\r\n{content}\r\n--x--");
        let part = Multipart::parse(body.as_bytes(), b"x")
            .unwrap()
            .parts()
            .next()
            .unwrap();
        let found = part
            .decoded()
            .map(|d| String::from_utf8(d.into_owned()).unwrap());
        assert_eq!(found.as_deref(), expected, "{head} {content}");
    };
    check("A: b", "a=b", Some("a=b"));
    check("Content-Transfer-Encoding: 8Bit", "a=b", Some("a=b"));
    let base64 = "Content-Transfer-Encoding: BASE64";
    for (text, expected) in [
        ("", ""),
        ("YQ==", "a"),
        ("YWI=", "ab"),
        ("YWJj", "abc"),
        ("YW\r\nJj ZA", "abcd"),
        ("+/", "\u{fb}"),
    ] {
        if expected.is_ascii() {
            check(base64, text, Some(expected));
        }
    }
    let quoted = "Content-Transfer-Encoding: quoted-printable";
    check(quoted, "a=3Db=\r\nc=3d", Some("a=bc="));
    check(quoted, "a=xy=", Some("a=xy="));
    check("Content-Transfer-Encoding: x-y", "a", None);
    check("Content-Encoding: gzip", "a", None);
    check("Content-Encoding: identity", "a", Some("a"));
}
