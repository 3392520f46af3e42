//! Whether c= and m= name the same address as the path (RFC 6714 §4.4). `[CEMA-06]`

use super::session::Media;
use crate::wire::uri::msrp::Host;

/// How the address of a media section compares with that of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressMatch {
    /// Equal: no middlebox changed the one and not the other.
    Same,
    /// Different, whatever a name may resolve to.
    Different,
    /// A name stands on one side, or two names that differ: equal if one of its addresses is that of the other side. Names
    /// are resolved elsewhere.
    Unresolved,
}

/// Compares the c= address and m= port of `media` with the authorities of its path: addresses by value, ports exactly, names
/// without case. A client behind a relay has several URIs there, and any of them will do (RFC 6714 §4.2) `[MSRP-RELAY-01]`. A
/// section without a path, a port or an address is [`AddressMatch::Different`].
#[must_use]
pub fn match_address(media: &Media<'_>) -> AddressMatch {
    let (Some(uris), Some(host)) = (media.path_uris(), media.connection().and_then(|c| c.host()))
    else {
        return AddressMatch::Different;
    };
    let mut found = AddressMatch::Different;
    for uri in uris.flatten().filter(|uri| uri.port == Some(media.port)) {
        match (uri.host, host) {
            (a, b) if a.is_same(&b) => return AddressMatch::Same,
            (Host::Ip(_), Host::Ip(_)) => {}
            (Host::Name(_), _) | (_, Host::Name(_)) => found = AddressMatch::Unresolved,
        }
    }
    found
}
