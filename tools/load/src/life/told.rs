//! What lives add to a report of messages: leaks, replies, reports, and the server's own view of teardown.

use serde_json::{Value, json};

use super::{census::Census, counts::Counts};
use crate::{
    baseline::Rounds,
    metrics, outcome,
    report::{Check, LAG_P99_US_MAX, Report},
    round::Load,
    scenario::Scenario,
    setting::Setting,
    tally::Tally,
    trouble::Trouble,
};

/// Sums up rounds and calls, and ends the report.
pub(crate) fn conclude(
    scenario: &Scenario,
    setting: &Setting,
    tallies: Vec<Tally>,
    load: Load,
    census: &Census,
    report: &mut Report,
) -> Result<(), Trouble> {
    let rounds = Rounds {
        server: tallies,
        ..Rounds::default()
    };
    outcome::of_rounds(setting, load, &rounds, report);
    lives(&rounds.server, report);
    census.tell(report);
    report.checks.extend(census.checks());
    if !census.lag.is_empty() {
        report.checks.push(Check::at_most(
            "signalling_lag_p99_us",
            census.lag.us(0.99),
            LAG_P99_US_MAX,
        ));
    }
    outcome::conclude(scenario, setting, &outcome::in_order(&rounds), report)
}

fn lives(rounds: &[Tally], report: &mut Report) {
    let mut life = Counts::new();
    for tally in rounds {
        life.add(&tally.life);
    }
    report.field("leaked_after_activity", json!(life.leaked));
    if life.said > 0 {
        report.field("replies", json!(life.said));
        report.field("replies_heard", json!(life.heard));
        report.times("reply_us", &life.reply);
    }
    if life.reports_asked > 0 {
        report.field("reports_asked", json!(life.reports_asked));
        report.field("reports_came", json!(life.reports_came));
    }
    if life.composing > 0 {
        report.field("composing", json!(life.composing));
    }
    for note in &life.notes {
        report.line(format!("found: {note}"));
    }
    report.times("delivery_in_new_sessions_us", &life.in_new_sessions);
    report.checks.extend([
        Check::none("leaked_after_activity", life.leaked),
        Check::none("replies_lost", life.lost()),
        Check::none("replies_refused", life.said_refused),
        Check::none("reports_missing", life.unreported()),
        Check::none("deeds_in_no_session", life.missed),
    ]);
}

/// The server's own histogram of the time from first activity to the last BYE sent: how many took up to how many
/// microseconds, between two looks at its `/metrics`.
pub(crate) fn server_teardown(before: Option<&str>, after: Option<&str>, report: &mut Report) {
    const NAME: &str = "ringfork_teardown_seconds_bucket";
    let (Some(before), Some(after)) = (before, after) else {
        return;
    };
    let before = metrics::buckets(before, NAME);
    let mut below = 0;
    let mut buckets = Vec::new();
    for (bound, n) in metrics::buckets(after, NAME) {
        let was = before.iter().find(|(b, _)| *b == bound).map_or(0, |b| b.1);
        let n = n.saturating_sub(was);
        if n > below {
            buckets.push(json!({"up_to_us": bound, "count": n - below}));
        }
        below = below.max(n);
    }
    if !buckets.is_empty() {
        let text: Vec<String> = buckets
            .iter()
            .map(|b| match b["up_to_us"].as_u64() {
                Some(bound) => format!("{} up to {bound} us", b["count"]),
                None => format!("{} above", b["count"]),
            })
            .collect();
        report.line(format!("server's teardown_seconds: {}", text.join(", ")));
        report.field("server_teardown", Value::Array(buckets));
    }
}
