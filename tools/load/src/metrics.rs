//! What a server says of itself at `/metrics`: Prometheus text, of which some lines are read.

use std::net::SocketAddr;

use crate::spawn;

/// Calls of `io_uring_enter` that all shards have made so far. A shard makes no other system call, as `strace` has it. Nothing
/// of a server that does not say.
pub(crate) fn ring_calls(admin: SocketAddr) -> Option<u64> {
    match spawn::get(admin, "/metrics") {
        Ok((200, text)) => count(&text, "ringfork_ring_events_total", "event=\"enters\""),
        Ok(_) | Err(_) => None,
    }
}

/// The sum of `name` over all its labels that have `label` among them; nothing if there is none.
pub(crate) fn count(metrics: &str, name: &str, label: &str) -> Option<u64> {
    let values: Vec<f64> = metrics
        .lines()
        .filter_map(|l| l.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
        .collect();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
}

/// A histogram's buckets, summed over its other labels: upper bounds in microseconds (none for the last) and how many
/// lie at or below each.
pub(crate) fn buckets(metrics: &str, name: &str) -> Vec<(Option<u64>, u64)> {
    let mut all: Vec<(Option<u64>, u64)> = Vec::new();
    for line in metrics.lines().filter_map(|l| l.strip_prefix(name)) {
        let Some((_, rest)) = line.split_once("le=\"") else {
            continue;
        };
        let Some((bound, rest)) = rest.split_once('"') else {
            continue;
        };
        let Some(n) = rest.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()) else {
            continue;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive bound of minutes at most"
        )]
        let bound = bound
            .parse::<f64>()
            .ok()
            .filter(|b| b.is_finite())
            .map(|seconds| (seconds * 1e6).round() as u64);
        match all.iter_mut().find(|(b, _)| *b == bound) {
            Some((_, sum)) => *sum += n,
            None => all.push((bound, n)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_add_up_over_their_labels_and_are_absent_where_there_are_none() {
        let text = concat!(
            "# TYPE ringfork_legs gauge\n",
            "ringfork_legs{shard=\"0\"} 2\nringfork_legs{shard=\"1\"} 3\nringfork_legs_x 9\n",
            "ringfork_ring_events_total{event=\"turns\"} 8\nringfork_ring_events_total{event=\"sends\"} 5\n",
        );
        assert_eq!(count(text, "ringfork_legs", ""), Some(5));
        assert_eq!(count(text, "ringfork_sessions", ""), None);
        assert_eq!(
            count(text, "ringfork_ring_events_total", "event=\"turns\""),
            Some(8)
        );
    }

    #[test]
    fn buckets_have_bounds_in_microseconds() {
        let text = concat!(
            "# TYPE t_seconds histogram\nt_seconds_sum 0.5\nt_seconds_count 3\n",
            "t_seconds_bucket{le=\"0.00002\"} 0\nt_seconds_bucket{le=\"1.0\",shard=\"0\"} 2\n",
            "t_seconds_bucket{le=\"1.0\",shard=\"1\"} 1\nt_seconds_bucket{le=\"+Inf\"} 3\n",
        );
        assert_eq!(
            buckets(text, "t_seconds_bucket"),
            [(Some(20), 0), (Some(1_000_000), 3), (None, 3)]
        );
    }
}
