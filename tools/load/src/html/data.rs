//! From a record to what is drawn of it: rounds by side, sides by measurement.

use serde_json::Value;

use crate::{hist::percentiles, stats::median};

/// Rounds of one measurement, one group in the page.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Group {
    /// The name of its measurement, or of its scenario.
    pub(super) id: String,
    pub(super) title: String,
    /// What repeats it.
    pub(super) commands: Vec<String>,
    /// In the order in which they ran.
    pub(super) rounds: Vec<Round>,
    /// An open loop: latencies count from the intended time.
    pub(super) is_open_loop: bool,
    /// Devices a session: deliveries that a message makes.
    pub(super) devices: f64,
}

/// One round.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Round {
    /// What was measured: server or baseline, by the name that the legend has.
    pub(super) side: String,
    pub(super) seconds: f64,
    pub(super) deliveries_per_s: f64,
    pub(super) offered_per_s: Option<f64>,
    /// Percentile and microseconds, rising.
    pub(super) curve: Vec<(f64, f64)>,
    /// Seconds since its beginning, at the end of a slot, and deliveries a second in it.
    pub(super) over_time: Vec<(f64, f64)>,
    /// The hiccup meter marked it.
    pub(super) is_disturbed: bool,
}

/// All groups of a record: a single run's one, or one a measurement of a suite.
pub(super) fn groups(record: &Value) -> Vec<Group> {
    let Some(runs) = record["runs"].as_array() else {
        let scenario = text(&record["report"]["scenario"]);
        return vec![group(
            scenario,
            std::iter::once((record, &record["command"], "server")),
        )];
    };
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        let name = run["measure"].as_str().unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let targets = record["report"]["targets"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    names
        .into_iter()
        .map(|name| {
            let of = runs.iter().filter(|r| r["measure"] == name);
            let of = of.map(|r| {
                (
                    &r["record"],
                    &r["command"],
                    r["side"].as_str().unwrap_or("server"),
                )
            });
            let mut group = group(name.to_owned(), of);
            let first = targets.iter().find(|t| t["measure"] == name);
            if let Some(what) = first.and_then(|t| t["what"].as_str()) {
                what.clone_into(&mut group.title);
            }
            group
        })
        .collect()
}

fn group<'a>(id: String, records: impl Iterator<Item = (&'a Value, &'a Value, &'a str)>) -> Group {
    let mut group = Group {
        title: id.clone(),
        id,
        devices: 1.0,
        ..Group::default()
    };
    for (record, command, side) in records {
        // Until c8cce6b a run's command stood in its record.
        let command = [command, &record["command"]]
            .map(text)
            .into_iter()
            .find(|c| !c.is_empty())
            .unwrap_or_default();
        if !command.is_empty() && !group.commands.contains(&command) {
            group.commands.push(command);
        }
        group.is_open_loop |= record["report"]["offered_per_s"].is_number();
        group.devices = record["report"]["devices"]
            .as_f64()
            .unwrap_or(group.devices);
        let rounds = record["rounds"].as_array().map_or(&[][..], Vec::as_slice);
        let beside = record["report"]["beside"].is_object();
        group
            .rounds
            .extend(rounds.iter().enumerate().map(|(i, entry)| {
                let within = within(&entry["round"], beside, i);
                round(entry, within.unwrap_or(side))
            }));
    }
    // What an open loop's rate was taken from is no part of its latencies.
    if group.rounds.iter().any(|r| r.offered_per_s.is_some()) {
        for r in group
            .rounds
            .iter_mut()
            .filter(|r| r.offered_per_s.is_none())
        {
            r.side.push_str(SATURATED);
            r.curve.clear();
        }
    }
    group
}

/// Behind the name of a side whose rounds were a closed loop, where others were open.
const SATURATED: &str = ", saturated";

/// The side of a round of a run that holds its own rounds against each other.
fn within(round: &Value, beside: bool, i: usize) -> Option<&'static str> {
    match round["slow_device"]["stopped"].as_bool() {
        Some(true) => Some("one device stops reading"),
        Some(false) => Some("all devices read"),
        None if beside && i % 2 == 1 => Some("beside large messages"),
        None => beside.then_some("alone"),
    }
}

