//! `ringfork-load`: the load generator. Its own SIP and MSRP peers over `ringfork::wire` alone, so that it stays an
//! independent opinion on any server: a bug in our ring cannot hide in the tool that judges it.
//!
//! # Two threads
//!
//! *Control* (`ua`, `sip_net`, `fanout`, `idle`) runs on tokio-uring: set-up, teardown, SIP. It is asynchronous by nature
//! and never hot. The *data plane* (`plane`, with `sender`, `device`, `stream`, `layout`) is a plain epoll loop on a thread of
//! its own and holds every MSRP connection: with a read that owns its buffer on each of thousands of connections,
//! tokio-uring reached a half to two thirds of what a byte forwarder does, and a generator has to be faster than what it
//! measures. Two queues join them (`link`).
//!
//! # What is trusted
//!
//! A body carries session, sequence number, length, intended send time and a checksum (`body`, `sum`); a leg holds the
//! numbers against those that were sent (`order`); a round counts it all (`tally`). That these find what they claim to is
//! shown with a forwarder that is faulty on purpose (`fault`, `tests/faults.rs`).

mod baseline;
mod body;
mod cli;
mod clock;
mod device;
mod epoll;
mod fanout;
mod fault;
mod forward;
mod hist;
mod idle;
mod layout;
mod leftovers;
mod leg;
mod link;
mod media;
mod names;
mod order;
mod out;
mod pin;
mod plane;
mod proc;
mod record;
mod relay;
mod report;
mod round;
mod sender;
mod sip_net;
mod sip_text;
mod slot;
mod spawn;
mod stream;
mod sum;
mod tally;
mod transact;
mod trouble;
mod ua;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Scenario};
use report::Report;
use trouble::Trouble;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run(&Cli::parse()).unwrap_or_else(|trouble| {
        eprintln!("ringfork-load: {trouble}");
        trouble.exit_code()
    })
}

fn run(cli: &Cli) -> Result<ExitCode, Trouble> {
    match &cli.scenario {
        Scenario::Forward(f) => {
            forward::run(&f.options())?;
            Ok(ExitCode::SUCCESS)
        }
        Scenario::Fanout(f) => {
            let options = f.options()?;
            tell(tokio_uring::start(fanout::run(&options))?, f.json())
        }
        Scenario::Idle(i) => {
            let options = i.options()?;
            tell(tokio_uring::start(idle::run(&options))?, i.json())
        }
    }
}

fn tell(report: Report, json: bool) -> Result<ExitCode, Trouble> {
    Ok(report.tell(json)?)
}
