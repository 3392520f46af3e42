//! Every bound of the engine, derived from the configuration and checked; the memory total.
//!
//! A bound is of **one shard** unless its line says *process*. What happens when it is reached stands with it, and a test
//! reaches it. Nothing here allocates: rooms size their pools by these numbers at start.
//!
//! What a table's entries hold beside their places is bounded in bytes by pools, with shares (`share.rs`): one source, user or session
//! leaves room for the others. `tests/resident.rs` compares the total with what a process takes under floods.
//!
//! Bounds that nobody chooses stand with what they bound. Of media: pieces of a body that lie apart in order
//! (`msrp/kept.rs`), messages that are not complete, are done or were refused (`msrp/session.rs`), ranges that were reported
//! (`msrp/ranges.rs`), body bytes and pieces that wait for their end (`msrp/link.rs`), what is kept of a message while it is
//! passed on (`msrp/learn.rs`), types that a peer refused (`msrp/leg.rs`), lists of types that are shared (`msrp/types.rs`),
//! what goes out copied and the memory that idle queues keep (`buf/line.rs`, `buf/outbox.rs`). Of signalling: nonces
//! (`sip/digest.rs`), messages that wait for a connection and addresses that refused one (`sip/endpoint/links.rs`), ACKs that
//! are kept (`sip/retransmit.rs`), what fits a datagram (`sip/endpoint/way.rs`), early dialogs (`session/invitation.rs`),
//! requests that are passed on (`session/function.rs`), legs that ever were (`session/fork.rs`), shapes of descriptions that
//! are shared (`session/kept.rs`), media connections that are restored (`session/media.rs`), strays that are remembered
//! (`session/turn.rs`), redirects that are followed (`session/redirect.rs`), a peer's paths (`session/sdp/mod.rs`), secrets
//! that a body is looked through for (`session/body.rs`), a binding (`sip/registrar/room.rs`), what stands for a request
//! where nothing of it is kept (`sip/endpoint/key.rs`), places that have never answered (`sip/endpoint/places.rs`), reasons
//! that are put by (`sip/endpoint/note.rs`), lines of a description that are explained (`session/sdp/explain.rs`), what waits
//! of a SIP connection until it is heard (`io/settings.rs`: 4 KiB each), answers that it leaves unread (`shard/apply.rs`).
//! Around them: questions of the services (`shard/mail.rs`), a peer's text in a line of the log (`shard/say.rs`), connections
//! on their way to another shard (`io/hub.rs`), parts of one send (`io/driver/send.rs`), what a turn does at most
//! (`io/driver/hear.rs`, `io/driver/fair.rs`, `io/driver/accept.rs`, `timer.rs`), log lines (`services/log.rs`), wishes
//! (`services/phase.rs`), pages of the admin interface and answers of one (`services/admin.rs`, `services/client.rs`), what
//! is read of a configuration (`config/read.rs`, `config/mod.rs`), and what a message on the wire may have (`wire/`). What
//! has neither is bounded by what it belongs to: a timer, a binding by user or source, a link, an outbox to its transaction,
//! contact, connection.

use crate::config::Config;

/// Devices of one session: twice what one person carries.
pub const DEVICES_MAX: u8 = 16;

/// A kept message is at most this long (settled.md R2): longer ones are cut through and not kept.
pub const KEPT_MESSAGE_BYTES: usize = 64 << 10;

/// A header section of MSRP (settled.md 11): over it 400 where it can be answered, then close.
pub const MSRP_HEAD_BYTES: usize = 16 << 10;

/// Headers of one MSRP request (settled.md 11).
pub const MSRP_HEADERS: usize = 64;

/// Start line and headers of one SIP message, which is what a datagram can hold: over it 513 or close.
pub const SIP_HEAD_BYTES: usize = 64 << 10;

/// A SIP body on a stream: an SDP offer with a first message in it. Over it 413 (RFC 3261 §21.4.11).
pub const SIP_BODY_BYTES: usize = 256 << 10;

/// Unanswered SENDs on one leg: more than a peer that answers within its 30 s ever lags behind. Over it the leg is dropped.
pub const UNANSWERED_MAX: usize = 4096;

