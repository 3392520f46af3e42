//! From the text of a file to a [`Scenario`]: every key by its own rule, then what must hold between them.

use ringfork::wire::sdp::Setup;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    Kind, Objective, Pace, Scenario, Traffic, lives,
    walk::{Problem, Section, Walk},
};
use crate::{
    beside::Beside, chunks::Chunking, idle::Idle, media::MediaStyle, plane::body_bytes_min,
    sip_text::Transport, slow::SlowDevice, stats::Bound, sweep::Sweep, ua::Style,
};

/// The longest text that is read.
const TEXT_BYTES_MAX: usize = 1 << 20;

pub(super) fn read(name: &str, text: &str) -> Result<Scenario, Vec<Problem>> {
    let mut walk = Walk::new(text);
    if text.len() > TEXT_BYTES_MAX {
        walk.problem("", &(0..0), "the file is too long", "1 MiB");
        return Err(walk.into_problems());
    }
    let Some(document) = walk.document(text) else {
        return Err(walk.into_problems());
    };
    let scenario = top(&mut walk, name, document.get_ref());
    let problems = walk.into_problems();
    match scenario {
        Some(scenario) if problems.is_empty() => Ok(scenario),
        Some(_) | None => Err(problems),
    }
}

type Value<'a> = Spanned<DeValue<'a>>;

fn top<'a>(walk: &mut Walk<'a>, name: &str, table: &'a DeTable<'a>) -> Option<Scenario> {
    let mut s = Section::new(walk, "", 0..0, Some(table));
    let mut about = String::new();
    s.text("about", "a sentence", &mut about, |t| Some(t.to_owned()));
    let words: Vec<(&str, Option<usize>)> = KINDS
        .iter()
        .enumerate()
        .map(|(i, (word, _))| (*word, Some(i)))
        .collect();
    let mut kind = None;
    s.choice("kind", &words, &mut kind);
    if !s.has("kind") {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        s.problem("kind", "is missing", all.join(", "));
    }
    let [traffic, signalling] = ["traffic", "signalling"].map(|key| s.take(key));
    let own = kind.and_then(|kind| {
        let (word, _) = KINDS[kind];
        s.take(word)
    });
    let objectives = s.take("objective");
    s.close();

    let may_cut = kind.is_some_and(|kind| CUTTING.contains(&KINDS[kind].0));
    let traffic = section(walk, "traffic", traffic, |s| self::traffic(s, may_cut));
    let signalling = section(walk, "signalling", signalling, self::signalling);
    let kind = kind.map(|kind| {
        let (word, read) = KINDS[kind];
        section(walk, word, own, read)
    });
    let objectives = objectives_of(walk, objectives, kind.as_ref());
    Some(Scenario {
        name: name.to_owned(),
        about,
        kind: kind?,
        traffic,
        signalling,
        objectives,
    })
}

/// The kinds by the word that a file names them with, which is also the name of the table with their own settings.
const KINDS: &[(&str, ReadKind)] = &[
    ("fanout", |_| Kind::Fanout),
    ("slow-device", |s| Kind::SlowDevice(SlowDevice::read(s))),
    ("beside", |s| Kind::Beside(Beside::read(s))),
    ("idle", |s| Kind::Idle(Idle::read(s))),
    ("sweep", |s| Kind::Sweep(Sweep::read(s))),
    ("reply", |_| Kind::Reply),
    ("activity-race", |_| Kind::ActivityRace),
    ("churn", |s| Kind::Churn(lives::churn(s))),
    ("mixed", |s| Kind::Mixed(lives::mixed(s))),
    ("register-storm", |s| {
        Kind::RegisterStorm(lives::register_storm(s))
    }),
    ("reconnect-storm", |_| Kind::ReconnectStorm),
];

/// The kinds whose senders write a stream of messages, which may be cut into chunks.
const CUTTING: &[&str] = &["fanout", "slow-device", "sweep"];

type ReadKind = fn(&mut Section<'_, '_>) -> Kind;

/// A table by its reader; one that is absent is read as an empty one.
fn section<'a, T>(
    walk: &mut Walk<'a>,
    name: &'a str,
    value: Option<&'a Value<'a>>,
    read: impl FnOnce(&mut Section<'_, 'a>) -> T,
) -> T {
    let table = value.and_then(|v| v.get_ref().as_table());
    let at = value.map_or(0..0, Spanned::span);
    if value.is_some() && table.is_none() {
        walk.problem(name, &at, "a table is expected", format!("[{name}]"));
    }
    let mut s = Section::new(walk, name, at, table);
    let it = read(&mut s);
    s.close();
    it
}

