//! How much a server can take: the highest rate of an open loop of which it carries [`CARRIED`].
//!
//! A closed loop is not enough: its window bounds what a server finds at a time, and one that takes more in a go takes it
//! cheaper; an even pace brings less in a go than bursts of answers do. So the closed loop's rate is a first guess only. An
//! open loop begins well below it and offers a tenth more each time, until less than that share comes, twice: a stall of
//! the machine is no limit of the server.

use serde_json::{Value, json};

use crate::{
    fanout,
    report::round3,
    round::Load,
    scenario::Traffic,
    stage::{Stage, Who},
    stats::median,
    tally::{Tally, as_f64},
    trouble::Trouble,
};

/// Share of what is offered from which on it counts as carried.
pub(crate) const CARRIED: f64 = 0.95;
/// What is offered first, over the closed loop's rate.
const FIRST: f64 = 0.6;
/// What is offered in the next step, over that in the one before.
const STEP: f64 = 1.1;
/// More steps than any server takes: 2.5 times the closed loop's rate.
const STEPS: u32 = 16;
/// A server that has more to do than it can computes all the time, but for the end of a round.
const BUSY: f64 = 0.9;

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    /// Messages a second over all sessions.
    pub(crate) per_s: f64,
    /// In the order in which they ran: of the closed loop, then of each step.
    pub(crate) rounds: Vec<Tally>,
    /// The server had time to spare when more was offered than it carried: something else was the limit.
    pub(crate) is_generator_bound: bool,
    /// Messages a second of the closed loop.
    pub(crate) closed_per_s: f64,
    /// What was offered in the last step.
    pub(crate) offered_per_s: f64,
}

/// Finds it, with `rounds` rounds for the first guess.
pub(crate) async fn find(
    stage: &mut Stage<'_>,
    traffic: &Traffic,
    rounds: u32,
) -> Result<Found, Trouble> {
    let messages = |t: &Tally| t.deliveries_per_s() / f64::from(traffic.devices);
    let busy = |t: &Tally| Some(as_f64(t.server_cpu_ns?) / 1e9 / t.seconds());
    let mut all = Vec::new();
    for i in 0..rounds {
        all.push(stage.round(Who::Server, traffic.saturated()).await?);
        fanout::tell(i, Who::Server, all.last());
    }
    let closed_per_s = median(all.iter().map(messages));
    let mut found = Found {
        closed_per_s,
        offered_per_s: (closed_per_s * FIRST).max(1.0),
        is_generator_bound: true,
        ..Found::default()
    };
    let mut missed = 0;
    for step in 0..STEPS {
        let offered = found.offered_per_s;
        eprint!("{offered:.0} messages/s, ");
        let tally = stage.round(Who::Server, Load::Rate(offered)).await?;
        fanout::tell(step, Who::Server, Some(&tally));
        let carried = messages(&tally);
        let spare = busy(&tally).is_some_and(|busy| busy < BUSY);
        all.push(tally);
        // Of too much, more may be carried than of what was just enough.
        found.per_s = found.per_s.max(carried);
        if carried >= CARRIED * offered {
            missed = 0;
            found.offered_per_s *= STEP;
            continue;
        }
        missed += 1;
        if missed == 2 {
            found.is_generator_bound = spare;
            break;
        }
    }
    if found.per_s <= 0.0 {
        return Err(Trouble::failed(format!(
            "saturation: nothing was delivered within {:?} in any of {} rounds",
            traffic.steady,
            all.len()
        )));
    }
    found.rounds = all;
    Ok(found)
}

impl Found {
    pub(crate) fn json(&self) -> Value {
        json!({
            "closed_loop_per_s": round3(self.closed_per_s),
            "offered_per_s": round3(self.offered_per_s),
        })
    }

    pub(crate) fn text(&self) -> String {
        format!(
            "saturation at {:.0} messages/s in an open loop: of {:.0} not all came ({:.0} in a closed loop)",
            self.per_s, self.offered_per_s, self.closed_per_s
        )
    }
}
