//! Values that count: CSeq, RAck, Session-Expires, Retry-After, delta-seconds; and Call-ID.

use super::{Malformed, Method, Params, scan::Cursor};
use crate::wire::uri::{Set, TOKEN};

/// The expiry that a malformed one counts as, in seconds (RFC 3261 §10.2.1.1).
pub const DELTA_DEFAULT: u32 = 3600;

/// delta-seconds, [`DELTA_DEFAULT`] if they are none that fits 32 bits.
pub(super) fn delta(value: &[u8]) -> u32 {
    crate::wire::uri::number(value).unwrap_or(DELTA_DEFAULT)
}

/// Timestamp (RFC 3261 §20.38): seconds, maybe with a fraction, maybe a delay behind them.
pub(super) fn is_timestamp(value: &[u8]) -> bool {
    let mut c = Cursor::new(value);
    let digit = |b: u8| b.is_ascii_digit();
    let seconds = |c: &mut Cursor<'_>| {
        let whole = !c.take(digit).is_empty();
        c.eat(b'.') && {
            c.take(digit);
            whole
        } || whole
    };
    let first = seconds(&mut c);
    if c.space() && !c.rest().is_empty() {
        // A delay may begin with its point.
        c.take(|b| digit(b) || b == b'.');
    }
    first && c.end().is_ok()
}

/// MIME-Version (RFC 3261 §20.24): two numbers and a point.
pub(super) fn is_version(value: &[u8]) -> bool {
    let mut parts = value.splitn(2, |b| *b == b'.');
    let mut part = || {
        let part = parts.next().unwrap_or_default();
        !part.is_empty() && part.iter().all(u8::is_ascii_digit)
    };
    part() && part()
}

/// `word` of RFC 3261 §25.1.
const WORD: Set = TOKEN.and(b"()<>:\\\"/[]?{}");

/// `word [ "@" word ]`. Characters pair with nothing: one quote is a character as any other (RFC 4475 §3.1.1.2).
pub(super) fn call_id(value: &[u8]) -> Result<&[u8], Malformed> {
    let mut c = Cursor::new(value);
    let word = |c: &mut Cursor<'_>| {
        if c.take(|b| WORD.has(b)).is_empty() {
            Err(c.bad())
        } else {
            Ok(())
        }
    };
    word(&mut c)?;
    if c.eat(b'@') {
        word(&mut c)?;
    }
    if c.rest().is_empty() {
        Ok(value)
    } else {
        Err(c.bad())
    }
}

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number; those of requests that we begin a dialog with stay below 2^31.
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Reads the value; leading zeros are fine.
    ///
    /// # Errors
    /// No number of 32 bits, no method behind it.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        let number = c.number()?;
        let method = method(&mut c)?;
        c.end()?;
        Ok(Self { number, method })
    }
}

fn method<'a>(c: &mut Cursor<'a>) -> Result<Method<'a>, Malformed> {
    if !c.space() {
        return Err(c.bad());
    }
    c.token().map(Method::of)
}

/// RAck (RFC 3262 §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RAck<'a> {
    /// RSeq of the response that it acknowledges.
    pub rseq: u32,
    /// CSeq of that response.
    pub cseq: CSeq<'a>,
}

impl<'a> RAck<'a> {
    /// Reads the value.
    ///
    /// # Errors
    /// Two numbers of 32 bits and a method are not there.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        let rseq = c.number()?;
        if !c.space() {
            return Err(c.bad());
        }
        let number = c.number()?;
        let method = method(&mut c)?;
        c.end()?;
        Ok(Self {
            rseq,
            cseq: CSeq { number, method },
        })
    }
}

/// Who refreshes a session (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// The client of the transaction.
    Uac,
    /// The server of the transaction.
    Uas,
}

