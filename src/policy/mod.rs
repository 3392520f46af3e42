//! What the operator allows: answers questions, decides nothing.
//!
//! [`Policy`] is the operator's, from the configuration. A user's XDM documents will narrow or widen it, by the same
//! questions; they are not read yet. A procedure asks in the order that the standard gives, and acts on the answer itself.
#![forbid(unsafe_code)]

mod release;

pub use release::Release;

/// What becomes of a session that no device of the user can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Unreachable {
    /// Answer 200 for the user and keep the messages (settled.md 18). Until the store is there it acts as [`Self::Reject`].
    #[default]
    Defer,
    /// 480 [TERM-INV-08].
    Reject,
    /// To the Interworking Selection Function (cpm-notes.md §3); without one configured it acts as [`Self::Reject`].
    Interwork,
}

/// What becomes of an INVITE without an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LateOffer {
    /// The devices are invited without an offer too; the first one's offer goes up in the 200, the answer comes down in
    /// the ACK (RFC 3264 §4, RFC 3261 §13.2.1).
    #[default]
    Pass,
    /// 488.
    Reject,
}

/// The operator's choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For a session that no device can take.
    pub unreachable: Unreachable,
    /// Whether an originator may hide [TERM-INV-03].
    pub anonymity_allowed: bool,
    /// CPM releases of which one must be in the INVITE's User-Agent; empty: any, or none [TERM-INV-02].
    pub required_release: Vec<Release>,
    /// Whether a P-Asserted-Service that is not ours goes on; else 403 [TERM-INV-11].
    pub foreign_services_allowed: bool,
    /// Media kinds (`message`, `audio`, ...) that an offer may have; empty: all [TERM-INV-06].
    pub media_allowed: Vec<String>,
    /// For an INVITE without an offer.
    pub late_offer: LateOffer,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            unreachable: Unreachable::default(),
            anonymity_allowed: true,
            required_release: Vec::new(),
            foreign_services_allowed: false,
            media_allowed: Vec::new(),
            late_offer: LateOffer::default(),
        }
    }
}

impl Policy {
    /// Whether a peer whose User-Agent header has this value may go on. No User-Agent while a release is required: no.
    #[must_use]
    pub fn supports_release(&self, user_agent: Option<&[u8]>) -> bool {
        if self.required_release.is_empty() {
            return true;
        }
        user_agent
            .and_then(Release::of_user_agent)
            .is_some_and(|r| self.required_release.contains(&r))
    }

    /// Whether an offer may have a media line of this kind. Kinds are case-sensitive tokens (RFC 8866 §5.14).
    #[must_use]
    pub fn allows_media(&self, kind: &[u8]) -> bool {
        self.media_allowed.is_empty() || self.media_allowed.iter().any(|m| m.as_bytes() == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requiring(releases: &[&str]) -> Policy {
        Policy {
            required_release: releases.iter().map(|r| r.parse().unwrap()).collect(),
            ..Policy::default()
        }
    }

    // [TERM-INV-02]
    #[test]
    fn a_required_release_must_be_named() {
        let p = requiring(&["2.0", "2.2"]);
        assert!(p.supports_release(Some(b"CPM-client/OMA2.2 RCS-client/UP_2.4")));
        assert!(p.supports_release(Some(b"x/1 CPM-serv/OMA2.0 y")));
        assert!(!p.supports_release(Some(b"CPM-client/OMA1.0")));
        assert!(!p.supports_release(Some(b"IM-client/OMA2.2")));
        assert!(!p.supports_release(None));
        assert!(Policy::default().supports_release(None));
    }

    #[test]
    fn no_list_of_media_allows_all() {
        assert!(Policy::default().allows_media(b"video"));
        let p = Policy {
            media_allowed: vec!["message".into()],
            ..Policy::default()
        };
        assert!(p.allows_media(b"message"));
        assert!(!p.allows_media(b"video"));
    }
}
