//! The reference model and its checkers: who wrote what, who got it, who was promised what.
//!
//! It knows no SIP and no MSRP: it hears from the peers what they did and saw, and says what was broken. Checkers:
//! `whole` (a delivered message is the one that was written), `once` (a leg gets it once), `order` (a leg gets a sender's
//! messages in his order, where one ended before the other began), `leak` (nothing that the sender wrote after he had the
//! activity message reaches another device, settled.md 12), `kept` (what was answered 200 was delivered or reported), `heard`
//! (what a device was told 200 for reaches the sender once, in its order), `one` (after activity one device stays), `answered`
//! (each SEND that wants an answer has one), `final` (each INVITE has its final answer), `ends` (whoever accepted is told when
//! it is over), `zero` (nothing is left).

#[path = "verdict.rs"]
mod verdict;

use std::collections::BTreeMap;

use ringfork::time::Instant;

use crate::{peer::Kind, sender::Line, text::Sip};

/// A fault that the lab puts into what it reports, to show that a checker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// A delivered byte is another.
    Alter,
    /// A delivery is heard twice.
    Double,
    /// Two deliveries of a leg change places.
    Swap,
    /// After activity a message still goes to a device that was torn down.
    Leak,
    /// The deliveries of one message are lost, its 200 stays.
    Lose,
    /// What a device wrote does not reach the sender.
    Deafen,
    /// A torn-down device is not told.
    Keep,
    /// A session stays in a table.
    Stay,
    /// The answers to a sender's SENDs are lost.
    Mute,
    /// The final answer to an INVITE is lost.
    Ignore,
    /// A device's BYE is lost.
    Orphan,
    /// After two devices were active a message still goes to the one that lost.
    LeakToLoser,
    /// As `Lose`, and a device leaves after that.
    LoseAndLeave,
    /// As `Keep`, and another device leaves after that.
    KeepAndLeave,
}

#[derive(Debug)]
struct Sent {
    whole: Vec<u8>,
    at: Instant,
    reports: &'static str,
    aborted: bool,
    /// When it was begun, and its last chunk was written, as numbers that grow.
    begun: u64,
    done: Option<u64>,
    answered: Option<(u16, Instant)>,
    reported: Option<Instant>,
    /// Devices that got all of it, and that said so.
    got: Vec<usize>,
    took: bool,
}

#[derive(Debug, Default)]
struct User {
    sent: BTreeMap<usize, Sent>,
    /// When the sender got the first activity message.
    activity_seen: Option<Instant>,
    invited: bool,
    up: Option<Instant>,
    ended: Option<Instant>,
    media_lost: Option<Instant>,
    refused: Option<u16>,
    /// What devices wrote that the sender got, in order: by message id.
    heard: Vec<String>,
    /// When the first device left, which ends the session for all (settled.md 14).
    left: Option<Instant>,
    /// The server has ended the sender's session.
    dismissed: bool,
    /// Deliveries of what the sender wrote after he had the activity message: device and message.
    late: Vec<(usize, String)>,
}

#[derive(Debug, Default)]
struct Device {
    user: usize,
    answered: Option<Instant>,
    ended: Option<(Instant, String)>,
    media_lost: bool,
    /// The message that it has got and that was begun last.
    last: Option<(u64, usize)>,
    wrote: Vec<Wrote>,
    got: u32,
}

#[derive(Debug)]
struct Wrote {
    id: String,
    body: Vec<u8>,
    tid: String,
    activity: bool,
    /// When the server answered it 200.
    acknowledged: Option<Instant>,
}

/// A SEND of a sender without an answer.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    user: usize,
    seq: usize,
    last: bool,
    at: Instant,
}

/// The model.
#[derive(Debug, Default)]
pub(crate) struct Book {
    users: BTreeMap<usize, User>,
    devices: BTreeMap<usize, Device>,
    tids: BTreeMap<String, Chunk>,
    /// Begins and ends of messages so far.
    marks: u64,
    pub(crate) plant: Option<Plant>,
    planted: bool,
    held_back: Option<(usize, usize, String, Vec<u8>)>,
    pub(crate) wrong: Vec<String>,
    pub(crate) deliveries: u64,
    pub(crate) activities: u64,
    /// Sessions in which more than one device was active before it was torn down.
    pub(crate) races: u64,
}

