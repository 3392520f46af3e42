//! What a device can do: the feature parameters of Contact, Accept-Contact and Reject-Contact (RFC 3840 §9).

use super::{Param, Params, unfold};
use crate::wire::uri::{TOKEN, unescape};
use std::borrow::Cow;

/// The feature tags that stand without `+` (RFC 3840 §9).
const BASE: [&[u8]; 20] = [
    b"audio",
    b"automata",
    b"class",
    b"duplex",
    b"data",
    b"control",
    b"mobility",
    b"description",
    b"events",
    b"priority",
    b"methods",
    b"schemes",
    b"application",
    b"video",
    b"language",
    b"type",
    b"isfocus",
    b"actor",
    b"text",
    b"extensions",
];

/// The name of a feature.
#[derive(Clone, Copy, Debug)]
pub struct Tag<'a>(pub &'a [u8]);

/// Feature names have no case.
impl PartialEq for Tag<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

/// A feature parameter.
#[derive(Clone, Copy, Debug)]
pub struct Feature<'a> {
    /// Its name as written, `+` included.
    pub tag: Tag<'a>,
    /// What stands between the quotes, as written; `None` for a bare tag, which means TRUE.
    value: Option<&'a [u8]>,
}

/// What kind of value a feature has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureValue<'a> {
    /// The bare tag: TRUE.
    True,
    /// `<...>`: one string, compared with regard to case.
    Text(Cow<'a, [u8]>),
    /// A list of values, see [`Feature::values`].
    List,
}

/// One value of a feature's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagValue<'a> {
    /// It stood behind `!`: all but this.
    pub negated: bool,
    /// The value as written, without the `!`: a token, TRUE, FALSE, or a number behind `#`.
    pub text: &'a [u8],
}

impl TagValue<'_> {
    /// The truth that it stands for, if it is TRUE or FALSE; `!` turns it.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        let truth = if self.text.eq_ignore_ascii_case(b"TRUE") {
            true
        } else if self.text.eq_ignore_ascii_case(b"FALSE") {
            false
        } else {
            return None;
        };
        Some(truth != self.negated)
    }

    /// Whether it is a number or a range of numbers: `#=5`, `#>=5`, `#1:5`.
    #[must_use]
    pub fn is_numeric(&self) -> bool {
        self.text.first() == Some(&b'#')
    }
}

impl<'a> Feature<'a> {
    /// The feature that a parameter is, if it is one: its name begins with `+` or is one of RFC 3840's own.
    #[must_use]
    pub fn of(param: Param<'a>) -> Option<Self> {
        let base = BASE.iter().any(|b| b.eq_ignore_ascii_case(param.name));
        if !base && param.name.first() != Some(&b'+') {
            return None;
        }
        // The quotes are a must; devices that leave them out mean one plain value.
        let value = param.value.map(|v| {
            v.strip_prefix(b"\"")
                .and_then(|v| v.strip_suffix(b"\""))
                .unwrap_or(v)
        });
        Some(Self {
            tag: Tag(param.name),
            value,
        })
    }

    /// What kind of value it has.
    #[must_use]
    pub fn value(&self) -> FeatureValue<'a> {
        match self.value {
            None => FeatureValue::True,
            Some(text) => match text.strip_prefix(b"<").and_then(|t| t.strip_suffix(b">")) {
                Some(text) => FeatureValue::Text(unfold(text)),
                None => FeatureValue::List,
            },
        }
    }

    /// The values of its list in order; none if it is a string, `TRUE` if the tag is bare.
    pub fn values(&self) -> impl Iterator<Item = TagValue<'a>> + use<'a> {
        let text = match self.value {
            None => &b"TRUE"[..],
            Some(text) if text.first() == Some(&b'<') => b"",
            Some(text) => text,
        };
        text.split(|b| *b == b',').filter_map(|value| {
            let value = super::scan::trim(value);
            let (negated, text) = value
                .strip_prefix(b"!")
                .map_or((false, value), |rest| (true, rest));
            (!text.is_empty()).then_some(TagValue { negated, text })
        })
    }

    /// Whether its list has `value`, not negated, as [`icsi_equal`] compares.
    #[must_use]
    pub fn lists(&self, value: &[u8]) -> bool {
        self.values()
            .any(|v| !v.negated && icsi_equal(v.text, value))
    }
}

/// The features among the parameters of a Contact or of an Accept-Contact.
#[derive(Clone, Copy, Debug)]
pub struct Features<'a>(Params<'a>);

impl<'a> Features<'a> {
    /// The features among `params`.
    #[must_use]
    pub const fn of(params: Params<'a>) -> Self {
        Self(params)
    }

    /// The features in order.
    pub fn iter(&self) -> impl Iterator<Item = Feature<'a>> + use<'a> {
        self.0.iter().filter_map(Feature::of)
    }

