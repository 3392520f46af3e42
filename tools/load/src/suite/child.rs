//! One measurement, as a run of this program of its own: a server that hangs or a run that comes to nothing spoils its row,
//! not the suite, and whoever doubts a row can type the same command.

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    clock::{Clock, Nanos},
    proc, record,
    trouble::Trouble,
};

const LOOK: Duration = Duration::from_millis(20);

/// A run that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// As one would type it.
    pub(crate) command: String,
    pub(crate) exit: Option<i32>,
    /// It is what the server is held against.
    pub(crate) is_other: bool,
    /// The record that it wrote; none if it came to nothing.
    pub(crate) record: Option<Value>,
    /// The last line that it said on standard error.
    pub(crate) last_line: String,
}

impl Ran {
    /// The objectives that were missed, as the report has them.
    pub(crate) fn missed(&self) -> Vec<&Value> {
        let checks = self
            .record
            .as_ref()
            .and_then(|r| r["report"]["slo"]["checks"].as_array());
        let all = checks.into_iter().flatten();
        all.filter(|c| c["met"] == Value::Bool(false)).collect()
    }
}

/// Runs this program with `words` in the folder `root`; its record comes by way of `folder`. Ended when the clock shows `until`.
pub(crate) async fn run(
    words: &[String],
    root: &Path,
    folder: &Path,
    clock: Clock,
    until: Nanos,
) -> Result<Ran, Trouble> {
    let records = folder.join("records");
    // Of the run before.
    if records.exists() {
        fs::remove_dir_all(&records)?;
    }
    let said = folder.join("said");
    let mut child = Running(
        Command::new(std::env::current_exe()?)
            .args(words)
            .current_dir(root)
            .arg("--record")
            .arg(&records)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said)?)
            .spawn()?,
    );
    let mut late = false;
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        if clock.now() > until {
            child.end();
            late = true;
            break child.0.wait()?;
        }
        tokio::time::sleep(LOOK).await;
    };
    let text = String::from_utf8_lossy(&fs::read(&said)?).into_owned();
    let last = text.lines().rev().find(|l| !l.trim().is_empty());
    let command = record::typed(words);
    let mut record = the_record(&records)?;
    if let Some(record) = &mut record {
        // Where it was kept on the way is nobody's concern.
        record["command"] = Value::from(command.clone());
    }
    Ok(Ran {
        command,
        exit: status.code(),
        is_other: false,
        record,
        last_line: if late {
            "there was no time left for it".to_owned()
        } else {
            last.unwrap_or("it said nothing").trim().to_owned()
        },
    })
}

/// Ended with all that it started when it is dropped.
struct Running(Child);

impl Running {
    /// Its own children first: nobody else knows them once it has gone.
    fn end(&mut self) {
        for pid in proc::children(self.0.id()) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.0.kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.end();
            let _ = self.0.wait();
        }
    }
}

fn the_record(folder: &Path) -> io::Result<Option<Value>> {
    if !folder.exists() {
        return Ok(None);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "json") {
            return Ok(Some(serde_json::from_slice(&fs::read(path)?)?));
        }
    }
    Ok(None)
}
