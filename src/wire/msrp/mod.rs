//! MSRP (RFC 4975 §9): start lines, headers, end-lines, Byte-Range, writers.
