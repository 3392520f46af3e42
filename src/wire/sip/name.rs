//! Header names: the known ones with their compact forms, found by a small hash; any other kept as it came.

macro_rules! names {
    ($($variant:ident $text:literal $(/ $compact:literal)? $([$list:ident])? $doc:literal;)*) => {
        /// The name of a header. Compares without regard to case; long and compact form are one name.
        #[derive(Clone, Copy, Debug)]
        pub enum Name<'a> {
            $(#[doc = $doc] $variant,)*
            /// Any other name, as written.
            Other(&'a [u8]),
        }

        #[derive(Clone, Copy)]
        #[repr(u8)]
        enum Number { $($variant,)* Other }

        /// The id of a name that is not known.
        pub(super) const OTHER: u8 = Number::Other as u8;

        /// Name, long form, whether its value is a list divided by commas; by id.
        const KNOWN: &[(Name<'static>, &[u8], bool)] = &[$((Name::$variant, $text, names!(@list $($list)?)),)*];

        impl<'a> Name<'a> {
            /// The number of a known name, [`OTHER`] of any other.
            pub(super) const fn id(&self) -> u8 {
                match self {
                    $(Self::$variant => Number::$variant as u8,)*
                    Self::Other(_) => OTHER,
                }
            }

            const fn compact(letter: u8) -> Option<Name<'static>> {
                match &[letter.to_ascii_lowercase()] {
                    $($($compact => Some(Name::$variant),)?)*
                    _ => None,
                }
            }
        }
    };
    (@list) => { false };
    (@list list) => { true };
}

names! {
    Accept b"Accept" [list] "RFC 3261 §20.1";
    AcceptContact b"Accept-Contact" / b"a" [list] "RFC 3841 §9.2";
    AcceptEncoding b"Accept-Encoding" [list] "RFC 3261 §20.2";
    AcceptLanguage b"Accept-Language" [list] "RFC 3261 §20.3";
    AlertInfo b"Alert-Info" [list] "RFC 3261 §20.4";
    Allow b"Allow" [list] "RFC 3261 §20.5";
    AllowEvents b"Allow-Events" / b"u" [list] "RFC 6665 §8.2.2";
    AuthenticationInfo b"Authentication-Info" "RFC 3261 §20.6";
    Authorization b"Authorization" "RFC 3261 §20.7";
    CallId b"Call-ID" / b"i" "RFC 3261 §20.8";
    CallInfo b"Call-Info" [list] "RFC 3261 §20.9";
    Contact b"Contact" / b"m" [list] "RFC 3261 §20.10";
    ContentDisposition b"Content-Disposition" "RFC 3261 §20.11";
    ContentEncoding b"Content-Encoding" / b"e" [list] "RFC 3261 §20.12";
    ContentId b"Content-ID" "RFC 8262";
    ContentLanguage b"Content-Language" [list] "RFC 3261 §20.13";
    ContentLength b"Content-Length" / b"l" "RFC 3261 §20.14";
    ContentTransferEncoding b"Content-Transfer-Encoding" "RFC 2045 §6";
    ContentType b"Content-Type" / b"c" "RFC 3261 §20.15";
    ContributionId b"Contribution-ID" "OMA CPM Conversation Functions, appendix C";
    ConversationId b"Conversation-ID" "OMA CPM Conversation Functions, appendix C";
    CSeq b"CSeq" "RFC 3261 §20.16";
    Date b"Date" "RFC 3261 §20.17";
    ErrorInfo b"Error-Info" [list] "RFC 3261 §20.18";
    Event b"Event" / b"o" "RFC 6665 §8.2.1";
    Expires b"Expires" "RFC 3261 §20.19";
    From b"From" / b"f" "RFC 3261 §20.20";
    HistoryInfo b"History-Info" [list] "RFC 7044";
    InReplyTo b"In-Reply-To" [list] "RFC 3261 §20.21";
    InReplyToContributionId b"InReplyTo-Contribution-ID" "OMA CPM Conversation Functions, appendix C";
    Join b"Join" "RFC 3911";
    MaxBreadth b"Max-Breadth" "RFC 5393 §5.3.3";
    MaxForwards b"Max-Forwards" "RFC 3261 §20.22";
    MessageExpires b"Message-Expires" "OMA CPM Conversation Functions, appendix C";
    MimeVersion b"MIME-Version" "RFC 3261 §20.24";
    MinExpires b"Min-Expires" "RFC 3261 §20.23";
    MinSe b"Min-SE" "RFC 4028 §5";
    Organization b"Organization" "RFC 3261 §20.25";
    PAccessNetworkInfo b"P-Access-Network-Info" [list] "RFC 7315 §4.4";
    PAssertedIdentity b"P-Asserted-Identity" [list] "RFC 3325 §9.1";
    PAssertedService b"P-Asserted-Service" [list] "RFC 6050 §4.1";
    PAssociatedUri b"P-Associated-URI" [list] "RFC 7315 §4.1";
    PCalledPartyId b"P-Called-Party-ID" "RFC 7315 §4.2";
    PChargingVector b"P-Charging-Vector" "RFC 7315 §4.6";
    PPreferredIdentity b"P-Preferred-Identity" [list] "RFC 3325 §9.2";
    PPreferredService b"P-Preferred-Service" [list] "RFC 6050 §4.2";
    PServedUser b"P-Served-User" "RFC 5502 §4";
    Path b"Path" [list] "RFC 3327 §4";
    Priority b"Priority" "RFC 3261 §20.26";
    Privacy b"Privacy" "RFC 3323 §4.2";
    ProxyAuthenticate b"Proxy-Authenticate" "RFC 3261 §20.27";
    ProxyAuthorization b"Proxy-Authorization" "RFC 3261 §20.28";
    ProxyRequire b"Proxy-Require" [list] "RFC 3261 §20.29";
    RAck b"RAck" "RFC 3262 §7.2";
    Reason b"Reason" [list] "RFC 3326 §2";
    RecordRoute b"Record-Route" [list] "RFC 3261 §20.30";
    ReferTo b"Refer-To" / b"r" "RFC 3515 §2.1";
    ReferredBy b"Referred-By" / b"b" "RFC 3892 §3";
    RejectContact b"Reject-Contact" / b"j" [list] "RFC 3841 §9.2";
    Replaces b"Replaces" "RFC 3891 §6.1";
    ReplyTo b"Reply-To" "RFC 3261 §20.31";
    RequestDisposition b"Request-Disposition" / b"d" [list] "RFC 3841 §9.1";
    Require b"Require" [list] "RFC 3261 §20.32";
    RetryAfter b"Retry-After" "RFC 3261 §20.33";
    Route b"Route" [list] "RFC 3261 §20.34";
    RSeq b"RSeq" "RFC 3262 §7.1";
    Server b"Server" "RFC 3261 §20.35";
    ServiceRoute b"Service-Route" [list] "RFC 3608 §5";
    SessionExpires b"Session-Expires" / b"x" "RFC 4028 §4";
    SessionId b"Session-ID" "RFC 7989 §5";
    SessionReplaces b"Session-Replaces" "OMA CPM Conversation Functions, appendix C";
    SipEtag b"SIP-ETag" "RFC 3903";
    SipIfMatch b"SIP-If-Match" "RFC 3903";
    Subject b"Subject" / b"s" "RFC 3261 §20.36";
    SubscriptionState b"Subscription-State" "RFC 6665 §8.2.3";
    Supported b"Supported" / b"k" [list] "RFC 3261 §20.37";
    Timestamp b"Timestamp" "RFC 3261 §20.38";
    To b"To" / b"t" "RFC 3261 §20.39";
    Unsupported b"Unsupported" [list] "RFC 3261 §20.40";
    UserAgent b"User-Agent" "RFC 3261 §20.41";
    Via b"Via" / b"v" [list] "RFC 3261 §20.42";
    Warning b"Warning" [list] "RFC 3261 §20.43";
    WwwAuthenticate b"WWW-Authenticate" "RFC 3261 §20.44";
}

/// No entry of the index.
const NONE: u8 = u8::MAX;

/// First id of each hash, then the next id of the same hash, of each id.
struct Index {
    first: [u8; 128],
    next: [u8; KNOWN.len()],
}

static INDEX: Index = index();

const fn hash(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return 0;
    };
    let (first, last) = ((*first | 0x20) as usize, (*last | 0x20) as usize);
    (name.len().wrapping_mul(37) ^ first.wrapping_mul(11) ^ last.wrapping_mul(3)) & 127
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: there are fewer than 255 names, and the build fails if not"
)]
const fn index() -> Index {
    assert!(KNOWN.len() < NONE as usize);
    let mut index = Index {
        first: [NONE; 128],
        next: [NONE; KNOWN.len()],
    };
    let mut id = 0;
    while id < KNOWN.len() {
        let slot = hash(KNOWN[id].1);
        index.next[id] = index.first[slot];
        index.first[slot] = id as u8;
        id += 1;
    }
    index
}

