//! What a failure within a dialog ends: the transaction alone, the INVITE usage, or the dialog (RFC 5057 §5.1). [SIP-DLG-05]

use crate::wire::sip::Method;

/// How far a failure reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// This transaction failed; the session goes on.
    Transaction,
    /// The session (the INVITE usage) is over; other usages of the dialog go on.
    Usage,
    /// The dialog and all of its usages are over.
    Dialog,
}

/// The reach of a failure (300 to 699) to `method` within a dialog. A request that timed out counts as 408.
///
/// Two places where RFC 5057 leaves room are settled as RFC 3261 §12.2.1.2 has it: 408 ends the usage, and what was no part
/// of the usage (INFO, OPTIONS, MESSAGE, ...) does not end it by 405, 408 or 501.
#[must_use]
pub const fn reach(method: Method<'_>, code: u16) -> Reach {
    let integral = matches!(
        method,
        Method::Invite | Method::Bye | Method::Update | Method::Prack | Method::Ack
    );
    match code {
        // A CANCEL that met nothing, or was not understood, says nothing of the INVITE.
        _ if matches!(method, Method::Cancel) => Reach::Transaction,
        404 | 410 | 416 | 482..=485 | 502 | 604 => Reach::Dialog,
        480 | 481 | 489 => Reach::Usage,
        405 | 408 | 501 if integral => Reach::Usage,
        _ => Reach::Transaction,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [SIP-DLG-05] the columns of table 1.
    #[test]
    fn table_1() {
        let of = |reach_wanted| -> Vec<u16> {
            (400..700)
                .filter(|c| reach(Method::Invite, *c) == reach_wanted)
                .collect()
        };
        assert_eq!(of(Reach::Usage), [405, 408, 480, 481, 489, 501]);
        assert_eq!(
            of(Reach::Dialog),
            [404, 410, 416, 482, 483, 484, 485, 502, 604]
        );
        assert_eq!(reach(Method::Cancel, 481), Reach::Transaction);
        assert_eq!(reach(Method::Info, 501), Reach::Transaction);
        assert_eq!(reach(Method::Info, 481), Reach::Usage);
        assert_eq!(reach(Method::Invite, 491), Reach::Transaction);
    }
}
