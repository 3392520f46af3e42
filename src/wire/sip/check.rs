//! Whether a message can be served at all: "reasonable syntax" (RFC 3261 §16.3 step 1, §8.1.1).

use super::{
    Contact, Disposition, Error, MediaType, Message, Method, Name, NameAddr, Rule, Start, Via,
};
use crate::wire::uri::Uri;

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
    /// Checks what every element relies on: a Request-URI that is one, Via, From, To, Call-ID and CSeq there and readable,
    /// CSeq of the same method, Contact, Route, Record-Route and Content-Type readable, nothing twice that stands once.
    /// What a method, a transaction or a dialog needs beyond that is theirs to check.
    ///
    /// # Errors
    /// The first rule that is broken; [`Error::status`] is its answer.
    pub fn check(&self) -> Result<(), Error> {
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
            via?;
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
            star |= matches!(contact?, Contact::Star);
        }
        if star && contacts > 1 {
            return Err(self.error(Rule::Value(Name::Contact), 0));
        }
        all(self.each(Name::Route, NameAddr::parse_route))?;
        all(self.each(Name::RecordRoute, NameAddr::parse_route))?;
        self.one(Name::ContentType, MediaType::parse)?;
        self.one(Name::ContentDisposition, Disposition::parse)?;
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

fn all<T>(mut values: impl Iterator<Item = Result<T, Error>>) -> Result<(), Error> {
    values.try_for_each(|value| value.map(|_| ()))
}
