//! The tables of a page: targets with their intervals, or the objectives of a single run.

use serde_json::Value;

use super::{data::text, escape, put};
use crate::number::short;

/// The table of a suite: each target, what came of it, and where its interval lies.
pub(super) fn targets(report: &Value) -> String {
    let rows = report["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let count = |words: &[&str]| {
        let of = rows
            .iter()
            .filter(|r| words.contains(&r["verdict"].as_str().unwrap_or("")));
        of.count()
    };
    let mut out = String::from("<section>\n<h2>Targets</h2>\n");
    put(
        &mut out,
        format_args!(
            "<p class=\"sum\">{} of {} met, {} missed, {} open{}</p>\n",
            count(&["met", "met within the interval"]),
            rows.len(),
            count(&["missed", "wrong"]),
            count(&["undecided", "not run"]),
            if report["quick"] == Value::Bool(true) {
                ". A quick run: short rounds, a first look."
            } else {
                "."
            }
        ),
    );
    out.push_str(
        "<div class=\"scroll\">\n<table>\n<thead><tr><th>what</th><th>against</th><th class=\"n\">target</th><th class=\"n\">median</th>\
         <th>95 % interval</th><th class=\"n\">ours</th><th class=\"n\">theirs</th><th class=\"n\">rounds</th><th>verdict</th></tr></thead>\n<tbody>\n",
    );
    for row in rows {
        let (bound, sign) = match (row["at_least"].as_f64(), row["at_most"].as_f64()) {
            (Some(b), _) => (b, "≥"),
            (None, b) => (b.unwrap_or(f64::NAN), "≤"),
        };
        let number = |key: &str| row[key].as_f64().map(short).unwrap_or_default();
        put(
            &mut out,
            format_args!(
                "<tr><td><a href=\"#{}\">{}</a></td><td>{}</td><td class=\"n\">{sign} {}</td><td class=\"n\">{}</td><td>{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>\n",
                escape(&text(&row["measure"])),
                escape(&whole_quantities(&text(&row["what"]))),
                escape(&whole_quantities(&text(&row["against"]))),
                short(bound),
                number("median"),
                whisker(row, bound, sign == "≥"),
                with_unit(&number("ours"), row),
                number("theirs"),
                row["samples"]
                    .as_u64()
                    .map_or_else(String::new, |n| n.to_string()),
                verdict(row)
            ),
        );
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    out.push_str(
        "<p class=\"note\">The bar is the interval, the tick its median, the line the target; to the right of the line is met. \
         From a quarter of what is asked for to four times, logarithmic.</p>\n</section>\n",
    );
    out
}

/// The table of a run of all scenarios: what each shows and whether all that it asks for held.
pub(super) fn scenarios(report: &Value) -> String {
    let rows = report["scenarios"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let count = |words: &[&str]| {
        let is = |r: &&Value| words.contains(&r["verdict"].as_str().unwrap_or(""));
        rows.iter().filter(is).count()
    };
    let mut out = format!(
        "<section>\n<h2>Scenarios</h2>\n<p class=\"sum\">{} of {} hold, {} missed, {} open.</p>\n\
         <div class=\"scroll\">\n<table>\n<thead><tr><th>scenario</th><th>shows</th><th class=\"n\">objectives</th>\
         <th class=\"n\">runs</th><th>verdict</th></tr></thead>\n<tbody>\n",
        count(&["met"]),
        rows.len(),
        count(&["missed", "wrong"]),
        count(&["not run"])
    );
    for row in rows {
        let name = escape(&text(&row["scenario"]));
        let whole = |key: &str| {
            row[key]
                .as_u64()
                .map_or_else(String::new, |n| n.to_string())
        };
        let missed = row["missed"].as_array().map_or(&[][..], Vec::as_slice);
        let told: Vec<String> = missed.iter().map(missed_objective).collect();
        put(
            &mut out,
            format_args!(
                "<tr><td><a href=\"#{name}\">{name}</a></td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}{}</td></tr>\n",
                escape(&whole_quantities(&text(&row["about"]))),
                whole("objectives"),
                whole("runs"),
                verdict(row),
                escape(
                    &told
                        .iter()
                        .map(|t| format!(" {t}"))
                        .collect::<Vec<_>>()
                        .join(";")
                ),
            ),
        );
    }
    out.push_str("</tbody>\n</table>\n</div>\n</section>\n");
    out
}

fn missed_objective(check: &Value) -> String {
    let number = |v: &Value| v.as_f64().map_or_else(|| text(v), short);
    format!(
        "{} {}, bound {}",
        text(&check["name"]),
        number(&check["value"]),
        number(&check["bound"])
    )
}

/// Keeps a number and its unit on one line.
fn whole_quantities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(' ') {
        let unit = word.trim_end_matches([',', ';', '.']);
        let is_unit = ["B", "KiB", "MiB", "%", "s", "ms", "sessions"].contains(&unit);
        let after_number = out.ends_with(|c: char| c.is_ascii_digit());
        match (out.is_empty(), is_unit && after_number) {
            (true, _) => {}
            (false, true) => out.push('\u{a0}'),
            (false, false) => out.push(' '),
        }
        out.push_str(word);
    }
    out
}

fn with_unit(number: &str, row: &Value) -> String {
    let unit = text(&row["unit"]);
    if number.is_empty() || unit.is_empty() {
        return number.to_owned();
    }
    format!("{number} <small>{}</small>", escape(&unit))
}

fn verdict(row: &Value) -> String {
    let word = text(&row["verdict"]);
    let class = match word.as_str() {
        "met" | "met within the interval" => "met",
        "missed" | "wrong" => "missed",
        _ => "open",
    };
    let why = match row["why"].as_str() {
        Some(why) => format!(": {why}"),
        None => String::new(),
    };
    let left_out = match row["left_out"].as_u64() {
        Some(n) => format!(" <small>{n} disturbed</small>"),
        None => String::new(),
    };
    format!(
        "<span class=\"verdict {class}\">{}</span>{}{left_out}",
        escape(&word),
        escape(&why)
    )
}

/// The interval as a bar over how far it is from the target, whichever way the target points.
fn whisker(row: &Value, bound: f64, at_least: bool) -> String {
    const WIDTH: f64 = 120.0;
    let (Some(low), Some(high), Some(median)) = (
        row["interval"][0].as_f64(),
        row["interval"][1].as_f64(),
        row["median"].as_f64(),
    ) else {
        return String::new();
    };
    let place = |v: f64| {
        let margin = if at_least { v / bound } else { bound / v };
        let nines = (margin.max(1e-9).log2() / 2.0).clamp(-1.0, 1.0);
        WIDTH / 2.0 * (1.0 + nines * 0.94)
    };
    let (a, b) = (place(low), place(high));
    let (from, width) = (a.min(b), (a - b).abs().max(1.5));
    let numbers = format!("{} to {}", short(low), short(high));
    format!(
        "<svg class=\"whisker\" viewBox=\"0 0 {WIDTH} 16\" role=\"img\" aria-label=\"{numbers}\">\
         <line class=\"grid\" x1=\"0\" y1=\"8\" x2=\"{WIDTH}\" y2=\"8\"/><line class=\"bound\" x1=\"{0}\" y1=\"1\" x2=\"{0}\" y2=\"15\"/>\
         <rect class=\"interval\" x=\"{from:.1}\" y=\"5\" width=\"{width:.1}\" height=\"6\"/>\
         <line class=\"median\" x1=\"{1:.1}\" y1=\"2.5\" x2=\"{1:.1}\" y2=\"13.5\"/></svg><small>{numbers}</small>",
        WIDTH / 2.0,
        place(median)
    )
}

/// The objectives of a single run; those that were missed first.
pub(super) fn objectives(report: &Value) -> String {
    let checks = report["slo"]["checks"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if checks.is_empty() {
        return String::new();
    }
    let missed = checks.iter().filter(|c| c["met"] == Value::Bool(false));
    let met = checks.iter().filter(|c| c["met"] == Value::Bool(true));
    let mut out = format!(
        "<section>\n<details{}>\n<summary>Objectives: {} of {} met</summary>\n<table class=\"rounds\">\n\
         <thead><tr><th>objective</th><th class=\"n\">value</th><th class=\"n\">bound</th><th></th></tr></thead>\n<tbody>\n",
        if missed.clone().next().is_some() {
            " open"
        } else {
            ""
        },
        met.clone().count(),
        checks.len()
    );
    for check in missed.chain(met) {
        let number = |v: &Value| v.as_f64().map_or_else(|| escape(&text(v)), short);
        let (class, word) = if check["met"] == Value::Bool(true) {
            ("met", "met")
        } else {
            ("missed", "missed")
        };
        put(
            &mut out,
            format_args!(
                "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td><span class=\"verdict {class}\">{word}</span></td></tr>\n",
                escape(&text(&check["name"])),
                number(&check["value"]),
                number(&check["bound"])
            ),
        );
    }
    out.push_str("</tbody>\n</table>\n</details>\n</section>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_with_its_unit() {
        assert_eq!(
            whole_quantities("1→4, 200 B, at 100 % of 5 things"),
            "1→4, 200\u{a0}B, at 100\u{a0}% of 5 things"
        );
    }
}
