//! What the reference model says when all is quiet: `kept`, `heard`, `one`, `leak`, `answered`, `final`, `ends`, `zero`.

use ringfork::time::Instant;

use super::{Book, Device, Plant, User};

/// What a device that lost is told.
const ELSEWHERE: &str = "Call completed elsewhere";

impl Book {
    /// Everything that can be said only when all is quiet; `left` is what the server still holds.
    pub(crate) fn close(&mut self, left: &[String]) {
        if self.plant == Some(Plant::Stay) {
            self.fail("zero", "a session, as planted".to_owned());
        }
        for l in left {
            self.fail("zero", l.clone());
        }
        self.plant_where_somebody_left();
        let (mut wrong, mut races) = (Vec::new(), 0);
        for (tid, c) in &self.tids {
            let u = &self.users[&c.user];
            let sent = &u.sent[&c.seq];
            // Reading may stop for a while (R3), and who leaves soon hears nothing any more.
            let gone = [u.ended, u.media_lost].into_iter().flatten().min();
            let wanted = !sent.reports.contains("Failure-Report: no")
                && !sent.reports.contains("partial")
                && !sent.aborted;
            if wanted && gone.is_none_or(|g| g.since(c.at).as_secs() >= 40) {
                wrong.push(format!(
                    "answered: user {} m{}: {tid} has no answer",
                    c.user, c.seq
                ));
            }
        }
        for (n, d) in &self.devices {
            if d.answered.is_some() && d.ended.is_none() {
                wrong.push(format!("ends: device {n} accepted, and was never told"));
            }
        }
        for (n, u) in &self.users {
            if u.invited && u.up.is_none() && u.refused.is_none() {
                wrong.push(format!("final: user {n}: the INVITE has no final answer"));
            }
            let acted: Vec<usize> = self
                .devices
                .iter()
                .filter(|(_, d)| {
                    d.user == *n
                        && d.wrote
                            .iter()
                            .any(|w| w.activity && w.acknowledged.is_some())
                })
                .map(|(i, _)| *i)
                .collect();
            for (seq, s) in &u.sent {
                let Some((200, at)) = s.answered else {
                    continue;
                };
                // A session that ended soon after has ended its promises with it (R3: the sender left, or lost his media).
                let ended = [u.ended, u.media_lost].into_iter().flatten().min();
                if ended.is_some_and(|e| e.since(at).as_secs() < 40) {
                    continue;
                }
                if s.got.is_empty() && s.reported.is_none() && !s.aborted {
                    wrong.push(format!(
                        "kept: user {n} m{seq}: answered 200, delivered to nobody, not reported"
                    ));
                }
            }
            for d in self.devices.values().filter(|d| d.user == *n) {
                for (w, at) in d.wrote.iter().filter_map(|w| Some((w, w.acknowledged?))) {
                    // The sender has to be there for some seconds more to hear it.
                    let gone = [u.ended, u.media_lost].into_iter().flatten().min();
                    if !u.heard.contains(&w.id) && gone.is_none_or(|g| g.since(at).as_secs() >= 5) {
                        wrong.push(format!(
                            "heard: user {n}: {} was acknowledged and never came",
                            w.id
                        ));
                    }
                }
                let order: Vec<usize> = d
                    .wrote
                    .iter()
                    .filter_map(|w| u.heard.iter().position(|h| h == &w.id))
                    .collect();
                if order.windows(2).any(|w| w[0] > w[1]) {
                    wrong.push(format!("heard: user {n}: out of order"));
                }
            }
            if !acted.is_empty() {
                // Who was gone by then is not counted.
                let settled = self
                    .devices
                    .values()
                    .filter(|d| d.user == *n)
                    .flat_map(|d| &d.wrote)
                    .filter(|w| w.activity)
                    .filter_map(|w| w.acknowledged)
                    .min();
                let standing = self
                    .devices
                    .iter()
                    .filter(|(_, d)| {
                        d.user == *n
                            && d.answered.is_some()
                            && d.ended.as_ref().is_none_or(|(at, why)| {
                                // Given up before, being too slow: its BYE may be lost, and its stream end later.
                                let slow = why.contains("Media connection lost")
                                    && settled.is_some_and(|s| at.since(s).as_secs() < 10);
                                // Unregistered, or left while it was being torn down: so is it with that.
                                let gone = ["Not registered", "left by itself"]
                                    .iter()
                                    .any(|w| why.contains(w))
                                    && settled.is_some_and(|s| at.since(s).as_secs() < 10);
                                !why.contains(ELSEWHERE) && !slow && !gone && settled < Some(*at)
                            })
                            && !d.media_lost
                    })
                    .count();
                if standing > 1 && !Self::over_before(u, settled) {
                    wrong.push(format!(
                        "one: user {n}: {standing} devices stand after activity of {acted:?}"
                    ));
                }
            }
            let heard = |d: &Device| {
                d.user == *n && (d.wrote.iter()).any(|w| w.activity && u.heard.contains(&w.id))
            };
            races += u64::from(self.devices.values().filter(|d| heard(d)).count() > 1);
            let winner = self.winner(*n, u);
            for (device, id) in u.late.iter().filter(|(d, _)| Some(*d) != winner) {
                wrong.push(format!(
                    "leak: device {device}: {id}, written after the sender had the activity message; {winner:?} has won"
                ));
            }
        }
        self.wrong.extend(wrong);
        self.races += races;
    }

    /// The device that stays after activity: of those that acted, and were not told that another did, the one that the sender
    /// heard first.
    fn winner(&self, user: usize, u: &User) -> Option<usize> {
        let stays = |d: &Device| {
            d.user == user && !(d.ended.as_ref()).is_some_and(|(_, why)| why.contains(ELSEWHERE))
        };
        u.heard.iter().find_map(|id| {
            let wrote = |d: &Device| d.wrote.iter().any(|w| w.activity && w.id == *id);
            let (n, _) = self.devices.iter().find(|(_, d)| stays(d) && wrote(d))?;
            Some(*n)
        })
    }

    /// Whether a session was over, or ending, before the activity that came at `settled`: the sender had left, or the server
    /// ended it since a device had left, which is for all of them (settled.md 14). Of such a session nothing is promised.
    fn over_before(u: &User, settled: Option<Instant>) -> bool {
        let by_sender = u.ended.is_some_and(|e| Some(e) <= settled);
        let by_device = u.dismissed && u.left.is_some_and(|l| Some(l) <= settled);
        u.activity_seen.is_none() || by_sender || by_device
    }

    /// Faults that a checker has to see also where a device has left.
    fn plant_where_somebody_left(&mut self) {
        for (n, u) in self.users.iter_mut().filter(|(_, u)| u.left.is_some()) {
            if self.plant == Some(Plant::LoseAndLeave) {
                for sent in u.sent.values_mut() {
                    sent.got.clear();
                }
            }
            if self.plant == Some(Plant::KeepAndLeave) {
                let devices = self.devices.values_mut().filter(|d| d.user == *n);
                for device in devices {
                    let told = device.ended.as_ref();
                    if told.is_some_and(|(_, why)| why.contains(ELSEWHERE)) {
                        device.ended = None;
                    }
                }
            }
        }
    }
}
