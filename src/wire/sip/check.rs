//! Whether a message can be served at all: "reasonable syntax" (RFC 3261 §16.3 step 1, §8.1.1).

use super::{
    CSeq, Contact, Disposition, Error, MediaType, Message, Method, Name, NameAddr, Params, RAck,
    RetryAfter, Rule, SessionExpires, Start, Via, counts,
};
use super::{addr::q_value, scan::List};
use crate::wire::uri::{Uri, number};

/// Headers that stand once: two of them leave open which one counts, and another element may choose the other.
const ONCE: [Name<'static>; 18] = [
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::MaxForwards,
    Name::ContentType,
    Name::ContentDisposition,
    Name::ContentLength,
    Name::Expires,
    Name::MinExpires,
    Name::SessionExpires,
    Name::MinSe,
    Name::Event,
    Name::SubscriptionState,
    Name::RSeq,
    Name::RAck,
    Name::Replaces,
    Name::RetryAfter,
];

/// A bit for each name of [`ONCE`].
const ONCE_BITS: u128 = {
    let mut bits = 0;
    let mut rest: &[Name<'static>] = &ONCE;
    while let [name, tail @ ..] = rest {
        bits |= 1 << name.id();
        rest = tail;
    }
    bits
};

impl Message<'_> {
    /// Checks what every element relies on: no control octet in the head, a Request-URI that is one, Via, From, To, Call-ID
    /// and CSeq there and readable, CSeq of the same method, Contact, Route, Record-Route and Content-Type readable, numbers
    /// that are numbers, nothing twice that stands once. What a method, a transaction or a dialog needs beyond that is theirs
    /// to check.
    ///
    /// # Errors
    /// The first rule that is broken; [`Error::status`] is its answer.
    pub fn check(&self) -> Result<(), Error> {
        self.check_octets()?;
        if let Start::Request { uri, .. } = self.start() {
            let fits = match Uri::parse(uri) {
                Ok(Uri::Sip(sip)) => sip.headers().next().is_none(),
                Ok(Uri::Tel(_) | Uri::Other { .. }) => true,
                Err(_) => false,
            };
            if !fits {
                return Err(self.error(
                    Rule::RequestUri,
                    self.method().map_or(0, |m| m.as_bytes().len() + 1),
                ));
            }
        }
        self.check_repeats()?;
        let mut vias = 0;
        for via in self.each(Name::Via, Via::parse) {
            if !has_numbers_of_via(&via?) {
                return Err(self.error(Rule::Value(Name::Via), 0));
            }
            vias += 1;
        }
        if vias == 0 {
            // It says which rule.
            self.via()?;
        }
        self.from()?;
        self.to()?;
        self.call_id()?;
        let cseq = self.cseq()?;
        if let Some(method) = self.method()
            && method != cseq.method
        {
            let rule = if matches!(method, Method::Other(_)) {
                Rule::UnknownMethod
            } else {
                Rule::CSeqMethod
            };
            return Err(self.error(rule, 0));
        }
        let mut contacts = 0;
        let mut star = false;
        for contact in self.each(Name::Contact, Contact::parse) {
            contacts += 1;
            match contact? {
                Contact::Star => star = true,
                Contact::Address(address) if !has_numbers_of_contact(&address.params) => {
                    return Err(self.error(Rule::Value(Name::Contact), 0));
                }
                Contact::Address(_) => {}
            }
        }
        if star && contacts > 1 {
            return Err(self.error(Rule::Value(Name::Contact), 0));
        }
        all(self.each(Name::Route, NameAddr::parse_route))?;
        all(self.each(Name::RecordRoute, NameAddr::parse_route))?;
        self.one(Name::ContentType, MediaType::parse)?;
        self.one(Name::ContentDisposition, Disposition::parse)?;
        self.check_numbers()
    }

    /// Checks what a client transaction relies on in a response: no control octet in the head; Via, From, To, Call-ID and CSeq
    /// there, readable, and once (RFC 3261 §8.2.6.2). Whose response it is, is the transaction's to say. A number that is none
    /// does not spoil a response: it counts as not there (see [`is_readable`]).
    ///
    /// # Errors
    /// The first rule that is broken; such a response is dropped.
    pub fn check_response(&self) -> Result<(), Error> {
        self.check_octets()?;
        self.check_repeats()?;
        self.via()?;
        self.from()?;
        self.to()?;
        self.call_id()?;
        self.cseq()?;
        Ok(())
    }

    /// settled.md 32: no control octet but HTAB stands in a head, bare or escaped; CR and LF end lines and nothing else.
    fn check_octets(&self) -> Result<(), Error> {
        let control = |b: &u8| (*b < 32) & !matches!(b, b'\t' | b'\r' | b'\n') | (*b == 127);
        // A piece at a time without a way out of it: that the compiler does many octets at once.
        let mut pieces = self.head().chunks(64);
        if pieces.all(|p| !p.iter().fold(false, |any, b| any | control(b))) {
            return Ok(());
        }
        match self.head().iter().position(control) {
            None => Ok(()),
            // The escaped ones are grammar in RFC 3261: who asks for a method that nobody knows is told that (RFC 4475 §3.1.1.2).
            Some(at) if matches!(self.method(), Some(Method::Other(_))) => {
                Err(self.error(Rule::UnknownMethod, at))
            }
            Some(at) => Err(self.error(Rule::Octet, at)),
        }
    }

    /// settled.md 32: a number that is none, or is out of range, in a header that we know. Those of Via, CSeq and Contact were
    /// looked at where these were read.
    fn check_numbers(&self) -> Result<(), Error> {
        for (name, value) in self.named() {
            let was_read = matches!(name, Name::Via | Name::CSeq | Name::Contact);
            if !was_read
                && !is_readable(name, value)
                && let Some(name) = Name::by_id(name.id())
            {
                let at = value
                    .as_ptr()
                    .addr()
                    .saturating_sub(self.head().as_ptr().addr());
                return Err(self.error(Rule::Value(name), at));
            }
        }
        Ok(())
    }

    fn check_repeats(&self) -> Result<(), Error> {
        let mut seen = 0u128;
        for (name, _) in self.named() {
            let bit = 1u128.checked_shl(u32::from(name.id())).unwrap_or(0) & ONCE_BITS;
            if seen & bit != 0
                && let Some(name) = Name::by_id(name.id())
            {
                return Err(self.error(Rule::Repeated(name), 0));
            }
            seen |= bit;
        }
        Ok(())
    }
}