impl Book {
    pub(crate) fn new(plant: Option<Plant>) -> Self {
        Self {
            plant,
            ..Self::default()
        }
    }

    fn fail(&mut self, checker: &str, what: String) {
        self.wrong.push(format!("{checker}: {what}"));
    }

    fn plants(&mut self, p: Plant) -> bool {
        self.plant == Some(p) && !std::mem::replace(&mut self.planted, true)
    }

    pub(crate) fn add_device(&mut self, device: usize, user: usize) {
        self.devices.insert(
            device,
            Device {
                user,
                ..Device::default()
            },
        );
        self.users.entry(user).or_default();
    }

    // What the sender did and saw.

    pub(crate) fn sent(
        &mut self,
        user: usize,
        seq: usize,
        _id: &str,
        whole: &[u8],
        line: &Line,
        now: Instant,
    ) {
        self.marks += 1;
        self.users.entry(user).or_default().sent.insert(
            seq,
            Sent {
                whole: whole.to_vec(),
                at: now,
                reports: line.reports,
                aborted: line.aborted,
                begun: self.marks,
                done: None,
                answered: None,
                reported: None,
                got: Vec::new(),
                took: false,
            },
        );
    }

    pub(crate) fn frame_sent(
        &mut self,
        tid: &str,
        user: usize,
        seq: usize,
        last: bool,
        at: Instant,
    ) {
        let chunk = Chunk {
            user,
            seq,
            last,
            at,
        };
        self.tids.insert(tid.to_owned(), chunk);
        if last && let Some(sent) = self.users.entry(user).or_default().sent.get_mut(&seq) {
            self.marks += 1;
            sent.done = Some(self.marks);
        }
    }

    pub(crate) fn answered(&mut self, tid: &str, code: u16, now: Instant) {
        if self.plant == Some(Plant::Mute) {
            return;
        }
        let Some(Chunk {
            user, seq, last, ..
        }) = self.tids.remove(tid)
        else {
            if tid.starts_with("snd") {
                self.fail("once", format!("{tid}: answered twice"));
            }
            return;
        };
        let Some(sent) = self.users.entry(user).or_default().sent.get_mut(&seq) else {
            return;
        };
        if sent.reports.contains("Failure-Report: no") {
            self.fail(
                "kept",
                format!("user {user}: a SEND with Failure-Report: no was answered {code}"),
            );
        } else if last || code != 200 {
            // The first failure stands: a later chunk's answer makes no promise any more.
            let failed = sent.answered.is_some_and(|(c, _)| c != 200);
            if !failed {
                sent.answered = Some((code, now));
            }
        }
    }

    pub(crate) fn reported(&mut self, user: usize, id: &str, status: &str, now: Instant) {
        let Some(seq) = sequence(id) else { return };
        if let Some(sent) = self.users.entry(user).or_default().sent.get_mut(&seq) {
            if status.starts_with("000 200") {
                if !sent.reports.contains("Success-Report: yes") {
                    self.fail(
                        "kept",
                        format!("user {user} m{seq}: a success report nobody asked for"),
                    );
                }
            } else {
                sent.reported = Some(now);
            }
        }
    }

    pub(crate) fn sender_invited(&mut self, user: usize) {
        self.users.entry(user).or_default().invited = true;
    }

    pub(crate) fn sender_up(&mut self, user: usize, now: Instant) {
        if self.plants(Plant::Ignore) {
            return;
        }
        self.users.entry(user).or_default().up = Some(now);
    }

    pub(crate) fn sender_refused(&mut self, user: usize, code: u16) {
        self.users.entry(user).or_default().refused = Some(code);
    }

