//! Latencies for other tools: an interval log of HdrHistogram (V2, compressed), a line a round with a tag that says whose
//! it is. Values are nanoseconds; the maximum that each line shows to people is in milliseconds, as is usual.

use std::{
    fs, io,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use hdrhistogram::serialization::{
    V2DeflateSerializer,
    interval_log::{IntervalLogWriterBuilder, Tag},
};

use crate::{clock::Nanos, record, stage::Who, tally::Tally};

/// Nanoseconds of the unit in which a line shows its maximum.
const MILLISECOND: f64 = 1e6;

/// Writes the log of `rounds`, in the order in which they ran.
pub(crate) fn write(path: &Path, rounds: &[(Who, &Tally)]) -> io::Result<()> {
    fs::write(path, text(rounds)?)
}

fn text(rounds: &[(Who, &Tally)]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let ended = rounds.iter().map(|(_, t)| t.window.end).max().unwrap_or(0);
    let started = record::wall_clock()
        .checked_sub(Duration::from_nanos(ended))
        .unwrap_or(UNIX_EPOCH);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("nanoseconds from the intended send time to the device's read")
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(MILLISECOND)
        .begin_log_with(&mut bytes, &mut serializer)?;
    for (who, tally) in rounds {
        let at = |ns: Nanos| Duration::from_nanos(ns);
        let length = at(tally.window.end - tally.window.start);
        log.write_histogram(
            tally.delivery.histogram(),
            at(tally.window.start),
            length,
            Tag::new(who.name()),
        )
        .map_err(|e| io::Error::other(format!("{e:?}")))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    #[test]
    fn what_is_written_is_read_back_round_by_round() {
        let round = |from: Nanos, us: u64| {
            let mut t = Tally::new(from..from + 2_000_000_000);
            t.delivery.record(us * 1000);
            t
        };
        let (server, forwarder) = (round(1_000_000_000, 700), round(4_000_000_000, 300));
        let log = text(&[(Who::Server, &server), (Who::Forwarder, &forwarder)]).unwrap();
        let read: Vec<_> = IntervalLogIterator::new(&log)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(i) => Some((
                    i.tag().unwrap().as_str().to_owned(),
                    i.start_timestamp().as_secs(),
                    i.duration().as_secs(),
                    i.encoded_histogram().to_owned(),
                )),
                LogEntry::StartTime(_) | LogEntry::BaseTime(_) => None,
            })
            .collect();
        let head: Vec<_> = read
            .iter()
            .map(|(t, s, d, _)| (t.as_str(), *s, *d))
            .collect();
        assert_eq!(head, [("server", 1, 2), ("forwarder", 4, 2)]);
        // Base 64 of a histogram in the compressed form begins with its cookie.
        assert!(read.iter().all(|(.., h)| h.starts_with("HISTFAAAA")));
        let text = String::from_utf8(log).unwrap();
        assert!(
            text.contains("#[BaseTime: ") && text.contains(",0.700,"),
            "{text}"
        );
    }
}
