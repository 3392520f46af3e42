//! The table `[instructions]` of `perf/targets.toml`: what a unit of each case may cost. The rest of the file is another's.

use std::{collections::BTreeMap, fmt::Write as _};

/// A count of so much more than its budget fails; as much less asks for a new one.
const TOLERANCE: f64 = 0.05;
const HEADER: &str = "[instructions]";
/// Stands above the table, and is written anew with it.
const PREFACE: &str = "\
# Instructions a unit under callgrind, written by `cargo count --rebase` and held to by `cargo count`: 5 % more fails.
# Profile `count` of Cargo.toml; the C library and memchr choose their code by the processor: this is one with AVX2.
";

/// What a case costs.
#[derive(Clone, Debug)]
pub(crate) struct Count {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// For one unit.
    pub(crate) instructions: f64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Budgets(BTreeMap<String, f64>);

/// What [`Budgets::judge`] says.
pub(crate) struct Verdict {
    /// For people: a line a case.
    pub(crate) table: String,
    /// Every count is within its budget.
    pub(crate) kept: bool,
}

impl Budgets {
    /// Reads the table out of the whole file; without one there are no budgets.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let file: toml::Table = text
            .parse()
            .map_err(|e| format!("perf/targets.toml: {e}"))?;
        let Some(table) = file.get("instructions") else {
            return Ok(Self::default());
        };
        let table = table.as_table().ok_or("[instructions] is a table")?;
        let number = |v: &toml::Value| v.as_float().or_else(|| Some(v.as_integer()? as f64));
        let budget = |(name, value): (&String, &toml::Value)| {
            let value = number(value).filter(|n| *n > 0.0);
            let value = value.ok_or_else(|| format!("[instructions] {name}: a number above 0"))?;
            Ok((name.clone(), value))
        };
        table.iter().map(budget).collect::<Result<_, _>>().map(Self)
    }

    /// Compares. A count without a budget is not kept: it would never be.
    pub(crate) fn judge(&self, counts: &[Count]) -> Verdict {
        let mut table = format!(
            "{:<34} {:>12} {:>12} {:>8}  a\n",
            "case", "counted", "budget", "change"
        );
        let mut kept = true;
        for Count {
            name,
            unit,
            instructions: n,
        } in counts
        {
            let budget = self.0.get(name).copied();
            let change = budget.map(|b| n / b - 1.0);
            let word = match change {
                None => "NO BUDGET",
                Some(more) if more > TOLERANCE => "OVER ITS BUDGET",
                Some(more) if more < -TOLERANCE => "cheaper: rebase",
                Some(_) => "",
            };
            kept &= change.is_some_and(|more| more <= TOLERANCE);
            let (budget, change) = (
                budget.unwrap_or(f64::NAN),
                100.0 * change.unwrap_or(f64::NAN),
            );
            // Writing to a string does not fail.
            let _ = writeln!(
                table,
                "{name:<34} {n:>12.1} {budget:>12.1} {change:>+7.1}%  {unit:<12} {word}"
            );
        }
        Verdict { table, kept }
    }

    /// The counts become the budgets; those of cases that are no longer `known` go.
    pub(crate) fn rebase(&mut self, counts: &[Count], known: &[String]) {
        for count in counts {
            self.0.insert(count.name.clone(), count.instructions);
        }
        self.0.retain(|name, _| known.contains(name));
    }

    /// The whole file with this table in the place of the one that it has, or at its end.
    pub(crate) fn written(&self, text: &str) -> String {
        let mut lines: Vec<&str> = text.lines().collect();
        let from = lines.iter().position(|l| l.trim() == HEADER);
        let rest = from.map_or(Vec::new(), |from| {
            let to = lines[from + 1..].iter().position(|l| l.starts_with('['));
            let mut rest = lines.split_off(to.map_or(lines.len(), |to| from + 1 + to));
            // What stands directly above the next table belongs to it.
            while let Some(line) = lines.pop_if(|l| l.starts_with('#') && to.is_some()) {
                rest.insert(0, line);
            }
            lines.truncate(from);
            rest
        });
        while lines
            .pop_if(|l| l.trim().is_empty() || PREFACE.lines().any(|p| p == *l))
            .is_some()
        {}
        let mut out: String = lines.iter().flat_map(|l| [l, "\n"]).collect();
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{PREFACE}{HEADER}");
        for (name, n) in &self.0 {
            let _ = writeln!(out, "{name:?} = {n:.2}");
        }
        if !rest.is_empty() {
            out.push('\n');
        }
        out.extend(rest.iter().flat_map(|l| [l, "\n"]));
        out
    }
}
