//! What the reference model says when all is quiet: `kept`, `heard`, `one`, `answered`, `final`, `ends`, `zero`.

use super::{Book, Plant};

impl Book {
    /// Everything that can be said only when all is quiet; `left` is what the server still holds.
    pub(crate) fn close(&mut self, left: &[String]) {
        if self.plant == Some(Plant::Stay) {
            self.fail("zero", "a session, as planted".to_owned());
        }
        for l in left {
            self.fail("zero", l.clone());
        }
        let mut wrong = Vec::new();
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
                if ended.is_some_and(|e| e.since(at).as_secs() < 40) || u.someone_left {
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
                                !why.contains("Call completed elsewhere")
                                    && !slow
                                    && settled < Some(*at)
                            })
                            && !d.media_lost
                    })
                    .count();
                // Nothing is promised of a session that the sender had left by then.
                let left = u.ended.is_some_and(|e| Some(e) <= settled);
                let ended_before = u.activity_seen.is_none() || left;
                if standing > 1 && !ended_before && !u.someone_left {
                    wrong.push(format!(
                        "one: user {n}: {standing} devices stand after activity of {acted:?}"
                    ));
                }
            }
        }
        self.wrong.extend(wrong);
    }
}
