//! MIME multipart bodies (RFC 2046 §5.1, RFC 5621): parts found, replaced, written.
