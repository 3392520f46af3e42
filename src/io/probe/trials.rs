//! The self-tests: each does what the driver will do, on sockets of its own, and looks at what comes of it.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::net::{UnixDatagram, UnixStream},
    },
    sync::mpsc,
    time::Duration,
};

use io_uring::{cqueue, opcode, squeue, types};

use crate::ids::ShardId;
use crate::io::{
    counters::Counters,
    hub::Hub,
    mem::BufferRing,
    ring::{Done, Ring},
    settings::{Feature, Features, Settings},
    token::Place,
};

const ME: Place = Place {
    slot: 0,
    generation: 0,
};

/// How long a completion may take that should be there at once.
const SOON: Duration = Duration::from_millis(500);

type Outcome = Result<(), String>;

/// A ring and what came back on it.
struct Bench {
    ring: Ring,
    counters: Counters,
}

impl Bench {
    fn new(settings: &Settings, features: Features) -> Result<Self, String> {
        let ring = Ring::new(settings, features).map_err(|e| format!("no ring: {e}"))?;
        Ok(Self {
            ring,
            counters: Counters::default(),
        })
    }

    /// # Safety
    /// As [`Ring::push`].
    unsafe fn push(&mut self, entry: &squeue::Entry) -> Outcome {
        // SAFETY: the caller's promise.
        unsafe { self.ring.push(entry, &mut self.counters) }.map_err(|e| e.to_string())
    }

    /// Submits, and waits for at least `want` completions.
    fn run(&mut self, want: usize) -> Result<Vec<Done>, String> {
        let mut all = Vec::new();
        for _ in 0..=want {
            let some = u32::from(all.len() < want);
            self.ring
                .enter(some, Some(SOON), &mut self.counters)
                .and_then(|()| self.ring.reap(&mut all, &mut self.counters))
                .map_err(|e| e.to_string())?;
            if all.len() >= want {
                return Ok(all);
            }
        }
        Err(format!("{want} completions expected, {} came", all.len()))
    }
}

fn expect(condition: bool, what: impl Fn() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(what()) }
}

fn sockets() -> Result<(UnixStream, UnixStream), String> {
    UnixStream::pair().map_err(|e| format!("no socket pair: {e}"))
}

/// What the driver cannot do without, all of it in Linux 6.1: what was tried, and what came of it.
pub(super) fn basics(settings: &Settings) -> Result<(), (&'static str, String)> {
    receive(settings, Features::NONE, false).map_err(|e| ("multishot receive", e))?;
    datagrams(settings).map_err(|e| ("multishot receive of datagrams", e))
}

pub(super) fn feature(feature: Feature, settings: &Settings, found: Features) -> Outcome {
    match feature {
        Feature::DeferTaskrun | Feature::RegisteredRing => {
            receive(settings, found.with(feature), false)
        }
        Feature::Incremental => receive(settings, found, true),
        Feature::QuietSends => quiet_sends(settings, found),
        Feature::FixedFiles => fixed_files(settings, found),
        Feature::RingMessages => ring_messages(settings, found),
    }
}

