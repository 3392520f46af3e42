//! The kinds `reply` and `activity-race`: every device of a session gets the sender's messages; then one of them answers, or
//! two at the same instant, and all others have to be torn down while messages go on to the one that stays.

use super::{
    act::{Act, Deed},
    cast,
    scene::Scene,
    script::{self, Dice, scale},
    told,
};
use crate::{
    clock::{Nanos, nanos},
    leg::Role,
    report::Report,
    round::Load,
    scenario::Scenario,
    setting::Setting,
    trouble::Trouble,
    voice::Words,
};

/// How the first activity comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum First {
    /// One device writes a chat message.
    One,
    /// Two write one back to back, in an order drawn from the seed.
    Two,
}

/// Deeds are asked for this long before the first is due, so that none is late.
pub(crate) const LEAD: Nanos = 50_000_000;

/// Runs it.
pub(crate) async fn run(
    scenario: &Scenario,
    setting: &Setting,
    first: First,
) -> Result<Report, Trouble> {
    let traffic = &scenario.traffic;
    if traffic.devices < 2 {
        return Err(Trouble::usage(format!(
            "{}: a user needs two devices at least",
            scenario.name
        )));
    }
    let per_s = super::rate_of(scenario)?;
    let load = Load::Script {
        per_s,
        standing: u32::MAX,
    };
    let mut report = Report::new(scenario.name.clone(), "");
    let sessions = traffic.sessions;
    let scene = Scene::open(scenario, setting, sessions, super::GIVE_UP, &mut report).await?;
    scene.peers.register().await?;
    let before = scene.metrics();
    scene.peers.take_waited();
    let length = nanos(traffic.warmup) + nanos(traffic.steady);
    let mut tallies = Vec::new();
    for round in 0..traffic.rounds {
        let base = round * sessions;
        let courses = cast::set_up(&scene, base, sessions).await?;
        scene.begin(scenario, load)?;
        let start = scene.clock.now() + LEAD;
        let lines = script::even(sessions, per_s, length);
        cast::perform(&scene, &lines, start, base)?;
        let mut dice = Dice::new(setting.seed, &format!("answers {round}"));
        let times: Vec<Nanos> = (0..sessions)
            .map(|session| {
                // Early: in the first half of the steady state.
                let at =
                    start + nanos(traffic.warmup) + scale(nanos(traffic.steady), dice.unit() / 2.0);
                scene.act(Act {
                    at,
                    session: base + session,
                    deed: deed(first, traffic.devices, &mut dice),
                })?;
                Ok(at)
            })
            .collect::<Result<_, Trouble>>()?;
        cast::all(&courses, |course| {
            let at = times[(course.call - base) as usize];
            let patience = traffic.patience;
            async move { course.settle(at, patience).await }
        })
        .await?;
        scene.watch_until(start + length).await;
        cast::be_quiet(&courses, traffic.patience).await?;
        tallies.push(scene.finish().await?);
        cast::hang_up(&courses).await?;
    }
    told::server_teardown(before.as_deref(), scene.metrics().as_deref(), &mut report);
    let mut census = scene.census.replace(super::census::Census::new());
    census.waited = scene.peers.take_waited();
    scene.close(&mut report).await?;
    told::conclude(scenario, setting, tallies, load, &census, &mut report)?;
    Ok(report)
}

fn deed(first: First, devices: u16, dice: &mut Dice) -> Deed {
    let one = dice.device(devices);
    match first {
        First::One => Deed::Say(Role::Device(one), Words::Chat),
        First::Two => {
            let other = (one + 1 + dice.device(devices - 1)) % devices;
            Deed::Race(one, other, Words::Chat)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_race_is_between_two_of_the_devices_in_either_order() {
        let mut dice = Dice::new(1, "race");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let Deed::Race(a, b, Words::Chat) = deed(First::Two, 3, &mut dice) else {
                panic!("no race");
            };
            assert!(a != b && a < 3 && b < 3);
            seen.insert((a, b));
        }
        assert_eq!(seen.len(), 6);
        assert!(matches!(
            deed(First::One, 3, &mut dice),
            Deed::Say(Role::Device(0..3), Words::Chat)
        ));
    }
}
