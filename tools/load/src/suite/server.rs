//! The server under test, and whether what a measurement needs is there.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::trouble::Trouble;

/// Builds the server of this tree as it is released, and says where it is.
pub(crate) fn build(root: &Path) -> Result<PathBuf, Trouble> {
    // Set by `cargo run`: the cargo that was asked.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = "build --release --locked --bin ringfork --message-format json-render-diagnostics";
    eprintln!("building the server: cargo {words}");
    let out = Command::new(cargo)
        .args(words.split_whitespace())
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()?;
    if !out.status.success() {
        return Err(Trouble::usage(
            "the server does not build; --server PATH takes one that is built",
        ));
    }
    executable(&String::from_utf8_lossy(&out.stdout)).ok_or_else(|| {
        Trouble::usage("cargo does not say where it put the server; --server PATH does")
    })
}

/// The program among cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok())
        .filter(|m| m["target"]["name"] == "ringfork")
        .find_map(|m| Some(PathBuf::from(m["executable"].as_str()?)))
}

/// Whether a program is on the path.
pub(crate) fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|all| std::env::split_paths(&all).any(|folder| folder.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_the_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"ringfork\"},\"executable\":null}\n",
            "no json\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"other\"},\"executable\":\"/t/other\"}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"ringfork\"},\"executable\":\"/t/ringfork\"}\n",
        );
        assert_eq!(executable(messages), Some(PathBuf::from("/t/ringfork")));
        assert_eq!(executable("{}"), None);
    }

    #[test]
    fn programs_are_looked_for_on_the_path() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program-here"));
    }
}
