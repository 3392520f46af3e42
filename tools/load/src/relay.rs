//! Sessions without SIP: legs straight to a forwarder, which tells them apart by port and order alone.

use std::{ops::Range, time::Duration};

use crate::{
    leg::{How, LegSpec, Role},
    link::Link,
    spawn::Forwarder,
    trouble::Trouble,
};

/// Connects the legs of `sessions` in the order that the forwarder counts them in, and waits for them.
pub(crate) async fn set_up(
    link: &mut Link,
    forwarder: &Forwarder,
    sessions: Range<u32>,
    devices: u16,
) -> Result<(), Trouble> {
    let mut legs = 0;
    for session in sessions {
        // What the sender writes reaches every device as it is: they all answer to the same path.
        let (caller, called) = (path("caller", session), path("device", session));
        for role in std::iter::once(Role::Sender).chain((0..devices).map(Role::Device)) {
            let (to, own, peer) = match role {
                Role::Sender => (forwarder.senders, &caller, &called),
                Role::Device(_) => (forwarder.devices, &called, &caller),
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
    link.legs_up(legs, Duration::from_secs(30)).await
}

/// As long as the URIs that a server of ours makes, so that both carry the same number of bytes.
fn path(who: &str, session: u32) -> String {
    format!("msrp://127.0.0.1:28550/{who}{session:010};tcp")
}
