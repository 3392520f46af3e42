//! Feature sets and how they match: RFC 3840 §9, RFC 3841 §7.2 over RFC 2533.
//!
//! A feature set is what a Contact says of its device, or what an Accept-Contact or Reject-Contact asks for: for each
//! feature tag the values that it may have. Two sets match when every tag that both name has a value in common; a tag that
//! only one names constrains nothing. An ICSI is compared decoded, and a value with a further dotted part counts as its
//! parent (cpm-notes.md §13) [PREF-01] [PREF-02].

use crate::wire::sip::{FeatureValue, Features, TagValue};

/// The feature tag that lists the communication services of a device.
const ICSI: &str = "+g.3gpp.icsi-ref";

/// What a Contact's parameters say, or one value of Accept-Contact or Reject-Contact asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FeatureSet {
    tags: Vec<(String, Vec<Term>)>,
}

/// One value of a tag; the values of a list are alternatives.
#[derive(Clone, Debug, PartialEq)]
struct Term {
    /// `!`: anything but this.
    not: bool,
    value: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    /// Compared without case.
    Token(String),
    /// In angle brackets: compared with case.
    Text(String),
    /// From, to; both included.
    Number(f64, f64),
}

impl FeatureSet {
    /// What these feature parameters say.
    pub(super) fn of(features: Features<'_>) -> Self {
        let mut set = Self::default();
        for feature in features.iter() {
            let name = String::from_utf8_lossy(feature.tag.0).to_ascii_lowercase();
            let terms = match feature.value() {
                FeatureValue::Text(text) => vec![Term::text(&text)],
                FeatureValue::True | FeatureValue::List => {
                    feature.values().map(|v| Term::listed(&name, v)).collect()
                }
            };
            set.add(name, terms);
        }
        set
    }

    /// A set of one tag with one token.
    pub(super) fn of_token(tag: &str, token: &str) -> Self {
        let term = Term {
            not: false,
            value: Value::Token(token.to_ascii_lowercase()),
        };
        Self {
            tags: vec![(tag.to_owned(), vec![term])],
        }
    }

    /// Terms of a tag that stands twice are alternatives, as if they stood in one list (some devices repeat the ICSI).
    fn add(&mut self, name: String, terms: Vec<Term>) {
        match self.tags.iter_mut().find(|(n, _)| *n == name) {
            Some((_, had)) => had.extend(terms),
            None => self.tags.push((name, terms)),
        }
    }

    /// Whether no feature is named: such a contact is immune to caller preferences (RFC 3841 §7.2.3).
    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    fn terms(&self, tag: &str) -> Option<&[Term]> {
        self.tags
            .iter()
            .find(|(name, _)| name == tag)
            .map(|(_, terms)| terms.as_slice())
    }

    /// The services of the device, as [`service`] gives them.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.terms(ICSI)
            .unwrap_or_default()
            .iter()
            .filter(|term| !term.not)
            .filter_map(|term| match &term.value {
                Value::Token(icsi) => Some(icsi.as_str()),
                Value::Text(_) | Value::Number(..) => None,
            })
    }

    /// Whether the device lists the service `urn`, or a sub-class of it.
    pub(super) fn offers(&self, urn: &str) -> bool {
        self.services().any(|icsi| is_a(icsi, urn))
    }

    /// RFC 2533: whether the two have something in common. `self` asks, `contact` is asked.
    pub(super) fn matches(&self, contact: &Self) -> bool {
        self.tags.iter().all(|(tag, asked)| {
            contact.terms(tag).is_none_or(|had| {
                asked
                    .iter()
                    .any(|a| had.iter().any(|h| a.meets(h, tag == ICSI)))
            })
        })
    }

    /// How many of our tags the contact names at all: RFC 3841 §7.2.4's score, in thousandths.
    pub(super) fn score(&self, contact: &Self) -> u32 {
        let all = u32::try_from(self.tags.len()).unwrap_or(u32::MAX);
        if all == 0 {
            return SCORE_FULL;
        }
        let named = self
            .tags
            .iter()
            .filter(|(tag, _)| contact.terms(tag).is_some())
            .count();
        let named = u32::try_from(named).unwrap_or(u32::MAX);
        named.saturating_mul(SCORE_FULL) / all
    }

    /// Whether the contact names every tag of ours: else a Reject-Contact does not apply to it.
    pub(super) fn all_named_by(&self, contact: &Self) -> bool {
        self.tags
            .iter()
            .all(|(tag, _)| contact.terms(tag).is_some())
    }
}

