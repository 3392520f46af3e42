//! Sessions that live: they come and go at intended times, and devices speak.

pub(crate) mod act;
pub(crate) mod counts;
pub(crate) mod talk;
