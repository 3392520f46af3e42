//! SIP (RFC 3261 §25): messages as borrowed views, header values, writers.
