//! What one ring has done and met, in plain integers: read by its own thread.

/// Counts since the start. Bytes are payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Turns.
    pub turns: u64,
    /// Times that nothing came for a second after some work: free memory was given back to the system.
    pub quiet: u64,
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Completions.
    pub completions: u64,
    /// Times that the submission queue was full and was submitted within a turn.
    pub sq_full: u64,
    /// Times that completions had to wait in the kernel.
    pub cq_overflows: u64,
    /// Completions of a connection that is no longer there.
    pub late: u64,
    /// Connections accepted and taken in.
    pub accepted: u64,
    /// Connections made.
    pub connected: u64,
    /// Connections that could not be made.
    pub connect_failed: u64,
    /// Connections closed and their descriptors given back.
    pub closed: u64,
    /// Connections refused because the table is full or the world had no room.
    pub refused: u64,
    /// Times that no descriptor was free.
    pub fd_full: u64,
    /// Connections refused because no descriptor was free.
    pub fd_refused: u64,
    /// Accepts that failed because the peer was gone already.
    pub accept_aborted: u64,
    /// Accepts that failed for want of kernel memory.
    pub accept_memory: u64,
    /// Accepts that failed in another way.
    pub accept_errors: u64,
    /// Receives with bytes.
    pub receives: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Receives that ended because no buffer was free.
    pub enobufs: u64,
    /// Times that a connection's share of a turn was used up and bytes waited for the next.
    pub deferred: u64,
    /// Turns that left signalling to the next.
    pub unheard: u64,
    /// Turns that left letters of other shards to the next.
    pub unread: u64,
    /// Turns that left what was received to the next because they had worked for long.
    pub late_turns: u64,
    /// Connections whose receive was stopped because of receive memory.
    pub pressed: u64,
    /// Sends.
    pub sends: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Sends of which something was left (EAGAIN included).
    pub short_sends: u64,
    /// Sends that failed: the connection is gone.
    pub send_errors: u64,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Datagrams dropped because they were truncated.
    pub datagrams_truncated: u64,
    /// Datagrams dropped because their source could not be read.
    pub datagrams_strange: u64,
    /// Datagram receives that failed.
    pub datagram_errors: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Datagrams that the system did not take (full socket, no route, too large).
    pub datagrams_unsent: u64,
    /// Connections given to another shard.
    pub handed_over: u64,
    /// Connections reset because the other shard's inbox was full.
    pub hand_over_full: u64,
    /// Connections taken from another shard.
    pub adopted: u64,
    /// Wake-ups sent to other shards.
    pub wakes_sent: u64,
    /// Wake-ups received.
    pub wakes: u64,
    /// Connections that were cut off because they did not end in time.
    pub flush_timeouts: u64,
    /// Outcomes that this code holds to be impossible.
    pub impossible: u64,
}

impl Counters {
    /// Each count with its name, for the metrics.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        // Taken apart whole, so that a further count is not forgotten here.
        let Self {
            turns,
            quiet,
            enters,
            completions,
            sq_full,
            cq_overflows,
            late,
            accepted,
            connected,
            connect_failed,
            closed,
            refused,
            fd_full,
            fd_refused,
            accept_aborted,
            accept_memory,
            accept_errors,
            receives,
            bytes_in,
            enobufs,
            deferred,
            unheard,
            unread,
            late_turns,
            pressed,
            sends,
            bytes_out,
            short_sends,
            send_errors,
            datagrams_in,
            datagrams_truncated,
            datagrams_strange,
            datagram_errors,
            datagrams_out,
            datagrams_unsent,
            handed_over,
            hand_over_full,
            adopted,
            wakes_sent,
            wakes,
            flush_timeouts,
            impossible,
        } = *self;
        vec![
            ("turns", turns),
            ("quiet", quiet),
            ("enters", enters),
            ("completions", completions),
            ("sq_full", sq_full),
            ("cq_overflows", cq_overflows),
            ("late", late),
            ("accepted", accepted),
            ("connected", connected),
            ("connect_failed", connect_failed),
            ("closed", closed),
            ("refused", refused),
            ("fd_full", fd_full),
            ("fd_refused", fd_refused),
            ("accept_aborted", accept_aborted),
            ("accept_memory", accept_memory),
            ("accept_errors", accept_errors),
            ("receives", receives),
            ("bytes_in", bytes_in),
            ("enobufs", enobufs),
            ("deferred", deferred),
            ("unheard", unheard),
            ("unread", unread),
            ("late_turns", late_turns),
            ("pressed", pressed),
            ("sends", sends),
            ("bytes_out", bytes_out),
            ("short_sends", short_sends),
            ("send_errors", send_errors),
            ("datagrams_in", datagrams_in),
            ("datagrams_truncated", datagrams_truncated),
            ("datagrams_strange", datagrams_strange),
            ("datagram_errors", datagram_errors),
            ("datagrams_out", datagrams_out),
            ("datagrams_unsent", datagrams_unsent),
            ("handed_over", handed_over),
            ("hand_over_full", hand_over_full),
            ("adopted", adopted),
            ("wakes_sent", wakes_sent),
            ("wakes", wakes),
            ("flush_timeouts", flush_timeouts),
            ("impossible", impossible),
        ]
    }
}
