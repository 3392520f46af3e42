//! From rounds to a report: what they add up to, what is checked of it, and the record of each.

use serde_json::{Map, Value, json};

use crate::{
    baseline::{self, Rounds},
    hdr_log, html, record,
    report::{Check, Report, SEND_LAG, checks_of, round3},
    round::Load,
    scenario::Scenario,
    setting::Setting,
    stage::Who,
    tails,
    tally::{Tally, as_f64},
    trouble::Trouble,
};

/// Sums up rounds of one load.
pub(crate) fn of_rounds(setting: &Setting, load: Load, rounds: &Rounds, report: &mut Report) {
    let mut all = Tally::new(0..0);
    for (i, tally) in rounds.server.iter().enumerate() {
        if i == 0 {
            (all.own_cpu_ns, all.server_cpu_ns) = (Some(0), Some(0));
        }
        all.add(tally);
    }
    report.messages(&all, load);
    let each: Vec<&Tally> = rounds.server.iter().collect();
    tails::tell(&each, report);
    let mut server = Map::new();
    if let Some(cpu) = all.server_cpu_per_delivery() {
        server.insert("cpu_ns_per_delivery".to_owned(), round3(cpu));
        report.line(format!("server    {cpu:.0} ns CPU a delivery"));
    }
    if let Some(rss) = report.rss {
        server.insert("rss_bytes".to_owned(), json!(rss));
    }
    if let Some(calls) = report.ring_calls
        && all.delivered > 0
    {
        let each = as_f64(calls) / as_f64(all.delivered);
        server.insert("system_calls_per_delivery".to_owned(), json!(each));
        report.line(format!(
            "server    {each:.3} system calls of its rings a delivery"
        ));
    }
    if !server.is_empty() {
        report.field("server", Value::Object(server));
    }
    let mut checks = checks_of(&all, load);
    if !rounds.forwarder.is_empty() {
        report.field("baseline", rounds.json());
        for line in rounds.lines() {
            report.line(line);
        }
        if let Some(min) = setting.ratio_min {
            checks.push(Check::at_least("ratio", rounds.ratio(), min));
        }
        let wrong = rounds.forwarder.iter().filter(|t| is_wrong(t, load));
        checks.push(Check::none(
            "baseline_rounds_with_faults",
            wrong.count() as u64,
        ));
    }
    checks.append(&mut report.checks);
    report.checks = checks;
}

/// Whether a round of the baseline is none. One that the machine disturbed is left out of tails anyway: that its sends were late,
/// too, spoils no other.
fn is_wrong(round: &Tally, load: Load) -> bool {
    let disturbed = tails::is_marked(round);
    let is_met = |c: &Check| c.met || (disturbed && c.name == SEND_LAG);
    !checks_of(round, load).iter().all(is_met)
}

/// The end of every scenario: its objectives are held against what the report has, and what is to be kept is written.
/// `rounds` are in the order in which they ran.
pub(crate) fn conclude(
    scenario: &Scenario,
    setting: &Setting,
    rounds: &[(Who, &Tally)],
    report: &mut Report,
) -> Result<(), Trouble> {
    report.judge(&scenario.objectives);
    if let Some(path) = &setting.hdr {
        hdr_log::write(path, rounds)?;
    }
    if setting.record.is_none() && setting.page.is_none() {
        return Ok(());
    }
    let rounds: Vec<Value> = rounds
        .iter()
        .map(|(who, t)| json!({"who": who.name(), "round": baseline::round_in_full(t)}))
        .collect();
    let record = record::of(&record::without_rounds(report.json()), &rounds);
    if let Some(dir) = &setting.record {
        let path = record::write(dir, &record)?;
        report.line(format!("record written to {}", path.display()));
    }
    if let Some(path) = &setting.page {
        html::write(path, &record)?;
        report.line(format!("page written to {}", path.display()));
    }
    Ok(())
}

/// Rounds as the record has them: server and forwarder in turn.
pub(crate) fn in_order(rounds: &Rounds) -> Vec<(Who, &Tally)> {
    let mut all = Vec::new();
    for (i, server) in rounds.server.iter().enumerate() {
        all.push((Who::Server, server));
        if let Some(forwarder) = rounds.forwarder.get(i) {
            all.push((Who::Forwarder, forwarder));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tails::tests::round;

    #[test]
    fn a_baseline_round_that_is_late_is_none_unless_the_machine_was() {
        let load = Load::Rate(1000.0);
        let late = |marked| {
            let mut t = round(50, marked);
            t.delivered_in_window = 1;
            t.lag.record(5_000_000);
            t
        };
        let faults = |t: &Tally| {
            let missed = checks_of(t, load).into_iter().filter(|c| !c.met);
            missed.map(|c| c.name).collect::<Vec<_>>()
        };
        assert_eq!(faults(&late(false)), [SEND_LAG]);
        assert!(is_wrong(&late(false), load));
        assert!(!is_wrong(&late(true), load));
        let mut lossy = late(true);
        lossy.duplicated = 1;
        assert!(is_wrong(&lossy, load), "a stall excuses no fault");
    }
}