/// Bytes that a turn takes from each connection where many bring as much, so that no sender starves the others (design §4).
pub const TURN_BYTES: usize = 64 << 10;

/// What an outbox holds beyond a leg's lag: responses and REPORTs are answers that must not be lost to a full leg
/// (settled.md R3). 4096 unanswered SENDs' responses of a quarter KiB.
pub const RESERVED_OUT_BYTES: usize = 1 << 20;

/// A datagram buffer: the largest datagram, the header that a multishot receive puts before it, and its source.
pub const DATAGRAM_BUFFER_BYTES: usize = (64 << 10) + 256;

/// Sources of requests that a shard tells apart within a second, where `sip.requests_per_s` is set: more than a UDP flood from
/// one network shows, 64 bytes each. Those beyond count as one source together.
pub const SOURCES_MAX: usize = 16_384;

/// Sessions that have ended, kept so that one can ask why: of each shard.
pub const ENDED_SESSIONS: usize = 100;

/// Legs that are kept of each of them: the originator and [`DEVICES_MAX`].
pub const ENDED_LEGS: usize = DEVICES_MAX as usize + 1;

/// Bytes that are kept of each text of them: an address, a reason. What is longer is cut.
pub const ENDED_TEXT_BYTES: usize = 200;

/// Bytes of all of them: two texts a leg, three a session, and what else is seen of both.
pub const ENDED_BYTES: usize =
    ENDED_SESSIONS * ((2 * ENDED_LEGS + 3) * ENDED_TEXT_BYTES + (ENDED_LEGS + 1) * 256);

/// The admin interface's connections (*process*): a few people and a scraper. Over it the newest is closed.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Head of a request to the admin interface, and body of one: it has neither long headers nor bodies.
pub const ADMIN_REQUEST_BYTES: usize = 16 << 10;

/// What a pool of SIP messages has at least: some of the longest, from several who each have a share.
const LEAST_BYTES: usize = 8 << 20;

/// Bytes of SIP and MSRP that wait for one shard in the mail of all others, of what has not begun; what has begun may be as much again.
pub const MAIL_BYTES: usize = 8 << 20;

/// The least of them from one shard: some of the longest letters.
pub const MAIL_BYTES_EACH: usize = 512 << 10;

/// Nonces of digest that are in use: only who has given a right password has one.
pub const NONCES_MAX: usize = 65_536;

/// What a process takes beside its shards: its own text and data, the services' thread, what the allocator keeps at hand.
pub const PROCESS_BYTES: usize = 48 << 20;

/// Files that are none of the shards' connections (*process*): rings, events, listeners, standard streams, admin, store.
pub const DESCRIPTORS_BESIDE: u64 = 512;

const _: () = {
    assert!(
        MSRP_HEAD_BYTES < TURN_BYTES,
        "a head is framed within one turn of its connection"
    );
    assert!(
        KEPT_MESSAGE_BYTES <= 64 << 10,
        "the least that msrp.outbox_bytes may be holds a kept message"
    );
    assert!(DATAGRAM_BUFFER_BYTES > SIP_HEAD_BYTES, "no datagram is cut");
    assert!(
        UNANSWERED_MAX * 256 <= RESERVED_OUT_BYTES,
        "the reserve holds a response to every SEND that a leg may leave unanswered"
    );
    assert!(
        DEVICES_MAX < u8::MAX,
        "a leg's place has one byte, and 0 is the originator"
    );
    assert!(
        DESCRIPTORS_BESIDE > ADMIN_CONNECTIONS_MAX as u64 + 6 * crate::config::SHARDS_MAX as u64,
        "each shard has a ring, an event and some listeners beside its connections"
    );
};

/// Bytes of letters that wait from one shard of `shards` for another, of what has not begun; of what has begun as much again, and a
/// letter more.
#[must_use]
pub fn mail_bytes(shards: u8) -> usize {
    let others = usize::from(shards).saturating_sub(1).max(1);
    (MAIL_BYTES / others).max(MAIL_BYTES_EACH)
}

