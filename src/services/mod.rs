//! The asynchronous side: admin HTTP, metrics; later the store writer, XCAP, IMAP, DNS. Talks to shards by mail only.
