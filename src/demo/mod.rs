//! The main job on loopback, as a person would watch it: a real server, real phones, each step checked on the wire.
//!
//! Everything runs on ephemeral ports of 127.0.0.1 and ends by itself in seconds. A step that was not seen to hold ends the
//! demonstration with what was expected and what came.

mod phone;
mod script;

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

pub use phone::Fault;

/// One step of the demonstration.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was to be shown.
    pub name: String,
    /// Whether it was seen.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
}

/// The outcome, as `demo --json` prints it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Every step was seen to hold.
    pub ok: bool,
    /// Devices that registered.
    pub devices: u32,
    /// Sessions that were set up.
    pub sessions: u32,
    /// Messages that the sender wrote.
    pub messages_sent: u32,
    /// Messages that reached a device.
    pub deliveries: u32,
    /// Devices that were torn down after activity.
    pub torn_down: u32,
    /// Wall time, seconds.
    pub seconds: f64,
    /// Every step.
    pub steps: Vec<Step>,
}

/// What a step does: it changes the counts of the outcome and says what it saw.
type Seen = Result<String, Fault>;

/// The steps as they happen: printed for a person, kept for the outcome.
pub(crate) struct Stage {
    outcome: Outcome,
    colour: bool,
}

impl Stage {
    /// Runs one step; `false`: it was not seen, and what follows has no ground to stand on.
    fn step(&mut self, name: &str, run: impl FnOnce(&mut Outcome) -> Seen) -> bool {
        let seen = run(&mut self.outcome);
        let (ok, detail) = match seen {
            Ok(detail) => (true, detail),
            Err(fault) => (false, fault.to_string()),
        };
        let mark = match (ok, self.colour) {
            (true, true) => "\x1b[32m✓\x1b[0m",
            (true, false) => "ok  ",
            (false, true) => "\x1b[31m✗\x1b[0m",
            (false, false) => "FAIL",
        };
        let mut err = io::stderr().lock();
        // A closed terminal must not end the demonstration.
        let _ = writeln!(err, "{mark} {name}");
        for line in detail.lines() {
            let _ = writeln!(err, "     {line}");
        }
        self.outcome.steps.push(Step {
            name: name.to_owned(),
            ok,
            detail,
        });
        ok
    }
}

/// Plays the demonstration against the server at `sip` (UDP); prints the steps to standard error as they happen.
#[must_use]
pub fn play(sip: std::net::SocketAddr, clock: crate::io::Clock) -> Outcome {
    let mut stage = Stage {
        outcome: Outcome::default(),
        colour: io::stderr().is_terminal(),
    };
    let began = clock.now();
    let ok = script::play(&mut stage, sip);
    stage.outcome.ok = ok;
    stage.outcome.seconds = clock.now().since(began).as_secs_f64();
    stage.outcome
}