/// `may_cut`: messages may go in chunks.
fn traffic(s: &mut Section<'_, '_>, may_cut: bool) -> Traffic {
    let mut t = Traffic::default();
    s.number("sessions", 1..=99_999, &mut t.sessions);
    s.number("devices", 1..=64, &mut t.devices);
    s.number(
        "body_bytes",
        body_bytes_min() as u64..=1 << 30,
        &mut t.body_bytes,
    );
    let mut chunking = Chunking {
        bytes: 0,
        interleave: 1,
    };
    if may_cut {
        s.number("chunk_bytes", 1..=1 << 20, &mut chunking.bytes);
        s.number("interleave", 1..=64, &mut chunking.interleave);
        if s.has("interleave") && !s.has("chunk_bytes") {
            s.problem("interleave", "there are no chunks", "with chunk_bytes");
        }
    }
    t.chunking = (chunking.bytes > 0).then_some(chunking);
    let rate = s.real_if_any("rate_per_s", 0.001..=1e8);
    let mut window = 0_u32;
    s.number("window", 1..=1 << 20, &mut window);
    if s.has("rate_per_s") && s.has("window") {
        let allowed =
            "rate_per_s for an open loop, window for a closed one, neither for saturation";
        s.problem("window", "an open loop has no window", allowed);
    }
    t.pace = match rate {
        Some(rate) => Pace::Rate(rate),
        None => Pace::Saturate((window > 0).then_some(window)),
    };
    s.seconds("warmup_s", &mut t.warmup);
    s.seconds("seconds", &mut t.steady);
    s.seconds("patience_s", &mut t.patience);
    s.number("rounds", 1..=1000, &mut t.rounds);
    t
}

fn signalling(s: &mut Section<'_, '_>) -> Style {
    let mut style = Style::default();
    s.choice(
        "transport",
        &[("udp", Transport::Udp), ("tcp", Transport::Tcp)],
        &mut style.transport,
    );
    let MediaStyle {
        offer,
        answer,
        cema,
    } = &mut style.media;
    let setups = [
        ("active", Setup::Active),
        ("passive", Setup::Passive),
        ("actpass", Setup::ActPass),
    ];
    s.choice("offer", &setups, offer);
    s.choice("setup", &setups[..2], answer);
    s.flag("cema", cema);
    style
}

fn objectives_of<'a>(
    walk: &mut Walk<'a>,
    value: Option<&'a Value<'a>>,
    kind: Option<&Kind>,
) -> Vec<Objective> {
    let Some(value) = value else {
        return Vec::new();
    };
    let Some(list) = value.get_ref().as_array() else {
        let allowed = "[[objective]] with figure and at_most or at_least";
        walk.problem(
            "objective",
            &value.span(),
            "a list of tables is expected",
            allowed,
        );
        return Vec::new();
    };
    each_table(list)
        .filter_map(|(element, table)| {
            let mut s = Section::new(walk, "objective", element.span(), table);
            let objective = objective(&mut s, kind);
            s.close();
            objective
        })
        .collect()
}

fn each_table<'a>(
    list: &'a DeArray<'a>,
) -> impl Iterator<Item = (&'a Value<'a>, Option<&'a DeTable<'a>>)> {
    list.iter().map(|v| (v, v.get_ref().as_table()))
}

