//! The SIP room as the wire sees it: bytes in, bytes out, a virtual clock, every time asserted. Ids in brackets are those of
//! the catalogue.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where; helpers are not #[test] functions, which alone are exempt"
)]

#[path = "protocol/sip_bench.rs"]
mod bench;
#[path = "protocol/sip_checks.rs"]
mod checks;
#[path = "protocol/sip_client.rs"]
mod client;
#[path = "protocol/sip_dialog.rs"]
mod dialog;
#[path = "protocol/sip_malformed.rs"]
mod malformed;
#[path = "protocol/sip_registrar.rs"]
mod registrar;
#[path = "protocol/sip_server.rs"]
mod server;
#[path = "protocol/sip_session_timer.rs"]
mod session_timer;
#[path = "protocol/sip_shares.rs"]
mod shares;
#[path = "protocol/sip_soak.rs"]
mod soak;
#[path = "protocol/sip_transport.rs"]
mod transport;