/// The bounds of an engine of `shards` shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pinned threads (*process*).
    pub shards: u8,
    /// CPM sessions. Full: 503 with Retry-After. An eighth above the even share, since users are hashed, not dealt.
    pub sessions: usize,
    /// Legs of one session: the originator and the devices. Places are not used twice, so a session that forks anew to
    /// returning devices needs more than devices at a time: [`DEVICES_MAX`] twice.
    pub legs_per_session: usize,
    /// Devices of one session at a time. More contacts: the best by q and last use.
    pub devices_per_session: usize,
    /// Stream connections, SIP and MSRP. Full: the newest is refused by reset. An eighth above the even share.
    pub connections: usize,
    /// SIP connections that one source address may open. Full: the newest is refused by reset. `None`: no limit.
    pub sip_connections_per_source: Option<usize>,
    /// The same of MSRP connections.
    pub msrp_connections_per_source: Option<usize>,
    /// SIP requests of one source address in a second; over it 503 with Retry-After, and nothing is kept of them. What
    /// belongs to a dialog may be twice as many. `None`: no limit.
    pub requests_per_s: Option<u32>,
    /// Server transactions that are kept: each session has a few in flight, each registration one now and then. Half of them
    /// for strangers. Over its share a request is answered and not kept; a quarter more places are for what cannot be answered
    /// at once; over that 503.
    pub server_transactions: usize,
    /// Client transactions that begin something: an INVITE a leg. Full: the leg counts as 503. What ends something (BYE,
    /// CANCEL) has a reserve of as many again.
    pub client_transactions: usize,
    /// Bytes that server transactions hold beside their places: what an answer copies of its request, and the answer. Over its
    /// share a request is answered and not kept.
    pub server_bytes: usize,
    /// The same of client transactions: requests that may have to be sent again. Over it as above.
    pub client_bytes: usize,
    /// Dialogs: one a leg that has answered, early ones too. Full: a new session gets 503 with Retry-After, a device that
    /// answers gets BYE and counts as 503.
    pub dialogs: usize,
    /// Bytes that sessions hold: INVITEs while they wait, descriptions, dialogs. A user may have a quarter of what is free, a
    /// source of strangers half; an eighth is for sessions that stand. Over it 503 with Retry-After.
    pub session_bytes: usize,
    /// Bytes of all contacts: [`BINDING_BYTES_MAX`](crate::sip::BINDING_BYTES_MAX) each at most. A source of strangers may have half
    /// of what is free. Over it 503; a contact over its own bound 513.
    pub registration_bytes: usize,
    /// Contacts in the registrar. Full: 503.
    pub registrations: usize,
    /// Contacts of one address of record: the devices that a fork reaches. Full: 403.
    pub registrations_per_user: usize,
    /// Contacts that one source address may hold. `None`: no limit. Over it 503 with Retry-After.
    pub registrations_per_source: Option<usize>,
    /// What a slow leg may lag behind, in bytes: over it one leg of several is dropped; the only leg: settled.md R3.
    pub outbox_bytes: usize,
    /// What one connection may hold unsent, answers included: over it the connection is closed.
    pub outbox_hard_bytes: usize,
    /// Unanswered SENDs of one leg. Over it: as `outbox_bytes`.
    pub unanswered_per_leg: usize,
    /// Unsent bytes that slow peers may make a shard copy, over all connections. Over it the connection that holds most of
    /// them is closed, until it is no longer over.
    pub spill_bytes: usize,
    /// Bytes of SIP messages and MSRP heads that have not come whole, over all connections. Over it the connection that holds
    /// most of them is closed, until it is no longer over.
    pub framing_bytes: usize,
    /// Start line and headers of a SIP message, bytes.
    pub sip_head_bytes: usize,
    /// A SIP body, bytes.
    pub sip_body_bytes: usize,
    /// Messages under way with what is kept of them until it is acknowledged (settled.md R2), and SENDs without a response:
    /// bytes over all sessions. Each session, user and untrusted source has a share that shrinks as it fills: whoever reaches
    /// it is stopped, or gets 408.
    pub kept_bytes: usize,
    /// A mailbox: letters of other shards and of services that wait, [`mail_bytes`] of them at most. Full: datagrams are dropped, an initial request on a
    /// stream gets 503 from the receiver.
    pub mailbox_places: usize,
    /// Places above that for what must not be lost: requests inside dialogs, buffers on their way home, answers. As many
    /// as buffers that can be away.
    pub mailbox_reserved: usize,
    /// Receive buffers of the ring, a power of two. Three quarters pinned: who pins most is stopped.
    pub receive_buffers: usize,
    /// Bytes of each.
    pub receive_buffer_bytes: usize,
    /// Datagram buffers of the ring, a power of two. None free: the kernel drops, the sender repeats.
    pub datagram_buffers: usize,
    /// Nonces of digest in use; none where no user has a password. Over it the oldest is asked for anew.
    pub nonces: usize,
    /// Timers: one a transaction, three a session, two a connection; part of those, so none is ever refused.
    pub timers: usize,
}

