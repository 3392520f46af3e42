//! What was measured, kept: one file a run, with all that is needed to judge and to repeat it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::proc;

/// A record: machine, kernel, date, commit, command, the report, and every round in the order in which it ran.
pub(crate) fn of(report: &Value, rounds: &[Value]) -> Value {
    of_list(report, "rounds", rounds)
}

/// The same with another list than that of rounds, under its own name.
pub(crate) fn of_list(report: &Value, name: &str, list: &[Value]) -> Value {
    let (processor, count) = proc::processors();
    let command: Vec<String> = std::env::args().skip(1).collect();
    json!({
        "date": date(now()),
        "commit": commit(),
        "machine": {"processor": processor, "processors": count},
        "kernel": proc::kernel(),
        "command": typed(&command),
        "report": report,
        name: list,
    })
}

/// A command of this program as one would type it.
pub(crate) fn typed(words: &[String]) -> String {
    let quoted = words.iter().map(|w| {
        if w.contains(char::is_whitespace) {
            format!("'{w}'")
        } else {
            w.clone()
        }
    });
    let all: Vec<String> = quoted.collect();
    format!("ringfork-load {}", all.join(" "))
}

/// Writes a record to `DIR/<date>-<time>-<commit>-<scenario>.json`.
pub(crate) fn write(dir: &Path, record: &Value) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let text = |v: &Value| v.as_str().unwrap_or("run").to_owned();
    let (date, commit) = (text(&record["date"]), text(&record["commit"]));
    let scenario = text(&record["report"]["scenario"]);
    let file: String = format!("{date}-{commit}-{scenario}.json")
        .chars()
        .map(|c| if c == ':' { '-' } else { c })
        .collect();
    let path = dir.join(file);
    fs::write(&path, lines(record))?;
    Ok(path)
}

/// A record as text: a line each for what it has, and for each run or round of its list.
fn lines(record: &Value) -> String {
    let Some(map) = record.as_object() else {
        return record.to_string();
    };
    let fields = map.iter().map(|(key, value)| {
        let value = match value.as_array() {
            Some(list) => {
                let each: Vec<String> = list.iter().map(Value::to_string).collect();
                format!("[\n{}\n]", each.join(",\n"))
            }
            None => value.to_string(),
        };
        format!("{}: {value}", Value::from(key.as_str()))
    });
    let all: Vec<String> = fields.collect();
    format!("{{\n{}\n}}\n", all.join(",\n"))
}

/// What a record within another need not say again, since the other does, or since it follows from its rounds; and of the
/// objectives those that were met.
pub(crate) fn within(mut record: Value) -> Value {
    if let Some(map) = record.as_object_mut() {
        for key in ["machine", "kernel", "commit", "command"] {
            map.remove(key);
        }
    }
    if let Some(checks) = record
        .pointer_mut("/report/slo/checks")
        .and_then(Value::as_array_mut)
    {
        checks.retain(|c| c["met"] != Value::Bool(true));
    }
    record
}

/// A report without the rounds that stand beside it.
pub(crate) fn without_rounds(mut report: Value) -> Value {
    for side in ["server", "forwarder"] {
        let side = report.pointer_mut(&format!("/baseline/{side}"));
        if let Some(map) = side.and_then(Value::as_object_mut) {
            map.remove("rounds");
        }
    }
    report
}

/// The folder of this machine's records: `xeon-2.5ghz-2cores`.
pub(crate) fn machine_folder() -> String {
    let (processor, count) = proc::processors();
    folder_of(&processor, count)
}

/// Of a processor's name, what tells it from others, and how many cores there are.
fn folder_of(processor: &str, count: usize) -> String {
    const NOISE: [&str; 7] = ["intel", "amd", "processor", "cpu", "@", "core", "unknown"];
    let name = processor
        .to_lowercase()
        .replace("(r)", " ")
        .replace("(tm)", " ");
    let words = name
        .split_whitespace()
        .filter(|w| !NOISE.contains(w))
        .map(|w| {
            // 2.50GHz and 2.5GHz are the same.
            let number = w.strip_suffix("ghz").and_then(|n| n.parse::<f64>().ok());
            number.map_or_else(|| w.to_owned(), |n| format!("{n}ghz"))
        });
    let cores = format!("{count}cores");
    let all: Vec<String> = words.chain(std::iter::once(cores)).collect();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let plain = all.join("-");
    plain
        .chars()
        .map(|c| if is_plain(c) { c } else { '-' })
        .collect()
}

/// The date.
#[expect(clippy::disallowed_methods, reason = "a record carries the date")]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

fn now() -> u64 {
    wall_clock()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// The commit of the tree that the command runs in, with `+` if there are changes beside it.
fn commit() -> String {
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).output().ok()?;
        out.status
            .success()
            .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some(id) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => id,
        _ => format!("{id}+"),
    }
}

/// UTC, as `2026-01-31T23:59:59Z` (RFC 3339).
fn date(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    // Days since 0000-03-01, in eras of 400 years: the leap day so comes last in its year.
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line_a_run_and_reads_as_it_was() {
        let record =
            json!({"date": "d", "report": {"a": [1, 2]}, "runs": [{"b": "c\n"}, {"b": 2}]});
        let text = lines(&record);
        assert_eq!(text.lines().count(), 8, "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), record);
        let none = json!({"runs": []});
        assert_eq!(serde_json::from_str::<Value>(&lines(&none)).unwrap(), none);
    }

    #[test]
    fn what_stands_elsewhere_is_left_out() {
        let run = json!({"kernel": "k", "date": "d", "report": {"slo": {"checks": [
            {"name": "lost", "met": true}, {"name": "p99", "met": false},
        ]}}, "rounds": [1]});
        let rest = json!({"date": "d", "report": {"slo": {"checks": [{"name": "p99", "met": false}]}}, "rounds": [1]});
        assert_eq!(within(run), rest);
        let report = json!({"baseline": {"ratio": 1, "server": {"rounds": [1], "x": 2}}});
        let rest = json!({"baseline": {"ratio": 1, "server": {"x": 2}}});
        assert_eq!(without_rounds(report), rest);
    }

    #[test]
    fn machines_have_folders() {
        for (processor, folder) in [
            ("Intel(R) Xeon(R) Processor @ 2.50GHz", "xeon-2.5ghz-2cores"),
            (
                "AMD EPYC 7763 64-Core Processor",
                "epyc-7763-64-core-2cores",
            ),
            ("", "2cores"),
        ] {
            assert_eq!(folder_of(processor, 2), folder);
        }
    }

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_795_230_245), "2026-11-21T03:04:05Z");
        assert_eq!(date(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
