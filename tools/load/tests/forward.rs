//! The byte forwarder, over real sockets, on epoll and on a raw ring: every device gets the sender's bytes, the sender gets
//! device 0's.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's helpers"
)]

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

struct Forwarder {
    child: Child,
    senders: SocketAddr,
    devices: SocketAddr,
}

impl Forwarder {
    /// Over epoll, or with `--ring` over a raw ring.
    fn start(devices: usize, kind: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfork-load"))
            .args([
                "forward",
                "--listen",
                "127.0.0.1:0",
                "--until-eof",
                "--devices",
            ])
            .arg(devices.to_string())
            .args(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = |key: &str| {
            let word = line.split_whitespace().find_map(|w| w.strip_prefix(key));
            word.unwrap_or_else(|| panic!("no {key} in {line:?}"))
                .parse()
                .unwrap()
        };
        Self {
            senders: address("senders="),
            devices: address("devices="),
            child,
        }
    }

    fn sender(&self) -> TcpStream {
        connect(self.senders)
    }

    fn devices(&self, n: usize) -> Vec<TcpStream> {
        (0..n).map(|_| connect(self.devices)).collect()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x.to_le_bytes()[0]
        })
        .collect()
}

fn take(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut got = vec![0; len];
    stream.read_exact(&mut got).unwrap();
    got
}

fn short_writes_lose_nothing_while_devices_read_one_after_another(kind: &[&str]) {
    let f = Forwarder::start(3, kind);
    let mut sender = f.sender();
    let devices = f.devices(3);
    // Far above what the sockets and the pending buffers hold: the forwarder has to stop reading and go on later.
    let sent = noise(24 << 20, 7);
    thread::scope(|s| {
        s.spawn(|| sender.write_all(&sent).unwrap());
        for (j, mut device) in devices.into_iter().enumerate() {
            let sent = &sent;
            s.spawn(move || {
                thread::sleep(Duration::from_millis(50) * u32::try_from(j).unwrap());
                let mut got = Vec::with_capacity(sent.len());
                let mut piece = vec![0; 100_003];
                while got.len() < sent.len() {
                    let n = device.read(&mut piece).unwrap();
                    assert_ne!(n, 0, "device {j} was closed early");
                    got.extend_from_slice(&piece[..n]);
                }
                assert!(got == *sent, "device {j} got other bytes");
            });
        }
    });
}

fn a_device_that_does_not_read_holds_its_sender_back(kind: &[&str]) {
    let f = Forwarder::start(2, kind);
    let mut sender = f.sender();
    let mut devices = f.devices(2);
    sender
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    // No multiple of what is read at a time, so that bytes that are lost or doubled are seen.
    let piece = noise(1_000_003, 3);
    // How many bytes come in all: known only once the sender was held back.
    let all = AtomicUsize::new(usize::MAX);
    thread::scope(|s| {
        let silent = devices.pop().unwrap();
        let reader = devices.pop().unwrap();
        let reads = s.spawn(|| assert_gets(reader, &piece, &all));
        let mut written = 0;
        let stopped = loop {
            match sender.write(&piece[written % piece.len()..]) {
                Ok(n) => written += n,
                Err(e) => break e.kind(),
            }
            // What sockets hold on the way is some MiB; the forwarder itself holds one.
            assert!(written < 64 << 20, "the forwarder keeps what nobody takes");
        };
        // A connection that was closed has stopped its sender as well, and would do for no device.
        assert!(
            matches!(stopped, ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "it is held back, not cut off: {stopped}"
        );
        // And it goes on, with nothing lost, as soon as the device reads.
        let more = 8 << 20;
        all.store(written + more, Ordering::Release);
        let reads_late = s.spawn(|| assert_gets(silent, &piece, &all));
        sender
            .set_write_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let end = written + more;
        while written < end {
            let rest = &piece[written % piece.len()..];
            written += sender
                .write(&rest[..rest.len().min(end - written)])
                .unwrap();
        }
        // A device that goes ends the session: both stay until both have all.
        let _both = (reads.join().unwrap(), reads_late.join().unwrap());
    });
}

/// Reads until `all` bytes have come, which are `piece` over and over; the device, still connected.
fn assert_gets(mut device: TcpStream, piece: &[u8], all: &AtomicUsize) -> TcpStream {
    let (mut got, mut buffer) = (0, vec![0; 100_003]);
    while got < all.load(Ordering::Acquire) {
        let n = device.read(&mut buffer).unwrap();
        assert_ne!(n, 0, "the device was closed after {got} bytes");
        for byte in &buffer[..n] {
            assert_eq!(*byte, piece[got % piece.len()], "byte {got}");
            got += 1;
        }
    }
    device
}

fn the_sender_gets_what_the_first_device_says_and_nothing_of_the_others(kind: &[&str]) {
    let f = Forwarder::start(2, kind);
    let mut sender = f.sender();
    let mut devices = f.devices(2);
    sender.write_all(b"go").unwrap();
    assert_eq!(take(&mut devices[1], 2), b"go");
    devices[1].write_all(b"not me").unwrap();
    devices[0].write_all(b"first").unwrap();
    assert_eq!(take(&mut sender, 5), b"first");
    devices[0].write_all(b"again").unwrap();
    assert_eq!(take(&mut sender, 5), b"again");
}

fn sessions_do_not_mix_and_counting_starts_again_when_all_have_gone(kind: &[&str]) {
    let f = Forwarder::start(2, kind);
    for round in 0..3_u8 {
        let mut senders: Vec<_> = (0..3).map(|_| f.sender()).collect();
        let mut devices = f.devices(6);
        for (k, sender) in senders.iter_mut().enumerate() {
            sender
                .write_all(&[round, u8::try_from(k).unwrap()])
                .unwrap();
        }
        for (j, device) in devices.iter_mut().enumerate() {
            assert_eq!(
                take(device, 2),
                [round, u8::try_from(j / 2).unwrap()],
                "device {j}"
            );
        }
        drop(senders);
        for device in &mut devices {
            assert_eq!(
                device.read(&mut [0]).unwrap(),
                0,
                "the sender's end ends the session"
            );
        }
    }
}

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod epoll { $(#[test] fn $name() { super::$name(&[]); })* }
        mod ring { $(#[test] fn $name() { super::$name(&["--ring"]); })* }
    };
}

on_both![
    short_writes_lose_nothing_while_devices_read_one_after_another,
    a_device_that_does_not_read_holds_its_sender_back,
    the_sender_gets_what_the_first_device_says_and_nothing_of_the_others,
    sessions_do_not_mix_and_counting_starts_again_when_all_have_gone
];
