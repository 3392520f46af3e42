//! SDP (RFC 8866) with the attributes of RFC 4975, 6135, 6714, 5547.
