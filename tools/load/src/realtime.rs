//! Real-time tasks, made by `chrt` of util-linux: what is due in one of them waits for nothing else on its core. It needs a
//! privilege; who has it not goes on without, and the report says so.

use std::process::{Command, Stdio};

/// All threads of this process. What it starts is none.
pub(crate) fn process() -> bool {
    fifo(&["--all-tasks"], std::process::id())
}

/// One thread, by its number in the kernel.
pub(crate) fn thread(tid: u32) -> bool {
    fifo(&[], tid)
}

/// Says whether that was allowed.
fn fifo(options: &[&str], whom: u32) -> bool {
    let chrt = Command::new("chrt")
        .args(options)
        .args(["--reset-on-fork", "--fifo", "--pid", "1"])
        .arg(whom.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    chrt.is_ok_and(|status| status.success())
}
