//! What a head that cannot be understood still tells: enough to answer it, and to find its end.

use super::{
    FailureReport, Span,
    head::{failure_report, path, value},
    syntax::{IDENT, UPPER, is, is_ident, run},
};

/// What a head that breaks a rule still tells about itself.
pub(super) struct Salvage {
    pub(super) request: bool,
    pub(super) report: bool,
    pub(super) tid: Option<Span>,
    pub(super) to_path: Option<Span>,
    pub(super) from_path: Option<Span>,
    pub(super) failure_report: FailureReport,
}

/// Reads what can be read of a broken head, line by line, whatever the order.
pub(super) fn salvage(head: &[u8]) -> Salvage {
    let mut left = Salvage {
        request: false,
        report: false,
        tid: None,
        to_path: None,
        from_path: None,
        failure_report: FailureReport::Yes,
    };
    let span = |part: &[u8], at: usize| Span::new(at, part.len());
    let mut at = 0;
    for (i, line) in head.split_inclusive(|&b| b == b'\n').enumerate() {
        let whole = line.ends_with(b"\r\n");
        let text = line.trim_ascii_end();
        if i == 0 {
            let Some(rest) = text.strip_prefix(b"MSRP ") else {
                return left;
            };
            let tid = &rest[..run(rest, IDENT)];
            if is_ident(tid) {
                left.tid = span(tid, 5);
            }
            let method = rest.get(tid.len() + 1..).unwrap_or_default();
            left.request =
                whole && left.tid.is_some() && method.first().is_some_and(|&c| is(c, UPPER));
            left.report = method == b"REPORT";
        } else if text.is_empty() {
            break;
        } else if whole {
            let path = |name: &[u8]| {
                let value = value(text, name)?;
                path(value)?;
                value
                    .iter()
                    .all(|b| b.is_ascii_graphic() || *b == b' ')
                    .then_some(())?;
                span(value, at + name.len() + 2)
            };
            left.to_path = left.to_path.or_else(|| path(b"To-Path"));
            left.from_path = left.from_path.or_else(|| path(b"From-Path"));
            if let Some(v) = value(text, b"Failure-Report") {
                left.failure_report = failure_report(v).unwrap_or_default();
            }
        }
        at += line.len();
    }
    left
}
