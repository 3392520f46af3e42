//! The figures that an objective may name: what each kind of scenario measures. A report has them under these paths.

use super::Kind;

/// Of every message that is sent and counted. Losses and the like have to be none anyway.
const MESSAGES: &[&str] = &[
    "sent",
    "delivered",
    "deliveries_per_s",
    "delivery_us.p50",
    "delivery_us.p90",
    "delivery_us.p99",
    "delivery_us.p999",
    "delivery_us.max",
    "send_lag_us.p99",
    "hiccups.marked",
    "hiccups.max_us",
    "hiccups.steal_ms",
    "server.cpu_ns_per_delivery",
    "server.rss_bytes",
    "baseline.ratio",
    "baseline.p50_ratio",
    "baseline.p99_ratio",
    "baseline.p999_ratio",
];

/// Of setting up and tearing down by SIP.
const SIGNALLING: &[&str] = &[
    "setup_us.p50",
    "setup_us.p99",
    "setup_us.max",
    "teardown_us.p50",
    "teardown_us.p99",
    "teardown_us.max",
];

/// Of sessions that stand.
const IDLE: &[&str] = &[
    "server.rss_bytes",
    "rss_bytes_per_leg",
    "pss_bytes_per_leg",
    "pss_bytes_per_leg_without_registrations",
    "pss_bytes_per_leg_slope",
    "pss_bytes_per_registration",
    "kernel_slab_bytes_per_leg_both_ends",
];

/// Of load from little to beyond saturation.
const SWEEP: &[&str] = &["sweep.saturation_per_s", "sweep.goodput_beyond"];

impl Kind {
    /// All that its report may have.
    pub(super) fn figures(&self) -> Vec<&'static str> {
        match self {
            Self::Fanout => [MESSAGES, SIGNALLING].concat(),
            Self::Idle(_) => [IDLE, SIGNALLING].concat(),
            Self::Sweep(_) => [SWEEP, SIGNALLING].concat(),
        }
    }
}
