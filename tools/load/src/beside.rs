//! The kind `beside`: sessions of small messages at an even pace, alone and beside one sender who saturates with large ones.
//! What the small ones pay for their neighbour is told as the ratio of neighbouring rounds.
//!
//! # Who delays whom
//!
//! The neighbour is a run of this program of its own (a closed loop over one session), on the generator's core when nothing
//! else wants it (`chrt --idle`; the lowest priority would keep the core for the rest of its slice): whenever a small message
//! is due or has come, the kernel takes the core from it. It verifies what it gets as every run does, and anything wrong there
//! is wrong here. The generator of the small ones is a real-time task, where that is allowed: woken beside an idle task, a
//! usual one was 0.9 ms late at its p99, a real-time one 8 µs. What the neighbour still takes of the core (a system call is not
//! interrupted, so his are short) is in the figures of the small ones: a ratio is an upper bound of the server's part. The send
//! lag says how late the generator was, and `large` how much of what the neighbour gets alone it got beside.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    baseline::Rounds,
    fanout, outcome, realtime,
    report::{Check, Report, round3},
    round::Load,
    scenario::{Scenario, Section},
    setting::Setting,
    stage::{Stage, Who},
    stats::median,
    tails,
    tally::Tally,
    trouble::Trouble,
    ua::Style,
};

/// The neighbour's user: nobody of ours.
const USER: u32 = 99_999;
/// Bytes of a read or write of the neighbour's. On loopback a write delivers what it copies, and the kernel lets nobody else
/// have the core meanwhile: 256 KiB would take a tenth of a millisecond and more.
const GRAIN: usize = 16 << 10;
const LOOK: Duration = Duration::from_millis(20);

/// The settings that only this kind has.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Beside {
    /// Bytes of a large message.
    pub(crate) body_bytes: usize,
    /// Large messages that are under way at a time.
    pub(crate) window: u32,
    /// How long the neighbour runs before a round begins: its set-up and its first messages.
    pub(crate) lead: Duration,
}

impl Beside {
    /// `[beside]` of a scenario's file.
    pub(crate) fn read(s: &mut Section<'_, '_>) -> Self {
        let mut beside = Self {
            body_bytes: 8 << 20,
            window: 2,
            lead: Duration::from_secs(1),
        };
        s.number("body_bytes", 65_536..=1 << 30, &mut beside.body_bytes);
        s.number("window", 1..=64, &mut beside.window);
        s.seconds("lead_s", &mut beside.lead);
        beside
    }
}

/// Runs it.
pub(crate) async fn run(
    scenario: &Scenario,
    beside: &Beside,
    setting: &Setting,
) -> Result<Report, Trouble> {
    let traffic = &scenario.traffic;
    let load = traffic.load();
    if !matches!(load, Load::Rate(_)) || setting.baseline {
        return Err(Trouble::usage(
            "small messages beside large ones go at a rate, and there is no baseline",
        ));
    }
    let mut report = Report::new(scenario.name.clone(), "");
    let mut stage = Stage::set_up(scenario, setting, traffic.sessions, &mut report).await?;
    let sip = stage.sip().ok_or_else(|| {
        Trouble::usage("the sender beside them calls by SIP: --spawn or --target")
    })?;
    let realtime = realtime::process();
    let lasts = beside.lead + traffic.warmup + traffic.steady;
    let neighbour = || Neighbour::start(sip, beside, lasts, &scenario.signalling);
    let alone = neighbour()?.end().await?;
    let mut rounds = Rounds::default();
    let mut large = Vec::new();
    for i in 0..traffic.rounds {
        rounds.server.push(stage.round(Who::Server, load).await?);
        fanout::tell(i, Who::Server, rounds.server.last());
        let running = neighbour()?;
        tokio::time::sleep(beside.lead).await;
        rounds.server.push(stage.round(Who::Server, load).await?);
        eprint!("beside: ");
        fanout::tell(i, Who::Server, rounds.server.last());
        large.push(running.end().await?);
    }
    stage.end(&mut report).await?;
    outcome::of_rounds(setting, load, &rounds, &mut report);
    tell(&rounds.server, &alone, &large, &mut report);
    if !realtime {
        report.line(
            "the generator was no real-time task: its own lateness is in the ratio".to_owned(),
        );
    }
    report.field("realtime", json!(realtime));
    outcome::conclude(scenario, setting, &outcome::in_order(&rounds), &mut report)?;
    Ok(report)
}

/// The sender of large messages, as a process.
struct Neighbour {
    child: std::process::Child,
}

/// What came of one run of his.
struct Large {
    deliveries_per_s: f64,
    /// Names of the objectives that it missed.
    wrong: Vec<String>,
}

impl Neighbour {
    fn start(
        server: SocketAddr,
        beside: &Beside,
        lasts: Duration,
        style: &Style,
    ) -> Result<Self, Trouble> {
        let mut command = Command::new("chrt");
        command
            .args(["--idle", "0"])
            .arg(std::env::current_exe()?)
            .args(["fanout", "--devices", "1", "--saturate", "--json"])
            .args(["--rounds", "1", "--warmup", "0.2", "--target"])
            .arg(format!("sip:{server}"))
            .arg("--body")
            .arg(beside.body_bytes.to_string())
            .arg("--window")
            .arg(beside.window.to_string())
            .arg("--seconds")
            .arg(lasts.as_secs_f64().to_string())
            .arg("--first-user")
            .arg(USER.to_string())
            .arg("--grain")
            .arg(GRAIN.to_string())
            .args(style.words())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // On the core of the thread that starts it.
        let child = command
            .spawn()
            .map_err(|e| Trouble::unreachable(format!("chrt (util-linux): {e}")))?;
        Ok(Self { child })
    }