fn round(entry: &Value, side: &str) -> Round {
    let r = &entry["round"];
    let mut curve = curve_of(&r["curve_us"]);
    if curve.is_empty() {
        let known = [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p999")];
        curve = known
            .into_iter()
            .filter_map(|(p, key)| Some((p, r["delivery_us"][key].as_f64()?)))
            .collect();
    }
    let seconds = r["seconds"].as_f64().unwrap_or(0.0);
    let deliveries_per_s = r["deliveries_per_s"].as_f64().unwrap_or(0.0);
    let mut over_time = slots_of(r, seconds);
    let mut before = 0.0;
    for (t, deliveries) in &mut over_time {
        let length = (*t - before).max(1e-3);
        before = *t;
        *deliveries /= length;
    }
    if over_time.is_empty() {
        over_time = vec![(seconds, deliveries_per_s)];
    }
    Round {
        side: match entry["who"].as_str() {
            Some("forwarder") => "byte forwarder".to_owned(),
            Some(_) | None => side.to_owned(),
        },
        seconds,
        deliveries_per_s,
        offered_per_s: r["offered_per_s"].as_f64(),
        curve,
        over_time,
        is_disturbed: r["hiccup"]["marked"] == Value::Bool(true),
    }
}

/// Percentile and microseconds: of microseconds at the usual percentiles and the longest, or of pairs (until c8cce6b).
fn curve_of(list: &Value) -> Vec<(f64, f64)> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    if list.iter().any(Value::is_array) {
        let pair = |p: &Value| Some((p[0].as_f64()?, p[1].as_f64()?));
        return list.iter().filter_map(pair).collect();
    }
    let usual = percentiles().take(list.len().saturating_sub(1));
    let us = list.iter().filter_map(Value::as_f64);
    usual.chain([100.0]).zip(us).collect()
}

