//! What a server says of itself at `/metrics`: Prometheus text, of which some lines are read.

use std::net::SocketAddr;

use crate::spawn;

/// Turns of the rings of all shards so far. A shard makes one `io_uring_enter` a turn and no other system call, as
/// `strace` has it; so these are its system calls. Nothing of a server that does not say.
pub(crate) fn ring_turns(admin: SocketAddr) -> Option<u64> {
    match spawn::get(admin, "/metrics") {
        Ok((200, text)) => count(&text, "ringfork_ring_events_total", "event=\"turns\""),
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
}