/// What of `total` a shard of `shards` may have: its share, and an eighth where users may fall unevenly.
fn share(total: usize, shards: usize) -> usize {
    let even = total.div_ceil(shards);
    if shards == 1 {
        even
    } else {
        even + even.div_ceil(8)
    }
}

impl Limits {
    /// The bounds that `config` asks for, with `shards` shards.
    #[must_use]
    pub fn new(config: &Config, shards: u8) -> Self {
        let n = usize::from(shards.max(1));
        let sizes = &config.limits;
        let sessions = share(sizes.sessions as usize, n);
        let connections = share(sizes.connections as usize, n);
        // A 256 KiB buffer is shared by many receives (incremental); few and large ones cost least to hand back.
        let receive_buffer_bytes = (sizes.receive_bytes / 8).clamp(64 << 10, 256 << 10);
        let receive_buffers =
            floor_power_of_two(sizes.receive_bytes / receive_buffer_bytes).clamp(8, 1 << 15);
        let datagram_buffers = 64;
        let limits = Self {
            shards: shards.max(1),
            sessions,
            legs_per_session: 1 + 2 * usize::from(DEVICES_MAX),
            devices_per_session: DEVICES_MAX.into(),
            connections,
            sip_connections_per_source: none_if_zero(config.sip.connections_max),
            msrp_connections_per_source: none_if_zero(config.msrp.connections_max),
            requests_per_s: (config.sip.requests_per_s > 0).then_some(config.sip.requests_per_s),
            // An INVITE that rings, a BYE, an UPDATE; and registrations: 64·T1 after each, at a sixtieth a second.
            server_transactions: 4 * sessions + share(config.sip.registrations_max as usize, n) / 2,
            server_bytes: 0,
            client_bytes: 0,
            session_bytes: 0,
            registration_bytes: 0,
            // Four devices ring on average; each leg may have a CANCEL or BYE beside its INVITE.
            client_transactions: 8 * sessions + 2 * usize::from(DEVICES_MAX),
            dialogs: 8 * sessions + 2 * usize::from(DEVICES_MAX),
            registrations: share(config.sip.registrations_max as usize, n),
            registrations_per_user: DEVICES_MAX.into(),
            registrations_per_source: none_if_zero(config.sip.registrations_per_source),
            outbox_bytes: config.msrp.outbox_bytes,
            outbox_hard_bytes: config.msrp.outbox_bytes + RESERVED_OUT_BYTES,
            unanswered_per_leg: UNANSWERED_MAX,
            spill_bytes: (sizes.kept_bytes)
                .max(2 * (config.msrp.outbox_bytes + RESERVED_OUT_BYTES)),
            framing_bytes: (sizes.receive_bytes / 2).max(SIP_HEAD_BYTES + SIP_BODY_BYTES),
            sip_head_bytes: SIP_HEAD_BYTES,
            sip_body_bytes: SIP_BODY_BYTES,
            kept_bytes: sizes.kept_bytes,
            mailbox_places: 8192,
            mailbox_reserved: receive_buffers + datagram_buffers,
            receive_buffers,
            receive_buffer_bytes,
            datagram_buffers,
            nonces: if config.users.iter().any(|u| u.password.is_some()) {
                NONCES_MAX
            } else {
                0
            },
            timers: 0,
        };
        Self {
            // Key, what an answer copies, the answer: a KiB as a rule, and room for a message of the longest kind at a time.
            server_bytes: (limits.server_transactions << 10).max(LEAST_BYTES),
            // An INVITE with its description until it rings, then what its CANCEL copies.
            client_bytes: (limits.client_transactions * 512).max(LEAST_BYTES),
            // Originator and two devices while they ring; eight when all of it rests.
            session_bytes: (limits.sessions * (12 << 10)).max(LEAST_BYTES),
            registration_bytes: (limits.registrations * 768).max(LEAST_BYTES / 8),
            ..limits
        }
        .with_timers()
    }

