//! What a server still holds after everything has ended, by its own metrics.

use std::{net::SocketAddr, time::Duration};

use crate::{
    clock::{Clock, nanos},
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
            .filter_map(|(gauge, name)| Some(Check::none(*name, gauge_of(&text, gauge)?)))
            .collect();
        if checks.iter().all(|c| c.met) || clock.now() > until {
            return checks;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The sum of a gauge over its labels; nothing if the server does not have it.
fn gauge_of(metrics: &str, gauge: &str) -> Option<u64> {
    let values: Vec<f64> = metrics
        .lines()
        .filter_map(|l| l.strip_prefix(gauge))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
        .collect();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_add_up_over_their_labels_and_are_absent_where_there_are_none() {
        let text = "# TYPE ringfork_legs gauge\nringfork_legs{shard=\"0\"} 2\nringfork_legs{shard=\"1\"} 3\nringfork_legs_x 9\n";
        assert_eq!(gauge_of(text, "ringfork_legs"), Some(5));
        assert_eq!(gauge_of(text, "ringfork_sessions"), None);
    }
}
