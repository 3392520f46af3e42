//! What this kernel, container and account let us do: tried, not looked up, before anything is built on it.
//!
//! Something that we cannot do without is an error that says what is lacking and how to get it. Something that we can do
//! without is left alone, with the reason kept for the log.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    ring::Ring,
    settings::{Feature, Features, Settings},
};

mod trials;

/// The oldest kernel that it runs on: multishot receive is of 6.0, deferred task work of 6.1.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// What is lacking, and how to get it.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// The kernel is too old.
    #[error(
        "Linux {found} is too old: Ringfork needs Linux 6.1 or later (Debian 12, RHEL 10, Ubuntu 24.04)"
    )]
    Kernel {
        /// What it calls itself.
        found: String,
    },
    /// `kernel.io_uring_disabled` forbids it.
    #[error(
        "this host forbids io_uring: kernel.io_uring_disabled is {value}. As root: `sysctl -w kernel.io_uring_disabled=0`{}",
        if *.value == 1 { ", or let the service's group in with kernel.io_uring_group, or give it CAP_SYS_ADMIN" } else { "" }
    )]
    Disabled {
        /// 1: for unprivileged processes; 2: for all.
        value: u32,
    },
    /// A container's profile or a security module forbids it.
    #[error(
        "io_uring is refused ({source}): the container's seccomp profile or a security module forbids it. Allow io_uring_setup, io_uring_enter and io_uring_register (Docker, Podman: `--security-opt seccomp=FILE` with a profile that lists them; Kubernetes: securityContext.seccompProfile; systemd: SystemCallFilter=@io-uring)"
    )]
    Refused {
        /// EPERM, EACCES or ENOSYS.
        source: io::Error,
    },
    /// Too few open files.
    #[error(
        "too few open files: the configured load needs {need}, the hard limit is {have}. Raise it (systemd: LimitNOFILE={need}; Docker: --ulimit nofile={need}; else /etc/security/limits.conf), or lower limits.connections"
    )]
    Descriptors {
        /// What the configuration may use at most.
        need: u64,
        /// `RLIMIT_NOFILE`, hard.
        have: u64,
    },
    /// No memory, or not enough that may be locked.
    #[error(
        "no memory for the rings ({source}): {need} bytes a shard, and this account may lock {}. Raise it (systemd: LimitMEMLOCK=infinity; Docker: --ulimit memlock=-1), give the container more memory, or lower limits.receive_bytes",
        .lockable.map_or_else(|| "any number".to_owned(), |n| format!("{n} bytes"))
    )]
    Memory {
        /// Receive memory and rings of one shard.
        need: u64,
        /// `RLIMIT_MEMLOCK`; `None` without limit.
        lockable: Option<u64>,
        /// ENOMEM.
        source: io::Error,
    },
    /// The ring is there, but something that a Linux 6.1 has does not work.
    #[error("this kernel's io_uring lacks {what}, which Linux 6.1 has: {why}")]
    Lacks {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        why: String,
    },
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is there and not switched off.
    pub features: Features,
    /// What is not used, and why.
    pub without: Vec<(Feature, String)>,
}

/// Tries everything once. `descriptors` is what the whole process may have open; the soft limit is raised to it.
///
/// # Errors
/// [`Missing`]: Ringfork cannot run here as configured.
pub fn check(settings: &Settings, descriptors: u64) -> Result<Found, Missing> {
    kernel()?;
    raise_descriptors(descriptors)?;
    let small = Settings {
        sq_entries: 16,
        cq_entries: 64,
        ..settings.clone()
    };
    drop(Ring::new(&small, Features::NONE).map_err(|e| refusal(e, settings, descriptors))?);
    trials::basics(&small).map_err(|(what, why)| Missing::Lacks { what, why })?;
    let mut found = Found {
        features: Features::NONE,
        without: Vec::new(),
    };
    // In this order: later trials run on rings with what was found before.
    for feature in [
        Feature::DeferTaskrun,
        Feature::RegisteredRing,
        Feature::Incremental,
        Feature::QuietSends,
        Feature::FixedFiles,
        Feature::RingMessages,
    ] {
        let outcome = if settings.off.has(feature) {
            Err("switched off by io.features_off".to_owned())
        } else {
            trials::feature(feature, &small, found.features)
        };
        match outcome {
            Ok(()) => found.features = found.features.with(feature),
            Err(why) => found.without.push((feature, why)),
        }
    }
    trials::memory(settings, found.features).map_err(|e| refusal(e, settings, descriptors))?;
    Ok(found)
}

fn kernel() -> Result<(), Missing> {
    let name = rustix::system::uname();
    let found = name.release().to_string_lossy().into_owned();
    match version(&found) {
        Some(v) if v >= KERNEL_MIN => Ok(()),
        // A version that cannot be read does not keep it from starting: the trials tell.
        None => Ok(()),
        Some(_) => Err(Missing::Kernel { found }),
    }
}

