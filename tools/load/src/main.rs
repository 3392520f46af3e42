//! `ringfork-load`: the load generator. Its own SIP and MSRP peers over `ringfork::wire` alone, so that it stays an
//! independent opinion on any server: a bug in our ring cannot hide in the tool that judges it.

mod cli;
mod epoll;
mod fault;
mod forward;
mod out;
mod pin;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Scenario};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.scenario {
        Scenario::Forward(f) => forward::run(&f.options()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("ringfork-load: {e}");
            ExitCode::from(3)
        }
    }
}
