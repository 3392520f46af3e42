//! A scenario: the traffic, how its sessions come about, and what has to hold of the result. Written as a TOML file;
//! what the command line says goes before what the file says. Where it runs and against what is no part of it
//! (`setting`).
//!
//! # Adding a kind
//!
//! A kind of scenario is a variant of [`Kind`], a word and its own table in `read` (if it has settings of its own), the
//! figures that an objective may name (`figures`), and a file with its `run`, which `main` calls. The files in
//! `perf/scenarios` are built in: a line in [`BUILT_IN`] each.

mod figures;
mod lives;
mod objective;
mod read;
mod walk;

use std::{fs, time::Duration};

pub(crate) use objective::Objective;
pub(crate) use walk::{Section, Walk};

use crate::{
    beside::Beside,
    chunks::Chunking,
    idle::Idle,
    life::{chat::Chat, registrations::Storm},
    round::Load,
    slow::SlowDevice,
    sweep::Sweep,
    trouble::Trouble,
    ua::Style,
};

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../perf/scenarios/", $name, ".toml")))),*]
    };
}

/// Names and texts of the scenarios that come with the tool.
pub(crate) const BUILT_IN: &[(&str, &str)] = built_in![
    "oneway",
    "fanout-2",
    "fanout-4",
    "fanout-8",
    "large-frame-64k",
    "large-frame-8m",
    "slow-device",
    "beside-large",
    "chunked",
    "idle",
    "sweep",
    "goodput",
    "reply",
    "activity-race",
    "churn",
    "mixed",
    "register-storm",
    "register-burst",
    "reconnect-storm"
];

/// What is to happen and what has to hold of it.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// A built-in's name, or the file's without its ending.
    pub(crate) name: String,
    /// What it shows, in a sentence.
    pub(crate) about: String,
    pub(crate) kind: Kind,
    pub(crate) traffic: Traffic,
    pub(crate) signalling: Style,
    pub(crate) objectives: Vec<Objective>,
}

/// What is done with the sessions, with the settings that only this kind has.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Kind {
    /// Each session's sender writes, each of its devices gets every message (`fanout`).
    Fanout,
    /// One device of each session stops reading (`slow`).
    SlowDevice(SlowDevice),
    /// One sender saturates with large messages beside them (`beside`).
    Beside(Beside),
    /// Sessions are set up and stand (`idle`).
    Idle(Idle),
    /// Load from little to beyond saturation (`sweep`).
    Sweep(Sweep),
    /// A device answers early, the others are torn down (`reply`).
    Reply,
    /// Two devices answer at the same instant, one stays (`activity-race`).
    ActivityRace,
    /// Sessions come and go beside others that stand (`churn`).
    Churn(Chat),
    /// A day of chat: who composes, who answers, what is reported, and churn (`mixed`).
    Mixed(Chat),
    /// All devices register (`register-storm`).
    RegisterStorm(Storm),
    /// All connections are cut, everyone comes back (`reconnect-storm`).
    ReconnectStorm,
}

/// Who sends how much to whom.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Traffic {
    /// One caller and one user each.
    pub(crate) sessions: u32,
    /// Devices of each user.
    pub(crate) devices: u16,
    /// Bytes of a message, CPIM headers included.
    pub(crate) body_bytes: usize,
    /// Whether messages go in chunks.
    pub(crate) chunking: Option<Chunking>,
    pub(crate) pace: Pace,
    /// Of each round; what is sent in it is checked, not measured.
    pub(crate) warmup: Duration,
    /// The steady state of each round.
    pub(crate) steady: Duration,
    /// How long nothing may come, after the last message was sent, before what is missing is lost.
    pub(crate) patience: Duration,
    pub(crate) rounds: u32,
}

/// How fast messages are sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Pace {
    /// Open loop: messages a second over all sessions.
    Rate(f64),
    /// Closed loop: unanswered SENDs a session; none: what suits sessions and bodies.
    Saturate(Option<u32>),
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            sessions: 1,
            devices: 1,
            body_bytes: 200,
            chunking: None,
            pace: Pace::Saturate(None),
            warmup: Duration::from_millis(500),
            steady: Duration::from_secs(3),
            patience: Duration::from_secs(3),
            rounds: 5,
        }
    }
}

