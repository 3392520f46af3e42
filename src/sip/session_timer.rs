//! Session timers (RFC 4028): both sides agree how long a session lives without a sign of life, and who gives one.
//!
//! The law: each leg has its own interval; it is agreed anew by each INVITE or UPDATE and its 2xx. [TIMER-07]

use std::time::Duration;

use crate::{
    time::Instant,
    wire::sip::{Message, Name, Refresher, SessionExpires},
};

/// The smallest interval that may be asked for, in seconds (RFC 4028 §4).
pub const MIN_SE_S: u32 = 90;

/// What we ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Session-Expires, in seconds; never below `min_se_s`.
    pub interval_s: u32,
    /// Min-SE, in seconds; at least 90.
    pub min_se_s: u32,
}

/// 422 (Session Interval Too Small).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// For its Min-SE, in seconds.
    pub min_se_s: u32,
}

/// What a 2xx of ours says, and what was agreed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Session-Expires and Require of the 2xx, each with CRLF; empty where no timer runs.
    pub headers: String,
    /// The timer, if one runs.
    pub timer: Option<SessionTimer>,
}

impl Wish {
    /// `interval` and our own minimum, brought within the RFC's bounds.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        let seconds = u32::try_from(interval.as_secs()).unwrap_or(u32::MAX);
        Self {
            interval_s: seconds.max(MIN_SE_S),
            min_se_s: MIN_SE_S,
        }
    }

    /// Session-Expires and Min-SE of an initial INVITE of ours, each with CRLF. `Supported: timer` is the caller's, who
    /// supports other things too. [TIMER-01]
    #[must_use]
    pub fn headers(&self) -> String {
        format!(
            "Session-Expires: {}\r\nMin-SE: {}\r\n",
            self.interval_s, self.min_se_s
        )
    }

    /// What a 422 asks for: the next try has the same Call-ID and the next CSeq. `false`: it asks for nothing larger, so
    /// another try would fail alike. [TIMER-03]
    #[must_use]
    pub fn raise(&mut self, refusal: &Message<'_>) -> bool {
        let Some(min) = min_se(refusal).filter(|min| *min > self.min_se_s) else {
            return false;
        };
        self.min_se_s = min;
        self.interval_s = self.interval_s.max(min);
        true
    }

    /// What a 2xx to a request of ours has agreed (RFC 4028 §7.2). Without Session-Expires in it no timer runs, unless
    /// `alone`: then we refresh by ourselves, to learn whether the peer lives. [TIMER-07]
    #[must_use]
    pub fn accepted(
        &self,
        now: Instant,
        success: &Message<'_>,
        alone: bool,
    ) -> Option<SessionTimer> {
        match success.session_expires() {
            Ok(Some(agreed)) => {
                let ours = agreed.refresher != Some(Refresher::Uas);
                Some(SessionTimer::new(now, agreed.seconds, ours))
            }
            Ok(None) | Err(_) => alone.then(|| SessionTimer::new(now, self.interval_s, true)),
        }
    }

    /// Answers a request of theirs: the headers of our 2xx by table 2 of RFC 4028. Not above what the request asks, not below
    /// its Min-SE; where the caller supports timers and names nobody, the caller refreshes. [TIMER-04]
    ///
    /// # Errors
    /// Its interval is below our minimum, and it would understand a 422. [TIMER-02]
    pub fn answer(&self, now: Instant, request: &Message<'_>) -> Result<Agreed, TooSmall> {
        let supports = request
            .tokens(Name::Supported)
            .chain(request.tokens(Name::Require))
            .any(|t| t.eq_ignore_ascii_case(b"timer"));
        let asked = request.session_expires().ok().flatten();
        if let Some(asked) = asked
            && supports
            && asked.seconds < self.min_se_s
        {
            return Err(TooSmall {
                min_se_s: self.min_se_s,
            });
        }
        let their_min = min_se(request).unwrap_or(0).max(MIN_SE_S);
        let seconds = match asked {
            // Never increased, also where it is too small and its sender would not understand a 422.
            Some(asked) => asked.seconds.min(self.interval_s.max(their_min)),
            None if supports => self.interval_s.max(their_min),
            None => {
                return Ok(Agreed {
                    headers: String::new(),
                    timer: None,
                });
            }
        };
        let refresher = match (supports, asked.and_then(|a| a.refresher)) {
            (false, _) | (true, Some(Refresher::Uas)) => Refresher::Uas,
            (true, Some(Refresher::Uac) | None) => Refresher::Uac,
        };
        let ours = refresher == Refresher::Uas;
        let mut headers = format!(
            "Session-Expires: {seconds};refresher={}\r\n",
            if ours { "uas" } else { "uac" }
        );
        if supports {
            headers.push_str("Require: timer\r\n");
        }
        Ok(Agreed {
            headers,
            timer: Some(SessionTimer::new(now, seconds, ours)),
        })
    }
}

/// A running session timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimer {
    interval_s: u32,
    ours: bool,
    since: Instant,
    asked: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Wait,
    /// Send a refresh: UPDATE where it is allowed, else a re-INVITE with the session description unchanged. [TIMER-05]
    Refresh,
    /// No sign of life: BYE. [TIMER-06]
    End,
}

impl SessionTimer {
    fn new(now: Instant, seconds: u32, ours: bool) -> Self {
        Self {
            // A peer that asks for less than anybody may is held to what it may.
            interval_s: seconds.max(1),
            ours,
            since: now,
            asked: false,
        }
    }

    /// Whether we refresh.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.ours
    }

    /// The interval that was agreed.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.interval_s))
    }

    /// Session-Expires of a refresh of ours, with CRLF: the same interval, the same side refreshing (RFC 4028 §7.4).
    #[must_use]
    pub fn refresh_headers(&self) -> String {
        let who = if self.ours { "uac" } else { "uas" };
        format!("Session-Expires: {};refresher={who}\r\n", self.interval_s)
    }

    /// When to ask next.
    #[must_use]
    pub fn at(&self) -> Instant {
        if self.ours && !self.asked {
            self.since + self.interval() / 2
        } else {
            self.end()
        }
    }

    /// What is due `now`. `Refresh` is said once; the refresh's 2xx makes a new timer.
    pub fn poll(&mut self, now: Instant) -> Due {
        if now >= self.end() {
            return Due::End;
        }
        if now < self.at() {
            return Due::Wait;
        }
        self.asked = true;
        Due::Refresh
    }

    /// The smaller of 32 s and a third of the interval before it ends (RFC 4028 §10).
    fn end(&self) -> Instant {
        let early = (self.interval() / 3).min(Duration::from_secs(32));
        self.since + (self.interval() - early)
    }
}

/// Min-SE, in seconds.
fn min_se(message: &Message<'_>) -> Option<u32> {
    message
        .one(Name::MinSe, SessionExpires::parse_number)
        .ok()
        .flatten()
}
