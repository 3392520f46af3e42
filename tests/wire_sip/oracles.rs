//! Two independent crates read the well-formed messages too: start line, number of headers, Call-ID, CSeq, tags.
//!
//! Where they differ the RFC decides; the messages that they cannot read stand here by name.

use crate::corpus::{good, read};
use bytes::Bytes;
use ezk_sip_types::{
    Headers, Name as EzkName,
    header::typed::{CSeq as EzkCSeq, CallID, FromTo},
    msg::{Line, MessageLine, PullParser},
};
use ringfork::wire::sip::{Message, unfold};
use rsipstack::sip::{HasHeaders, HeadersExt, SipMessage};

/// What is compared.
#[derive(Debug, PartialEq)]
struct Gist {
    method: Option<String>,
    headers: usize,
    call_id: String,
    cseq: u32,
    from_tag: Option<String>,
    to_tag: Option<String>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&unfold(bytes)).into_owned()
}

fn ours(m: &Message<'_>) -> Gist {
    Gist {
        method: m.method().map(|m| text(m.as_bytes())),
        headers: m.all().count(),
        call_id: text(m.call_id().unwrap()),
        cseq: m.cseq().unwrap().number,
        from_tag: m.from().unwrap().tag().map(text),
        to_tag: m.to().unwrap().tag().map(text),
    }
}

fn rsipstack(bytes: &[u8]) -> Option<Gist> {
    let message = SipMessage::try_from(bytes).ok()?;
    Some(Gist {
        method: match &message {
            SipMessage::Request(r) => Some(r.method().to_string()),
            SipMessage::Response(_) => None,
        },
        headers: message.headers().iter().count(),
        call_id: message.call_id_header().ok()?.value().to_owned(),
        cseq: message.cseq_header().ok()?.seq().ok()?,
        from_tag: message
            .from_header()
            .ok()?
            .tag()
            .ok()?
            .map(|t| t.value().to_owned()),
        to_tag: message
            .to_header()
            .ok()?
            .tag()
            .ok()?
            .map(|t| t.value().to_owned()),
    })
}

fn ezk(bytes: &[u8]) -> Option<Gist> {
    let mut lines = PullParser::new(bytes, 0);
    let start: MessageLine = std::str::from_utf8(lines.next()?.ok()?)
        .ok()?
        .parse()
        .ok()?;
    let mut headers = Headers::new();
    let mut count = 0;
    for line in lines {
        let src = Bytes::copy_from_slice(line.ok()?);
        let (_, line) = Line::parse(&src, std::str::from_utf8(&src).ok()?).ok()?;
        headers.insert(line.name, line.value.as_str());
        count += 1;
    }
    let cseq: EzkCSeq = headers.get_named().ok()?;
    let call_id: CallID = headers.get_named().ok()?;
    let tag = |name| {
        headers
            .get::<FromTo>(name)
            .ok()
            .map(|h| h.tag.map(|t| t.to_string()))
    };
    Some(Gist {
        method: start.request_method().map(ToString::to_string),
        headers: count,
        call_id: call_id.0.to_string(),
        cseq: cseq.cseq,
        from_tag: tag(EzkName::FROM)?,
        to_tag: tag(EzkName::TO)?,
    })
}

/// The messages of which `oracle` says something else, or nothing.
fn differs(oracle: impl Fn(&[u8]) -> Option<Gist>) -> Vec<String> {
    let mut differing = Vec::new();
    for entry in good() {
        let message = read(&entry.bytes).unwrap();
        let theirs = oracle(&entry.bytes);
        if theirs.as_ref() != Some(&ours(&message)) {
            println!("{}: {theirs:?}\n  ours {:?}", entry.file, ours(&message));
            differing.push(entry.file.clone());
        }
    }
    differing
}

#[test]
fn rsipstack_agrees() {
    let differing = [
        // It finds no tag behind white space (RFC 3261 §25.1: EQUAL = SWS "=" SWS).
        "rfc4475/wsinv.sip",
        // A method token beyond letters.
        "rfc4475/esc02.sip",
        // RFC 5118 §4.10 asks for robustness here, RFC 3261 does not.
        "rfc5118/ipv6-bug-abnf-3-colons.sip",
    ];
    assert_eq!(differs(rsipstack), differing);
}

#[test]
fn ezk_agrees() {
    let differing = [
        // White space around the equals sign of a parameter.
        "rfc4475/wsinv.sip",
        // It reads sip and sips URIs only.
        "rfc4475/unkscm.sip",
        "rfc4475/novelsc.sip",
        "rfc4475/unksm2.sip",
        "rfc5118/ipv6-bug-abnf-3-colons.sip",
        "cpm/invite-chat.sip",
    ];
    assert_eq!(differs(ezk), differing);
}
