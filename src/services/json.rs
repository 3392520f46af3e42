//! What an operator reads as JSON. Addresses of people are shown: it is the operator who asks, to find a person's session.

use serde_json::{Value, json};

use crate::shard::report::{LegView, SessionView};

/// A session with its legs. Why it ends, and how long ago it ended, are absent while it does not.
pub(super) fn session(view: &SessionView) -> Value {
    let SessionView {
        id,
        user,
        originator,
        state,
        why,
        age_s,
        ended_s,
        pending_messages,
        legs,
    } = view;
    let mut value = json!({
        "id": id,
        "user": user,
        "originator": originator,
        "state": state,
        "age_s": age_s,
        "pending_messages": pending_messages,
        "legs": legs.iter().map(leg).collect::<Vec<_>>(),
    });
    if !why.is_empty() {
        value["why"] = why.as_str().into();
    }
    if let Some(seconds) = ended_s {
        value["ended_s"] = (*seconds).into();
    }
    value
}

/// A leg; what is not there (no connection yet) is absent.
fn leg(view: &LegView) -> Value {
    let LegView {
        leg,
        who,
        state,
        why,
        transport,
        peer,
        matched,
        bytes,
        messages,
        outbox_bytes,
        unanswered,
    } = view;
    let mut value = json!({
        "leg": leg,
        "role": if *leg == 0 { "originator" } else { "device" },
        "who": who,
        "state": state,
        "transport": transport,
        "bytes_from": bytes.received,
        "bytes_to": bytes.sent,
        "messages_from": messages.received,
        "messages_to": messages.sent,
        "outbox_bytes": outbox_bytes,
        "unanswered": unanswered,
    });
    for (key, text) in [("why", why.as_str()), ("peer", peer), ("matched", matched)] {
        if !text.is_empty() {
            value[key] = text.into();
        }
    }
    value
}
