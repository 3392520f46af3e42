//! The messages of a CPM network, value by value.

use crate::corpus::{bytes, read};
use ringfork::wire::{
    multipart::Multipart,
    sip::{
        CallerPreference, Disposition, Event, FeatureValue, Features, Name, NameAddr, RAck, Reason,
        Refresher, RequestDisposition, RetryAfter, SessionExpires, SubscriptionState, Via, Warning,
        Writer,
    },
    uri::{self, compare},
};

const SESSION: &[u8] = b"urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session";

#[test]
fn an_invite_to_a_chat() {
    let bytes = bytes("cpm/invite-chat");
    let m = read(&bytes).unwrap();
    let vias: Vec<_> = m.each(Name::Via, Via::parse).map(Result::unwrap).collect();
    assert_eq!(
        (vias.len(), vias[0].sent_by),
        (2, &b"pcscf.ims.example.com:5062"[..])
    );
    assert_eq!(
        m.routes(Name::Route)
            .map(|r| r.unwrap().uri)
            .collect::<Vec<_>>(),
        [
            &b"sip:orig@pf.example.com;lr"[..],
            b"sip:scscf.ims.example.com:6060;lr;orig"
        ]
    );
    let identities: Vec<_> = m
        .each(Name::PAssertedIdentity, NameAddr::parse)
        .map(|i| i.unwrap().uri)
        .collect();
    assert_eq!(identities.len(), 2);
    // Both identities are one user's, by the same key.
    let key = |uri: &[u8]| {
        uri::canonical(uri, &mut [0; uri::KEY_BYTES_MAX])
            .unwrap()
            .to_vec()
    };
    assert_eq!(key(identities[0]), key(identities[1]));
    assert!(!compare::equal(identities[0], identities[1]));
    let timer = m.session_expires().unwrap().unwrap();
    assert_eq!(
        (timer.seconds, timer.refresher),
        (1800, Some(Refresher::Uac))
    );
    assert_eq!(
        m.one(Name::MinSe, SessionExpires::parse_number),
        Ok(Some(90))
    );
    assert_eq!(
        m.tokens(Name::Supported).collect::<Vec<_>>(),
        [&b"timer"[..], b"100rel", b"gruu"]
    );
    assert_eq!(m.tokens(Name::Allow).count(), 8);
    assert_eq!(m.header(Name::ConversationId), Some(&b"252525"[..]));
    assert_eq!(
        m.values(Name::Other(b"x-operator-trace"))
            .collect::<Vec<_>>(),
        [b"{\"a\": [1, 2]}"]
    );
}

#[test]
fn what_a_caller_prefers() {
    // Long and compact header are one list; each value is `*` and features (RFC 3841 §9.2).
    let bytes = bytes("cpm/invite-chat");
    let m = read(&bytes).unwrap();
    let wanted: Vec<_> = m
        .each(Name::AcceptContact, CallerPreference::parse)
        .map(Result::unwrap)
        .collect();
    assert_eq!(wanted.len(), 2);
    assert!(wanted[0].require() && wanted[0].explicit() && wanted[0].features().has_icsi(SESSION));
    assert!(!wanted[1].require() && !wanted[1].features().has_icsi(SESSION));
    let iari = wanted[1].features().get(b"+g.3gpp.iari-ref").unwrap();
    assert_eq!(iari.values().count(), 2);
    assert!(iari.lists(b"urn:urn-7:3gpp-application.ims.iari.rcs.geosms"));
    // The service is understood in the device's Contact too. [PREF-02]
    let contact = m.contacts().next().unwrap().unwrap();
    let features = Features::of(contact.address().unwrap().params);
    assert!(features.has_icsi(SESSION));
    assert_eq!(
        features.get(b"+sip.instance").unwrap().value(),
        FeatureValue::Text(b"urn:gsma:imei:90420156-025763-0".into())
    );

    let bytes = crate::corpus::bytes("cpm/message-pager");
    let m = read(&bytes).unwrap();
    let directives: Vec<_> = m
        .each(Name::RequestDisposition, RequestDisposition::parse)
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        directives,
        [RequestDisposition::NoFork, RequestDisposition::Parallel]
    );
    assert_eq!(
        m.each(Name::RejectContact, CallerPreference::parse).count(),
        1
    );
}

