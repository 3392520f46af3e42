//! The kind `register-storm`: every device registers, at a rate or all at once, and is looked for afterwards.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use serde_json::json;

use super::{answering::LEAD, cast, census, scene::Scene, script::scale};
use crate::{
    hist::Latency,
    outcome,
    report::{Check, LAG_P99_US_MAX, Report, round3},
    scenario::Scenario,
    setting::Setting,
    tally::as_f64,
    trouble::Trouble,
    ua::in_turn,
};

/// How registrations come.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Storm {
    /// Registration Attempts a second (RFC 7501 §3.4.3); all at once if none.
    pub(crate) per_s: Option<f64>,
    /// After which an attempt without an answer has failed.
    pub(crate) threshold: Duration,
}

struct Results {
    /// Registration Request Delay, from the intended time.
    delay: Latency,
    /// How late requests were sent.
    lag: Latency,
    failures: BTreeMap<u16, u64>,
    findings: Vec<String>,
    last: u64,
}

/// Runs it.
pub(crate) async fn run(
    scenario: &Scenario,
    setting: &Setting,
    storm: &Storm,
) -> Result<Report, Trouble> {
    let traffic = &scenario.traffic;
    let mut report = Report::new(scenario.name.clone(), "");
    let users = traffic.sessions;
    let scene = Scene::open(scenario, setting, users, storm.threshold, &mut report).await?;
    let results = Rc::new(RefCell::new(Results {
        delay: Latency::new(),
        lag: Latency::new(),
        failures: BTreeMap::new(),
        findings: Vec::new(),
        last: 0,
    }));
    let attempts = users * u32::from(traffic.devices);
    let start = scene.clock.now() + LEAD;
    let mut tasks = Vec::new();
    for n in 0..attempts {
        let after = storm.per_s.map_or(0, |per_s| {
            scale(1_000_000_000, as_f64(u64::from(n)) / per_s)
        });
        scene.until(start + after).await?;
        // Users in turn, so that the devices of one do not come together.
        let (user, device) = (n % users, u16::try_from(n / users).unwrap_or(u16::MAX));
        let (scene, results) = (Rc::clone(&scene), Rc::clone(&results));
        tasks.push(tokio_uring::spawn(async move {
            let sent = scene.clock.now();
            let answer = scene.peers.register_one(user, device).await;
            let now = scene.clock.now();
            let mut r = results.borrow_mut();
            r.lag.record(sent - (start + after));
            r.last = r.last.max(now);
            match answer {
                Ok(()) => r.delay.record(now - (start + after)),
                Err(e) => {
                    *r.failures.entry(e.code.unwrap_or(0)).or_default() += 1;
                    if r.findings.len() < 16 {
                        r.findings.push(e.to_string());
                    }
                }
            }
            Ok(())
        }));
    }
    for task in tasks {
        cast::joined(task).await?;
    }
    let lost = missing(&scene, users).await?;
    tell(&results.borrow(), storm, attempts, start, &mut report);
    report.checks.push(Check::none("registrations_lost", lost));
    report.field("registrations_lost", json!(lost));
    scene.close(&mut report).await?;
    outcome::conclude(scenario, setting, &[], &mut report)?;
    Ok(report)
}

/// How many registrations that should be there the registrar does not know.
async fn missing(scene: &Rc<Scene>, users: u32) -> Result<u64, Trouble> {
    let lost = Rc::new(RefCell::new(0));
    in_turn(users, |user| {
        let (scene, lost) = (Rc::clone(scene), Rc::clone(&lost));
        async move {
            let there = match scene.peers.registered(user).await {
                Ok(there) => there.len(),
                Err(e) => {
                    scene.peers.trouble(format!("looking for {user}: {e}"));
                    0
                }
            };
            *lost.borrow_mut() += (usize::from(scene.devices) - there) as u64;
            Ok(())
        }
    })
    .await?;
    let lost = *lost.borrow();
    Ok(lost)
}

fn tell(r: &Results, storm: &Storm, attempts: u32, start: u64, report: &mut Report) {
    let failed: u64 = r.failures.values().sum();
    report.field("registration_attempts", json!(attempts));
    report.field("registration_failures", json!(failed));
    report.field("failures_by_code", census::codes(&r.failures));
    match storm.per_s {
        Some(per_s) => report.field("registration_attempts_per_s", round3(per_s)),
        None => report.field("burst", json!(true)),
    }
    let seconds = as_f64(r.last.saturating_sub(start)) / 1e9;
    if seconds > 0.0 {
        let rate = as_f64(u64::from(attempts) - failed) / seconds;
        report.field("seconds", round3(seconds));
        report.field("registrations_per_s", round3(rate));
        report.line(format!(
            "{attempts} attempts, {failed} failed, {rate:.0} registrations/s"
        ));
    }
    report.times("registration_request_delay_us", &r.delay);
    report.times("signalling_lag_us", &r.lag);
    for finding in &r.findings {
        report.line(format!("found: {finding}"));
    }
    report
        .checks
        .push(Check::none("registration_failures", failed));
    if storm.per_s.is_some() {
        report.checks.push(Check::at_most(
            "signalling_lag_p99_us",
            r.lag.us(0.99),
            LAG_P99_US_MAX,
        ));
    }
}
