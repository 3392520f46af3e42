//! Checks on the tree itself: what `src/lib.rs` and the README promise of it holds.
//!
//! Each law is a table or a few lines here. Code is looked at without its comments and texts, so that a law may be named
//! where it is explained.

#[path = "tidy/source.rs"]
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use source::{Source, all};

/// Who may use what of this crate: imports run one way. `config` and `limits` are read by those who make a shard's world
/// and run it; the rooms below get their `Settings` from them.
const ROOMS: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("ids", &[]),
    ("redact", &[]),
    ("distribution", &[]),
    ("wire", &[]),
    ("buf", &["ids"]),
    ("timer", &["time"]),
    ("share", &[]),
    (
        "msrp",
        &[
            "time",
            "timer",
            "ids",
            "share",
            "distribution",
            "wire",
            "buf",
        ],
    ),
    ("sip", &["time", "timer", "ids", "share", "wire"]),
    ("policy", &["time", "ids", "wire"]),
    ("store", &["time", "ids", "wire"]),
    ("config", &["msrp"]),
    ("limits", &["config"]),
    (
        "session",
        &[
            "time", "timer", "ids", "share", "redact", "wire", "msrp", "sip", "policy", "store",
        ],
    ),
    (
        "shard",
        &[
            "time",
            "timer",
            "ids",
            "share",
            "redact",
            "distribution",
            "wire",
            "buf",
            "msrp",
            "sip",
            "policy",
            "store",
            "session",
            "config",
            "limits",
        ],
    ),
    ("io", &["time", "ids", "buf", "limits", "shard"]),
    (
        "services",
        &[
            "time", "ids", "redact", "config", "limits", "shard", "io", "store",
        ],
    ),
    ("demo", &["wire", "io"]),
];

/// Who may use which crate. A room that is a prefix of a file's path gives that file its crates too.
const CRATES: &[(&str, &[&str])] = &[
    ("src/wire", &["memchr"]),
    ("src/wire/xml", &["roxmltree"]),
    ("src/buf", &["bytes", "slotmap"]),
    ("src/ids", &["slotmap"]),
    ("src/timer", &["slotmap"]),
    ("src/share", &["foldhash"]),
    ("src/limits", &["bytes"]),
    ("src/msrp", &["slotmap", "arrayvec", "foldhash", "rand"]),
    (
        "src/sip",
        &[
            "memchr", "slotmap", "arrayvec", "foldhash", "md5", "sha2", "rand",
        ],
    ),
    (
        "src/session",
        &["memchr", "slotmap", "arrayvec", "foldhash", "rand"],
    ),
    ("src/policy", &["slotmap", "arrayvec", "foldhash"]),
    (
        "src/shard",
        &[
            "crossbeam",
            "slotmap",
            "arrayvec",
            "foldhash",
            "rand",
            "tracing",
        ],
    ),
    (
        "src/io",
        &[
            "io_uring",
            "libc",
            "rustix",
            "rand",
            "crossbeam",
            "slotmap",
            "tracing",
            "thiserror",
            "mimalloc",
        ],
    ),
    ("src/store", &["bytes", "thiserror"]),
    (
        "src/services",
        &[
            "tokio_uring",
            "tokio",
            "bytes",
            "crossbeam",
            "hyper",
            "hyper_util",
            "http_body_util",
            "prometheus_client",
            "serde",
            "serde_json",
            "sd_notify",
            "thiserror",
            "tracing",
            "tracing_subscriber",
            "tracing_appender",
        ],
    ),
    (
        "src/config",
        &["toml", "serde", "annotate_snippets", "thiserror"],
    ),
    ("src/demo", &["serde", "serde_json", "thiserror"]),
    (
        "src/main",
        &["clap", "mimalloc", "serde_json", "tracing", "ringfork"],
    ),
    (
        "tools/load",
        &[
            "ringfork",
            "tokio_uring",
            "tokio",
            "rustix",
            "bytes",
            "clap",
            "hdrhistogram",
            "mimalloc",
            "rand",
            "serde_json",
            "toml",
        ],
    ),
    // The baseline's raw ring: `libc` for the structs that its entries point to.
    ("tools/load/src/forward/uring", &["io_uring", "libc"]),
    // The kernel's note of a datagram's arrival: a control message that the safe crate does not read.
    ("tools/load/src/arrival", &["libc"]),
];

