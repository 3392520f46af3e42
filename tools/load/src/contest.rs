//! Which byte forwarder a server is held against: the one that is faster with this traffic on this machine. Both get a few short
//! rounds in turn before anything else is set up.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    forward::Kind, link::Link, relay, report::round3, round::Plan, scenario::Traffic,
    spawn::Forwarder, stats::median, trouble::Trouble,
};

/// Rounds of each.
const ROUNDS: usize = 3;
const WARMUP: Duration = Duration::from_millis(100);
const STEADY: Duration = Duration::from_millis(250);
/// Sessions at each: enough to tell, few enough to be there at once.
const SESSIONS_MAX: u32 = 50;

/// The winner, and what both did.
pub(crate) struct Outcome {
    pub(crate) kind: Kind,
    epoll_per_s: f64,
    ring_per_s: f64,
}

impl Outcome {
    /// For the report's `"forwarder"`.
    pub(crate) fn json(&self) -> Value {
        json!({
            "kind": self.kind.name(),
            "epoll_deliveries_per_s": round3(self.epoll_per_s),
            "ring_deliveries_per_s": round3(self.ring_per_s),
        })
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        format!(
            "baseline  {}: the faster one ({:.0} deliveries/s by epoll, {:.0} by the raw ring, before the rounds)",
            self.kind.name(),
            self.epoll_per_s,
            self.ring_per_s
        )
    }
}

/// Lets both forwarders saturate in turn. Nobody else may have connections at `link`: in the end all are closed.
pub(crate) async fn hold(
    link: &mut Link,
    traffic: &Traffic,
    core: Option<usize>,
) -> Result<Outcome, Trouble> {
    let sessions = traffic.sessions.min(SESSIONS_MAX);
    let mut sides = Vec::new();
    for (kind, first) in [(Kind::Epoll, 0), (Kind::Ring, sessions)] {
        let forwarder = Forwarder::start(kind, traffic.devices, core, None)?;
        let all = first..first + sessions;
        relay::set_up(link, forwarder.doors(), all.clone(), traffic.devices).await?;
        sides.push((forwarder, all, Vec::new()));
    }
    for _ in 0..ROUNDS {
        for (_, sessions, rates) in &mut sides {
            let plan = Plan {
                sessions: sessions.clone(),
                load: traffic.saturated(),
                warmup: WARMUP,
                steady: STEADY,
                patience: traffic.patience,
                server: None,
                apart: None,
                at_once: 1,
            };
            rates.push(link.run(plan).await?.deliveries_per_s());
        }
    }
    link.close().await?;
    let rate = |i: usize| sides.get(i).map_or(0.0, |s| median(s.2.iter().copied()));
    let (epoll_per_s, ring_per_s) = (rate(0), rate(1));
    Ok(Outcome {
        kind: if ring_per_s > epoll_per_s {
            Kind::Ring
        } else {
            Kind::Epoll
        },
        epoll_per_s,
        ring_per_s,
    })
}
