//! A record as one page: nothing is fetched, so it can be kept, mailed and printed. Drawn from the record's JSON alone,
//! so that an old record can be drawn again.

mod charts;
mod data;
mod svg;
mod table;

use std::{fmt::Write, fs, io, path::Path};

use serde_json::Value;

const STYLE: &str = include_str!("style.css");

/// Writes the page of a record.
pub(crate) fn write(path: &Path, record: &Value) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, page(record))
}

/// The page of a record.
pub(crate) fn page(record: &Value) -> String {
    let report = &record["report"];
    let is_tour = report["scenarios"].is_array();
    let is_suite = is_tour || report["targets"].is_array();
    let title = if is_tour {
        "Ringfork: every scenario".to_owned()
    } else if is_suite {
        "Ringfork: performance against targets".to_owned()
    } else {
        format!(
            "{}: {}",
            data::text(&report["scenario"]),
            data::text(&report["target"])
        )
    };
    let mut body = header(&title, record);
    if is_tour {
        body.push_str(&table::scenarios(report));
    } else if is_suite {
        body.push_str(&table::targets(report));
    } else {
        body.push_str(&table::objectives(report));
    }
    for group in data::groups(record) {
        body.push_str(&charts::section(&group, is_suite));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(&title)
    )
}

/// What was measured, where, when, and how to do it again.
fn header(title: &str, record: &Value) -> String {
    let machine = &record["machine"];
    let processors = machine["processors"].as_u64().unwrap_or(0);
    let facts = [
        (
            "machine",
            format!("{}, {processors} cores", data::text(&machine["processor"])),
        ),
        ("kernel", data::text(&record["kernel"])),
        ("commit", data::text(&record["commit"])),
        ("date", data::text(&record["date"])),
    ];
    let mut out = format!("<header>\n<h1>{}</h1>\n<dl>\n", escape(title));
    for (name, value) in facts {
        put(
            &mut out,
            format_args!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(&value)),
        );
    }
    put(
        &mut out,
        format_args!(
            "</dl>\n<p class=\"command\"><code>{}</code></p>\n</header>\n",
            words(&data::text(&record["command"]))
        ),
    );
    out
}

/// Text as HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// A command line as HTML: it may be broken before an option, not within its hyphens.
fn words(command: &str) -> String {
    let word = |word: &str| match word.strip_prefix('-') {
        Some(_) => format!("<span class=\"option\">{}</span>", escape(word)),
        None => escape(word),
    };
    command.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// A string takes whatever is written to it.
fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Value {
        json!({
            "date": "2026-11-21T08:24:16Z", "commit": "6e5b5d7", "kernel": "6.18",
            "machine": {"processor": "Xeon <fast> & quick", "processors": 2},
            "command": "ringfork-load fanout --spawn 'x \"y\"'",
            "report": {"scenario": "fanout", "target": "t", "offered_per_s": 5.0, "slo": {"met": false, "checks": [
                {"name": "lost", "met": false, "value": 3, "bound": 0},
                {"name": "corrupted", "met": true, "value": 0, "bound": 0},
            ]}},
            "rounds": [
                {"who": "server", "round": {"seconds": 1.0, "deliveries_per_s": 900.0, "curve_us": [[50.0, 90.0], [99.0, 200.0]]}},
                {"who": "forwarder", "round": {"seconds": 1.0, "deliveries_per_s": 1700.0, "curve_us": [[50.0, 40.0], [99.0, 70.0]]}},
            ],
        })
    }

    #[test]
    fn the_page_stands_alone_and_says_how_to_repeat_it() {
        let page = page(&record());
        for part in [
            "Xeon &lt;fast&gt; &amp; quick, 2 cores",
            "ringfork-load fanout <span class=\"option\">--spawn</span> 'x &quot;y&quot;'",
            "6e5b5d7",
            "byte forwarder",
            "lost",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for fetched in [
            "http:", "https:", "src=", "url(", "<script", "<link", "@import",
        ] {
            assert!(!page.contains(fetched), "{fetched}");
        }
        assert_eq!(
            page.matches("<svg").count(),
            2,
            "percentiles and throughput"
        );
    }

    #[test]
    fn each_tag_that_opens_is_closed() {
        let suite = json!({
            "command": "ringfork-load suite", "machine": {}, "report": {"scenario": "suite", "targets": [
                {"id": "a", "what": "a < b", "against": "byte forwarder", "at_least": 0.9, "median": 0.5, "interval": [0.4, 0.6],
                 "samples": 7, "ours": 9e5, "theirs": 1.7e6, "unit": "deliveries/s", "verdict": "missed"},
                {"id": "b", "what": "b", "at_most": 0.1, "verdict": "not run", "why": "no & time"},
            ]},
            "runs": [{"measure": "a", "record": record()}],
        });
        let tour = json!({
            "command": "ringfork-load suite --scenarios", "machine": {}, "report": {"scenario": "scenarios", "scenarios": [
                {"scenario": "a", "about": "a < b", "verdict": "met", "objectives": 12, "runs": 1},
                {"scenario": "b", "about": "b", "verdict": "missed", "runs": 3,
                 "missed": [{"name": "setup_us.p99", "met": false, "value": 61e3, "bound": 50e3}]},
                {"scenario": "c", "about": "c", "verdict": "wrong", "why": "lost 3 & more", "runs": 1},
            ]},
            "runs": [{"measure": "a", "record": record()}],
        });
        let toured = page(&tour);
        for part in [
            "1 of 3 hold, 2 missed, 0 open",
            "setup_us.p99 61k, bound 50k",
            "lost 3 &amp; more",
            "href=\"#a\"",
        ] {
            assert!(toured.contains(part), "{part}: {toured}");
        }
        for page in [page(&record()), page(&suite), toured] {
            let mut open: Vec<&str> = Vec::new();
            for tag in page.split('<').skip(1) {
                let tag = tag.split('>').next().unwrap();
                let name = tag
                    .trim_start_matches('/')
                    .split([' ', '/', '\n'])
                    .next()
                    .unwrap();
                if tag.starts_with('!') || tag.ends_with('/') || ["meta", "br"].contains(&name) {
                    continue;
                } else if tag.starts_with('/') {
                    assert_eq!(open.pop(), Some(name));
                } else {
                    open.push(name);
                }
            }
            assert!(open.is_empty(), "{open:?}");
        }
    }
}
