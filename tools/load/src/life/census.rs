//! What calls came to over a whole run, in the words of RFC 7501 (attempts, failures) and RFC 6076 (delays).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    hist::Latency,
    report::{Check, Report},
};

/// Findings that are told one by one; more say nothing new.
const KEPT: usize = 16;

/// Counts and times of calls.
pub(crate) struct Census {
    /// Session Attempts (RFC 7501 §3.1.6): INVITEs.
    pub(crate) attempts: u64,
    /// Attempts that came to nothing, by final response; 408 where none came within the Establishment Threshold Time.
    pub(crate) failures: BTreeMap<u16, u64>,
    /// From the intended time of the INVITE to the ACK.
    pub(crate) setup: Latency,
    /// Session Request Delay (RFC 6076 §4.3.1): from the INVITE to its final response; devices answer without ringing.
    pub(crate) request_delay: Latency,
    /// From the intended time of the INVITE until every leg has its MSRP connection.
    pub(crate) standing: Latency,
    /// Calls whose legs did not all come up.
    pub(crate) legs_missing: u64,
    /// Session Disconnect Delay (RFC 6076 §4.4): from the BYE to its 200.
    pub(crate) disconnect_delay: Latency,
    /// From the caller's BYE until the last device had its own.
    pub(crate) dismissal: Latency,
    /// BYEs that were not answered with a 2xx.
    pub(crate) bye_failures: u64,
    /// Devices that never got a BYE although their call had ended.
    pub(crate) legs_without_bye: u64,
    /// Calls in which a device spoke.
    pub(crate) active: u64,
    /// From the first activity that a device sent to the last BYE at the others.
    pub(crate) teardown: Latency,
    /// Devices that stayed beside the one that may.
    pub(crate) stayed: u64,
    /// Calls in which no device stayed.
    pub(crate) nobody_stayed: u64,
    /// BYEs after activity without `Reason: SIP;cause=200`.
    pub(crate) wrong_reason: u64,
    /// How late INVITEs were sent.
    pub(crate) lag: Latency,
    /// How long messages waited for us after they had come.
    pub(crate) waited: Latency,
    /// What went wrong, for people.
    findings: Vec<String>,
}

impl Census {
    pub(crate) fn new() -> Self {
        Self {
            attempts: 0,
            failures: BTreeMap::new(),
            setup: Latency::new(),
            request_delay: Latency::new(),
            standing: Latency::new(),
            legs_missing: 0,
            disconnect_delay: Latency::new(),
            dismissal: Latency::new(),
            bye_failures: 0,
            legs_without_bye: 0,
            active: 0,
            teardown: Latency::new(),
            stayed: 0,
            nobody_stayed: 0,
            wrong_reason: 0,
            lag: Latency::new(),
            waited: Latency::new(),
            findings: Vec::new(),
        }
    }

    /// An attempt came to nothing.
    pub(crate) fn failed(&mut self, code: Option<u16>, why: String) {
        *self.failures.entry(code.unwrap_or(0)).or_default() += 1;
        self.finding(why);
    }

    /// Something that a person may want to read.
    pub(crate) fn finding(&mut self, what: String) {
        if self.findings.len() < KEPT {
            self.findings.push(what);
        }
    }

    /// What went wrong, a line each.
    pub(crate) fn findings(&self) -> String {
        self.findings.join("\n")
    }

    /// Takes over what went wrong with calls that are counted elsewhere; their times are not of this measurement.
    pub(crate) fn add_faults(&mut self, other: &Self) {
        for (&code, &n) in &other.failures {
            *self.failures.entry(code).or_default() += n;
        }
        self.legs_missing += other.legs_missing;
        self.bye_failures += other.bye_failures;
        self.legs_without_bye += other.legs_without_bye;
        self.active += other.active;
        self.teardown.add(&other.teardown);
        self.stayed += other.stayed;
        self.nobody_stayed += other.nobody_stayed;
        self.wrong_reason += other.wrong_reason;
        for finding in &other.findings {
            self.finding(finding.clone());
        }
    }

    /// Attempts that came to nothing.
    pub(crate) fn failed_attempts(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Writes it into a report.
    pub(crate) fn tell(&self, report: &mut Report) {
        if self.attempts > 0 {
            report.field("session_attempts", json!(self.attempts));
            report.field("session_attempt_failures", json!(self.failed_attempts()));
            report.line(format!(
                "sessions  {} attempts, {} failed",
                self.attempts,
                self.failed_attempts()
            ));
        }
        report.field("failures_by_code", codes(&self.failures));
        if self.active > 0 {
            report.field("sessions_with_activity", json!(self.active));
        }
        for (name, times) in [
            ("setup_us", &self.setup),
            ("session_request_delay_us", &self.request_delay),
            ("standing_us", &self.standing),
            ("teardown_us", &self.teardown),
            ("session_disconnect_delay_us", &self.disconnect_delay),
            ("dismissal_us", &self.dismissal),
            ("signalling_lag_us", &self.lag),
            ("signalling_wait_us", &self.waited),
        ] {
            report.times(name, times);
        }
        for finding in &self.findings {
            report.line(format!("found: {finding}"));
        }
    }

    /// What has to hold of it in any case.
    pub(crate) fn checks(&self) -> Vec<Check> {
        let mut checks = vec![
            Check::none("session_attempt_failures", self.failed_attempts()),
            Check::none("sessions_with_missing_legs", self.legs_missing),
            Check::none("bye_failures", self.bye_failures),
            Check::none("legs_without_bye", self.legs_without_bye),
        ];
        if self.active > 0 {
            checks.extend([
                Check::none("devices_that_stayed_beside", self.stayed),
                Check::none("sessions_nobody_stayed_in", self.nobody_stayed),
                Check::none("byes_with_wrong_reason", self.wrong_reason),
            ]);
        }
        checks
    }
}

/// Counts by code, 0 for what is no code; absent if there are none.
pub(crate) fn codes(by_code: &BTreeMap<u16, u64>) -> Option<Value> {
    let all: serde_json::Map<_, _> = by_code
        .iter()
        .map(|(code, n)| (code.to_string(), json!(n)))
        .collect();
    (!all.is_empty()).then_some(Value::Object(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_misses_its_own_check() {
        type Wrong = (&'static str, fn(&mut Census));
        let wrong: [Wrong; 7] = [
            ("session_attempt_failures", |c| {
                c.failed(Some(503), "x".to_owned());
            }),
            ("sessions_with_missing_legs", |c| c.legs_missing = 1),
            ("bye_failures", |c| c.bye_failures = 1),
            ("legs_without_bye", |c| c.legs_without_bye = 1),
            ("devices_that_stayed_beside", |c| c.stayed = 1),
            ("sessions_nobody_stayed_in", |c| c.nobody_stayed = 1),
            ("byes_with_wrong_reason", |c| c.wrong_reason = 1),
        ];
        for (name, make) in wrong {
            let mut census = Census::new();
            census.active = 1;
            assert!(census.checks().iter().all(|c| c.met));
            make(&mut census);
            let missed: Vec<_> = census.checks().into_iter().filter(|c| !c.met).collect();
            assert_eq!(missed.len(), 1, "{name}");
            assert_eq!(missed[0].name, name);
        }
    }

    #[test]
    fn what_did_not_happen_is_absent() {
        let mut report = Report::new("churn", "here");
        Census::new().tell(&mut report);
        assert!(report.fields.is_empty(), "{:?}", report.fields);
    }
}
