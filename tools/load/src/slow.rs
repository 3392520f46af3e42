//! The kind `slow-device`: one device of each session does not read for a part of the round. What the others get must not
//! show it. Rounds without and with it take turns; in both that device is counted apart, so that the same legs are held
//! against each other.
//!
//! A server may give a leg up that lags too far behind, and what that device then misses is told, not held against it. So each pair of rounds has
//! sessions of its own.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    baseline::Rounds,
    fanout, outcome,
    report::{Check, Report, round3},
    round::Apart,
    scenario::{Scenario, Section},
    setting::Setting,
    stage::{Stage, Who},
    stats::median,
    tails,
    tally::{ApartCounts, Tally},
    trouble::Trouble,
};

/// The settings that only this kind has.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct SlowDevice {
    /// Which device of each session it is, from 1.
    pub(crate) device: u16,
    /// From the beginning of the steady state until it stops.
    pub(crate) stop_after: Duration,
    pub(crate) stop_for: Duration,
}

impl SlowDevice {
    /// `[slow-device]` of a scenario's file.
    pub(crate) fn read(s: &mut Section<'_, '_>) -> Self {
        let mut slow = Self {
            device: 2,
            stop_after: Duration::from_millis(500),
            stop_for: Duration::from_secs(1),
        };
        s.number("device", 1..=64, &mut slow.device);
        s.seconds("stop_after_s", &mut slow.stop_after);
        s.seconds("stop_for_s", &mut slow.stop_for);
        slow
    }
}

/// Runs it.
pub(crate) async fn run(
    scenario: &Scenario,
    slow: &SlowDevice,
    setting: &Setting,
) -> Result<Report, Trouble> {
    let traffic = &scenario.traffic;
    if slow.device > traffic.devices || traffic.devices < 2 {
        return Err(Trouble::usage(format!(
            "device {} is to be slow, beside others: {} devices are too few",
            slow.device, traffic.devices
        )));
    }
    if setting.baseline {
        return Err(Trouble::usage(
            "a slow device holds the byte forwarder up, whole: there is no baseline",
        ));
    }
    let mut report = Report::new(scenario.name.clone(), "");
    let all_sessions = traffic.sessions * traffic.rounds;
    let mut stage = Stage::set_up(scenario, setting, all_sessions, &mut report).await?;
    let load = traffic.load();
    let stop = slow.stop_after..slow.stop_after + slow.stop_for;
    let mut pairs = Vec::new();
    for i in 0..traffic.rounds {
        let mut pair = Vec::new();
        for stops in [None, Some(stop.clone())] {
            let sessions = i * traffic.sessions..(i + 1) * traffic.sessions;
            let mut plan = stage.plan(Who::Server, sessions, load);
            plan.apart = Some(Apart {
                device: slow.device - 1,
                stops,
            });
            pair.push(stage.run(plan).await?);
            fanout::tell(i, Who::Server, pair.last());
        }
        pairs.push(pair);
    }
    stage.end(&mut report).await?;
    let rounds = Rounds {
        server: pairs.into_iter().flatten().collect(),
        forwarder: Vec::new(),
    };
    outcome::of_rounds(setting, load, &rounds, &mut report);
    tell(&rounds.server, &mut report);
    outcome::conclude(scenario, setting, &outcome::in_order(&rounds), &mut report)?;
    Ok(report)
}

/// `rounds` are without and with it in turn.
fn tell(rounds: &[Tally], report: &mut Report) {
    let ratio = p99_ratio(rounds);
    let with: Vec<&Tally> = rounds.iter().skip(1).step_by(2).collect();
    let without: Vec<&Tally> = rounds.iter().step_by(2).collect();
    let figures = |side: &[&Tally]| tails::json(side, |t| &t.delivery);
    report.field("delivery_us", figures(&with));
    let mut apart = ApartCounts::default();
    for a in rounds.iter().filter_map(|t| t.apart) {
        apart.delivered += a.delivered;
        apart.given_up += a.given_up;
        apart.legs_given_up += a.legs_given_up;
        apart.lost += a.lost;
    }
    report.line(format!(
        "p99 of the others with the slow device over that without it: {ratio:.3}"
    ));
    report.line(format!(
        "the slow device got {} messages; the server gave {} such legs up, which missed {}",
        apart.delivered, apart.legs_given_up, apart.given_up
    ));
    let mut all = json!({
        "with": figures(&with),
        "without": figures(&without),
        "delivered": apart.delivered,
        "legs_given_up": apart.legs_given_up,
        "given_up": apart.given_up,
        "lost": apart.lost,
    });
    if ratio.is_finite() {
        all["p99_ratio"] = round3(ratio);
    }
    report.field("slow_device", all);
    report
        .checks
        .push(Check::none("slow_device_lost", apart.lost));
}

/// The median over pairs of neighbours without a hiccup, or over all pairs if there is none.
fn p99_ratio(rounds: &[Tally]) -> f64 {
    let pairs: Vec<&[Tally]> = rounds.chunks_exact(2).collect();
    let is_quiet = |pair: &&&[Tally]| tails::quiet_alone(pair);
    let mut counted: Vec<&[Tally]> = pairs.iter().filter(is_quiet).copied().collect();
    if counted.is_empty() {
        counted = pairs;
    }
    median(
        counted
            .iter()
            .map(|pair| pair[1].delivery.us(0.99) / pair[0].delivery.us(0.99)),
    )
}

/// For the record of a round.
pub(crate) fn json(apart: &ApartCounts) -> Value {
    json!({
        "stopped": apart.stopped,
        "delivered": apart.delivered,
        "legs_given_up": apart.legs_given_up,
        "given_up": apart.given_up,
        "lost": apart.lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hiccup::Hiccup;

    fn round(us: u64, marked: bool) -> Tally {
        let mut t = Tally::new(0..1);
        t.delivery.record(us * 1000);
        t.hiccup = Some(Hiccup {
            max: 0,
            steal_ms: 0,
            marked,
        });
        t
    }

    #[test]
    fn the_ratio_is_the_median_of_pairs_that_no_hiccup_disturbed() {
        let rounds = [
            round(100, false),
            round(110, false),
            round(100, false),
            round(9000, true),
            round(100, false),
            round(130, false),
            round(5000, true),
            round(100, false),
        ];
        assert!((p99_ratio(&rounds) - 1.2).abs() < 0.01);
        assert!((p99_ratio(&rounds[2..4]) - 90.0).abs() < 0.5);
    }
}
