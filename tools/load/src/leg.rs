//! A leg: one MSRP connection of ours, who it is for, and what both kinds of legs (a sender's, a device's) have in common:
//! binding, answering, telling heads apart.

use std::net::SocketAddr;

use ringfork::wire::msrp::{
    ByteRange, FailureReport, Head, Kind, Method,
    write::{self, Send},
};

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Role {
    Sender,
    /// Which of the session's devices, from 0.
    Device(u16),
}

/// How the connection comes about (RFC 4145, RFC 6135).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// We connect; a bodiless SEND binds the connection to the session if `bind`.
    Active { to: SocketAddr, bind: bool },
    /// The peer connects to our listener and names the session in its first request.
    Passive,
}

/// A leg to be set up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LegSpec {
    /// The call: no two of a run have the same number.
    pub(crate) session: u32,
    /// Whose call it is: several may follow each other.
    pub(crate) user: u32,
    pub(crate) role: Role,
    pub(crate) how: How,
    /// Our MSRP URI: what requests to us have in To-Path.
    pub(crate) own_path: String,
    /// The peer's path.
    pub(crate) peer_path: String,
}

/// Transaction id of the request that binds a connection.
pub(crate) const BIND_TID: &[u8] = b"RLbind0000000000";

impl LegSpec {
    /// The bodiless SEND that binds our connection (RFC 4975 §5.4: the active side sends at once).
    pub(crate) fn bind_request(&self, out: &mut Vec<u8>) {
        write::bare_send(
            out,
            BIND_TID,
            self.peer_path.as_bytes(),
            self.own_path.as_bytes(),
            &Send {
                message_id: format!("RLbind{:010x}", self.session).as_bytes(),
                byte_range: Some(ByteRange {
                    start: 1,
                    end: Some(0),
                    total: Some(0),
                }),
                success_report: false,
                failure_report: FailureReport::Yes,
            },
        );
    }
}

/// What is to be remembered of a head until its message ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Current {
    /// A SEND with a body.
    Send {
        ask: Ask,
        message_id: Vec<u8>,
        /// Position of its first byte, from 1.
        start: u64,
        /// Whether a success REPORT is asked for.
        wants_report: bool,
    },
    /// A SEND without a body: binds, or keeps alive.
    Bare(Ask),
    /// A REPORT, with the code of its Status.
    Report {
        message_id: Vec<u8>,
        code: u16,
    },
    /// Any other request.
    Other(Ask),
    Response {
        tid: Vec<u8>,
        code: u16,
    },
}

/// What an answer to a request needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    pub(crate) tid: Vec<u8>,
    /// First URI of its From-Path.
    pub(crate) previous_hop: Vec<u8>,
    /// Whether a 200 is wanted (RFC 4975 §7.2: not with Failure-Report no or partial).
    pub(crate) wants_success: bool,
}

impl Current {
    pub(crate) fn of(head: &Head<'_>) -> Self {
        let ask = || Ask {
            tid: head.tid.to_vec(),
            previous_hop: head.previous_hop().to_vec(),
            wants_success: head.failure_report == FailureReport::Yes,
        };
        match head.kind {
            Kind::Response { code, .. } => Self::Response {
                tid: head.tid.to_vec(),
                code,
            },
            Kind::Request {
                method: Method::Send,
            } if head.content_type.is_some() => Self::Send {
                ask: ask(),
                message_id: head.message_id.unwrap_or_default().to_vec(),
                start: head.byte_range.map_or(1, |r| r.start),
                wants_report: head.success_report,
            },
            Kind::Request {
                method: Method::Send,
            } => Self::Bare(ask()),
            Kind::Request {
                method: Method::Report,
            } => Self::Report {
                message_id: head.message_id.unwrap_or_default().to_vec(),
                code: head.status.map_or(0, |s| s.code),
            },
            Kind::Request {
                method: Method::Auth | Method::Nickname | Method::Other(_),
            } => Self::Other(ask()),
        }
    }
}

impl Ask {
    /// Appends the answer, unless it is a 200 that nobody wants.
    pub(crate) fn answer(&self, code: u16, own_path: &[u8], out: &mut Vec<u8>) {
        if code != 200 || self.wants_success {
            write::response(out, &self.tid, code, &self.previous_hop, own_path);
        }
    }
}
