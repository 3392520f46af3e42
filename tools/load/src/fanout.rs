//! The kind `fanout`: each session's sender writes, each of its devices gets every message and answers it.

use crate::{
    baseline::Rounds,
    outcome,
    report::Report,
    scenario::Scenario,
    setting::Setting,
    stage::{Stage, Who},
    tally::Tally,
    trouble::Trouble,
};

/// Runs it.
pub(crate) async fn run(scenario: &Scenario, setting: &Setting) -> Result<Report, Trouble> {
    let mut report = Report::new(scenario.name.clone(), "");
    let load = scenario.traffic.load();
    let mut stage =
        Stage::set_up(scenario, setting, scenario.traffic.sessions, &mut report).await?;
    let mut rounds = Rounds::default();
    for i in 0..scenario.traffic.rounds {
        rounds.server.push(stage.round(Who::Server, load).await?);
        tell(i, Who::Server, rounds.server.last());
        if setting.baseline {
            rounds
                .forwarder
                .push(stage.round(Who::Forwarder, load).await?);
            tell(i, Who::Forwarder, rounds.forwarder.last());
        }
    }
    stage.end(&mut report).await?;
    outcome::of_rounds(setting, load, &rounds, &mut report);
    outcome::conclude(scenario, setting, &outcome::in_order(&rounds), &mut report)?;
    Ok(report)
}

/// One line a round.
pub(crate) fn tell(i: u32, who: Who, tally: Option<&Tally>) {
    if let Some(t) = tally {
        eprintln!(
            "round {} {}: {:.0} deliveries/s",
            i + 1,
            who.name(),
            t.deliveries_per_s()
        );
    }
}
