//! Which headers pass from one leg to the other, and which each leg has of its own.
//!
//! The law: what names the dialog, the transaction, the way or ourselves is the leg's own (RFC 3261 §8.1.1 as UAC); what
//! speaks to the far user passes; what we do not know passes [SIP-MSG-08]; what rests on trust passes only from those whom
//! we trust [ASSERT-04].

use crate::wire::sip::{Message, Name, is_readable, unfold};

/// What becomes of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The leg has its own, or none.
    Own,
    /// It passes.
    Pass,
    /// It passes if we believe its sender.
    Trust,
}

/// Appends a header with its CRLF. The value may be folded; it becomes one line.
pub(super) fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    // A value that a peer could break into a second line never leaves here.
    out.extend(unfold(value).iter().filter(|b| !matches!(b, b'\r' | b'\n')));
    out.extend_from_slice(b"\r\n");
}

/// Appends what passes of a request to a leg; `trusted`: we believe its sender.
pub(super) fn pass_request(out: &mut Vec<u8>, request: &Message<'_>, trusted: bool) {
    let hidden = hides_identity(request);
    for ((name, value), (written, _)) in request.named().zip(request.all()) {
        let passes = match (fate(name), name) {
            // RFC 3325 §5: the devices are outside the trust domain.
            (Fate::Trust, Name::PAssertedIdentity) => trusted && !hidden,
            (Fate::Trust, ..) => trusted,
            (Fate::Pass, ..) => is_readable(name, value),
            (Fate::Own, ..) => false,
        };
        if passes {
            put(out, long_form(name, written), value);
        }
    }
}

/// Appends what passes of a final response that refuses.
pub(super) fn pass_refusal(out: &mut Vec<u8>, response: &Message<'_>) {
    for ((name, value), (written, _)) in response.named().zip(response.all()) {
        let passes = matches!(
            name,
            // What the caller needs in order to go on (RFC 3261 §8.1.3.5, §22).
            Name::Unsupported
                | Name::Accept
                | Name::AcceptEncoding
                | Name::AcceptLanguage
                | Name::WwwAuthenticate
                | Name::ProxyAuthenticate
                | Name::RetryAfter
        ) || fate(name) == Fate::Pass;
        if passes && is_readable(name, value) {
            put(out, long_form(name, written), value);
        }
    }
}

/// Whether some header lines, each with CRLF, have one of this name.
pub(super) fn has(lines: &[u8], name: &[u8]) -> bool {
    lines.split(|b| *b == b'\n').any(|line| {
        line.split_at_checked(name.len())
            .is_some_and(|(n, rest)| n.eq_ignore_ascii_case(name) && rest.first() == Some(&b':'))
    })
}

/// Appends what passes of a 2xx: the device's words to the caller.
pub(super) fn pass_acceptance(out: &mut Vec<u8>, response: &Message<'_>) {
    for ((name, value), (written, _)) in response.named().zip(response.all()) {
        if fate(name) == Fate::Pass && is_readable(name, value) {
            put(out, long_form(name, written), value);
        }
    }
}

/// Whether Privacy asks that the identity stays within the trust domain (RFC 3325 §7, RFC 3323 §4.2).
pub(super) fn hides_identity(request: &Message<'_>) -> bool {
    request.headers(Name::Privacy).any(|value| {
        value
            .split(|b| matches!(b, b';' | b',' | b' ' | b'\t'))
            .any(|v| v.eq_ignore_ascii_case(b"id"))
    })
}

fn long_form<'a>(name: Name<'a>, written: &'a [u8]) -> &'a [u8] {
    if let Name::Other(_) = name {
        written
    } else {
        name.as_bytes()
    }
}