/// Files that hold one idea and need more than 600 lines for it.
const LONG: &[(&str, &str)] = &[
    (
        "src/demo/phone.rs",
        "a whole SIP and MSRP peer, kept apart from the engine's own rooms",
    ),
    (
        "tests/protocol/msrp_harness.rs",
        "a whole peer around a plane, shared by the MSRP protocol tests",
    ),
];

/// The lines of one law's offenders, or nothing.
#[track_caller]
fn nobody(law: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{law}:\n  {}", offenders.join("\n  "));
}

/// The room of a file under `src/`: its folder, or its own name.
fn room(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/")?;
    Some(rest.split(['/', '.']).next().unwrap_or(rest))
}

#[test]
fn imports_run_one_way() {
    let mut offenders = Vec::new();
    for file in all(&["src"]) {
        let name = room(&file.path).expect("under src");
        if ["lib", "main"].contains(&name) {
            continue;
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(r, _)| *r == name) else {
            offenders.push(format!(
                "{}: the room {name:?} is not in the table",
                file.path
            ));
            continue;
        };
        for used in file.rooms_used() {
            if used != name && !allowed.contains(&used.as_str()) {
                offenders.push(format!("{}: {name} must not use {used}", file.path));
            }
        }
    }
    nobody("imports run one way", offenders);
}

#[test]
fn the_table_of_rooms_has_no_circle() {
    let mut below: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    // Each row uses only rows above it; so there is no circle.
    for (room, uses) in ROOMS {
        for used in *uses {
            assert!(
                below.contains_key(used),
                "{room} uses {used}, which stands below it"
            );
        }
        below.insert(room, uses.iter().copied().collect());
    }
}

#[test]
fn each_room_uses_its_own_crates() {
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap()
        + &std::fs::read_to_string("tools/load/Cargo.toml").unwrap();
    let crates = source::dependencies(&manifest);
    assert!(
        crates.contains("io_uring") && crates.contains("tokio_uring"),
        "{crates:?}"
    );
    let mut offenders = Vec::new();
    for file in all(&["src", "tools"]) {
        let mut allowed: BTreeSet<&str> = BTreeSet::new();
        for (prefix, names) in CRATES {
            let rest = file.path.strip_prefix(prefix);
            if rest.is_some_and(|r| r.starts_with(['/', '.'])) {
                allowed.extend(names.iter());
            }
        }
        for used in file.crates_used(&crates) {
            if !allowed.contains(used.as_str()) {
                offenders.push(format!("{}: {used}", file.path));
            }
        }
    }
    nobody(
        "a crate is used in the rooms that the table gives it to",
        offenders,
    );
}

#[test]
fn the_load_generator_sees_wire_alone() {
    let mut offenders = Vec::new();
    for file in all(&["tools"]) {
        for (line, rest) in file.after("ringfork::") {
            if !rest.starts_with("wire") {
                offenders.push(format!("{}:{line}", file.path));
            }
        }
    }
    nobody(
        "a bug of ours must not hide in the tool that judges us",
        offenders,
    );
}

#[test]
fn unsafe_is_in_io_alone() {
    let mut offenders = Vec::new();
    for file in all(&["src", "tools"]) {
        // The load generator's baseline has a ring of its own, one file, so that ours cannot hide a bug in its judge; and a
        // datagram's time of arrival is in a control message of the kernel's.
        let judges = [
            "tools/load/src/forward/uring.rs",
            "tools/load/src/arrival.rs",
        ];
        if !file.path.starts_with("src/io/") && !judges.contains(&file.path.as_str()) {
            let lines = file.words("unsafe");
            offenders.extend(lines.map(|line| format!("{}:{line}", file.path)));
        }
    }
    nobody(
        "`unsafe` is in src/io, in the baseline's ring and at the kernel's notes of arrival alone",
        offenders,
    );
}

#[test]
fn clocks_are_read_in_io_alone() {
    let mut offenders = Vec::new();
    for file in all(&["src"]) {
        // The services wait, so they need tokio's clock; a demonstration's peers wait for sockets.
        let tokio =
            file.path.starts_with("src/services/") && !file.raw.contains("std::time::Instant");
        if file.path.starts_with("src/io/") || tokio || file.path.starts_with("src/demo/") {
            continue;
        }
        for clock in ["Instant::now", "SystemTime::now"] {
            let production = file.production();
            let lines = production.after(clock);
            offenders.extend(lines.map(|(line, _)| format!("{}:{line}: {clock}", file.path)));
        }
    }
    nobody(
        "a clock is read in src/io alone; elsewhere `now` is an argument",
        offenders,
    );
}

