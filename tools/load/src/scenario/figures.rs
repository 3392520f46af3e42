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

/// Of one slow device among others.
const SLOW: &[&str] = &[
    "slow_device.p99_ratio",
    "slow_device.delivered",
    "slow_device.given_up",
    "slow_device.legs_given_up",
];

/// Of small messages beside large ones.
const BESIDE: &[&str] = &[
    "beside.p99_ratio",
    "beside.alone.p99",
    "beside.beside.p99",
    "beside.large.deliveries_per_s",
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
/// Of calls that are set up and ended one by one, in the words of RFC 6076 where it has some.
const CALLS: &[&str] = &[
    "session_attempts",
    "setup_us.p50",
    "setup_us.p99",
    "setup_us.max",
    "session_request_delay_us.p50",
    "session_request_delay_us.p99",
    "standing_us.p50",
    "standing_us.p99",
    "standing_us.max",
    "session_disconnect_delay_us.p50",
    "session_disconnect_delay_us.p99",
    "dismissal_us.p99",
    "signalling_lag_us.p99",
];

/// Of devices that speak.
const ACTIVITY: &[&str] = &[
    "sessions_with_activity",
    "leaked_after_activity",
    "teardown_us.p50",
    "teardown_us.p99",
    "teardown_us.max",
    "replies",
    "reply_us.p50",
    "reply_us.p99",
    "reply_us.p999",
];

/// Of messages in sessions that come and go.
const NEW_SESSIONS: &[&str] = &[
    "delivery_in_new_sessions_us.p50",
    "delivery_in_new_sessions_us.p99",
    "delivery_in_new_sessions_us.p999",
];

/// Of registrations.
const REGISTRATIONS: &[&str] = &[
    "registration_attempts",
    "registrations_per_s",
    "registration_request_delay_us.p50",
    "registration_request_delay_us.p99",
    "registration_request_delay_us.p999",
    "registration_request_delay_us.max",
    "registrations_lost",
    "server.rss_bytes",
];

impl Kind {
    /// All that its report may have.
    pub(super) fn figures(&self) -> Vec<&'static str> {
        match self {
            Self::Fanout => [MESSAGES, SIGNALLING].concat(),
            Self::SlowDevice(_) => [MESSAGES, SLOW, SIGNALLING].concat(),
            Self::Beside(_) => [MESSAGES, BESIDE, SIGNALLING].concat(),
            Self::Idle(_) => [IDLE, SIGNALLING].concat(),
            Self::Sweep(_) => [SWEEP, SIGNALLING].concat(),
            Self::Reply | Self::ActivityRace => [MESSAGES, CALLS, ACTIVITY].concat(),
            Self::Churn(_) => [MESSAGES, CALLS, NEW_SESSIONS].concat(),
            Self::Mixed(_) => [MESSAGES, CALLS, ACTIVITY, NEW_SESSIONS].concat(),
            Self::RegisterStorm(_) => REGISTRATIONS.to_vec(),
            Self::ReconnectStorm => [MESSAGES, CALLS, &["all_restored_us.max"]].concat(),
        }
    }
}
