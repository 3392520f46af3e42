//! `/metrics`: what the shards counted, added up, by the names that operators hold on to.
//!
//! Shards count in plain integers of their own; nothing is counted here. A number is of the whole process unless it helps
//! to tell shards apart: which ones answer, how evenly sessions fell, who mails whom.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    ids::ShardId,
    shard::report::{BOUNDS_US, Distribution, InOut, Report},
};

/// What a scraper is told: OpenMetrics, which Prometheus reads.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The report of each shard; `None`: it did not answer.
pub(super) type Reports = Vec<(ShardId, Option<Report>)>;

/// What the process itself counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    /// Lines of the log that were dropped because the disk or terminal was slow.
    pub(super) log: Option<super::log::Losses>,
}

/// The text of `/metrics`.
pub(super) fn encode(reports: Reports, process: Process) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process));
    registry
        .sub_registry_with_prefix("ringfork")
        .register_collector(Box::new(Engine(reports)));
    let mut text = String::new();
    let written = prometheus_client::encoding::text::encode(&mut text, &registry);
    debug_assert!(written.is_ok(), "writing to a String does not fail");
    text
}

/// A few labels of one sample.
#[derive(Clone, Debug)]
struct Labels<'a>(&'a [(&'static str, &'a dyn Label)]);

trait Label: fmt::Debug {
    fn text(&self) -> String;
}