#[test]
fn each_module_opens_with_its_law() {
    let mut offenders = Vec::new();
    for file in all(&["src", "tests", "tools", "benches"]) {
        let tests_beside_code = file.path.starts_with("src/") && file.path.ends_with("/tests.rs");
        let first = file
            .raw
            .lines()
            .find(|l| !l.trim().is_empty())
            .unwrap_or("");
        if !first.starts_with("//!") && !tests_beside_code {
            offenders.push(file.path);
        }
    }
    nobody("each module opens with `//!`", offenders);
}

#[test]
fn a_file_holds_one_idea() {
    let mut offenders = Vec::new();
    let files = all(&["src", "tests", "tools", "benches"]);
    for file in &files {
        let lines = file.raw.lines().count();
        let excused = LONG.iter().any(|(path, _)| *path == file.path);
        if lines > 600 && !excused {
            offenders.push(format!("{}: {lines} lines", file.path));
        }
    }
    for (path, _) in LONG {
        let lines = files
            .iter()
            .find(|f| f.path == *path)
            .map(|f| f.raw.lines().count());
        if lines.is_none_or(|n| n <= 600) {
            offenders.push(format!("{path} needs no excuse any more"));
        }
    }
    nobody(
        "600 lines hold an idea, or the list says why not",
        offenders,
    );
}

#[test]
fn nothing_is_left_to_do_or_switched_off() {
    let mut offenders = Vec::new();
    for file in all(&["src", "tests", "tools", "benches"]) {
        for stub in ["todo!", "unimplemented!", "#[ignore", "dbg!"] {
            let lines = file.after(stub);
            offenders.extend(lines.map(|(line, _)| format!("{}:{line}: {stub}", file.path)));
        }
    }
    nobody("no stub, no switched-off test", offenders);
}

/// README's invariant: who looks for a bound finds it, or where it stands, in `limits.rs`.
#[test]
fn bounds_stand_in_limits_or_are_named_there() {
    let limits = std::fs::read_to_string("src/limits.rs").unwrap();
    let mut offenders = Vec::new();
    for file in all(&["src"]) {
        let path = file.path.strip_prefix("src/").expect("under src");
        // A demonstration's peers hold what they are sent in seconds, and end.
        if path == "limits.rs" || path.starts_with("demo/") {
            continue;
        }
        let folder = path.split_once('/').map(|(room, _)| format!("`{room}/`"));
        let named = limits.contains(&format!("`{path}`"))
            || folder.is_some_and(|folder| limits.contains(&folder));
        for (line, rest) in file.production().after("const ") {
            let name = rest.split(':').next().unwrap_or("");
            if !named && (name.ends_with("_MAX") || name.starts_with("MAX_")) {
                offenders.push(format!("{}:{line}: {name}", file.path));
            }
        }
    }
    nobody(
        "a bound stands in src/limits.rs, or its opening names the file",
        offenders,
    );
}

/// What README gives as the whole check is what must hold before a change is taken.
#[test]
fn readme_and_ci_run_the_same_tests() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let ci = std::fs::read_to_string(".ci/run").unwrap();
    let has = |text: &str, line: &str| text.lines().any(|l| l.trim_start().starts_with(line));
    assert!(has(&readme, "cargo test --workspace "));
    assert!(has(&ci, "closing cargo test --locked --workspace"));
}

/// The catalogue of requirements, and what was settled beside it: copies, so that a clone can look every id up.
const CATALOGUE: &str = "tests/spec";

/// Where the originals lie for those who have them.
const ORIGINALS: &str = "../shared/spec";

/// The ids of the catalogue.
fn known_ids() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for name in ["requirements.toml", "rfc-requirements.toml"] {
        let path = Path::new(CATALOGUE).join(name);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{} is part of the tree: {e}", path.display()));
        let before = known.len();
        known.extend(text.lines().filter_map(|l| {
            let id = l.strip_prefix("id = \"")?.strip_suffix('"')?;
            Some(id.to_owned())
        }));
        assert!(known.len() > before + 50, "{name} was read");
    }
    known
}

