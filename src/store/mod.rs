//! Deferred queue and history: what a kept message is, and the letters about it. The back ends come with the store.