#[test]
fn sdp_between_other_parts_is_replaced() {
    // multipart/mixed with a list, SDP and CPIM: SDP replaced, the rest unchanged, boundary legal. [SIP-MSG-07]
    let bytes = bytes("cpm/invite-chat");
    let m = read(&bytes).unwrap();
    let media = m.content_type().unwrap().unwrap();
    let boundary = media.boundary().unwrap();
    let multi = Multipart::parse(m.body(), &boundary).unwrap();
    let list = multi.find(b"application", b"resource-lists+xml").unwrap();
    assert!(
        list.disposition()
            .is_some_and(|d: Disposition<'_>| d.is(b"recipient-list"))
    );
    assert_eq!(
        multi.find(b"message", b"cpim").unwrap().content_id(),
        Some(&b"first@192.0.2.10"[..])
    );
    let sdp = multi.find(b"application", b"sdp").unwrap();
    assert!(sdp.body.starts_with(b"v=0\r\n") && sdp.body.ends_with(b"actpass\r\n"));
    let mut body = Vec::new();
    multi.replace(&sdp, b"v=0\r\no=pf\r\n", &mut body).unwrap();
    let at = sdp.body.as_ptr().addr() - m.body().as_ptr().addr();
    assert_eq!(body[..at], m.body()[..at]);
    assert_eq!(
        body[at..].strip_prefix(b"v=0\r\no=pf\r\n"),
        Some(&m.body()[at + sdp.body.len()..])
    );

    let mut out = Vec::new();
    Writer::request(&mut out, m.method().unwrap(), b"sip:bob@192.0.2.20")
        .header(Name::Via, m.header(Name::Via).unwrap())
        .header(Name::From, m.header(Name::From).unwrap())
        .header(Name::To, m.header(Name::To).unwrap())
        .header(Name::CallId, b"leg-1")
        .header(Name::CSeq, b"1 INVITE")
        .body(m.header(Name::ContentType).unwrap(), &body)
        .unwrap();
    let leg = read(&out).unwrap();
    assert_eq!(leg.body(), body);
    let again = Multipart::parse(leg.body(), &boundary).unwrap();
    assert_eq!(again.parts().count(), 3);
    assert_eq!(
        again
            .find(b"application", b"resource-lists+xml")
            .unwrap()
            .as_bytes(),
        list.as_bytes()
    );
}

#[test]
fn registrations() {
    let bytes = bytes("cpm/register");
    let m = read(&bytes).unwrap();
    let contacts: Vec<_> = m.contacts().map(Result::unwrap).collect();
    assert_eq!(
        (contacts[0].q(), contacts[0].expires()),
        (Some(700), Some(3600))
    );
    assert_eq!(
        (contacts[1].q(), contacts[1].expires(), m.expires()),
        (Some(300), None, Some(7200))
    );
    let params = contacts[0].address().unwrap().params;
    assert_eq!(params.number::<u32>(b"reg-id"), Some(1));
    assert!(Features::of(params).get(b"methods").unwrap().lists(b"BYE"));
    assert_eq!(m.routes(Name::Path).count(), 2);
    let auth = m
        .one(Name::Authorization, ringfork::wire::sip::Auth::parse)
        .unwrap()
        .unwrap();
    assert_eq!(auth.params().count(), 9);
    assert_eq!(
        auth.text(b"uri").as_deref(),
        Some(&b"sip:ims.example.com"[..])
    );
    assert_eq!(auth.text(b"nc").as_deref(), Some(&b"00000001"[..]));
    let bytes = crate::corpus::bytes("cpm/register-all-gone");
    let m = read(&bytes).unwrap();
    assert!(m.contacts().next().unwrap().unwrap().address().is_none());
    assert_eq!(m.expires(), Some(0));
}

#[test]
fn the_small_values() {
    let bytes = bytes("cpm/bye-elsewhere");
    let reasons: Vec<_> = read(&bytes)
        .unwrap()
        .each(Name::Reason, Reason::parse)
        .map(|r| r.unwrap().sip_cause())
        .collect();
    assert_eq!(reasons, [Some(200), None]);
    let bytes = crate::corpus::bytes("cpm/prack");
    let rack = read(&bytes)
        .unwrap()
        .one(Name::RAck, RAck::parse)
        .unwrap()
        .unwrap();
    assert_eq!((rack.rseq, rack.cseq.number), (776_656, 1));
    // Warning: three digits, agent, quoted text.
    let bytes = crate::corpus::bytes("cpm/forbidden");
    let m = read(&bytes).unwrap();
    let warnings: Vec<_> = m
        .each(Name::Warning, Warning::parse)
        .map(|w| w.unwrap().text())
        .collect();
    assert_eq!(
        warnings,
        [&b"122 Function not allowed"[..], b"another, \"quoted\""]
    );
    let retry = m.one(Name::RetryAfter, RetryAfter::parse).unwrap().unwrap();
    assert_eq!(
        (retry.seconds, retry.params.number::<u32>(b"duration")),
        (120, Some(60))
    );
    let bytes = crate::corpus::bytes("cpm/notify-reg");
    let m = read(&bytes).unwrap();
    let event = m.one(Name::Event, Event::parse).unwrap().unwrap();
    assert_eq!((event.package, event.id()), (&b"reg"[..], Some(&b"4"[..])));
    assert_eq!(
        m.one(Name::SubscriptionState, SubscriptionState::parse)
            .unwrap()
            .unwrap()
            .expires(),
        Some(600_000)
    );
    let bytes = crate::corpus::bytes("cpm/ok-invite");
    let m = read(&bytes).unwrap();
    assert_eq!(m.routes(Name::RecordRoute).count(), 2);
    assert_eq!(
        m.session_expires().unwrap().unwrap().refresher,
        Some(Refresher::Uas)
    );
    assert_eq!(m.via().unwrap().rport(), Some(Some(5060)));
    assert_eq!(
        m.via().unwrap().received(),
        Some("192.0.2.1".parse().unwrap())
    );
}
