//! Event and Subscription-State (RFC 6665 §8.2), Reason (RFC 3326), Warning (RFC 3261 §20.43).

use super::{Malformed, Params, params::unquoted, scan::Cursor};
use std::borrow::Cow;

/// Reads a token and parameters.
fn word<'a>(value: &'a [u8]) -> Result<(&'a [u8], Params<'a>), Malformed> {
    let mut c = Cursor::new(value);
    c.space();
    let token = c.token()?;
    let params = Params::read(&mut c)?;
    c.end()?;
    Ok((token, params))
}

/// Event.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The package, with its templates: `reg`, `presence.winfo`. Case-sensitive.
    pub package: &'a [u8],
    /// `id` and others.
    pub params: Params<'a>,
}

impl<'a> Event<'a> {
    /// Reads the value.
    ///
    /// # Errors
    /// What breaks the grammar.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        word(value).map(|(package, params)| Self { package, params })
    }

    /// Which of several subscriptions to this package (RFC 6665 §4.5.2).
    #[must_use]
    pub fn id(&self) -> Option<&'a [u8]> {
        self.params.value(b"id")
    }
}

/// Subscription-State.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionState<'a> {
    /// `active`, `pending`, `terminated` or another token, as written.
    pub state: &'a [u8],
    /// `reason`, `expires`, `retry-after` and others.
    pub params: Params<'a>,
}

impl<'a> SubscriptionState<'a> {
    /// Reads the value.
    ///
    /// # Errors
    /// What breaks the grammar.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        word(value).map(|(state, params)| Self { state, params })
    }

    /// The subscription is over.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        self.state.eq_ignore_ascii_case(b"terminated")
    }

    /// Why it is over, as written.
    #[must_use]
    pub fn reason(&self) -> Option<&'a [u8]> {
        self.params.value(b"reason")
    }

    /// Seconds that it still lives.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.params.number(b"expires")
    }

    /// Seconds until another may be tried.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.params.number(b"retry-after")
    }
}

/// One value of Reason.
#[derive(Clone, Copy, Debug)]
pub struct Reason<'a> {
    /// `SIP`, `Q.850` or another token, as written.
    pub protocol: &'a [u8],
    /// `cause`, `text` and others.
    pub params: Params<'a>,
}

impl<'a> Reason<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// What breaks the grammar.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        word(value).map(|(protocol, params)| Self { protocol, params })
    }

    /// The cause, if the protocol is SIP: a status code.
    #[must_use]
    pub fn sip_cause(&self) -> Option<u16> {
        self.protocol
            .eq_ignore_ascii_case(b"SIP")
            .then(|| self.params.number(b"cause"))?
    }

    /// The text, for people.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'a, [u8]>> {
        self.params.text(b"text")
    }
}

/// One value of Warning.
#[derive(Clone, Copy, Debug)]
pub struct Warning<'a> {
    /// Three digits, 100 to 999.
    pub code: u16,
    /// Who warns: host and port, or a pseudonym.
    pub agent: &'a [u8],
    quoted: &'a [u8],
}

impl<'a> Warning<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// Other than three digits, an agent and a quoted text. [SIP-MSG-09]
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        let from = c.at();
        let bad = c.bad();
        let code: u16 = c.number()?;
        if c.since(from).len() != 3 || code < 100 || !c.space() {
            return Err(bad);
        }
        let agent = c.take(|b| !super::scan::is_space(b) && !matches!(b, b'"' | b',' | b';'));
        if agent.is_empty() || !c.space() {
            return Err(c.bad());
        }
        let quoted = c.quoted()?;
        c.end()?;
        Ok(Self {
            code,
            agent,
            quoted,
        })
    }

    /// The text, without quotes and backslashes.
    #[must_use]
    pub fn text(&self) -> Cow<'a, [u8]> {
        unquoted(self.quoted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events() {
        let event = Event::parse(b"reg ; id = 7").unwrap();
        assert_eq!((event.package, event.id()), (&b"reg"[..], Some(&b"7"[..])));
        let state =
            SubscriptionState::parse(b"Terminated;reason=noresource;retry-after=5;expires=0")
                .unwrap();
        assert!(state.is_terminated());
        assert_eq!(
            (state.reason(), state.retry_after(), state.expires()),
            (Some(&b"noresource"[..]), Some(5), Some(0))
        );
        assert!(
            !SubscriptionState::parse(b"active;expires=60")
                .unwrap()
                .is_terminated()
        );
        assert!(Event::parse(b"").is_err());
        assert!(SubscriptionState::parse(b"active,x").is_err());
    }

    #[test]
    fn reasons() {
        let reason = Reason::parse(b"SIP ;cause=200 ;text=\"Call completed elsewhere\"").unwrap();
        assert_eq!(reason.sip_cause(), Some(200));
        assert_eq!(
            reason.text().as_deref(),
            Some(&b"Call completed elsewhere"[..])
        );
        assert_eq!(Reason::parse(b"Q.850;cause=16").unwrap().sip_cause(), None);
        assert!(Reason::parse(b"SIP;cause=").is_err());
    }

    #[test]
    fn warnings() {
        // RFC 3261 §20.43: three digits, an agent, a quoted text.
        let warning =
            Warning::parse(b"399 h.example:5060 \"122 Function \\\"not\\\" allowed\"").unwrap();
        assert_eq!((warning.code, warning.agent), (399, &b"h.example:5060"[..]));
        assert_eq!(warning.text().as_ref(), b"122 Function \"not\" allowed");
        for bad in [
            "",
            "1812 overture \"In Progress\"",
            "99 a \"b\"",
            "099 a \"b\"",
            "399 a",
            "399 a b",
            "399 \"b\"",
            "399 a \"b",
            "399 a \"b\" c",
        ] {
            assert!(Warning::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
