//! What has to hold of a result: a figure of the report and a bound.

use serde_json::{Value, json};

use crate::{report::Check, stats::Bound};

/// One figure and where it has to lie.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Objective {
    /// The place in the report's JSON, in dots: `delivery_us.p99`.
    pub(crate) figure: String,
    pub(crate) bound: Bound,
}

impl Objective {
    /// Holds it against a report. A figure that was not measured misses.
    pub(crate) fn check(&self, report: &Value) -> Check {
        let value = self
            .figure
            .split('.')
            .try_fold(report, |at, key| at.get(key))
            .and_then(Value::as_f64);
        let name = self.figure.clone();
        match (value, self.bound) {
            (Some(value), Bound::AtMost(bound)) => Check::at_most(name, value, bound),
            (Some(value), Bound::AtLeast(bound)) => Check::at_least(name, value, bound),
            (None, Bound::AtMost(bound) | Bound::AtLeast(bound)) => Check {
                name: name.into(),
                met: false,
                value: json!("not measured"),
                bound: json!(bound),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(figure: &str, bound: Bound) -> bool {
        let report = json!({"delivery_us": {"p99": 7.5}, "ratio": 2, "name": "x"});
        let objective = Objective {
            figure: figure.to_owned(),
            bound,
        };
        objective.check(&report).met
    }

    #[test]
    fn a_figure_is_found_by_its_path_and_a_missing_one_misses() {
        assert!(met("delivery_us.p99", Bound::AtMost(7.5)));
        assert!(!met("delivery_us.p99", Bound::AtMost(7.4)));
        assert!(met("ratio", Bound::AtLeast(2.0)));
        assert!(!met("ratio", Bound::AtLeast(2.1)));
        for absent in ["delivery_us.p50", "setup_us.p99", "name", ""] {
            assert!(!met(absent, Bound::AtMost(1e9)), "{absent}");
            assert!(!met(absent, Bound::AtLeast(0.0)), "{absent}");
        }
    }
}
