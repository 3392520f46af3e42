//! Why a run came to nothing, and the exit code that says so.

use std::{fmt, io, process::ExitCode};

/// A run that gave no result.
#[derive(Debug)]
pub(crate) struct Trouble {
    exit: u8,
    what: String,
}

impl Trouble {
    /// What was asked for cannot be: exit code 2.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self {
            exit: 2,
            what: what.into(),
        }
    }

    /// The target does not answer as a server would: exit code 3.
    pub(crate) fn unreachable(what: impl Into<String>) -> Self {
        Self {
            exit: 3,
            what: what.into(),
        }
    }

    /// It went wrong in between: exit code 1, as for an objective that was missed.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self {
            exit: 1,
            what: what.into(),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        let what = e.to_string();
        let unreachable = matches!(
            e.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::TimedOut
                | io::ErrorKind::AddrInUse
                | io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::NotFound
        );
        if e.kind() == io::ErrorKind::InvalidInput {
            Self::usage(what)
        } else if unreachable {
            Self::unreachable(what)
        } else {
            Self::failed(what)
        }
    }
}
