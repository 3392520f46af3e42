//! XML bodies: isComposing (RFC 3994), IMDN (RFC 5438).