/// Two receives of one operation; in an incremental ring both in one buffer. (The end of a stream wants a free buffer too.)
fn receive(settings: &Settings, features: Features, incremental: bool) -> Outcome {
    let mut bench = Bench::new(settings, features)?;
    let mut buffers = BufferRing::register(bench.ring.uring(), 0, (4, 4096), incremental)
        .map_err(|e| format!("no buffer ring: {e}"))?;
    let (mut near, far) = sockets()?;
    let entry = opcode::RecvMulti::new(types::Fd(far.as_raw_fd()), 0).build();
    // SAFETY: it points to nothing; the buffers outlive it: it is over when the peer has closed, below.
    unsafe { bench.push(&entry)? };
    let mut ids = Vec::new();
    for text in [&b"one"[..], b"two and a half"] {
        near.write_all(text).map_err(|e| e.to_string())?;
        let done = *bench.run(1)?.first().ok_or("no completion")?;
        let id = cqueue::buffer_select(done.flags);
        let len = u32::try_from(done.result)
            .map_err(|_| format!("receive: {}", io::Error::from_raw_os_error(-done.result)))?;
        expect(cqueue::more(done.flags), || "it ended after one".to_owned())?;
        let id = id.ok_or("no buffer was chosen")?;
        let more = cqueue::buffer_more(done.flags);
        expect(more == incremental, || format!("buffer kept: {more}"))?;
        let slice = buffers.received(id, len, more, ME);
        expect(*slice == *text, || "other bytes came".to_owned())?;
        ids.push(id);
    }
    expect((ids[0] == ids[1]) == incremental, || {
        format!("buffers {ids:?} were chosen")
    })?;
    drop(near);
    let done = bench.run(1)?;
    expect(
        done.first()
            .is_some_and(|d| d.result == 0 && !cqueue::more(d.flags)),
        || format!("the end of the stream came as {done:?}"),
    )?;
    buffers.unregister(bench.ring.uring());
    Ok(())
}

fn datagrams(settings: &Settings) -> Outcome {
    let mut bench = Bench::new(settings, Features::NONE)?;
    let mut buffers = BufferRing::register(bench.ring.uring(), 0, (4, 4096), false)
        .map_err(|e| format!("no buffer ring: {e}"))?;
    let (near, far) = UnixDatagram::pair().map_err(|e| e.to_string())?;
    // SAFETY: all-zero bytes are a valid `msghdr`.
    let header: libc::msghdr = unsafe { std::mem::zeroed() };
    let entry = opcode::RecvMsgMulti::new(types::Fd(far.as_raw_fd()), &raw const header, 0).build();
    // SAFETY: the header and the buffers outlive the receive, which is cancelled below.
    unsafe { bench.push(&entry.user_data(1))? };
    for text in [&b"one"[..], b"two"] {
        near.send(text).map_err(|e| e.to_string())?;
        let done = *bench.run(1)?.first().ok_or("no completion")?;
        expect(done.result == 16 + 3 && cqueue::more(done.flags), || {
            format!("a datagram came as {done:?}")
        })?;
        let id = cqueue::buffer_select(done.flags).ok_or("no buffer was chosen")?;
        let slice = buffers.received(id, 19, false, ME);
        expect(slice[16..] == *text, || "other bytes came".to_owned())?;
    }
    // SAFETY: it points to nothing.
    unsafe { bench.push(&opcode::AsyncCancel::new(1).build())? };
    bench.run(2)?;
    buffers.unregister(bench.ring.uring());
    Ok(())
}

/// A send that is taken whole is silent; one that is not says at once how much was.
fn quiet_sends(settings: &Settings, features: Features) -> Outcome {
    const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
    let mut bench = Bench::new(settings, features)?;
    let (near, far) = sockets()?;
    let bytes = vec![7; 8 << 20];
    let fd = types::Fd(near.as_raw_fd());
    let mut send = |len: u32| {
        let entry = opcode::Send::new(fd, bytes.as_ptr(), len)
            .flags(FLAGS)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: the bytes outlive the send, which does not wait: `run` submits it.
        unsafe { bench.push(&entry)? };
        bench.run(0)
    };
    let whole = send(100)?;
    expect(whole.is_empty(), || {
        format!("a whole send was told: {whole:?}")
    })?;
    let part = send(8 << 20)?;
    expect(
        part.len() == 1 && (1..8 << 20).contains(&part[0].result),
        || format!("a short send was told as {part:?}"),
    )?;
    let none = send(8 << 20)?;
    expect(none.len() == 1 && none[0].result == -libc::EAGAIN, || {
        format!("a send without room was told as {none:?}")
    })?;
    // And what it said is what is there.
    drop(near);
    let mut there = Vec::new();
    (&far).read_to_end(&mut there).map_err(|e| e.to_string())?;
    let said = 100 + usize::try_from(part[0].result).unwrap_or(0);
    expect(there.len() == said, || {
        format!("{said} bytes were told, {} sent", there.len())
    })
}

