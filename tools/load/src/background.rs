//! A thread that has the processor only when nobody else wants it. The second and last file of this tool with `unsafe`
//! (the other is `forward/uring.rs`): no crate here has this call.

#![expect(
    unsafe_code,
    reason = "a system call that takes a pointer to a struct on the stack"
)]

use std::{io, mem};

/// From now on the calling thread, and every process that it starts, runs only while its core has nothing else to do
/// (`SCHED_IDLE`). The lowest priority would not do: it keeps the core for the rest of its slice, milliseconds.
pub(crate) fn this_thread() -> io::Result<()> {
    // SAFETY: a struct of integers, whatever others it has on this platform: all zero is a value of it, and the priority
    // that this policy asks for.
    let param: libc::sched_param = unsafe { mem::zeroed() };
    // SAFETY: 0 is the calling thread, and `param` outlives the call, which only reads it.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
