//! Sessions that live: they come and go at intended times, devices answer, and all but one are torn down.
//!
//! The data plane does deeds at their times (`act`) and keeps each session's account (`talk`); signalling sets calls up and
//! ends them one by one (`course`); `scene` joins the two. What is to happen is drawn from the seed beforehand (`script`), so
//! that the same seed gives the same day.

pub(crate) mod act;
pub(crate) mod answering;
mod board;
mod cast;
mod census;
pub(crate) mod chat;
pub(crate) mod counts;
mod course;
pub(crate) mod reconnect;
pub(crate) mod registrations;
mod scene;
pub(crate) mod script;
pub(crate) mod talk;
mod told;

use std::time::Duration;

use crate::{
    scenario::{Pace, Scenario},
    trouble::Trouble,
};

/// The Establishment Threshold Time (RFC 7501 §3.3.2): a request that has no answer by then has failed. A quarter of timer B,
/// so that a run does not wait for half a minute for what everybody has given up.
const GIVE_UP: Duration = Duration::from_secs(8);

/// Messages a second: lives are an open loop.
fn rate_of(scenario: &Scenario) -> Result<f64, Trouble> {
    match scenario.traffic.pace {
        Pace::Rate(per_s) => Ok(per_s),
        Pace::Saturate(_) => Err(Trouble::usage(format!(
            "{} needs rate_per_s: sessions' lives have intended times",
            scenario.name
        ))),
    }
}