impl<'a> Name<'a> {
    /// The name that `bytes` spells, in either form and any case.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        if let [letter] = bytes {
            return Self::compact(*letter).unwrap_or(Self::Other(bytes));
        }
        let mut id = INDEX.first.get(hash(bytes)).copied().unwrap_or(NONE);
        while let Some((name, text, _)) = KNOWN.get(usize::from(id)) {
            if text.eq_ignore_ascii_case(bytes) {
                return *name;
            }
            id = INDEX.next.get(usize::from(id)).copied().unwrap_or(NONE);
        }
        Self::Other(bytes)
    }

    /// The known name with this number.
    pub(super) fn by_id(id: u8) -> Option<Self> {
        KNOWN.get(usize::from(id)).map(|(name, ..)| *name)
    }

    /// Its long form; of another name what was written.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        if let Self::Other(bytes) = self {
            return bytes;
        }
        KNOWN
            .get(usize::from(self.id()))
            .map_or(b"", |(_, text, _)| text)
    }

    /// Its value is a list: several values in one line are the same as one a line (RFC 3261 §7.3.1).
    #[must_use]
    pub fn is_list(&self) -> bool {
        KNOWN
            .get(usize::from(self.id()))
            .is_some_and(|(_, _, list)| *list)
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Other(a), Self::Other(b)) => a.eq_ignore_ascii_case(b),
            (a, b) => a.id() == b.id(),
        }
    }
}

