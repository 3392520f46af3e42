//! Server and byte forwarder in turn: the same traffic, the same minutes, the same machine. Only the ratio means anything.

use serde_json::{Value, json};

use crate::{
    report::{busy, round3},
    slow,
    stats::median,
    tails,
    tally::{Tally, as_f64},
};

/// Names of the ratios of tail figures, and the figures.
const TAIL_RATIOS: [(&str, &str); 3] = [
    ("p50_ratio", "p50"),
    ("p99_ratio", "p99"),
    ("p999_ratio", "p999"),
];

/// Rounds of both, in the order in which they ran.
#[derive(Default)]
pub(crate) struct Rounds {
    pub(crate) server: Vec<Tally>,
    pub(crate) forwarder: Vec<Tally>,
}

impl Rounds {
    /// Median deliveries a second of the server over the forwarder's.
    pub(crate) fn ratio(&self) -> f64 {
        median(self.server.iter().map(Tally::deliveries_per_s))
            / median(self.forwarder.iter().map(Tally::deliveries_per_s))
    }

    /// The ratio of each pair of neighbours.
    fn pair_ratios(&self) -> Vec<f64> {
        let pairs = self.server.iter().zip(&self.forwarder);
        pairs
            .map(|(s, f)| s.deliveries_per_s() / f.deliveries_per_s())
            .collect()
    }

    /// For `"baseline"` in the report.
    pub(crate) fn json(&self) -> Value {
        let mut all = json!({
            "rounds": self.server.len(),
            "ratio": round3(self.ratio()),
            "pair_ratios": self.pair_ratios().into_iter().map(round3).collect::<Vec<_>>(),
            "server": side(&self.server),
            "forwarder": side(&self.forwarder),
        });
        for (name, figure) in TAIL_RATIOS {
            let of = |side: &str| all[side]["delivery_us"][figure].as_f64();
            if let (Some(server), Some(forwarder)) = (of("server"), of("forwarder")) {
                all[name] = round3(server / forwarder);
            }
        }
        all
    }

    /// For people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = [("server   ", &self.server), ("forwarder", &self.forwarder)]
            .into_iter()
            .map(|(name, side)| {
                let rates: Vec<String> = side
                    .iter()
                    .map(|t| format!("{:.0}k", t.deliveries_per_s() / 1000.0))
                    .collect();
                let median_of = |f: &dyn Fn(&Tally) -> Option<f64>| median(side.iter().filter_map(f));
                format!(
                    "{name} {:>9.0} deliveries/s ({}), {:.0} ns CPU a delivery, busy {:.2}, generator busy {:.2}",
                    median(side.iter().map(Tally::deliveries_per_s)),
                    rates.join(" "),
                    median_of(&Tally::server_cpu_per_delivery),
                    median_of(&|t| Some(as_f64(t.server_cpu_ns?) / 1e9 / t.seconds())),
                    median_of(&|t| Some(as_f64(t.own_cpu_ns?) / 1e9 / t.seconds())),
                )
            })
            .collect();
        lines.push(format!("ratio {:.3}", self.ratio()));
        for (name, side) in [("server", &self.server), ("forwarder", &self.forwarder)] {
            let bound = side.iter().filter(|t| t.is_generator_bound()).count();
            if bound > 0 {
                lines.push(format!(
                    "in {bound} of {} rounds the generator, not the {name}, set the pace: that rate is a lower bound",
                    side.len()
                ));
            }
        }
        lines
    }
}

fn side(rounds: &[Tally]) -> Value {
    let all: Vec<&Tally> = rounds.iter().collect();
    json!({
        "delivery_us": tails::json(&all, |t| &t.delivery),
        "deliveries_per_s": round3(median(rounds.iter().map(Tally::deliveries_per_s))),
        "generator_bound_rounds": rounds.iter().filter(|t| t.is_generator_bound()).count(),
        "rounds": rounds.iter().map(round).collect::<Vec<_>>(),
    })
}

/// One round, in short.
pub(crate) fn round(t: &Tally) -> Value {
    let mut all = serde_json::Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            all.insert(name.to_owned(), value);
        }
    };
    put("deliveries_per_s", Some(round3(t.deliveries_per_s())));
    put("seconds", Some(round3(t.seconds())));
    put("delivered", Some(json!(t.delivered)));
    put("lost", Some(json!(t.lost())));
    put(
        "cpu_ns_per_delivery",
        t.server_cpu_per_delivery().map(round3),
    );
    put("busy", busy(t.server_cpu_ns, t));
    put("generator_busy", busy(t.own_cpu_ns, t));
    put("delivery_us", t.delivery.json());
    put("send_lag_us", t.lag.json());
    put("hiccup", t.hiccup.map(|h| h.json()));
    put("slow_device", t.apart.as_ref().map(slow::json));
    put("offered_per_s", t.offered_per_s.map(round3));
    Value::Object(all)
}

/// One round, for the record: with its distribution, and its rate over time in slots of time.
pub(crate) fn round_in_full(t: &Tally) -> Value {
    let mut all = round(t);
    if let Some(map) = all.as_object_mut() {
        if let Some(curve) = t.delivery.curve() {
            map.insert("curve_us".to_owned(), curve);
        }
        map.insert("over_time".to_owned(), t.series.json());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_that_computes_all_the_time_beside_an_idle_server_is_the_bound() {
        let busy = |own: u64, server: u64| {
            let mut t = Tally::new(0..1_000_000_000);
            (t.own_cpu_ns, t.server_cpu_ns) = (Some(own), Some(server));
            t.is_generator_bound()
        };
        assert!(busy(990_000_000, 500_000_000));
        assert!(!busy(990_000_000, 990_000_000));
        assert!(!busy(500_000_000, 500_000_000));
        assert!(
            !Tally::new(0..1).is_generator_bound(),
            "unknown is not bound"
        );
    }

    #[test]
    fn the_ratio_is_that_of_the_medians_so_one_bad_round_does_not_decide() {
        let round = |per_s: u64| {
            let mut t = Tally::new(0..1_000_000_000);
            t.delivered_in_window = per_s;
            t
        };
        let rounds = Rounds {
            server: [90, 10, 80].map(round).into(),
            forwarder: [100, 100, 500].map(round).into(),
        };
        assert!((rounds.ratio() - 0.8).abs() < 1e-9);
        assert_eq!(rounds.json()["pair_ratios"], json!([0.9, 0.1, 0.16]));
    }
}