/// Session-Expires (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// The interval in seconds.
    pub seconds: u32,
    /// Who refreshes, if it is said.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// Reads the value.
    ///
    /// # Errors
    /// No number of 32 bits, or a refresher that is neither.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        let seconds = c.number()?;
        let params = Params::read(&mut c)?;
        c.end()?;
        let refresher = match params
            .get(b"refresher")
            .map(|p| p.value.unwrap_or_default())
        {
            None => None,
            Some(who) if who.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
            Some(who) if who.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
            Some(_) => return Err(c.bad()),
        };
        Ok(Self { seconds, refresher })
    }

    /// Reads Min-SE or RSeq or another single number with parameters that say nothing.
    ///
    /// # Errors
    /// No number of 32 bits.
    pub fn parse_number(value: &[u8]) -> Result<u32, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        let number = c.number()?;
        Params::read(&mut c)?;
        c.end()?;
        Ok(number)
    }
}

/// Retry-After (RFC 3261 §20.33).
#[derive(Clone, Copy, Debug)]
pub struct RetryAfter<'a> {
    /// Seconds to wait.
    pub seconds: u32,
    /// `duration` and others.
    pub params: Params<'a>,
}

impl<'a> RetryAfter<'a> {
    /// Reads the value; a comment is passed over.
    ///
    /// # Errors
    /// No number of 32 bits, a comment without end, bad parameters.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        let seconds = c.number()?;
        c.space();
        if c.peek() == Some(b'(') {
            comment(&mut c)?;
        }
        let params = Params::read(&mut c)?;
        c.end()?;
        Ok(Self { seconds, params })
    }
}

/// Passes a comment; comments may hold comments.
fn comment(c: &mut Cursor<'_>) -> Result<(), Malformed> {
    let mut depth = 0u32;
    loop {
        match c.peek() {
            Some(b'(') => depth += 1,
            Some(b')') => depth -= 1,
            Some(b'\\') => c.skip(1),
            Some(_) => {}
            None => return Err(c.bad()),
        }
        c.skip(1);
        if depth == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers() {
        let cseq = CSeq::parse(b"0009\r\n  INVITE").unwrap();
        assert_eq!((cseq.number, cseq.method), (9, Method::Invite));
        assert_eq!(
            CSeq::parse(b"1 invite").unwrap().method,
            Method::Other(b"invite")
        );
        assert!(CSeq::parse(b"4294967295 A").is_ok());
        for bad in [
            "",
            "1",
            "1 ",
            "INVITE",
            "1INVITE",
            "4294967296 A",
            "-1 A",
            "1 A B",
            "1 A;x",
        ] {
            assert!(CSeq::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let rack = RAck::parse(b"776656 1 INVITE").unwrap();
        assert_eq!(
            (rack.rseq, rack.cseq.number, rack.cseq.method),
            (776_656, 1, Method::Invite)
        );
        assert!(RAck::parse(b"776656 INVITE").is_err());
    }

    #[test]
    fn session_timers() {
        let se = SessionExpires::parse(b"4000 ; refresher = UAC ;x").unwrap();
        assert_eq!((se.seconds, se.refresher), (4000, Some(Refresher::Uac)));
        assert_eq!(SessionExpires::parse(b"90").unwrap().refresher, None);
        assert_eq!(
            SessionExpires::parse(b"90;refresher=uas")
                .unwrap()
                .refresher,
            Some(Refresher::Uas)
        );
        for bad in [
            "",
            "x",
            "90;refresher",
            "90;refresher=me",
            "90 1",
            "99999999999",
        ] {
            assert!(SessionExpires::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(SessionExpires::parse_number(b"90;x=y"), Ok(90));
        assert!(SessionExpires::parse_number(b"").is_err());
    }

    #[test]
    fn when_to_try_again() {
        let retry = RetryAfter::parse(b"18000 (I'm (\\)) in a meeting);duration=3600").unwrap();
        assert_eq!(
            (retry.seconds, retry.params.number::<u32>(b"duration")),
            (18_000, Some(3600))
        );
        assert!(RetryAfter::parse(b"5 (").is_err());
        assert!(RetryAfter::parse(b"5 (\\").is_err());
        assert!(RetryAfter::parse(b"949302838503028349304023988").is_err());
    }

    #[test]
    fn a_call_id_is_words() {
        assert!(call_id(b"intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{").is_ok());
        for bad in ["", "a b", "a@", "@a", "a@b@c", "a,b", "a;b"] {
            assert!(call_id(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