impl Eq for Name<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_known_name_is_found_in_any_case() {
        for (id, (name, text, _)) in KNOWN.iter().enumerate() {
            assert_eq!(usize::from(name.id()), id);
            assert_eq!(Name::of(text), *name);
            assert_eq!(Name::of(&text.to_ascii_uppercase()), *name);
            assert_eq!(Name::of(&text.to_ascii_lowercase()), *name);
            assert_eq!(name.as_bytes(), *text);
        }
    }

    #[test]
    fn compact_forms() {
        for (letter, long) in [
            ("a", "Accept-Contact"),
            ("b", "Referred-By"),
            ("c", "Content-Type"),
            ("d", "Request-Disposition"),
            ("e", "Content-Encoding"),
            ("f", "From"),
            ("i", "Call-ID"),
            ("j", "Reject-Contact"),
            ("k", "Supported"),
            ("l", "Content-Length"),
            ("m", "Contact"),
            ("o", "Event"),
            ("r", "Refer-To"),
            ("s", "Subject"),
            ("t", "To"),
            ("u", "Allow-Events"),
            ("v", "Via"),
            ("x", "Session-Expires"),
        ] {
            assert_eq!(Name::of(letter.as_bytes()), Name::of(long.as_bytes()));
            assert_eq!(
                Name::of(letter.to_uppercase().as_bytes()),
                Name::of(long.as_bytes())
            );
            assert!(Name::of(long.as_bytes()).id() != OTHER);
        }
        assert_eq!(Name::of(b"z"), Name::Other(b"Z"));
    }

    #[test]
    fn what_is_not_known_is_kept() {
        assert_eq!(Name::of(b"X-Foo"), Name::Other(b"x-foo"));
        assert_eq!(Name::of(b"C%6Fntact"), Name::Other(b"C%6Fntact"));
        assert_eq!(Name::of(b""), Name::Other(b""));
        assert_ne!(Name::of(b"Vib"), Name::Via);
        assert!(!Name::Other(b"x").is_list() && Name::Via.is_list() && !Name::From.is_list());
    }
}
