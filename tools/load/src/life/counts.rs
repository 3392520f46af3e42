//! What a round counts of its sessions' lives, beside the messages of the sender: what devices said, reports, leaks.

use crate::hist::Latency;

/// Notes that are kept; more say nothing new.
const KEPT: usize = 16;

/// Counts of one round.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// Messages that devices wrote, isComposing among them.
    pub(crate) said: u64,
    /// Of these, those that reached the sender, once each.
    pub(crate) heard: u64,
    /// Of these, those that were answered 200.
    pub(crate) said_answered: u64,
    /// And those that were answered otherwise.
    pub(crate) said_refused: u64,
    /// Success REPORTs that were asked for, and those that came.
    pub(crate) reports_asked: u64,
    pub(crate) reports_came: u64,
    /// isComposing among the sender's messages.
    pub(crate) composing: u64,
    /// Messages that the sender wrote after he had received the activity message and that reached another device.
    pub(crate) leaked: u64,
    /// Times at which nothing could be done because the session was not there any more.
    pub(crate) missed: u64,
    /// From the intended time of a device's message to the sender's read.
    pub(crate) reply: Latency,
    /// From the intended send time to the device's read, in sessions that do not stand all the time.
    pub(crate) in_new_sessions: Latency,
    /// What was lost where, for people.
    pub(crate) notes: Vec<String>,
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self {
            said: 0,
            heard: 0,
            said_answered: 0,
            said_refused: 0,
            reports_asked: 0,
            reports_came: 0,
            composing: 0,
            leaked: 0,
            missed: 0,
            reply: Latency::new(),
            in_new_sessions: Latency::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.said += other.said;
        self.heard += other.heard;
        self.said_answered += other.said_answered;
        self.said_refused += other.said_refused;
        self.reports_asked += other.reports_asked;
        self.reports_came += other.reports_came;
        self.composing += other.composing;
        self.leaked += other.leaked;
        self.missed += other.missed;
        self.reply.add(&other.reply);
        self.in_new_sessions.add(&other.in_new_sessions);
        for note in &other.notes {
            self.note(note.clone());
        }
    }

    /// Something that a person may want to read.
    pub(crate) fn note(&mut self, what: String) {
        if self.notes.len() < KEPT {
            self.notes.push(what);
        }
    }

    /// Whether all that devices said has been heard and answered, and all reports have come.
    pub(crate) fn is_complete(&self) -> bool {
        self.lost() == 0
            && self.unreported() == 0
            && self.said_answered + self.said_refused >= self.said
    }

    /// Messages of devices that never reached the sender.
    pub(crate) fn lost(&self) -> u64 {
        self.said.saturating_sub(self.heard)
    }

    /// Success REPORTs that never came.
    pub(crate) fn unreported(&self) -> u64 {
        self.reports_asked.saturating_sub(self.reports_came)
    }
}