fn objective(s: &mut Section<'_, '_>, kind: Option<&Kind>) -> Option<Objective> {
    let figures = kind.map(Kind::figures);
    let allowed = figures.as_ref().map_or_else(String::new, |f| f.join(", "));
    let mut figure = None;
    s.text("figure", &allowed, &mut figure, |t| {
        let known = figures.as_ref().is_none_or(|f| f.contains(&t));
        known.then(|| Some(t.to_owned()))
    });
    if !s.has("figure") {
        s.problem("figure", "is missing", allowed);
    }
    let any = f64::MIN..=f64::MAX;
    let at_most = s.real_if_any("at_most", any.clone());
    let at_least = s.real_if_any("at_least", any);
    let bound = match (at_most, at_least) {
        (Some(n), None) => Some(Bound::AtMost(n)),
        (None, Some(n)) => Some(Bound::AtLeast(n)),
        (Some(_), Some(_)) => {
            s.problem(
                "at_most",
                "two bounds",
                "at_most or at_least; write a second objective",
            );
            None
        }
        (None, None) if s.has("at_most") || s.has("at_least") => None,
        (None, None) => {
            s.problem("at_most", "no bound", "at_most or at_least, a number");
            None
        }
    };
    Some(Objective {
        figure: figure?,
        bound: bound?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
about = "All of it."
kind = "fanout"

[traffic]
sessions = 7
devices = 3
body_bytes = 1_024
chunk_bytes = 300
interleave = 3
rate_per_s = 2500
warmup_s = 0.25
seconds = 2
patience_s = 1.5
rounds = 9

[signalling]
transport = "tcp"
offer = "active"
setup = "passive"
cema = false

[[objective]]
figure = "delivery_us.p99"
at_most = 2000

[[objective]]
figure = "deliveries_per_s"
at_least = 7_499.5
"#;

    #[test]
    fn every_key_is_read() {
        let s = read("all", WHOLE).unwrap();
        let seconds = std::time::Duration::from_secs_f64;
        assert_eq!(
            s.traffic,
            Traffic {
                sessions: 7,
                devices: 3,
                body_bytes: 1024,
                chunking: Some(Chunking {
                    bytes: 300,
                    interleave: 3
                }),
                pace: Pace::Rate(2500.0),
                warmup: seconds(0.25),
                steady: seconds(2.0),
                patience: seconds(1.5),
                rounds: 9,
            }
        );
        assert_eq!(s.signalling.transport, Transport::Tcp);
        let media = s.signalling.media;
        assert_eq!(
            (media.offer, media.answer, media.cema),
            (Setup::Active, Setup::Passive, false)
        );
        assert_eq!((s.name.as_str(), s.about.as_str()), ("all", "All of it."));
        let objective = |figure: &str, bound| Objective {
            figure: figure.to_owned(),
            bound,
        };
        assert_eq!(
            s.objectives,
            [
                objective("delivery_us.p99", Bound::AtMost(2000.0)),
                objective("deliveries_per_s", Bound::AtLeast(7499.5))
            ]
        );
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let s = read("least", "kind = \"fanout\"").unwrap();
        assert_eq!(s.traffic, Traffic::default());
        assert_eq!(s.signalling, Style::default());
    }

    /// Lines and keys of the problems.
    fn problems(text: &str) -> Vec<(usize, String)> {
        let all = read("bad", text).unwrap_err();
        all.into_iter().map(|p| (p.line, p.key)).collect()
    }

    #[test]
    fn every_problem_is_told_with_line_key_and_what_is_allowed() {
        let text = r#"
kind = "fanout"
knd = 3

[traffic]
sessions = 0
devices = "four"
body_bytes = 20
rate_per_s = -1
rounds = 2.5

[signalling]
transport = "sctp"
setup = "actpass"
speed = 1

[[objective]]
figure = "delivery_us.p98"
at_most = 1

[[objective]]
figure = "sent"
at_most = 1
at_least = 1

[[objective]]
figure = "sent"

[[objective]]
at_most = "x"
"#;
        let keys = |all: &[(usize, &str)]| -> Vec<(usize, String)> {
            all.iter().map(|(l, k)| (*l, (*k).to_owned())).collect()
        };
        assert_eq!(
            problems(text),
            keys(&[
                (3, "knd"),
                (6, "traffic.sessions"),
                (7, "traffic.devices"),
                (8, "traffic.body_bytes"),
                (9, "traffic.rate_per_s"),
                (10, "traffic.rounds"),
                (13, "signalling.transport"),
                (14, "signalling.setup"),
                (15, "signalling.speed"),
                (18, "objective.figure"),
                (23, "objective.at_most"),
                (26, "objective.at_most"),
                (29, "objective.figure"),
                (30, "objective.at_most"),
            ])
        );
        for p in read("bad", text).unwrap_err() {
            assert!(!p.allowed.is_empty(), "{p}");
        }
        let two = "kind = \"fanout\"\n[traffic]\nrate_per_s = 5\nwindow = 5\n";
        assert_eq!(problems(two), keys(&[(4, "traffic.window")]));
        let cut = "kind = \"reply\"\n[traffic]\nchunk_bytes = 5\n";
        assert_eq!(problems(cut), keys(&[(3, "traffic.chunk_bytes")]));
        let whole = "kind = \"fanout\"\n[traffic]\ninterleave = 5\n";
        assert_eq!(problems(whole), keys(&[(3, "traffic.interleave")]));
        assert_eq!(problems("about = \"x\""), keys(&[(1, "kind")]));
        assert_eq!(problems("kind = \"fan\""), keys(&[(1, "kind")]));
        assert_eq!(problems("\nkind = fanout\n"), keys(&[(2, "")]));
        assert_eq!(
            problems("kind = \"fanout\"\ntraffic = 3\nobjective = 4\n"),
            keys(&[(2, "traffic"), (3, "objective")])
        );
    }
}