/// `6.12.3-arch1` is (6, 12).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn raise_descriptors(need: u64) -> Result<(), Missing> {
    let now = getrlimit(Resource::Nofile);
    match descriptors_limit(need, now.current, now.maximum)? {
        None => Ok(()),
        Some(soft) => setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(soft),
                maximum: now.maximum,
            },
        )
        .map_err(|_| Missing::Descriptors {
            need,
            have: now.current.unwrap_or(u64::MAX),
        }),
    }
}

/// The soft limit to set, or `None` where it is enough; `None` as a limit is none.
fn descriptors_limit(
    need: u64,
    soft: Option<u64>,
    hard: Option<u64>,
) -> Result<Option<u64>, Missing> {
    if soft.is_none_or(|n| n >= need) {
        return Ok(None);
    }
    match hard {
        Some(have) if have < need => Err(Missing::Descriptors { need, have }),
        _ => Ok(Some(need)),
    }
}

/// Why there is no ring, in words.
fn refusal(e: io::Error, settings: &Settings, descriptors: u64) -> Missing {
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|s| s.trim().parse().ok())
        .unwrap_or(0);
    explain(
        e,
        sysctl,
        (settings.memory(), getrlimit(Resource::Memlock).current),
        descriptors,
    )
}

fn explain(
    e: io::Error,
    sysctl: u32,
    (need, lockable): (u64, Option<u64>),
    descriptors: u64,
) -> Missing {
    match e.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if sysctl > 0 => Missing::Disabled { value: sysctl },
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Missing::Refused { source: e },
        Some(libc::ENOMEM) => Missing::Memory {
            need,
            lockable,
            source: e,
        },
        Some(libc::EMFILE | libc::ENFILE) => Missing::Descriptors {
            need: descriptors,
            have: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        },
        _ => Missing::Lacks {
            what: "a ring with a single issuer",
            why: e.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_found_on_a_kernel_that_has_it_and_each_can_be_switched_off() {
        let found = check(&Settings::default(), 256).unwrap();
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        if version(&release) >= Some((6, 13)) {
            assert_eq!(found.features, Features::all(), "{:?}", found.without);
        }
        for off in Feature::ALL {
            let settings = Settings {
                off: Features::NONE.with(off),
                ..Settings::default()
            };
            let less = check(&settings, 256).unwrap();
            assert_eq!(less.features, found.features.without(off));
            assert!(
                less.without
                    .iter()
                    .any(|(f, why)| *f == off && why.contains("features_off"))
            );
        }
    }

    #[test]
    fn what_forbids_the_ring_is_said_with_what_helps() {
        let say = |errno, sysctl| {
            explain(
                io::Error::from_raw_os_error(errno),
                sysctl,
                (40 << 20, Some(8 << 20)),
                20_000,
            )
            .to_string()
        };
        assert!(say(libc::EPERM, 2).contains("kernel.io_uring_disabled is 2"));
        assert!(say(libc::EPERM, 1).contains("kernel.io_uring_group"));
        assert!(say(libc::EPERM, 0).contains("seccomp"));
        assert!(say(libc::ENOSYS, 0).contains("@io-uring"));
        assert!(say(libc::ENOMEM, 0).contains("LimitMEMLOCK"));
        assert!(say(libc::ENOMEM, 0).contains("8388608 bytes"));
        assert!(say(libc::EMFILE, 0).contains("LimitNOFILE=20000"));
        assert!(say(libc::EINVAL, 0).contains("Linux 6.1"));
    }

    #[test]
    fn too_few_open_files_is_said_with_both_numbers() {
        assert!(matches!(
            descriptors_limit(100, Some(200), Some(200)),
            Ok(None)
        ));
        assert!(matches!(descriptors_limit(100, None, None), Ok(None)));
        assert!(matches!(
            descriptors_limit(300, Some(200), Some(400)),
            Ok(Some(300))
        ));
        assert!(matches!(
            descriptors_limit(300, Some(200), None),
            Ok(Some(300))
        ));
        let e = descriptors_limit(300, Some(200), Some(250))
            .unwrap_err()
            .to_string();
        assert!(e.contains("LimitNOFILE=300") && e.contains("250"), "{e}");
    }

    #[test]
    fn a_kernel_version_is_read_whatever_follows_it() {
        assert_eq!(version("6.12.3-arch1-1"), Some((6, 12)));
        assert_eq!(version("6.1"), Some((6, 1)));
        assert_eq!(version("5.15.0-91-generic"), Some((5, 15)));
        assert_eq!(version("weird"), None);
        assert!(version("5.15.0") < Some(KERNEL_MIN));
    }
}