/// A socket that has left the table is gone, also while an older operation on another is in flight.
fn fixed_files(settings: &Settings, features: Features) -> Outcome {
    let mut bench = Bench::new(settings, features)?;
    bench
        .ring
        .uring()
        .submitter()
        .register_files_sparse(4)
        .map_err(|e| format!("no file table: {e}"))?;
    let (near_old, far_old) = sockets()?;
    let (near, far) = sockets()?;
    let fds = [near_old.as_raw_fd(), near.as_raw_fd(), -1];
    let update = |slot: i32, cell: &i32| {
        opcode::FilesUpdate::new(std::ptr::from_ref(cell), 1)
            .offset(slot)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
    };
    let poll = opcode::PollAdd::new(types::Fixed(0), 1).build();
    let send = opcode::Send::new(types::Fixed(1), b"x".as_ptr(), 1).build();
    // SAFETY: the table's cells and the byte outlive the operations, which `run` submits and which do not wait; the poll
    // points to nothing.
    unsafe {
        bench.push(&update(0, &fds[0]))?;
        bench.push(&poll)?;
        bench.push(&update(1, &fds[1]))?;
        bench.push(&send)?;
    }
    let sent = bench.run(1)?;
    expect(sent.len() == 1 && sent[0].result == 1, || {
        format!("a send by the table came to {sent:?}")
    })?;
    drop(near);
    // SAFETY: as above.
    unsafe { bench.push(&update(1, &fds[2]))? };
    bench.run(0)?;
    far.set_read_timeout(Some(SOON))
        .map_err(|e| e.to_string())?;
    let mut byte = Vec::new();
    let end = (&far).read_to_end(&mut byte);
    expect(end.is_ok(), || {
        "a socket that left the table lives on while an older operation is in flight".to_owned()
    })?;
    drop((near_old, far_old));
    Ok(())
}

/// A message from one thread's ring wakes another that waits in its own.
fn ring_messages(settings: &Settings, features: Features) -> Outcome {
    let hub = Hub::new(2).map_err(|e| e.to_string())?;
    let (up, is_up) = mpsc::channel();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let mut bench = Bench::new(settings, features)?;
            // SAFETY: the ring's descriptor is open as long as the ring.
            hub.attach(ShardId(1), unsafe {
                BorrowedFd::borrow_raw(bench.ring.fd())
            })
            .map_err(|e| e.to_string())?;
            let _ = up.send(());
            let done = bench.run(1)?;
            expect(done[0].name == 77, || format!("it arrived as {done:?}"))
        });
        let outcome = is_up
            .recv_timeout(SOON)
            .map_err(|_| "the other ring did not come up".to_owned())
            .and_then(|()| {
                let mut bench = Bench::new(settings, features)?;
                let fd = hub.ring(ShardId(1)).ok_or("no ring")?;
                let entry = opcode::MsgRingData::new(types::Fd(fd), 0, 77, None).build();
                // SAFETY: it points to nothing; the hub keeps the descriptor open.
                unsafe { bench.push(&entry)? };
                let done = bench.run(1)?;
                expect(done[0].result == 0, || format!("it was refused: {done:?}"))
            });
        let arrived = waits
            .join()
            .unwrap_or_else(|_| Err("the waiting thread failed".to_owned()));
        outcome.and(arrived)
    })
}

/// All that one shard's ring needs, as it will be asked for.
pub(super) fn memory(settings: &Settings, features: Features) -> io::Result<()> {
    let ring = Ring::new(settings, features)?;
    let incremental = features.has(Feature::Incremental);
    let sizes = if incremental {
        settings.stream_buffers
    } else {
        settings.classic_buffers
    };
    let mut buffers = BufferRing::register(ring.uring(), 0, sizes, incremental)?;
    buffers.unregister(ring.uring());
    if features.has(Feature::FixedFiles) {
        ring.uring()
            .submitter()
            .register_files_sparse(settings.connections)?;
    }
    Ok(())
}
