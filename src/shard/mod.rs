//! One core's world: owns connections, tables, timers, mailboxes; routes inputs, applies effects. No protocol knowledge.
