//! Every bound of the engine, derived from the configuration and checked; the memory total.
