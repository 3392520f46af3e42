//! Sessions without SIP: legs straight to a forwarder, which tells them apart by port and order alone, straight to each
//! other, or through an MSRP relay (RFC 4976), which goes by the path in each request.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    time::Duration,
};

use crate::{
    leg::{How, LegSpec, Role},
    link::Link,
    trouble::Trouble,
};

/// How long the legs of one call of these may take until they stand.
const SET_UP: Duration = Duration::from_secs(30);
/// Connections to our own listener that are under way at a time: its queue is not long.
const AT_A_TIME: u32 = 64;

/// Where a forwarder takes connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Doors {
    pub(crate) senders: SocketAddr,
    pub(crate) devices: SocketAddr,
}

impl Doors {
    /// Those of a forwarder that takes senders at `at`, and devices one port higher.
    pub(crate) fn at(at: SocketAddr) -> Result<Self, Trouble> {
        let port = at.port().checked_add(1);
        let port =
            port.ok_or_else(|| Trouble::usage(format!("--relay {at}: no port is higher")))?;
        Ok(Self {
            senders: at,
            devices: SocketAddr::new(at.ip(), port),
        })
    }
}

/// Connects the legs of `sessions` in the order that the forwarder counts them in, and waits for them.
pub(crate) async fn set_up(
    link: &mut Link,
    doors: Doors,
    sessions: Range<u32>,
    devices: u16,
) -> Result<(), Trouble> {
    let mut legs = 0;
    for session in sessions {
        // What the sender writes reaches every device as it is: they all answer to the same path.
        let (caller, called) = (path("caller", session), path("device", session));
        for role in std::iter::once(Role::Sender).chain((0..devices).map(Role::Device)) {
            let (to, own, peer) = match role {
                Role::Sender => (doors.senders, &caller, &called),
                Role::Device(_) => (doors.devices, &called, &caller),
            };
            link.leg(LegSpec {
                session,
                user: session,
                role,
                how: How::Active { to, bind: false },
                own_path: own.clone(),
                peer_path: peer.clone(),
            })?;
            legs += 1;
        }
    }
    link.legs_up(legs, SET_UP).await
}

/// Connects the sender of each session to its one device, both ours: what is measured then is this tool.
pub(crate) async fn directly(link: &mut Link, sessions: u32) -> Result<(), Trouble> {
    let listens = link.listens();
    let to = if listens.ip().is_unspecified() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, listens.port()))
    } else {
        listens
    };
    let mut from = 0;
    while from < sessions {
        let until = sessions.min(from + AT_A_TIME);
        for session in from..until {
            let (caller, called) = (path("caller", session), path("device", session));
            // Who waits has to be known before the other connects.
            let device = (Role::Device(0), How::Passive, &called, &caller);
            let sender = (
                Role::Sender,
                How::Active { to, bind: true },
                &caller,
                &called,
            );
            for (role, how, own, peer) in [device, sender] {
                link.leg(LegSpec {
                    session,
                    user: session,
                    role,
                    how,
                    own_path: own.clone(),
                    peer_path: peer.clone(),
                })?;
            }
        }
        link.legs_up(2 * (until - from) as usize, SET_UP).await?;
        from = until;
    }
    Ok(())
}

/// Connects a sender a session to an MSRP relay, with a path of two URIs: the relay's, and that of the device, whom the
/// relay connects to.
pub(crate) async fn set_up_by(
    link: &mut Link,
    relay: SocketAddr,
    sessions: u32,
    devices: u16,
) -> Result<(), Trouble> {
    if devices != 1 {
        return Err(Trouble::usage(
            "a relay does not fork: one device a session",
        ));
    }
    let port = link.listens().port();
    for session in 0..sessions {
        // An address each, as phones have one: a relay may keep one connection to an address for all that goes there.
        let [_, a, b, c] = session.to_be_bytes();
        let at = SocketAddr::new(IpAddr::from([127, 1 + a % 254, b, c]), port);
        let device = format!("msrp://{at}/device{session:010};tcp");
        let sender = path("caller", session);
        let spec = |role, how, own: &str, peer: String| LegSpec {
            session,
            user: session,
            role,
            how,
            own_path: own.to_owned(),
            peer_path: peer,
        };
        link.leg(spec(Role::Device(0), How::Passive, &device, sender.clone()))?;
        let by = format!("msrp://{relay}/relay;tcp {device}");
        let how = How::Active {
            to: relay,
            bind: true,
        };
        link.leg(spec(Role::Sender, how, &sender, by))?;
    }
    link.legs_up(2 * sessions as usize, SET_UP).await
}

/// As long as the URIs that a server of ours makes, so that both carry the same number of bytes.
fn path(who: &str, session: u32) -> String {
    format!("msrp://127.0.0.1:28550/{who}{session:010};tcp")
}
