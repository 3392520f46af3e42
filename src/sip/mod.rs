//! Signalling: transactions, dialogs, session timers, registrations. Sans-IO; `now` is an argument.
