//! The command line of `setups`.

use std::{path::PathBuf, time::Duration};

use super::Options;
use crate::{
    cli::{Against, seconds},
    trouble::Trouble,
    ua::Style,
};

/// `ringfork-load setups`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Users, who are called in turn.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    users: u32,
    /// Devices of each user.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    devices: u16,
    /// Addresses that all requests and answers come from: 1 is what a single proxy before the server looks like.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    sources: u16,
    /// Calls under way at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    at_a_time: u32,
    /// Steady state, in seconds.
    #[arg(long, default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// Warm-up, in seconds.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    warmup: Duration,
    /// Write a record of the run into this folder.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) against: Against,
}

impl Args {
    pub(crate) fn options(&self) -> Result<Options, Trouble> {
        let setting = self.against.setting(&Style::default())?;
        Ok(Options {
            target: setting.target,
            users: self.users,
            devices: self.devices,
            sources: self.sources,
            at_a_time: self.at_a_time.min(self.users),
            warmup: self.warmup,
            steady: self.seconds,
            record: self.record.clone(),
            seed: setting.seed,
            cores: setting.cores,
        })
    }
}