/// The end of each slot and the deliveries in it: of a number a slot, or of objects (until c8cce6b).
fn slots_of(round: &Value, seconds: f64) -> Vec<(f64, f64)> {
    let (now, then) = (&round["over_time"], &round["per_second"]);
    if let Some(list) = then.as_array() {
        let slot = |s: &Value| Some((s["t"].as_f64()?, s["deliveries"].as_f64()?));
        return list.iter().filter_map(slot).collect();
    }
    let list = now["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
    let length = now["slot_s"].as_f64().unwrap_or(0.1);
    let deliveries = list.iter().filter_map(Value::as_f64);
    (1..)
        .map(|i| (f64::from(i) * length).min(seconds))
        .zip(deliveries)
        .collect()
}

impl Group {
    /// Names of the sides, in the order in which they first ran; what was saturated comes last.
    pub(super) fn sides(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for r in &self.rounds {
            if !names.contains(&r.side.as_str()) {
                names.push(&r.side);
            }
        }
        names.sort_by_key(|name| name.ends_with(SATURATED));
        names
    }

    pub(super) fn of<'a>(&'a self, side: &'a str) -> impl Iterator<Item = &'a Round> {
        self.rounds.iter().filter(move |r| r.side == side)
    }

    /// A side's latency at each percentile: lowest, median and highest of its rounds; of the undisturbed ones, if there are
    /// any.
    pub(super) fn curve(&self, side: &str) -> Vec<(f64, [f64; 3])> {
        let quiet: Vec<&Round> = self.of(side).filter(|r| !r.is_disturbed).collect();
        let rounds = if quiet.is_empty() {
            self.of(side).collect()
        } else {
            quiet
        };
        grid(&rounds)
            .into_iter()
            .filter_map(|p| {
                let all: Vec<f64> = rounds.iter().filter_map(|r| r.at(p)).collect();
                let low = all.iter().copied().reduce(f64::min)?;
                let high = all.iter().copied().reduce(f64::max)?;
                Some((p, [low, median(all.iter().copied()), high]))
            })
            .collect()
    }

    /// A side's rounds by what was offered, if that differed: offered, delivered, and the microseconds at a percentile;
    /// medians of the rounds with the same offer.
    pub(super) fn sweep(&self, side: &str, percentile: f64) -> Vec<(f64, f64, Option<f64>)> {
        let mut offers: Vec<f64> = self.of(side).filter_map(|r| r.offered_per_s).collect();
        offers.sort_by(f64::total_cmp);
        offers.dedup();
        if offers.len() < 3 {
            return Vec::new();
        }
        offers
            .into_iter()
            .map(|offer| {
                let with = || {
                    self.of(side)
                        .filter(move |r| r.offered_per_s == Some(offer))
                };
                let quiet: Vec<f64> = with()
                    .filter(|r| !r.is_disturbed)
                    .filter_map(|r| r.at(percentile))
                    .collect();
                let latency = (!quiet.is_empty()).then(|| median(quiet.into_iter()));
                (offer, median(with().map(|r| r.deliveries_per_s)), latency)
            })
            .collect()
    }
}

/// The percentiles that a curve is drawn through: the usual ones, as far as every round reaches; of rounds that have a few
/// percentiles only, those.
fn grid(rounds: &[&Round]) -> Vec<f64> {
    const FEW: usize = 8;
    if rounds.iter().all(|r| r.curve.len() <= FEW) {
        let mut all: Vec<f64> = rounds
            .iter()
            .flat_map(|r| r.curve.iter().map(|p| p.0))
            .collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        return all;
    }
    let reach = |r: &&Round| {
        r.curve
            .iter()
            .map(|p| p.0)
            .filter(|p| *p < 100.0)
            .reduce(f64::max)
    };
    let top = rounds
        .iter()
        .filter_map(reach)
        .reduce(f64::min)
        .unwrap_or(0.0);
    percentiles().take_while(|p| *p <= top).collect()
}

impl Round {
    /// Microseconds at a percentile.
    pub(super) fn at(&self, percentile: f64) -> Option<f64> {
        let point = self.curve.iter().find(|c| c.0 >= percentile - 1e-9);
        point.map(|c| c.1)
    }
}

pub(super) fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Value {
        let round = |who: &str, p50: f64, marked: bool| {
            json!({"who": who, "round": {
                "seconds": 0.3, "deliveries_per_s": 100.0, "hiccup": {"marked": marked},
                "curve_us": [[50.0, p50], [99.0, p50 * 3.0]],
                "per_second": [{"t": 0.1, "deliveries": 10}, {"t": 0.2, "deliveries": 0}, {"t": 0.3, "deliveries": 20}],
            }})
        };
        json!({
            "command": "ringfork-load fanout",
            "report": {"scenario": "fanout", "offered_per_s": 100.0},
            "rounds": [round("server", 4.0, false), round("forwarder", 1.0, false), round("server", 9.0, true), round("server", 2.0, false)],
        })
    }

    #[test]
    fn a_run_is_one_group_with_its_sides_in_order() {
        let all = groups(&record());
        assert_eq!(all.len(), 1);
        let g = &all[0];
        assert_eq!(g.sides(), ["server", "byte forwarder"]);
        assert!(g.is_open_loop);
        assert_eq!(g.rounds[0].over_time.len(), 3);
        assert!(
            (g.rounds[0].over_time[2].1 - 200.0).abs() < 1e-6,
            "20 in a tenth of a second"
        );
    }

    #[test]
    fn rounds_that_are_held_against_each_other_within_a_run_are_two_sides() {
        let with = |stopped: bool| json!({"who": "server", "round": {"slow_device": {"stopped": stopped}}});
        let slow = json!({"report": {}, "rounds": [with(false), with(true), with(false)]});
        assert_eq!(
            groups(&slow)[0].sides(),
            ["all devices read", "one device stops reading"]
        );
        let plain = json!({"who": "server", "round": {}});
        let beside = json!({"report": {"beside": {}}, "rounds": [plain, plain, plain, plain]});
        let beside = &groups(&beside)[0];
        assert_eq!(beside.sides(), ["alone", "beside large messages"]);
        assert_eq!(beside.of("alone").count(), 2);
    }

    #[test]
    fn saturation_is_no_part_of_the_latencies_of_an_open_loop() {
        let with = |offered: Value| json!({"who": "server", "round": {"offered_per_s": offered, "curve_us": [[50.0, 4.0], [99.0, 9.0]]}});
        let record = json!({"report": {}, "rounds": [with(Value::Null), with(json!(100.0))]});
        let group = &groups(&record)[0];
        assert_eq!(group.sides(), ["server", "server, saturated"]);
        assert!(group.curve("server, saturated").is_empty());
        assert_eq!(group.curve("server").len(), 2);
        let alone = json!({"report": {}, "rounds": [with(Value::Null)]});
        assert_eq!(groups(&alone)[0].sides(), ["server"]);
    }

    #[test]
    fn disturbed_rounds_are_no_part_of_a_curve() {
        let all = groups(&record());
        assert_eq!(
            all[0].curve("server"),
            [(50.0, [2.0, 3.0, 4.0]), (99.0, [6.0, 9.0, 12.0])]
        );
    }

    #[test]
    fn fine_curves_meet_on_one_grid_that_ends_where_the_shortest_does() {
        let fine = |ends: f64, us: f64| Round {
            curve: (0..100)
                .map(|i| (ends * f64::from(i) / 99.0, us))
                .chain([(100.0, 99.0)])
                .collect(),
            side: "server".to_owned(),
            ..Round::default()
        };
        let group = Group {
            rounds: vec![fine(99.0, 1.0), fine(99.95, 3.0), fine(98.0, 2.0)],
            ..Group::default()
        };
        let curve = group.curve("server");
        assert_eq!(curve[0], (0.0, [1.0, 2.0, 3.0]));
        let last = curve.last().unwrap();
        assert!((97.0..=98.0).contains(&last.0), "{last:?}");
        assert_eq!(last.1, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_suite_has_a_group_a_measurement_and_names_what_it_is_held_against() {
        let suite = json!({"report": {"targets": [{"measure": "b", "what": "what b is"}]}, "runs": [
            {"measure": "a", "side": "server", "record": record()},
            {"measure": "b", "record": record()},
            {"measure": "a", "side": "without churn", "record": record()},
            {"measure": "c", "record": null},
        ]});
        let all = groups(&suite);
        let titles: Vec<_> = all
            .iter()
            .map(|g| (g.id.as_str(), g.title.as_str()))
            .collect();
        assert_eq!(titles, [("a", "a"), ("b", "what b is"), ("c", "c")]);
        assert_eq!(
            all[0].sides(),
            ["server", "byte forwarder", "without churn"]
        );
        assert_eq!(all[0].rounds.len(), 8);
        assert_eq!(all[0].commands.len(), 1);
        assert!(all[2].rounds.is_empty());
    }

    #[test]
    fn rounds_of_old_records_are_drawn_from_what_they_have() {
        let old = json!({"report": {"scenario": "fanout"}, "rounds": [
            {"who": "server", "round": {"seconds": 3.0, "deliveries_per_s": 7.0, "delivery_us": {"p50": 1.0, "p99": 2.0}}},
        ]});
        let g = &groups(&old)[0];
        assert_eq!(g.rounds[0].curve, [(50.0, 1.0), (99.0, 2.0)]);
        assert_eq!(g.rounds[0].over_time, [(3.0, 7.0)]);
    }

    #[test]
    fn what_a_round_writes_is_what_is_drawn() {
        use crate::{baseline::round_in_full, tally::Tally};
        const MS: u64 = 1_000_000;
        let mut t = Tally::new(0..250 * MS);
        for us in 1..=1000 {
            t.delivery.record(us * 1000);
        }
        t.series.arrived(150 * MS, MS);
        t.series.finish();
        let r = round(
            &json!({"who": "server", "round": round_in_full(&t)}),
            "server",
        );
        // p0, ten a nine up to three nines, and the longest.
        assert_eq!(r.curve.len(), 32);
        assert!((r.at(90.0).unwrap() - 900.0).abs() < 1.0);
        let (percentile, longest) = r.curve[31];
        assert!((percentile - 100.0).abs() < 1e-9 && (longest - 1000.0).abs() < 1.0);
        assert_eq!(r.over_time, [(0.1, 0.0), (0.2, 10.0)]);
    }

    #[test]
    fn a_sweep_needs_three_offers() {
        let at = |offered: f64, p99: f64| json!({"who": "server", "round": {"seconds": 1.0, "deliveries_per_s": offered.min(250.0), "offered_per_s": offered, "curve_us": [[99.0, p99]]}});
        let with = |rounds: Vec<Value>| json!({"report": {"scenario": "sweep"}, "rounds": rounds});
        let two = with(vec![at(100.0, 1.0), at(200.0, 2.0)]);
        assert!(groups(&two)[0].sweep("server", 99.0).is_empty());
        let three = with(vec![
            at(300.0, 9.0),
            at(100.0, 1.0),
            at(200.0, 2.0),
            at(100.0, 3.0),
        ]);
        assert_eq!(
            groups(&three)[0].sweep("server", 99.0),
            [
                (100.0, 100.0, Some(2.0)),
                (200.0, 200.0, Some(2.0)),
                (300.0, 250.0, Some(9.0))
            ]
        );
    }
}