/// The score of a contact that names every tag asked for.
pub(super) const SCORE_FULL: u32 = 1000;

impl Term {
    fn text(text: &[u8]) -> Self {
        Self {
            not: false,
            value: Value::Text(String::from_utf8_lossy(text).into_owned()),
        }
    }

    fn listed(tag: &str, listed: TagValue<'_>) -> Self {
        let text = String::from_utf8_lossy(listed.text);
        let value = if tag == ICSI {
            Value::Token(service(&text))
        } else {
            number(&text).unwrap_or_else(|| Value::Token(text.to_ascii_lowercase()))
        };
        Self {
            not: listed.negated,
            value,
        }
    }

    fn meets(&self, had: &Self, icsi: bool) -> bool {
        let same = match (&self.value, &had.value) {
            (Value::Token(asked), Value::Token(had)) if icsi => is_a(had, asked),
            (Value::Token(asked), Value::Token(had)) => asked == had,
            (Value::Text(asked), Value::Text(had)) => asked == had,
            (Value::Number(a, b), Value::Number(c, d)) => a <= d && c <= b,
            (Value::Token(_), Value::Text(_) | Value::Number(..))
            | (Value::Text(_), Value::Token(_) | Value::Number(..))
            | (Value::Number(..), Value::Token(_) | Value::Text(_)) => false,
        };
        match (self.not, had.not) {
            (false, false) => same,
            (true, false) | (false, true) => !same,
            // Two sets that each leave out one value of many have the others in common.
            (true, true) => true,
        }
    }
}