const fn fate(name: Name<'_>) -> Fate {
    match name {
        // The transaction, the dialog and the way.
        Name::Via
        | Name::From
        | Name::To
        | Name::CallId
        | Name::CSeq
        | Name::Contact
        | Name::Route
        | Name::RecordRoute
        | Name::Path
        | Name::ServiceRoute
        | Name::MaxForwards
        | Name::MaxBreadth
        | Name::RAck
        | Name::RSeq
        | Name::Timestamp
        | Name::Replaces
        | Name::Join
        | Name::SessionId
        // What we are and can do on the leg.
        | Name::UserAgent
        | Name::Server
        | Name::Allow
        | Name::AllowEvents
        | Name::Supported
        | Name::Require
        | Name::ProxyRequire
        | Name::Unsupported
        | Name::Accept
        | Name::AcceptEncoding
        | Name::AcceptLanguage
        | Name::SessionExpires
        | Name::MinSe
        | Name::MinExpires
        // The body is ours, or copied as a whole.
        | Name::ContentType
        | Name::ContentLength
        | Name::ContentDisposition
        | Name::ContentEncoding
        | Name::ContentLanguage
        | Name::ContentTransferEncoding
        | Name::ContentId
        | Name::MimeVersion
        // Between the peer and us.
        | Name::Authorization
        | Name::ProxyAuthorization
        | Name::AuthenticationInfo
        | Name::WwwAuthenticate
        | Name::ProxyAuthenticate
        | Name::RetryAfter
        // Used up where we fork: RFC 3841 §7. Accept-Contact goes on, as the standard wants [TERM-INV-17].
        | Name::RejectContact
        | Name::RequestDisposition
        // Claims of a user agent that the network replaces (RFC 3325 §9.2, RFC 6050 §4.1).
        | Name::PPreferredIdentity
        | Name::PPreferredService
        // Written by the procedure itself.
        | Name::PAssertedService
        | Name::PServedUser
        // Of other methods.
        | Name::Event
        | Name::SubscriptionState
        | Name::SipEtag
        | Name::SipIfMatch
        | Name::ReferTo => Fate::Own,
        Name::PAssertedIdentity
        | Name::PAccessNetworkInfo
        | Name::PAssociatedUri
        | Name::PCalledPartyId
        | Name::PChargingVector => Fate::Trust,
        Name::AcceptContact
        | Name::AlertInfo
        | Name::CallInfo
        | Name::ContributionId
        | Name::ConversationId
        | Name::Date
        | Name::ErrorInfo
        | Name::Expires
        | Name::HistoryInfo
        | Name::InReplyTo
        | Name::InReplyToContributionId
        | Name::MessageExpires
        | Name::Organization
        | Name::Priority
        | Name::Privacy
        | Name::Reason
        | Name::ReferredBy
        | Name::ReplyTo
        | Name::SessionReplaces
        | Name::Subject
        | Name::Warning
        | Name::Other(_) => Fate::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = b"INVITE sip:bob@example.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n\
        From: <sip:alice@example.com>;tag=1\r\n\
        To: <sip:bob@example.com>\r\n\
        i: 1\r\n\
        CSeq: 1 INVITE\r\n\
        s: Lunch\r\n  at noon\r\n\
        X-Foo: bar, baz\r\n\
        P-Asserted-Identity: <sip:alice@example.com>\r\n\
        Privacy: id;critical\r\n\
        a: *;audio\r\n\
        Contact: <sip:alice@127.0.0.1>\r\n\
        Content-Length: 0\r\n\r\n";

    fn passed(trusted: bool, privacy: &[u8]) -> String {
        let bytes = String::from_utf8(INVITE.to_vec())
            .unwrap()
            .replace("id;critical", std::str::from_utf8(privacy).unwrap());
        let mut out = Vec::new();
        pass_request(
            &mut out,
            &Message::parse(bytes.as_bytes()).unwrap(),
            trusted,
        );
        String::from_utf8(out).unwrap()
    }

    // [SIP-MSG-08] [ASSERT-04]
    #[test]
    fn unknown_headers_pass_and_trust_decides() {
        assert_eq!(
            passed(true, b"none"),
            "Subject: Lunch at noon\r\nX-Foo: bar, baz\r\nP-Asserted-Identity: <sip:alice@example.com>\r\n\
             Privacy: none\r\nAccept-Contact: *;audio\r\n"
        );
        assert_eq!(
            passed(false, b"none"),
            "Subject: Lunch at noon\r\nX-Foo: bar, baz\r\nPrivacy: none\r\nAccept-Contact: *;audio\r\n"
        );
        assert_eq!(
            passed(true, b"id;critical"),
            "Subject: Lunch at noon\r\nX-Foo: bar, baz\r\nPrivacy: id;critical\r\nAccept-Contact: *;audio\r\n"
        );
    }
}