impl<T: fmt::Display + fmt::Debug> Label for T {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (key, value) in self.0 {
            (*key, value.text().as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

type Encoder<'a> = DescriptorEncoder<'a>;

/// A metric: its name, its help, and where its number stands.
type Row<F> = (&'static str, &'static str, F);

/// A counter with the samples that `samples` writes through what it is given.
fn counter(
    encoder: &mut Encoder<'_>,
    name: &str,
    help: &str,
    samples: impl FnOnce(
        &mut dyn FnMut(&[(&'static str, &dyn Label)], u64) -> fmt::Result,
    ) -> fmt::Result,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    samples(&mut |labels, n| {
        if labels.is_empty() {
            return metric.encode_counter::<[(&str, &str); 0], _, u64>(&n, None);
        }
        let labels = Labels(labels);
        let mut one = metric.encode_family(&labels)?;
        one.encode_counter::<[(&str, &str); 0], _, u64>(&n, None)
    })
}

fn gauge(encoder: &mut Encoder<'_>, name: &str, help: &str, n: u64) -> fmt::Result {
    use prometheus_client::encoding::EncodeMetric as _;
    let gauge = ConstGauge::new(n);
    let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

/// All shards' reports, as metrics.
#[derive(Debug)]
struct Engine(Reports);

impl Engine {
    fn reports(&self) -> impl Iterator<Item = (ShardId, &Report)> {
        self.0.iter().filter_map(|(s, r)| Some((*s, r.as_ref()?)))
    }

    fn sum(&self, of: impl Fn(&Report) -> u64) -> u64 {
        self.reports().map(|(_, r)| of(r)).sum()
    }

    fn in_out(&self, of: impl Fn(&Report) -> InOut) -> InOut {
        let mut all = InOut::default();
        for (_, r) in self.reports() {
            all.add(of(r));
        }
        all
    }

    /// What shards counted under the same label, added up, in the order of the labels.
    fn by_label<L: Copy + Ord, N: Copy + Default>(
        &self,
        of: impl Fn(&Report) -> &[(L, N)],
        add: impl Fn(&mut N, N),
    ) -> std::collections::BTreeMap<L, N> {
        let mut all = std::collections::BTreeMap::new();
        for (label, n) in self.reports().flat_map(|(_, r)| of(r)) {
            add(all.entry(*label).or_default(), *n);
        }
        all
    }

    fn gauges(&self, e: &mut Encoder<'_>) -> fmt::Result {
        type Of = fn(&Report) -> u64;
        let rows: [Row<Of>; 10] = [
            ("sessions", "CPM sessions", |r| r.sessions),
            (
                "legs",
                "Legs of sessions, the originators' among them",
                |r| r.legs,
            ),
            ("registrations", "Contacts in the registrar", |r| {
                r.registrations
            }),
            ("dialogs", "SIP dialogs, early ones too", |r| r.dialogs),
            ("transactions", "SIP transactions, server and client", |r| {
                r.transactions
            }),
            ("msrp_connections", "MSRP connections", |r| {
                r.msrp_connections
            }),
            ("timers", "Timers that are armed", |r| r.timers),
            ("leg_outbox_bytes", "Bytes that wait for slow legs", |r| {
                r.leg_outbox_bytes
            }),
            (
                "msrp_kept_bytes",
                "Bytes of messages kept until acknowledged",
                |r| r.kept_bytes,
            ),
            (
                "framing_bytes",
                "Bytes of requests that have not come whole",
                |r| r.framing_bytes,
            ),
        ];
        for (name, help, of) in rows {
            gauge(e, name, help, self.sum(of))?;
        }
        // Nothing is deferred before the store is there.
        gauge(e, "deferred_messages", "Messages in the deferred queue", 0)?;
        let help = "Age of the oldest message in the deferred queue";
        gauge(e, "deferred_oldest_seconds", help, 0)
    }

    fn signalling(&self, e: &mut Encoder<'_>) -> fmt::Result {
        let requests = self.by_label(|r| &r.sip_requests, InOut::add);
        counter(e, "sip_requests", "SIP requests", |sample| {
            requests.iter().try_for_each(|(method, n)| {
                both(*n, |direction, n| {
                    sample(&[("method", method), ("direction", &direction)], n)
                })
            })
        })?;
        let responses = self.by_label(|r| &r.sip_responses, InOut::add);
        counter(e, "sip_responses", "SIP responses", |sample| {
            responses.iter().try_for_each(|(code, n)| {
                both(*n, |direction, n| {
                    sample(&[("code", code), ("direction", &direction)], n)
                })
            })
        })?;
        let refusals = self.by_label(|r| &r.refusals, add);
        let help = "SIP requests that were refused, by status and reason";
        counter(e, "refusals", help, |sample| {
            refusals.iter().try_for_each(|((code, reason), n)| {
                sample(&[("code", code), ("reason", reason)], *n)
            })
        })?;
        let connects = self.by_label(|r| &r.connects, add);
        let help = "Connections that were opened, by protocol and outcome";
        counter(e, "connects", help, |sample| {
            connects.iter().try_for_each(|((protocol, outcome), n)| {
                sample(&[("protocol", protocol), ("outcome", outcome)], *n)
            })
        })?;
        type Of = fn(&Report) -> u64;
        let rows: [Row<Of>; 4] = [
            (
                "authentication_failures",
                "SIP requests with wrong credentials",
                |r| r.wrong_credentials,
            ),
            ("sip_repeated", "SIP requests that came again", |r| {
                r.sip_repeated
            }),
            (
                "sip_retransmitted",
                "SIP messages that were sent again by a timer",
                |r| r.sip_retransmitted,
            ),
            (
                "sip_strays",
                "SIP responses and ACKs that belong to nothing",
                |r| r.sip_strays,
            ),
        ];
        for (name, help, of) in rows {
            let n = self.sum(of);
            counter(e, name, help, |sample| sample(&[], n))?;
        }
        let legs = self.by_label(|r| &r.fork_legs, add);
        counter(
            e,
            "fork_legs",
            "Legs of forks, by what became of them",
            |sample| {
                legs.iter()
                    .try_for_each(|(o, n)| sample(&[("outcome", o)], *n))
            },
        )
    }

    fn media(&self, e: &mut Encoder<'_>) -> fmt::Result {
        let messages = self.in_out(|r| r.msrp_messages);
        counter(e, "msrp_messages", "Messages begun", |sample| {
            both(messages, |d, n| sample(&[("direction", &d)], n))
        })?;
        let chunks = self.sum(|r| r.msrp_chunks);
        counter(e, "msrp_chunks", "SENDs with a body, received", |sample| {
            sample(&[], chunks)
        })?;
        let bytes = self.in_out(|r| r.msrp_bytes);
        counter(e, "msrp_bytes", "Bytes on MSRP connections", |sample| {
            both(bytes, |d, n| sample(&[("direction", &d)], n))
        })?;
        let responses = self.by_label(|r| &r.msrp_responses, InOut::add);
        counter(e, "msrp_responses", "MSRP responses", |sample| {
            responses.iter().try_for_each(|(code, n)| {
                let code: &dyn Label = if *code == 0 { &"other" } else { code };
                both(*n, |d, n| sample(&[("code", code), ("direction", &d)], n))
            })
        })?;
        let deliveries = self.by_label(|r| &r.deliveries, add);
        counter(
            e,
            "deliveries",
            "Messages to legs, by what became of them",
            |sample| {
                deliveries
                    .iter()
                    .try_for_each(|(o, n)| sample(&[("outcome", o)], *n))
            },
        )?;
        let dropped = self.by_label(|r| &r.legs_dropped, add);
        counter(
            e,
            "legs_dropped",
            "Legs that were given up, by why",
            |sample| {
                dropped
                    .iter()
                    .try_for_each(|(why, n)| sample(&[("reason", why)], *n))
            },
        )?;
        let malformed = self.sum(|r| r.malformed);
        let help = "Connections closed because their bytes could not be framed";
        counter(e, "malformed_connections", help, |sample| {
            sample(&[], malformed)
        })
    }

    fn times(&self, e: &mut Encoder<'_>) -> fmt::Result {
        type Of = fn(&Report) -> Option<&Distribution>;
        let none = Distribution::default();
        let rows: [Row<Of>; 3] = [
            (
                "teardown_seconds",
                "From the first activity until the BYEs and CANCELs that it made were sent",
                |r| Some(&r.teardown_seconds),
            ),
            (
                "delivery_seconds",
                "From the head of a message until a leg has acknowledged all of it",
                |r| Some(&r.delivery_seconds),
            ),
            (
                "store_commit_seconds",
                "Commits of the deferred queue",
                |_| None,
            ),
        ];
        for (name, help, of) in rows {
            let mut all = Distribution::default();
            for (_, r) in self.reports() {
                all.add(of(r).unwrap_or(&none));
            }
            histogram(e, name, help, &all)?;
        }
        Ok(())
    }

    /// What helps only when shards are told apart, and what keeps the house running.
    fn shards(&self, e: &mut Encoder<'_>) -> fmt::Result {
        use prometheus_client::encoding::EncodeMetric as _;
        type Of = fn(Option<&Report>) -> Option<u64>;
        let rows: [Row<Of>; 2] = [
            ("shard_up", "Whether the shard answers", |r| {
                Some(r.is_some().into())
            }),
            ("shard_sessions", "CPM sessions of the shard", |r| {
                r.map(|r| r.sessions)
            }),
        ];
        for (name, help, of) in rows {
            let mut metric = e.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (shard, report) in &self.0 {
                if let Some(n) = of(report.as_ref()) {
                    let labels: [(&str, &dyn Label); 1] = [("shard", &shard.0)];
                    ConstGauge::new(n).encode(metric.encode_family(&Labels(&labels))?)?;
                }
            }
        }
        counter(e, "mail", "Letters from shard to shard", |sample| {
            for (from, report) in self.reports() {
                for (to, n) in report
                    .mail
                    .iter()
                    .enumerate()
                    .filter(|(to, _)| *to != usize::from(from.0))
                {
                    sample(&[("from", &from.0), ("to", &to)], *n)?;
                }
            }
            Ok(())
        })?;
        let moved = self.sum(|r| r.handed_over);
        let help = "MSRP connections given to the shard that their first request named";
        counter(e, "connections_handed_over", help, |sample| {
            sample(&[], moved)
        })?;
        let reached = self.by_label(|r| &r.limits_reached, add);
        let help = "Requests and connections refused because a bound was reached";
        let rejected = reached.values().sum();
        counter(e, "overload_rejected", help, |sample| sample(&[], rejected))?;
        let help = "How often each bound was reached; the sum is overload_rejected";
        counter(e, "limit_reached", help, |sample| {
            reached
                .iter()
                .try_for_each(|(limit, n)| sample(&[("limit", limit)], *n))
        })?;
        let ring = self.by_label(|r| &r.ring, add);
        counter(e, "ring_events", "What the shards' rings count", |sample| {
            ring.iter()
                .try_for_each(|(event, n)| sample(&[("event", event)], *n))
        })
    }
}

impl Collector for Engine {
    fn encode(&self, mut e: DescriptorEncoder<'_>) -> fmt::Result {
        self.gauges(&mut e)?;
        self.signalling(&mut e)?;
        self.media(&mut e)?;
        self.times(&mut e)?;
        self.shards(&mut e)
    }
}

impl Collector for Process {
    fn encode(&self, mut e: DescriptorEncoder<'_>) -> fmt::Result {
        use prometheus_client::encoding::EncodeMetric as _;
        let e = &mut e;
        if let Some(log) = &self.log {
            let n = log.lines();
            let help =
                "Lines of the log that were lost: writing them was slow, or their device took none";
            counter(e, "ringfork_log_dropped_lines", help, |sample| {
                sample(&[], n)
            })?;
        }
        if let Some(bytes) = resident_bytes() {
            gauge(e, "process_resident_memory_bytes", "Memory in use", bytes)?;
        }
        if let Some(n) = open_descriptors() {
            gauge(e, "process_open_fds", "Descriptors that are open", n)?;
        }
        if let Some(seconds) = cpu_seconds() {
            let cpu = ConstCounter::new(seconds);
            let help = "Processor time used";
            let metric =
                e.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?;
            cpu.encode(metric)?;
        }
        Ok(())
    }
}

fn add(sum: &mut u64, n: u64) {
    *sum += n;
}

fn both(n: InOut, mut sample: impl FnMut(&'static str, u64) -> fmt::Result) -> fmt::Result {
    sample("in", n.received)?;
    sample("out", n.sent)
}

fn histogram(e: &mut Encoder<'_>, name: &str, help: &str, d: &Distribution) -> fmt::Result {
    let bounds = BOUNDS_US
        .iter()
        .map(|us| seconds(*us))
        .chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(d.counts).collect();
    let mut metric = e.encode_descriptor(name, help, None, MetricType::Histogram)?;
    metric.encode_histogram::<[(&str, &str); 0]>(seconds(d.sum_us), d.count(), &buckets, None)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a metric; 2^53 microseconds are 285 years"
)]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Resident memory, as the kernel says it. A read of `/proc` does not wait for a disk.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn open_descriptors() -> Option<u64> {
    // One of them is the directory that is being read.
    Some(
        fs::read_dir("/proc/self/fd")
            .ok()?
            .count()
            .saturating_sub(1) as u64,
    )
}

/// User and system time: fields 14 and 15 of `/proc/self/stat`, in hundredths of a second (`USER_HZ`).
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the process may hold blanks and brackets; what follows its last bracket is field 3.
    let mut rest = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u32 = rest.next()?.parse().ok()?;
    let system: u32 = rest.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / 100.0)
}

#[cfg(test)]
mod tests;
