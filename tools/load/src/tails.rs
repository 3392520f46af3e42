//! Tail figures of several rounds: of each figure the median over the rounds without a machine hiccup. One bad round so
//! decides nothing, and a stall of the machine is not held against what ran on it.

use serde_json::{Map, Value, json};

use crate::{
    hist::{FIGURES, Latency},
    report::{Report, round3},
    stats::median,
    tally::Tally,
};

/// The rounds whose tails count: those without a hiccup, or all of them if there is none.
pub(crate) fn quiet<'a>(rounds: &[&'a Tally]) -> Vec<&'a Tally> {
    let quiet: Vec<&Tally> = rounds.iter().copied().filter(|t| !is_marked(t)).collect();
    if quiet.is_empty() {
        rounds.to_vec()
    } else {
        quiet
    }
}

/// Whether none of these rounds had a hiccup.
pub(crate) fn quiet_alone(rounds: &[Tally]) -> bool {
    !rounds.iter().any(is_marked)
}

/// Whether the machine disturbed a round.
pub(crate) fn is_marked(tally: &Tally) -> bool {
    tally.hiccup.is_some_and(|h| h.marked)
}

/// `{"p50":…,…}` in microseconds; nothing if nothing was recorded.
pub(crate) fn json(rounds: &[&Tally], of: impl Fn(&Tally) -> &Latency) -> Option<Value> {
    let quiet = quiet(rounds);
    let measured: Vec<&Latency> = quiet
        .into_iter()
        .map(of)
        .filter(|l| !l.is_empty())
        .collect();
    let figure = |(name, quantile): &(&str, f64)| {
        let us = median(measured.iter().map(|l| l.us(*quantile)));
        ((*name).to_owned(), round3(us))
    };
    (!measured.is_empty()).then(|| Value::Object(FIGURES.iter().map(figure).collect::<Map<_, _>>()))
}

/// How many rounds had a hiccup, and the worst of them; nothing if nobody looked.
pub(crate) fn hiccups(rounds: &[&Tally]) -> Option<Value> {
    let seen: Vec<_> = rounds.iter().filter_map(|t| t.hiccup).collect();
    (!seen.is_empty()).then(|| {
        json!({
            "rounds": seen.len(),
            "marked": seen.iter().filter(|h| h.marked).count(),
            "max_us": seen.iter().map(|h| h.max).max().unwrap_or(0) / 1000,
            "steal_ms": seen.iter().map(|h| h.steal_ms).sum::<u64>(),
        })
    })
}

/// Puts the tail figures of several rounds into a report, in the place of those of all rounds together.
pub(crate) fn tell(rounds: &[&Tally], report: &mut Report) {
    let hiccups = hiccups(rounds);
    if let Some(h) = &hiccups {
        report.line(format!(
            "machine   a hiccup in {} of {} rounds, the longest {} us, {} ms stolen",
            h["marked"], h["rounds"], h["max_us"], h["steal_ms"]
        ));
    }
    report.field("hiccups", hiccups);
    if rounds.len() < 2 {
        return;
    }
    let Some(figures) = json(rounds, |t| &t.delivery) else {
        return;
    };
    let text: Vec<String> = FIGURES
        .iter()
        .map(|(name, _)| format!("{name} {}", figures[*name]))
        .collect();
    report.line(format!(
        "delivery  {} us  (medians of {} rounds)",
        text.join("  "),
        quiet(rounds).len()
    ));
    report.field("delivery_us", figures);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::hiccup::Hiccup;

    /// A round with one delivery; `marked`: the machine disturbed it.
    pub(crate) fn round(us: u64, marked: bool) -> Tally {
        let mut t = Tally::new(0..1);
        t.delivery.record(us * 1000);
        t.hiccup = Some(Hiccup {
            max: 7_000_000,
            steal_ms: 10,
            marked,
        });
        t
    }

    fn p99(rounds: &[Tally]) -> f64 {
        let all: Vec<&Tally> = rounds.iter().collect();
        json(&all, |t| &t.delivery).unwrap()["p99"]
            .as_f64()
            .unwrap()
    }

    #[test]
    fn a_round_with_a_hiccup_is_no_part_of_the_median() {
        let rounds = [
            round(100, false),
            round(40_000, true),
            round(120, false),
            round(110, false),
            round(30_000, true),
        ];
        assert!((p99(&rounds) - 110.0).abs() < 0.2);
        let all: Vec<&Tally> = rounds.iter().collect();
        assert_eq!(
            hiccups(&all),
            Some(json!({"rounds": 5, "marked": 2, "max_us": 7000, "steal_ms": 50}))
        );
    }

    #[test]
    fn if_every_round_has_one_there_is_nothing_better_than_all() {
        let rounds = [round(100, true), round(300, true), round(200, true)];
        assert!((p99(&rounds) - 200.0).abs() < 0.2);
        assert_eq!(json(&[], |t| &t.delivery), None);
        assert_eq!(hiccups(&[&Tally::new(0..1)]), None);
    }
}
