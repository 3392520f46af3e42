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

/// Compares the c= address and m= port of `media` with the authority of the first URI of its path: addresses by value, ports
/// exactly, names without case. A section without a path, a port or an address is [`AddressMatch::Different`].
#[must_use]
pub fn match_address(media: &Media<'_>) -> AddressMatch {
    let (Some(uri), Some(host)) = (media.next_hop(), media.connection().and_then(|c| c.host()))
    else {
        return AddressMatch::Different;
    };
    if uri.port != Some(media.port) {
        return AddressMatch::Different;
    }
    match (uri.host, host) {
        (a, b) if a.is_same(&b) => AddressMatch::Same,
        (Host::Ip(_), Host::Ip(_)) => AddressMatch::Different,
        (Host::Name(_), _) | (_, Host::Name(_)) => AddressMatch::Unresolved,
    }
}