    pub(crate) fn sender_ended(&mut self, user: usize, now: Instant) {
        self.users.entry(user).or_default().ended.get_or_insert(now);
    }

    pub(crate) fn sender_dismissed(&mut self, user: usize) {
        self.users.entry(user).or_default().dismissed = true;
    }

    pub(crate) fn sender_media_lost(&mut self, user: usize, now: Instant) {
        self.users
            .entry(user)
            .or_default()
            .media_lost
            .get_or_insert(now);
    }

    pub(crate) fn sender_got(&mut self, user: usize, id: &str, body: &[u8], now: Instant) {
        let found = self
            .devices
            .values()
            .flat_map(|d| &d.wrote)
            .find(|w| w.id == id)
            .map(|w| (w.body == body, w.activity));
        match found {
            None => self.fail(
                "whole",
                format!("user {user}: {id} was written by no device"),
            ),
            Some((false, _)) => self.fail("whole", format!("user {user}: {id} arrived altered")),
            Some((true, activity)) => {
                if self.plants(Plant::Deafen) {
                    return;
                }
                let u = self.users.entry(user).or_default();
                if u.heard.iter().any(|h| h == id) {
                    // What was not acknowledged comes again over the connection that takes the lost one's place.
                    if u.media_lost.is_some() {
                        return;
                    }
                    self.fail("heard", format!("user {user}: {id} twice"));
                    return;
                }
                u.heard.push(id.to_owned());
                if activity {
                    u.activity_seen.get_or_insert(now);
                    self.activities += 1;
                }
            }
        }
    }

    // What the devices did and saw.

    pub(crate) fn device_invited(&mut self, device: usize, invite: &Sip) {
        for header in [
            "Call-ID",
            "From",
            "To",
            "Contact",
            "Max-Forwards",
            "User-Agent",
        ] {
            if invite.get(header).is_empty() {
                self.fail(
                    "whole",
                    format!("device {device}: an INVITE without {header}"),
                );
            }
        }
        if invite.get("Call-ID").starts_with("call") {
            self.fail(
                "whole",
                format!("device {device}: the sender's Call-ID leaked"),
            );
        }
    }

    pub(crate) fn device_answered(&mut self, device: usize, now: Instant) {
        self.devices
            .entry(device)
            .or_default()
            .answered
            .get_or_insert(now);
    }

    pub(crate) fn device_ended(&mut self, device: usize, now: Instant, reason: &str) {
        if reason.contains("Call completed elsewhere") && self.plants(Plant::Keep) {
            return;
        }
        if self.plants(Plant::Orphan) {
            return;
        }
        self.devices
            .entry(device)
            .or_default()
            .ended
            .get_or_insert((now, reason.to_owned()));
    }

    pub(crate) fn device_left(&mut self, user: usize, now: Instant) {
        let user = self.users.entry(user).or_default();
        user.left.get_or_insert(now);
    }

    pub(crate) fn device_invited_again(&mut self, device: usize) {
        self.fail(
            "once",
            format!("device {device}: invited twice to one session"),
        );
    }

    pub(crate) fn device_media_lost(&mut self, device: usize) {
        self.devices.entry(device).or_default().media_lost = true;
    }

    pub(crate) fn delivered(
        &mut self,
        device: usize,
        user: usize,
        id: &str,
        whole: &[u8],
        now: Instant,
    ) {
        if self.plants(Plant::Alter) {
            let mut other = whole.to_vec();
            if let Some(b) = other.last_mut() {
                *b ^= 1;
            }
            return self.deliver(device, user, id, &other, now);
        }
        if self.plants(Plant::Double) {
            self.deliver(device, user, id, whole, now);
        }
        if self.plant == Some(Plant::Swap) {
            match self.held_back.take() {
                None if !self.planted => {
                    self.held_back = Some((device, user, id.to_owned(), whole.to_vec()));
                    return;
                }
                Some((d, u, i, w)) if d == device => {
                    self.planted = true;
                    self.deliver(device, user, id, whole, now);
                    return self.deliver(d, u, &i, &w, now);
                }
                other => self.held_back = other,
            }
        }
        if self.plant == Some(Plant::Lose) && sequence(id) == Some(0) {
            return;
        }
        self.deliver(device, user, id, whole, now);
        let seen = self.users[&user].activity_seen;
        let to_loser = self.plant == Some(Plant::LeakToLoser);
        if (to_loser || self.plant == Some(Plant::Leak))
            && seen.is_some()
            && let Some(other) = self
                .devices
                .iter()
                .find(|(d, v)| {
                    let acted = v.wrote.iter().any(|w| w.activity);
                    **d != device && v.user == user && v.answered.is_some() && acted == to_loser
                })
                .map(|(d, _)| *d)
        {
            self.deliver(other, user, id, whole, now);
        }
    }