    /// Bounds so small that a test reaches each of them with a handful of devices.
    #[must_use]
    pub fn tiny() -> Self {
        let limits = Self {
            shards: 1,
            sessions: 2,
            legs_per_session: 5,
            devices_per_session: 3,
            connections: 8,
            sip_connections_per_source: Some(6),
            msrp_connections_per_source: Some(6),
            requests_per_s: Some(50),
            server_transactions: 8,
            client_transactions: 12,
            server_bytes: 64 << 10,
            client_bytes: 64 << 10,
            session_bytes: 256 << 10,
            registration_bytes: 16 << 10,
            dialogs: 8,
            registrations: 6,
            registrations_per_user: 3,
            registrations_per_source: Some(5),
            outbox_bytes: 64 << 10,
            outbox_hard_bytes: (64 << 10) + (16 << 10),
            unanswered_per_leg: 8,
            spill_bytes: 128 << 10,
            framing_bytes: 16 << 10,
            sip_head_bytes: 4 << 10,
            sip_body_bytes: 4 << 10,
            kept_bytes: 64 << 10,
            mailbox_places: 4,
            mailbox_reserved: 12,
            receive_buffers: 8,
            receive_buffer_bytes: 4 << 10,
            datagram_buffers: 4,
            nonces: 0,
            timers: 0,
        };
        limits.with_timers()
    }

    fn with_timers(self) -> Self {
        Self {
            timers: self.server_transactions
                + 2 * self.client_transactions
                + 3 * self.sessions
                + 2 * self.connections,
            ..self
        }
    }

    /// The most memory that one shard's tables and buffers take when all are full, in bytes; kernel sockets apart.
    #[must_use]
    pub fn shard_bytes(&self) -> Memory {
        // Bytes of an entry in its tables; what it holds beside them is in the pools. A test of the process measures the sum.
        const SESSION: usize = 1024;
        // In the data plane, with its outbox.
        const LEG: usize = 1024;
        const SERVER: usize = 448;
        const CLIENT: usize = 448;
        // The shard that a branch belongs to.
        const BRANCH: usize = 64;
        const CONNECTION: usize = 512;
        const LETTER: usize = 64;
        const TIMER: usize = 72;
        const SOURCE: usize = 64;
        const NONCE: usize = 288;
        // Places that have answered, requests that are passed on.
        const SMALL: usize = 4 << 20;
        let sources = self.requests_per_s.map_or(0, |_| SOURCES_MAX);
        let others = usize::from(self.shards) - 1;
        Memory {
            receive: self.receive_buffers * self.receive_buffer_bytes
                + self.datagram_buffers * DATAGRAM_BUFFER_BYTES,
            kept: self.kept_bytes,
            spill: self.spill_bytes,
            framing: self.framing_bytes,
            transactions: self.server_bytes + self.client_bytes,
            sessions: self.session_bytes,
            registrations: self.registration_bytes,
            mail: others
                * (2 * mail_bytes(self.shards)
                    + (self.mailbox_places + self.mailbox_reserved) * LETTER),
            tables: self.sessions * SESSION
                + self.dialogs * LEG
                + (self.server_transactions + self.server_transactions / 4) * SERVER
                + 2 * self.client_transactions * CLIENT
                + (self.server_transactions + self.client_transactions) * BRANCH
                + self.connections * CONNECTION
                + self.timers * TIMER
                + sources * SOURCE
                + self.nonces * NONCE
                + ENDED_BYTES
                + SMALL,
        }
    }

    /// The most memory that the process takes, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.shard_bytes().sum() * usize::from(self.shards) + PROCESS_BYTES
    }

    /// Descriptors that the process may have open at a time.
    #[must_use]
    pub fn descriptors(&self) -> u64 {
        u64::from(self.shards) * self.connections as u64 + DESCRIPTORS_BESIDE
    }
}

