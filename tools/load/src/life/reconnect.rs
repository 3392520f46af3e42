//! The kind `reconnect-storm`: the network goes and comes back. All MSRP connections are cut at once; everyone has forgotten
//! his call, registers anew and is invited anew, all at the same time. How long until all stand again?

use std::rc::Rc;

use super::{answering::LEAD, cast, census::Census, course::Course, scene::Scene, script, told};
use crate::{
    clock::{Nanos, nanos},
    hist::Latency,
    post::Departure,
    report::Report,
    round::Load,
    scenario::Scenario,
    setting::Setting,
    tally::Tally,
    trouble::Trouble,
};

/// Runs it.
pub(crate) async fn run(scenario: &Scenario, setting: &Setting) -> Result<Report, Trouble> {
    let traffic = &scenario.traffic;
    let load = Load::Script {
        per_s: super::rate_of(scenario)?,
        standing: u32::MAX,
    };
    let mut report = Report::new(scenario.name.clone(), "");
    let users = traffic.sessions;
    let scene = Scene::open(scenario, setting, users, super::GIVE_UP, &mut report).await?;
    scene.peers.register().await?;
    let mut courses = cast::set_up(&scene, 0, users).await?;
    scene.census.replace(Census::new());
    let mut tallies = vec![talk(&scene, scenario, load, &courses).await?];
    let mut restored = Latency::new();
    for storm in 1..=traffic.rounds {
        let calls: Vec<u32> = courses.iter().map(|c| c.call).collect();
        // Nobody remembers his call: what the server still does about it gets 481.
        for &call in &calls {
            scene.forget_cut(call);
        }
        let at = scene.cut(calls).await?;
        courses = stand_again(&scene, storm * users, users, at).await?;
        restored.record(scene.clock.now() - at);
        tallies.push(talk(&scene, scenario, load, &courses).await?);
    }
    let mut census = scene.census.replace(Census::new());
    cast::hang_up(&courses).await?;
    census.add_faults(&scene.census.borrow());
    scene.close(&mut report).await?;
    report.times("all_restored_us", &restored);
    told::conclude(scenario, setting, tallies, load, &census, &mut report)?;
    Ok(report)
}

/// A round of messages over all sessions.
async fn talk(
    scene: &Rc<Scene>,
    scenario: &Scenario,
    load: Load,
    courses: &[Course],
) -> Result<Tally, Trouble> {
    let traffic = &scenario.traffic;
    let first = courses.first().map_or(0, |c| c.call);
    let length = nanos(traffic.warmup) + nanos(traffic.steady);
    scene.begin(scenario, load)?;
    let start = scene.clock.now() + LEAD;
    let lines = script::even(traffic.sessions, super::rate_of(scenario)?, length);
    cast::perform(scene, &lines, start, first)?;
    scene.watch_until(start + length).await;
    cast::be_quiet(courses, traffic.patience).await?;
    scene.finish().await
}

/// Everyone registers and calls anew, all at once; times count from the cut.
async fn stand_again(
    scene: &Rc<Scene>,
    first: u32,
    users: u32,
    cut: Nanos,
) -> Result<Vec<Course>, Trouble> {
    let courses: Vec<Course> = (0..users)
        .map(|user| Course::new(scene, first + user, user))
        .collect();
    cast::all(&courses, |course| {
        let scene = Rc::clone(scene);
        async move {
            let user = course.call - first;
            for device in 0..scene.devices {
                if let Err(e) = scene.peers.register_one(user, device).await {
                    scene.peers.trouble(format!("user {user}: {e}"));
                }
            }
            course.set_up(&Departure::at(cut)).await.map(|_| ())
        }
    })
    .await?;
    // Those that came to nothing have been counted; the others talk on.
    Ok(courses
        .into_iter()
        .filter(|c| scene.entry(c.call, |_| ()).is_some())
        .collect())
}
