//! The driver over a real ring and loopback, with worlds of the test's own.
//!
//! Whether `io` keeps its promises to a [`World`]: order, fairness, bounds, ends, memory, one system call a turn.

#[path = "live_io/rig.rs"]
mod rig;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use rig::{Rig, Tune};

/// Bytes that tell where they belong: a counter from `seed` on.
fn pattern(seed: u32, len: usize) -> Vec<u8> {
    (seed..).flat_map(u32::to_le_bytes).take(len).collect()
}

fn echoed(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut writer = stream.try_clone().unwrap();
    let sent = bytes.to_vec();
    let sender = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    sender.join().unwrap();
    back
}

#[test]
fn what_many_connections_send_comes_back_whole_and_in_order() {
    for tune in Tune::both() {
        let rig = Rig::echo(tune);
        let clients: Vec<_> = (0..20_u32)
            .map(|i| {
                let addr = rig.addr;
                std::thread::spawn(move || {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    for (k, len) in [1, 200, 70_000, 3, 300_000].into_iter().enumerate() {
                        let bytes = pattern(i * 1_000_000 + k as u32, len);
                        assert!(echoed(&mut stream, &bytes) == bytes, "{i} {len}");
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        let report = rig.stop();
        assert_eq!(report.counters.accepted, 20);
        assert_eq!(report.counters.impossible, 0, "{:?}", report.counters);
        assert_eq!(report.counters.bytes_in, report.counters.bytes_out);
    }
}
