//! The kind `sweep`: offered load from little to more than the server can take. First its saturation is found
//! ([`crate::saturation`]), then each share of it is offered in an open loop: how latency grows, and whether goodput holds
//! beyond saturation. With a baseline, the forwarder gets the same rates.
//!
//! # What is offered beyond saturation
//!
//! An open loop goes on whatever the server does. Once its back-pressure has filled the socket, what is due waits in the
//! generator, with its intended time: it is offered, and late. That is no send lag, which is how late the generator itself
//! was. Goodput is what has come, whole and checked, within the steady state; the rest has to come afterwards, or is lost.
//! A highest share that is carried nearly whole was not beyond saturation, and says nothing: `carried_beyond` then fails.

use serde_json::{Map, Value, json};

use crate::{
    baseline::Rounds,
    fanout, outcome,
    report::{Check, LAG_P99_US_MAX, Report, checks_of, round3},
    round::Load,
    saturation::{self, CARRIED, Found},
    scenario::{Scenario, Section},
    setting::Setting,
    stage::{Stage, Who},
    stats::median,
    tails,
    tally::{Tally, as_f64},
    trouble::Trouble,
};

/// The settings that only this kind has.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Sweep {
    /// What is offered, in percent of saturation, in the order in which it is.
    pub(crate) percent: Vec<f64>,
    /// Rounds of the closed loop with which the search for saturation begins.
    pub(crate) saturation_rounds: u32,
}

impl Sweep {
    /// `[sweep]` of a scenario's file.
    pub(crate) fn read(s: &mut Section<'_, '_>) -> Self {
        let mut sweep = Self {
            percent: (1..=12).map(|n| f64::from(n) * 10.0).collect(),
            saturation_rounds: 3,
        };
        s.reals("percent", 0.1..=1000.0, &mut sweep.percent);
        s.number("saturation_rounds", 1..=100, &mut sweep.saturation_rounds);
        sweep
    }
}

/// One share of saturation: rounds of both sides.
struct Point {
    percent: f64,
    devices: f64,
    rounds: Rounds,
}

/// Runs it.
pub(crate) async fn run(
    scenario: &Scenario,
    sweep: &Sweep,
    setting: &Setting,
) -> Result<Report, Trouble> {
    let traffic = &scenario.traffic;
    let mut report = Report::new(scenario.name.clone(), "");
    let mut stage = Stage::set_up(scenario, setting, traffic.sessions, &mut report).await?;
    let found = saturation::find(&mut stage, traffic, sweep.saturation_rounds).await?;
    let mut points: Vec<Point> = sweep
        .percent
        .iter()
        .map(|&percent| Point {
            percent,
            devices: f64::from(traffic.devices),
            rounds: Rounds::default(),
        })
        .collect();
    // All shares in turn, then all again: what slows the machine for a while slows every share.
    for i in 0..traffic.rounds {
        for point in &mut points {
            let load = Load::Rate(found.per_s * point.percent / 100.0);
            eprint!("{:.0} %, ", point.percent);
            let server = &mut point.rounds.server;
            server.push(stage.round(Who::Server, load).await?);
            fanout::tell(i, Who::Server, server.last());
            if setting.baseline {
                let forwarder = &mut point.rounds.forwarder;
                forwarder.push(stage.round(Who::Forwarder, load).await?);
                fanout::tell(i, Who::Forwarder, forwarder.last());
            }
        }
    }
    stage.end(&mut report).await?;
    tell(&found, &points, &mut report);
    let rounds: Vec<(Who, &Tally)> = found
        .rounds
        .iter()
        .map(|t| (Who::Server, t))
        .chain(in_turn(&points))
        .collect();
    outcome::conclude(scenario, setting, &rounds, &mut report)?;
    Ok(report)
}

/// Rounds of all points in the order in which they ran.
fn in_turn(points: &[Point]) -> impl Iterator<Item = (Who, &Tally)> {
    let rounds = points.first().map_or(0, |p| p.rounds.server.len());
    (0..rounds).flat_map(move |i| {
        points.iter().flat_map(move |p| {
            let server = p.rounds.server.get(i).map(|t| (Who::Server, t));
            let forwarder = p.rounds.forwarder.get(i).map(|t| (Who::Forwarder, t));
            server.into_iter().chain(forwarder)
        })
    })
}

