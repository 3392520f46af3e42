//! What a shard is made of: each room's settings, out of the configuration and the limits.

use std::{net::SocketAddr, time::Duration};

use super::sources::Allowed;
use crate::{
    config::{Config, Unreachable},
    ids::{ShardId, SocketId},
    limits::{self, Limits},
    msrp,
    policy::{self, Policy},
    session, sip,
    wire::{self, sip::Bounds},
};

/// What a listening socket of a shard is for; its [`SocketId`] is its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketRole {
    /// SIP over UDP.
    SipDatagram,
    /// SIP over TCP.
    SipStream,
    /// MSRP over TCP.
    Msrp,
}

/// A socket that listens, with the address that it really has (port 0 resolved).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What for.
    pub role: SocketRole,
    /// Where.
    pub addr: SocketAddr,
}

/// Everything that [`Shard::new`](super::Shard::new) needs but its mail and its seed.
#[derive(Clone, Debug)]
pub struct Parts {
    pub(super) id: ShardId,
    pub(super) shards: u8,
    pub(super) sockets: Vec<SocketRole>,
    pub(super) msrp: msrp::Settings,
    pub(super) sip: sip::Settings,
    pub(super) registrar: sip::RegistrarSettings,
    pub(super) session: session::Settings,
    pub(super) policy: Policy,
    pub(super) connections_max: usize,
    pub(super) sources: Allowed,
    pub(super) spill_max: usize,
    pub(super) framing_max: usize,
    pub(super) outbox_hard_limit: usize,
    pub(super) branches_max: usize,
    pub(super) bind: Duration,
    pub(super) t1: Duration,
    pub(super) sip_bounds: Bounds,
}

/// The name and release that we go by (cpm-notes.md §7).
const PRODUCT: &str = concat!("CPM-serv/OMA2.2 Ringfork/", env!("CARGO_PKG_VERSION"));

// What `limits` says of a head is what `wire` reads.
const _: () = {
    assert!(limits::MSRP_HEAD_BYTES == wire::msrp::HEAD_MAX);
    assert!(limits::MSRP_HEADERS == wire::msrp::HEADERS_MAX);
    assert!(limits::SIP_HEAD_BYTES == wire::sip::HEAD_BYTES_MAX);
    assert!(limits::NONCES_MAX == sip::digest::NONCES_MAX);
};

impl Parts {
    /// The settings of every room of shard `id`, with the sockets that it listens on, in the order of their [`SocketId`]s.
    ///
    /// # Panics
    /// If there is no MSRP listener: the configuration does not allow that.
    #[must_use]
    pub fn new(id: ShardId, config: &Config, limits: &Limits, listeners: &[Listener]) -> Self {
        let of = |role| listeners.iter().find(|l| l.role == role).map(|l| l.addr);
        let msrp_addr = of(SocketRole::Msrp).expect("the configuration has an MSRP listener");
        let trusted_peers: Vec<_> = config
            .sip
            .trusted_peers
            .iter()
            .map(|n| (n.addr, n.prefix))
            .collect();
        let listening = listeners
            .iter()
            .enumerate()
            .filter(|(_, l)| l.role != SocketRole::Msrp)
            .map(|(n, l)| sip::Listening {
                socket: SocketId(u8::try_from(n).unwrap_or(u8::MAX)),
                tcp: l.role == SocketRole::SipStream,
                addr: l.addr,
            })
            .collect();
        Self {
            id,
            shards: limits.shards,
            sockets: listeners.iter().map(|l| l.role).collect(),
            msrp: msrp::Settings {
                shard: id,
                shards: limits.shards,
                ack: config.msrp.ack,
                outbox_bytes: limits.outbox_bytes,
                max_message_bytes: config.msrp.max_message_bytes,
                bind: config.msrp.bind,
                stall: config.msrp.stall,
                unanswered_max: limits.unanswered_per_leg,
                sessions_max: limits.sessions,
                connections_max: limits.connections,
                kept_bytes_max: limits.kept_bytes,
                not_activity: config.msrp.not_activity.join(" ").into_bytes().into(),
                // To be used again [MSRP-CONN-03].
                idle: config.msrp.bind,
            },
            sip: sip::Settings {
                shard: id,
                host: config.host.clone(),
                listening,
                t1: config.sip.t1,
                servers_max: limits.server_transactions,
                clients_max: limits.client_transactions,
                trusted: sip::Trusted::new(trusted_peers.clone()),
                servers_bytes: limits.server_bytes,
                clients_bytes: limits.client_bytes,
                product: PRODUCT.to_owned(),
            },
            registrar: sip::RegistrarSettings {
                trusted: sip::Trusted::new(trusted_peers.clone()),
                ..registrar(config, limits)
            },
            session: session::Settings {
                shard: id,
                domains: config.domains.clone(),
                host: config.host.clone(),
                msrp_addr,
                sip_udp: of(SocketRole::SipDatagram),
                sip_tcp: of(SocketRole::SipStream),
                t1: config.sip.t1,
                session_expires: config.sip.session_expires,
                no_answer: config.sip.no_answer,
                cema: config.msrp.cema,
                legacy_session_match: config.msrp.legacy_session_match,
                max_message_bytes: config.msrp.max_message_bytes,
                contact_without_tags_suitable: config.sip.contact_without_tags_suitable,
                follow_any: config.sip.follow_any,
                trusted_peers,
                sessions_max: limits.sessions,
                devices_max: limits.devices_per_session,
                legs_max: limits.legs_per_session,
                dialogs_max: limits.dialogs,
                bytes_max: limits.session_bytes,
                product: PRODUCT.to_owned(),
            },
            policy: Policy {
                unreachable: match config.policy.unreachable {
                    Unreachable::Defer => policy::Unreachable::Defer,
                    Unreachable::Reject => policy::Unreachable::Reject,
                    Unreachable::Interwork => policy::Unreachable::Interwork,
                },
                anonymity_allowed: config.policy.anonymity_allowed,
                required_release: config
                    .policy
                    .required_release
                    .iter()
                    .filter_map(|r| r.parse().ok())
                    .collect(),
                ..Policy::default()
            },
            connections_max: limits.connections,
            sources: Allowed {
                sip_connections: limits.sip_connections_per_source,
                msrp_connections: limits.msrp_connections_per_source,
                requests_per_s: limits.requests_per_s,
            },
            spill_max: limits.spill_bytes,
            framing_max: limits.framing_bytes,
            outbox_hard_limit: limits.outbox_hard_bytes,
            branches_max: limits.server_transactions + limits.client_transactions,
            bind: config.msrp.bind,
            t1: config.sip.t1,
            sip_bounds: Bounds {
                head_bytes: limits.sip_head_bytes,
                body_bytes: limits.sip_body_bytes,
            },
        }
    }
}

fn registrar(config: &Config, limits: &Limits) -> sip::RegistrarSettings {
    sip::RegistrarSettings {
        min_expires: config.sip.min_expires,
        registrations_max: limits.registrations,
        contacts_max: limits.registrations_per_user,
        source_max: limits.registrations_per_source,
        bytes_max: limits.registration_bytes,
        users: config
            .users
            .iter()
            .filter_map(|u| {
                u.password
                    .as_ref()
                    .map(|p| (u.aor.clone(), p.reveal().to_owned()))
            })
            .collect(),
        ..sip::RegistrarSettings::new(config.domains.clone())
    }
}

/// A seed for the `n`th thing that draws by chance: the shard's seed, told apart.
pub(super) fn seed_of(seed: [u8; 32], n: u8) -> [u8; 32] {
    let mut own = seed;
    own[31] ^= n.wrapping_mul(0x9d);
    own
}
