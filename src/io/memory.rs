//! The allocator's free memory, given back to the system while nothing else is to be done.
//!
//! The allocator gives back by itself, but only on occasion of an allocation or a release that comes long enough after: behind a
//! burst of calls whose transactions end all at once, a shard that has nothing more to do would hold their memory until the
//! next burst.

// Its library is part of every program with this module; where another allocator is the global one there is nothing to give.
use mimalloc as _;

unsafe extern "C" {
    /// Of mimalloc, for any thread: with `force`, all pages of the calling thread that hold nothing go at once.
    safe fn mi_collect(force: bool);
}

/// Gives back what the calling thread's part of the allocator does not use. As long as a system call for each free stretch of
/// memory: a few milliseconds behind a large burst.
pub(super) fn give_back() {
    mi_collect(true);
}
