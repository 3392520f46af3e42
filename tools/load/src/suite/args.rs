//! The suite's command line.

use std::path::PathBuf;

use super::Options;

/// `ringfork-load suite`, which `cargo perf` calls.
///
/// Exit codes: 0 all targets met, 1 one was missed, 2 usage, 3 undecided or not run.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The server, built already; else it is built first.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// An earlier build of the server: every figure is held against its, run by run in turn, and may be no worse.
    #[arg(long, value_name = "PATH", conflicts_with = "scenarios")]
    before: Option<PathBuf>,
    /// Three minutes instead of forty: fewer and shorter rounds, and what takes long is left out.
    #[arg(long)]
    quick: bool,
    /// This target (with --scenarios: scenario) alone; may be given more than once.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Instead of the targets, every scenario that comes with this tool, as its file has it: about ten minutes. With --only,
    /// these alone.
    #[arg(long, conflicts_with_all = ["quick", "targets"])]
    scenarios: bool,
    /// Another table of targets than perf/targets.toml.
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,
    /// Where the record goes, unless to perf/record/<machine>.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Where the page goes, unless beside the record.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// One JSON object on the last line of standard output.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn options(&self) -> Options {
        Options {
            server: self.server.clone(),
            before: self.before.clone(),
            quick: self.quick,
            scenarios: self.scenarios,
            only: self.only.clone(),
            targets: self.targets.clone(),
            record: self.record.clone(),
            page: self.report.clone(),
            json: self.json,
        }
    }
}