fn tell(found: &Found, points: &[Point], report: &mut Report) {
    let mut all = Tally::new(0..0);
    let open = points.iter().flat_map(|p| &p.rounds.server);
    for tally in found.rounds.iter().chain(open.clone()) {
        all.add(tally);
    }
    report.counts(&all);
    let every: Vec<&Tally> = open.collect();
    report.field("hiccups", tails::hiccups(&every));
    let closed = Load::Saturate { window: 0 };
    let mut checks = checks_of(&all, closed);
    for point in points {
        let name = format!("send_lag_p99_us_at_{}", point.percent);
        let lag = tails::json(&each(&point.rounds.server), |t| &t.lag);
        if let Some(p99) = lag.and_then(|l| l["p99"].as_f64()) {
            checks.push(Check::at_most(name, p99, lag_max(point)));
        }
        let wrong = point.rounds.forwarder.iter();
        let wrong = wrong.filter(|t| checks_of(t, closed).iter().any(|c| !c.met));
        if !point.rounds.forwarder.is_empty() {
            let name = format!("baseline_rounds_with_faults_at_{}", point.percent);
            checks.push(Check::none(name, wrong.count() as u64));
        }
    }
    let mut sweep = Map::new();
    sweep.insert("saturation_per_s".to_owned(), round3(found.per_s));
    sweep.insert("saturation".to_owned(), found.json());
    report.line(found.text());
    if found.is_generator_bound {
        sweep.insert("generator_bound".to_owned(), json!(true));
        report.line("the generator, not the server, set that pace: shares are of a lower bound");
    }
    for point in points {
        report.line(point.text());
    }
    sweep.insert(
        "points".to_owned(),
        points.iter().map(Point::json).collect(),
    );
    if let Some((full, most)) = ends(points) {
        let ratio = goodput(&most.rounds.server) / goodput(&full.rounds.server);
        let pairs = full.rounds.server.iter().zip(&most.rounds.server);
        let each = pairs.map(|(f, m)| round3(m.deliveries_per_s() / f.deliveries_per_s()));
        sweep.insert("goodput_beyond".to_owned(), round3(ratio));
        sweep.insert("goodput_beyond_each".to_owned(), each.collect());
        report.line(format!(
            "goodput beyond saturation is {ratio:.3} of that at saturation"
        ));
        let carried = most.carried();
        sweep.insert("carried_beyond".to_owned(), round3(carried));
        checks.push(Check::at_most("carried_beyond", carried, CARRIED));
    }
    checks.append(&mut report.checks);
    report.checks = checks;
    report.field("sweep", Value::Object(sweep));
}

/// How late sends of a share may be, in microseconds. Beyond saturation goodput alone is told, and for that it is enough that
/// what was to be offered within the steady state was, but for a hundredth of it.
fn lag_max(point: &Point) -> f64 {
    let steady = point.rounds.server.first().map_or(0.0, Tally::seconds);
    if point.percent < 100.0 {
        LAG_P99_US_MAX
    } else {
        LAG_P99_US_MAX.max(steady * 1e6 / 100.0)
    }
}

/// The shares that goodput beyond saturation is told of: 100 % and the highest; nothing if one of both is not offered.
fn ends(points: &[Point]) -> Option<(&Point, &Point)> {
    let most = points
        .iter()
        .max_by(|a, b| a.percent.total_cmp(&b.percent))?;
    let full = points.iter().find(|p| (p.percent - 100.0).abs() < 1e-9)?;
    (most.percent > 100.0).then_some((full, most))
}

fn goodput(rounds: &[Tally]) -> f64 {
    median(rounds.iter().map(Tally::deliveries_per_s))
}

fn each(rounds: &[Tally]) -> Vec<&Tally> {
    rounds.iter().collect()
}

impl Point {
    /// Messages a second that were to be sent.
    fn offered(&self) -> f64 {
        let first = self.rounds.server.first();
        first.and_then(|t| t.offered_per_s).unwrap_or(0.0)
    }