/// Whether the numbers in the value of a header are numbers, in their range. True of a header that has none.
#[must_use]
pub fn is_readable(name: Name<'_>, value: &[u8]) -> bool {
    let whole = |value| number::<u32>(value).is_some();
    match name {
        Name::MaxForwards => number::<u8>(value).is_some(),
        Name::Expires | Name::MinExpires | Name::RSeq | Name::MaxBreadth => whole(value),
        Name::CSeq => CSeq::parse(value).is_ok(),
        Name::RAck => RAck::parse(value).is_ok(),
        Name::SessionExpires => SessionExpires::parse(value).is_ok(),
        Name::MinSe => SessionExpires::parse_number(value).is_ok(),
        Name::RetryAfter => {
            RetryAfter::parse(value).is_ok_and(|after| param(&after.params, b"duration"))
        }
        Name::Timestamp => counts::is_timestamp(value),
        Name::MimeVersion => counts::is_version(value),
        Name::Contact => List::new(value).all(|contact| match Contact::parse(contact) {
            Ok(Contact::Address(address)) => has_numbers_of_contact(&address.params),
            Ok(Contact::Star) | Err(_) => true,
        }),
        Name::SubscriptionState => {
            let params = params_behind(value);
            params.is_none_or(|p| param(&p, b"expires") && param(&p, b"retry-after"))
        }
        Name::Accept | Name::AcceptEncoding | Name::AcceptLanguage => {
            List::new(value).all(|accepted| {
                let q = params_behind(accepted)
                    .and_then(|p| p.get(b"q").map(|q| q.value.unwrap_or_default()));
                q.is_none_or(|q| q_value(q).is_some())
            })
        }
        Name::Warning => List::new(value).all(|warning| {
            matches!(warning, [a, b, c, b' ' | b'\t', ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()))
        }),
        Name::Via => {
            List::new(value).all(|via| Via::parse(via).is_ok_and(|via| has_numbers_of_via(&via)))
        }
        // `Message::parse` reads Content-Length.
        Name::AcceptContact | Name::AlertInfo | Name::Allow | Name::AllowEvents | Name::AuthenticationInfo | Name::Authorization | Name::CallId | Name::CallInfo | Name::ContentDisposition | Name::ContentEncoding | Name::ContentId | Name::ContentLanguage | Name::ContentLength | Name::ContentTransferEncoding | Name::ContentType | Name::ContributionId | Name::ConversationId | Name::Date | Name::ErrorInfo | Name::Event | Name::From | Name::HistoryInfo | Name::InReplyTo | Name::InReplyToContributionId | Name::Join | Name::MessageExpires | Name::Organization | Name::PAccessNetworkInfo | Name::PAssertedIdentity | Name::PAssertedService | Name::PAssociatedUri | Name::PCalledPartyId | Name::PChargingVector | Name::PPreferredIdentity | Name::PPreferredService | Name::PServedUser | Name::Path | Name::Priority | Name::Privacy | Name::ProxyAuthenticate | Name::ProxyAuthorization | Name::ProxyRequire | Name::Reason | Name::RecordRoute | Name::ReferTo | Name::ReferredBy | Name::RejectContact | Name::Replaces | Name::ReplyTo | Name::RequestDisposition | Name::Require | Name::Route | Name::Server | Name::ServiceRoute | Name::SessionId | Name::SessionReplaces | Name::SipEtag | Name::SipIfMatch | Name::Subject | Name::Supported | Name::To | Name::Unsupported | Name::UserAgent | Name::WwwAuthenticate | Name::Other(_) => true,
    }
}

/// A parameter that is there is a number.
fn param(params: &Params<'_>, name: &[u8]) -> bool {
    params
        .get(name)
        .is_none_or(|p| p.value.is_some_and(|v| number::<u32>(v).is_some()))
}

fn has_numbers_of_via(via: &Via<'_>) -> bool {
    !via.params.has(b"ttl") || via.ttl().is_some()
}

fn has_numbers_of_contact(params: &Params<'_>) -> bool {
    let q = params.get(b"q").map(|q| q.value.unwrap_or_default());
    q.is_none_or(|q| q_value(q).is_some())
        && param(params, b"expires")
        // RFC 5626 §10: 1 to 2^31 - 1.
        && params.get(b"reg-id").is_none_or(|_| {
            let id = params.number::<u32>(b"reg-id");
            id.is_some_and(|id| (1..1 << 31).contains(&id))
        })
}

/// The parameters behind the first word of a value, if they can be read.
fn params_behind(value: &[u8]) -> Option<Params<'_>> {
    let at = memchr::memchr(b';', value)?;
    Params::parse(value.get(at..)?).ok()
}

fn all<T>(mut values: impl Iterator<Item = Result<T, Error>>) -> Result<(), Error> {
    values.try_for_each(|value| value.map(|_| ()))
}
