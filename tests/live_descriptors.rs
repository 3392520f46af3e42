//! Descriptors: none is lost over thousands of connections, and running out of them is survived.
//!
//! One test in a process of its own: the limit and the count are the process's.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    dead_code,
    reason = "a test; it uses a part of the rig"
)]

#[path = "live_io/rig.rs"]
mod rig;

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use rig::{Event, Kept, Mode, Rig, Script, both_ways, client, echoed, settings};
use ringfork::{
    io::Settings,
    shard::{ConnectError, Effect},
};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The limit below which just `free` descriptors are not in use.
fn limit_with_free(free: usize) -> u64 {
    let open: Vec<u64> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    // The one that read the directory is closed again: it was the lowest free one then.
    let own = (0..).find(|n| closed(*n)).unwrap();
    (0..)
        .filter(|n| !open.contains(n) || *n == own)
        .nth(free)
        .unwrap()
}

fn closed(n: u64) -> bool {
    !std::path::Path::new(&format!("/proc/self/fd/{n}")).exists()
}

#[test]
fn descriptors_are_not_lost_and_running_out_of_them_is_survived() {
    for features in both_ways() {
        thousands_of_connections_leave_none(features);
        running_out_refuses_the_newest(features);
    }
}

fn thousands_of_connections_leave_none(features: ringfork::io::Features) {
    let mut rig = Rig::new(settings(), features, Script::new(Mode::Echo));
    rig.idle();
    let before = open_descriptors();
    let addr = rig.tcp;
    rig.during(|| {
        for n in 0..3000_u32 {
            let mut stream = client(addr);
            match n % 3 {
                0 => {}
                1 => assert_eq!(echoed(&stream, b"hello"), b"hello"),
                _ => {
                    stream.write_all(b"and away").unwrap();
                    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                }
            }
        }
    });
    rig.until("all gone", |d| d.connections() == 0);
    rig.idle();
    assert_eq!(open_descriptors(), before);
    let c = rig.driver.counters();
    assert_eq!(c.accepted + c.accept_aborted, 3000, "{c:?}");
    assert_eq!((c.closed, c.impossible), (c.accepted, 0), "{c:?}");
}

fn running_out_refuses_the_newest(features: ringfork::io::Features) {
    let quick = Settings {
        accept_retry: Duration::from_millis(20),
        connections: 16,
        ..settings()
    };
    // An accept takes the limit that stands when it is armed: it is lowered before. Clients of the same process take
    // descriptors too: they are made first.
    let before = getrlimit(Resource::Nofile);
    let waiting: Vec<TcpStream> = (0..9)
        .map(|_| {
            socket(AddressFamily::INET, SocketType::STREAM, None)
                .unwrap()
                .into()
        })
        .collect();
    let count = open_descriptors();
    let rig = Rig::new(quick.clone(), features, Script::new(Mode::Echo));
    let own = open_descriptors() - count;
    drop(rig);
    let limit = |current| {
        let limit = Rlimit {
            current,
            maximum: before.maximum,
        };
        setrlimit(Resource::Nofile, limit).unwrap();
    };
    limit(Some(limit_with_free(own + 3)));
    let mut rig = Rig::new(quick, features, Script::new(Mode::Echo));
    for socket in &waiting {
        rustix::net::connect(socket, &rig.tcp).unwrap();
    }
    rig.until("refused", |d| {
        let c = d.counters();
        c.fd_refused > 0 && c.accepted + c.fd_refused == 9
    });
    let c = rig.driver.counters();
    assert!(c.fd_full > 0, "{c:?}");
    // Neither can we connect.
    let world = rig.driver.world();
    let conn = world.names.insert(Kept::default());
    world.effects.push_back(Effect::Connect {
        conn,
        to: "127.0.0.1:9".parse().unwrap(),
    });
    rig.until("exhausted", |d| {
        d.world()
            .has(Event::Connected(conn, Err(ConnectError::Exhausted)))
    });
    // Who is there already notices nothing; who was refused knows it.
    assert_eq!(c.accepted, 3);
    assert_eq!(rig.during_here(&waiting[0]), b"still here");
    let turns = rig.driver.counters().turns;
    rig.idle();
    assert!(
        rig.driver.counters().turns - turns <= 11,
        "it does not spin"
    );
    limit(before.current);
    let refused = waiting
        .iter()
        .filter(|s| {
            s.set_nonblocking(true).unwrap();
            matches!((&**s).read(&mut [0; 1]), Err(e) if e.kind() == ErrorKind::ConnectionReset)
        })
        .count();
    assert_eq!(refused as u64, rig.driver.counters().fd_refused);
    // With descriptors to spare, the newest come in again; those of one that left will do.
    drop(waiting);
    rig.until("room", |d| d.connections() == 0);
    let (after, _) = rig.client();
    assert_eq!(rig.during(|| echoed(&after, b"welcome")), b"welcome");
}

impl Rig {
    /// An echo without a thread or a descriptor more.
    fn during_here(&mut self, mut stream: &TcpStream) -> Vec<u8> {
        stream.write_all(b"still here").unwrap();
        let before = self.driver.counters().bytes_out;
        self.until("echoed", |d| d.counters().bytes_out > before);
        let mut back = vec![0; 10];
        stream.read_exact(&mut back).unwrap();
        back
    }
}