    /// The feature called `tag`, `+` included, in any case.
    #[must_use]
    pub fn get(&self, tag: &[u8]) -> Option<Feature<'a>> {
        self.iter().find(|f| f.tag == Tag(tag))
    }

    /// Whether a service (ICSI) is among the values of `+g.3gpp.icsi-ref`. Several parameters of that name and several
    /// values in one are the same. [PREF-02]
    #[must_use]
    pub fn has_icsi(&self, icsi: &[u8]) -> bool {
        self.iter()
            .any(|f| f.tag == Tag(b"+g.3gpp.icsi-ref") && f.lists(icsi))
    }
}

/// Whether two service or application identifiers are one: escapes undone, the scheme part (`urn:urn-7:`) without regard to
/// case, the rest with it (TS 24.229 §7.2A.8, RFC 8141 §3.1). [PREF-02]
#[must_use]
pub fn icsi_equal(a: &[u8], b: &[u8]) -> bool {
    let mut colons = 0;
    let (mut a, mut b) = (unescape(a).map(|c| c.byte), unescape(b).map(|c| c.byte));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(x), Some(y)) if x == y || (colons < 2 && x.eq_ignore_ascii_case(&y)) => {
                colons += u32::from(x == b':')
            }
            (Some(_) | None, _) => return false,
        }
    }
}

/// Appends a service identifier as it stands in a feature parameter: what is no token there is escaped. [PREF-02]
pub fn write_icsi(out: &mut Vec<u8>, icsi: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in icsi {
        // `%` is a token's character, but here it begins an escape; `!` would negate.
        if TOKEN.has(*byte) && !matches!(byte, b'%' | b'!') {
            out.push(*byte);
        } else {
            let digit = |d: u8| HEX.get(usize::from(d)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &[u8] = b"urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session";

    fn features(params: &str) -> Features<'_> {
        Features::of(Params::parse(params.as_bytes()).unwrap())
    }

    #[test]
    fn features_are_told_from_other_parameters() {
        let f = features(
            ";q=0.5;expires=60;audio;Methods=\"INVITE,!BYE\";+sip.instance=\"<urn:uuid:1>\";+g.x;reg-id=1;mobility=\"!fixed\"",
        );
        assert_eq!(f.iter().count(), 5);
        assert_eq!(f.get(b"AUDIO").unwrap().value(), FeatureValue::True);
        assert_eq!(
            f.get(b"audio").unwrap().values().next().unwrap().boolean(),
            Some(true)
        );
        assert_eq!(
            f.get(b"+sip.instance").unwrap().value(),
            FeatureValue::Text(b"<urn:uuid:1>"[1..11].into())
        );
        assert_eq!(f.get(b"+sip.instance").unwrap().values().count(), 0);
        let methods: Vec<_> = f
            .get(b"methods")
            .unwrap()
            .values()
            .map(|v| (v.negated, v.text))
            .collect();
        assert_eq!(methods, [(false, &b"INVITE"[..]), (true, b"BYE")]);
        assert!(f.get(b"reg-id").is_none() && f.get(b"q").is_none());
        assert!(
            f.get(b"methods").unwrap().lists(b"INVITE")
                && !f.get(b"methods").unwrap().lists(b"BYE")
        );
    }

    #[test]
    fn booleans_and_numbers() {
        let f = features(";video=\"FALSE\";isfocus=\"!TRUE\";priority=\"#>=5,#1:3\"");
        let first = |name: &[u8]| f.get(name).unwrap().values().next().unwrap();
        assert_eq!(first(b"video").boolean(), Some(false));
        assert_eq!(first(b"isfocus").boolean(), Some(false));
        assert_eq!(first(b"priority").boolean(), None);
        assert!(f.get(b"priority").unwrap().values().all(|v| v.is_numeric()));
    }

    #[test]
    fn a_service_is_written_escaped() {
        // [PREF-02]
        let mut out = Vec::new();
        write_icsi(&mut out, SESSION);
        assert_eq!(out, b"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session");
        assert!(icsi_equal(&out, SESSION));
    }

    #[test]
    fn a_service_in_each_spelling() {
        // Encoded with either case, several values in one string, plain, a sub-class of its own. [PREF-02]
        for spelling in [
            ";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"",
            ";+g.3gpp.icsi-ref=\"urn%3aurn-7%3a3gpp-service.ims.icsi.oma.cpm.session\"",
            ";+G.3GPP.ICSI-REF=\"urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session\"",
            ";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel,URN%3AURN-7%3A3gpp-service.ims.icsi.oma.cpm.session\"",
            ";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel\";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"",
            ";+g.3gpp.icsi-ref=urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session",
        ] {
            assert!(features(spelling).has_icsi(SESSION), "{spelling}");
        }
        for other in [
            ";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session.group\"",
            ";+g.3gpp.icsi-ref=\"!urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"",
            ";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3GPP-service.ims.icsi.oma.cpm.session\"",
            ";+g.3gpp.iari-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"",
            ";+g.3gpp.icsi-ref",
        ] {
            assert!(!features(other).has_icsi(SESSION), "{other}");
        }
    }
}
