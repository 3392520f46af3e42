//! Simulation: whole shards with devices, senders and a network on one thread, one virtual clock, one seed.
//!
//! `SEED=7 cargo sim` runs one seed, `SEEDS=10000 cargo sim` that many from 0 (or from `FROM`), and `cargo test` a few fixed ones. A seed
//! that fails prints the command that repeats it.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of a test: what is wrong fails it"
)]

mod book;
mod device;
mod host;
mod lab;
mod net;
mod peer;
mod sender;
mod text;

use book::Plant;
use lab::{Lab, Outcome};

fn run(seed: u64, plant: Option<Plant>) -> Result<Outcome, String> {
    let lab = std::panic::catch_unwind(|| Lab::new(seed, plant).run());
    match lab {
        Ok(outcome) if outcome.wrong.is_empty() => Ok(outcome),
        Ok(outcome) => Err(format!("{:#?}", outcome.wrong)),
        Err(_) => Err("it panicked".to_owned()),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

/// [TERM-MEDIA-01] [TERM-MEDIA-03] [TERM-MEDIA-14] [TERM-MEDIA-16] [TERM-MEDIA-18] [TERM-MEDIA-19] [B2BUA-12]
#[test]
fn seeds() {
    let from = number("SEED").or(number("FROM")).unwrap_or(0);
    let count = if number("SEED").is_some() {
        1
    } else {
        number("SEEDS").unwrap_or(60)
    };
    let (mut deliveries, mut activities, mut failed) = (0, 0, Vec::new());
    for seed in from..from + count {
        match run(seed, None) {
            Ok(outcome) => {
                deliveries += outcome.deliveries;
                activities += outcome.activities;
            }
            Err(why) => {
                println!("seed {seed} failed: {why}\nrepeat it by: SEED={seed} cargo sim");
                failed.push(seed);
                if failed.len() >= 10 {
                    break;
                }
            }
        }
    }
    println!(
        "{count} seeds, {deliveries} deliveries, {activities} activity messages, {} failed",
        failed.len()
    );
    assert!(failed.is_empty(), "seeds {failed:?} failed");
    assert!(
        count < 10 || (deliveries > 0 && activities > 0),
        "the runs did something"
    );
}

/// The first of a hundred seeds at which a planted fault is found by the checker that is there for it.
fn finds(plant: Plant, checker: &str) {
    let found = (0..100).find_map(|seed| {
        run(seed, Some(plant))
            .err()
            .filter(|why| why.contains(&format!("{checker}:")))
    });
    assert!(
        found.is_some(),
        "{plant:?} was planted in a hundred runs, and `{checker}` saw nothing"
    );
}

#[test]
fn an_altered_byte_is_found() {
    finds(Plant::Alter, "whole");
}

#[test]
fn a_doubled_delivery_is_found() {
    finds(Plant::Double, "once");
}

#[test]
fn two_swapped_deliveries_are_found() {
    finds(Plant::Swap, "order");
}

#[test]
fn a_leak_after_activity_is_found() {
    finds(Plant::Leak, "leak");
}

#[test]
fn a_lost_message_that_was_acknowledged_is_found() {
    finds(Plant::Lose, "kept");
}

#[test]
fn a_device_message_that_never_comes_is_found() {
    finds(Plant::Deafen, "heard");
}

#[test]
fn a_second_device_that_stays_is_found() {
    finds(Plant::Keep, "one");
}

#[test]
fn a_session_that_stays_is_found() {
    finds(Plant::Stay, "zero");
}

/// The same seed gives the same run.
#[test]
fn a_seed_repeats_its_run() {
    let once = run(5, None).map(|o| (o.deliveries, o.activities));
    assert_eq!(once, run(5, None).map(|o| (o.deliveries, o.activities)));
}