    /// Goodput as a share of what was offered.
    fn carried(&self) -> f64 {
        goodput(&self.rounds.server) / (self.offered() * self.devices)
    }

    fn json(&self) -> Value {
        let side = |rounds: &[Tally]| {
            json!({
                "deliveries_per_s": round3(goodput(rounds)),
                "delivery_us": tails::json(&each(rounds), |t| &t.delivery),
                "send_lag_us": tails::json(&each(rounds), |t| &t.lag),
            })
        };
        let mut all = json!({
            "percent": self.percent,
            "offered_per_s": round3(self.offered()),
            "carried": round3(self.carried()),
            "server": side(&self.rounds.server),
        });
        if !self.rounds.forwarder.is_empty() {
            all["forwarder"] = side(&self.rounds.forwarder);
        }
        all
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{:>5.0} %  {:>9.0} messages/s, {:.2} carried",
            self.percent,
            self.offered(),
            self.carried()
        );
        for (name, rounds) in [
            ("server", &self.rounds.server),
            ("forwarder", &self.rounds.forwarder),
        ] {
            let Some(us) = tails::json(&each(rounds), |t| &t.delivery) else {
                continue;
            };
            let busy = median(
                rounds
                    .iter()
                    .filter_map(|t| Some(as_f64(t.server_cpu_ns?) / 1e9 / t.seconds())),
            );
            text.push_str(&format!(
                "  {name} {:.0} deliveries/s, p50 {} p99 {} p99.9 {} us, busy {busy:.2}",
                goodput(rounds),
                us["p50"],
                us["p99"],
                us["p999"],
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(percent: f64, per_s: u64) -> Point {
        let mut t = Tally::new(0..1_000_000_000);
        t.delivered_in_window = per_s;
        t.delivery.record(1_000_000);
        t.offered_per_s = Some(percent);
        Point {
            percent,
            devices: 1.0,
            rounds: Rounds {
                server: vec![t],
                forwarder: Vec::new(),
            },
        }
    }

    #[test]
    fn goodput_beyond_saturation_is_that_of_the_highest_share_over_that_of_all() {
        let points = [point(50.0, 45), point(120.0, 90), point(100.0, 100)];
        let found = Found {
            per_s: 100.0,
            ..Found::default()
        };
        let told = |points: &[Point]| {
            let mut report = Report::new("sweep", "");
            tell(&found, points, &mut report);
            let missed = report.checks.iter().filter(|c| !c.met).count();
            (report.json()["sweep"].take(), missed)
        };
        let (sweep, missed) = told(&points);
        assert_eq!(sweep["goodput_beyond"], 0.9);
        assert_eq!(sweep["goodput_beyond_each"], json!([0.9]));
        assert_eq!(sweep["carried_beyond"], 0.75);
        assert_eq!(missed, 0);
        // 100 % was not offered, or nothing beyond.
        for points in [&points[..2], &[point(50.0, 1), point(100.0, 1)]] {
            assert!(told(points).0.get("goodput_beyond").is_none());
        }
    }

    #[test]
    fn a_highest_share_that_is_carried_was_not_beyond_saturation() {
        let points = [point(100.0, 100), point(120.0, 119)];
        let mut report = Report::new("sweep", "");
        tell(&Found::default(), &points, &mut report);
        let missed: Vec<_> = report.checks.iter().filter(|c| !c.met).collect();
        assert_eq!(missed.len(), 1);
        assert_eq!(missed[0].name, "carried_beyond");
    }

    #[test]
    fn rounds_are_told_in_the_order_in_which_they_ran() {
        let mut points = [point(10.0, 1), point(20.0, 2)];
        for p in &mut points {
            let again = p.rounds.server[0].clone();
            p.rounds.forwarder.push(again.clone());
            p.rounds.server.push(again.clone());
            p.rounds.forwarder.push(again);
        }
        let order: Vec<(&str, f64)> = in_turn(&points)
            .map(|(who, t)| (who.name(), t.offered_per_s.unwrap()))
            .collect();
        let once = [
            ("server", 10.0),
            ("forwarder", 10.0),
            ("server", 20.0),
            ("forwarder", 20.0),
        ];
        assert_eq!(order, [once, once].concat());
    }
}