    fn deliver(&mut self, device: usize, user: usize, id: &str, whole: &[u8], _now: Instant) {
        self.deliveries += 1;
        let Some(seq) = sequence(id) else {
            return self.fail(
                "whole",
                format!("device {device}: {id} was written by nobody"),
            );
        };
        if !id.starts_with(&format!("u{user}m")) {
            return self.fail(
                "whole",
                format!("device {device} of user {user}: {id} crossed from another session"),
            );
        }
        let seen = self.users.entry(user).or_default().activity_seen;
        let Some(sent) = self.users.entry(user).or_default().sent.get_mut(&seq) else {
            return self.fail("whole", format!("device {device}: {id} was not sent yet"));
        };
        if sent.whole != whole {
            let (a, b) = (sent.whole.len(), whole.len());
            return self.fail(
                "whole",
                format!("device {device}: {id} has {b} bytes, was written with {a}, or differs"),
            );
        }
        if sent.aborted {
            return self.fail(
                "whole",
                format!("device {device}: {id} was aborted by the sender, and delivered"),
            );
        }
        if sent.got.contains(&device) {
            return self.fail("once", format!("device {device}: {id} twice"));
        }
        sent.got.push(device);
        let (at, begun) = (sent.at, sent.begun);
        let Some(done) = sent.done else {
            return self.fail(
                "order",
                format!("device {device}: {id} before its end was written"),
            );
        };
        let d = self.devices.entry(device).or_default();
        d.got += 1;
        if let Some((_, other)) = d.last.filter(|(before, _)| *before > done) {
            return self.fail("order", format!("device {device}: m{seq} after m{other}"));
        }
        d.last = d.last.max(Some((begun, seq)));
        // Whether it is a leak is said in the end: who has won is known only then.
        if seen.is_some_and(|t| at > t) {
            let late = (device, id.to_owned());
            self.users.entry(user).or_default().late.push(late);
        }
    }

    pub(crate) fn device_took(&mut self, device: usize, id: &str) {
        let user = self.devices.entry(device).or_default().user;
        if let Some(sent) =
            sequence(id).and_then(|s| self.users.entry(user).or_default().sent.get_mut(&s))
        {
            sent.took = true;
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "a line of the log, not an interface"
    )]
    pub(crate) fn device_wrote(
        &mut self,
        device: usize,
        user: usize,
        id: &str,
        body: &[u8],
        kind: Kind,
        tid: &str,
        _now: Instant,
    ) {
        let _ = user;
        self.devices.entry(device).or_default().wrote.push(Wrote {
            id: id.to_owned(),
            body: body.to_vec(),
            tid: tid.to_owned(),
            activity: kind.is_activity(),
            acknowledged: None,
        });
    }

    pub(crate) fn device_acknowledged(&mut self, device: usize, tid: &str, now: Instant) {
        if let Some(w) = self
            .devices
            .entry(device)
            .or_default()
            .wrote
            .iter_mut()
            .find(|w| w.tid == tid)
        {
            w.acknowledged = Some(now);
        }
    }
}

/// The number in `u1m7`.
fn sequence(id: &str) -> Option<usize> {
    id.split_once('m').and_then(|(_, n)| n.parse().ok())
}