/// What a shard's memory is for, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Buffers that the kernel writes: allocated at start.
    pub receive: usize,
    /// Kept messages.
    pub kept: usize,
    /// What slow peers have not taken.
    pub spill: usize,
    /// What has not come whole.
    pub framing: usize,
    /// Sessions, dialogs, transactions, registrations, connections, sources, mail, timers,
    /// What transactions hold of requests and answers.
    pub transactions: usize,
    /// What sessions hold: INVITEs, descriptions, dialogs.
    pub sessions: usize,
    /// Contacts.
    pub registrations: usize,
    /// Letters of other shards.
    pub mail: usize,
    /// Places of sessions, legs, transactions, connections, sources, timers.
    pub tables: usize,
}

impl Memory {
    /// All of it.
    #[must_use]
    pub const fn sum(self) -> usize {
        self.receive
            + self.kept
            + self.spill
            + self.framing
            + self.transactions
            + self.sessions
            + self.registrations
            + self.mail
            + self.tables
    }
}

fn none_if_zero(n: u32) -> Option<usize> {
    (n > 0).then_some(n as usize)
}

fn floor_power_of_two(n: usize) -> usize {
    1 << n.max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_a_laptop() {
        let l = Limits::new(&Config::default(), 2);
        assert_eq!((l.sessions, l.connections), (4608, 9216));
        assert_eq!(l.receive_buffers * l.receive_buffer_bytes, 32 << 20);
        assert!(l.receive_buffers.is_power_of_two());
        assert!(l.total_bytes() < 1 << 30, "{} MiB", l.total_bytes() >> 20);
        assert!(l.descriptors() < 20_000, "{}", l.descriptors());
        assert_eq!(l.mailbox_reserved, l.receive_buffers + l.datagram_buffers);
    }

    #[test]
    fn one_shard_has_all_and_many_have_their_share_and_an_eighth() {
        let config = Config::default();
        assert_eq!(Limits::new(&config, 1).sessions, 8192);
        let many = Limits::new(&config, 64);
        assert_eq!(many.sessions, 128 + 16);
        assert!(many.sessions * 64 >= 8192);
    }

    #[test]
    fn every_size_that_may_be_written_gives_buffers_that_a_ring_takes() {
        for receive_bytes in [1 << 20, (1 << 20) + 1, 48 << 20, 16 << 30] {
            let mut config = Config::default();
            config.limits.receive_bytes = receive_bytes;
            let l = Limits::new(&config, 1);
            assert!(l.receive_buffers.is_power_of_two() && l.receive_buffers <= 1 << 15);
            assert!(l.receive_buffer_bytes >= TURN_BYTES);
            assert!(l.receive_buffers * l.receive_buffer_bytes <= receive_bytes);
        }
    }

    #[test]
    fn zero_in_the_config_means_no_limit() {
        let mut config = Config::default();
        let l = Limits::new(&config, 1);
        assert_eq!(l.sip_connections_per_source, None);
        assert_eq!(l.msrp_connections_per_source, None);
        config.sip.connections_max = 3;
        config.msrp.connections_max = 2;
        config.sip.requests_per_s = 4;
        config.sip.registrations_per_source = 5;
        let l = Limits::new(&config, 1);
        assert_eq!(l.sip_connections_per_source, Some(3));
        assert_eq!(l.msrp_connections_per_source, Some(2));
        assert_eq!(l.requests_per_s, Some(4));
        assert_eq!(l.registrations_per_source, Some(5));
    }

    #[test]
    fn the_tiny_bounds_are_below_the_real_ones() {
        let (tiny, real) = (Limits::tiny(), Limits::new(&Config::default(), 1));
        // Beside what no configuration makes smaller.
        assert!(tiny.shard_bytes().sum() - ENDED_BYTES < 8 << 20);
        assert!(tiny.sessions < real.sessions && tiny.timers < real.timers);
        assert!(tiny.mailbox_reserved >= tiny.receive_buffers + tiny.datagram_buffers);
    }
}
