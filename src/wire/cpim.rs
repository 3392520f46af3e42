//! CPIM messages (RFC 3862): header blocks, namespaces, the content's type.