impl Traffic {
    pub(crate) fn load(&self) -> Load {
        match self.pace {
            Pace::Rate(rate) => Load::Rate(rate),
            Pace::Saturate(_) => self.saturated(),
        }
    }

    /// The closed loop of this traffic.
    pub(crate) fn saturated(&self) -> Load {
        let asked = match self.pace {
            Pace::Saturate(window) => window,
            Pace::Rate(_) => None,
        };
        Load::Saturate {
            window: asked.unwrap_or_else(|| self.window()),
        }
    }

    /// The window where none is asked for. The rate of a byte forwarder grows with the window, since it moves what has
    /// gathered in one go: so the window is part of the result, and told with it.
    fn window(&self) -> u32 {
        let by_bytes = u32::try_from((1 << 20) / self.body_bytes.max(1)).unwrap_or(u32::MAX);
        (64 / self.sessions.max(1))
            .min(by_bytes)
            .max(if self.sessions == 1 { 2 } else { 1 })
    }
}

impl Scenario {
    /// One that is built in, or one from a file: a path that ends in `.toml`.
    pub(crate) fn named(name: &str) -> Result<Self, Trouble> {
        let Some(stem) = name.strip_suffix(".toml") else {
            return Self::built_in(name);
        };
        let text = fs::read_to_string(name).map_err(|e| Trouble::usage(format!("{name}: {e}")))?;
        let stem = stem.rsplit('/').next().unwrap_or(stem);
        Self::parse(stem, name, &text)
    }

    /// One that is built in.
    pub(crate) fn built_in(name: &str) -> Result<Self, Trouble> {
        let Some((name, text)) = BUILT_IN.iter().find(|(n, _)| *n == name) else {
            let all: Vec<&str> = BUILT_IN.iter().map(|(n, _)| *n).collect();
            return Err(Trouble::usage(format!(
                "no scenario is called {name:?}; there are {}; else the path of a .toml file",
                all.join(", ")
            )));
        };
        Self::parse(name, &format!("{name}.toml"), text)
    }

    /// Reads the text of a file; an error says all that is wrong with it, a line each.
    fn parse(name: &str, file: &str, text: &str) -> Result<Self, Trouble> {
        read::read(name, text).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(|p| format!("{file}:{p}")).collect();
            Trouble::usage(format!("{file} is not a scenario:\n{}", lines.join("\n")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_built_in_and_right() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../perf/scenarios");
        let mut files: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let mut names: Vec<String> = BUILT_IN.iter().map(|(n, _)| format!("{n}.toml")).collect();
        names.sort();
        assert_eq!(files, names);
        for (name, _) in BUILT_IN {
            let scenario = Scenario::named(name).unwrap();
            assert_eq!(scenario.name, *name);
            assert!(scenario.about.ends_with('.'), "{name}: {}", scenario.about);
            assert!(!scenario.objectives.is_empty(), "{name} aims at nothing");
        }
    }

    #[test]
    fn a_name_that_is_none_and_a_file_that_is_not_there_are_usage() {
        let said = Scenario::named("fan-out").unwrap_err().to_string();
        assert!(said.contains("fanout-4"), "{said}");
        assert!(Scenario::named("/nowhere/x.toml").is_err());
    }

    #[test]
    fn windows_are_bounded_in_number_and_in_bytes() {
        let window = |sessions, body_bytes| {
            let t = Traffic {
                sessions,
                body_bytes,
                ..Traffic::default()
            };
            t.load()
        };
        for (sessions, body_bytes, expected) in [
            (1, 200, 64),
            (1, 65_536, 16),
            (1, 8 << 20, 2),
            (16, 200, 4),
            (1000, 200, 1),
        ] {
            assert_eq!(
                window(sessions, body_bytes),
                Load::Saturate { window: expected }
            );
        }
    }
}