/// Ids are looked up in the copies. Where an original beside the tree has gone on, that is said and is no fault of the tree: it is
/// copied anew together with what it changes.
#[test]
fn the_copies_are_there_and_one_that_is_behind_is_named() {
    let mut copies: Vec<_> = std::fs::read_dir(CATALOGUE)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    copies.sort();
    assert_eq!(
        copies,
        [
            "cpm-notes.md",
            "requirements.toml",
            "rfc-requirements.toml",
            "settled.md"
        ]
    );
    for name in copies {
        // A clone by itself has the copies alone.
        let Ok(original) = std::fs::read(Path::new(ORIGINALS).join(&name)) else {
            continue;
        };
        let copy = std::fs::read(Path::new(CATALOGUE).join(&name)).unwrap();
        assert!(!copy.is_empty(), "{} says something", name.display());
        if copy != original {
            eprintln!("{}: the copy is behind its original", name.display());
        }
    }
}

/// Every id that is written anywhere is one of the catalogue, in a clone of the tree alone as well.
#[test]
fn requirement_ids_exist() {
    let known = known_ids();
    let mut offenders = Vec::new();
    let (mut cited, mut tested) = (BTreeSet::new(), BTreeSet::new());
    for file in all(&["src", "tests", "tools"]) {
        for (line, id) in file.ids() {
            if !known.contains(&id) {
                offenders.push(format!("{}:{line}: [{id}]", file.path));
            }
            if file.in_test(line) {
                tested.insert(id);
            } else {
                cited.insert(id);
            }
        }
    }
    let untested: Vec<_> = cited.difference(&tested).cloned().collect();
    println!("cited in code, named by no test: {}", untested.join(" "));
    nobody("an id in brackets is one of the catalogue", offenders);
}

#[test]
fn waivers_are_few_and_have_reasons() {
    let text = std::fs::read_to_string("tests/waived.toml").unwrap();
    let table: toml::Table = text.parse().expect("waived.toml is TOML");
    let list = table
        .get("waived")
        .and_then(|w| w.as_array())
        .map_or(&[][..], Vec::as_slice);
    assert!(list.len() <= 5, "five deliberate exceptions at most");
    let known = known_ids();
    for waiver in list {
        let id = waiver.get("id").and_then(toml::Value::as_str);
        assert!(
            id.is_some_and(|id| known.contains(id)),
            "{waiver:?} waives nothing of the catalogue"
        );
        let why = waiver
            .get("why")
            .and_then(toml::Value::as_str)
            .unwrap_or("");
        assert!(
            why.len() > 20,
            "{waiver:?} says what a user sees on the wire"
        );
    }
}

#[test]
fn the_tables_are_as_the_tree_is() {
    for (prefix, _) in CRATES {
        let is = [format!("{prefix}.rs"), (*prefix).to_owned()];
        assert!(
            is.iter().any(|p| Path::new(p).exists()),
            "{prefix} is in the table only"
        );
    }
    for (room, _) in ROOMS {
        let is = [format!("src/{room}.rs"), format!("src/{room}/mod.rs")];
        assert!(
            is.iter().any(|p| Path::new(p).exists()),
            "{room} is in the table only"
        );
    }
}

#[test]
fn the_checks_see_what_they_are_for() {
    let source = |text: &str| Source::new("src/wire/x.rs", text);
    let s = source(
        "//! law\nuse crate::{ids::ConnId, msrp::{self, Ack}, time};\nfn f() { crate::sip::g(); }\n\
         // use crate::shard;\nconst T: &str = \"crate::io unsafe\";\nconst R: &str = r#\"\"crate::demo\"#;\n\
         use std::collections::BTreeMap;\nfn g<'a>(c: char) -> bool { c == '\"' && memchr::memchr(1, b\"\") == None }\n\
         use bytes::Bytes;\nfn h() { let unsafe_ = 1; }\n#[cfg(test)]\nmod tests { use crate::services; use rand::Rng; }\n",
    );
    let rooms: Vec<_> = s.rooms_used().into_iter().collect();
    assert_eq!(rooms, ["ids", "msrp", "sip", "time"]);
    let crates = ["memchr", "bytes", "rand"].map(str::to_owned).into();
    let used: Vec<_> = s.crates_used(&crates).into_iter().collect();
    assert_eq!(used, ["bytes", "memchr"]);
    assert_eq!(s.words("unsafe").count(), 0);
    assert_eq!(
        source("//! x\nunsafe { }\n")
            .words("unsafe")
            .collect::<Vec<_>>(),
        [2]
    );
    let ids: Vec<_> = source("// RFC 4975 §9. [MSRP-FRAME-06]\nlet a = b[X-1];\n")
        .ids()
        .collect();
    assert_eq!(ids, [(1, "MSRP-FRAME-06".to_owned())]);
}