/// A service identifier for comparing: percent-decoded, the scheme part (`urn:urn-7:`) in lower case.
pub(super) fn service(value: &str) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.as_bytes();
    let mut colons = 0;
    while let [first, rest @ ..] = bytes {
        let byte;
        (byte, bytes) = match bytes {
            [b'%', h, l, rest @ ..] if h.is_ascii_hexdigit() && l.is_ascii_hexdigit() => {
                (hex(*h) << 4 | hex(*l), rest)
            }
            _ => (*first, rest),
        };
        out.push(if colons < 2 {
            byte.to_ascii_lowercase()
        } else {
            byte
        });
        colons += u32::from(byte == b':');
    }
    String::from_utf8_lossy(&out).into_owned()
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// Whether the service `had` is `asked` or a dotted sub-class of it. Both as [`service`] gives them. `.group` behind what is
/// asked is tolerated and treated as its parent: it should stand in P-Asserted-Service only (DISPATCH-08).
pub(super) fn is_a(had: &str, asked: &str) -> bool {
    let asked = asked.strip_suffix(".group").unwrap_or(asked);
    had.strip_prefix(asked)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// `#=4`, `#>=4`, `#<=4`, `#4:8` (RFC 3840 §9).
fn number(value: &str) -> Option<Value> {
    let value = value.strip_prefix('#')?;
    let parse = |s: &str| s.trim().parse::<f64>().ok().filter(|n| n.is_finite());
    if let Some(n) = value.strip_prefix(">=") {
        return Some(Value::Number(parse(n)?, f64::INFINITY));
    }
    if let Some(n) = value.strip_prefix("<=") {
        return Some(Value::Number(f64::NEG_INFINITY, parse(n)?));
    }
    if let Some(n) = value.strip_prefix('=') {
        let n = parse(n)?;
        return Some(Value::Number(n, n));
    }
    let (from, to) = value.split_once(':')?;
    Some(Value::Number(parse(from)?, parse(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::Params;

    const SESSION: &str = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session";

    fn set(params: &str) -> FeatureSet {
        let params = format!(";{params}");
        let params = Params::parse(if params == ";" {
            b""
        } else {
            params.as_bytes()
        })
        .unwrap();
        FeatureSet::of(Features::of(params))
    }

    // [PREF-02]
    #[test]
    fn services_are_decoded_and_listed() {
        for had in [
            "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"",
            "+g.3gpp.icsi-ref=\"urn%3aurn-7%3a3gpp-service.ims.icsi.oma.cpm.session\"",
            "+G.3GPP.ICSI-REF=\"URN:Urn-7:3gpp-service.ims.icsi.oma.cpm.session\"",
            "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel,urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"",
            "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session.group\"",
        ] {
            assert!(set(had).offers(SESSION), "{had}");
        }
        for had in [
            "",
            "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.sessions\"",
            "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel\"",
            "+g.3gpp.icsi-ref=\"!urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"",
            "+g.3gpp.iari-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"",
        ] {
            assert!(!set(had).offers(SESSION), "{had}");
        }
    }

    // [PREF-01]
    #[test]
    fn a_group_tag_asked_for_is_its_parent() {
        let asked =
            set("+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session.group\"");
        let had = set("+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"");
        assert!(asked.matches(&had));
    }

    // [PREF-01]: the example of RFC 3841 §7.2.5.
    #[test]
    fn the_example_of_the_rfc() {
        let contacts = [
            "audio;video;methods=\"INVITE,BYE\"",
            "audio=\"FALSE\";methods=\"INVITE\";actor=\"msg-taker\"",
            "audio;actor=\"msg-taker\";methods=\"INVITE\";video",
            "audio;methods=\"INVITE,OPTIONS\"",
            "",
        ]
        .map(set);
        let reject = set("actor=\"msg-taker\";video");
        let first = set("audio");
        let second = set("video");
        let third = set("methods=\"INVITE\"");
        let rejected = |c: &FeatureSet| reject.all_named_by(c) && reject.matches(c);
        assert_eq!(
            contacts.each_ref().map(rejected),
            [false, false, true, false, false]
        );
        assert_eq!(
            contacts.each_ref().map(|c| first.matches(c)),
            [true, false, true, true, true]
        );
        assert_eq!(second.score(&contacts[0]), SCORE_FULL);
        assert_eq!(second.score(&contacts[3]), 0);
        assert!(contacts.iter().all(|c| third.matches(c)));
        assert!(contacts[4].is_empty());
    }

    #[test]
    fn values_meet_by_their_kind() {
        let check = |asked: &str, had: &str, meets: bool| {
            assert_eq!(
                set(asked).matches(&set(had)),
                meets,
                "{asked} against {had}"
            );
        };
        check("mobility=\"FIXED\"", "mobility=\"fixed\"", true);
        check("mobility=\"!fixed\"", "mobility=\"fixed\"", false);
        check("mobility=\"!fixed\"", "mobility=\"mobile\"", true);
        check("mobility=\"!fixed\"", "mobility=\"!mobile\"", true);
        check("mobility=\"fixed\"", "mobility=\"!fixed\"", false);
        check("language=\"en,de\"", "language=\"fr,de\"", true);
        check("language=\"en,de\"", "language=\"fr,es\"", false);
        check("priority=\"#>=5\"", "priority=\"#=5\"", true);
        check("priority=\"#>=5\"", "priority=\"#<=4\"", false);
        check("priority=\"#1:3\"", "priority=\"#3:8\"", true);
        check("priority=\"#1:x\"", "priority=\"#3:8\"", false);
        check("description=\"<A>\"", "description=\"<a>\"", false);
        check(
            "description=\"<A, \\\"b>\"",
            "description=\"<A, \\\"b>\"",
            true,
        );
        check(
            "+sip.instance=\"<urn:uuid:1>\"",
            "+sip.instance=\"<urn:uuid:2>\"",
            false,
        );
        check("video", "video=\"FALSE\"", false);
        check("video", "audio", true);
        check("q=0.5;unknown=\"x\"", "unknown=\"y\"", true);
    }
}