    /// Waits for his end.
    async fn end(mut self) -> Result<Large, Trouble> {
        while self.child.try_wait()?.is_none() {
            tokio::time::sleep(LOOK).await;
        }
        let mut text = String::new();
        if let Some(out) = &mut self.child.stdout {
            std::io::Read::read_to_string(out, &mut text)?;
        }
        let report: Value = text
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .ok_or_else(|| Trouble::failed("the sender of large messages came to nothing"))?;
        Ok(Large::of(&report))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // It has ended, but for a trouble of ours.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Large {
    fn of(report: &Value) -> Self {
        let checks = report["slo"]["checks"].as_array().into_iter().flatten();
        let missed = checks.filter(|c| c["met"] == Value::Bool(false));
        Self {
            deliveries_per_s: report["deliveries_per_s"].as_f64().unwrap_or(0.0),
            wrong: missed.map(|c| c["name"].to_string()).collect(),
        }
    }
}

/// `rounds` are alone and beside in turn.
fn tell(rounds: &[Tally], alone: &Large, large: &[Large], report: &mut Report) {
    let each: Vec<Option<f64>> = rounds.chunks_exact(2).map(p99_ratio).collect();
    let quiet: Vec<f64> = each.iter().flatten().copied().collect();
    let ratio = median(quiet.iter().copied());
    let side = |from: usize| rounds.iter().skip(from).step_by(2).collect::<Vec<&Tally>>();
    let rate = median(large.iter().map(|l| l.deliveries_per_s));
    let mut all = json!({
        "alone": tails::json(&side(0), |t| &t.delivery),
        "beside": tails::json(&side(1), |t| &t.delivery),
        "send_lag_alone_us": tails::json(&side(0), |t| &t.lag),
        "send_lag_beside_us": tails::json(&side(1), |t| &t.lag),
        "p99_ratio_each": each.iter().map(|r| r.map(round3)).collect::<Vec<_>>(),
        "large": {"deliveries_per_s": round3(rate), "deliveries_per_s_alone": round3(alone.deliveries_per_s)},
    });
    if ratio.is_finite() {
        all["p99_ratio"] = round3(ratio);
    }
    report.line(format!(
        "p99 beside large messages over that alone: {ratio:.3} ({} of {} pairs undisturbed)",
        quiet.len(),
        each.len()
    ));
    report.line(format!(
        "large messages: {rate:.1} a second beside the small ones, {:.1} without them",
        alone.deliveries_per_s
    ));
    report.field("beside", all);
    let wrong: Vec<&String> = large.iter().chain([alone]).flat_map(|l| &l.wrong).collect();
    for name in &wrong {
        report.line(format!("large messages: missed {name}"));
    }
    let wrong = Check::none("large_messages_wrong", wrong.len() as u64);
    report.checks.push(wrong);
}

/// Of a pair that no hiccup disturbed.
fn p99_ratio(pair: &[Tally]) -> Option<f64> {
    let ratio = pair[1].delivery.us(0.99) / pair[0].delivery.us(0.99);
    (tails::quiet_alone(pair) && ratio.is_finite()).then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tails::tests::round;

    fn large(per_s: f64, wrong: &[&str]) -> Large {
        Large {
            deliveries_per_s: per_s,
            wrong: wrong.iter().map(|w| (*w).to_owned()).collect(),
        }
    }

    #[test]
    fn each_pair_is_a_sample_but_for_those_that_the_machine_disturbed() {
        let rounds = [
            round(100, false),
            round(150, false),
            round(100, false),
            round(9000, true),
            round(100, false),
            round(250, false),
        ];
        let mut report = Report::new("beside", "");
        let beside = [large(90.0, &[]), large(80.0, &[]), large(70.0, &[])];
        tell(&rounds, &large(100.0, &[]), &beside, &mut report);
        let told = &report.json()["beside"];
        let each = told["p99_ratio_each"].as_array().unwrap();
        assert!((each[0].as_f64().unwrap() - 1.5).abs() < 0.01);
        assert!(each[1].is_null());
        assert!((told["p99_ratio"].as_f64().unwrap() - 2.0).abs() < 0.02);
        assert_eq!(told["large"]["deliveries_per_s"], 80.0);
        assert!(report.is_met());
    }

    #[test]
    fn what_is_wrong_with_a_large_message_is_wrong() {
        let rounds = [round(100, false), round(150, false)];
        let mut report = Report::new("beside", "");
        let torn = json!({"deliveries_per_s": 9.0, "slo": {"checks": [
            {"name": "corrupted", "met": false}, {"name": "lost", "met": true},
        ]}});
        tell(&rounds, &large(9.0, &[]), &[Large::of(&torn)], &mut report);
        assert!(!report.is_met());
    }
}
