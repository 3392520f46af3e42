//! What a server still holds after everything has ended, by its own metrics.

use std::{net::SocketAddr, time::Duration};

use crate::{
    clock::{Clock, nanos},
    metrics,
    report::Check,
    spawn,
};

/// How long it may take to forget.
const ENDS: Duration = Duration::from_secs(8);

/// What a server that we started still holds after everything has ended: gauges that are not back to 0 in time.
pub(crate) async fn check(admin: SocketAddr, clock: Clock) -> Vec<Check> {
    const GAUGES: [(&str, &str); 5] = [
        ("ringfork_sessions", "left_sessions"),
        ("ringfork_legs", "left_legs"),
        ("ringfork_dialogs", "left_dialogs"),
        ("ringfork_msrp_connections", "left_msrp_connections"),
        ("ringfork_registrations", "left_registrations"),
    ];
    let until = clock.now() + nanos(ENDS);
    loop {
        let text = match spawn::get(admin, "/metrics") {
            Ok((200, text)) => text,
            Ok((code, _)) => return vec![Check::none("metrics_unreadable", u64::from(code))],
            Err(_) => return vec![Check::none("metrics_unreadable", 1)],
        };
        let checks: Vec<Check> = GAUGES
            .iter()
            .filter_map(|(gauge, name)| Some(Check::none(*name, metrics::count(&text, gauge, "")?)))
            .collect();
        if checks.iter().all(|c| c.met) || clock.now() > until {
            return checks;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
