//! Reliable provisional responses (RFC 3262): RSeq, RAck, PRACK. One value a leg and dialog; never copied between legs.
//! [SIP-DLG-07]

use std::time::Duration;

use rand::Rng;

use super::retransmit::{Due, Repeat};
use crate::{
    time::Instant,
    wire::sip::{Message, Name, RAck, SessionExpires, Start},
};

/// What a provisional response to an INVITE of ours is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An ordinary one.
    Unreliable,
    /// In order: act on it, and send a PRACK with this RAck line (with CRLF).
    Prack(String),
    /// One that was acknowledged already, or one before its turn: neither act on it nor acknowledge it (RFC 3262 §4).
    Ignore,
}

/// Our side where we sent the INVITE: the RSeq numbers of one dialog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    last: Option<u32>,
}

impl Received {
    /// Judges a provisional response.
    pub fn judge(&mut self, response: &Message<'_>) -> Verdict {
        let Start::Response { code, .. } = response.start() else {
            return Verdict::Ignore;
        };
        let reliable = requires_100rel(response);
        if !(101..200).contains(&code) || !reliable {
            return Verdict::Unreliable;
        }
        let rseq = response.one(Name::RSeq, SessionExpires::parse_number);
        let (Ok(Some(rseq)), Ok(cseq)) = (rseq, response.cseq()) else {
            return Verdict::Ignore;
        };
        if self
            .last
            .is_some_and(|last| last.checked_add(1) != Some(rseq))
        {
            return Verdict::Ignore;
        }
        self.last = Some(rseq);
        let method = cseq.method.as_bytes().escape_ascii();
        Verdict::Prack(format!("RAck: {rseq} {} {method}\r\n", cseq.number))
    }
}

/// Our side where they sent the INVITE: the one reliable response that waits for its PRACK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The RSeq of the last one; none yet: 0.
    rseq: u32,
    waiting: Option<(u32, Repeat)>,
}

impl Sent {
    /// The headers of a reliable response to the INVITE with this CSeq number (`Require` and `RSeq`, each with CRLF), which
    /// runs from `now`. `None` while another waits for its PRACK (RFC 3262 §3).
    pub fn begin(
        &mut self,
        now: Instant,
        t1: Duration,
        cseq: u32,
        rng: &mut impl Rng,
    ) -> Option<String> {
        if self.waiting.is_some() {
            return None;
        }
        self.rseq = match self.rseq {
            // From 1 to 2^31 - 1, by chance.
            0 => (rng.next_u32() >> 1).max(1),
            last => last.wrapping_add(1).max(1),
        };
        self.waiting = Some((cseq, Repeat::provisional(now, t1)));
        Some(format!("Require: 100rel\r\nRSeq: {}\r\n", self.rseq))
    }

    /// Whether one waits for its PRACK: a 2xx with an answer waits for that too.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// A PRACK: it is answered 200 where it names the response that waits.
    ///
    /// # Errors
    /// 481: it names another; 400: it names none (RFC 3262 §3).
    pub fn acknowledge(&mut self, prack: &Message<'_>) -> Result<(), u16> {
        let rack = prack.one(Name::RAck, RAck::parse).ok().flatten();
        let rack = rack.ok_or(400u16)?;
        match self.waiting {
            Some((cseq, _)) if rack.rseq == self.rseq && rack.cseq.number == cseq => {
                self.waiting = None;
                Ok(())
            }
            Some(_) | None => Err(481),
        }
    }

    /// When to ask next.
    #[must_use]
    pub fn at(&self) -> Option<Instant> {
        self.waiting.map(|(_, repeat)| repeat.at())
    }

    /// What is due: send the response again; or the INVITE is refused with a 5xx, for nobody acknowledged it in 64·T1.
    pub fn poll(&mut self, now: Instant) -> Due {
        let Some((_, repeat)) = &mut self.waiting else {
            return Due::Wait;
        };
        let due = repeat.poll(now);
        if due == Due::GiveUp {
            self.waiting = None;
        }
        due
    }
}

/// Whether a message requires 100rel: of an INVITE, its provisional responses must be reliable.
#[must_use]
pub fn requires_100rel(message: &Message<'_>) -> bool {
    message
        .tokens(Name::Require)
        .any(|t| t.eq_ignore_ascii_case(b"100rel"))
}
