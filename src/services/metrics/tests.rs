use super::*;

fn report() -> Report {
    let mut r = Report {
        sessions: 2,
        legs: 7,
        sip_requests: vec![(
            "INVITE",
            InOut {
                received: 1,
                sent: 3,
            },
        )],
        sip_responses: vec![(
            200,
            InOut {
                received: 3,
                sent: 1,
            },
        )],
        msrp_messages: InOut {
            received: 5,
            sent: 15,
        },
        msrp_chunks: 6,
        msrp_responses: vec![(
            0,
            InOut {
                received: 1,
                sent: 0,
            },
        )],
        deliveries: vec![("acknowledged", 14)],
        refusals: vec![((480, "no registered contact"), 2)],
        wrong_credentials: 5,
        connects: vec![(("msrp", "refused"), 3)],
        fork_legs: vec![("accepted", 3)],
        legs_dropped: vec![("slow", 1)],
        mail: vec![0, 9],
        ring: vec![("turns", 4)],
        ..Report::default()
    };
    r.delivery_seconds.record_micros(90);
    r.delivery_seconds.record_micros(40_000_000);
    r
}

fn text() -> String {
    let reports = vec![
        (ShardId(0), Some(report())),
        (ShardId(1), Some(report())),
        (ShardId(2), None),
    ];
    encode(reports, Process::default())
}

#[test]
fn the_names_that_operators_hold_on_to_are_there() {
    let text = text();
    for name in [
        "sessions",
        "legs",
        "registrations",
        "dialogs",
        "transactions",
        "msrp_connections",
        "timers",
        "leg_outbox_bytes",
        "deferred_messages",
        "deferred_oldest_seconds",
    ] {
        assert!(
            text.contains(&format!("# TYPE ringfork_{name} gauge\n")),
            "{name}"
        );
        assert!(text.contains(&format!("\nringfork_{name} ")), "{name}");
    }
    for name in [
        "sip_requests",
        "sip_responses",
        "msrp_messages",
        "msrp_chunks",
        "msrp_bytes",
        "msrp_responses",
        "deliveries",
        "fork_legs",
        "legs_dropped",
        "refusals",
        "authentication_failures",
        "connects",
        "mail",
        "overload_rejected",
    ] {
        assert!(
            text.contains(&format!("# TYPE ringfork_{name} counter\n")),
            "{name}"
        );
    }
    for name in [
        "teardown_seconds",
        "delivery_seconds",
        "store_commit_seconds",
    ] {
        assert!(
            text.contains(&format!("# TYPE ringfork_{name} histogram\n")),
            "{name}"
        );
        assert!(
            text.contains(&format!("\nringfork_{name}_count ")),
            "{name}"
        );
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn shards_are_added_up_and_told_apart_where_it_helps() {
    let text = text();
    for line in [
        "ringfork_sessions 4",
        "ringfork_sip_requests_total{method=\"INVITE\",direction=\"in\"} 2",
        "ringfork_sip_requests_total{method=\"INVITE\",direction=\"out\"} 6",
        "ringfork_sip_responses_total{code=\"200\",direction=\"in\"} 6",
        "ringfork_msrp_messages_total{direction=\"out\"} 30",
        "ringfork_msrp_chunks_total 12",
        "ringfork_msrp_responses_total{code=\"other\",direction=\"in\"} 2",
        "ringfork_deliveries_total{outcome=\"acknowledged\"} 28",
        "ringfork_refusals_total{code=\"480\",reason=\"no registered contact\"} 4",
        "ringfork_authentication_failures_total 10",
        "ringfork_connects_total{protocol=\"msrp\",outcome=\"refused\"} 6",
        "ringfork_fork_legs_total{outcome=\"accepted\"} 6",
        "ringfork_legs_dropped_total{reason=\"slow\"} 2",
        "ringfork_mail_total{from=\"0\",to=\"1\"} 9",
        "ringfork_shard_up{shard=\"1\"} 1",
        "ringfork_shard_up{shard=\"2\"} 0",
        "ringfork_shard_sessions{shard=\"0\"} 2",
        "ringfork_ring_events_total{event=\"turns\"} 8",
        "ringfork_overload_rejected_total 0",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
    }
    assert!(
        !text.contains("mail_total{from=\"1\",to=\"1\"}"),
        "nobody mails itself"
    );
    assert!(
        !text.contains("shard_sessions{shard=\"2\"}"),
        "unknown is not zero"
    );
}

#[test]
fn a_histogram_is_cumulative_and_in_seconds() {
    let text = text();
    for line in [
        "ringfork_delivery_seconds_bucket{le=\"0.00005\"} 0",
        "ringfork_delivery_seconds_bucket{le=\"0.0001\"} 2",
        "ringfork_delivery_seconds_bucket{le=\"30.0\"} 2",
        "ringfork_delivery_seconds_bucket{le=\"+Inf\"} 4",
        "ringfork_delivery_seconds_count 4",
        "ringfork_delivery_seconds_sum 80.00018",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
    }
}

#[test]
fn the_process_says_what_it_uses() {
    assert!(resident_bytes().unwrap() > 1 << 20);
    assert!(open_descriptors().unwrap() >= 3);
    assert!(cpu_seconds().unwrap() < 1e6);
    assert!(text().contains("# TYPE process_resident_memory_bytes gauge"));
}
