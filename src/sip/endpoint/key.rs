//! How a request finds its server transaction (RFC 3261 §17.2.3), and how a merged one is noticed (§8.2.2.2).

use sha2::{Digest as _, Sha256};

use crate::wire::sip::{Message, Method, Name, Start, Via};

/// Writes the key of the server transaction that `request` belongs to, as if its method were `method`: an ACK and a CANCEL
/// look for their INVITE so. [SIP-TXN-02]
///
/// With the magic cookie: branch, sent-by, method. Without (RFC 2543 clients): Request-URI, From tag, Call-ID, CSeq number,
/// the whole topmost Via, method; the To tag is left out, for an ACK has ours and the INVITE had none.
pub(super) fn matching(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    via: &Via<'_>,
    method: Method<'_>,
) {
    out.clear();
    if let Some(branch) = via.transaction_branch() {
        part(out, b"3261");
        part(out, &branch.to_ascii_lowercase());
        part(out, via.host.to_string().to_ascii_lowercase().as_bytes());
        part(out, &via.port_or_default().to_be_bytes());
    } else {
        part(out, b"2543");
        if let Start::Request { uri, .. } = request.start() {
            part(out, uri);
        }
        let from = request.from().ok();
        part(out, from.as_ref().and_then(|f| f.tag()).unwrap_or_default());
        part(out, request.call_id().unwrap_or_default());
        let number = request.cseq().map_or(0, |c| c.number);
        part(out, &number.to_be_bytes());
        part(out, request.values(Name::Via).next().unwrap_or_default());
    }
    part(out, method.as_bytes());
    shorten(out);
}

/// Writes what two copies of one request have in common when they came by different ways; `false` where it cannot be a
/// merged one: it has a To tag, or it is an ACK or CANCEL. [SIP-TXN-11]
pub(super) fn merging(out: &mut Vec<u8>, request: &Message<'_>) -> bool {
    out.clear();
    let (Ok(from), Ok(to), Ok(call_id), Ok(cseq)) = (
        request.from(),
        request.to(),
        request.call_id(),
        request.cseq(),
    ) else {
        return false;
    };
    if to.tag().is_some() || matches!(cseq.method, Method::Ack | Method::Cancel) {
        return false;
    }
    part(out, from.tag().unwrap_or_default());
    part(out, call_id);
    part(out, &cseq.number.to_be_bytes());
    part(out, cseq.method.as_bytes());
    shorten(out);
    true
}

/// A key longer than any real one becomes a digest: what a peer writes at length is not kept at length.
fn shorten(out: &mut Vec<u8>) {
    if out.len() > KEY_MAX {
        let digest = Sha256::digest(&out);
        out.clear();
        out.extend_from_slice(b"sha256");
        out.extend_from_slice(&digest);
    }
}

/// A branch, an address and a method have a third of it.
const KEY_MAX: usize = 256;

/// Parts carry their length, so that no two lists of parts are the same bytes.
fn part(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&bytes.len().to_be_bytes());
    out.extend_from_slice(bytes);
}
